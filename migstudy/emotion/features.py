"""What a model is shown of a video, window by window: face and context tokens, coordinates, recognised gestures.

Encoders work through a video one window at a time and their tokens are kept in the cache, so that memory does not grow with the
length of the video, and a model on top of them is trained again in seconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from migstudy.clips import ClipSet
from migstudy.config.emotion import EmotionConfig
from migstudy.emotion.data import EmotionData, cache_folder, one_at_a_time, window_id
from migstudy.emotion.encoders import (
    config_of,
    context_run,
    face_encoder,
    gesture_run,
    recognised_gestures,
)
from migstudy.emotion.gesture_sequence import GestureEvents, gesture_tokens
from migstudy.faces.crops import READY_FOLDER, open_faces
from migstudy.faces.tokens import FaceSpec, FaceTokens, face_tokens
from migstudy.graphs.data import graph_input
from migstudy.models.base import ModelOutput
from migstudy.models.mvit import MViT
from migstudy.runs.inner import load_encoder
from migstudy.token_cache import TokenStore
from migstudy.video.films import find_films
from migstudy.video.rgb import RgbSpec, check_films, open_rgb_clips
from migstudy.video.tokens import rgb_tokens

_HELD = 256 * 2**20  # bytes of a modality's windows held in memory, all of the quick profile; further ones are read again


class Piece(NamedTuple):
    """Tokens (L, D) float32 and which of them count, (L,) bool."""

    tokens: np.ndarray
    valid: np.ndarray


class WindowTokens(ABC):
    """A modality of tokens, as many in every window: steps; dim: their width."""

    steps: int
    dim: int

    @cached_property
    def _held(self) -> Callable[[str, int], Piece]:
        return lru_cache(max(1, _HELD // (self.steps * (4 * self.dim + 1))))(self.read)

    @abstractmethod
    def read(self, video: str, number: int) -> Piece:
        """One window's tokens (steps, dim)."""

    def segment(self, video: str, first: int, last: int) -> Piece:
        """Tokens of windows first..last-1, joined in time."""
        pieces = [self._held(video, number) for number in range(first, last)]
        return Piece(*(np.concatenate(part) for part in zip(*pieces, strict=True)))


class FaceWindows(WindowTokens):
    """Each window's usable faces, averaged to `steps` tokens in order of time; a face's tokens side by side are one vector."""

    def __init__(self, tokens: FaceTokens, data: EmotionData, config: EmotionConfig) -> None:
        self.tokens, self.data, self.seconds = tokens, data, config.window_seconds
        self.steps, self.dim = config.face_steps, int(np.prod(tokens.shape))

    def read(self, video: str, number: int) -> Piece:
        edges, step = self.data.window_edges(video, self.seconds), self.tokens.spec.step
        found = self.tokens.window(video, -(-int(edges[number]) // step), -(-int(edges[number + 1]) // step))
        tokens, valid = np.zeros((self.steps, self.dim), np.float32), np.zeros(self.steps, bool)
        for place, part in enumerate(np.array_split(np.arange(len(found.usable)), self.steps)):
            seen = part[found.usable[part]]
            if len(seen):
                tokens[place], valid[place] = found.tokens[seen].reshape(len(seen), -1).mean(0), True
        return Piece(tokens, valid)


class ContextWindows(WindowTokens):
    """The video model's tokens of each window, one a step of time: the mean over the picture."""

    def __init__(self, store: TokenStore) -> None:
        self.store, (self.steps, self.dim) = store, store.shape

    def read(self, video: str, number: int) -> Piece:
        return Piece(np.asarray(self.store[window_id(video, number)], np.float32), np.ones(self.steps, bool))


class StepTokens(nn.Module):
    """MViT whose tokens are its steps of time: the mean over the places of each, (N, T', C), without the class token."""

    def __init__(self, model: MViT, steps: int) -> None:
        super().__init__()
        self.model, self.steps = model, steps

    def forward(self, clip: Tensor) -> ModelOutput:
        output = self.model(clip)
        return output._replace(tokens=output.tokens[:, 1:].unflatten(1, (self.steps, -1)).mean(2))


class SkeletonWindows:
    """Coordinates of any windows of a video, (C, T, V), at a lower frame rate, position and size of the body taken out."""

    channels = 3

    def __init__(self, data: EmotionData, config: EmotionConfig) -> None:
        self.data, self.seconds = data, config.window_seconds
        self.whole: ClipSet = data.whole.to_topology(config.topology)
        self.step = max(1, round(data.whole.fps / config.skeleton_rate))
        self.length = int(np.ceil(config.segment_windows * config.window_seconds * data.whole.fps * 1.34 / self.step))
        self._rows = {clip: i for i, clip in enumerate(self.whole.index["video"])}

    def segment(self, video: str, first: int, last: int) -> np.ndarray:
        """(C, length, V) float32, 0 behind the end."""
        edges = self.data.window_edges(video, self.seconds)
        frames = slice(int(edges[first]), int(edges[last]), self.step)
        clip = self.whole[self._rows[video]]
        parts = (np.array(part[frames][None, : self.length]) for part in (clip.keypoints, clip.scores))
        keypoints, scores = map(torch.from_numpy, parts)
        seen = graph_input({"keypoints": keypoints, "scores": scores}, self.whole.topology, keypoints.shape[1])[0, ..., 0]
        padded = np.zeros((self.channels, self.length, seen.shape[-1]), np.float32)
        padded[:, : seen.shape[1]] = seen.numpy()
        return padded


@dataclass(frozen=True)
class EmotionFeatures:
    """What the configured model needs, the rest None. encoders: name -> the run, or file, of what looked at the videos. saw:
    name -> how many of the people cross-validated its encoder learned from, None where that cannot be known."""

    tokens: dict[str, WindowTokens]
    skeleton: SkeletonWindows | None = None
    events: GestureEvents | None = None
    encoders: dict[str, str] = field(default_factory=dict)
    saw: dict[str, int | None] = field(default_factory=dict)

    @cached_property
    def gestures(self) -> dict[str, np.ndarray]:
        return gesture_tokens(self.events)


def open_features(
    config: EmotionConfig, data: EmotionData, needs: Sequence[str] | None = None, progress: bool = True
) -> EmotionFeatures:
    """The features of the model, taken from the cache or extracted; encoders that are missing are trained first.

    Raises FilmError for videos without pictures before anything is trained.
    """
    config = config.resolved()
    torch.set_num_threads(config.threads or torch.get_num_threads())
    tokens, encoders, saw, skeleton, events = {}, {}, {}, None, None
    needs = config.needs if needs is None else needs
    _check_pictures(needs, data)
    for need in needs:
        if need == "face":
            tokens[need] = open_face_windows(config, data, progress)
            encoders[need] = config.face_weights or f"stand-in {tokens[need].tokens.store.encoder.hash[:12]}"
            saw[need] = None if config.face_weights else 0
        elif need == "context":
            run, saw[need] = context_run(config, data)
            tokens[need], encoders[need] = open_context_windows(config, data, run, progress), run.id
        elif need == "skeleton":
            skeleton = SkeletonWindows(data, config)
        else:
            run, saw[need] = gesture_run(config, data)
            scores = recognised_gestures(run, data)
            events = GestureEvents.from_scores(scores, data.clips.index, data.whole.fps, data.frames)
            encoders[need] = run.id
    return EmotionFeatures(tokens, skeleton, events, encoders, saw)


def _check_pictures(needs: Sequence[str], data: EmotionData) -> None:
    """FilmError naming the videos of the protocol, those of its test part among them, whose pictures are missing."""
    ready = (data.root / READY_FOLDER).is_dir()
    if "context" in needs or ("face" in needs and not ready):
        check_films(find_films(data.films), data.whole)
    if "face" in needs and ready:
        check_films({path.stem: path for path in (data.root / READY_FOLDER).glob("*.mp4")}, data.whole)


def open_face_windows(config: EmotionConfig, data: EmotionData, progress: bool = True) -> FaceWindows:
    """The face encoder's tokens of all videos."""
    place = data.root if (data.root / READY_FOLDER).is_dir() else data.films
    faces = open_faces(place, data.whole, videos=list(data.frames), cache=cache_folder())  # what is amiss is said before training
    model = face_encoder(config, data, progress)
    spec = FaceSpec(step=max(1, round(data.whole.fps / config.face_rate)))
    with one_at_a_time(f"faces-{data.fingerprint[:16]}"):
        tokens = face_tokens(model, faces, spec, cache=cache_folder(), progress=progress)
    return FaceWindows(tokens, data, config)


def open_context_windows(config: EmotionConfig, data: EmotionData, run, progress: bool = True) -> ContextWindows:
    """The video model's tokens of every window of all videos."""
    own, windows, cache = config_of(run), data.windows(config.window_seconds), cache_folder()
    model = StepTokens(load_encoder(run), own.clip_len // 2).eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    spec = RgbSpec(frames=own.clip_len, size=own.train_size)
    with one_at_a_time(f"context-{data.fingerprint[:16]}"):
        pixels = open_rgb_clips(windows, find_films(data.films), spec, cache=cache, progress=progress)
        return ContextWindows(rgb_tokens(model, windows, pixels, own.clip_len, own.train_size, cache=cache, progress=progress))


def video_embedding(source: WindowTokens, data: EmotionData, video: str, seconds: float) -> np.ndarray:
    """(dim,) mean of a video's tokens that count, one window in memory at a time; NaN where none does."""
    total, count = np.zeros(source.dim), 0
    for number in range(len(data.window_edges(video, seconds)) - 1):
        piece = source.read(video, number)
        total += piece.tokens[piece.valid].sum(0)
        count += int(piece.valid.sum())
    return total / count if count else np.full(source.dim, np.nan)
