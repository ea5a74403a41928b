"""Grids of runs: one failure stops nothing, finished cells are skipped, an end means an end for all."""

import json
import os
import re
import signal
import threading

import psutil
import pytest
from projects import ROOT, is_running, start, wait_for, words, write_notebook, write_training_notebook
from toy import save_toy
from typer.testing import CliRunner

from migstudy.cli import app
from migstudy.runs import folder as runs
from migstudy.runs.state import attempts, state_of
from migstudy.sweep import engines as sweep_engines
from migstudy.sweep.cells import run_cells, run_jobs
from migstudy.sweep.engines import Job, Local, Outcome
from migstudy.sweep.estimate import Estimate, duration

WORK = """import pathlib
with pathlib.Path(f"ran_{n}").open("a") as stream:
    stream.write("x")
assert n != 2 or pathlib.Path("ok").exists(), "two is bad"
"""
SLEEP = "import os, pathlib, time\npathlib.Path(f'pid_{n}').write_text(str(os.getpid()))\ntime.sleep(600)"


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_ROOT", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # kernels run this checkout
    return tmp_path


def sweep(*words):
    return CliRunner().invoke(app, ["sweep", *map(str, words)])


def test_a_failing_cell_stops_nothing_is_reported_and_tried_again_only_when_asked(project):
    """One grid through its whole life: a failure, a resumed command, a changed notebook."""
    notebook = write_notebook(project, "90_work", WORK)
    grid = project / "grid.yaml"
    grid.write_text("notebook: 90_work\ntitle: Three\naxes: {n: [1, 2, 3]}")
    ran = lambda: "".join((project / f"ran_{n}").read_text() for n in (1, 2, 3) if (project / f"ran_{n}").exists())  # noqa: E731

    shown = sweep(grid, "--dry-run")
    assert shown.exit_code == 0 and len(re.findall(r"^missing +n=\d", shown.output, re.M)) == 3, shown.output
    assert "3 to run; how long cannot be told" in shown.output and not (project / "runs").exists()

    first = sweep(grid, "--workers", 2)
    assert first.exit_code == 1 and "2 of 3 cells are done (2 run by this command)" in first.output
    assert "FAILED n=2\n90_work.ipynb failed in cell 3: AssertionError: two is bad" in first.output and ran() == "xxx"
    assert "Three: 3 cells, 0 done before" in first.output
    assert re.search(r"^\d\d:\d\d:\d\d failed: n=2: 90_work", first.output, re.M)
    shown = sweep(grid, "--dry-run").output
    assert len(re.findall("^done", shown, re.M)) == 2 and re.search("^failed +n=2", shown, re.M) and "nothing is left" in shown

    (project / "ok").touch()
    again = sweep(grid, "--workers", 2, "--resume")
    assert again.exit_code == 1 and ran() == "xxx" and "failed before; --retry-failed tries again" in again.output
    mended = sweep(grid, "--workers", 2, "--retry-failed")
    assert mended.exit_code == 0 and ran() == "xxxx" and "3 of 3 cells are done (1 run by this command)" in mended.output

    before = {run.id for run in runs.finished_runs()}
    content = json.loads(notebook.read_text())
    content["cells"][1]["source"] += "\nprint('changed')"
    notebook.write_text(json.dumps(content))
    refused = sweep(grid)
    assert refused.exit_code == 2 and ran() == "xxxx" and len(refused.output.strip().splitlines()) == 1
    assert "3 of 3 cells were finished by another version of the notebook or the code (first: n=1)" in refused.output
    used = sweep(grid, "--older", "use")
    assert used.exit_code == 0 and "3 left as another version made them" in used.output
    assert {run.id for run in runs.finished_runs()} == before, "nothing is lost"


def test_bad_cells_given_by_hand_fail_alone(project):
    write_notebook(project, "90_work", WORK)
    [(cell, said)] = run_cells("90_work", [{"m": "4"}, {"n": "1"}], workers=2)
    assert cell == {"m": "4"} and "there is no parameter 'm'" in said and len(runs.finished_runs()) == 1


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

    hurt, seed = finished[0], str(finished[0].read_json("params.json")["params"]["seed"])
    hurt.path("metrics.json").write_text('{"test_top1": ')  # a disk that lost its end
    told = f"{hurt.path('metrics.json')} cannot be read"
    [(failed, said)] = run_cells("03", [{**cell, "seed": s} for s in "01"], workers=2)
    assert failed["seed"] == seed and said.startswith(told) and f"delete {hurt.folder} and run again" in said
    alone = CliRunner().invoke(app, ["run", "03", "--quiet", *words({**cell, "seed": seed})])
    assert alone.exit_code == 2 and told in alone.output and len(alone.output.strip().splitlines()) == 1
    assert hurt.done and hurt.path("metrics.json").read_text() == '{"test_top1": ', "nothing is lost"


def test_an_unknown_notebook_is_refused_at_once(project):
    with pytest.raises(ValueError, match="no single notebook '99'"):
        run_cells("99", [{"n": "1"}])
    write_notebook(project, "90_none")
    assert run_cells("90_none", []) == []


@pytest.mark.parametrize(("words", "message"), [
    (("grid", "--backend", "slurm"), "--backend slurm: it takes local, joblib, dask"),
    (("grid", "--older", "never"), "--older never: it takes refuse, again, use"),
    (("grid", "--backend", "dask"), "--backend dask and --scheduler ADDRESS go together"),
    (("grid", "--scheduler", "tcp://x:1"), "go together"),
    (("nothing",), "no grid 'nothing'"),
    (("grid", "-p", "m=1"), "-p: 90_none has no parameter 'm'; known: n"),
])  # fmt: skip
def test_nonsense_is_refused_in_one_line(project, words, message):
    write_notebook(project, "90_none")
    (project / "grids").mkdir()
    (project / "grids" / "grid.yaml").write_text("notebook: 90_none\naxes: {}")
    result = sweep(*words)
    assert result.exit_code == 2 and message in result.output and len(result.output.strip().splitlines()) == 1
    assert not (project / "runs").exists()


@pytest.mark.parametrize("name", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.slow)])
def test_an_end_ends_the_cells_and_their_kernels(project, name):
    write_notebook(project, "90_sleep", SLEEP)
    grid = project / "grid.yaml"
    grid.write_text("notebook: 90_sleep\naxes: {n: [0, 1, 2, 3, 4, 5]}")
    process = start(project, "-m", "migstudy", "sweep", str(grid), "--workers", "2")
    kernels = [project / "pid_0", project / "pid_1"]
    wait_for(lambda: all(k.exists() and k.read_text() for k in kernels), process)
    started = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    assert len(started) >= 4, "two cells and their kernels"
    try:
        process.send_signal(getattr(signal, name))
        said = process.communicate(timeout=100)[1]
        assert process.returncode == 130 and not any(map(is_running, started)), "it waits until they have ended"
    finally:  # a failing test leaves nobody asleep
        for pid in filter(is_running, [process.pid, *started]):
            os.kill(pid, signal.SIGKILL)
    assert "stopped with 0 of 6 cells done" in said and "Traceback" not in said and "zmq" not in said.lower()
    assert not list(project.glob("runs/*/DONE")) and not (project / "pid_2").exists()
    assert not list(project.glob("runs/*/claim*")) and not list(project.glob("runs/*/.*partial*"))
    assert {state_of(runs.Run(folder)) for folder in project.glob("runs/*")} == {"broken"}


def test_a_terminal_that_was_told_to_close_alone_stays_so(project):
    """Under nohup a closing terminal ends nothing."""
    code = ("import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\nfrom migstudy.runs.interrupts import interruptible\n"
            "with interruptible():\n    import os; os.kill(os.getpid(), signal.SIGHUP); print('still here')")  # fmt: skip
    process = start(project, "-c", code)
    assert process.communicate(timeout=60)[0].strip() == "still here" and process.returncode == 0


def test_handlers_are_as_before_afterwards(project):
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    write_notebook(project, "90_none")
    run_cells("90_none", [])
    assert {n: signal.getsignal(n) for n in before} == before and "MIGSTUDY_COMMAND" not in os.environ


# -- without kernels -------------------------------------------------------------------------------------------------


def job(project, number: int, **more) -> Job:
    return Job(number, f"n={number}", str(project / "notebooks" / "90_none.ipynb"), {"n": str(number)},
               runs.Run(project / "runs" / f"90_none-{number}"), **more)  # fmt: skip


def test_cells_in_other_hands_are_waited_for_and_taken_over_from_the_dead(project, monkeypatch, capsys):
    write_notebook(project, "90_none")
    asked = []

    def others(job: Job, threads, stopped, environment=None) -> Outcome:
        asked.append(job.number)
        if job.number == 1 and asked.count(1) == 1:
            job.run.folder.mkdir(parents=True)
            job.run.path("claim").write_text("{}")  # somebody works on it ...
            os.utime(job.run.path("claim"), (0, 0))  # ... and has died
            return Outcome(job, "elsewhere")
        return Outcome(job, "done", "", 1.0)

    monkeypatch.setattr(sweep_engines, "run_job", others)
    outcomes = run_jobs([job(project, n) for n in range(3)], Local(2), "three")
    assert [outcome.end for outcome in outcomes] == ["done"] * 3 and sorted(asked) == [0, 1, 1, 2]


def test_the_last_line_knows_how_it_ended(project, monkeypatch, capsys):
    write_notebook(project, "90_none")

    def quick(job: Job, threads, stopped, environment=None) -> Outcome:
        job.run.folder.mkdir(parents=True)
        job.run.path("DONE").touch()
        return Outcome(job, "done", "", 0.1)

    monkeypatch.setattr(sweep_engines, "run_job", quick)
    run_jobs([job(project, n) for n in range(3)], Local(1), "three")
    said = capsys.readouterr().err.splitlines()
    assert said[-1].endswith(" 3 done") and sum(" done: n=" in line for line in said) == 3


def test_a_change_of_the_code_stops_the_grid_with_one_message(project, monkeypatch):
    from migstudy.runs.claims import PlanChanged

    write_notebook(project, "90_none")
    asked = []
    monkeypatch.setattr(sweep_engines, "run_job", lambda job, *a: asked.append(job) or Outcome(job, "changed", "code changed"))
    with pytest.raises(PlanChanged, match="code changed"):
        run_jobs([job(project, n) for n in range(9)], Local(1), "nine")
    assert len(asked) == 1


def test_a_cell_that_cannot_start_is_one_failure(project, monkeypatch):
    import errno

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sweep_engines.subprocess, "Popen", full)
    outcome = sweep_engines.run_job(job(project, 1), 1, lambda: False)
    assert outcome.end == "failed" and "could not be started: [Errno 28] No space left" in outcome.said


def test_a_cell_says_which_run_it_must_be(project):
    write_notebook(project, "90_none")
    result = CliRunner().invoke(app, ["run", "90_none", "--cell", "90_none-0123456789ab", "--quiet"])
    assert result.exit_code == 78 and "the grid planned 90_none-0123456789ab: code, notebook or data changed" in result.output
    assert not (project / "runs").exists()


def test_a_broken_folder_fails_alone(project, monkeypatch):
    write_notebook(project, "90_none")
    grid = project / "grid.yaml"
    grid.write_text("notebook: 90_none\naxes: {n: [1, 2]}")
    from migstudy.sweep.cells import plan_grid
    from migstudy.sweep.grid import read_grid

    broken = plan_grid(read_grid(grid))[0].run
    broken.folder.mkdir(parents=True)
    broken.path("params.json").write_text('{"task": "90')
    jobs = plan_grid(read_grid(grid))
    assert jobs[0].run is None and "params.json cannot be read" in jobs[0].problem and "delete" in jobs[0].problem and jobs[1].run
    assert "params.json cannot be read" in sweep(grid, "--dry-run").output
    assert broken.path("params.json").read_text() == '{"task": "90'


def test_estimates_come_from_the_runs_that_are_most_alike(project):
    write_notebook(project, "90_none")
    for n, (seed, seconds) in enumerate([(0, 10), (1, 30), (0, 500)]):
        run = runs.Run(project / "runs" / f"r{n}")
        run.write_json("params.json", {"task": "90_none", "params": {"n": n // 2, "seed": seed, "profile": "quick"}})
        run.write_json("attempts.json", {"attempts": [{"seconds": seconds, "end": "done"}]})
        run.path("DONE").touch()
    estimate = Estimate("90_none")
    assert estimate.seconds({"n": 0, "seed": 7, "profile": "quick"}) == (20, "the same parameters but the seed")
    assert estimate.seconds({"n": 9, "seed": 0, "profile": "quick"})[0] == 30
    assert estimate.seconds({"n": 0, "seed": 0, "profile": "paper"}) == (None, "")
    said = estimate.total([{"n": 0, "seed": s, "profile": "quick"} for s in range(5)], 2)
    assert said.startswith("5 to run, about 60 s at 2 at a time, by the medians of finished runs with the same parameters but")
    assert "nothing is known of 1" in estimate.total([{"n": 0, "profile": "quick"}, {"n": 0, "profile": "paper"}], 1)
    assert [duration(s) for s in (8.4, 99, 120, 5999, 12000)] == ["8 s", "99 s", "2 min", "1 h 40 min", "3 h 20 min"]
    assert attempts(runs.Run(project / "nothing")) == []


def test_several_gpus_are_dealt_out_one_a_cell_and_cores_are_shared(project, monkeypatch):
    seen = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setattr(sweep_engines, "_cores", lambda: 8)
    meet = threading.Barrier(2, timeout=30)

    def note(job, threads, stopped, environment):
        meet.wait()
        seen.append((threads, environment["CUDA_VISIBLE_DEVICES"]))
        meet.wait()
        return Outcome(job, "done")

    monkeypatch.setattr(sweep_engines, "run_job", note)
    list(Local(2).run([job(project, n) for n in range(4)], threading.Event()))
    assert sorted(seen) == [(4, "3"), (4, "3"), (4, "5"), (4, "5")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert sweep_engines._gpus() == []


def test_the_table_fits_a_terminal_and_says_how_long_is_left(project):
    import io

    from rich.console import Console

    from migstudy.runs.claims import Claim
    from migstudy.sweep.progress import Progress

    jobs = [job(project, n) for n in range(60)]
    for one in jobs[:20]:
        one.run.write_json("attempts.json", {"attempts": [{"seconds": 60, "end": "done"}]})
        one.run.path("DONE").touch()
    jobs[20].run.folder.mkdir(parents=True)
    jobs[20].run.path("FAILED").write_text("now\nValueError: no")
    out = io.StringIO()
    with Claim.take(jobs[21].run.folder):
        jobs[21].run.path("log.csv").write_text("epoch,loss\n1,2\n2,1\n")
        with Progress("Sixty", jobs, lambda job: None, console=Console(file=out, width=90)) as progress:
            Console(file=out, width=90).print(progress.table())
    lines = out.getvalue().splitlines()
    assert len(lines) < 32 and max(map(len, lines)) <= 90
    assert "Sixty: 20 done, 1 running, 1 failed, 38 missing; about 39 min left" in out.getvalue()
    assert lines[3].startswith("running") and "n=21" in lines[3] and "epoch" in lines[3] and lines[4].startswith("failed")
    assert "and 36 more" in out.getvalue()
