"""Benchmarks start: what they import is there, and they explain themselves; the guard on speed and the figure of costs work."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SHARED = ("record.py", "sides.py", "pyskl_files.py")


@pytest.mark.parametrize("script", sorted(p.name for p in FOLDER.glob("*.py") if p.name not in SHARED))
def test_a_benchmark_starts_and_explains_itself(script):
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), "--help"], capture_output=True, text=True, timeout=120, cwd=FOLDER.parent,
        env={**os.environ, "PYTHONPATH": str(FOLDER.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


@pytest.fixture
def guard(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(FOLDER))
    guard = importlib.import_module("guard")
    monkeypatch.setattr(guard, "BASELINE", tmp_path / "baseline.json")
    return guard


def measuring(monkeypatch, guard, *turns):
    """What the guard finds each time that it measures; the last one from then on."""
    answers = [*turns]

    def measured(names):
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return {name: value for name, value in answer.items() if not names or name in names}

    monkeypatch.setattr(guard, "measured", measured)


def test_the_guard_names_what_became_slower_and_lets_the_rest_pass(monkeypatch, guard, capsys):
    measuring(monkeypatch, guard, {"drawing": 2.0, "step": 0.5})
    assert guard.main(1.4, update=False) == 1  # nothing is kept yet
    assert "--update" in capsys.readouterr().out
    assert guard.main(1.4, update=True) == 0
    assert guard.main(1.4, update=False) == 0
    measuring(monkeypatch, guard, {"drawing": 2.7, "step": 0.8})
    capsys.readouterr()
    assert guard.main(1.4, update=False) == 1
    said = capsys.readouterr().err
    assert "step is 1.60 times what is kept" in said
    assert "drawing is" not in said
    assert guard.main(1.7, update=False) == 0


def test_the_guard_measures_again_before_it_complains(monkeypatch, guard):
    measuring(monkeypatch, guard, {"drawing": 2.0})
    assert guard.main(1.4, update=True) == 0
    measuring(monkeypatch, guard, {"drawing": 4.0}, {"drawing": 2.1})  # a disturbed moment
    assert guard.main(1.4, update=False) == 0


def test_costs_are_drawn_from_their_result(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(FOLDER))
    drawing = importlib.import_module("costs_figure")
    monkeypatch.setattr(drawing, "FOLDER", tmp_path)
    curve = {"value": [1, 2, 4], "least ms": [1.0, 2.0, 4.0], "quartiles ms": [[1, 2, 3]] * 3, "MB": [0.0, 10.0, 100.0]}
    parts: dict[str, dict] = {}
    for part, curves, _ in drawing.PANELS.values():
        parts.setdefault(part, {}).update(dict.fromkeys((name for name in curves if "PYSKL" not in name), curve))
    size = {"joints": 41, "frames": 8, "batch": 1}
    settings = {"threads": 1, "repeats": 3, "drawn": size, "trained": size, "view frames": 8}
    result = tmp_path / "result.json"
    environment = {"cpu": "a CPU", "commit": "abc", "command": "costs.py"}
    result.write_text(json.dumps({"measured": parts, "settings": settings, "environment": environment}))
    drawing.main(str(result))
    assert sorted(p.name for p in tmp_path.glob("costs.*")) == ["costs.json", "costs.pdf", "costs.png"]
    with pytest.raises(SystemExit, match="not there"):
        drawing.main(str(tmp_path / "none.json"))
