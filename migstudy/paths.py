"""Where things lie: relative paths mean the project's root, from the shell and from notebooks alike."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def project_root() -> Path:
    """The nearest folder above the working directory that holds `notebooks/` and `migstudy/`; else the working directory.

    The environment variable MIGSTUDY_ROOT wins.
    """
    if root := os.environ.get("MIGSTUDY_ROOT"):
        return Path(root)
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "migstudy").is_dir():
            return folder
    return here


def resolve(path: str | Path) -> Path:
    """An absolute path; relative ones start at the project's root."""
    path = Path(path).expanduser()
    return path if path.is_absolute() else project_root() / path


@contextmanager
def written_aside(path: str | Path) -> Iterator[Path]:
    """A name to write to; what is there becomes `path` when the block ends well, and is removed when it does not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}.partial-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file whole or not at all."""
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
    return Path(path)
