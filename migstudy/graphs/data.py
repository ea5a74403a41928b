"""What graph networks eat: (N, C, T, V, M) coordinates of joints, bones or their motion, made from a batch on its device.

Batches are those of `loading`: keypoints (N, views * T, V, D), scores (N, views * T, V), D = 2 or 3; or with people,
(N, M, views * T, V, D) and (N, M, views * T, V). Score 0 means missing, and what is missing stays 0 throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from migstudy.clips import Clip
from migstudy.graphs.augment import GraphAugment, augment, mirrored
from migstudy.graphs.normalise import BodyAxes, normalise
from migstudy.temporal import SAMPLERS, Rng
from migstudy.topology import Topology

Pairs = Sequence[tuple[int, int]]


def bones(keypoints: Tensor, scores: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Each joint minus its parent, (..., V, D), and the lesser of their scores; a root's bone is 0 and keeps its score.

    pairs: (joint, parent), as `Topology.bones()` gives them. A bone that lacks an end is missing: 0, score 0.
    Source: 2s-AGCN, section 3.4 (arXiv 1805.07694); there all joints are present.
    """
    parents = list(range(keypoints.shape[-2]))
    for joint, parent in pairs:
        parents[joint] = parent
    lesser = torch.minimum(scores, scores[..., parents])
    return _where_present(keypoints - keypoints[..., parents, :], lesser), lesser


def motion(keypoints: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """The next frame minus this one, (..., T, V, D), and the lesser score of the two; the last frame is 0, its score too.

    A joint missing in either frame has no motion. Source: the motion streams of 2s-AGCN's code.
    """
    lesser = torch.zeros_like(scores)
    lesser[..., :-1, :] = torch.minimum(scores[..., 1:, :], scores[..., :-1, :])
    moved = torch.zeros_like(keypoints)
    moved[..., :-1, :, :] = keypoints[..., 1:, :, :] - keypoints[..., :-1, :, :]
    return _where_present(moved, lesser), lesser


STREAMS: dict[str, Callable[[Tensor, Tensor, Pairs], tuple[Tensor, Tensor]]] = {
    "joint": lambda keypoints, scores, pairs: (keypoints, scores),
    "bone": bones,
    "joint_motion": lambda keypoints, scores, pairs: motion(keypoints, scores),
    "bone_motion": lambda keypoints, scores, pairs: motion(*bones(keypoints, scores, pairs)),
}
"""name -> stream(keypoints (..., T, V, D), scores (..., T, V), bone pairs) -> the same shapes."""


def graph_input(
    batch: dict[str, Tensor],
    topology: Topology,
    clip_len: int,
    stream: str = "joint",
    normalised: bool = True,
    each_frame: bool | None = None,
    with_scores: bool | None = None,
    augmentation: GraphAugment | None = None,
    generator: torch.Generator | None = None,
    mirror: bool = False,
    axes: BodyAxes | None = None,
) -> Tensor:
    """A batch of coordinates as a graph network's input, (N * views, C, T = clip_len, V, M), float32, on its device.

    stream: a name of `STREAMS`. normalised: position, size and view taken out first (`graphs.normalise`). each_frame: the
    position of every frame, or of the whole clip, so that a moving trunk still moves; by default every frame's in 3D
    (2s-AGCN), the clip's in 2D. with_scores: the score as a last channel, by default for 2D, as OpenPose's (x, y, score).
    augmentation: applied after normalising, one draw a view, from `generator` (of the CPU; torch's global one by
    default). mirror: the mirror images of a clip's views follow its views. axes: the joints that place the body, by name
    unless given.
    Raises ValueError for coordinates that do not fit the topology or clip_len, or an unknown stream.
    """
    if stream not in STREAMS:
        raise ValueError(f"unknown stream {stream!r}; known: {', '.join(STREAMS)}")
    keypoints, scores = _views(batch["keypoints"].float(), batch["scores"].float(), topology, clip_len)
    views = len(keypoints) // max(len(batch["scores"]), 1)
    with torch.autocast(keypoints.device.type, enabled=False):  # pixels lose their places in half precision
        keypoints = _where_present(keypoints, scores)
        if normalised:
            keypoints, scores = normalise(keypoints, scores, topology, axes, each_frame)
        if augmentation is not None:
            keypoints, scores = augment(keypoints, scores, topology, augmentation, generator)
        if mirror:
            pair = zip((keypoints, scores), mirrored(keypoints, scores, topology), strict=True)
            keypoints, scores = (
                torch.stack([own.unflatten(0, (-1, views)), other.unflatten(0, (-1, views))], dim=1).flatten(0, 2)
                for own, other in pair
            )
        keypoints, scores = STREAMS[stream](keypoints, scores, topology.bones())
    if keypoints.shape[-1] == 2 if with_scores is None else with_scores:
        keypoints = torch.cat([keypoints, scores[..., None]], dim=-1)
    return keypoints.permute(0, 4, 2, 3, 1).contiguous()


def graph_channels(dimensions: int, with_scores: bool | None = None) -> int:
    """Channels of `graph_input` for 2D or 3D coordinates: a network's `in_channels`."""
    return dimensions + (dimensions == 2 if with_scores is None else with_scores)


def sample_clips(
    clips: Iterable[Clip], clip_len: int, sampling: str = "uniform_interval", num_clips: int = 1, rng: Rng | None = None
) -> dict[str, Tensor]:
    """Clips of any length as one batch for `graph_input`, frames chosen by a sampler of `temporal.SAMPLERS`.

    The coordinates stay in their own units. `zero_pad` with a network's length of input is the originals' own padding.
    """
    sampled = [SAMPLERS[sampling](clip.keypoints, clip.scores, clip_len, num_clips, rng) for clip in clips]
    keypoints, scores = (torch.from_numpy(np.stack(part)) for part in zip(*sampled, strict=True))
    return {"keypoints": keypoints, "scores": scores}


def _views(keypoints: Tensor, scores: Tensor, topology: Topology, clip_len: int) -> tuple[Tensor, Tensor]:
    """People made explicit and views, which stand along time, moved into the batch: (N * views, M, T, V, D)."""
    if keypoints.ndim == 4:
        keypoints, scores = keypoints[:, None], scores[:, None]
    fits = keypoints.ndim == 5 and keypoints.shape[3] == topology.num_joints and keypoints.shape[4] in (2, 3)
    if not fits or keypoints.shape[:-1] != scores.shape or keypoints.shape[2] % clip_len:
        raise ValueError(
            f"keypoints {tuple(keypoints.shape)} and scores {tuple(scores.shape)} are no views of {clip_len} frames of"
            f" {topology.num_joints} joints ({topology.name!r}) in 2D or 3D; sample them with clip_len={clip_len}"
        )
    return tuple(
        part.unflatten(2, (-1, clip_len)).transpose(1, 2).flatten(0, 1) for part in (keypoints, scores)
    )  # (N, M, views, T, ...) -> (N, views, M, T, ...)


def _where_present(values: Tensor, scores: Tensor) -> Tensor:
    return torch.where((scores > 0)[..., None], values, torch.zeros_like(values))
