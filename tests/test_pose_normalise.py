"""Pre-normalisation: equal to 2s-AGCN's in 3D, blind to place and size in 2D, honest about missing joints."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_topologies import topologies

from migstudy.graphs.normalise import BodyAxes, close_gaps, normalise, normalise_image, normalise_view, rotation_onto
from migstudy.skeletons import get_topology, list_topologies

NTU, IMIGUE = get_topology("ntu25"), get_topology("imigue22")


def people(topology=IMIGUE, dimensions=2, shape=(3, 2, 6), missing=0.1, seed=0):
    """Random bodies, float64, some joints missing, coordinates 0 there."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(*shape[:2], 1, topology.num_joints, dimensions))
    points = points + 0.1 * rng.normal(size=(*shape, topology.num_joints, dimensions))
    scores = rng.uniform(0.3, 1, points.shape[:-1]) * (rng.random(points.shape[:-1]) >= missing)
    return torch.from_numpy(points * (scores > 0)[..., None]), torch.from_numpy(scores)


# -- 3D ----------------------------------------------------------------------------------------------------------------


def test_view_normalisation_equals_the_original(fixtures_dir):
    data = np.load(fixtures_dir / "agcn_data_streams.npz")
    raw, expected = (torch.from_numpy(data[k]).double().permute(0, 4, 2, 3, 1) for k in ("prenorm_in", "prenorm_out"))
    ours, _ = normalise(raw, (raw != 0).any(-1).double(), NTU)
    np.testing.assert_allclose(ours, expected, atol=1e-6, rtol=0)
    assert (expected - raw).abs().max() > 0.5


@pytest.mark.parametrize("empty", [(0, 1), (3,), (0, 4), (4, 5), (0, 2, 5), (2, 4, 5), ()])
def test_gaps_close_as_in_the_original(empty):
    """The rule in a loop, for each pattern of empty frames of the first person; the second has none."""
    keypoints, scores = people(NTU, 3, (1, 2, 6), missing=0)
    keypoints[0, 0, list(empty)], scores[0, 0, list(empty)] = 0, 0
    clip = [frame.clone() for frame in keypoints[0, 0]]
    if 0 in empty:
        kept = [frame for frame in clip if frame.any()]
        clip = kept + [torch.zeros_like(clip[0])] * (6 - len(kept))
    while not clip[-1].any():
        clip.pop()
    clip = [clip[t % len(clip)] for t in range(6)]
    ours, ours_scores = close_gaps(keypoints, scores)
    torch.testing.assert_close(ours[0, 0], torch.stack(clip), rtol=0, atol=0)
    torch.testing.assert_close(ours[0, 1], keypoints[0, 1], rtol=0, atol=0)
    assert ((ours_scores[0, 0] > 0).all(-1) == torch.tensor([bool(frame.any()) for frame in clip])).all()


def test_a_person_who_never_appears_stays_away():
    keypoints, scores = people(NTU, 3)
    keypoints[1, 1], scores[1, 1] = 0, 0
    ours, ours_scores = normalise(keypoints, scores, NTU)
    assert not ours[1, 1].any() and not ours_scores[1, 1].any()
    keypoints[1], scores[1] = 0, 0
    ours, _ = normalise(keypoints, scores, NTU)
    assert not ours[1].any() and torch.isfinite(ours).all()


@pytest.mark.parametrize("each_frame", [True, False])
def test_the_view_does_not_matter(each_frame):
    """Whatever the camera's place and direction, the same body comes out, facing the viewer."""
    keypoints, scores = people(NTU, 3, missing=0)
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    turn = turn * torch.linalg.det(turn).sign()
    axes = BodyAxes.of(NTU)
    front, _ = normalise_view(keypoints, scores, axes, each_frame)
    right, left = (front[:, 0, 0, group[0]] for group in axes.across)
    across = (right - left) / (right - left).norm(dim=-1, keepdim=True)
    torch.testing.assert_close(across, torch.tensor([[1.0, 0, 0]] * 3, dtype=torch.float64))
    moved, _ = normalise_view(keypoints @ turn.T + 5, scores, axes, each_frame)
    # two smallest rotations leave a turn about the shoulders' axis open, hence the shares of x only
    torch.testing.assert_close(moved[..., 0], front[..., 0])
    torch.testing.assert_close(moved.norm(dim=-1), front.norm(dim=-1))
    if each_frame:
        assert front[:, 0, :, axes.center[0]].abs().max() < 1e-12
    else:
        assert front[:, 0, :, axes.center[0]].abs().max() > 0.01


def test_the_first_frame_that_shows_the_axes_counts():
    keypoints, scores = people(NTU, 3, (1, 1, 6), missing=0)
    whole, _ = normalise_view(keypoints[:, :, 2:], scores[:, :, 2:], BodyAxes.of(NTU))
    shoulder, spine = NTU.index("left_shoulder"), NTU.index("hip_center")
    scores[:, :, :2, [shoulder, spine]] = 0
    ours, _ = normalise_view(keypoints * (scores > 0)[..., None], scores, BodyAxes.of(NTU))
    torch.testing.assert_close(ours[:, :, 2:], whole)


def test_scaled_bodies_have_shoulders_of_width_one():
    keypoints, scores = people(NTU, 3, missing=0)
    axes = BodyAxes.of(NTU)
    ours, _ = normalise_view(keypoints, scores, axes, scaled=True)
    larger, _ = normalise_view(3 * keypoints, scores, axes, scaled=True)
    torch.testing.assert_close(ours, larger)
    widths = (ours[:, 0, :, axes.across[0][0]] - ours[:, 0, :, axes.across[1][0]]).norm(dim=-1)
    weight = (scores[:, 0, :, axes.across[0][0]] * scores[:, 0, :, axes.across[1][0]]).sqrt()
    torch.testing.assert_close((widths * weight).sum(1) / weight.sum(1), torch.ones(3, dtype=torch.float64))


@given(st.integers(0, 2**31))
def test_the_smallest_rotation_turns_and_nothing_else(seed):
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(5, 3, dtype=torch.float64, generator=generator)
    target = torch.nn.functional.normalize(torch.randn(3, dtype=torch.float64, generator=generator), dim=0)
    turn = rotation_onto(directions, target)
    eye = torch.eye(3, dtype=torch.float64).expand(5, 3, 3)
    torch.testing.assert_close(turn @ turn.transpose(1, 2), eye)
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(5, dtype=torch.float64))
    length = directions.norm(dim=1, keepdim=True)
    torch.testing.assert_close(torch.einsum("nij,nj->ni", turn, directions), length * target)
    # smallest: what is across both directions stays
    across = torch.linalg.cross(directions, target.expand(5, 3))
    torch.testing.assert_close(torch.einsum("nij,nj->ni", turn, across), across)


def test_no_direction_no_rotation():
    x = torch.tensor([1.0, 0, 0])
    turn = rotation_onto(torch.tensor([[0.0, 0, 0], [2, 0, 0], [-2, 0, 0]]), x)
    torch.testing.assert_close(turn, torch.eye(3).expand(3, 3, 3))


# -- 2D ----------------------------------------------------------------------------------------------------------------


@given(topologies(), st.floats(0.01, 100), st.floats(-1e3, 1e3), st.booleans(), st.integers(0, 2**31))
def test_place_and_size_do_not_matter(topology, factor, shift, each_frame, seed):
    keypoints, scores = people(topology, 2, (2, 1, 3), 0.3, seed)
    axes = BodyAxes.of(topology)
    ours, _ = normalise_image(keypoints, scores, axes, each_frame)
    moved = torch.where((scores > 0)[..., None], keypoints * factor + shift, torch.zeros_like(keypoints))
    other, _ = normalise_image(moved, scores, axes, each_frame)
    assert torch.isfinite(ours).all() and not ours[scores == 0].any()
    torch.testing.assert_close(other, ours, atol=1e-6, rtol=1e-6)


def test_neck_at_the_origin_and_shoulders_one_apart():
    keypoints, scores = people(shape=(2, 1, 5), missing=0)
    axes = BodyAxes.of(IMIGUE)
    (right,), (left,) = axes.across
    keypoints[..., right, :], keypoints[..., left, :] = torch.tensor([-4.0, 1]), torch.tensor([4.0, 1])
    ours, _ = normalise(keypoints, scores, IMIGUE)
    neck, sure = ours[:, 0, :, IMIGUE.index("neck")], scores[:, 0, :, IMIGUE.index("neck"), None]
    torch.testing.assert_close((neck * sure).sum(1), torch.zeros(2, 2, dtype=torch.float64), atol=1e-12, rtol=0)
    assert neck.abs().max() > 1e-3  # a moving trunk still moves
    torch.testing.assert_close(ours[..., left, 0] - ours[..., right, 0], torch.ones(2, 1, 5, dtype=torch.float64))
    framewise, _ = normalise_image(keypoints, scores, axes, each_frame=True)
    assert framewise[:, 0, :, IMIGUE.index("neck")].abs().max() < 1e-12


def test_a_body_in_profile_does_not_explode():
    keypoints, scores = people(shape=(1, 1, 5), missing=0)
    (right,), (left,) = BodyAxes.of(IMIGUE).across
    keypoints[..., right, :] = keypoints[..., left, :]
    ours, _ = normalise(keypoints, scores, IMIGUE)
    assert ours.abs().max() < 10
    radius = (ours[0, 0].square().sum(-1) * scores[0, 0]).sum() / scores[0, 0].sum()
    assert radius.sqrt().item() == pytest.approx(2)


def test_missing_joints_do_not_pull():
    keypoints, scores = people(shape=(2, 2, 5), missing=0.3)
    scores[0, 0, :, IMIGUE.index("neck")] = 0  # this clip never shows the neck
    keypoints = torch.where((scores > 0)[..., None], keypoints, torch.zeros_like(keypoints))
    garbage = torch.where((scores > 0)[..., None], keypoints, torch.full_like(keypoints, 1e3))
    torch.testing.assert_close(normalise(garbage, scores, IMIGUE)[0], normalise(keypoints, scores, IMIGUE)[0])
    ours, _ = normalise(keypoints, scores, IMIGUE)
    mean = (ours[0, 0] * scores[0, 0, ..., None]).sum((0, 1))
    torch.testing.assert_close(mean, torch.zeros(2, dtype=torch.float64), atol=1e-9, rtol=0)
    empty, _ = normalise(torch.zeros_like(keypoints), torch.zeros_like(scores), IMIGUE)
    assert not empty.any()


# -- which joints ------------------------------------------------------------------------------------------------------


def test_axes_are_found_by_name():
    assert BodyAxes.of(NTU) == BodyAxes((1,), ((0,), (1,)), ((8,), (4,)))  # 2s-AGCN's own numbers
    imigue = BodyAxes.of(IMIGUE)
    assert imigue.center == (IMIGUE.index("neck"),) and imigue.upright is None
    coco = get_topology("coco17")
    shoulders = (coco.index("right_shoulder"), coco.index("left_shoulder"))
    hips = (coco.index("right_hip"), coco.index("left_hip"))
    assert BodyAxes.of(coco) == BodyAxes(shoulders, (hips, shoulders), ((shoulders[0],), (shoulders[1],)))


@pytest.mark.parametrize("name", list_topologies())
@pytest.mark.parametrize("dimensions", [2, 3])
def test_every_skeleton_can_be_normalised(name, dimensions):
    topology = get_topology(name)
    keypoints, scores = people(topology, dimensions)
    ours, _ = normalise(keypoints, scores, topology)
    assert torch.isfinite(ours).all() and ours.any() and not ours[scores == 0].any()
