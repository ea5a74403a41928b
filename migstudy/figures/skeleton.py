"""Skeletons: topologies over a seated person, clips as film strips, adjacency matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Ellipse, Polygon

from migstudy.figures import style
from migstudy.figures.canonical_pose import canonical_openpose137, canonical_pose
from migstudy.figures.labels import outward_directions, place_labels
from migstudy.graphs import adjacency as graph
from migstudy.skeletons import FACE, FINGERTIPS, LEFT_HAND, RIGHT_HAND, get_topology
from migstudy.topology import Topology

PART_COLOURS = {
    "body": style.BLUE, "head": style.ORANGE, "right_hand": style.GREEN, "left_hand": style.PURPLE,
    "jaw": style.SKY, "brows": style.BLACK, "nose_line": "#7A5195", "eyes": style.GREY, "lips": style.VERMILION,
    "legs": "#6B7A8F",
}  # fmt: skip
# windows on the canonical pose: left, right, top, bottom; y runs down
WINDOWS = {
    "person": (-2.85, 2.85, -1.30, 4.55), "face": (-1.08, 1.08, -0.92, 1.17), "hand": (-2.70, -1.20, 1.00, 2.42),
    "whole": (-2.85, 2.85, -1.30, 7.00),
}  # fmt: skip
_WRONG = style.VERMILION


@style.styled
def draw_topology(
    topology: Topology | str,
    keypoints: np.ndarray | None = None,
    ax: Axes | None = None,
    reference: Topology | str | None = None,
    labels: bool = True,
) -> Figure:
    """The limb diagram of a topology over a seated person, joints numbered where the numbers can be read.

    keypoints: (V, 2), y down, instead of the drawn person. ax: draw into this one panel; without it a page-wide figure
    with zooms on face and hand. reference: limbs that this topology lacks are drawn dashed as wrong. Returns the figure.
    """
    topology = get_topology(topology)
    points = canonical_pose(topology) if keypoints is None else _checked(topology, keypoints)
    window = _around(points) if keypoints is not None else WINDOWS["person" if _seated(topology) else "whole"]
    if ax is not None:
        _panel(ax, topology, points, window, keypoints is None, reference)
        fig, panels = ax.figure, [ax]
    elif keypoints is None and _has_detail(topology):
        fig = style.new_figure(5.6, 3.9)
        grid = fig.add_gridspec(2, 2, width_ratios=(1.85, 1))
        panels = [fig.add_subplot(grid[:, 0]), fig.add_subplot(grid[0, 1]), fig.add_subplot(grid[1, 1])]
        for panel, view in zip(panels, (window, WINDOWS["face"], WINDOWS["hand"]), strict=True):
            _panel(panel, topology, points, view, True, reference)
        panels[0].set_title(_title(topology))
        panels[1].set_title("face")
        panels[2].set_title("right hand")
        _legend(fig, [topology], reference is not None)
    else:
        fig = style.new_figure(style.COLUMN, 3.6)
        panels = [fig.add_subplot()]
        _panel(panels[0], topology, points, window, keypoints is None, reference)
        panels[0].set_title(_title(topology))
    if labels:
        for panel in panels:
            _number(panel, topology, points, zoomed=len(panels) > 1 and panel is panels[0])
    return fig


@style.styled
def draw_topologies(
    topologies: Sequence[Topology | str] = ("imigue22_starterkit", "imigue22", "imigue36", "imigue41"),
    titles: Sequence[str] | None = None,
    references: Mapping[str, str] | None = None,
) -> Figure:
    """Topologies side by side, each as person, face and hand: the study's counterpart of paper A's figure 1.

    titles: one a topology. references: name -> the topology whose limbs count as right (by default the starter kit's
    list is held against its correction). Only topologies cut from OpenPose's 137 points.
    """
    chosen = [get_topology(t) for t in topologies]
    references = {"imigue22_starterkit": "imigue22"} if references is None else references
    titles = titles or [_TITLES.get(t.name, t.name) for t in chosen]
    fig = style.new_figure(style.PAGE if len(chosen) > 2 else style.COLUMN * len(chosen), 5.9)
    axes = fig.subplots(3, len(chosen), squeeze=False, height_ratios=(1.03, 0.97, 0.95))
    for column, (topology, title) in enumerate(zip(chosen, titles, strict=True)):
        points, reference = canonical_pose(topology), references.get(topology.name)
        for row, view in enumerate(("person", "face", "hand")):
            _panel(axes[row, column], topology, points, WINDOWS[view], True, reference)
        axes[0, column].set_title(f"{title}\n{topology.num_joints} joints, {len(topology.edges)} limbs")
    _legend(fig, chosen, any(t.name in references for t in chosen))
    for column, topology in enumerate(chosen):
        for row in range(1, 3):
            _number(axes[row, column], topology, canonical_pose(topology))
    return fig


_TITLES = {
    "imigue22_starterkit": "starter kit, as shipped", "imigue22": "starter kit, corrected",
    "imigue36": "MM-Gesture (2025)", "imigue41": "this study (paper A's 41)",
}  # fmt: skip


def _title(topology: Topology) -> str:
    return f"{topology.name}: {topology.num_joints} joints, {len(topology.edges)} limbs"


@style.styled
def draw_clip(
    clip, topology: Topology | str, frames: int = 8, names: Sequence[str] | None = None, source: str | None = None
) -> Figure:
    """A film strip: `frames` skeletons evenly spaced over a Clip, all in one window; unseen joints are left out.

    names: class names, to title the strip. source: one line on the data, written below. Time runs left to right, frame numbers are the video's own.
    """
    topology = get_topology(topology)
    keypoints, seen = np.asarray(clip.keypoints)[..., :2], np.asarray(clip.scores) > 0
    if keypoints.shape[1] != topology.num_joints:
        raise ValueError(f"clip {clip.clip_id}: {keypoints.shape[1]} joints, but {topology.name} has "
                         f"{topology.num_joints}; draw it with its own topology")  # fmt: skip
    if not seen.any():
        raise ValueError(f"clip {clip.clip_id}: no joint is seen in any frame, nothing to draw")
    chosen = np.unique(np.linspace(0, len(keypoints) - 1, frames).round().astype(int))
    upper = seen & ~np.isin(np.arange(topology.num_joints), topology.parts.get("legs", ()))
    window = _around(keypoints[upper if upper.any() else seen])
    shape = (window[3] - window[2]) / (window[1] - window[0])
    fig = style.new_figure(style.PAGE, 0.45 + style.PAGE / len(chosen) * shape + 0.2 * bool(source))
    for ax, t in zip(fig.subplots(1, len(chosen), squeeze=False)[0], chosen, strict=True):
        _skeleton(ax, topology, keypoints[t], seen[t], size=2.5, width=0.8)
        _frame(ax, window)
        ax.set_title(f"frame {clip.start + t}", fontsize=7)
    named = names is not None and clip.label >= 0
    fig.suptitle(f"clip {clip.clip_id}" + (f": {names[clip.label]}" if named else ""), x=0.01, ha="left", fontsize=8.5)
    if source:
        style.add_source(fig, source, "drawn from")
    return fig


@style.styled
def draw_adjacency(topology: Topology | str, strategy: str = "spatial") -> Figure:
    """The (K, V, V) adjacency of a topology, one panel a partition; rows send, columns receive, parts set apart."""
    topology = get_topology(topology)
    matrices = topology.adjacency(strategy)
    names = {"spatial": ("self", "sender as far or further", "sender closer"),
             "agcn": ("self", "inward", "outward"), "distance": ("self", "neighbours"), "uniform": ("all",)}[strategy]
    order = [j for part in topology.parts.values() for j in part]
    ends = np.cumsum([len(part) for part in topology.parts.values()])
    fig = style.new_figure(style.PAGE if len(matrices) > 1 else style.COLUMN, 2.9)
    axes = fig.subplots(1, len(matrices), squeeze=False)[0]
    for k, (ax, matrix, name) in enumerate(zip(axes, matrices, names, strict=True)):
        image = ax.imshow(np.ma.masked_equal(matrix[np.ix_(order, order)], 0), cmap="viridis_r", vmin=0, vmax=matrices.max())
        for end in ends[:-1]:
            ax.axhline(end - 0.5, color="#CCCCCC", lw=0.5)
            ax.axvline(end - 0.5, color="#CCCCCC", lw=0.5)
        middles = ends - np.diff(ends, prepend=0) / 2 - 0.5
        parts = [part.replace("_", " ") for part in topology.parts]
        ax.set_yticks(middles, parts if k == 0 else [])
        ax.set_xticks(middles, parts, rotation=90)
        ax.tick_params(length=0)
        ax.set_title(name)
    fig.colorbar(image, ax=list(axes), shrink=0.7, label="weight")
    fig.suptitle(f"{topology.name}, {strategy} partition", x=0.01, ha="left")
    return fig


def _checked(topology: Topology, keypoints: np.ndarray) -> np.ndarray:
    points = np.asarray(keypoints, dtype=float)
    if points.shape != (topology.num_joints, 2):
        raise ValueError(f"topology {topology.name!r}: keypoints must be ({topology.num_joints}, 2), got {points.shape}")
    return points


def _seated(topology: Topology) -> bool:
    """Whether nothing lies below the hips."""
    return canonical_pose(topology)[:, 1].max() < 4.5


def _has_detail(topology: Topology) -> bool:
    return topology.openpose137 is not None and topology.name != "openpose25"


def _around(points: np.ndarray) -> tuple[float, float, float, float]:
    """A window that holds the points with a margin."""
    low, high = points.min(0), points.max(0)
    margin = 0.06 * max(*(high - low), 1e-6)
    return low[0] - margin, high[0] + margin, low[1] - margin, high[1] + margin


def _frame(ax: Axes, window: tuple[float, float, float, float]) -> None:
    ax.set(xlim=window[:2], ylim=(window[3], window[2]), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _panel(ax: Axes, topology: Topology, points, window, person: bool, reference) -> None:
    zoom = 2.2 if window in (WINDOWS["face"], WINDOWS["hand"]) else 1.0
    if person:
        _silhouette(ax, face=zoom > 1, legs=window == WINDOWS["whole"])
    _skeleton(ax, topology, points, None, size=7 * zoom, width=1.0 + 0.15 * zoom, reference=reference)
    _frame(ax, window)


def _joint_colours(topology: Topology) -> list[str]:
    colours = [style.BLUE] * topology.num_joints
    for part, joints in topology.parts.items():
        for joint in joints:
            colours[joint] = PART_COLOURS.get(part, style.BLUE)
    return colours


def _skeleton(ax: Axes, topology: Topology, points, seen=None, size=7.0, width=1.1, reference=None) -> None:
    """Limbs in the colour of their outer joint, joints as dots, the centre as a ring."""
    colours = _joint_colours(topology)
    seen = np.ones(topology.num_joints, bool) if seen is None else seen
    right = None
    if reference is not None:
        right = {frozenset(edge) for edge in get_topology(reference).edges}
    outer = graph.oriented_edges(topology.num_joints, topology.edges, topology.center)
    drawn = [(a, b) for a, b in outer if seen[a] and seen[b]]
    good = [(a, b) for a, b in drawn if right is None or frozenset((a, b)) in right]
    wrong = [edge for edge in drawn if edge not in good]
    ax.add_collection(LineCollection(points[np.array(good, int).reshape(-1, 2)], colors=[colours[a] for a, _ in good],
                                     linewidths=width, capstyle="round", zorder=3))  # fmt: skip
    ax.add_collection(LineCollection(points[np.array(wrong, int).reshape(-1, 2)], colors=_WRONG, linewidths=width * 0.8,
                                     linestyles=(0, (3, 1.5)), zorder=3))  # fmt: skip
    lone = seen & ~np.isin(np.arange(topology.num_joints), np.array(topology.edges, int).ravel())
    ax.scatter(*points[seen].T, s=size, c=np.array(colours)[seen], edgecolors="white",
               linewidths=0.4 if size > 4 else 0.15, zorder=4)  # fmt: skip
    ax.scatter(*points[lone].T, s=size * 3, facecolors="none", edgecolors=_WRONG, linewidths=0.9, zorder=5)
    if seen[topology.center]:
        ax.scatter(*points[topology.center], s=size * 3, facecolors="none", edgecolors=style.INK, linewidths=0.9, zorder=5)


def _capsule(a, b, radius: float) -> list:
    a, b = np.asarray(a, float), np.asarray(b, float)
    across = np.array([a[1] - b[1], b[0] - a[0]]) / max(np.hypot(*(b - a)), 1e-9) * radius
    return [Polygon([a + across, b + across, b - across, a - across]), Circle(a, radius), Circle(b, radius)]


def _silhouette(ax: Axes, face: bool, legs: bool) -> None:
    """The seated person in pale grey; `face` adds the face's lines that a topology may leave out."""
    pose = canonical_openpose137()
    patches = [Ellipse((0, -0.08), 1.58, 2.20), Polygon([(-0.34, 0.5), (0.34, 0.5), (0.42, 1.7), (-0.42, 1.7)])]
    patches += [Ellipse((x, -0.16), 0.22, 0.44) for x in (-0.79, 0.79)]
    patches.append(Polygon([(-0.42, 1.35), (0.42, 1.35), (1.12, 1.52), (1.26, 1.9), (0.95, 3.2), (0.98, 4.7),
                            (-0.98, 4.7), (-0.95, 3.2), (-1.26, 1.9), (-1.12, 1.52)]))  # fmt: skip
    for hip, knee, ankle, toe in ((9, 10, 11, 22), (12, 13, 14, 19)) if legs else ():
        patches += _capsule(pose[hip], pose[knee], 0.42) + _capsule(pose[knee], pose[ankle], 0.28)
        patches += _capsule(pose[ankle], pose[toe], 0.2)
    for shoulder, elbow, wrist, root in ((2, 3, 4, RIGHT_HAND), (5, 6, 7, LEFT_HAND)):
        patches += _capsule(pose[shoulder], pose[elbow], 0.26) + _capsule(pose[elbow], pose[wrist], 0.19)
        hand = pose[root : root + 21]
        patches.append(Polygon(hand[[0, 1, 5, 9, 13, 17]]))
        patches += _capsule(pose[wrist], hand[9], 0.17) + _capsule(hand[0], hand[17], 0.12)
        for tip in FINGERTIPS:
            patches += _capsule(hand[tip - 3], hand[tip], 0.085) + _capsule(hand[0], hand[tip - 3], 0.11)
    ax.add_collection(PatchCollection(patches, facecolor=style.PALE, edgecolor="none", zorder=1))
    if face:
        marks = pose[FACE : FACE + 70]
        lines = [[0, 16], [17, 21], [22, 26], [27, 30], [31, 35]]
        strokes = [marks[a : b + 1] for a, b in lines]
        strokes += [marks[[*range(a, b + 1), a]] for a, b in ((36, 41), (42, 47), (48, 59), (60, 67))]
        ax.add_collection(LineCollection(strokes, colors="#C3C8D0", linewidths=0.9, zorder=2))


def _number(ax: Axes, topology: Topology, points: np.ndarray, zoomed: bool = False) -> None:
    """Write joint numbers into a panel, those that find room; `zoomed` leaves out what the zooms number."""
    (x0, x1), (y1, y0) = ax.get_xlim(), ax.get_ylim()
    x, y = points.T
    inside = (x > x0) & (x < x1) & (y > y0) & (y < y1)
    if zoomed:
        face = WINDOWS["face"]
        inside &= ~((x > face[0]) & (x < face[1]) & (y > face[2]) & (y < face[3]))
        for hand in ("left_hand", "right_hand"):
            joints = list(topology.parts.get(hand, ()))
            inside[joints] &= len(joints) <= 6
    outward = outward_directions(points, topology.edges, list(topology.parts.values()))
    place_labels(ax, points, topology.edges, np.flatnonzero(inside), _joint_colours(topology), outward)


def _legend(fig: Figure, topologies: Sequence[Topology], wrong: bool) -> None:
    shown = [part for part in PART_COLOURS if any(part in t.parts for t in topologies)]
    handles = [
        Line2D([], [], color=PART_COLOURS[part], marker="o", ms=4, lw=1.4, label=part.replace("_", " ")) for part in shown
    ]
    handles.append(Line2D([], [], marker="o", ms=5.5, mfc="none", mec=style.INK, ls="none", label="centre"))
    if wrong:
        handles.append(Line2D([], [], color=_WRONG, ls=(0, (3, 1.5)), lw=1.1, label="wrong limb"))
        handles.append(Line2D([], [], marker="o", ms=5.5, mfc="none", mec=_WRONG, ls="none", label="joint without limb"))
    fig.legend(handles=handles, loc="outside lower center", columnspacing=1.2, handlelength=1.6,
               ncols=-(-len(handles) // (1 + (len(handles) > 6 * fig.get_figwidth() / 5))))  # fmt: skip
