"""Cross-Modal Token Fusion (CMTF): the tokens of each modality attend to those of the others.

Named in arXiv 2512.23291 (paper B): tokens of MViTv2-S and 2s-AGCN, aligned by token-level cross-modal attention, projected
and pooled over time. Sizes and the rest are not published; what follows is our reconstruction: width 256, two layers, four
heads, pre-norm, MLP ratio 2, both directions at once, and learned tokens for modalities that are missing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from migstudy.models.attention import FeedForward, MultiHeadAttention
from migstudy.models.base import ModelOutput
from migstudy.models.fusion_network import FusionNetwork, Stream


class TokenFusion(FusionNetwork):
    """Token sequences of two or more modalities -> ModelOutput; see FusionNetwork for inputs and further arguments.

    depth: layers of bidirectional cross-attention. The fused tokens of all modalities are normalised, projected and then
    averaged; those of an absent modality stand as one learned token for the others to attend to, and are not averaged.
    """

    def __init__(
        self,
        token_dims: Mapping[str, int],
        num_classes: int = 32,
        width: int = 256,
        depth: int = 2,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        dropout: float = 0.1,
        **options,
    ) -> None:
        super().__init__(token_dims, num_classes, width, **options)
        if len(self.names) < 2:
            raise ValueError(f"token fusion needs two modalities or more, got {self.names[0]} alone")
        self.layers = nn.ModuleList(CrossModalLayer(self.names, width, heads, mlp_ratio, dropout) for _ in range(depth))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.reset_parameters()

    def fuse(self, streams: dict[str, Stream], present: Tensor) -> ModelOutput:
        for layer in self.layers:
            streams = layer(streams)
        streams = {name: s._replace(x=self.out(s.x)) for name, s in streams.items()}
        tokens = torch.cat([s.x for s in streams.values()], dim=1)
        features = (self.pooling_weights(streams).unsqueeze(1) @ tokens).squeeze(1)
        return self.output(features, streams)


class CrossModalLayer(nn.Module):
    """Every modality queries all the others, from the same normalised inputs; then a feed-forward of its own."""

    def __init__(self, names: tuple[str, ...], width: int, heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        self.norm = nn.ModuleDict({name: nn.LayerNorm(width) for name in names})
        self.attention = nn.ModuleDict({name: MultiHeadAttention(width, heads, dropout) for name in names})
        self.mlp = nn.ModuleDict({name: FeedForward(width, mlp_ratio, dropout) for name in names})
        self.dropout = nn.Dropout(dropout)

    def forward(self, streams: dict[str, Stream]) -> dict[str, Stream]:
        normed = {name: self.norm[name](s.x) for name, s in streams.items()}
        fused = {}
        for name, stream in streams.items():
            context = torch.cat([normed[other] for other in streams if other != name], dim=1)
            valid = torch.cat([s.valid for other, s in streams.items() if other != name], dim=1)
            x = stream.x + self.dropout(self.attention[name](normed[name], context, valid))
            fused[name] = stream._replace(x=x + self.mlp[name](x))
        return fused
