"""The win/lose score table: what a model says of each video, the one thing that leaves an emotion model.

A pandas DataFrame, one row a video and model (a fold of a repeat): video, subject, label, probability (of a win), logit, split,
fold, repeat, protocol. `split` says what the video was to the model that scored it: "train" it learned from it, "val" it was
selected, calibrated or given its threshold on it, "test" it never saw the person. fold -1 is the protocol's own split, 0, 1, ...
a fold of cross-validation on the training part.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from migstudy.emotion.protocols import SPLITS, EmotionVideos, protocol_of, same_protocol
from migstudy.paths import written_aside

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("video", "subject", "label", "probability", "logit", "split", "fold", "repeat", "protocol")
KEY = ["repeat", "fold", "video"]
TOLERANCE = 1e-4


def make_emotion_scores(
    videos: pd.DataFrame, logits: np.ndarray, protocol: str | EmotionVideos, split: str | None = None, fold: int = -1,
    repeat: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """A score table of one model's answers.

    videos: rows with video, subject, label and, where split is None, split, in the order of logits (N,): log odds of a win (of a
    two-way head: win minus lose). protocol: the EmotionVideos they come from, or its key. Raises ValueError as
    `check_emotion_scores`.
    """
    logits = np.asarray(logits, dtype=np.float64)
    if logits.shape != (len(videos),):
        raise ValueError(f"emotion scores: logits of shape {logits.shape} for {len(videos)} videos; give one number a video")
    table = videos[["video", "subject", "label"]].reset_index(drop=True).assign(
        probability=expit(logits), logit=logits, split=videos["split"].to_numpy() if split is None else split,
        fold=fold, repeat=repeat, protocol=protocol_of(protocol),
    )  # fmt: skip
    return check_emotion_scores(table)


def check_emotion_scores(scores: pd.DataFrame, where: str = "emotion scores") -> pd.DataFrame:
    """The table with its columns in order and typed; ValueError or ProtocolError naming the video and the fix.

    Refused: two protocols; a video twice in one model, or held out twice in one repeat; a video with two subjects or results; a
    person on two sides of one model (the challenge's published split may have it so); probabilities that are not those of the
    logits.
    """
    missing = [c for c in COLUMNS if c not in scores.columns]
    if missing or not len(scores):
        raise ValueError(f"{where}: lacks {missing or 'rows'}; `make_emotion_scores` makes a whole table")
    table = scores[list(COLUMNS)].reset_index(drop=True).copy()
    for name in ("video", "subject", "split", "protocol"):
        table[name] = table[name].astype(object).where(table[name].notna(), "").astype(str)
    for name in ("label", "fold", "repeat"):
        values = table[name].to_numpy(np.float64, na_value=np.nan)
        least = 0 if name == "repeat" else -1
        _refuse(table, ~((values >= least) & (values == np.floor(values))), where, f"has no whole {name} >= {least}")
        table[name] = values.astype(np.int64)
    for name in ("probability", "logit"):
        table[name] = table[name].to_numpy(np.float64, na_value=np.nan)
    _refuse(table, table["video"] == "", where, "is the name of no video; every row needs one")
    _refuse(table, table["label"] > 1, where, "has a result other than 1 win, 0 lose, -1 unknown")
    _refuse(table, ~table["split"].isin(SPLITS), where, f"has a split other than {', '.join(SPLITS)}")
    with np.errstate(invalid="ignore"):
        fits = np.isfinite(table["logit"]) & (np.abs(expit(table["logit"]) - table["probability"]) <= TOLERANCE)
    _refuse(table, ~fits, where, "has a probability that is not the sigmoid of its logit, or is not finite")
    same_protocol(table["protocol"].unique())
    _refuse(table, table.duplicated(KEY), where, "occurs twice in one model; average its windows first")
    held = table[(table["fold"] >= 0) & (table["split"] == "test")]
    _refuse(held, held.duplicated(["repeat", "video"]), where, "is held out by two folds of one repeat")
    for name in ("subject", "label"):
        _refuse(table, table.groupby("video")[name].transform("nunique") > 1, where, f"has two values of {name}")
    own = (table["subject"] != "") & ((table["fold"] >= 0) | (table["protocol"] != "challenge"))
    known = table[own]
    sides = known.groupby(["repeat", "fold", "subject"])["split"].transform("nunique")
    _refuse(known, sides > 1, where, "is of a person whom the same model has on another side; split by subject")
    return table.sort_values(KEY, ignore_index=True)


def _refuse(table: pd.DataFrame, bad, where: str, what: str) -> None:
    bad = np.asarray(bad)
    if bad.any():
        video = table["video"].iloc[int(bad.argmax())]
        raise ValueError(f"{where}: video {video!r} {what} ({int(bad.sum())} such rows)")


def save_emotion_scores(scores: pd.DataFrame, path: str | os.PathLike) -> Path:
    """Check a score table and write it as parquet, whole or not at all."""
    table = check_emotion_scores(scores, f"emotion scores for {path}")
    with written_aside(path) as aside:
        table.to_parquet(aside, index=False)
    return Path(path)


def load_emotion_scores(path: str | os.PathLike) -> pd.DataFrame:
    """Read and check a score table; FileNotFoundError, or one ValueError naming the file, the video and the fix."""
    import pandas as pd
    import pyarrow as pa

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table of emotion scores; a finished run leaves it there")
    try:
        table = pd.read_parquet(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a readable parquet file ({error}); make the scores again") from error
    return check_emotion_scores(table, str(path))


def combine_emotion_scores(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The folds, repeats and splits of one model in one table.

    Raises ProtocolError where protocols differ, ValueError where a video comes twice from one fold of a repeat.
    """
    import pandas as pd

    tables = list(tables)
    if not tables:
        raise ValueError("no emotion scores given")
    same_protocol(tables)
    return check_emotion_scores(pd.concat(tables, ignore_index=True))


def align_emotion_scores(tables: Mapping[str, pd.DataFrame], split: str = "test") -> dict[str, pd.DataFrame]:
    """The rows of one split, checked and sorted: tables of the same videos, matched by video, repeat and fold, never by position.

    Raises ProtocolError where protocols differ, ValueError where the tables differ in videos, people or results.
    """
    if not tables:
        raise ValueError("no emotion scores given")
    same_protocol(tables.values())
    checked = {name: check_emotion_scores(table, f"emotion scores {name!r}") for name, table in tables.items()}
    chosen = {name: table[table["split"] == split].reset_index(drop=True) for name, table in checked.items()}
    facts = ["video", "subject", "label"]
    rows = {name: set(table[facts].itertuples(index=False, name=None)) for name, table in chosen.items()}
    (first, known), *others = rows.items()
    for name, found in others:
        if odd := sorted(found ^ known):
            told = ", ".join(f"{key} {value!r}" for key, value in zip(facts, odd[0], strict=True))
            raise ValueError(
                f"emotion scores {first!r} and {name!r} differ in {len(odd)} {split} videos: {told} is only in "
                f"{name if odd[0] in found else first!r}; score the same videos with the results of one table"
            )
    return chosen
