"""Streams against the original's scripts; batches of the loader in, what a graph network eats out."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_topologies import topologies
from toy import tiny, toy_set

from migstudy.graphs.augment import GraphAugment
from migstudy.graphs.data import STREAMS, bones, graph_channels, graph_input, motion, sample_clips
from migstudy.graphs.normalise import BodyAxes, normalise
from migstudy.loading import eval_loader
from migstudy.models import create_model
from migstudy.skeletons import get_topology
from migstudy.temporal import zero_pad

NTU = get_topology("ntu25")


@pytest.fixture(scope="module")
def original(fixtures_dir):
    """name -> (N, M, T, V, C) float64 from (N, C, T, V, M)."""
    data = np.load(fixtures_dir / "agcn_data_streams.npz")
    clips = ("joint", "bone", "joint_motion", "bone_motion", "prenorm_in", "prenorm_out")
    streams = {name: torch.from_numpy(data[name]).double().permute(0, 4, 2, 3, 1) for name in clips}
    return streams | {name: data[name] for name in data.files if name not in clips}


def shown(keypoints):
    return (keypoints != 0).any(-1).to(keypoints.dtype)


# -- against the original ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", STREAMS)
def test_streams_equal_the_original(original, stream):
    joint = original["joint"]
    ours, _ = STREAMS[stream](joint, torch.ones_like(joint[..., 0]), NTU.bones())
    np.testing.assert_allclose(ours, original[stream], atol=1e-6, rtol=0)
    assert stream == "joint" or (ours - joint).abs().max() > 0.1


def test_the_whole_input_equals_the_original_chain(original):
    """Pre-normalisation, then bones, in the layout of the network, from (N, M, T, V, 3)."""
    keypoints = original["prenorm_in"]
    batch = {"keypoints": keypoints, "scores": shown(keypoints)}
    for stream in ("joint", "bone"):
        ours = graph_input(batch, NTU, 20, stream)
        assert ours.shape == (2, 3, 20, 25, 2) and ours.dtype == torch.float32
        expected = original["prenorm_out"]
        if stream == "bone":
            # where the original centres a joint on itself, its 0 is a place, not a gap
            expected, _ = bones(expected, shown(expected).amax(-1, keepdim=True).expand(expected.shape[:-1]), NTU.bones())
        np.testing.assert_allclose(ours.permute(0, 4, 2, 3, 1), expected, atol=2e-6, rtol=0)


def test_kinetics_own_bone_pairs_can_be_given(original):
    pairs = original["pairs_kinetics_0based"].tolist()
    keypoints = torch.randn(2, 5, 18, 2, dtype=torch.float64)
    ours, _ = bones(keypoints, torch.ones(2, 5, 18), pairs)
    expected = np.zeros(keypoints.shape)
    for joint, parent in pairs:
        expected[..., joint, :] = keypoints[..., joint, :] - keypoints[..., parent, :]
    np.testing.assert_array_equal(ours, expected)


def test_zero_padding_equals_the_original(original):
    """(C, T, V, M) padded to 20 frames; longer clips keep their last frames, as the starter kit of iMiGUE does."""
    short = original["pad_in"].transpose(3, 1, 2, 0)  # (M, T, V, C)
    ours, _ = zero_pad(short, (short != 0).any(-1), 20, length=20)
    np.testing.assert_array_equal(ours.transpose(3, 1, 2, 0), original["pad_out"].astype(np.float32))


# -- missing joints ----------------------------------------------------------------------------------------------------


def test_what_lacks_an_end_is_missing():
    t = get_topology("coco17")
    keypoints = torch.rand(1, 4, 17, 2, dtype=torch.float64) + 1
    scores = torch.full((1, 4, 17), 0.8, dtype=torch.float64)
    elbow, wrist = t.index("left_elbow"), t.index("left_wrist")
    scores[0, 1, elbow], scores[0, :, t.index("nose")] = 0, 0.5
    bone, sure = bones(keypoints, scores, t.bones())
    assert sure[0, 1, elbow] == sure[0, 1, wrist] == 0 and not bone[0, 1, [elbow, wrist]].any()
    assert sure[0, 0, wrist] == 0.8 and bone[0, 0, wrist].any()
    assert not bone[..., t.center, :].any() and (sure[..., t.center] == 0.5).all()
    assert sure[0, 0, t.index("left_eye")] == 0.5
    moved, sure = motion(keypoints, scores)
    assert not moved[0, :2, elbow].any() and moved[0, 2, elbow].any()
    assert sure[0, :, elbow].tolist() == [0, 0, 0.8, 0] and not moved[:, -1].any()


@given(topologies(), st.integers(1, 5), st.sampled_from([2, 3]), st.integers(0, 2**31))
def test_bones_put_together_give_the_joints_back(topology, frames, dimensions, seed):
    generator = torch.Generator().manual_seed(seed)
    keypoints = torch.randn(2, frames, topology.num_joints, dimensions, generator=generator, dtype=torch.float64)
    bone, _ = bones(keypoints, torch.ones(keypoints.shape[:-1]), topology.bones())
    parent = dict(topology.bones())
    for joint in range(topology.num_joints):
        place, at = keypoints[..., topology.center, :], joint
        while at != topology.center:
            place, at = place + bone[..., at, :], parent[at]
        torch.testing.assert_close(place, keypoints[..., joint, :])
    moved, _ = motion(keypoints, torch.ones(keypoints.shape[:-1]))
    torch.testing.assert_close(keypoints[:, :1] + moved.cumsum(1)[:, :-1], keypoints[:, 1:])


# -- batches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", STREAMS)
def test_a_batch_of_the_loader_is_enough(stream):
    clips, config = toy_set(((3,) * 3,) * 3), tiny(batch_size=4)
    batch = next(iter(eval_loader(clips, config, views=2)))
    x = graph_input(batch, clips.topology, config.clip_len, stream)
    assert x.shape == (4, 3, 4, 22, 1) and graph_channels(2) == 3  # two clips, two views each
    output = create_model("stgcn", topology=clips.topology, base_channels=4, stage_blocks=(1,), num_classes=3)(x)
    assert output.logits.shape == (4, 3) and torch.isfinite(output.logits).all()
    # a view, taken alone, is the same
    second = {"keypoints": batch["keypoints"][:, 4:], "scores": batch["scores"][:, 4:]}
    torch.testing.assert_close(graph_input(second, clips.topology, 4, stream), x[1::2])


def test_scores_are_a_channel_when_wanted():
    batch = sample_clips(toy_set(((2,) * 3,) * 3), 6)
    t = get_topology("imigue22")
    with_scores = graph_input(batch, t, 6, normalised=False)
    torch.testing.assert_close(with_scores[:, 2, ..., 0], batch["scores"])
    torch.testing.assert_close(with_scores[:, :2, ..., 0].permute(0, 2, 3, 1), batch["keypoints"])
    assert graph_input(batch, t, 6, with_scores=False).shape[1] == graph_channels(2, False) == 2
    space = sample_clips(toy_set(((2,) * 3,) * 3, topology="kinect25", dimensions=3), 6)
    assert graph_input(space, NTU, 6).shape == (18, 3, 6, 25, 1)
    assert graph_input(space, NTU, 6, with_scores=True).shape[1] == graph_channels(3, True) == 4


@pytest.mark.parametrize(("topology", "dimensions", "default"), [("imigue22", 2, False), ("kinect25", 3, True)])
def test_a_moving_trunk_moves_unless_each_frame_is_centred(topology, dimensions, default):
    clips = toy_set(((2,) * 3,) * 3, topology=topology, dimensions=dimensions)
    batch, t = sample_clips(clips, 6), get_topology(topology)
    batch["scores"] = torch.ones_like(batch["scores"])
    center = BodyAxes.of(t).center[0]

    def drift(each_frame):
        return graph_input(batch, t, 6, each_frame=each_frame)[:, :dimensions, :, center].abs().max()

    assert drift(True) < 1e-5 and drift(False) > 1e-3
    assert drift(None) == drift(default)


def test_what_is_missing_is_zero_in_every_stream():
    batch = sample_clips(toy_set(((2,) * 3,) * 3), 8)
    gone = batch["scores"] == 0
    assert gone.any()
    batch["keypoints"][gone] = 1e6  # whatever a reader left there
    for stream in STREAMS:
        x = graph_input(batch, get_topology("imigue22"), 8, stream)
        assert not x[..., 0].permute(0, 2, 3, 1)[gone].any()
        assert x.abs().max() < 100


def test_mirror_images_follow_the_views_of_their_clip():
    t = get_topology("imigue22")
    batch = sample_clips(toy_set(((2,) * 3,) * 3), 5, num_clips=2)
    plain, both = graph_input(batch, t, 5), graph_input(batch, t, 5, mirror=True)
    both = both.unflatten(0, (-1, 4))
    torch.testing.assert_close(both[:, :2].flatten(0, 1), plain)
    images = plain[..., list(t.mirror), :] * torch.tensor([-1.0, 1, 1]).view(3, 1, 1, 1)
    torch.testing.assert_close(both[:, 2:].flatten(0, 1), images)


def test_augmentation_follows_its_generator():
    t, batch = get_topology("imigue22"), sample_clips(toy_set(((2,) * 3,) * 3), 6)
    how = GraphAugment(joint_dropout=0.2, noise=0.1)

    def draw(seed):
        return graph_input(batch, t, 6, augmentation=how, generator=torch.Generator().manual_seed(seed))

    torch.testing.assert_close(draw(1), draw(1), rtol=0, atol=0)
    assert not torch.allclose(draw(1), draw(2))
    assert not torch.allclose(draw(1), graph_input(batch, t, 6))


def test_half_precision_around_it_changes_nothing():
    t, batch = get_topology("imigue22"), sample_clips(toy_set(((2,) * 3,) * 3), 6)
    with torch.autocast("cpu", torch.bfloat16):
        inside = graph_input(batch, t, 6)
    torch.testing.assert_close(inside, graph_input(batch, t, 6), rtol=0, atol=0)


def test_input_is_left_alone():
    batch = sample_clips(toy_set(((2,) * 3,) * 3), 6)
    before = {name: value.clone() for name, value in batch.items()}
    graph_input(batch, get_topology("imigue22"), 6, "bone_motion", augmentation=GraphAugment(joint_dropout=0.5), mirror=True)
    assert all(torch.equal(batch[name], before[name]) for name in before)


def test_what_does_not_fit_is_named():
    batch = sample_clips(toy_set(((1,) * 3,) * 3), 6)
    with pytest.raises(ValueError, match="unknown stream 'limb'; known: joint, bone"):
        graph_input(batch, get_topology("imigue22"), 6, "limb")
    with pytest.raises(ValueError, match="no views of 4 frames of 22 joints"):
        graph_input(batch, get_topology("imigue22"), 4)
    with pytest.raises(ValueError, match="17 joints .'coco17'."):
        graph_input(batch, get_topology("coco17"), 6)


def test_clips_of_any_length_make_a_batch():
    clips = toy_set(((2,) * 3,) * 3)
    assert len({len(clip) for clip in clips}) > 1
    batch = sample_clips(clips, 7, "uniform_segments", num_clips=3)
    assert batch["keypoints"].shape == (18, 21, 22, 2) and batch["scores"].shape == (18, 21, 22)
    normalised, _ = normalise(batch["keypoints"][:, None], batch["scores"][:, None], clips.topology)
    assert torch.isfinite(normalised).all()
