"""What every benchmark shares: timing that a noisy machine disturbs little, and a dated result that says where it was made."""

from __future__ import annotations

import datetime
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from migstudy.paths import write_text
from migstudy.runs.folder import environment

RESULTS = Path(__file__).parent / "results"


def best_seconds(work: Callable[[], Any], repeats: int = 3) -> float:
    """Least of several times, s: other processes only ever add to it. The first call, which may compile, is not counted."""
    work()
    return min(_timed(work) for _ in range(repeats))


def interleaved(works: dict[str, Callable[[], Any]], repeats: int = 5) -> dict[str, float]:
    """Least time of each, s, taken in turns so that a slow minute strikes all alike."""
    for work in works.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            times[name].append(_timed(work))
    return {name: min(taken) for name, taken in times.items()}


def save_result(name: str, measured: dict[str, Any], settings: dict[str, Any]) -> Path:
    """Write `results/<date>-<commit>-<hardware>-<name>.json` with settings, environment and numbers; returns its path."""
    env = environment()
    hardware = re.sub(r"[^a-z0-9]+", "-", (env["gpus"][0] if env["gpus"] else env["cpu"]).lower()).strip("-")[:40]
    env["command"] = re.sub(r"(--\w+) \S*/\S+", r"\1 CHECKOUT", env["command"])  # nobody else has that folder
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{date}-{env['commit'][:7] or 'no-commit'}-{hardware}-{name}.json"
    write_text(path, json.dumps({"benchmark": name, "settings": settings, "measured": measured, "environment": env}, indent=1) + "\n")
    return path


def show(measured: dict[str, dict[str, float]]) -> None:
    """The numbers as a table on the terminal."""
    columns = list(dict.fromkeys(column for row in measured.values() for column in row))
    width = max(map(len, measured))
    print(" " * width, *(f"{column:>22}" for column in columns))
    for name, row in measured.items():
        print(f"{name:{width}}", *(f"{row[c]:22.3g}" if c in row else " " * 22 for c in columns))


def _timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
