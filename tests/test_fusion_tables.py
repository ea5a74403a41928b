"""From finished runs to the tables of fusion: chosen on validation, compared on the same clips, what is missing says so."""

import numpy as np
import pandas as pd
import pytest
from test_results import CLASSES, SOURCE

from migstudy import results
from migstudy.comparison import compare
from migstudy.config.fusion import FusionConfig
from migstudy.config.gesture import GestureConfig
from migstudy.evaluate import evaluate
from migstudy.figures import draw_ablation
from migstudy.figures.fusion import draw_missing_modalities
from migstudy.fusion.late import fuse, learn_weights
from migstudy.fusion.stacking import learn_stacking
from migstudy.fusion.study import fusion_encoder_cells, fusion_groups, fusion_variants
from migstudy.fusion.tables import (
    best_single,
    collect,
    effect_table,
    fusion_table,
    late_fusions,
    late_table,
    missing_table,
    sources_of,
)  # fmt: skip
from migstudy.fusion.train import subset_file, subsets
from migstudy.report import tables
from migstudy.results import labelled_scores
from migstudy.runs import folder as runs
from migstudy.runs.folder import Run, open_run
from migstudy.scores import make_scores, save_scores
from migstudy.study import LIMB, VARIANTS

SEEDS = (0, 1, 2)


def made(test: float, val: float, seed: int, kind: str = "") -> pd.DataFrame:
    """Scores right so often on val and on test; the same clips and people whatever the seed and kind."""
    labels, number = np.random.default_rng(5).integers(0, 3, 160), np.arange(160)
    split = np.where(number < 60, "val", "test")
    rng = np.random.default_rng([seed, *kind.encode()])
    right = rng.random(160) < np.where(split == "val", val, test)
    answers = np.where(right, labels, (labels + rng.integers(1, 3, 160)) % 3)
    probabilities = np.full((160, 3), 0.15)
    probabilities[number, answers] = 0.7
    index = pd.DataFrame({
        "clip_id": [f"{i:04d}_0" for i in number], "video": [f"{i // 5:04d}" for i in number],
        "subject": [f"s{i // 10}" for i in number], "split": split, "label": labels,
    })  # fmt: skip
    return make_scores(index, probabilities, CLASSES)


def keep(run: Run, scores: pd.DataFrame, **more) -> Run:
    save_scores(scores, run.path("scores.parquet"), CLASSES)
    test = evaluate(scores[scores["split"] == "test"].reset_index(drop=True), intervals=False)
    run.write_json("metrics.json", {"source": SOURCE, "test": test, **more})
    run.finish()
    return run


def encoder_run(cell, seed, test, val) -> Run:
    config = GestureConfig.from_strings({**cell, "seed": str(seed)}).resolved()
    return keep(open_run("03_train_gesture", config.to_dict(), "f"), made(test, val, seed, f"{config.model}{config.stream}"))


def fusion_run(name, seed, test, val) -> Run:
    config = FusionConfig.from_strings({"profile": "smoke", **fusion_variants()[name], "seed": str(seed)}).resolved()
    run = open_run("04_fusion", config.to_dict(), "f")
    few = subsets(config.modalities)
    for chosen in few:
        worse = made(test - 0.3, val, seed, name + "".join(chosen))
        save_scores(worse[worse["split"] == "test"].reset_index(drop=True), run.path(subset_file(chosen)), CLASSES)
    return keep(run, made(test, val, seed, name), at_hand={"+".join(chosen): {} for chosen in few})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three seeds: joint validates best though bone tests best; three fusions were never run."""
    patch = pytest.MonkeyPatch()
    patch.setenv("MIGSTUDY_ROOT", str(tmp_path_factory.mktemp("study")))
    patch.delenv(runs.RUNNER, raising=False)
    for module in (runs, results):
        patch.setattr(module, "code_of", lambda task, params: "c")  # a closure over many sources, slow to walk for every cell
    for seed in SEEDS:
        for cell in fusion_encoder_cells("smoke", (seed,)):
            encoder_run(cell, seed, *{"joint": (0.6, 0.85), "bone": (0.65, 0.5)}[cell["stream"]])
        fusion_run("joint alone", seed, 0.5, 0.6)
        fusion_run("bone alone", seed, 0.7, 0.6)
        for name in ("concatenation", "token fusion"):
            fusion_run(name, seed, 0.8, 0.8)
    fusion_run("token fusion + memory", 0, 0.9, 0.9)
    yield collect("smoke")
    patch.undo()


def test_every_row_has_its_own_runs(study):
    rows = fusion_table(study).set_index("variant")
    assert list(rows.index) == [
        "bone, encoder", "joint, encoder", "bone alone", "joint alone", "late: equal weights", "late: weights learned on val",
        "late: stacking learned on val", "concatenation", "late fusion, trained", "gated fusion", "joint transformer",
        "token fusion", "token fusion + memory",
    ]  # fmt: skip
    assert rows["seeds"].tolist() == [3] * 8 + [0] * 3 + [3, 1] and np.isnan(rows.loc["gated fusion", "top1"])
    for name, runs_of in fusion_groups("smoke").items():
        if runs_of:
            expected = np.mean([evaluate(labelled_scores(run), intervals=False)["top1"] for run in runs_of])
            assert rows.loc[name, "top1"] == pytest.approx(expected)
    assert tables.readable(fusion_table(study))["top-1"].eq("–").sum() == 3
    assert sources_of(study)["source"] == SOURCE and len(sources_of(study)["run_ids"]) == 3 * 2 + 3 * 4 + 1


def test_late_fusion_is_learned_on_validation_seed_by_seed(study):
    for seed in SEEDS:
        test, val = (
            {name: part[name][seed] for name in ("bone, encoder", "joint, encoder")} for part in (study.test, study.val)
        )
        assert set(val["bone, encoder"]["split"]) == {"val"} and set(test["bone, encoder"]["split"]) == {"test"}
        for row, table in (
            ("equal weights", fuse(test)), ("weights learned on val", fuse(test, learn_weights(val).weights)),
            ("stacking learned on val", learn_stacking(val).fuse(test)),
        ):  # fmt: skip
            pd.testing.assert_frame_equal(study.test[f"late: {row}"][seed], table)


def test_without_three_people_there_is_no_stacking_and_without_both_seeds_no_fusion(study):
    names = ("bone, encoder", "joint, encoder")
    few = {n: {s: t[t["subject"].isin(["s0", "s1"])] for s, t in study.val[n].items()} for n in names}
    rows = late_fusions({n: study.test[n] for n in names}, few)
    assert [len(by_seed) for by_seed in rows.values()] == [3, 3, 0]
    partial = {"bone, encoder": study.test["bone, encoder"], "joint, encoder": {1: study.test["joint, encoder"][1]}}
    assert [list(by_seed) for by_seed in late_fusions(partial, study.val).values()] == [[1], [1], [1]]


def test_effects_are_against_the_single_modality_that_validates_best(study):
    base = best_single(study)
    assert base == "joint, encoder", "bone alone is better on test, which must not matter"
    effects = effect_table(study, base)
    assert not {*study.singles} & {*effects["variant"]}
    row = effects[(effects["variant"] == "token fusion") & (effects["metric"] == "top1")].iloc[0]
    mine, theirs = ([*study.test[name].values()] for name in ("token fusion", base))
    found = compare(mine, theirs, "top1", paired_seeds=True)
    assert (row["effect"], row["low"], row["high"]) == pytest.approx(tuple(100 * np.array(found.effect)))
    assert 0 < row["effect"] < row["high"]
    assert row["p"] >= found.uncertainty.test().p_value, "Holm's correction never makes a p smaller"
    never = effects[effects["variant"] == "gated fusion"]
    assert len(never) == 2 and never["effect"].isna().all() and (never["seeds"] == 0).all()
    one = effects[(effects["variant"] == "token fusion + memory") & (effects["metric"] == "top1")].iloc[0]
    assert one["effect"] > 0 and one["seeds_to_settle"] == 0, "one run does not tell what seeds do"
    assert len(tables.readable_effects(effects)) == len(effects)
    fig = draw_ablation(effects, SOURCE, tables.seed_effects(effects), base)
    assert any("not run" in text.get_text() for ax in fig.axes for text in ax.texts)


def test_what_is_lost_with_a_modality(study):
    table = missing_table(study)
    rows = table.set_index(["variant", "at hand"])
    assert rows.loc[("token fusion", "all"), "top1"] > rows.loc[("token fusion", "joint"), "top1"] + 0.15
    assert {*table["at hand"]} == {"all", "bone", "joint"} and rows.loc[("gated fusion", "all"), "seeds"] == 0
    fig = draw_missing_modalities(table, SOURCE)
    [ax] = fig.axes
    bars = {round(bar.get_height(), 6) for bar in ax.patches if not np.isnan(bar.get_height())}
    assert {round(100 * v, 6) for v in table["macro_f1"].dropna()} <= bars
    assert len(ax.get_xticks()) == 6 and sum("not run" in text.get_text() for text in ax.texts) == 3


def test_late_table_takes_all_streams(study):
    for seed in SEEDS[:2]:
        for k, variant in enumerate((VARIANTS["all three"], LIMB)):
            encoder_run({"profile": "smoke", **variant}, seed, 0.6 + 0.1 * k, 0.6)
    table = late_table("smoke").set_index("variant")
    assert list(table.index[:4]) == ["PoseC3D joint", "PoseC3D limb", "graph bone", "graph joint"]
    assert list(table.index[4::3]) == ["PoseC3D joint + limb, equal weights", "graph joint + bone, equal weights", "all, equal weights"]
    assert table["seeds"].iloc[:2].eq(2).all() and table["seeds"].iloc[2:4].eq(3).all() and table.loc["all, stacking learned on val", "seeds"] == 2
    assert table.loc["all, equal weights", "top1"] > table["top1"].iloc[:4].max()


def test_nothing_finished_is_shown_as_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_ROOT", str(tmp_path))
    nothing = collect("smoke")
    assert fusion_table(nothing)["seeds"].eq(0).all() and missing_table(nothing)["top1"].isna().all()
    assert late_table("smoke")["top1"].isna().all()
    with pytest.raises(ValueError, match="no finished run of a single modality"):
        best_single(nothing)
