"""Memory-Powered Refinement: a bank with one prototype a class, which sharpens the classifier.

Named in arXiv 2512.23291 (paper B), which publishes neither its equations nor its settings; this is our reconstruction:
logits = fc(f) + tau * cos(f, bank), the bank an exponential moving average of class means, and a pull/push loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import normalize

if TYPE_CHECKING:
    from migstudy.models.base import ModelOutput

Criterion = Callable[["ModelOutput", Tensor], tuple[Tensor, dict[str, Tensor]]]


class MemoryRefinement(nn.Module):
    """Features (N, C) -> tau * cos(feature, prototype) (N, K), to be added to a classifier's logits.

    tau > 0 is learned (its logarithm is the parameter). A class whose prototype is still empty gets 0. The bank moves only
    in `step`, once an optimizer step and never in eval:

        memory.observe(output.features, labels)   # every batch; with gradient accumulation, every micro-batch
        memory.step()                             # beside optimizer.step(); sums over the processes of a DDP training

    Buffers, saved with the model: bank (K, C); mass (K,), the sum of the averaging weights, 0 = empty.
    """

    def __init__(self, num_classes: int, width: int, momentum: float = 0.99, tau: float = 5.0) -> None:
        super().__init__()
        if not 0 <= momentum < 1 or tau <= 0:
            raise ValueError(f"momentum {momentum} must be in [0, 1) and tau {tau} > 0")
        self.momentum = momentum
        self.log_tau = nn.Parameter(torch.tensor(math.log(tau)))
        self.register_buffer("bank", torch.zeros(num_classes, width))
        self.register_buffer("mass", torch.zeros(num_classes))
        self._sums: Tensor | None = None  # no buffer: DDP would overwrite it with process 0's

    @property
    def filled(self) -> Tensor:
        """(K,) bool: classes that have a prototype."""
        return self.mass > 0

    def cosines(self, features: Tensor) -> Tensor:
        """cos(feature, prototype), (N, K) in [-1, 1]; 0 for an empty prototype."""
        dtype = torch.promote_types(features.dtype, torch.float32)
        with torch.autocast(features.device.type, enabled=False):  # half precision is too coarse for near-equal angles
            return normalize(features.to(dtype), dim=1) @ normalize(self.bank.to(dtype), dim=1).T

    def forward(self, features: Tensor) -> Tensor:
        return self.log_tau.exp() * self.cosines(features)

    @torch.no_grad()
    def observe(self, features: Tensor, labels: Tensor) -> None:
        """Note training features (N, C) and labels (N,) for the next `step`; a clip with label < 0 is passed over.

        Raises RuntimeError in eval mode, ValueError for a label beyond the bank (on the CPU).
        """
        if not self.training:
            raise RuntimeError("the memory learns from training batches only; call model.train() first")
        classes = len(self.bank)
        if labels.device.type == "cpu" and labels.numel() and int(labels.max()) >= classes:
            clip = int(labels.argmax())
            raise ValueError(f"clip {clip} of the batch has label {int(labels[clip])}, the bank {classes} classes")
        if self._sums is None:
            self._sums = self.bank.new_zeros(classes, self.bank.shape[1] + 1)
        known = (labels >= 0).to(self.bank)[:, None]
        rows = torch.cat([features.detach().to(self.bank) * known, known], dim=1)  # the last column counts clips
        self._sums.index_add_(0, labels.clamp(min=0), rows)

    @torch.no_grad()
    def step(self) -> None:
        """Move the bank by one average: bank = sum_i m^(n-i) mean_i / sum_i m^(n-i) over the class's n steps so far.

        mean_i: the mean of all its features since the step before. That is an EMA with momentum m without the bias of its
        start: with m = 0.99 a plain EMA of a class seen 10 times would still be its first, untrained features. Every
        process of a distributed training has to call it.
        """
        sums, self._sums = self._sums, None
        if distributed.is_available() and distributed.is_initialized():
            if sums is None:  # a process without a batch takes part nonetheless
                sums = self.bank.new_zeros(len(self.bank), self.bank.shape[1] + 1)
            distributed.all_reduce(sums)
        if sums is None:
            return
        counts = sums[:, -1]
        seen = counts > 0
        mass = torch.where(seen, self.momentum * self.mass + 1, self.mass)
        means = sums[:, :-1] / counts.clamp(min=1)[:, None]
        rate = (seen / mass.clamp(min=1))[:, None]
        self.bank.lerp_(means, rate.expand_as(means))
        self.mass.copy_(mass)

    def loss(self, features: Tensor, labels: Tensor, margin: float = 0.0) -> Tensor:
        """Pull to the own prototype, push from the others: mean of 1 - cos(own) + mean over others of max(0, cos - margin).

        Clips without label or whose class has no prototype yet do not count; scalar, 0 when none does. Gradients go to the
        features alone.
        """
        cosines, filled = self.cosines(features), self.filled
        own = torch.zeros_like(cosines, dtype=torch.bool).scatter_(1, labels.clamp(min=0)[:, None], True)
        counts = (own & filled).any(1) & (labels >= 0)
        others = (~own & filled).to(cosines)
        pull = 1 - (cosines * own).sum(1)
        push = ((cosines - margin).relu() * others).sum(1) / others.sum(1).clamp(min=1)
        return ((pull + push) * counts).sum() / counts.sum().clamp(min=1)


class MemoryLoss(nn.Module):
    """Another criterion plus weight * `memory.loss`; `loss(output, labels)` -> (total, parts), parts gains 'memory'."""

    def __init__(self, criterion: Criterion, memory: MemoryRefinement, weight: float = 0.1, margin: float = 0.0) -> None:
        super().__init__()
        self.criterion, self.weight, self.margin = criterion, weight, margin
        self._memory = (memory,)  # in a tuple, so that it stays the model's submodule alone

    def forward(self, output: ModelOutput, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        total, parts = self.criterion(output, labels)
        auxiliary = self._memory[0].loss(output.features, labels, self.margin)
        return total + self.weight * auxiliary, {**parts, "memory": auxiliary.detach()}
