"""Many runs of one notebook: each cell of a grid is a process of its own, several at a time, finished ones skipped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from threading import Event, Lock, current_thread, main_thread

from tqdm import tqdm

from migstudy import paths
from migstudy.execute import find_notebook, notebook_parameters

Cell = Mapping[str, str]


def run_cells(notebook: str, cells: Sequence[Cell], workers: int = 0, title: str = "runs") -> list[tuple[Cell, str]]:
    """Run every cell (parameter name -> text) and return those that failed with what they said; one failure stops nothing.

    workers: cells at a time, 0 = one a core; each gets its share of the cores as threads. Ctrl-C ends the running cells,
    which go on from their last epoch when the same grid is started again.
    """
    cores = os.cpu_count() or 1
    workers = min(workers or cores, len(cells)) or 1
    share = str(max(1, cores // workers))
    always = {"threads": share} if "threads" in notebook_parameters(find_notebook(notebook))[0] else {}
    running: set[subprocess.Popen] = set()
    starting, stopped = Lock(), Event()
    failed = []

    def one(cell: Cell) -> str:
        words = [w for name, value in {**always, **cell}.items() for w in ("-p", f"{name}={value}")]
        with starting:  # so that no cell slips in after the others were ended
            if stopped.is_set():
                return "not started"
            process = subprocess.Popen(
                [sys.executable, "-m", "migstudy", "run", notebook, "--quiet", *words], cwd=paths.project_root(),
                env={**os.environ, "OMP_NUM_THREADS": share, "MKL_NUM_THREADS": share}, start_new_session=True,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            running.add(process)
        said = process.communicate()[1]
        running.discard(process)
        return "" if process.returncode == 0 else said.strip()[-2000:] or f"it ended with {process.returncode}"

    with _interruptible(), ThreadPoolExecutor(workers) as pool, tqdm(total=len(cells), desc=title, unit="run") as bar:
        try:
            jobs = {pool.submit(one, cell): cell for cell in cells}
            for job in as_completed(jobs):
                if job.result():
                    failed.append((jobs[job], job.result()))
                bar.update()
        except KeyboardInterrupt:
            with starting:
                stopped.set()
            for process in list(running):
                _end(process)
            raise
    return failed


def _end(process: subprocess.Popen) -> None:
    """End a cell; its kernel ends with it."""
    with suppress(ProcessLookupError):  # it may have ended by itself
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()


@contextmanager
def _interruptible() -> Iterator[None]:
    """A request to end, or a closed terminal, is as Ctrl-C: cells sit in sessions of their own and would go on alone."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if current_thread() is not main_thread():  # only the main thread may set handlers
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    mine = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]  # nohup's choice stands
    for number in mine:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)
