"""Win or lose against the size of what a result changes in the simulator: a model that learns climbs from chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from migstudy.emotion.binary_metrics import NAMES
from migstudy.figures import style

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = 3
_OTHERS = "#BFC3C9"


@style.styled
def draw_emotion_effects(table: pd.DataFrame, source: str, metric: str = "auc") -> Figure:
    """A panel a model of `emotion.report.effect_table`: the metric at every effect, with its 95 % interval.

    Filled marks: p < 0.05 by exchanged results, after Holm's correction over the models of that effect. Grey: the other models.
    Models without a finished run have no panel. Raises ValueError for a metric without a test, or where nothing is finished.
    """
    if f"p {metric} holm" not in table:
        raise ValueError(f"the table tests no {metric!r} against chance")
    done = table[table["runs"] > 0]
    if done.empty:
        raise ValueError("no model has a finished run, so there is nothing to draw")
    found = {str(model): rows.sort_values("effect") for model, rows in done.groupby("model", sort=False)}
    rows = -(-len(found) // _COLUMNS)
    fig = style.new_figure(style.PAGE, 0.75 + 1.55 * rows)
    grid = fig.subplots(rows, min(_COLUMNS, len(found)), squeeze=False, sharex=True, sharey=True)
    for ax, (model, own) in zip(grid.ravel(), found.items(), strict=False):
        ax.axhline(0.5, color=style.INK, lw=0.8, zorder=1)
        for other, line in found.items():
            if other != model:
                ax.plot(line["effect"], line[metric], color=_OTHERS, lw=0.7, zorder=2)
        _draw_model(ax, own, metric)
        ax.set_title(model)
        ax.set(xticks=sorted(done["effect"].unique()), ylim=(min(0.3, done[f"{metric} low"].min()), 1.02))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.tick_params(labelbottom=True)
        ax.grid(axis="y")
        if ax.get_subplotspec().is_first_col():
            ax.set_ylabel(NAMES[metric])
    for ax in grid.ravel()[len(found) - min(_COLUMNS, len(found)) : len(found)]:
        ax.set_xlabel("effect of a result in the simulator")
    for ax in grid.ravel()[len(found) :]:
        ax.set_visible(False)
    handles = [
        Line2D([], [], color=style.BLUE, marker="o", ms=4.5, label="the model; filled: p < 0.05 (Holm)"),
        Patch(color=style.BLUE, alpha=0.2, label=f"95 % over people{' and runs' * bool((done['runs'] > 1).any())}"),
        Line2D([], [], color=_OTHERS, lw=0.7, label="the other models"), Line2D([], [], color=style.INK, lw=0.8, label="chance"),
    ]  # fmt: skip
    fig.legend(handles=handles, loc="outside upper left", ncols=4, columnspacing=1.4)
    style.add_source(fig, source)
    return fig


def _draw_model(ax: Axes, own: pd.DataFrame, metric: str) -> None:
    effect, value = own["effect"].to_numpy(), own[metric].to_numpy()
    ax.fill_between(effect, own[f"{metric} low"], own[f"{metric} high"], color=style.BLUE, alpha=0.2, lw=0, zorder=3)
    ax.plot(effect, value, color=style.BLUE, lw=1.3, zorder=4)
    sure = own[f"p {metric} holm"].to_numpy() < 0.05
    for mask, face in ((sure, style.BLUE), (~sure, "white")):
        ax.plot(np.where(mask, effect, np.nan), value, ls="", marker="o", ms=4.5, color=style.BLUE, mfc=face, zorder=5)
