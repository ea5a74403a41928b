"""Holding clips out of a set that brings no validation or test split of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MIN_SUBJECTS = 5


def hold_out(labels: np.ndarray, subjects: Sequence[str], fraction: float, seed: int = 0) -> tuple[np.ndarray, str]:
    """Choose about `fraction` of the clips: (N,) bool, and the rule in words.

    Whole subjects when every clip has one and there are at least 5 of them; else clips, by class: of each class the
    rounded share, but never its last clip. The same seed chooses the same clips. Raises ValueError for a fraction
    outside [0, 1).
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"cannot hold out a fraction of {fraction}; choose one from 0 to below 1")
    labels, subjects = np.asarray(labels), np.asarray(subjects, str)
    rng = np.random.default_rng(seed)
    held = np.zeros(len(labels), bool)
    people = np.unique(subjects)
    if fraction == 0 or not len(labels):
        return held, "none"
    if len(people) >= MIN_SUBJECTS and "" not in people:
        chosen = rng.permutation(people)[: max(1, round(fraction * len(people)))]
        return np.isin(subjects, chosen), f"{len(chosen)} of {len(people)} subjects, seed {seed}"
    for label in np.unique(labels):
        clips = rng.permutation(np.flatnonzero(labels == label))
        held[clips[: min(round(fraction * len(clips)), len(clips) - 1)]] = True
    return held, f"{fraction:.0%} of each class, seed {seed}"


def complete_splits(
    split: np.ndarray, labels: np.ndarray, subjects: Sequence[str],
    val_fraction: float, test_fraction: float, seed: int = 0,
) -> tuple[np.ndarray, list[str]]:  # fmt: skip
    """Fill in the splits that a file does not bring, and say in words what was done.

    split: (N,) train, val, test, or "" for a file without any. Without any, `test_fraction` becomes test and the rest
    train (a set without labels stays ""). Without val, `val_fraction` of train becomes val. Test clips never move.
    """
    split, told = np.array(split, object), []
    if (split == "").all():
        if (np.asarray(labels) < 0).all():
            return split, ["no labels, no splits"]
        test, rule = hold_out(labels, subjects, test_fraction, seed)
        split = np.where(test, "test", "train").astype(object)
        told += [f"test is ours: {rule}"] if test.any() else []
    train = np.flatnonzero(split == "train")
    if not (split == "val").any() and len(train):
        held, rule = hold_out(np.asarray(labels)[train], np.asarray(subjects)[train], val_fraction, seed)
        split[train[held]] = "val"
        told += [f"val is ours: {rule}"] if held.any() else []
    return split, told
