"""A run's folder: what was asked, on what machine and data, what came out; `DONE` is written last.

    runs/<id>/  params.json  env.json  run.ipynb  log.csv  model.safetensors  scores.parquet  metrics.json  DONE

The id is a hash of notebook, parameters, data fingerprint and code, so the same question finds its finished answer.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from migstudy import paths
from migstudy.runs.code_version import code_version

RUNS = "runs"
RUNNER = "MIGSTUDY_RUNNER"  # set in the kernel of a notebook that `migstudy run` executes
DRAWING = "MIGSTUDY_DRAWING"  # set while stored runs are drawn again, which must train and measure nothing
_PLACES = {"run_dir", "workers", "threads"}  # where and how fast, not what: no part of a run's identity
_PARQUET = b"PAR1"  # how such a file begins and ends
_PACKAGES = "torch torchvision timm accelerate numpy scipy pandas scikit-learn papermill".split()


@dataclass(frozen=True)
class Run:
    """One run's folder."""

    folder: Path

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def done(self) -> bool:
        return (self.folder / "DONE").exists()

    def path(self, name: str) -> Path:
        return self.folder / name

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the run; raises ValueError naming the file when it is missing or broken."""
        try:
            content = json.loads(self.path(name).read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("no JSON object")
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.path(name)} cannot be read ({error}); delete {self.folder} and run again") from error
        return content

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        paths.write_text(self.path(name), json.dumps(data, indent=1, default=float) + "\n")

    def finish(self) -> None:
        """Mark the run as finished; left to the runner when one still has to keep the executed notebook."""
        if os.environ.get(RUNNER):
            return
        paths.write_text(self.path("DONE"), datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds") + "\n")


def open_run(task: str, params: Mapping[str, Any], fingerprint: str, run_dir: str = "") -> Run:
    """The run of these parameters on this data, made when it is new: params.json and env.json are written at once.

    task: the notebook's name without extension. Raises ValueError when run_dir holds another run.
    """
    run = run_of(task, params, fingerprint, run_dir)
    if not run.path("params.json").exists():
        run.folder.mkdir(parents=True, exist_ok=True)
        run.write_json("env.json", environment() | {"code": code_of(task, params)})
        kept = {k: v for k, v in params.items() if k != "run_dir"}
        run.write_json("params.json", {"task": task, "params": kept, "data_fingerprint": fingerprint})
    return run


def run_of(task: str, params: Mapping[str, Any], fingerprint: str, run_dir: str = "") -> Run:
    """The run that these parameters on this data have or would have; nothing is written. Raises as `open_run`."""
    run = Run(paths.resolve(run_dir) if run_dir else paths.resolve(RUNS) / run_id(task, params, fingerprint))
    if run.path("params.json").exists():
        kept = run.read_json("params.json")
        found = _identity(kept.get("task", ""), kept.get("params", {}), kept.get("data_fingerprint", ""))
        if found != _identity(task, params, fingerprint):
            raise ValueError(f"{run.folder} holds a run with other parameters or data; choose another run_dir or delete it")
    return run


def _identity(task: str, params: Mapping[str, Any], fingerprint: str) -> str:
    return json.dumps([task, {k: v for k, v in params.items() if k not in _PLACES}, fingerprint], sort_keys=True)


def run_id(task: str, params: Mapping[str, Any], fingerprint: str) -> str:
    """`<task>-<12 hex digits>`: hash of the notebook's source, the parameters that matter, the data and the code."""
    parts = [_identity(task, params, fingerprint), notebook_version(task), code_of(task, params)]
    return f"{task}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}"


def code_of(task: str, params: Mapping[str, Any]) -> str:
    """Hash of the sources behind a run, the models it names among them."""
    return code_version(task, tuple(sorted({value for value in params.values() if isinstance(value, str)})))


def same_question(params: Mapping[str, Any]) -> str:
    """A key that two runs share when they asked for the same thing, wherever and however fast they ran."""
    return _identity("", params, "")


def notebook_version(task: str) -> str:
    """Hash of a notebook's cells; empty when there is no such notebook (the parts are used elsewhere)."""
    path = paths.resolve(f"notebooks/{task}.ipynb")
    if not path.exists():
        return ""
    sources = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:12]


@cache
def git_commit() -> str:
    """The checkout's commit, with `+changes` when files differ from it; empty outside a checkout."""
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=30)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "HEAD")
        return commit + "+changes" * bool(commit and git("status", "--porcelain", "--", ":/*.py", ":/*.ipynb"))
    except (OSError, subprocess.TimeoutExpired):
        return ""


def environment() -> dict[str, Any]:
    """Command, commit, package versions, hardware and time of a run."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "command": os.environ.get("MIGSTUDY_COMMAND") or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": git_commit(),
        "python": platform.python_version(), "packages": {name: metadata.version(name) for name in _PACKAGES},
        "system": f"{platform.system()} {platform.machine()}", "cpu": _cpu_name(), "cores": os.cpu_count(), "gpus": gpus,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def finished_runs(folder: str | Path = RUNS, task: str | None = None) -> list[Run]:
    """Runs whose DONE marker stands, sorted by id; those of one task when given, whatever their folders are called.

    Of one task, damaged ones are left out with a warning that says what is wrong.
    """
    runs = [Run(marker.parent) for marker in sorted(paths.resolve(folder).glob("*/DONE"))]
    if task is None:
        return runs
    found = []
    for run in runs:
        try:
            mine = run.read_json("params.json").get("task") == task
        except ValueError:  # it may be one of these
            mine = True
        if mine and (wrong := damage(run)):
            warnings.warn(f"left out: {wrong}", stacklevel=2)
        elif mine:
            found.append(run)
    return found


def damage(run: Run) -> str:
    """What cannot be read of a finished run: accounts that are no JSON, score tables that were cut off; "" for a whole one."""
    for name in ("params.json", "env.json", "metrics.json"):
        if name != "metrics.json" or run.path(name).exists():  # drawings have none
            try:
                run.read_json(name)
            except ValueError as error:
                return str(error)
    for path in sorted(run.folder.glob("scores*.parquet")):
        with path.open("rb") as stream:
            begin = stream.read(4)
            stream.seek(-min(4, path.stat().st_size), os.SEEK_END)
            if (begin, stream.read(4)) != (_PARQUET, _PARQUET):
                return f"{path} is cut off or no score table; delete {run.folder} and run again"
    return ""
