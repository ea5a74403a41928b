"""Win or lose, explained: which recognised gestures of a video, when, pushed which way; and what gives people away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from migstudy.figures import style
from migstudy.figures.data import short_name
from migstudy.figures.emotion import optimistic_line

WIN, LOSE = style.BLUE, style.VERMILION
_RESULTS = {1: "won", 0: "lost", -1: "result unknown"}


@style.styled
def draw_evidence(
    events: Mapping[str, pd.DataFrame], results: Mapping[str, int], start: float, fps: float, seconds: Mapping[str, float],
    source: str,
) -> Figure:  # fmt: skip
    """A block a video: above, each recognised gesture in its time with its push; below, the log odds as they add up.

    events: name -> rows of `gesture_evidence.evidence` of one video (start, end in frames, gesture, probability, push). results:
    name -> 1 won, 0 lost, -1 unknown. start: the model's `intercept`, the log odds of a silent video. seconds: length of each.
    """
    if not events:
        raise ValueError("no videos to draw; give the evidence of one at least")
    heights = [h for rows in events.values() for h in (0.28 + 0.17 * max(len(rows), 1), 0.95)]
    fig = style.new_figure(style.PAGE, sum(heights) + 0.75 + 0.3 * len(events))
    axes = fig.subplots(2 * len(events), 1, height_ratios=heights, squeeze=False)[:, 0]
    most = max([1e-6, *(float(rows["push"].abs().max()) for rows in events.values() if len(rows))])
    reach = max(abs(start), *(float((start + rows["push"].cumsum()).abs().max()) if len(rows) else 0 for rows in events.values()))
    for i, (name, rows) in enumerate(events.items()):
        _draw_gestures(axes[2 * i], rows, fps, seconds[name], most)
        logit = start + float(rows["push"].sum())
        says = f"{1 / (1 + np.exp(-logit)):.0%} win"
        axes[2 * i].set_title(f"{name}: {_RESULTS[results[name]]}, the model says {says} (log odds {_signed(logit)})")
        _draw_sum(axes[2 * i + 1], rows, fps, seconds[name], start, 1.15 * reach)
    axes[-1].set_xlabel("time in the video (s)")
    style.add_source(fig, source)
    return fig


def _draw_gestures(ax: Axes, rows: pd.DataFrame, fps: float, seconds: float, most: float) -> None:
    """One line a gesture, in order of time: its span, as strong in colour as its push, and what it is."""
    for line, row in enumerate(rows.itertuples()):
        begin, length = row.start / fps, (row.end - row.start + 1) / fps
        colour = WIN if row.push > 0 else LOSE
        ax.barh(line, length, left=begin, height=0.7, color=colour, alpha=0.2 + 0.8 * min(abs(row.push) / most, 1), linewidth=0)
        right = begin + length / 2 < 0.62 * seconds
        says = f"{short_name(row.gesture, 34)} ({row.probability:.0%})  {_signed(row.push)}"
        ax.annotate(
            says, (begin + length if right else begin, line),
            (3 if right else -3, 0), textcoords="offset points", va="center", ha="left" if right else "right", fontsize=6.5,
        )  # fmt: skip
    if not len(rows):
        ax.text(0.5, 0.5, "no gesture was recognised", transform=ax.transAxes, ha="center", va="center", color=style.GREY)
    ax.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    ax.set_xlim(0, seconds)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.tick_params(labelbottom=False)


def _draw_sum(ax: Axes, rows: pd.DataFrame, fps: float, seconds: float, start: float, reach: float) -> None:
    ends = (rows["end"].to_numpy(float) + 1) / fps
    order = np.argsort(ends, kind="stable")
    level = start + np.concatenate([[0.0], np.cumsum(rows["push"].to_numpy(float)[order])])
    times = np.concatenate([[0.0], ends[order], [seconds]])
    ax.axhspan(0, reach, color=WIN, alpha=0.07, linewidth=0)
    ax.axhspan(-reach, 0, color=LOSE, alpha=0.07, linewidth=0)
    ax.axhline(0, color=style.GREY, linewidth=0.6)
    ax.step(times, np.append(level, level[-1]), where="post", color=style.INK)
    ax.plot(0, start, "o", color=style.INK, markersize=3, clip_on=False)
    above = len(level) > 1 and level[1] < start and start < 0.8 * reach  # beside the line, not on it
    ax.annotate("without any gesture", (0, start), (4, 3 if above else -3), textcoords="offset points",
                va="bottom" if above else "top", color=style.GREY, fontsize=6.5,
                bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.6})  # fmt: skip
    ax.set_xlim(0, seconds)
    ax.set_ylim(-reach, reach)
    ax.set_ylabel("log odds\nof a win")
    for word, place, colour in (("win", 0.75, WIN), ("lose", 0.25, LOSE)):
        ax.text(1.005, place, word, transform=ax.transAxes, ha="left", va="center", color=colour, fontsize=6.5)


@style.styled
def draw_privacy(probes: pd.DataFrame, results: Mapping[str, Mapping], source: str, missing: Sequence[str] = ()) -> Figure:
    """Left: how often the person of a video is named rightly from each modality; right: each person's accuracy, by model.

    probes: of `identity_probe.probe_table`; missing: modalities without. results: model -> of `evaluate_emotion`, with whether it
    is `optimistic` for what its encoders saw.
    """
    names = len(probes) + len(missing)
    fig = style.new_figure(style.PAGE, 0.9 + max(0.34 * names, 0.46 * len(results), 1.2))
    left, right = fig.subplots(1, 2, width_ratios=(1, 1.25))
    if len(probes):
        probes = probes.sort_values("top1", ignore_index=True)
        _draw_probes(left, probes)
    for place in range(len(probes), names):
        left.text(0.01, place, "missing", color=style.GREY, va="center", zorder=5, bbox={"facecolor": "white", "lw": 0, "pad": 0.6})
    left.set_yticks(range(names), [*(probes["modality"] if len(probes) else ()), *missing])
    left.set_ylim(-0.7, names - 0.4)
    left.set_xlim(0, 1)
    left.set_title("who it is")
    for line, result in enumerate(results.values()):
        _draw_people(right, line, result["subjects"])
    right.set_yticks(range(len(results)), [name.replace("_", " ") for name in results])
    right.set_ylim(len(results) - 0.4, -0.6)
    right.set_xlim(-0.08, 1.08)
    right.axvline(0.5, color=style.GREY, linewidth=0.6)
    right.set_xlabel("accuracy of win or lose; bubbles: number of people;\nbar: mean ± sd of people, marks: sd if all were alike")
    right.set_title("and for whom it works")
    style.add_source(fig, source + optimistic_line(results))
    return fig


def _draw_probes(ax: Axes, probes: pd.DataFrame) -> None:
    place = np.arange(len(probes))
    ax.barh(place, probes["top1"], height=0.55, color=style.SKY)
    bounds = np.abs(probes[["low", "high"]].to_numpy().T - probes["top1"].to_numpy())
    ax.errorbar(probes["top1"], place, xerr=bounds, fmt="none", ecolor=style.INK, linewidth=0.8)
    chance = float(probes["chance"].iloc[0])
    ax.axvline(chance, color=style.VERMILION, linewidth=0.9, linestyle=(0, (3, 2)))
    ax.text(chance, -0.62, f" chance {chance:.1%}", color=style.VERMILION, fontsize=6.5, va="bottom")
    ax.set_xlabel(f"videos whose person is named rightly\n(one of {int(probes['people'].iloc[0])} people; Wilson, 95 %)")


def _draw_people(ax: Axes, line: int, found: Mapping) -> None:
    """Bubbles as large as the number of people with that accuracy; mean, spread, and the spread of people alike."""
    values, count = np.unique(np.round(np.asarray(found["accuracy"], float), 3), return_counts=True)
    ax.scatter(values, np.full(len(values), line), s=9.0 * count, color=style.SKY, alpha=0.6, linewidth=0)
    if len(values) <= 5:
        for value, people in zip(values, count, strict=True):
            ax.text(value, line - 0.28, str(people), ha="center", va="center", fontsize=6, color=style.GREY)
    if found["sd"] is not None:
        ax.errorbar(found["mean"], line, xerr=found["sd"], fmt="o", color=style.INK, markersize=3.5, linewidth=1.1)
    if found["sd_alike"] is not None:
        for side in (-1, 1):
            place = found["mean"] + side * found["sd_alike"]
            ax.plot([place, place], [line - 0.14, line + 0.14], color=style.VERMILION, linewidth=0.9)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
