"""The encoders of a fusion: ordinary runs of the training notebook, one a modality, found finished or trained now."""

from __future__ import annotations

from dataclasses import replace

from migstudy.config.fusion import VIDEO, FusionConfig
from migstudy.config.gesture import GestureConfig
from migstudy.runs.folder import Run, run_of
from migstudy.runs.given import config_of, given_run
from migstudy.runs.inner import own_runner
from migstudy.sweep.cells import run_cells

TASK = "03_train_gesture"


def encoder_cells(config: FusionConfig) -> dict[str, dict[str, str]]:
    """Modality -> the options of `migstudy run 03` that train its encoder, for the modalities that the fusion looks at.

    A video_run is trained already.
    """
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
        if name != VIDEO or not config.video_run
    }


def encoder_configs(config: FusionConfig) -> dict[str, GestureConfig]:
    """Modality -> its encoder's parameters, resolved; a video_run's own, but for where the data lie and how they are divided."""
    config = config.resolved()
    own = {name: GestureConfig.from_strings(cell).resolved() for name, cell in encoder_cells(config).items()}
    if config.video_run and VIDEO in config.modalities:
        given = config_of(given_run(config.video_run, (config.video_model,)))
        places = {"profile": config.profile, "data": config.data, "films": config.films or given.films}
        own[VIDEO] = replace(given, **places, topology=config.topology, val_fraction=config.val_fraction)
    return own


def encoder_runs(config: FusionConfig, fingerprint: str) -> dict[str, Run]:
    """Modality -> the run of its encoder on the data of that fingerprint, whether it is there or not.

    Raises ValueError for a video_run that was trained on other data, or on the same divided otherwise: a fusion's validation or
    test clips may be among those it knows.
    """
    cells = encoder_cells(config)
    runs = {name: run_of(TASK, GestureConfig.from_strings(cell).resolved().to_dict(), fingerprint) for name, cell in cells.items()}
    if config.video_run and VIDEO in config.modalities:
        runs[VIDEO] = given_run(config.video_run, (config.video_model,))
        _check_data(runs[VIDEO], config.resolved(), fingerprint)
    return runs


def _check_data(run: Run, config: FusionConfig, fingerprint: str) -> None:
    if run.read_json("params.json")["data_fingerprint"] == fingerprint:  # clips and their split
        return
    own = config_of(run)
    if own.val_fraction != config.val_fraction:
        raise ValueError(
            f"video_run={config.video_run!r} was trained with val_fraction={own.val_fraction:g} and may know clips that this fusion"
            f" is selected on; give val_fraction={own.val_fraction:g}, or a run trained with {config.val_fraction:g}"
        )
    raise ValueError(
        f"video_run={config.video_run!r} was trained on other clips than data={config.data!r} holds (it names"
        f" data={own.data!r}); give a run of these data, divided the same way"
    )


def train_encoders(config: FusionConfig, fingerprint: str) -> dict[str, Run]:
    """The finished runs of the encoders; those that are not there yet are trained now, as `migstudy run 03` would.

    Interrupted trainings go on from their last epoch. Several fusions may ask for the same encoders at once: one claims
    and trains each, the others wait. Raises RuntimeError with what a failed training said.
    """
    cells, runs = encoder_cells(config), encoder_runs(config, fingerprint)
    if missing := [name for name, run in runs.items() if not run.done]:
        with own_runner():
            failed = run_cells(TASK, [cells[name] for name in missing], _workers(len(missing)), "encoders")
        if failed:
            raise RuntimeError(f"the encoder {dict(failed[0][0])} could not be trained: {failed[0][1]}")
    return runs


def _workers(count: int) -> int:
    """All encoders at a time on the cores; one after the other where they would share a GPU's memory."""
    import torch

    return 1 if torch.cuda.is_available() else count
