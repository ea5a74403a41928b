"""The numbers of a spreadsheet that holds nothing else, several times faster than a general reader.

Skeleton files are full tables of decimals, read by the hundred. Whatever is unusual about a file, a text, an empty cell, a
formula, a second sheet, is left to the general reader: `full_table` returns None.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

_SHEETS = "xl/worksheets/"
_ROW_END = b"</row>"
_BLOCK = 1 << 23  # bytes of a sheet at a time: long videos take no more memory than short ones
_LT, _A, _COMMA, _LINE = b"<A,\n"


def full_table(path: Path) -> np.ndarray | None:
    """(rows, columns) float64 of a workbook whose one sheet is a full table of plain numbers from A1 on, else None.

    Damaged files are None too. Parsing runs in native code that other threads do not wait for, some rows at a time.
    """
    tables: list[np.ndarray] = []
    try:
        with zipfile.ZipFile(path) as book:
            sheets = [name for name in book.namelist() if name.startswith(_SHEETS) and name.endswith(".xml")]
            if len(sheets) != 1:
                return None
            with book.open(sheets[0]) as stream:
                for block in _rows(stream):
                    table = None if block is None else _parse(block, sum(map(len, tables)))
                    if table is None or tables and table.shape[1] != tables[0].shape[1]:
                        return None
                    tables.append(table)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):
        return None
    return np.concatenate(tables) if tables else None


def _rows(stream: BinaryIO) -> Iterator[bytes | None]:
    """The sheet in blocks of whole rows; None, and no more, where it is not one run of rows."""
    text = b""
    while b"<row " not in text:
        if not (piece := stream.read(_BLOCK)):
            yield None
            return
        text += piece
    text = text[text.find(b"<row ") :]
    while piece := stream.read(_BLOCK):
        cut = text.rfind(_ROW_END) + len(_ROW_END)
        if cut >= len(_ROW_END):
            yield text[:cut]
            text = text[cut:]
        text += piece
    cut = text.find(b"</sheetData>")
    if cut:  # else the last row ended its block
        yield text[:cut] if cut > 0 else None


def _parse(text: bytes, rows_before: int) -> np.ndarray | None:
    typed = text.count(b' t="')  # of a cell that says what it is
    if typed and typed != text.count(b' t="n"'):
        return None
    data = np.frombuffer(text, np.uint8)
    tags = np.flatnonzero(data[:-2] == _LT)
    name, after = data[tags + 1], data[tags + 2]
    is_cell, is_value = (name == ord("c")) & (after == ord(" ")), (name == ord("v")) & (after == ord(">"))
    is_row = (name == ord("r")) & (after == ord("o"))
    if not (is_cell | is_value | is_row | (name == ord("/"))).all():  # formulas, texts
        return None
    cells, values, rows = tags[is_cell], np.flatnonzero(is_value), tags[is_row]
    if not len(rows) or not len(cells) or len(cells) != len(values) or len(cells) % len(rows):
        return None
    columns = len(cells) // len(rows)
    places = cells.reshape(len(rows), columns)
    starts = tags[values] + 3
    if (places[:, 0] < rows).any() or (places[:-1, -1] > rows[1:]).any() or (starts < cells).any():
        return None
    if (starts[:-1] > cells[1:]).any() or not _named(data, places[:, 0], b"A", rows_before):
        return None
    if not _named(data, places[:, -1], _letters(columns), rows_before):
        return None
    ends = tags[np.minimum(values + 1, len(tags) - 1)]
    if (ends <= starts).any() or (data[ends + 1] != ord("/")).any():
        return None
    return _numbers(data, starts, ends, columns)


def _named(data: np.ndarray, cells: np.ndarray, letters: bytes, rows_before: int) -> bool:
    """Whether these cells, one a row, say that they stand in that column of consecutive rows."""
    numbered = enumerate(cells, rows_before + 1)
    return all(bytes(data[cell : cell + 24]).startswith(b'<c r="%b%d"' % (letters, row)) for row, cell in numbered)


def _letters(column: int) -> bytes:
    """1 -> A, 27 -> AA."""
    letters = b""
    while column:
        column, rest = divmod(column - 1, 26)
        letters = bytes([_A + rest]) + letters
    return letters


def _numbers(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, columns: int) -> np.ndarray | None:
    """The texts data[starts:ends] as lines of comma-separated numbers, which pandas parses fastest; None if some are none."""
    import pandas as pd

    inside = np.zeros(len(data), np.int8)  # 1 from the first character of a text to its separator
    inside[starts], inside[ends + 1] = 1, -1
    lines = data[np.cumsum(inside, dtype=np.int8).view(bool)]
    stops = np.cumsum(ends - starts + 1)
    lines[stops - 1] = _COMMA
    lines[stops[columns - 1 :: columns] - 1] = _LINE
    try:
        return pd.read_csv(BytesIO(lines.tobytes()), header=None, dtype=np.float64, na_filter=False).to_numpy()
    except ValueError:
        return None
