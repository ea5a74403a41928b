import json

import numpy as np
import pandas as pd
import pytest
from emotion_cases import KEY, people, toy_scores
from sklearn import metrics as sk

from migstudy.emotion.answers import gather
from migstudy.emotion.binary_metrics import choose_threshold
from migstudy.emotion.binary_power import detectable_difference
from migstudy.emotion.evaluate import compare_emotion, emotion_table, evaluate_emotion
from migstudy.emotion.folds import cross_validation_folds, inner_validation
from migstudy.emotion.protocols import ProtocolError
from migstudy.emotion.readable import readable_emotion
from migstudy.emotion.scaling import PlattScaling, TemperatureScaling
from migstudy.emotion.scores import combine_emotion_scores, make_emotion_scores
from migstudy.emotion.recipes import recipe_interval
from migstudy.emotion.small_sample import subject_interval

QUICK = {"n_permutations": 300, "n_boot": 50}


@pytest.fixture(scope="module")
def scores():
    return toy_scores(2.0)


@pytest.fixture(scope="module")
def result(scores):
    return evaluate_emotion(scores, **QUICK)


def cross_validated(repeats=2, seed=0, effect=1.5):
    rows, rng, tables = people(40, 12, seed), np.random.default_rng(seed), []
    for fold in cross_validation_folds(rows, 4, repeats, seed):
        _, val = inner_validation(rows, fold.train, 0.3, seed)
        for split, chosen in (("val", val), ("test", fold.held_out)):
            some = rows[rows["video"].isin(chosen)]
            logits = effect * (some["label"] - 0.5) + rng.normal(0, 1, len(some)) + 0.5 * fold.fold
            tables.append(make_emotion_scores(some, logits, KEY, split, fold.fold, fold.repeat))
    return combine_emotion_scores(tables)


def test_result_is_json_and_its_numbers_are_those_of_the_table(scores, result):
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    val, test = (scores[scores["split"] == split] for split in ("val", "test"))
    cut = choose_threshold(val["label"].to_numpy(), val["probability"].to_numpy())
    answers = test["probability"] >= cut
    for name, value in (("balanced_accuracy", sk.balanced_accuracy_score(test["label"], answers)),
                        ("auc", sk.roc_auc_score(test["label"], test["logit"])),
                        ("brier", sk.brier_score_loss(test["label"], test["probability"]))):  # fmt: skip
        assert np.isclose(result["metrics"][name]["value"], value)
        assert result["metrics"][name]["low"] < value < result["metrics"][name]["high"]
    assert result["threshold"] == {"source": "validation", "mean": cut, "low": cut, "high": cut}
    assert (result["n_videos"], result["n_won"], result["n_subjects"], result["n_runs"]) == (40, 20, 14, 1)
    assert result["chance_is_exact"] and result["chance"]["auc"]["p"] < 0.05 and "points above chance" in result["note"]
    assert sum(result["subjects"]["videos"]) == 40 and len(result["subjects"]["accuracy"]) == 14


def test_scalings_are_learned_on_validation_alone(scores):
    val, test = (scores[scores["split"] == split] for split in ("val", "test"))
    found = gather(scores)
    for name, kind in (("temperature", TemperatureScaling), ("platt", PlattScaling)):
        scale = kind.fit(val["logit"].to_numpy(), val["label"].to_numpy())
        assert np.allclose(found.scaled[name].probabilities[0], scale(test.sort_values("video")["logit"]))
    moved = scores.assign(label=scores["label"].where(scores["split"] == "val", 1 - scores["label"]))
    other = gather(moved)  # other test results change neither threshold nor scaling
    assert np.array_equal(other.answers.thresholds, found.answers.thresholds)
    assert all(np.array_equal(other.scaled[n].probabilities, found.scaled[n].probabilities) for n in found.scaled)


def test_without_validation_there_is_one_half_and_no_scaling(scores):
    test = scores[scores["split"] == "test"]
    result = evaluate_emotion(test, **QUICK)
    assert result["threshold"]["source"].startswith("0.5") and list(result["calibration"]) == ["raw"]
    given = evaluate_emotion(scores, threshold=0.3, **QUICK)
    assert given["threshold"]["mean"] == 0.3 and given["threshold"]["source"] == "given"
    assert set(given["calibration"]) == {"raw", "temperature", "platt"}
    on_val = evaluate_emotion(scores, split="val", **QUICK)
    assert on_val["threshold"]["low"] == on_val["threshold"]["high"] == 0.5 and list(on_val["calibration"]) == ["raw"]
    assert not on_val["chance_is_exact"] and "Validation videos chose" in emotion_table({"a": on_val}).attrs["note"]


def test_each_fold_brings_its_own_threshold_and_repeats_are_averaged():
    scores = cross_validated()
    found, result = gather(scores), evaluate_emotion(scores, **QUICK)
    assert found.cross_validated and not result["chance_is_exact"] and result["n_runs"] == 2 and result["n_videos"] == 40
    for repeat, (cut, p) in enumerate(zip(found.answers.thresholds, found.answers.probabilities, strict=True)):
        for fold in range(4):
            own = scores[(scores["repeat"] == repeat) & (scores["fold"] == fold)]
            val, held = (own[own["split"] == split] for split in ("val", "test"))
            at = np.isin(found.videos, held["video"])
            assert np.allclose(cut[at], choose_threshold(val["label"].to_numpy(), val["probability"].to_numpy()))
            assert np.allclose(p[at], held.sort_values("video")["probability"])
    runs = [scores[(scores["repeat"] == r) & (scores["split"] == "test")] for r in range(2)]
    assert "share their chance: intervals over people are too short" in emotion_table({"a": result}).attrs["note"]
    mean = np.mean([sk.roc_auc_score(run["label"], run["logit"]) for run in runs])
    assert np.isclose(result["metrics"]["auc"]["value"], mean) and result["metrics"]["auc"]["sd"] > 0
    assert result["metrics"]["auc"]["low"] == recipe_interval(found.answers, "auc").low <= subject_interval(found.answers, "auc").low


def test_what_cannot_be_evaluated_says_why(scores):
    unknown = scores.assign(label=scores["label"].where(scores["split"] == "val", -1), protocol="challenge")
    test = scores[scores["split"] == "test"]
    cases = (
        (unknown, {}, "withholds its test results"),
        (scores, {"split": "train"}, "learned from"),
        (test, {"split": "val"}, "no 'val' rows, only test"),
        (cross_validated(), {"split": "val"}, "chose its model"),
        (scores, {"threshold": "best"}, "unknown threshold"),
        (pd.concat([test, test.iloc[1:].assign(repeat=1)]), {}, "every repeat must score the same"),
        (test[test["label"] == 1], {}, "one result"),
        ([test, test.iloc[1:]], {}, "differ in 1 test videos"),
        (pd.concat([test, test.assign(fold=0)]), {}, "mix cross-validated"),
    )
    for table, options, told in cases:
        with pytest.raises(ValueError, match=told):
            evaluate_emotion(table, **QUICK, **options)


def test_table_has_a_row_a_model_and_the_note(scores, result):
    null = [toy_scores(0.0, seed=s) for s in (3, 4, 5)]
    table = emotion_table({"face": result, "nothing": null, "again": scores}, **QUICK)
    assert list(table["model"]) == ["face", "nothing", "again"] and list(table["runs"]) == [1, 3, 1]
    assert table["auc"][0] == result["metrics"]["auc"]["value"] and np.isnan(table["auc sd"][0]) and table["auc sd"][1] > 0
    assert (table["p auc holm"] >= table["p auc"]).all() and table["p auc"][1] > 0.05 > table["p auc holm"][2]
    assert table.attrs["protocol"] == KEY and "differ in the rightness of" in table.attrs["note"]
    shown = readable_emotion(table)
    assert shown.shape == (3, 10) and "±" in shown["AUC"][1] and "[" in shown["AUC"][0] and "nan" not in shown.to_string()


def test_the_note_counts_from_the_commoner_result_and_says_what_encoders_saw(scores, result):
    lost = scores[(scores["label"] == 0) | ~scores["video"].isin(scores.query("split == 'test'")["video"].iloc[:10])]
    uneven = evaluate_emotion(lost, **QUICK)
    assert uneven["majority"] > 0.55 and f"above always the commoner result, {uneven['majority']:.1%}" in uneven["note"]
    least = detectable_difference(uneven["n_videos"], "chance", uneven["majority"], effect=uneven["mdd"]["design_effect"])
    assert uneven["mdd"]["chance"] == least
    note = lambda **told: emotion_table({"face": result, "context": result}, **told, **QUICK).attrs["note"]
    assert note(encoders={"face": "Seen.", "context": "Seen."}).endswith(". Seen.")
    assert note(encoders={"context": "Seen."}).endswith(" context: Seen.")
    assert "other people" in emotion_table({"face": result | {"encoders": "Of other people."}}).attrs["note"]


def test_p_values_that_are_not_exact_are_marked(result):
    exact = readable_emotion(emotion_table({"a": result}))
    crossed = readable_emotion(emotion_table({"a": evaluate_emotion(cross_validated(1), **QUICK)}))
    columns = [column for column in exact if column.startswith("p,")]
    assert len(columns) == 2 and not exact[columns].map(lambda cell: "≈" in cell).any(axis=None)
    assert crossed[columns].map(lambda cell: cell.startswith("≈ ")).all(axis=None)


def test_tables_and_comparisons_keep_to_one_protocol_and_one_set_of_videos(scores, result):
    cvpr, fewer = toy_scores(protocol="cvpr"), scores[scores["video"] != "test0001"]
    for other in (cvpr, [cvpr, cvpr], evaluate_emotion(cvpr, **QUICK)):
        with pytest.raises(ProtocolError, match="cannot be combined"):
            emotion_table({"a": result, "b": other}, **QUICK)
    with pytest.raises(ProtocolError, match="cannot be combined"):
        compare_emotion(scores, cvpr)
    with pytest.raises(ProtocolError, match="cannot be combined"):
        evaluate_emotion([scores, cvpr])
    others = scores.assign(video=scores["video"].str.replace("test", "other"), subject="x" + scores["subject"])
    for table in (fewer, others):
        with pytest.raises(ValueError, match="different videos"):
            emotion_table({"a": scores, "b": table}, **QUICK)
    with pytest.raises(ValueError, match="differ in 1 test videos"):
        compare_emotion(scores, fewer)


def test_comparison_finds_the_better_model_and_nothing_between_equals(scores):
    found = compare_emotion(toy_scores(4.0, seed=1), toy_scores(0.0, seed=2))
    assert found["effect"] > 0 and found["low"] > 0 and found["p"] < 0.01 and found["p_delong"] < 0.01
    same = compare_emotion(scores, scores, "balanced_accuracy")
    assert same["effect"] == 0 and same["p"] == 1 and same["discordant"] == 0 and same["p_delong"] is None
    lonely = [t.assign(subject=np.where(t["label"] == 1, "x", t["subject"])) for t in (scores, toy_scores(0.0, seed=2))]
    lonely = [t[t["split"] == "test"] for t in lonely]
    assert compare_emotion(*lonely)["p_delong"] is None and compare_emotion(*lonely)["p"] > 0, "one person won them all"
    two = compare_emotion([scores, scores], [scores], "auc")
    assert two["p"] is None and two["effect"] == 0
