"""Channel-wise topology refinement with multi-scale temporal convolution: our own strong skeleton baseline.

Our re-implementation of CTR-GCN from its paper (Chen et al., "Channel-wise Topology Refinement Graph Convolution for
Skeleton-Based Action Recognition", ICCV 2021, arXiv 2107.12213, sections 3.2-3.4). It has not been compared with the
authors' network and does not load its weights. What the paper leaves open (where norms stand, the first layer's width,
initial values, one batch norm for all people) is our choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from migstudy.models.graph_network import GraphNetwork, Skeleton, same_length, stage_plan


class CTRGCN(GraphNetwork):
    """Coordinates (N, C, T, V, M), any M -> class logits; people share all weights.

    base_channels, stage_blocks: (4, 3, 3) units of 64, 128, 256 channels as published; 16 and (2, 2, 2) train on a CPU.
    strategy: the partitions that the learned graphs start from. reduction: a unit's channels per channel of the joints'
    relation (8). temporal_kernel, dilations: one branch of the temporal convolution a dilation. dropout: before the
    classifier. embedding_dim: adds the head that predicts the label's text vector. skip_absent: see GraphNetwork.
    """

    def __init__(
        self,
        topology: Skeleton = "imigue41",
        in_channels: int = 3,
        num_classes: int = 32,
        strategy: str = "agcn",
        base_channels: int = 64,
        stage_blocks: Sequence[int] = (4, 3, 3),
        reduction: int = 8,
        temporal_kernel: int = 5,
        dilations: Sequence[int] = (1, 2),
        dropout: float = 0.0,
        embedding_dim: int | None = None,
        skip_absent: bool = False,
    ) -> None:
        plan = list(stage_plan(in_channels, base_channels, stage_blocks))
        width = plan[-1][1]
        super().__init__(topology, in_channels, None, width, embedding_dim, dropout, skip_absent)
        self.data_bn = nn.BatchNorm1d(in_channels * self.topology.num_joints)
        adjacency = self.partitions(strategy)
        self.units = nn.ModuleList(
            Unit(*unit, adjacency, reduction, temporal_kernel, dilations, residual=i > 0) for i, unit in enumerate(plan)
        )
        self.fc = nn.Linear(width, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """He (fan out) for convolutions, graph convolutions close to silent so that a unit starts as its residual."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv1d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, RefinedGraphConv):
                module.reset_parameters()
        nn.init.normal_(self.fc.weight, std=math.sqrt(2 / self.fc.out_features))
        nn.init.zeros_(self.fc.bias)

    def encode(self, coordinates: Tensor) -> Tensor:
        x = coordinates.permute(0, 4, 3, 1, 2).flatten(0, 1)  # (N * M, V, C, T)
        x = self.data_bn(x.flatten(1, 2)).unflatten(1, x.shape[1:3]).permute(0, 2, 3, 1)
        if x.device.type == "cpu":  # where 1x1 convolutions and batch norms take a sixth less time with channels last
            x = x.contiguous(memory_format=torch.channels_last)
        for unit in self.units:
            x = unit(x)
        return x

    def classify(self, features: Tensor) -> Tensor:
        return self.fc(features)


class Unit(nn.Module):
    """Refined graph convolution, multi-scale temporal convolution, a residual: (N, C, T, V) -> (N, C', T / stride, V)."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, adjacency: Tensor, reduction: int, kernel: int,
        dilations: Sequence[int], residual: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.space = RefinedGraphConv(in_channels, out_channels, adjacency, reduction)
        self.time = MultiScaleTemporalConv(out_channels, stride, kernel, dilations)
        self.residual = None
        if residual and (in_channels != out_channels or stride != 1):
            self.residual = ConvNorm(in_channels, out_channels, stride=stride)
        self.has_residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.time(self.space(x))
        if self.has_residual:
            y = y + (x if self.residual is None else self.residual(x))
        return y.relu()


class RefinedGraphConv(nn.Module):
    """A graph of its own for every output channel: a shared learned one plus what this clip's joints add to it.

    For partition k, target i, source j, channel c: R = A_kij + alpha * xi_k(tanh(psi_k(x_i) - phi_k(x_j)))_c, with x the
    mean over time, and y_i = sum over k and j of R * W_k x_j; then batch norm, residual, ReLU. A (K, V, V) starts as the
    skeleton, columns receive. Source: equations 3-6 of the paper.
    """

    def __init__(self, in_channels: int, out_channels: int, adjacency: Tensor, reduction: int = 8) -> None:
        super().__init__()
        k = self.partitions = len(adjacency)
        relation = max(in_channels // reduction, min(out_channels, 8))  # coordinates themselves have too few channels
        self.A = nn.Parameter(adjacency.clone())
        self.alpha = nn.Parameter(torch.zeros(k))
        self.psi = nn.Conv1d(in_channels, k * relation, 1)
        self.phi = nn.Conv1d(in_channels, k * relation, 1, bias=False)  # psi's serves both: only differences count
        self.xi = nn.Conv2d(k * relation, k * out_channels, 1, groups=k)
        self.value = nn.Conv2d(in_channels, k * out_channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.down = ConvNorm(in_channels, out_channels) if in_channels != out_channels else None

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.alpha)
        nn.init.constant_(self.bn.weight, 1e-6)

    def graphs(self, x: Tensor) -> Tensor:
        """R of each clip, (N, K, C', V source, V target)."""
        still = x.mean(2)
        difference = (self.psi(still)[:, :, None, :] - self.phi(still)[:, :, :, None]).tanh()
        strength = self.alpha.repeat_interleave(self.value.out_channels // self.partitions)
        # alpha scales the weights instead of what they give, which is a map as large as the features
        refinement = F.conv2d(
            difference, self.xi.weight * strength[:, None, None, None], self.xi.bias * strength, groups=self.partitions
        )
        return self.A[:, None] + refinement.unflatten(1, (self.partitions, -1))

    def forward(self, x: Tensor) -> Tensor:
        value = self.value(x).unflatten(1, (self.partitions, -1))
        y = torch.einsum("nkctv,nkcvw->nctw", value, self.graphs(x))
        if x.device.type == "cpu":
            y = y.contiguous(memory_format=torch.channels_last)
        return (self.bn(y) + (x if self.down is None else self.down(x))).relu()


class MultiScaleTemporalConv(nn.Module):
    """Branches side by side: one dilated convolution a dilation, a max pool, a plain 1x1; each after a 1x1 reduction.

    Source: figure 3 (b) of the paper.
    """

    def __init__(self, channels: int, stride: int, kernel: int = 5, dilations: Sequence[int] = (1, 2)) -> None:
        super().__init__()
        count = len(dilations) + 2
        if channels < count:
            raise ValueError(f"{channels} channels do not fill {count} temporal branches; raise base_channels")
        widths = [channels // count + (i < channels % count) for i in range(count)]
        self.branches = nn.ModuleList(
            nn.Sequential(
                ConvNorm(channels, width), nn.ReLU(), ConvNorm(width, width, kernel, stride, dilation),
            )
            for width, dilation in zip(widths, dilations, strict=False)
        )  # fmt: skip
        self.branches.append(
            nn.Sequential(
                ConvNorm(channels, widths[-2]), nn.ReLU(), nn.MaxPool2d((3, 1), (stride, 1), (1, 0)),
                nn.BatchNorm2d(widths[-2]),
            )
        )  # fmt: skip
        self.branches.append(ConvNorm(channels, widths[-1], stride=stride))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class ConvNorm(nn.Module):
    """Convolution over time that keeps the length (up to its stride), without bias, and batch norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 1, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = (same_length(kernel, dilation), 0)
        self.conv = nn.Conv2d(in_channels, out_channels, (kernel, 1), (stride, 1), padding, (dilation, 1), bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))
