"""From clips to tokens: encoders are trained once as ordinary runs, their tokens are the network's own, gaps are known."""

import numpy as np
import pytest
import torch
from fusion_toy import fusing
from toy import save_toy, toy_set

from migstudy.clips import Clip, ClipSet
from migstudy.config.gesture import GestureConfig
from migstudy.data import open_data
from migstudy.fusion import data as fusion_data
from migstudy.fusion import encoders
from migstudy.fusion.train import fusion_run, train_fusion
from migstudy.graphs.tokens import graph_tokens, shown_steps
from migstudy.loading import eval_loader, represent
from migstudy.models import create_model
from migstudy.runs.folder import RUNNER, finished_runs, open_run
from migstudy.runs.inner import load_encoder
from migstudy.train import train

SMALL = ((8, 8, 8), (3, 3, 3), (4, 4, 4))


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_ROOT", str(tmp_path))
    monkeypatch.setenv("MIGSTUDY_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return str(save_toy(tmp_path_factory.mktemp("toy") / "clips", share=SMALL))


@pytest.fixture
def trained_here(monkeypatch):
    """Encoders are trained in this process instead of by notebooks; returns the cells that were asked for."""
    import os

    asked = []

    def run_cells(notebook, cells, workers, title):
        asked.extend(cells)
        for cell in cells:
            assert notebook == "03_train_gesture" and RUNNER not in os.environ
            train(GestureConfig.from_strings({**cell, "threads": "1"})).finish()
        return []

    monkeypatch.setattr(encoders, "run_cells", run_cells)
    return asked


def small(toy: str, **changes):
    return fusing(data=toy, topology="native", epochs=2, encoder_epochs=1, encoder_frames=8, **changes)


def test_encoders_are_trained_once_and_fused(toy, trained_here, monkeypatch):
    monkeypatch.setenv(RUNNER, "1")  # as inside a notebook that a runner executes
    config = small(toy)
    clips = fusion_data.open_clips(config)
    assert not fusion_run(config).path("params.json").exists()
    runs = encoders.train_encoders(config, clips.fingerprint)
    assert [cell["stream"] for cell in trained_here] == ["bone", "joint"] and all(run.done for run in runs.values())
    assert {run.id for run in finished_runs(task="03_train_gesture")} == {run.id for run in runs.values()}
    monkeypatch.delenv(RUNNER)
    run = train_fusion(config)
    assert len(trained_here) == 2, "found, not trained again"
    assert run.folder == fusion_run(config).folder
    assert run.read_json("metrics.json")["encoders"] == {name: one.id for name, one in runs.items()}
    only = train_fusion(small(toy, fusion="single_modality", modality="bone"))
    assert len(trained_here) == 2 and only.read_json("metrics.json")["encoders"] == {"bone": runs["bone"].id}
    train_fusion(small(toy, encoder_seed=5, fusion="single_modality", modality="bone"))
    assert [cell["seed"] for cell in trained_here[2:]] == ["5"]


def test_tokens_are_the_networks_own_and_extracted_once(toy, trained_here, monkeypatch):
    config = small(toy, token_dtype="float32")
    clips = fusion_data.open_clips(config)
    runs = encoders.train_encoders(config, clips.fingerprint)
    for kind, places in (("frame", 1), ("joint", clips.topology.num_joints)):
        data = fusion_data.open_fusion_data(small(toy, token_dtype="float32", tokens=kind), clips, runs, progress=False)
        joint = data.modalities["joint"]
        assert joint.grid == (2, places) and joint.shape == (2 * places, 16) and not joint.class_token
        assert data.shared["token_dims"] == {"bone": 16, "joint": 16} and data.encoders["bone"] == runs["bone"].id
        model, own = load_encoder(runs["joint"]), encoders.encoder_configs(config)["joint"]
        batch = next(iter(eval_loader(clips.test, own)))
        with torch.inference_mode():
            expected = model(represent(batch, clips.topology, own, own.test_size)).tokens
        expected = model.frame_tokens(expected) if kind == "frame" else expected
        ids = [clips.test.index["clip_id"][i] for i in batch["index"].tolist()]
        np.testing.assert_allclose(joint.tokens.batch(ids), expected, atol=1e-5)
        assert {*joint.tokens} == {*clips.whole.index["clip_id"]}
    monkeypatch.setattr("migstudy.graphs.tokens.extract_tokens", lambda *a, **k: pytest.fail("extracted again"))
    fusion_data.open_fusion_data(config, clips, runs)


def test_an_interrupted_extraction_goes_on(toy, tmp_path, monkeypatch):
    config = GestureConfig(data=toy, topology="native", model="agcn", profile="smoke", clip_len=8, batch_size=4).resolved()
    clips = open_data(config)
    model = create_model("agcn", topology=clips.topology, in_channels=3, num_classes=3, base_channels=4, stage_blocks=(1, 1, 1)).eval()
    parts, seen = (clips.train, clips.val, clips.test), []
    whole = graph_tokens(model, parts, config, "f", cache=tmp_path / "a", progress=False)

    def failing(*args, original=represent):
        seen.append(len(args[0]["scores"]))
        if len(seen) == 4:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr("migstudy.graphs.tokens.represent", failing)
    with pytest.raises(KeyboardInterrupt):
        graph_tokens(model, parts, config, "f", cache=tmp_path / "b", progress=False)
    again = graph_tokens(model, parts, config, "f", cache=tmp_path / "b", progress=False)
    ids = clips.whole.index["clip_id"].tolist()
    assert np.array_equal(again.batch(ids), whole.batch(ids)) and sum(seen[:3]) + sum(seen[4:]) == len(ids)


def test_a_failed_encoder_says_why(toy, monkeypatch):
    monkeypatch.setattr(encoders, "run_cells", lambda *a: [({"stream": "bone"}, "no memory left")])
    with pytest.raises(RuntimeError, match="bone.*no memory left"):
        encoders.train_encoders(small(toy), fusion_data.open_clips(small(toy)).fingerprint)


def test_gaps_are_where_nobody_is_seen():
    def clip(name: str, frames: int, empty: slice) -> Clip:
        scores = np.ones((frames, 22), np.float32)
        scores[empty] = 0
        points = np.random.default_rng(0).uniform(100, 600, (frames, 22, 2)).astype(np.float32) * (scores[..., None] > 0)
        return Clip(name, points, scores, 0, "v", "s", "test", 0, frames - 1, (720, 720))

    pieces = [clip("whole", 16, slice(0, 0)), clip("late", 16, slice(0, 8)), clip("nobody", 16, slice(0, 16)), clip("short", 4, slice(0, 0))]
    clips = ClipSet.from_clips(pieces, "imigue22", toy_set(SMALL).class_names, 25, "made for a test")
    for sampling in ("uniform_interval", "zero_pad"):
        config = GestureConfig(profile="smoke", model="agcn", topology="native", clip_len=16, sampling=sampling)
        shown = shown_steps(clips, config, 4)
        assert "whole" not in shown or sampling == "zero_pad"
        assert not shown["nobody"].any() and shown["late"].any() and not shown["late"].all()
        assert ("short" in shown) == (sampling == "zero_pad")


# -- a video model of one's own ------------------------------------------------------------------------------------------


def given(folder, model="mvit", fingerprint="these", done=True, **params) -> str:
    own = GestureConfig(profile="smoke", model=model, **params).resolved()
    run = open_run("03_train_gesture", own.to_dict(), fingerprint, str(folder))
    if done:
        run.finish()
    return str(folder)


def watching(run: str, **changes):
    return fusing(video_model="mvit", video_run=run, **changes)


def test_a_video_model_of_ones_own_takes_the_place_of_a_trained_one(project, monkeypatch):
    config = watching(given(project / "mine", batch_size=3, data="elsewhere", clip_len=6, topology="native"), encoder_seed=4)
    assert {*encoders.encoder_cells(config)} == {"bone", "joint"}
    assert encoders.encoder_runs(config, "these")["rgb"].folder == project / "mine"
    own = encoders.encoder_configs(config)["rgb"]
    assert (own.batch_size, own.clip_len, own.data, own.topology) == (3, 6, "simulator", "imigue41")
    asked = []
    monkeypatch.setattr(encoders, "run_cells", lambda notebook, cells, *rest: asked.extend(cells) or [])
    encoders.train_encoders(config, "these")
    assert [cell["stream"] for cell in asked] == ["bone", "joint"]
    alone = watching(str(project / "mine"), fusion="single_modality", modality="bone")
    assert {*encoders.encoder_runs(alone, "other")} == {"bone"}, "a run that is not looked at may be of other data"


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (None, "mine holds no finished run"), ({"done": False}, "mine holds no finished run"),
        ({"model": "agcn"}, "with model agcn; give one of 03_train_gesture with mvit"),
        ({"fingerprint": "others", "data": "elsewhere"}, "other clips than data='simulator' holds.*data='elsewhere'"),
        ({"fingerprint": "others", "val_fraction": 0.3}, "val_fraction=0.3 and may know clips.*give val_fraction=0.3"),
    ],
)  # fmt: skip
def test_a_run_that_does_not_fit_is_refused(project, made, says):
    folder = str(project / "mine") if made is None else given(project / "mine", **made)
    with pytest.raises(ValueError, match=says):
        encoders.encoder_runs(watching(folder), "these")


def test_a_run_that_does_not_fit_is_refused_before_anything_is_written(toy, project):
    config = small(toy, video_model="mvit", video_run=given(project / "mine", data=toy))
    with pytest.raises(ValueError, match="trained on other clips"):
        fusion_run(config)
    assert not (project / "runs").exists()
