"""The simulated person: bones that keep their length, hands that reach, a face within the head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from simulated import CSV_CLASSES, QUICK, joint, performance, performed

from migstudy.simulate.body import ELBOW, LEFT, RIGHT, TRUNK, Hands, Proportions, pose_arms, pose_trunk
from migstudy.simulate.clearance import way_out
from migstudy.simulate.face import ACTION_UNITS, TEMPLATE, face_points
from migstudy.simulate.hand import DEVIATION, FLEXION, INDEX_TIP, SHAPE_NAMES, hand_joints, shape_weights, wrist_angles
from migstudy.simulate.kinematics import ease, rotation, turn_onto, two_bone_ik, unit
from migstudy.simulate.mirror import mirror_channels, mirror_joints
from migstudy.simulate.places import FRAMES, PLACES
from migstudy.skeletons import FACE, FACE_PARTS, HAND_EDGES, LEFT_HAND, RIGHT_HAND, get_topology

# anatomy

points = arrays(np.float64, (3,), elements=st.floats(-1.5, 1.5))


def hand_frame(hand: np.ndarray, side: int) -> np.ndarray:
    """(T, 3, 3) thumb side, finger direction and palm normal of hands (T, 21, 3), found from their rigid part alone."""
    neutral = hand_joints(shape_weights("flat")[None])[0]
    knuckles = [HAND_EDGES[4][1], HAND_EDGES[16][1]]  # index, little
    planar = np.linalg.inv(neutral[knuckles, :2].T)
    thumb, along = np.moveaxis(np.stack([hand[:, k] - hand[:, 0] for k in knuckles], -1) @ planar, -1, 0)
    thumb, along = unit(thumb), unit(along)
    return np.stack([thumb, along, np.cross(along, thumb) if side == LEFT else np.cross(thumb, along)], -1)


@given(root=points, target=points, pole=points, upper=st.floats(0.1, 0.5), lower=st.floats(0.1, 0.5))
@settings(max_examples=300, deadline=None)
def test_two_bone_ik_reaches_or_stretches(root, target, pole, upper, lower):
    elbow, hand = two_bone_ik(root, target, upper, lower, pole)
    assert abs(np.linalg.norm(elbow - root) - upper) < 1e-7 and abs(np.linalg.norm(hand - elbow) - lower) < 1e-7
    distance = np.linalg.norm(target - root)
    if abs(upper - lower) + 1e-5 < distance < upper + lower - 1e-5:
        assert np.linalg.norm(hand - target) < 1e-7
    else:
        end = np.clip(distance, abs(upper - lower), upper + lower)
        assert abs(np.linalg.norm(hand - root) - end) < 1e-5
        assert np.linalg.norm(np.cross(hand - root, target - root)) < 1e-6 or distance < 1e-8


@given(
    at=arrays(np.float64, (2, 3), elements=st.floats(-0.6, 0.6)), tip=st.floats(0, 1), shape=st.sampled_from(SHAPE_NAMES),
    fingers=points, palm=points,
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_hand_touches_its_target_or_the_arm_is_at_its_limit(at, tip, shape, fingers, palm):
    size, hands = Proportions(), Hands.empty(1)
    trunk = pose_trunk({name: np.zeros(1) for name in TRUNK}, size)
    hands.at[0], hands.tip[:], hands.shape[:] = trunk.neck[0] + at, tip, shape_weights(shape)
    hands.fingers[:], hands.palm[:], hands.elbow[:] = fingers, palm, (0.1, -1, 0)
    elbows, wrists, joints, _ = pose_arms(trunk, hands, size)
    palm_joints = [HAND_EDGES[0][0], HAND_EDGES[4][1], HAND_EDGES[16][1]]  # root, first index joint, first little joint
    for side in (RIGHT, LEFT):
        contact = tip * joints[0, side, INDEX_TIP] + (1 - tip) * joints[0, side, palm_joints].mean(0)
        reach = np.linalg.norm(wrists[0, side] - trunk.shoulders[0, side])
        upper, lower = size.upper_arm, size.forearm
        least, most = np.sqrt(upper**2 + lower**2 + 2 * upper * lower * np.cos(ELBOW)), upper + lower
        forearm = unit(wrists[:, side] - elbows[:, side])
        bent = np.abs(wrist_angles(hand_frame(joints[:, side], side), forearm))[:, 0]
        assert bent[0] < np.deg2rad(80) and bent[1] < np.deg2rad(35)
        at_limit = bent[0] > FLEXION - 1e-6 or bent[1] > DEVIATION - 1e-6  # the wrist bends no farther
        touches = np.linalg.norm(contact - hands.at[0, side]) < 1e-6
        assert touches or at_limit or abs(reach - most) < 1e-5 or abs(reach - least) < 1e-5


def test_every_place_is_within_reach_of_the_average_adult():
    size = Proportions()
    trunk = pose_trunk({name: np.zeros(1) for name in TRUNK}, size)
    for name, place in PLACES.items():
        assert place.frame in FRAMES
        if place.frame in ("forearm", "upper_arm"):
            continue
        origin, axes = {"head": (trunk.head, trunk.head_axes), "torso": (trunk.neck, trunk.torso_axes),
                        "room": (np.zeros((1, 3)), np.eye(3)[None])}[place.frame]  # fmt: skip
        hands = Hands.empty(1)
        hands.at[:], hands.tip[:] = (origin + axes @ np.array(place.at))[:, None], place.tip
        hands.shape[:] = shape_weights("relaxed")
        hands.fingers[:], hands.palm[:], hands.elbow[:] = place.fingers, place.palm, place.elbow
        _, wrists, joints, _ = pose_arms(trunk, hands, size)
        arm = np.linalg.norm(wrists[0, RIGHT] - trunk.shoulders[0, RIGHT])
        assert arm < size.upper_arm + size.forearm - 1e-4, name


@given(weights=arrays(np.float64, (4, len(SHAPE_NAMES)), elements=st.floats(0, 1)), size=st.floats(0.8, 1.2))
@settings(max_examples=50, deadline=None)
def test_finger_bones_keep_their_length(weights, size):
    joints = hand_joints(weights, size)
    bones = np.array([np.linalg.norm(joints[:, a] - joints[:, b], axis=-1) for a, b in HAND_EDGES])
    np.testing.assert_allclose(bones, np.repeat(bones[:, :1], 4, 1), atol=1e-12)
    assert (bones > 0.01).all() and (bones < 0.13).all()


def test_bone_lengths_hold_through_a_whole_video():
    joints, subject, _, _ = performance(CSV_CLASSES)
    for side in ("left", "right"):
        shoulder, elbow, wrist = (joints[:, joint(f"{side}_{name}")] for name in ("shoulder", "elbow", "wrist"))
        np.testing.assert_allclose(np.linalg.norm(elbow - shoulder, axis=-1), subject.size.upper_arm, atol=1e-7)
        np.testing.assert_allclose(np.linalg.norm(wrist - elbow, axis=-1), subject.size.forearm, atol=1e-7)
        root = {"left": LEFT_HAND, "right": RIGHT_HAND}[side]
        np.testing.assert_allclose(joints[:, root], wrist, atol=1e-9)
        hand = joints[:, root : root + 21]
        bones = np.linalg.norm(hand[:, [a for a, _ in HAND_EDGES]] - hand[:, [b for _, b in HAND_EDGES]], axis=-1)
        np.testing.assert_allclose(bones, bones[:1].repeat(len(bones), 0), atol=1e-9)
    # smooth: no joint of the true motion jumps (0.25 m a frame are 6 m/s)
    assert np.linalg.norm(np.diff(joints, axis=0), axis=-1).max() < 0.25


@given(seed=st.integers(0, 10**6))
@settings(max_examples=12, deadline=None)
def test_joints_stay_within_anatomical_limits(seed):
    rng = np.random.default_rng(seed)
    joints, *_ = performance([int(c) for c in rng.choice(CSV_CLASSES, 8)], seed, replace(QUICK, take_variation=1.5))
    for side, name in ((RIGHT, "right"), (LEFT, "left")):
        shoulder, elbow, wrist = (joints[:, joint(f"{name}_{part}")] for part in ("shoulder", "elbow", "wrist"))
        upper, lower = unit(elbow - shoulder), unit(wrist - elbow)
        assert np.arccos(np.clip((upper * lower).sum(-1), -1, 1)).max() <= np.deg2rad(150)
        hand = joints[:, RIGHT_HAND if side == RIGHT else LEFT_HAND :][:, :21]
        flexion, deviation = wrist_angles(hand_frame(hand, side), lower)
        assert np.abs(flexion).max() <= np.deg2rad(80) and np.abs(deviation).max() <= np.deg2rad(35)
        palm = hand_frame(hand, side)[..., 2]
        for finger in range(1, 5):
            bones = unit(np.diff(hand[:, 1 + 4 * finger : 5 + 4 * finger], axis=1))
            bend = np.arccos(np.clip((bones[:, 1:] * bones[:, :-1]).sum(-1), -1, 1))
            assert bend.max() <= np.deg2rad(110)
            base = np.arcsin(np.clip((bones[:, 0] * palm).sum(-1), -1, 1))
            assert base.min() > -1e-6  # no finger bends backwards
    across = [unit(joints[:, joint(f"left_{part}")] - joints[:, joint(f"right_{part}")]) for part in ("ear", "shoulder")]
    assert np.arccos(np.clip((across[0] * across[1]).sum(-1), -1, 1)).max() < np.deg2rad(70)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=8, deadline=None)
def test_hands_that_reach_stay_out_of_head_trunk_and_table(seed):
    motion, subject, takes = performed(CSV_CLASSES, seed, left_handed=False)
    trunk = pose_trunk(motion.channels, subject.size)
    elbows, wrists = (np.stack([motion.joints[:, joint(f"{s}_{p}")] for s in ("right", "left")], 1) for p in ("elbow", "wrist"))
    fingers = np.stack([motion.joints[:, RIGHT_HAND:], motion.joints[:, LEFT_HAND : LEFT_HAND + 21]], 1)
    inside = np.linalg.norm(way_out(trunk, elbows, wrists, fingers, subject.size), axis=-1)
    for start, take in zip(motion.starts, takes):
        held = np.flatnonzero(motion.phases[start : start + take.frames] == 2) + start
        for side in take.hands:
            assert np.median(inside[held, side]) < 0.03, (take.csv_class, take.hands[side].place)


def test_points_inside_are_led_out_and_points_outside_left_alone():
    size = Proportions()
    trunk = pose_trunk({name: np.zeros(1) for name in TRUNK}, size)
    far = np.tile([0.0, 0.5, 1.0], (1, 2, 1))

    def way(point) -> np.ndarray:
        fingers = np.broadcast_to(far[:, :, None], (1, 2, 21, 3)).copy()
        fingers[0, 0, 3] = point
        return way_out(trunk, far, far, fingers, size)[0, 0]

    head = trunk.head[0]
    for point, direction in ((head + [0, 0.03, 0.06], 2), (np.array([0.0, 0.25, 0.09]), 2), (np.array([0.1, 0.13, 0.4]), 1)):
        shift = way(point)
        assert shift[direction] > 0.005 and np.abs(np.delete(shift, direction)).max() < 0.5 * shift[direction]
        np.testing.assert_allclose(way(point + 1.05 * shift), 0, atol=2e-3)
    for point in (head + [0, 0, 0.15], np.array([0.0, 0.25, 0.2]), np.array([0.1, 0.05, 0.4]), np.array([0.1, 0.2, 0.4])):
        np.testing.assert_array_equal(way(point), 0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_left_handers_mirror_right_handers(seed):
    classes = [int(c) for c in np.random.default_rng(seed).permutation(CSV_CLASSES)]
    (right, *_), (left, *_) = (performed(classes, seed, left_handed=side) for side in (False, True))
    mirror = list(get_topology("openpose137").mirror)
    np.testing.assert_allclose(left.joints, right.joints[:, mirror] * [-1, 1, 1], atol=1e-9)
    np.testing.assert_array_equal(left.contacts, right.contacts[:, ::-1])
    for name in ("phases", "gesture", "talking"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    for name, sign in (("look", -1), ("cock", -1), ("gaze_side", -1), ("nod", 1), ("smile", 1)):
        np.testing.assert_array_equal(left.channels[name], sign * right.channels[name])
    np.testing.assert_array_equal(left.channels["raise_left"], right.channels["raise_right"])
    assert np.abs(left.joints - right.joints).max() > 0.2
    # the mirrored channels drive the mirrored body
    subject = performed(classes, seed)[1]
    trunk = pose_trunk(left.channels, subject.size)
    np.testing.assert_allclose(trunk.shoulders[:, LEFT], left.joints[:, joint("left_shoulder")], atol=1e-9)
    np.testing.assert_allclose(trunk.head_axes @ (subject.size.ear), left.joints[:, joint("left_ear")] - trunk.head, atol=1e-9)


def test_mirror_is_its_own_inverse():
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(4, 137, 3))
    np.testing.assert_array_equal(mirror_joints(mirror_joints(joints)), joints)
    channels = {name: rng.normal(size=4) for name in (*TRUNK, *ACTION_UNITS)}
    twice = mirror_channels(mirror_channels(channels))
    assert list(twice) == list(channels) and all((twice[n] == channels[n]).all() for n in channels)


@given(points, points)
def test_shortest_rotation_takes_one_vector_to_the_other(a, b):
    if min(np.linalg.norm(a), np.linalg.norm(b)) < 1e-3 or (unit(a) * unit(b)).sum() < -0.99:
        return
    turn = turn_onto(unit(a)[None], unit(b)[None])[0]
    np.testing.assert_allclose(turn @ unit(a), unit(b), atol=1e-9)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)


def test_mirrored_pose_gives_the_mirrored_arms():
    rng, size = np.random.default_rng(0), Proportions()
    trunk = pose_trunk({name: np.zeros(5) for name in TRUNK}, size)
    hands, flip = Hands.empty(5), np.array([-1.0, 1.0, 1.0])
    for held in (hands.at, hands.fingers, hands.palm, hands.elbow):
        held[:, RIGHT] = rng.normal(0, 0.3, (5, 3))
        held[:, LEFT] = held[:, RIGHT] * flip
    hands.shape[:] = rng.dirichlet(np.ones(len(SHAPE_NAMES)), 5)[:, None]
    for part in pose_arms(trunk, hands, size):
        np.testing.assert_allclose(part[:, LEFT], part[:, RIGHT] * flip, atol=1e-12)


def test_face_lies_within_the_head_and_units_move_what_they_name():
    def face(**units):
        return face_points({name: np.array([value]) for name, value in units.items()})[0]

    assert TEMPLATE.shape == (70, 3) and np.abs(TEMPLATE[:, 0]).max() < 0.08
    whole = get_topology("openpose137")
    mirror = [whole.mirror[FACE + i] - FACE for i in range(70)]
    np.testing.assert_allclose(TEMPLATE[mirror] * [-1, 1, 1], TEMPLATE, atol=1e-12)
    lips = list(FACE_PARTS["lips"])
    pressed, opened = face(lip_press=1.0), face(mouth_open=1.0)
    height = lambda points: np.ptp(points[lips, 1])  # noqa: E731
    assert height(pressed) < 0.6 * height(TEMPLATE) < 0.5 * height(opened)
    others = [i for i in range(70) if i not in lips and i not in FACE_PARTS["jaw"]]
    np.testing.assert_array_equal(pressed[others], TEMPLATE[others])
    for unit in ACTION_UNITS:
        moved = np.abs(face(**{unit: 1.0}) - TEMPLATE).max()
        assert 0.002 < moved < 0.03, unit
    with pytest.raises(KeyError, match="smirk"):
        face(smirk=1.0)


def test_rotations_turn_as_documented():
    forward, up = np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
    quarter, zero = np.array([0.3]), np.zeros(1)
    assert (rotation(quarter, zero, zero)[0] @ up)[2] > 0  # lean bows to the camera
    assert (rotation(zero, quarter, zero)[0] @ forward)[0] > 0  # turn faces the subject's left
    assert (rotation(zero, zero, quarter)[0] @ up)[0] < 0  # tilt drops to the subject's right
    np.testing.assert_allclose(ease(np.array([-1, 0, 0.5, 1, 2])), [0, 0, 0.5, 1, 1])
