"""Run folders: the same question finds its answer, another question never does, and DONE comes last."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migstudy import paths
from migstudy.config.gesture import PROFILES, GestureConfig
from migstudy.runs import folder as runs
from migstudy.runs.code_version import code_version
from migstudy.runs.folder import Run, finished_runs, open_run, run_id, run_of, same_question

PARAMS = GestureConfig(profile="smoke").resolved().to_dict()
TASK = "03_train_gesture"
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_ROOT", str(tmp_path))
    monkeypatch.delenv(runs.RUNNER, raising=False)
    return tmp_path


def write_notebook(project: Path, *sources: str, name: str = TASK, **extra) -> Path:
    folder = project / "notebooks"
    folder.mkdir(exist_ok=True)
    cells = [{"cell_type": "code", "source": s.splitlines(True), "metadata": {}, "outputs": [], **extra} for s in sources]
    (folder / f"{name}.ipynb").write_text(json.dumps({"cells": cells}))
    return folder / f"{name}.ipynb"


# -- identity --------------------------------------------------------------------------------------------------------


def test_the_id_is_stable_and_readable(project):
    first = run_id(TASK, PARAMS, "f")
    assert first == run_id(TASK, dict(reversed(PARAMS.items())), "f")
    assert first.startswith(f"{TASK}-") and len(first) == len(TASK) + 13
    code = f"from migstudy.runs.folder import run_id; import json; print(run_id({TASK!r}, json.loads({json.dumps(PARAMS)!r}), 'f'))"
    elsewhere = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert elsewhere.stdout.strip() == first, elsewhere.stderr


@pytest.mark.parametrize("name", PARAMS)
def test_the_id_hears_every_parameter_but_where_and_how_fast(name):
    value = PARAMS[name]
    other = (not value) if isinstance(value, bool) else value + 1 if isinstance(value, (int, float)) else f"{value}_"
    changed = {**PARAMS, name: other}
    same = name in ("run_dir", "workers", "threads")
    assert (run_id(TASK, changed, "f") == run_id(TASK, PARAMS, "f")) == same
    assert (same_question(changed) == same_question(PARAMS)) == same


def test_the_id_hears_data_task_and_notebook(project):
    ids = {run_id(TASK, PARAMS, "f"), run_id(TASK, PARAMS, "g"), run_id("05_train_emotion", PARAMS, "f")}
    path = write_notebook(project, "seed: int = 0", "train()")
    ids.add(with_notebook := run_id(TASK, PARAMS, "f"))
    write_notebook(project, "seed: int = 0", "train(twice=True)")
    ids.add(run_id(TASK, PARAMS, "f"))
    assert len(ids) == 5
    write_notebook(project, "seed: int = 0", "train()", execution_count=7, outputs=[{"text": "seen"}])
    assert run_id(TASK, PARAMS, "f") == with_notebook, "outputs are no part of the question"
    path.unlink()


@given(st.dictionaries(st.sampled_from(list(PARAMS)), st.integers(0, 9), max_size=4), st.integers(0, 3))
def test_equal_ids_mean_equal_questions(changes, seed):
    a, b = {**PARAMS, **changes}, {**PARAMS, "seed": seed}
    assert (same_question(a) == same_question(b)) == (run_id(TASK, a, "f") == run_id(TASK, b, "f"))


def test_profiles_are_different_questions():
    assert len({same_question(GestureConfig(profile=p).resolved().to_dict()) for p in PROFILES}) == len(PROFILES)


# -- folders ---------------------------------------------------------------------------------------------------------


def test_a_new_run_says_what_was_asked_and_on_what_machine(project):
    run = open_run(TASK, {**PARAMS, "run_dir": ""}, "f")
    assert run.folder == project / "runs" / run_id(TASK, PARAMS, "f") and not run.done
    kept, env = run.read_json("params.json"), run.read_json("env.json")
    assert kept["task"] == TASK and kept["data_fingerprint"] == "f" and "run_dir" not in kept["params"]
    assert GestureConfig(**kept["params"]).to_dict() == PARAMS
    assert {"command", "commit", "code", "python", "packages", "cpu", "cores", "gpus", "started"} <= env.keys()
    assert env["packages"]["torch"] and env["code"] == code_version(TASK)
    run.finish()
    assert run.done and [p for p in run.folder.iterdir() if "partial" in p.name] == []


def test_looking_writes_nothing(project):
    run_of(TASK, PARAMS, "f"), run_of(TASK, PARAMS, "f", "elsewhere")
    assert list(project.iterdir()) == []


def test_opening_again_keeps_what_is_there():
    run = open_run(TASK, PARAMS, "f")
    before = {p.name: p.read_bytes() for p in run.folder.iterdir()}
    again = open_run(TASK, {**PARAMS, "threads": 7, "workers": 3}, "f")
    assert again == run and {p.name: p.read_bytes() for p in run.folder.iterdir()} == before


@pytest.mark.parametrize("look", [open_run, run_of])
def test_a_folder_is_never_shared_by_two_questions(look):
    run = open_run(TASK, PARAMS, "f", "mine")
    run.finish()
    before = {p.name: p.read_bytes() for p in run.folder.iterdir()}
    for task, params, fingerprint in [(TASK, {**PARAMS, "seed": 1}, "f"), (TASK, PARAMS, "g"), ("01_dataset", PARAMS, "f")]:
        with pytest.raises(ValueError, match="mine holds a run with other parameters or data; choose another run_dir"):
            look(task, params, fingerprint, "mine")
    assert look(TASK, {**PARAMS, "threads": 5, "run_dir": "mine"}, "f", "mine").done
    assert {p.name: p.read_bytes() for p in run.folder.iterdir()} == before


def test_a_kill_before_the_parameters_are_written_is_no_harm(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_json", lambda self, name, data: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            open_run(TASK, PARAMS, "f")
    assert open_run(TASK, PARAMS, "f").read_json("params.json")["task"] == TASK


def test_the_runner_marks_the_run_itself(monkeypatch):
    run = open_run(TASK, PARAMS, "f")
    monkeypatch.setenv(runs.RUNNER, "1")  # inside the kernel of `migstudy run`
    run.finish()
    assert not run.done


@pytest.mark.parametrize("content", [b"", b'{"task": "03', b"\xff\xfe\x00", b"[1, 2]", b"null"])
def test_broken_json_is_one_clear_message(content):
    run = open_run(TASK, PARAMS, "f", "broken")
    run.path("params.json").write_bytes(content)
    for read in (lambda: open_run(TASK, PARAMS, "f", "broken"), lambda: run.read_json("params.json")):
        with pytest.raises(ValueError, match=r"params\.json cannot be read .*; delete .*broken and run again") as error:
            read()
        assert "\n" not in str(error.value)
    run.path("params.json").write_text("{}")
    with pytest.raises(ValueError, match="other parameters or data"):
        open_run(TASK, PARAMS, "f", "broken")


def test_missing_json_names_the_file():
    with pytest.raises(ValueError, match=r"metrics\.json cannot be read"):
        open_run(TASK, PARAMS, "f").read_json("metrics.json")


def test_writing_is_whole_or_nothing(monkeypatch):
    run = open_run(TASK, PARAMS, "f")
    run.write_json("metrics.json", {"top1": 0.5})
    with pytest.raises(TypeError):
        run.write_json("metrics.json", {"top1": object()})
    monkeypatch.setattr("os.replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        run.write_json("metrics.json", {"top1": 0.7})
    assert run.read_json("metrics.json") == {"top1": 0.5}
    assert not [p for p in run.folder.iterdir() if "partial" in p.name]


@pytest.mark.parametrize("changed", ["notebooks/01.ipynb", "migstudy/runs/folder.py", "benchmarks/new.py"])
def test_the_commit_says_when_sources_differ_from_it(tmp_path, monkeypatch, changed):
    for name in ("notebooks/01.ipynb", "migstudy/runs/folder.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1")
    me = ("-c", "user.name=x", "-c", "user.email=x@y")
    for words in (("init", "-q"), ("add", "."), (*me, "commit", "-q", "-m", "one")):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(runs, "__file__", str(tmp_path / "migstudy/runs/folder.py"))
    (tmp_path / "notes.txt").write_text("no source")
    clean = runs.git_commit.__wrapped__()
    assert len(clean) == 40
    (tmp_path / changed).parent.mkdir(exist_ok=True)
    (tmp_path / changed).write_text("2")
    assert runs.git_commit.__wrapped__() == f"{clean}+changes"


# -- finding ---------------------------------------------------------------------------------------------------------


def test_finished_runs_are_found_by_task_whatever_their_folder_is_called(project):
    a, b = open_run(TASK, PARAMS, "f"), open_run(TASK, {**PARAMS, "seed": 1}, "f", "runs/my_own_name")
    c, unfinished = open_run("01_dataset", {"profile": "smoke"}, "f"), open_run(TASK, {**PARAMS, "seed": 2}, "f")
    for run in (a, b, c):
        run.finish()
    assert {r.id for r in finished_runs()} == {a.id, b.id, c.id}
    assert {r.id for r in finished_runs(task=TASK)} == {a.id, b.id} and unfinished not in finished_runs()
    assert finished_runs(project / "nowhere") == []


# -- where relative paths lead ---------------------------------------------------------------------------------------


def test_the_root_is_found_from_inside_and_overruled_by_the_environment(tmp_path, monkeypatch):
    (tmp_path / "a/notebooks").mkdir(parents=True), (tmp_path / "a/migstudy/figures").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a/migstudy/figures")
    assert paths.resolve("runs") == tmp_path / "runs"
    monkeypatch.delenv("MIGSTUDY_ROOT")
    assert paths.resolve("runs") == tmp_path / "a/runs"
    monkeypatch.chdir(tmp_path)
    assert paths.resolve("runs") == tmp_path / "runs" and paths.resolve("/x/y") == Path("/x/y")


def test_what_is_written_aside_is_whole_or_gone(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    with pytest.raises(RuntimeError), paths.written_aside(target) as aside:
        aside.write_text("half")
        raise RuntimeError
    assert list(target.parent.iterdir()) == []
    paths.write_text(target, "whole")
    assert [p.name for p in target.parent.iterdir()] == ["file.txt"] and target.read_text() == "whole"
