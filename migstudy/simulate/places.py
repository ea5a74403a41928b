"""Named places a hand can go to: where the contact lies, and how the hand and the elbow are held there.

A place is written for the right hand; the left hand uses its mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FRAMES = ("head", "torso", "room", "forearm", "upper_arm")


@dataclass(frozen=True)
class Place:
    """frame: whose coordinates `at` is in. at: contact point, m (head: from between the ears; torso: from the neck; room:
    from the seat). For the frames `forearm` and `upper_arm` (the other arm's) it is (share of the way down the bone, height
    above it in m, unused). fingers, palm: direction of the fingers and of the palm's normal in the room. elbow: where the
    elbow points. tip: 0 touches with the palm, 1 with the index fingertip."""

    frame: str
    at: tuple[float, float, float]
    fingers: tuple[float, float, float]
    palm: tuple[float, float, float]
    elbow: tuple[float, float, float]
    tip: float = 1.0


_UP, _IN = (0.30, 0.70, -0.65), (0.35, 0.0, -0.95)  # fingers up to the face, palm to the face
_HANG = (-0.55, -0.85, 0.10)  # elbow hangs beside the body
_LOW = (-0.45, -0.60, 0.60)  # elbow below the raised hand
_OUT = (-0.90, -0.30, 0.25)  # elbow lifted aside
_FORE = (-0.85, 0.20, 0.45)  # elbow raised before the shoulder
_ASIDE = (-0.75, -0.45, 0.35)


def _head(x: float, y: float, z: float, fingers=_UP, palm=_IN, elbow=_LOW, tip=1.0) -> Place:
    return Place("head", (x, y, z), fingers, palm, elbow, tip)


def _torso(x: float, y: float, z: float, fingers=_UP, palm=_IN, elbow=_HANG, tip=1.0) -> Place:
    return Place("torso", (x, y, z), fingers, palm, elbow, tip)


_BESIDE = (0.85, -0.30, -0.45)  # palm to the side of the head
_FLAT_IN = (0.9, 0.15, 0.30)
PLACES = {
    # rest
    "table": Place("room", (-0.15, 0.187, 0.36), (0.40, -0.05, 0.90), (0.1, -1.0, 0.1), (-0.75, -0.55, -0.3), 0.0),
    "table_near": Place("room", (-0.07, 0.190, 0.28), (0.75, 0.0, 0.60), (0.15, -1.0, 0.0), (-0.80, -0.5, -0.3), 0.0),
    "table_far": Place("room", (-0.22, 0.187, 0.42), (0.20, -0.05, 0.95), (0.3, -0.9, 0.1), (-0.70, -0.6, -0.3), 0.0),
    "lap": Place("room", (-0.09, 0.09, 0.19), (0.45, -0.2, 0.85), (0.2, -1.0, 0.0), (-0.70, -0.6, -0.4), 0.0),
    "speaking": Place("room", (-0.14, 0.27, 0.36), (0.35, 0.55, 0.70), (0.7, 0.2, 0.4), (-0.75, -0.6, -0.1), 0.0),
    "speaking_low": Place("room", (-0.13, 0.205, 0.37), (0.40, 0.25, 0.85), (0.7, -0.4, 0.2), (-0.75, -0.6, -0.2), 0.0),
    # head and face
    "hat_brim": _head(-0.045, 0.080, 0.105, (0.35, 0.80, -0.45), elbow=_OUT),
    "hat_top": _head(-0.050, 0.128, 0.050, (0.55, 0.55, -0.60), (0.50, -0.70, -0.50), _OUT),
    "crown": _head(-0.052, 0.122, -0.005, (0.60, 0.55, -0.55), (0.60, -0.70, -0.35), _OUT),
    "side_of_head": _head(-0.084, 0.070, -0.010, (0.35, 0.70, -0.60), _BESIDE, _OUT),
    "forehead": _head(-0.020, 0.068, 0.096, (0.45, 0.60, -0.65), (0.40, -0.30, -0.85), _ASIDE),
    "temple": _head(-0.070, 0.040, 0.058, (0.45, 0.70, -0.55), (0.65, -0.15, -0.70), _ASIDE),
    "eye": _head(-0.032, 0.010, 0.100),
    "nose": _head(-0.004, -0.030, 0.125),
    "cheek": _head(-0.054, -0.030, 0.080),
    "upper_lip": _head(-0.008, -0.052, 0.112),
    "mouth": _head(-0.004, -0.068, 0.112),
    "mouth_corner": _head(-0.026, -0.068, 0.098),
    "ear": _head(-0.092, 0.000, -0.005, (0.30, 0.70, -0.60), _BESIDE, _ASIDE),
    "earlobe": _head(-0.088, -0.032, 0.000, (0.30, 0.70, -0.60), _BESIDE, _ASIDE),
    "chin": _head(-0.004, -0.114, 0.095, (0.40, 0.80, -0.30)),
    "jaw_side": _head(-0.050, -0.085, 0.070, (0.30, 0.85, -0.35)),
    "face": _head(-0.015, -0.005, 0.125, (0.20, 0.95, -0.20), (0.1, 0.0, -1.0), _LOW, 0.25),
    "hair_side": _head(-0.086, 0.075, -0.025, (0.35, 0.65, -0.65), _BESIDE, _OUT),
    "hair_front": _head(-0.050, 0.100, 0.072, (0.45, 0.60, -0.65), (0.45, -0.45, -0.75), _OUT),
    # neck and trunk
    "neck_side": _torso(-0.060, 0.060, 0.020, (0.50, -0.20, -0.90), (0.15, -0.95, 0.10), _FORE),
    "neck_back": _torso(-0.055, 0.070, -0.030, (0.70, 0.10, -0.90), (0.10, -0.95, 0.10), _FORE),
    "throat": _torso(-0.010, 0.055, 0.060, (0.60, 0.70, -0.35)),
    "notch": _torso(-0.004, -0.005, 0.085, (0.75, 0.60, -0.20), tip=0.5),
    "collar": _torso(-0.035, 0.015, 0.075, (0.60, 0.70, -0.30)),
    "tie": _torso(-0.005, -0.070, 0.130, (0.70, 0.60, -0.20)),
    "button": _torso(-0.005, -0.200, 0.145, (0.80, 0.40, -0.20)),
    "chest": _torso(0.070, -0.120, 0.132, (0.85, 0.40, -0.20), tip=0.6),
    "far_shoulder": _torso(0.165, -0.050, 0.080, (0.90, 0.30, -0.30), tip=0.6),
    "upper_back": _torso(-0.105, 0.045, -0.095, (0.12, -0.20, -0.60), (0.1, -0.95, 0.1), (-0.45, 0.85, 0.25)),
    "lower_back": _torso(-0.090, -0.330, -0.130, (0.70, 0.20, -0.60), (0.2, 0.2, 0.95), (-0.90, -0.2, -0.50), 0.6),
    "behind": _torso(-0.060, -0.420, -0.170, (0.75, -0.50, -0.30), (0.0, 0.2, -1.0), (-0.85, -0.3, -0.60), 0.0),
    "withdrawn": _torso(-0.205, -0.410, 0.050, (0.20, -0.60, 0.75), (0.8, -0.5, 0.0), (-0.50, -0.4, -0.85), 0.0),
    "hip": _torso(-0.195, -0.400, 0.040, (0.20, -0.45, 0.85), (0.95, 0.0, -0.25), (-1.00, -0.05, -0.30), 0.0),
    "elbow_crook": _torso(0.135, -0.235, 0.190, (0.92, 0.25, -0.15), (0.1, 0.2, -0.95), (-0.80, -0.60, 0.15), 0.2),
    # the other arm
    "other_forearm": Place("forearm", (0.45, 0.055, 0.0), _FLAT_IN, (0.1, -0.9, -0.3), (-0.70, -0.6, 0.1), 0.5),
    "other_wrist": Place("forearm", (0.92, 0.040, 0.0), _FLAT_IN, (0.1, -0.9, -0.3), (-0.75, -0.6, 0.0), 0.5),
    "other_sleeve": Place("forearm", (0.25, 0.060, 0.0), _FLAT_IN, (0.1, -0.8, -0.5), (-0.70, -0.6, 0.1), 0.7),
    "other_upper_arm": Place("upper_arm", (0.55, 0.080, 0.0), (0.9, 0.3, 0.1), (0.4, 0.0, -0.9), (-0.60, -0.7, 0.3), 0.5),
    # in front of the body
    "palms": Place("room", (-0.016, 0.235, 0.335), (0.45, 0.20, 0.85), (0.92, -0.10, -0.35), (-0.85, -0.5, -0.2), 0.10),
    "clasped": Place("room", (-0.010, 0.225, 0.325), (0.85, 0.05, 0.50), (0.30, -0.85, -0.40), (-0.85, -0.5, -0.2), 0.15),
    "meeting_laced": Place("room", (-0.012, 0.225, 0.325), (0.82, 0.30, 0.50), (0.70, -0.2, -0.70), (-0.85, -0.5, -0.2), 0.3),
    "steeple": Place("room", (-0.006, 0.440, 0.300), (0.25, 0.96, 0.0), (0.95, -0.25, 0.0), (-0.25, -0.95, 0.1), 1.0),
    "object": Place("room", (-0.035, 0.205, 0.345), (0.65, 0.10, 0.75), (0.55, -0.7, 0.0), (-0.80, -0.5, -0.2), 0.8),
}
_FREE = ("speaking", "speaking_low")  # in the air
CONTACTS = tuple(name for name in PLACES if name not in _FREE)


def mirrored(vector: np.ndarray | tuple, left: bool) -> np.ndarray:
    """A room, head or torso vector for the left hand when `left`."""
    return np.asarray(vector, float) * (np.array([-1.0, 1.0, 1.0]) if left else 1.0)
