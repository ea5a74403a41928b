"""Attention over a bag of instances: which face images of a video speak, and what they say together.

Ilse, Tomczak and Welling, "Attention-based Deep Multiple Instance Learning", arXiv 1802.04712, section 2.4, the gated form
(equation 9). There a small CNN embeds the instances; here they arrive as the tokens of a face encoder, and a feed-forward
embeds them further (our choice).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from migstudy.models.attention import FeedForward
from migstudy.models.base import ModelOutput
from migstudy.models.fusion_baselines import SingleModality
from migstudy.models.fusion_network import Stream


class AttentionMIL(SingleModality):
    """A bag of tokens of one modality -> ModelOutput, the same whatever their order; see FusionNetwork for the inputs.

    `modality` names the bag; tokens of others may be given and are not looked at. attention_width: of the hidden layer of
    the attention, 128 in the paper. depth: self-attention layers between the instances, none in the paper. positions:
    off, a bag has no order. Weights for inspection: `model.attention(output.tokens, mask)`.
    """

    def __init__(
        self,
        token_dims: Mapping[str, int],
        modality: str = "face",
        num_classes: int = 2,
        width: int = 256,
        depth: int = 0,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        dropout: float = 0.1,
        attention_width: int = 128,
        positions: bool = False,
        **options,
    ) -> None:
        super().__init__(
            token_dims, modality, num_classes, width=width, depth=depth, heads=heads, mlp_ratio=mlp_ratio, dropout=dropout,
            positions=positions, **options,
        )  # fmt: skip
        self.instance = FeedForward(width, mlp_ratio, dropout)
        self.pool = GatedAttention(width, attention_width)
        self.reset_parameters()

    def attention(self, tokens: Tensor, valid: Tensor | None = None) -> Tensor:
        """Each instance's share (N, L) in its bag, of the output's tokens (N, L, width); 0 where not valid, else sum 1.

        valid: (N, L) bool, by default the tokens that are not 0 throughout, as those of padding are.
        """
        return self.pool(tokens, tokens.ne(0).any(-1) if valid is None else valid)

    def combine(self, streams: dict[str, Stream], present: Tensor) -> ModelOutput:
        ((name, stream),) = streams.items()
        x = stream.x + self.instance(stream.x)
        bag = (self.pool(x, stream.valid).unsqueeze(1) @ x).squeeze(1)
        return self.output(bag * present, {name: stream._replace(x=x)})


class GatedAttention(nn.Module):
    """softmax over valid instances of w . (tanh(V x) * sigmoid(U x)): (N, L, C), valid (N, L) -> (N, L)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.content = nn.Linear(width, hidden)
        self.gate = nn.Linear(width, hidden)
        self.score = nn.Linear(hidden, 1, bias=False)  # the softmax would cancel a bias

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        score = self.score(self.content(x).tanh() * self.gate(x).sigmoid()).squeeze(-1)
        return score.masked_fill(~valid, torch.finfo(score.dtype).min).softmax(-1) * valid
