"""Intervals over seeds and subjects together, and what they say about planning: how small an effect, how many seeds.

Everything rests on the jackknife over clusters (subjects): leave one out, see how the metric moves. Its variance with
Student's t covers what it promises with seven people as with thirty, where the percentile bootstrap is too short and, for
means over classes, shifted, because a resample without a rare class leaves that class out (benchmarks/interval_coverage.py).

What is covered is the expected value of the metric on as many new people (and seeds). For means over classes that is not the
limit of endless people: rare classes, recognised worst, come and go with the people, and one only answered has an F1 of 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import optimize, stats
from scipy.special import expit, logit

from migstudy.metrics import get_metric
from migstudy.statistics import Estimate, Metric, PairedTest


class VarianceParts(NamedTuple):
    """Where the runs' differences come from, as variances of a metric: of one seed, of one subject, of both together.

    residual: subject x seed, the noise of single clips in it. seeds, subjects: how many there were.
    """

    seed: float
    subject: float
    residual: float
    seeds: int
    subjects: int


class Uncertainty(NamedTuple):
    """An effect A - B and what its standard error is made of.

    subject: the part that more seeds leave; seed: of A and of B, with one seed each (one number for paired seeds); seeds: how
    many there were of each; subjects. `standard_error()` gives it for any number of seeds.
    """

    effect: float
    subject: float
    seed: tuple[float, ...]
    seeds: tuple[int, ...]
    subjects: int

    def standard_error(self, seeds: int | None = None) -> tuple[float, float]:
        """(standard error, degrees of freedom by Welch and Satterthwaite), for `seeds` runs of each instead of those made."""
        counts = self.seeds if seeds is None else (seeds,) * len(self.seed)
        if self.subjects < 2:
            return float("nan"), float("nan")
        parts = [(self.subject, self.subjects - 1)]
        parts += [(v / k, (k if seeds is None else max(k, 2)) - 1) for v, k in zip(self.seed, counts, strict=True) if v]
        total, df = _sum_of_variances(parts)
        return float(np.sqrt(total)), float(df)

    def interval(self, confidence: float = 0.95) -> Estimate:
        """The effect with Student's t-interval; NaN bounds where the error is unknown."""
        error, df = self._known_error()
        half = float(stats.t.ppf((1 + confidence) / 2, df)) * error
        return Estimate(self.effect, self.effect - half, self.effect + half)

    def test(self) -> PairedTest:
        """Two-sided t-test of no effect: p <= 0.05 exactly where the 95 % interval leaves 0 out. n: subjects."""
        error, df = self._known_error()
        t = 0.0 if self.effect == 0 else self.effect / error  # NaN where the error is unknown
        return PairedTest(t, float(2 * stats.t.sf(abs(t), 1 if t == 0 else df)), self.subjects)

    def _known_error(self) -> tuple[float, float]:
        error, df = self.standard_error()
        return (float("nan"), df) if error <= 1e-12 < abs(self.effect) else (error, df)


def leave_one_out(confusions: np.ndarray, metric: Metric) -> tuple[np.ndarray, np.ndarray]:
    """A metric of all clusters and without each: confusions (..., S, C, C) -> (...), (..., S); vector metrics (..., S, C)."""
    metric, confusions = get_metric(metric), np.asarray(confusions, np.float64)
    total = confusions.sum(axis=-3)
    return metric(total), metric(total[..., None, :, :] - confusions)


def cluster_interval(
    confusions: np.ndarray, metric: Metric = "macro_f1", confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(value, low, high) of a metric within [0, 1]: confusions (S, C, C) of one run, over clusters; (K, S, C, C): the mean of K
    runs, over seeds and clusters together. Arrays for a vector metric.

    Jackknife variance (Efron, Tibshirani 1993, chapter 11) with Student's t, on the log odds, which keeps bounds within 0 and 1
    and lends them the skewness of shares. Of several runs, seeds enter as in `uncertainty`, and the interval is never shorter
    than over clusters alone; of one run it speaks of that run. A value that nobody's absence changes gets Wilson's interval,
    with the clusters that have a value of their own for trials. Bounds are NaN with one cluster, and where leaving one out
    leaves the metric undefined. Simulated coverage of nominal 95 %: 0.93 to 0.97 for 7 to 35 subjects and 1 to 5 seeds; without
    seeds, of several runs, 0.71 to 0.93.
    """
    stack = np.asarray(confusions, np.float64)
    stack = stack[None] if stack.ndim == 3 else stack
    whole, without = leave_one_out(stack, metric)
    value, (runs, count) = whole.mean(axis=0), without.shape[:2]
    if count < 2:
        nothing = np.full(np.shape(value), np.nan)
        return value, nothing, nothing
    pseudo = count * whole[:, None] - (count - 1) * without
    people, chance = pseudo.mean(axis=0).var(axis=0, ddof=1) / count, (1 + confidence) / 2
    half = stats.t.ppf(chance, count - 1) * np.sqrt(people)
    if runs > 1:
        beyond = np.maximum(people - _residual(pseudo) / (runs * count), 0)
        total, df = _sum_of_variances([(beyond, count - 1), (whole.var(axis=0, ddof=1) / runs, runs - 1)])
        half = np.maximum(half, stats.t.ppf(chance, df) * np.sqrt(total))
    with np.errstate(divide="ignore", invalid="ignore"):  # at 0 and 1 Wilson's interval is taken
        # d logit(v) = d v / (v (1 - v))
        low, high = (expit(logit(value) + side * half / (value * (1 - value))) for side in (-1, 1))
    own = np.isfinite(get_metric(metric)(stack)).sum(axis=1).mean(axis=0)
    unmoved = np.isfinite(half) & ((half < 1e-12) | (value <= 0) | (value >= 1))
    lowest, highest = _wilson(value, own, float(stats.norm.ppf(chance)))
    return value, np.where(unmoved, lowest, low), np.where(unmoved, highest, high)


def uncertainty(
    confusions_a: np.ndarray, confusions_b: np.ndarray, metric: Metric = "macro_f1", paired_seeds: bool = False
) -> Uncertainty:
    """The effect A - B of a metric averaged over seeds, and the parts of its variance.

    confusions_a (K_a, S, C, C), confusions_b (K_b, S, C, C): one stack a seed, over the same S clusters. Seeds and subjects
    are crossed; their parts are those of the two-way analysis of variance of the jackknife's pseudo-values, the noise of
    single clips counted once. paired_seeds: runs of a seed belong together (they share more than a number).
    """
    a, b = np.asarray(confusions_a), np.asarray(confusions_b)
    if a.ndim != 4 or b.ndim != 4 or a.shape[1:] != b.shape[1:]:
        raise ValueError(f"confusions {a.shape} and {b.shape}: give (seeds, clusters, C, C) over the same clusters")
    if paired_seeds and len(a) != len(b):
        raise ValueError(f"paired_seeds with {len(a)} and {len(b)} runs: pairs need as many runs on both sides")
    (whole_a, pseudo_a), (whole_b, pseudo_b) = (_pseudovalues(x, metric) for x in (a, b))
    effect, subjects = float(whole_a.mean() - whole_b.mean()), a.shape[1]
    tables = [(whole_a - whole_b, pseudo_a - pseudo_b)] if paired_seeds else [(whole_a, pseudo_a), (whole_b, pseudo_b)]
    seeds = tuple(len(whole) for whole, _ in tables)
    seed = tuple(float(whole.var(ddof=1)) if len(whole) > 1 else 0.0 for whole, _ in tables)
    if subjects < 2:
        return Uncertainty(effect, np.nan, seed, seeds, subjects)
    over_subjects = (pseudo_a.mean(0) - pseudo_b.mean(0)).var(ddof=1) / subjects
    noise = sum(_residual(pseudo) / pseudo.size for _, pseudo in tables)
    return Uncertainty(effect, float(max(over_subjects - noise, 0.0)), seed, seeds, subjects)


def paired_difference(
    confusions_a: np.ndarray, confusions_b: np.ndarray, metric: Metric = "macro_f1", confidence: float = 0.95,
    paired_seeds: bool = False,
) -> Estimate:  # fmt: skip
    """Effect A - B averaged over seeds, with an interval over seeds and subjects together; arguments as `uncertainty`.

    A configuration with one run adds no seed variance: the interval then speaks of that run only. NaN bounds with one cluster,
    and where nobody's absence changes an effect other than 0: its error is then unknown.
    Simulated coverage of nominal 95 %: 0.93 to 0.98 for 7 to 35 subjects and 1 to 5 seeds.
    """
    return uncertainty(confusions_a, confusions_b, metric, paired_seeds).interval(confidence)


def difference_test(
    confusions_a: np.ndarray, confusions_b: np.ndarray, metric: Metric = "macro_f1", paired_seeds: bool = False
) -> PairedTest:
    """Is there an effect, whatever the seeds and the subjects? The t-test behind `paired_difference`; arguments as there.

    Simulated between equal recipes, at 0.05: significant in 0.03 to 0.06 of studies, where tests of these runs (`swap_test`,
    `paired_bootstrap`) are in 0.03 to 0.42 as soon as seeds differ. With one run each it is the paired t-test of subjects.
    """
    return uncertainty(confusions_a, confusions_b, metric, paired_seeds).test()


def paired_bootstrap(
    confusions_a: np.ndarray, confusions_b: np.ndarray, metric: Metric = "macro_f1", n_boot: int = 10_000,
    rng: np.random.Generator | int = 0,
) -> PairedTest:  # fmt: skip
    """Bootstrap-t test of A against B over subjects: confusions (S, C, C) or (K, S, C, C), the same clusters in one order.

    Subjects' pseudo-values of the difference are resampled about their mean, and each replicate is judged by its own
    standard error (Efron, Tibshirani 1993, chapter 16). statistic: metric(A) - metric(B). Speaks of these runs: of recipes, with
    several seeds, see `difference_test`. False alarms at 0.05 with one run each: 0.03 to 0.04.
    """
    pair = []
    for confusions in (confusions_a, confusions_b):
        stack = np.asarray(confusions, np.float64)
        whole, pseudo = _pseudovalues(stack.reshape(-1, *stack.shape[-3:]), metric)
        pair.append((whole.mean(), pseudo.mean(0)))
    effect, values = pair[0][0] - pair[1][0], pair[0][1] - pair[1][1]
    count, spread = len(values), values.std(ddof=1)
    if count < 2 or spread == 0:
        return PairedTest(float(effect), 1.0 if effect == 0 else float("nan"), 0)
    drawn = values[np.random.default_rng(rng).integers(0, count, (n_boot, count))]
    errors = drawn.std(axis=1, ddof=1)
    defined = errors > 1e-12 * spread  # a replicate of one subject alone has no error to be judged by
    t = (drawn.mean(1) - values.mean())[defined] / errors[defined]
    extreme = int((np.abs(t) >= abs(effect) / spread - 1e-12).sum())
    return PairedTest(float(effect), (extreme + 1) / (len(t) + 1), len(t))


def variance_parts(confusions: np.ndarray, metric: Metric = "macro_f1") -> VarianceParts:
    """Variance between seeds and between subjects of one configuration's runs, (K, S, C, C) with K, S >= 2.

    Components of the crossed two-way analysis of variance of pseudo-values, negative ones set to 0. The variance of the mean
    over K seeds and S subjects is seed / K + subject / S + residual / (K S).
    """
    whole, pseudo = _pseudovalues(np.asarray(confusions), metric)
    seeds, subjects = pseudo.shape
    if seeds < 2 or subjects < 2:
        raise ValueError(f"{seeds} seeds and {subjects} subjects: variance parts need two of each")
    residual = _residual(pseudo)
    between_subjects, between_seeds = seeds * pseudo.mean(0).var(ddof=1), subjects * whole.var(ddof=1)
    return VarianceParts(
        max(float(between_seeds - residual), 0.0) / subjects, max(float(between_subjects - residual), 0.0) / seeds,
        float(residual), seeds, subjects,
    )  # fmt: skip


def minimum_detectable_difference(error: float, df: float, power: float = 0.8, alpha: float = 0.05, tests: int = 1) -> float:
    """The smallest true difference that a two-sided t-test finds with this power, given the difference's standard error.

    tests: how many are made in the family; alpha is shared among them (Bonferroni, the first step of Holm's procedure).
    """
    if not (0 < alpha < power < 1 and tests >= 1):
        raise ValueError(f"power {power}, alpha {alpha}, tests {tests}: give 0 < alpha < power < 1 and tests >= 1")
    if not error > 0:
        return 0.0 if error == 0 else float("nan")
    critical = stats.t.ppf(1 - alpha / tests / 2, df)

    def missing(shift: float) -> float:
        return stats.nct.sf(critical, df, shift) - power  # the other tail is as good as empty where power > alpha

    highest = 2.0
    while missing(highest) < 0:
        highest *= 2
    return float(error * optimize.brentq(missing, 1e-9, highest))


def half_width_curve(found: Uncertainty, most: int = 30, confidence: float = 0.95) -> np.ndarray:
    """(most - 1, 2): number of seeds 2, 3, ... and the half-width that the effect's interval would have with them."""
    seeds = np.arange(2, most + 1)
    errors = [found.standard_error(int(k)) for k in seeds]
    return np.array([(k, stats.t.ppf((1 + confidence) / 2, df) * e) for k, (e, df) in zip(seeds, errors, strict=True)])


def seeds_to_settle(found: Uncertainty, difference: float | None = None, most: int = 1000, confidence: float = 0.95) -> int | None:
    """How many seeds of each side would make the interval shorter than the difference on either side; None: no number would.

    difference: the effect found when not given. None means that the subjects alone leave more doubt than that: only more
    people would settle it.
    """
    wanted = abs(found.effect if difference is None else difference)
    curve = half_width_curve(found, most, confidence)
    enough = curve[curve[:, 1] < wanted]
    return int(enough[0, 0]) if len(enough) else None


def _pseudovalues(confusions: np.ndarray, metric: Metric) -> tuple[np.ndarray, np.ndarray]:
    """(K,) metric of each run, and (K, S) what each subject contributes to it: S * all - (S - 1) * without the subject."""
    whole, without = leave_one_out(confusions, metric)
    count = without.shape[1]
    # without a class's only subject a metric may be undefined; then that subject contributes like the mean
    pseudo = count * whole[:, None] - (count - 1) * without
    return whole, np.where(np.isnan(pseudo), whole[:, None], pseudo)


def _residual(table: np.ndarray) -> np.ndarray:
    """Mean square of the interaction in two-way tables (rows, columns, ...) -> (...); 0 for one row."""
    rows, columns = table.shape[:2]
    if rows < 2 or columns < 2:
        return np.zeros(table.shape[2:])
    rest = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean((0, 1))
    return (rest**2).sum((0, 1)) / ((rows - 1) * (columns - 1))


def _sum_of_variances(parts: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
    """(sum, degrees of freedom) of independent variances with theirs (Satterthwaite 1946); of zeros the first's."""
    total, squares = sum(v for v, _ in parts), sum(np.square(v) / df for v, df in parts)
    known = squares > 0
    return total, np.where(known, np.square(total) / np.where(known, squares, 1), parts[0][1])


def _wilson(value: np.ndarray, trials: np.ndarray, z: float) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's bounds of shares of so many trials, exact at 0 and 1; NaN for no trials."""
    n = np.where(trials > 0, trials, np.nan)
    centre = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    return np.where(value <= 0, 0.0 * n, centre - half), np.where(value >= 1, 1.0 + 0.0 * n, centre + half)
