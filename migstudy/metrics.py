"""Classification metrics of confusion matrices, for one matrix or for thousands at once.

Every function takes `confusion` (..., C, C), counts with rows = truth and columns = prediction, and works on the leading
axes together, so a value and the bootstrap replicates of it come from one formula. An undefined value is NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {}


def _metric(function):
    METRICS[function.__name__] = function
    return function


def get_metric(metric: str | Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """A metric by name ('top1', 'mean_class_accuracy', 'macro_f1') or any function (..., C, C) -> (...)."""
    if callable(metric):
        return metric
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; choose one of {sorted(METRICS)} or pass a function of confusions")
    return METRICS[metric]


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts (C, C), rows = truth, columns = prediction; classes are 0..C-1, anything else is an error."""
    return cluster_confusions(labels, predictions, np.zeros(len(labels), dtype=np.int64), num_classes, 1)[0]


def cluster_confusions(
    labels: np.ndarray, predictions: np.ndarray, clusters: np.ndarray, num_classes: int, num_clusters: int | None = None
) -> np.ndarray:
    """One confusion matrix per cluster, (S, C, C) float64 counts.

    labels, predictions: (N,) in 0..C-1; clusters: (N,) in 0..S-1 (for example `np.unique(subject, return_inverse=True)[1]`).
    Raises ValueError for different lengths or a class outside the range.
    """
    labels, predictions, clusters = (np.asarray(a) for a in (labels, predictions, clusters))
    if not labels.shape == predictions.shape == clusters.shape:
        raise ValueError(
            f"labels {labels.shape}, predictions {predictions.shape} and clusters {clusters.shape} must have one length"
        )
    for name, values in (("label", labels), ("prediction", predictions)):
        bad = np.flatnonzero((values < 0) | (values >= num_classes))
        if bad.size:
            raise ValueError(
                f"{name} {values[bad[0]]} at row {bad[0]} is outside 0..{num_classes - 1} ({bad.size} such rows); "
                "leave unlabelled clips out or give the right number of classes"
            )
    count = int(clusters.max(initial=-1)) + 1 if num_clusters is None else num_clusters
    flat = (clusters.astype(np.int64) * num_classes + labels) * num_classes + predictions
    counts = np.bincount(flat, minlength=count * num_classes * num_classes)
    return counts.reshape(count, num_classes, num_classes).astype(np.float64)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    return np.divide(numerator, denominator, out=np.full(denominator.shape, np.nan), where=denominator > 0)


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis of the defined values, NaN where none is (numpy's nanmean warns there)."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(-1), defined.sum(-1))


def _parts(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    confusion = np.asarray(confusion, dtype=np.float64)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return hits, confusion.sum(-1), confusion.sum(-2)


@_metric
def top1(confusion: np.ndarray) -> np.ndarray:
    """Share of clips whose most probable class is the label."""
    hits, truth, _ = _parts(confusion)
    return _ratio(hits.sum(-1), truth.sum(-1))


@_metric
def mean_class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean recall over the classes that occur in the truth (scikit-learn's `balanced_accuracy_score`)."""
    return _nanmean(recall(confusion))


@_metric
def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that occur in the truth or in the predictions.

    The convention of scikit-learn's `f1_score(average="macro")` without `labels`: a class that nobody shows but the model
    answers counts with F1 = 0; a class in neither does not count. Over all C classes the figure would only be smaller.
    """
    return _nanmean(f1(confusion))


def recall(confusion: np.ndarray) -> np.ndarray:
    """(..., C) hits / clips of the class; NaN for a class without clips."""
    hits, truth, _ = _parts(confusion)
    return _ratio(hits, truth)


def precision(confusion: np.ndarray) -> np.ndarray:
    """(..., C) hits / answers of the class; NaN for a class never answered."""
    hits, _, answered = _parts(confusion)
    return _ratio(hits, answered)


def f1(confusion: np.ndarray) -> np.ndarray:
    """(..., C) 2 hits / (clips + answers); NaN for a class in neither truth nor predictions."""
    hits, truth, answered = _parts(confusion)
    return _ratio(2 * hits, truth + answered)


def rank_of_label(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) how many classes the model puts before the label, 0 = it is the answer; of equals the lower index comes first.

    The tie rule is `argmax`'s, so `rank == 0` and `argmax == label` never disagree; top-k accuracy is mean(rank < k).
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    own = np.take_along_axis(probabilities, labels[:, None].astype(np.int64), axis=1)
    before = np.arange(probabilities.shape[1])[None] < labels[:, None]
    return ((probabilities > own) | ((probabilities == own) & before)).sum(axis=1)
