"""Rotations, easing curves and two-bone inverse kinematics; vectorised over leading axes.

Axes of the simulated room, metres: x to the subject's left (the image's right), y up, z from the chair to the camera.
"""

from __future__ import annotations

import numpy as np


def unit(vector: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) scaled to length 1; a zero vector stays zero."""
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    return vector / np.maximum(length, 1e-9)


def ease(x: np.ndarray) -> np.ndarray:
    """Minimum-jerk step: 0 below 0, 1 above 1 (Flash and Hogan 1985)."""
    x = np.clip(x, 0.0, 1.0)
    return x**3 * (10 - 15 * x + 6 * x**2)


def rotation(lean: np.ndarray, turn: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    """(T, 3, 3) rotations from angles (T,) in radians.

    lean > 0 bows forward (about x), turn > 0 faces the subject's left (about y), tilt > 0 drops to the subject's right
    (about z); applied in the order lean, tilt, turn.
    """
    cl, sl, ct, st, cr, sr = *_cos_sin(lean), *_cos_sin(turn), *_cos_sin(tilt)
    zero, one = np.zeros_like(cl), np.ones_like(cl)
    about_x = _matrix(one, zero, zero, zero, cl, -sl, zero, sl, cl)
    about_y = _matrix(ct, zero, st, zero, one, zero, -st, zero, ct)
    about_z = _matrix(cr, -sr, zero, sr, cr, zero, zero, zero, one)
    return about_y @ about_z @ about_x


def place(origin: np.ndarray, axes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (T, P, 3) or (P, 3) of a moving frame, in the room: origin (T, 3) + axes (T, 3, 3) @ point."""
    return origin[:, None] + points @ axes.transpose(0, 2, 1)


def two_bone_ik(
    root: np.ndarray, target: np.ndarray, upper: float, lower: float, pole: np.ndarray, flexion: float = np.pi
) -> tuple[np.ndarray, np.ndarray]:
    """Middle and end joint, each (..., 3), of a two-bone chain that reaches for a target.

    root, target, pole: (..., 3) m; upper, lower: bone lengths in m; flexion: how far the middle joint bends at most, rad. It
    bends towards `pole`. The end lies on the target, or on the line to it where the target is out of reach (farther than
    upper + lower, or nearer than full flexion brings it). Bone lengths hold exactly.
    """
    to_target = target - root
    distance = np.linalg.norm(to_target, axis=-1, keepdims=True)
    # a target on the root itself has no direction: reach down
    along = np.where(distance > 1e-9, to_target / np.maximum(distance, 1e-9), np.array([0.0, -1.0, 0.0]))
    nearest = np.sqrt(upper**2 + lower**2 + 2 * upper * lower * np.cos(flexion))
    distance = np.clip(distance, nearest + 1e-6, upper + lower - 1e-6)
    bend = pole - (pole * along).sum(-1, keepdims=True) * along
    # a pole along the arm says nothing: take any perpendicular
    spare = np.cross(along, np.where(np.abs(along[..., :1]) < 0.9, np.array([1.0, 0, 0]), np.array([0, 1.0, 0])))
    bend = unit(np.where(np.linalg.norm(bend, axis=-1, keepdims=True) > 1e-6, bend, spare))
    foot = (upper**2 - lower**2 + distance**2) / (2 * distance)
    height = np.sqrt(np.maximum(upper**2 - foot**2, 0.0))
    return root + foot * along + height * bend, root + distance * along


def _cos_sin(angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.cos(angle), np.sin(angle)


def _matrix(*entries: np.ndarray) -> np.ndarray:
    return np.stack(entries, -1).reshape(*entries[0].shape, 3, 3)


def turn_onto(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(T, 3, 3) shortest rotations that take unit vectors `source` (T, 3) to `target` (T, 3), not opposite to each other."""
    axis, cosine = np.cross(source, target), (source * target).sum(-1)
    x, y, z = np.moveaxis(axis, -1, 0)
    zero = np.zeros_like(x)
    skew = _matrix(zero, -z, y, z, zero, -x, -y, x, zero)
    return np.eye(3) + skew + skew @ skew / np.maximum(1 + cosine, 1e-6)[:, None, None]
