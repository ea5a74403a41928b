"""Simulated cameras: shots project as their cameras do, cuts fall where they may, and what is hidden is what lies behind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated import QUICK, joint, performance

from migstudy.simulate import occlusion
from migstudy.simulate.camera import MICROPHONE, Camera, Shots, draw_shots
from migstudy.simulate.occlusion import visibility
from migstudy.skeletons import FACE, LEFT_HAND, RIGHT_HAND

FRONT = Camera(np.array([0.0, 0.45, 3.0]), np.array([[1.0, 0, 0], [0, -1.0, 0], [0, 0, -1.0]]), 1800.0, np.array([640.0, 360.0]))


def still(frames: int, camera: Camera = FRONT) -> Shots:
    return Shots(np.array([0]), (camera,), np.ones(frames), np.zeros((frames, 2)))


def seated(frames: int = 3) -> np.ndarray:
    """A person with both hands on the table, frozen."""
    joints = performance([99], 0, replace(QUICK, clutter=0.0, background=0.0, subject_style=0.0))[0]
    return np.repeat(joints[:1], frames, axis=0)


def seen(joints: np.ndarray, shots: Shots | None = None, config=QUICK) -> np.ndarray:
    shots = shots or still(len(joints))
    return visibility(joints, shots.project(joints), shots, config)


def put_hand(joints: np.ndarray, hand: int, at: tuple[float, float, float]) -> np.ndarray:
    moved = joints.copy()
    moved[:, hand : hand + 21] += np.array(at) - moved[:, hand : hand + 21].mean(1, keepdims=True)
    return moved


# shots


@given(st.integers(0, 2**32 - 1), st.floats(0, 30), st.floats(0, 20))
def test_shots_project_as_the_camera_of_each_frame_does(seed, cuts, drift):
    shots = draw_shots(300, replace(QUICK, cuts=cuts, camera_drift=drift), np.random.default_rng(seed))
    points = np.random.default_rng(0).normal(0.3, 0.2, (300, 5, 3))
    pixels = shots.project(points)
    assert pixels.shape == (300, 5, 2) and shots.starts[0] == 0 and len(shots.cameras) == len(shots.starts)
    np.testing.assert_allclose(shots.project(points[:, 2]), pixels[:, 2])
    for t in (0, 150, 299, *shots.starts, *(shots.starts[1:] - 1)):
        np.testing.assert_allclose(shots.camera_at(t).project(points[t]), pixels[t], atol=1e-6)
        assert shots.starts[shots.index[t]] <= t
    assert sum(span.stop - span.start for span in shots.spans) == 300


def test_projection_knows_left_up_and_far():
    shots = still(1)
    points = ((0, 0.45, 0), (0.1, 0.45, 0), (0, 0.55, 0), (0.1, 0.45, 1))
    origin, aside, above, near = (shots.project(np.array([[p]]))[0, 0] for p in points)
    np.testing.assert_allclose(origin, [640, 360])
    np.testing.assert_allclose(aside, [640 + 1800 * 0.1 / 3, 360])  # the subject's left is the image's right
    assert above[1] < origin[1] and near[0] - 640 == pytest.approx(90)  # half as far, larger
    with pytest.raises(ValueError, match="cannot project 2 frames"):
        shots.project(np.zeros((2, 4, 3)))


@given(st.integers(0, 2**32 - 1))
def test_cuts_come_at_their_rate_and_change_the_camera(seed):
    config = replace(QUICK, cuts=6.0)
    shots = draw_shots(3000, config, np.random.default_rng(seed))
    assert (np.diff([*shots.starts, 3000]) >= 2 * config.fps).all()
    for a, b in zip(shots.cameras, shots.cameras[1:]):
        assert a.focal != b.focal
    assert len(draw_shots(3000, replace(QUICK, cuts=0.0), np.random.default_rng(seed)).starts) == 1


def test_cuts_mean_rate_and_fall_in_pauses():
    rows = [(1, start, start + 89) for start in range(10, 2900, 100)]
    labelled = np.zeros(3001, bool)
    for _, first, last in rows:
        labelled[first + 1 : last + 1] = True
    found = [draw_shots(3000, replace(QUICK, cuts=2.0), np.random.default_rng(s), rows).starts[1:] for s in range(200)]
    starts = np.concatenate(found).astype(int)
    assert 3.0 < len(starts) / 200 < 4.2  # two a minute, less those too near to another
    inside = labelled[starts].mean()
    assert 0.05 < inside < 0.25  # 15 % may fall anywhere; without care it would be 90 %


def test_one_camera_knob_leaves_the_other_draws_alone():
    a, b = (draw_shots(500, replace(QUICK, cuts=cuts), np.random.default_rng(3)) for cuts in (0.0, 20.0))
    assert len(b.cameras) > 1 and a.cameras[0].focal == b.cameras[0].focal
    near, far = (draw_shots(500, replace(QUICK, cuts=9.0, camera_yaw=yaw), np.random.default_rng(3)) for yaw in (0.0, 60.0))
    assert (near.starts == far.starts).all()


def test_yaw_keeps_within_its_knob():
    for yaw in (0.0, 30.0, 90.0):
        for seed in range(20):
            camera = draw_shots(100, replace(QUICK, camera_yaw=yaw), np.random.default_rng(seed)).cameras[0]
            towards = -camera.axes[2]
            assert abs(np.rad2deg(np.arctan2(towards[0], towards[2]))) <= yaw + 1e-6
            np.testing.assert_allclose(camera.axes @ camera.axes.T, np.eye(3), atol=1e-12)


def test_head_stays_in_the_picture_in_every_set_up():
    head = seated(200)[:, [joint("nose"), joint("left_ear"), joint("right_ear"), FACE + 8]]
    for seed in range(60):
        shots = draw_shots(200, replace(QUICK, cuts=60.0), np.random.default_rng(seed))
        pixels = shots.project(head)
        assert ((pixels > 0) & (pixels < [1280, 720])).all(), seed


# occlusion


def test_border_hides_what_lies_outside():
    aside = replace(FRONT, center=np.array([1500.0, 360.0]))
    joints = seated()
    pixels = still(3, aside).project(joints)
    outside = ((pixels < 0) | (pixels >= [1280, 720])).any(-1)
    assert outside.any() and (seen(joints, still(3, aside))[outside] == 0).all()


def test_a_higher_table_hides_more(monkeypatch):
    joints, last = seated(), np.full((3, 137), np.inf)
    counts = []
    for height in (-0.5, 0.05, 0.145, 0.3, 0.5):
        monkeypatch.setattr(occlusion, "TABLE_HEIGHT", height)
        now = seen(joints, config=replace(QUICK, microphone=False))
        assert (now <= last + 1e-12).all()
        last, counts = now, [*counts, now.sum()]
    assert counts[0] > counts[2] > counts[4]


def test_legs_are_hidden_and_head_and_resting_hands_are_not():
    visible = seen(seated(), config=replace(QUICK, microphone=False))[0]
    assert (visible[[joint("left_knee"), joint("right_heel"), joint("left_hip")]] == 0).all()
    assert (visible[[joint("nose"), joint("neck"), joint("left_shoulder"), joint("right_ear")]] == 1).all()


@given(st.floats(-0.25, 0.25), st.floats(0.2, 0.6), st.floats(-0.1, 1.2))
def test_microphone_hides_only_what_lies_behind_it(x, y, z):
    """Against the line of sight, sampled: what comes within the capsule is hidden, what stays clear of it is not."""
    point = np.array([x, y, z])
    joints = seated(1)
    joints[:, joint("nose")] = point
    off, on = (seen(joints, config=replace(QUICK, microphone=m))[0, joint("nose")] for m in (False, True))
    assert on <= off
    sight = point + np.linspace(0, 1, 4000)[:, None] * (FRONT.position - point)
    gaps = []
    for a, b, radius in (map(np.array, capsule) for capsule in MICROPHONE):
        share = np.clip((sight - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)[:, None]
        gaps.append(np.linalg.norm(sight - a - share * (b - a), axis=1).min() - radius)
    clear = min(gaps)
    if clear > 0.008:
        assert on == off
    in_front = point[2] - 0.02 > max(end[2] for capsule in MICROPHONE for end in capsule[:2])
    if in_front:
        assert on == off
    if clear < -0.006 and point[2] < 0.4:
        assert on == 0


def test_hand_before_the_face_hides_it_and_behind_it_does_not():
    joints, config = seated(1), replace(QUICK, microphone=False)
    nose = joints[0, joint("nose")]
    sight = FRONT.position - nose
    before, behind = (put_hand(joints, LEFT_HAND, nose + d * sight / np.linalg.norm(sight)) for d in (0.10, -0.25))
    away, shown, hidden = (seen(j, config=config)[0, FACE : FACE + 70].mean() for j in (joints, behind, before))
    assert hidden < away - 0.15 and shown == away


def test_the_nearer_hand_hides_the_farther():
    joints, config = seated(1), replace(QUICK, microphone=False)
    at, sight = np.array([0.0, 0.35, 0.30]), FRONT.position - np.array([0.0, 0.35, 0.30])
    sight /= np.linalg.norm(sight)
    joints = put_hand(put_hand(joints, LEFT_HAND, at + 0.1 * sight), RIGHT_HAND, at)
    visible = seen(joints, config=config)[0]
    assert visible[RIGHT_HAND:].mean() < 0.8 and visible[LEFT_HAND:RIGHT_HAND].mean() == 1


def test_ear_on_the_far_side_goes_out_of_sight():
    joints = seated(1)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for degrees in (0, 15, 50):
            turn = np.deg2rad(sign * degrees)
            camera = FRONT.position - [0, 0.45, 0]
            rotation = np.array([[np.cos(turn), 0, -np.sin(turn)], [0, 1, 0], [np.sin(turn), 0, np.cos(turn)]])
            moved = Camera(rotation @ camera + [0, 0.45, 0], FRONT.axes @ rotation.T, FRONT.focal, FRONT.center)
            ear = seen(joints, still(1, moved), replace(QUICK, microphone=False))[0, joint(f"{side}_ear")]
            assert ear == (0 if degrees == 50 else 1)
