"""Simulated detection: every knob does what it says, at its rate, and leaves what belongs to other knobs alone."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import QUICK, joint, performance

from migstudy.simulate.camera import draw_shots
from migstudy.simulate.detector import _spells, detect
from migstudy.simulate.occlusion import visibility
from migstudy.skeletons import FACE, LEFT_HAND, RIGHT_HAND

HANDS = slice(LEFT_HAND, RIGHT_HAND + 21)
EXACT = dict(noise_px=0.0, blur=0.0, swaps=0.0, mistakes=0.0, missing_rate=0.0)


@functools.cache
def scene():
    joints = performance([99, 31, 29, 20, 23, 8] * 5, 0)[0]
    shots = draw_shots(len(joints), replace(QUICK, cuts=3.0), np.random.default_rng(5))
    pixels = shots.project(joints)
    return pixels, visibility(joints, pixels, shots, QUICK), shots.starts


def detected(seed: int = 6, **knobs):
    pixels, visible, starts = scene()
    return detect(pixels, visible, replace(QUICK, **knobs), np.random.default_rng(seed), starts)


def still(frames: int = 6000, width: float = 220.0):
    """Somebody in plain view who does not move: 137 points spread over the image, the shoulders `width` apart."""
    pixels = np.tile(np.random.default_rng(0).uniform([300, 100], [900, 600], (137, 2)), (frames, 1, 1))
    pixels[:, joint("left_shoulder")] = pixels[:, joint("right_shoulder")] + [width, 0]
    return pixels, np.ones((frames, 137))


def of_still(seed: int = 1, frames: int = 6000, width: float = 220.0, **knobs):
    pixels, visible = still(frames, width)
    keypoints, scores = detect(pixels, visible, replace(QUICK, **EXACT | knobs), np.random.default_rng(seed))
    return pixels, keypoints, scores


# jitter


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_all_knobs_at_zero_give_the_true_pixels(seed):
    pixels, visible, _ = scene()
    keypoints, scores = detected(seed, **EXACT)
    assert (keypoints[scores > 0] == pixels[scores > 0]).all()
    assert (keypoints[scores == 0] == 0).all()
    assert (scores[:, :LEFT_HAND][visible[:, :LEFT_HAND] > 0.99] > 0).all()  # a hand in view is lost with its wrist
    assert ((scores >= 0) & (scores < 1)).all()


def test_jitter_has_the_size_its_knobs_name():
    for width in (110.0, 220.0):
        pixels, keypoints, scores = of_still(width=width, noise_px=2.0, hand_noise=3.0, face_noise=0.5)
        error = (keypoints - pixels).std(0).mean(-1)
        for part, factor in ((slice(0, FACE), 1.0), (slice(FACE, LEFT_HAND), 0.5), (HANDS, 3.0)):
            grows = 1 + 2.5 * np.clip(0.84 - np.where(scores > 0, scores, np.nan), 0, None)
            expected = 2.0 * width / 220 * factor * np.sqrt(np.nanmean(grows[:, part] ** 2))
            assert error[part].mean() == pytest.approx(expected, rel=0.05)


def test_jitter_grows_with_its_knob_and_as_confidence_falls():
    pixels, visible, _ = scene()
    errors = []
    for noise in (0.0, 0.3, 1.0, 3.0):
        keypoints, scores = detected(**EXACT | {"noise_px": noise})
        sure = (scores > 0.3) & (visible > 0.99)
        errors.append(np.median(np.linalg.norm(keypoints - pixels, axis=-1)[sure]))
    assert errors[0] == 0 and (np.diff(errors) > 0.1).all() and errors[3] == pytest.approx(3 * errors[2], rel=0.05)
    distance, s = np.linalg.norm(keypoints - pixels, axis=-1)[:, HANDS], scores[:, HANDS]
    medians = [np.median(distance[(s > low) & (s <= low + 0.15)]) for low in (0.6, 0.45, 0.3, 0.1)]
    assert (np.diff(medians) > 0).all()


def test_a_hand_moves_partly_as_one():
    pixels, keypoints, _ = of_still(noise_px=1.0)
    error = (keypoints - pixels)[:, LEFT_HAND:RIGHT_HAND, 0]
    correlation = np.corrcoef(error.T)[np.triu_indices(21, 1)].mean()
    assert 0.2 < correlation < 0.4
    body = np.corrcoef((keypoints - pixels)[:, :FACE, 0].T)[np.triu_indices(25, 1)].mean()
    assert body < 0.15


def test_blur_smears_along_the_path_and_costs_confidence():
    pixels, visible = still(2000)
    pixels = pixels + 40 * np.sin(np.arange(2000) / 5)[:, None, None] * np.array([1.0, 0.0])
    errors, sure = [], []
    for blur in (0.0, 0.5, 1.0):
        keypoints, scores = detect(pixels, visible, replace(QUICK, **EXACT | {"blur": blur}), np.random.default_rng(0))
        error = (keypoints - pixels)[scores > 0]
        assert (error[:, 1] == 0).all()
        errors.append(np.abs(error[:, 0]).max())
        sure.append(scores[scores > 0].mean())
    assert errors[0] == 0 and errors[2] == pytest.approx(2 * errors[1], rel=0.01) and errors[2] <= 4.0  # 8 px a frame
    assert sure[0] > sure[1] > sure[2]


def test_cuts_are_no_motion():
    pixels, visible = still(200)
    pixels[100:, :, 0] += 150
    config = replace(QUICK, **EXACT | {"blur": 1.0})
    keypoints, scores = detect(pixels, visible, config, np.random.default_rng(0), (0, 100))
    assert (keypoints == pixels).all()
    smeared, _ = detect(pixels, visible, config, np.random.default_rng(0))
    assert not (smeared[99:101] == pixels[99:101]).all()


# losses


def test_hands_are_lost_at_their_rate():
    for rate in (0.0, 0.1, 0.4, 1.0):
        shares = []
        for seed in range(4):
            _, keypoints, scores = of_still(seed, 3000, missing_rate=rate)
            lost = scores == 0
            assert (keypoints[lost] == 0).all()
            shares.append([lost[:, HANDS].mean(), lost[:, FACE:LEFT_HAND].mean(), lost[:, : joint("right_elbow")].mean()])
        hands, face, trunk = np.mean(shares, 0)
        if rate in (0.0, 1.0):
            assert hands == rate and face <= 0.25 * rate
        else:
            # hands also go with their wrist (a tenth of the rate) and with single joints (another tenth)
            assert hands == pytest.approx(1 - (1 - rate) * (1 - 0.1 * rate) ** 3, abs=0.04)
            assert face == pytest.approx(0.2 * rate, abs=0.03) and trunk == pytest.approx(0.11 * rate, abs=0.02)


def test_whole_frames_are_lost_now_and_then():
    shares = [(of_still(seed, 4000, missing_rate=1.0)[2].max(1) == 0).mean() for seed in range(4)]
    assert np.mean(shares) == pytest.approx(0.01, abs=0.006)


def test_a_higher_rate_only_adds_losses():
    few, many = (of_still(missing_rate=rate)[2] == 0 for rate in (0.1, 0.3))
    assert many[few].all() and many.sum() > 2 * few.sum()


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_spells_cover_their_share_and_last(share):
    spells = _spells(20000, share, 0.4, 20, QUICK, np.random.default_rng(0))
    assert spells.mean() == pytest.approx(share, rel=0.1)
    begins = (np.diff(spells.astype(int), axis=0) == 1).sum()
    seconds = spells.sum() / begins / QUICK.fps
    assert (0.33 if share == 0.1 else 0.25) < seconds < (0.5 if share == 0.1 else 0.8)


def test_legs_under_the_table_are_mostly_missing_and_else_unsure():
    _, scores = detected()
    legs = scores[:, [joint(f"{side}_{name}") for side in ("left", "right") for name in ("knee", "ankle", "heel")]]
    assert 0.8 < (legs == 0).mean() < 1 and legs.max() < 0.5
    pixels, visible, _ = scene()
    hidden = (visible < 0.02) & (scores > 0)
    keypoints, _ = detected(swaps=0.0, mistakes=0.0)
    error = np.linalg.norm(keypoints - pixels, axis=-1)
    both = hidden & (keypoints != 0).any(-1)
    assert np.median(error[both]) > 5 * np.median(error[(visible > 0.99) & (scores > 0.5)])


# confident errors


def test_swaps_happen_at_their_rate():
    arms = [[joint(f"{side}_wrist"), *range(start, start + 21)] for side, start in (("left", LEFT_HAND), ("right", RIGHT_HAND))]
    begins = []
    for seed in range(4):
        pixels, keypoints, scores = of_still(seed, swaps=6.0)
        swapped = (keypoints[:, arms[0]] == pixels[:, arms[1]]).all((1, 2))
        assert (swapped == (keypoints[:, arms[1]] == pixels[:, arms[0]]).all((1, 2))).all()
        assert (keypoints[:, joint("nose")] == pixels[:, joint("nose")]).all()
        begins.append((np.diff(swapped.astype(int)) == 1).sum())
    assert 6.0 * 4 * 0.75 < np.mean(begins) < 6.0 * 4 * 1.25  # in four minutes


def test_mistakes_happen_at_their_rate_with_confidence_and_sometimes_on_the_other_hand():
    left, right = slice(LEFT_HAND, RIGHT_HAND), slice(RIGHT_HAND, RIGHT_HAND + 21)
    begins, taken = [], []
    for seed in range(4):
        pixels, keypoints, scores = of_still(seed, mistakes=8.0)
        for hand, other in ((left, right), (right, left)):
            wrong = (keypoints[:, hand] != pixels[:, hand]).any((1, 2))
            assert np.median(scores[wrong][:, hand]) > 0.4
            begins.append((np.diff(wrong.astype(int)) == 1).sum())
            taken.append((keypoints[:, hand] == pixels[:, other]).all((1, 2))[wrong].mean())
    assert 0.75 * 16 < np.mean(begins) < 1.25 * 16  # 4 a minute and hand, in four minutes
    assert 0.3 < np.mean(taken) < 0.7


def test_knobs_leave_each_others_draws_alone():
    keypoints, scores = detected()
    for knobs in ({"swaps": 30.0}, {"mistakes": 30.0}, {"missing_rate": 0.3}, {"noise_px": 2.0}):
        other, sure = detected(**knobs)
        same = (other == keypoints).all(-1) & (scores > 0) if "noise_px" not in knobs else sure == scores
        assert same[scores > 0].mean() > (0.5 if "missing_rate" in knobs else 0.7)
        assert not (other == keypoints).all()
    again = detected()
    assert (again[0] == keypoints).all() and (again[1] == scores).all()
