"""One frontal pose of a seated person for drawing topologies: all 137 OpenPose points, by formula.

Units: half a face's width is about 0.66; origin at the tip of the nose, y down. The person faces the reader, so the
person's right is on the left. Both palms are raised to the reader, which keeps every finger apart.
"""

from __future__ import annotations

import numpy as np

from migstudy.skeletons import BODY25_JOINTS, FACE, FINGERTIPS, LEFT_HAND, RIGHT_HAND, get_topology
from migstudy.topology import Topology

# the person's left half of BODY_25; the right half is its mirror image
_LEFT_BODY = {
    "nose": (0, 0), "neck": (0, 1.62), "mid_hip": (0, 4.35), "left_eye": (0.30, -0.38), "left_ear": (0.78, -0.22),
    "left_shoulder": (1.10, 1.72), "left_elbow": (1.52, 3.45), "left_wrist": (2.05, 2.25), "left_hip": (0.48, 4.35),
    "left_knee": (0.95, 4.95), "left_ankle": (0.86, 6.35), "left_heel": (0.80, 6.5), "left_big_toe": (0.90, 6.75),
    "left_small_toe": (1.06, 6.70),
}  # fmt: skip


def _arc(x0: float, x1: float, y: float, rise: float, count: int) -> np.ndarray:
    """`count` points from x0 to x1 at height y whose middle stands `rise` higher, (count, 2)."""
    t = np.linspace(-1, 1, count)
    return np.stack([x0 + (x1 - x0) * (t + 1) / 2, y - rise * (1 - t**2)], -1)


def _ring(cx: float, cy: float, width: float, up: float, down: float, top: int, bottom: int) -> np.ndarray:
    """A closed eye or lip contour: `top` points from the left corner to the right, then `bottom` points back."""
    upper = _arc(cx - width, cx + width, cy, up, top)
    lower = _arc(cx + width, cx - width, cy, -down, bottom + 2)[1:-1]
    return np.concatenate([upper, lower])


def face_points() -> np.ndarray:
    """The 70 landmarks (iBUG's 68 in their order and two pupils), (70, 2)."""
    angle = np.linspace(0, np.pi, 17)
    jaw = np.stack([-0.68 * np.cos(angle), -0.30 + 1.26 * np.sin(angle) ** 0.85], -1)
    eye_right, eye_left = (_ring(x, -0.38, 0.14, 0.06, 0.05, 4, 2) for x in (-0.30, 0.30))
    return np.concatenate([
        jaw, _arc(-0.52, -0.14, -0.60, 0.10, 5), _arc(0.14, 0.52, -0.60, 0.10, 5),
        np.stack([np.zeros(4), np.linspace(-0.36, 0.0, 4)], -1), _arc(-0.15, 0.15, 0.08, -0.05, 5),
        eye_right, eye_left, _ring(0, 0.45, 0.40, 0.13, 0.17, 7, 5), _ring(0, 0.45, 0.30, 0.04, 0.06, 5, 3),
        [(-0.30, -0.39), (0.30, -0.39)],
    ])  # fmt: skip


def hand_points(wrist: tuple[float, float], thumb_side: float) -> np.ndarray:
    """The 21 points of an open hand, fingers up, the thumb towards `thumb_side` (-1 or +1), (21, 2)."""
    spread = np.radians([52.0, 19.0, 4.0, -10.0, -25.0])  # from straight up, towards the thumb
    palm, reach = np.array([0.22, 0.50, 0.52, 0.49, 0.45]), np.array([0.50, 0.50, 0.55, 0.50, 0.40])
    along = palm[:, None] + reach[:, None] * np.array([0.0, 0.46, 0.76, 1.0])
    fingers = np.stack([thumb_side * np.sin(spread)[:, None] * along, -np.cos(spread)[:, None] * along], -1)
    return np.concatenate([[[0.0, 0.0]], fingers.reshape(20, 2)]) + np.array(wrist) + (0.0, -0.04)


def canonical_openpose137() -> np.ndarray:
    """The pose of all 137 points, (137, 2)."""
    points = np.zeros((137, 2))
    for i, joint in enumerate(BODY25_JOINTS):
        x, y = _LEFT_BODY[joint.replace("right", "left")]
        points[i] = (-x if joint.startswith("right") else x, y)
    points[FACE:LEFT_HAND] = face_points()
    (x, y) = _LEFT_BODY["left_wrist"]
    points[LEFT_HAND:RIGHT_HAND] = hand_points((x, y), thumb_side=-1)
    points[RIGHT_HAND:] = hand_points((-x, y), thumb_side=1)
    return points


def canonical_pose(topology: Topology | str) -> np.ndarray:
    """The pose in a topology's own joints, (V, 2); joints of other systems are placed by name.

    Raises ValueError for a joint whose name says nothing about its place: pass key points of your own then.
    """
    topology = get_topology(topology)
    pose = canonical_openpose137()
    if topology.openpose137 is not None:
        return pose[list(topology.openpose137)]
    place = dict(zip(get_topology("openpose137").joints, pose, strict=True))
    place |= {"shoulder_center": place["neck"], "hip_center": place["mid_hip"], "head": np.array([0.0, -0.45])}
    place["spine_shoulder"] = place["neck"] + (0, 0.25)
    place["spine"] = (place["neck"] + place["mid_hip"]) / 2
    for side, root in (("left", LEFT_HAND), ("right", RIGHT_HAND)):
        place[f"{side}_hand"] = pose[root + 9]  # where the middle finger begins
        place[f"{side}_hand_tip"] = pose[root + FINGERTIPS[2]]
        place[f"{side}_hand_thumb"] = place[f"{side}_thumb"] = pose[root + FINGERTIPS[0]]
        place[f"{side}_foot"] = place[f"{side}_big_toe"]
    strange = [joint for joint in topology.joints if joint not in place]
    if strange:
        raise ValueError(f"topology {topology.name!r}: no drawn place for {', '.join(strange)}; pass keypoints=(V, 2)")
    return np.stack([place[joint] for joint in topology.joints])
