"""Videos of toy people whose result, or nothing, shows in what a model sees; no pictures, no encoders."""

from __future__ import annotations

import zlib

import numpy as np
import pandas as pd

from migstudy.clips import Clip, ClipSet
from migstudy.config.emotion import EmotionConfig
from migstudy.emotion.data import EmotionData
from migstudy.emotion.features import EmotionFeatures, Piece, SkeletonWindows, WindowTokens
from migstudy.emotion.gesture_sequence import GestureEvents
from migstudy.emotion.protocols import SimulatedVideos

KEY = "simulated:toy-seed0-00000000"
PEOPLE = {"train": 8, "val": 2, "test": 4}
FPS = 6.25


def rng_of(*words: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(words).encode()))


def toy_emotion(effect: float = 3.0, frames: int = 64, swap: tuple[str, ...] = ()) -> EmotionData:
    """Two videos a person, one won and one lost; swap: people whose results change places, though what is seen stays."""
    rows, clips = [], []
    for split, count in PEOPLE.items():
        for person in range(count):
            for result in (0, 1):
                video, who = f"{split}{person}{result}", f"{split} {person}"
                rng = rng_of("pose", video)
                keypoints = rng.normal(0, 3, (frames, 41, 2)) + rng_of("seat", who).normal(100, 20, (1, 41, 2))
                keypoints[:, :8, 1] += effect * 4 * (result - 0.5)
                label = 1 - result if who in swap else result
                rows.append((video, who, label, split))
                clips.append(Clip(video, keypoints, np.ones((frames, 41)), label, video, who, split, image_size=(256, 144)))
    table = pd.DataFrame(rows, columns=["video", "subject", "label", "split"])
    whole = ClipSet.from_clips(clips, "imigue41", ("lose", "win"), FPS, "toy people")
    return EmotionData(None, SimulatedVideos(table, KEY), whole, whole, None)


class ToyWindows(WindowTokens):
    """Tokens whose first numbers say who won, by `effect`, in noise; a token in five does not count."""

    def __init__(self, name: str, effect: float, steps: int = 2, dim: int = 6) -> None:
        super().__init__()
        self.name, self.effect, self.steps, self.dim = name, effect, steps, dim

    def read(self, video: str, number: int) -> Piece:
        rng = rng_of(self.name, video, number)
        tokens = rng.normal(0, 1, (self.steps, self.dim)).astype(np.float32)
        tokens[:, :3] += self.effect * (int(video[-1]) - 0.5)
        return Piece(tokens, rng.random(self.steps) > 0.2)


def toy_features(config: EmotionConfig, data: EmotionData, effect: float = 3.0) -> EmotionFeatures:
    """What the configured model is shown."""
    needs = config.needs
    tokens = {name: ToyWindows(name, effect) for name in needs if name in ("face", "context")}
    return EmotionFeatures(
        tokens, SkeletonWindows(data, config.resolved()) if "skeleton" in needs else None,
        toy_events(data, effect) if "gesture" in needs else None, {name: "toy" for name in needs},
    )  # fmt: skip


def toy_events(data: EmotionData, effect: float = 3.0) -> GestureEvents:
    """Five events a video of three gestures; who lost shows the second more often."""
    rows, probabilities = [], []
    for video, frames in data.frames.items():
        rng = rng_of("gesture", video)
        for i, start in enumerate(np.linspace(0, frames - 10, 5).astype(int).tolist()):
            rows.append((video, f"{video}_{i}", start, start + int(rng.integers(3, 8))))
            odds = np.array([1.0, np.exp(effect * (0.5 - int(video[-1]))), 1.0])
            p = np.full(3, 0.1)
            p[rng.choice(3, p=odds / odds.sum())] = 0.8
            probabilities.append(p)
    table = pd.DataFrame(rows, columns=["video", "clip_id", "start", "end"])
    return GestureEvents(table, np.array(probabilities), ("shrug", "touch", "nod"), FPS, data.frames)
