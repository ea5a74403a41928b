"""A grid of real trainings under fire: cells and the command itself are killed at random moments and started again.

Each cell must be done once, and equal, to the last bit, the same training undisturbed in one process: whatever a kill cut short
goes on from its last epoch with the same random numbers.
"""

import json
import os
import random
import re
import shutil
import signal
import time
from contextlib import suppress

import pandas as pd
import pytest
from projects import ROOT, is_running, start, wait_for

from migstudy.runs.folder import Run
from migstudy.runs.state import attempts
from migstudy.scores import load_scores

pytestmark = pytest.mark.slow  # 7 minutes of processor time, half that on two free cores

EPOCHS, CELLS = 6, 24
GRID = f"""
notebook: 03_train_gesture
base: {{profile: smoke, epochs: {EPOCHS}, threads: 1}}
axes:
  model: [posec3d, stgcn, agcn, ctrgcn]
  sampling: [uniform_interval, zero_pad]
seeds: 3
"""
UNDISTURBED = """
from migstudy.config.gesture import GestureConfig
from migstudy.sweep.grid import read_grid
from migstudy.train import train
for cell in read_grid("grid.yaml").cells:
    train(GestureConfig.from_strings(cell.options))
"""


def python(project, *words):
    """With the project's own copy of the package, so that nobody's edit of the sources makes the cells other runs."""
    return start(project, *words, PYTHONPATH=str(project), MIGSTUDY_CACHE=str(project / "cache"))


def sweep(project):
    return python(project, "-m", "migstudy", "sweep", "grid.yaml", "--workers", "2")


@pytest.fixture
def undisturbed(tmp_path):
    """A project in which every cell of the grid was trained, one after the other, in one process."""
    project = tmp_path / "undisturbed"
    for name in ("migstudy", "notebooks"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    (project / "grid.yaml").write_text(GRID)
    process = python(project, "-c", UNDISTURBED)
    said = process.communicate(timeout=600)[1]
    assert process.returncode == 0, said
    return project


def holders(project) -> dict[int, Run]:
    """Living processes that hold a cell."""
    found = {}
    for path in project.glob("runs/*/claim*"):
        with suppress(OSError, ValueError, KeyError):
            found[json.loads(path.read_text())["pid"]] = Run(path.parent)
    return {pid: run for pid, run in found.items() if is_running(pid)}


def is_training(run: Run) -> bool:
    """Whether an epoch is behind it and the last is not yet."""
    log = run.path("log.csv")
    return run.path("checkpoint.pt").exists() and log.exists() and 2 <= log.read_bytes().count(b"\n") <= EPOCHS


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def kill_in_training(project, process) -> Run:
    """SIGKILL to a cell between two of its epochs; its kernel is left an orphan."""
    found = []
    wait_for(lambda: found.extend((p, r) for p, r in holders(project).items() if is_training(r)) or found, process, 300)
    kill(found[0][0])
    return found[0][1]


def test_trainings_killed_at_random_equal_undisturbed_ones(undisturbed, tmp_path):
    project, draw, cut = tmp_path / "project", random.Random(6), []
    shutil.copytree(undisturbed, project, ignore=lambda folder, names: {"runs"} if folder == str(undisturbed) else ())
    for _ in range(2):
        process = sweep(project)
        try:
            wait_for(lambda: len(holders(project)) == 2, process, 200)
            cut.append(kill_in_training(project, process))
            time.sleep(draw.uniform(0, 8))
            wait_for(lambda: holders(project), process, 200)
            kill(draw.choice(sorted(holders(project))))
            time.sleep(draw.uniform(0, 8))
            wait_for(lambda: len(holders(project)) == 2, process, 200)
        finally:
            kill(process.pid)  # the command itself; its cells go on alone ...
            process.communicate()
        kill(draw.choice(sorted(holders(project))))  # ... or do not
    assert 0 < len(list(project.glob("runs/*/DONE"))) < CELLS, "killed half way"
    process = sweep(project)
    said = process.communicate(timeout=600)
    assert process.returncode == 0 and f"{CELLS} of {CELLS} cells are done" in said[0], said

    finished = {run.id: run for run in map(Run, project.glob("runs/*")) if run.done}
    assert set(finished) == {path.name for path in undisturbed.glob("runs/*")} and len(finished) == CELLS
    ends = {name: [one["end"] for one in attempts(run)] for name, run in finished.items()}
    assert all(one[-1] == "done" and one.count("done") == 1 for one in ends.values()), ends
    assert all("killed" in ends[run.id] for run in cut), "these went on from an epoch"
    for name, run in finished.items():
        alone = Run(undisturbed / "runs" / name)
        epochs = pd.read_csv(run.path("log.csv"))["epoch"].tolist()
        assert epochs == pd.read_csv(alone.path("log.csv"))["epoch"].tolist() and len(set(epochs)) == EPOCHS, "none twice"
        scores = (load_scores(one.path("scores.parquet")) for one in (run, alone))
        pd.testing.assert_frame_equal(*scores, check_exact=True, obj=name)
        assert run.path("model.safetensors").read_bytes() == alone.path("model.safetensors").read_bytes(), name
        assert run.read_json("metrics.json") == alone.read_json("metrics.json"), name
    left = re.compile(r"partial|^claim|^FAILED$|^failed\.ipynb$|^checkpoint")
    places = (project / name for name in ("runs", "cache", "data"))
    assert [path for place in places for path in place.rglob("*") if path.is_file() and left.search(path.name)] == []
