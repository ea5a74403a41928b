"""Metrics of a score table, with intervals over subjects.

On iMiGUE a model that always answers the most frequent class reaches a third of the clips, so top-1 never stands alone here:
mean class accuracy, macro-F1, the majority answer and chance stand beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from migstudy import metrics as m
from migstudy.intervals import cluster_interval
from migstudy.scores import align_scores, check_scores, get_class_names, get_clusters, get_labels, get_probabilities

if TYPE_CHECKING:
    import pandas as pd

Interval = tuple[float | None, float | None]
SUMMARY = ("top1", "top5", "mean_class_accuracy", "macro_f1")


class ClassMetrics(TypedDict):
    """One class; precision, recall, f1 and their intervals are None where undefined. n_clusters: clusters that show it."""

    index: int
    name: str
    n_train: int | None
    n: int
    n_predicted: int
    n_clusters: int
    precision: float | None
    recall: float | None
    f1: float | None
    precision_interval: Interval
    recall_interval: Interval
    f1_interval: Interval


class Majority(TypedDict):
    """Always answering one class: the most frequent in training, or in the evaluated clips where counts are unknown."""

    index: int
    name: str
    source: str
    top1: float
    mean_class_accuracy: float
    macro_f1: float


class Metrics(TypedDict):
    """What `evaluate` returns: numbers, strings and lists only, so it goes into JSON as it is.

    intervals: [low, high] of each of top1, top5, mean_class_accuracy, macro_f1. confusion: counts, rows = truth.
    chance: top-1 of a uniform guess. log_loss: mean -ln p(label). cluster: what was left out in turn ('subject' or 'video').
    """

    n_clips: int
    n_classes: int
    n_classes_present: int
    n_clusters: int
    cluster: str
    confidence: float
    top1: float
    top5: float
    mean_class_accuracy: float
    macro_f1: float
    log_loss: float
    chance: float
    majority: Majority
    intervals: dict[str, Interval]
    class_names: list[str]
    confusion: list[list[int]]
    per_class: list[ClassMetrics]


def evaluate(
    scores: pd.DataFrame,
    train_counts: Sequence[int] | np.ndarray | None = None,
    intervals: bool = True,
    confidence: float = 0.95,
) -> Metrics:
    """All metrics of a score table whose clips are labelled; conventions in `migstudy.metrics`.

    train_counts: training clips per class (C,), for the majority answer and the per-class table. intervals: over subjects
    (over videos where a clip has no subject), see `intervals.cluster_interval`; means over classes speak of the classes that
    the clips show. Per-class intervals are None for a class that fewer than two clusters show.
    Where there are five classes or fewer, top-5 is 1. Raises ValueError for unlabelled clips.
    """
    scores = check_scores(scores)
    labels, probabilities, names = get_labels(scores), get_probabilities(scores), get_class_names(scores)
    classes = probabilities.shape[1]
    if train_counts is not None and len(train_counts) != classes:
        raise ValueError(f"train_counts has {len(train_counts)} entries for {classes} classes; give one count per class")
    _, cluster_names, kind = get_clusters(scores)
    confusions, in_five = _confusions(scores)
    confusion = confusions.sum(axis=0)
    found = _intervals(confusions, in_five, confidence if intervals else None)

    own = np.take_along_axis(probabilities, labels[:, None], axis=1).astype(np.float64)
    return Metrics(
        n_clips=len(labels),
        n_classes=classes,
        n_classes_present=int((confusion.sum(1) > 0).sum()),
        n_clusters=len(cluster_names),
        cluster=kind,
        confidence=confidence,
        **{name: float(value) for name, (value, _, _) in found.items()},
        log_loss=float(-np.log(np.maximum(own, np.finfo(np.float32).eps)).mean()),
        chance=1 / classes,
        majority=_majority(labels, classes, names, train_counts),
        intervals={name: _interval(low, high) if intervals else (None, None) for name, (_, low, high) in found.items()},
        class_names=list(names),
        confusion=confusion.astype(int).tolist(),
        per_class=_per_class(confusions, names, train_counts, confidence if intervals else None),
    )


def evaluate_runs(scores: Sequence[pd.DataFrame], confidence: float = 0.95) -> dict[str, tuple[float, float, float]]:
    """(mean over runs, low, high) of each metric of `SUMMARY`; scores: of the same clips, by runs that differ in their seed.

    The interval is over seeds and subjects together, see `intervals.cluster_interval`; NaN bounds with one subject. Raises
    ValueError for tables of different clips, and for clips without a label.
    """
    aligned = align_scores({f"run {i}": table for i, table in enumerate(scores)}).values()
    found = _intervals(*map(np.stack, zip(*map(_confusions, aligned), strict=True)), confidence)
    return {name: tuple(map(float, numbers)) for name, numbers in found.items()}


def _confusions(scores: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(S, C, C) of answers, and (S, 2, 2) whose top-1 is top-5."""
    labels, probabilities = get_labels(scores), get_probabilities(scores)
    clusters, names, _ = get_clusters(scores)
    missed = (m.rank_of_label(probabilities, labels) >= 5).astype(int)
    answers = m.cluster_confusions(labels, probabilities.argmax(1), clusters, probabilities.shape[1], len(names))
    return answers, m.cluster_confusions(np.zeros_like(labels), missed, clusters, 2, len(names))


def _intervals(confusions: np.ndarray, in_five: np.ndarray, confidence: float | None) -> dict[str, tuple]:
    """(value, low, high) of each metric; NaN bounds, and none of the work, without a confidence."""
    asked = {name: (in_five, "top1") if name == "top5" else (confusions, name) for name in SUMMARY}
    if confidence is None:
        return {name: (m.get_metric(metric)(stack.sum(axis=-3)), np.nan, np.nan) for name, (stack, metric) in asked.items()}
    return {name: cluster_interval(*each, confidence) for name, each in asked.items()}


def _majority(labels: np.ndarray, classes: int, names: Sequence[str], train_counts) -> Majority:
    counts = np.bincount(labels, minlength=classes) if train_counts is None else np.asarray(train_counts)
    answer = int(counts.argmax())
    confusion = m.confusion_matrix(labels, np.full_like(labels, answer), classes)
    return Majority(
        index=answer,
        name=names[answer],
        source="evaluated clips" if train_counts is None else "training clips",
        **{name: float(function(confusion)) for name, function in m.METRICS.items()},
    )


def _per_class(confusions, names, train_counts, confidence: float | None) -> list[ClassMetrics]:
    confusion = confusions.sum(axis=0)
    functions = {"precision": m.precision, "recall": m.recall, "f1": m.f1}
    values = {name: function(confusion) for name, function in functions.items()}
    shown = (confusions.sum(axis=2) > 0).sum(axis=0)
    nothing = np.full(len(names), np.nan)
    bounds = {name: (nothing, nothing) for name in functions}
    if confidence is not None:
        for name, function in functions.items():
            _, low, high = cluster_interval(confusions, function, confidence)
            bounds[name] = np.where(shown >= 2, low, np.nan), np.where(shown >= 2, high, np.nan)
    return [
        ClassMetrics(
            index=i,
            name=name,
            n_train=None if train_counts is None else int(train_counts[i]),
            n=int(confusion[i].sum()),
            n_predicted=int(confusion[:, i].sum()),
            n_clusters=int(shown[i]),
            **{key: _number(value[i]) for key, value in values.items()},
            **{f"{key}_interval": _interval(low[i], high[i]) for key, (low, high) in bounds.items()},
        )
        for i, name in enumerate(names)
    ]


def per_class_table(metrics: Metrics) -> pd.DataFrame:
    """The per-class metrics as a DataFrame, one row a class, intervals as two columns each (`recall_low`, `recall_high`)."""
    import pandas as pd

    rows = []
    for entry in metrics["per_class"]:
        row = {k: v for k, v in entry.items() if not k.endswith("_interval")}
        for name in ("precision", "recall", "f1"):
            row[f"{name}_low"], row[f"{name}_high"] = entry[f"{name}_interval"]
        rows.append(row)
    table = pd.DataFrame(rows)
    measured = [c for c in table.columns if c.startswith(("precision", "recall", "f1"))]
    return table.astype(dict.fromkeys(measured, float))


def _number(value: float) -> float | None:
    """NaN is not JSON: undefined is None."""
    return None if np.isnan(value) else float(value)


def _interval(low: float, high: float) -> Interval:
    return _number(float(low)), _number(float(high))
