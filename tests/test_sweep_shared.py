"""Grids under fire: kills at random moments, several commands on one folder, a Dask cluster; every cell is done exactly once."""

import json
import os
import random
import re
import signal
import time
from contextlib import suppress

import pytest
from projects import ROOT, is_running, start, wait_for, write_notebook

from migstudy.runs import folder as runs
from migstudy.runs.state import attempts

pytestmark = pytest.mark.slow

# a cell that takes its time, goes on where it was, and leaves a result of its parameters; no import of the package, so that
# nobody's edit of its sources makes it another run
CELL = """
import hashlib, json, os, pathlib, time
place = pathlib.Path(f"cell_{kind}_{seed}.json")
steps = json.loads(place.read_text()) if place.exists() else []
while len(steps) < 5:
    time.sleep(0.2)
    steps.append(hashlib.sha256(f"{kind} {seed} {steps}".encode()).hexdigest())
    aside = pathlib.Path(f".{place.name}.{os.getpid()}")
    aside.write_text(json.dumps(steps))
    os.replace(aside, place)
"""
SEEDS = 6
GRID = "notebook: 90_cell\naxes: {kind: [a, b, c, d]}\nseeds: SEEDS\n"


def make(folder, seeds: int):
    folder.mkdir()
    write_notebook(folder, "90_cell", CELL, "print(steps[-1])", parameters="kind: str = 'a'\nseed: int = 0")
    (folder / "grid.yaml").write_text(GRID.replace("SEEDS", str(seeds)))
    return folder


def sweep(project, *words):
    return start(project, "-m", "migstudy", "sweep", "grid.yaml", "--workers", "2", *words)


def results(project) -> dict:
    """(kind, seed) -> what the cell's notebook printed; each finished run once."""
    found = {}
    for run in (runs.Run(marker.parent) for marker in sorted(project.glob("runs/*/DONE"))):
        params = run.read_json("params.json")["params"]
        cells = json.loads(run.path("run.ipynb").read_text())["cells"]
        assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
        key = params["kind"], params["seed"]
        assert key not in found
        found[key] = "".join("".join(o.get("text", "")) for cell in cells for o in cell["outputs"])
    return found


def expected(seeds: int) -> dict:
    import hashlib

    found = {}
    for kind in "abcd":
        for seed in range(seeds):
            steps = []
            for _ in range(5):
                steps.append(hashlib.sha256(f"{kind} {seed} {steps}".encode()).hexdigest())
            found[kind, seed] = steps[-1] + "\n"
    return found


def check_whole(project, seeds: int) -> list[list[str]]:
    """Every cell done exactly once, nothing half-written; returns how each run's attempts ended."""
    assert results(project) == expected(seeds)
    assert [p for p in project.rglob("*") if re.search(r"partial|^claim|^FAILED$|^failed\.ipynb$", p.name)] == []
    ends = [[one["end"] for one in attempts(runs.Run(folder))] for folder in project.glob("runs/*")]
    assert len(ends) == 4 * seeds and all(one[-1] == "done" and one.count("done") == 1 for one in ends)
    return ends


def holders(project) -> list[int]:
    """Processes that hold a cell and live."""
    pids = []
    for path in project.glob("runs/*/claim*"):
        with suppress(OSError, ValueError, KeyError):
            pids.append(json.loads(path.read_text())["pid"])
    return [pid for pid in pids if is_running(pid)]


def kill_a_holder(project, process, draw) -> None:
    """SIGKILL to a cell that works, at a moment nobody chose."""
    time.sleep(draw.uniform(0, 3))
    wait_for(lambda: holders(project), process)
    with suppress(ProcessLookupError):
        os.kill(holders(project)[0], signal.SIGKILL)


def test_kills_of_workers_and_of_the_parent_lose_nothing_and_repeat_nothing(tmp_path):
    """24 cells on 2 workers; workers are killed, then the parent and one of its cells; the same command again."""
    project, draw = make(tmp_path / "project", SEEDS), random.Random(0)
    process = sweep(project)
    try:
        wait_for(lambda: len(list(project.glob("runs/*/DONE"))) >= 2, process, 400)
        for _ in range(2):
            kill_a_holder(project, process, draw)
        wait_for(lambda: len(list(project.glob("runs/*/DONE"))) >= SEEDS, process, 400)
        wait_for(lambda: len(holders(project)) == 2, process)
        process.kill()
        process.communicate()
        assert len(list(project.glob("runs/*/DONE"))) < 4 * SEEDS
        kill_a_holder(project, None, draw)  # the other cell of the dead parent goes on by itself
        process = sweep(project)
        said = process.communicate(timeout=900)[1]
        assert process.returncode == 0, said
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    ends = check_whole(project, SEEDS)
    assert sum(one.count("killed") for one in ends) >= 1
    again = sweep(project)
    assert f"{4 * SEEDS} of {4 * SEEDS} cells are done (0 run by this command)" in again.communicate(timeout=200)[0]
    assert again.returncode == 0


def test_two_commands_on_one_folder_share_a_grid(tmp_path):
    project = make(tmp_path / "project", 2)
    both = [sweep(project, "--workers", "1") for _ in range(2)]
    said = [process.communicate(timeout=600) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert all(one == ["done"] for one in check_whole(project, 2)), "no cell was started twice"
    shares = [int(out.split("(")[1].split()[0]) for out, _ in said]
    assert sum(shares) == 8 and min(shares) >= 1, said


def test_a_dask_cluster_runs_a_grid(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    project = make(tmp_path / "project", 2)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(project)
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path)) as cluster:
        process = sweep(project, "--backend", "dask", "--scheduler", cluster.scheduler_address)
        said = process.communicate(timeout=600)
        assert process.returncode == 0, said
        assert "8 of 8 cells are done (8 run by this command)" in said[0]
        assert all(one == ["done"] for one in check_whole(project, 2))


def test_a_stopped_dask_grid_ends_its_cells(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    project = make(tmp_path / "project", 2)
    write_notebook(project, "90_cell", "import time; time.sleep(600)", parameters="kind: str = 'a'\nseed: int = 0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(project)
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path)) as cluster:
        process = sweep(project, "--backend", "dask", "--scheduler", cluster.scheduler_address)
        wait_for(lambda: len(list(project.glob("runs/*/params.json"))) == 2, process, 200)
        pids = [json.loads(path.read_text())["pid"] for path in project.glob("runs/*/claim")]
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=200)[1]
        assert process.returncode == 130 and "stopped with 0 of 8 cells done" in said and "Traceback" not in said
        assert len(pids) == 2 and not any(map(is_running, pids)) and os.getpid() not in pids
    assert not list(project.glob("runs/*/claim*"))


def test_a_second_command_on_a_run_is_refused_and_names_the_first(tmp_path):
    project = make(tmp_path / "project", 1)
    write_notebook(project, "90_cell", "import time; time.sleep(600)", parameters="kind: str = 'a'\nseed: int = 0")
    first = start(project, "-m", "migstudy", "run", "90", "--quiet")
    wait_for(lambda: list(project.glob("runs/*/params.json")), first)
    try:
        second = start(project, "-m", "migstudy", "run", "90", "--quiet")
        said = second.communicate(timeout=100)[1]
        assert second.returncode == 75 and f"is being worked on by {os.uname().nodename}, process {first.pid}" in said
        assert len(said.strip().splitlines()) == 1
        first.send_signal(signal.SIGINT)
        said = first.communicate(timeout=100)[1]
        assert first.returncode == 130 and "90_cell.ipynb was stopped" in said and "Go on with: migstudy run 90_cell" in said
        assert "Traceback" not in said and not list(project.glob("runs/*/claim*"))
    finally:
        with suppress(ProcessLookupError):
            first.kill()
