"""Two models of win or lose over seeds and people together: do they differ whatever the seed, not only in the runs at hand?

`small_sample` speaks of trained runs. Trained again, they answer otherwise, by more than people differ: between equal models,
as soon as seeds move the AUC by ten points, its swap test of three runs each finds a difference in a third of studies.
"""

from __future__ import annotations

import numpy as np

from migstudy import intervals
from migstudy.emotion.small_sample import Answers, mean_metric


def recipe_difference(a: Answers, b: Answers, metric: str = "auc") -> intervals.Uncertainty:
    """metric(A) - metric(B) of models with the same seeds in one order, two or more; see its `interval()` and `test()`.

    Runs of a seed share their folds and are paired; seeds and people are crossed, as in `intervals.uncertainty`, over jackknife
    pseudo-values. NaN errors with one person, and where leaving one out undoes the metric. Raises ValueError for other runs.
    """
    if a.probabilities.shape != b.probabilities.shape or len(a.probabilities) < 2:
        raise ValueError(f"{len(a.probabilities)} and {len(b.probabilities)} runs; give the same seeds of both models, two or more")
    (whole, pseudo), (other, less) = _pseudovalues(a, metric), _pseudovalues(b, metric)
    whole, pseudo = whole - other, pseudo - less
    seeds, people = pseudo.shape
    effect, seed = float(whole.mean()), float(whole.var(ddof=1))
    if people < 2 or not np.isfinite(pseudo).all():
        return intervals.Uncertainty(effect, np.nan, (seed,), (seeds,), people)
    subject = pseudo.mean(0).var(ddof=1) / people - intervals._residual(pseudo) / pseudo.size
    return intervals.Uncertainty(effect, max(float(subject), 0.0), (seed,), (seeds,), people)


def _pseudovalues(answers: Answers, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """(K,) metric of each run, (K, S) what each person contributes: S * all - (S - 1) * without the person."""
    others = 1.0 - np.eye(int(answers.clusters.max()) + 1)[:, answers.clusters]
    thresholds = np.broadcast_to(answers.thresholds, (len(answers.probabilities), answers.thresholds.shape[1]))
    runs = [answers._replace(probabilities=p[None], thresholds=t[None]) for p, t in zip(answers.probabilities, thresholds, strict=True)]
    whole = np.array([float(mean_metric(run, metric)) for run in runs])
    if len(others) < 2:
        return whole, np.full((len(runs), 1), np.nan)
    without = np.array([mean_metric(run, metric, weights=others) for run in runs])
    return whole, len(others) * whole[:, None] - (len(others) - 1) * without
