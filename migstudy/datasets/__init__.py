"""Data from outside -> ClipSet: iMiGUE releases, skeleton arrays, PYSKL/mmaction2 pickles; `open_dataset` tells which.

Readers are imported when used; each module stands for one source.
"""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from migstudy.clips import ClipSet

if TYPE_CHECKING:
    from migstudy.datasets.read_report import ReadReport


def open_dataset(path: str | Path, **options) -> ClipSet:
    """Open any data that migstudy can read, by looking at it; see `open_with_report` for options and errors."""
    return open_with_report(path, **options)[0]


def open_with_report(
    path: str | Path, *, val_fraction: float = 0.2, test_fraction: float = 0.3, seed: int = 0, **options
) -> tuple[ClipSet, ReadReport | None]:
    """Open data, with the reader's account when it is a release; relative paths start at the project's root.

    - a folder in the layout of the iMiGUE release -> `imigue.read_release`
    - a folder written by `ClipSet.save` -> `ClipSet.load`
    - an .npz of labelled skeletons -> `skeleton_files.read_npz`
    - a pickle of PYSKL/mmaction2 annotations -> `mmaction_pickle.read_pickle`

    val_fraction, test_fraction, seed: what to hold out where the data brings no such split (`holdout.complete_splits`);
    options: those of the reader. Raises FileNotFoundError, or ValueError that says what is expected.
    """
    from migstudy.paths import resolve

    path = resolve(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a release folder, a ClipSet folder, an .npz or a .pkl")
    kind, fractions = kind_of(path), {"val_fraction": val_fraction, "test_fraction": test_fraction, "seed": seed}
    if kind == "npz":
        from migstudy.datasets.skeleton_files import read_npz

        return read_npz(path, **fractions, **options), None
    if kind == "pickle":
        from migstudy.datasets.mmaction_pickle import read_pickle

        return read_pickle(path, **fractions, **options), None
    if kind == "clipset":
        return _with_splits(ClipSet.load(path, **options), fractions), None
    if kind == "release":
        from migstudy.datasets.imigue import read_release

        clips, report = read_release(path, **options)
        return _with_splits(clips, fractions), report
    raise ValueError(
        f"cannot tell what {path} is; expected a folder with imigue_skeleton_train/<id>/<id>_openpose.xlsx, a folder"
        " written by ClipSet.save, an .npz of skeletons, or a PYSKL/mmaction2 pickle"
    )


def _with_splits(clips: ClipSet, fractions: dict) -> ClipSet:
    """The set as it is, or with the splits it lacks held out and said so in its source."""
    from migstudy.datasets.holdout import complete_splits

    split, told = complete_splits(clips.index["split"], clips.labels, clips.index["subject"], **fractions)
    if (split == clips.index["split"]).all():
        return clips
    return replace(clips, index=clips.index.assign(split=split), source=f"{clips.source} ({'; '.join(told)})")


def kind_of(path: Path) -> str | None:
    """release, clipset, npz or pickle by content; None for anything else."""
    if path.is_dir():
        from migstudy.datasets.release_layout import is_release

        return "clipset" if (path / "clipset.json").is_file() else "release" if is_release(path) else None
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return "npz" if any(name.endswith(".npy") for name in archive.namelist()) else None
    with path.open("rb") as stream:
        start = stream.read(2)
    if start[:1] == b"\x80" or path.suffix in (".pkl", ".pickle"):  # every pickle since protocol 2 starts so
        return "pickle"
    return "npz" if path.suffix == ".npz" else None  # a damaged one: its reader says what is wrong
