"""Data from outside -> ClipSet: iMiGUE releases, skeleton arrays, PYSKL/mmaction2 pickles; `open_dataset` tells which.

Readers are imported when used; each module stands for one source.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from migstudy.clips import ClipSet


def open_dataset(path: str | Path, **options) -> ClipSet:
    """Open any data that migstudy can read, by looking at it; relative paths start at the project's root.

    - a folder in the layout of the iMiGUE release -> `imigue.read_imigue`
    - a folder written by `ClipSet.save` -> `ClipSet.load`
    - an .npz of labelled skeletons -> `skeleton_files.read_npz`
    - a pickle of PYSKL/mmaction2 annotations -> `mmaction_pickle.read_pickle`

    options: those of that reader. Raises FileNotFoundError, or ValueError that says what is expected.
    """
    from migstudy.paths import resolve

    path = resolve(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a release folder, a ClipSet folder, an .npz or a .pkl")
    kind = kind_of(path)
    if kind == "clipset":
        return ClipSet.load(path, **options)
    if kind == "release":
        from migstudy.datasets.imigue import read_imigue as reader
    elif kind == "npz":
        from migstudy.datasets.skeleton_files import read_npz as reader
    elif kind == "pickle":
        from migstudy.datasets.mmaction_pickle import read_pickle as reader
    else:
        raise ValueError(
            f"cannot tell what {path} is; expected a folder with imigue_skeleton_train/<id>/<id>_openpose.xlsx, a"
            " folder written by ClipSet.save, an .npz of skeletons, or a PYSKL/mmaction2 pickle"
        )
    return reader(path, **options)


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
