"""Tables of stored win/lose runs: whatever effects are there, what is missing, seeds that both models have, what encoders saw."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
from emotion_cases import toy_scores

from migstudy.config.emotion import NEEDS, EmotionConfig
from migstudy.emotion import evaluate, report
from migstudy.emotion.answers import gather
from migstudy.emotion.readable import readable_emotion
from migstudy.emotion.recipes import recipe_difference
from migstudy.emotion.scores import save_emotion_scores
from migstudy.runs.folder import Run, finished_runs

CONFIG = EmotionConfig(profile="smoke")


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """store(model, effect, seed): a finished run of toy answers, as good as its effect."""
    monkeypatch.setattr(report, "finished_runs", lambda task: finished_runs(tmp_path, task))
    monkeypatch.setattr(evaluate, "evaluate_emotion", partial(evaluate.evaluate_emotion, n_permutations=50, n_boot=5))

    def store(model, effect, seed=0, **facts) -> Run:
        run = Run(tmp_path / f"{model}-{effect:g}-{seed}")
        run.folder.mkdir()
        params = EmotionConfig(profile="smoke", model=model, emotion_effect=effect, seed=seed).resolved().to_dict()
        run.write_json("params.json", {"task": report.TASK, "params": params, "data_fingerprint": f"{effect:g}"})
        command = f"migstudy run 05_train_emotion -p model={model}"
        run.write_json("env.json", {"started": f"2026-01-0{1 + seed}", "code": "", "command": command})
        run.write_json("metrics.json", {"source": "toy people", "cross_validation": facts})
        scores = toy_scores(effect, seed=10 * list(NEEDS).index(model) + seed).assign(fold=0)
        save_emotion_scores(scores, run.path("scores.parquet"))
        run.finish()
        return run

    return store


def test_the_study_asks_for_every_model_without_an_effect_and_with_ever_larger_ones():
    cells = report.emotion_cells("quick", seeds=(0, 1))
    asked = {(cell["model"], cell["emotion_effect"], cell["seed"]) for cell in cells}
    assert asked == {(m, e, s) for m in NEEDS for e in ("0", "1", "2", "4") for s in "01"}
    assert [EmotionConfig.from_strings(cell).emotion_effect for cell in report.emotion_cells("smoke", (0.5,), ("face",))] == [0.5]


def test_the_table_reads_the_effects_that_are_there_and_names_what_is_missing(stored):
    with pytest.raises(ValueError, match="no finished runs"):
        report.effect_table(CONFIG)
    for model, effect in (("face", 0.0), ("context", 0.0), ("face", 3.0)):
        stored(model, effect)
    assert report.finished_effects(CONFIG) == (0.0, 3.0)
    table = report.effect_table(CONFIG)
    rows = list(table[["effect", "model", "runs"]].itertuples(index=False, name=None))
    assert rows == [(0.0, "face", 1), (0.0, "context", 1), (3.0, "face", 1), (3.0, "context", 0)]
    shown = readable_emotion(table)
    assert list(shown.columns[:3]) == ["effect", "model", "runs"] and (shown.iloc[3, 3:] == "missing").all()
    assert not shown.iloc[:3].eq("missing").any(axis=None) and "nan" not in shown.to_string().lower()
    assert table["auc"][2] > table["auc"][0]
    asked = report.effect_table(CONFIG, (2.0, 3.0))
    assert asked["runs"].tolist() == [0, 1] and "Effect 2: no finished run." in asked.attrs["note"]


def test_models_are_paired_by_the_seeds_that_both_have(stored):
    seeds = {"face": (0, 2, 3), "context": (1, 2, 3)}
    runs = {(model, seed): stored(model, 0.0, seed) for model, own in seeds.items() for seed in own}
    config = EmotionConfig(profile="smoke", model="face", emotion_effect=0.0)
    (row,) = report.comparison_table(config).to_dict("records")
    assert (row["A"], row["B"], row["seeds"]) == ("face", "context", 2)
    pair = [[report.part_of(runs[model, seed]) for seed in (2, 3)] for model in ("face", "context")]
    assert row["effect"] == evaluate.compare_emotion(*pair)["effect"]
    whole = recipe_difference(*(gather(tables, "test").answers for tables in pair))
    assert (row["low"], row["high"]) == whole.interval()[1:] and row["p"] == row["p holm"] == whole.test().p_value
    pairs = report.pair_table(config, (0.0, 2.0), "face")
    assert pairs[["effect", "against", "seeds"]].values.tolist() == [[0.0, "context", 2]]
    assert pairs["difference of AUC"][0].startswith(f"{100 * row['effect']:+.1f} [".replace("-", "−"))
    assert report.pair_table(config, (2.0,)).empty, "nothing is finished there"
    stored("attention_mil", 0.0, 7)
    assert len(report.comparison_table(config)) == 1, "no seed in common"


def test_tables_carry_what_the_encoders_of_each_model_saw(stored):
    stored("face", 0.0, encoders="Known faces.", optimistic=True)
    stored("context", 0.0, encoders="Other people.", optimistic=False)
    config = EmotionConfig(profile="smoke", model="face", emotion_effect=0.0)
    note = report.model_table(config).attrs["note"]
    assert "face: Known faces." in note and "context: Other people." in note and "share their chance" in note
    found = report.emotion_runs(config)
    assert report.encoder_facts_of(found["face"]) == {"encoders": "Known faces.", "optimistic": True}
    assert json.loads(found["face"][0].path("metrics.json").read_text()) and isinstance(report.effect_table(config), pd.DataFrame)


# -- drawn from what runs keep ---------------------------------------------------------------------------------------------


def probe(name: str, top1: float) -> dict:
    return {"modality": name, "top1": top1, "low": top1 / 2, "high": top1 + 0.1, "chance": 0.1, "rank": 2, "videos": 20, "people": 10, "p": 0.1}


def words(fig) -> str:
    return " ".join(text.get_text() for text in fig.findobj(lambda artist: hasattr(artist, "get_text")))


def test_of_several_runs_the_newest_probe_counts_and_what_is_missing_names_its_command(stored):
    runs = {"face": [stored("face", 2.0, 1), stored("face", 2.0, 0)], "inter_fusion": [stored("inter_fusion", 2.0)]}
    for run, top1 in zip(runs["face"], (0.7, 0.2), strict=True):
        run.write_json(report.PROBES, {"probes": [probe("face", top1)]})
    probes, missing = report.stored_probes(runs)
    assert probes[["modality", "top1"]].values.tolist() == [["face", 0.7]]
    assert missing == {"context": "migstudy run 05_train_emotion -p model=inter_fusion"}


def test_drawing_opens_no_data_and_asks_no_encoder(stored, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MIGSTUDY_ROOT", str(tmp_path))
    drawn = {}
    monkeypatch.setattr("migstudy.figures.save_figure", lambda fig, name, *rest: drawn.update({name: (fig, *rest)}) or [])
    stored("face", 2.0, optimistic=True).write_json(report.PROBES, {"probes": [probe("face", 0.4)]})
    stored("inter_fusion", 2.0)
    logistic = stored("gesture_logistic", 2.0)
    report.write_report(CONFIG, folder=tmp_path / "figures")
    assert not (tmp_path / "data").exists(), "nothing is simulated"
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3 and all("no finished run" in line and "made by: migstudy run 05" in line for line in said)
    assert said[0].startswith("privacy: ") and "context" in said[0] and said[2].endswith("-p model=gesture_logistic")
    privacy, _, sources = drawn["privacy"]
    assert words(privacy).count("missing") == 2 and "optimistic: encoders of face were trained on these people" in words(privacy)
    assert len(sources["run_ids"]) == 3 and sources["source"].startswith("toy people (3 of 3 runs made by another version")
    assert "missing: evidence" in words(drawn["evidence"][0]) and drawn["evidence"][2]["run_ids"] == []

    videos = [{"video": row.video, "label": row.label, "frames": 100} for row in report.part_of(logistic).itertuples()]
    gesture = {"clip_id": "c", "start": 3, "end": 9, "gesture": "Shrug", "probability": 0.6, "push": 0.25}
    kept = {"fps": 5, "intercept": 0.0, "videos": videos, "events": [{"video": row["video"], **gesture} for row in videos]}
    logistic.write_json(report.EVIDENCE, kept)
    monkeypatch.setattr(report, "part_of", lambda run, part="", original=report.part_of: original(run))
    report.write_report(CONFIG, folder=tmp_path / "figures")
    assert "Shrug (60%)" in words(drawn["evidence"][0]) and drawn["evidence"][2]["run_ids"] == [logistic.id]
    assert "evidence" not in capsys.readouterr().out


def test_a_page_without_any_probe_can_be_drawn(stored, tmp_path):
    from migstudy.figures import draw_privacy, save_figure

    subjects = {"accuracy": [0.5, 1.0], "mean": 0.75, "sd": 0.35, "sd_alike": 0.2}
    fig = draw_privacy(pd.DataFrame(), {"face": {"subjects": subjects}}, "toy people", ("face", "context"))
    assert words(fig).count("missing") == 2 and "optimistic" not in words(fig)
    assert save_figure(fig, "privacy", tmp_path, {"source": "toy people"})


@pytest.mark.parametrize(("sources", "said"), [
    (["a folder quick_0, 137 points"], "a folder quick_0, 137 points"),
    (["a folder quick_0, 137 points", "a folder quick_0.5, 137 points", "a folder quick_4, 137 points"], "a folder quick_0/0.5/4, 137 points"),
    (["a folder quick_0, b", "a folder quick_0.5, b"], "a folder quick_0/0.5, b"),
    (["toy", "toy"], "toy"),
])  # fmt: skip
def test_one_line_names_all_data(sources, said):
    assert report.one_source(sources) == said
