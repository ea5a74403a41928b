"""Which videos the win/lose track learns from: their people and results, their skeletons, and how they are cut into windows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from migstudy import paths
from migstudy.clips import ClipSet
from migstudy.config.emotion import EmotionConfig
from migstudy.datasets.content_cache import cache_root
from migstudy.datasets.release_layout import VIDEO_TABLE
from migstudy.emotion.folds import cross_validation_folds
from migstudy.emotion.protocols import EmotionVideos, read_emotion_videos
from migstudy.runs.claims import Claim

SIMULATED_SEED, ENCODER_SEED = 1, 2  # another seed has other people; the ordinary simulated release has seed 0
# People decide, not minutes: with 20 s a person's posture and face of the day are known, and pictures cost 18 ms a frame. Every
# fourth frame of 25 a second is what MViTv2-S looks at (16 frames at stride 4). `quick`: 120 videos, 15,000 frames.
SIMULATED: dict[str, dict] = {
    "smoke": dict(subjects=(8, 2, 3), videos_per_subject=2, clips=(64, 12, 18), min_clips=(0, 0, 0), fps=3.125, rgb_height=72),
    "quick": dict(subjects=(36, 4, 20), videos_per_subject=2, clips=(432, 48, 240), min_clips=(0, 0, 0), fps=6.25),
    "paper": {},
}  # fmt: skip
# Encoders learn from people of their own, one video each. Trained on the action units of the training part, the stand-in of the
# face knew the mood of every video there by heart: cross-validation then found an AUC of 0.84 where new people gave 0.60. Faces
# need many people, not many frames: what a mouth does at rest is otherwise taken for anatomy. Clips need their motion.
_CLIPS = dict(videos_per_subject=1, min_clips=(0, 0, 0))
_FACES = _CLIPS | dict(fps=1.0)
ENCODERS: dict[str, dict[str, dict]] = {
    "smoke": {
        "face": _FACES | dict(subjects=(6, 1, 1), clips=(18, 3, 3), rgb_height=72),
        "context": _CLIPS | dict(subjects=(4, 1, 1), clips=(24, 6, 6), fps=3.125, rgb_height=72),
    },
    "quick": {
        "face": _FACES | dict(subjects=(240, 1, 1), clips=(720, 3, 3)),
        "context": _CLIPS | dict(subjects=(44, 5, 1), clips=(352, 40, 8), fps=6.25),
    },
    "paper": {
        "face": _FACES | dict(protocol=False, subjects=(2000, 1, 1), clips=(6000, 3, 3)),
        "context": _CLIPS | dict(protocol=False, subjects=(60, 10, 2), clips=(1800, 300, 60)),
    },
}  # fmt: skip
_EXTRAS = {"face": "faces", "context": "rgb"}


@dataclass(frozen=True)
class EmotionData:
    """The videos of one protocol.

    root: the release. videos: people, results and splits. whole: one clip a video, all its frames. clips: the release's labelled
    segments, whose classes are never shown to a model at test time. films: where the pictures lie.
    """

    root: Path
    videos: EmotionVideos
    whole: ClipSet
    clips: ClipSet
    films: Path

    @property
    def source(self) -> str:
        return self.whole.source

    @cached_property
    def fingerprint(self) -> str:
        """Of videos, results, protocol and skeletons; films follow from them in a release."""
        table = self.videos.table.to_csv(index=False)
        return hashlib.sha256("\n".join([self.videos.protocol, table, self.whole.fingerprint]).encode()).hexdigest()

    @cached_property
    def frames(self) -> dict[str, int]:
        """video -> number of frames."""
        return dict(zip(self.whole.index["video"], self.whole.index["length"].astype(int), strict=True))

    def rows(self, ids: Sequence[str]) -> pd.DataFrame:
        """video, subject, label, split of some videos, in their order."""
        return self.videos.table.set_index("video").loc[list(ids)].reset_index()

    def window_edges(self, video: str, seconds: float) -> np.ndarray:
        """(W + 1,) frames at which a video's W windows of about `seconds` begin and end; every frame is in one window."""
        return window_edges(self.frames[video], seconds * self.whole.fps)

    def windows(self, seconds: float) -> ClipSet:
        """All windows of all videos as clips `<video>_w<number>`; shares the arrays."""
        rows = []
        for row in self.whole.index.to_dict("records"):
            edges = self.window_edges(row["video"], seconds)
            for number, (start, stop) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
                rows.append({
                    **row, "clip_id": window_id(row["video"], number), "start": row["start"] + start,
                    "end": row["start"] + stop - 1, "offset": row["offset"] + start, "length": stop - start,
                })  # fmt: skip
        made = replace(self.whole, index=pd.DataFrame(rows, columns=self.whole.index.columns))
        made.__dict__["fingerprint"] = hashlib.sha256(f"{self.whole.fingerprint} windows of {seconds} s".encode()).hexdigest()
        return made


def window_id(video: str, number: int) -> str:
    return f"{video}_w{number:04d}"


def window_edges(frames: int, length: float) -> np.ndarray:
    """Edges of the equal windows, as near to `length` frames as the video allows; at least one window, none empty."""
    count = min(max(1, round(frames / length)), frames)
    return np.round(np.linspace(0, frames, count + 1)).astype(int)


def open_emotion_data(config: EmotionConfig) -> EmotionData:
    """The configured videos; simulates them first, with the pictures that the model needs, when they are not there yet.

    Raises ProtocolError and ReleaseError of `read_emotion_videos` and `read_release`, ValueError for a video of the protocol
    without skeleton, people without a result in training or too few of them for the folds, and a test part that `config.final`
    asks for and that is not there or of one result. Withheld results of it are a note of the videos.
    """
    from migstudy.datasets.imigue import read_release

    config = config.resolved()
    root = emotion_root(config)
    videos = read_emotion_videos(root, config.protocol)
    whole = read_release(root, unit="video", split_by="folders", cache=cache_folder()).clips
    clips = read_release(root, split_by="folders", cache=cache_folder()).clips
    wanted = videos.table["video"]
    if missing := sorted(set(wanted) - set(whole.index["video"])):
        raise ValueError(
            f"{root}: protocol {videos.protocol} lists {len(missing)} videos without skeleton, {missing[0]} first; fetch them, or"
            " choose the protocol of the folders that are there"
        )
    unknown = videos.select("train").query("label < 0 or subject == ''")
    if len(unknown):
        raise ValueError(f"{root}: training video {unknown['video'].iloc[0]} has no result or no subject; complete its table")
    cross_validation_folds(videos, config.folds, config.repeats, config.seed)  # what cannot be divided is said before training
    if config.final:
        videos = replace(videos, notes=(*videos.notes, *_check_test(videos, root)))
    kept = [part.select(video=list(wanted)) for part in (whole, clips)]
    return EmotionData(root, videos, *kept, paths.resolve(config.films) if config.films else root)


def _check_test(videos: EmotionVideos, root: Path) -> tuple[str, ...]:
    """What to know of the test part before anything is trained: a note where its results are withheld, as the challenge does."""
    test, table = videos.table.query("split == 'test'"), root / VIDEO_TABLE
    if test.empty:
        raise ValueError(
            f"{root}: protocol {videos.protocol} has no test videos, so there is nothing to score in the end; fetch the test"
            " folder, or set final=False to cross-validate the training part alone"
        )
    unknown = test[test["label"] < 0]
    if len(unknown):
        return (
            f"{len(unknown)} of {len(test)} test videos ({unknown['video'].iloc[0]} first) have no result in {table}, or the"
            " protocol withholds it: the test part is scored, but not evaluated; only cross-validation is",
        )
    if test["label"].nunique() < 2:
        raise ValueError(
            f"{table}: all {len(test)} test videos of protocol {videos.protocol} have one result, so nothing can be measured on"
            " them; correct the table, or set final=False"
        )
    return ()


def emotion_root(config: EmotionConfig) -> Path:
    """Where the videos lie; `simulator` writes them to data/simulated/<profile>_emotion_<effect> as far as they are not there."""
    from migstudy.simulate import simulate

    if config.data != "simulator":
        return paths.resolve(config.data)
    extras = ("truth", *(_EXTRAS[need] for need in config.needs if need in _EXTRAS))
    folder = paths.resolve(f"data/simulated/{config.profile}_emotion_{config.emotion_effect:g}")
    with one_at_a_time(folder.name):  # models that start together make the videos once
        return simulate(
            folder, config.profile, SIMULATED_SEED, os.cpu_count() or 1, extras=extras, emotion_effect=config.emotion_effect,
            **SIMULATED[config.profile],
        )  # fmt: skip


def encoder_root(config: EmotionConfig, need: str) -> Path:
    """A simulated release of people whom nobody tests on, for the encoder of face or context; in data/simulated."""
    from migstudy.simulate import simulate

    folder = paths.resolve(f"data/simulated/{config.profile}_encoder_{need}")
    extras, knobs = ("truth", _EXTRAS[need]), ENCODERS[config.profile][need]
    with one_at_a_time(folder.name):
        return simulate(folder, config.profile, ENCODER_SEED, os.cpu_count() or 1, extras=extras, **knobs)


def cache_folder() -> Path:
    """Where the study keeps what can be made again: MIGSTUDY_CACHE, else data/cache."""
    return cache_root(os.environ.get("MIGSTUDY_CACHE") or paths.resolve("data/cache"))


@contextmanager
def one_at_a_time(name: str) -> Iterator[None]:
    """Of processes that want to make the same thing, one does and the others wait; it is then there for them."""
    with Claim.wait(cache_folder() / "claims" / name):
        yield
