"""Batches: what is drawn follows from (seed, epoch, position) alone, and heatmaps are drawn from nothing else."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy import tiny, toy_set

from migstudy.augment import project
from migstudy.fit import start_epoch
from migstudy.heatmaps import mirror_heatmaps, render_joints, render_limbs
from migstudy.loading import (
    GestureDataset,
    channels,
    eval_loader,
    represent,
    train_loader,
    with_labels,
)  # fmt: skip
from migstudy.skeletons import get_topology

SHARE = ((5, 4, 4), (2, 1, 1), (2, 2, 1))


@pytest.fixture(scope="module")
def clips():
    return toy_set(SHARE)


@pytest.fixture(scope="module")
def deep():
    return toy_set(SHARE, dimensions=3)


def draws(loader, seed=0, epoch=0):
    """All of an epoch, by clip: {index: (position in the epoch, keypoints, scores, label)}."""
    start_epoch(loader, seed, epoch)
    rows = [row for batch in loader for row in zip(*(batch[k] for k in ("index", "keypoints", "scores", "label")), strict=True)]
    return {int(i): (place, k.numpy(), s.numpy(), int(y)) for place, (i, k, s, y) in enumerate(rows)}


def equal(a, b):
    return a.keys() == b.keys() and all(
        a[i][0] == b[i][0] and all(np.array_equal(x, y) for x, y in zip(a[i][1:], b[i][1:], strict=True)) for i in a
    )


# -- what is drawn ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", ["uniform_interval", "uniform_segments", "zero_pad"])
def test_an_epoch_is_the_same_whoever_loads_it(clips, sampling):
    config = tiny(sampling=sampling, batch_size=4)
    part = clips.select(split="train")
    torch.manual_seed(1)
    first = draws(train_loader(part, config), config.seed, 3)
    torch.manual_seed(2), np.random.seed(2), torch.rand(7)  # nothing global may reach the draws
    again = train_loader(part, config)
    draws(again, config.seed, 9)  # nor what was loaded before
    with_workers = draws(train_loader(part, dataclasses.replace(config, workers=2)), config.seed, 3)
    assert len(first) == 12 and equal(first, draws(again, config.seed, 3)) and equal(first, with_workers)


def test_workers_hear_of_the_next_epoch(clips):
    config = tiny(batch_size=16, workers=1)
    loader = train_loader(clips.select(split="train"), config)
    one, two = draws(loader, 0, 0), draws(loader, 0, 1)
    assert not any(np.array_equal(one[i][1], two[i][1]) for i in one)


def test_epochs_seeds_and_positions_draw_differently(clips):
    part = clips.select(split="train")
    config = tiny(batch_size=16)
    base = draws(train_loader(part, config), 0, 0)
    other_epoch = draws(train_loader(part, config), 0, 1)
    other_seed = draws(train_loader(part, tiny(batch_size=16, seed=1)), 1, 0)
    for other in (other_epoch, other_seed):
        assert set(other) == set(base)
        assert list(other) != list(base), "the order stayed"
        assert not any(np.array_equal(other[i][1], base[i][1]) for i in base), "an augmentation stayed"
    twins = dataclasses.replace(part, index=part.index.iloc[[0, 0]].assign(clip_id=["a", "b"]).reset_index(drop=True))
    pair = GestureDataset(twins, config, train=True)
    assert not np.array_equal(pair[0]["keypoints"], pair[1]["keypoints"])


def test_a_clip_is_drawn_alike_in_any_order_of_asking(clips):
    dataset = GestureDataset(clips.select(split="train"), tiny(), train=True)
    forward = [dataset[i]["keypoints"] for i in range(len(dataset))]
    backward = [dataset[i]["keypoints"] for i in reversed(range(len(dataset)))]
    for mine, theirs in zip(forward, reversed(backward), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_whole_epoch_but_a_short_last_batch(clips):
    part = clips.select(split="train")
    assert len(part) == 13
    assert sum(len(b["label"]) for b in train_loader(part, tiny(batch_size=4))) == 12
    assert sum(len(b["label"]) for b in train_loader(part, tiny(batch_size=16))) == 13  # one short batch is all there is
    order = np.concatenate([b["index"].numpy() for b in eval_loader(part, tiny(batch_size=4), views=2)])
    assert order.tolist() == list(range(13))


def test_batches_are_finite_coordinates_in_their_frame(clips):
    for train, size in ((True, 20), (False, 24)):
        config = tiny(train_size=20, test_size=24)
        for row in (GestureDataset(clips, config, train)[i] for i in range(len(clips))):
            assert row["keypoints"].shape == (4, 22, 2) and row["scores"].shape == (4, 22)
            assert row["keypoints"].dtype == row["scores"].dtype == np.float32
            present = row["keypoints"][row["scores"] > 0]
            assert np.isfinite(present).all() and (row["keypoints"][row["scores"] == 0] == 0).all()
            if not train:  # a crop may cut joints off, the test view may not
                assert present.min() >= 0 and present.max() <= size


def test_evaluation_draws_nothing(clips):
    one, two = (GestureDataset(clips, tiny(seed=seed), train=False, views=3) for seed in (0, 1))
    two.epoch = 5
    for i in range(len(clips)):
        np.testing.assert_array_equal(one[i]["keypoints"], two[i]["keypoints"])


# -- labels ----------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**31))
def test_shuffled_labels_are_a_permutation_of_the_training_labels_alone(seed):
    clips = toy_set(SHARE)
    config = tiny(shuffle_labels=True, seed=seed)
    shuffled = GestureDataset(clips, config, train=True)
    assert sorted(shuffled.labels) == sorted(clips.labels)
    shown = [shuffled[i]["label"] for i in range(len(clips))]
    assert shown == shuffled.labels.tolist()
    assert GestureDataset(clips, config, train=False).labels.tolist() == clips.labels.tolist()
    assert GestureDataset(clips, tiny(seed=seed), train=True).labels.tolist() == clips.labels.tolist()
    assert GestureDataset(clips, config, train=True).labels.tolist() == shuffled.labels.tolist()


def test_shuffling_breaks_the_tie_between_clip_and_label():
    clips = toy_set(((40, 40, 40), (1, 0, 0), (1, 0, 0))).select(split="train")
    kept = [(GestureDataset(clips, tiny(shuffle_labels=True, seed=s), train=True).labels == clips.labels).mean() for s in range(8)]
    assert 0.2 < np.mean(kept) < 0.45 and len(set(kept)) > 1


def test_clips_without_labels_are_left_out(clips):
    index = clips.index.copy()
    index.loc[::2, "label"] = -1
    unknown = dataclasses.replace(clips, index=index)
    known = with_labels(unknown)
    assert list(known.index["clip_id"]) == list(clips.index["clip_id"][1::2]) and (known.labels >= 0).all()
    np.testing.assert_array_equal(known[2].keypoints, clips[5].keypoints)


# -- 3D --------------------------------------------------------------------------------------------------------------


def test_two_planes_stand_side_by_side(deep):
    config = tiny(projection="xy+zy", test_mirror=False)
    row = GestureDataset(deep, config, train=False)[0]
    assert row["keypoints"].shape == (4, 44, 2) and row["scores"].shape == (4, 44)
    alone = [GestureDataset(deep, tiny(projection="xy"), train=False)[0][k] for k in ("keypoints", "scores")]
    np.testing.assert_array_equal(row["keypoints"][:, :22], alone[0])
    np.testing.assert_array_equal(row["scores"][:, :22], alone[1])
    np.testing.assert_array_equal(row["scores"][:, 22:], row["scores"][:, :22])
    # both planes share the vertical axis of one scale each: the order from top to bottom is the same
    seen = row["scores"][0, :22] > 0
    above, beside = row["keypoints"][0, :22, 1][seen], row["keypoints"][0, 22:, 1][seen]
    assert np.corrcoef(above, beside)[0, 1] > 0.99
    assert not np.allclose(row["keypoints"][:, :22, 0], row["keypoints"][:, 22:, 0], atol=1)
    assert channels(deep.topology, config, 3) == 44 and channels(deep.topology, config, 2) == 22


def test_mirrored_copies_are_the_mirrored_body(deep):
    config = tiny(projection="xy+zy", test_mirror=True, sampling="uniform_segments")
    dataset = GestureDataset(deep, config, train=False, views=2)
    row = dataset[0]
    assert row["keypoints"].shape == (2 * 2 * 4, 44, 2)
    plain, mirrored = row["keypoints"][:8], row["keypoints"][8:]
    order = list(deep.topology.mirror)
    np.testing.assert_array_equal(row["scores"][8:, :22], row["scores"][:8, :22][:, order])
    seen = row["scores"][8:, :22] > 0
    # from the front left and right change places; from the side the picture stays and only the names change
    front = config.test_size - plain[:, :22][:, order, 0]
    np.testing.assert_allclose(mirrored[:, :22, 0][seen], front[seen], atol=0.3)
    np.testing.assert_allclose(mirrored[:, 22:][seen], plain[:, 22:][:, order][seen], atol=1e-4)
    assert np.abs(mirrored[:, :22, 0] - plain[:, :22, 0])[seen].max() > 1
    once = GestureDataset(deep, config, train=False, views=1)[0]
    assert once["keypoints"].shape == (4, 44, 2), "one view means one view, as for 2D data"


def test_training_mirrors_3d_clips_as_often_as_told(deep):
    part = deep.select(split="train")
    always, never = (GestureDataset(part, tiny(projection="xy", flip=flip), train=True) for flip in (1.0, 0.0))
    for i in range(3):
        clip = part[i]
        for dataset, mirrored in ((always, True), (never, False)):
            points = dataset.mirrored_in_space(clip.keypoints, clip.scores)[0] if mirrored else clip.keypoints
            flat, _ = project(points, clip.scores, "xy")
            row = dataset[i]
            seen = row["scores"][0] > 0
            left, right = part.topology.index("left_wrist"), part.topology.index("right_wrist")
            if seen[left] and seen[right]:
                drawn, true = row["keypoints"][0, left, 0] - row["keypoints"][0, right, 0], flat[0, left, 0] - flat[0, right, 0]
                assert np.sign(drawn) == np.sign(true)


def test_3d_evaluation_is_the_same_for_every_stream(deep):
    joint, limb = (GestureDataset(deep, tiny(stream=s, projection="xy+zy"), train=False, views=2)[1] for s in ("joint", "limb"))
    np.testing.assert_array_equal(joint["keypoints"], limb["keypoints"])


# -- heatmaps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", ["joint", "limb"])
@pytest.mark.parametrize("mirror", [False, True])
def test_views_are_counted_right(clips, stream, mirror):
    config = tiny(stream=stream, batch_size=6)
    batch = next(iter(eval_loader(clips, config, views=3)))
    assert len(batch["label"]) == 2  # views weigh like clips
    volume = represent(batch, clips.topology, config, 16, mirror)
    c = channels(clips.topology, config)
    assert c == (22 if stream == "joint" else len(clips.topology.edges))
    assert volume.shape == (2 * 3 * (1 + mirror), c, 4, 16, 16)
    one = {k: v[1:2, 4:8] for k, v in batch.items() if k in ("keypoints", "scores")}
    second = represent(one, clips.topology, config, 16)  # clip 1, view 1 alone
    torch.testing.assert_close(volume[1 * 3 * (1 + mirror) + 1], second[0], rtol=0, atol=0)
    if mirror:
        order = clips.topology.mirror if stream == "joint" else clips.topology.limb_mirror
        torch.testing.assert_close(volume[6 + 3 + 1], mirror_heatmaps(second[0], order), rtol=0, atol=0)


def test_limbs_of_the_second_plane_join_its_own_joints(deep):
    config = tiny(stream="limb", projection="xy+zy", test_mirror=False)
    batch = next(iter(eval_loader(deep, config)))
    volume = represent(batch, deep.topology, config, 16)
    edges = list(deep.topology.edges)
    assert volume.shape[1] == 2 * len(edges) == channels(deep.topology, config, 3)
    for plane in (0, 1):
        own = slice(22 * plane, 22 * (plane + 1))
        alone = render_limbs(batch["keypoints"][:, :, own], batch["scores"][:, :, own], edges, 16, config.resolved().sigma)
        torch.testing.assert_close(volume[:, plane * len(edges) : (plane + 1) * len(edges)], alone)


def test_mirrored_drawing_of_two_planes_keeps_the_planes_apart(deep):
    for stream in ("joint", "limb"):
        config = tiny(stream=stream, projection="xy+zy", test_mirror=False)
        batch = next(iter(eval_loader(deep, config)))
        volume = represent(batch, deep.topology, config, 16, mirror=True)
        c, n = channels(deep.topology, config, 3), len(batch["label"])
        assert volume.shape[:2] == (2 * n, c)
        order = np.array(deep.topology.mirror if stream == "joint" else deep.topology.limb_mirror)
        plain, mirrored = volume.unflatten(0, (n, 2)).unbind(1)
        for plane in (0, 1):
            part = slice(plane * c // 2, (plane + 1) * c // 2)
            torch.testing.assert_close(mirrored[:, part], mirror_heatmaps(plain[:, part], order))


def test_joints_are_drawn_where_they_are(clips):
    config = tiny()
    batch = next(iter(train_loader(clips, config)))
    volume = represent(batch, clips.topology, config, 16)
    torch.testing.assert_close(volume, render_joints(batch["keypoints"], batch["scores"], 16, config.resolved().sigma))
    assert volume.max() <= 1 and volume.min() >= 0 and volume.sum() > 0
    assert get_topology("imigue22") == clips.topology
