"""Inputs in units of the training data: less their mean, over their spread, feature by feature.

What tells two moods apart is small beside what all people share, a face's resting shape or a body's pose. A layer norm behind
the first projection divides by the size of that common part; taken out beforehand, the difference stays visible.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEAST = 1e-4  # a feature that spreads less never changed in training, and must not shout where it once does


class Standardise(nn.Module):
    """(..., *shape) -> the same, (x - mean) / spread; what it was before `fit`, and saved with the model's weights.

    Source: our reconstruction; papers leave the scale of their features to the reader.
    """

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("spread", torch.ones(shape))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean.to(x.dtype)) / self.spread.to(x.dtype)

    @torch.no_grad()
    def fit(self, values: Tensor, valid: Tensor) -> None:
        """Mean and standard deviation of training values (N, *shape) that count, valid: bool, (N,) or longer.

        A feature that nothing is known of keeps mean 0 and spread 1, a constant one spread 1. Raises ValueError for shapes that do not fit.
        """
        if values.shape[1:] != self.mean.shape or valid.shape != values.shape[: valid.ndim]:
            raise ValueError(f"values {tuple(values.shape)}, valid {tuple(valid.shape)}; expected (N, {tuple(self.mean.shape)})")
        shown = valid.reshape(valid.shape + (1,) * (values.ndim - valid.ndim)).expand_as(values)
        x, count = torch.where(shown, values, 0).double(), shown.sum(0).double()
        mean = x.sum(0) / count.clamp(min=1)
        variance = (torch.where(shown, x - mean, 0) ** 2).sum(0) / count.clamp(min=1)
        spread = variance.sqrt()
        self.mean.copy_(torch.where(count > 0, mean, 0))
        self.spread.copy_(torch.where(spread > _LEAST, spread, 1))
