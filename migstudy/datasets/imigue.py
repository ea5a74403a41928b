"""The iMiGUE release: folders of skeleton and label files -> a ClipSet, read once and then opened from the cache.

Layout and formats: the organisers' starter kits (MiGA 2023 and 2025); splits: `protocols.py`.
"""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
from tqdm import tqdm

from migstudy.classes import IMIGUE_CLASSES
from migstudy.clips import COLUMNS, ClipSet
from migstudy.datasets import content_cache as cached
from migstudy.datasets.fingertips import put_fingertips_on_their_wrists
from migstudy.datasets.read_report import ReadReport
from migstudy.datasets.release_errors import Problem, ReleaseError
from migstudy.datasets.release_labels import read_labels, read_video_table
from migstudy.datasets.release_layout import Layout, VideoFiles, find_release
from migstudy.datasets.release_plan import SPLIT_RULES, TEST_LABELS, Plan, SkeletonInfo, Video, plan_release
from migstudy.datasets.release_skeletons import Skeleton, read_skeleton
from migstudy.paths import write_text
from migstudy.runs.claims import Claim
from migstudy.skeletons import get_topology

DEFAULT_FPS = 25.0
READER_VERSION = 2  # raise it whenever the same files would read differently: it is part of every cache key
EMOTION_NAMES = ("lose", "win")
_IMAGE_SIZES = ((1280, 720), (1920, 1080), (2560, 1440), (3840, 2160))
_SURE, _OUTSIDE = 0.2, 0.005  # share of sure joints that may lie beyond the image before a larger one is assumed


class Release(NamedTuple):
    """A release as read: the clips, and the account of what was read, skipped, moved and counted."""

    clips: ClipSet
    report: ReadReport


def read_imigue(root: str | Path, **options) -> ClipSet:
    """The clips of a release folder; see `read_release` for the options and errors."""
    return read_release(root, **options).clips


def read_release(
    root: str | Path,
    *,
    unit: str = "clip",
    split_by: str = "auto",
    shape: str = "auto",
    test_labels: str = "auto",
    strict: bool = True,
    fps: float | None = None,
    workers: int = -1,
    cache: str | Path | None = None,
    progress: bool = True,
) -> Release:
    """Read an iMiGUE release, or a folder in its layout, into a memory-mapped ClipSet and a ReadReport.

    - unit: "clip" = the labelled segments, labels 0..31 (csv class - 1, 99 -> 31), id `<video>_<row>`; "video" = whole
      videos, labels 0 lose / 1 win, id `<video>` (needs the release's labels_20200831.csv, else -1).
    - split_by: "folders"; "challenge" (MiGA), "cvpr" (by subject) or "cvpr_emotion" (by video) = the published lists,
      which leave out what they do not name; "auto" = challenge when the label-row counts are the challenge's, so that
      the ten validation videos which the 2023 training folder still held go to val, else folders.
    - shape: "openpose" (137 points), "light_hand" (35) or "auto". fps: a simulated release says it; the real one does
      not, and 25 is our assumption.
    - test_labels: "auto" drops the test folder's classes when they are placeholders (no class of the table, or 20 rows
      and more of one class), "ignore" always, "use" never.
    - strict: any fault raises one ReleaseError that lists up to 20 with file, row and fix; else faulty videos are left
      out, clips that end beyond their video are cut there, and both are reported. Subjects shared between folders'
      splits are a fault; published lists are only noted.
    - workers: threads (parsing is native code that runs in parallel); -1 = one a core. cache: folder of the cache, else
      MIGSTUDY_CACHE, else ~/.cache/migstudy; a full release takes about 5 GB there.

    Pixels, origin top left; missing joints are (0, 0) with score 0. Frames are 0-based, `end` inclusive. Empty
    skeletons that the protocol drops, or that no label refers to, are skipped. The first sentence of a SOURCE.txt in
    the root says what the folder really is and becomes the set's source. Unchanged files are not opened again.
    """
    for name, value, known in (("unit", unit, ("clip", "video")), ("split_by", split_by, SPLIT_RULES),
                               ("test_labels", test_labels, TEST_LABELS)):  # fmt: skip
        if value not in known:
            raise ValueError(f"unknown {name} {value!r}; choose one of {', '.join(known)}")
    root = Path(root).expanduser().resolve()
    if not root.is_dir():
        raise ReleaseError([Problem(root, "is no folder", "give the folder that holds imigue_skeleton_train")])
    layout = find_release(root, shape, labels_needed=unit == "clip")
    if strict and layout.problems and not layout.videos:
        raise ReleaseError(layout.problems, root)
    store = cached.cache_root(cache) / "imigue"
    files = [f for v in layout.videos for f in (v.skeleton, v.labels) if f] + [layout.table] * bool(layout.table)
    hashes = cached.content_hashes(files, root, store, workers)

    fps = float(fps or layout.fps or DEFAULT_FPS)
    options = [unit, split_by, layout.shape.name, test_labels, strict, fps]
    content = [[str(f.relative_to(root)), hashes[f]] for f in files]
    missing = [[str(p.file.relative_to(root)), p.message] for p in layout.problems]
    folder = store / "sets" / cached.key_of(READER_VERSION, root.name, layout.source, options, content, missing)
    if (release := _open(folder)) is not None:
        return release
    with Claim.wait(store / "claims" / folder.name):  # of runs that start together, one reads and the others wait
        if (release := _open(folder)) is not None:
            return release
        plan = _plan(layout, hashes, store, unit, split_by, test_labels, workers, progress)
        if strict and plan.problems:
            raise ReleaseError(plan.problems, root)
        if not any(segments for _, segments in plan.videos):
            left = plan.problems or [Problem(root, "no clip is left to read", f"its account:\n{plan.report.text()}")]
            raise ReleaseError(left, root)
        report = _assemble(plan, layout, hashes, store, folder, fps)
        return Release(ClipSet.load(folder), report)


def _open(folder: Path) -> Release | None:
    """The finished set of an earlier reading; None when there is none, or its files have changed since."""
    if not cached.is_sealed(folder):
        return None
    try:
        report = ReadReport.from_dict(json.loads((folder / "report.json").read_text()))
        return Release(ClipSet.load(folder), report)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _plan(
    layout: Layout, hashes: dict[Path, str], store: Path, unit: str, split_by: str, test_labels: str,
    workers: int, progress: bool,
) -> Plan:  # fmt: skip
    problems, facts = list(layout.problems), {}
    if layout.table:
        try:
            facts = read_video_table(layout.table)
        except ReleaseError as error:
            problems += error.problems

    def read(files: VideoFiles) -> tuple[Video, list[Problem]]:
        faults, rows, info = [], None, None
        try:
            rows = tuple(read_labels(files.labels)) if files.labels else None
        except ReleaseError as error:
            faults += error.problems
        try:
            info = _skeleton_info(files, layout, hashes, store)
        except ReleaseError as error:
            faults += error.problems
        return Video(files, rows, info, (hashes[files.skeleton], hashes.get(files.labels, ""))), faults

    results = joblib.Parallel(workers, prefer="threads", return_as="generator")(
        joblib.delayed(read)(files) for files in layout.videos
    )
    videos, what = [], f"read {layout.root.name}"
    for video, faults in tqdm(results, what, len(layout.videos), unit="video", disable=not progress):
        videos.append(video)
        problems += faults
    return plan_release(layout, videos, facts, problems, unit, split_by, test_labels)


def _entry(files: VideoFiles, layout: Layout, hashes: dict[Path, str], store: Path) -> Path:
    return store / "videos" / f"{cached.key_of(READER_VERSION, layout.shape.name, hashes[files.skeleton])}.npz"


def _skeleton_info(files: VideoFiles, layout: Layout, hashes: dict[Path, str], store: Path) -> SkeletonInfo:
    entry = _entry(files, layout, hashes, store)
    info = cached.load_array(entry, "info")
    if info is None or info.shape != (len(SkeletonInfo._fields),):
        skeleton = read_skeleton(files.skeleton, layout.shape)
        info = np.array(_describe(skeleton), np.int64)
        cached.save_arrays(entry, {"points": skeleton.points, "info": info})
    return SkeletonInfo(*info.tolist())


def _describe(skeleton: Skeleton) -> SkeletonInfo:
    """The image is the smallest usual size that holds nearly all sure joints, else the smallest that holds them all."""
    scores = skeleton.points[..., 2]
    sure = skeleton.points[scores > _SURE][:, :2]
    allowed = _OUTSIDE * len(sure)
    sizes = [size for size in _IMAGE_SIZES if (sure > size).any(1).sum() <= allowed]
    width, height = sizes[0] if sizes else np.ceil(sure.max(0)).astype(int)
    return SkeletonInfo(len(skeleton.points), int((scores > 0).sum()), skeleton.blank, int(width), int(height))


def _points(files: VideoFiles, layout: Layout, hashes: dict[Path, str], store: Path) -> np.ndarray:
    """A video's points from the cache; read again when the cache's copy is damaged."""
    entry = _entry(files, layout, hashes, store)
    points = cached.load_array(entry, "points")
    if points is None:
        entry.unlink(missing_ok=True)
        _skeleton_info(files, layout, hashes, store)
        points = cached.load_array(entry, "points")
    return points


def _assemble(plan: Plan, layout: Layout, hashes: dict[Path, str], store: Path, folder: Path, fps: float) -> ReadReport:
    """Write the set a video at a time: memory holds one video, whatever the release's size. Returns the final account."""
    cached.remove_leftovers(store / "sets")
    cached.remove_leftovers(store / "videos")
    topology, rows, offset = get_topology(layout.shape.topology), [], 0
    total = sum(s.end - s.start + 1 for _, segments in plan.videos for s in segments)
    scratch = folder.with_name(f"{folder.name}.partial-scratch-{uuid.uuid4().hex[:8]}")
    scratch.mkdir(parents=True)
    try:
        shape = (total, topology.num_joints)
        keypoints = np.lib.format.open_memmap(scratch / "keypoints.npy", "w+", np.float32, (*shape, 2))
        scores = np.lib.format.open_memmap(scratch / "scores.npy", "w+", np.float32, shape)
        for video, segments in plan.videos:
            points = _points(video.files, layout, hashes, store) if segments else None
            for s in segments:
                length = s.end - s.start + 1
                keypoints[offset : offset + length] = points[s.start : s.end + 1, :, :2]
                scores[offset : offset + length] = points[s.start : s.end + 1, :, 2]
                rows.append((s.clip_id, video.name, video.subject, s.label, s.start, s.end, video.split, offset, length,
                             video.info.width, video.info.height))  # fmt: skip
                offset += length
        report = plan.report
        if layout.shape.name == "light_hand":
            note = put_fingertips_on_their_wrists(keypoints, scores, topology)
            report = replace(report, notes=(*report.notes, note))
        names = tuple(c.name for c in IMIGUE_CLASSES) if plan.report.unit == "clip" else EMOTION_NAMES
        index = pd.DataFrame(rows, columns=COLUMNS)
        clips = ClipSet(keypoints, scores, index, topology, names, fps, _source(plan, layout))
        clips.save(folder)
        write_text(folder / "report.json", json.dumps(report.to_dict()))
        cached.seal(folder)
        del clips, keypoints, scores
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return report


def _source(plan: Plan, layout: Layout) -> str:
    what = f"(folder {layout.root.name}, {layout.shape.points} OpenPose points, splits by {plan.report.split_by})"
    if layout.source:
        return f"{layout.source} {what}"
    return f"iMiGUE {what}" if plan.report.official else f"data in the iMiGUE layout, not the official protocol {what}"
