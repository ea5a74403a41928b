"""Win or lose, end to end on toy people: every model by one call, no held-out result reaches it, it resumes, it explains."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from toy_emotion import ToyWindows, toy_emotion, toy_events, toy_features

from migstudy.config.emotion import NEEDS, EmotionConfig
from migstudy.emotion import gesture_sequence
from migstudy.emotion import train as te
from migstudy.emotion.answers import gather
from migstudy.emotion.binary_metrics import choose_threshold
from migstudy.emotion.features import SkeletonWindows, StepTokens, video_embedding
from migstudy.emotion.gesture_evidence import GestureModel, evidence
from migstudy.emotion.loading import SegmentDataset
from migstudy.emotion.report import evidence_figure, keep_evidence, telling_videos
from migstudy.emotion.scores import load_emotion_scores
from migstudy.figures import draw_emotion_forest
from migstudy.models import create_model
from migstudy.runs.folder import Run


@pytest.fixture(autouse=True)
def one_thread_and_quick_measures(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(te, "fit_gesture_model", partial(te.fit_gesture_model, strengths=(0.1, 1.0), folds=2))
    monkeypatch.setattr(te, "measure", lambda scores, data, saw: {"source": data.source, "saw": saw})


def config_of(folder, model="face", **changes) -> EmotionConfig:
    return EmotionConfig(profile="smoke", data="toy", model=model, threads=1, run_dir=str(folder), **changes)


def trained(folder, model="face", effect=3.0, swap=(), **changes) -> tuple[Run, pd.DataFrame]:
    config, data = config_of(folder, model, **changes), toy_emotion(effect, swap=swap)
    run = te.train_emotion(config, data, toy_features(config, data, effect), progress=False)
    return run, load_emotion_scores(run.path("scores.parquet"))


@pytest.mark.parametrize("model", NEEDS)
def test_every_model_goes_through_the_same_call(tmp_path, model):
    run, scores = trained(tmp_path / "run", model)
    cv, own = scores[scores["fold"] >= 0], scores[scores["fold"] < 0]
    held = cv[cv["split"] == "test"]
    data = toy_emotion()
    assert sorted(held["video"]) == sorted(data.videos.select("train")["video"])
    assert sorted(own.query("split == 'test'")["video"]) == sorted(data.videos.select("test")["video"])
    assert sorted(own.query("split == 'val'")["video"]) == sorted(held["video"])  # the test's threshold comes from these
    assert "val" not in set(data.rows(cv["video"].unique())["split"])
    for _, rows in cv.groupby(["repeat", "fold"]):
        people = rows.groupby("split")["subject"].unique()
        assert not set(people["val"]) & set(people["test"])
    merged = own.query("split == 'val'").merge(held, on="video")
    assert np.allclose(merged["logit_x"], merged["logit_y"])
    weights = "gesture_model.json" if model == "gesture_logistic" else "model.safetensors"
    assert run.path(weights).is_file() and not run.path("checkpoint.pt").exists()
    assert pd.read_csv(run.path("folds.csv"))["fold"].tolist() == [0, 1]
    assert json.loads(run.path("metrics.json").read_text())["encoders"] == dict.fromkeys(NEEDS[model], "toy")


def test_the_tests_threshold_comes_from_one_models_answers_to_people_it_held_out(tmp_path):
    """Of one repeat, as a test video is answered: the mean of several models would vary less than what it is to scale."""
    run, scores = trained(tmp_path / "run", "gesture_logistic", 1.0, repeats=2)
    held = scores.query("fold >= 0 and split == 'test'")
    first, second = (held[held["repeat"] == repeat].sort_values("video")["logit"].to_numpy() for repeat in (0, 1))
    val = scores.query("fold < 0 and split == 'val'").sort_values("video")
    assert np.array_equal(val["logit"], first) and not np.allclose(first, second)
    known, test = set(val["subject"]), set(scores.query("fold < 0 and split == 'test'")["subject"])
    assert known == {f"train {i}" for i in range(8)} and not known & test
    cut = gather(scores[scores["fold"] < 0]).answers.thresholds
    assert cut.min() == cut.max() == choose_threshold(val["label"].to_numpy(), val["probability"].to_numpy())


def test_a_runs_numbers_say_what_its_encoders_saw(tmp_path, monkeypatch):
    monkeypatch.undo()
    scores = trained(tmp_path / "run", "gesture_logistic", 1.0, folds=2)[1]
    quick = partial(te.evaluate_emotion, n_permutations=50, n_boot=5)
    monkeypatch.setattr(te, "evaluate_emotion", quick)
    found = te.measure(scores, toy_emotion(), {"gesture": 8})
    assert found["encoders_saw"] == {"gesture": 8} and found["cross_validation"]["optimistic"] and not found["test"]["optimistic"]
    assert "gesture from 8 of these 8): cross-validation is optimistic, the test part is not" in found["cross_validation"]["encoders"]
    others = "Encoders learned from other people than these, and from no result."
    assert found["test"]["encoders"] == others
    apart = te.measure(scores, toy_emotion(), {"gesture": 0})["cross_validation"]
    assert apart["encoders"] == others and not apart["optimistic"]
    given = te.measure(scores, toy_emotion(), {"face": None})["cross_validation"]
    assert given["encoders"] == "Whom the given encoder of face learned from is not known."
    assert "optimistic: encoders were trained on these people" in words(draw_emotion_forest({"m": found["cross_validation"]}, "toy"))
    assert "optimistic" not in words(draw_emotion_forest({"m": found["test"]}, "toy"))


def words(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def test_what_shows_is_learned_and_shuffled_results_are_not(tmp_path):
    def auc(scores):
        test = scores.query("fold < 0 and split == 'test'")
        won, lost = (test.loc[test["label"] == label, "logit"].to_numpy() for label in (1, 0))
        return (won[:, None] > lost).mean()

    assert auc(trained(tmp_path / "a", "inter_fusion", 6.0)[1]) == 1.0
    nothing = [auc(trained(tmp_path / f"n{seed}", "inter_fusion", 0.0, seed=seed)[1]) for seed in range(2)]
    assert 0.1 < np.mean(nothing) < 0.9


@pytest.mark.parametrize("model", ["face", "gesture_logistic"])
def test_results_of_held_out_and_test_people_reach_no_answer_to_them(tmp_path, model):
    """A person's results change places, all else alike: what models that did not know the person say of them stays."""
    base, scores = trained(tmp_path / "a", model)
    other = trained(tmp_path / "b", model, swap=("test 1", "test 3"))[1]
    pick = "split == 'test'"
    assert np.array_equal(scores.query(pick)["logit"], other.query(pick)["logit"])
    held = scores.query("fold == 0 and split == 'test'")
    person = held["subject"].iloc[0]
    swapped = trained(tmp_path / "c", model, swap=(person,))[1]
    scores, swapped = (table.set_index(["fold", "split", "video"]) for table in (scores, swapped))
    mine = scores.index[(scores["subject"] == person) & (scores.index.get_level_values("fold") == 0)]
    if set(swapped.index) == set(scores.index):  # folds are cut by result too, but everybody has one of each here
        assert np.allclose(scores.loc[mine, "logit"], swapped.loc[mine, "logit"])
    else:
        pytest.fail("the folds changed though everybody still has one video of each result")


@pytest.mark.parametrize("model", [model for model in NEEDS if model != "gesture_logistic"])
def test_a_model_reads_in_units_of_its_training_videos_and_looks_at_no_others_for_them(tmp_path, monkeypatch, model):
    looked = set()
    for kind, name in ((ToyWindows, "read"), (SkeletonWindows, "segment")):
        own = getattr(kind, name)
        monkeypatch.setattr(kind, name, lambda self, video, *rest, own=own: looked.add(video) or own(self, video, *rest))
    batch = gesture_sequence.gesture_batch
    monkeypatch.setattr(gesture_sequence, "gesture_batch", lambda tokens, videos: looked.update(videos) or batch(tokens, videos))
    config, data = config_of(tmp_path, model).resolved(), toy_emotion()
    train, val = (data.videos.select(part) for part in ("train", "val"))
    task = te.EmotionTask(config, data, toy_features(config, data), train, val)
    assert looked == set(train["video"])
    shown, network = task.loader.dataset.__getitems__(range(len(train))), task.model
    if "coordinates" in shown:
        x, present = network._inputs(shown["coordinates"], None)
        read = [network.standardise(x)[present.all(-1)]]
    else:
        read = [network.standardise[name](shown["tokens"][name])[mask] for name, mask in shown["mask"].items()]
    for values in read:
        spread = values.std(0, correction=0)
        assert values.mean(0).abs().max() < 1e-3 and (spread > 0.99).any()
        assert ((spread - 1).abs() < 1e-3).logical_or(spread < 1e-3).all(), "1, or 0 of what never changes"


def test_a_finished_run_is_not_repeated_and_a_stopped_one_goes_on(tmp_path, monkeypatch):
    whole = trained(tmp_path / "whole")[1]
    fit, seen = te.fit, []

    def stopping(task, config, *rest, **more):
        seen.append(config.seed)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return fit(task, config, *rest, **more)

    monkeypatch.setattr(te, "fit", stopping)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "run")
    assert [p.name for p in sorted((tmp_path / "run" / "folds").glob("*.parquet"))] == ["0_0.parquet"]
    resumed = trained(tmp_path / "run")[1]
    assert len(seen) == 4  # fold 1 again, and the whole
    pd.testing.assert_frame_equal(resumed, whole)
    trained(tmp_path / "run")
    assert len(seen) == 4


def test_a_long_video_is_the_mean_of_its_segments(tmp_path):
    config, data = config_of(tmp_path, segment_windows=2).resolved(), toy_emotion(frames=160)  # 10 windows
    features = toy_features(config, data)
    rows = data.videos.select("test")
    dataset = SegmentDataset(rows, rows["label"].to_numpy(), data, features, config, train=False)
    assert len(dataset) == 5 * len(rows) and dataset[0]["tokens"]["face"].shape == (1, 4, 6)
    model, _ = te.build(config, features, [8, 8])
    answers = te.predict(model, rows, data, features, config)
    with torch.no_grad():
        each = [model(item["tokens"], item["mask"]).logits for item in (dataset[i] for i in range(5))]
    assert answers[0] == pytest.approx(float(np.mean([(x[0, 1] - x[0, 0]).item() for x in each])), abs=1e-5)


def test_training_segments_are_drawn_anew_each_epoch_and_the_same_again(tmp_path):
    config, data = config_of(tmp_path, segment_windows=2).resolved(), toy_emotion(frames=160)
    rows = data.videos.select("train")
    dataset = SegmentDataset(rows, rows["label"].to_numpy(), data, toy_features(config, data), config, train=True)
    draws = []
    for epoch in (0, 1, 0):
        dataset.epoch = epoch
        draws.append(dataset.__getitems__(range(len(rows)))["tokens"]["face"])
    assert torch.equal(draws[0], draws[2]) and not torch.equal(draws[0], draws[1])


def test_a_segment_shows_its_own_windows_and_pads_the_rest(tmp_path):
    config, data = config_of(tmp_path).resolved(), toy_emotion(frames=48)  # 3 windows, 4 in a segment
    source = ToyWindows("face", 1.0)
    rows = data.videos.select("test").iloc[:1]
    features = toy_features(config, data, 1.0)
    item = SegmentDataset(rows, [0], data, features, config, train=False)[0]
    assert np.array_equal(item["tokens"]["face"][0, 2:4], source.read(rows["video"][0], 1).tokens)
    assert not item["mask"]["face"][0, 6:].any() and item["weight"].tolist() == [3.0]
    mean = video_embedding(source, data, rows["video"][0], config.window_seconds)
    pieces = [source.read(rows["video"][0], i) for i in range(3)]
    assert np.allclose(mean, np.concatenate([p.tokens[p.valid] for p in pieces]).mean(0))


def test_the_skeletons_segment_is_in_the_bodys_frame_and_padded(tmp_path):
    config, data = config_of(tmp_path, "hypergraph_transformer").resolved(), toy_emotion(frames=48)
    windows = toy_features(config, data).skeleton
    part = windows.segment("test00", 0, 2)
    assert part.shape == (3, windows.length, 41) and (part[2, :11] == 1).all() and not part[:, 11:].any()  # a third of 32
    assert np.abs(part[:2]).max() < 30  # no longer pixels


def test_context_tokens_are_the_means_of_each_step():
    sizes = dict(frames=4, size=32, base_channels=8, num_blocks=2, downscale_blocks=(1,), kv_stride=2)
    model = create_model("mvit", num_classes=3, **sizes)
    clip = torch.rand(2, 3, 4, 32, 32)
    with torch.no_grad():
        own, steps = model.eval()(clip).tokens, StepTokens(model, 2)(clip).tokens
    assert steps.shape == (2, 2, own.shape[2]) and torch.allclose(steps[:, 1], own[:, 1:].chunk(2, 1)[1].mean(1), atol=1e-6)


def test_the_timeline_adds_up_and_shows_a_won_and_a_lost_video(tmp_path):
    config, data = config_of(tmp_path / "run", "gesture_logistic"), toy_emotion()
    features = toy_features(config, data)
    run = te.train_emotion(config, data, features, progress=False)
    scores = load_emotion_scores(run.path("scores.parquet")).query("fold < 0")
    chosen = telling_videos(scores)
    assert [int(video[-1]) for video in chosen] == [1, 0]
    model = GestureModel.load(run.path("gesture_model.json"))
    rows = evidence(model, toy_events(data).of(chosen))
    for video in chosen:
        logit = scores.loc[scores["video"] == video, "logit"].item()
        assert model.intercept + rows.loc[rows["video"] == video, "push"].sum() == pytest.approx(logit)
    keep_evidence(run, data, features)
    figure = evidence_figure(run)
    said = "\n".join(ax.get_title(loc="left") for ax in figure.axes)
    assert f"video {chosen[0]}: won" in said and f"video {chosen[1]}: lost" in said
