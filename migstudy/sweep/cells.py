"""Many runs of one notebook: each cell of a grid is a process of its own, several at a time, finished ones skipped.

Any number of these may work on one grid at the same time, on one machine or on several that share the project's folder: what a
cell's state is, and who works on it, stands in its run folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Event
from typing import Protocol

from rich.console import Console

from migstudy.runs.claims import PlanChanged
from migstudy.runs.execute import (
    TRAINED,
    check_parameters,
    completed,
    find_notebook,
    notebook_parameters,
    run_for,
    trained_so_far,
)
from migstudy.runs.folder import DRAWING, finished_runs, same_question
from migstudy.runs.interrupts import Background, interruptible
from migstudy.runs.state import state_of
from migstudy.sweep.engines import Job, Local, Outcome, failure_of
from migstudy.sweep.estimate import Estimate
from migstudy.sweep.grid import Grid
from migstudy.sweep.progress import Progress

_LOOK = 0.3  # s between looks at what the cells do


class Engine(Protocol):
    """What runs jobs, `slots` at a time, and yields what became of each as it ends."""

    slots: int

    def run(self, jobs: Sequence[Job], stop: Event) -> Iterator[Outcome]: ...

    def close(self) -> None: ...


def run_cells(notebook: str, cells: Sequence[Mapping[str, str]], workers: int = 0, title: str = "runs") -> list[tuple[dict, str]]:
    """Run every cell (parameter name -> text) and return those that failed with what they said; one failure stops nothing.

    workers: cells at a time, 0 = one a core; each gets its share of the cores as threads. Cells that failed before are tried
    again. Ctrl-C ends the running cells, which go on from their last epoch when the same grid is started again.
    """
    path = find_notebook(notebook)
    if os.environ.get(DRAWING) and cells:
        asked = " ".join(f"-p {name}={value}" for name, value in cells[0].items())
        raise ValueError(f"drawing trains nothing, and a run is missing; made by: migstudy run {path.stem} {asked}")
    jobs = plan(path, [(", ".join(f"{k}={v}" for k, v in cell.items()), cell) for cell in cells], retry_failed=True)
    outcomes = run_jobs(jobs, Local(workers), title)
    return [(dict(cell), outcome.said) for cell, outcome in zip(cells, outcomes, strict=True) if outcome.end != "done"]


def plan_grid(grid: Grid, retry_failed: bool = False) -> list[Job]:
    """The grid's jobs; what is wrong with one alone, such as a broken file in its folder, is kept with it.

    Raises ValueError when no cell's data can be opened.
    """
    jobs = plan(grid.notebook, [(cell.name, cell.options) for cell in grid.cells], retry_failed)
    if all(job.run is None for job in jobs):
        raise ValueError(f"{grid.file}: {jobs[0].problem}")
    return jobs


def plan(notebook: Path, cells: Sequence[tuple[str, Mapping[str, str]]], retry_failed: bool = False) -> list[Job]:
    """Which run each cell (name, parameters) is; nothing is run."""
    threaded = "threads" in notebook_parameters(notebook)[0]
    so_far = "" if notebook.stem in TRAINED else trained_so_far()
    jobs = []
    for number, (name, options) in enumerate(cells):
        try:
            run, problem = run_for(notebook, check_parameters(notebook, options), so_far), ""
        except (ValueError, KeyError, OSError) as error:
            run, problem = None, str(error.args[0] if isinstance(error, KeyError) else error)
        pardoned = failure_of(run) if run and retry_failed else ""
        jobs.append(Job(number, name, str(notebook), dict(options), run, problem, pardoned, threaded))
    return jobs


def made_by_others(grid: Grid, jobs: Sequence[Job]) -> list[Job]:
    """Unfinished cells that another version of notebook or code has answered, on whatever data."""
    answered = set()
    for run in finished_runs():
        try:
            kept = run.read_json("params.json")
        except ValueError:
            continue
        if kept.get("task") == grid.notebook.stem:
            answered.add(same_question(completed(grid.notebook.stem, kept["params"])))
    unfinished = zip(grid.cells, jobs, strict=True)
    return [job for cell, job in unfinished if job.run and not job.run.done and same_question(cell.params) in answered]


def run_jobs(jobs: Sequence[Job], engine: Engine, title: str, console: Console | None = None) -> list[Outcome]:
    """Run what is not done, show how it goes, and return every job's outcome, in order; waits for cells in other hands.

    Raises KeyboardInterrupt, when every cell started here has ended, saying how many are done; PlanChanged when code, notebook
    or data changed meanwhile.
    """
    ends: dict[int, Outcome] = {}
    stop = Event()
    with interruptible(), Progress(title, jobs, _guesses(jobs), engine.slots, console) as progress:
        try:
            todo = list(jobs)
            while todo:
                for outcome in _round(engine, todo, stop, progress):
                    ends[outcome.job.number] = outcome
                if changed := [outcome.said for outcome in ends.values() if outcome.end == "changed"]:
                    raise PlanChanged(changed[0])
                others = [job for job in todo if ends[job.number].end == "elsewhere"]
                todo = _free(others, progress)
        except KeyboardInterrupt:
            done = sum(bool(job.run and job.run.done) for job in jobs)
            raise KeyboardInterrupt(
                f"stopped with {done} of {len(jobs)} cells done; the same command goes on where it was"
            ) from None
        progress.refresh(now=True)
        progress.say(progress.summary())
    return [ends[job.number] for job in jobs]


def _round(engine: Engine, todo: Sequence[Job], stop: Event, progress: Progress) -> list[Outcome]:
    """Every job once; the engine works in a thread, so that the table moves and Ctrl-C is heard here."""
    answers: list[Outcome] = []
    cells = Background(lambda: answers.extend(progress.noted(outcome) for outcome in engine.run(todo, stop)), "cells")
    try:
        while cells.running:
            cells.wait(_LOOK)
            progress.refresh()
    except BaseException:
        stop.set()
        while cells.running:
            with suppress(KeyboardInterrupt):  # they are ending; left alone they would go on
                cells.wait()
        raise
    cells.result()
    return answers


def _free(jobs: Sequence[Job], progress: Progress) -> list[Job]:
    """Those of the jobs in other hands that no longer are, as soon as there are some."""
    while jobs:
        if free := [job for job in jobs if state_of(job.run) != "running"]:
            return free + [job for job in jobs if job not in free]
        progress.refresh()
        time.sleep(_LOOK)
    return []


def _guesses(jobs: Sequence[Job]) -> Callable[[Job], float | None]:
    """Expected seconds of a job, told once."""
    if not jobs:
        return lambda job: None
    notebook = Path(jobs[0].notebook)
    estimate = Estimate(notebook.stem)

    @cache
    def seconds(number: int) -> float | None:
        try:
            return estimate.seconds(check_parameters(notebook, by_number[number].options))[0]
        except (ValueError, KeyError):  # a job that will fail
            return None

    by_number = {job.number: job for job in jobs}
    return lambda job: seconds(job.number)
