"""Tokens of a trained encoder, extracted once a clip and kept: the fusion stage is small and runs many times on them.

A store is a folder: `tokens.bin`, one record of equal size a clip; `clips.jsonl`, one line a clip in the same order, written
after its record, so that what a killed extraction leaves is known to the clip; `store.json`; and `DONE`, written last.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from tqdm import tqdm

from migstudy.datasets.content_cache import cache_root
from migstudy.encoder import Encoder, describe_encoder
from migstudy.paths import write_text
from migstudy.runs.claims import Claim, Claimed

if TYPE_CHECKING:
    from torch import Tensor

    from migstudy.models import StudyModel

DTYPES = ("float32", "float16")
_FORMAT = 1


def store_folder(encoder: Encoder, dtype: str = "float32", cache: str | Path | None = None) -> Path:
    """Where the tokens of an encoder lie in the cache (as in `read_release`)."""
    return cache_root(cache) / "tokens" / f"{encoder.model}-{encoder.hash}-{dtype}"


class TokenStore(Mapping[str, np.ndarray]):
    """clip id -> its tokens (L, C), memory-mapped; clips may be read in any order, whatever order they were written in.

    Make one with `create` or `resume`, fill it with `append` (see `extract_tokens`), end it with `finish`; `open` reads
    finished ones. float16 halves the room at a relative precision of 5e-4. A store under writing is claimed, so that
    no other process writes to it; use it as a context manager, or call `close`.
    """

    def __init__(self, folder: Path, encoder: Encoder, shape: tuple[int, int], dtype: str, claim: Claim | None) -> None:
        self.folder, self.encoder, self.shape, self.dtype, self._claim = folder, encoder, shape, np.dtype(dtype), claim
        self._rows: dict[str, int] = {}
        self._map: np.ndarray | None = None

    # -- making ------------------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, folder: str | Path, encoder: Encoder, shape: Sequence[int], dtype: str = "float32") -> Self:
        """A new, empty store; shape: (L, C) of every clip. Raises FileExistsError when the folder holds one already."""
        folder = Path(folder)
        if (folder / "store.json").is_file():
            raise FileExistsError(f"{folder} holds a token store already; resume or open it, or delete the folder")
        return cls.resume(folder, encoder, shape, dtype)

    @classmethod
    def resume(cls, folder: str | Path, encoder: Encoder, shape: Sequence[int], dtype: str = "float32") -> Self:
        """The store in the folder, to go on with where it stopped, or a new one.

        What a kill cut off is dropped. Raises ValueError when it holds tokens of another encoder, shape or dtype, and
        RuntimeError while another process writes to it.
        """
        folder, shape = Path(folder), tuple(int(n) for n in shape)
        if dtype not in DTYPES or len(shape) != 2 or min(shape) < 1:
            raise ValueError(f"a token store takes a shape (L, C) and {' or '.join(DTYPES)}, not {shape} and {dtype!r}")
        try:
            claim = Claim.take(folder)
        except Claimed:
            raise RuntimeError(f"{folder}: another process writes tokens here; wait for it, or give another folder") from None
        try:
            if not (folder / "store.json").is_file():
                about = {"format": _FORMAT, "encoder": asdict(encoder), "shape": shape, "dtype": dtype}
                write_text(folder / "store.json", json.dumps(about, indent=1))
            store = cls._of(folder, encoder, claim)
            if (store.shape, store.dtype) != (shape, np.dtype(dtype)):
                raise ValueError(
                    f"{folder} holds tokens {store.shape} {store.dtype}, not {shape} {dtype}; delete the folder, or give"
                    " another"
                )
            (folder / "DONE").unlink(missing_ok=True)
            store._repair()
        except BaseException:
            claim.release()
            raise
        return store

    @classmethod
    def open(cls, folder: str | Path, encoder: Encoder | None = None) -> Self:
        """A finished store, to read.

        Raises FileNotFoundError where there is none, ValueError when it is unfinished, damaged, or another encoder's.
        """
        folder = Path(folder)
        if not (folder / "store.json").is_file():
            raise FileNotFoundError(f"{folder} holds no token store; extract the encoder's tokens first (extract_tokens)")
        store = cls._of(folder, encoder, None)
        if not (folder / "DONE").is_file():
            raise ValueError(f"{folder}: its extraction never finished; run it again, it goes on where it stopped")
        entries = store._entries()
        size = store._file.stat().st_size if store._file.is_file() else 0
        if size != len(entries) * store._record or (folder / "DONE").read_text().strip() != str(len(entries)):
            raise ValueError(
                f"{folder} is damaged ({size} bytes of tokens for {len(entries)} clips); delete it and extract again"
            )
        store._rows = {clip_id: row for row, (clip_id, _) in enumerate(entries)}
        return store

    @classmethod
    def _of(cls, folder: Path, encoder: Encoder | None, claim: Claim | None) -> Self:
        try:
            about = json.loads((folder / "store.json").read_text())
            held = Encoder(**about["encoder"])
            store = cls(folder, held, tuple(about["shape"]), about["dtype"], claim)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder / 'store.json'} cannot be read ({error}); delete the folder and extract again") from error
        if about.get("format") != _FORMAT:
            raise ValueError(f"{folder} is of another version of this program; delete it and extract again")
        if encoder is not None and held.hash != encoder.hash:
            parts = ", ".join(f"its {name}" for name in held.differences(encoder))
            raise ValueError(f"{folder} holds tokens of another encoder ({parts} differ); delete the folder, or give another")
        return store

    # -- writing -----------------------------------------------------------------------------------------------------

    def append(self, clip_ids: Sequence[str], tokens: np.ndarray) -> None:
        """Keep tokens (n, L, C) of n new clips; on disk when this returns.

        Raises ValueError for a clip that is there already, other shapes, or values that are not finite in the store's
        dtype; then nothing is kept of the batch.
        """
        if self._claim is None:
            raise ValueError(f"{self.folder} is open for reading; resume it to append")
        self._claim.check()
        with np.errstate(over="ignore"):  # float16 ends at 65504: found below, by clip
            values = np.ascontiguousarray(tokens, self.dtype)
        clip_ids = [str(clip_id) for clip_id in clip_ids]
        if values.shape != (len(clip_ids), *self.shape):
            raise ValueError(f"{len(clip_ids)} clips of {self.shape} tokens expected, got {values.shape}")
        known = [c for i, c in enumerate(clip_ids) if c in self._rows or c in clip_ids[:i]]
        broken = [c for c, value in zip(clip_ids, values, strict=True) if not np.isfinite(value).all()]
        if known or broken:
            what = "is there already" if known else f"has tokens that are not finite in {self.dtype}"
            raise ValueError(f"{self.folder}: clip {(known or broken)[0]!r} {what}")
        lines = b"".join(_line(c, zlib.crc32(v)) for c, v in zip(clip_ids, values, strict=True))
        self._map = None
        try:
            _write(self._file, values.tobytes())
            _write(self._journal, lines)
        except BaseException:  # a full disk, or a key press: what follows must not lie beside half a record
            self._repair()
            raise
        for clip_id in clip_ids:
            self._rows[clip_id] = len(self._rows)

    def missing(self, clip_ids: Iterable[str]) -> list[str]:
        """Those clips, in their order, whose tokens are not there yet."""
        return [clip_id for clip_id in clip_ids if clip_id not in self._rows]

    def finish(self) -> Self:
        """Mark the store as whole, give the claim up, and go on reading."""
        if self._claim is None:
            raise ValueError(f"{self.folder} is open for reading; resume it to append")
        write_text(self.folder / "DONE", f"{len(self)}\n")
        self.close()
        return self

    def close(self) -> None:
        if self._claim is not None:
            self._claim.release()
        self._claim = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- reading -----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __getitem__(self, clip_id: str) -> np.ndarray:
        if clip_id not in self._rows:
            raise KeyError(f"no tokens of clip {clip_id!r} among the {len(self)} of {self.folder}")
        if self._map is None:
            self._map = np.memmap(self._file, self.dtype, "r", shape=(len(self), *self.shape))
        return self._map[self._rows[clip_id]]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_map": None, "_claim": None}  # a worker process opens its own map, and only reads

    def batch(self, clip_ids: Iterable[str]) -> np.ndarray:
        """(n, L, C) float32, in the order of the ids; raises KeyError naming the first clip that is not there."""
        rows = [self[clip_id] for clip_id in clip_ids]
        return np.stack(rows).astype(np.float32) if rows else np.zeros((0, *self.shape), np.float32)

    def verify(self) -> None:
        """Read everything once against the checksums; raises ValueError naming the clips whose bytes have changed."""
        bad = [clip_id for clip_id, crc in self._entries() if zlib.crc32(np.ascontiguousarray(self[clip_id])) != crc]
        if bad:
            raise ValueError(f"{self.folder}: tokens of {len(bad)} clips have changed on disk ({', '.join(bad[:5])}); "
                             "delete the folder and extract again")  # fmt: skip

    # -- files -------------------------------------------------------------------------------------------------------

    @property
    def _file(self) -> Path:
        return self.folder / "tokens.bin"

    @property
    def _journal(self) -> Path:
        return self.folder / "clips.jsonl"

    @property
    def _record(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def _entries(self) -> list[tuple[str, int]]:
        """(clip id, checksum) of every whole line."""
        entries = []
        for line in self._journal.read_bytes().splitlines(keepends=True) if self._journal.is_file() else ():
            try:
                clip_id, crc = json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            entries.append((clip_id, crc))
        return entries

    def _repair(self) -> None:
        """Cut both files to the clips that they both hold whole: a kill may have stopped between them, or within one."""
        entries = self._entries()
        held = self._file.stat().st_size // self._record if self._file.is_file() else 0
        entries = entries[:held]
        size = sum(len(_line(*entry)) for entry in entries)
        for path, length in ((self._file, len(entries) * self._record), (self._journal, size)):
            with path.open("ab") as file:
                file.truncate(length)
        self._rows = {clip_id: row for row, (clip_id, _) in enumerate(entries)}


def _line(clip_id: str, crc: int) -> bytes:
    return json.dumps([clip_id, crc]).encode() + b"\n"


def _write(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # in this order on the disk, too: record, then line


def extract_tokens(
    model: StudyModel, batches: Iterable[tuple[Sequence[str], Tensor]], store: TokenStore, *, progress: bool = True,
    total: int | None = None,
) -> TokenStore:  # fmt: skip
    """Fill a store with the tokens of a model in eval mode, and finish it; clips that are there already are left out.

    batches: (clip ids, model input (n, ...) on the model's device or not); build the loader from `store.missing(ids)`, so
    that a resumed extraction reads no clip twice. total: batches, for the progress bar. The model's mode is restored.
    Where this is interrupted, the store keeps whole batches and can be resumed.
    """
    import torch

    was_training, device = model.training, next(model.parameters()).device
    if total is None and hasattr(batches, "__len__"):
        total = len(batches)
    model.eval()
    try:
        with torch.inference_mode():
            for clip_ids, inputs in tqdm(batches, "extracting tokens", total, disable=not progress, unit="batch"):
                new = set(store.missing(clip_ids))
                keep = [i for i, clip_id in enumerate(clip_ids) if clip_id in new]
                if keep:
                    tokens = model(inputs[keep].to(device)).tokens
                    store.append([clip_ids[i] for i in keep], tokens.float().cpu().numpy())
    finally:
        model.train(was_training)
    return store.finish()


__all__ = ["Encoder", "TokenStore", "describe_encoder", "extract_tokens", "store_folder"]
