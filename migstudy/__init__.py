"""migstudy: a reproducible study of micro-gesture and emotion recognition on iMiGUE."""

__version__ = "0.1.0"
