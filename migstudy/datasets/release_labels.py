"""Label files of an iMiGUE release: the segments of a video, and the table of subjects and outcomes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from migstudy.datasets.release_errors import Problem, ReleaseError


class LabelRow(NamedTuple):
    """One row of a label csv. row: 1-based line of the file; frames 0-based, `end` inclusive."""

    row: int
    csv_class: int
    start: int
    end: int


def read_labels(path: Path) -> list[LabelRow]:
    """Rows `class,start,end` of a label csv; the classes are not judged here (a test file may hold dummies).

    Raises ReleaseError with every faulty row: not 3 whole numbers, start below 0, end before start.
    """
    rows, problems = [], []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReleaseError([Problem(path, "is no text file", "copy or download it again")]) from error
    for number, cells in enumerate(csv.reader(text.splitlines()), 1):
        cells = [cell.strip() for cell in cells]
        if not any(cells) or (number == 1 and not any(c.isdigit() for cell in cells for c in cell)):
            continue  # a blank line, or a header
        try:
            csv_class, start, end = (_whole(cell) for cell in cells)
        except ValueError:
            problems.append(Problem(
                path, f"{','.join(cells)!r} is not class,start,end in whole numbers", "correct the row", number
            ))  # fmt: skip
            continue
        if start < 0:
            problems.append(Problem(path, f"start {start} is below 0", "frames count from 0; correct the row", number))
        elif end < start:
            problems.append(Problem(
                path, f"end {end} is before start {start}", "swap or correct the two; `end` is the last frame", number
            ))  # fmt: skip
        else:
            rows.append(LabelRow(number, csv_class, start, end))
    if problems:
        raise ReleaseError(problems)
    return rows


def _whole(text: str) -> int:
    number = float(text)  # some tools write 12.0
    if not number.is_integer():
        raise ValueError(text)
    return int(number)


class VideoFacts(NamedTuple):
    """What the table of the full release says of a video. emotion: 1 win, 0 lose, -1 unknown; row: its first line."""

    subject: str
    emotion: int
    row: int


_EMOTIONS = {"win": 1, "won": 1, "1": 1, "1.0": 1, "lose": 0, "lost": 0, "loss": 0, "0": 0, "0.0": 0, "": -1}


def read_video_table(path: Path) -> dict[str, VideoFacts]:
    """Subject and emotion of each video, from the full release's label table (labels_20200831.csv).

    Columns used: video_id, subject_id, win_or_lose (optional). Raises ReleaseError: a column is missing, a video has
    two subjects or two outcomes, an outcome is neither win nor lose.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
    except (ValueError, UnicodeDecodeError) as error:
        raise ReleaseError([Problem(path, f"no readable table ({error})", "copy or download it again")]) from error
    table.columns = table.columns.str.strip()
    for column in ("video_id", "subject_id"):
        if column not in table:
            raise ReleaseError([Problem(path, f"has no column {column!r}", "its first line must name the columns", 1)])
    video = table["video_id"].map(video_name)
    subject = table["subject_id"].str.strip().str.replace(r"\.0$", "", regex=True)
    outcome = table["win_or_lose"].str.strip().str.lower() if "win_or_lose" in table else pd.Series("", table.index)
    problems = [
        Problem(path, f"win_or_lose is {table['win_or_lose'][i]!r}", "write win or lose (or 1 or 0)", i + 2)
        for i in outcome.index[~outcome.isin(_EMOTIONS)]
    ]
    for what, column in (("subjects", subject), ("outcomes", outcome)):
        differs = column != column.groupby(video).transform("first")
        problems += [
            Problem(path, f"video {video[i]} has two {what}, {column[video == video[i]].iloc[0]!r} and {column[i]!r}",
                    "a video belongs to one player and one match; correct the row", i + 2)
            for i in differs.index[differs][~video[differs].duplicated()]
        ]  # fmt: skip
    if problems:
        raise ReleaseError(problems)
    first = ~video.duplicated()
    facts = zip(video[first], subject[first], outcome[first].map(_EMOTIONS), first.index[first] + 2, strict=True)
    return {name: VideoFacts(person, int(emotion), int(row)) for name, person, emotion, row in facts}


def video_name(text: str) -> str:
    """A video id as the protocols write it: four digits when it is a number."""
    text = text.strip()
    return f"{int(text):04d}" if text.isdigit() else text
