"""What a hundred videos of a few dozen people can tell: intervals, tests against chance, paired tests.

Videos of one person are not independent: a face gives away who it is, and some people win more often. So people are resampled,
exchanged and swapped whole. Wilson's interval, which takes videos for independent, is in `migstudy.statistics`; means over
seeds of many-class metrics are in `migstudy.intervals`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import expit, logit

from migstudy.emotion.binary_metrics import BY_THRESHOLD, LOWER_IS_BETTER, get_metric
from migstudy.statistics import Estimate, PairedTest, bootstrap_weights, percentile_interval, wilson_interval

UNITS = ("subject", "within", "video")
_CHUNK = 4_000_000  # numbers of a batch held at a time


class Answers(NamedTuple):
    """R runs' predictions for the same N videos. labels: (N,) 0/1; probabilities: (R, N) of a win; thresholds: (R, N) or (R, 1);
    clusters: (N,) which person, numbered from 0. Metrics are averaged over runs (seeds, repeats)."""

    labels: np.ndarray
    probabilities: np.ndarray
    thresholds: np.ndarray
    clusters: np.ndarray


class ChanceTest(NamedTuple):
    """statistic: the metric as observed; p_value: one-sided, at least as good by chance; n: exchanges drawn; arrangements: how
    many of them differed; low, high: the middle 95 % that chance gives."""

    statistic: float
    p_value: float
    n: int
    arrangements: int
    low: float
    high: float


def make_answers(labels, probabilities, clusters, thresholds=0.5) -> Answers:
    """Answers from plain arrays; probabilities (N,) or (R, N), clusters any names, thresholds a number, (R,) or (R, N)."""
    labels, probabilities = np.asarray(labels, np.int64), np.atleast_2d(np.asarray(probabilities, np.float64))
    codes = np.unique(np.asarray(clusters), return_inverse=True)[1]
    thresholds = np.asarray(thresholds, np.float64)
    thresholds = thresholds if thresholds.ndim == 2 else np.broadcast_to(thresholds, len(probabilities))[:, None]
    if not labels.shape == codes.shape == probabilities.shape[1:] or not len(labels):
        shapes = f"labels {labels.shape}, clusters {codes.shape}, probabilities {probabilities.shape}"
        raise ValueError(f"{shapes}: give one of each for every video")
    return Answers(labels, probabilities, thresholds, codes)


def mean_metric(answers: Answers, metric: str, labels=None, weights=None) -> np.ndarray:
    """The metric averaged over runs; labels or weights (B, N) give (B,), else a 0-d array."""
    function, labels = get_metric(metric), answers.labels if labels is None else labels
    runs = [function(labels, p, t, weights) for p, t in zip(answers.probabilities, answers.thresholds, strict=True)]
    return np.mean(runs, axis=0)


def subject_interval(answers: Answers, metric: str, confidence: float = 0.95) -> Estimate:
    """A metric with its interval over people; NaN bounds with fewer than two, or where leaving one out undoes the metric.

    Jackknife over people with Student's t, on the log odds of the metric (its log for the log loss), so that bounds stay inside
    the range; a metric of exactly 0 or 1, which does not vary, gets Wilson's interval with people for trials. It speaks of these
    trained runs and new people. Simulated coverage of nominal 95 % for accuracy, AUC and macro-F1 from chance to 0.98: 0.94 to
    0.99 with 7 to 35 people of three videos, where the percentile bootstrap gives 0.57 to 0.94 (benchmarks/
    emotion_uncertainty.py). Too short for answers gathered from folds, which share their chance: that of the AUC lacks 0.5 in 12
    to 14 % of the null data of `chance_test`.
    """
    value, without = _leave_one_out(answers, metric)
    people = len(without)
    if people < 2 or not np.isfinite([value, *without]).all():
        return Estimate(value, np.nan, np.nan)
    if metric != "log_loss" and value in (0.0, 1.0):
        return Estimate(value, *wilson_interval(round(value) * people, people, confidence)[1:])
    # d logit(v) = d v / (v (1 - v)), d log(v) = d v / v
    stretch = value if metric == "log_loss" else value * (1 - value)
    half = stats.t.ppf((1 + confidence) / 2, people - 1) * _jackknife_error(without) / stretch
    if metric == "log_loss":
        return Estimate(value, *(value * np.exp([-half, half])).tolist())
    return Estimate(value, *expit(logit(value) + np.array([-half, half])).tolist())


def subject_bootstrap(
    answers: Answers, metric: str, n_boot: int = 2000, confidence: float = 0.95, rng: np.random.Generator | int = 0
) -> Estimate:
    """A metric with its percentile interval over resampled people; NaN bounds with fewer than two.

    Shorter than it should be with few people or near 0 and 1: `subject_interval` is the one to report.
    """
    value = float(mean_metric(answers, metric))
    if (weights := people_weights(answers, n_boot, rng)) is None:
        return Estimate(value, np.nan, np.nan)
    low, high = percentile_interval(mean_metric(answers, metric, weights=weights), confidence)
    return Estimate(value, float(low), float(high))


def exchange_results(
    labels: np.ndarray, clusters: np.ndarray, n: int, unit: str = "subject", rng: np.random.Generator | int = 0
) -> np.ndarray:
    """(n, N) results as chance could have dealt them, for a test against chance or for learning chance anew.

    unit: what is exchangeable where results mean nothing. "subject": people with equally many videos trade all their results,
    and each person's results are shuffled; holds although people differ in look and in how often they win. "within": only
    each person's results are shuffled; blind to whatever tells winners from losers. "video": any two videos trade; holds only
    where no person stands out, else it finds too much.
    """
    if unit not in UNITS:
        raise ValueError(f"unknown unit {unit!r}; choose one of {', '.join(UNITS)}")
    labels, clusters, rng = np.asarray(labels), np.asarray(clusters), np.random.default_rng(rng)
    out = np.repeat(labels[None], n, axis=0)
    if unit == "video":
        return rng.permuted(out, axis=1)
    people, sizes = np.unique(clusters, return_counts=True)
    for size in np.unique(sizes):
        places = np.stack([np.flatnonzero(clusters == person) for person in people[sizes == size]])
        dealt = np.repeat(labels[places][None], n, axis=0)
        if unit == "subject":
            dealt = np.take_along_axis(dealt, rng.random((n, len(places))).argsort(1)[..., None], 1)
        out[:, places.ravel()] = rng.permuted(dealt, axis=2).reshape(n, -1)
    return out


def chance_test(
    answers: Answers, metric: str = "balanced_accuracy", unit: str = "subject", n_permutations: int = 5000,
    rng: np.random.Generator | int = 0,
) -> ChanceTest:  # fmt: skip
    """Permutation test against chance: results are exchanged (`exchange_results`), the model's answers stay.

    p_value has the +1 correction (Phipson, Smyth 2010). Exact for models that never saw these results. Held-out answers gathered
    from folds have learned from each other's results and share their chance: there it finds too much (in 8 to 11 % of null
    data at 5 %: 80 videos of 27 people, five folds, logistic regression); use `chance_by_learning` where learning is cheap.
    """
    observed = float(mean_metric(answers, metric))
    rng, parts, seen = np.random.default_rng(rng), [], set()
    step = max(1, _CHUNK // len(answers.labels))
    for first in range(0, n_permutations, step):
        dealt = exchange_results(answers.labels, answers.clusters, min(step, n_permutations - first), unit, rng)
        seen.update(row.tobytes() for row in dealt.astype(np.int8))
        parts.append(mean_metric(answers, metric, dealt))
    null = np.concatenate(parts)
    p = p_against(observed, null, metric)
    low, high = percentile_interval(null)
    return ChanceTest(observed, p, len(null), len(seen), float(low), float(high))


def chance_by_learning(
    learn: Callable[[np.ndarray], Answers], labels: np.ndarray, clusters: np.ndarray, metric: str = "balanced_accuracy",
    unit: str = "subject", n_permutations: int = 199, rng: np.random.Generator | int = 0,
) -> ChanceTest:  # fmt: skip
    """As `chance_test`, but everything is learned anew from exchanged results, so that it is exact for cross-validation too.

    learn: results (N,) of all videos -> Answers, judged against the results they were learned from; it must treat all alike.
    """
    dealt = exchange_results(labels, clusters, n_permutations, unit, rng)
    observed = float(mean_metric(learn(np.asarray(labels)), metric))
    null = np.array([float(mean_metric(learn(row), metric)) for row in dealt])
    low, high = percentile_interval(null)
    arrangements = len(np.unique(dealt, axis=0))
    return ChanceTest(observed, p_against(observed, null, metric), len(null), arrangements, float(low), float(high))


def p_against(observed: float, null: np.ndarray, metric: str) -> float:
    """One-sided p-value of a metric against its values by chance, whichever way is better."""
    sign = -1 if metric in LOWER_IS_BETTER else 1
    return float(((sign * np.asarray(null) >= sign * observed - 1e-12).sum() + 1) / (len(null) + 1))


def swap_test(
    a: Answers, b: Answers, metric: str = "auc", n_permutations: int = 10_000, rng: np.random.Generator | int = 0
) -> PairedTest:
    """Two models on the same videos: within each person the answers of A and B are swapped or not; two-sided.

    statistic: metric(A) - metric(B). Metrics with a threshold swap the answers, AUC the ranks within a run (so that no model's
    scale matters; Venkatraman, Begg 1996), Brier and log loss the probabilities. All swaps are counted where they are at most
    n_permutations, else random ones with the +1 correction. A and B need as many runs.
    """
    _refuse_unpaired(a, b)
    if a.probabilities.shape != b.probabilities.shape:
        raise ValueError(f"{len(a.probabilities)} and {len(b.probabilities)} runs; a swap test needs as many of both models")
    count = int(a.clusters.max()) + 1
    exact = count < 40 and 2**count <= n_permutations
    if exact:
        swap = np.arange(2**count)[:, None] >> np.arange(count) & 1 == 1
    else:
        swap = np.random.default_rng(rng).random((n_permutations, count)) < 0.5
    function, (own, other) = get_metric(metric), (_comparable(x, metric) for x in (a, b))
    parts, step = [], max(1, _CHUNK // len(a.labels))
    for first in range(0, len(swap), step):
        chosen = swap[first : first + step][:, a.clusters]
        pairs = [(np.where(chosen, q, p), np.where(chosen, p, q)) for p, q in zip(own, other, strict=True)]
        parts.append(np.mean([function(a.labels, one) - function(a.labels, two) for one, two in pairs], axis=0))
    null = np.concatenate(parts)
    observed = float(mean_metric(a, metric) - mean_metric(b, metric))
    extreme = int((np.abs(null) >= abs(observed) - 1e-12).sum())
    return PairedTest(observed, extreme / len(null) if exact else (extreme + 1) / (len(null) + 1), len(null))


def difference_interval(a: Answers, b: Answers, metric: str = "auc", confidence: float = 0.95) -> Estimate:
    """metric(A) - metric(B) with its interval over people: jackknife and Student's t, each person left out of both.

    NaN bounds with one person, and where the difference is not 0 but the same whoever is left out: its error is then unknown.
    """
    _refuse_unpaired(a, b)
    (value, without), (other, less) = _leave_one_out(a, metric), _leave_one_out(b, metric)
    difference = value - other
    error = _jackknife_error(without - less)
    if error <= 1e-12 < abs(difference):
        return Estimate(difference, np.nan, np.nan)
    half = stats.t.ppf((1 + confidence) / 2, max(len(less) - 1, 1)) * error
    return Estimate(difference, float(difference - half), float(difference + half))


def delong_test(labels, first, second, clusters=None) -> PairedTest:
    """Two AUCs on the same videos: z and two-sided p of DeLong et al. (1988); with clusters of Obuchowski (1997).

    labels, first, second, clusters: (N,). Normal theory: with fewer than some 30 people prefer `swap_test`. NaN where areas
    differ and nobody varies. Raises ValueError unless two people have won and two have lost videos.
    """
    labels = np.asarray(labels).astype(bool)
    owner = np.arange(len(labels)) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    won, lost = int(labels.sum()), int((~labels).sum())
    if not won or not lost:
        raise ValueError("an AUC needs won and lost videos")
    areas, hits, misses = [], [], []
    for scores in (np.asarray(first, np.float64), np.asarray(second, np.float64)):
        above = np.sign(scores[labels][:, None] - scores[~labels][None]) / 2 + 0.5
        areas.append(above.mean())
        hits.append(np.bincount(owner[labels], above.mean(1) - areas[-1], owner.max() + 1))
        misses.append(np.bincount(owner[~labels], above.mean(0) - areas[-1], owner.max() + 1))
    people, with_won, with_lost = (len(np.unique(x)) for x in (owner, owner[labels], owner[~labels]))
    if min(with_won, with_lost) < 2:
        raise ValueError("DeLong's variance needs two people with won videos and two with lost ones")
    up, down = hits[0] - hits[1], misses[0] - misses[1]
    variance = with_won / (with_won - 1) * (up @ up) / won**2 + with_lost / (with_lost - 1) * (down @ down) / lost**2
    variance += 2 * people / (people - 1) * (up @ down) / (won * lost)
    difference = areas[0] - areas[1]
    if variance <= 1e-15:
        return PairedTest(*((0.0, 1.0) if abs(difference) < 1e-12 else (np.nan, np.nan)), len(labels))
    z = float(difference / np.sqrt(variance))
    return PairedTest(z, float(2 * stats.norm.sf(abs(z))), len(labels))


def people_weights(answers: Answers, n_boot: int, rng: np.random.Generator | int = 0) -> np.ndarray | None:
    """(n_boot, N) how often each video is drawn when people are drawn anew; None with fewer than two people."""
    people = int(answers.clusters.max()) + 1
    if people < 2 or n_boot < 1:
        return None
    return bootstrap_weights(people, n_boot, rng)[:, answers.clusters].astype(np.float64)


def _leave_one_out(answers: Answers, metric: str) -> tuple[float, np.ndarray]:
    others = 1.0 - np.eye(int(answers.clusters.max()) + 1)[:, answers.clusters]
    if len(others) < 2:
        return float(mean_metric(answers, metric)), np.full(1, np.nan)
    return float(mean_metric(answers, metric)), mean_metric(answers, metric, weights=others)


def _jackknife_error(without: np.ndarray) -> float:
    return float(np.sqrt((len(without) - 1) * without.var()))


def _comparable(answers: Answers, metric: str) -> np.ndarray:
    if metric in BY_THRESHOLD:
        return (answers.probabilities >= answers.thresholds).astype(np.float64)
    if metric == "auc":
        return stats.rankdata(answers.probabilities, axis=1) / answers.probabilities.shape[1]
    return answers.probabilities


def _refuse_unpaired(a: Answers, b: Answers) -> None:
    if not np.array_equal(a.labels, b.labels) or not np.array_equal(a.clusters, b.clusters):
        raise ValueError("the two models' answers are not of the same videos in the same order; align their scores by video")
