"""Late fusion: a convex combination of the class probabilities of several streams, matched by clip id.

The weights are published (the MiGA 2023 winner's) or learned on validation clips; learning them on test clips is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from migstudy.scores import align_scores, get_labels, get_probabilities, make_scores

if TYPE_CHECKING:
    import pandas as pd

# arXiv 2307.10624: probabilities of the joint and the limb stream
PRESETS: dict[str, dict[str, float]] = {"miga2023": {"joint": 0.4, "limb": 0.6}}

Weights = Mapping[str, float] | Sequence[float] | str
_FLOOR = 1e-12  # a probability of 0 on the label would make one clip decide everything


class LearnedWeights(NamedTuple):
    """Weights by stream name, what they reach (mean -ln p of the label), and equal weights beside them."""

    weights: dict[str, float]
    log_loss: float
    log_loss_equal: float
    log_loss_alone: dict[str, float]
    n_clips: int


def fuse(tables: Mapping[str, pd.DataFrame] | Sequence[pd.DataFrame], weights: Weights = "equal") -> pd.DataFrame:
    """One score table from several of the same clips, in order of clip id: sum of weight x probabilities.

    tables: stream name -> score table (a sequence is named by position: '0', '1', ...). weights: 'equal', a preset of
    `PRESETS`, a mapping with the same names, or for a sequence numbers in its order; each >= 0 and together 1 (within 1e-6).
    Rows are matched by clip id only. Raises ValueError for tables that differ in clips, labels, splits or classes, and for
    weights that do not fit.
    """
    tables = _named(tables)
    aligned = align_scores(tables)
    shares = _shares(weights, list(tables))
    reference = next(iter(aligned.values()))
    for name, table in aligned.items():
        differ = (table["split"] != reference["split"]).to_numpy()
        if differ.any():
            clip = table["clip_id"][differ.argmax()]
            raise ValueError(f"scores {name!r}: clip {clip} is of another split than in the first table")
    mixed = sum(share * get_probabilities(aligned[name]).astype(np.float64) for name, share in shares.items())
    return make_scores(reference, mixed, reference.attrs.get("class_names"))


def learn_weights(
    tables: Mapping[str, pd.DataFrame] | Sequence[pd.DataFrame],
    split: str = "val",
    tolerance: float = 1e-5,
) -> LearnedWeights:
    """Convex weights that minimise the log-loss of the fused probabilities on labelled validation clips.

    All rows of all tables must be of `split`; a row of split 'test' is refused whatever `split` says (ValueError). The
    log-loss of a mixture is convex in its weights; the multiplicative updates of Cover (1984), EM for a mixture's
    proportions, stop when its bound shows the log-loss within `tolerance` of the optimum.
    """
    tables = _named(tables)
    only_validation(tables, split)
    aligned = align_scores(tables)
    labels = get_labels(next(iter(aligned.values())))
    rows = np.arange(len(labels))
    likelihood = np.stack([get_probabilities(t)[rows, labels] for t in aligned.values()], axis=1).astype(np.float64)
    likelihood = np.maximum(likelihood, _FLOOR)
    weights = equal = np.full(len(aligned), 1 / len(aligned))
    # after t updates the log-loss is within log(K) / t of the optimum, so this many always suffice
    for _ in range(math.ceil(math.log(len(aligned)) / tolerance)):
        # mean of p_k / mixture: 1 for every stream in use at the optimum, and its excess bounds what is left to gain
        growth = (likelihood / (likelihood @ weights)[:, None]).mean(axis=0)
        if growth.max() - 1 <= tolerance:
            break
        weights = weights * growth / (weights @ growth)
    loss = lambda w: float(-np.log(likelihood @ w).mean())
    return LearnedWeights(
        weights=dict(zip(aligned, weights.tolist(), strict=True)),
        log_loss=loss(weights),
        log_loss_equal=loss(equal),
        log_loss_alone={name: loss(one) for name, one in zip(aligned, np.eye(len(aligned)), strict=True)},
        n_clips=len(labels),
    )


def only_validation(tables: Mapping[str, pd.DataFrame], split: str = "val") -> None:
    """Raises ValueError naming the first row that is not of `split`; a row of split 'test' is refused whatever `split` says."""
    for name, table in tables.items():
        splits = table["split"].to_numpy(dtype=str)
        wrong = splits == "test" if (splits == "test").any() else splits != split
        if wrong.any():
            raise ValueError(
                f"scores {name!r}: clip {table['clip_id'].iloc[wrong.argmax()]} is of split '{splits[wrong.argmax()]}' "
                f"({int(wrong.sum())} such clips); weights are learned on validation clips alone: select those rows first"
            )


def _named(tables: Mapping[str, pd.DataFrame] | Sequence[pd.DataFrame]) -> dict[str, pd.DataFrame]:
    named = dict(tables) if isinstance(tables, Mapping) else {str(i): table for i, table in enumerate(tables)}
    if not named:
        raise ValueError("no score tables to fuse")
    return named


def _shares(weights: Weights, names: list[str]) -> dict[str, float]:
    if isinstance(weights, str):
        if weights != "equal" and weights not in PRESETS:
            raise ValueError(f"unknown weights {weights!r}; choose 'equal', one of {sorted(PRESETS)}, or give numbers")
        weights = dict.fromkeys(names, 1 / len(names)) if weights == "equal" else PRESETS[weights]
    elif not isinstance(weights, Mapping):
        if len(weights) != len(names):
            raise ValueError(f"{len(weights)} weights for {len(names)} streams {names}")
        weights = dict(zip(names, weights, strict=True))
    if set(weights) != set(names):
        raise ValueError(f"weights are for {sorted(weights)}, score tables for {sorted(names)}; name them alike")
    values = np.array([weights[name] for name in names], dtype=np.float64)
    if not np.isfinite(values).all() or (values < 0).any() or abs(values.sum() - 1) > 1e-6:
        raise ValueError(f"weights {dict(zip(names, values.tolist(), strict=True))} must be >= 0 and sum to 1")
    return dict(zip(names, values.tolist(), strict=True))
