"""What a camera cannot see of a seated speaker: beyond the border, under the table, behind microphone, trunk or own arms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from migstudy.simulate.body import TABLE_EDGE, TABLE_HEIGHT
from migstudy.simulate.camera import MICROPHONE, Shots
from migstudy.simulate.config import SimulatorConfig
from migstudy.skeletons import BODY25_JOINTS, FACE, LEFT_HAND, RIGHT_HAND

_SIDES = ("left", "right")
_HANDS = {"left": LEFT_HAND, "right": RIGHT_HAND}
_MIDDLE, _TIP = 9, 12  # knuckle and tip of the middle finger within a hand
_ARMS = {side: [BODY25_JOINTS.index(f"{side}_{joint}") for joint in ("elbow", "wrist")] for side in _SIDES}
_WITH_WRIST = {side: [_ARMS[side][1], *range(start, start + 21)] for side, start in _HANDS.items()}
_HEAD = [BODY25_JOINTS.index(name) for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear")]
_HEAD += range(FACE, LEFT_HAND)
_SOFT = 0.006  # m over which an edge fades


def visibility(joints: np.ndarray, pixels: np.ndarray, shots: Shots, config: SimulatorConfig) -> np.ndarray:
    """(T, V) 0 hidden to 1 in plain view, of joints (T, V, 3) m with true projections (T, V, 2) px.

    Hidden are joints outside the image, below the table's edge, behind the microphone (`config.microphone`), behind the
    trunk (hands), behind a hand (face and other hand) or forearm (other hand), and the ear on the far side of a turned head.
    Thicknesses of arms and hands are ours.
    """
    size = np.array([config.width, config.height])
    visible = ((pixels >= 0) & (pixels < size)).all(-1) * (1 - _below_table(joints, shots))
    hands = _WITH_WRIST["left"] + _WITH_WRIST["right"]
    visible[:, hands] *= 1 - _behind_trunk(joints, hands)
    depths = shots.depths(joints)
    if config.microphone:
        for a, b, radius in MICROPHONE:
            ends = np.broadcast_to(np.array([a, b]), (len(joints), 2, 3))
            _hide_behind(visible, range(visible.shape[1]), ends, radius, pixels, depths, shots)
    for side, other in zip(_SIDES, _SIDES[::-1]):
        hand, far = _HANDS[side], _WITH_WRIST[other]
        for ends, radius, columns in (
            ((hand, hand + _MIDDLE), 0.036, [*_HEAD, *far]), ((hand + _MIDDLE, hand + _TIP), 0.030, [*_HEAD, *far]),
            (_ARMS[side], 0.040, far),
        ):  # fmt: skip
            _hide_behind(visible, columns, joints[:, list(ends)], radius, pixels, depths, shots)
    ears = [BODY25_JOINTS.index(f"{side}_ear") for side in _SIDES]
    visible[:, ears] *= _ears_in_sight(joints[:, ears], shots)
    return visible


def _hide_behind(
    visible: np.ndarray, columns: Sequence[int], ends: np.ndarray, radius: float, pixels: np.ndarray, depths: np.ndarray,
    shots: Shots,
) -> None:  # fmt: skip
    """Lower `visible` (T, V) where a capsule between `ends` (T, 2, 3) m covers one of `columns`; depths: (T, V) m."""
    corners, far = shots.project(ends), shots.depths(ends)
    reach = (radius + _SOFT) * shots.focals / far.min(1)
    low, high = corners.min(1) - reach[:, None], corners.max(1) + reach[:, None]
    x, y = np.moveaxis(pixels[:, columns], -1, 0)
    near = (x > low[:, :1]) & (x < high[:, :1]) & (y > low[:, 1:]) & (y < high[:, 1:])
    t, v = np.nonzero(near)  # few joints are near enough to be looked at
    v = np.asarray(columns)[v]
    from_a, along = pixels[t, v] - corners[t, 0], corners[t, 1] - corners[t, 0]
    share = np.clip((from_a * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-9), 0, 1)
    depth = far[t, 0] + share * (far[t, 1] - far[t, 0])
    metres = np.linalg.norm(from_a - share[:, None] * along, axis=-1) * depth / shots.focals[t]
    covered = np.clip((radius - metres) / _SOFT + 0.5, 0, 1) * np.clip((depths[t, v] - depth - 0.01) / 0.02, 0, 1)
    visible[t, v] *= 1 - covered


def _below_table(joints: np.ndarray, shots: Shots) -> np.ndarray:
    """(T, V) 0 to 1, where the line of sight passes the plane of the table's near edge below its top.

    Fingertips may sink a little into the top: nothing is hidden down to 3 cm.
    """
    sight = shots.positions[:, None] - joints
    share = (TABLE_EDGE - joints[..., 2]) / np.where(np.abs(sight[..., 2]) < 1e-6, 1e-6, sight[..., 2])
    height = joints[..., 1] + np.clip(share, 0, 1) * sight[..., 1]
    return np.clip((TABLE_HEIGHT - 0.03 - height) / 0.03, 0, 1)


def _behind_trunk(joints: np.ndarray, columns: Sequence[int]) -> np.ndarray:
    """(T, H) 0 to 1, how far the trunk covers each hand joint, seen from the front."""
    pelvis, neck = (joints[:, None, BODY25_JOINTS.index(name)] for name in ("mid_hip", "neck"))
    hands = joints[:, columns]
    share = np.clip((hands[..., 1] - pelvis[..., 1]) / (neck[..., 1] - pelvis[..., 1]), 0, 1)
    axis = pelvis + share[..., None] * (neck - pelvis)
    aside, behind = np.abs(hands[..., 0] - axis[..., 0]), axis[..., 2] - hands[..., 2]
    return np.clip((0.17 - aside) / 0.03, 0, 1) * np.clip((behind - 0.03) / 0.04, 0, 1)


def _ears_in_sight(ears: np.ndarray, shots: Shots) -> np.ndarray:
    """(T, 2) 0 to 1: the far ear goes out of sight as the head turns 20 to 30 degrees from the camera."""
    out = np.stack([ears[:, 0] - ears[:, 1], ears[:, 1] - ears[:, 0]], 1)
    sight = shots.positions[:, None] - ears
    cosine = (out * sight).sum(-1) / (np.linalg.norm(out, axis=-1) * np.linalg.norm(sight, axis=-1))
    return np.clip((cosine + 0.5) / 0.16, 0, 1)
