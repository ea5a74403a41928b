"""Which of the package's sources a notebook's numbers depend on, and their hash.

A new model or figure must not make finished runs look outdated; a change in the loss must.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from migstudy import paths

PACKAGE = Path(__file__).parents[1]
# what only draws or starts others, and what makes data, which the data's fingerprint stands for
_APART = (
    "figures", "simulate", "report", "sweep", "study", "cli", "results", "comparison", "fusion/tables", "fusion/study",
    "emotion/report", "emotion/readable", "robustness/tables", "runs/execute", "runs/kernel", "runs/claims", "runs/interrupts",
    "runs/state", "runs/listing", "models/__init__",
)  # fmt: skip


def code_version(task: str = "", models: tuple[str, ...] = ()) -> str:
    """12 hex digits of the sources behind a notebook's numbers: what it imports, what that imports, and so on.

    task: the notebook's name; without a notebook of that name, the whole package counts. models: names of `MODELS` that the
    run chose by parameter (others are passed over); those that a module creates by name are found.
    """
    return _version(_code_cells(task), models)


def sources_of(task: str = "", models: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The files that `code_version` reads, relative to the package, sorted."""
    return _sources(_code_cells(task), models)


def _code_cells(task: str) -> tuple[str, ...] | None:
    notebook = paths.resolve(f"notebooks/{task}.ipynb")
    if not task or not notebook.exists():
        return None
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return tuple("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@cache  # sources do not change while they run
def _version(cells: tuple[str, ...] | None, models: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name in _sources(cells, models):
        digest.update(name.encode() + b"\0" + (PACKAGE / name).read_bytes())
    return digest.hexdigest()[:12]


def _sources(cells: tuple[str, ...] | None, models: tuple[str, ...]) -> tuple[str, ...]:
    found = set((PACKAGE / "assets").glob("*.npz"))
    if cells is None:
        found |= {path for path in PACKAGE.rglob("*.py") if not _is_apart(path)}
    else:
        found |= set(_closure(cells, models))
    return tuple(sorted(path.relative_to(PACKAGE).as_posix() for path in found))


def _closure(sources: Iterable[str], models: Iterable[str]) -> Iterator[Path]:
    registry = _registry()
    waiting = [*sources, *(f"import {registry[name]}" for name in models if name in registry)]
    seen: set[Path] = set()
    while waiting:
        text = waiting.pop()
        for module in _modules(text, registry):
            for path in _files(module):
                if path not in seen and not _is_apart(path):
                    seen.add(path)
                    waiting.append(path.read_text(encoding="utf-8"))
                    yield path


def _modules(text: str, registry: dict[str, str]) -> Iterator[str]:
    """Dotted names a source refers to: imports, wherever they stand, and `create_model("name")`."""
    lines = [line for line in text.splitlines(keepends=True) if not line.startswith(("%", "!"))]
    for node in ast.walk(ast.parse("".join(lines))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in ("create_model", "get_model_class") and node.args[0].value in registry:
                yield registry[node.args[0].value]


def _registry() -> dict[str, str]:
    """Model name -> dotted module."""
    from migstudy.models import MODELS

    return {name: place.partition(":")[0] for name, place in MODELS.items()}


def _files(module: str) -> Iterator[Path]:
    """A module's file and the packages around it; nothing for other people's modules, or names that are no module."""
    parts = module.split(".")
    if parts[0] != PACKAGE.name:
        return
    for i in range(1, len(parts) + 1):
        place = PACKAGE.joinpath(*parts[1:i])
        for path in (place / "__init__.py", place.with_suffix(".py")):
            if path.is_file():
                yield path


def _is_apart(path: Path) -> bool:
    place = path.relative_to(PACKAGE).with_suffix("")
    return place.parts[0] in _APART or place.as_posix() in _APART
