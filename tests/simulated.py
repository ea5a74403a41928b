"""A performance of given gestures, for tests of the simulator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from migstudy.classes import IMIGUE_CLASSES
from migstudy.simulate import PROFILES
from migstudy.simulate.motion import perform
from migstudy.simulate.subject import draw_subject
from migstudy.simulate.takes import draw_take
from migstudy.skeletons import BODY25_JOINTS

QUICK = PROFILES["quick"]
SMOKE = PROFILES["smoke"]
CSV_CLASSES = [gesture.csv_class for gesture in IMIGUE_CLASSES]


def joint(name: str) -> int:
    return BODY25_JOINTS.index(name)


def performed(classes, seed=0, config=replace(QUICK, subject_style=0.5), emptied=False, left_handed=None):
    """Motion, subject and takes; `emptied` keeps the timing and drops what the gestures do; left_handed: None as drawn."""
    subject = draw_subject(np.random.default_rng(seed), config, len(IMIGUE_CLASSES))
    if left_handed is not None:
        subject = replace(subject, left_handed=left_handed)
    rng = np.random.default_rng(seed + 1)
    takes = [draw_take(c, subject, config, rng) for c in classes]
    shown = [replace(t, moves={}, hands={}) for t in takes] if emptied else takes
    return perform(shown, [5] * (len(takes) + 1), subject, config, np.random.default_rng(seed + 2)), subject, takes


def performance(classes, seed=0, config=replace(QUICK, subject_style=0.5), emptied=False, left_handed=False):
    """True joints, subject, takes and label rows of `performed`, by a right-hander unless told otherwise."""
    motion, subject, takes = performed(classes, seed, config, emptied, left_handed)
    rows = [(t.csv_class, s, s + t.frames - 1) for t, s in zip(takes, motion.starts)]
    return motion.joints, subject, takes, rows
