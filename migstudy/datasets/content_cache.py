"""A cache keyed by content: what was read once is opened again as long as the bytes it came from are the same."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import joblib
import numpy as np

from migstudy.paths import write_text, written_aside

_SETTLED_NS = 2_000_000_000  # a file changed within the clock's step may keep its time and size


def cache_root(folder: str | Path | None = None) -> Path:
    """The cache's folder: the argument, else the environment variable MIGSTUDY_CACHE, else ~/.cache/migstudy."""
    folder = folder or os.environ.get("MIGSTUDY_CACHE") or Path.home() / ".cache" / "migstudy"
    return Path(folder).expanduser().resolve()


def key_of(*parts: object) -> str:
    """Hex digest of plain data."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=20).hexdigest()


def content_hashes(files: Iterable[Path], root: Path, cache: Path, workers: int) -> dict[Path, str]:
    """blake2b of each file's bytes; a file whose size and modification time are as last time is not opened.

    The memory of last time is one JSON file a root. Files changed in the last two seconds are never remembered.
    """
    memory = cache / "stat" / f"{key_of(str(root.resolve()))}.json"
    try:
        known = json.loads(memory.read_text())
    except (OSError, ValueError):
        known = {}
    seen, hashes, stale = {}, {}, []
    for file in files:
        stat = file.stat()
        seen[file] = [stat.st_size, stat.st_mtime_ns]
        entry = known.get(str(file)) if isinstance(known, dict) else None
        if isinstance(entry, list) and len(entry) == 3 and entry[:2] == seen[file]:
            hashes[file] = entry[2]
        else:
            stale.append(file)
    if stale:
        now = time.time_ns()
        digests = joblib.Parallel(workers, prefer="threads")(joblib.delayed(_digest)(file) for file in stale)
        hashes.update(zip(stale, digests, strict=True))
        settled = {str(f): [*s, hashes[f]] for f, s in seen.items() if now - s[1] > _SETTLED_NS}
        write_text(memory, json.dumps(settled))
    return hashes


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=20)).hexdigest()


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to an .npz, whole or not at all; the zip's checksums guard each of them."""
    with written_aside(path) as aside:
        np.savez(aside, **arrays)


def load_array(path: Path, name: str) -> np.ndarray | None:
    """One array of an .npz; None when the file is missing, cut or its bytes have changed."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[name]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def seal(folder: Path) -> None:
    """Remember size and time of every file of a finished folder."""
    write_text(folder / "SEAL.json", json.dumps(_stats(folder)))


def is_sealed(folder: Path) -> bool:
    """Whether a folder is finished and its files are as they were then."""
    try:
        return json.loads((folder / "SEAL.json").read_text()) == _stats(folder)
    except (OSError, ValueError):
        return False


def _stats(folder: Path) -> dict[str, list[int]]:
    files = (file for file in sorted(folder.iterdir()) if file.name != "SEAL.json")
    return {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files}


def remove_leftovers(folder: Path, older_than: float = 3600.0) -> None:
    """Delete what killed readers left behind: `*.partial-*` entries untouched for `older_than` seconds."""
    import shutil

    for entry in folder.glob("*.partial-*") if folder.is_dir() else ():
        if time.time() - entry.stat().st_mtime > older_than:
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
