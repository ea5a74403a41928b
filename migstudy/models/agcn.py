"""2s-AGCN: graph convolution over the skeleton plus a learned graph plus the similarity of the joints at hand.

Shi et al., "Two-Stream Adaptive Graph Convolutional Networks for Skeleton-Based Action Recognition", CVPR 2019
(arXiv 1805.07694), section 3. This is one stream: train one instance on joints, one on bones, and sum their scores
(`fusion`). Parameter names are the original's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migstudy.models.graph_network import GraphNetwork, Skeleton, same_length, stage_plan


class AGCN(GraphNetwork):
    """Coordinates (N, C, T, V, M = num_people) -> class logits.

    The input's batch norm has statistics of its own for each person, joint and channel, so num_people is fixed.
    base_channels, stage_blocks: (4, 3, 3) units of 64, 128, 256 channels; time halves where a stage begins.
    temporal_kernel: frames, odd. dropout: before the classifier (0 in the original). embedding_dim: adds the head that
    predicts the label's text vector. skip_absent: see GraphNetwork.
    """

    def __init__(
        self,
        topology: Skeleton = "ntu25",
        in_channels: int = 3,
        num_classes: int = 32,
        num_people: int = 1,
        base_channels: int = 64,
        stage_blocks: Sequence[int] = (4, 3, 3),
        temporal_kernel: int = 9,
        dropout: float = 0.0,
        embedding_dim: int | None = None,
        skip_absent: bool = False,
    ) -> None:
        plan = list(stage_plan(in_channels, base_channels, stage_blocks))
        width = plan[-1][1]
        super().__init__(topology, in_channels, num_people, width, embedding_dim, dropout, skip_absent)
        self.data_bn = nn.BatchNorm1d(num_people * in_channels * self.topology.num_joints)
        adjacency = self.partitions("agcn")
        for i, unit in enumerate(plan):
            self.add_module(f"l{i + 1}", Unit(*unit, adjacency, temporal_kernel, residual=i > 0))
        self.units = len(plan)
        self.fc = nn.Linear(width, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The original's: He (fan out), graph convolutions close to silent, classifier N(0, sqrt(2 / classes))."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, AdaptiveGraphConv):
                module.reset_parameters()
        nn.init.normal_(self.fc.weight, std=math.sqrt(2 / self.fc.out_features))

    def encode(self, coordinates: Tensor) -> Tensor:
        x = coordinates.permute(0, 4, 3, 1, 2)  # (N, M, V, C, T)
        x = self.data_bn(x.flatten(1, 3)).unflatten(1, x.shape[1:4])
        x = x.flatten(0, 1).permute(0, 2, 3, 1).contiguous()
        for i in range(self.units):
            x = self.get_submodule(f"l{i + 1}")(x)
        return x

    def classify(self, features: Tensor) -> Tensor:
        return self.fc(features)


class Unit(nn.Module):
    """Adaptive graph convolution, temporal convolution, a residual around both: (N, C, T, V) -> (N, C', T / stride, V)."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, adjacency: Tensor, kernel: int, residual: bool
    ) -> None:
        super().__init__()
        self.gcn1 = AdaptiveGraphConv(in_channels, out_channels, adjacency)
        self.tcn1 = TemporalConv(out_channels, out_channels, kernel, stride)
        changes = residual and (in_channels != out_channels or stride != 1)
        self.residual = TemporalConv(in_channels, out_channels, 1, stride) if changes else None
        self.has_residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.tcn1(self.gcn1(x))
        if self.has_residual:
            y = y + (x if self.residual is None else self.residual(x))
        return y.relu()


class AdaptiveGraphConv(nn.Module):
    """Sum over the partitions k of W_k x (A_k + B_k + C_k), batch norm, residual, ReLU; (N, C, T, V) -> (N, C', T, V).

    A: the skeleton (K, V, V), fixed. B: `PA`, learned, any two joints. C: softmax over the source joints of
    theta(x)^T phi(x) / (C_e T), computed for each clip. Columns receive. Source: equation 4 and figure 2 of the paper.
    """

    def __init__(self, in_channels: int, out_channels: int, adjacency: Tensor, embedding_share: int = 4) -> None:
        super().__init__()
        self.register_buffer("A", adjacency.clone(), persistent=False)  # the original's state dict has none
        self.PA = nn.Parameter(torch.empty_like(adjacency))
        width, subsets = out_channels // embedding_share, range(len(adjacency))
        self.conv_a = nn.ModuleList(nn.Conv2d(in_channels, width, 1) for _ in subsets)
        self.conv_b = nn.ModuleList(nn.Conv2d(in_channels, width, 1) for _ in subsets)
        self.conv_d = nn.ModuleList(nn.Conv2d(in_channels, out_channels, 1) for _ in subsets)
        self.down = None
        if in_channels != out_channels:
            self.down = nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))
        self.bn = nn.BatchNorm2d(out_channels)

    def reset_parameters(self) -> None:
        nn.init.constant_(self.PA, 1e-6)
        nn.init.constant_(self.bn.weight, 1e-6)
        for conv in self.conv_d:
            out_channels, in_channels = conv.weight.shape[:2]
            nn.init.normal_(conv.weight, std=math.sqrt(2 / (out_channels * in_channels * len(self.conv_d))))

    def attention(self, x: Tensor) -> Tensor:
        """How much each joint (column) takes from each other (row) in this clip, (N, K, V, V); columns sum to 1."""
        embedded = _side_by_side(x, [*self.conv_a, *self.conv_b]).unflatten(1, (2, len(self.conv_a), -1))
        theta, phi = embedded.flatten(3, 4).unbind(1)  # (N, K, C_e * T, V)
        return (theta.transpose(-1, -2) @ phi / theta.shape[2]).softmax(dim=-2)

    def forward(self, x: Tensor) -> Tensor:
        gathered = x.flatten(1, 2)[:, None] @ (self.A + self.PA + self.attention(x))  # (N, K, C * T, V)
        gathered = gathered.view(len(x), -1, *x.shape[2:])
        # the sum over the partitions is one convolution of all of them: a seventh less time a training step on a CPU
        y = F.conv2d(gathered, torch.cat([c.weight for c in self.conv_d], dim=1), sum(c.bias for c in self.conv_d))
        return (self.bn(y) + (x if self.down is None else self.down(x))).relu()


def _side_by_side(x: Tensor, convs: Sequence[nn.Conv2d]) -> Tensor:
    """1x1 convolutions of one input, their outputs along the channels, computed as one."""
    return F.conv2d(x, torch.cat([c.weight for c in convs]), torch.cat([c.bias for c in convs]))


class TemporalConv(nn.Module):
    """Convolution over time, joint by joint, and batch norm; no activation."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, (kernel, 1), (stride, 1), (same_length(kernel), 0))
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))
