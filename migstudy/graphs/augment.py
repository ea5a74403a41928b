"""Random views of a skeleton for graph networks: turned, sheared, scaled, cropped in time, mirrored, joints dropped.

Works on batches in torch: keypoints (N, M, T, V, D), scores (N, M, T, V), normalised so that the body stands at the
origin and x runs across it. All people and frames of a clip share one draw. The draws are made on the CPU whatever the
device, so that both train alike, and one option leaves the draws of the others alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from migstudy.topology import Topology


@dataclass(frozen=True)
class GraphAugment:
    """How much to change a clip; 0 everywhere changes nothing. The values are ours.

    flip: probability of a mirror image. degrees: rotation up to this angle, in the image or about each of three axes.
    shear: every axis takes up to this share of the others. zoom: size changes by a factor 1 / (1 + zoom) to 1 + zoom.
    crop: up to this share of the time is cut off at the ends. joint_dropout: probability that a joint is missing for the
    whole clip. noise: Gaussian, in the coordinates' unit (shoulder widths once normalised).
    Raises ValueError for values out of range.
    """

    flip: float = 0.5
    degrees: float = 10.0
    shear: float = 0.1
    zoom: float = 0.15
    crop: float = 0.25
    joint_dropout: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        most = {"flip": 1, "degrees": 180, "crop": 0.95, "joint_dropout": 0.95}
        for field in fields(self):
            value, high = getattr(self, field.name), most.get(field.name, math.inf)
            if not 0 <= value <= high:
                raise ValueError(f"{field.name}={value!r}: it must be between 0 and {high}")


def augment(
    keypoints: Tensor, scores: Tensor, topology: Topology, how: GraphAugment, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """One random view a clip; missing joints stay missing, at 0. generator: of the CPU, torch's global one by default."""
    n, _, frames, joints, dimensions = keypoints.shape
    device, dtype = keypoints.device, keypoints.dtype
    draw = torch.rand(n, 12, generator=generator)  # flip, crop 2, zoom, angles 3; 5 spare, so that the table may grow
    sheared = torch.rand(n, dimensions, dimensions, generator=generator) * 2 - 1
    kept = torch.rand(n, 1, 1, joints, generator=generator) >= how.joint_dropout
    normal = torch.Generator().manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
    if how.crop:
        share = 1 - how.crop * draw[:, 1]
        start = (1 - share) * draw[:, 2] * (frames - 1)
        positions = start[:, None] + share[:, None] * torch.arange(frames)
        keypoints, scores = take_positions(keypoints, scores, positions.clamp(0, frames - 1).to(device))
    if how.flip:
        chosen = (draw[:, 0] < how.flip).to(device)[:, None, None, None]
        other_points, other_scores = mirrored(keypoints, scores, topology)
        keypoints = torch.where(chosen[..., None], other_points, keypoints)
        scores = torch.where(chosen, other_scores, scores)
    if how.degrees or how.shear or how.zoom:
        angles = (draw[:, 4:7] * 2 - 1) * math.radians(how.degrees)
        size = torch.exp((draw[:, 3] * 2 - 1) * math.log1p(how.zoom))
        matrix = rotations(angles if dimensions == 3 else angles[:, :1])
        matrix = matrix @ (torch.eye(dimensions) + how.shear * sheared * (1 - torch.eye(dimensions)))
        matrix = (size[:, None, None] * matrix).to(device, dtype)
        keypoints = torch.einsum("nij,nmtvj->nmtvi", matrix, keypoints)
    if how.noise:
        noise = how.noise * torch.randn(keypoints.shape, generator=normal).to(device, dtype)
        keypoints = torch.where((scores > 0)[..., None], keypoints + noise, keypoints)
    if how.joint_dropout:
        kept = kept.to(device)
        keypoints, scores = keypoints * kept[..., None], scores * kept
    return keypoints, scores


def mirrored(keypoints: Tensor, scores: Tensor, topology: Topology) -> tuple[Tensor, Tensor]:
    """Left and right swapped: x negated, and joint v takes the place of joint mirror[v]. Twice gives the clip back."""
    mirror = list(topology.mirror)
    sign = torch.ones(keypoints.shape[-1], dtype=keypoints.dtype, device=keypoints.device)
    sign[0] = -1
    return keypoints[..., mirror, :] * sign, scores[..., mirror]


def rotations(angles: Tensor) -> Tensor:
    """Rotation matrices from radians: (N, 1) -> (N, 2, 2) in the plane; (N, 3) -> (N, 3, 3) about x, then y, then z."""
    cos, sin = angles.cos(), angles.sin()
    planes = [(0, 1)] if angles.shape[1] == 1 else [(1, 2), (2, 0), (0, 1)]
    size = 2 if angles.shape[1] == 1 else 3
    whole = torch.eye(size, dtype=angles.dtype).expand(len(angles), size, size)
    for k, (a, b) in enumerate(planes):
        turn = torch.eye(size, dtype=angles.dtype).repeat(len(angles), 1, 1)
        turn[:, a, a] = turn[:, b, b] = cos[:, k]
        turn[:, a, b], turn[:, b, a] = -sin[:, k], sin[:, k]
        whole = turn @ whole
    return whole


def take_positions(keypoints: Tensor, scores: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Frames at fractional positions of each clip, (N, P) in [0, T - 1]: `temporal.take_frames` for a batch."""
    frames = keypoints.shape[2]
    before = positions.floor().long()
    weight = (positions - before).to(keypoints.dtype)[:, None, :, None]  # (N, 1, P, 1)

    def at(index: Tensor) -> tuple[Tensor, Tensor]:
        index = index[:, None, :, None].expand(*scores.shape[:2], -1, scores.shape[3])
        points = keypoints.gather(2, index[..., None].expand(*index.shape, keypoints.shape[-1]))
        return points, scores.gather(2, index)

    (k0, s0), (k1, s1) = at(before), at((before + 1).clamp(max=frames - 1))
    in0, in1 = s0 > 0, s1 > 0
    # the weight of the later frame, moved to a frame that has the joint when the other lacks it
    share = torch.where(in0 & in1, weight, in1.to(weight.dtype))
    share = torch.where(weight == 0, torch.zeros_like(share), share)[..., None]
    blended = torch.where(share == 0, k0, torch.where(share == 1, k1, k0 + share * (k1 - k0)))
    seen = in0 | in1 & (weight > 0)
    blended = torch.where(seen[..., None], blended, torch.zeros_like(blended))
    return blended, torch.where(weight == 0, s0, (1 - weight) * s0.clamp(min=0) + weight * s1.clamp(min=0))
