"""Accuracy against the simulator's knobs, and the light classifiers that stand beside the networks."""
