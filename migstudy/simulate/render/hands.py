"""A hand of 21 joints as round cones: fingers, ball of the thumb, and a palm without gaps."""

from __future__ import annotations

import numpy as np

from migstudy.simulate.render.raster import Primitives

_BONES = np.array([[f * 4 + k, f * 4 + k + 1] for f in range(5) for k in range(1, 4)])  # joints of every phalanx
# m, at the near and the far end of every phalanx of a hand of the usual size
_RADII = np.array([
    [0.0125, 0.0110], [0.0110, 0.0098], [0.0098, 0.0078], [0.0100, 0.0088], [0.0088, 0.0078], [0.0078, 0.0064],
    [0.0102, 0.0090], [0.0090, 0.0080], [0.0080, 0.0066], [0.0098, 0.0086], [0.0086, 0.0076], [0.0076, 0.0062],
    [0.0088, 0.0076], [0.0076, 0.0066], [0.0066, 0.0056],
])  # fmt: skip
_KNUCKLES = np.array([5, 9, 13, 17])
_AT_WRIST = np.array([0.020, 0.007, -0.007, -0.019])  # where the palm's bones start across the wrist, m towards the thumb
_PALM_RADII = np.array([[0.0145, 0.0115], [0.0150, 0.0115], [0.0150, 0.0112], [0.0140, 0.0102]])

_BETWEEN_RADII = np.full((3, 2), [0.0150, 0.0108])
_BALL_RADII = np.array([[0.0150, 0.0135], [0.0135, 0.0120], [0.0105, 0.0100]])  # wrist to thumb, the thumb's ball, the web


def add_hand(primitives: Primitives, joints: np.ndarray, size: float, skin) -> None:
    """joints (21, 3) m: wrist, then four of the thumb to the little finger. size: factor on all widths. skin: colour."""
    a, b = joints[_BONES[:, 0]], joints[_BONES[:, 1]]
    # the last joint is the finger's end, so its ball stops short of it
    tips = np.arange(2, 15, 3)
    way = b[tips] - a[tips]
    length = np.linalg.norm(way, axis=1, keepdims=True)
    b[tips] -= way / np.maximum(length, 1e-9) * np.minimum(_RADII[tips, 1:] * size * 0.7, 0.5 * length)
    knuckles, wrist = joints[_KNUCKLES], joints[0]
    across = knuckles[0] - knuckles[3]
    across = across / max(np.linalg.norm(across), 1e-9)
    along = knuckles[1] - wrist
    along = along / max(np.linalg.norm(along), 1e-9)
    starts = wrist + size * (_AT_WRIST[:, None] * across + 0.010 * along)
    between = 0.5 * (knuckles[:3] + knuckles[1:])
    between_starts = 0.5 * (starts[:3] + starts[1:])
    thumb, index = joints[1], knuckles[0]
    web = 0.45 * joints[2] + 0.55 * thumb
    first = np.concatenate([a, starts, between_starts, [wrist + size * 0.012 * across, thumb, web]])
    last = np.concatenate(
        [b, knuckles, between, [thumb, 0.45 * index + 0.55 * starts[1], 0.6 * index + 0.4 * starts[0]]]
    )  # fmt: skip
    radii = np.concatenate([_RADII, _PALM_RADII, _BETWEEN_RADII, _BALL_RADII])
    primitives.cones(first, last, radii[:, 0] * size, radii[:, 1] * size, skin, 0.08)
