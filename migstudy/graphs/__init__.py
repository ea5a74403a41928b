"""Skeletons as graphs: adjacency, normalisation, augmentation and what graph networks eat."""
