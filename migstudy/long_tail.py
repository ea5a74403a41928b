"""Classification losses for classes of very unequal size, on logits (N, C) and labels (N,) int64; counts are of training clips.

Each goes back to cross entropy at a setting of its own (gamma 0, tau 0, margin 0, equal counts). A class without clips
counts as if it had one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOSSES = ("cross_entropy", "class_balanced", "focal", "logit_adjusted", "ldam")
"""`ldam` is LDAM-DRW: its classes are reweighted late in training."""

Counts = Sequence[int] | np.ndarray


def effective_number_weights(counts: Counts, beta: float = 0.999) -> Tensor:
    """Weights (C,) float64 proportional to (1 - beta) / (1 - beta^count), scaled so that their mean over training clips is 1.

    beta in [0, 1): 0 weighs all classes alike, towards 1 every class weighs the same in total. Source: Cui et al.,
    "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019 (arXiv 1901.05555), equations 2 and 3. There the
    weights sum to C; the scale here is ours and leaves the balance with an auxiliary loss as it was. Raises ValueError for
    counts or beta out of range.
    """
    given = _checked(counts)
    if not 0 <= beta < 1:
        raise ValueError(f"class_balance={beta!r}: beta must be at least 0 and below 1")
    # expm1 and log1p: for beta near 1 both terms are differences of nearly equal numbers
    weights = torch.ones_like(given) if beta == 0 else (beta - 1) / torch.expm1(given.clamp(min=1) * np.log(beta))
    return weights * given.sum() / (weights * given).sum()


def class_balanced(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Mean over clips of the weight of its class (C,) times its cross entropy; not divided by the batch's weights."""
    return (weights.to(logits.dtype)[labels] * F.cross_entropy(logits, labels, reduction="none")).mean()


def focal(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """Mean over clips of -(1 - p)^gamma ln p, p the probability of the clip's class; gamma >= 0.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017 (arXiv 1708.02002), equation 4, as a softmax.
    """
    log_p = -F.cross_entropy(logits, labels, reduction="none")
    # kept off 0, where the gradient of a power below 1 is infinite
    missing = (-torch.expm1(log_p)).clamp(min=torch.finfo(logits.dtype).eps)
    return -(missing**gamma * log_p).mean()


def log_priors(counts: Counts) -> Tensor:
    """ln of each class's share of the training clips, (C,) float64."""
    given = _checked(counts).clamp(min=1)
    return (given / given.sum()).log()


def logit_adjusted(logits: Tensor, labels: Tensor, priors: Tensor, tau: float = 1.0) -> Tensor:
    """Cross entropy of logits + tau ln(prior): the logits alone then answer as if all classes were equally frequent.

    priors: `log_priors`. tau 1 is consistent for the mean class accuracy. Source: Menon et al., "Long-Tail Learning via Logit
    Adjustment", ICLR 2021 (arXiv 2007.07314), equation 10.
    """
    return F.cross_entropy(logits + tau * priors.to(logits.dtype), labels)


def ldam_margins(counts: Counts, largest: float = 0.5) -> Tensor:
    """Margin (C,) float64 of each class, proportional to count^(-1/4); the rarest class has `largest`."""
    return largest * (_checked(counts).clamp(min=1).min() / _checked(counts).clamp(min=1)) ** 0.25


def ldam(logits: Tensor, labels: Tensor, margins: Tensor, scale: float = 1.0, weights: Tensor | None = None) -> Tensor:
    """Cross entropy of scale x logits whose own class was lowered by its margin first; weights (C,): as `class_balanced`.

    Source: Cao et al., "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss", NeurIPS 2019 (arXiv
    1906.07413), equations 11 to 13. The authors' code gives it cosines, with scale 30 and a largest margin of 0.5; the study's
    networks have plain linear classifiers, for which scale 1 and the margin are our choice.
    """
    own = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    logits = scale * (logits - own * margins.to(logits.dtype)[labels, None])
    return F.cross_entropy(logits, labels) if weights is None else class_balanced(logits, labels, weights)


class LongTailLoss(nn.Module):
    """One of `LOSSES` by name; `loss(logits, labels)` -> scalar.

    beta, gamma, tau, margin: of the loss in question, see the functions. reweight_from: share of the training, in [0, 1], after
    which `ldam` weighs the classes by `effective_number_weights` too (deferred re-weighting; 1: never). progress: the share that
    is done, set by whoever trains. Raises ValueError for unknown names and values out of range.
    """

    def __init__(
        self,
        name: str,
        counts: Counts,
        beta: float = 0.999,
        gamma: float = 2.0,
        tau: float = 1.0,
        margin: float = 3.0,
        reweight_from: float = 0.8,
    ) -> None:
        super().__init__()
        if name not in LOSSES:
            raise ValueError(f"unknown loss {name!r}; choose one of {list(LOSSES)}")
        if min(gamma, tau, margin) < 0 or not 0 <= reweight_from <= 1:
            raise ValueError(
                f"gamma {gamma}, tau {tau} and margin {margin} must be at least 0, reweight_from {reweight_from} in [0, 1]"
            )
        self.name, self.gamma, self.tau, self.reweight_from, self.progress = name, gamma, tau, reweight_from, 0.0
        # settings, not learned: they follow the device but stay out of checkpoints
        self.register_buffer("weights", effective_number_weights(counts, beta).float(), persistent=False)
        self.register_buffer("priors", log_priors(counts).float(), persistent=False)
        self.register_buffer("margins", ldam_margins(counts, margin).float(), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.name == "class_balanced":
            return class_balanced(logits, labels, self.weights)
        if self.name == "focal":
            return focal(logits, labels, self.gamma)
        if self.name == "logit_adjusted":
            return logit_adjusted(logits, labels, self.priors, self.tau)
        if self.name == "ldam":
            late = self.progress >= self.reweight_from and self.reweight_from < 1
            return ldam(logits, labels, self.margins, weights=self.weights if late else None)
        return F.cross_entropy(logits, labels)


def _checked(counts: Counts) -> Tensor:
    counts = torch.as_tensor(np.asarray(counts, dtype=np.float64))
    if counts.ndim != 1 or (counts < 0).any() or not counts.any():
        raise ValueError(f"class counts {counts.tolist()}: give one count >= 0 per class, not all zero")
    return counts
