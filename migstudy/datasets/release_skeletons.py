"""Skeleton files of an iMiGUE release: spreadsheets of 137 OpenPose points, csv files of 35."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from migstudy.datasets.release_errors import Problem, ReleaseError
from migstudy.datasets.xlsx_numbers import full_table

_BLANK = ("", "nan", "n/a", "na", "none", "null", "#n/a", "#num!", "#div/0!", "-")


@dataclass(frozen=True)
class Shape:
    """One of the two shapes of a skeleton file: 3 numbers a point, after an index column or not."""

    name: str
    suffix: str
    topology: str
    points: int
    index_column: bool

    @property
    def columns(self) -> int:
        return 3 * self.points + self.index_column


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("openpose", "_openpose.xlsx", "openpose137", 137, index_column=False),
        Shape("light_hand", "_light_hand.csv", "light35", 35, index_column=True),
    )
}


class Skeleton(NamedTuple):
    """points (T, V, 3) float32: x, y in px and confidence, all 0 where missing; blank: cells that were empty or NaN."""

    points: np.ndarray
    blank: int


def read_skeleton(path: Path, shape: Shape) -> Skeleton:
    """Read a skeleton file; a joint with an empty, NaN or infinite cell or with confidence <= 0 is missing: (0, 0, 0).

    A file with no rows gives T = 0. Raises ReleaseError: unreadable or truncated file, other number of columns,
    non-numeric cell.
    """
    table = _xlsx_table(path) if shape.suffix.endswith(".xlsx") else _csv_table(path, shape.columns)
    if not table.size:
        return Skeleton(np.zeros((0, shape.points, 3), np.float32), 0)
    if table.shape[1] != shape.columns:
        index = "an index column and " if shape.index_column else ""
        raise ReleaseError([Problem(
            path, f"{table.shape[1]} columns, expected {shape.columns} = {index}{shape.points} x (x, y, confidence)",
            "export it again with every point" + ("" if index else " and without header or index column"), 1,
        )])  # fmt: skip
    points = np.ascontiguousarray(table[:, int(shape.index_column) :], np.float32).reshape(len(table), shape.points, 3)
    finite = np.isfinite(points)
    points[~finite.all(-1) | ~(points[..., 2] > 0)] = 0
    return Skeleton(points, int(points.size - finite.sum()))


def _xlsx_table(path: Path) -> np.ndarray:
    from python_calamine import CalamineWorkbook  # native code; parsing releases the interpreter lock

    if path.stat().st_size == 0:
        return np.empty((0, 0), np.float32)
    if (numbers := full_table(path)) is not None:
        return numbers.astype(np.float32)
    try:
        workbook = CalamineWorkbook.from_path(str(path))
        rows = workbook.get_sheet_by_index(0).to_python(skip_empty_area=False)
    except Exception as error:  # calamine has its own zip, xml and password errors
        raise ReleaseError([Problem(
            path, f"no readable xlsx ({type(error).__name__}: {error})",
            "the file is truncated or damaged; copy or download it again",
        )]) from error  # fmt: skip
    try:
        return np.array(rows, np.float32).reshape(len(rows), -1)
    except (TypeError, ValueError):
        return _with_blanks(path, rows)


def _csv_table(path: Path, columns: int) -> np.ndarray:
    import pandas as pd

    text = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    lines = text.splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    # the csv parser would fill up a short row in silence, so a cut file would read as missing joints
    widths = np.fromiter((line.count(b",") + 1 for line in lines), int, len(lines))
    wrong = np.flatnonzero(widths != columns)
    if len(wrong) and len(wrong) < len(lines):
        raise ReleaseError([Problem(
            path, f"{widths[wrong[0]]} columns, expected {columns} as in the other rows",
            "the file is cut or damaged there; copy or download it again", int(wrong[0]) + 1,
        )])  # fmt: skip
    if not lines:
        return np.empty((0, 0), np.float32)
    frame = pd.read_csv(BytesIO(b"\n".join(lines)), header=None, low_memory=False)
    if all(kind.kind in "if" for kind in frame.dtypes):
        return frame.to_numpy(np.float32)
    return _with_blanks(path, frame.to_numpy(object).tolist())


def _with_blanks(path: Path, rows: list[list]) -> np.ndarray:
    """Numbers of a table in which some cells hold none; blank ones become NaN, others are refused."""
    cells = np.array(rows, object)
    cells[cells == ""] = np.nan
    try:
        return cells.astype(np.float32)
    except (TypeError, ValueError):
        pass  # some cell holds a text: look at each
    for r, c in np.ndindex(cells.shape):
        try:
            cells[r, c] = float(cells[r, c])
        except (TypeError, ValueError):
            if str(cells[r, c]).strip().lower() not in _BLANK:
                raise ReleaseError([Problem(
                    path, f"cell {_column_name(c)}{r + 1} holds {str(cells[r, c])!r}, which is no number",
                    "write a number there, or leave it empty for a missing joint", r + 1,
                )]) from None  # fmt: skip
            cells[r, c] = np.nan
    return cells.astype(np.float32)


def _column_name(column: int) -> str:
    """0 -> A, 25 -> Z, 26 -> AA: as a spreadsheet shows it."""
    name = ""
    column += 1
    while column:
        column, letter = divmod(column - 1, 26)
        name = chr(ord("A") + letter) + name
    return name
