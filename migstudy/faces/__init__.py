"""Faces: five points from the skeleton, aligned crops, and the tokens of a face encoder."""
