"""Tables are copied between their marks, and nothing else of the README moves."""

import pytest

from migstudy.report.readme import fill_readme

TEXT = "# Title\n\n<!-- table_a -->\nold\n<!-- end -->\n\nwords with \\1 in them\n\n<!-- table_b -->\n<!-- end -->\nend\n"


def test_tables_are_copied_and_words_stay(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(TEXT, encoding="utf-8")
    for name in "ab":
        (tmp_path / f"table_{name}.md").write_text(f"caption ± {name}\n\n| \\g<0> |\n", encoding="utf-8")
    assert fill_readme(readme, tmp_path) == ["table_a", "table_b"]
    expected = TEXT.replace("old", "caption ± a\n\n| \\g<0> |").replace("b -->\n", "b -->\ncaption ± b\n\n| \\g<0> |\n")
    assert readme.read_text(encoding="utf-8") == expected
    assert fill_readme(readme, tmp_path) == []


def test_a_mark_without_table_changes_nothing(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(TEXT)
    (tmp_path / "table_a.md").write_text("new")
    with pytest.raises(ValueError, match=r"table_b.*migstudy figures"):
        fill_readme(readme, tmp_path)
    assert readme.read_text() == TEXT
