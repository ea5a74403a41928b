"""Which frames of a clip the model sees: three samplers with one signature, and the gather they share.

Positions are frame numbers inside the clip, 0 to T - 1; fractional ones lie between two frames.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Rng = np.random.Generator | np.random.RandomState
Sampled = tuple[np.ndarray, np.ndarray]

TEST_SEED = 255
"""Seed of every test-time draw of uniform segments: the same clip always yields the same frames (PYSKL)."""


def segment_positions(
    num_frames: int, clip_len: int, num_clips: int = 1, rng: Rng | None = None, variant: str = "pyskl"
) -> np.ndarray:
    """One frame from each of `clip_len` equal segments, for each of `num_clips` clips.

    rng: a Generator, or a RandomState to repeat PYSKL's own draws; None is test mode: seed 255 and, for clips shorter
    than `clip_len`, evenly spread starts instead of random ones. Short clips run on from their start and wrap around.
    variant: "pyskl" draws one number more per clip than "mmaction2", hence other frames for the same seed.
    Returns (num_clips * clip_len,) int64. Raises ValueError on an empty clip or unknown variant.
    Source: UniformSampleFrames of PYSKL and mmaction2 (PoseC3D, arXiv 2104.13586, section 3.2).
    """
    _check(num_frames, clip_len, num_clips)
    if variant not in ("pyskl", "mmaction2"):
        raise ValueError(f"unknown variant {variant!r} of uniform segments; use 'pyskl' or 'mmaction2'")
    test, rng = rng is None, np.random.RandomState(TEST_SEED) if rng is None else rng
    integers = rng.randint if isinstance(rng, np.random.RandomState) else rng.integers
    clips = []
    for clip in range(num_clips):
        if variant == "pyskl":
            rng.random()  # PYSKL draws a sub-clip ratio even where it is fixed at 1
        if num_frames < clip_len:
            if test:
                start = clip if num_frames < num_clips else clip * num_frames // num_clips
            else:
                start = integers(0, num_frames)
            positions = start + np.arange(clip_len)
        elif num_frames < 2 * clip_len:
            skipped = np.zeros(clip_len + 1, np.int64)
            skipped[rng.choice(clip_len + 1, num_frames - clip_len, replace=False)] = 1
            positions = np.arange(clip_len) + np.cumsum(skipped)[:-1]
        else:
            bounds = np.arange(clip_len + 1) * num_frames // clip_len
            positions = bounds[:-1] + integers(np.diff(bounds))
        clips.append(positions % num_frames)
    return np.concatenate(clips).astype(np.int64)


def interval_positions(
    num_frames: int, clip_len: int, num_clips: int = 1, rng: Rng | None = None, jitter: str = "phase"
) -> np.ndarray:
    """Positions at uniform intervals of `num_frames / clip_len` over the whole clip; fractional, in order.

    Test mode (rng None): clip k of K starts (k + 1/2) / K of an interval in, so the views differ by their phase alone.
    Training: jitter "phase" draws one phase a clip, which keeps the intervals uniform; "interval" draws one per
    interval. A clip of exactly `clip_len` frames at phase 1/2 comes back unchanged.
    Returns (num_clips * clip_len,) float64 in [0, num_frames - 1]. Raises ValueError on an empty clip, unknown jitter.
    Source: arXiv 2506.12848 ("uniform-interval sampling"); phases, jitter and ends are our reconstruction.
    """
    _check(num_frames, clip_len, num_clips)
    if jitter not in ("phase", "interval"):
        raise ValueError(f"unknown jitter {jitter!r}; use 'phase' or 'interval'")
    if rng is None:
        phase = (np.arange(num_clips)[:, None] + 0.5) / num_clips
    else:
        phase = rng.random((num_clips, 1 if jitter == "phase" else clip_len))
    # interval i covers [i, i + 1) * N / L on an axis where frame f covers [f, f + 1): hence the half frame
    positions = (np.arange(clip_len) + phase) * (num_frames / clip_len) - 0.5
    return np.clip(positions, 0, num_frames - 1).ravel()


def take_frames(keypoints: np.ndarray, scores: np.ndarray, positions: np.ndarray) -> Sampled:
    """Frames at `positions`; fractional positions are interpolated linearly between their two neighbours.

    keypoints (..., T, V, D), scores (..., T, V); positions (P,) in [0, T - 1]. Score and coordinates blend linearly
    where a joint is present (score > 0) in both frames. Where only one has it, its coordinates stand, with the score
    blended towards 0; where neither has it, it stays missing (all 0). Whole positions are copied untouched.
    Returns float32 arrays (..., P, V, D) and (..., P, V). Raises ValueError when a position leaves the clip.
    """
    keypoints, scores, positions = np.asarray(keypoints), np.asarray(scores), np.asarray(positions)
    num_frames = keypoints.shape[-3]
    if scores.shape != keypoints.shape[:-1]:
        raise ValueError(f"scores {scores.shape} do not fit keypoints {keypoints.shape}; expected one score a joint")
    if len(positions) and not (positions.min() >= 0 and positions.max() <= num_frames - 1):
        raise ValueError(f"positions leave the clip of {num_frames} frames; clip them to [0, {num_frames - 1}]")
    before = np.floor(positions).astype(np.int64)
    out_keypoints = np.take(keypoints, before, axis=-3).astype(np.float32, copy=False)
    out_scores = np.take(scores, before, axis=-2).astype(np.float32, copy=False)
    between = np.flatnonzero(positions != before)
    if len(between) == 0:
        return out_keypoints, out_scores

    weight = (positions - before)[between].astype(np.float32)[:, None]
    s0 = out_scores[..., between, :]
    s1 = np.take(scores, before[between] + 1, axis=-2).astype(np.float32, copy=False)
    k0 = out_keypoints[..., between, :, :]
    k1 = np.take(keypoints, before[between] + 1, axis=-3).astype(np.float32, copy=False)
    in0, in1 = (s0 > 0), (s1 > 0)
    # the weight of the later frame, moved to a frame that has the joint when the other lacks it
    share = np.where(in0 & in1, weight, in1.astype(np.float32))[..., None]
    blended = np.where(share == 0, k0, np.where(share == 1, k1, k0 + share * (k1 - k0)))
    out_keypoints[..., between, :, :] = np.where((in0 | in1)[..., None], blended, 0)
    out_scores[..., between, :] = (1 - weight) * np.where(in0, s0, 0) + weight * np.where(in1, s1, 0)
    return out_keypoints, out_scores


def uniform_segments(
    keypoints: np.ndarray, scores: np.ndarray, clip_len: int, num_clips: int = 1, rng: Rng | None = None,
    variant: str = "pyskl",
) -> Sampled:  # fmt: skip
    """PYSKL's sampling: a random frame from each segment, short clips wrapped around; see `segment_positions`."""
    positions = segment_positions(keypoints.shape[-3], clip_len, num_clips, rng, variant)
    return take_frames(keypoints, scores, positions)


def zero_pad(
    keypoints: np.ndarray, scores: np.ndarray, clip_len: int, num_clips: int = 1, rng: Rng | None = None,
    length: int = 90,
) -> Sampled:  # fmt: skip
    """The 2023 winner's sampling, kept for ablation: pad with empty frames to `length`, then sample over all of them.

    Longer clips keep only their last `length` frames. Many sampled frames of a short clip are therefore empty.
    Source: the MiGA 2023 entry (arXiv 2307.10624) and its 90-frame arrays.
    """
    _check(keypoints.shape[-3], clip_len, num_clips)
    keypoints, scores = keypoints[..., -length:, :, :], scores[..., -length:, :]
    missing = length - keypoints.shape[-3]
    at_end = [(0, 0)] * (scores.ndim - 2) + [(0, missing), (0, 0)]
    return uniform_segments(np.pad(keypoints, [*at_end, (0, 0)]), np.pad(scores, at_end), clip_len, num_clips, rng)


def uniform_interval(
    keypoints: np.ndarray, scores: np.ndarray, clip_len: int, num_clips: int = 1, rng: Rng | None = None,
    jitter: str = "phase",
) -> Sampled:  # fmt: skip
    """Paper A's sampling, our reconstruction: uniform intervals over the whole clip, linearly interpolated.

    See `interval_positions` and `take_frames`. Short clips are stretched to `clip_len`, never wrapped or padded.
    """
    positions = interval_positions(keypoints.shape[-3], clip_len, num_clips, rng, jitter)
    return take_frames(keypoints, scores, positions)


SAMPLERS: dict[str, Callable[..., Sampled]] = {
    "uniform_segments": uniform_segments,
    "zero_pad": zero_pad,
    "uniform_interval": uniform_interval,
}
"""name -> sample(keypoints (..., T, V, D), scores (..., T, V), clip_len, num_clips=1, rng=None for test)
-> keypoints (..., num_clips * clip_len, V, D), scores (..., num_clips * clip_len, V), float32, clip after clip."""


def _check(num_frames: int, clip_len: int, num_clips: int) -> None:
    if num_frames < 1:
        raise ValueError("a clip without frames cannot be sampled; drop it when reading the data")
    if clip_len < 1 or num_clips < 1:
        raise ValueError(f"clip_len {clip_len} and num_clips {num_clips} must be at least 1")
