"""Results: training curves, confusion, classes, ablations, and what others have published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from migstudy.figures import style
from migstudy.figures.data import numbered, short_name

METRIC_NAMES = {
    "top1": "top-1", "top5": "top-5", "macro_f1": "macro-F1", "mean_class_accuracy": "mean class accuracy",
    "loss": "training loss", "val_top1": "validation top-1", "val_top5": "validation top-5",
    "val_macro_f1": "validation macro-F1", "val_mean_class_accuracy": "validation mean class accuracy",
    "lr": "learning rate",
}  # fmt: skip


@style.styled
def draw_training_curves(
    logs: Mapping[str, pd.DataFrame | Sequence[pd.DataFrame]], source: str,
    metrics: Sequence[str] = ("loss", "val_top1", "val_macro_f1"),
) -> Figure:  # fmt: skip
    """One panel a metric, one line a configuration: the mean over its runs, the band from the lowest to the highest.

    logs: configuration -> its runs' logs, tables with `epoch` and the metrics as columns (a run's log.csv). Runs may stop
    at different epochs; the mean goes as far as all of them do. A configuration without runs is left out.
    """
    runs = {name: [log] if isinstance(log, pd.DataFrame) else list(log) for name, log in logs.items()}
    runs = {name: several for name, several in runs.items() if several}
    if not runs:
        raise ValueError("no logs to draw; train first")
    shown = [m for m in metrics if all(m in log for several in runs.values() for log in several)]
    if not shown:
        raise ValueError(f"no log has any of {', '.join(metrics)} in every run; the logs' columns name what can be drawn")
    fig = style.new_figure(style.PAGE, 2.5)
    for ax, metric in zip(fig.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        for colour, (name, several) in zip(_colours(len(runs)), runs.items(), strict=True):
            values = pd.concat([log.set_index("epoch")[metric] for log in several], axis=1).dropna()
            first = ax.get_subplotspec().is_first_col()
            ax.plot(values.index, values.mean(axis=1), color=colour, label=name if first else None)
            if values.shape[1] > 1:
                ax.fill_between(values.index, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.18, lw=0)
        ax.set(title=METRIC_NAMES.get(metric, metric), xlabel="epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if metric not in ("loss", "lr"):
            ax.set_ylim(bottom=0)
        ax.grid(axis="y")
    if len(runs) > 1:
        fig.legend(loc="outside upper left", ncols=min(len(runs), 5), columnspacing=1.4)
    counts = sorted({len(several) for several in runs.values()})
    repeats = f"; mean and range of {' or '.join(map(str, counts))} runs" if counts[-1] > 1 else ""
    style.add_source(fig, source + repeats)
    return fig


@style.styled
def draw_confusion(matrix: np.ndarray, names: Sequence[str], source: str, title: str = "") -> Figure:
    """A confusion matrix, each row divided by its clips; classes without clips are hatched, recall stands on the right.

    matrix: (C, C) counts, rows = truth; several runs' matrices may be summed. names: C class names.
    """
    counts = np.asarray(matrix, float)
    if counts.shape != (len(names), len(names)):
        raise ValueError(f"confusion matrix {counts.shape} and {len(names)} class names do not fit; give one name a class")
    clips = counts.sum(1)
    share = np.divide(counts, clips[:, None], out=np.full_like(counts, np.nan), where=clips[:, None] > 0)
    size, many = len(names), len(names) > 12
    fig = style.new_figure(style.PAGE, min(1.35 + 0.165 * size, 7.4) if many else 1.35 + 0.26 * size)
    ax = fig.subplots()
    image = ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row in np.flatnonzero(clips == 0):
        ax.axhspan(row - 0.5, row + 0.5, facecolor="#F4F4F4", edgecolor="#CFCFCF", hatch="/////", lw=0)
    ax.set_xticks(np.arange(size), [str(i) for i in range(size)])
    ax.set_yticks(np.arange(size), [f"{short_name(n, 38)}  {numbered(i)}" for i, n in enumerate(names)])
    ax.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="#EBEDF0", lw=0.4)
    ax.tick_params(which="both", length=0)
    ax.spines[:].set_visible(False)
    right = ax.secondary_yaxis("right")
    recall = [f"{share[i, i]:4.0%}  {clips[i]:,.0f}".replace(" ", "\u2007") if clips[i] else "–" for i in range(size)]
    right.set_yticks(np.arange(size), recall)
    right.tick_params(length=0)
    right.spines[:].set_visible(False)
    ax.set_xlabel("answered class")
    ax.set_ylabel("true class")
    ax.set_title(title or "confusion, rows sum to 1")
    ax.text(1.01, 1.008, "recall, clips", transform=ax.transAxes, ha="left", va="bottom", fontsize=7)
    if not many:
        for (i, j), value in np.ndenumerate(share):
            if value >= 0.005:
                ax.text(j, i, f"{value:.0%}", ha="center", va="center", fontsize=7, color="white" if value > 0.6 else style.INK)
    below = 0.55 / (fig.get_figheight() - 0.9)  # a scale under the names, where it takes no width from the cells
    bar = fig.colorbar(image, cax=ax.inset_axes([-0.4, -below, 0.28, 0.16 * below]), orientation="horizontal", ticks=(0, 0.5, 1))
    bar.set_label("share of the true class", labelpad=1)
    bar.ax.xaxis.set_label_position("top")
    bar.outline.set_visible(False)
    style.add_source(fig, source)
    return fig


@style.styled
def draw_per_class(table: pd.DataFrame, source: str, majority: float | None = None) -> Figure:
    """F1 of each class with its interval, the class with the most training clips on top.

    table: `evaluate.per_class_table`: index, name, n_train, n (evaluated clips), f1, f1_low, f1_high. A class without
    evaluated clips and answers has no F1 and shows a dash; without an interval the dot stands alone.
    majority: macro-F1 of always answering one class, drawn as a line.
    """
    by = "n_train" if table["n_train"].notna().all() else "n"
    table = table.sort_values([by, "index"], ascending=[True, False], kind="stable").reset_index(drop=True)
    y = np.arange(len(table))
    fig = style.new_figure(style.PAGE, 0.8 + 0.148 * len(table))
    ax = fig.subplots()
    f1, low, high = (table[c].to_numpy(float) for c in ("f1", "f1_low", "f1_high"))
    ax.hlines(y, low, high, color=style.SKY, lw=2.2, zorder=2)
    ax.scatter(f1, y, s=14, color=style.BLUE, zorder=3, lw=0)
    for row in np.flatnonzero(np.isnan(f1)):
        ax.text(0.0, row, " –", va="center", fontsize=7, color=style.GREY)
    if majority is not None:
        ax.axvline(majority, color=style.VERMILION, lw=0.9, ls=(0, (3, 2)))
        ax.text(majority, 1.0, " macro-F1 of the majority answer", color=style.VERMILION, fontsize=7, va="bottom",
                transform=ax.get_xaxis_transform())  # fmt: skip
    labels = [f"{short_name(n)}  {numbered(i)}" for n, i in zip(table["name"], table["index"], strict=True)]
    ax.set_yticks(y, labels)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    for points, column, title in ((28, "n_train", "train"), (66, "n", "evaluated")):
        beside = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points", "ha": "right", "fontsize": 7}
        ax.annotate(title, (1, len(table) - 0.1), (points, 0), va="bottom", **beside)
        for row, count in enumerate(table[column]):
            text = f"{int(count):,}" if pd.notna(count) else ""
            ax.annotate(text, (1, row), (points, 0), va="center", **beside)
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.7, len(table) - 0.3), xlabel="F1 (95 % interval over subjects)")
    ax.grid()
    style.add_source(fig, source)
    return fig


@style.styled
def draw_ablation(table: pd.DataFrame, source: str, seeds: pd.DataFrame | None = None, base: str = "the base") -> Figure:
    """Effects against the base with 95 % intervals, a panel a metric, rows in the table's order.

    table: variant, metric (`top1`, `macro_f1`, ...), effect, low, high, all three in percentage points. seeds: variant,
    metric, effect of single runs, drawn as small dots; a row without effect says that it was not run. base: what the effects are measured against, in words.
    """
    metrics, variants = list(dict.fromkeys(table["metric"])), list(dict.fromkeys(table["variant"]))
    fig = style.new_figure(style.PAGE if len(metrics) > 1 else style.COLUMN, 1.05 + 0.3 * len(variants))
    axes = fig.subplots(1, len(metrics), sharex=True, sharey=True, squeeze=False)[0]
    place = {variant: len(variants) - 1 - k for k, variant in enumerate(variants)}
    for ax, metric in zip(axes, metrics, strict=True):
        part = table[table["metric"] == metric]
        y = part["variant"].map(place).to_numpy()
        effect, low, high = (part[c].to_numpy(float) for c in ("effect", "low", "high"))
        ax.axvline(0, color=style.INK, lw=0.8, zorder=1)
        if seeds is not None and len(seeds):
            dots = seeds[(seeds["metric"] == metric) & seeds["variant"].isin(variants)]
            ax.scatter(dots["effect"], dots["variant"].map(place) - 0.24, s=7, color=style.ORANGE, lw=0, zorder=2)
        ax.hlines(y, low, high, color=style.BLUE, lw=1.4, zorder=3)
        ax.scatter(effect, y, s=22, marker="D", color=style.BLUE, lw=0, zorder=4)
        halo = [withStroke(linewidth=2, foreground="white")]
        for value, row in zip(effect, y, strict=True):
            if np.isnan(value):
                ax.text(0, row, " not run", va="center", fontsize=7, color=style.GREY)
                continue
            ax.text(value, row + 0.14, f"{value:+.1f}".replace("-", "\u2212") if abs(value) >= 0.05 else "0.0", va="bottom", ha="center", fontsize=7,
                    path_effects=halo, zorder=5)  # fmt: skip
        ax.set(ylim=(-0.6, len(variants) - 0.3), title=METRIC_NAMES.get(metric, metric), xlabel="percentage points")
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks([place[v] for v in variants], variants)
    low, high = axes[0].get_xlim()
    axes[0].set_xlim(min(low, -1), max(high, 1))  # differences of rounding must not fill the panel
    handles = [Line2D([], [], marker="D", ms=4.5, color=style.BLUE, lw=1.4, label="mean, 95 % interval")]
    if seeds is not None and len(seeds):
        handles.append(Line2D([], [], marker="o", ms=3, color=style.ORANGE, ls="none", label="single seeds"))
    fig.legend(handles=handles, loc="outside upper right", ncols=2)
    fig.suptitle(f"effect against {base}", x=0.005, ha="left", fontsize=7.5)
    style.add_source(fig, source)
    return fig


@style.styled
def draw_published(table: pd.DataFrame, highlight: str = "paper A") -> Figure:
    """Top-1 and top-5 of `report.published.load_published`, best on top; nothing measured here belongs into these axes.

    highlight: rows whose method holds this text are set in bold.
    """
    table = table.sort_values("top1", kind="stable").reset_index(drop=True)
    colours = {"skeleton": style.BLUE, "RGB": style.ORANGE, "RGB + skeleton": style.GREEN}
    y, tint = np.arange(len(table)), [colours[m] for m in table["modality"]]
    fig = style.new_figure(style.PAGE, 0.85 + 0.155 * len(table))
    ax = fig.subplots()
    ax.hlines(y, 0, table["top1"], color=tint, lw=1.0, alpha=0.5, zorder=2)
    ax.scatter(table["top1"], y, s=20, c=tint, lw=0, zorder=3)
    ax.scatter(table["top5"], y, s=18, facecolors="white", edgecolors=tint, lw=0.9, zorder=3)
    for row, value in enumerate(table["top1"]):
        ax.text(value + 1.1, row, f"{value:.2f}", va="center", fontsize=7)
    ax.set_yticks(y, [f"{m} ({year})" for m, year in zip(table["method"], table["year"], strict=True)])
    for label, method in zip(ax.get_yticklabels(), table["method"], strict=True):
        label.set_fontweight("bold" if highlight and highlight in method else "normal")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set(xlim=(0, 100), ylim=(-0.7, len(table) - 0.3), xlabel="accuracy on iMiGUE's test clips, %, as published")
    ax.grid(axis="x")
    handles = [Line2D([], [], marker="o", ms=4.5, ls="none", color=c, label=m) for m, c in colours.items()]
    handles.append(Line2D([], [], marker="o", ms=4.5, ls="none", mfc="white", mec=style.INK, label="top-5"))
    fig.legend(handles=handles, loc="outside upper right", ncols=4)
    sources = "2021: CVPR protocol; later: MiGA challenge test set"
    style.add_source(fig, f"as published by their authors, not reproduced here ({sources})", "numbers")
    return fig


def _colours(count: int) -> list[str]:
    return [style.SERIES[k % len(style.SERIES)] for k in range(count)]
