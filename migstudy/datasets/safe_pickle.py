"""Pickles without code: a reader that builds containers, numbers, texts and plain numpy arrays, and nothing else.

Numpy's own classes are never handed to the pickle either; stand-ins check sizes and types and then build the arrays,
so a hostile file can neither run code nor forge an array. The writer names classes as numpy 1 does, for older tools.
"""

from __future__ import annotations

import math
import mmap
import pickle
import pickletools
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from migstudy.paths import written_aside

_KINDS = "biufSU"
_SIZED = {"PUT", "BINPUT", "LONG_BINPUT", "FRAME"}  # the other lengths are checked by reading them


class UnsafePickleError(ValueError):
    """A pickle that asks for more than plain data."""


class _Type:
    """Stands in for numpy.dtype."""

    def __init__(self, name: str, *_: Any):
        self.dtype = np.dtype(str(name))
        _plain(self.dtype)

    def __setstate__(self, state: tuple) -> None:
        _, order, subtype, names, fields = state[:5]
        if subtype or names or fields:
            raise UnsafePickleError("a structured numpy type")
        self.dtype = self.dtype.newbyteorder("=" if order == "|" else order)


class _Array:
    """Stands in for numpy.ndarray."""

    array: np.ndarray

    def __setstate__(self, state: tuple) -> None:
        *_, shape, kind, fortran, data = state
        self.array = _build(data, kind, shape, "F" if fortran else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _frombuffer(data: Any, kind: _Type, shape: tuple, order: str) -> _Array:
    made = _Array()
    made.array = _build(data, kind, shape, order)
    return made


def _scalar(kind: _Type, data: Any) -> Any:
    return _build(data, kind, (), "C").item()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise UnsafePickleError(f"text encoded as {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""  # protocols 0 to 2 write empty bytes as a call


def _plain(dtype: np.dtype) -> None:
    if dtype.kind not in _KINDS or dtype.hasobject:
        raise UnsafePickleError(f"a numpy array of {dtype}")


def _build(data: Any, kind: _Type, shape: tuple, order: str) -> np.ndarray:
    if isinstance(data, str):  # written by Python 2
        data = data.encode("latin1")
    if not isinstance(data, bytes | bytearray) or not isinstance(kind, _Type):
        raise UnsafePickleError("a numpy array of objects")
    shape = tuple(int(n) for n in shape)
    if min(shape, default=0) < 0 or math.prod(shape) * kind.dtype.itemsize != len(data):
        raise UnsafePickleError(f"a numpy array of shape {shape} and type {kind.dtype} in {len(data)} bytes")
    if order not in ("C", "F"):
        raise UnsafePickleError(f"a numpy array in order {order!r}")
    if not len(data):
        return np.empty(shape, kind.dtype)
    array = np.frombuffer(bytes(data), kind.dtype).reshape(shape, order=order)
    return array.astype(kind.dtype.newbyteorder("="))


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Type, ("numpy", "ndarray"): "ndarray", ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): dict,
}  # fmt: skip
for _builtins in ("builtins", "__builtin__"):
    _ALLOWED |= {(_builtins, "set"): set, (_builtins, "frozenset"): frozenset, (_builtins, "bytes"): _no_bytes}
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED |= {
        (f"{_core}.multiarray", "_reconstruct"): _reconstruct, (f"{_core}.multiarray", "scalar"): _scalar,
        (f"{_core}.numeric", "_frombuffer"): _frombuffer,
    }  # fmt: skip


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise UnsafePickleError(f"{module}.{name}") from None


def load_plain_pickle(path: str | Path) -> Any:
    """Read a pickle of dicts, lists, tuples, sets, numbers, texts and numeric or text numpy arrays.

    Raises ValueError for anything else in it, and for a damaged file; no code of the file ever runs.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            _check_sizes(stream)
            return _resolve(_Unpickler(stream, encoding="latin1").load())
    except UnsafePickleError as error:
        raise UnsafePickleError(
            f"{path} asks for {error}, which is refused: only plain containers, numbers, texts and numeric numpy arrays"
            " are read from a pickle, because anything else could run code; save it again with these alone"
        ) from error
    except (pickle.UnpicklingError, EOFError, IndexError, KeyError, TypeError, AttributeError, ValueError, MemoryError,
            OverflowError, RecursionError) as error:  # fmt: skip
        raise ValueError(f"{path} is no readable pickle ({type(error).__name__}: {error}); copy it again") from error


def _check_sizes(stream: BinaryIO) -> None:
    """Refuse numbers that would make the reader allocate more than the file can hold: a memo index of 2^31 takes 16 GB."""
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for opcode, argument, position in pickletools.genops(content):
            if opcode.name in _SIZED and argument > len(content):
                raise ValueError(f"byte {position} claims the size {argument} in a file of {len(content)} bytes")


def _resolve(value: Any) -> Any:
    """Stand-ins replaced by the arrays they hold."""
    if isinstance(value, _Array):
        return value.array
    if isinstance(value, _Type):
        return value.dtype
    if isinstance(value, dict):
        return {_resolve(k): _resolve(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(_resolve(v) for v in value)
    return value


class _Pickler(pickle._Pickler):
    """Numpy 2 names its parts numpy._core, which numpy 1 does not find; numpy 2 finds numpy.core too."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = getattr(obj, "__module__", None) or ""
        if module.startswith("numpy._core"):
            lines = f"{module.replace('_core', 'core', 1)}\n{name or obj.__qualname__}\n"
            self.write(pickle.GLOBAL + lines.encode("ascii"))
            self.memoize(obj)
        else:
            super().save_global(obj, name)


def save_plain_pickle(value: Any, path: str | Path) -> Path:
    """Write plain data so that numpy 1 and 2 read it (protocol 3), whole or not at all."""
    path = Path(path)
    with written_aside(path) as aside, aside.open("wb") as stream:
        _Pickler(stream, protocol=3).dump(value)
    return path
