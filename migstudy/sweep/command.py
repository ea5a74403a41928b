"""`migstudy sweep`: plan a grid, show it, run it, say what became of it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from migstudy import paths
from migstudy.config.emotion import EmotionConfig
from migstudy.config.fusion import VIDEO, FusionConfig
from migstudy.results import EMOTION_TASK
from migstudy.runs.execute import TRAINED
from migstudy.runs.state import STATES, state_of
from migstudy.sweep.cells import Engine, made_by_others, plan_grid, run_jobs
from migstudy.sweep.engines import Dask, Job, Local, Outcome
from migstudy.sweep.estimate import Estimate
from migstudy.sweep.grid import Grid, read_grid
from migstudy.sweep.progress import COLOURS

_PICTURES = {"face": "faces", "context": "rgb"}  # what a model of win or lose is shown -> the simulator's pictures of it


def sweep_grid(
    file: str, overrides: Mapping[str, str], workers: int = 0, scheduler: str = "", dry_run: bool = False,
    retry_failed: bool = False, older: str = "refuse",
) -> int:  # fmt: skip
    """Run a grid, or only show it; returns the exit code: 0 all done, 1 some failed.

    scheduler: a Dask scheduler's address; empty = this machine. older: what to do with cells that another version of notebook
    or code has finished: refuse, again (run them again), use (leave them).
    """
    grid = read_grid(file, overrides)
    if not dry_run or data_is_there(grid):
        jobs = plan_grid(grid, retry_failed)
    else:
        jobs = []
    engine: Engine = Dask(scheduler) if scheduler else Local(workers)
    try:
        others = made_by_others(grid, jobs) if jobs else []
        if dry_run:
            show(grid, jobs, engine.slots, others)
            return 0
        if others and older == "refuse":
            raise ValueError(
                f"{len(others)} of {len(jobs)} cells were finished by another version of the notebook or the code (first:"
                f" {others[0].name}), so that their numbers may not compare. Nothing was started. --older again runs them"
                " again and keeps the old runs; --older use leaves them as they are"
            )
        if older == "use":
            jobs = [job for job in jobs if job not in others]
        outcomes = run_jobs(jobs, engine, grid.title)
    finally:
        engine.close()
    failed = report(outcomes, len(others) if older == "use" else 0)
    if not failed and grid.notebook.stem in TRAINED:
        print("compared by: migstudy run " + ("07" if grid.notebook.stem == EMOTION_TASK else f"06 -p grid={file}"))
    return failed


def data_is_there(grid: Grid) -> bool:
    """False when a cell's data, or films that its model looks at, would have to be simulated first."""
    return all(_is_simulated(*_needed(cell.params)) for cell in grid.cells if cell.params.get("data") == "simulator")


def _needed(params: Mapping[str, Any]) -> tuple[str, set[str]]:
    """The folder in data/simulated that a cell reads, and which pictures of it."""
    if "emotion_effect" in params:
        pictures = {_PICTURES.get(need) for need in EmotionConfig.from_namespace(params).needs} - {None}
        return f"{params['profile']}_emotion_{params['emotion_effect']:g}", pictures
    models = [params.get("model")]
    if "fusion" in params:
        fusion = FusionConfig.from_namespace(params)
        models = [fusion.video_model] * (VIDEO in fusion.modalities)
    seen = "mvit" in models and not params.get("films")
    return str(params.get("profile")), {"rgb"} if seen else set()


def _is_simulated(name: str, pictures: set[str]) -> bool:
    try:
        made = json.loads((paths.resolve("data/simulated") / name / "simulation.json").read_text(encoding="utf-8"))
        return pictures <= set(made["extras"])
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):  # damaged: who opens it says so
        return True


def show(grid: Grid, jobs: Sequence[Job], slots: int, others: Sequence[Job]) -> None:
    """The table of cells with their states, and how long those will take that are not done."""
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    shared = {k: v for k, v in grid.cells[0].options.items() if all(c.options.get(k) == v for c in grid.cells)}
    names = list(dict.fromkeys(k for cell in grid.cells for k in cell.options if k not in shared and k != "seed"))
    console.print(f"{grid.file}: {grid.title}", markup=False)
    console.print(f"{grid.notebook.stem}, every cell with {_words(shared) or 'its defaults'}", markup=False)
    table = Table(box=None, pad_edge=False)
    for column in ("state", "cell", *names, "seed"):
        table.add_column(column, no_wrap=True, overflow="ellipsis", justify="right" if column == "seed" else "left")
    states = [state_of(job.run) if job.run else "failed" for job in jobs] or ["missing"] * len(grid.cells)
    for cell, state in zip(grid.cells, states, strict=True):
        table.add_row(
            Text(state, COLOURS[state]), Text(cell.variant), *(Text(cell.options.get(n, "–")) for n in names),
            cell.options.get("seed", "–"),
        )  # fmt: skip
    console.print(table)
    counts = Counter(states)
    console.print(f"{len(states)} cells: " + ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]))
    for job in jobs:
        if job.problem:
            console.print(f"{job.name}: {job.problem}", markup=False)
    if not jobs:
        console.print("data or films are simulated first; until then every cell counts as missing")
    if others:
        console.print(f"{len(others)} of them were finished by another version of the notebook or the code; see --older")
    left = [cell.params for cell, state in zip(grid.cells, states, strict=True) if state not in ("done", "failed")]
    console.print(Estimate(grid.notebook.stem).total(left, slots), markup=False)


def report(outcomes: Sequence[Outcome], left: int = 0) -> int:
    """Print what became of every cell; returns the exit code."""
    counts = Counter(outcome.end for outcome in outcomes)
    started = sum(outcome.end == "done" and outcome.seconds > 0 for outcome in outcomes)
    kept = f", {left} left as another version made them" if left else ""
    print(f"{counts['done']} of {len(outcomes)} cells are done ({started} run by this command){kept}")
    failed = [outcome for outcome in outcomes if outcome.end != "done"]
    for outcome in failed:
        print(f"\nFAILED {outcome.job.name}\n{outcome.said or outcome.end}", file=sys.stderr)
    if failed:
        print("\nthe same command goes on; with --retry-failed those that failed are tried again", file=sys.stderr)
    return 1 if failed else 0


def _words(options: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())
