"""The representation of paper A: which frames are taken, how gaps are bridged, what the heatmaps look like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from migstudy import temporal
from migstudy.figures import style
from migstudy.topology import Topology
from migstudy.video.rgb import KINETICS_MEAN, KINETICS_STD

SAMPLER_NAMES = {
    "uniform_interval": "uniform intervals,\ninterpolated\n(paper A, ours)",
    "uniform_segments": "uniform segments,\nwrapped (PYSKL)",
    "zero_pad": "padded to 90 with\nempty frames (2023)",
}
_SAMPLER_COLOURS = {"uniform_interval": style.BLUE, "uniform_segments": style.GREEN, "zero_pad": style.VERMILION}


@style.styled
def draw_sampling(lengths: Sequence[int] = (20, 60, 150), clip_len: int = 48, pad_to: int = 90) -> Figure:
    """Which frames the three samplers take in test mode, for clips of each length.

    One panel a length, one band a sampler; inside a band the sampled frames climb in the order in which the model sees
    them, so wrapping shows as a saw, skipping as gaps, and empty frames as open circles beyond the clip's end.
    """
    fig = style.new_figure(style.PAGE, 2.7)
    axes = fig.subplots(1, len(lengths), sharey=True, squeeze=False)[0]
    names = list(SAMPLER_NAMES)
    for ax, length in zip(axes, lengths, strict=True):
        for band, name in enumerate(reversed(names)):
            positions, empty = _taken(name, length, clip_len, pad_to)
            height = band + 0.12 + 0.76 * np.linspace(0, 1, len(positions))
            ax.axhspan(band + 0.04, band + 0.96, color="#F6F7F9", lw=0, zorder=0)
            ax.fill_betweenx([band + 0.04, band + 0.96], -0.5, length - 0.5, color="#DDE3EC", lw=0, zorder=1)
            colour = _SAMPLER_COLOURS[name]
            ax.scatter(positions[~empty], height[~empty], s=5, color=colour, lw=0, zorder=3)
            ax.scatter(positions[empty], height[empty], s=6, facecolors="white", edgecolors=colour, lw=0.6, zorder=3)
            if empty.any():
                ax.text(pad_to, band + 0.1, f"{empty.mean():.0%} empty", ha="right", va="bottom", fontsize=7, color=colour)
        ax.set_title(f"clip of {length} frames")
        ax.set(xlim=(-3, max(pad_to, length) + 2), ylim=(0, len(names)), xlabel="frame of the clip")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    axes[0].set_yticks(np.arange(len(names)) + 0.5, [SAMPLER_NAMES[n] for n in reversed(names)])
    return fig


def _taken(name: str, length: int, clip_len: int, pad_to: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions on the clip's own frames and which of them are padding, from the sampler that training uses."""
    if name == "zero_pad":
        offset = max(length - pad_to, 0)  # longer clips keep their end
        positions = temporal.segment_positions(pad_to, clip_len) + offset
        return positions, positions >= length
    positions = temporal.interval_positions if name == "uniform_interval" else temporal.segment_positions
    taken = positions(length, clip_len)
    return taken, np.zeros(len(taken), bool)


@style.styled
def draw_interpolation(
    values: np.ndarray, scores: np.ndarray, clip_len: int = 48, name: str = "coordinate", units: str = "px",
    source: str | None = None,
) -> Figure:  # fmt: skip
    """One coordinate of one joint, as recorded and as sampled at uniform intervals; missing frames are never bridged.

    values, scores: (T,) of a clip; score 0 marks a missing frame. The sampled points come from `temporal.take_frames`.
    """
    values, scores = np.asarray(values, float), np.asarray(scores, float)
    if values.shape != scores.shape or values.ndim != 1:
        raise ValueError(f"values {values.shape} and scores {scores.shape} must both be one number a frame, (T,)")
    frames = np.arange(len(values))
    positions = temporal.interval_positions(len(values), clip_len)
    sampled, blended = temporal.take_frames(values[:, None, None], scores[:, None], positions)
    sampled, blended = sampled[:, 0, 0].astype(float), blended[:, 0]
    seen, kept = scores > 0, blended > 0
    fig = style.new_figure(style.COLUMN, 2.7)
    top, bottom = fig.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
    for ax in (top, bottom):
        for start, stop in _spans(~seen):
            ax.axvspan(start - 0.5, stop + 0.5, color="#F3E3D8", lw=0, label="missing" if ax is top else None, zorder=0)
    gaps = np.searchsorted(positions, frames[~seen])  # the line stops at a missing frame
    top.plot(np.insert(positions, gaps, np.nan), np.insert(np.where(kept, sampled, np.nan), gaps, np.nan),
             color=style.BLUE, lw=0.7, zorder=2)  # fmt: skip
    top.scatter(positions[kept], sampled[kept], s=11, color=style.BLUE, lw=0, label=f"sampled, {clip_len}", zorder=3)
    top.scatter(frames[seen], values[seen], s=22, facecolors="none", edgecolors=style.VERMILION, lw=0.9,
                label=f"recorded, {len(values)}", zorder=4)  # fmt: skip
    top.set_ylabel(f"{name} ({units})")
    bottom.plot(positions, blended, color=style.BLUE, lw=0.7)
    bottom.scatter(positions, blended, s=6, color=style.BLUE, lw=0)
    bottom.scatter(frames, scores, s=22, facecolors="none", edgecolors=style.VERMILION, lw=0.9)
    bottom.set(xlabel="frame of the clip", ylabel="confidence", ylim=(-0.08, 1.08), yticks=(0, 0.5, 1))
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = top.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    fig.legend(unique.values(), unique.keys(), loc="outside upper center", ncols=3, handletextpad=0.3, columnspacing=1.0)
    if source:
        style.add_source(fig, source, "drawn from")
    return fig


def _spans(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return [(int(a), int(b) - 1) for a, b in edges.reshape(-1, 2)]


@style.styled
def draw_heatmaps(
    joint_volume: np.ndarray,
    limb_volume: np.ndarray | None = None,
    frames: int | Sequence[int] = 6,
    mirrored: np.ndarray | None = None,
    source: str | None = None,
) -> Figure:
    """Heatmap volumes at several frames, the largest value over the channels, one colour scale a row.

    joint_volume (V, T, H, W), limb_volume (E, T, H, W), mirrored (V, T, H, W): one clip's volume as the model sees it;
    tensors on the CPU are taken too. frames: how many, evenly spread, or which.
    """
    rows = {"joints": joint_volume, "limbs": limb_volume, "joints,\nmirrored view": mirrored}
    rows = {name: np.asarray(volume) for name, volume in rows.items() if volume is not None}
    shape = rows["joints"].shape
    for name, volume in rows.items():
        if volume.ndim != 4 or volume.shape[1:] != shape[1:]:
            raise ValueError(f"{name.split(',')[0]} volume is {volume.shape}; give one clip as (channels, T, H, W), "
                             f"all with the T, H, W of the joints {shape[1:]}")  # fmt: skip
    chosen = np.linspace(0, shape[1] - 1, frames).round().astype(int) if isinstance(frames, int) else np.asarray(frames)
    side = (style.PAGE - 1.35) / len(chosen)
    fig = style.new_figure(style.PAGE, 0.42 + len(rows) * (side * shape[2] / shape[3] + 0.05) + 0.2 * bool(source))
    axes = fig.subplots(len(rows), len(chosen), squeeze=False)
    for row, (name, volume) in enumerate(rows.items()):
        images = volume[:, chosen].max(0)  # a sum would show only where landmarks crowd
        top = max(float(images.max()), 1e-6)
        for ax, image, frame in zip(axes[row], images, chosen, strict=True):
            # crowded lips outshine a lone wrist: the colours follow the root
            shown = ax.imshow(image, cmap="magma", norm=PowerNorm(0.5, vmin=0, vmax=top))
            _bare(ax)
            if row == 0:
                ax.set_title(f"frame {frame}", fontsize=7, loc="center")
        axes[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=4)
        bar = fig.colorbar(shown, ax=list(axes[row]), aspect=14, pad=0.01, fraction=0.03)
        bar.outline.set_visible(False)
        bar.ax.set_title("max", fontsize=7, loc="center", pad=3)
    if source:
        style.add_source(fig, source, "drawn from")
    return fig


@style.styled
def draw_graph_input(coordinates: np.ndarray, topology: Topology, frames: int = 6, source: str | None = None) -> Figure:
    """The skeleton as a graph network sees it at several frames: coordinates (C, T, V, M) of one clip, its first person.

    2D comes as x, y (downwards, as in the image) and score; of 3D, normalised so that z is up, x and z are drawn.
    """
    points = np.asarray(coordinates)[..., 0]
    in_space = len(points) == 3 and bool((points[2] < 0).any())  # scores are never negative
    present = (points != 0).any(0)
    points = points[[0, 2]] * np.array([1, -1])[:, None, None] if in_space else points[:2]
    chosen = np.linspace(0, points.shape[1] - 1, frames).round().astype(int)
    shown = points[:, present]
    (left, right), (low, high) = ((float(axis.min()), float(axis.max())) for axis in shown)
    fig = style.new_figure(style.PAGE, 1.6 + 0.2 * bool(source))
    for ax, frame in zip(fig.subplots(1, frames, sharex=True, sharey=True), chosen, strict=True):
        x, y = points[:, frame]
        for a, b in topology.edges:
            if present[frame, a] and present[frame, b]:
                ax.plot(x[[a, b]], y[[a, b]], color=style.GREY, lw=0.7)
        ax.plot(x[present[frame]], y[present[frame]], ".", color=style.BLUE, ms=2.5)
        ax.set_title(f"frame {frame}", fontsize=7, loc="center")
        margin = 0.05 * (high - low)
        ax.set(xlim=(left - margin, right + margin), ylim=(high + margin, low - margin), aspect="equal")
        _bare(ax)
    if source:
        style.add_source(fig, source, "drawn from")
    return fig


@style.styled
def draw_pictures(
    clip: np.ndarray, frames: int = 8, source: str | None = None, training: Sequence[np.ndarray] = ()
) -> Figure:
    """The pictures of a clip as a video model sees them, (3, T, H, W) normalised, at several frames; a row below for each
    of its random training views.
    """
    rows = [np.asarray(view) * KINETICS_STD + KINETICS_MEAN for view in (clip, *training)]
    chosen = np.linspace(0, rows[0].shape[1] - 1, min(frames, rows[0].shape[1])).round().astype(int)
    side = (style.PAGE - 0.6) / len(chosen)
    fig = style.new_figure(style.PAGE, len(rows) * side * rows[0].shape[2] / rows[0].shape[3] + 0.4 + 0.2 * bool(source))
    axes = fig.subplots(len(rows), len(chosen), squeeze=False)
    for row, (view, name) in enumerate(zip(rows, ["test view", *["training view"] * len(training)], strict=True)):
        for ax, frame in zip(axes[row], chosen, strict=True):
            ax.imshow(np.moveaxis(view[:, frame], 0, -1).clip(0, 1))
            _bare(ax)
            if row == 0:
                ax.set_title(f"frame {frame}", fontsize=7, loc="center")
        axes[row, 0].set_ylabel(name, fontsize=7)
    if source:
        style.add_source(fig, source, "drawn from")
    return fig


def draw_input(volume: np.ndarray, topology: Topology, source: str | None = None, stream: str = "") -> Figure:
    """One clip as its network sees it: heatmaps (channels, T, H, W), coordinates (C, T, V, 1) of the topology's joints, or
    pictures (3, T, H, W) of the stream `rgb`.
    """
    if stream == "rgb":
        return draw_pictures(volume, source=source)
    on_graph = volume.shape[2] == topology.num_joints and volume.shape[3] == 1
    return draw_graph_input(volume, topology, source=source) if on_graph else draw_heatmaps(volume, source=source)


def _bare(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
