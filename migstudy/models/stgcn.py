"""ST-GCN: graph convolution over fixed partitions of a joint's neighbours, then convolution over time.

Yan et al., "Spatial Temporal Graph Convolutional Networks for Skeleton-Based Action Recognition", AAAI 2018
(arXiv 1801.07455), sections 3.2-3.6. The defaults are those of the baseline of SMG and of iMiGUE's challenge; on
`imigue22_starterkit` it is that baseline, edge list and all. Parameter names are the original's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from migstudy.models.graph_network import GraphNetwork, Skeleton, same_length, stage_plan


class STGCN(GraphNetwork):
    """Coordinates (N, C, T, V, M), any M -> class logits; people share all weights.

    in_channels: 3 for (x, y, score) or (x, y, z), 2 for (x, y). strategy: `uniform`, `distance` or `spatial` partitions.
    base_channels, stage_blocks: (4, 3, 3) units of 64, 128, 256 channels; time halves where a stage begins.
    temporal_kernel: frames, odd. dropout: inside the units, not in the first. embedding_dim: adds the head that predicts
    the label's text vector. skip_absent: see GraphNetwork. A checkpoint brings its own adjacency `A`, which replaces the
    topology's.
    """

    def __init__(
        self,
        topology: Skeleton = "imigue22",
        in_channels: int = 3,
        num_classes: int = 32,
        strategy: str = "spatial",
        base_channels: int = 64,
        stage_blocks: Sequence[int] = (4, 3, 3),
        temporal_kernel: int = 9,
        dropout: float = 0.1,
        embedding_dim: int | None = None,
        skip_absent: bool = False,
    ) -> None:
        plan = list(stage_plan(in_channels, base_channels, stage_blocks))
        width = plan[-1][1]
        super().__init__(topology, in_channels, None, width, embedding_dim, 0.0, skip_absent)
        self.register_buffer("A", self.partitions(strategy))
        self.data_bn = nn.BatchNorm1d(in_channels * self.topology.num_joints)
        self.st_gcn_networks = nn.ModuleList(
            Unit(*unit, len(self.A), temporal_kernel, dropout if i else 0.0, residual=i > 0)
            for i, unit in enumerate(plan)
        )
        self.edge_importance = nn.ParameterList(nn.Parameter(torch.ones_like(self.A)) for _ in plan)
        self.fcn = nn.Conv2d(width, num_classes, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The original's initialisation: convolutions N(0, 0.02), norm scales N(1, 0.02), biases 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.normal_(module.weight, 0.0 if isinstance(module, nn.Conv2d) else 1.0, 0.02)
                nn.init.zeros_(module.bias)

    def encode(self, coordinates: Tensor) -> Tensor:
        x = coordinates.permute(0, 4, 3, 1, 2).flatten(0, 1)  # (N * M, V, C, T)
        x = self.data_bn(x.flatten(1, 2)).unflatten(1, x.shape[1:3]).permute(0, 2, 3, 1)
        for unit, importance in zip(self.st_gcn_networks, self.edge_importance, strict=True):
            x = unit(x, self.A * importance)
        return x

    def classify(self, features: Tensor) -> Tensor:
        return self.fcn(features[..., None, None]).flatten(1)


class Unit(nn.Module):
    """Graph convolution, temporal convolution, a residual around both: (N, C, T, V) -> (N, C', T / stride, V)."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, partitions: int, kernel: int, dropout: float,
        residual: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.gcn = GraphConv(in_channels, out_channels, partitions)
        self.tcn = nn.Sequential(
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, (kernel, 1), (stride, 1), (same_length(kernel), 0)),
            nn.BatchNorm2d(out_channels),
            nn.Dropout(dropout),
        )
        self.residual = None
        if residual and (in_channels != out_channels or stride != 1):
            self.residual = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, (stride, 1)), nn.BatchNorm2d(out_channels)
            )
        self.has_residual = residual

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        y = self.tcn(self.gcn(x, adjacency))
        if self.has_residual:
            y = y + (x if self.residual is None else self.residual(x))
        return y.relu()


class GraphConv(nn.Module):
    """One weight matrix a partition, summed over the partition's neighbours; adjacency (K, V, V), columns receive."""

    def __init__(self, in_channels: int, out_channels: int, partitions: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels * partitions, 1)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        x = self.conv(x).unflatten(1, (len(adjacency), -1))
        return torch.einsum("nkctv,kvw->nctw", x, adjacency)
