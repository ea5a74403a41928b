"""Cross-validation for few videos of few people: grouped by subject, stratified by result, repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from migstudy.emotion.protocols import EmotionVideos

if TYPE_CHECKING:
    import pandas as pd


class Fold(NamedTuple):
    """One division. repeat, fold: numbers from 0; train, held_out: video ids in sorted order, people disjoint."""

    repeat: int
    fold: int
    train: tuple[str, ...]
    held_out: tuple[str, ...]


def cross_validation_folds(
    videos: EmotionVideos | pd.DataFrame, n_splits: int = 5, n_repeats: int = 1, seed: int = 0
) -> list[Fold]:
    """n_repeats x n_splits folds of the training part, the same for the same seed.

    videos: an EmotionVideos (its train split is divided) or rows with video, subject, label (all are divided). In each repeat
    every video is held out once; no person stands in both parts, both results stand in every part, and won and lost videos are
    spread as evenly as whole people allow. Threshold, calibration and epoch are chosen on `inner_validation`, not on held_out.
    Raises ValueError, saying how many folds are possible, for videos without subject or result and for too many folds.
    """
    rows, where = _rows(videos)
    owner, counts = _people(rows, where)
    possible = _possible_folds(counts)
    if not (2 <= n_splits <= possible) or n_repeats < 1:
        mixed, won, lost = _kinds(counts)
        raise ValueError(
            f"{where}: {n_splits} folds x {n_repeats} repeats cannot be made; at most {possible} folds hold both results "
            f"without sharing a person ({len(mixed)} people have won and lost videos, {len(won)} only won, {len(lost)} only "
            "lost ones); choose 2 or more folds up to that, and 1 or more repeats"
        )
    names, folds = rows["video"].to_numpy(str), []
    for repeat in range(n_repeats):
        part = _divide(counts, n_splits, np.random.default_rng([seed, repeat]))[owner]
        for fold in range(n_splits):
            out = part == fold
            folds.append(Fold(repeat, fold, tuple(sorted(names[~out].tolist())), tuple(sorted(names[out].tolist()))))
    return folds


def inner_validation(
    videos: EmotionVideos | pd.DataFrame, train: tuple[str, ...] | None = None, fraction: float = 0.25, seed: int = 0
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(train, val) video ids: about `fraction` of the people of `train` (a Fold's; None = the whole training part) held aside.

    People are disjoint and both results stand in both parts. Raises ValueError as `cross_validation_folds`.
    """
    if not 0 < fraction <= 0.5:
        raise ValueError(f"cannot hold a fraction of {fraction} aside for validation; choose one above 0 up to 0.5")
    rows, where = _rows(videos)
    if train is not None:
        if lost := sorted(set(train) - set(rows["video"])):
            raise ValueError(f"{where}: video {lost[0]!r} is not in the training part ({len(lost)} such)")
        rows = rows[rows["video"].isin(train)].reset_index(drop=True)
    possible = _possible_folds(_people(rows, where)[1])
    first = cross_validation_folds(rows, min(round(1 / fraction), max(possible, 2)), 1, seed)[0]
    return first.train, first.held_out


def _rows(videos: EmotionVideos | pd.DataFrame) -> tuple[pd.DataFrame, str]:
    if isinstance(videos, EmotionVideos):
        return videos.select("train"), f"protocol {videos.protocol}"
    return videos.reset_index(drop=True), "these videos"


def _people(rows: pd.DataFrame, where: str) -> tuple[np.ndarray, np.ndarray]:
    """The person of every video (N,), and lost and won videos of every person (P, 2)."""
    label, subject = rows["label"].to_numpy(), rows["subject"].to_numpy(str)
    for bad, what in ((subject == "", "subject"), (label < 0, "result")):
        if bad.any():
            raise ValueError(
                f"{where}: video {rows['video'].iloc[int(bad.argmax())]} has no {what} ({int(bad.sum())} such); folds are cut by "
                "person and result, so read the videos with the release's label table"
            )
    people, owner = np.unique(subject, return_inverse=True)
    counts = np.zeros((len(people), 2), int)
    np.add.at(counts, (owner, label), 1)
    return owner, counts


def _kinds(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lost, won = (counts > 0).T
    return np.flatnonzero(won & lost), np.flatnonzero(won & ~lost), np.flatnonzero(lost & ~won)


def _possible_folds(counts: np.ndarray) -> int:
    """A fold needs a person with both results, or one who won and one who lost: no other way gives more folds."""
    mixed, won, lost = _kinds(counts)
    return len(mixed) + min(len(won), len(lost))


def _divide(counts: np.ndarray, n_splits: int, rng: np.random.Generator) -> np.ndarray:
    """(P,) fold of every person: each fold gets the least that holds both results, then people go where they are missed most."""
    mixed, won, lost = (rng.permutation(kind) for kind in _kinds(counts))
    units = [[p] for p in mixed] + [list(pair) for pair in zip(won, lost)]
    part, held = np.full(len(counts), -1), np.zeros((n_splits, 2))
    for fold, unit in enumerate(rng.permutation(len(units))[:n_splits]):
        part[units[unit]] = fold
        held[fold] = counts[units[unit]].sum(0)
    aim = counts.sum(0) / n_splits
    rest = rng.permutation(np.flatnonzero(part < 0))
    for person in rest[np.argsort(-counts[rest].sum(1), kind="stable")]:  # the largest first leaves the small ones to even out
        cost = ((held + counts[person] - aim) ** 2 - (held - aim) ** 2).sum(1)
        fold = rng.choice(np.flatnonzero(cost <= cost.min() + 1e-9))
        part[person] = fold
        held[fold] += counts[person]
    return part
