"""The README's tables are the study's own: each stands between two marks and is copied from figures/.

    <!-- table_ablation -->  ...  <!-- end -->
"""

from __future__ import annotations

import re
from pathlib import Path

from migstudy import paths

_MARKED = re.compile(r"(<!-- (table_\w+) -->\n)((?:(?!<!--).)*)(<!-- end -->)", re.S)


def fill_readme(readme: Path, figures: Path) -> list[str]:
    """Copy the Markdown tables of a folder between their marks; returns the names of those that changed.

    Raises ValueError for a mark without such a table, before anything is written.
    """
    text, changed = readme.read_text(encoding="utf-8"), []

    def table(found: re.Match) -> str:
        start, name, before, end = found.groups()
        source = figures / f"{name}.md"
        if not source.exists():
            raise ValueError(f"{readme}: it asks for {name}, and {source} is not there; draw it first: migstudy figures")
        now = source.read_text(encoding="utf-8").strip()
        if now != before.strip():
            changed.append(name)
        return f"{start}{now}\n{end}"

    filled = _MARKED.sub(table, text)
    if changed:
        paths.write_text(readme, filled)
    return changed
