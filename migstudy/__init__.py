"""migstudy: a reproducible study of micro-gesture and emotion recognition on iMiGUE."""

import warnings

__version__ = "0.1.0"

warnings.filterwarnings("ignore", "IProgress not found")  # other packages say so in notebooks when they are imported; our bars are text
