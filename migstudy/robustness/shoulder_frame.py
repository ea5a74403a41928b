"""Clips in the frame of their shoulders: end to end, in shoulder widths, seconds for frames; what is missing stays missing.

A person's size and place in the image drop out, and with speeds in seconds the frame rate.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from migstudy.clips import ClipSet
from migstudy.topology import Topology

_LAG = 0.2  # seconds between the two positions whose distance is a speed; over a single frame it would be the jitter's


class Posed(NamedTuple):
    """Clips laid end to end: points (F, V, 2) in shoulder widths about the mid of the shoulders, seen (F, V) 0 or 1,
    first frame and length of each of N clips, fps."""

    points: np.ndarray
    seen: np.ndarray
    first: np.ndarray
    length: np.ndarray
    fps: float
    topology: Topology

    def total(self, values: np.ndarray) -> np.ndarray:
        """(F, ...) summed over each clip's frames, (N, ...)."""
        return np.add.reduceat(values, self.first, axis=0)

    def mean(self, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Weighted mean over each clip's frames, NaN where nothing is seen: (F, V[, 2]) and (F, V) -> (N, V[, 2])."""
        weights = weights[..., None] if values.ndim > weights.ndim else weights
        return ratio(self.total(values * weights), self.total(weights))

    def joint(self, name: str) -> int:
        return self.topology.joints.index(name)


def pose_clips(clips: ClipSet) -> Posed:
    """The clips end to end, scaled and centred by the shoulders; by all joints where a clip never shows both."""
    topology = clips.topology
    if clips.dimensions != 2:
        raise ValueError(f"{clips.source}: these features are made of pixels, the clips have {clips.dimensions} coordinates")
    sides = [f"{side}_shoulder" for side in ("right", "left")]
    if missing := [name for name in sides if name not in topology.joints]:
        raise ValueError(f"{clips.source}: {topology.name!r} lacks {missing[0]}, by which these features are scaled")
    length = clips.index["length"].to_numpy()
    first = np.concatenate([[0], np.cumsum(length)[:-1]])
    rows = np.repeat(clips.index["offset"].to_numpy() - first, length) + np.arange(length.sum())
    joints = list(clips.joints or range(topology.num_joints))
    points = clips.keypoints[rows][:, joints].astype(np.float64)
    seen = (clips.scores[rows][:, joints] > 0).astype(np.float64)
    posed = Posed(points, seen, first, length, clips.fps, topology)

    pair = [topology.joints.index(name) for name in sides]
    both = seen[:, pair].prod(1)
    mid, apart = points[:, pair].mean(1), np.linalg.norm(points[:, pair[0]] - points[:, pair[1]], axis=-1)
    origin = ratio(posed.total(mid * both[:, None]), posed.total(both[:, None]))
    scale = ratio(posed.total(apart * both), posed.total(both))
    anything = ratio(posed.total((points * seen[..., None]).sum(1)), posed.total(seen.sum(1))[:, None])
    origin = np.nan_to_num(np.where(np.isnan(origin), anything, origin))
    away = ((points - np.repeat(origin, length, axis=0)[:, None]) ** 2).sum(-1)
    spread = np.sqrt(ratio(posed.total((away * seen).sum(1)), posed.total(seen.sum(1))))
    scale = np.where(np.nan_to_num(scale) < 1e-6, np.nan_to_num(spread), scale)
    scale = np.where(scale < 1e-6, 1.0, scale)
    points = (points - np.repeat(origin, length, axis=0)[:, None]) / np.repeat(scale, length)[:, None, None]
    return posed._replace(points=points * seen[..., None])


def right_moves_more(posed: Posed) -> Posed:
    """The same with every clip mirrored whose left arm goes farther than its right."""
    moved = np.nan_to_num(mean_speed(posed))
    arms = {side: [i for i, joint in enumerate(posed.topology.joints) if joint.startswith((f"{side}_wrist", f"{side}_hand"))]
            for side in ("left", "right")}  # fmt: skip
    if not all(arms.values()):
        return posed
    flip = np.repeat(moved[:, arms["left"]].mean(1) > moved[:, arms["right"]].mean(1), posed.length)
    mirror = list(posed.topology.mirror)
    points = np.where(flip[:, None, None], posed.points[:, mirror] * [-1, 1], posed.points)
    return posed._replace(points=points, seen=np.where(flip[:, None], posed.seen[:, mirror], posed.seen))


def mean_speed(posed: Posed) -> np.ndarray:
    """(N, V) mean speed in shoulder widths a second between frames a fifth of a second apart; NaN where never seen twice."""
    lag, length = max(1, round(_LAG * posed.fps)), np.repeat(posed.length, posed.length)
    gap = np.minimum(lag, (length - 1 + (length == 2)) // 2)  # a short clip: half of it, or there and back would be nowhere
    inside = np.arange(len(posed.points)) - np.repeat(posed.first, posed.length)
    within = (inside + gap < length) & (gap > 0)
    later = np.where(within, np.arange(len(posed.points)) + gap, 0)
    pair = posed.seen * posed.seen[later] * within[:, None]
    distance = np.linalg.norm(posed.points[later] - posed.points, axis=-1)
    return posed.mean(distance * posed.fps / np.maximum(gap, 1)[:, None], pair)


def filled_in(mean: np.ndarray, topology: Topology) -> np.ndarray:
    """(N, V, 2) without NaN: a joint never seen lies where its neighbour towards the center does, the center at 0."""
    filled, reached, queue = mean.copy(), {topology.center}, deque([topology.center])
    filled[:, topology.center] = np.nan_to_num(filled[:, topology.center])
    while queue:
        joint = queue.popleft()
        for a, b in topology.edges:
            if joint in (a, b) and (other := b if joint == a else a) not in reached:
                filled[:, other] = np.where(np.isnan(filled[:, other]), filled[:, joint], filled[:, other])
                reached.add(other)
                queue.append(other)
    return np.nan_to_num(filled)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where whole is 0."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
