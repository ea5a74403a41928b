"""ClipSet: many labelled skeleton clips, packed end to end, memory-mapped, sliceable, saved atomically."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from migstudy.skeletons import get_topology
from migstudy.topology import Topology

COLUMNS = "clip_id video subject label start end split offset length width height".split()
SPLITS = ("train", "val", "test")
_FORMAT = 1


@dataclass(frozen=True)
class Clip:
    """One clip: keypoints (T, V, D) and scores (T, V) float32; label -1 when unknown; `end` is the last frame, inclusive.

    Pixels are (x, y) with the origin top left; a missing joint has score 0 and coordinates 0. image_size is (W, H).
    """

    clip_id: str
    keypoints: np.ndarray
    scores: np.ndarray
    label: int = -1
    video: str = ""
    subject: str = ""
    split: str = ""
    start: int = 0
    end: int = -1
    image_size: tuple[int, int] = (0, 0)

    def __len__(self) -> int:
        return len(self.keypoints)


@dataclass(frozen=True, eq=False)
class ClipSet:
    """Packed clips of one skeleton.

    keypoints (sum T, V, D) and scores (sum T, V): float32 arrays, memory-mapped when loaded, in the stored topology.
    index: one row a clip (columns `COLUMNS`). topology: the skeleton seen from outside; `joints` picks it out of the
    stored one. units: 'px', or 'm' for 3D. source: one line that says what the data is; it stands under every figure.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    index: pd.DataFrame
    topology: Topology
    class_names: tuple[str, ...]
    fps: float
    source: str
    units: str = "px"
    joints: tuple[int, ...] | None = None

    # -- making ------------------------------------------------------------------------------------------------------

    @classmethod
    def from_clips(
        cls,
        clips: Iterable[Clip],
        topology: Topology | str,
        class_names: Sequence[str],
        fps: float,
        source: str,
        units: str = "px",
    ) -> ClipSet:
        """Pack clips; raises ValueError naming the clip for wrong shapes, repeated ids, labels out of range or NaN."""
        topology = get_topology(topology)
        rows, keypoints, scores, offset, seen = [], [], [], 0, set()
        for clip in clips:
            _check(clip, topology, len(class_names), seen)
            seen.add(clip.clip_id)
            last = clip.end if clip.end >= 0 else clip.start + len(clip) - 1
            rows.append((clip.clip_id, clip.video, clip.subject, clip.label, clip.start, last, clip.split, offset,
                         len(clip), *clip.image_size))  # fmt: skip
            keypoints.append(np.asarray(clip.keypoints, np.float32))
            scores.append(np.asarray(clip.scores, np.float32))
            offset += len(clip)
        if not rows:
            raise ValueError(f"no clips to pack ({source}); check the split or the filter that chose them")
        return cls(np.concatenate(keypoints), np.concatenate(scores), pd.DataFrame(rows, columns=COLUMNS), topology,
                   tuple(class_names), float(fps), source, units)  # fmt: skip

    @classmethod
    def concatenate(cls, sets: Sequence[ClipSet], source: str | None = None) -> ClipSet:
        """All clips of several sets of one skeleton and one list of classes; raises ValueError when they differ."""
        first = sets[0]
        for other in sets[1:]:
            for what in ("topology", "class_names", "units", "fps"):
                if getattr(other, what) != getattr(first, what):
                    raise ValueError(f"cannot concatenate {first.source!r} and {other.source!r}: their {what} differ")
        sources = list(dict.fromkeys(s.source for s in sets))
        clips = (clip for s in sets for clip in s)
        return cls.from_clips(clips, first.topology, first.class_names, first.fps, source or " + ".join(sources),
                              first.units)  # fmt: skip

    # -- reading -----------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[Clip]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: int | str) -> Clip:
        """The clip at a position or with an id; raises IndexError or KeyError."""
        if isinstance(key, str):
            if key not in self._position:
                raise KeyError(f"no clip {key!r} among the {len(self)} of {self.source!r}")
            key = self._position[key]
        if not -len(self) <= key < len(self):
            raise IndexError(f"clip {key} of {len(self)}")
        row = self._rows[key]
        frames = slice(row["offset"], row["offset"] + row["length"])
        # plain arrays first: indexing a memmap makes a memmap, which costs more than what it reads
        keypoints, scores = np.asarray(self.keypoints)[frames], np.asarray(self.scores)[frames]
        if self.joints is not None:
            keypoints, scores = keypoints.take(self.joints, axis=1), scores.take(self.joints, axis=1)
        return Clip(
            row["clip_id"], keypoints, scores, row["label"], row["video"], row["subject"], row["split"], row["start"],
            row["end"], (row["width"], row["height"]),
        )  # fmt: skip

    @cached_property
    def _rows(self) -> list[dict]:
        return self.index.to_dict("records")

    @cached_property
    def _position(self) -> dict[str, int]:
        return {clip_id: i for i, clip_id in enumerate(self.index["clip_id"])}

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64, -1 for unknown."""
        return self.index["label"].to_numpy(np.int64)

    @property
    def dimensions(self) -> int:
        """Coordinates a joint: 2 or 3."""
        return self.keypoints.shape[-1]

    def class_counts(self) -> np.ndarray:
        """(C,) clips of each class, unknown labels left out."""
        labels = self.labels
        return np.bincount(labels[labels >= 0], minlength=len(self.class_names))

    def summary(self) -> pd.DataFrame:
        """Clips, videos, subjects, classes and frames of each split."""
        by_split = self.index.groupby("split", sort=False)
        return by_split.agg(
            clips=("clip_id", "size"), videos=("video", "nunique"), subjects=("subject", "nunique"),
            classes=("label", "nunique"), frames=("length", "sum"), median_length=("length", "median"),
        )  # fmt: skip

    # -- slicing -----------------------------------------------------------------------------------------------------

    def select(self, mask: np.ndarray | Callable[[pd.DataFrame], np.ndarray] | None = None, **wanted) -> ClipSet:
        """The clips whose columns hold the wanted values: `split='train'`, `subject=[...]`, `label=3`, `video=`, `clip_id=`.

        Shares the arrays; the order stays. `mask`: (N,) bool besides, or a function of the index that returns one.
        """
        keep = np.ones(len(self), bool)
        if mask is not None:
            keep &= np.asarray(mask(self.index) if callable(mask) else mask, bool)
        for column, value in wanted.items():
            if column not in COLUMNS:
                raise TypeError(f"select() knows no column {column!r}; it knows {', '.join(COLUMNS)}")
            values = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
            keep &= self.index[column].isin(values).to_numpy()
        return replace(self, index=self.index[keep].reset_index(drop=True))

    def to_topology(self, name: str | Topology) -> ClipSet:
        """The same clips seen as another skeleton taken from OpenPose's 137 points; nothing is copied.

        Raises ValueError naming the joints that the data does not hold.
        """
        target = get_topology(name)
        if target.name == self.topology.name:
            return self
        if self.topology.openpose137 is None or target.openpose137 is None:
            raise ValueError(f"{self.source!r} holds {self.topology.name!r}, from which {target.name!r} cannot be taken")
        place = {point: i for i, point in enumerate(self.topology.openpose137)}
        missing = [j for j, point in zip(target.joints, target.openpose137, strict=True) if point not in place]
        if missing:
            raise ValueError(
                f"{self.source!r} holds {self.topology.name!r}, which lacks {len(missing)} joints of {target.name!r}"
                f" ({', '.join(missing[:4])}{', ...' if len(missing) > 4 else ''}); read the 137-point files, or choose a"
                " smaller topology such as imigue22"
            )
        stored = self.joints or tuple(range(self.topology.num_joints))
        return replace(self, topology=target, joints=tuple(stored[place[point]] for point in target.openpose137))

    # -- keeping -----------------------------------------------------------------------------------------------------

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of everything a model can see: coordinates, scores, index, skeleton, classes."""
        digest = hashlib.sha256(json.dumps([self.topology.to_dict(), self.class_names, self.fps, self.units]).encode())
        columns = [c for c in COLUMNS if c != "offset"]
        digest.update(self.index[columns].to_csv(index=False).encode())
        for clip in self:
            digest.update(np.ascontiguousarray(clip.keypoints))
            digest.update(np.ascontiguousarray(clip.scores))
        return digest.hexdigest()

    def save(self, folder: str | Path) -> Path:
        """Write to a folder (keypoints.npy, scores.npy, index.parquet, clipset.json), whole or not at all."""
        folder = Path(folder)
        aside = folder.with_name(f"{folder.name}.partial-{uuid.uuid4().hex[:8]}")
        aside.mkdir(parents=True)
        try:
            frames, v = int(self.index["length"].sum()), self.topology.num_joints
            keypoints = _create(aside / "keypoints.npy", (frames, v, self.dimensions))
            scores = _create(aside / "scores.npy", (frames, v))
            index, at = self.index.copy(), 0
            index["offset"] = np.concatenate([[0], np.cumsum(index["length"])[:-1]]).astype(np.int64)
            for clip in self:
                keypoints[at : at + len(clip)], scores[at : at + len(clip)] = clip.keypoints, clip.scores
                at += len(clip)
            keypoints.flush(), scores.flush()
            del keypoints, scores
            index.to_parquet(aside / "index.parquet", index=False)
            meta = {
                "format": _FORMAT, "topology": self.topology.to_dict(), "class_names": self.class_names,
                "fps": self.fps, "units": self.units, "source": self.source, "fingerprint": self.fingerprint,
            }  # fmt: skip
            (aside / "clipset.json").write_text(json.dumps(meta, indent=1))
            swap_folder(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> ClipSet:
        """Open a saved set, memory-mapped; raises ValueError naming the file that is missing or does not fit."""
        folder = Path(folder)
        try:
            meta = json.loads((folder / "clipset.json").read_text())
            index = pd.read_parquet(folder / "index.parquet")
            keypoints = np.load(folder / "keypoints.npy", mmap_mode="r", allow_pickle=False)
            scores = np.load(folder / "scores.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder} is no readable ClipSet ({error}); write it again with ClipSet.save") from error
        frames = int(index["length"].sum())
        if meta.get("format") != _FORMAT or len(keypoints) != frames or keypoints.shape[:2] != scores.shape:
            raise ValueError(
                f"{folder}: its files do not fit together ({frames} frames in the index, {len(keypoints)} in"
                f" keypoints.npy, {len(scores)} in scores.npy); write it again with ClipSet.save"
            )
        clipset = cls(keypoints, scores, index, Topology.from_dict(meta["topology"]), tuple(meta["class_names"]),
                      meta["fps"], meta["source"], meta["units"])  # fmt: skip
        clipset.__dict__["fingerprint"] = meta["fingerprint"]  # hashing everything again would read the whole file
        return clipset


def _check(clip: Clip, topology: Topology, classes: int, seen: set[str]) -> None:
    keypoints, scores = np.asarray(clip.keypoints), np.asarray(clip.scores)
    if keypoints.ndim != 3 or keypoints.shape[1] != topology.num_joints or keypoints.shape[2] not in (2, 3):
        fault = f"keypoints are {keypoints.shape}, not (T, {topology.num_joints}, 2 or 3)"
    elif len(keypoints) == 0:
        fault = "it has no frames"
    elif scores.shape != keypoints.shape[:2]:
        fault = f"scores are {scores.shape}, not {keypoints.shape[:2]}"
    elif not (np.isfinite(keypoints).all() and np.isfinite(scores).all()):
        fault = "it holds NaN or infinity; mark missing joints by score 0 and coordinates 0"
    elif clip.clip_id in seen:
        fault = "its id stands twice; ids must be unique"
    elif not -1 <= clip.label < classes:
        fault = f"label {clip.label} is outside -1..{classes - 1}"
    else:
        return
    raise ValueError(f"clip {clip.clip_id!r} of {clip.video or 'an unnamed video'}: {fault}")


def _create(path: Path, shape: tuple[int, ...]) -> np.memmap:
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)


def swap_folder(new: Path, folder: Path) -> None:
    """Put a finished folder in the place of another, so that a reader sees the old one or the new one."""
    old = folder.with_name(f"{folder.name}.partial-old-{uuid.uuid4().hex[:8]}")
    if folder.exists():
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)
