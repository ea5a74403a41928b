"""Simulated gestures and detector: each class is shown where its label says, and knobs do what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from migstudy.simulate.body import LEFT, NUM_JOINTS, RIGHT, TRUNK
from migstudy.simulate.camera import draw_camera, visibility
from migstudy.simulate.detector import detect
from migstudy.simulate.face import ACTION_UNITS
from migstudy.simulate.hand import INDEX_TIP
from migstudy.simulate.places import PLACES
from migstudy.simulate.plan import make_plan
from migstudy.simulate.programmes import PROGRAMMES
from migstudy.simulate.video import simulate_video
from migstudy.simulate.subject import draw_subject
from migstudy.simulate.takes import draw_take
from migstudy.skeletons import FACE, FACE_PARTS, LEFT_HAND, RIGHT_HAND

from simulated import CSV_CLASSES, QUICK, SMOKE, joint, performance

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
        assert part.max() > 0.004, f"class {csv_class} does not move"
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
        assert change[:, body].max() < 1e-9 and change[:, FACE : FACE + 70].max() > 0.004


@pytest.mark.parametrize(
    ("csv_class", "target", "close"),
    [(8, "face", 0.09), (11, "chin", 0.12), (9, "ear", 0.06), (4, "head", 0.20), (12, "neck", 0.14)],
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


# detector


def detected(**knobs):
    config = replace(QUICK, **knobs)
    joints = performance([99, 31, 29, 20, 23, 8] * 4, 0)[0]
    camera = draw_camera(config, np.random.default_rng(5))
    pixels = camera.project(joints)
    visible = visibility(joints, pixels, camera, config)
    keypoints, scores = detect(pixels, visible, config, np.random.default_rng(6))
    return pixels, keypoints, scores, visible


def error(**knobs):
    pixels, keypoints, scores, _ = detected(swaps=0.0, mistakes=0.0, **knobs)
    distance = np.linalg.norm(keypoints - pixels, axis=-1)
    return np.array([np.median(distance[:, p][scores[:, p] > 0.3]) for p in (slice(0, 8), slice(FACE, LEFT_HAND),
                                                                            slice(LEFT_HAND, NUM_JOINTS))])  # fmt: skip


def test_noise_grows_with_its_knob_and_as_confidence_falls():
    quiet, normal, loud = error(noise_px=0.0), error(), error(noise_px=3.0)
    assert (quiet < 1e-9).all() and (normal > 0.2).all() and (normal < 4).all() and (loud > 2.5 * normal).all()
    pixels, keypoints, scores, _ = detected(swaps=0.0, mistakes=0.0)
    distance = np.linalg.norm(keypoints - pixels, axis=-1)[:, RIGHT_HAND:]
    sure = scores[:, RIGHT_HAND:]
    assert np.median(distance[sure > 0.6]) < np.median(distance[(sure > 0.06) & (sure < 0.4)])


def test_missing_rate_loses_hands_most():
    shares = []
    for rate in (0.0, 0.1, 0.5, 1.0):
        _, keypoints, scores, visible = detected(missing_rate=rate)
        seen = visible > 0.99
        lost = (scores == 0) & seen
        shares.append([lost[:, p].sum() / seen[:, p].sum() for p in (slice(FACE, LEFT_HAND), slice(LEFT_HAND, NUM_JOINTS))])
        assert (keypoints[scores == 0] == 0).all()
    face, hands = np.array(shares).T
    assert hands[0] < 0.02 and (np.diff(hands) > 0.05).all() and hands[-1] == 1.0
    assert abs(hands[2] - 0.5) < 0.2 and face[1] < hands[1]


def test_swaps_and_mistakes_happen_at_their_rate():
    wrists = [joint("left_wrist"), joint("right_wrist")]
    clean = dict(noise_px=0.0, missing_rate=0.0)
    pixels, keypoints, _, _ = detected(swaps=0.0, mistakes=0.0, **clean)
    seen = (keypoints != 0).any(-1)
    np.testing.assert_allclose(keypoints[seen], pixels[seen], atol=1e-9)
    pixels, keypoints, _, _ = detected(swaps=30.0, mistakes=0.0, **clean)
    exact = np.isclose(keypoints[:, wrists], pixels[:, wrists[::-1]]).all(-1).any(-1)
    assert 0.05 < exact.mean() < 0.9
    pixels, keypoints, scores, _ = detected(swaps=0.0, mistakes=30.0, **clean)
    hand = slice(LEFT_HAND, RIGHT_HAND)
    wrong = (np.linalg.norm(keypoints[:, hand] - pixels[:, hand], axis=-1) > 5) & (scores[:, hand] > 0.3)
    assert 0.02 < wrong.any(1).mean() < 0.8


def test_lap_is_hidden_below_the_table_and_the_head_is_not():
    plan, subjects = make_plan(SMOKE, seed=0)
    for p in plan[:3]:
        made = simulate_video(p, subjects[p.subject], SMOKE, 0)
        keypoints, scores = made.keypoints, made.scores
        knees = scores[:, [joint("left_knee"), joint("right_knee")]]
        assert (scores[:, joint("nose")] > 0.5).mean() > 0.8 and (knees > 0.3).mean() < 0.3
        size = np.array([SMOKE.width, SMOKE.height])
        head = keypoints[:, joint("nose")][scores[:, joint("nose")] > 0]
        assert ((head > 0.02 * size) & (head < 0.98 * size)).all()


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
