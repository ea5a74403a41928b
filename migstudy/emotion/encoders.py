"""What looks at a video before win or lose is asked: encoders of face and context, and a recogniser of micro-gestures.

None of them is ever told a result, and none may have learned from a test person. Those that are not given are trained, as the
training notebook would, and found again by the next run: once, not once a fold, see `encoder_people`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from migstudy import paths
from migstudy.config.emotion import EmotionConfig
from migstudy.config.gesture import GestureConfig
from migstudy.datasets.content_cache import key_of
from migstudy.emotion.data import ENCODER_SEED, EmotionData, cache_folder, encoder_root, one_at_a_time
from migstudy.emotion.encoder_people import people_known, teaching_clips
from migstudy.emotion.protocols import read_emotion_videos
from migstudy.faces.encoder import load_face_encoder, train_face_encoder
from migstudy.models.swinface import SwinFace
from migstudy.runs.folder import Run
from migstudy.runs.given import config_of, given_run
from migstudy.runs.inner import load_encoder, own_runner
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


def context_run(config: EmotionConfig, data: EmotionData) -> tuple[Run, int]:
    """The finished run of the video model, and how many of the people cross-validated it learned from.

    Trained now when there is none: for our simulated videos on simulated people of its own, else on the clips of
    `encoder_people.teaching_clips`. Raises ProtocolError, before any training, where it would learn from a test person.
    """
    config = config.resolved()
    if config.context_run:
        return _checked(given_run(config.context_run, ("mvit",)), data)
    own = config.data == "simulator"
    options = {
        "profile": config.profile, "data": _as_given(encoder_root(config, "context") if own else teaching_clips(data)),
        "films": config.films if own else _as_given(data.films), "model": "mvit", "seed": str(config.encoder_seed),
    }  # fmt: skip
    return _trained(options | ({"epochs": str(config.context_epochs)} if config.context_epochs else {}), data)


def gesture_run(config: EmotionConfig, data: EmotionData) -> tuple[Run, int]:
    """The same of the recogniser of micro-gestures."""
    config = config.resolved()
    if config.gesture_run:
        return _checked(given_run(config.gesture_run, ("posec3d", "stgcn", "agcn", "ctrgcn")), data)
    others = config.gesture_data or ("simulator" if config.data == "simulator" else _as_given(teaching_clips(data)))
    options = {"profile": config.profile, "data": others, "model": config.gesture_model, "seed": str(config.encoder_seed)}
    return _trained(options, data)


def _checked(run: Run, data: EmotionData) -> tuple[Run, int]:
    return run, people_known(config_of(run), data, str(run.folder))


def _trained(options: Mapping[str, str], data: EmotionData) -> tuple[Run, int]:
    known = people_known(GestureConfig.from_strings(options), data, f"an encoder trained on {options['data']}")
    return find_or_train(options), known


def find_or_train(options: Mapping[str, str]) -> Run:
    """The finished run of `migstudy run 03` with these options; trained now, in a process of its own, when there is none.

    An interrupted training goes on. Several may ask for the same run: one claims and trains it, the others wait. Raises
    RuntimeError with what a failed training said.
    """
    from migstudy.runs.execute import gesture_run as run_of_config
    from migstudy.sweep.cells import run_cells

    run = run_of_config(GestureConfig.from_strings(options).resolved())
    if not run.done:
        with own_runner():
            failed = run_cells(TASK, [dict(options)], 1, "encoder")
        if failed:
            raise RuntimeError(f"the encoder {dict(options)} could not be trained: {failed[0][1]}")
    return run


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
    home = paths.project_root().absolute()  # not resolved: a data folder may be a link to a larger disk
    return root.absolute().relative_to(home).as_posix() if root.absolute().is_relative_to(home) else str(root)
