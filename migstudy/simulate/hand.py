"""A hand of 21 joints: named shapes as finger flexion, and forward kinematics from wrist to tips."""

from __future__ import annotations

import numpy as np

from migstudy.simulate.kinematics import turn_onto, unit
from migstudy.skeletons import FINGERTIPS, HAND_JOINTS

# metres; columns: towards the thumb, along the fingers; thumb, index, middle, ring, little
_KNUCKLES = np.array([[0.026, 0.028], [0.024, 0.088], [0.004, 0.091], [-0.015, 0.085], [-0.033, 0.076]])
_PHALANGES = np.array(
    [[0.040, 0.030, 0.024], [0.042, 0.025, 0.020], [0.046, 0.028, 0.021], [0.042, 0.026, 0.021], [0.033, 0.019, 0.018]]
)
# how far joints go, rad: wrist flexion and extension, deviation to either side; a finger joint's flexion
FLEXION, DEVIATION, CURL = np.deg2rad(75.0), np.deg2rad(32.0), np.deg2rad(105.0)
_SPLAY = np.array([0.75, 0.12, 0.0, -0.12, -0.26])  # radians towards the thumb when the hand is spread by 1

# shape -> (flexion of each finger, radians at every joint: thumb to little; spread)
SHAPES = {
    "relaxed": ((0.25, 0.45, 0.50, 0.55, 0.60), 0.8),
    "resting": ((0.20, 0.13, 0.14, 0.16, 0.20), 0.9),
    "flat": ((0.10, 0.08, 0.06, 0.08, 0.10), 0.7),
    "spread": ((0.05, 0.10, 0.08, 0.10, 0.12), 1.7),
    "fist": ((0.80, 1.35, 1.40, 1.40, 1.35), 0.4),
    "point": ((0.55, 0.12, 1.15, 1.25, 1.25), 0.6),
    "pinch": ((0.50, 0.72, 0.75, 0.95, 1.05), 0.7),
    "claw": ((0.40, 0.65, 0.65, 0.65, 0.70), 1.3),
    "laced": ((1.00, 0.80, 0.85, 0.85, 0.85), 1.2),
}
SHAPE_NAMES = tuple(SHAPES)
_FLEXION = np.array([flexion for flexion, _ in SHAPES.values()])
_SPREAD = np.array([spread for _, spread in SHAPES.values()])
INDEX_TIP = FINGERTIPS[1]
PALM = tuple(HAND_JOINTS.index(j) for j in ("root", "index_1", "little_1"))


def shape_weights(name: str) -> np.ndarray:
    """(S,) one-hot weights of a named shape."""
    return np.eye(len(SHAPE_NAMES))[SHAPE_NAMES.index(name)]


def hand_joints(weights: np.ndarray, size: float = 1.0, flutter: np.ndarray | None = None) -> np.ndarray:
    """(T, 21, 3) joints in the hand's own frame, m, wrist at 0: towards the thumb, along the fingers, out of the palm.

    weights: (T, S) mixture of `SHAPE_NAMES`. size: factor on all lengths. flutter: (T, 5) extra flexion, radians.
    Bone lengths do not depend on the shape.
    """
    flexion, spread = weights @ _FLEXION, weights @ _SPREAD
    if flutter is not None:
        flexion = flexion + flutter
    joints = np.zeros((len(weights), len(HAND_JOINTS), 3))
    for finger in range(5):
        side = _SPLAY[finger] * spread
        across, forward = np.sin(side), np.cos(side)
        point = np.broadcast_to([*_KNUCKLES[finger], 0.0], (len(weights), 3)).copy()
        joints[:, 1 + 4 * finger] = point
        # a thumb folds across the palm, half as deep as the fingers curl
        bend = np.zeros(len(weights))
        for k, bone in enumerate(_PHALANGES[finger]):
            bend = bend + np.clip(flexion[:, finger] * (0.5 if finger == 0 else 0.9), 0.0, CURL)
            step = np.stack([across * np.cos(bend), forward * np.cos(bend), np.sin(bend)], -1)
            point = point + bone * step
            joints[:, 2 + 4 * finger + k] = point
    return joints * size


def hand_axes(direction: np.ndarray, palm: np.ndarray, left: bool) -> np.ndarray:
    """(T, 3, 3) matrices whose columns are the thumb side, the fingers' direction and the palm's normal.

    direction, palm: (T, 3), need not be orthogonal or unit; left: which hand, since the two are mirror images.
    """
    along = unit(direction)
    out = palm - (palm * along).sum(-1, keepdims=True) * along
    spare = np.cross(along, np.array([1.0, 0.1, 0.05]))
    out = unit(np.where(np.linalg.norm(out, axis=-1, keepdims=True) > 1e-6, out, spare))
    thumb = np.cross(out, along) if left else np.cross(along, out)
    return np.stack([thumb, along, out], -1)


def wrist_angles(axes: np.ndarray, forearm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flexion (towards the palm) and deviation (towards the thumb) of a wrist, each (T,) rad.

    axes: (T, 3, 3) as `hand_axes` gives them; forearm: (T, 3) its unit direction, elbow to wrist.
    """
    across, along, out = np.moveaxis(np.einsum("tij,ti->tj", axes, forearm), -1, 0)
    return np.arctan2(-out, along), np.arcsin(np.clip(-across, -1, 1))


def limit_wrist(axes: np.ndarray, forearm: np.ndarray, slack: float = 0.0) -> np.ndarray:
    """Hand axes turned back, by the shortest way, to what a wrist can do: `FLEXION` and `DEVIATION`, plus `slack` rad."""
    flexion, deviation = wrist_angles(axes, forearm)
    flexion, deviation = (np.clip(a, -m - slack, m + slack) for a, m in ((flexion, FLEXION), (deviation, DEVIATION)))
    held = np.stack(
        [-np.sin(deviation), np.cos(deviation) * np.cos(flexion), -np.cos(deviation) * np.sin(flexion)], -1
    )  # fmt: skip
    return turn_onto(np.einsum("tij,tj->ti", axes, held), forearm) @ axes
