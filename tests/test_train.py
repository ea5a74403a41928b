"""Training: it learns, it is killed and goes on exactly, it chooses on validation alone, it leaves whole files."""

import json
import math
import os
import signal
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from projects import start, wait_for, words
from safetensors.torch import load_file
from toy import TINY, save_toy, tiny, toy_set

from migstudy import fit, paths
from migstudy import train as module
from migstudy.clips import ClipSet
from migstudy.config.gesture import GestureConfig
from migstudy.data import open_data
from migstudy.fit import CHECKPOINT, learning_rate
from migstudy.label_embeddings import get_label_embeddings
from migstudy.models import get_model_class
from migstudy.runs.claims import BUSY, Claim
from migstudy.runs.folder import Run
from migstudy.runs.state import state_of
from migstudy.scores import get_probabilities, load_scores
from migstudy.train import predict, train

RESULTS = ("metrics.json", "log.csv", "model.safetensors", "scores.parquet")
LONG = {"epochs": 4, "dropout": 0.3, "batch_size": 4, "warmup_epochs": 1.0}  # dropout and warm-up must resume as well


class Killed(BaseException):
    """Not an Exception: nothing may catch it."""


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """Runs go to an empty project."""
    monkeypatch.setenv("MIGSTUDY_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return str(save_toy(tmp_path_factory.mktemp("toy") / "clips"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    share = ((8, 8, 8), (3, 3, 3), (4, 4, 4))
    return str(save_toy(tmp_path_factory.mktemp("small") / "clips", share=share))


@pytest.fixture(scope="module")
def uninterrupted(small, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("MIGSTUDY_ROOT", str(tmp_path_factory.mktemp("whole")))
    yield train(tiny(data=small, **LONG))
    patch.undo()


def results(run: Run) -> dict[str, bytes]:
    return {name: run.path(name).read_bytes() for name in RESULTS}


def assert_same(run: Run, other: Run) -> None:
    """Weights, scores and log equal to the last bit."""
    mine, theirs = results(run), results(other)
    assert json.loads(mine["metrics.json"]) == json.loads(theirs["metrics.json"])
    assert mine["log.csv"] == theirs["log.csv"]
    a, b = (load_file(r.path("model.safetensors")) for r in (run, other))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    pd.testing.assert_frame_equal(*(load_scores(r.path("scores.parquet")) for r in (run, other)), check_exact=True)


def assert_tidy(run: Run) -> None:
    names = {p.name for p in run.folder.iterdir()}
    assert not run.path(CHECKPOINT).exists() and not [n for n in names if "partial" in n], names


# -- learning --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learned(toy, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("MIGSTUDY_ROOT", str(tmp_path_factory.mktemp("learned")))
    yield {shuffled: train(tiny(data=toy, epochs=8, shuffle_labels=shuffled)) for shuffled in (False, True)}
    patch.undo()


def test_it_learns_what_can_be_learned(learned):
    test = learned[False].read_json("metrics.json")["test"]
    assert test["macro_f1"] > 0.85 and test["majority"]["macro_f1"] < 0.25
    log = pd.read_csv(learned[False].path("log.csv"))
    assert log["epoch"].tolist() == list(range(1, 9)) and log["loss"].iloc[-1] < 0.5 * log["loss"].iloc[0]


def test_shuffled_labels_fall_to_chance(learned):
    test = learned[True].read_json("metrics.json")["test"]
    assert test["macro_f1"] < 0.45 and test["top1"] <= test["majority"]["top1"] + 0.1


def test_what_a_run_leaves(learned, toy):
    run = learned[False]
    assert_tidy(run)
    assert not run.done, "the caller marks it"
    metrics, scores = run.read_json("metrics.json"), load_scores(run.path("scores.parquet"))
    clips = ClipSet.load(toy)
    assert metrics["clips"] == {"train": 96, "val": 24, "test": 48} and metrics["source"] == "a toy made for a test"
    assert set(scores["clip_id"]) == set(clips.index["clip_id"][clips.index["split"] != "train"])
    assert scores.attrs["class_names"] == list(clips.class_names)
    test = scores[scores["split"] == "test"]
    by_hand = (get_probabilities(test).argmax(1) == test["label"]).mean()
    assert metrics["test_top1"] == metrics["test"]["top1"] == pytest.approx(by_hand)
    assert metrics["test"]["majority"]["source"] == "training clips"
    assert run.read_json("params.json")["data_fingerprint"] == clips.fingerprint
    assert list(run.folder.glob("tensorboard/events*"))


def test_saved_weights_give_the_same_scores(learned, toy):
    run, config = learned[False], tiny(data=toy)
    model = get_model_class("posec3d").from_pretrained(run.folder).to(memory_format=torch.channels_last_3d)
    stored = load_scores(run.path("scores.parquet"))
    fresh = predict(model, open_data(config).test, config, views=config.test_clips)
    stored = stored[stored["split"] == "test"].reset_index(drop=True)
    assert list(fresh["clip_id"]) == list(stored["clip_id"])
    np.testing.assert_allclose(get_probabilities(fresh), get_probabilities(stored), atol=1e-6)


def test_scores_do_not_depend_on_the_batch(learned, toy):
    model = get_model_class("posec3d").from_pretrained(learned[False].folder)
    clips = open_data(tiny(data=toy)).test
    tables = [predict(model, clips, tiny(data=toy, batch_size=size), views=2) for size in (2, 17)]
    np.testing.assert_allclose(*map(get_probabilities, tables), atol=1e-5)


def test_each_epoch_sees_every_clip_in_another_order_and_augmentation(small, monkeypatch):
    seen = []

    def spy(batch, topology, config, size, *rest, train=False, **options):
        if train:
            seen.extend(zip(batch["index"].tolist(), batch["keypoints"].clone(), strict=True))
        return module.loading_represent(batch, topology, config, size, *rest, train=train, **options)

    monkeypatch.setattr(module, "loading_represent", module.represent, raising=False)
    monkeypatch.setattr(module, "represent", spy)
    train(tiny(data=small, train_size=20))
    epochs = [dict(seen[:24]), dict(seen[24:])]
    assert all(sorted(epoch) == list(range(24)) for epoch in epochs) and list(epochs[0]) != list(epochs[1])
    assert not any(torch.equal(epochs[0][i], epochs[1][i]) for i in range(24))


def test_a_trained_run_is_not_trained_again(learned, toy, monkeypatch):
    before = results(learned[False])
    monkeypatch.setenv("MIGSTUDY_ROOT", str(learned[False].folder.parents[1]))
    monkeypatch.setattr(module, "build", lambda *a: pytest.fail("it trains again"))
    assert train(tiny(data=toy, epochs=8)).folder == learned[False].folder
    assert train(tiny(data=toy, epochs=8, threads=2, workers=1)).folder == learned[False].folder
    assert results(learned[False]) == before


# -- killed and started again ----------------------------------------------------------------------------------------


def command(options: dict) -> list[str]:
    return ["-m", "migstudy.train", *words(options)]




def test_sigkill_in_mid_epoch_changes_nothing(project, small):
    long = {**LONG, "epochs": 12}  # time enough to be killed in, even on a busy machine
    options = {**TINY, **long, "data": small, "run_dir": "killed"}
    uninterrupted, run = train(tiny(data=small, **long)), Run(project / "killed")
    process = start(project, *command(options))
    wait_for(run.path("log.csv").exists, process)  # the first epoch is over, the second under way
    time.sleep(0.03)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    kept = torch.load(run.path(CHECKPOINT), weights_only=True)
    assert 1 <= kept["epoch"] < 12 and not run.path("metrics.json").exists() and not run.done
    again = start(project, *command(options))
    said, complained = again.communicate(timeout=180)
    assert again.returncode == 0, complained
    assert said.strip().endswith("killed") and run.done
    assert_same(run, uninterrupted)
    assert_tidy(run)
    once_more = start(project, *command(options))
    assert once_more.communicate(timeout=120)[0] == said and once_more.returncode == 0


def die_at(monkeypatch, owner, name: str, when) -> None:
    """Die in the call of owner.name for which `when(arguments)` first holds."""
    original = getattr(owner, name)

    def wrapper(*args, **kwargs):
        if when(*args, **kwargs):
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, wrapper)


def nth(n: int, holds=lambda *a, **k: True):
    seen = iter(range(1, 1000))
    return lambda *a, **k: holds(*a, **k) and next(seen) == n


def into(ending: str):
    return lambda source, target, *rest: str(target).endswith(ending)


# 24 clips in batches of 4: six steps an epoch; `represent` serves validation too, three batches of it
MOMENTS = {
    "before the first step": ("represent", nth(1)),
    "in the first epoch, before any checkpoint": ("represent", nth(4)),
    "in mid-epoch": ("represent", nth(9 + 4)),
    "in validation": ("represent", nth(9 + 6 + 2)),
    "writing the first checkpoint": ("os.replace", nth(1, into("checkpoint.pt"))),
    "writing a later checkpoint": ("os.replace", nth(3, into("checkpoint.pt"))),
    "between checkpoint and log": ("fit.write_log", nth(2)),
    "between the last checkpoint and its log": ("fit.write_log", nth(4)),
    "before the test clips": ("finish", nth(1)),
    "writing the weights": ("save_scores", nth(1)),
    "writing the metrics": ("os.replace", nth(1, into("metrics.json"))),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_death_at_any_moment_changes_nothing(moment, small, uninterrupted, monkeypatch):
    name, when = MOMENTS[moment]
    with monkeypatch.context() as patch:
        die_at(patch, {"os.": os, "fit": fit}.get(name[:3], module), name.split(".")[-1], when)
        with pytest.raises(Killed):
            train(tiny(data=small, run_dir="run", **LONG))
    assert not (paths.resolve("run") / "metrics.json").exists()
    run = train(tiny(data=small, run_dir="run", **LONG))
    assert_same(run, uninterrupted)
    assert_tidy(run)


def test_what_a_kill_left_half_written_is_cleared(small, project):
    run_dir = project / "run"
    run_dir.mkdir()
    (run_dir / ".checkpoint.partial-0123abcd.pt").write_bytes(b"half")
    run = train(tiny(data=small, run_dir="run"))
    assert_tidy(run)


def test_two_processes_share_the_work_and_leave_one_run(project, small):
    options = {**TINY, "data": small, "run_dir": "both", "batch_size": 4, "label_embedding": "glove"}
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    process = start(project, *launcher, *command(options), ACCELERATE_USE_CPU="true", CUDA_VISIBLE_DEVICES="")
    said, complained = process.communicate(timeout=240)
    run = Run(project / "both")
    assert process.returncode == 0 and said.split() == [str(run.folder)] and run.done, complained
    assert " 12/12 " in complained, "24 clips in batches of 4, half of each batch a process: six steps an epoch"
    scores = load_scores(run.path("scores.parquet"))
    assert scores["clip_id"].nunique() == len(scores) == 21 and len(pd.read_csv(run.path("log.csv"))) == 2
    model = get_model_class("posec3d").from_pretrained(run.folder)
    fresh = predict(model, open_data(tiny(data=small)).test, tiny(), views=2)
    stored = scores[scores["split"] == "test"].set_index("clip_id").loc[fresh["clip_id"]]
    np.testing.assert_allclose(get_probabilities(stored), get_probabilities(fresh), atol=1e-5)


def test_loading_processes_change_nothing(small, uninterrupted):
    assert_same(train(tiny(data=small, workers=2, **LONG)), uninterrupted)


# -- when it goes wrong ----------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_is_one_clear_error(small, monkeypatch, uninterrupted):
    config = tiny(data=small, run_dir="run", **LONG)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "learning_rate", lambda c, e: learning_rate(c, e) if e < 2.3 else math.inf)
        with pytest.raises(FloatingPointError, match=r"the loss is nan in epoch 3, step 4; lower lr .* grad_clip"):
            train(config)
    kept = torch.load(paths.resolve("run") / CHECKPOINT, weights_only=True)
    assert kept["epoch"] == 2 and all(v.isfinite().all() for v in kept["model"].values() if v.is_floating_point())
    assert_same(train(config), uninterrupted)


def test_unknown_labels_train_nothing_and_spoil_nothing(small, tmp_path):
    clips = ClipSet.load(small)
    index = clips.index.copy()
    index.loc[(index["split"] == "test") | (index.index % 5 == 0), "label"] = -1
    place = ClipSet(clips.keypoints, clips.scores, index, clips.topology, clips.class_names, 25, "half of it unknown").save(
        tmp_path / "unknown"
    )
    run = train(tiny(data=str(place)))
    metrics, scores = run.read_json("metrics.json"), load_scores(run.path("scores.parquet"))
    assert "test" not in metrics and metrics["clips"]["test"] == 0 and metrics["val"]["n_clips"] == metrics["clips"]["val"] < 9
    assert (scores["split"] == "test").sum() == 12, "a challenge's clips are scored all the same"
    index.loc[index["split"] == "val", "label"] = -1
    ClipSet(clips.keypoints, clips.scores, index, clips.topology, clips.class_names, 25, "").save(tmp_path / "unknown")
    with pytest.raises(ValueError, match="no clip in split 'val' has a label"):
        train(tiny(data=str(place)))


# -- choosing --------------------------------------------------------------------------------------------------------


@pytest.fixture
def watched(monkeypatch):
    """Which splits are scored, in order; validation scores are dictated by `watched.scores`."""
    seen, scores = [], []

    def spy(model, clips, *args, **kwargs):
        seen.append(set(clips.index["split"]))
        return predict(model, clips, *args, **kwargs)

    def dictated(table, **options):
        result = evaluated(table, **options)
        if options.get("intervals") is False and scores:
            result = {**result, "macro_f1": scores.pop(0), "top1": 0.5}
        return result

    evaluated = module.evaluate
    monkeypatch.setattr(module, "predict", spy)
    monkeypatch.setattr(module, "evaluate", dictated)
    return type("Watched", (), {"splits": seen, "scores": scores})


def test_test_clips_are_scored_once_at_the_end(small, watched):
    train(tiny(data=small, epochs=3))
    assert watched.splits == [{"val"}] * 3 + [{"val"}, {"test"}]


def test_the_kept_weights_do_not_depend_on_the_test_clips(small, tmp_path):
    clips = ClipSet.load(small)
    keypoints = np.array(clips.keypoints)
    index = clips.index.copy()
    for row in index[index["split"] == "test"].itertuples():
        keypoints[row.offset : row.offset + row.length] += 40
    index.loc[index["split"] == "test", "label"] = 2 - index["label"]
    ClipSet(keypoints, clips.scores, index, clips.topology, clips.class_names, 25, "").save(tmp_path / "other")
    mine, other = (train(tiny(data=str(data), epochs=3)) for data in (small, tmp_path / "other"))
    a, b = (load_file(r.path("model.safetensors")) for r in (mine, other))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert mine.read_json("metrics.json")["test"] != other.read_json("metrics.json")["test"]


def test_the_best_epoch_on_validation_is_kept(small, watched, monkeypatch):
    kept = []
    monkeypatch.setattr(
        fit._Progress, "epoch_done",
        lambda self, accelerator, epoch, *rest, original=fit._Progress.epoch_done: (
            original(self, accelerator, epoch, *rest), kept.append({k: v.clone() for k, v in self.model.state_dict().items()})
        ),
    )  # fmt: skip
    watched.scores[:] = [0.2, 0.7, 0.7, 0.1]
    run = train(tiny(data=small, epochs=4))
    final = load_file(run.path("model.safetensors"))
    assert all(torch.equal(final[k], kept[1][k]) for k in final), "not the first of the best epochs"
    assert not all(torch.equal(final[k], kept[3][k]) for k in final)


@pytest.mark.parametrize(
    ("patience", "scores", "epochs"),
    [(0, [0.5, 0.1, 0.1, 0.1, 0.1, 0.1], 6), (1, [0.5, 0.1, 0.9, 0.9, 0.9, 0.9], 2), (2, [0.1, 0.2, 0.1, 0.2, 0.3, 0.4], 4),
     (2, [0.1, 0.2, 0.1, 0.3, 0.1, 0.1], 6)],
)  # fmt: skip
def test_patience_counts_epochs_without_gain(small, watched, patience, scores, epochs):
    watched.scores[:] = scores
    run = train(tiny(data=small, epochs=6, patience=patience))
    assert len(pd.read_csv(run.path("log.csv"))) == epochs


def test_selection_can_follow_top1(small, watched):
    watched.scores[:] = [0.1, 0.9, 0.9]  # macro-F1 alone; top-1 is dictated to stay, so the first epoch is the best
    run = train(tiny(data=small, epochs=3, select_on="top1", patience=1))
    assert len(pd.read_csv(run.path("log.csv"))) == 2


# -- every setting trains --------------------------------------------------------------------------------------------


def test_every_label_embedding_and_loss(small, tmp_path):
    vectors = tmp_path / "vectors.npy"
    np.save(vectors, np.eye(3, 8, dtype=np.float32))
    seen = {}
    for embedding, loss in [("none", "cosine"), ("glove", "mse"), ("sentence", "contrastive"), (str(vectors), "cosine")]:
        run = train(tiny(data=small, epochs=1, label_embedding=embedding, label_loss=loss))
        log = pd.read_csv(run.path("log.csv"))
        assert ("label_embedding" in log) == (embedding != "none")
        if embedding != "none":
            assert log["loss"][0] == pytest.approx(log["cross_entropy"][0] + log["label_embedding"][0], rel=1e-4)
        seen[embedding] = load_file(run.path("model.safetensors"))
        width = {"none": None, "glove": 50, "sentence": 384}.get(embedding, 8)
        heads = [v.shape[0] for k, v in seen[embedding].items() if "emb" in k and v.ndim == 2]
        assert heads == ([] if width is None else [width])
    assert get_label_embeddings("glove", toy_set().class_names).shape == (3, 50)


def test_label_weight_scales_the_auxiliary_loss(small):
    log = pd.read_csv(train(tiny(data=small, epochs=1, label_embedding="glove", label_weight=3.0)).path("log.csv"))
    assert log["loss"][0] == pytest.approx(log["cross_entropy"][0] + 3 * log["label_embedding"][0], rel=1e-4)


def test_unknown_label_vectors_are_refused(small):
    with pytest.raises((ValueError, FileNotFoundError), match="wordnet"):
        train(tiny(data=small, label_embedding="wordnet"))


@pytest.mark.parametrize("precision", ["bf16", "no"])
def test_both_precisions_in_one_process(small, precision):
    run = train(tiny(data=small, epochs=1, precision=precision))
    assert all(v.dtype != torch.bfloat16 for v in load_file(run.path("model.safetensors")).values())
    stored = load_scores(run.path("scores.parquet"))
    fresh = predict(get_model_class("posec3d").from_pretrained(run.folder), open_data(tiny(data=small)).test, tiny(), views=2)
    difference = np.abs(get_probabilities(stored[stored["split"] == "test"]) - get_probabilities(fresh)).max()
    assert difference < (1e-5 if precision == "no" else 0.05)


@pytest.mark.parametrize("change", [{"optimizer": "sgd", "lr": 0.05, "grad_clip": 0.0}, {"stream": "limb"}, {"sampling": "zero_pad"}])
def test_other_settings_train(small, change):
    run = train(tiny(data=small, epochs=1, **change))
    assert math.isfinite(pd.read_csv(run.path("log.csv"))["loss"][0])


def test_3d_data_train_on_two_planes(tmp_path):
    place = save_toy(tmp_path / "deep", share=((8, 8, 8), (3, 3, 3), (4, 4, 4)), dimensions=3)
    shapes = []
    for stream in ("joint", "limb"):
        run = train(tiny(data=str(place), projection="xy+zy", stream=stream, epochs=1))
        shapes.append(load_file(run.path("model.safetensors"))["backbone.conv1.conv.weight"].shape[1])
        assert len(load_scores(run.path("scores.parquet"))) == 21
    assert shapes == [44, 2 * len(toy_set().topology.edges)]


def test_the_learning_rate_warms_up_then_falls_to_zero():
    config = tiny(lr=1.0, warmup_epochs=2.0, epochs=10).resolved()
    rates = [learning_rate(config, e) for e in np.linspace(0, 10, 401)]
    top = int(np.argmax(rates))
    assert rates[0] < 0.01 and 75 <= top <= 81 and max(rates) == pytest.approx(1, abs=0.02) and rates[-1] == pytest.approx(0)
    assert all(np.diff(rates[:top]) > 0) and all(np.diff(rates[top + 1 :]) < 0)
    flat = tiny(lr=1.0, warmup_epochs=0.0, epochs=1).resolved()
    assert learning_rate(flat, 0) == 1 and learning_rate(flat, 0.5) == pytest.approx(0.5)


def test_the_learning_rate_steps_to_a_tenth():
    config = tiny(model="agcn", schedule="step", lr=1.0, warmup_epochs=5.0, epochs=50).resolved()
    rates = [learning_rate(config, e) for e in (2.5, 5, 29.99, 30, 39.9, 40, 49.9)]
    assert rates == pytest.approx([0.5, 1, 1, 0.1, 0.1, 0.01, 0.01], rel=1e-3)


def test_weight_decay_spares_vectors_for_adamw_only():
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    adamw = fit.make_optimizer(tiny(optimizer="adamw", weight_decay=0.5).resolved(), model)
    decayed = [p for group in adamw.param_groups for p in group["params"] if group["weight_decay"]]
    assert decayed == [model[0].weight] and sum(len(g["params"]) for g in adamw.param_groups) == 4
    [group] = fit.make_optimizer(tiny(optimizer="sgd", weight_decay=0.5).resolved(), model).param_groups
    assert group["weight_decay"] == 0.5 and len(group["params"]) == 4 and group["momentum"] == 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [(["-p", "epoch=3"], "did you mean 'epochs'"), (["-p", "epochs"], "write -p name=value"), (["-p", "lr=fast"], "lr='fast'")],
)
def test_the_command_refuses_bad_options_in_one_line(options, message, project, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train", *options])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 2 and message in capsys.readouterr().err
    assert list(project.iterdir()) == []


def test_the_command_works_on_what_nobody_else_works_on(small, project, monkeypatch, capsys):
    """So that a grid and a training on several GPUs never write into one folder."""
    run = Run(project / "run")
    monkeypatch.setattr(sys, "argv", ["train", *words({**TINY, "data": small, "run_dir": "run"})])
    states = []
    monkeypatch.setattr(module, "train", lambda *a: states.append(state_of(run)))
    with Claim.take(run.folder), pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == BUSY and "is being worked on by" in capsys.readouterr().err and not run.done and not states
    module.main()
    assert states == ["running"] and run.done and not list(run.folder.glob("claim*"))


# -- graph networks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "dimensions"), [("stgcn", 2), ("agcn", 3), ("ctrgcn", 2)])
def test_graph_networks_train_on_coordinates(tmp_path, model, dimensions):
    config = tiny(
        data=str(save_toy(tmp_path / "clips", dimensions=dimensions)), model=model, stream="bone", clip_len=8, epochs=6, lr=0.01,
        base_channels=8, test_clips=2, test_mirror=True,
    )  # fmt: skip
    data = open_data(config)
    run = train(config, data)
    metrics, log = run.read_json("metrics.json"), pd.read_csv(run.path("log.csv"))
    assert log["loss"].iloc[-1] < 0.8 * log["loss"].iloc[0]
    assert metrics["test"]["top1"] > metrics["test"]["majority"]["top1"]
    again = get_model_class(model).from_pretrained(run.folder).eval()
    scores = load_scores(run.path("scores.parquet"))
    predicted = predict(again, data.test, config, views=2).set_index("clip_id")
    kept = scores[scores["split"] == "test"].set_index("clip_id").loc[predicted.index]
    np.testing.assert_allclose(predicted["p000"], kept["p000"], atol=1e-5)


def test_models_refuse_streams_they_do_not_have():
    with pytest.raises(ValueError, match="posec3d takes joint, limb"):
        tiny(stream="bone")
    with pytest.raises(ValueError, match="ctrgcn takes joint, bone"):
        tiny(model="ctrgcn", stream="limb")


def test_published_recipe_of_graph_networks_fills_the_paper_profile():
    config = GestureConfig(profile="paper", model="agcn").resolved()
    assert (config.lr, config.optimizer, config.schedule, config.epochs, config.base_channels) == (0.1, "sgd_nesterov", "step", 50, 64)
    assert GestureConfig(profile="paper", model="agcn", lr=0.2).resolved().lr == 0.2
    assert GestureConfig(profile="paper").resolved().base_channels == 32
