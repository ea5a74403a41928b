"""Faults of a release: what, where, and how to mend it, many of them in one message."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SHOWN_PROBLEMS = 20


@dataclass(frozen=True)
class Problem:
    """One fault of a release. row: 1-based line or spreadsheet row, None when the fault is the whole file's."""

    file: Path
    message: str
    fix: str
    row: int | None = None


class ReleaseError(ValueError):
    """A release that cannot be read as it is; the message lists up to 20 problems, `problems` holds them all."""

    def __init__(self, problems: Sequence[Problem], root: Path | None = None):
        self.problems = tuple(problems)
        super().__init__(describe(self.problems, root))


def describe(problems: Sequence[Problem], root: Path | None = None) -> str:
    """Problems as text: one line when there is one, else a numbered list of at most 20."""
    lines = []
    for problem in problems[:SHOWN_PROBLEMS]:
        file = problem.file if root is None else os.path.relpath(problem.file, root)
        row = "" if problem.row is None else f", row {problem.row}"
        lines.append(f"{file}{row}: {problem.message}; {problem.fix}")
    if len(problems) == 1:
        return lines[0] if root is None else f"cannot read the release {root}: {lines[0]}"
    head = f"{len(problems)} problems" + ("" if root is None else f" in the release {root}") + ":"
    more = [f"... and {len(problems) - len(lines)} more"] if len(problems) > len(lines) else []
    return "\n".join([head, *(f"{i:3d}. {line}" for i, line in enumerate(lines, 1)), *more])
