"""The table of win/lose models as people read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from migstudy.emotion import binary_metrics as b
from migstudy.emotion.evaluate import ENDINGS, HEADLINE, TESTED

if TYPE_CHECKING:
    import pandas as pd

_MISSING = "missing"


def readable_emotion(table: pd.DataFrame) -> pd.DataFrame:
    """An `emotion_table` for people: percent ± sd of runs [95 % interval over people], p by exchanged results, ≈ if not exact.

    Of a table with effects they come first; rows without runs say so.
    """
    shown = table[["effect"] * ("effect" in table) + ["model", "runs"]].copy()
    for metric in HEADLINE:
        shown[b.NAMES[metric]] = [_cell(row, metric) for row in table.to_dict("records")]
    shown["ECE"] = [_MISSING if np.isnan(value) else f"{100 * value:.1f}" for value in table["ece"]]
    for metric in TESTED[:2]:
        told = zip(table["exact"], table[f"p {metric}"], table[f"p {metric} holm"], strict=True)
        shown[f"p, {b.NAMES[metric]} (Holm)"] = [
            _MISSING if np.isnan(p) else f"{'' if exact else '≈ '}{p_words(p)} ({p_words(h)})" for exact, p, h in told
        ]
    return shown


def p_words(value: float) -> str:
    """A p-value in three digits."""
    return f"{value:.3f}" if value >= 0.0005 else "<0.001"


def _cell(row: Mapping, metric: str) -> str:
    value, low, high, sd = (row[metric + ending] for ending in ENDINGS)
    if not row["runs"]:
        return _MISSING
    text = f"{100 * value:.1f}" + ("" if sd is None or np.isnan(sd) else f" ± {100 * sd:.1f}")
    return text if low is None or np.isnan(low) else f"{text} [{100 * low:.1f}, {100 * high:.1f}]"
