"""A seated person in 3D: trunk, head, arms by inverse kinematics, hands and face, from a pose over time."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np

from migstudy.simulate import face as face_model
from migstudy.simulate.hand import INDEX_TIP, PALM, SHAPE_NAMES, hand_axes, hand_joints, limit_wrist
from migstudy.simulate.kinematics import place, rotation, two_bone_ik, unit
from migstudy.skeletons import BODY25_JOINTS, FACE, LEFT_HAND, RIGHT_HAND

RIGHT, LEFT = 0, 1
ELBOW = np.deg2rad(148.0)  # largest flexion, rad
_ROUNDS = 3  # wrist and elbow depend on each other; they have settled after these
NUM_JOINTS = RIGHT_HAND + 21
TABLE_HEIGHT, TABLE_EDGE = 0.145, 0.17  # of its top, and from the seat's centre to its near edge, m
TRUNK = (
    "lean", "turn", "tilt", "shift_x", "shift_z", "stretch",  # trunk: radians, then m
    "nod", "look", "cock", "head_drop", "head_forward",  # head: radians (nod > 0 looks up), then m
    "raise_right", "raise_left", "forward_right", "forward_left",  # shoulders, m
)  # fmt: skip


@dataclass(frozen=True)
class Proportions:
    """Bone lengths in m (an adult of 1.75 m) and the neutral face (70, 3) in head coordinates."""

    spine: float = 0.50
    shoulder: float = 0.175  # neck to shoulder joint
    upper_arm: float = 0.295
    forearm: float = 0.255
    hand: float = 1.0  # factor on the hand
    neck: float = 0.095  # neck to the pivot of the head
    head: float = 0.115  # pivot to between the ears
    hip: float = 0.095
    face: np.ndarray = field(default_factory=lambda: face_model.TEMPLATE)
    ear: np.ndarray = field(default_factory=lambda: face_model.EAR)  # the left one, in head coordinates


@dataclass
class Hands:
    """How both hands are held over time: axis 1 is (right, left).

    at: (T, 2, 3) contact point in the room, m. fingers, palm, elbow: (T, 2, 3) directions. tip: (T, 2) 0 palm to 1 index
    fingertip. shape: (T, 2, S) mixture of hand shapes. flutter: (T, 2, 5) extra finger flexion, radians.
    """

    at: np.ndarray
    fingers: np.ndarray
    palm: np.ndarray
    elbow: np.ndarray
    tip: np.ndarray
    shape: np.ndarray
    flutter: np.ndarray

    @classmethod
    def empty(cls, frames: int) -> Hands:
        return cls(
            *(np.zeros((frames, 2, 3)) for _ in range(4)), np.zeros((frames, 2)),
            np.zeros((frames, 2, len(SHAPE_NAMES))), np.zeros((frames, 2, 5)),
        )  # fmt: skip

    def at_frames(self, frames: np.ndarray) -> Hands:
        """A copy of some frames."""
        return Hands(*(getattr(self, item.name)[frames] for item in fields(self)))


@dataclass(frozen=True)
class Trunk:
    """Moving frames of the trunk: origins (T, 3) m and axes (T, 3, 3), and the shoulder joints (T, 2, 3)."""

    pelvis: np.ndarray
    neck: np.ndarray
    torso_axes: np.ndarray
    head: np.ndarray
    head_axes: np.ndarray
    shoulders: np.ndarray

    def at(self, frames: np.ndarray) -> Trunk:
        """A copy of some frames."""
        return Trunk(*(getattr(self, item.name)[frames] for item in fields(self)))


def pose_trunk(channels: dict[str, np.ndarray], size: Proportions) -> Trunk:
    """Trunk and head from the channels named in `TRUNK`, each (T,)."""
    c = channels
    torso_axes = rotation(c["lean"], c["turn"], c["tilt"])
    pelvis = np.stack([c["shift_x"], np.zeros_like(c["lean"]), c["shift_z"]], -1)
    neck = pelvis + torso_axes[..., 1] * (size.spine + c["stretch"])[:, None]
    head_axes = rotation(0.5 * c["lean"] - c["nod"], 0.6 * c["turn"] + c["look"], 0.4 * c["tilt"] + c["cock"])
    pivot = neck + torso_axes @ np.array([0.0, size.neck, 0.012])
    pivot = pivot + np.stack([np.zeros_like(c["nod"]), -c["head_drop"], c["head_forward"]], -1)
    head = pivot + head_axes @ np.array([0.0, size.head, 0.015])
    shoulders = np.stack(
        [
            neck + np.einsum("tij,tj->ti", torso_axes, np.stack(
                [np.full_like(c["lean"], side * size.shoulder), c[f"raise_{name}"] - 0.02, c[f"forward_{name}"]], -1))
            for side, name in ((-1, "right"), (1, "left"))
        ], 1)  # fmt: skip
    return Trunk(pelvis, neck, torso_axes, head, head_axes, shoulders)


def pose_arms(trunk: Trunk, hands: Hands, size: Proportions) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Elbows (T, 2, 3), wrists (T, 2, 3), hands (T, 2, 21, 3) and the hands' contact points (T, 2, 3) in the room, m.

    The wrist lies where the palm or fingertip meets its contact point; the fingers are turned partly along the forearm, and
    no farther than a wrist bends. Where the point is out of reach the arm is at full stretch.
    """
    elbows, wrists, joints, touch = [], [], [], []
    bones = size.upper_arm, size.forearm
    for side in (RIGHT, LEFT):
        root, at = trunk.shoulders[:, side], hands.at[:, side]
        local = hand_joints(hands.shape[:, side], size.hand, hands.flutter[:, side])
        tip = hands.tip[:, side, None]
        contact = tip * local[:, INDEX_TIP] + (1 - tip) * local[:, list(PALM)].mean(1)
        fingers = unit(hands.fingers[:, side])
        wrist = at - 0.1 * fingers
        for _ in range(_ROUNDS):
            elbow, reached = two_bone_ik(root, wrist, *bones, hands.elbow[:, side], ELBOW)
            forearm = unit(reached - elbow)
            axes = hand_axes(0.65 * fingers + 0.35 * forearm, hands.palm[:, side], side == LEFT)
            axes = limit_wrist(axes, forearm)
            wrist = at - np.einsum("tij,tj->ti", axes, contact)
        elbow, wrist = two_bone_ik(root, wrist, *bones, hands.elbow[:, side], ELBOW)
        axes = limit_wrist(axes, unit(wrist - elbow), slack=np.deg2rad(2.0))
        elbows.append(elbow)
        wrists.append(wrist)
        joints.append(place(wrist, axes, local))
        touch.append(wrist + np.einsum("tij,tj->ti", axes, contact))
    return np.stack(elbows, 1), np.stack(wrists, 1), np.stack(joints, 1), np.stack(touch, 1)


def skeleton137(
    trunk: Trunk, arms: tuple[np.ndarray, np.ndarray, np.ndarray], units: dict[str, np.ndarray], size: Proportions
) -> np.ndarray:
    """(T, 137, 3) joints in the room, m, in OpenPose's order; `units` are the face's action units (T,)."""
    elbows, wrists, hands = arms
    frames = len(trunk.neck)
    joints = np.zeros((frames, NUM_JOINTS, 3))

    def put(name: str, value: np.ndarray) -> None:
        joints[:, BODY25_JOINTS.index(name)] = value

    landmarks = place(trunk.head, trunk.head_axes, face_model.face_points(units, size.face))
    joints[:, FACE : FACE + landmarks.shape[1]] = landmarks
    put("nose", landmarks[:, face_model.NOSE])
    for name, pupil, side in (("right", face_model.PUPILS[0], -1.0), ("left", face_model.PUPILS[1], 1.0)):
        put(f"{name}_eye", landmarks[:, pupil])
        put(f"{name}_ear", trunk.head + trunk.head_axes @ (size.ear * np.array([side, 1.0, 1.0])))
    put("neck", trunk.neck)
    put("mid_hip", trunk.pelvis)
    for side, name in ((RIGHT, "right"), (LEFT, "left")):
        put(f"{name}_shoulder", trunk.shoulders[:, side])
        put(f"{name}_elbow", elbows[:, side])
        put(f"{name}_wrist", wrists[:, side])
        out = np.array([1.0 if side == LEFT else -1.0, 1.0, 1.0])
        put(f"{name}_hip", trunk.pelvis + np.array([size.hip, 0.0, 0.02]) * out)
        for joint, point in _LEG.items():
            put(f"{name}_{joint}", trunk.pelvis + np.array(point) * out)
    joints[:, LEFT_HAND : LEFT_HAND + 21] = hands[:, LEFT]
    joints[:, RIGHT_HAND : RIGHT_HAND + 21] = hands[:, RIGHT]
    return joints


# a chair's seat at mid hip; m
_LEG = {
    "knee": (0.14, 0.02, 0.43), "ankle": (0.13, -0.40, 0.40), "heel": (0.13, -0.46, 0.36),
    "big_toe": (0.14, -0.46, 0.56), "small_toe": (0.19, -0.46, 0.54),
}  # fmt: skip
