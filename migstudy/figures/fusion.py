"""Fusion of modalities: what a network loses when some of them are missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from migstudy.figures import style
from migstudy.figures.results import METRIC_NAMES


@style.styled
def draw_missing_modalities(table: pd.DataFrame, source: str, metric: str = "macro_f1") -> Figure:
    """Each fusion with all its modalities at hand and with only some of them: bars of the mean over seeds, 95 % intervals.

    table: `fusion.tables.missing_table` (variant, at hand, the metric and its low and high as shares); a row without a number
    says that it was not run.
    """
    variants, choices = list(dict.fromkeys(table["variant"])), list(dict.fromkeys(table["at hand"]))
    fig = style.new_figure(style.PAGE, 2.6)
    ax = fig.subplots()
    width = 0.8 / len(choices)
    colours = [style.INK, *(colour for colour in style.SERIES if colour not in (style.BLACK, style.GREY))]
    for k, choice in enumerate(choices):
        part = table[table["at hand"] == choice].set_index("variant").reindex(variants)
        value, low, high = (100 * part[column].to_numpy(float) for column in (metric, f"{metric} low", f"{metric} high"))
        x = np.arange(len(variants)) + (k - (len(choices) - 1) / 2) * width
        ax.bar(x, value, 0.92 * width, color=colours[k % len(colours)], label=choice if choice == "all" else f"only {choice}")
        known = ~np.isnan(low)
        ax.vlines(x[known], low[known], high[known], color=style.GREY, lw=1.0)
    for place, name in enumerate(variants):
        if table.loc[table["variant"] == name, metric].isna().all():
            ax.text(place, 0, "not run\n", ha="center", va="bottom", fontsize=7, color=style.GREY)
    ax.set_xticks(np.arange(len(variants)), [_two_lines(name) for name in variants])
    ax.tick_params(axis="x", length=0)
    ax.set_ylabel(f"{METRIC_NAMES.get(metric, metric)}, %")
    ax.set_ylim(bottom=0)
    ax.grid(axis="y")
    fig.legend(title="at hand at test time", loc="outside upper left", ncols=len(choices) + 1, alignment="left")
    style.add_source(fig, source)
    return fig


def _two_lines(name: str) -> str:
    words = name.split(" ")
    if len(words) < 2 or len(name) < 12:
        return name
    cut = min(range(1, len(words)), key=lambda i: abs(len(" ".join(words[:i])) - len(" ".join(words[i:]))))
    return " ".join(words[:cut]) + "\n" + " ".join(words[cut:])
