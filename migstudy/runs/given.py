"""A finished run of the training notebook that a user names instead of having one found or trained."""

from __future__ import annotations

from collections.abc import Sequence

from migstudy import paths
from migstudy.config.gesture import GestureConfig
from migstudy.runs.folder import RUNS, Run

TASK = "03_train_gesture"


def given_run(name: str, models: Sequence[str]) -> Run:
    """A finished run of the training notebook by id or folder; raises ValueError for one that is missing, unfinished or unfit."""
    folder = paths.resolve(RUNS) / name if (paths.resolve(RUNS) / name).is_dir() else paths.resolve(name)
    run = Run(folder)
    if not run.done:
        raise ValueError(f"{folder} holds no finished run; give the id or folder of one of {TASK}, or leave the parameter empty")
    params = run.read_json("params.json")
    if params.get("task") != TASK or params["params"]["model"] not in models:
        what = f"{params.get('task')} with model {params['params'].get('model')}"
        raise ValueError(f"{folder} is a run of {what}; give one of {TASK} with {' or '.join(models)}")
    return run


def config_of(run: Run) -> GestureConfig:
    """The parameters that a run of the training notebook was made with."""
    return GestureConfig.from_namespace(run.read_json("params.json")["params"]).resolved()
