"""The fast reader of full tables says what the general one says, or nothing."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from python_calamine import CalamineWorkbook

from migstudy.datasets.xlsx_numbers import full_table

DECIMALS = st.integers(-(10**9), 10**9).map(lambda n: n / 1000)
NUMBERS = st.one_of(DECIMALS, st.floats(-1e30, 1e30), st.sampled_from([0.0, -0.0, 1e-300, 5.0]))


def write(path, rows, **cells):
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet()
        for r, row in enumerate(rows):
            sheet.write_row(r, 0, row)
        for place, value in cells.items():
            sheet.write(place, value)
    return path


def general(path):
    return np.array(CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python(skip_empty_area=False))


def edited(path, change):
    """The same workbook with its sheet's text changed."""
    with zipfile.ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    other = path.with_name("edited.xlsx")
    with zipfile.ZipFile(other, "w") as book:
        for name, content in parts.items():
            book.writestr(name, change(content) if "worksheets/" in name else content)
    return other


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_full_tables_are_read_as_by_the_general_reader(tmp_path_factory, data):
    shape = data.draw(st.tuples(st.integers(1, 5), st.sampled_from([1, 3, 26, 27, 60])))
    table = data.draw(arrays(np.float64, shape, elements=NUMBERS))
    path = write(tmp_path_factory.mktemp("x") / "a.xlsx", table)
    read = full_table(path)
    assert read.shape == shape
    np.testing.assert_allclose(read, general(path), rtol=1e-15)


@pytest.mark.parametrize("block", [1, 7, 64, 1000, 1 << 22])
def test_blocks_change_nothing(tmp_path, monkeypatch, block):
    monkeypatch.setattr("migstudy.datasets.xlsx_numbers._BLOCK", block)
    table = np.random.default_rng(0).uniform(0, 1280, (12, 30)).round(3)
    path = write(tmp_path / "a.xlsx", table)
    assert np.array_equal(full_table(path), table)
    assert full_table(edited(path, lambda text: text.replace(b'r="AD11"', b'r="AE11"'))) is None
    assert full_table(edited(path, lambda text: text.replace(b'<row r="7"', b'<row r="8"').replace(b'7">', b'8">'))) is None


def test_decimals_of_a_release_are_read_to_the_last_bit(tmp_path):
    table = np.random.default_rng(0).uniform(0, 1280, (50, 411)).round(3)
    path = write(tmp_path / "a.xlsx", table)
    assert np.array_equal(full_table(path), table) and np.array_equal(general(path), table)
    typed = edited(path, lambda text: text.replace(b'"><v>', b'" t="n"><v>'))  # as openpyxl writes
    assert np.array_equal(full_table(typed), table)


@pytest.mark.parametrize("cells", [{"B2": "nan"}, {"B2": "=1+1"}, {"F1": 3.0}, {"A5": 1.0}, {"B2": True}])
def test_what_is_unusual_is_left_to_the_general_reader(tmp_path, cells):
    assert full_table(write(tmp_path / "a.xlsx", np.ones((3, 4)), **cells)) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b'r="B2"><v>1</v></c>', b'r="B2"/>'),  # an empty cell
        lambda text: text.replace(b'<c r="B2"><v>1</v></c>', b""),  # none at all
        lambda text: text.replace(b'r="A', b'r="B', 1),  # does not start in the first column
        lambda text: text.replace(b'r="D3"', b'r="E3"'),  # a gap in the last row
        lambda text: text.replace(b"<v>1</v>", b"<v>one</v>", 1),
        lambda text: text.replace(b"<v>1</v>", b"<v></v>", 1),
        lambda text: text.replace(b"<v>1</v>", b"<v>1,1</v>", 1),
        lambda text: text.replace(b"<v>1</v>", b"<v>1\n1</v>", 1),
        lambda text: text.replace(b"</sheetData>", b""),
        lambda text: text.replace(b"<v>1</v>", b"<is><t>1</t></is>", 1),
        lambda text: b"",
    ],
)
def test_no_table_that_is_not_full(tmp_path, change):
    assert full_table(edited(write(tmp_path / "a.xlsx", np.ones((3, 4))), change)) is None


def test_damaged_files_and_other_books_are_none(tmp_path):
    path = write(tmp_path / "a.xlsx", np.random.default_rng(0).random((40, 40)))
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert full_table(path) is None
    path.write_bytes(whole)
    with zipfile.ZipFile(path) as book:
        sheet = next(info for info in book.infolist() if "worksheets/" in info.filename)
    middle = sheet.header_offset + sheet.compress_size // 2
    path.write_bytes(whole[:middle] + bytes(b ^ 255 for b in whole[middle : middle + 60]) + whole[middle + 60 :])
    assert full_table(path) is None
    assert full_table(tmp_path / "absent.xlsx") is None
    with xlsxwriter.Workbook(str(tmp_path / "two.xlsx")) as book:
        for _ in range(2):
            book.add_worksheet().write(0, 0, 1.0)
    assert full_table(tmp_path / "two.xlsx") is None
