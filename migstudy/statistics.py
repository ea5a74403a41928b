"""Bootstrap over subjects, paired tests, and the summary over seeds; intervals of seeds and subjects are in `intervals`.

Clips of one person are not independent, so everything here resamples or swaps whole clusters (subjects). A cluster enters as
its confusion matrix, so a replicate is a weighted sum of matrices and thousands of them are one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from migstudy.metrics import get_metric

Metric = str | Callable[[np.ndarray], np.ndarray]
_CHUNK_BYTES = 64 * 2**20  # of replicate confusions held at a time


class Estimate(NamedTuple):
    """A value with its interval [low, high]; NaN bounds where the data give none."""

    value: float
    low: float
    high: float


class SeedSummary(NamedTuple):
    """mean, sd (n - 1 in the denominator) and t-interval of n runs that differ in their seed only."""

    mean: float
    sd: float
    low: float
    high: float
    n: int


class PairedTest(NamedTuple):
    """statistic, two-sided p-value, and the counts or replicates behind it."""

    statistic: float
    p_value: float
    n: int


def summarise_seeds(values: Sequence[float], confidence: float = 0.95) -> SeedSummary:
    """Mean, sd and Student-t interval of the mean over seeds; with one run sd and interval are NaN."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"seed values {values.tolist()}: give one finite number per run")
    mean, n = float(values.mean()), len(values)
    if n == 1:
        return SeedSummary(mean, np.nan, np.nan, np.nan, 1)
    sd = float(values.std(ddof=1))
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * sd / np.sqrt(n)
    return SeedSummary(mean, sd, mean - half, mean + half, n)


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """Wilson score interval of a proportion of n independent trials (Wilson 1927); clips of one subject are not."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} successes of {n} trials: give 0 <= successes <= n and n > 0")
    z = float(stats.norm.ppf((1 + confidence) / 2))
    p, scale = successes / n, 1 + z * z / n
    centre = (p + z * z / (2 * n)) / scale
    half = z / scale * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # at the ends the bound is exact; rounding would leave it 1e-17 off
    return Estimate(p, 0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half)


def bootstrap_weights(num_clusters: int, n_boot: int, rng: np.random.Generator | int = 0) -> np.ndarray:
    """How often each cluster is drawn in each replicate, (n_boot, num_clusters) int64; every row sums to num_clusters."""
    rng = np.random.default_rng(rng)
    return rng.multinomial(num_clusters, np.full(num_clusters, 1 / num_clusters), size=n_boot)


def bootstrap_metric(confusions: np.ndarray, metric: Metric, weights: np.ndarray) -> np.ndarray:
    """The metric of every replicate: confusions (S, C, C), weights (B, S) -> (B, ...)."""
    metric = get_metric(metric)
    count, classes = confusions.shape[0], confusions.shape[1]
    flat = np.ascontiguousarray(confusions, dtype=np.float64).reshape(count, -1)
    weights = np.asarray(weights, dtype=np.float64)
    step = max(1, _CHUNK_BYTES // (8 * flat.shape[1]))
    return np.concatenate(
        [metric((weights[i : i + step] @ flat).reshape(-1, classes, classes)) for i in range(0, len(weights), step)]
    )


def percentile_interval(replicates: np.ndarray, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """(low, high) percentiles over axis 0; undefined (NaN) replicates are left out, NaN where all are undefined."""
    replicates = np.asarray(replicates, dtype=np.float64)
    defined = ~np.isnan(replicates)
    filled = np.where(defined.any(axis=0), replicates, 0.0)
    low, high = np.nanquantile(filled, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    nothing = ~defined.any(axis=0)
    return np.where(nothing, np.nan, low), np.where(nothing, np.nan, high)


def cluster_bootstrap(
    confusions: np.ndarray,
    metric: Metric = "macro_f1",
    n_boot: int = 2000,
    confidence: float = 0.95,
    rng: np.random.Generator | int = 0,
) -> Estimate:
    """A metric with its percentile interval over resampled clusters.

    confusions: (S, C, C) from `metrics.cluster_confusions`; metric: a name or a function (..., C, C) -> (...).
    With one cluster there is nothing to resample and the bounds are NaN. Too short (simulated coverage of nominal 95 %: 0.83 to
    0.92 for 7 to 35 clusters): `intervals.cluster_interval` is the one to report.
    """
    value = float(get_metric(metric)(confusions.sum(axis=0)))
    if len(confusions) < 2 or n_boot < 1:
        return Estimate(value, np.nan, np.nan)
    replicates = bootstrap_metric(confusions, metric, bootstrap_weights(len(confusions), n_boot, rng))
    low, high = percentile_interval(replicates, confidence)
    return Estimate(value, float(low), float(high))


def mcnemar(correct_a: np.ndarray, correct_b: np.ndarray, mid_p: bool = False) -> PairedTest:
    """McNemar's test of two classifiers on the same clips: exact, or mid-p (Fagerland et al. 2013).

    correct_a, correct_b: (N,) bool. statistic: clips only A gets right minus clips only B gets right; n: clips on which
    they differ. Treats clips as independent (simulated false alarms at 0.05: 0.09 to 0.10): beside it, report `swap_test`.
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"correct_a {a.shape} and correct_b {b.shape} must be one flag per clip, in the same order")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    n, smaller = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return PairedTest(0.0, 1.0, 0)
    if mid_p:
        p = 2 * stats.binom.cdf(smaller, n, 0.5) - stats.binom.pmf(smaller, n, 0.5)
        # the point mass at the exact middle lies in both tails
        p = 1 - 0.5 * stats.binom.pmf(smaller, n, 0.5) if only_a == only_b else p
    else:
        p = stats.binomtest(smaller, n, 0.5).pvalue
    return PairedTest(float(only_a - only_b), float(min(1.0, p)), n)


def swap_test(
    confusions_a: np.ndarray,
    confusions_b: np.ndarray,
    metric: Metric = "macro_f1",
    n_permutations: int = 10_000,
    rng: np.random.Generator | int = 0,
) -> PairedTest:
    """Paired permutation test by subject: within each cluster the answers of A and B are swapped or not.

    confusions_a, confusions_b: (S, C, C), or (K, S, C, C) for K runs each, whose metrics are averaged; the same clusters in
    the same order. statistic: metric(A) - metric(B). All 2^S swaps are counted where that is at most n_permutations, else
    random ones with the +1 correction (Phipson, Smyth 2010). Speaks of these runs: seed variance is not in it, and two lots of
    runs of one recipe differ too (simulated false alarms at 0.05: 0.05 with one run each and no seed variance,
    0.08 to 0.42 of recipes with 3 to 5 seeds). Of recipes see `intervals.difference_test`.
    """
    a, b = np.asarray(confusions_a, dtype=np.float64), np.asarray(confusions_b, dtype=np.float64)
    if a.shape != b.shape or a.ndim not in (3, 4) or not np.array_equal(a.sum(axis=-1), b.sum(axis=-1)):
        raise ValueError(
            f"confusions {a.shape} and {b.shape} are not of the same clips, clusters and number of runs; "
            "align the scores by clip id"
        )
    a, b = a.reshape(-1, *a.shape[-3:]), b.reshape(-1, *b.shape[-3:])
    count = a.shape[1]
    exact = count < 63 and 2**count <= n_permutations
    if exact:
        swap = (np.arange(2**count)[:, None] >> np.arange(count) & 1).astype(np.float64)
    else:
        swap = np.random.default_rng(rng).integers(0, 2, size=(n_permutations, count)).astype(np.float64)
    first, second = np.concatenate([1 - swap, swap], axis=1), np.concatenate([swap, 1 - swap], axis=1)
    runs = [np.concatenate(pair) for pair in zip(a, b, strict=True)]
    null = np.mean([bootstrap_metric(r, metric, first) - bootstrap_metric(r, metric, second) for r in runs], axis=0)
    function = get_metric(metric)
    observed = float(function(a.sum(1)).mean() - function(b.sum(1)).mean())
    # rounding must not make the observed arrangement look less extreme than itself
    extreme = int((np.abs(null) >= abs(observed) - 1e-12).sum())
    p = extreme / len(null) if exact else (extreme + 1) / (len(null) + 1)
    return PairedTest(observed, float(p), len(null))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjusted p-values (Holm 1979), in the order given."""
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values {p.tolist()} must lie in [0, 1]")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
