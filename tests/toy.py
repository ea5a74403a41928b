"""A gesture problem that a small network solves in seconds: where both hands go. Symmetric, so that mirroring is harmless."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from migstudy.classes import IMIGUE_CLASSES
from migstudy.clips import Clip, ClipSet
from migstudy.config.gesture import GestureConfig
from migstudy.skeletons import get_topology

NAMES = tuple(IMIGUE_CLASSES[i].name for i in (0, 3, 7))  # real classes, so that the shipped label vectors know them
REACH = ((0, -160), (150, 0), (0, 110))  # px, how far the hands of each class go: up, out, down
SHARE = ((48, 24, 24), (12, 6, 6), (24, 12, 12))  # clips of each class in train, val, test

TINY = dict(
    profile="smoke", topology="native", clip_len=4, train_size=16, test_size=16, base_channels=4, stage_blocks="1,1,1",
    epochs=2, batch_size=8, test_clips=2, label_embedding="none", threads=1,
)  # fmt: skip


def tiny(**changes) -> GestureConfig:
    """A configuration that trains in a second."""
    return GestureConfig(**{**TINY, **changes})


def toy_set(share=SHARE, noise: float = 3.0, seed: int = 0, topology: str = "imigue22", dimensions: int = 2) -> ClipSet:
    """Seated people in 720 px images, their hands moving as the class says, 6 to 14 frames a clip, subjects disjoint."""
    return ClipSet.from_clips(
        _clips(share, noise, seed, get_topology(topology), dimensions), topology, NAMES, 25, "a toy made for a test",
        "px" if dimensions == 2 else "m",
    )  # fmt: skip


def save_toy(folder: Path, **options) -> Path:
    """The toy as a ClipSet folder, which `data=` of a configuration can name."""
    return toy_set(**options).save(folder)


def _clips(share, noise, seed, topology, dimensions):
    rng = np.random.default_rng(seed)
    place = rng.uniform((260, 160), (460, 460), (topology.num_joints, 2))
    place = (place + (place * [-1, 1] + [720, 0])[list(topology.mirror)]) / 2  # left and right as in a mirror
    hands = [i for i, joint in enumerate(topology.joints) if "wrist" in joint or "hand" in joint]
    side = np.sign(place[hands, :1] - 360) * [1, 0] + [0, 1]
    number = 0
    for split, counts in zip(("train", "val", "test"), share, strict=True):
        for label, count in enumerate(counts):
            for _ in range(count):
                frames = int(rng.integers(6, 15))
                move = np.sin(np.linspace(0, np.pi, frames))[:, None, None] * rng.uniform(0.6, 1.1)
                points = np.repeat(place[None], frames, axis=0)
                points[:, hands] += move * side * REACH[label]
                points = points + rng.normal(0, noise, points.shape) + rng.normal(0, 15, 2)
                scores = np.where(rng.random(points.shape[:2]) < 0.03, 0, rng.uniform(0.5, 1, points.shape[:2]))
                if dimensions == 3:
                    points = np.concatenate([points, rng.normal(0, 40, (*points.shape[:2], 1))], axis=-1) / 500
                points = np.where(scores[..., None] > 0, points, 0)
                number += 1
                yield Clip(
                    f"{number:04d}_0", points.astype(np.float32), scores.astype(np.float32), label, f"{number:04d}",
                    f"{split}{number % 4}", split, 0, frames - 1, (720, 720),
                )  # fmt: skip
