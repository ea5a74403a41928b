"""Small projects for tests of the runner: notebooks of a few cells in a folder of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TRAINING = ROOT / "notebooks" / "03_train_gesture.ipynb"

# what notebook 03 does, without the training: it opens its run, notes that it ran, and does `work`
LIKE_TRAINING = """
from migstudy.config.gesture import GestureConfig
from migstudy.data import open_data
from migstudy.runs.folder import open_run
config = GestureConfig.from_namespace(globals()).resolved()
run = open_run("03_train_gesture", config.to_dict(), open_data(config).fingerprint, config.run_dir)
with run.path("times_run").open("a") as stream:
    stream.write("x")
{work}
run.write_json("metrics.json", {{"test_top1": 0.5}})
run.finish()
"""


def write_notebook(project: Path, name: str, *cells: str, parameters: str | None = "n: int = 3") -> Path:
    """notebooks/<name>.ipynb with a parameters cell (None: without) and code cells."""
    code = [(source, []) for source in cells]
    if parameters is not None:
        code.insert(0, (parameters, ["parameters"]))
    notebook = {
        "nbformat": 4, "nbformat_minor": 5,
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "cells": [
            {"cell_type": "code", "id": f"c{i}", "metadata": {"tags": tags} if tags else {}, "source": source,
             "outputs": [], "execution_count": None}
            for i, (source, tags) in enumerate(code)
        ],
    }  # fmt: skip
    path = project / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(notebook))
    return path


def parameters_source(notebook: Path = TRAINING) -> str:
    cells = json.loads(notebook.read_text())["cells"]
    return next("".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", []))


def write_training_notebook(project: Path, work: str = "") -> Path:
    """A 03_train_gesture that takes the real one's parameters and trains nothing."""
    return write_notebook(project, "03_train_gesture", LIKE_TRAINING.format(work=work), parameters=parameters_source())


def words(options: dict) -> list[str]:
    return [word for name, value in options.items() for word in ("-p", f"{name}={value}")]


def _listening() -> None:
    """Ctrl-C counts, although a shell that starts the tests in the background has told them to ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(project: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    """`python *arguments` for a project, with this checkout's package."""
    env = {**os.environ, "MIGSTUDY_ROOT": str(project), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen([sys.executable, *arguments], cwd=project, env=env, preexec_fn=_listening, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)  # fmt: skip


def wait_for(holds: Callable[[], object], process: subprocess.Popen | None = None, seconds: float = 120) -> None:
    """Until something holds; fails when the process ends before, or time runs out."""
    deadline = time.monotonic() + seconds
    while not holds():
        if process is not None:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
