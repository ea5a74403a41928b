"""Probabilities made honest: a temperature, or a slope and an intercept, learned on validation logits alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import optimize
from scipy.special import expit

TEMPERATURES = (0.05, 20.0)  # beyond them a few separable validation videos would say 0 and 1


@dataclass(frozen=True)
class TemperatureScaling:
    """p = sigmoid(logit / temperature) (Guo et al. 2017): the ranking and the answers at 0.5 stay as they are."""

    temperature: float = 1.0

    @classmethod
    def fit(cls, logits: np.ndarray, labels: np.ndarray) -> Self:
        """The temperature with the least log loss, within `TEMPERATURES`; logits, labels: (N,) of validation videos.

        The loss is convex in 1 / temperature, so its slope's only root is the answer. Raises ValueError unless there are won and
        lost videos.
        """
        logits, labels = _checked(logits, labels)
        low, high = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
        slope = lambda inverse: temperature_loss(inverse, logits, labels)[1]
        if slope(low) >= 0:
            return cls(1 / low)
        return cls(1 / high) if slope(high) <= 0 else cls(1 / float(optimize.brentq(slope, low, high, xtol=1e-12)))

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities of a win."""
        return expit(np.asarray(logits, np.float64) / self.temperature)


@dataclass(frozen=True)
class PlattScaling:
    """p = sigmoid(slope * logit + intercept) (Platt 1999); the slope is never negative, so the ranking stays."""

    slope: float = 1.0
    intercept: float = 0.0

    @classmethod
    def fit(cls, logits: np.ndarray, labels: np.ndarray) -> Self:
        """Least log loss against Platt's targets, (won + 1) / (won + 2) and 1 / (lost + 2); arguments and errors as above."""
        logits, labels = _checked(logits, labels)
        scale = max(float(np.abs(logits).max()), 1e-12)  # the search is then the same in any unit
        loss = lambda x: platt_loss(x, logits / scale, platt_targets(labels))
        found = optimize.minimize(
            loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)],
            options={"ftol": 1e-15, "gtol": 1e-10},
        )  # fmt: skip
        return cls(float(found.x[0] / scale), float(found.x[1]))

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities of a win."""
        return expit(self.slope * np.asarray(logits, np.float64) + self.intercept)


def temperature_loss(inverse: float, logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean log loss of sigmoid(inverse * logit), and its derivative by `inverse`."""
    scaled = inverse * logits
    return float((np.logaddexp(0, scaled) - labels * scaled).mean()), float(((expit(scaled) - labels) * logits).mean())


def platt_targets(labels: np.ndarray) -> np.ndarray:
    """What Platt fits instead of 1 and 0, so that few videos do not give certainty."""
    won = labels.sum()
    return np.where(labels == 1, (won + 1) / (won + 2), 1 / (len(labels) - won + 2))


def platt_loss(parameters: np.ndarray, logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cross entropy of sigmoid(slope * logit + intercept) with targets in (0, 1), and its gradient."""
    scaled = parameters[0] * logits + parameters[1]
    error = expit(scaled) - targets
    return float((np.logaddexp(0, scaled) - targets * scaled).mean()), np.array([(error * logits).mean(), error.mean()])


SCALINGS = {"temperature": TemperatureScaling, "platt": PlattScaling}


def _checked(logits, labels) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
    if logits.shape != labels.shape or logits.ndim != 1 or not np.isfinite(logits).all():
        raise ValueError(f"logits {logits.shape} and labels {labels.shape}: give one finite logit and one result a video")
    if not 0 < labels.sum() < len(labels) or not np.isin(labels, (0, 1)).all():
        raise ValueError("probabilities can only be scaled on won (1) and lost (0) videos; give validation videos of both")
    return logits, labels
