"""Fine-tuning through the fusion: it starts where frozen encoders end, moves every weight, and sees all of a clip in one mirror."""

import os
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from fusion_toy import fusing
from toy import toy_set
from toy_films import save_toy_films, tiny_video

from migstudy import fit
from migstudy.clips import Clip, ClipSet
from migstudy.config.fusion import FusionConfig
from migstudy.config.gesture import GestureConfig
from migstudy.data import open_data
from migstudy.fusion import encoders, end_to_end
from migstudy.fusion.data import open_clips, open_fusion_data
from migstudy.fusion.end_to_end import ClipData, ClipDataset, EndToEnd, EndToEndTask, frozen_run, load_fusion, shown_tokens
from migstudy.fusion.train import fusion_run, predict, subset_file, subsets, train_fusion
from migstudy.graphs.data import graph_input
from migstudy.graphs.tokens import shown_steps
from migstudy.loading import GestureDataset, represent
from migstudy.runs.folder import RUNNER
from migstudy.runs.inner import load_encoder
from migstudy.scores import get_probabilities, load_scores
from migstudy.train import train

SHARE = ((6, 6, 6), (3, 3, 3), (3, 3, 3))


@pytest.fixture(scope="module", autouse=True)
def project(tmp_path_factory):
    """One project for all tests: what one has trained, the next one finds. Runs are made here instead of by notebooks."""
    home, patch, asked = tmp_path_factory.mktemp("project"), pytest.MonkeyPatch(), []
    patch.setenv("MIGSTUDY_ROOT", str(home))
    patch.setenv("MIGSTUDY_CACHE", str(home / "cache"))

    def run_cells(notebook, cells, workers, title):
        assert RUNNER not in os.environ
        for cell in cells:
            asked.append((notebook, cell))
            if notebook == "03_train_gesture":
                train(GestureConfig.from_strings({**cell, "threads": "1"})).finish()
            else:
                train_fusion(FusionConfig.from_strings({**cell, "threads": "1"})).finish()
        return []

    for module in (encoders, end_to_end):
        patch.setattr(module, "run_cells", run_cells)
    save_toy_films(home / "toy", share=SHARE)
    train(tiny_video(data="toy", epochs=1, batch_size=6, run_dir="runs/mine")).finish()
    yield asked
    patch.undo()


def tuning(**changes) -> FusionConfig:
    """Joint and bone, and a video model of the user's own."""
    return fusing(**{
        "data": "toy", "topology": "native", "encoder_epochs": 1, "encoder_frames": 8, "encoder_channels": 4, "video_model": "mvit",
        "video_run": "mine", "token_dtype": "float32", "epochs": 2, "finetune": True, **changes,
    })  # fmt: skip


def opened(config):
    clips = open_clips(config)
    return open_fusion_data(config, clips, encoders.train_encoders(config, clips.fingerprint), progress=False)


@pytest.fixture(scope="module")
def data(project):
    return opened(tuning())


@pytest.fixture(scope="module")
def tuned(data):
    return train_fusion(tuning(epochs=10), data)


# -- a run -----------------------------------------------------------------------------------------------------------


def test_what_a_run_leaves_and_that_it_loads_back(tuned, data, project):
    config = tuning(epochs=10)
    assert tuned.folder == fusion_run(config).folder and frozen_run(config.resolved(), data.clips.fingerprint).done
    assert [notebook for notebook, _ in project].count("04_fusion") == 1, "the fusion of frozen encoders is a run, found again"
    names = {p.name for p in tuned.folder.iterdir()}
    assert {"log.csv", "model.safetensors", "config.json", "scores.parquet", "metrics.json"} <= names and fit.CHECKPOINT not in names
    metrics = tuned.read_json("metrics.json")
    assert metrics["test"]["macro_f1"] > 0.5 and metrics["test"]["majority"]["macro_f1"] < 0.25
    assert metrics["encoders"]["rgb"] == "mine" and len(metrics["at_hand"]) == 6 and np.isfinite(metrics["test"]["macro_f1"])
    model, clips = load_fusion(tuned), ClipData.of(tuning(), data)
    assert isinstance(model, EndToEnd) and bool(model.memory.filled.all())
    found = get_probabilities(predict(model, data.clips.test, clips, tuning()))
    scores = load_scores(tuned.path("scores.parquet"))
    np.testing.assert_allclose(found, get_probabilities(scores[scores["split"] == "test"].reset_index(drop=True)), atol=1e-5)
    few = get_probabilities(predict(model, data.clips.test, clips, tuning(), only=["rgb"]))
    np.testing.assert_allclose(few, get_probabilities(load_scores(tuned.path(subset_file(["rgb"])))), atol=1e-5)
    assert np.abs(few - found).max() > 1e-4


def test_encoders_move_and_their_statistics_stay(tuned, data):
    runs = encoders.encoder_runs(tuning(), data.clips.fingerprint)
    moved = load_fusion(tuned).encoders
    for name, run in runs.items():
        before, after = load_encoder(run).state_dict(), moved[name].state_dict()
        assert not {key.split(".")[0] for key in after} & {*end_to_end.HEADS, "emb_fc"}
        statistics = {key for key in after if "running_" in key or "num_batches" in key}
        assert all(torch.equal(before[key], after[key]) for key in statistics) and (name == "rgb" or statistics)
        weights = {key for key in after if after[key].ndim > 1 and key not in statistics}
        assert all(not torch.equal(before[key], after[key]) for key in weights)


# -- the same as on tokens ---------------------------------------------------------------------------------------------


def test_with_encoders_held_still_it_scores_as_on_their_tokens(data):
    config = tuning(encoder_lr=0.0, epochs=1)
    run = train_fusion(config, data)
    model = load_fusion(run)
    for name, encoder in encoders.encoder_runs(config, data.clips.fingerprint).items():
        kept, own = load_encoder(encoder).state_dict(), model.encoders[name].state_dict()
        assert all(torch.equal(kept[key], own[key]) for key in own)
    for chosen in (None, *subsets(sorted(data.modalities))):
        scores = load_scores(run.path("scores.parquet" if chosen is None else subset_file(chosen)))
        test = get_probabilities(scores[scores["split"] == "test"].reset_index(drop=True))
        np.testing.assert_allclose(test, get_probabilities(predict(model.fusion, data.clips.test, data, config, only=chosen)), atol=1e-5)
    frozen = load_fusion(frozen_run(config.resolved(), data.clips.fingerprint)).state_dict()
    moved = model.fusion.state_dict()
    assert all(not torch.equal(moved[key], frozen[key]) for key in moved if key.endswith("weight")), "the fusion goes on learning"


def test_without_learning_it_scores_as_the_fusion_that_it_started_from(data):
    config = tuning(encoder_lr=0.0, lr=0.0, epochs=1, memory=False)
    run, frozen = train_fusion(config, data), frozen_run(config.resolved(), data.clips.fingerprint)
    assert not frozen.read_json("params.json")["params"]["finetune"]
    for file in ("scores.parquet", *map(subset_file, subsets(sorted(data.modalities)))):
        pd.testing.assert_frame_equal(load_scores(run.path(file)), load_scores(frozen.path(file)), atol=1e-5, rtol=0)


def test_every_parameter_gets_a_gradient(data):
    config = tuning(modality_dropout=0.4, encoder_lr=0.25).resolved()
    fit.prepare(config)
    task = EndToEndTask(config, data)
    groups = fit.make_optimizer(config, task.model, task.lr_shares).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, parameter in task.model.named_parameters():
        assert rates[id(parameter)] == config.lr * (0.25 if name.startswith("encoders.") else 1)
    task.model.train()
    touched = {name: False for name, _ in task.model.named_parameters()}
    for epoch in range(3):
        fit.start_epoch(task.loader, 0, epoch)
        for batch in task.loader:
            task.model.zero_grad()
            output = task.forward(task.model, batch)
            task.criterion(output, batch["label"])[0].backward()
            task.after_backward(output, batch["label"])
            task.after_step()
            for name, parameter in task.model.named_parameters():
                touched[name] |= parameter.grad is not None and bool(parameter.grad.any())
    assert [name for name, moved in touched.items() if not moved] == []
    assert {name.split(".")[1] for name in touched if name.startswith("encoders.")} == {"bone", "joint", "rgb"}


@pytest.mark.parametrize("name", ["stgcn", "ctrgcn"])
@pytest.mark.parametrize("tokens", ["frame", "joint"])
def test_other_graph_networks_lose_their_classifier_and_learn(name, tokens):
    torch.manual_seed(0)
    size = {"topology": "coco17", "in_channels": 3, "num_classes": 3, "base_channels": 8, "stage_blocks": [1, 1]}
    places = 17 if tokens == "joint" else 1
    options = {"token_dims": {"joint": 16}, "grids": {"joint": (4, places)}, "modality": "joint", "num_classes": 3, "width": 8}
    fusion = {"model": "single_modality", "config": {**options, "heads": 2}}
    model = EndToEnd({"joint": {"model": name, "config": size}}, fusion, tokens).train()
    with torch.no_grad():
        for parameter in model.encoders.parameters():
            parameter.add_(0.01)  # off zero, where a branch that starts at 0 would hide what lies behind it
    output = model({"joint": torch.randn(6, 3, 8, 17, 1)})
    assert output.tokens.shape == (6, 4 * places, 8)
    output.logits.square().sum().backward()
    assert [key for key, p in model.encoders.named_parameters() if p.grad is None or not p.grad.any()] == []


# -- what it is shown --------------------------------------------------------------------------------------------------


def test_views_follow_from_seed_epoch_and_position(data):
    clips = ClipData.of(tuning(), data)
    sets = [ClipDataset(data.clips.train, clips, tuning().resolved(), train=True) for _ in range(2)]

    def pictures(part, epoch):
        part.epoch = epoch
        return [np.concatenate([np.ravel(v) for view in part[i]["views"].values() for v in view.values()]) for i in (3, 0)]

    first, again, later = pictures(sets[0], 1), pictures(sets[1], 1), pictures(sets[0], 2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, later, strict=True))


def test_a_clip_stands_in_one_mirror(data):
    clips, config = ClipData.of(tuning(), data), tuning().resolved()
    never = replace(clips, own={name: replace(own, flip=0.0) for name, own in clips.own.items()})
    random, plain = (ClipDataset(data.clips.train, d, config, train=True) for d in (clips, never))
    flips = []
    for i in range(len(random)):
        view, same = random[i]["views"], plain[i]["views"]
        flips.append(bool(view["rgb"]["view"][0]))
        for name in ("joint", "bone"):
            changed = not np.array_equal(view[name]["keypoints"], same[name]["keypoints"])
            assert changed == flips[-1]
        assert not same["rgb"]["view"][0] and np.array_equal(view["rgb"]["view"][1:], same["rgb"]["view"][1:])
    assert {*flips} == {True, False}


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("stream", ["joint", "bone", "joint_motion"])
def test_mirrored_before_normalising_is_mirrored_after_it(dimensions, stream):
    clips = toy_set(((4, 4, 4), (1, 1, 1), (1, 1, 1)), dimensions=dimensions)
    config = GestureConfig(profile="smoke", model="agcn", topology="native", stream=stream, clip_len=8, flip=0.0)
    dataset = GestureDataset(clips, config, train=False)
    views = [{key: dataset[i][key] for key in ("keypoints", "scores")} for i in range(len(clips))]
    other = [end_to_end._mirrored(view, True, list(clips.topology.mirror)) for view in views]
    plain, mirrored = ({key: torch.from_numpy(np.stack([v[key] for v in part])) for key in part[0]} for part in (views, other))
    both = graph_input(plain, clips.topology, 8, stream, mirror=True).unflatten(0, (-1, 2))
    torch.testing.assert_close(represent(mirrored, clips.topology, config, config.test_size), both[:, 1], atol=2e-4, rtol=1e-4)
    assert (both[:, 0] - both[:, 1]).abs().max() > 0.01


def test_streams_of_a_skeleton_are_seen_from_one_side(data):
    """Bones of the random view of the joints are the random view of the bones."""
    clips = ClipData.of(tuning(), data)
    batch = next(iter(clips.loader(data.clips.train, tuning(), train=True)))
    seen = clips.inputs(batch, train=True)[0]
    joints, bones = (seen[name][..., 0].permute(0, 2, 3, 1) for name in ("joint", "bone"))
    for joint, parent in data.clips.topology.bones():
        both = (joints[..., joint, 2] > 0) & (joints[..., parent, 2] > 0) & (bones[..., joint, 2] > 0)
        expected = joints[..., joint, :2] - joints[..., parent, :2]
        torch.testing.assert_close(bones[..., joint, :2][both], expected[both], atol=1e-5, rtol=1e-4)
    torch.manual_seed(3)
    once = clips.inputs(batch, train=True)[0]["joint"]
    torch.manual_seed(3)
    assert torch.equal(clips.inputs(batch, train=True)[0]["joint"], once) and not torch.equal(once, seen["joint"])
    still = clips.inputs(batch)[0]["joint"]
    assert (still - seen["joint"]).abs().max() > 0.01 and torch.equal(still, clips.inputs(batch)[0]["joint"])


def test_masks_are_those_of_the_cached_tokens():
    def clip(name, empty):
        scores = np.ones((16, 22), np.float32)
        scores[empty] = 0
        points = np.random.default_rng(0).uniform(100, 600, (16, 22, 2)).astype(np.float32) * (scores[..., None] > 0)
        return Clip(name, points, scores, 0, "v", "s", "test", 0, 15, (720, 720))

    pieces = [clip("whole", slice(0, 0)), clip("late", slice(0, 9)), clip("gap", slice(4, 8)), clip("nobody", slice(0, 16))]
    clips = ClipSet.from_clips(pieces, "imigue22", toy_set(SHARE).class_names, 25, "made for a test")
    config = GestureConfig(profile="smoke", model="agcn", topology="native", clip_len=16).resolved()
    dataset = GestureDataset(clips, config, train=False)
    batch = {key: torch.from_numpy(np.stack([dataset[i][key] for i in range(4)])) for key in ("keypoints", "scores")}
    for steps in (4, 3):  # 16 frames in 3 steps: 6, 5, 5
        known = shown_steps(clips, config, steps)
        mask = shown_tokens(represent(batch, clips.topology, config, config.test_size), steps, 2)
        for row, one in zip(mask, pieces, strict=True):
            assert row.tolist() == known.get(one.clip_id, np.ones(steps, bool)).repeat(2).tolist()
    assert {"late", "nobody"} <= {*known} and "whole" not in known


def test_masks_follow_the_view_and_one_that_shows_nobody_counts_whole(data):
    clips = ClipData.of(tuning(), replace(data, modalities={k: m for k, m in data.modalities.items() if k != "rgb"}))
    clips = replace(clips, own={k: own for k, own in clips.own.items() if k != "rgb"})
    batch = next(iter(clips.loader(data.clips.train, tuning(), train=True)))
    for view in batch["views"].values():
        view["scores"][0], view["scores"][1, :6] = 0, 0  # of 8 frames, in two steps; a random view begins before the second
    inputs, mask, present = clips.inputs(batch, train=True)
    assert all(mask[name][1].tolist() == [False, True] for name in ("bone", "joint"))
    assert all(mask[name][0].all() and present[name].all() and not inputs[name][0].any() for name in ("bone", "joint"))


def test_shuffled_labels_stay_a_control(data):
    config = tuning(shuffle_labels=True).resolved()
    shuffled = ClipDataset(data.clips.train, ClipData.of(config, data), config, train=True).labels
    assert sorted(shuffled) == sorted(data.clips.train.labels) and not np.array_equal(shuffled, data.clips.train.labels)


def test_an_encoder_that_was_given_is_opened_on_the_fusions_own_data(data):
    own = encoders.encoder_configs(tuning())["rgb"]
    assert (own.batch_size, own.clip_len, own.val_fraction) == (6, 4, tuning().resolved().val_fraction)
    assert open_data(own).fingerprint == data.clips.fingerprint and data.encoders["rgb"] == "mine"
