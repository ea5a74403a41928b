"""What looks at a video before win or lose is asked: encoders of face and context, and a recogniser of micro-gestures.

None of them is ever told a result, and none may have learned from a test person. Those that are not given are trained, as the
training notebook would, and found again by the next run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from migstudy import paths
from migstudy.config.emotion import EmotionConfig
from migstudy.config.gesture import GestureConfig
from migstudy.data import data_path, open_data
from migstudy.datasets.content_cache import key_of
from migstudy.emotion.data import ENCODER_SEED, EmotionData, cache_folder, encoder_root, one_at_a_time
from migstudy.emotion.protocols import ProtocolError, read_emotion_videos
from migstudy.faces.encoder import load_face_encoder, train_face_encoder
from migstudy.models import StudyModel, get_model_class
from migstudy.models.swinface import SwinFace
from migstudy.runs.folder import RUNNER, RUNS, Run
from migstudy.scores import load_scores, make_scores, save_scores

TASK = "03_train_gesture"


def face_encoder(config: EmotionConfig, data: EmotionData, progress: bool = True) -> SwinFace:
    """SwinFace from the given weights, or for simulated videos the stand-in, trained on simulated people of its own.

    Raises ValueError for real videos without weights, which a stand-in would not know how to look at, and for simulated videos of
    the very seed, hence people, that the stand-in learns from.
    """
    config = config.resolved()
    if config.face_weights:
        return load_face_encoder(config.face_weights)
    protocol = data.videos.protocol
    if not protocol.startswith("simulated"):
        raise ValueError(f"{data.root} is not simulated, and only then is there a stand-in; give SwinFace's file as face_weights")
    if f"-seed{ENCODER_SEED}-" in protocol:
        raise ValueError(f"{data.root} has the people that the stand-in learns from (seed {ENCODER_SEED}); simulate another seed")
    root = encoder_root(config, "face")
    people = read_emotion_videos(root)
    videos = sorted(people.table["video"])
    settings = dict(preset="small", seed=config.encoder_seed, epochs=config.face_epochs, frames=config.face_frames)
    folder = cache_folder() / "face_encoders" / key_of(people.protocol, settings)
    with one_at_a_time(folder.name):
        return train_face_encoder(
            root, videos, folder=folder, threads=config.threads, cache=cache_folder(), progress=progress, **settings
        )


def context_run(config: EmotionConfig, data: EmotionData) -> Run:
    """The finished run of the video model; trained now when there is none: for our simulated videos on simulated people of its
    own, else on the training people's clips, of whom cross-validation then says too much as far as gestures tell the result.

    Raises ProtocolError when it learned from videos that the protocol tests on.
    """
    config = config.resolved()
    if config.context_run:
        run = given_run(config.context_run, ("mvit",))
    else:
        root = encoder_root(config, "context") if config.data == "simulator" else data.root
        options = {
            "profile": config.profile, "data": _as_given(root), "films": config.films, "model": "mvit",
            "seed": str(config.encoder_seed),
        }  # fmt: skip
        run = find_or_train(options | ({"epochs": str(config.context_epochs)} if config.context_epochs else {}))
    check_people(run, data)
    return run


def gesture_run(config: EmotionConfig, data: EmotionData) -> Run:
    """The finished run of the recogniser of micro-gestures; trained now when there is none. Raises as `context_run`."""
    config = config.resolved()
    if config.gesture_run:
        run = given_run(config.gesture_run, ("posec3d", "stgcn", "agcn", "ctrgcn"))
    else:
        others = config.gesture_data or ("simulator" if config.data == "simulator" else _as_given(data.root))
        options = {"profile": config.profile, "data": others, "model": config.gesture_model, "seed": str(config.encoder_seed)}
        run = find_or_train(options)
    check_people(run, data)
    return run


def given_run(name: str, models: tuple[str, ...]) -> Run:
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


def check_people(run: Run, data: EmotionData) -> None:
    """ProtocolError when the run learned from, or was selected on, videos or people that the protocol tests on."""
    config = config_of(run)
    place = data_path(config.data, config.profile)
    same = place.resolve() == data.root.resolve()
    if not same and config.data == "simulator":  # simulated people of another release are other people, whatever their numbers
        return
    seen = open_data(config)
    known = pd.concat([seen.train.index, seen.val.index])
    test = data.videos.table.query("split == 'test'")
    bad = sorted(set(test["video"]) & set(known["video"]))
    bad_people = sorted((set(test["subject"]) & set(known["subject"])) - {""}) if same else []  # elsewhere, names say nothing
    if bad or bad_people:
        what = f"{len(bad)} test videos ({bad[0]} first)" if bad else f"{len(bad_people)} test people ({bad_people[0]} first)"
        raise ProtocolError(
            f"{run.folder} learned from {what} of protocol {data.videos.protocol}; give a run whose training part holds none of"
            " them, or another protocol"
        )


def find_or_train(options: Mapping[str, str]) -> Run:
    """The finished run of `migstudy run 03` with these options; trained now, in a process of its own, when there is none.

    An interrupted training goes on. Several may ask for the same run: one trains, the others wait. Raises RuntimeError with what
    a failed training said.
    """
    from migstudy.runs.execute import gesture_run as run_of_config
    from migstudy.sweep.cells import run_cells

    run = run_of_config(GestureConfig.from_strings(options).resolved())
    with one_at_a_time(run.id):
        if not run.done:
            with _own_runner():
                failed = run_cells(TASK, [dict(options)], 1, "encoder")
            if failed:
                raise RuntimeError(f"the encoder {dict(options)} could not be trained: {failed[0][1]}")
    return run


def load_encoder(run: Run) -> StudyModel:
    """A finished run's network with its weights, in eval mode."""
    return get_model_class(run.read_json("params.json")["params"]["model"]).from_pretrained(run.folder).eval()


def recognised_gestures(run: Run, data: EmotionData) -> pd.DataFrame:
    """The score table of every labelled segment of the videos, by the recogniser of a run; kept in the cache.

    The segments' bounds are the release's; their classes are not looked at.
    """
    config = config_of(run)
    kept = cache_folder() / "gestures" / f"{run.id}-{data.clips.fingerprint[:16]}.parquet"
    if kept.is_file():
        return load_scores(kept)
    from migstudy.train import predict

    clips = data.clips if config.topology == "native" else data.clips.to_topology(config.topology)
    scores = predict(load_encoder(run), clips, config, views=config.test_clips)
    hidden = make_scores(scores.assign(label=-1), scores.filter(regex=r"^p\d{3}$").to_numpy(), scores.attrs.get("class_names"))
    save_scores(hidden, kept)
    return load_scores(kept)


def _as_given(root: Path) -> str:
    """A path as a parameter: relative to the project where it lies in it, so that a run's id is the same on every machine."""
    home = paths.project_root().resolve()
    return root.resolve().relative_to(home).as_posix() if root.resolve().is_relative_to(home) else str(root)


@contextmanager
def _own_runner() -> Iterator[None]:
    """A run that is trained from inside a notebook has a runner of its own, which marks it finished."""
    mark = os.environ.pop(RUNNER, None)
    try:
        yield
    finally:
        if mark is not None:
            os.environ[RUNNER] = mark
