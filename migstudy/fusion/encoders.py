"""The encoders of a fusion: ordinary runs of the training notebook, one a modality, found finished or trained now."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout

from filelock import FileLock

from migstudy.config.fusion import VIDEO, FusionConfig
from migstudy.config.gesture import GestureConfig
from migstudy.data import cache_folder
from migstudy.models import StudyModel, get_model_class
from migstudy.runs.folder import RUNNER, Run, run_of
from migstudy.sweep.cells import run_cells

TASK = "03_train_gesture"


def encoder_cells(config: FusionConfig) -> dict[str, dict[str, str]]:
    """Modality -> the options of `migstudy run 03` that train its encoder, for the modalities that the fusion looks at."""
    config = config.resolved()
    seed = config.seed if config.encoder_seed < 0 else config.encoder_seed
    shared = {"profile": config.profile, "data": config.data, "topology": config.topology, "seed": str(seed)}
    shared["val_fraction"] = str(config.val_fraction)
    sizes = {"epochs": config.encoder_epochs, "base_channels": config.encoder_channels, "clip_len": config.encoder_frames}
    graph = {"model": config.skeleton_model, "label_embedding": "none", **{k: str(v) for k, v in sizes.items() if v}}
    films = {"films": config.films} if config.films else {}
    return {
        name: {**shared, "model": config.video_model, **films} if name == VIDEO else {**shared, **graph, "stream": name}
        for name in config.modalities
    }


def encoder_configs(config: FusionConfig) -> dict[str, GestureConfig]:
    """Modality -> its encoder's parameters, resolved."""
    return {name: GestureConfig.from_strings(cell).resolved() for name, cell in encoder_cells(config).items()}


def encoder_runs(config: FusionConfig, fingerprint: str) -> dict[str, Run]:
    """Modality -> the run of its encoder on the data of that fingerprint, whether it is there or not."""
    return {name: run_of(TASK, own.to_dict(), fingerprint) for name, own in encoder_configs(config).items()}


def train_encoders(config: FusionConfig, fingerprint: str) -> dict[str, Run]:
    """The finished runs of the encoders; those that are not there yet are trained now, as `migstudy run 03` would.

    Interrupted trainings go on from their last epoch. Several fusions may ask for the same encoders at once: one trains
    them, the others wait. Raises RuntimeError with what a failed training said.
    """
    cells, runs = encoder_cells(config), encoder_runs(config, fingerprint)
    with hold(runs):
        missing = [name for name, run in runs.items() if not run.done]
        if missing:
            with _own_runner():
                failed = run_cells(TASK, [cells[name] for name in missing], _workers(len(missing)), "encoders")
            if failed:
                raise RuntimeError(f"the encoder {dict(failed[0][0])} could not be trained: {failed[0][1]}")
    return runs


def load_encoder(run: Run) -> StudyModel:
    """A finished run's network with its weights, in eval mode."""
    with redirect_stdout(io.StringIO()):  # the hub tells where it reads
        return get_model_class(run.read_json("params.json")["params"]["model"]).from_pretrained(run.folder).eval()


def _workers(count: int) -> int:
    """All encoders at a time on the cores; one after the other where they would share a GPU's memory."""
    import torch

    return 1 if torch.cuda.is_available() else count


@contextmanager
def hold(runs: Mapping[str, Run]) -> Iterator[None]:
    """Hold every encoder's lock, waiting for it; taken in the order of ids, so that two fusions never wait for each other."""
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    locks = [FileLock(folder / f"{name}.lock") for name in sorted({run.id for run in runs.values()})]
    taken = []
    try:
        for lock in locks:
            lock.acquire()
            taken.append(lock)
        yield
    finally:
        for lock in reversed(taken):
            lock.release()


@contextmanager
def _own_runner() -> Iterator[None]:
    """Encoders trained from inside a notebook have a runner of their own, which marks them finished."""
    mark = os.environ.pop(RUNNER, None)
    try:
        yield
    finally:
        if mark is not None:
            os.environ[RUNNER] = mark
