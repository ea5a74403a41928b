"""The fusion stage: it uses what only two modalities know, joins by clip id alone, resumes exactly, answers when one is missing."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from fusion_toy import fusing, stored, tokens_of, two_halves
from safetensors.torch import load_file

from migstudy import fit
from migstudy.config.fusion import FusionConfig
from migstudy.fit import fit as run_fit
from migstudy.fit import prepare
from migstudy.fusion.data import FusionData, Modality
from migstudy.fusion.train import FusionTask, build, predict, subset_file, subsets, train_fusion
from migstudy.models import get_model_class
from migstudy.runs.folder import Run
from migstudy.scores import get_probabilities, load_scores

SMALL = ((8, 8, 8), (3, 3, 3), (4, 4, 4))
FUSIONS = ("token_fusion", "single_modality", "concatenation", "late_fusion", "gated_fusion", "joint_transformer")


class Killed(BaseException):
    """Not an Exception: nothing may catch it."""


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def halves():
    return two_halves()


@pytest.fixture(scope="module")
def fused(halves, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("MIGSTUDY_ROOT", str(tmp_path_factory.mktemp("fused")))
    yield train_fusion(fusing(epochs=12), halves)
    patch.undo()


def fresh(config, data) -> torch.nn.Module:
    torch.manual_seed(1)
    return build(config, data)[0].eval()


def answers(model, data, config, **options) -> np.ndarray:
    return get_probabilities(predict(model, data.clips.test, data, config, **options))


# -- learning --------------------------------------------------------------------------------------------------------


def test_fusion_learns_what_no_modality_knows_alone(fused, halves):
    alone = [train_fusion(fusing(fusion="single_modality", modality=name, epochs=12), halves) for name in ("joint", "bone")]
    best = max(run.read_json("metrics.json")["test"]["top1"] for run in alone)
    metrics = fused.read_json("metrics.json")
    assert best < 0.8 and metrics["test"]["top1"] > 0.9 and metrics["test"]["macro_f1"] > 0.9
    # what only one modality is at hand for is answered no better than by that modality
    assert all(few["top1"] < 0.85 for few in metrics["at_hand"].values())


def test_what_a_run_leaves(fused, halves):
    metrics, clips = fused.read_json("metrics.json"), halves.clips
    names = {p.name for p in fused.folder.iterdir()}
    assert {"log.csv", "model.safetensors", "config.json", "scores.parquet", "metrics.json", "params.json"} <= names
    assert not [n for n in names if "partial" in n or n == fit.CHECKPOINT]
    assert metrics["encoders"] == {"joint": "03_train_gesture-joint", "bone": "03_train_gesture-bone"}
    assert set(metrics["at_hand"]) == {"bone", "joint"} and metrics["clips"] == {"train": 96, "val": 24, "test": 48}
    scores = load_scores(fused.path("scores.parquet"))
    assert set(scores["clip_id"]) == {*clips.val.index["clip_id"], *clips.test.index["clip_id"]}
    model = get_model_class("token_fusion").from_pretrained(fused.folder).eval()
    test = scores[scores["split"] == "test"].reset_index(drop=True)
    np.testing.assert_allclose(answers(model, halves, fusing()), get_probabilities(test), atol=1e-5)
    for name in ("bone", "joint"):
        few = load_scores(fused.path(subset_file([name])))
        np.testing.assert_allclose(answers(model, halves, fusing(), only=[name]), get_probabilities(few), atol=1e-5)
    assert int(model.memory.filled.sum()) == 3


def test_subsets_are_all_choices_but_all_and_none():
    assert subsets(["rgb", "bone", "joint"]) == [
        ("bone",), ("joint",), ("rgb",), ("bone", "joint"), ("bone", "rgb"), ("joint", "rgb"),
    ]  # fmt: skip
    assert subset_file(("rgb", "bone")) == "scores_only_bone_and_rgb.parquet"


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_parameter_gets_a_gradient_in_training(fusion, halves):
    config = fusing(fusion=fusion, modality="joint" if fusion == "single_modality" else "", modality_dropout=0.4, batch_size=24)
    prepare(config)
    task = FusionTask(config, halves)
    task.model.train()
    touched = {name: False for name, _ in task.model.named_parameters()}
    for _ in range(2):  # the memory has prototypes from the second epoch on
        fit.start_epoch(task.loader, 0, 0)
        for batch in task.loader:
            task.model.zero_grad()
            output = task.forward(task.model, batch)
            task.criterion(output, batch["label"])[0].backward()
            task.after_backward(output, batch["label"])
            task.after_step()
            for name, parameter in task.model.named_parameters():
                touched[name] |= parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
    # a modality that is looked at alone is never withheld
    silent = {name for name, moved in touched.items() if not moved}
    assert silent == (set() if fusion != "single_modality" else {n for n in silent if n.startswith("absent.")}), silent


# -- joined by clip id -------------------------------------------------------------------------------------------------


def test_the_order_of_a_modality_on_disk_changes_no_score(halves, tmp_path):
    """2s-AGCN's score files once fused two 93 % streams into 1.7 %, because they were in different orders."""
    runs, ids = [], halves.clips.whole.index["clip_id"].tolist()
    for k, order in enumerate((ids, np.random.default_rng(0).permutation(ids).tolist())):
        store = stored(tokens_of(halves.clips, "joint"), tmp_path / str(k), order)
        assert list(store) == order
        modalities = {**halves.modalities, "joint": Modality(store, halves.modalities["joint"].grid)}
        runs.append(train_fusion(fusing(epochs=2, run_dir=f"run{k}"), FusionData(halves.clips, modalities)))
    first, second = (load_scores(run.path("scores.parquet")) for run in runs)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert runs[0].path("log.csv").read_bytes() == runs[1].path("log.csv").read_bytes()


@pytest.mark.parametrize("fusion", ["token_fusion", "joint_transformer"])
def test_permuting_clips_changes_nothing(halves, fusion):
    config = fusing(fusion=fusion, batch_size=7)
    model, test = fresh(config, halves), halves.clips.test
    order = np.random.default_rng(0).permutation(len(test))
    shuffled = type(test).from_clips(
        (test[int(i)] for i in order), test.topology, test.class_names, test.fps, test.source, test.units
    )
    one, other = (predict(model, clips, halves, config).set_index("clip_id") for clips in (test, shuffled))
    assert list(other.index) == list(test.index["clip_id"].iloc[order])
    columns = [c for c in one.columns if c.startswith("p0")]
    np.testing.assert_allclose(other.loc[one.index, columns], one[columns], atol=1e-6)
    assert (other.loc[one.index, "label"] == one["label"]).all()


def test_masked_tokens_have_no_effect(halves, tmp_path):
    """Neither on training nor on scores, whatever the masked tokens hold."""
    ids, tokens = halves.clips.whole.index["clip_id"].tolist(), halves.modalities["joint"].tokens
    shown = {clip_id: np.array([True, True, i % 3 > 0, False]) for i, clip_id in enumerate(ids)}
    broken = {clip_id: np.where(shown[clip_id][:, None], tokens[clip_id], np.nan) for clip_id in ids}
    runs = [
        train_fusion(fusing(epochs=2, run_dir=f"run{k}"), two_halves(joint={"tokens": held, "shown": shown}))
        for k, held in enumerate((tokens, broken))
    ]
    weights = [load_file(run.path("model.safetensors")) for run in runs]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    pd.testing.assert_frame_equal(*(load_scores(run.path("scores.parquet")) for run in runs), check_exact=True)
    config = fusing()
    whole = two_halves()
    model = fresh(config, whole)
    assert np.abs(answers(model, whole, config) - answers(model, two_halves(joint={"shown": shown}), config)).max() > 1e-6


# -- modalities missing ------------------------------------------------------------------------------------------------


def test_a_clip_without_a_modality_is_answered_from_the_others(halves):
    ids = halves.clips.test.index["clip_id"].tolist()
    lacking = {c: t for c, t in halves.modalities["joint"].tokens.items() if c not in ids[:5]}
    empty = {c: np.zeros(4, bool) for c in ids[:5]}
    config, model = fusing(), fresh(fusing(), halves)
    expected = answers(model, halves, config, only=["bone"])
    for change in ({"tokens": lacking}, {"shown": empty}):
        found = answers(model, two_halves(joint=change), config)
        np.testing.assert_allclose(found[:5], expected[:5], atol=1e-6)
        np.testing.assert_allclose(found[5:], answers(model, halves, config)[5:], atol=1e-6)


def test_a_clip_of_which_nothing_is_at_hand_gets_the_shares_of_the_classes(halves):
    share = ((4, 8, 12), (3, 3, 3), (4, 4, 4))
    whole = two_halves(share)
    gone = [*whole.clips.test.index["clip_id"][:2], *whole.clips.train.index["clip_id"][:3]]
    changes = {name: {"tokens": {c: t for c, t in m.tokens.items() if c not in gone}} for name, m in whole.modalities.items()}
    data = two_halves(share, **changes)
    run = train_fusion(fusing(epochs=1), data)
    scores = load_scores(run.path("scores.parquet")).set_index("clip_id")
    np.testing.assert_allclose(scores.loc[gone[:2], ["p000", "p001", "p002"]], [[1 / 6, 1 / 3, 1 / 2]] * 2, atol=1e-6)
    task = FusionTask(fusing(), data)
    assert len(task.loader.dataset) == 24 - 3 and not {*gone} & {*task.loader.dataset.ids}


# -- resuming, controls ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_killed_training_goes_on_exactly(project, monkeypatch, epoch):
    data, config = two_halves(SMALL), dict(epochs=4, dropout=0.3)
    whole = train_fusion(fusing(**config), data)
    original, seen = fit.train_epoch, []

    def dying(*args):
        seen.append(args[6])
        if args[6] == epoch:
            raise Killed
        return original(*args)

    monkeypatch.setattr(fit, "train_epoch", dying)
    with pytest.raises(Killed):
        train_fusion(fusing(**config, run_dir="killed"), data)
    monkeypatch.setattr(fit, "train_epoch", original)
    assert Run(project / "killed").path(fit.CHECKPOINT).exists() and seen == [*range(epoch + 1)]
    again = train_fusion(fusing(**config, run_dir="killed"), data)
    one, other = (load_file(run.path("model.safetensors")) for run in (whole, again))
    assert "memory.bank" in one and all(torch.equal(one[key], other[key]) for key in one)
    assert whole.path("log.csv").read_bytes() == again.path("log.csv").read_bytes()
    assert json.loads(whole.path("metrics.json").read_text()) == json.loads(again.path("metrics.json").read_text())


def test_a_trained_run_is_not_trained_again(fused, halves, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_ROOT", str(fused.folder.parents[1]))
    before = fused.path("metrics.json").read_bytes()
    monkeypatch.setattr("migstudy.fusion.train.build", lambda *a: pytest.fail("it trains again"))
    assert train_fusion(fusing(epochs=12), halves).folder == fused.folder
    assert fused.path("metrics.json").read_bytes() == before


def test_shuffled_labels_are_a_control(halves):
    config = fusing(shuffle_labels=True)
    task = FusionTask(config, halves)
    labels = task.loader.dataset.labels
    assert sorted(labels.tolist()) == sorted(halves.clips.train.labels.tolist())
    assert not np.array_equal(labels, halves.clips.train.labels)
    run_fit(task, config.resolved(), None, progress=False)
    found = answers(task.model.eval(), halves, config).argmax(1)
    assert (found == halves.clips.test.labels).mean() < 0.7


# -- full size ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_paper_profile_starts_at_full_size():
    """MViTv2-S's 393 tokens of 768 channels and 2s-AGCN's 23 steps of 256, joint and bone, one step of 64 clips."""
    clips = two_halves(((22, 21, 21), (1, 1, 1), (1, 1, 1))).clips
    rng = np.random.default_rng(0)
    shapes = {"rgb": ((393, 768), (8, 49)), "joint": ((23, 256), (23, 1)), "bone": ((23, 256), (23, 1))}
    modalities = {
        name: Modality({c: rng.normal(size=shape).astype(np.float16) for c in clips.whole.index["clip_id"]}, grid, name == "rgb")
        for name, (shape, grid) in shapes.items()
    }  # fmt: skip
    config = FusionConfig(profile="paper", video_model="mvit", epochs=1, precision="no", workers=0, threads=1)
    run = train_fusion(config, FusionData(clips, modalities))
    assert np.isfinite(pd.read_csv(run.path("log.csv"))["loss"]).all() and len(run.read_json("metrics.json")["at_hand"]) == 6
