"""InterFusion: the sequences of face and context query one another, each token weighs what it took against its own.

Named in arXiv 2512.23291 (paper B) for win or lose from SwinFace embeddings of the face and MViTv2-S embeddings of the whole
picture; neither its layers nor its sizes are published. What follows is our reconstruction: face queries context and context
the face, a gated sum, the mean over what is there, two classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from migstudy.models.attention import FeedForward, MultiHeadAttention
from migstudy.models.base import ModelOutput
from migstudy.models.fusion_baselines import EncodedFusion
from migstudy.models.fusion_network import Stream


class InterFusion(EncodedFusion):
    """Token sequences of two or more modalities -> ModelOutput; see FusionNetwork for inputs and further arguments.

    depth: self-attention layers of each modality before they meet, as in the baselines. Of more than two modalities each
    queries all the others together. A modality that is missing stands as one learned token for the others to query, and is
    not averaged. num_classes: 2, lose and win.
    """

    def __init__(
        self,
        token_dims: Mapping[str, int],
        num_classes: int = 2,
        width: int = 256,
        depth: int = 1,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        dropout: float = 0.1,
        **options,
    ) -> None:
        super().__init__(token_dims, num_classes, width, depth, heads, mlp_ratio, dropout, **options)
        if len(self.names) < 2:
            raise ValueError(f"inter-fusion needs two modalities or more, got {self.names[0]} alone")
        self.exchange = nn.ModuleDict({name: GatedExchange(width, heads, mlp_ratio, dropout) for name in self.names})
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.reset_parameters()

    def combine(self, streams: dict[str, Stream], present: Tensor) -> ModelOutput:
        fused = {}
        for name, stream in streams.items():
            others = [s for other, s in streams.items() if other != name]
            x = torch.cat([s.x for s in others], dim=1)
            valid = torch.cat([s.valid for s in others], dim=1)
            fused[name] = stream._replace(x=self.out(self.exchange[name](stream.x, x, valid)))
        tokens = torch.cat([s.x for s in fused.values()], dim=1)
        features = (self.pooling_weights(fused).unsqueeze(1) @ tokens).squeeze(1)
        return self.output(features, fused)


class GatedExchange(nn.Module):
    """Tokens (N, Q, C) query a context (N, K, C), valid (N, K); channel by channel a gate mixes what was taken with their own.

    gate = sigmoid(W [own; taken]), result = gate * taken + (1 - gate) * own, then a feed-forward: (N, Q, C).
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, heads, dropout)
        self.gate = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)
        self.mlp = FeedForward(width, mlp_ratio, dropout)

    def forward(self, x: Tensor, context: Tensor, valid: Tensor) -> Tensor:
        taken = self.attention(x, context, valid)
        gate = self.gate(torch.cat([x, taken], dim=-1)).sigmoid()
        x = x + gate * (self.dropout(taken) - x)
        return x + self.mlp(x)
