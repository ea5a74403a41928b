"""Grids of runs: one failure stops nothing, finished cells are skipped, an end means an end for all."""

import json
import os
import signal

import psutil
import pytest
from projects import ROOT, is_running, start, wait_for, write_notebook, write_training_notebook
from toy import save_toy

from migstudy import runs
from migstudy.sweep import run_cells

WORK = "import pathlib\nwith pathlib.Path(f'ran_{n}').open('a') as f:\n    f.write('x')\nassert n != 2, 'two is bad'"
SLEEP = "import os, pathlib, time\npathlib.Path(f'pid_{n}').write_text(str(os.getpid()))\ntime.sleep(600)"


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_ROOT", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # kernels run this checkout
    return tmp_path


def test_a_failing_cell_stops_nothing_and_is_reported(project):
    write_notebook(project, "90_work", WORK)
    cells = [{"n": str(n)} for n in (1, 2, 3)] + [{"m": "4"}]
    failed = run_cells("90_work", cells, workers=2)
    said = {json.dumps(cell): text for cell, text in failed}
    assert said.keys() == {'{"n": "2"}', '{"m": "4"}'}
    assert "90_work.ipynb failed in cell 3: AssertionError: two is bad" in said['{"n": "2"}']
    assert "there is no parameter 'm'" in said['{"m": "4"}']
    assert sorted(p.name for p in project.glob("ran_*")) == ["ran_1", "ran_2", "ran_3"]
    assert len(runs.finished_runs()) == 2 and len(list(project.glob("runs/*/failed.ipynb"))) == 1


def test_finished_cells_are_skipped_and_the_rest_done(project):
    write_training_notebook(project)
    data = save_toy(project / "clips", share=((2, 2, 2), (1, 1, 1), (1, 1, 1)))
    cell = {"profile": "smoke", "data": str(data), "topology": "native"}
    assert run_cells("03", [{**cell, "seed": "0"}], workers=1) == []
    assert run_cells("03", [{**cell, "seed": s} for s in "01"], workers=2) == []
    finished = runs.finished_runs(task="03_train_gesture")
    assert len(finished) == 2 and all(run.path("times_run").read_text() == "x" for run in finished)
    threads = {run.read_json("params.json")["params"]["threads"] for run in finished}
    assert 0 not in threads, "each cell is told its share of the cores"
    for run in finished:
        options = run.read_json("params.json")["params"]
        assert f"-p seed={options['seed']}" in run.read_json("env.json")["command"], "the command is the cell's own"


def test_an_unknown_notebook_is_refused_at_once(project):
    with pytest.raises(ValueError, match="no single notebook '99'"):
        run_cells("99", [{"n": "1"}])
    write_notebook(project, "90_none")
    assert run_cells("90_none", []) == []


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_end_ends_the_cells_and_their_kernels(project, name):
    write_notebook(project, "90_sleep", SLEEP)
    code = "from migstudy.sweep import run_cells; run_cells('90_sleep', [{'n': str(n)} for n in range(6)], workers=2)"
    process = start(project, "-c", code)
    kernels = [project / "pid_0", project / "pid_1"]
    wait_for(lambda: all(k.exists() and k.read_text() for k in kernels), process)
    started = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    assert len(started) >= 4, "two cells and their kernels"
    try:
        process.send_signal(getattr(signal, name))
        process.communicate(timeout=60)
        assert process.returncode != 0
        wait_for(lambda: not any(map(is_running, started)), seconds=30)
    finally:  # a failing test leaves nobody asleep
        for pid in filter(is_running, [process.pid, *started]):
            os.kill(pid, signal.SIGKILL)
    assert not list(project.glob("runs/*/DONE")) and not (project / "pid_2").exists()


def test_a_terminal_that_was_told_to_close_alone_stays_so(project):
    """Under nohup a closing terminal ends nothing."""
    code = ("import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\nfrom migstudy.interrupts import interruptible\n"
            "with interruptible():\n    import os; os.kill(os.getpid(), signal.SIGHUP); print('still here')")  # fmt: skip
    process = start(project, "-c", code)
    assert process.communicate(timeout=60)[0].strip() == "still here" and process.returncode == 0


def test_handlers_are_as_before_afterwards(project):
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    write_notebook(project, "90_none")
    run_cells("90_none", [])
    assert {n: signal.getsignal(n) for n in before} == before and "MIGSTUDY_COMMAND" not in os.environ
