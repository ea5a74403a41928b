"""What a grid costs beside its training, a cell: starting the command, claiming, papermill and its kernel, imports.

    python benchmarks/sweep.py [--repeats 3] [--save]

Every step is measured by itself, then whole cells of an empty notebook, and cells of the training notebook's own imports.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import save_result, show

ROOT = Path(__file__).resolve().parents[1]
EMPTY = "pass"
IMPORTS = "from migstudy import figures, loading, train"
STEPS = {
    "python": "pass",
    "import migstudy.runs.execute": "import migstudy.runs.execute",
    "import papermill": "import papermill",
    "import torch": "import torch",
    "import migstudy.train": "from migstudy import train",
}
KERNEL = """
import time
from jupyter_client.manager import start_new_kernel
started = time.perf_counter()
manager, client = start_new_kernel(kernel_name="python3")
client.execute_interactive("1", timeout=600)
print(time.perf_counter() - started)
client.stop_channels()
manager.shutdown_kernel(now=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/")
    options = parser.parse_args()
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        for name, code in STEPS.items():
            measured[name] = timed(project, [sys.executable, "-c", code], options.repeats)
        waits = [float(run(project, [sys.executable, "-c", KERNEL])[2]) for _ in range(options.repeats)]
        measured["kernel until its first answer"] = {"wall, s": min(waits), "median, s": statistics.median(waits)}
        for name, code in (("cell of an empty notebook", EMPTY), ("cell that imports training", IMPORTS)):
            measured[name] = cells(project, code, options.repeats)
    show(measured)
    if options.save:
        print(save_result("sweep", measured, {"repeats": options.repeats, "load": os.getloadavg()}))


def cells(project: Path, code: str, repeats: int) -> dict[str, float]:
    """`migstudy run` of a notebook with one cell, a new run each time."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    written = {"cell_type": "code", "outputs": [], "execution_count": None}
    notebook = {
        "nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel},
        "cells": [{**written, "id": "a", "metadata": {"tags": ["parameters"]}, "source": "n: int = 0"},
                  {**written, "id": "b", "metadata": {}, "source": code}],
    }  # fmt: skip
    (project / "notebooks").mkdir(exist_ok=True)
    (project / "notebooks" / "90_cell.ipynb").write_text(json.dumps(notebook))
    numbers = iter(range(repeats + 1))
    command = [sys.executable, "-m", "migstudy", "run", "90", "--quiet", "-p"]
    return timed(project, lambda: [*command, f"n={next(numbers)}"], repeats)


def timed(project: Path, command, repeats: int) -> dict[str, float]:
    """Least and median wall time, and least CPU time with that of child processes, s; the first call is not counted."""
    times = [run(project, command() if callable(command) else command)[:2] for _ in range(repeats + 1)][1:]
    walls, cpus = zip(*times, strict=True)
    return {"wall, s": min(walls), "median, s": statistics.median(walls), "CPU, s": min(cpus)}


def run(project: Path, command: list[str]) -> tuple[float, float, str]:
    """Wall and CPU seconds of a command, and what it printed."""
    env = {**os.environ, "MIGSTUDY_ROOT": str(project), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr}")
    wall, after = time.perf_counter() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu, done.stdout


if __name__ == "__main__":
    main()
