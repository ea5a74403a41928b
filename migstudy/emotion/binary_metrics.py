"""Metrics of a yes/no prediction, for one set of results or for thousands at once.

Every metric takes labels (1 win, 0 lose), probabilities of a win, and optionally weights, all of shape (..., N) and broadcast
against each other, and works on the leading axes together: a value, its bootstrap replicates (weights), its permutations
(labels) and its swaps (probabilities) come from one formula. A video is answered "win" where its probability >= threshold. An
undefined value is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

from migstudy import metrics as m
from migstudy.statistics import wilson_interval

METRICS: dict[str, Callable[..., np.ndarray]] = {}
NAMES = {
    "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro-F1", "auc": "AUC",
    "brier": "Brier score", "log_loss": "log loss",
}  # fmt: skip
LOWER_IS_BETTER = ("brier", "log_loss")
BY_THRESHOLD = ("accuracy", "balanced_accuracy", "macro_f1")
CHANCE = {"accuracy": 0.5, "balanced_accuracy": 0.5, "auc": 0.5, "brier": 0.25, "log_loss": float(np.log(2))}  # of a coin


def _metric(function):
    METRICS[function.__name__] = function
    return function


def get_metric(name: str) -> Callable[..., np.ndarray]:
    """A metric by name; ValueError listing the names."""
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}; choose one of {', '.join(METRICS)}")
    return METRICS[name]


def confusions(labels, probabilities, threshold=0.5, weights=None) -> np.ndarray:
    """(..., 2, 2) weighted counts, rows = truth, columns = answer; threshold broadcasts against (..., N) too."""
    labels, probabilities, weights = _checked(labels, probabilities, weights)
    answers = (probabilities >= threshold).astype(np.float64)
    total, won, said = weights.sum(-1), (weights * labels).sum(-1), (weights * answers).sum(-1)
    both = (weights * labels * answers).sum(-1)
    return np.stack([np.stack([total - won - said + both, said - both], -1), np.stack([won - both, both], -1)], -2)


@_metric
def accuracy(labels, probabilities, threshold=0.5, weights=None) -> np.ndarray:
    """Share of videos answered rightly."""
    return m.top1(confusions(labels, probabilities, threshold, weights))


@_metric
def balanced_accuracy(labels, probabilities, threshold=0.5, weights=None) -> np.ndarray:
    """Mean of the shares of won and of lost videos answered rightly; 0.5 for whoever always answers the same."""
    return m.mean_class_accuracy(confusions(labels, probabilities, threshold, weights))


@_metric
def macro_f1(labels, probabilities, threshold=0.5, weights=None) -> np.ndarray:
    """Mean F1 of win and lose, conventions of `metrics.macro_f1`."""
    return m.macro_f1(confusions(labels, probabilities, threshold, weights))


@_metric
def auc(labels, probabilities, threshold=0.5, weights=None) -> np.ndarray:
    """Chance that a won video scores above a lost one, equal scores counting half (Mann and Whitney); threshold is not used."""
    labels, scores, weights = _checked(labels, probabilities, weights)
    order = np.argsort(scores, axis=-1, kind="stable")
    scores, won, lost = (np.take_along_axis(x, order, -1) for x in (scores, weights * labels, weights * (1 - labels)))
    below = np.cumsum(lost, -1)
    first = np.concatenate([np.ones_like(scores[..., :1], bool), scores[..., 1:] > scores[..., :-1]], -1)
    last = np.concatenate([first[..., 1:], np.ones_like(first[..., :1])], -1)
    # `below` never falls, so running extremes carry the value at a tie's start and end to all of its members
    start = np.maximum.accumulate(np.where(first, below - lost, -np.inf), -1)
    end = np.minimum.accumulate(np.where(last, below, np.inf)[..., ::-1], -1)[..., ::-1]
    return _share((won * (start + end)).sum(-1) / 2, won.sum(-1) * lost.sum(-1))


@_metric
def brier(labels, probabilities, threshold=0.5, weights=None) -> np.ndarray:
    """Mean squared difference of probability and result; 0.25 for always saying one half."""
    labels, probabilities, weights = _checked(labels, probabilities, weights)
    return _share((weights * (probabilities - labels) ** 2).sum(-1), weights.sum(-1))


@_metric
def log_loss(labels, probabilities, threshold=0.5, weights=None) -> np.ndarray:
    """Mean -ln of the probability given to the result, probabilities kept 2e-16 away from 0 and 1."""
    labels, probabilities, weights = _checked(labels, probabilities, weights)
    eps = np.finfo(np.float64).eps
    p = np.clip(probabilities, eps, 1 - eps)
    return _share(-(weights * (labels * np.log(p) + (1 - labels) * np.log1p(-p))).sum(-1), weights.sum(-1))


def calibration_error(labels, probabilities, n_bins: int = 10, strategy: str = "mass") -> np.ndarray:
    """Expected calibration error of the probability of a win: mean over bins, by their videos, of |mean p - share won|.

    labels: (..., N); probabilities: (N,). strategy: "mass" = bins of about equally many videos, "width" = equally wide bins of
    [0, 1]. Equal probabilities share a bin, empty bins do not count. Never negative, so of few videos it lies above 0 even where
    probabilities are right: compare with `expected_calibration_error`.
    """
    bins = _bin_of(np.asarray(probabilities, np.float64), n_bins, strategy)
    labels, probabilities, _ = _checked(labels, probabilities, None)
    member = (bins[:, None] == np.arange(n_bins)).astype(np.float64)
    return np.abs((probabilities - labels) @ member).sum(-1) / len(bins)


def expected_calibration_error(
    probabilities, n_bins: int = 10, strategy: str = "mass", draws: int = 2000, seed: int = 0
) -> np.ndarray:
    """(draws,) calibration errors that results drawn from these very probabilities give (Broecker and Smith 2007)."""
    probabilities = np.asarray(probabilities, np.float64)
    drawn = np.random.default_rng(seed).random((draws, len(probabilities))) < probabilities
    return calibration_error(drawn, probabilities, n_bins, strategy)


class Reliability(NamedTuple):
    """A reliability curve, one entry a bin that holds videos: mean probability, share won with its Wilson interval, videos."""

    mean: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: np.ndarray


def reliability_curve(
    labels, probabilities, n_bins: int = 10, strategy: str = "mass", confidence: float = 0.95, runs: int = 1
) -> Reliability:
    """Share won against the mean probability in bins as of `calibration_error`; intervals take videos for independent.

    runs: how many models' answers for each video are strung together; counts, and so intervals, are of one model's.
    """
    bins = _bin_of(np.asarray(probabilities, np.float64), n_bins, strategy)
    labels, probabilities, _ = _checked(labels, probabilities, None)
    total = np.bincount(bins, minlength=n_bins)
    held = np.flatnonzero(total)
    won, count = np.bincount(bins, labels, n_bins)[held] / runs, total[held] / runs
    mean = np.bincount(bins, probabilities, n_bins)[held] / total[held]
    share, low, high = np.array([wilson_interval(k, n, confidence) for k, n in zip(won, count, strict=True)]).T
    return Reliability(mean, share, low, high, count)


def roc_curve(labels, probabilities) -> tuple[np.ndarray, np.ndarray]:
    """(share of lost, share of won videos) that reach each threshold, from (0, 0) to (1, 1); equal scores make one step."""
    labels, probabilities, _ = _checked(labels, probabilities, None)
    order = np.argsort(-probabilities, kind="stable")
    scores, won = probabilities[order], labels[order]
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True))
    hits, alarms = np.cumsum(won)[last], np.cumsum(1 - won)[last]
    return np.append(0, _share(alarms, alarms[-1])), np.append(0, _share(hits, hits[-1]))


def choose_threshold(labels, probabilities) -> float:
    """The threshold with the best balanced accuracy on these (validation) videos.

    Candidates: 0.5, the middle between every two neighbouring probabilities, and one beyond each end. Of equally good ones the
    nearest to 0.5 is taken, of two equally near the lower. Raises ValueError unless there are won and lost videos.
    """
    labels, probabilities, _ = _checked(labels, probabilities, None)
    if not 0 < labels.sum() < len(labels):
        raise ValueError("a threshold needs won and lost videos to be chosen on; give validation videos of both")
    seen = np.unique(probabilities)
    tried = np.concatenate([[0.5, 0.0, np.nextafter(1.0, 2.0)], (seen[1:] + seen[:-1]) / 2])
    value = balanced_accuracy(labels, probabilities, tried[:, None])
    best = tried[value >= value.max() - 1e-12]
    return float(best[np.lexsort([best, np.round(np.abs(best - 0.5), 12)])[0]])


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(part, np.float64) / whole  # 0 / 0 is NaN: undefined


def _bin_of(probabilities: np.ndarray, n_bins: int, strategy: str) -> np.ndarray:
    if strategy not in ("mass", "width") or n_bins < 1:
        raise ValueError(f"{n_bins} bins by {strategy!r}: give 1 or more, by 'mass' or 'width'")
    if strategy == "width":
        return np.searchsorted(np.linspace(0, 1, n_bins + 1)[1:-1], probabilities, side="left")
    # by the middle of its ranks, so that a tie stays together and rounding decides nothing
    return ((stats.rankdata(probabilities) - 0.5) * n_bins / len(probabilities)).astype(np.int64)


def _checked(labels, probabilities, weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels, probabilities = np.asarray(labels, np.float64), np.asarray(probabilities, np.float64)
    weights = np.ones(labels.shape[-1:]) if weights is None else np.asarray(weights, np.float64)
    if not labels.ndim or not probabilities.ndim or labels.shape[-1] != probabilities.shape[-1] or not labels.shape[-1]:
        raise ValueError(f"labels {labels.shape} and probabilities {probabilities.shape}: give one of each for every video")
    if not np.isfinite(probabilities).all() or ((probabilities < 0) | (probabilities > 1)).any():
        raise ValueError("probabilities must lie in [0, 1]; apply a sigmoid to logits first")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 1 (win) or 0 (lose); leave videos of unknown result out")
    return tuple(np.broadcast_arrays(labels, probabilities, weights))
