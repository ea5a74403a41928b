"""Layers of the hypergraph Transformer: hyperedges that follow the features, attention along them, convolution over time.

x: (N, T, V, C). readable: (N, T, V) bool; other places read and are never read. edges: logits (N, V, E) of every joint's
share in every hyperedge. After arXiv 2507.14867, of which we know the abstract; attention with keys of the joints' hyperedges
is as in Zhou et al., "Hypergraph Transformer for Skeleton-based Action Recognition", arXiv 2211.09590; the rest is our
reconstruction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad, scaled_dot_product_attention

from migstudy.models.graph_network import same_length

PRIOR = 3.0  # logit of a joint's own part at first: 3/4 of its share, of eight parts


def first_hyperedges(parts: Iterable[Sequence[int]], joints: int) -> Tensor:
    """Logits (V, E): PRIOR where a joint is of a part, else 0."""
    parts = [*parts]
    edges = torch.zeros(joints, len(parts))
    for e, part in enumerate(parts):
        edges[list(part), e] = PRIOR
    return edges


class HypergraphLayer(nn.Module):
    """Update the hyperedges, attend along them, convolve over time: x, readable, edges -> the same, time / stride."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, heads: int, kernel: int, dilations: Sequence[int],
        dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stride = stride
        self.norm = nn.LayerNorm(in_channels)
        self.update = HyperedgeUpdate(in_channels)
        self.attention = HypergraphAttention(in_channels, heads)
        self.temporal = MultiScaleTemporal(in_channels, out_channels, stride, kernel, dilations, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, readable: Tensor, edges: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.norm(x)
        edges = edges + self.update(y, readable, edges.softmax(-1))
        x = x + self.dropout(self.attention(y, readable, edges.softmax(-1)))
        return *self.temporal(x, readable), edges


class HyperedgeUpdate(nn.Module):
    """How a clip's joints fit its hyperedges: change of the logits (N, V, E), of shares (N, V, E).

    Joint and hyperedge are means over the clip's time, a hyperedge of its joints by their shares.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.joint = nn.Linear(width, width)
        self.hyperedge = nn.Linear(width, width, bias=False)  # the softmax over hyperedges would cancel a bias

    def forward(self, x: Tensor, readable: Tensor, shares: Tensor) -> Tensor:
        frames = readable.sum(1)[..., None].to(x)  # (N, V, 1)
        joints = (x * readable[..., None]).sum(1) / frames.clamp(min=1)
        hyperedges = gather(joints, shares * (frames > 0))
        return self.joint(joints) @ self.hyperedge(hyperedges).transpose(1, 2) / x.shape[-1] ** 0.5


class HypergraphAttention(nn.Module):
    """Every joint attends to its frame's readable joints, through their own keys and those of their hyperedges; (N, T, V, C).

    Where a frame has none, it takes nothing. A bias for joints that share hyperedges, one factor a head; what is taken is joined by the joint's hyperedges themselves.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} attention heads")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.edge_key = nn.Linear(width, width, bias=False)
        self.edge_value = nn.Linear(width, width, bias=False)
        self.together = nn.Parameter(torch.ones(heads))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, readable: Tensor, shares: Tensor) -> Tensor:
        of_frame = shares[:, None]  # (N, 1, V, E)
        hyperedges = gather(x, of_frame * readable[..., None])
        key = self.key(x) + of_frame @ self.edge_key(hyperedges)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(2, 3) for part in (self.query(x), key, self.value(x)))
        bias = (self.together[:, None, None] * (shares @ shares.transpose(1, 2))[:, None])[:, None]  # (N, 1, heads, V, V)
        # finite in q's own precision: -inf throughout a frame without anybody would be NaN on some devices
        bias = bias.to(q).masked_fill(~readable[:, :, None, None, :], torch.finfo(q.dtype).min)
        taken = scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(2, 3).flatten(3)
        taken = taken.masked_fill(~readable.any(-1)[..., None, None], 0)
        return self.out(taken + of_frame @ self.edge_value(hyperedges))


class MultiScaleTemporal(nn.Module):
    """Parallel convolutions over time, one a dilation, and a pointwise branch; a residual; x, readable -> time / stride.

    A halved step is readable where either of its frames is.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, kernel: int, dilations: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise ValueError(f"temporal stride {stride}: 1 or 2")
        share = out_channels // (len(dilations) + 1)
        if not share:
            raise ValueError(f"{out_channels} channels are too few for {len(dilations)} dilations and a pointwise branch")
        self.stride = stride
        self.widths = [out_channels - share * len(dilations), *[share] * len(dilations)]
        self.norm = nn.LayerNorm(in_channels)
        self.spread = nn.Linear(in_channels, out_channels)
        self.branches = nn.ModuleList(
            TemporalConv(w, k, d, stride)
            for w, (k, d) in zip(self.widths, [(1, 1), *((kernel, d) for d in dilations)], strict=True)
        )
        self.out = nn.Linear(out_channels, out_channels)
        self.residual = nn.Identity() if in_channels == out_channels else nn.Linear(in_channels, out_channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, readable: Tensor) -> tuple[Tensor, Tensor]:
        y = gelu(self.spread(self.norm(x))) * readable[..., None]
        parts = y.split(self.widths, dim=-1)
        y = torch.cat([branch(part) for branch, part in zip(self.branches, parts, strict=True)], dim=-1)
        if self.stride == 2:
            x, readable = halve(x, readable)
        return self.residual(x) + self.dropout(self.out(gelu(y))), readable


class TemporalConv(nn.Linear):
    """Convolution over time, zeros beyond both ends: (N, T, V, C) -> (N, ceil(T / stride), V, C).

    A matrix product of the shifted frames: channels stay last, as attention wants them. (Conv2d of torch 2.15 on such maps, split
    by channel, crashed on the CPU in the backward pass; copied to channels first it did not.)
    """

    def __init__(self, channels: int, kernel: int, dilation: int, stride: int) -> None:
        super().__init__(kernel * channels, channels)
        self.kernel, self.dilation, self.stride, self.padding = kernel, dilation, stride, same_length(kernel, dilation)

    def forward(self, x: Tensor) -> Tensor:
        time = x.shape[1]
        x = pad(x, (0, 0, 0, 0, self.padding, self.padding))
        shifts = (x[:, i * self.dilation : i * self.dilation + time : self.stride] for i in range(self.kernel))
        return super().forward(torch.cat([*shifts], dim=-1))


def gather(x: Tensor, shares: Tensor) -> Tensor:
    """Hyperedges (..., E, C) as means of joints (..., V, C) by their shares (..., V, E); 0 for one without any."""
    shares = shares.transpose(-1, -2)
    return (shares / shares.sum(-1, keepdim=True).clamp(min=1e-6)) @ x


def halve(x: Tensor, readable: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of frames as the mean of the readable ones, the first's own state where neither is; readable where either is."""
    odd = x.shape[1] % 2
    pairs = pad(x, (0, 0, 0, 0, 0, odd)).unflatten(1, (-1, 2))
    weight = pad(readable, (0, 0, 0, odd)).unflatten(1, (-1, 2))[..., None]
    either = weight.any(2)
    mean = (pairs * weight).sum(2) / weight.sum(2).clamp(min=1)
    return torch.where(either, mean, pairs[:, :, 0]), either.squeeze(-1)
