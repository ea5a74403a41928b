"""Keeps hands and forearms out of head, trunk and table: how far points of the arms lie inside, and the way out."""

from __future__ import annotations

import numpy as np

from migstudy.simulate.body import TABLE_EDGE, TABLE_HEIGHT, Proportions, Trunk

# head frame, m: centre and semi-axes of the skull and of the face below it
_HEAD = (((0.0, 0.028, -0.008), (0.0745, 0.092, 0.095)), ((0.0, -0.032, 0.028), (0.064, 0.090, 0.076)))
# trunk: height as a share of the spine, half width, half depth, offset forward, m; its outline is flatter than an ellipse
_TRUNK = np.array([
    [-0.20, 0.168, 0.128, 0.000], [0.00, 0.166, 0.126, 0.000], [0.30, 0.154, 0.116, 0.004], [0.60, 0.164, 0.117, 0.009],
    [0.80, 0.172, 0.114, 0.005], [0.92, 0.147, 0.094, -0.008], [1.00, 0.090, 0.070, -0.013], [1.06, 0.061, 0.056, -0.010],
])  # fmt: skip
_SQUARE = 2.5
_FINGER, _FOREARM = 0.008, 0.030  # half as thick as the limb, m: skin and cloth give way
_ALONG = np.array([0.4, 0.7, 1.0])[:, None]  # points of the forearm that are looked at


def way_out(
    trunk: Trunk, elbows: np.ndarray, wrists: np.ndarray, fingers: np.ndarray, size: Proportions
) -> np.ndarray:
    """(T, 2, 3) m by which each hand has to move so that neither it nor its forearm is inside the person or the table.

    elbows, wrists: (T, 2, 3), fingers: (T, 2, 21, 3) m in the room. The shift of the point that lies deepest; zero where
    nothing does.
    """
    shifts = []
    for side in (0, 1):
        forearm = elbows[:, side, None] + _ALONG * (wrists - elbows)[:, side, None]
        points = np.concatenate([fingers[:, side], forearm], 1)
        margin = np.concatenate([np.full(fingers.shape[2], _FINGER), np.full(len(_ALONG), _FOREARM)])
        trunk_and_head = _out_of_trunk(points, trunk, size, margin), *_out_of_head(points, trunk, size, margin)
        ways = np.concatenate([*trunk_and_head, _off_table(points, margin)], 1)
        deepest = np.argmax((ways**2).sum(-1), axis=1)
        shifts.append(ways[np.arange(len(ways)), deepest])
    return np.stack(shifts, 1)


def _out_of_head(points: np.ndarray, trunk: Trunk, size: Proportions, margin: np.ndarray) -> list[np.ndarray]:
    local = (points - trunk.head[:, None]) @ trunk.head_axes
    scale, ways = size.ear[0] / Proportions().ear[0], []
    for center, axes in _HEAD:
        away = local - scale * np.array(center)
        inside = np.linalg.norm(away / (scale * np.array(axes) + margin[:, None]), axis=-1, keepdims=True)
        way = away * np.maximum(1 / np.maximum(inside, 0.2) - 1, 0)
        ways.append(way @ trunk.head_axes.transpose(0, 2, 1))
    return ways


def _out_of_trunk(points: np.ndarray, trunk: Trunk, size: Proportions, margin: np.ndarray) -> np.ndarray:
    local = (points - trunk.pelvis[:, None]) @ trunk.torso_axes
    height = local[..., 1] / size.spine
    width, depth, forward = (np.interp(height, _TRUNK[:, 0], column, right=1e-3) for column in _TRUNK[:, 1:].T)
    width = width * size.shoulder / Proportions().shoulder
    away = np.stack([local[..., 0], np.zeros_like(height), local[..., 2] - forward], -1)
    inside = np.abs(away[..., 0] / (width + margin)) ** _SQUARE + np.abs(away[..., 2] / (depth + margin)) ** _SQUARE
    way = away * np.maximum(1 / np.maximum(inside, 1e-3) ** (1 / _SQUARE) - 1, 0)[..., None]
    way *= (height < _TRUNK[-1, 0])[..., None]
    return way @ trunk.torso_axes.transpose(0, 2, 1)


def _off_table(points: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Up, for what is less than 5 cm below the table's top; deeper things are under the table."""
    depth = TABLE_HEIGHT + margin - points[..., 1]
    way = np.zeros_like(points)
    way[..., 1] = np.where((depth > 0) & (depth < 0.05) & (points[..., 2] > TABLE_EDGE), depth, 0)
    return way
