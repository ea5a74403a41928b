import json
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from migstudy.classes import IMIGUE_CLASSES, IMIGUE_NAMES
from migstudy.evaluate import SUMMARY, evaluate, evaluate_runs, per_class_table
from migstudy.scores import get_probabilities, load_scores, make_scores, save_scores


def table(n=200, classes=7, seed=0, subjects=9, skill=2.0):
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, n, p=rng.dirichlet(np.ones(classes)))
    logits = rng.normal(size=(n, classes)) + skill * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    who = rng.integers(0, subjects, n)
    index = pd.DataFrame({"clip_id": [f"c{i}" for i in range(n)], "video": [f"v{i}" for i in who], "split": "val"})
    return make_scores(index.assign(subject=[f"s{i}" for i in who], label=labels), probabilities)


def skilled(scores, skill, rng):
    """Other answers to the same clips."""
    labels, classes = scores["label"].to_numpy(), scores.filter(regex=r"^p\d+$").shape[1]
    logits = rng.normal(size=(len(labels), classes)) + skill * np.eye(classes)[labels]
    index = scores[["clip_id", "video", "subject", "split", "label"]]
    return make_scores(index, np.exp(logits) / np.exp(logits).sum(1, keepdims=True))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.integers(6, 60))
def test_values_equal_scikit_learn(seed, n):
    scores = table(n, seed=seed)
    result = evaluate(scores, intervals=False)
    labels, probabilities = scores["label"].to_numpy(), get_probabilities(scores)
    exact = probabilities.astype(float)
    answers = probabilities.argmax(1)
    assert np.isclose(result["top1"], sk.accuracy_score(labels, answers))
    assert np.isclose(result["top5"], sk.top_k_accuracy_score(labels, probabilities, k=5, labels=range(7)))
    assert np.isclose(result["macro_f1"], sk.f1_score(labels, answers, average="macro"))
    assert np.isclose(result["mean_class_accuracy"], sk.recall_score(labels, answers, labels=np.unique(labels), average="macro"))
    assert np.isclose(result["log_loss"], sk.log_loss(labels, exact / exact.sum(1, keepdims=True), labels=range(7)), rtol=1e-5)
    assert np.array_equal(result["confusion"], sk.confusion_matrix(labels, answers, labels=range(7)))
    assert result["intervals"]["macro_f1"] == (None, None)


def test_runs_together_are_the_mean_of_runs_with_seeds_in_the_interval():
    index, seeds = table(300), np.random.default_rng(0)
    apart = [skilled(index, skill, seeds) for skill in (0.2, 1.0, 2.0)]
    each, together = [evaluate(scores) for scores in apart], evaluate_runs([t.sample(frac=1, random_state=1) for t in apart])
    alone = evaluate_runs(apart[:1])
    for name in SUMMARY:
        mean, low, high = together[name]
        assert np.isclose(mean, np.mean([found[name] for found in each])) and low < mean < high
        assert np.allclose(alone[name], (each[0][name], *each[0]["intervals"][name])), "one run: over its subjects"
    shorter = np.mean([np.ptp(found["intervals"]["top1"]) for found in each])
    assert together["top1"][2] - together["top1"][1] > 1.5 * shorter, "runs that differ are in the interval"
    with pytest.raises(ValueError, match="different clips"):
        evaluate_runs([apart[0], apart[1].iloc[1:]])


def test_it_survives_json_and_parquet(tmp_path):
    scores = table(seed=3)
    result = evaluate(scores, train_counts=range(7))
    assert json.loads(json.dumps(result, allow_nan=False))["macro_f1"] == result["macro_f1"]
    assert evaluate(load_scores(save_scores(scores, tmp_path / "s.parquet")), train_counts=range(7)) == result


@settings(deadline=None, max_examples=10)
@given(st.randoms(use_true_random=False))
def test_order_of_clips_does_not_matter(random):
    scores = table(60)
    order = list(range(60))
    random.shuffle(order)
    assert evaluate(scores.iloc[order], intervals=False)["per_class"] == evaluate(scores, intervals=False)["per_class"]


def test_intervals_hold_the_values_and_widen_with_confidence():
    scores = table(600, subjects=20)
    narrow, wide = (evaluate(scores, confidence=c) for c in (0.5, 0.99))
    for name in ("top1", "top5", "mean_class_accuracy", "macro_f1"):
        (a, b), (c, d) = narrow["intervals"][name], wide["intervals"][name]
        assert c < a < b < d and c < narrow[name] < d
    for entry in wide["per_class"]:
        for name in ("precision", "recall", "f1"):
            if entry["n_clusters"] >= 2:
                low, high = entry[f"{name}_interval"]
                assert 0 <= low <= entry[name] <= high <= 1


def test_few_subjects_make_wider_intervals_than_many():
    """The same answers; what differs is how many people gave them."""
    scores = table(800, subjects=40)
    hard = scores["subject"].isin([f"s{i}" for i in range(20)])
    p = [c for c in scores.columns if c[0] == "p" and c[1:].isdigit()]
    scores.loc[hard, p] = np.roll(scores.loc[hard, p].to_numpy(), 1, axis=1)
    pooled = scores.assign(subject=["s" + str(int(s[1:]) // 10) for s in scores["subject"]])
    width = lambda r: r["intervals"]["top1"][1] - r["intervals"]["top1"][0]
    many, few = evaluate(scores), evaluate(pooled)
    assert many["n_clusters"] == 40 and few["n_clusters"] == 4 and many["top1"] == few["top1"]
    assert width(few) > 1.5 * width(many)


def test_without_subjects_videos_are_resampled():
    scores = table()
    by_subject, by_video = evaluate(scores), evaluate(scores.assign(subject=""))
    assert by_subject["cluster"] == "subject" and by_video["cluster"] == "video"
    assert by_video["intervals"] == by_subject["intervals"]  # here each subject has one video


def test_undefined_is_none_and_single_cluster_classes_have_no_interval():
    n = 12
    index = pd.DataFrame({"clip_id": range(n), "video": "v", "split": "val"})
    labels, answers = np.array([0] * 10 + [1, 1]), np.array([0] * 8 + [2, 2, 1, 0])
    index = index.assign(subject=["a", "b", "c"] * 3 + ["a", "b", "b"], label=labels)
    entries = evaluate(make_scores(index, 0.9 * np.eye(4)[answers] + 0.025, list("wxyz")))["per_class"]
    nobody, only_answered, one_person = entries[3], entries[2], entries[1]
    assert nobody["recall"] is nobody["precision"] is nobody["f1"] is None and nobody["name"] == "z"
    assert only_answered["recall"] is None and only_answered["precision"] == only_answered["f1"] == 0
    assert one_person["n_clusters"] == 1 and one_person["recall"] == 0.5 and one_person["recall_interval"] == (None, None)


def test_majority_and_chance():
    scores = table(100, seed=5)
    mode = int(np.bincount(scores["label"]).argmax())
    result = evaluate(scores, intervals=False)
    assert result["majority"]["index"] == mode and result["majority"]["source"] == "evaluated clips"
    assert np.isclose(result["majority"]["top1"], (scores["label"] == mode).mean()) and np.isclose(result["chance"], 1 / 7)
    trained = evaluate(scores, train_counts=[0, 9, 1, 1, 1, 1, 1], intervals=False)["majority"]
    assert trained["index"] == 1 and trained["source"] == "training clips"
    assert np.isclose(trained["top1"], (scores["label"] == 1).mean())


def test_per_class_table():
    result = evaluate(table(), train_counts=range(10, 17))
    frame = per_class_table(result)
    assert list(frame["n_train"]) == list(range(10, 17)) and frame["n"].sum() == 200 and frame["n_predicted"].sum() == 200
    for i, entry in enumerate(result["per_class"]):
        expected = [np.nan if bound is None else bound for bound in entry["f1_interval"]]
        assert np.array_equal(frame.loc[i, ["f1_low", "f1_high"]].to_numpy(float), expected, equal_nan=True)
    assert frame["recall_low"].dtype == float


def test_clear_errors():
    with pytest.raises(ValueError, match="one count per class"):
        evaluate(table(), train_counts=[1, 2])
    with pytest.raises(ValueError, match="have no label"):
        evaluate(table().assign(label=-1))


def test_full_evaluation_is_fast():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 32, 4562)
    index = pd.DataFrame({"clip_id": range(4562), "video": "v", "split": "test", "label": labels})
    scores = make_scores(index.assign(subject=rng.integers(0, 35, 4562)), rng.dirichlet(np.ones(32), 4562))
    took = []
    for _ in range(3):
        start = time.perf_counter()
        evaluate(scores)
        took.append(time.perf_counter() - start)
    assert min(took) < 2


def test_the_organisers_baseline_replays(recordings_dir):
    """The published ST-GCN answers on the 777 validation clips: 36.55 % top-1, macro-F1 5.0 %; majority 33.2 %."""
    with np.load(recordings_dir / "micro_gesture_label_lists.npz", allow_pickle=False) as f:
        known = dict(zip(f["imigue_train_id"], f["imigue_train_label"], strict=True))
        ids, answers = f["imigue_val_id"], f["imigue_val_stgcn_pred"]
        is_val, labels = f["imigue_is_val"], f["imigue_train_label"]
    index = pd.DataFrame({"clip_id": ids, "video": [i[:4] for i in ids], "subject": "", "split": "val"})
    index["label"] = [known[i] for i in ids]
    scores = make_scores(index, np.eye(32)[answers], IMIGUE_NAMES)
    result = evaluate(scores, train_counts=np.bincount(labels[~is_val], minlength=32))
    assert round(100 * result["top1"], 2) == 36.55 and round(100 * result["macro_f1"], 1) == 5.0
    assert round(100 * result["majority"]["top1"], 1) == 33.2 and result["majority"]["index"] == 31
    assert result["cluster"] == "video" and result["n_clusters"] == 10 and result["n_clips"] == 777
    # nine classes are absent from validation
    assert result["n_classes_present"] == 23
    assert [e["n"] for e in result["per_class"]] == [c.val for c in IMIGUE_CLASSES]
    assert [e["n_train"] for e in result["per_class"]] == [c.train for c in IMIGUE_CLASSES]
    # above the majority answer by 26 clips, which ten videos cannot tell from nothing
    low, high = result["intervals"]["top1"]
    assert low < result["majority"]["top1"] < result["top1"] < high
