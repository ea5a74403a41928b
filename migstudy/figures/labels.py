"""Placing small numbers beside points so that they can be read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke

_ANGLES = np.arange(24) * np.pi / 12
_DIRECTIONS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1)
_GAPS = (3.0, 5.0, 7.5)  # points between a dot and its number
_TOO_CROWDED = 26.0  # a number whose best place costs more is left out


def place_labels(ax: Axes, points: np.ndarray, edges: Sequence[tuple[int, int]], which: Sequence[int],
                 colours: Sequence[str], outward: np.ndarray, fontsize: float = 7.0) -> list[int]:  # fmt: skip
    """Write the index of each point in `which` beside it; gives those that found a readable place, in order.

    Greedy, in pixels after layout: a number keeps off the dots, the limbs and the numbers already there, leans outward
    and stays in the panel. points: (V, 2) in data units; outward: (V, 2), preferred directions in data units.
    """
    which = list(which)
    if not which:
        return []
    ax.figure.draw_without_rendering()  # runs the layout, so that data units have their final size
    point = ax.figure.dpi / 72
    shown = ax.transData.transform(points)
    lean = _unit(ax.transData.transform(points + outward) - shown)
    frame = ax.get_window_extent()
    obstacles = np.concatenate([shown[which], *_along(shown, edges, step=2 * point)])
    # the crowded points choose first: they have the fewest places
    distance = np.hypot(*(shown[which][:, None] - shown[which][None]).transpose(2, 0, 1))
    crowd = np.argsort((distance < 12 * point).sum(1) * -1, kind="stable")
    boxes, placed = [], []
    for joint in (which[k] for k in crowd):
        size = np.array([0.64 * fontsize * len(str(joint)), 0.95 * fontsize]) * point
        best, least = None, np.inf
        for gap in _GAPS:
            for direction in _DIRECTIONS:
                centre = shown[joint] + direction * (gap * point + size / 2)
                low, high = centre - size / 2, centre + size / 2
                if (low < frame.min).any() or (high > frame.max).any():
                    continue
                if any((low < h).all() and (high > l).all() for l, h in boxes):
                    continue
                hits = ((obstacles > low) & (obstacles < high)).all(1).sum()
                away = 8.0 * (1 - direction @ lean[joint])
                # nearer to another dot, it would be read as that one's number
                others = shown[[k for k in which if k != joint]]
                stolen = len(others) and np.hypot(*(others - centre).T).min() < 0.9 * np.hypot(*(centre - shown[joint]))
                cost = 3.0 * hits + away + gap + 12.0 * bool(stolen)
                if cost < least:
                    best, least = centre, cost
        if best is None or least > _TOO_CROWDED:
            continue
        boxes.append((best - size / 2, best + size / 2))
        x, y = ax.transData.inverted().transform(best)
        dark = tuple(0.62 * channel for channel in to_rgb(colours[joint]))
        ax.text(x, y, str(joint), fontsize=fontsize, color=dark, ha="center", va="center_baseline", zorder=6,
                in_layout=False, path_effects=[withStroke(linewidth=1.2, foreground="white", alpha=0.8)])  # fmt: skip
        placed.append(joint)
    return sorted(placed)


def outward_directions(points: np.ndarray, edges: Sequence[tuple[int, int]], groups: Sequence[Sequence[int]]) -> np.ndarray:
    """For each point the direction away from its neighbours; inside a chain or ring, away from its group's middle, (V, 2)."""
    away = np.zeros_like(points, dtype=float)
    for a, b in edges:
        step = _unit(points[a] - points[b])
        away[a] += step
        away[b] -= step
    middle = np.zeros_like(away)
    for group in groups:
        middle[list(group)] = points[list(group)].mean(0)
    inner = np.hypot(*away.T) < 0.8
    away[inner] = (points - middle)[inner]
    return _unit(away)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def _along(shown: np.ndarray, edges: Sequence[tuple[int, int]], step: float) -> list[np.ndarray]:
    """Points every `step` pixels on each edge."""
    lines = []
    for a, b in edges:
        count = max(2, int(np.hypot(*(shown[b] - shown[a])) / step))
        lines.append(shown[a] + np.linspace(0, 1, count)[:, None] * (shown[b] - shown[a]))
    return lines
