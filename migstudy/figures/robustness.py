"""Accuracy against the simulator's knobs: models tested where a knob is turned, and how hard the data themselves are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from migstudy.figures import style
from migstudy.figures.results import METRIC_NAMES

_COLUMNS = 4
_TRAINED = "#C9CCD1"
_LIGHT = ("mean pose", "motion LDA")  # every other model is a network's recipe
_COLOURS = (style.BLUE, style.VERMILION, style.GREEN, style.PURPLE, style.ORANGE)
_MARKERS = ("o", "s", "^", "D", "v")
_KNOBS = {"noise_px": "noise", "fps": "frame rate", "missing_rate": "hands missing", "swaps": "left/right swaps",
          "mistakes": "misplaced hands", "camera_yaw": "camera angle", "subject_style": "differences of people",
          "take_variation": "differences of takes"}  # fmt: skip


@style.styled
def draw_robustness(
    table: pd.DataFrame, source: str, majority: float | None = None, metrics: Sequence[str] = ("top1", "macro_f1")
) -> Figure:
    """A panel a knob: each model's accuracy at its values, with bands over people and runs, the trained value marked.

    table: a `robustness_table`: knob, value, unit, trained, model and, as shares, of each metric its value, `... low` and
    `... high`. metrics: the first is drawn with its band, a second as a dashed line. majority: top-1 of always answering
    the class most frequent in training, a dotted line.
    """
    knobs, models = list(dict.fromkeys(table["knob"])), list(dict.fromkeys(table["model"]))
    if not knobs:
        raise ValueError("no knob to draw; give the rows of a robustness table")
    columns = min(_COLUMNS, len(knobs))
    rows = -(-len(knobs) // columns)
    fig = style.new_figure(style.PAGE if columns > 1 else style.COLUMN, 0.75 + 1.45 * rows)
    axes = fig.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for ax, knob in zip(axes, knobs):
        part = table[table["knob"] == knob]
        _mark_trained(ax, part)
        for number, model in enumerate(models):
            mine = part[part["model"] == model].sort_values("value")
            _curve(ax, mine, metrics[0], number)
            for metric in metrics[1:]:
                ax.plot(mine["value"], mine[metric], color=_COLOURS[number % 5], lw=0.8, ls=(0, (4, 2)))
        _finish(ax, knob, part, majority if metrics[0] == "top1" else None)
    for ax in axes[len(knobs) :]:
        ax.set_visible(False)
    for first in axes[::columns]:
        first.set_ylabel("share")
    handles = _handles(models)
    for line, metric in zip(("-", (0, (4, 2))), metrics):
        handles.append(Line2D([], [], color=style.INK, lw=0.8, ls=line, label=METRIC_NAMES[metric]))
    _legend(fig, handles, majority, "people and runs")
    style.add_source(fig, source)
    return fig


@style.styled
def draw_difficulty(
    matched: pd.DataFrame, emotion: pd.DataFrame, source: str, network: pd.DataFrame, majority: float | None = None
) -> Figure:
    """How hard the data are: light classifiers trained and tested at every value, and win or lose against its effect.

    matched: a `matched_table`. emotion: an `emotion_table`: emotion_effect, auc, low, high, chance_low, chance_high. network: rows of a
    `robustness_table` at trained values, whose models are drawn as single points beside the curves.
    """
    knobs, models = list(dict.fromkeys(matched["knob"])), list(dict.fromkeys(matched["model"]))
    trained = list(dict.fromkeys(network["model"]))
    fig = style.new_figure(style.PAGE, 2.6)
    axes = fig.subplots(1, len(knobs) + 1)
    for ax, knob in zip(axes, knobs):
        part = matched[matched["knob"] == knob]
        _mark_trained(ax, part)
        for number, model in enumerate(models):
            _curve(ax, part[part["model"] == model].sort_values("value"), "top1", number)
        at = float(part["value"][part["trained"]].iloc[0])
        for number, model in enumerate(trained, len(models)):
            row = network[network["model"] == model].iloc[0]
            reach = [[row["top1"] - row["top1 low"]], [row["top1 high"] - row["top1"]]]
            ax.errorbar(at, row["top1"], np.maximum(reach, 0), color=_COLOURS[number % 5], marker=_MARKERS[number % 5], ms=4.5,
                        capsize=2, lw=1, zorder=5)  # fmt: skip
        _finish(ax, knob, part, majority)
    axes[0].set_ylabel("top-1, trained and tested there")
    for ax in axes[1:-1]:
        ax.tick_params(labelleft=False)
    last, effect = axes[-1], emotion.sort_values("emotion_effect")
    last.fill_between(effect["emotion_effect"], effect["chance_low"], effect["chance_high"], color=style.GREY, alpha=0.25, lw=0)
    last.fill_between(effect["emotion_effect"], effect["low"], effect["high"], color=style.PURPLE, alpha=0.18, lw=0)
    last.plot(effect["emotion_effect"], effect["auc"], color=style.PURPLE, marker="o")
    last.set(title="win or lose", xlabel="emotion effect, factor", ylabel="AUC, new people")
    last.set_ylim(min(0.3, effect["low"].min(), effect["chance_low"].min() - 0.06), 1.02)
    right = effect.iloc[-1]
    last.text(right["emotion_effect"], right["chance_low"], "chance, 95 %", fontsize=7, color=style.INK, ha="right", va="top")
    last.grid(axis="y")
    points = [dict(marker=_MARKERS[n % 5], color=_COLOURS[n % 5]) for n in range(len(models), len(models) + len(trained))]
    handles = _handles(models)
    handles += [Line2D([], [], ls="none", ms=4.5, label=_label(m), **look) for m, look in zip(trained, points)]
    _legend(fig, handles, majority)
    style.add_source(fig, source)
    return fig


def _curve(ax: Axes, rows: pd.DataFrame, metric: str, number: int) -> None:
    colour = _COLOURS[number % len(_COLOURS)]
    ax.fill_between(rows["value"], rows[f"{metric} low"], rows[f"{metric} high"], color=colour, alpha=0.18, lw=0)
    ax.plot(rows["value"], rows[metric], color=colour, marker=_MARKERS[number % len(_MARKERS)], ms=3, zorder=3)


def _mark_trained(ax: Axes, rows: pd.DataFrame) -> None:
    for value in rows["value"][rows["trained"]].unique():
        ax.axvline(value, color=_TRAINED, lw=3.5, zorder=0)


def _finish(ax: Axes, knob: str, rows: pd.DataFrame, majority: float | None) -> None:
    if majority is not None:
        ax.axhline(majority, color=style.GREY, lw=0.9, ls=":", zorder=1)
    values, shown = sorted(rows["value"].unique()), []
    for value in [values[0], values[-1], *values[1:-1]]:  # as many numbers as have room
        if all(abs(value - other) > 0.14 * (values[-1] - values[0]) for other in shown):
            shown.append(value)
    ax.set_xticks(values, [f"{v:g}" if v in shown else "" for v in values])
    trained = ", ".join(f"{v:g}" for v in rows["value"][rows["trained"]].unique())
    ax.set(title=_KNOBS.get(knob, knob.replace("_", " ")), ylim=(0, 1))
    ax.set_xlabel(f"{rows['unit'].iloc[0]} (trained: {trained})")
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.grid(axis="y")


def _handles(models: Sequence[str]) -> list[Line2D]:
    looks = [dict(color=_COLOURS[n % 5], marker=_MARKERS[n % 5]) for n in range(len(models))]
    return [Line2D([], [], ms=3, label=_label(model), **look) for model, look in zip(models, looks)]


def _label(model: str) -> str:
    return model if model in _LIGHT else f"network, {model}"


def _legend(fig: Figure, handles: list[Artist], majority: float | None, over: str = "people") -> None:
    handles += [Patch(color=style.GREY, alpha=0.3, lw=0, label=f"95 %, {over}"), Patch(color=_TRAINED, label="trained value")]
    if majority is not None:
        handles.append(Line2D([], [], color=style.GREY, lw=0.9, ls=":", label="commonest class"))
    fig.legend(handles=handles, loc="outside upper left", ncols=7, columnspacing=1.1, handlelength=1.6)
