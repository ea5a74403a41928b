"""What a fusion is trained on: the tokens of every modality's encoder, joined by clip id, whatever their order on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from migstudy.clips import ClipSet
from migstudy.config.fusion import FusionConfig
from migstudy.config.gesture import GestureConfig
from migstudy.data import GestureData, cache_folder, open_data
from migstudy.fusion.encoders import encoder_configs
from migstudy.graphs.tokens import graph_tokens, shown_steps
from migstudy.loading import training_labels
from migstudy.models.mvit import PATCH_STRIDE
from migstudy.runs.claims import Claim
from migstudy.runs.folder import Run
from migstudy.runs.inner import load_encoder
from migstudy.video.tokens import rgb_tokens

Tokens = Mapping[str, np.ndarray]
Inputs = tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]
"""What a network takes of a batch, each by modality: tokens or clips, mask (N, L) bool, presence (N,) bool."""


@dataclass(frozen=True)
class Modality:
    """One encoder's tokens of the clips.

    tokens: clip id -> (L, C), the same L and C for all; a clip that is not there lacks the modality. grid: (steps, places),
    class_token: whether one comes first, see `FusionNetwork`. shown: clip id -> (L,) bool, True = a token that counts, for
    clips with others besides; a clip without any lacks the modality as well.
    """

    tokens: Tokens
    grid: tuple[int, int]
    class_token: bool = False
    shown: Tokens = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """(L, C)."""
        return next(iter(self.tokens.values())).shape

    def has(self, clip_id: str) -> bool:
        return clip_id in self.tokens and (clip_id not in self.shown or bool(self.shown[clip_id].any()))


@dataclass(frozen=True)
class FusionData:
    """Clips in three parts and their tokens, modality name -> Modality; encoders: modality name -> id of its run."""

    clips: GestureData
    modalities: Mapping[str, Modality]
    encoders: Mapping[str, str] = field(default_factory=dict)

    @property
    def shared(self) -> dict[str, Any]:
        """What a fusion network has to know of its inputs."""
        named = self.modalities.items()
        return {
            "token_dims": {name: modality.shape[1] for name, modality in named},
            "grids": {name: modality.grid for name, modality in named},
            "class_tokens": [name for name, modality in named if modality.class_token],
        }

    def loader(self, clips: ClipSet, config: FusionConfig, train: bool = False) -> DataLoader:
        """Batches of the clips, for `inputs`."""
        return token_loader(self, clips, config, train)

    def inputs(self, batch: dict[str, Any], train: bool = False) -> Inputs:
        """What the network takes of a batch."""
        return batch["tokens"], batch["mask"], batch["present"]


def open_fusion_data(
    config: FusionConfig, data: GestureData, runs: Mapping[str, Run], cache: str | Path | None = None, progress: bool = True
) -> FusionData:  # fmt: skip
    """The tokens of finished encoders, extracted where the cache does not hold them yet."""
    modalities, cache = {}, Path(cache or cache_folder())
    for name, own in encoder_configs(config).items():
        model = load_encoder(runs[name]).to("cuda" if torch.cuda.is_available() else "cpu")
        with Claim.wait(cache / "claims" / runs[name].id):  # fusions side by side extract an encoder's tokens once
            if own.on_rgb:
                modalities[name] = _video(model, config.resolved(), own, cache, progress)
            else:
                modalities[name] = _skeleton(model, config.resolved(), own, data, cache, progress)
    return FusionData(data, modalities, {name: runs[name].id for name in modalities})


def _skeleton(model, config: FusionConfig, own: GestureConfig, data: GestureData, cache, progress: bool) -> Modality:
    parts = (data.train, data.val, data.test)
    store = graph_tokens(model, parts, own, data.fingerprint, config.tokens, dtype=config.token_dtype, cache=cache, progress=progress)
    places = data.topology.num_joints if config.tokens == "joint" else 1
    steps = store.shape[0] // places
    shown = {clip: steps_of.repeat(places) for part in parts for clip, steps_of in shown_steps(part, own, steps).items()}
    return Modality(store, (steps, places), shown=shown)


def _video(model, config: FusionConfig, own: GestureConfig, cache, progress: bool) -> Modality:
    seen = open_data(own)
    store = rgb_tokens(
        model, seen.whole, seen.pixels, own.clip_len, own.test_size, dtype=config.token_dtype, cache=cache, progress=progress
    )
    steps = own.clip_len // PATCH_STRIDE[0]
    return Modality(store, (steps, (store.shape[0] - 1) // steps), class_token=True)


class TokenDataset(Dataset):
    """Clips as batches of tokens: fetched a batch at a time, found by clip id.

    A batch: {tokens {name: (N, L, C) float32}, mask {name: (N, L) bool}, present {name: (N,) bool}, label (N,), index (N,)}.
    """

    def __init__(self, clips: ClipSet, modalities: Mapping[str, Modality], labels: np.ndarray | None = None) -> None:
        self.ids, self.modalities, self.epoch = clips.index["clip_id"].tolist(), dict(modalities), 0
        self.labels = torch.tensor(clips.labels if labels is None else labels)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.__getitems__([i])

    def __getitems__(self, rows: Sequence[int]) -> dict[str, Any]:
        batch: dict[str, Any] = {"tokens": {}, "mask": {}, "present": {}}
        ids = [self.ids[i] for i in rows]
        for name, modality in self.modalities.items():
            present = np.array([modality.has(clip_id) for clip_id in ids])
            tokens = np.zeros((len(ids), *modality.shape), np.float32)
            mask = np.repeat(present[:, None], modality.shape[0], axis=1)
            for row, clip_id in enumerate(ids):
                if present[row]:
                    tokens[row] = modality.tokens[clip_id]
                    mask[row] = modality.shown.get(clip_id, True)
            for key, value in (("tokens", tokens), ("mask", mask), ("present", present)):
                batch[key][name] = torch.from_numpy(value)
        return batch | {"label": self.labels[list(rows)], "index": torch.tensor(rows)}


def with_tokens(clips: ClipSet, modalities: Mapping[str, Modality]) -> ClipSet:
    """The clips that have one modality at least; a fusion has nothing to say of the others."""
    return clips.select(np.array([any(m.has(clip_id) for m in modalities.values()) for clip_id in clips.index["clip_id"]], bool))


def token_loader(data: FusionData, clips: ClipSet, config: FusionConfig, train: bool = False) -> DataLoader:
    """Batches of the clips that have a modality: shuffled by a generator of its own for training, in order otherwise.

    shuffle_labels: a control; the labels of training clips change places once.
    """
    clips, config = with_tokens(clips, data.modalities), config.resolved()
    labels = training_labels(clips, config) if train else clips.labels
    return DataLoader(
        TokenDataset(clips, data.modalities, labels), config.batch_size, shuffle=train, num_workers=config.workers,
        generator=torch.Generator() if train else None, collate_fn=_as_it_is, drop_last=train and len(clips) > config.batch_size,
        pin_memory=torch.cuda.is_available(),
    )  # fmt: skip


def _as_it_is(batch: dict[str, Any]) -> dict[str, Any]:
    return batch


def open_clips(config: FusionConfig) -> GestureData:
    """The configured dataset in three parts, as its encoders saw it."""
    return open_data(next(iter(encoder_configs(config).values())))
