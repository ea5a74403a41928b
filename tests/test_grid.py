"""Grids: every mistake is found before anything runs, and named with file, place and nearest name."""

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from projects import ROOT, write_notebook

from migstudy.runs.folder import same_question
from migstudy.sweep.grid import find_grid, read_grid

PARAMETERS = """from typing import Literal
profile: Literal["smoke", "quick"] = "quick"
data: str = "simulator"
loss: Literal["ce", "focal"] = "ce"
weight: float | None = None
precision: Literal["no", "bf16"] = "no"
words: str = "none"
mirror: bool = False
seed: int = 0
run_dir: str = ""
"""
GRIDS = sorted((ROOT / "grids").glob("*.yaml"))


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_ROOT", str(tmp_path))
    write_notebook(tmp_path, "90_train", "1", parameters=PARAMETERS)
    return tmp_path


def write(project, text: str, name: str = "mine"):
    path = project / f"{name}.yaml"
    path.write_text("notebook: 90_train\n" + text)
    return path


def test_axes_are_multiplied_in_the_file_s_order_seeds_outermost(project):
    text = """
base: {weight: 2}
axes:
  loss: [focal, ce]
  words: {"off": {words: none}, "on": {words: glove, mirror: true}}
seeds: 2
"""
    grid = read_grid(write(project, text))
    names = ["loss=focal, words=off", "loss=focal, words=on", "loss=ce, words=off", "loss=ce, words=on"]
    assert list(grid.variants) == names
    assert [cell.name for cell in grid.cells] == [f"{name}, seed {seed}" for seed in (0, 1) for name in names]
    assert grid.cells[1].options == {"weight": "2.0", "loss": "focal", "words": "glove", "mirror": "true", "seed": "0"}
    assert grid.cells[1].params["mirror"] is True and grid.cells[1].params["weight"] == 2.0
    assert grid.options()["loss=ce, words=off"] == {"weight": "2.0", "loss": "ce", "words": "none"}
    assert read_grid(grid.file) == grid


def test_one_axis_of_named_variants_gives_its_names(project):
    grid = read_grid(write(project, "axes: {change: {base: {}, + loss: {loss: focal}}}"))
    assert [cell.name for cell in grid.cells] == ["base, seed 0", "+ loss, seed 0"]  # the notebook's own seed
    assert "seed" not in grid.cells[0].options


def test_excludes_and_includes(project):
    text = """
axes: {loss: [ce, focal], words: {"off": {words: none}, "on": {words: glove}}}
seeds: [3, 5]
exclude: [{loss: focal, words: "on"}, {weight: 7, loss: ce}]
include: [{name: heavy, weight: 7, seeds: 1}, {mirror: true}]
"""
    with pytest.raises(ValueError, match="exclude 2: no cell is like that"):
        read_grid(write(project, text))
    grid = read_grid(write(project, text.replace(", {weight: 7, loss: ce}", "")))
    assert list(grid.variants) == ["loss=ce, words=off", "loss=ce, words=on", "loss=focal, words=off", "heavy", "mirror=true"]
    assert grid.seeds["heavy"] == (0,) and grid.seeds["mirror=true"] == (3, 5)
    assert len(grid.cells) == 9 and grid.cells[0].name == "heavy, seed 0"


def test_the_command_line_changes_the_base_alone(project):
    path = write(project, "base: {profile: quick}\naxes: {loss: [ce, focal]}\ninclude: [{mirror: true}]")
    assert {cell.params["profile"] for cell in read_grid(path, {"profile": "smoke", "weight": "1e-3"}).cells} == {"smoke"}
    for options, message in [({"loss": "ce"}, "-p: the grid itself varies 'loss'"), ({"mirror": "true"}, "varies 'mirror'"),
                             ({"los": "ce"}, "no parameter 'los'; did you mean 'loss'")]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            read_grid(path, options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("axes: {los: [ce]}", "axis los: 90_train has no parameter 'los'; did you mean 'loss'?"),
        ("axes: {loss: [ce, facal]}", "axis loss: loss='facal': it takes one of ce, focal"),
        ("axes: {weight: [heavy]}", "axis weight: weight='heavy': it takes float or None"),
        ("axes: {weight: [[1]]}", "axis weight: weight=.* it takes float or None"),
        ("axes: {mirror: [maybe]}", "mirror='maybe': it takes bool"),
        ("axes: {precision: [no]}", "precision=False: .* put them in quotes"),
        ("axes: {change: {a: {wieght: 1}}}", "axis change, a: .* no parameter 'wieght'; did you mean 'weight'"),
        ("axes: {loss: [ce, ce]}", "axis loss: a value stands twice"),
        ("axes: {loss: []}", "axis loss: give a list of values"),
        ("axes: {loss: ce}", "axis loss: give a list of values"),
        ("axes: {loss: [ce], other: {a: {loss: focal}}}", "axis other: another axis sets 'loss' too"),
        ("axes: {loss: [ce]}\ninclude: [{name: again, loss: ce}]", "'loss=ce, seed 0' and 'again, seed 0' are the same run"),
        ("axes: {words: {off: {words: x}}}", "axis words: give names and values; YAML reads no, off"),
        ("axes: {loss: [ce]}\ninclude: [{name: 'loss=ce', mirror: true}]", "include 1: there is a variant 'loss=ce' already"),
        ("axes: {weight: [null, 1]}\ninclude: [{weight: 1.0, words: none}]", "are the same run"),
        ("base: {run_dir: here}", "base: run_dir is each run's own"),
        ("axes: {seed: [1, 2]}", "axis seed: give seeds in `seeds`"),
        ("seeds: [1, 1]", "seeds: a seed stands twice"),
        ("seeds: [-1]", "give how many seeds"),
        ("seeds: true", "give how many seeds"),
        ("axis: {loss: [ce]}", "there is no key 'axis'; did you mean 'axes'"),
        ("axes: {loss: [ce]}\nexclude: [{los: ce}]", "exclude 1: .* did you mean 'loss'"),
        ("axes: {w: {a: {words: x}}}\nexclude: [{w: b}]", "exclude 1: axis 'w' has no 'b'; known: a"),
        ("axes: {loss: [ce]}\nexclude: [{}]", "exclude 1: it is empty"),
        ("axes: {loss: [ce]}\nexclude: [{loss: ce}]", "it has no cells"),
        ("base: {weight: 1}\nbase: {weight: 2}", "line 3: 'base' stands twice"),
        ("base: {weight: 1, weight: 2}", "line 2: 'weight' stands twice"),
        ("axes: {loss: [ce", "line 2"),
        ("include: {loss: ce}", "include: give a list"),
        ("base: [1]", "base: give names and values"),
        ("notebook: 99", "stands twice"),
    ],
)
def test_mistakes_are_named_with_file_and_place(project, text, message):
    path = write(project, text)
    with pytest.raises(ValueError, match=message) as error:
        read_grid(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
    assert not (project / "runs").exists()


def test_a_grid_without_axes_is_one_run(project):
    assert [cell.name for cell in read_grid(write(project, "seeds: [4]")).cells] == ["base, seed 4"]
    write_notebook(project, "91_plain", "1", parameters="n: int = 1")
    path = project / "plain.yaml"
    path.write_text("notebook: 91_plain\naxes: {n: [1, 2]}")
    assert [cell.name for cell in read_grid(path).cells] == ["n=1", "n=2"]
    path.write_text("notebook: 91_plain\nseeds: 2")
    with pytest.raises(ValueError, match="seeds: 91_plain has no parameter 'seed'"):
        read_grid(path)
    path.write_text("notebook: 99_nothing")
    with pytest.raises(ValueError, match="plain.yaml: no single notebook '99_nothing'; there are: 90_train, 91_plain"):
        read_grid(path)


@given(
    st.lists(st.sampled_from(["ce", "focal"]), min_size=1, unique=True),
    st.lists(st.floats(0, 9), min_size=1, max_size=3, unique=True),
    st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
)
def test_every_cell_is_another_question_and_keeps_its_values(tmp_path_factory, losses, weights, seeds):
    project = tmp_path_factory.mktemp("p")
    write_notebook(project, "90_train", "1", parameters=PARAMETERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIGSTUDY_ROOT", str(project))
        path = write(project, yaml.safe_dump({"axes": {"loss": losses, "weight": weights}, "seeds": seeds}))
        cells = read_grid(path).cells
    assert len({same_question(cell.params) for cell in cells}) == len(cells) == len(losses) * len(weights) * len(seeds)
    assert {(c.params["loss"], c.params["weight"], c.params["seed"]) for c in cells} == {
        (loss, weight, seed) for loss in losses for weight in weights for seed in seeds
    }  # fmt: skip


# -- what ships ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_shipped_grids_fit_their_notebooks(path, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_ROOT", str(ROOT))
    grid = read_grid(path)
    assert find_grid(path.stem) == path and len(grid.cells) >= 2 and grid.title != path.stem
    assert all(cell.params["profile"] == "quick" for cell in grid.cells)
    assert all(len(grid.seeds[name]) >= 3 for name in grid.variants if "shuffled" not in name), "one seed tells nothing"
    assert read_grid(path, {"profile": "paper"}).cells[0].params["profile"] == "paper"


def test_paper_a_s_grid_is_the_study_s(monkeypatch):
    from migstudy.study import cells

    monkeypatch.setenv("MIGSTUDY_ROOT", str(ROOT))
    grid = read_grid("paper_a")
    from migstudy.config.gesture import GestureConfig

    study = {same_question(GestureConfig.from_strings(cell).resolved().to_dict()) for cell in cells("quick")}
    assert {same_question(cell.params) for cell in grid.cells} == study


@pytest.mark.parametrize(("grid", "options", "folder", "extras"), [
    ("paper_a", {}, "quick", ()), ("emotion", {}, "quick_emotion_2", ("faces", "rgb")),
    ("sampling", {"model": "mvit", "stream": "rgb", "topology": "native"}, "quick", ("rgb",)), ("fusion", {}, "quick", ("rgb",)),
    ("fusion", {"video_model": "mvit", "fusion": "single_modality", "modality": "bone"}, "quick", ()),
])  # fmt: skip
def test_a_look_at_a_grid_simulates_nothing(project, monkeypatch, grid, options, folder, extras):
    """Planning opens the data, which would make them, films and all."""
    from migstudy.sweep import command

    for name in ("03_train_gesture", "04_fusion", "05_train_emotion"):
        (project / "notebooks" / f"{name}.ipynb").write_bytes((ROOT / "notebooks" / f"{name}.ipynb").read_bytes())
    asked = yaml.safe_load((ROOT / "grids" / f"{grid}.yaml").read_text())
    asked["include"] = []
    if options:
        asked |= {"axes": {}, "base": {"profile": "quick", **options}}
    path = project / f"{grid}.yaml"
    path.write_text(yaml.safe_dump(asked))
    planned = []
    monkeypatch.setattr(command, "plan_grid", lambda *a: planned.append(a) or [])
    marker = project / "data" / "simulated" / folder / "simulation.json"
    marker.parent.mkdir(parents=True)
    looks = [None, [], ["truth", *extras[:-1]], ["truth", *extras]]
    for made in looks:
        if made is not None:
            marker.write_text(json.dumps({"extras": made}))
        before = len(planned)
        assert command.sweep_grid(str(path), {}, dry_run=True) == 0
        assert (len(planned) > before) == (made is not None and set(extras) <= set(made))


def test_the_win_or_lose_grid_shares_its_cells_with_the_study(monkeypatch):
    from migstudy.config.emotion import EmotionConfig
    from migstudy.emotion.report import emotion_cells

    monkeypatch.setenv("MIGSTUDY_ROOT", str(ROOT))
    study = {same_question(EmotionConfig.from_strings(cell).resolved().to_dict()) for cell in emotion_cells("quick", (2.0,))}
    assert study <= {same_question(cell.params) for cell in read_grid("emotion").cells}


def test_the_fusion_grid_holds_every_cell_of_the_study(monkeypatch):
    """Rows of notebook 07 that `migstudy sweep fusion` leaves missing would be missing for ever."""
    from migstudy.config.fusion import FusionConfig
    from migstudy.fusion.study import fusion_cells
    from migstudy.study import VIDEO_MODEL

    monkeypatch.setenv("MIGSTUDY_ROOT", str(ROOT))
    cells = fusion_cells("quick", video=VIDEO_MODEL)
    study = {same_question(FusionConfig.from_strings(cell).resolved().to_dict()) for cell in cells}
    assert len(study) == 27 and study <= {same_question(cell.params) for cell in read_grid("fusion").cells}


def test_grids_are_found_by_name(monkeypatch):
    monkeypatch.setenv("MIGSTUDY_ROOT", str(ROOT))
    with pytest.raises(ValueError, match="no grid 'topologie'; did you mean 'topologies'"):
        find_grid("topologie")
