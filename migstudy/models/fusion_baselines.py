"""What token fusion is compared with, on the same inputs: one modality alone and five other ways to bring several together.

Each modality first passes `depth` self-attention layers of its own, so that the ways differ in the fusion and not in
what a modality alone can say; depth 0 pools the projected tokens as they are.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from migstudy.models.attention import FeedForward, MultiHeadAttention, SelfAttentionLayer
from migstudy.models.base import ModelOutput
from migstudy.models.fusion_network import FusionNetwork, Stream


class EncodedFusion(FusionNetwork):
    """A self-attention encoder a modality, then `combine`; see FusionNetwork for inputs and further arguments."""

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
        self.encoder = nn.ModuleDict({name: Encoder(width, depth, heads, mlp_ratio, dropout) for name in self.names})

    @abstractmethod
    def combine(self, streams: dict[str, Stream], present: Tensor) -> ModelOutput:
        """Encoded streams, present (N, M) -> output."""

    def fuse(self, streams: dict[str, Stream], present: Tensor) -> ModelOutput:
        return self.combine({name: self.encoder[name](stream) for name, stream in streams.items()}, present)


class Encoder(nn.Module):
    """Self-attention layers and a last norm over the tokens of a stream."""

    def __init__(self, width: int, depth: int, heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(SelfAttentionLayer(width, heads, mlp_ratio, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, stream: Stream) -> Stream:
        x = stream.x
        for layer in self.layers:
            x = layer(x, stream.valid)
        return stream._replace(x=self.norm(x))


class SingleModality(EncodedFusion):
    """One modality alone; `modality` names it, tokens of the others may be given and are not looked at.

    A clip that lacks it gets the classifier's bias, whatever else is known of the clip.
    """

    learns_absence = False
    needs_one = False

    def __init__(self, token_dims: Mapping[str, int], modality: str, num_classes: int = 32, **options) -> None:
        if modality not in token_dims:
            raise ValueError(f"unknown modality {modality!r}; token_dims has {', '.join(sorted(token_dims))}")
        self.others = sorted({*token_dims} - {modality})
        if grids := options.get("grids"):
            options["grids"] = {name: grid for name, grid in grids.items() if name == modality}
        options["class_tokens"] = [name for name in options.get("class_tokens", ()) if name == modality]
        super().__init__({modality: token_dims[modality]}, num_classes, **options)
        self.reset_parameters()

    def forward(
        self,
        tokens: Mapping[str, Tensor],
        mask: Mapping[str, Tensor] | None = None,
        present: Mapping[str, Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> ModelOutput:
        name = self.names[0]
        if name not in tokens and tokens:
            first = next(iter(tokens.values()))
            tokens = {**tokens, name: first.new_zeros(len(first), 0, self.token_dims[name])}
        mine = ({k: v for k, v in (given or {}).items() if k not in self.others} for given in (tokens, mask, present))
        return super().forward(*mine, generator)

    def combine(self, streams: dict[str, Stream], present: Tensor) -> ModelOutput:
        (stream,) = streams.values()
        return self.output(stream.pool() * present, streams)


class Concatenation(EncodedFusion):
    """The pooled vectors side by side through a two-layer perceptron; an absent modality is its encoded absent token."""

    def __init__(self, token_dims: Mapping[str, int], num_classes: int = 32, width: int = 256, **options) -> None:
        super().__init__(token_dims, num_classes, width, **options)
        self.mix = nn.Sequential(nn.Linear(len(self.names) * width, width), nn.GELU(), nn.Linear(width, width))
        self.reset_parameters()

    def combine(self, streams: dict[str, Stream], present: Tensor) -> ModelOutput:
        return self.output(self.mix(torch.cat([s.pool() for s in streams.values()], dim=1)), streams)


class LateFusion(EncodedFusion):
    """A classifier a modality, their logits averaged over the modalities at hand; trained jointly.

    weights: `mean`, or `learned`, one share a modality, positive and renormalised over those at hand. features are the
    pooled vectors averaged with the same shares. Streams trained one by one are fused after the fact by `migstudy.fusion.late`.
    """

    learns_absence = False

    def __init__(
        self,
        token_dims: Mapping[str, int],
        num_classes: int = 32,
        width: int = 256,
        weights: Literal["mean", "learned"] = "mean",
        **options,
    ) -> None:
        super().__init__(token_dims, num_classes, width, **options)
        if weights not in ("mean", "learned"):
            raise ValueError(f"unknown weights {weights!r}; choose 'mean' or 'learned'")
        self.fc = nn.ModuleDict({name: nn.Linear(width, num_classes) for name in self.names})
        self.log_share = nn.Parameter(torch.zeros(len(self.names))) if weights == "learned" else None
        self.reset_parameters()

    def combine(self, streams: dict[str, Stream], present: Tensor) -> ModelOutput:
        pooled = {name: stream.pool() for name, stream in streams.items()}
        logits = torch.stack([self.fc[name](self.head_dropout(vector)) for name, vector in pooled.items()], dim=1)
        shares = present.to(logits)
        if self.log_share is not None:
            shares = shares * self.log_share.softmax(0)
        shares = shares / shares.sum(1, keepdim=True).clamp(min=1e-6)
        features = (shares[..., None] * torch.stack([*pooled.values()], dim=1)).sum(1)
        return self.output(features, streams, (shares[..., None] * logits).sum(1))


class GatedFusion(EncodedFusion):
    """Channel by channel a convex combination of the modalities at hand, its gates computed from all of them.

    Arevalo et al., "Gated Multimodal Units for Information Fusion", arXiv 1702.01992, section 3.1; with a softmax over the
    modalities for any number of them, and over those at hand. The gates see an absent modality as its embedding alone: of
    two modalities the one at hand passes whole, and a token learned for the other would have nothing to say.
    """

    learns_absence = False

    def __init__(self, token_dims: Mapping[str, int], num_classes: int = 32, width: int = 256, **options) -> None:
        super().__init__(token_dims, num_classes, width, **options)
        self.value = nn.ModuleDict({name: nn.Linear(width, width) for name in self.names})
        self.gate = nn.Linear(len(self.names) * width, len(self.names) * width)
        self.reset_parameters()

    def combine(self, streams: dict[str, Stream], present: Tensor) -> ModelOutput:
        pooled = torch.stack([s.pool() for s in streams.values()], dim=1)  # (N, M, C)
        values = torch.stack([self.value[name](pooled[:, i]).tanh() for i, name in enumerate(self.names)], dim=1)
        gates = self.gate(pooled.flatten(1)).unflatten(1, (len(self.names), -1))
        gates = gates.masked_fill(~present[..., None], torch.finfo(gates.dtype).min).softmax(1)
        return self.output((gates * values).sum(1), streams)


class JointTransformer(EncodedFusion):
    """Every stream takes from the keys of every other; the streams are the modalities and a joint one of all their tokens.

    Like Waligora et al., "Joint Multimodal Transformer for Emotion Recognition in the Wild", arXiv 2403.10488: separate
    encoders, a third, joint representation, key-based cross-attention between all pairs, concatenation. There the joint
    stream joins the channels of frames; tokens of unequal numbers it joins as one sequence, which is our reconstruction, as
    are the sizes.
    """

    def __init__(
        self,
        token_dims: Mapping[str, int],
        num_classes: int = 32,
        width: int = 256,
        depth: int = 1,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        dropout: float = 0.1,
        **options,
    ) -> None:
        super().__init__(token_dims, num_classes, width, depth, heads, mlp_ratio, dropout, **options)
        self.joint_encoder = Encoder(width, depth, heads, mlp_ratio, dropout)
        streams = [*range(len(self.names) + 1)]  # the joint one is last; numbers, since any name may be a modality's
        self.cross = nn.ModuleDict({
            f"{query}_{key}": MultiHeadAttention(width, heads, dropout)
            for query in streams for key in streams if key != query
        })  # fmt: skip
        self.dropout = nn.Dropout(dropout)
        self.mlp = nn.ModuleList(FeedForward(width, mlp_ratio, dropout) for _ in streams)
        self.out = nn.Sequential(nn.LayerNorm(len(streams) * width), nn.Linear(len(streams) * width, width))
        self.reset_parameters()

    def fuse(self, streams: dict[str, Stream], present: Tensor) -> ModelOutput:
        together = Stream(
            torch.cat([s.x for s in streams.values()], dim=1),
            torch.cat([s.valid for s in streams.values()], dim=1),
            self.pooling_weights(streams),
        )
        encoded = [*(self.encoder[name](s) for name, s in streams.items()), self.joint_encoder(together)]
        fused = []
        for i, stream in enumerate(encoded):
            taken = [
                self.cross[f"{i}_{k}"](stream.x, other.x, other.valid) for k, other in enumerate(encoded) if k != i
            ]
            x = stream.x + self.dropout(torch.stack(taken).sum(0))
            fused.append(stream._replace(x=x + self.mlp[i](x)))
        features = self.out(torch.cat([stream.pool() for stream in fused], dim=1))
        return self.output(features, dict(zip(streams, fused[:-1], strict=True)))
