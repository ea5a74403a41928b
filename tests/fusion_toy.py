"""A fusion problem made of two halves: of three classes, one modality tells the first from the rest, the other the last."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from toy import toy_set

from migstudy.config.fusion import FusionConfig
from migstudy.data import GestureData
from migstudy.encoder import Encoder
from migstudy.fusion.data import FusionData, Modality
from migstudy.token_cache import TokenStore

SHARE = ((32, 32, 32), (8, 8, 8), (16, 16, 16))
GRIDS = {"bone": (3, 2), "joint": (4, 1)}
WIDTH = {"bone": 5, "joint": 6}
TINY = dict(
    profile="smoke", width=16, depth=1, heads=2, epochs=6, batch_size=16, lr=1e-2, modality_dropout=0.2, threads=1, memory=True,
    memory_momentum=0.9,
)  # fmt: skip


def fusing(**changes) -> FusionConfig:
    """A configuration that trains in a second."""
    return FusionConfig(**{**TINY, **changes})


def clips_of(share=SHARE) -> GestureData:
    whole = toy_set(share)
    return GestureData(whole, *(whole.select(split=split) for split in ("train", "val", "test")))


def tokens_of(clips: GestureData, name: str, noise: float = 0.25) -> dict[str, np.ndarray]:
    """clip id -> (L, C): one token of the clip, anywhere, is marked and says whether the clip is of the modality's own class."""
    own, length = {"joint": 0, "bone": 2}[name], int(np.prod(GRIDS[name]))
    tokens = {}
    for clip_id, label in zip(clips.whole.index["clip_id"], clips.whole.labels, strict=True):
        rng = np.random.default_rng([*clip_id.encode(), own])
        x = noise * rng.normal(size=(length, WIDTH[name]))
        place = rng.integers(length)
        x[place, 0] = 2.0
        x[place, 1] = 2.0 * (1 if label == own else -1)
        tokens[clip_id] = x.astype(np.float32)
    return tokens


def two_halves(share=SHARE, **changes: Mapping) -> FusionData:
    """changes: modality name -> arguments of `Modality` besides, as `joint={"shown": ...}`."""
    clips = clips_of(share)
    modalities = {
        name: Modality(**{"tokens": tokens_of(clips, name), "grid": GRIDS[name], **changes.get(name, {})}) for name in GRIDS
    }
    return FusionData(clips, modalities, {name: f"03_train_gesture-{name}" for name in GRIDS})


def stored(tokens: Mapping[str, np.ndarray], folder: Path, order: list[str]) -> TokenStore:
    """The tokens on disk, written in that order."""
    shape = next(iter(tokens.values())).shape
    with TokenStore.create(folder, Encoder("AGCN", "w", "c", "d", str(shape)), shape) as store:
        store.append(order, np.stack([tokens[clip_id] for clip_id in order]))
        return store.finish()
