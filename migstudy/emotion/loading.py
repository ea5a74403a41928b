"""From videos to batches of segments: as many windows as a model sees together, drawn anew every epoch, all of them for a test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, Dataset

from migstudy.config.emotion import EmotionConfig
from migstudy.emotion.data import EmotionData
from migstudy.emotion.features import EmotionFeatures


def segments(windows: int, size: int) -> list[tuple[int, int]]:
    """(first, last) windows of the segments of at most `size` that cover a video; of equal size, neighbours may overlap."""
    count = -(-windows // size)
    starts = np.round(np.linspace(0, windows - min(size, windows), count)).astype(int)
    return [(int(start), int(start) + min(size, windows)) for start in starts]


class SegmentDataset(Dataset):
    """Videos as segments; in training one segment a video, its place drawn from (seed, epoch, position) alone, else all of them.

    rows: video, label. A batch: {label (N,), video (N,): place in rows, weight (N,): windows} and, by what the model is shown,
    {tokens {name: (N, L, D)}, mask {name: (N, L) bool}} or {coordinates (N, C, T, V)}.
    """

    def __init__(
        self, rows: pd.DataFrame, labels: np.ndarray, data: EmotionData, features: EmotionFeatures, config: EmotionConfig,
        train: bool,
    ) -> None:  # fmt: skip
        self.rows, self.labels, self.features, self.train, self.epoch = rows, np.asarray(labels), features, train, 0
        self.size, self.seed = config.segment_windows, config.seed
        videos = rows["video"].tolist()
        self.windows = [len(data.window_edges(video, config.window_seconds)) - 1 for video in videos]
        whole = config.needs == ("gesture",)
        self.gestures = features.gestures if whole else {}
        self.places = [
            (i, *span) for i, count in enumerate(self.windows) for span in ([(0, count)] if whole else segments(count, self.size))
        ]
        self.videos = videos

    def __len__(self) -> int:
        return len(self.videos) if self.train else len(self.places)

    def __getitem__(self, i: int) -> dict[str, Any]:
        return self.__getitems__([i])

    def __getitems__(self, numbers: Sequence[int]) -> dict[str, Any]:
        places = [self._drawn(i) if self.train else self.places[i] for i in numbers]
        owners = [place[0] for place in places]
        batch: dict[str, Any] = {
            "label": torch.as_tensor(self.labels[owners]), "video": torch.tensor(owners),
            "weight": torch.tensor([float(last - first) for _, first, last in places]),
        }  # fmt: skip
        if self.gestures:
            batch |= self._events(owners)
        elif self.features.skeleton is not None:
            read = [self.features.skeleton.segment(self.videos[i], first, last) for i, first, last in places]
            batch["coordinates"] = torch.from_numpy(np.stack(read))
        else:
            batch |= self._tokens(places)
        return batch

    def _drawn(self, i: int) -> tuple[int, int, int]:
        count = self.windows[i]
        if self.gestures or count <= self.size:
            return i, 0, count
        start = int(np.random.default_rng([self.seed, self.epoch, i]).integers(count - self.size + 1))
        return i, start, start + self.size

    def _tokens(self, places: list[tuple[int, int, int]]) -> dict[str, Any]:
        tokens, mask = {}, {}
        for name, source in self.features.tokens.items():
            values = np.zeros((len(places), self.size * source.steps, source.dim), np.float32)
            valid = np.zeros(values.shape[:2], bool)
            for row, (i, first, last) in enumerate(places):
                piece = source.segment(self.videos[i], first, last)
                values[row, : len(piece.valid)], valid[row, : len(piece.valid)] = piece
            tokens[name], mask[name] = torch.from_numpy(values), torch.from_numpy(valid)
        return {"tokens": tokens, "mask": mask}

    def _events(self, owners: list[int]) -> dict[str, Any]:
        from migstudy.emotion.gesture_sequence import gesture_batch

        tokens, valid = gesture_batch(self.gestures, [self.videos[i] for i in owners])
        return {"tokens": {"gesture": tokens}, "mask": {"gesture": valid}}


def segment_loader(
    rows: pd.DataFrame, labels: np.ndarray, data: EmotionData, features: EmotionFeatures, config: EmotionConfig,
    train: bool = False,
) -> DataLoader:  # fmt: skip
    """Batches of segments: shuffled by a generator of their own for training, in order otherwise."""
    dataset = SegmentDataset(rows, labels, data, features, config, train)
    return DataLoader(
        dataset, config.batch_size, shuffle=train, generator=torch.Generator() if train else None, collate_fn=_as_it_is,
        num_workers=config.workers, pin_memory=torch.cuda.is_available(),
    )  # fmt: skip


def _as_it_is(batch: dict[str, Any]) -> dict[str, Any]:
    return batch
