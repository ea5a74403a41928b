"""What the data are: class counts, clip lengths, and the doctor's report on one page."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from migstudy.figures import style

_ZERO = 0.45  # where "none" stands on a logarithmic axis of counts
_MARKERS = {"train": "o", "val": "D", "test": "s"}


@style.styled
def draw_class_histogram(data, source: str | None = None) -> Figure:
    """Clips of each class and split on a logarithmic axis, the most frequent training class on top.

    data: a ClipSet, or a table (label, class, split, clips) with a row a class and split. source: the data's one-line
    description; a ClipSet brings its own.
    """
    table, source = _class_table(data), source or getattr(data, "source", None)
    fig = style.new_figure(style.PAGE, 0.75 + 0.135 * table["label"].nunique())
    _class_axes(fig.subplots(), table, names=True)
    fig.legend(loc="outside upper right", ncols=4)
    if source:
        style.add_source(fig, source, "counted in")
    return fig


@style.styled
def draw_clip_lengths(data, clip_len: int | None = None, source: str | None = None) -> Figure:
    """Share of clips not longer than so many frames, a line a split.

    data: a ClipSet, or a table (split, frames, clips). clip_len: frames the model samples, drawn as a line: clips to its
    left are stretched, clips to its right thinned out.
    """
    table, source = _length_table(data), source or getattr(data, "source", None)
    fig = style.new_figure(style.COLUMN, 2.4)
    _length_axes(fig.subplots(), table, clip_len)
    if source:
        style.add_source(fig, source, "counted in")
    return fig


@style.styled
def draw_doctor(report) -> Figure:
    """A `doctor.examine.DoctorReport` on one page: findings, classes, lengths, missing and faulty joints, hands and wrists."""
    fig = style.new_figure(style.PAGE, 8.6)
    lines = sum(len(_wrapped(f)) for f in report.findings)
    rows = fig.add_gridspec(3, 1, height_ratios=(0.35 + 0.135 * lines, 2.7, 2.4))
    middle, bottom = rows[1].subgridspec(1, 3, width_ratios=(1.35, 1, 1)), rows[2].subgridspec(1, 3, width_ratios=(2.2, 1, 0.8))
    _finding_axes(fig.add_subplot(rows[0]), report)
    _class_axes(fig.add_subplot(middle[0]), report.class_histogram, names=False)
    _length_axes(fig.add_subplot(middle[1]), report.clip_lengths, None)
    _missing_axes(fig.add_subplot(middle[2]), report.missing_by_part)
    _joint_axes(fig.add_subplot(bottom[0]), report.joints)
    _split_axes(fig.add_subplot(bottom[1]), report.by_split)
    _hand_axes(fig.add_subplot(bottom[2]), report.hands)
    style.add_source(fig, report.source, "examined")
    return fig


def short_name(name: str, width: int = 52) -> str:
    """A class name cut at a word to at most `width` letters."""
    return textwrap.shorten(name, width, placeholder=" …")


def numbered(index: int) -> str:
    """A class index two digits wide, so that columns of them align."""
    return f"{index:2d}".replace(" ", "\u2007")  # a blank as wide as a digit


def _splits(found) -> list[str]:
    known = [s for s in style.SPLITS if s in set(found)]
    return known + sorted(set(found) - set(known))


def _colour(split: str) -> str:
    return style.SPLITS.get(split, style.GREY)


def _highest(values) -> float:
    """The largest finite number, 0 where there is none."""
    values = np.asarray(values, float)
    return float(values[np.isfinite(values)].max(initial=0.0))


def _class_table(data) -> pd.DataFrame:
    if isinstance(data, pd.DataFrame):
        return data
    index = data.index[data.index["label"] >= 0]
    counts = index.groupby(["split", "label"]).size()
    rows = [
        (label, name, split or "no split", int(counts.get((split, label), 0)))
        for split in index["split"].unique() for label, name in enumerate(data.class_names)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["label", "class", "split", "clips"])


def _length_table(data) -> pd.DataFrame:
    if isinstance(data, pd.DataFrame):
        return data
    index = data.index.assign(split=data.index["split"].replace("", "no split"))
    return index.groupby(["split", "length"]).size().rename("clips").rename_axis(["split", "frames"]).reset_index()


def _class_axes(ax: Axes, table: pd.DataFrame, names: bool) -> None:
    """One row a class, one mark a split; a class without clips stands at 0, left of the logarithmic part."""
    splits = _splits(table["split"])
    first = "train" if "train" in splits else splits[0]
    wide = table.pivot_table(index="label", columns="split", values="clips", aggfunc="sum", fill_value=0)
    order = wide.sort_values([first], ascending=True, kind="stable").index
    name = table.drop_duplicates("label").set_index("label")["class"]
    y = np.arange(len(order))
    for k, split in enumerate(splits):
        counts = wide.loc[order, split].to_numpy(float)
        apart = k - (len(splits) - 1) / 2  # equal counts must not hide each other
        ax.scatter(np.where(counts > 0, counts, _ZERO * 1.17**apart), y - 0.2 * apart, s=13 if names else 8, marker=_MARKERS.get(split, "o"), lw=0.7,
                   facecolors=[_colour(split) if c else "white" for c in counts], edgecolors=_colour(split), zorder=3)  # fmt: skip
        ax.scatter([], [], marker=_MARKERS.get(split, "o"), color=_colour(split), s=13, lw=0.7,
                   label=f"{split} ({int(counts.sum()):,} clips)" if names else split)  # fmt: skip
    top = max(10.0, wide.to_numpy().max() * 1.5)
    ax.set_xscale("log")
    ax.set(xlim=(_ZERO * 0.7, top), ylim=(-0.8, len(order) - 0.2), xlabel="clips")
    decades = [10**k for k in range(int(np.log10(top)) + 1)]
    ax.xaxis.set_major_locator(FixedLocator([_ZERO, *decades]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: "0" if v < 0.9 else f"{v:,.0f}"))
    ax.xaxis.set_minor_locator(FixedLocator([k * decade for decade in decades for k in range(2, 10)]))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.axvspan(_ZERO * 0.5, _ZERO * 1.45, color="#F3F3F3", lw=0, zorder=0)
    ax.grid(axis="y" if names else "x")
    if names:
        ax.set_yticks(y, [f"{short_name(name[k])}  {numbered(k)}" for k in order])
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    else:
        ax.set_yticks([])
        ax.set(title="clips of each class", ylabel=f"{len(order)} classes, by {first}ing clips" if first == "train" else "classes")
        ax.legend(loc="lower right", handletextpad=0.2, borderaxespad=0.1)


def _length_axes(ax: Axes, table: pd.DataFrame, clip_len: int | None) -> None:
    from seaborn import ecdfplot  # takes a second to import, with pyplot in tow

    for split in _splits(table["split"]):
        part = table[table["split"] == split].sort_values("frames")
        median = np.median(np.repeat(part["frames"], part["clips"]))
        ecdfplot(part, x="frames", weights="clips", ax=ax, color=_colour(split), label=f"{split}, {median:.0f}")
    low, high = table["frames"].min(), table["frames"].max()
    if low > 0 and high > 8 * low:
        ax.set_xscale("log")
        ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if low <= t <= high]
        ax.xaxis.set_major_locator(FixedLocator(ticks))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0f}"))
        ax.xaxis.set_minor_locator(NullLocator())
    if clip_len:
        ax.axvline(clip_len, color=style.INK, lw=0.8, ls=(0, (3, 2)))
        ax.text(clip_len, 1.02, f"{clip_len} sampled", ha="center", va="bottom", fontsize=7,
                transform=ax.get_xaxis_transform())  # fmt: skip
    ax.set(title="clip length" if not clip_len else "", xlabel="frames", ylabel="share of clips", ylim=(0, 1.02))
    ax.grid()
    ax.legend(loc="upper left", title="median", title_fontsize=7, alignment="left", handlelength=1.2, borderaxespad=0.2)


_SIGNS = {"ok": ("ok", style.GREEN), "warn": ("look", "#B26B00"), "error": ("FAULT", style.VERMILION)}


def _wrapped(finding) -> list[str]:
    text = finding.message + (f" → {finding.action}" if finding.action else "")
    return textwrap.wrap(text, 102) or [""]


def _finding_axes(ax: Axes, report) -> None:
    """The findings as text, one a line, the worst in colour."""
    ax.set_axis_off()
    ax.set_title(f"{report.clips:,} clips, {report.frames:,} frames, {report.videos:,} videos, {report.subjects:,} subjects"
                 f" ({report.topology}, {report.units})")  # fmt: skip
    lines = [(f, k, text) for f in report.findings for k, text in enumerate(_wrapped(f))]
    for row, (finding, k, text) in enumerate(lines):
        y = 1 - (row + 0.5) / max(len(lines), 1)
        sign, colour = _SIGNS[finding.severity]
        if k == 0:
            ax.text(0, y, sign, color=colour, weight="bold", va="center", fontsize=7)
            ax.text(0.065, y, finding.check, va="center", fontsize=7, weight="bold")
        ax.text(0.245, y, text, va="center", fontsize=7)


def _missing_axes(ax: Axes, table: pd.DataFrame) -> None:
    parts, splits = list(dict.fromkeys(table["part"])), _splits(table["split"])
    thick = 0.8 / len(splits)
    for k, split in enumerate(splits):
        rate = table[table["split"] == split].set_index("part")["rate"].reindex(parts).to_numpy(float)
        ax.barh(np.arange(len(parts)) + (k - (len(splits) - 1) / 2) * thick, rate, thick * 0.9, color=_colour(split))
    ax.set_yticks(range(len(parts)), [part.replace("_", " ") for part in parts])
    ax.invert_yaxis()
    ax.set(title="missing joints", xlabel="share of (frame, joint)", xlim=(0, max(0.01, _highest(table["rate"]) * 1.15)))
    ax.grid(axis="x")


def _joint_axes(ax: Axes, table: pd.DataFrame) -> None:
    """Rates a joint; joints in their order, parts told apart by their background."""
    order = {part: k for k, part in enumerate(dict.fromkeys(table["part"]))}
    table = table.sort_values("part", key=lambda part: part.map(order), kind="stable")
    x = np.arange(len(table))
    kinds = {"missing": (style.BLUE, "missing (cells)", "o"), "frozen": (style.ORANGE, "frozen (clips)", "s"),
             "jump": (style.VERMILION, "jumping (steps)", "^")}  # fmt: skip
    for column, (colour, label, marker) in kinds.items():
        ax.plot(x, table[column], marker, color=colour, ms=2.6, label=label, mew=0)
    starts = np.flatnonzero(table["part"].to_numpy() != table["part"].shift().to_numpy())
    ends = np.append(starts[1:], len(table))
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if k % 2 == 0:
            ax.axvspan(start - 0.5, end - 0.5, color="#F3F3F3", lw=0, zorder=0)
        if end - start >= 0.03 * len(table):
            ax.text((start + end - 1) / 2, -0.04, table["part"].iloc[start].replace("_", " "), rotation=90, ha="center",
                    va="top", fontsize=7, transform=ax.get_xaxis_transform())  # fmt: skip
    ax.set_xticks([])
    top = max(0.02, _highest(table[list(kinds)]) * 1.25)
    ax.set(title="each joint", ylabel="rate", xlim=(-0.6, len(table) - 0.4), ylim=(-0.02 * top, top))
    ax.grid(axis="y")
    ax.legend(loc="upper left", ncols=3, handletextpad=0.1, columnspacing=0.8, borderaxespad=0.1)


def _split_axes(ax: Axes, table: pd.DataFrame) -> None:
    kinds = ["missing", "jump", "swap"]
    labels = ["missing\njoints", "jumping\nsteps", "left/right\nexchanged"]
    splits = _splits(table["split"])
    thick = 0.8 / len(splits)
    for k, split in enumerate(splits):
        row = table[table["split"] == split].iloc[0]
        ax.bar(np.arange(3) + (k - (len(splits) - 1) / 2) * thick, [row[kind] for kind in kinds], thick * 0.9,
               color=_colour(split), label=split)  # fmt: skip
    ax.set_xticks(range(3), labels)
    ax.tick_params(axis="x", length=0)
    ax.set(title="each split", ylim=(0, max(0.01, _highest(table[kinds]) * 1.15)))
    ax.grid(axis="y")


def _hand_axes(ax: Axes, table: pd.DataFrame) -> None:
    """Which hand lies nearer to which wrist: the smaller number of a row should stand on the diagonal."""
    if not len(table):
        ax.set_axis_off()
        ax.text(0.5, 0.5, "no hands in\nthis skeleton", ha="center", va="center", transform=ax.transAxes, fontsize=7)
        return
    wide = table.pivot(index="hand", columns="wrist", values="distance")
    ax.imshow(wide, cmap="Blues", vmin=0, vmax=max(0.01, _highest(wide) * 1.4), aspect="auto")
    for (i, j), value in np.ndenumerate(wide.to_numpy()):
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8)
    ax.set_xticks(range(wide.shape[1]), [str(w).replace("_", " ").replace(" wrist", "") for w in wide.columns])
    ax.set_yticks(range(wide.shape[0]), [str(h).replace("_", " ").replace(" hand", "") for h in wide.index], rotation=90, va="center")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set(title="hand to wrist", xlabel="wrist", ylabel="hand")
