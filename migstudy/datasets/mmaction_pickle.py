"""PYSKL / mmaction2 skeleton annotations: pickles of {split, annotations} or of a list of annotations, in and out.

Format: PYSKL, tools/data/README.md; mmaction2, PoseDataset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from migstudy.clips import Clip, ClipSet
from migstudy.datasets.holdout import complete_splits
from migstudy.datasets.infer_topology import infer_topology
from migstudy.datasets.safe_pickle import load_plain_pickle, save_plain_pickle
from migstudy.skeletons import get_topology
from migstudy.topology import Topology

_OURS = "migstudy"  # key of what the format has no place for; other readers skip it
_BY_JOINTS = {
    (17, 2): "coco17", (18, 2): "kinetics18", (25, 2): "openpose25", (25, 3): "ntu25", (20, 3): "kinect20",
    (22, 2): "imigue22", (35, 2): "light35", (36, 2): "imigue36", (41, 2): "imigue41", (137, 2): "openpose137",
}  # fmt: skip


def read_pickle(
    path: str | Path,
    *,
    topology: str | Topology | None = None,
    class_names: Sequence[str] | None = None,
    split: str | None = None,
    val_is_test: bool = False,
    val_fraction: float = 0.2,
    test_fraction: float = 0.3,
    seed: int = 0,
    fps: float | None = None,
) -> ClipSet:
    """Read skeleton annotations through a reader that runs no code (`safe_pickle`).

    An annotation holds frame_dir (the clip's id), label, keypoint (M, T, V, 2 or 3) and keypoint_score (M, T, V;
    absent: 1 where the joint is not zero); optional total_frames, img_shape (H, W), and, as we write them, video,
    subject, start. float16 is read too. Of several persons M, the one with the highest mean score is kept.

    - topology, class_names, fps: default what our own files say; else the topology by number of joints and dimensions
      (17 coco17, 25 openpose25 or in 3D ntu25, ...), else inferred; classes by number; 30 frames a second.
    - split: which family, when the file has several ("xsub" for xsub_train and xsub_val). val_is_test: PYSKL calls its
      test split val; True makes it test, and holds out val_fraction of train as val. A file without splits is divided
      by `holdout.complete_splits`.

    Raises ValueError naming the file, the annotation and the fix.
    """
    path = Path(path)
    data = load_plain_pickle(path)
    named = isinstance(data, Mapping)
    annotations = data.get("annotations") if named else data
    if not isinstance(annotations, list) or not annotations or not all(isinstance(a, Mapping) for a in annotations):
        raise ValueError(f"{path} is no skeleton annotation file: neither a list of dicts nor a dict of 'annotations'")
    ours = data.get(_OURS, {}) if named else {}
    clips = list(_clips(path, annotations))
    splits = _splits_by_id(path, data.get("split") or {} if named else {}, split)
    labels = np.array([clip.label for clip in clips])
    given = np.array([splits.get(clip.clip_id, "" if not splits else "unused") for clip in clips], object)
    keep = np.flatnonzero(given != "unused")  # PYSKL trains and tests on listed clips alone
    if not len(keep):
        raise ValueError(f"{path}: its splits name none of its {len(clips)} annotations; compare them with frame_dir")
    if val_is_test:
        given[given == "val"] = "test"
    if _OURS in (data if named else {}):
        told = ["splits as written"]
    else:
        subjects = [clips[i].subject for i in keep]
        given[keep], told = complete_splits(given[keep], labels[keep], subjects, val_fraction, test_fraction, seed)
    names = tuple(class_names or ours.get("class_names") or (f"class {i}" for i in range(int(labels.max()) + 1)))
    chosen = [replace(clips[i], split=given[i].removesuffix("all")) for i in keep]
    d = clips[0].keypoints.shape[-1]
    return ClipSet.from_clips(
        chosen, _topology(path, chosen, topology, ours), names, float(fps or ours.get("fps") or 30.0),
        ours.get("source") or f"{path.name} ({'; '.join(told)})", ours.get("units") or ("px" if d == 2 else "m"),
    )  # fmt: skip


def save_pickle(clipset: ClipSet, path: str | Path, dtype: str = "float32") -> Path:
    """Write a ClipSet as {split, annotations}, one person a clip, whole or not at all; numpy 1 and 2 can read it.

    dtype: float32, or float16 as PYSKL's own files (coordinates above 1024 px then lose their fractions). What the
    format has no place for (skeleton, class names, source) stands under the key "migstudy", which other readers skip.
    """
    annotations, splits = [], {}
    for clip in clipset:
        splits.setdefault(clip.split or "all", []).append(clip.clip_id)
        width, height = clip.image_size
        annotations.append({
            "frame_dir": clip.clip_id, "total_frames": len(clip), "img_shape": (height, width),
            "original_shape": (height, width), "label": clip.label,
            "keypoint": clip.keypoints[None].astype(dtype), "keypoint_score": clip.scores[None].astype(dtype),
            "video": clip.video, "subject": clip.subject, "start": clip.start,
        })  # fmt: skip
    ours = {
        "topology": clipset.topology.to_dict(), "class_names": list(clipset.class_names), "fps": clipset.fps,
        "units": clipset.units, "source": clipset.source,
    }  # fmt: skip
    return save_plain_pickle({"split": splits, "annotations": annotations, _OURS: ours}, path)


def _clips(path: Path, annotations: list[Mapping]) -> Iterator[Clip]:
    for i, annotation in enumerate(annotations):
        try:
            yield _clip(annotation)
        except (TypeError, ValueError) as error:
            name = annotation.get("frame_dir", "without frame_dir")
            raise ValueError(f"{path}, annotation {i} ({name}): {error}") from error


def _clip(annotation: Mapping) -> Clip:
    if "frame_dir" not in annotation or "keypoint" not in annotation:
        raise ValueError(f"needs 'frame_dir' and 'keypoint'; it has {', '.join(map(str, annotation))}")
    points = np.asarray(annotation["keypoint"])
    if points.ndim != 4 or points.dtype.kind not in "fiu" or points.shape[-1] not in (2, 3) or not points.size:
        raise ValueError(f"keypoint is {points.shape} {points.dtype}, not numbers (M, T, V, 2 or 3)")
    points = points.astype(np.float32)
    scores = annotation.get("keypoint_score")
    scores = (points != 0).any(-1).astype(np.float32) if scores is None else np.array(scores, np.float32)
    if scores.shape != points.shape[:3]:
        raise ValueError(f"keypoint_score is {scores.shape}, not {points.shape[:3]} as keypoint")
    frames = annotation.get("total_frames", points.shape[1])
    if frames != points.shape[1]:
        raise ValueError(f"total_frames is {frames}, keypoint has {points.shape[1]} frames; correct one")
    missing = ~np.isfinite(points).all(-1) | ~np.isfinite(scores) | (scores <= 0)
    points[missing], scores[missing] = 0, 0
    person = int(scores.mean((1, 2)).argmax())
    height, width = (annotation.get("img_shape") or annotation.get("original_shape") or (0, 0))[:2]
    name, start = str(annotation["frame_dir"]), int(annotation.get("start", 0))
    return Clip(
        name, points[person], scores[person], int(annotation.get("label", -1)), str(annotation.get("video", name)),
        str(annotation.get("subject", "")), "", start, start + points.shape[1] - 1, (int(width), int(height)),
    )  # fmt: skip


def _splits_by_id(path: Path, splits: Any, family: str | None) -> dict[str, str]:
    """Clip id -> train, val or test; empty when the file has no splits."""
    if not splits:
        return {}
    chosen = {k: v for k, v in splits.items() if k in ("train", "val", "test", "all")}
    if family is not None:
        chosen = {k.removeprefix(f"{family}_"): v for k, v in splits.items() if k.startswith(f"{family}_")}
    if not chosen:
        raise ValueError(f"{path}: cannot tell its splits ({', '.join(splits)}) apart; pass split=, such as 'xsub'")
    home: dict[str, str] = {}
    for name, ids in chosen.items():
        for clip_id in map(str, ids):
            if home.setdefault(clip_id, name) != name:
                raise ValueError(f"{path}: {clip_id!r} stands in split {home[clip_id]} and in {name}; keep it in one")
    return home


def _topology(path: Path, clips: list[Clip], wanted: str | Topology | None, ours: Mapping) -> Topology:
    v, d = clips[0].keypoints.shape[1:]
    if wanted is not None:
        return get_topology(wanted)
    if "topology" in ours:
        return Topology.from_dict(ours["topology"])
    if (v, d) in _BY_JOINTS:
        return get_topology(_BY_JOINTS[v, d])
    few = clips[:: max(1, len(clips) // 200)]
    points, scores = np.concatenate([c.keypoints for c in few]), np.concatenate([c.scores for c in few])
    return infer_topology(path.stem, [f"joint_{i}" for i in range(v)], points, scores > 0)
