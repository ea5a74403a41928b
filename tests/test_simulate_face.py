"""The simulated face: action units move what they name, faces differ within bounds, mouths talk, eyes blink and glance."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy.simulate.expression import SPEECH_UNITS, blink, blink_times, gaze, idle_face, speech_units
from migstudy.simulate.face import (
    ACTION_UNITS,
    PUPILS,
    SIGNED_UNITS,
    TEMPLATE,
    UNITS,
    displacements,
    draw_face,
    face_points,
)  # fmt: skip
from migstudy.skeletons import FACE, FACE_PARTS, get_topology

WHOLE = get_topology("openpose137")
MIRROR = [WHOLE.mirror[FACE + i] - FACE for i in range(70)]
JAW, BROWS, LIPS = (set(FACE_PARTS[part]) for part in ("jaw", "brows", "lips"))
TOP, LOW = [37, 38, 43, 44], [41, 40, 47, 46]  # lids, one above the other
UPPER, LOWER = [61, 62, 63], [67, 66, 65]  # inner lips likewise
WINGS = {31, 35}
MOVES = {
    "mouth_open": LIPS | JAW, "lip_press": LIPS | JAW, "lip_bite": LIPS, "mouth_wide": LIPS, "cheek_bulge": LIPS | JAW,
    "brow_up": BROWS, "brow_down": BROWS, "eye_close": {*TOP, *LOW}, "smile": LIPS | {*LOW} | WINGS,
    "lip_corner_down": LIPS, "inner_brow_up": BROWS, "nose_wrinkle": LIPS | BROWS | {*LOW} | WINGS | {30, 32, 34},
    "pucker": LIPS, "funnel": LIPS | JAW, "chin_raise": LIPS | JAW, "eye_wide": {*TOP}, "lid_tight": {*TOP, *LOW},
    "jaw_side": LIPS | JAW, "gaze_side": {*PUPILS}, "gaze_up": {*PUPILS, *TOP, *LOW},
}  # fmt: skip
# landmark, axis, mm at full strength: what the units' descriptions promise
SIZES = {
    "mouth_open": (8, 1, -19), "lip_press": (8, 1, 4), "lip_bite": (57, 1, 8), "mouth_wide": (54, 0, 5),
    "cheek_bulge": (3, 0, -8), "brow_up": (19, 1, 10), "brow_down": (21, 1, -7), "eye_close": (37, 1, -9), "smile": (54, 1, 8),
    "lip_corner_down": (48, 1, -7), "inner_brow_up": (22, 1, 9),
    "nose_wrinkle": (31, 1, 4), "pucker": (51, 2, 7), "funnel": (57, 2, 6), "chin_raise": (8, 1, 5),
    "eye_wide": (44, 1, 3), "lid_tight": (46, 1, 2.5), "jaw_side": (8, 0, 7), "gaze_side": (68, 0, 5), "gaze_up": (69, 1, 4),
}  # fmt: skip
strengths = st.fixed_dictionaries({n: st.floats(-1 if n in SIGNED_UNITS else 0, 1) for n in ACTION_UNITS})


def face(template=TEMPLATE, **units) -> np.ndarray:
    return face_points({name: np.array([value]) for name, value in units.items()}, template)[0]


def mirrored(points: np.ndarray) -> np.ndarray:
    return points[MIRROR] * [-1, 1, 1]


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_a_unit_moves_what_it_names_as_far_as_it_says(unit):
    way = 1000 * (face(**{unit: 1.0}) - TEMPLATE)
    moved = set(np.flatnonzero(np.abs(way).max(1) > 1e-9))
    assert moved and moved <= MOVES[unit]
    landmark, axis, size = SIZES[unit]
    assert way[landmark, axis] == pytest.approx(size, abs=0.6)
    assert re.match(r"A[UD]\d+", UNITS[unit])
    np.testing.assert_allclose(face(**{unit: 0.37}), TEMPLATE + 0.37e-3 * way, atol=1e-12)


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_a_unit_treats_both_sides_alike(unit):
    other = -1.0 if unit in ("jaw_side", "gaze_side") else 1.0
    np.testing.assert_allclose(mirrored(face(**{unit: 1.0})), face(**{unit: other}), atol=1e-12)


def test_larger_faces_move_more():
    np.testing.assert_allclose(displacements(1.1 * TEMPLATE), 1.1 * displacements(TEMPLATE), atol=1e-12)


def test_pressed_lips_closed_eyes_and_smiles_look_so():
    height = lambda points, a, b: points[a, 1] - points[b, 1]  # noqa: E731
    red = lambda points: height(points, [50, 51, 52], [61, 62, 63]) + height(points, [67, 66, 65], [58, 57, 56])  # noqa: E731
    assert np.all(red(face(lip_press=1.0)) < 0.6 * red(TEMPLATE)) and np.all(red(face(lip_press=1.0)) > 0)
    np.testing.assert_allclose(height(face(eye_close=1.0), TOP, LOW), 0, atol=1e-12)
    assert height(face(mouth_open=1.0), 62, 66) > 0.018 and height(face(chin_raise=1.0), 62, 66) < 0.0003
    width = lambda points: points[54, 0] - points[48, 0]  # noqa: E731
    assert width(face(pucker=1.0)) < 0.65 * width(TEMPLATE) and width(face(smile=1.0)) > 1.2 * width(TEMPLATE)
    assert height(face(smile=1.0), 48, 57) > height(TEMPLATE, 48, 57) + 0.006 > height(face(lip_corner_down=1.0), 48, 57) + 0.012
    lower_lid = face(gaze_up=-1.0)
    assert np.all(lower_lid[TOP, 1] < TEMPLATE[TOP, 1] - 0.002)  # lids follow the look downwards


@settings(max_examples=150, deadline=None)
@given(units=strengths, seed=st.integers(0, 99))
def test_any_expression_of_any_face_is_a_face(units, seed):
    points = face(draw_face(np.random.default_rng(seed), 1.0), **units)
    assert np.all(points[TOP, 1] >= points[LOW, 1]) and np.all(points[UPPER, 1] >= points[LOWER, 1])
    assert np.all(points[[50, 51, 52], 1] > points[UPPER, 1]) and np.all(points[LOWER, 1] > points[[58, 57, 56], 1])
    assert np.all(np.diff(points[48:55, 0]) > 0) and np.all(np.diff(points[60:65, 0]) > 0)  # from right to left corner
    assert np.all(points[[19, 24], 1] > points[[37, 44], 1]) and points[33, 1] > points[51, 1] > points[57, 1] > points[8, 1]
    assert np.all(np.abs(points[:, 0]) < 0.095) and np.all((points[:, 1] > -0.155) & (points[:, 1] < 0.075))
    assert np.all((points[:, 2] > -0.01) & (points[:, 2] < 0.135))


@settings(max_examples=30, deadline=None)
@given(strength=st.floats(0, 1))
def test_pressed_lips_never_cross(strength):
    points = face(lip_press=strength, mouth_open=0.0)
    assert np.all(points[UPPER, 1] >= points[LOWER, 1])


def test_unsigned_units_rest_below_zero_and_unknown_ones_are_refused():
    np.testing.assert_array_equal(face(smile=-0.5), TEMPLATE)
    with pytest.raises(KeyError, match="smirk.*mouth_open"):
        face(smirk=1.0)


def test_faces_differ_by_style():
    np.testing.assert_array_equal(draw_face(np.random.default_rng(0), 0.0), TEMPLATE)
    faces = np.stack([draw_face(np.random.default_rng(seed), 1.0) for seed in range(200)])
    np.testing.assert_array_equal(faces[7], draw_face(np.random.default_rng(7), 1.0))
    np.testing.assert_allclose(faces.mean(0), TEMPLATE, atol=0.001)
    np.testing.assert_allclose(faces[:, MIRROR] * [-1, 1, 1], faces, atol=1e-12)
    widths = {"mouth": (48, 54, 0), "eyes": (68, 69, 0), "jaw": (4, 12, 0), "nose": (27, 33, 1), "chin": (57, 8, 1)}
    for name, (a, b, axis) in widths.items():
        span = np.abs(faces[:, a, axis] - faces[:, b, axis])
        assert 0.02 < span.std() / span.mean() < 0.15 and span.max() < 1.8 * span.min(), name


# what a face does by itself

FPS = 60.0


def test_speech_opens_the_mouth_some_times_a_second_and_closes_it():
    units = speech_units(np.ones(int(120 * FPS)), FPS, 1.0, np.random.default_rng(0))
    assert set(units) == set(SPEECH_UNITS)
    opening = units["mouth_open"]
    peaks = (opening[1:-1] > opening[:-2]) & (opening[1:-1] >= opening[2:]) & (opening[1:-1] > 0.1)
    assert 2.5 < peaks.sum() / 120 < 5.5
    power, hertz = np.abs(np.fft.rfft(opening - opening.mean())) ** 2, np.fft.rfftfreq(len(opening), 1 / FPS)
    assert power[(hertz > 1.5) & (hertz < 8)].sum() > 0.5 * power.sum()
    assert 0.1 < opening.mean() < 0.3 and 0.4 < opening.max() <= 1
    closed = opening < 0.05
    assert 0.05 < closed.mean() < 0.4 and 0.5 < ((units["lip_press"] > 0.25) & closed).sum() / (units["lip_press"] > 0.25).sum()
    pauses = np.diff(np.flatnonzero(np.diff(closed.astype(int)))) / FPS
    assert 0.25 < pauses.max() < 4
    assert all(0 <= values.min() and values.max() <= 1 for values in units.values())
    assert all(units[name].max() > 0.25 for name in ("mouth_wide", "pucker", "funnel", "lip_bite"))


def test_speech_follows_talking_and_energy():
    talking = np.repeat([0.0, 1.0, 0.0], 200)
    quiet, loud = (speech_units(talking, FPS, energy, np.random.default_rng(1))["mouth_open"] for energy in (0.5, 1.0))
    assert not loud[:200].any() and not loud[400:].any() and loud[200:400].max() > 0.2
    np.testing.assert_allclose(quiet, 0.5 * loud, atol=1e-12)
    slow = speech_units(np.ones(600), 30.0, 1.0, np.random.default_rng(2))["mouth_open"]
    fast = speech_units(np.ones(1200), 60.0, 1.0, np.random.default_rng(2))["mouth_open"]
    np.testing.assert_allclose(slow, fast[::2], atol=1e-12)  # the same speech at any frame rate


@pytest.mark.parametrize(("talking", "low", "high"), [(0.0, 14, 20), (1.0, 22, 28)])
def test_blinks_come_at_their_rate(talking, low, high):
    minutes = 60
    times = blink_times(np.full(int(60 * 20 * minutes), talking), 20.0, np.random.default_rng(0))
    assert low < len(times) / minutes < high and np.diff(times).min() >= 0.4
    gaps = np.diff(times)
    assert 0.4 < gaps.std() / gaps.mean() < 1.2  # neither a metronome nor bursts


def test_a_blink_falls_faster_than_it_rises():
    time = np.linspace(-0.1, 0.5, 6001)
    shut = blink(time)
    assert shut[0] == 0 and shut[-1] == 0 and shut.max() == pytest.approx(1)
    half = time[shut > 0.5]
    assert 0.1 < np.ptp(half) < 0.2 and np.ptp(time[shut > 0]) < 0.27
    down, up = time[np.argmax(shut)] - time[shut > 0][0], time[shut > 0][-1] - time[shut > 0.999][-1]
    assert 1.4 * down < up


def test_gaze_rests_and_jumps():
    rng = np.random.default_rng(0)
    listening, speaking = (np.stack(gaze(np.full(60 * 600, talk), 60.0, rng), 1) for talk in (0.0, 1.0))
    for look in (listening, speaking):
        assert np.abs(look).max() <= 1
        step = np.linalg.norm(np.diff(look, axis=0), axis=1)
        assert (step < 1e-9).mean() > 0.85 and step.max() > 0.2
        jumps = (np.diff((step > 1e-9).astype(int)) == 1).sum() / 600
        assert 0.5 < jumps < 2.5
    apart = lambda look: np.linalg.norm(look - np.median(look, 0), axis=1)  # noqa: E731
    assert 0.65 < (apart(listening) < 0.2).mean() < 0.85 and 0.4 < (apart(speaking) < 0.2).mean() < 0.62


def test_an_idle_face_has_every_unit_and_repeats_itself_only_with_its_seed():
    talking = np.repeat([0.0, 1.0], 300)
    one, two, three = (idle_face(600, talking, 1.0, 30.0, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert set(one) == set(ACTION_UNITS) and all(values.shape == (600,) for values in one.values())
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(one["eye_close"], three["eye_close"])
    assert all(values.min() >= (-1 if name in SIGNED_UNITS else 0) and values.max() <= 1 for name, values in one.items())
    assert not any(one[name].any() for name in ("smile", "lip_corner_down", "inner_brow_up", "cheek_bulge", "nose_wrinkle"))
    assert one["mouth_open"][300:].mean() > 4 * one["mouth_open"][:300].mean()
    for frames in (0, 1, 2):
        assert all(len(v) == frames for v in idle_face(frames, np.ones(frames), 1.0, 30.0, np.random.default_rng(0)).values())
