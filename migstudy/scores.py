"""The score table: class probabilities keyed by clip id, the one thing that leaves a model.

A pandas DataFrame, one row a clip: clip_id, video, subject, split, label, then p000..pNNN (float32). Stored as parquet with
the class names in the file's metadata; in memory they travel in `frame.attrs["class_names"]`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

KEY_COLUMNS = ("clip_id", "video", "subject", "split", "label")
SUM_TOLERANCE = 1e-3
_METADATA_KEY = b"migstudy.scores"


def score_columns(num_classes: int) -> list[str]:
    """Names of the probability columns: p000, p001, ..."""
    return [f"p{i:03d}" for i in range(num_classes)]


def make_scores(
    index: pd.DataFrame, probabilities: np.ndarray, class_names: Sequence[str] | None = None
) -> pd.DataFrame:
    """A score table from clips and their probabilities.

    index: rows with clip_id, video, subject, split, label (a `ClipSet.index` will do; other columns are left out), in the
    order of `probabilities` (N, C), rows summing to 1. class_names: C names. Raises ValueError as `check_scores` does.
    """
    import pandas as pd

    probabilities = np.asarray(probabilities, dtype=np.float32)
    if probabilities.ndim != 2 or len(probabilities) != len(index):
        raise ValueError(
            f"scores: probabilities of shape {probabilities.shape} for {len(index)} clips; give an array (N, C)"
        )
    missing = [c for c in KEY_COLUMNS if c not in index.columns]
    if missing:
        raise ValueError(f"scores: the index lacks the columns {missing}; it needs {list(KEY_COLUMNS)}")
    keys = index[list(KEY_COLUMNS)].reset_index(drop=True)
    table = pd.concat([keys, pd.DataFrame(probabilities, columns=score_columns(probabilities.shape[1]))], axis=1)
    if class_names is not None:
        table.attrs["class_names"] = [str(name) for name in class_names]
    return check_scores(table)


def get_probabilities(scores: pd.DataFrame) -> np.ndarray:
    """The probabilities of a score table, (N, C) float32."""
    return scores[_probability_columns(scores)].to_numpy(dtype=np.float32)


def get_class_names(scores: pd.DataFrame) -> tuple[str, ...]:
    """The class names of a score table; 'class 0', 'class 1', ... where it carries none."""
    columns = _probability_columns(scores)
    return tuple(scores.attrs.get("class_names") or (f"class {i}" for i in range(len(columns))))


def get_labels(scores: pd.DataFrame, where: str = "scores") -> np.ndarray:
    """The labels (N,) int64 of a table in which every clip has one; ValueError naming the first clip that has none."""
    labels = scores["label"].to_numpy(dtype=np.int64)
    unknown = np.flatnonzero(labels < 0)
    if unknown.size:
        raise ValueError(
            f"{where}: {unknown.size} of {len(labels)} clips have no label (first: {scores['clip_id'].iloc[unknown[0]]}); "
            "select the labelled clips first"
        )
    return labels


def get_clusters(scores: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, str]:
    """(cluster of each clip (N,), names of the clusters, 'subject' or 'video'): the units that are resampled.

    Subjects where every clip names one; else videos, which say less: one person may sit in several.
    """
    kind = "subject" if (scores["subject"] != "").all() else "video"
    if kind == "video" and (scores["video"] == "").any():
        raise ValueError(
            f"scores: clip {scores['clip_id'][(scores['video'] == '').argmax()]} has neither subject nor video; "
            "intervals need to know which clips belong together"
        )
    names, clusters = np.unique(scores[kind].to_numpy(dtype=str), return_inverse=True)
    return clusters, names, kind


def check_scores(scores: pd.DataFrame, where: str = "scores") -> pd.DataFrame:
    """A score table in its exact types (str keys, int64 labels, float32 probabilities), or ValueError with one reason.

    Checked: the columns, at least one clip, clip ids unique and not empty, labels in -1..C-1, probabilities finite, not
    negative and summing to 1 within 1e-3, as many class names as classes. `where` opens the message (a file name).
    """
    missing = [c for c in KEY_COLUMNS if c not in scores.columns]
    if missing:
        raise ValueError(f"{where}: no column {missing[0]!r}; a score table has {list(KEY_COLUMNS)} and p000, p001, ...")
    columns = _probability_columns(scores, where)
    if not len(scores):
        raise ValueError(f"{where}: no clips; a score table needs at least one row")
    table = scores[[*KEY_COLUMNS, *columns]].reset_index(drop=True).copy()
    table.attrs = dict(scores.attrs)
    for name in ("clip_id", "video", "subject", "split"):
        table[name] = table[name].astype(object).where(table[name].notna(), "").astype(str)
    if (table["clip_id"] == "").any():
        raise ValueError(f"{where}: row {int((table['clip_id'] == '').argmax())} has no clip_id; every clip needs its own")
    twice = table["clip_id"].duplicated()
    if twice.any():
        raise ValueError(
            f"{where}: clip {table['clip_id'][twice.argmax()]} occurs more than once ({int(twice.sum())} surplus rows); "
            "average a clip's views before making the table"
        )
    labels = table["label"].to_numpy(dtype=np.float64, na_value=np.nan)
    bad = np.flatnonzero(~((labels >= -1) & (labels < len(columns)) & (labels == np.floor(labels))))
    if bad.size:
        raise ValueError(
            f"{where}: clip {table['clip_id'][bad[0]]} has label {labels[bad[0]]:g}; "
            f"labels are whole numbers 0..{len(columns) - 1}, or -1 where unknown"
        )
    table["label"] = labels.astype(np.int64)
    probabilities = table[columns].to_numpy(dtype=np.float32)
    sums = probabilities.sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        good = np.isfinite(probabilities).all(1) & (probabilities >= 0).all(1) & (abs(sums - 1) <= SUM_TOLERANCE)
    if not good.all():
        row = int((~good).argmax())
        raise ValueError(
            f"{where}: the probabilities of clip {table['clip_id'][row]} are not finite, are negative or do not sum to 1 "
            f"(sum {sums[row]:.4g}; {int((~good).sum())} such clips); apply a softmax to logits first"
        )
    table[columns] = probabilities
    names = table.attrs.get("class_names")
    if names is not None and len(names) != len(columns):
        raise ValueError(f"{where}: {len(names)} class names for {len(columns)} probability columns")
    return table


def save_scores(scores: pd.DataFrame, path: str | os.PathLike, class_names: Sequence[str] | None = None) -> Path:
    """Check a score table and write it as parquet, whole or not at all; class names go into the file's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    table = scores.copy()
    table.attrs = dict(scores.attrs)
    if class_names is not None:
        table.attrs["class_names"] = [str(name) for name in class_names]
    table = check_scores(table, f"scores for {path}")
    meta = json.dumps({"class_names": table.attrs.get("class_names")}).encode()
    table.attrs = {}  # pandas would store them a second time, in its own metadata
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), _METADATA_KEY: meta})
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial{os.getpid()}")
    try:
        pq.write_table(arrow, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load_scores(path: str | os.PathLike) -> pd.DataFrame:
    """Read and check a score table; FileNotFoundError or one ValueError naming the file, the clip and the fix."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such score table; a finished run leaves it as scores.parquet")
    try:
        arrow = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a readable parquet file ({error}); make the scores again") from error
    table = arrow.to_pandas()
    meta = (arrow.schema.metadata or {}).get(_METADATA_KEY)
    table.attrs = {}
    if meta is not None:
        names = json.loads(meta).get("class_names")
        if names is not None:
            table.attrs["class_names"] = names
    return check_scores(table, str(path))


def align_scores(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Score tables of the same clips, all brought into the order of sorted clip ids.

    Raises ValueError where the tables differ in clips, in labels, or in number or names of classes: rows are only ever
    matched by clip id, never by position.
    """
    if not tables:
        raise ValueError("no score tables given")
    checked = {name: check_scores(table, f"scores {name!r}") for name, table in tables.items()}
    aligned = {name: t.sort_values("clip_id", ignore_index=True) for name, t in checked.items()}
    (first, reference), *others = aligned.items()
    for name, table in others:
        if list(table["clip_id"]) != list(reference["clip_id"]):
            mine, theirs = set(table["clip_id"]), set(reference["clip_id"])
            sides = ((theirs - mine, first), (mine - theirs, name))
            only = ", ".join(f"{len(x)} only in {who!r} (first: {min(x)})" for x, who in sides if x)
            raise ValueError(
                f"scores {first!r} and {name!r} are of different clips: {only}; score both on the same split"
            )
        if len(table.columns) != len(reference.columns):
            raise ValueError(
                f"scores {first!r} have {len(reference.columns) - len(KEY_COLUMNS)} classes, {name!r} "
                f"{len(table.columns) - len(KEY_COLUMNS)}; fuse and compare models of one class list only"
            )
        pair = reference.attrs.get("class_names"), table.attrs.get("class_names")
        if None not in pair and list(pair[0]) != list(pair[1]):
            index = next(i for i, (a, b) in enumerate(zip(*pair, strict=True)) if a != b)
            raise ValueError(
                f"scores {first!r} and {name!r} name class {index} {pair[0][index]!r} and {pair[1][index]!r}; "
                "fuse and compare models of one class list only"
            )
        differ = np.flatnonzero(table["label"].to_numpy() != reference["label"].to_numpy())
        if differ.size:
            row = differ[0]
            raise ValueError(
                f"scores {first!r} and {name!r} give clip {table['clip_id'][row]} the labels {reference['label'][row]} and "
                f"{table['label'][row]} ({differ.size} such clips); they come from different label files"
            )
    return aligned


def _probability_columns(scores: pd.DataFrame, where: str = "scores") -> list[str]:
    found = [c for c in scores.columns if isinstance(c, str) and len(c) >= 4 and c[0] == "p" and c[1:].isdigit()]
    expected = score_columns(len(found))
    if not found or sorted(found) != sorted(expected):
        raise ValueError(f"{where}: the probability columns are {found[:3]}...; they must be p000, p001, ... without a gap")
    return expected
