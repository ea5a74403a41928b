"""Where the files of an iMiGUE release lie, and which split each folder stands for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from migstudy.datasets.release_errors import Problem, ReleaseError
from migstudy.datasets.release_labels import video_name
from migstudy.datasets.release_skeletons import SHAPES, Shape

VIDEO_TABLE = "labels_20200831.csv"
SOURCE_FILE = "SOURCE.txt"  # says what a folder in this layout really is, if it is not iMiGUE
SIMULATION_FILE = "simulation.json"  # beside it, when migstudy.simulate made the folder
_LABELS = "_label.csv"
_ROLES = {
    "train": re.compile(r"(^|[^a-z])train"),
    "val": re.compile(r"(^|[^a-z])val"),
    "test": re.compile(r"(^|[^a-z])(test|phase_?2)"),
}


@dataclass(frozen=True)
class VideoFiles:
    """The files of one video. split: what its folder stands for; labels: None when the file is missing."""

    video: str
    split: str
    skeleton: Path
    labels: Path | None


@dataclass(frozen=True)
class Layout:
    """A release as found. table: the full release's label table, or None; problems: files that are missing.

    source: what the folder says of itself, "" for the real release; fps: what a simulated release says, else None.
    """

    root: Path
    shape: Shape
    videos: tuple[VideoFiles, ...]
    table: Path | None
    source: str
    fps: float | None
    problems: tuple[Problem, ...]


def is_release(root: Path) -> bool:
    """Whether a folder looks like a release: somewhere it holds a video's folder in a split's folder."""
    return any(_split_of(folder, root) for folder, _ in _video_folders(root))


def find_release(root: Path, shape: str = "auto", labels_needed: bool = True) -> Layout:
    """Find every video of a release.

    Expected: `imigue_skeleton_train/<id>/<id>_openpose.xlsx` (or `_light_hand.csv`) beside `<id>_label.csv`; the same
    under `imigue_skeleton_validate` and `imigue_skeleton_test` (or any folder named for train, val, test or phase2), at
    the top, one folder deeper, or `root` itself. shape: "openpose", "light_hand", or "auto" = the one that more videos
    have, the 137 points first. Raises ReleaseError when nothing is found; what is missing stands in `problems`.
    """
    if shape != "auto" and shape not in SHAPES:
        raise ValueError(f"unknown shape {shape!r}; choose auto, {' or '.join(SHAPES)}")
    found = list(_video_folders(root))
    if not found:
        raise ReleaseError([Problem(
            root, "holds no iMiGUE videos",
            "expected imigue_skeleton_train/<id>/<id>_openpose.xlsx (or <id>_light_hand.csv) and <id>_label.csv, and"
            " the same under imigue_skeleton_validate and imigue_skeleton_test",
        )])  # fmt: skip
    chosen = _choose_shape([folder for _, folder in found], shape)
    videos, problems = [], []
    for parent, folder in found:
        split = _split_of(parent, root)
        skeleton, labels = folder / (folder.name + chosen.suffix), folder / (folder.name + _LABELS)
        if split is None:
            fix = "name the folder around it imigue_skeleton_train, imigue_skeleton_validate or imigue_skeleton_test"
            problems.append(Problem(folder, "cannot tell the split", fix))
        elif not skeleton.is_file():
            other = any((folder / (folder.name + s.suffix)).is_file() for s in SHAPES.values())
            fix = "bring every video in one shape" if other else "copy the file, or delete the folder"
            problems.append(Problem(skeleton, "skeleton file is missing", fix))
        elif labels_needed and not labels.is_file():
            problems.append(Problem(labels, "label file is missing", "copy the file, or delete the folder"))
        else:
            videos.append(VideoFiles(video_name(folder.name), split, skeleton, labels if labels.is_file() else None))
    tables = [path for path in (root / VIDEO_TABLE, *sorted(root.glob(f"*/{VIDEO_TABLE}"))) if path.is_file()]
    source, fps = _about(root, problems)
    return Layout(root, chosen, tuple(videos), tables[0] if tables else None, source, fps, tuple(problems))


def _about(root: Path, problems: list[Problem]) -> tuple[str, float | None]:
    """The first sentence of SOURCE.txt and the frame rate of simulation.json; ("", None) where there are none."""
    note, simulation = root / SOURCE_FILE, root / SIMULATION_FILE
    unfinished = simulation.with_name(simulation.name + ".partial")
    if unfinished.is_file():
        problems.append(Problem(unfinished, "the simulation of this folder is unfinished", "run it again"))
    source = note.read_text(encoding="utf-8") if note.is_file() else ""
    source = re.split(r"\.\s|\n", source.strip())[0].removesuffix(".")
    try:
        return source, float(json.loads(simulation.read_text(encoding="utf-8"))["config"]["fps"])
    except (OSError, ValueError, KeyError, TypeError):
        return source, None


def _choose_shape(folders: list[Path], shape: str) -> Shape:
    if shape != "auto":
        return SHAPES[shape]
    held = {s.name: sum((f / (f.name + s.suffix)).is_file() for f in folders) for s in SHAPES.values()}
    return SHAPES[max(held, key=held.get)]  # the first of equals: the 137 points


def _video_folders(root: Path) -> Iterator[tuple[Path, Path]]:
    """(parent, video folder) at most three folders below the root, in name order."""
    suffixes = (*(shape.suffix for shape in SHAPES.values()), _LABELS)
    level = [root]
    for _ in range(3):
        below = []
        for parent in level:
            folders = [f for f in sorted(parent.iterdir()) if f.is_dir() and not f.name.startswith((".", "__"))]
            full = [any((f / (f.name + suffix)).is_file() for suffix in suffixes) for f in folders]
            skeletons = any(full) or "skeleton" in parent.name.lower()
            for folder, holds_files in zip(folders, full, strict=True):
                # a numbered folder without files among videos is a video whose files are missing
                if holds_files or (skeletons and folder.name.isdigit()):
                    yield parent, folder
                else:
                    below.append(folder)
        level = below


def _split_of(folder: Path, root: Path) -> str | None:
    """The split that a folder's name, or the name of a folder around it, stands for; the nearest name decides."""
    inside = [place for place in (folder, *folder.parents) if place.is_relative_to(root) and place != root]
    for place in inside or [root]:
        roles = [split for split, pattern in _ROLES.items() if pattern.search(place.name.lower())]
        if len(roles) == 1:
            return roles[0]
    return None
