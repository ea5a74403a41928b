"""Many runs of one notebook: each cell of a grid is a process of its own, several at a time, finished ones skipped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from tqdm import tqdm

from migstudy import paths

Cell = Mapping[str, str]


def run_cells(notebook: str, cells: Sequence[Cell], workers: int = 0, title: str = "runs") -> list[tuple[Cell, str]]:
    """Run every cell (parameter name -> text) and return those that failed with what they said; one failure stops nothing.

    workers: cells at a time, 0 = one a core; each gets its share of the cores as threads. Ctrl-C ends the running cells,
    which go on from their last epoch when the same grid is started again.
    """
    cores = os.cpu_count() or 1
    workers = min(workers or cores, len(cells)) or 1
    share = str(max(1, cores // workers))
    running: set[subprocess.Popen] = set()
    failed = []

    def one(cell: Cell) -> str:
        words = [w for name, value in {"threads": share, **cell}.items() for w in ("-p", f"{name}={value}")]
        process = subprocess.Popen(
            [sys.executable, "-m", "migstudy", "run", notebook, "--quiet", *words], cwd=paths.project_root(),
            env={**os.environ, "OMP_NUM_THREADS": share, "MKL_NUM_THREADS": share}, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.add(process)
        said = process.communicate()[1]
        running.discard(process)
        return "" if process.returncode == 0 else said.strip()[-2000:] or f"it ended with {process.returncode}"

    with ThreadPoolExecutor(workers) as pool, tqdm(total=len(cells), desc=title, unit="run") as bar:
        jobs = {pool.submit(one, cell): cell for cell in cells}
        try:
            for job in as_completed(jobs):
                if job.result():
                    failed.append((jobs[job], job.result()))
                bar.update()
        except KeyboardInterrupt:
            for job in jobs:
                job.cancel()
            for process in list(running):
                _end(process)
            raise
    return failed


def _end(process: subprocess.Popen) -> None:
    """End a cell and its kernel."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.terminate()
