"""Labelled skeletons in one .npz, the generic door: any recording that can be written as arrays enters here."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from migstudy.clips import COLUMNS, ClipSet
from migstudy.datasets.holdout import complete_splits
from migstudy.datasets.infer_topology import infer_topology
from migstudy.skeletons import get_topology
from migstudy.topology import Topology


def read_npz(
    path: str | Path,
    *,
    split_key: str | None = None,
    val_fraction: float = 0.2,
    test_fraction: float = 0.3,
    seed: int = 0,
    topology: str | Topology | None = None,
    scores_last: bool | None = None,
    image_size: tuple[int, int] | None = None,
    fps: float | None = None,
) -> ClipSet:
    """Read a labelled-skeleton file (opened with allow_pickle=False).

    Keys: `keypoints` (N, T, V, C), or ragged `frames` (sum T, V, C) with `offsets` (N + 1). Optional, one entry a clip:
    `label` (numbers from 0, or texts), `subject`, `ids`, `split` (texts train/val/test), `split_test...` and
    `split_val...` (bool). Optional: `class_names`, `joint_names`, `edges` (E, 2), `mirror` (V), `fps`, `scores_last`
    (bool), `image_size` (W, H).

    - C coordinates a joint: 2 in px, or 3, kept raw with units "m" (which then means the file's own unit). scores_last:
      the last channel is a confidence. Without confidences, present joints score 1. Missing are: NaN; (0, 0) in 2D; in
      3D a frame that is zero throughout. Frames at a clip's end without any joint are padding and are cut.
    - 2D coordinates in units of the image (nearly all in 0..1) need `image_size`, by which they are multiplied.
    - split_key: which key holds the split, when there are several. Without any, test_fraction of the clips are held out
      as test; without a validation split, val_fraction of the training clips: whole subjects if there are 5 or more,
      else by class (`holdout.hold_out`), so that choosing a model never looks at test. 0 switches either off.
    - topology: a name or Topology, else inferred (`infer_topology`). fps: default the file's, else 25.

    Raises ValueError naming the file, the key or clip, and the fix.
    """
    path = Path(path)
    arrays = _load(path)
    points, lengths = _frames(path, arrays)
    if scores_last is None:
        scores_last = bool(arrays.get("scores_last", False))
    points, scores = _split_channels(path, points, scores_last)
    lengths, keep = _without_padding(scores, lengths)
    points, scores = points[keep], scores[keep]
    units, size = ("px", image_size or arrays.get("image_size")) if points.shape[-1] == 2 else ("m", (0, 0))
    if units == "px":
        points, size = _image(path, points, scores, size)

    n, v = len(lengths), points.shape[1]
    labels, names = _labels(path, arrays, n)
    subjects = _texts(path, arrays, "subject", n, [""] * n)
    ids = _texts(path, arrays, "ids", n, [f"{path.stem}_{i:04d}" for i in range(n)])
    joints = _texts(path, arrays, "joint_names", v, [f"joint_{i}" for i in range(v)])
    try:
        skeleton = get_topology(topology) if topology else infer_topology(
            path.stem, joints, points, scores > 0, arrays.get("edges"), arrays.get("mirror")
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if skeleton.num_joints != v:
        raise ValueError(f"{path}: it holds {v} joints, {skeleton.name!r} has {skeleton.num_joints}; choose another")

    split, told = _splits(path, arrays, split_key, labels, subjects, val_fraction, test_fraction, seed)
    index = pd.DataFrame({
        "clip_id": ids, "video": ids, "subject": subjects, "label": labels, "start": 0, "end": lengths - 1,
        "split": split, "offset": np.cumsum(lengths) - lengths, "length": lengths, "width": size[0], "height": size[1],
    })[COLUMNS]  # fmt: skip
    if index["clip_id"].duplicated().any():
        twice = index["clip_id"][index["clip_id"].duplicated()].iloc[0]
        raise ValueError(f"{path}: clip id {twice!r} stands twice in 'ids'; give each clip its own")
    rate = float(fps or arrays.get("fps", 25.0))
    return ClipSet(points, scores, index, skeleton, names, rate, f"{path.name} ({told})", units)


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise ValueError(
            f"{path} is no readable .npz of plain arrays ({error}); write it with numpy.savez, without object arrays"
        ) from error


def _frames(path: Path, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All frames end to end (sum T, V, C) float32, and the length of each clip."""
    if "keypoints" in arrays:
        points = arrays["keypoints"]
        if points.ndim != 4:
            raise ValueError(f"{path}: 'keypoints' is {points.shape}, not (clips, frames, joints, channels)")
        frames, lengths = points.reshape(-1, *points.shape[2:]), np.full(len(points), points.shape[1], np.int64)
    elif "frames" in arrays and "offsets" in arrays:
        frames, offsets = arrays["frames"], arrays["offsets"]
        if frames.ndim != 3:
            raise ValueError(f"{path}: 'frames' is {frames.shape}, not (frames, joints, channels)")
        if offsets.ndim != 1 or offsets[0] != 0 or offsets[-1] != len(frames) or (np.diff(offsets) <= 0).any():
            raise ValueError(
                f"{path}: 'offsets' must rise from 0 to {len(frames)}, the frames there are, clip by clip; write"
                " numpy.concatenate([[0], numpy.cumsum(lengths)])"
            )
        lengths = np.diff(offsets).astype(np.int64)
    else:
        raise ValueError(
            f"{path} has no skeletons: it needs 'keypoints' (N, T, V, C), or 'frames' and 'offsets'; it has"
            f" {', '.join(arrays) or 'nothing'}"
        )
    if not len(lengths) or not frames.size or frames.dtype.kind not in "fiu":
        raise ValueError(f"{path}: the skeletons are {frames.shape} {frames.dtype}; numbers and a clip are needed")
    return frames.astype(np.float32), lengths


def _split_channels(path: Path, points: np.ndarray, scores_last: bool) -> tuple[np.ndarray, np.ndarray]:
    coordinates = points.shape[-1] - scores_last
    if coordinates not in (2, 3):
        raise ValueError(
            f"{path}: {points.shape[-1]} channels{' with a score last' if scores_last else ''} leave {coordinates}"
            " coordinates; 2 or 3 are needed (pass scores_last=True when the last channel is a confidence)"
        )
    scores = points[..., coordinates].copy() if scores_last else np.ones(points.shape[:2], np.float32)
    points = np.ascontiguousarray(points[..., :coordinates])
    missing = ~np.isfinite(points).all(-1) | ~(scores > 0)
    zero = (points == 0).all(-1)
    missing |= zero if coordinates == 2 else zero.all(1, keepdims=True)
    points[missing], scores[missing] = 0, 0
    return points, scores


def _without_padding(scores: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths without the empty frames at a clip's end, and which frames stay; a wholly empty clip keeps all."""
    filled = scores.any(1)
    clip = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(scores)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    last = np.full(len(lengths), -1)
    np.maximum.at(last, clip, np.where(filled, place, -1))
    last = np.where(last < 0, lengths - 1, last)
    return last + 1, place <= last[clip]


def _image(path: Path, points: np.ndarray, scores: np.ndarray, size) -> tuple[np.ndarray, tuple[int, int]]:
    found = points[scores > 0]
    relative = len(found) > 0 and np.quantile(np.abs(found), 0.99) <= 2
    if size is None and relative:
        raise ValueError(f"{path}: coordinates are shares of the image, not pixels; pass image_size=(width, height)")
    if size is None:
        return points, tuple(int(x) for x in np.ceil(found.max(0))) if len(found) else (0, 0)
    size = (int(size[0]), int(size[1]))
    return points * np.float32(size) if relative else points, size


def _labels(path: Path, arrays: dict[str, np.ndarray], n: int) -> tuple[np.ndarray, tuple[str, ...]]:
    names = tuple(str(name) for name in arrays.get("class_names", ()))
    if "label" not in arrays:
        return np.full(n, -1, np.int64), names
    label = _one_a_clip(path, arrays, "label", n)
    if label.dtype.kind in "US":
        names = names or tuple(str(name) for name in np.unique(label))
        unknown = sorted(set(map(str, label)) - set(names))
        if unknown:
            raise ValueError(f"{path}: label {unknown[0]!r} is not among 'class_names'; add it there")
        return np.array([names.index(str(name)) for name in label], np.int64), names
    names = names or tuple(f"class {i}" for i in range(int(label.max()) + 1))
    wrong = np.flatnonzero((label < -1) | (label >= len(names)) | (label != np.round(label)))
    if len(wrong):
        raise ValueError(
            f"{path}: label {label[wrong[0]]} of clip {wrong[0]} is outside 0..{len(names) - 1}; count classes from 0"
            " and name each in 'class_names' (-1 is unknown)"
        )
    return label.astype(np.int64), names


def _texts(path: Path, arrays: dict[str, np.ndarray], key: str, n: int, default: list[str]) -> list[str]:
    return [str(text) for text in _one_a_clip(path, arrays, key, n)] if key in arrays else default


def _one_a_clip(path: Path, arrays: dict[str, np.ndarray], key: str, n: int) -> np.ndarray:
    if arrays[key].shape != (n,):
        raise ValueError(f"{path}: {key!r} is {arrays[key].shape}, not ({n},); give one entry each")
    return arrays[key]


def _splits(
    path: Path, arrays: dict[str, np.ndarray], key: str | None, labels: np.ndarray, subjects: list[str],
    val_fraction: float, test_fraction: float, seed: int,
) -> tuple[np.ndarray, str]:  # fmt: skip
    """Split of each clip, and where it comes from, in words."""
    n = len(labels)
    tests = [k for k in arrays if k.startswith("split_test")]
    keys = (["split"] if "split" in arrays else []) + tests
    if key is None and len(keys) > 1:
        raise ValueError(f"{path}: several splits ({', '.join(keys)}); choose one with split_key=")
    key = key or next(iter(keys), None)
    if key is not None and key not in arrays:
        raise ValueError(f"{path}: no split {key!r}; it has {', '.join(keys) or 'none'}")
    if key is None:
        split = np.full(n, "", object)
    elif arrays[key].dtype.kind == "b":
        split = np.where(_one_a_clip(path, arrays, key, n), "test", "train").astype(object)
        for val in (k for k in arrays if k.startswith("split_val")):
            split[_one_a_clip(path, arrays, val, n) & (split == "train")] = "val"
    else:
        split = _one_a_clip(path, arrays, key, n).astype(str).astype(object)
        unknown = sorted(set(split) - {"train", "val", "test"})
        if unknown:
            raise ValueError(f"{path}: {key!r} holds {unknown[0]!r}; write train, val or test")
    split, told = complete_splits(split, labels, subjects, val_fraction, test_fraction, seed)
    return split, "; ".join(([f"splits by {key}"] if key else []) + told)
