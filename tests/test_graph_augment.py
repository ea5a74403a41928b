"""Random views: what each option changes, what it must not touch, and that draws are repeatable and independent."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_topologies import topologies

from migstudy.graphs.augment import GraphAugment, augment, mirrored, rotations, take_positions
from migstudy.skeletons import get_topology
from migstudy.temporal import take_frames

OFF = dict(flip=0.0, degrees=0.0, shear=0.0, zoom=0.0, crop=0.0, joint_dropout=0.0, noise=0.0)
IMIGUE = get_topology("imigue22")


def clips(shape=(40, 1, 6), joints=22, dimensions=2, missing=0.2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(*shape, joints, generator=generator) * 0.9 + 0.1
    scores = scores * (torch.rand(scores.shape, generator=generator) >= missing)
    keypoints = torch.randn(*scores.shape, dimensions, generator=generator)
    return keypoints.double() * (scores > 0)[..., None], scores.double()


def drawn(seed=0, dimensions=2, data=None, **options):
    keypoints, scores = data or clips(dimensions=dimensions)
    generator = torch.Generator().manual_seed(seed)
    return augment(keypoints, scores, IMIGUE, GraphAugment(**{**OFF, **options}), generator)


def test_nothing_asked_nothing_changed():
    for ours, given_ in zip(drawn(), clips(), strict=True):
        assert torch.equal(ours, given_)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_missing_joints_stay_missing(dimensions):
    keypoints, scores = drawn(
        dimensions=dimensions, flip=0.5, degrees=30, shear=0.3, zoom=0.5, crop=0.5, joint_dropout=0.3, noise=0.2
    )
    assert (scores == 0).any() and not keypoints[scores == 0].any()
    assert (keypoints != 0).all(-1)[scores > 0].all()
    assert keypoints.dtype == torch.float64


@pytest.mark.parametrize("option", [{"degrees": 20}, {"flip": 0.5}, {"zoom": 0.3}, {"shear": 0.2}])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_one_linear_map_a_clip(option, dimensions):
    """All frames, joints and people of a clip are moved by the same matrix, and the matrix is of the right kind."""
    keypoints, scores = clips((40, 2, 6), dimensions=dimensions, missing=0)
    moved, _ = drawn(dimensions=dimensions, data=(keypoints, scores), **option)
    if "flip" in option:
        keypoints = torch.where(
            (moved[:, :1, :1, :1, :1] == keypoints[:, :1, :1, :1, :1]),
            keypoints, keypoints[..., list(IMIGUE.mirror), :],
        )  # fmt: skip
    matrices = torch.linalg.lstsq(keypoints.flatten(1, 3), moved.flatten(1, 3)).solution.transpose(1, 2)
    torch.testing.assert_close(torch.einsum("nij,nmtvj->nmtvi", matrices, keypoints), moved)
    gram, eye = matrices @ matrices.transpose(1, 2), torch.eye(dimensions, dtype=torch.float64).expand(40, -1, -1)
    if "degrees" in option or "flip" in option:
        torch.testing.assert_close(gram, eye)
    if "degrees" in option:
        angles = (matrices.diagonal(dim1=1, dim2=2).sum(1) / 2 - (dimensions - 2) / 2).clamp(-1, 1).acos().rad2deg()
        assert 10 < angles.max() <= (20 if dimensions == 2 else 20 * 3) and angles.std() > 1
    elif "flip" in option:
        flipped = torch.linalg.det(matrices) < 0
        assert 8 < flipped.sum() < 32 and (matrices[flipped, 1, 1] > 0.99).all()
    elif "zoom" in option:
        sizes = matrices[:, 0, 0]
        torch.testing.assert_close(matrices, sizes[:, None, None] * eye)
        assert 1 / 1.3 <= sizes.min() < 0.9 and 1.1 < sizes.max() <= 1.3
    else:
        torch.testing.assert_close(matrices.diagonal(dim1=1, dim2=2), torch.ones(40, dimensions, dtype=torch.float64))
        away = (matrices - eye).abs().flatten(1).amax(1)
        assert 0.1 < away.max() <= 0.2


def test_options_do_not_move_each_others_draws():
    """Dropped joints and mirrored clips are the same whatever else is switched on."""
    _, alone = drawn(joint_dropout=0.3)
    _, together = drawn(joint_dropout=0.3, degrees=90, zoom=1, shear=0.2, noise=0.1)
    assert torch.equal(alone, together)
    _, flipped = drawn(flip=0.5)
    _, more = drawn(flip=0.5, noise=0.1, degrees=5)
    assert torch.equal(flipped, more)


def test_a_dropped_joint_is_gone_for_the_whole_clip():
    keypoints, scores = drawn(data=clips(missing=0), joint_dropout=0.3)
    gone = scores == 0
    assert torch.equal(gone.all(2), gone.any(2))
    assert 0.2 < gone.double().mean() < 0.4
    assert len(gone[:, 0, 0].unique(dim=0)) > 30


def test_a_crop_keeps_a_stretch_of_the_time():
    """On a clip whose coordinates are its own time, the cropped one runs evenly through a part of it."""
    time = torch.arange(11, dtype=torch.float64)
    keypoints = time.view(1, 1, 11, 1, 1).expand(200, 1, 11, 22, 2) + 1
    cropped, scores = drawn(data=(keypoints, torch.ones(200, 1, 11, 22)), crop=0.4)
    seen = cropped[:, 0, :, 0, 0] - 1
    steps = seen.diff(dim=1)
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps), atol=1e-5, rtol=0)
    assert (scores == 1).all() and seen.min() >= 0 and seen.max() <= 10
    assert 0.6 <= steps.min() < 0.65 and 0.95 < steps.max() <= 1
    assert seen[:, 0].max() > 3 and seen[:, -1].min() < 7


@given(st.integers(1, 9), st.integers(1, 6), st.integers(0, 2**31))
def test_positions_are_taken_as_the_samplers_take_them(frames, count, seed):
    rng = np.random.default_rng(seed)
    scores = (rng.random((3, 2, frames, 4)) * (rng.random((3, 2, frames, 4)) > 0.3)).astype(np.float32)
    keypoints = (rng.normal(size=(3, 2, frames, 4, 2)) * (scores > 0)[..., None]).astype(np.float32)
    positions = rng.uniform(0, frames - 1, (3, count))
    positions = np.where(rng.random((3, count)) < 0.4, positions.round(), positions)
    ours = take_positions(*map(torch.from_numpy, (keypoints, scores, positions)))
    for clip in range(3):
        expected = take_frames(keypoints[clip], scores[clip], positions[clip])
        for got, wanted in zip(ours, expected, strict=True):
            np.testing.assert_allclose(got[clip], wanted, atol=2e-6)


@given(topologies(), st.sampled_from([2, 3]), st.integers(0, 2**31))
def test_a_mirror_undoes_itself(topology, dimensions, seed):
    keypoints, scores = clips((2, 1, 3), topology.num_joints, dimensions, seed=seed)
    once = mirrored(keypoints, scores, topology)
    for ours, expected in zip(mirrored(*once, topology), (keypoints, scores), strict=True):
        assert torch.equal(ours, expected)
    torch.testing.assert_close(once[0][..., 1:], keypoints[..., list(topology.mirror), 1:])


def test_rotations_turn_by_their_angles():
    quarter = torch.tensor([[torch.pi / 2]])
    torch.testing.assert_close(rotations(quarter) @ torch.tensor([1.0, 0]), torch.tensor([[0.0, 1]]), atol=1e-6, rtol=0)
    for axis, (start, end) in enumerate([((0, 1, 0), (0, 0, 1)), ((0, 0, 1), (1, 0, 0)), ((1, 0, 0), (0, 1, 0))]):
        angles = torch.zeros(1, 3)
        angles[0, axis] = torch.pi / 2
        turned = rotations(angles)[0] @ torch.tensor(start, dtype=torch.float32)
        torch.testing.assert_close(turned, torch.tensor(end, dtype=torch.float32), atol=1e-6, rtol=0)


@pytest.mark.parametrize("wrong", [{"flip": 1.1}, {"crop": 1.0}, {"noise": -1}, {"degrees": float("nan")}])
def test_impossible_values_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.*between 0 and"):
        GraphAugment(**wrong)
