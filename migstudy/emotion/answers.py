"""From score tables to one array of answers: which threshold and which scaling each model brings from its validation videos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from migstudy.emotion.binary_metrics import choose_threshold
from migstudy.emotion.scaling import SCALINGS
from migstudy.emotion.scores import align_emotion_scores
from migstudy.emotion.small_sample import Answers, make_answers

if TYPE_CHECKING:
    import pandas as pd


class Gathered(NamedTuple):
    """R runs (tables x repeats) of one model on the same N videos, sorted by id.

    answers: as the model gave them, with their thresholds; scaled: by name of `scaling.SCALINGS`, the same after scaling on
    validation, absent without. videos, subjects: (N,) names, "" unknown. chosen: whether validation set every threshold.
    cross_validated: whether the videos were held out of the training part in turn.
    """

    answers: Answers
    scaled: dict[str, Answers]
    videos: np.ndarray
    subjects: np.ndarray
    chosen: bool
    cross_validated: bool
    protocol: str


def gather(
    scores: pd.DataFrame | Sequence[pd.DataFrame], split: str = "test", threshold: str | float = "validation"
) -> Gathered:
    """The answers of one model: a table, or one a seed; each repeat in it is a run, put together from its folds.

    threshold: a number, or "validation": of each model (repeat and fold) the one that its own "val" rows choose, 0.5 where it has
    none. For split "val" it is 0.5, since a threshold chosen on the very videos says nothing. Scalings likewise. Raises
    ValueError for unknown results, runs of different videos, and rows a model learned from.
    """
    tables = [scores] if hasattr(scores, "columns") else list(scores)
    if split == "train":
        raise ValueError("emotion scores of split 'train' are of videos that the model learned from; evaluate val or test")
    chosen = align_emotion_scores({f"run {i}": table for i, table in enumerate(tables)}, split)
    rows, fitted = [], [_fitted(table, split, threshold) for table in tables]
    for table, learned in zip(chosen.values(), fitted, strict=True):
        if table.empty:
            there = ", ".join(sorted(set(tables[0]["split"])))
            raise ValueError(f"emotion scores have no {split!r} rows, only {there}; evaluate a split that was scored")
        if (table["fold"] >= 0).any() and (table["fold"] < 0).any():
            raise ValueError("emotion scores mix cross-validated videos with the protocol's own split; evaluate one at a time")
        if split == "val" and (table["fold"] >= 0).any():
            raise ValueError("a fold's validation videos chose its model; evaluate its 'test' rows, which it held out")
        unknown = table["label"] < 0
        if unknown.any():
            raise ValueError(
                f"video {table['video'][unknown.idxmax()]} and {int(unknown.sum()) - 1} more have no result (the challenge "
                "withholds its test results); evaluate val, or cross-validate the training part"
            )
        rows += [_run(run, learned) for _, run in table.groupby("repeat")]
    first = rows[0]["table"]
    for run in rows:
        if not first["video"].equals(run["table"]["video"]):
            raise ValueError(f"runs of {len(first)} and {len(run['table'])} videos; every repeat must score the same videos")
    subjects = first["subject"].to_numpy(str)
    who = np.where(subjects == "", np.char.add("video ", first["video"].to_numpy(str)), subjects)
    labels = first["label"].to_numpy()
    make = lambda p, t: make_answers(labels, np.stack([r[p] for r in rows]), who, np.stack([r[t] for r in rows]))
    names = [name for name in SCALINGS if all(name in run for run in rows)]
    return Gathered(
        make("raw", "threshold"), {name: make(name, f"{name} threshold") for name in names}, first["video"].to_numpy(str),
        subjects, all(run["chosen"] for run in rows), bool((chosen["run 0"]["fold"] >= 0).any()), first["protocol"].iloc[0],
    )  # fmt: skip


def _fitted(table: pd.DataFrame, split: str, threshold: str | float) -> dict[tuple[int, int], dict]:
    """What the validation rows of every model (repeat, fold) teach: its threshold and scalings."""
    if isinstance(threshold, str) and threshold != "validation":
        raise ValueError(f"unknown threshold {threshold!r}; give 'validation' or a number")
    learned = {}
    for key, val in table[table["split"] == "val"].groupby(["repeat", "fold"]):
        val = val[val["label"] >= 0]
        if split == "val" or val["label"].nunique() < 2:
            continue
        labels, logits = val["label"].to_numpy(), val["logit"].to_numpy()
        scalings = {name: kind.fit(logits, labels) for name, kind in SCALINGS.items()}
        learned[key] = {"threshold": choose_threshold(labels, val["probability"].to_numpy()), **scalings}
    if not isinstance(threshold, str):
        everyone = table[["repeat", "fold"]].drop_duplicates().itertuples(index=False, name=None)
        learned = {key: {**learned.get(key, {}), "threshold": float(threshold)} for key in everyone}
    return learned


def _run(table: pd.DataFrame, learned: dict[tuple[int, int], dict]) -> dict:
    """One run's arrays over its videos, each from the model of its fold."""
    table = table.sort_values("video", ignore_index=True)
    logits, count = table["logit"].to_numpy(), len(table)
    models = [learned.get(key, {}) for key in table[["repeat", "fold"]].itertuples(index=False, name=None)]
    cut = np.array([model.get("threshold", 0.5) for model in models])
    run = {"table": table, "raw": table["probability"].to_numpy(), "threshold": cut}
    run["chosen"] = all("threshold" in model for model in models)
    for name in SCALINGS:
        if all(name in model for model in models):
            each = [model[name] for model in models]
            run[name] = np.array([float(scale(z)) for scale, z in zip(each, logits, strict=True)])
            # Platt's intercept moves the boundary; a temperature leaves it where it was
            run[f"{name} threshold"] = np.full(count, 0.5)
    return run
