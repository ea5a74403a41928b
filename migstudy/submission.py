"""Challenge submissions: written from a score table, and checked before anybody uploads them.

2023: `Submission.csv`, no header, rows `0054_0,30`; 2025: `prediction.csv`, header `Id,Target`; each alone in a zip. A target is
the label 0..31 (31 = illustrative), an id `<video>_<row of that video's label csv, from 0>`.
"""

from __future__ import annotations

import csv
import io
import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from migstudy.scores import check_scores, get_probabilities

if TYPE_CHECKING:
    import pandas as pd


class SubmissionFormat(NamedTuple):
    """Name of the csv inside the zip, and its header row (None where it has none)."""

    member: str
    header: tuple[str, ...] | None


FORMATS = {2023: SubmissionFormat("Submission.csv", None), 2025: SubmissionFormat("prediction.csv", ("Id", "Target"))}
_MAX_BYTES = 16 * 2**20  # of an unzipped csv; a full submission has 50 kB
_SHOWN = 5


def challenge_ids(split: str = "test") -> list[str]:
    """All clip ids of a split of the challenge, in its order of videos and rows: 4,562 for 'test'."""
    from migstudy.datasets.protocols import imigue_protocols

    return [f"{video}_{row}" for video, rows in imigue_protocols().challenge.videos[split].items() for row in range(rows)]


def write_submission(
    scores: pd.DataFrame, path: str | os.PathLike, year: int = 2025, expected_ids: Iterable[str] | None = None
) -> Path:
    """Write the most probable class of every clip as a submission zip, whole or not at all.

    scores: a score table of exactly the expected clips, in any order; expected_ids: defaults to the challenge's test clips;
    rows are written in its order. Raises ValueError naming missing and unknown clips.
    """
    form, path = _format(year), Path(path)
    scores = check_scores(scores)
    order = list(challenge_ids() if expected_ids is None else expected_ids)
    answers = dict(zip(scores["clip_id"], get_probabilities(scores).argmax(axis=1).tolist(), strict=True))
    problems = _compare_ids(list(answers), order)
    if problems:
        raise ValueError(f"submission {path}: {'; '.join(problems)}; score every test clip, and no other")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([form.header] if form.header else [])
    writer.writerows((clip, answers[clip]) for clip in order)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial{os.getpid()}")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            # a fixed date: the same answers make the same file
            archive.writestr(zipfile.ZipInfo(form.member), text.getvalue(), zipfile.ZIP_DEFLATED)
        problems = validate_submission(partial, year, order, num_classes=get_probabilities(scores).shape[1])
        if problems:
            raise ValueError(f"submission {path}: {'; '.join(problems)}")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def validate_submission(
    path: str | os.PathLike, year: int = 2025, expected_ids: Iterable[str] | None = None, num_classes: int = 32
) -> list[str]:
    """What is wrong with a submission zip, one sentence each; empty when nothing is.

    Checked: a readable zip with just the right csv, the header, two columns, ids missing, surplus or twice (the first few
    named), classes that are whole numbers 0..num_classes-1. expected_ids: defaults to the challenge's test clips.
    """
    form, path = _format(year), Path(path)
    if not path.is_file():
        return [f"{path.name} does not exist"]
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if names != [form.member]:
                return [f"the zip holds {names[:_SHOWN]}; a {year} submission holds {form.member} alone, in no folder"]
            if archive.getinfo(form.member).file_size > _MAX_BYTES:
                return [f"{form.member} unpacks to {archive.getinfo(form.member).file_size:,} bytes; that is no submission"]
            text = archive.read(form.member).decode("utf-8")
    except (zipfile.BadZipFile, UnicodeDecodeError, OSError) as error:
        return [f"{path.name} is not a readable zip of UTF-8 text ({error}); zip {form.member} again"]
    problems = []
    if text.startswith("\ufeff"):
        problems.append("it begins with a byte-order mark, which becomes part of the first id; save as plain UTF-8")
    rows = [(number, row) for number, row in enumerate(csv.reader(io.StringIO(text.removeprefix("\ufeff"))), 1) if row]
    has_header = bool(rows) and [cell.strip().lower() for cell in rows[0][1]] == ["id", "target"]
    if form.header and (not rows or tuple(rows[0][1]) != form.header):
        problems.append(f"the first row is not {','.join(form.header)}")
    elif not form.header and has_header:
        problems.append(f"the first row is a header; {form.member} has none")
    rows = rows[1:] if has_header else rows
    narrow = [number for number, row in rows if len(row) != 2]
    if narrow:
        problems.append(f"rows {_few(narrow)} do not have two columns")
    pairs = [(number, row[0], row[1]) for number, row in rows if len(row) == 2]
    bad = [f"{number} ({clip}: {target!r})" for number, clip, target in pairs if not _is_class(target, num_classes)]
    if bad:
        problems.append(f"rows {_few(bad)} have no class 0..{num_classes - 1}")
    expected = list(challenge_ids() if expected_ids is None else expected_ids)
    return problems + _compare_ids([clip for _, clip, _ in pairs], expected)


def _format(year: int) -> SubmissionFormat:
    if year not in FORMATS:
        raise ValueError(f"no submission format of {year}; known are {sorted(FORMATS)}")
    return FORMATS[year]


def _is_class(target: str, num_classes: int) -> bool:
    return target.isascii() and target.isdigit() and int(target) < num_classes


def _compare_ids(found: list[str], expected: list[str]) -> list[str]:
    have, want, seen = set(found), set(expected), set()
    twice = [clip for clip in found if clip in seen or seen.add(clip)]
    lists = {
        "missing": [clip for clip in expected if clip not in have],
        "unknown": list(dict.fromkeys(clip for clip in found if clip not in want)),
        "given more than once": list(dict.fromkeys(twice)),
    }
    return [f"{len(clips):,} ids {what}: {_few(clips)}" for what, clips in lists.items() if clips]


def _few(items: Sequence[object]) -> str:
    more = len(items) - _SHOWN
    return ", ".join(map(str, items[:_SHOWN])) + (f" and {more:,} more" if more > 0 else "")
