"""Pre-norm attention with key-padding masks, the block that the fusion models are made of (Vaswani et al., 1706.03762)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class MultiHeadAttention(nn.Module):
    """Each query token takes from the context's valid tokens: (N, Q, C), (N, K, C), valid (N, K) bool -> (N, Q, C).

    Every clip needs at least one valid token. The keys have no bias: the softmax would cancel it.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} attention heads")
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, queries: Tensor, context: Tensor, valid: Tensor) -> Tensor:
        q, k, v = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x in (self.query(queries), self.key(context), self.value(context))
        )
        dropout = self.dropout if self.training else 0.0
        taken = scaled_dot_product_attention(q, k, v, attn_mask=valid[:, None, None, :], dropout_p=dropout)
        return self.out(taken.transpose(1, 2).flatten(2))


class FeedForward(nn.Sequential):
    """Layer norm, linear, GELU, linear, token by token: (N, L, C) -> (N, L, C)."""

    def __init__(self, width: int, ratio: float, dropout: float = 0.0) -> None:
        hidden = round(width * ratio)
        super().__init__(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )  # fmt: skip


class SelfAttentionLayer(nn.Module):
    """Self-attention and feed-forward, each a pre-norm residual: (N, L, C), valid (N, L) -> (N, L, C)."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = MultiHeadAttention(width, heads, dropout)
        self.dropout = nn.Dropout(dropout)
        self.mlp = FeedForward(width, mlp_ratio, dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        y = self.norm(x)
        x = x + self.dropout(self.attention(y, y, valid))
        return x + self.mlp(x)
