"""Face embeddings of videos at every few frames, from a face model: taken from the cache, or extracted once.

A video's sampled frames are kept in windows, one record of the token store each, so that memory holds one window at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from migstudy.datasets.content_cache import key_of
from migstudy.faces.crops import FaceVideo, as_model_input
from migstudy.models import StudyModel
from migstudy.token_cache import TokenStore, describe_encoder, store_folder

_VERSION = 1  # raise it whenever the same film would be cut or kept differently


@dataclass(frozen=True)
class FaceSpec:
    """Which frames are embedded.

    step: frames from one sample to the next, the first being frame 0. window: samples a record. mirrored: of the mirrored
    crops, as an augmentation (a store of its own).
    """

    step: int = 5
    window: int = 32
    mirrored: bool = False

    def __post_init__(self) -> None:
        if self.step < 1 or self.window < 1:
            raise ValueError(f"{self}: step and window must be at least 1")


class FaceSequence(NamedTuple):
    """tokens (n, L, C) float32, 0 where no face is usable; usable (n,) bool; frames (n,) int, of the video."""

    tokens: np.ndarray
    usable: np.ndarray
    frames: np.ndarray


class FaceTokens(Mapping[str, FaceSequence]):
    """video id -> its face tokens; `window` reads a part of a long video. shape: (L, C) of a frame.

    Tokens are memory-mapped: what is not asked for is not in memory.
    """

    def __init__(self, store: TokenStore, faces: Mapping[str, FaceVideo], spec: FaceSpec, shape: tuple[int, int]) -> None:
        self.store, self.spec, self.shape = store, spec, shape
        self._videos = {video: (face.fingerprint, samples(face.frames, spec.step)) for video, face in faces.items()}

    def __len__(self) -> int:
        return len(self._videos)

    def __iter__(self) -> Iterator[str]:
        return iter(self._videos)

    def __getitem__(self, video: str) -> FaceSequence:
        return self.window(video, 0, self.count(video))

    def count(self, video: str) -> int:
        """Sampled frames of a video. Raises KeyError naming one that is not there."""
        if video not in self._videos:
            raise KeyError(f"no face tokens of video {video!r} among the {len(self)} of {self.store.folder}")
        return self._videos[video][1]

    def window(self, video: str, start: int, stop: int) -> FaceSequence:
        """Samples start..stop-1 of a video, cut at its end; only their records are read."""
        stop, size = min(stop, self.count(video)), self.spec.window
        start, fingerprint = min(max(start, 0), stop), self._videos[video][0]
        first, last = start // size, max(-(-stop // size), start // size + 1)
        records = [self.store[_record(fingerprint, row)] for row in range(first, last)] if stop > start else []
        empty = np.zeros((0, int(np.prod(self.shape)) + 1), np.float32)
        kept = np.concatenate([empty, *records])[start - first * size : stop - first * size]
        tokens = np.ascontiguousarray(kept[:, :-1], np.float32).reshape(-1, *self.shape)
        return FaceSequence(tokens, kept[:, -1] > 0.5, np.arange(start, stop) * self.spec.step)


def samples(frames: int, step: int) -> int:
    """How many frames of a video are sampled: 0, step, 2 step, ..."""
    return -(-frames // step)


def face_tokens(
    model: StudyModel, faces: Mapping[str, FaceVideo], spec: FaceSpec = FaceSpec(), *, dtype: str = "float16",
    batch_size: int = 64, cache: str | Path | None = None, progress: bool = True,
) -> FaceTokens:  # fmt: skip
    """The tokens of every video's face at every `spec.step` frames, by a model with `size` (px) and `tokens` (N, L, C).

    faces: of `crops.open_faces`. The store belongs to these weights, this configuration and this spec; a record to the film's
    bytes and the way its face was found, so that more videos can be added, and another film or landmark is another record.
    What was interrupted goes on; what is there is not decoded again. cache: as in `read_release`.
    """
    sampling = {"version": _VERSION, "size": model.size, **asdict(spec)}
    encoder = describe_encoder(model, "aligned faces", sampling)
    folder = store_folder(encoder, dtype, cache)
    rows = {video: [_record(face.fingerprint, row) for row in range(_rows(face, spec))] for video, face in faces.items()}
    records = [record for own in rows.values() for record in own]
    shape = _shape(model)
    if (folder / "DONE").is_file():
        store = TokenStore.open(folder, encoder)
        if not store.missing(records):
            return FaceTokens(store, faces, spec, shape)
    with TokenStore.resume(folder, encoder, (spec.window, shape[0] * shape[1] + 1), dtype) as store:
        was_training, left = model.training, set(store.missing(records))
        model.eval()
        try:
            with tqdm(desc="face tokens", total=len(left), disable=not progress, unit="window") as bar:
                for video, face in faces.items():
                    missing = [row for row, record in enumerate(rows[video]) if record in left]
                    left.difference_update(rows[video])  # the same film under two ids is looked at once
                    for row, values in zip(missing, _windows(model, face, missing, spec, shape, batch_size), strict=True):
                        store.append([rows[video][row]], values[None])
                        bar.update()
        finally:
            model.train(was_training)
        return FaceTokens(store.finish(), faces, spec, shape)


def _windows(
    model: StudyModel, face: FaceVideo, rows: Sequence[int], spec: FaceSpec, shape: tuple[int, int], batch_size: int
) -> Iterator[np.ndarray]:
    """The records of one video, (window, L * C + 1) each: tokens, then whether the face is usable; one film, opened once."""
    total, device = samples(face.frames, spec.step), next(model.parameters()).device
    spans = [range(row * spec.window, min((row + 1) * spec.window, total)) for row in rows]
    crops = face.crops(sample * spec.step for span in spans for sample in span)
    for span in spans:
        values = np.zeros((spec.window, shape[0] * shape[1] + 1), np.float32)
        found = [(place, crop) for place, (_, crop) in enumerate(islice(crops, len(span))) if crop is not None]
        for begin in range(0, len(found), batch_size):
            places, pictures = zip(*found[begin : begin + batch_size], strict=True)
            with torch.inference_mode():
                seen = as_model_input(torch.from_numpy(np.stack(pictures)).to(device), model.size, spec.mirrored)
                values[list(places), :-1] = model(seen).tokens.float().cpu().flatten(1).numpy()
            values[list(places), -1] = 1
        yield values


def _rows(face: FaceVideo, spec: FaceSpec) -> int:
    """Records of a video."""
    return -(-samples(face.frames, spec.step) // spec.window)


def _shape(model: StudyModel) -> tuple[int, int]:
    """(L, C) of one face's tokens."""
    was_training = model.training
    with torch.inference_mode():
        blank = torch.zeros(1, 3, model.size, model.size, device=next(model.parameters()).device)
        tokens = model.eval()(blank).tokens
    model.train(was_training)
    return tuple(tokens.shape[1:])


def _record(fingerprint: str, row: int) -> str:
    return key_of(fingerprint, row)


__all__ = ["FaceSequence", "FaceSpec", "FaceTokens", "face_tokens", "samples"]
