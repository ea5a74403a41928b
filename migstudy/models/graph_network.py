"""What the graph networks share: coordinates of people in, one averaged clip out, a skeleton kept in the configuration."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from migstudy.models.base import ModelOutput, StudyModel
from migstudy.skeletons import get_topology
from migstudy.topology import Topology

Skeleton = str | Topology | Mapping
"""A topology's name, itself, or its `to_dict()`; the last two make a saved model independent of registered names."""


class GraphNetwork(StudyModel):
    """Coordinates (N, C, T, V, M), or (N, C, T, V) of one person -> ModelOutput.

    tokens (N, T' * V, C'): the map before pooling, time-major, averaged over people. Joints stay apart, so that attention
    over them can bind an image patch to the joint it shows; `frame_tokens` gives the T' frames instead. features are the
    tokens' mean. A person whose coordinates are all 0 is absent: averaged like the others, as the originals do, or left
    out with skip_absent (batch norm in training still sees them).
    Subclasses give `encode` and `classify`.
    """

    def __init__(
        self, skeleton: Skeleton, in_channels: int, num_people: int | None, features: int, embedding_dim: int | None,
        dropout: float, skip_absent: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.topology = Topology.from_dict(skeleton) if isinstance(skeleton, Mapping) else get_topology(skeleton)
        self.in_channels, self.num_people, self.skip_absent = in_channels, num_people, skip_absent
        self.dropout = nn.Dropout(dropout)
        self.emb_fc = nn.Linear(features, embedding_dim) if embedding_dim else None

    @abstractmethod
    def encode(self, coordinates: Tensor) -> Tensor:
        """(N, C, T, V, M) -> (N * M, C', T', V)."""

    @abstractmethod
    def classify(self, features: Tensor) -> Tensor:
        """(N, C') -> logits (N, K)."""

    def forward(self, coordinates: Tensor) -> ModelOutput:
        x = coordinates[..., None] if coordinates.ndim == 4 else coordinates
        self._check(x)
        people = self.encode(x).unflatten(0, (len(x), -1))
        if self.skip_absent:
            weight = x.ne(0).flatten(1, 3).any(1).to(people)  # (N, M)
            weight = weight / weight.sum(1, keepdim=True).clamp(min=1)
            clip = torch.einsum("nm,nmctv->nctv", weight, people)
        else:
            clip = people.mean(1)
        tokens = clip.flatten(2).transpose(1, 2)
        features = tokens.mean(1)
        embedding = None if self.emb_fc is None else self.emb_fc(features)
        return ModelOutput(self.classify(self.dropout(features)), features, tokens, embedding)

    def frame_tokens(self, tokens: Tensor) -> Tensor:
        """One token a frame: (N, T' * V, C) -> (N, T', C), the mean over the joints."""
        return tokens.unflatten(1, (-1, self.topology.num_joints)).mean(2)

    def partitions(self, strategy: str) -> Tensor:
        """The skeleton's adjacency (K, V, V), rounded to float32 as the originals round it; columns receive."""
        return torch.as_tensor(self.topology.adjacency(strategy), dtype=torch.float32)

    def _check(self, x: Tensor) -> None:
        joints, people = self.topology.num_joints, self.num_people
        fits = x.ndim == 5 and x.shape[1] == self.in_channels and x.shape[3] == joints
        if not fits or people is not None and x.shape[4] != people:
            raise ValueError(
                f"coordinates are {tuple(x.shape)}; this {type(self).__name__} on {self.topology.name!r} takes"
                f" (N, {self.in_channels}, T, {joints}, {people or 'people'}): see migstudy.graphs.data.graph_input"
            )

    @classmethod
    def _encode_arg(cls, arg):
        # the mixin would take a Topology apart as a dataclass, which its read-only parts forbid
        return arg.to_dict() if isinstance(arg, Topology) else super()._encode_arg(arg)


def stage_plan(in_channels: int, base_channels: int, stage_blocks: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(channels in, channels out, temporal stride) of each unit: every stage after the first doubles width, halves time."""
    for stage, blocks in enumerate(stage_blocks):
        for block in range(blocks):
            width = base_channels * 2**stage
            yield in_channels, width, 2 if stage > 0 and block == 0 else 1
            in_channels = width


def same_length(kernel: int, dilation: int = 1) -> int:
    """The padding that keeps a sequence's length; raises ValueError for an even kernel, which has none."""
    if kernel % 2 == 0 or kernel < 1:
        raise ValueError(f"temporal_kernel {kernel} must be odd, so that frames in and out stay aligned")
    return kernel // 2 * dilation
