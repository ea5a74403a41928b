"""Where a body stands, how large it is and which way it faces, taken out of its coordinates; in torch, whole batches.

Keypoints (N, M, T, V, D) and scores (N, M, T, V) of M people; score 0 means missing, and a missing joint comes back at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from migstudy.topology import Topology

_CENTERS = (("spine",), ("neck",), ("shoulder_center",), ("right_shoulder", "left_shoulder"))
_UPRIGHTS = (
    (("hip_center",), ("spine",)), (("mid_hip",), ("neck",)), (("right_hip", "left_hip"), ("neck",)),
    (("right_hip", "left_hip"), ("right_shoulder", "left_shoulder")),
)  # fmt: skip


@dataclass(frozen=True)
class BodyAxes:
    """The joints that place a body; each point is the mean of a group of joints.

    center: the origin. upright: (lower, upper) point of the trunk, or None. across: (right, left) shoulder, or None.
    """

    center: tuple[int, ...]
    upright: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    across: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    @classmethod
    def of(cls, topology: Topology) -> BodyAxes:
        """By the joints' names: spine or neck as the centre, hip to spine or neck as upright, shoulders as across.

        A skeleton without such names is centred on `topology.center` and not turned. For ntu25: the joints of 2s-AGCN.
        """

        def found(*groups: Sequence[str]) -> bool:
            return all(joint in topology.joints for group in groups for joint in group)

        def at(group: Sequence[str]) -> tuple[int, ...]:
            return tuple(topology.joints.index(joint) for joint in group)

        center = next((at(group) for group in _CENTERS if found(group)), (topology.center,))
        upright = next(((at(low), at(high)) for low, high in _UPRIGHTS if found(low, high)), None)
        shoulders = ("right_shoulder",), ("left_shoulder",)
        return cls(center, upright, (at(shoulders[0]), at(shoulders[1])) if found(*shoulders) else None)


def normalise(
    keypoints: Tensor, scores: Tensor, topology: Topology, axes: BodyAxes | None = None, each_frame: bool | None = None
) -> tuple[Tensor, Tensor]:
    """`normalise_view` for 3D, `normalise_image` for 2D, with their own defaults; axes: `BodyAxes.of(topology)`."""
    axes = axes or BodyAxes.of(topology)
    chosen = normalise_view if keypoints.shape[-1] == 3 else normalise_image
    return chosen(keypoints, scores, axes, **({} if each_frame is None else {"each_frame": each_frame}))


def normalise_image(
    keypoints: Tensor, scores: Tensor, axes: BodyAxes, each_frame: bool = False
) -> tuple[Tensor, Tensor]:
    """Centre the first person on the neck and divide by the shoulders' width; any D; other people move along.

    Centre and width are means over the clip, weighted by score, so that a moving trunk still moves; each_frame centres
    every frame by itself. A clip that never shows the neck is centred on the mean of its joints. A width below half the
    body's radius (root mean square distance of all joints from the centre), as in profile, gives way to that half.
    Unchanged by shifting and scaling the input. Our reconstruction.
    """
    first, weight = keypoints[:, 0], scores[:, 0].clamp(min=0)
    point, certain = _point(first, weight, axes.center)  # (N, T, D), (N, T)
    any_joint = _mean(first.flatten(1, 2), weight.flatten(1, 2))
    total = certain.sum(1)
    center = torch.where(total[:, None] > 0, _mean(point, certain), any_joint)  # (N, D)
    radius = _mean((first - center[:, None, None]).square().sum(-1, keepdim=True).flatten(1, 2), weight.flatten(1, 2))
    scale = radius.sqrt() / 2  # (N, 1)
    if axes.across is not None:
        (right, sure_right), (left, sure_left) = (_point(first, weight, side) for side in axes.across)
        width = _mean((right - left).norm(dim=-1, keepdim=True), (sure_right * sure_left).sqrt())
        scale = torch.maximum(scale, width)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    origin = center[:, None]
    if each_frame:
        origin = torch.where(certain[..., None] > 0, point, origin)
    return _masked((keypoints - origin[:, None, :, None]) / scale[:, None, None, None], scores), scores


def normalise_view(
    keypoints: Tensor, scores: Tensor, axes: BodyAxes, each_frame: bool = True, scaled: bool = False
) -> tuple[Tensor, Tensor]:
    """2s-AGCN's pre-normalisation of 3D clips: `close_gaps`, centre on the first person, turn to face the viewer.

    Every frame is centred on the first person's centre; each_frame=False takes the clip's mean, so that a moving trunk
    still moves. The trunk of the first person is then turned onto the z axis and its shoulders (left to right) onto the
    x axis, by the first frame that shows those joints. scaled: divides by the shoulders' width besides (ours).
    A frame whose centre is missing takes the clip's mean, where the original leaves it unmoved.
    """
    keypoints, scores = close_gaps(keypoints, scores)
    first, weight = keypoints[:, 0], scores[:, 0].clamp(min=0)
    point, certain = _point(first, weight, axes.center)
    origin = _mean(point, certain)[:, None]
    if each_frame:
        origin = torch.where(certain[..., None] > 0, point, origin)
    keypoints = _masked(keypoints - origin[:, None, :, None], scores)
    for pair, onto in ((axes.upright, (0.0, 0.0, 1.0)), (axes.across, (1.0, 0.0, 0.0))):
        if pair is None:
            continue
        # upright points from the lower to the upper joint, across from the left to the right one
        away, to = pair if onto[2] else pair[::-1]
        (start, sure_start), (end, sure_end) = (_point(keypoints[:, 0], weight, group) for group in (away, to))
        seen = (sure_start * sure_end > 0).float().argmax(1)  # the first such frame; 0 where there is none
        direction = (end - start)[torch.arange(len(seen), device=seen.device), seen]
        shown = (sure_start * sure_end > 0).any(1)
        direction = torch.where(shown[:, None], direction, torch.zeros_like(direction))
        turn = rotation_onto(direction, torch.tensor(onto, dtype=keypoints.dtype, device=keypoints.device))
        keypoints = torch.einsum("nij,nmtvj->nmtvi", turn, keypoints)
    if scaled and axes.across is not None:
        (right, sure_right), (left, sure_left) = (_point(keypoints[:, 0], weight, side) for side in axes.across)
        width = _mean((right - left).norm(dim=-1, keepdim=True), (sure_right * sure_left).sqrt())
        keypoints = keypoints / torch.where(width > 0, width, torch.ones_like(width))[:, None, None, None]
    return keypoints, scores


def close_gaps(keypoints: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """No empty start, no empty end: 2s-AGCN's padding, person by person.

    Where frame 0 is empty, all empty frames are dropped and the rest moves up; then an empty end is filled by repeating
    the sequence. Gaps inside stay, as do people who never appear.
    """
    frames = keypoints.shape[2]
    shown = (scores > 0).any(-1)  # (N, M, T)
    time = torch.arange(frames, device=scores.device).expand_as(shown)
    moved_up = (~shown).to(torch.int8).argsort(dim=-1, stable=True)
    order = torch.where(shown[..., :1], time, moved_up)
    length = torch.where(shown.gather(-1, order), time + 1, 0).amax(-1, keepdim=True).clamp(min=1)
    order = order.gather(-1, time % length)
    keypoints = keypoints.gather(2, order[..., None, None].expand_as(keypoints))
    return keypoints, scores.gather(2, order[..., None].expand_as(scores))


def rotation_onto(direction: Tensor, target: Tensor) -> Tensor:
    """The smallest rotation (N, 3, 3) that turns each direction (N, 3) onto the unit vector `target` (3,).

    A direction of length 0, or opposite to the target, is left as it is.
    """
    unit = direction / direction.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(direction.dtype).tiny)
    target = target.expand_as(unit)
    cross, cosine = torch.linalg.cross(unit, target), (unit * target).sum(-1)
    axis = cross / cross.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(direction.dtype).tiny)
    eye = torch.eye(3, dtype=direction.dtype, device=direction.device)
    turn = eye + _cross_matrix(cross) + (1 - cosine)[:, None, None] * _cross_matrix(axis) @ _cross_matrix(axis)
    turned = cross.norm(dim=-1) > 0
    return torch.where(turned[:, None, None], turn, eye)


def _cross_matrix(v: Tensor) -> Tensor:
    x, y, z = v.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))


def _point(keypoints: Tensor, scores: Tensor, group: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The mean of a group of joints (..., D) and how sure it is: the least score, 0 where one is missing."""
    return keypoints[..., group, :].mean(-2), scores[..., group].amin(-1)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over axis 1: (N, K, D), (N, K) -> (N, D); 0 where all weights are 0."""
    total = weights.sum(1, keepdim=True)
    return torch.einsum("nkd,nk->nd", values, weights / torch.where(total > 0, total, torch.ones_like(total)))


def _masked(keypoints: Tensor, scores: Tensor) -> Tensor:
    return torch.where((scores > 0)[..., None], keypoints, torch.zeros_like(keypoints))
