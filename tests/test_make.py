"""make.py: when it builds the environment, when it mends it, and when it leaves it alone."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def make(monkeypatch):
    spec = importlib.util.spec_from_file_location("make", ROOT / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "version_info", (3, 12, 1, "final", 0))
    return module


@pytest.fixture
def checkout(make, tmp_path, monkeypatch):
    """An environment whose building blocks write down that they were called; `steps` holds their names."""
    (tmp_path / "requirements.lock").write_text("torch==1\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    environment = make.Environment(tmp_path)
    environment.steps = []

    class Builder:
        def __init__(self, **_): ...

        def create(self, folder):
            environment.steps.append("create")
            environment.bin.mkdir()
            environment.program("python").write_text("")

    monkeypatch.setattr(make.venv, "EnvBuilder", Builder)
    monkeypatch.setattr(environment, "pip", lambda arguments, total: environment.steps.append(arguments[0]))
    return environment


NEW = ["create", "-r", "--no-deps"]


def test_second_call_does_nothing(checkout):
    checkout.ensure()
    assert checkout.steps == NEW
    checkout.ensure()
    assert checkout.steps == NEW and checkout.state() == "ready"


@pytest.mark.parametrize("file", ["requirements.lock", "pyproject.toml"])
def test_changed_inputs_install_on_top(checkout, file):
    checkout.ensure()
    with open(checkout.root / file, "a") as handle:
        handle.write("# more\n")
    checkout.ensure()
    assert checkout.steps == [*NEW, "-r", "--no-deps"]


def test_other_line_endings_change_nothing(checkout):
    checkout.ensure()
    (checkout.root / "requirements.lock").write_bytes(b"torch==1\r\n")
    assert checkout.state() == "ready"


@pytest.mark.parametrize("dies_in", ["create", "-r", "--no-deps", "on top"])
def test_interrupted_install_is_made_anew(checkout, monkeypatch, dies_in):
    if dies_in == "on top":
        checkout.ensure()
        (checkout.root / "requirements.lock").write_text("torch==2\n")
    steps = checkout.steps.copy()

    def pip(arguments, total):
        if dies_in in (arguments[0], "on top"):
            raise KeyboardInterrupt
        checkout.steps.append(arguments[0])

    class Dying:
        def __init__(self, **_): ...

        def create(self, folder):
            checkout.bin.mkdir()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkout, "pip", pip)
        if dies_in == "create":
            patch.setattr("venv.EnvBuilder", Dying)
        with pytest.raises(KeyboardInterrupt):
            checkout.ensure()
    assert checkout.state() == "broken"
    checkout.steps[:] = steps
    checkout.ensure()
    assert checkout.steps == [*steps, *NEW] and checkout.state() == "ready"
    assert not checkout.building.exists()


def test_other_python_or_place_is_made_anew(checkout, make, monkeypatch, tmp_path):
    checkout.ensure()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version_info", (3, 11, 7, "final", 0))
        assert checkout.state() == "broken"
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in (".venv", "requirements.lock", "pyproject.toml"):
        shutil.move(checkout.root / name, moved / name)
    assert make.Environment(moved).state() == "broken"


def test_torn_stamp_is_not_trusted(checkout):
    checkout.ensure()
    checkout.stamp.write_text('{"inputs": "')
    assert checkout.state() == "broken"


def test_foreign_environment_is_kept_when_it_serves(checkout, make, monkeypatch):
    checkout.bin.mkdir(parents=True)
    checkout.program("python").write_text("")
    kept = checkout.folder / "mine.txt"
    kept.write_text("")

    def answer(text, code=0):
        return lambda *_, **__: subprocess.CompletedProcess([], code, stdout=text)

    monkeypatch.setattr(make.subprocess, "run", answer("3.10\n"))
    with pytest.raises(make.MakeError, match="not made by make.py"):
        checkout.ensure()
    monkeypatch.setattr(make.subprocess, "run", answer("3.12\n"))
    checkout.ensure()
    assert checkout.steps == ["-r", "--no-deps"] and kept.exists() and checkout.state() == "ready"


@pytest.mark.parametrize("version", [(3, 10), (3, 13), (2, 7)])
def test_other_pythons_are_refused_with_advice(make, monkeypatch, version):
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    monkeypatch.setattr(sys, "argv", ["make.py", "study"])
    monkeypatch.setattr(make.shutil, "which", lambda name: "/bin/python3.11" if name == "python3.11" else None)
    monkeypatch.setattr(make.subprocess, "call", lambda *_, **__: 0)
    with pytest.raises(make.MakeError, match=r"3\.11 or 3\.12.*(?s:.*)python3\.11 make\.py study"):
        make.check_python()


@pytest.mark.parametrize(("words", "command"), [
    (["study"], ("migstudy", "study", "--profile", "quick")),
    (["study", "--profile", "smoke"], ("migstudy", "study", "--profile", "smoke")),
    (["study", "--profile=smoke", "--seeds", "1"], ("migstudy", "study", "--profile=smoke", "--seeds", "1")),
    (["study", "--seeds", "1"], ("migstudy", "study", "--profile", "quick", "--seeds", "1")),
    (["test", "-k", "heat"], ("python", "-m", "pytest", "-k", "heat")),
    (["figures"], ("migstudy", "figures")),
])  # fmt: skip
def test_tasks_run_in_the_environment(make, monkeypatch, words, command):
    ran = []
    monkeypatch.setattr(make.Environment, "ensure", lambda self: ran.append("ensure"))
    monkeypatch.setattr(make.Environment, "run", lambda self, *words: ran.append(words) or 7)
    assert make.main(words) == 7
    assert ran == ["ensure", command]


def test_unknown_task(make):
    with pytest.raises(make.MakeError, match="there are: study, test"):
        make.main(["stduy"])


def test_children_see_no_other_packages(checkout, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    variables = checkout.variables()
    assert "PYTHONPATH" not in variables and "PIP_TARGET" not in variables
    assert variables["PATH"].startswith(str(checkout.bin)) and variables["PYTHONNOUSERSITE"] == "1"


def test_clean_leaves_data_and_runs(make, tmp_path):
    for name in (".venv/bin/python", "data/release/a.csv", "runs/1/DONE", "figures/a.png", "migstudy/__pycache__/a.pyc",
                 ".pytest_cache/x", "migstudy/a.py", "tests/x.py"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    make.clean(tmp_path, everything=False)
    left = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    kept = {"data/release/a.csv", "runs/1/DONE", "figures/a.png", "migstudy/a.py", "tests/x.py"}
    assert left == kept | {".venv/bin/python"}
    make.clean(tmp_path, everything=True)
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()} == kept


def test_failed_install_shows_its_end_and_the_log(make, tmp_path):
    environment = make.Environment(tmp_path)
    environment.bin.mkdir(parents=True)
    environment.program("python").symlink_to(sys.executable)
    environment.log.write_text("")
    with pytest.raises(make.MakeError, match=r"no-such-file\.lock(?s:.*)Whole log") as error:
        environment.pip(["-r", str(tmp_path / "no-such-file.lock")], 1)
    assert "no-such-file.lock" in environment.log.read_text() and str(environment.log) in str(error.value)
