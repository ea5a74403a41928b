"""Late fusion by stacking: a shrunk log-linear pool of several streams' probabilities, learned on validation clips.

ln p(c) = sum over streams m of (w_m + v_mc) ln p_m(c) + const; the class's own part v is penalised by strength |v|^2, so that a
few hundred clips, or classes that they lack, cannot bend it. Wolpert's stacked generalisation (1992) with the least that a
small validation set allows; the form is ours. Subjects never stand on both sides of a fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.optimize import minimize

from migstudy.fusion.late import fuse, learn_weights, only_validation
from migstudy.scores import align_scores, get_clusters, get_labels, get_probabilities, make_scores

if TYPE_CHECKING:
    import pandas as pd

STRENGTHS = (0.1, 1.0, 10.0, 100.0)
INNER = 3  # folds that choose the strength
_FLOOR = 1e-6  # of a probability, so that one stream's 0 does not decide alone


class Stacking(NamedTuple):
    """A learned pool. shared: stream -> w; own: stream -> v (C,); strength: of the shrinkage, mean log-loss per |v|^2.

    log_loss: name -> mean -ln p of the label on validation clips that the pool had not seen (outer folds, the strength chosen
    by inner folds): `stacking`, and beside it `convex` (weights learned on the same folds) and `equal`. best: the least of them.
    """

    shared: dict[str, float]
    own: dict[str, np.ndarray]
    strength: float
    log_loss: dict[str, float]
    n_clips: int
    n_clusters: int

    @property
    def best(self) -> str:
        return min(self.log_loss, key=self.log_loss.get)

    def fuse(self, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
        """One score table from those of the same streams on the same clips, in order of clip id; labels are not looked at."""
        if set(tables) != set(self.shared):
            raise ValueError(f"the pool was learned of {sorted(self.shared)}, score tables are of {sorted(tables)}")
        reference = fuse(tables)  # matches rows by clip id and refuses what differs
        x = _logs(align_scores({name: tables[name] for name in self.shared}))
        return make_scores(reference, _pool(x, self._weights()), reference.attrs.get("class_names"))

    def _weights(self) -> np.ndarray:
        return np.stack([self.shared[name] + self.own[name] for name in self.shared])


def learn_stacking(
    tables: Mapping[str, pd.DataFrame], split: str = "val", strengths: Sequence[float] = STRENGTHS, folds: int = 5
) -> Stacking:
    """Learn the pool on labelled validation clips, its strength by cross-validation over subjects, its worth by another around it.

    Rows may stand in any order. All must be of `split`; test clips are refused (ValueError), as are fewer than three subjects
    (videos where clips name none), which leave no inner folds.
    """
    only_validation(tables, split)
    aligned = align_scores({name: tables[name] for name in sorted(tables)})
    first = next(iter(aligned.values()))
    labels, x = get_labels(first), _logs(aligned)
    clusters, names, kind = get_clusters(first)
    if len(names) < 3:
        raise ValueError(f"stacking needs validation clips of three {kind}s or more, there are {len(names)}; use learn_weights")

    unseen = {name: np.zeros(len(labels)) for name in ("stacking", "convex", "equal")}
    for held in _folds(clusters, folds):
        learn = np.flatnonzero(~held)
        strength = _choose(x[learn], labels[learn], clusters[learn], strengths)
        unseen["stacking"][held] = _losses(_pool(x[held], sum(_fit(x[learn], labels[learn], strength))), labels[held])
        weights = learn_weights({name: table.iloc[learn] for name, table in aligned.items()}, split).weights
        for name, how in (("convex", weights), ("equal", "equal")):
            mixed = get_probabilities(fuse({k: table[held] for k, table in aligned.items()}, how))
            unseen[name][held] = _losses(mixed.astype(np.float64), labels[held])
    strength = _choose(x, labels, clusters, strengths)
    shared, own = _fit(x, labels, strength)
    return Stacking(
        dict(zip(aligned, shared[:, 0].tolist(), strict=True)), dict(zip(aligned, own, strict=True)), strength,
        {name: float(values.mean()) for name, values in unseen.items()}, len(labels), len(names),
    )  # fmt: skip


def _logs(aligned: Mapping[str, pd.DataFrame]) -> np.ndarray:
    """(N, M, C)."""
    return np.log(np.maximum(np.stack([get_probabilities(t).astype(np.float64) for t in aligned.values()], axis=1), _FLOOR))


def _pool(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Probabilities (N, C) of x (N, M, C) under weights (M, C) or (M, 1)."""
    logits = (x * weights).sum(1)
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def _losses(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], _FLOOR))


def _fit(x: np.ndarray, labels: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """w (M, 1) and v (M, C) of the least penalised log-loss, which is convex in both; w sets out from equal shares."""
    n, streams, classes = x.shape
    truth = np.eye(classes)[labels]

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w, v = flat[:streams, None], flat[streams:].reshape(streams, classes)
        p = _pool(x, w + v)
        slope = np.einsum("nc,nmc->mc", p - truth, x) / n
        loss = _losses(p, labels).mean() + strength * (v**2).sum()
        return loss, np.concatenate([slope.sum(1), (slope + 2 * strength * v).ravel()])

    start = np.concatenate([np.full(streams, 1 / streams), np.zeros(streams * classes)])
    found = minimize(value, start, jac=True, method="L-BFGS-B").x
    return found[:streams, None], found[streams:].reshape(streams, classes)


def _choose(x: np.ndarray, labels: np.ndarray, clusters: np.ndarray, strengths: Sequence[float]) -> float:
    """The strength of the least log-loss on clips of subjects that were held out."""
    losses = {}
    for strength in strengths:
        unseen = [
            _losses(_pool(x[held], sum(_fit(x[~held], labels[~held], strength))), labels[held]) for held in _folds(clusters, INNER)
        ]
        losses[strength] = np.concatenate(unseen).mean()
    return min(losses, key=losses.get)


def _folds(clusters: np.ndarray, folds: int) -> list[np.ndarray]:
    """Which clips each fold holds out: whole clusters, the largest first into the smallest fold."""
    groups, sizes = np.unique(clusters, return_counts=True)
    fold_of, held = {}, np.zeros(min(folds, len(groups)), int)
    for group in groups[np.argsort(-sizes, kind="stable")]:
        fold_of[group] = int(held.argmin())
        held[fold_of[group]] += sizes[groups == group][0]
    place = np.array([fold_of[cluster] for cluster in clusters])
    return [place == fold for fold in range(len(held))]
