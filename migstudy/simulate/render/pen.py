"""The object of those who play with objects: a pen that lies on the table until it is taken up."""

from __future__ import annotations

import numpy as np

from migstudy.classes import IMIGUE_CLASSES
from migstudy.simulate.body import TABLE_HEIGHT
from migstudy.simulate.places import CONTACTS
from migstudy.simulate.render.raster import Primitives
from migstudy.simulate.video import SimulatedVideo
from migstudy.skeletons import HAND_JOINTS, LEFT_HAND, RIGHT_HAND

PLAYING = next(g.csv_class for g in IMIGUE_CLASSES if g.name.startswith("Playing with or manipulating objects"))
_THUMB, _INDEX, _KNUCKLE, _LITTLE = (HAND_JOINTS.index(j) for j in ("thumb_4", "index_4", "index_1", "little_1"))
_LENGTH, _RADIUS = 0.145, 0.0055  # m
_HELD = 0.5  # share of the gesture from which the pen is in the hand
_BODY, _CAP = (0.93, 0.93, 0.90), (0.75, 0.10, 0.12)


class Pen:
    """holder: (T,) first joint of the hand that holds it, or -1."""

    def __init__(self, video: SimulatedVideo) -> None:
        motion = video.motion
        self.holder = np.full(len(motion.joints), -1)
        self.on_table = np.array([-0.05 if not video.subject.left_handed else 0.05, TABLE_HEIGHT + _RADIUS, 0.42])
        touching = motion.contacts == CONTACTS.index("object")
        for csv_class, start, shown in zip(video.plan.classes, motion.starts, motion.envelopes):
            if csv_class == PLAYING:
                span = slice(start, start + len(shown))
                hand = (RIGHT_HAND, LEFT_HAND)[int(touching[span].sum(0).argmax())]
                self.holder[span][shown > _HELD] = hand

    def add(self, shapes: Primitives, joints: np.ndarray, frame: int) -> None:
        """joints: (137, 3) m at about that frame."""
        first = self.holder[frame]
        if first < 0:
            middle, along = self.on_table, np.array([0.9, 0.0, -0.44])
        else:
            hand = joints[first : first + len(HAND_JOINTS)]
            middle = 0.5 * (hand[_THUMB] + hand[_INDEX])
            # across the fingers, and a little up, as one twiddles it
            along = hand[_KNUCKLE] - hand[_LITTLE]
            along = along / max(np.linalg.norm(along), 1e-9) + np.array([0.0, 0.6, 0.0])
        along = along / np.linalg.norm(along) * _LENGTH / 2
        shapes.cone(middle - along, middle + 0.4 * along, _RADIUS * 0.6, _RADIUS, _BODY, 0.4)
        shapes.cone(middle + 0.4 * along, middle + along, _RADIUS * 1.15, _RADIUS * 1.15, _CAP, 0.4)
