"""Selective prediction: answering only where a model is sure, and what that gains (El-Yaniv and Wiener 2010)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logit


class RiskCoverage(NamedTuple):
    """coverage, risk: (N,) share of videos answered, surest first, and share of wrong answers among them.

    aurc: mean of the risks (Geifman et al. 2019), the overall error rate for a confidence that says nothing. best: the least
    aurc that so many wrong answers allow, all of them last.
    """

    coverage: np.ndarray
    risk: np.ndarray
    aurc: float
    best: float


def confidence_of(probabilities: np.ndarray, threshold: float | np.ndarray = 0.5) -> np.ndarray:
    """How far a probability lies from the threshold, in log odds; at 0.5 in the order of max(p, 1 - p)."""
    eps = np.finfo(np.float64).eps
    return np.abs(logit(np.clip(probabilities, eps, 1 - eps)) - logit(np.clip(threshold, eps, 1 - eps)))


def risk_coverage(labels: np.ndarray, probabilities: np.ndarray, threshold: float | np.ndarray = 0.5) -> RiskCoverage:
    """The curve of (N,) labels and probabilities; threshold a number or (N,).

    Equally sure videos come in no order: each counts as their mean.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    if labels.shape != probabilities.shape or labels.ndim != 1 or not len(labels):
        raise ValueError(f"labels {labels.shape} and probabilities {probabilities.shape}: give one of each for every video")
    wrong = ((probabilities >= threshold) != (labels == 1)).astype(np.float64)
    # rounding in the log odds must not order p and 1 - p
    sure = np.round(confidence_of(probabilities, threshold), 10)
    group = np.unique(-sure, return_inverse=True)[1]
    shared = (np.bincount(group, wrong) / np.bincount(group))[group]
    answered = np.arange(1, len(labels) + 1)
    risk = np.cumsum(shared[np.argsort(group, kind="stable")]) / answered
    best = np.cumsum(np.sort(wrong)) / answered
    return RiskCoverage(answered / len(labels), risk, float(risk.mean()), float(best.mean()))


def accuracy_at_coverage(
    labels: np.ndarray, probabilities: np.ndarray, coverage: float, threshold: float | np.ndarray = 0.5
) -> float:
    """Share right among the surest ceil(coverage * N) videos; coverage in (0, 1]."""
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage {coverage} must lie above 0 and at most at 1")
    curve = risk_coverage(labels, probabilities, threshold)
    return float(1 - curve.risk[int(np.ceil(coverage * len(curve.risk) - 1e-9)) - 1])
