"""Robustness curves: clips paired bit for bit, measurements kept and never mixed up, tables that find what was planted."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from toy import TINY

from migstudy import figures, train
from migstudy.config.gesture import GestureConfig
from migstudy.config.robustness import RobustnessConfig
from migstudy.robustness import measure as robustness
from migstudy.robustness import tables as curves
from migstudy.robustness.cells import Cells
from migstudy.robustness.knobs import KNOBS, conditions, knob_values
from migstudy.runs import folder as runs
from migstudy.runs.execute import find_notebook, notebook_parameters
from migstudy.scores import load_scores, make_scores
from migstudy.simulate import PROFILES, SimulatorConfig, simulate, simulate_clips

SIZE = dict(subjects=(2, 1, 2), videos_per_subject=1, clips=(24, 4, 10), min_clips=(0, 0, 0))
ASKED = dict(profile="smoke", data="release", workers=1, threads=1)
SOURCE = "made for a test, not iMiGUE"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A project with a small simulated release and one network trained on it."""
    folder = tmp_path_factory.mktemp("project")
    patch = pytest.MonkeyPatch()
    patch.setenv("MIGSTUDY_ROOT", str(folder))
    patch.delenv(runs.RUNNER, raising=False)
    simulate(folder / "release", "smoke", workers=1, **SIZE)
    run = train.train(GestureConfig(**{**TINY, "data": "release", "topology": "imigue41", "epochs": 1}))
    run.finish()
    yield folder
    patch.undo()


@pytest.fixture
def project(place, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_ROOT", str(place))
    return place


@pytest.fixture(scope="module")
def network(place):
    return runs.finished_runs(task="03_train_gesture")[0]


@pytest.fixture(scope="module")
def data(place):
    return robustness.open_trained_data(RobustnessConfig(**ASKED))


@pytest.fixture
def simulated(monkeypatch):
    """What was simulated since, as (settings, seed)."""
    done = []

    def counted(settings, seed, *more):
        done.append((settings, seed))
        return simulate_clips(settings, seed, *more)

    monkeypatch.setattr(robustness, "simulate_clips", counted)
    return done


# -- parameters ------------------------------------------------------------------------------------------------------


def test_the_notebook_takes_exactly_the_fields_of_the_configuration():
    kinds, defaults = notebook_parameters(find_notebook("08"))
    assert list(kinds.items()) == list(RobustnessConfig.types().items())
    assert defaults == RobustnessConfig().to_dict()


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_fill_everything_and_only_what_is_open(profile):
    asked = RobustnessConfig(profile=profile).resolved()
    assert None not in asked.to_dict().values()
    assert set(RobustnessConfig.profiles[profile]) == {k for k, v in RobustnessConfig().to_dict().items() if v is None}
    simulation = PROFILES[profile]
    for names in (asked.knobs, asked.matched_knobs):
        for knob, value in conditions(names, simulation, asked.values):
            assert getattr(replace(simulation, **{knob: value}), knob) == value, "the simulator takes it"


@given(name=st.sampled_from(sorted(KNOBS)), count=st.integers(2, 9), trained=st.floats(0.1, 0.9))
def test_values_rise_and_hold_the_trained_one(name, count, trained):
    values = knob_values(name, trained, count)
    assert values == sorted(set(values)) and trained in values
    assert len(values) == min(count, 1 + len(set(KNOBS[name]) - {trained}))


def test_every_knob_is_the_simulators_and_others_are_refused():
    assert set(KNOBS) <= set(SimulatorConfig.__dataclass_fields__)
    assert len(conditions("all", SimulatorConfig(), 3)) == 3 * len(KNOBS)
    with pytest.raises(ValueError, match="no knob 'amplitud' to turn; did you mean 'amplitude'"):
        conditions("amplitud", SimulatorConfig(), 3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"knobs": "amplitude,noise"}, "knobs: there is no knob 'noise'"), ({"matched_knobs": "tempoo"}, "did you mean 'tempo'"),
        ({"emotion_effects": "0,a"}, "emotion_effects='0,a': give numbers"), ({"emotion_effects": "-1"}, "emotion_effects"),
        ({"emotion_effects": "nan"}, "emotion_effects"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused_before_anything_is(wrong, message):
    with pytest.raises(ValueError, match=message):
        RobustnessConfig(**wrong)


# -- pairing ---------------------------------------------------------------------------------------------------------


def test_the_trained_value_is_the_data_bit_for_bit(data):
    assert data.config == replace(PROFILES["smoke"], **SIZE) and data.seed == 0
    again = simulate_clips(replace(data.config, amplitude=data.config.amplitude), data.seed, ("test",))
    assert robustness._equal(again.to_topology(data.test.topology), data.test)


@pytest.mark.parametrize("knob", sorted(KNOBS))
def test_a_knob_changes_how_clips_look_and_not_which_there_are(data, knob):
    value = max(KNOBS[knob], key=lambda v: abs(v - getattr(data.config, knob)))
    turned = simulate_clips(replace(data.config, **{knob: value}), data.seed, ("test",), planned=data.config)
    for name in ("clip_id", "label", "subject", "video", "split"):
        assert turned.index[name].equals(data.test.index[name])
    assert not robustness._equal(turned, data.test), "nor does it do nothing"


@pytest.mark.parametrize("style", [0.0, 3.0])
def test_the_same_gestures_are_asked_of_people_more_or_less_alike(style, tmp_path):
    """Habits grow with the knob and would deal other gestures to the videos; the comparison keeps the trained ones."""
    trained = replace(PROFILES["smoke"], subjects=(1, 1, 3), videos_per_subject=2, clips=(2, 2, 30), min_clips=(0, 0, 0))
    expected = simulate_clips(trained, 0, ("test",)).index
    turned = replace(trained, subject_style=style)
    assert not simulate_clips(turned, 0, ("test",)).index["label"].equals(expected["label"])
    cells, question = Cells(tmp_path), {"name": "shifted-style"}
    model = SimpleNamespace(predict_scores=lambda clips: clips.index[["clip_id", "label"]].copy())
    robustness._shift(turned, trained, 0, expected, [(question, model)], 1, 1, cells)
    assert cells.read(question)["label"].tolist() == expected["label"].tolist()


def test_other_data_are_refused(project, data, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="mine is no data of this simulator .* give data=simulator"):
        robustness.open_trained_data(RobustnessConfig(**{**ASKED, "data": str(tmp_path / "mine")}))
    other = lambda settings, seed, *more: simulate_clips(settings, seed + 1, *more)  # noqa: E731
    monkeypatch.setattr(robustness, "simulate_clips", other)
    with pytest.raises(ValueError, match="written by another version of the simulator"):
        robustness.open_trained_data(RobustnessConfig(**ASKED))


def test_a_knob_that_changes_the_clips_is_refused(data, tmp_path, monkeypatch):
    other = lambda settings, seed, *more: simulate_clips(settings, seed + (settings != data.config), *more)  # noqa: E731
    monkeypatch.setattr(robustness, "simulate_clips", other)
    with pytest.raises(ValueError, match="shifted-amplitude-0.25.*changes which clips there are"):
        robustness.measure_shifted(RobustnessConfig(**ASKED), data, {}, Cells(tmp_path))


# -- measuring -------------------------------------------------------------------------------------------------------


def test_a_stored_network_answers_as_it_did(project, data, network, tmp_path):
    asked = RobustnessConfig(**ASKED, knobs="amplitude", test_clips=TINY["test_clips"])
    answers = robustness.measure_shifted(asked, data, {"joint": [network]}, Cells(tmp_path))
    kept = load_scores(network.path("scores.parquet"))
    kept = kept[kept["split"] == "test"].reset_index(drop=True)
    [now] = answers["amplitude", data.config.amplitude]["joint"]
    assert list(now["clip_id"]) == list(kept["clip_id"]) and list(now["label"]) == list(kept["label"])
    columns = [c for c in kept if c.startswith("p0")]
    assert now[columns].to_numpy() == pytest.approx(kept[columns].to_numpy(), abs=1e-5)
    [shifted] = answers["amplitude", 0.25]["joint"]
    assert not np.allclose(shifted[columns], kept[columns], atol=1e-5)


def test_what_was_measured_is_not_measured_again(data, tmp_path, simulated):
    asked, cells = RobustnessConfig(**ASKED), Cells(tmp_path)
    first = robustness.measure_shifted(asked, data, {}, cells)
    assert len(simulated) == 3, "two knobs of two values, the trained one in common"
    assert {c for c in first} == {("amplitude", 0.25), ("amplitude", 1.0), ("noise_px", 0.0), ("noise_px", data.config.noise_px)}
    one, two = first["amplitude", 1.0]["motion LDA"][0], first["noise_px", data.config.noise_px]["motion LDA"][0]
    assert one.equals(two)
    simulated.clear()
    again = robustness.measure_shifted(asked, data, {}, cells)
    assert simulated == [] and all(again[c]["motion LDA"][0].equals(first[c]["motion LDA"][0]) for c in first)
    [lost] = tmp_path.glob("shifted-noise_px-0-*")
    lost.unlink()
    robustness.measure_shifted(asked, data, {}, cells)
    assert [s.noise_px for s, _ in simulated] == [0.0]


def test_two_processes_measure_the_same(data, tmp_path):
    answers = []
    for workers in (1, 2):
        cells = Cells(tmp_path / str(workers))
        answers.append(robustness.measure_matched(RobustnessConfig(**{**ASKED, "workers": workers}), data, cells))
        assert len(list(cells.folder.iterdir())) == 4
    for where, models in answers[0].items():
        for name, [table] in models.items():
            assert table.equals(answers[1][where][name][0]) and table.attrs == answers[1][where][name][0].attrs
            assert list(table["label"]) == list(data.test.index["label"])


def test_matched_simulations_differ_by_seed(data, tmp_path, simulated):
    asked = RobustnessConfig(**ASKED, matched_seeds=2)
    answers = robustness.measure_matched(asked, data, Cells(tmp_path))
    assert sorted({seed for _, seed in simulated}) == [0, 1] and len(simulated) == 4
    [first, second] = answers["amplitude", 1.0]["motion LDA"]
    assert not first.equals(second)
    table = curves.matched_table(answers, data.config)
    assert set(table["runs"]) == {2} and set(table["people"]) == {4}, "people of two simulations are four"


def test_videos_of_win_and_lose(data, tmp_path):
    asked = RobustnessConfig(**ASKED, emotion_people=4, emotion_clips=2, emotion_effects="1,0")
    found = robustness.measure_emotion(asked, data, Cells(tmp_path))
    assert list(found) == [0.0, 1.0]
    for table in found.values():
        assert len(table) == 8 and (table.groupby("subject")["won"].sum() == 1).all()
        assert np.isfinite(table.filter(regex=r"^f\d").to_numpy()).all()
    assert found[0.0]["subject"].equals(found[1.0]["subject"]) and not found[0.0].equals(found[1.0])
    result = curves.emotion_table(found, permutations=5)
    assert ((result["low"] <= result["auc"]) & (result["auc"] <= result["high"])).all()
    assert ((result["chance_low"] <= result["chance_high"]) & (result["p"] >= 1 / 6)).all()


def test_chance_is_what_exchanged_results_give():
    rng = np.random.default_rng(0)
    people, won = np.repeat(np.arange(40), 2).astype(str), np.tile([True, False], 40)
    told = np.stack([won + rng.normal(0, 1, 80), *rng.normal(size=(5, 80))], 1)
    videos = {0.0: told[:, 1:], 1.0: told}
    tables = {
        effect: pd.DataFrame(f, columns=[f"f{i:03d}" for i in range(f.shape[1])]).assign(won=won, subject=people)
        for effect, f in videos.items()
    }  # fmt: skip
    result = curves.emotion_table(tables, permutations=40).set_index("emotion_effect")
    assert result.loc[1.0, "auc"] > result.loc[1.0, "chance_high"] and result.loc[1.0, "p"] == pytest.approx(1 / 41)
    assert result.loc[0.0, "p"] > 0.05 and result.loc[0.0, "chance_low"] < 0.5 < result.loc[0.0, "chance_high"]
    aucs = curves.chance_aucs(told, won, people, 30, seed=1)
    assert abs(aucs.mean() - 0.5) < 0.08 and len(set(aucs)) > 10


def test_the_simulators_version_hears_motion_and_not_comments(tmp_path, monkeypatch):
    import shutil

    from migstudy.robustness import cells as robustness_cells

    shutil.copytree(Path(robustness_cells.__file__).parents[1] / "simulate", tmp_path / "simulate")
    monkeypatch.setattr(robustness_cells, "__file__", str(tmp_path / "robustness" / "cells.py"))
    before = robustness_cells.simulator_version()
    for name, text, heard in (("motion", "\n# why\n", False), ("gallery", "\nx = 1\n", False), ("takes", "\nx = 1\n", True)):
        file = tmp_path / "simulate" / f"{name}.py"
        file.write_text(file.read_text() + text)
        assert (robustness_cells.simulator_version() != before) == heard, name


# -- kept ------------------------------------------------------------------------------------------------------------

QUESTION = {"name": "shifted-x", "kind": "shifted", "seed": 0, "simulation": asdict(SimulatorConfig())}


def kept_table() -> pd.DataFrame:
    table = pd.DataFrame({"clip_id": ["a", "b"], "p000": np.array([0.25, 1], np.float32)})
    table.attrs["class_names"] = ["rest"]
    return table


def test_a_cell_gives_back_what_was_kept(tmp_path):
    cells = Cells(tmp_path / "cells")
    assert cells.read(QUESTION) is None
    cells.write(QUESTION, kept_table())
    back = cells.read(json.loads(json.dumps(QUESTION)))
    pd.testing.assert_frame_equal(back, kept_table())
    assert back.attrs == kept_table().attrs and cells.read({**QUESTION, "seed": 1}) is None
    assert [p.name for p in cells.folder.iterdir()] == [cells.path(QUESTION).name], "nothing is left beside it"


@pytest.mark.parametrize("content", [b"", b"PAR1 not really", None])
def test_a_broken_cell_is_measured_again(tmp_path, content, capsys):
    cells = Cells(tmp_path)
    cells.write(QUESTION, kept_table())
    path = cells.path(QUESTION)
    path.write_bytes(path.read_bytes()[:-7] if content is None else content)
    assert cells.read(QUESTION) is None and not path.exists()
    assert "cannot be read" in capsys.readouterr().out


def test_a_foreign_cell_is_refused(tmp_path):
    cells, other = Cells(tmp_path), {**QUESTION, "seed": 7}
    cells.write(other, kept_table())
    cells.path(other).rename(cells.path(QUESTION))
    with pytest.raises(ValueError, match="shifted-x.*holds another measurement than its name says; delete it"):
        cells.read(QUESTION)
    kept_table().to_parquet(cells.path(QUESTION))
    with pytest.raises(ValueError, match="holds another measurement"):
        cells.read(QUESTION)


def test_a_run_folder_belongs_to_parameters_data_and_simulator(project, data, monkeypatch):
    asked = RobustnessConfig(**ASKED)
    run = robustness.open_robustness_run(asked, data)
    assert run == robustness.open_robustness_run(replace(asked, workers=2, threads=5), data)
    assert run != robustness.open_robustness_run(replace(asked, values=3), data)
    assert run.read_json("params.json")["data_fingerprint"] == data.fingerprint
    assert robustness.stored_run(asked) is None
    run.finish()
    assert robustness.stored_run(asked) == run
    monkeypatch.setattr(robustness, "simulator_version", lambda: "another")
    assert robustness.open_robustness_run(asked, data) != run and robustness.stored_run(asked) == run
    with pytest.raises(ValueError, match="holds a run with other parameters or data"):
        robustness.open_robustness_run(replace(asked, run_dir=str(run.folder), seed=4), data)


def test_models_are_the_runs_of_notebook_03(project, data, network, monkeypatch):
    asked = RobustnessConfig(**ASKED)
    with pytest.raises(ValueError, match="no recipe 'joints'; known: joint, limb, base"):
        robustness.trained_runs(replace(asked, models="joint,joints"), data)
    with pytest.raises(ValueError, match="train first"):
        robustness.trained_runs(asked, data)
    mine = {k: str(v) for k, v in network.read_json("params.json")["params"].items() if k not in ("profile", "data", "seed")}
    monkeypatch.setitem(robustness.RECIPES, "joint", mine)
    assert robustness.trained_runs(asked, data) == {"joint": [network]}
    with pytest.raises(ValueError, match="trained on other data"):
        robustness.trained_runs(asked, replace(data, fingerprint="other"))


# -- tables ----------------------------------------------------------------------------------------------------------


def planted(accuracy: float, seed: int = 0, people: int = 8, clips: int = 25) -> pd.DataFrame:
    """Answers right so often; the clips right at a lower accuracy are right at a higher one too."""
    rng, n = np.random.default_rng(seed), people * clips
    labels = np.random.default_rng(99).integers(0, 3, n)
    answers = np.where(rng.random(n) < accuracy, labels, (labels + 1) % 3)
    index = pd.DataFrame({"clip_id": [f"{i:04d}" for i in range(n)], "video": "", "subject": [f"s{i % people}" for i in range(n)],
                          "split": "test", "label": labels})  # fmt: skip
    return make_scores(index, np.eye(3)[answers] * 0.9 + 0.1 / 3, ["a", "b", "c"])


def planted_answers(steps=((0.0, 0.9), (0.3, 0.8), (4.0, 0.6), (16.0, 0.4))):
    return {("noise_px", v): {"joint": [planted(a, s) for s in (0, 1)], "flat": [planted(0.7)]} for v, a in steps}


TRAINED = SimulatorConfig(noise_px=0.3)


def test_tables_find_what_was_planted():
    table = curves.robustness_table(planted_answers(), TRAINED)
    mine = table[table["model"] == "joint"].set_index("value")
    assert mine["top1"].to_list() == pytest.approx([0.9, 0.8, 0.6, 0.4], abs=0.05)
    assert ((mine["top1 low"] < mine["top1"]) & (mine["top1"] < mine["top1 high"])).all()
    assert mine.index[mine["trained"]].to_list() == [0.3] and mine.loc[0.3, ["top1 change", "top1 p"]].isna().all()
    assert mine.loc[16.0, "top1 change"] == pytest.approx(mine.loc[16.0, "top1"] - mine.loc[0.3, "top1"])
    assert mine.loc[16.0, "top1 change high"] < 0 and mine.loc[16.0, "top1 p"] < 0.05 and mine.loc[16.0, "macro_f1 p"] < 0.05
    flat = table[(table["model"] == "flat") & ~table["trained"]]
    assert (flat["top1 change"] == 0).all() and (flat["top1 p"] == 1).all()
    assert set(table["people"]) == {8} and set(mine["runs"]) == {2} and set(table["unit"]) == {"px"}


@given(st.integers(0, 10**6), st.floats(0.2, 0.8), st.integers(1, 3))
@settings(deadline=None, max_examples=25)
def test_an_interval_holds_its_own_value(seed, accuracy, runs):
    cells = {("noise_px", v): {"joint": [planted(a, seed + s, people=4, clips=5) for s in range(runs)]}
             for v, a in ((0.3, accuracy), (4.0, 1 - accuracy))}  # fmt: skip
    table = curves.robustness_table(cells, TRAINED)
    for name in curves.METRIC_NAMES:
        assert ((0 <= table[f"{name} low"]) & (table[f"{name} low"] <= table[name])).all()
        assert ((table[name] <= table[f"{name} high"]) & (table[f"{name} high"] <= 1)).all()
    # NaN bounds where everybody's answers turn alike
    change = table[~table["trained"]].dropna(subset="top1 change low")
    assert change["top1 change"].between(change["top1 change low"], change["top1 change high"]).all()
    inside = (change["top1 change low"] <= 0) & (0 <= change["top1 change high"])
    assert (inside == (change["top1 p"] >= 0.05)).all(), "interval and p say the same"


def test_runs_that_differ_widen_the_interval():
    one = {("noise_px", 0.3): {"joint": [planted(0.6, 1, clips=60)]}}
    several = {("noise_px", 0.3): {"joint": [planted(a, s, clips=60) for s, a in enumerate((0.4, 0.6, 0.8))]}}
    alone, together = (curves.robustness_table(cells, TRAINED).iloc[0] for cells in (one, several))
    assert together["top1 high"] - together["top1 low"] > 2 * (alone["top1 high"] - alone["top1 low"])


def test_trends_are_found_and_steps_against_them_counted():
    trend = curves.trend_table(planted_answers()).set_index("model")
    assert trend.loc["joint", "trend"] == "falls" and trend.loc["joint", "spearman"] == -1
    assert trend.loc["joint", "page_p"] < 1e-4 and trend.loc["joint", "steps_against"] == 0
    assert trend.loc["flat", "trend"] == "flat" and trend.loc["flat", "page_p"] == 1
    bent = curves.trend_table(planted_answers(((0.0, 0.9), (0.3, 0.5), (4.0, 0.8), (16.0, 0.3)))).set_index("model")
    assert bent.loc["joint", "trend"] == "falls" and bent.loc["joint", "steps_against"] == 1


def test_people_of_different_simulations_are_different_people():
    pooled = {where: {"LDA": models["joint"]} for where, models in planted_answers().items()}
    table = curves.matched_table(pooled, TRAINED)
    assert set(table["people"]) == {16} and set(table["runs"]) == {2}
    assert curves.trend_table(pooled, pool=True)["people"].to_list() == [16]


@given(st.integers(0, 1000))
def test_the_auc_is_scikit_learns_with_an_interval_around_it(seed):
    rng = np.random.default_rng(seed)
    won, people = np.tile([True, False], 9), np.repeat([f"s{i}" for i in range(9)], 2)
    scores = np.round(rng.normal(0, 1, 18) + won, 1)
    found = curves.auc_over_people(scores, won, people)
    assert found.auc == pytest.approx(roc_auc_score(won, scores)) and found.low <= found.auc <= found.high
    with pytest.raises(ValueError, match="won and lost"):
        curves.auc_over_people(scores, np.ones(18, bool), people)


def test_tables_are_written_for_people_and_for_programs(tmp_path):
    table = curves.robustness_table(planted_answers(), TRAINED)
    sources = {"title": "Curves", "source": SOURCE, "data_fingerprint": "f", "run_ids": []}
    curves.write_table(table, "table_curves", sources, folder=tmp_path)
    text = (tmp_path / "table_curves.md").read_text(encoding="utf-8")
    assert "0.3 px (trained)" in text and SOURCE in text and "Percent" in text and len(text.splitlines()) == 2 + 2 + 4
    back = pd.read_csv(tmp_path / "table_curves.csv")
    pd.testing.assert_frame_equal(back, table, check_exact=False)


# -- figures ---------------------------------------------------------------------------------------------------------


def words_of(fig) -> str:
    from matplotlib.text import Text

    return " | ".join(t.get_text() for t in fig.findobj(Text) if t.get_text())


def drawn():
    table = curves.robustness_table(planted_answers(), TRAINED)
    columns = ["emotion_effect", "auc", "low", "high", "chance_low", "chance_high"]
    rows = [(0, 0.5, 0.4, 0.6, 0.41, 0.6), (1, 0.8, 0.7, 0.9, 0.4, 0.59), (2, 0.95, 0.9, 1.0, 0.4, 0.6)]
    emotion = pd.DataFrame(rows, columns=columns)
    network = table[table["trained"]].drop_duplicates("model")
    return {
        "robustness": figures.draw_robustness(table, SOURCE, 0.4),
        "difficulty": figures.draw_difficulty(table, emotion, SOURCE, network, 0.4),
    }


def test_figures_say_what_they_show_and_are_the_same_bytes_twice(tmp_path):
    for number in (1, 2):
        for name, fig in drawn().items():
            figures.save_figure(fig, name, tmp_path / str(number), {"source": SOURCE, "commit": "c"})
            for word in ("noise", "px", "joint", "trained value", "commonest class", "trained: 0.3", SOURCE):
                assert word in words_of(fig), (name, word)
    for path in sorted((tmp_path / "1").iterdir()):
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes(), path.name


def test_a_panel_shows_values_bands_and_the_trained_value():
    from matplotlib.collections import PolyCollection

    table = curves.robustness_table(planted_answers(), TRAINED)
    [ax] = [ax for ax in figures.draw_robustness(table, SOURCE, 0.4).axes if ax.get_visible()]
    lines = {tuple(np.atleast_1d(line.get_xdata())): line for line in ax.lines if line.get_marker() == "o"}
    [line] = lines.values()
    mine = table[table["model"] == "joint"]
    assert np.allclose(line.get_xydata(), mine[["value", "top1"]]) and len(ax.findobj(PolyCollection)) == 2
    assert any(list(line.get_xdata()) == [0.3, 0.3] for line in ax.lines), "the trained value is marked"
    with pytest.raises(ValueError, match="no knob to draw"):
        figures.draw_robustness(table.iloc[:0], SOURCE)
