"""From finished runs to tables: each run answers its own question, what is missing says so, data are never mixed."""

import json

import numpy as np
import pandas as pd
import pytest
from projects import ROOT

from migstudy.config.gesture import PROFILES, GestureConfig
from migstudy.evaluate import evaluate
from migstudy.fusion.late import fuse
from migstudy.report import tables
from migstudy.results import ablation_runs, find_runs, grid_runs, labelled_scores, provenance, runs_of_data, source_of, stream_runs
from migstudy.runs import folder as runs
from migstudy.runs.folder import Run, open_run
from migstudy.scores import make_scores, save_scores
from migstudy.study import BASE, CHANGES, LIMB, SHUFFLED, VARIANTS, cells

CLASSES = ("rest", "touch", "shrug")
SOURCE = "made for a test"
MAJORITY = {"name": "rest", "top1": 0.5, "macro_f1": 0.2, "mean_class_accuracy": 1 / 3}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_ROOT", str(tmp_path))
    monkeypatch.delenv(runs.RUNNER, raising=False)
    return tmp_path


def made_scores(accuracy: float, seed: int, clips: int = 120) -> pd.DataFrame:
    """Scores of a model that is right so often, on the same val and test clips whatever the seed."""
    labels = np.random.default_rng(5).integers(0, 3, clips)
    rng = np.random.default_rng(1000 + seed)
    answers = np.where(rng.random(clips) < accuracy, labels, (labels + rng.integers(1, 3, clips)) % 3)
    probabilities = np.full((clips, 3), 0.1)
    probabilities[np.arange(clips), answers] = 0.8
    number = np.arange(clips)
    index = pd.DataFrame({
        "clip_id": [f"{i:04d}_0" for i in number], "video": [f"{i // 5:04d}" for i in number],
        "subject": [f"s{i // 10}" for i in number], "split": np.where(number < 40, "val", "test"), "label": labels,
    })  # fmt: skip
    return make_scores(index, probabilities, CLASSES)


def made_run(variant, seed=0, accuracy=0.7, data="simulator", fingerprint="f", started=None, code=None, run_dir="", **more) -> Run:
    config = GestureConfig.from_strings({"profile": "smoke", "data": data, **variant, "seed": str(seed)}, **more)
    run = open_run("03_train_gesture", config.resolved().to_dict(), fingerprint, run_dir)
    scores = made_scores(accuracy, seed)
    save_scores(scores, run.path("scores.parquet"), CLASSES)
    test = {**evaluate(scores[scores["split"] == "test"].reset_index(drop=True), intervals=False), "majority": MAJORITY}
    run.write_json("metrics.json", {"source": SOURCE, "test": test, "test_top1": test["top1"]})
    env = run.read_json("env.json")
    run.write_json("env.json", {**env, "started": started or env["started"], "code": code or env["code"]})
    run.finish()
    return run


@pytest.fixture
def study():
    """The runs of a study of two seeds, all of them good but for the base."""
    made = {}
    for seed in (0, 1):
        for name, variant in VARIANTS.items():
            made[name, seed] = made_run(variant, seed, 0.4 if name == "base" else 0.8)
        made["limb", seed] = made_run(LIMB, seed, 0.75)
    made["shuffled"] = made_run(SHUFFLED, 0, 0.34)
    return made


# -- finding ---------------------------------------------------------------------------------------------------------


def test_each_variant_finds_its_own_runs(study):
    groups = ablation_runs("smoke")
    assert list(groups) == list(VARIANTS)
    for name, found in groups.items():
        assert [run.id for run in found] == [study[name, seed].id for seed in (0, 1)]
    streams = stream_runs("smoke")
    assert streams == {"joint": groups["all three"], "limb": [study["limb", s] for s in (0, 1)]}
    assert all(not found for found in ablation_runs("quick").values())
    assert all(not found for found in ablation_runs("smoke", "natops.npz").values())


def test_a_grid_s_variants_find_their_runs(study, tmp_path):
    for place in ("notebooks", "grids"):
        (tmp_path / place).symlink_to(ROOT / place)
    file = tmp_path / "mine.yaml"
    file.write_text("""
notebook: 03_train_gesture
title: Two of them
base: {topology: imigue22, label_embedding: none}
axes: {sampling: [uniform_interval, zero_pad, uniform_segments]}
seeds: [0, 1]
""")
    title, groups = grid_runs(str(file), "smoke")
    found = {name: [run.id for run in runs] for name, runs in groups.items()}
    expected = {"uniform_interval": "+ sampling", "zero_pad": "base"}
    wanted = {f"sampling={name}": [study[variant, seed].id for seed in (0, 1)] for name, variant in expected.items()}
    assert title == "Two of them" and found == wanted | {"sampling=uniform_segments": []}
    effects = tables.effect_table(groups, "sampling=zero_pad").set_index(["variant", "metric"])
    ours = tables.effect_table(ablation_runs("smoke")).set_index(["variant", "metric"])
    columns = ["effect", "low", "high"]
    np.testing.assert_allclose(
        effects.loc[("sampling=uniform_interval", "top1"), columns].astype(float), ours.loc[("+ sampling", "top1"), columns].astype(float)
    )
    assert np.isnan(effects.loc[("sampling=uniform_segments", "top1"), "effect"])
    file.write_text("notebook: 05_train_emotion\naxes: {model: [face, context]}")
    with pytest.raises(ValueError, match="mine.yaml.*score videos.*07_paper_tables"):
        grid_runs(str(file), "smoke")
    with pytest.raises(ValueError, match="did you mean 'long_tail'"):
        grid_runs("longtail", "smoke")


def test_the_plan_trains_exactly_what_the_tables_ask_for(study):
    plan = [GestureConfig.from_strings(cell) for cell in cells("smoke", (0, 1))]
    keys = [runs.same_question(config.resolved().to_dict()) for config in plan]
    assert len(set(keys)) == len(keys) == 13
    asked = {run.id for groups in (ablation_runs("smoke"), stream_runs("smoke")) for found in groups.values() for run in found}
    assert asked | {study["shuffled"].id} == {r.id for r in runs.finished_runs()}
    assert set(keys) == {runs.same_question(r.read_json("params.json")["params"]) for r in runs.finished_runs()}


@pytest.mark.parametrize("profile", PROFILES)
def test_variants_change_one_thing_at_a_time(profile):
    resolved = {n: GestureConfig.from_strings({"profile": profile, **v}).resolved().to_dict() for n, v in VARIANTS.items()}
    changed = {n: {k for k, v in values.items() if v != resolved["base"][k]} for n, values in resolved.items()}
    assert changed["base"] == set() and len(CHANGES) == 3
    for name, change in CHANGES.items():
        assert changed[f"+ {name}"] and changed[f"+ {name}"] <= change.keys()
    assert changed["all three"] == set.union(*(changed[f"+ {name}"] for name in CHANGES))
    assert sum(len(changed[f"+ {name}"]) for name in CHANGES) == len(changed["all three"]), "two changes share a parameter"


def test_every_seed_counts_however_many_there_are():
    made = [made_run(BASE, seed) for seed in (4, 2, 0, 7)]
    found = find_runs({"base": BASE}, "smoke", "simulator")["base"]
    assert [r.id for r in found] == [made[i].id for i in (2, 1, 0, 3)], "all of them, in order of their seeds"
    assert [r.id for r in find_runs({"base": BASE}, "smoke", "simulator", (2,))["base"]] == [made[1].id]


def test_the_newest_answer_counts_and_counts_once():
    old = made_run(BASE, 0, 0.1, fingerprint="old", started="2026-01-01T00:00:00+00:00")
    new = made_run(BASE, 0, 0.9, fingerprint="new", started="2026-01-02T00:00:00+00:00")
    other = made_run(BASE, 0, 0.5, fingerprint="new", started="2026-01-01T12:00:00+00:00", run_dir="runs/again", threads=3)
    assert {old.id, new.id, other.id} == {r.id for r in runs.finished_runs()}
    assert find_runs({"base": BASE}, "smoke", "simulator")["base"] == [new]


def test_a_run_from_before_a_parameter_was_added_is_found(study):
    run = study["base", 0]
    kept = run.read_json("params.json")
    del kept["params"]["dropout"], kept["params"]["center"]
    run.write_json("params.json", kept)
    assert ablation_runs("smoke")["base"] == [run, study["base", 1]]


def test_unfinished_runs_answer_nothing(study):
    study["base", 0].path("DONE").unlink()
    assert ablation_runs("smoke")["base"] == [study["base", 1]]


# -- what the runs were measured on ----------------------------------------------------------------------------------


def test_the_source_is_the_runs_own(study):
    groups = ablation_runs("smoke")
    assert source_of(groups) == SOURCE
    known = provenance(groups)
    assert known["data_fingerprint"] == "f" and known["source"] == SOURCE
    assert sorted(known["run_ids"]) == sorted(study[name, s].id for name in VARIANTS for s in (0, 1))


def test_runs_of_other_code_are_counted_aloud(study):
    for seed in (0, 1):
        run = study["base", seed]
        run.write_json("env.json", {**run.read_json("env.json"), "code": "0123456789ab"})
    assert source_of(ablation_runs("smoke")) == f"{SOURCE} (2 of 10 runs made by another version of the code)"
    assert source_of(stream_runs("smoke")) == SOURCE


def test_different_data_are_refused(study):
    odd = made_run(BASE, 2, fingerprint="another")
    with pytest.raises(ValueError, match=f"different data .*train them again, or delete .*{odd.id}"):
        source_of(ablation_runs("smoke"))
    assert source_of(stream_runs("smoke")) == SOURCE


def test_no_run_at_all_is_said():
    for ask in (source_of, provenance):
        with pytest.raises(ValueError, match="no finished run answers this; train first"):
            ask(ablation_runs("smoke"))


def test_labelled_scores_are_of_one_split_and_known():
    run = made_run(BASE)
    scores = made_scores(0.7, 0)
    scores.loc[scores.index[-7:], "label"] = -1
    save_scores(scores, run.path("scores.parquet"), CLASSES)
    part = labelled_scores(run)
    assert len(part) == 80 - 7 and set(part["split"]) == {"test"} and part.attrs["class_names"] == list(CLASSES)
    assert set(labelled_scores(run, "val")["split"]) == {"val"}


# -- tables ----------------------------------------------------------------------------------------------------------


def by_hand(accuracy, seed, metric):
    scores = made_scores(accuracy, seed)
    return evaluate(scores[scores["split"] == "test"].reset_index(drop=True), intervals=False)[metric]


def test_scores_are_means_over_seeds(study):
    table = tables.score_table(ablation_runs("smoke")).set_index("variant")
    assert list(table.index) == list(VARIANTS) and (table["seeds"] == 2).all()
    for metric in tables.SUMMARY:
        values = [by_hand(0.4, seed, metric) for seed in (0, 1)]
        assert table.loc["base", metric] == pytest.approx(np.mean(values))
        assert table.loc["base", f"{metric} sd"] == pytest.approx(np.std(values, ddof=1))
        assert table.loc["base", f"{metric} low"] < table.loc["base", metric] < table.loc["base", f"{metric} high"] or metric == "top5"


def test_missing_variants_stay_and_say_so(study):
    for seed in (0, 1):
        study["+ sampling", seed].path("DONE").unlink()
    groups = ablation_runs("smoke")
    scores, effects = tables.score_table(groups).set_index("variant"), tables.effect_table(groups)
    assert list(scores.index) == list(VARIANTS) and scores.loc["+ sampling", "seeds"] == 0
    assert scores.loc["+ sampling", [m for m in tables.SUMMARY]].isna().all()
    missing = effects[effects["variant"] == "+ sampling"]
    assert len(missing) == 2 and missing[["effect", "low", "high", "p"]].isna().all(axis=None) and (missing["seeds"] == 0).all()
    assert effects[effects["variant"] != "+ sampling"]["effect"].notna().all()
    shown = tables.readable(tables.score_table(groups)).set_index("variant")
    assert shown.loc["+ sampling", "top-1"] == "–" and shown.loc["base", "top-1"].count("±") == 1
    assert (tables.readable_effects(effects).set_index("change").loc["+ sampling", ["effect", "p (Holm)", "detectable"]] == "–").all(axis=None)
    assert "+ sampling" not in set(tables.seed_effects(effects)["variant"])


def test_without_a_base_no_effect_is_claimed(study):
    for seed in (0, 1):
        study["base", seed].path("DONE").unlink()
    effects = tables.effect_table(ablation_runs("smoke"))
    assert len(effects) == 8 and effects[["effect", "low", "high", "p"]].isna().all(axis=None)
    assert len(tables.seed_effects(effects)) == 0


def test_effects_are_differences_in_percentage_points(study):
    table = tables.effect_table(ablation_runs("smoke"))
    assert len(table) == 2 * 4 and set(table["variant"]) == set(VARIANTS) - {"base"}
    for row in table.itertuples():
        expected = 100 * np.mean([by_hand(0.8, s, row.metric) - by_hand(0.4, s, row.metric) for s in (0, 1)])
        assert row.effect == pytest.approx(expected) and row.low < row.effect < row.high
        assert row.low > 0 and row.p < 0.2, "twice the accuracy is an effect"
        assert np.mean(row.by_seed) == pytest.approx(expected) and len(row.by_seed) == 2
    points = tables.seed_effects(table)
    assert len(points) == 16 and points["effect"].astype(float).notna().all()


def test_what_a_study_could_find_and_what_would_settle_it(study):
    table = tables.effect_table(ablation_runs("smoke")).set_index(["variant", "metric"])
    assert (table["detectable"] > (table["high"] - table["effect"]) * 0.9).all(), "four tests, 80 % power: more than the interval"
    assert (table["seeds_to_settle"] >= 2).all()
    shown = tables.readable_effects(table.reset_index())
    assert shown["would be settled by"].str.fullmatch(r"\d+ seeds").all() and shown["effect"].str.contains(r"^\+\d").all()
    blurred = tables.readable_effects(table.reset_index().assign(seeds_to_settle=np.nan))
    assert set(blurred["would be settled by"]) == {"more people"}
    parts = tables.variance_table(ablation_runs("smoke"))
    assert len(parts) == 10 and (parts[["between seeds", "between subjects", "rest"]] >= 0).all(axis=None)


def test_one_seed_does_not_say_how_many_would_do():
    made_run(BASE, 0, 0.4), made_run(VARIANTS["all three"], 0, 0.8)
    groups = {name: runs for name, runs in ablation_runs("smoke").items() if runs}
    table = tables.effect_table(groups)
    assert (table["seeds_to_settle"] == 0).all() and table["effect"].notna().all()
    assert set(tables.readable_effects(table)["would be settled by"]) == {"–"}
    made_run(VARIANTS["all three"], 1, 0.8)
    groups = {name: runs for name, runs in ablation_runs("smoke").items() if runs}
    assert (tables.effect_table(groups)["seeds_to_settle"] == 0).all(), "the base has one still"


def test_latex_escapes_what_latex_reads_otherwise(study):
    shown = tables.readable(tables.score_table(ablation_runs("smoke")))
    text = tables.latex(shown.assign(variant="a_b & c"), "95 % of a_b", "table_ablation")
    assert r"a\_b \& c" in text and r"\caption{95 \% of a\_b}" in text and r"\toprule" in text and r"$\pm$" in text
    assert "±" not in text and r"\label{tab:ablation}" in text and text.count(r"\begin{tabular}") == 1


def test_no_difference_is_no_effect():
    for seed in (0, 1):
        made_run(BASE, seed, 0.6), made_run(VARIANTS["all three"], seed, 0.6)
    table = tables.effect_table({k: v for k, v in ablation_runs("smoke").items() if v})
    assert np.allclose(table["effect"], 0) and (table["low"] <= 0).all() and (table["high"] >= 0).all() and (table["p"] == 1).all()


def test_p_values_are_adjusted_within_a_metric(study, monkeypatch):
    seen = []
    monkeypatch.setattr(tables, "holm", lambda p: seen.append(len(p)) or np.full(len(p), 0.25))
    assert (tables.effect_table(ablation_runs("smoke"))["p"] == 0.25).all() and seen == [4, 4]


def test_fusion_pairs_runs_of_one_seed():
    for seed, joint, limb in [(0, 0.9, None), (1, 0.7, 0.6), (2, 0.5, 0.4), (5, None, 0.9)]:
        if joint:
            made_run(VARIANTS["all three"], seed, joint)
        if limb:
            made_run(LIMB, seed, limb)
    table = tables.stream_table("smoke").set_index("variant")
    assert table["seeds"].to_dict() == {"joint": 3, "limb": 3, "0.4 joint + 0.6 limb": 2, "weights learned on val": 2}
    fused = []
    for seed, joint, limb in [(1, 0.7, 0.6), (2, 0.5, 0.4)]:
        pair = {"joint": made_scores(joint, seed), "limb": made_scores(limb, seed)}
        whole = fuse(pair, "miga2023")
        fused.append(evaluate(whole[whole["split"] == "test"].reset_index(drop=True), intervals=False)["top1"])
    assert table.loc["0.4 joint + 0.6 limb", "top1"] == pytest.approx(np.mean(fused))


def test_fusion_weights_never_see_test_clips(study, monkeypatch):
    seen = []
    learn = tables.learn_weights
    monkeypatch.setattr(tables, "learn_weights", lambda tables: seen.extend(t["split"].unique() for t in tables.values()) or learn(tables))
    tables.stream_table("smoke")
    assert {str(s) for splits in seen for s in splits} == {"val"} and len(seen) == 4


def test_streams_that_are_missing_are_shown_as_missing():
    made_run(VARIANTS["all three"], 0)
    table = tables.stream_table("smoke").set_index("variant")
    assert table["seeds"].tolist() == [1, 0, 0, 0] and table["top1"].isna().tolist() == [False, True, True, True]


def test_the_control_stands_beside_the_blind_answer(study):
    table = tables.control_table("smoke").set_index("variant")
    assert list(table.index) == ["all three", "shuffled labels", "always 'rest'"]
    assert table.loc["shuffled labels", "top1"] == pytest.approx(by_hand(0.34, 0, "top1"))
    assert table.loc["always 'rest'", "top1"] == 0.5 and np.isnan(table.loc["always 'rest'", "top5"])
    study["shuffled"].path("DONE").unlink()
    assert tables.control_table("smoke").set_index("variant").loc["shuffled labels", "seeds"] == 0


def test_recordings_group_by_what_was_asked(project):
    empty = tables.recordings_table()
    assert empty["variant"].tolist() == ["NATOPS", "Northwestern-UCLA"] and (empty["seeds"] == 0).all()
    for seed in (0, 1):
        made_run({}, seed, data="/data/natops.npz", fingerprint="n")
        made_run({}, seed, data="/data/natops.npz", fingerprint="n", epochs=60, threads=seed + 1)
    made_run({}, 0, data="/data/natops.npz", fingerprint="older", started="2020-01-01T00:00:00+00:00")
    made_run({}, 0, data="/data/natops.npz", fingerprint="n", shuffle_labels=True)
    table = tables.recordings_table()
    assert table["variant"].tolist() == ["NATOPS", "NATOPS", "Northwestern-UCLA"]
    assert table["seeds"].tolist() == [2, 2, 0] and set(table["epochs"]) == {"2", "60", "–"}
    assert len(tables.recordings_sources()["run_ids"]) == 4 == len(runs_of_data("natops.npz"))


# -- tables as files -------------------------------------------------------------------------------------------------


def test_tables_are_written_for_people_and_machines(study, project):
    groups = ablation_runs("smoke")
    table = tables.score_table(groups)
    written = tables.write_table(table, "table_ablation", {"title": "Ablations", **provenance(groups)})
    assert sorted(p.name for p in (project / "figures").iterdir()) == [f"table_ablation.{e}" for e in ("csv", "json", "md", "tex")]
    text, numbers, told = (next(p for p in written if p.suffix == e) for e in (".md", ".csv", ".json"))
    pd.testing.assert_frame_equal(pd.read_csv(numbers), table)
    assert SOURCE in text.read_text() and text.read_text().count("\n| ") >= len(VARIANTS)
    assert f"{100 * table['top1'][0]:.1f} ± {100 * table['top1 sd'][0]:.1f} [" in text.read_text()
    assert json.loads(told.read_text())["run_ids"] == provenance(groups)["run_ids"]
    before = {p: p.read_bytes() for p in written}
    tables.write_table(tables.score_table(ablation_runs("smoke")), "table_ablation", {"title": "Ablations", **provenance(groups)})
    assert {p: p.read_bytes() for p in written} == before, "the same runs write the same bytes"


def test_nothing_is_shown_as_a_number_that_is_none():
    shown = tables.readable(tables.score_table(ablation_runs("smoke")))
    assert not shown.astype(str).apply(lambda column: column.str.contains("nan|None")).any(axis=None)
    made_run(BASE)
    cell = tables.readable(tables.score_table(ablation_runs("smoke")))["top-1"][0]
    assert "±" not in cell and "[" in cell, "one seed has no spread"
