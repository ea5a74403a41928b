"""Where the cells of a grid run: on this machine, or on a Dask cluster; each a process of its own, whichever."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Literal

from joblib import Parallel, delayed, parallel_config

from migstudy import paths
from migstudy.runs.claims import BUSY, CHANGED
from migstudy.runs.folder import Run
from migstudy.runs.interrupts import end_process
from migstudy.runs.state import FAILED, state_of

_POLL = 0.2  # s between looks at whether to stop


@dataclass(frozen=True)
class Job:
    """A cell to run: notebook, parameters as texts, the run that it is. problem: why it cannot be told, and then no run.

    pardoned: what an earlier failure left, which is no reason not to try again. threaded: the notebook can be told how many
    threads to take.
    """

    number: int
    name: str
    notebook: str
    options: Mapping[str, str]
    run: Run | None
    problem: str = ""
    pardoned: str = ""
    threaded: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a job. elsewhere: another process works on it. changed: it is no longer what was planned.

    seconds: of the process started for it, else 0.
    """

    job: Job
    end: Literal["done", "failed", "elsewhere", "stopped", "changed"]
    said: str = ""
    seconds: float = 0.0


class Local:
    """So many cells at a time on this machine, each with its share of the cores; several GPUs are dealt out one a cell."""

    def __init__(self, workers: int = 0) -> None:
        cores = _cores()
        self.slots = workers or cores
        self.cores = cores

    def close(self) -> None: ...

    def run(self, jobs: Sequence[Job], stop: Event) -> Iterator[Outcome]:
        together = min(self.slots, len(jobs)) or 1
        threads = max(1, self.cores // together)
        devices: SimpleQueue[str] = SimpleQueue()
        gpus = _gpus()
        changed = Event()
        for slot in range(together):
            devices.put(gpus[slot % len(gpus)] if len(gpus) > 1 else "")

        def one(job: Job) -> Outcome:
            if changed.is_set():
                return Outcome(job, "stopped")
            device = devices.get()
            try:
                outcome = run_job(job, threads, stop.is_set, {"CUDA_VISIBLE_DEVICES": device} if device else {})
            finally:
                devices.put(device)
            if outcome.end == "changed":  # so will be the rest
                changed.set()
            return outcome

        with parallel_config("threading", n_jobs=together):  # threads only start processes and wait
            yield from Parallel(return_as="generator_unordered", batch_size=1)(delayed(one)(job) for job in jobs)


class Dask:
    """The workers of a Dask cluster, through joblib's backend; they see this project's folder at the same place.

    Raises ValueError when Dask is missing or the scheduler does not answer.
    """

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise ValueError("the Dask backend needs dask[distributed]: pip install 'migstudy[cluster]'") from None
        try:
            self.client = Client(address, timeout="20s", set_as_default=False)
        except (OSError, ValueError) as error:
            raise ValueError(f"no Dask scheduler answers at {address!r} ({error}); start one: dask scheduler") from None
        workers = list(self.client.scheduler_info(n_workers=-1)["workers"].values())
        self.slots = sum(worker["nthreads"] for worker in workers)
        if not self.slots:
            self.close()
            raise ValueError(f"the Dask scheduler at {address} has no workers; start some: dask worker {address} --nthreads 1")
        self.cells_on: dict[str, int] = {}  # host -> cells at a time
        for worker in workers:
            self.cells_on[worker["host"]] = self.cells_on.get(worker["host"], 0) + worker["nthreads"]

    def close(self) -> None:
        self.client.close()

    def run(self, jobs: Sequence[Job], stop: Event) -> Iterator[Outcome]:
        from distributed import Event as ClusterEvent

        name = f"migstudy-stop-{socket.gethostname()}-{os.getpid()}-{time.time_ns()}"
        halt = ClusterEvent(name, client=self.client)
        over = Event()

        def tell() -> None:
            while not over.wait(0.5):
                if stop.is_set():
                    halt.set()
                    return

        Thread(target=tell, daemon=True).start()
        tasks = [delayed(_on_cluster)(job, str(paths.project_root()), self.cells_on, name) for job in jobs]
        try:
            with parallel_config("dask", client=self.client, n_jobs=-1):
                yield from Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")(tasks)
        finally:
            over.set()


def run_job(job: Job, threads: int, stopped: Callable[[], bool], environment: Mapping[str, str] | None = None) -> Outcome:
    """Run a cell in a process of its own, unless it is done, failed before, or in other hands."""
    try:
        return _run_job(job, threads, stopped, environment or {})
    except OSError as error:
        return Outcome(job, "failed", f"it could not be started: {error}")


def _run_job(job: Job, threads: int, stopped: Callable[[], bool], environment: Mapping[str, str]) -> Outcome:
    if job.run is None:
        return Outcome(job, "failed", job.problem)
    if stopped():
        return Outcome(job, "stopped")
    state = state_of(job.run)
    if state == "failed" and failure_of(job.run) != job.pardoned:
        return Outcome(job, "failed", said_of(job.run))
    if state in ("done", "running"):
        return Outcome(job, "done" if state == "done" else "elsewhere")
    options = {"threads": str(threads), **job.options} if job.threaded else job.options
    words = [word for name, value in options.items() for word in ("-p", f"{name}={value}")]
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "migstudy", "run", job.notebook, "--quiet", "--cell", job.run.id, *words],
        cwd=paths.project_root(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
                                     **environment},
    )  # fmt: skip
    said = ""
    while True:
        try:
            said = process.communicate(timeout=_POLL)[1]
            break
        except subprocess.TimeoutExpired:
            if stopped():
                end_process(process)
    seconds = time.monotonic() - started
    if process.returncode == 0:
        return Outcome(job, "done", "", seconds)
    if stopped():
        return Outcome(job, "stopped", "", seconds)
    if process.returncode == BUSY:
        return Outcome(job, "elsewhere", "", seconds)
    said = said.strip().removeprefix("migstudy: ")[-2000:]
    end = "changed" if process.returncode == CHANGED else "failed"
    return Outcome(job, end, said or f"its process ended with {process.returncode}", seconds)


def failure_of(run: Run) -> str:
    """What stands in a run's FAILED file, time and place included; empty without."""
    with suppress(OSError):
        return run.path(FAILED).read_text(encoding="utf-8")
    return ""


def said_of(run: Run) -> str:
    return f"{failure_of(run).partition(chr(10))[2].strip()}\n(failed before; --retry-failed tries again)"


def _on_cluster(job: Job, root: str, shared: Mapping[str, int], halt: str) -> Outcome:
    """`run_job` on a Dask worker."""
    from distributed import Event as ClusterEvent
    from distributed import get_client, get_worker

    os.environ["MIGSTUDY_ROOT"] = root
    if not Path(root, "notebooks").is_dir():
        said = f"{socket.gethostname()} does not see {root}; workers need the project's folder at the same place"
        return Outcome(job, "failed", said)
    event, looked = ClusterEvent(halt, client=get_client()), [time.monotonic(), False]

    def stopped() -> bool:
        if time.monotonic() - looked[0] > 2:  # asking the scheduler costs it something
            looked[:] = time.monotonic(), event.is_set()
        return bool(looked[1])

    host = get_worker().address.rpartition("://")[2].rpartition(":")[0]
    return run_job(job, max(1, _cores() // shared.get(host, 1)), stopped)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> list[str]:
    """Names of the visible NVIDIA GPUs, found without starting torch."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in chosen.split(",") if name.strip()]
    if not (program := shutil.which("nvidia-smi")):
        return []
    try:
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(number) for number, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]
