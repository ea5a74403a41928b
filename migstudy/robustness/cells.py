"""Measurements kept one a file, each with the question that it answers, so that an interrupted study goes on."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from migstudy.paths import written_aside

if TYPE_CHECKING:
    import pandas as pd

_KEY = b"migstudy.cell"
Question = Mapping[str, Any]


class Cells(NamedTuple):
    """A folder of tables as parquet files, found by a question of plain data.

    question: must hold `name`, words for the file's name; everything else says exactly what was measured on what.
    """

    folder: Path

    def path(self, question: Question) -> Path:
        """Where the answer lies or would lie."""
        digest = hashlib.sha256(_text(question).encode()).hexdigest()[:12]
        return self.folder / f"{question['name']}-{digest}.parquet"

    def read(self, question: Question) -> pd.DataFrame | None:
        """The kept answer; None, and the file gone, where there is none or it cannot be read.

        Raises ValueError naming a file that answers something else.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.path(question)
        if not path.is_file():
            return None
        try:
            arrow = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            print(f"{path.name} cannot be read ({str(error).splitlines()[0]}) and is measured again", flush=True)
            path.unlink(missing_ok=True)
            return None
        kept = (arrow.schema.metadata or {}).get(_KEY)
        if kept is None or (found := json.loads(kept))["question"] != json.loads(_text(question)):
            raise ValueError(f"{path} holds another measurement than its name says; delete it and run again")
        table = arrow.to_pandas()
        table.attrs = found["attrs"]
        return table

    def write(self, question: Question, table: pd.DataFrame) -> None:
        """Keep an answer, whole or not at all; `table.attrs` must be plain data."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        plain = table.copy()
        plain.attrs = {}  # pandas would store them a second time
        arrow = pa.Table.from_pandas(plain, preserve_index=False)
        kept = json.dumps({"question": json.loads(_text(question)), "attrs": table.attrs}).encode()
        with written_aside(self.path(question)) as aside:
            pq.write_table(arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), _KEY: kept}), aside)


def _text(question: Question) -> str:
    return json.dumps(question, sort_keys=True)


def simulator_version() -> str:
    """Hash of the sources that make skeletons: what `simulate/video.py` imports, comments aside."""
    folder, digest = Path(__file__).parents[1] / "simulate", hashlib.sha256()
    waiting, seen = ["video"], set()
    while waiting:
        name = waiting.pop()
        if name in seen or not (folder / f"{name}.py").exists():
            continue
        seen.add(name)
        tree = ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))
        waiting += [n.module.rpartition(".")[2] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module]
    for name in sorted(seen):
        digest.update(ast.dump(ast.parse((folder / f"{name}.py").read_text(encoding="utf-8"))).encode())
    return digest.hexdigest()[:12]
