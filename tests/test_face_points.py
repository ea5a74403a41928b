"""Five points from a skeleton and their alignment: known similarities come back, missing landmarks are filled in or said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migstudy.faces.points import ARCFACE, MIRROR, align, five_points, mirror_points, similarity, track_face
from migstudy.skeletons import FACE, get_topology, list_topologies

angles, scales = st.floats(-np.pi, np.pi), st.floats(0.2, 6.0)
shifts = st.tuples(st.floats(-2000, 2000), st.floats(-2000, 2000))


def turned(angle, scale):
    return scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def face_of(matrix=np.eye(2) * 1.5, shift=(400.0, 200.0)):
    """All 137 points of a frame whose five points lie exactly as the template says; score 0.9."""
    eyes = [ARCFACE[e] + 4 * np.array([[np.cos(a), np.sin(a)] for a in np.arange(6) * np.pi / 3]) for e in (0, 1)]
    points = np.full((137, 2), -500.0)
    points[FACE + 36 : FACE + 42], points[FACE + 42 : FACE + 48] = eyes
    points[[FACE + 68, 15]], points[[FACE + 69, 16]] = ARCFACE[0], ARCFACE[1]
    points[[FACE + 30, 0]] = ARCFACE[2]
    points[[FACE + 48, FACE + 60]], points[[FACE + 54, FACE + 64]] = ARCFACE[3], ARCFACE[4]
    return points @ matrix.T + shift, np.full(137, 0.9)


# -- alignment ---------------------------------------------------------------------------------------------------------


@given(angle=angles, scale=scales, shift=shifts)
def test_a_known_similarity_is_recovered_exactly(angle, scale, shift):
    matrix = turned(angle, scale)
    points = ARCFACE @ matrix.T + shift
    track = align(points[None])
    inverse = np.linalg.inv(matrix)
    np.testing.assert_allclose(track.matrices[0, :, :2], inverse, atol=1e-9)
    np.testing.assert_allclose(track.matrices[0, :, 2], -inverse @ shift, atol=1e-6)
    assert track.usable[0] == (112 * scale >= 16) and track.error[0] < 1e-6


@given(angle=angles, scale=st.floats(0.3, 4.0), shift=shifts, seed=st.integers(0, 1000))
def test_the_crop_does_not_change_when_the_picture_is_turned_scaled_and_moved(angle, scale, shift, seed):
    points = 2 * ARCFACE + np.random.default_rng(seed).normal(0, 4, (5, 2)) + 300
    matrix = turned(angle, scale)
    first, second = align(points[None]), align((points @ matrix.T + shift)[None])
    np.testing.assert_allclose(first.error, second.error, atol=1e-6)
    reached = (points @ matrix.T + shift) @ second.matrices[0, :, :2].T + second.matrices[0, :, 2]
    np.testing.assert_allclose(points @ first.matrices[0, :, :2].T + first.matrices[0, :, 2], reached, atol=1e-6)


@given(seed=st.integers(0, 10_000))
def test_no_other_similarity_is_closer(seed):
    rng = np.random.default_rng(seed)
    points = 1.7 * ARCFACE + rng.normal(0, 8, (5, 2)) + rng.uniform(-200, 200, 2)
    best = similarity(points[None], ARCFACE)[0]

    def error(matrix):
        return ((points @ matrix[:, :2].T + matrix[:, 2] - ARCFACE) ** 2).sum()

    for _ in range(20):
        a, b, x, y = rng.normal(0, [1e-3, 1e-3, 0.3, 0.3])
        assert error(best + [[a, -b, x], [b, a, y]]) > error(best)


def test_a_mirrored_face_is_not_reflected_into_place():
    swapped = (2 * ARCFACE + 300)[list(MIRROR)]  # left and right exchanged, as detectors do
    track = align(np.stack([2 * ARCFACE + 300, swapped]))
    assert track.usable.tolist() == [True, False] and track.error[1] > 9
    assert not track.matrices[1].any()
    eyes_and_nose = np.array([[True, True, True, False, False]] * 2)
    assert align(np.stack([2 * ARCFACE, 2 * ARCFACE[list(MIRROR)]]), eyes_and_nose).usable.tolist() == [True, False]


@given(seed=st.integers(0, 1000))
def test_points_of_the_mirrored_picture(seed):
    points = 2 * ARCFACE + 300 + np.random.default_rng(seed).normal(0, 3, (5, 2))
    mirrored = mirror_points(points, 1280)
    np.testing.assert_allclose(mirror_points(mirrored, 1280), points)
    track = align(np.stack([points, mirrored]))
    assert track.usable.all()
    # the template is symmetric to a third of a pixel: the mirrored picture's crop is the crop's mirror image
    place = points.mean(0)
    first = track.matrices[0] @ [*place, 1]
    second = track.matrices[1] @ [1280 - place[0], place[1], 1]
    np.testing.assert_allclose([112 - first[0], first[1]], second, atol=0.6)


def test_degenerate_points_are_no_face():
    one_place = np.full((5, 2), 7.0)
    tiny = 300 + 0.1 * ARCFACE
    track = align(np.stack([one_place, tiny, np.full((5, 2), np.nan), 2 * ARCFACE]))
    assert track.usable.tolist() == [False, False, False, True]
    assert np.isfinite(track.matrices).all() and not track.matrices[:3].any()


def test_two_points_are_too_few_and_three_enough():
    found = np.array([[True, True, False, False, False], [True, False, True, True, False]])
    track = align(np.stack([2 * ARCFACE] * 2), found)
    assert track.usable.tolist() == [False, True]
    np.testing.assert_allclose(track.matrices[1], [[0.5, 0, 0], [0, 0.5, 0]], atol=1e-9)


@pytest.mark.parametrize("shape", [(5, 2), (3, 4, 2), (3, 5, 3)])
def test_other_points_are_refused(shape):
    with pytest.raises(ValueError, match=r"five points are \(T, 5, 2\) px in the order right_eye, left_eye, nose"):
        align(np.zeros(shape))


# -- landmarks ---------------------------------------------------------------------------------------------------------


@given(angle=st.floats(-0.5, 0.5), scale=st.floats(0.5, 3), shift=st.tuples(st.floats(200, 800), st.floats(200, 500)))
def test_a_skeletons_face_is_aligned(angle, scale, shift):
    matrix = turned(angle, scale)
    points, scores = face_of(matrix, shift)
    track = track_face(points[None], scores[None])
    assert track.found.all() and track.usable[0]
    np.testing.assert_allclose(track.points[0], ARCFACE @ matrix.T + shift, atol=1e-6)


@pytest.mark.parametrize(
    ("lost", "found"),
    [
        ([FACE + 36, FACE + 39], 5),  # four of an eye's six are enough
        ([*range(FACE + 36, FACE + 42)], 5),  # the pupil
        ([*range(FACE + 36, FACE + 42), FACE + 68], 5),  # the body's eye
        ([FACE + 30], 5),  # the body's nose
        ([FACE + 48], 5),  # the inner corner
        ([*range(FACE + 36, FACE + 42), FACE + 68, 15], 4),
        ([FACE + 48, FACE + 60, FACE + 54, FACE + 64], 3),
        ([*range(FACE, FACE + 70)], 3),  # head joints alone
        ([*range(FACE, FACE + 70), 0], 2),
        ([*range(137)], 0),
    ],
)
def test_what_is_lost_is_taken_from_elsewhere_or_said(lost, found):
    points, scores = face_of()
    points[lost], scores[lost] = 0, 0
    track = track_face(points[None], scores[None])
    assert track.found.sum() == found and track.usable[0] == (found >= 3)
    if found >= 3:  # an eye of four landmarks is a little off its centre
        reached = ARCFACE * 1.5 + [400, 200]
        np.testing.assert_allclose(track.points[0][track.found[0]], reached[track.found[0]], atol=1.6)
        corners = np.array([[400, 200, 1], [568, 200, 1], [400, 368, 1]]) @ track.matrices[0].T
        np.testing.assert_allclose(corners, [[0, 0], [112, 0], [0, 112]], atol=2)


def test_unsure_and_infinite_landmarks_do_not_count():
    points, scores = face_of()
    scores[FACE + 30], points[FACE + 30] = 0.2, 9999
    points[FACE + 48] = np.nan
    assert track_face(points[None], scores[None]).error[0] < 1e-6
    assert track_face(points[None], scores[None], sure=0.1).error[0] > 9


def test_smaller_skeletons_give_eyes_and_nose_and_others_are_refused():
    points, scores = face_of()
    for name in list_topologies():
        topology = get_topology(name)
        if topology.openpose137 is None:
            with pytest.raises(ValueError, match="not taken from OpenPose's 137 points; give a detector's five points"):
                five_points(np.zeros((1, topology.num_joints, 2)), np.zeros((1, topology.num_joints)), topology)
            continue
        index = list(topology.openpose137)
        track = track_face(points[None, index], scores[None, index], topology)
        assert track.usable[0] and track.found[0, :3].all()
        np.testing.assert_allclose(track.matrices[0], [[1 / 1.5, 0, -400 / 1.5], [0, 1 / 1.5, -200 / 1.5]], atol=1e-6)
    with pytest.raises(ValueError, match=r"keypoints \(2, 22, 2\) .*as 'openpose137' needs"):
        track_face(np.zeros((2, 22, 2)), np.zeros((2, 22)))


def test_the_template_is_the_simulators():
    film = pytest.importorskip("migstudy.simulate.render.film")
    np.testing.assert_array_equal(film.ARCFACE, ARCFACE)
    points = np.random.default_rng(0).normal(0, 9, (4, 5, 2)) + 2 * ARCFACE
    factor, shift = film.align(points)
    ours = similarity(points, ARCFACE)
    np.testing.assert_allclose(ours[:, 0, 0] + 1j * ours[:, 1, 0], factor, atol=1e-12)
    np.testing.assert_allclose(ours[:, 0, 2] + 1j * ours[:, 1, 2], shift, atol=1e-9)
