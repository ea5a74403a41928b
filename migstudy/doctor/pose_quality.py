"""Signs of bad pose estimates: missing, frozen and jumping joints, exchanged sides, hands on the wrong wrists.

Everything is measured in body widths (shoulder to shoulder), so that it holds for any camera and any unit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from migstudy.clips import ClipSet
from migstudy.topology import Topology

SURE = 0.2  # confidence from which a joint's place is taken seriously
JUMP_SPEED = 12.5  # body widths a second, about 5 m/s: faster than a seated person's hand
JUMP_FACTOR = 10.0  # and so many times the joint's usual step in the clip, since an athlete's hand may be that fast
SWAP_MOVE, SWAP_GAIN = 0.25, 0.3  # a swap moves joints that many widths, and undoing it leaves less than that share
CHUNK_FRAMES = 4096
MIN_FROZEN = 5  # frames a clip must have before standing still says anything


@dataclass(frozen=True)
class Quality:
    """Measures of N clips of V joints.

    frames (N,); missing (N, V) frames without the joint; frozen (N, V): present throughout and never moving, of clips
    that `can_freeze` (N, V); jumps (N, V): outlying steps (JUMP_*); jump_steps (N,): steps in which any joint
    jumps; swapped (N,): frames with exchanged sides; outside (N,): sure joints beyond the image, of `sure` (N,);
    digests: of each clip's coordinates. hands: (hand, wrist) -> mean distance in widths, over frames with both wrists
    and the hand. sides: joint pair -> share of frames in which the left one lies further right in the image.
    """

    frames: np.ndarray
    missing: np.ndarray
    frozen: np.ndarray
    can_freeze: np.ndarray
    jumps: np.ndarray
    jump_steps: np.ndarray
    swapped: np.ndarray
    outside: np.ndarray
    sure: np.ndarray
    digests: tuple[bytes, ...]
    hands: dict[tuple[str, str], float]
    sides: dict[str, float]


@dataclass(frozen=True)
class _Chunk:
    """Whole clips end to end, F frames. starts, lengths, digests: of each clip; size, width: of each frame's clip."""

    points: np.ndarray
    scores: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    size: np.ndarray
    width: np.ndarray
    digests: list[bytes]

    @property
    def sure(self) -> np.ndarray:
        return self.scores >= SURE

    def per_clip(self, values: np.ndarray) -> np.ndarray:
        """Sums over the frames of each clip."""
        return np.add.reduceat(values, self.starts, axis=0, dtype=np.int64)

    def is_step(self) -> np.ndarray:
        """(F,) whether the frame has one before it in its clip."""
        step = np.ones(len(self.points), bool)
        step[self.starts] = False
        return step


def measure_quality(clipset: ClipSet) -> Quality:
    """Measure every clip, a few thousand frames at a time."""
    topology, rows, digests = clipset.topology, [], []
    groups, hands, sides = _mirrored_groups(topology), _Means(), _Means()
    for chunk in _chunks(clipset):
        jump = _jumps(chunk, clipset.fps)
        frozen, can_freeze = _frozen(chunk)
        outside = ((chunk.points < 0) | (chunk.points > chunk.size[:, None])).any(-1) & chunk.sure
        rows.append((
            chunk.lengths, chunk.per_clip(chunk.scores <= 0), frozen, can_freeze, chunk.per_clip(jump),
            chunk.per_clip(jump.any(1)), chunk.per_clip(_swapped(chunk, groups)), chunk.per_clip(outside.sum(1)),
            chunk.per_clip(chunk.sure.sum(1)),
        ))  # fmt: skip
        digests += chunk.digests
        _hand_distances(chunk, topology, hands)
        if clipset.dimensions == 2:
            _side_order(chunk, topology, sides)
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
    if clipset.units != "px":
        columns[7][:] = 0  # no image to lie outside of
    return Quality(*columns, tuple(digests), hands.means(), sides.means())


class _Means:
    """Running means by key."""

    def __init__(self) -> None:
        self.total, self.count = {}, {}

    def add(self, key, values: np.ndarray) -> None:
        self.total[key] = self.total.get(key, 0.0) + float(values.sum())
        self.count[key] = self.count.get(key, 0) + len(values)

    def means(self) -> dict:
        return {key: self.total[key] / n for key, n in self.count.items() if n}


def _chunks(clipset: ClipSet) -> Iterator[_Chunk]:
    held, frames = [], 0
    for i, clip in enumerate(clipset, 1):
        held.append(clip)
        frames += len(clip)
        if frames >= CHUNK_FRAMES or i == len(clipset):
            points, scores = np.concatenate([c.keypoints for c in held]), np.concatenate([c.scores for c in held])
            lengths = np.array([len(c) for c in held])
            size = [[*c.image_size, 0][: points.shape[-1]] for c in held]
            width = [body_width(c.keypoints, c.scores, clipset.topology) for c in held]
            yield _Chunk(points, scores, np.cumsum(lengths) - lengths, lengths, np.repeat(np.float32(size), lengths, 0),
                         np.repeat(np.float32(width), lengths), [_digest(c.keypoints) for c in held])  # fmt: skip
            held, frames = [], 0


def _digest(points: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(points), digest_size=16).digest()


def body_width(points: np.ndarray, scores: np.ndarray, topology: Topology) -> float:
    """Median shoulder to shoulder distance of a clip; without sure shoulders, its joints' spread; 1 without joints."""
    pair = find_pair(topology, "shoulder")
    if pair:
        both = (scores[:, pair] >= SURE).all(1)
        if both.any():
            apart = np.linalg.norm(points[both][:, pair[0]] - points[both][:, pair[1]], axis=-1)
            if np.median(apart) > 0:
                return float(np.median(apart))
    present = scores > 0
    if not present.any():
        return 1.0
    weight = present[..., None] / np.maximum(present.sum(1), 1)[:, None, None]
    middle = (points * weight).sum(1, keepdims=True)
    spread = np.sqrt((((points - middle) ** 2) * weight).sum((1, 2)))
    return float(np.median(spread[present.any(1)])) or 1.0


def find_pair(topology: Topology, joint: str) -> list[int]:
    """Indices of the left and the right joint of that name (`left_wrist`, `wrist_left`); empty when not both exist."""
    for left, right in ((f"left_{joint}", f"right_{joint}"), (f"{joint}_left", f"{joint}_right")):
        if left in topology.joints and right in topology.joints:
            return [topology.joints.index(left), topology.joints.index(right)]
    return []


def _frozen(chunk: _Chunk) -> tuple[np.ndarray, np.ndarray]:
    low, high = (f.reduceat(chunk.points, chunk.starts, axis=0) for f in (np.minimum, np.maximum))
    throughout = chunk.per_clip(chunk.scores > 0) == chunk.lengths[:, None]
    can_freeze = throughout & (chunk.lengths >= MIN_FROZEN)[:, None]
    return (low == high).all(-1) & can_freeze, can_freeze


def _jumps(chunk: _Chunk, fps: float) -> np.ndarray:
    """(F, V) whether a joint, sure before and after, came here too fast for a body and for this clip."""
    step = np.zeros(chunk.scores.shape, np.float32)
    step[1:] = np.linalg.norm(chunk.points[1:] - chunk.points[:-1], axis=-1)
    step[1:] *= chunk.sure[1:] & chunk.sure[:-1] & chunk.is_step()[1:, None]
    usual = np.stack([np.median(clip, axis=0) for clip in np.split(step, chunk.starts[1:])])
    limit = np.maximum(JUMP_FACTOR * usual, (JUMP_SPEED / fps * chunk.width[chunk.starts])[:, None])
    return step > np.repeat(limit, chunk.lengths, axis=0)


def _mirrored_groups(topology: Topology) -> list[tuple[list[int], list[int]]]:
    """Joints that exchange sides together: (one side, the other side) for arms, hands, legs, eyes, ..."""
    mirror, groups = topology.mirror, []
    for part in topology.parts.values():
        ours = [j for j in part if mirror[j] > j]
        if ours:
            groups.append((ours, [mirror[j] for j in ours]))
    return groups


def _swapped(chunk: _Chunk, groups: list[tuple[list[int], list[int]]]) -> np.ndarray:
    """(F,) frames whose sides are exchanged, in any group, against most of the clip.

    An exchange shows at a step where joints leap and would hardly move if the sides were exchanged; the frames between
    an exchange and the next are swapped.
    """
    swapped, step = np.zeros(len(chunk.points), bool), chunk.is_step()[1:]
    clip = np.repeat(np.arange(len(chunk.starts)), chunk.lengths)
    for one, other in groups:
        a, b, sure = chunk.points[:, one], chunk.points[:, other], chunk.sure[:, one] & chunk.sure[:, other]
        both = sure[1:] & sure[:-1]
        count = both.sum(1)

        def move(p: np.ndarray, q: np.ndarray, both: np.ndarray = both, count: np.ndarray = count) -> np.ndarray:
            return (np.linalg.norm(p - q, axis=-1) * both).sum(1) / np.maximum(count, 1)

        stay = move(a[1:], a[:-1]) + move(b[1:], b[:-1])
        exchange = move(a[1:], b[:-1]) + move(b[1:], a[:-1])
        event = (count >= min(2, len(one))) & (stay > 2 * SWAP_MOVE * chunk.width[1:]) & (exchange < SWAP_GAIN * stay)
        turns = np.cumsum(np.concatenate([[False], event & step]))
        odd = (turns - turns[chunk.starts][clip]) % 2 == 1
        most = chunk.per_clip(odd) * 2 > chunk.lengths
        swapped |= odd ^ most[clip]
    return swapped


def _hand_distances(chunk: _Chunk, topology: Topology, means: _Means) -> None:
    wrists = find_pair(topology, "wrist")
    if not wrists or not {"left_hand", "right_hand"} <= set(topology.parts):
        return
    for hand in ("left_hand", "right_hand"):
        joints = [j for j in topology.parts[hand] if j not in wrists]
        sure = chunk.sure[:, joints]
        use = chunk.sure[:, wrists].all(1) & sure.any(1)
        for wrist, side in zip(wrists, ("left", "right"), strict=True):
            away = np.linalg.norm(chunk.points[use][:, joints] - chunk.points[use][:, wrist, None], axis=-1)
            mean = (away * sure[use]).sum(1) / sure[use].sum(1)
            means.add((hand.split("_")[0], side), mean / chunk.width[use])


def _side_order(chunk: _Chunk, topology: Topology, means: _Means) -> None:
    for joint in ("shoulder", "eye", "ear"):
        if pair := find_pair(topology, joint):
            use = chunk.sure[:, pair].all(1)
            means.add(joint, chunk.points[use, pair[0], 0] > chunk.points[use, pair[1], 0])
