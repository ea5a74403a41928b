"""Modalities joined (paper B, track 1): encoders' tokens fused by a network, or probabilities fused late."""
