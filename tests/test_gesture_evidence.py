"""The readable model: what it finds, that its evidence adds up to its answer, and that it chooses across people."""

import dataclasses

import gesture_cases as cases
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from migstudy.classes import IMIGUE_CLASSES
from migstudy.emotion.gesture_evidence import (
    STRENGTHS,
    GestureModel,
    _splits,
    contributions,
    evidence,
    fit_gesture_model,
    importance,
    logits,
)
from migstudy.emotion.gesture_sequence import GestureEvents, describe_videos
from migstudy.simulate.config import PROFILES
from migstudy.simulate.emotion import RATES
from migstudy.simulate.plan import make_plan


@pytest.fixture(scope="module")
def fitted():
    events, videos = cases.videos_of_gestures(40, effect=2.0)
    return fit_gesture_model(events, videos, strengths=STRENGTHS[::2]), events, videos


def test_evidence_adds_up_to_the_logit(fitted):
    model, events, _ = fitted
    answer, pushes = logits(model, events), evidence(model, events)
    assert model.weights.any() and answer.std() > 0.1
    summed = pushes.groupby("video")["push"].sum().reindex(events.videos, fill_value=0.0)
    np.testing.assert_allclose(summed + model.intercept, answer, rtol=0, atol=1e-9)
    np.testing.assert_allclose(contributions(model, events).sum(axis=1) + model.bias, answer, rtol=0, atol=1e-9)
    long = evidence(model, events, by_gesture=True)
    np.testing.assert_allclose(long.groupby("clip_id", sort=False)["push"].sum(), pushes["push"], rtol=0, atol=1e-12)


def test_evidence_names_the_gesture_and_its_time(fitted):
    model, events, _ = fitted
    table = evidence(model, events)
    assert table.columns.tolist() == ["video", "clip_id", "start", "end", "gesture", "probability", "push"]
    pd.testing.assert_frame_equal(table.iloc[:, :4], events.table)
    assert (table["gesture"] == np.array(cases.NAMES)[events.probabilities.argmax(1)]).all()
    np.testing.assert_allclose(table["probability"], events.probabilities.max(1))


def test_a_silent_video_has_the_intercept_and_no_evidence(fitted):
    model, events, _ = fitted
    silent = GestureEvents(events.table[:0], events.probabilities[:0], events.class_names, events.fps, {"x": 1000})
    assert logits(model, silent)["x"] == pytest.approx(model.intercept, abs=1e-12)
    assert evidence(model, silent).empty and evidence(model, silent, by_gesture=True).empty


def test_one_event_less_changes_rates_by_its_push():
    events, videos = cases.videos_of_gestures(12)
    model = fit_gesture_model(events, videos, kinds=["rate", "share"], strengths=[0.1])
    kept = np.arange(len(events.table)) != 7
    fewer = GestureEvents(events.table[kept], events.probabilities[kept], events.class_names, events.fps, events.frames)
    change = logits(model, events) - logits(model, fewer)
    row = evidence(model, events).iloc[7]
    assert change[row["video"]] == pytest.approx(row["push"], abs=1e-9) and abs(row["push"]) > 1e-4
    assert change.drop(row["video"]).abs().max() == 0


def test_it_is_the_logistic_regression_of_scikit_learn(fitted):
    model, events, videos = fitted
    x = describe_videos(events).to_numpy()
    won = videos.sort_values("video")["label"].to_numpy()
    theirs = make_pipeline(
        StandardScaler(), LogisticRegression(C=model.strength, class_weight="balanced", max_iter=5000, tol=1e-8)
    )
    np.testing.assert_allclose(logits(model, events), theirs.fit(x, won).decision_function(x), rtol=0, atol=1e-9)


def test_a_planted_gesture_is_found_on_new_people_and_pushes_its_way(fitted):
    model, events, _ = fitted
    fresh, videos = cases.videos_of_gestures(100, effect=2.0, seed=1)
    auc = roc_auc_score(videos.set_index("video")["label"].loc[fresh.videos], logits(model, fresh))
    assert auc > 0.85  # pressed lips are e^2 times as frequent in losers
    table = importance(model, events)
    assert table.index[0] == "press lips" and table.loc["press lips", "rate slope"] < 0
    pushes = evidence(model, fresh).groupby("gesture")["push"].mean()
    assert pushes.idxmin() == "press lips" and pushes["press lips"] < -0.5


def test_without_an_effect_it_says_little_about_new_people():
    events, videos = cases.videos_of_gestures(40, effect=0.0)
    model = fit_gesture_model(events, videos, strengths=STRENGTHS[::2])
    fresh, others = cases.videos_of_gestures(150, effect=0.0, seed=1)
    answer = logits(model, fresh)
    auc = roc_auc_score(others.set_index("video")["label"].loc[fresh.videos], answer)
    assert abs(auc - 0.5) < 0.11 and model.strength < 0.1 and answer.std() < 0.5


def test_the_penalty_is_chosen_across_people():
    """Two videos of a person share their result and their habit; judged on videos instead of people, habits would pay."""
    rng = np.random.default_rng(0)
    won, people = rng.integers(0, 2, 60), np.repeat([f"p{i}" for i in range(30)], 2)
    won[1::2] = won[::2]
    splits = _splits(won, people, 5, 0)
    assert len(splits) == 5 and sorted(np.concatenate([new for _, new in splits])) == list(range(60))
    for known, new in splits:
        assert not set(people[known]) & set(people[new]) and len(set(won[known])) == 2


def test_the_least_log_loss_is_taken_and_told(fitted):
    model, events, videos = fitted
    assert model.strength == min(model.log_loss, key=lambda pair: pair[1])[0]
    assert [c for c, _ in model.log_loss] == sorted(STRENGTHS[::2])
    shuffled = fit_gesture_model(events, videos.sample(frac=1, random_state=0), strengths=STRENGTHS[::2])
    np.testing.assert_array_equal(shuffled.weights, model.weights)


def test_balanced_results_move_the_bias_alone_towards_none():
    events, videos = cases.videos_of_gestures(30, effect=0.0)
    few = videos[(videos["label"] == 0) | (videos["video"].str[1:4].astype(int) < 8)]
    plain, even = (fit_gesture_model(events, few, strengths=[1e-5], balanced=b) for b in (False, True))
    assert plain.bias < -0.8 and abs(even.bias) < 0.05


def test_saved_numbers_come_back(fitted, tmp_path):
    model, events, _ = fitted
    loaded = GestureModel.load(model.save(tmp_path / "gestures.json"))
    pd.testing.assert_series_equal(logits(loaded, events), logits(model, events), check_exact=True)
    assert loaded.log_loss == model.log_loss and loaded.kinds == model.kinds and loaded.intercept == model.intercept
    (tmp_path / "other.json").write_text('{"format": 9}')
    with pytest.raises(ValueError, match="other.json is not a gesture model of this version"):
        GestureModel.load(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.assign(label=v["label"].where(v["video"] != "v001_0", -1)), "video v001_0 has no known result"),
        (lambda v: v.assign(subject=v["subject"].where(v["video"] != "v001_0", "")), "video v001_0 has no subject"),
        (lambda v: pd.concat([v, v.iloc[:1]]), "video v000_0 stands twice"),
        (lambda v: v[(v["label"] == 0) | (v["subject"] == "p1")], "1 people won and 6 lost"),
        (lambda v: v[v["label"] == 0], "0 people won and 6 lost"),
    ],
)
def test_what_cannot_be_fitted_is_named(change, message):
    events, videos = cases.videos_of_gestures(6)
    with pytest.raises(ValueError, match=message):
        fit_gesture_model(events, change(videos))


def test_other_classes_are_refused(fitted):
    model, events, _ = fitted
    other = GestureEvents(events.table, events.probabilities, ("a", "b", "c", "d"), events.fps, events.frames)
    for ask in (logits, evidence):
        with pytest.raises(ValueError, match="different classes"):
            ask(model, other)


def test_the_shifts_of_the_simulator_are_read_back():
    """From the true classes of a planned release, in order: which gestures the model says losers make more often."""
    config = dataclasses.replace(PROFILES["quick"], protocol=True, emotion_effect=2.0)
    plan, _ = make_plan(config, 0)
    names = tuple(gesture.name for gesture in IMIGUE_CLASSES)
    place = {gesture.csv_class: gesture.index for gesture in IMIGUE_CLASSES}
    rows = [(p.video, f"{p.video}_{i}", 100 * i, 100 * i + 49) for p in plan for i in range(len(p.classes))]
    probabilities = np.eye(len(names))[[place[c] for p in plan for c in p.classes]]
    table = pd.DataFrame(rows, columns=["video", "clip_id", "start", "end"])
    events = GestureEvents(table, probabilities, names, 25.0, {p.video: 100 * len(p.classes) + 1 for p in plan})
    videos = pd.DataFrame([(p.video, str(p.subject), int(p.won)) for p in plan], columns=["video", "subject", "label"])
    test = np.array([p.split == "test" for p in plan])
    model = fit_gesture_model(events, videos[~test], kinds=["rate"], strengths=STRENGTHS[::2])
    truth, unseen = videos[test].set_index("video")["label"], logits(model, events.of(videos["video"][test].tolist()))
    assert roc_auc_score(truth.loc[unseen.index], unseen) > 0.85
    frequent = probabilities.mean(0) > 0.01
    planted = np.array([RATES.get(gesture.csv_class, 0.0) for gesture in IMIGUE_CLASSES])
    assert spearmanr(model.weights[0][frequent], planted[frequent]).statistic < -0.7
