"""Two configurations, several seeds each, compared from their score tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from migstudy.intervals import Uncertainty, uncertainty
from migstudy.metrics import cluster_confusions, rank_of_label
from migstudy.scores import align_scores, get_clusters, get_labels, get_probabilities
from migstudy.statistics import Estimate, Metric, PairedTest, mcnemar, swap_test

if TYPE_CHECKING:
    import pandas as pd


class Comparison(NamedTuple):
    """Effect A - B with its interval over seeds and subjects, the tests, where the doubt comes from, and what all rest on.

    uncertainty: its `test()` asks whether the recipes differ, whatever the seed. swap: paired permutation test by cluster, None
    where A and B have different numbers of runs; mcnemar: mid-p over clips, only for one run each; these two ask whether these
    runs answer differently, which runs of one recipe do too. n_clusters: units left out in turn, of the kind `cluster` ('subject'
    or 'video').
    """

    effect: Estimate
    swap: PairedTest | None
    mcnemar: PairedTest | None
    uncertainty: Uncertainty
    n_clips: int
    n_clusters: int
    cluster: str


def run_confusions(tables: Sequence[pd.DataFrame]) -> tuple[np.ndarray, str]:
    """Confusions (K, S, C, C) of K score tables of the same clips, matched by clip id, and the kind of cluster."""
    aligned = list(align_scores({f"run {i}": table for i, table in enumerate(tables)}).values())
    labels = get_labels(aligned[0])
    clusters, names, kind = get_clusters(aligned[0])
    probabilities = [get_probabilities(table) for table in aligned]
    classes = probabilities[0].shape[1]
    return np.stack([cluster_confusions(labels, p.argmax(1), clusters, classes, len(names)) for p in probabilities]), kind


def compare(
    scores_a: Sequence[pd.DataFrame],
    scores_b: Sequence[pd.DataFrame],
    metric: Metric = "macro_f1",
    confidence: float = 0.95,
    paired_seeds: bool = False,
    seed: int = 0,
) -> Comparison:
    """Compare configuration A with B, one score table per seed, all of the same clips (rows in any order).

    The effect is the mean over A's runs of the metric minus the mean over B's. Raises ValueError for tables that differ in
    clips, labels or classes, and for clips without a label.
    """
    if not scores_a or not scores_b:
        raise ValueError("compare needs at least one score table on both sides")
    both, kind = run_confusions([*scores_a, *scores_b])
    a, b = both[: len(scores_a)], both[len(scores_a) :]
    swap = swap_test(a, b, metric, rng=seed) if len(a) == len(b) else None
    exact = None
    if len(a) == len(b) == 1:
        tables = align_scores({"A": scores_a[0], "B": scores_b[0]}).values()
        exact = mcnemar(*(rank_of_label(get_probabilities(t), get_labels(t)) == 0 for t in tables), mid_p=True)
    doubt = uncertainty(a, b, metric, paired_seeds)
    return Comparison(doubt.interval(confidence), swap, exact, doubt, int(both[0].sum()), both.shape[1], kind)
