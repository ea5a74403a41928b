"""Simulated gestures: each class is shown where its label says, and knobs do what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulated import CSV_CLASSES, QUICK, joint, performance, performed

from migstudy.simulate.body import ELBOW, LEFT, RIGHT, TRUNK, pose_trunk
from migstudy.simulate.face import ACTION_UNITS
from migstudy.simulate.hand import INDEX_TIP, PALM
from migstudy.simulate.motion import APEX
from migstudy.simulate.places import PLACES
from migstudy.simulate.programmes import PROGRAMMES
from migstudy.simulate.subject import draw_subject
from migstudy.simulate.takes import draw_take
from migstudy.skeletons import FACE, FACE_PARTS, LEFT_HAND, RIGHT_HAND

# gestures


@pytest.mark.parametrize("seed", [0, 1])
def test_labels_hold_the_motion_and_nothing_else_does(seed):
    shown, _, takes, rows = performance(CSV_CLASSES, seed)
    empty, _, _, again = performance(CSV_CLASSES, seed, emptied=True)
    assert rows == again
    change = np.linalg.norm(shown - empty, axis=-1).max(1)
    outside = np.ones(len(change), bool)
    for (csv_class, start, end), take in zip(rows, takes):
        outside[start : end + 1] = False
        part = change[start : end + 1]
        assert part.max() > 0.002, f"class {csv_class} does not move"
        first, last = take.slack[0], len(part) - 1 - take.slack[1]
        assert part[: first + 1].max() < 1e-9 and part[last:].max() < 1e-9
    assert change[outside].max() == 0


def test_every_class_has_a_programme_and_a_partner():
    assert sorted(PROGRAMMES) == sorted(CSV_CLASSES)
    for programme in PROGRAMMES.values():
        assert programme.partner in PROGRAMMES and programme.partner != programme.csv_class
        assert programme.moves or programme.reach
        assert programme.reach is None or set(programme.reach.places) <= set(PLACES)
        assert {m.channel for m in programme.moves} <= {*TRUNK, *ACTION_UNITS, "raise", "forward"}


def test_face_only_classes_differ_on_the_face():
    config = replace(QUICK, class_overlap=0.0, clutter=0.0, background=0.0, subject_style=0.0)
    body = [joint(n) for n in ("neck", "right_shoulder", "left_shoulder", "right_wrist", "left_wrist")]
    for seed in range(4):
        shown, _, _, rows = performance([29], seed, config)
        empty = performance([29], seed, config, emptied=True)[0]
        change = np.linalg.norm(shown - empty, axis=-1)[rows[0][1] : rows[0][2]]
        assert change[:, body].max() < 1e-9 and change[:, FACE : FACE + 70].max() > 0.003


@pytest.mark.parametrize(
    ("csv_class", "target", "close"),
    [(8, "face", 0.09), (11, "chin", 0.12), (9, "ear", 0.06), (4, "head", 0.20), (12, "neck", 0.17)],
)
def test_hands_go_where_the_class_says(csv_class, target, close):
    config = replace(QUICK, class_overlap=0.0, clutter=0.0)
    for seed in range(6):
        joints, _, takes, rows = performance([csv_class], seed, config)
        middle = (rows[0][1] + rows[0][2]) // 2
        tips = [root + INDEX_TIP for side, root in ((RIGHT, RIGHT_HAND), (LEFT, LEFT_HAND)) if side in takes[0].hands]
        jaw = FACE + list(FACE_PARTS["jaw"])[8]
        goal = {"face": [joint("nose")], "chin": [jaw], "ear": [joint("left_ear"), joint("right_ear")],
                "head": [joint("left_ear"), joint("right_ear")], "neck": [joint("neck")]}[target]  # fmt: skip
        gap = min(np.linalg.norm(joints[middle, t] - joints[middle, g]) for t in tips for g in goal)
        assert gap < close, (csv_class, seed, gap)


@pytest.mark.parametrize("seed", range(3))
def test_hands_reach_their_place_or_the_arm_ends(seed):
    """Nine of ten within 4 cm of the place and its stroke, wherever the arm can get to (fingers stop short of the body)."""
    motion, subject, takes = performed(CSV_CLASSES, seed, replace(QUICK, clutter=0.0, class_overlap=0.0), left_handed=False)
    trunk, size = pose_trunk(motion.channels, subject.size), subject.size
    frames = {"head": (trunk.head, trunk.head_axes), "torso": (trunk.neck, trunk.torso_axes),
              "room": (np.zeros_like(trunk.neck), np.broadcast_to(np.eye(3), trunk.head_axes.shape))}  # fmt: skip
    gaps = []
    for start, take in zip(motion.starts, takes):
        held = start + np.flatnonzero(motion.phases[start : start + take.frames] == APEX)
        for side, part in take.hands.items():
            if part.frame not in frames:
                continue
            origin, axes = (array[held] for array in frames[part.frame])
            place = origin + axes @ part.at
            hand = motion.joints[held, (RIGHT_HAND, LEFT_HAND)[side] :][:, :21]
            touch = part.tip * hand[:, INDEX_TIP] + (1 - part.tip) * hand[:, list(PALM)].mean(1)
            shoulder, wrist = (motion.joints[held, joint(f"{('right', 'left')[side]}_{n}")] for n in ("shoulder", "wrist"))
            arm = np.linalg.norm(wrist - shoulder, axis=-1)
            folded = np.sqrt(size.upper_arm**2 + size.forearm**2 + 2 * size.upper_arm * size.forearm * np.cos(ELBOW))
            free = (arm > folded + 1e-3) & (arm < size.upper_arm + size.forearm - 1e-3)
            gap = np.linalg.norm(touch - place, axis=-1) - 1.2 * np.linalg.norm(part.stroke)
            if free.any():
                gaps.append(gap[free].max())
                assert gaps[-1] < 0.08, (take.csv_class, part.place, gaps[-1])
    assert len(gaps) > 25 and np.mean(np.array(gaps) < 0.04) > 0.9


def test_amplitude_tempo_and_duration_knobs():
    def size(**knobs):
        config = replace(QUICK, clutter=0.0, **knobs)
        shown, _, _, rows = performance([31, 20, 28] * 4, 3, config)
        empty = performance([31, 20, 28] * 4, 3, config, emptied=True)[0]
        return np.linalg.norm(shown - empty, axis=-1).max(), np.mean([e - s + 1 for _, s, e in rows])

    small, normal, large = (size(amplitude=a)[0] for a in (0.3, 1.0, 2.0))
    assert small < 0.5 * normal < 0.7 * large
    assert size(tempo=2.0)[1] < 0.6 * size()[1] < 0.4 * size(clip_seconds=2.0)[1]
    assert abs(size(fps=50.0)[1] / size()[1] - 2) < 0.1


def test_overlap_makes_partners_alike():
    """The contact heights of two partners move together as class_overlap grows."""

    def gap(overlap: float) -> float:
        config = replace(QUICK, class_overlap=overlap, clutter=0.0, subject_style=0.0, take_variation=0.0)
        subject = draw_subject(np.random.default_rng(0), config, 32)
        means = []
        for csv_class in (8, 11):
            takes = [draw_take(csv_class, subject, config, np.random.default_rng(s)) for s in range(150)]
            means.append(np.mean([part.at[1] for t in takes for part in t.hands.values()]))
        return abs(means[0] - means[1])

    assert gap(0.0) > 1.3 * gap(0.5) > 1.5 * gap(1.0)
