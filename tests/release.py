"""Builds small folders in the layout of the iMiGUE release, sound ones; tests then break them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import xlsxwriter

FRAMES = 24
ROWS = ((1, 0, 9), (99, 8, 20), (31, 12, 23))  # class, first frame, last frame
VIDEOS = {"train": ("0501", "0502", "0503"), "validate": ("0504",), "test": ("0505", "0506")}
POINTS = {"openpose": 137, "light_hand": 35}


def points_of(video: str, shape: str = "openpose", frames: int = FRAMES) -> np.ndarray:
    """(frames, V, 3) of a video, always the same: x, y in px with two decimals, confidence in (0, 1]."""
    rng = np.random.default_rng(int(video))
    xy = rng.uniform((400, 100), (900, 700), (frames, POINTS[shape], 2))
    scores = rng.uniform(0.3, 1, (frames, POINTS[shape], 1))
    return np.concatenate([xy, scores], -1).round(2)


def write_skeleton(path: Path, points: np.ndarray, skip_columns: int = 0) -> None:
    """An `_openpose.xlsx` or `_light_hand.csv`; NaN becomes an empty cell. skip_columns: how many to leave out last."""
    columns = points.shape[1] * points.shape[2]
    table = points.reshape(len(points), columns)[:, : columns - skip_columns]
    if path.suffix == ".csv":
        lines = (f"{i}," + ",".join("" if np.isnan(x) else f"{x:g}" for x in row) for i, row in enumerate(table))
        path.write_text("\n".join(lines) + "\n")
        return
    with xlsxwriter.Workbook(str(path), {"constant_memory": True}) as workbook:
        sheet = workbook.add_worksheet()
        for r, row in enumerate(table.tolist()):
            for c, value in enumerate(row):
                if value == value:
                    sheet.write_number(r, c, value)


def write_labels(path: Path, rows: Iterable[tuple[int, int, int]]) -> None:
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))


def write_video(
    root: Path, split: str, video: str, shape: str = "openpose", rows=ROWS, frames: int = FRAMES, points=None
) -> Path:
    """One video's folder under imigue_skeleton_<split>; returns it."""
    folder = root / f"imigue_skeleton_{split}" / video
    folder.mkdir(parents=True)
    suffix = "_openpose.xlsx" if shape == "openpose" else "_light_hand.csv"
    write_skeleton(folder / f"{video}{suffix}", points_of(video, shape, frames) if points is None else points)
    write_labels(folder / f"{video}_label.csv", rows)
    return folder


def write_table(root: Path, videos: dict[str, tuple[str, str]], rows=ROWS) -> Path:
    """labels_20200831.csv: video -> (subject, win or lose)."""
    lines = ["video_id,class,start_frame,end_frame,subject_id,win_or_lose"]
    for video, (subject, outcome) in videos.items():
        lines += [f"{video},{c},{start},{end},{subject},{outcome}" for c, start, end in rows]
    path = root / "labels_20200831.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def write_release(root: Path, shape: str = "openpose", table: bool = True) -> Path:
    """Six videos of six subjects in three splits."""
    for split, videos in VIDEOS.items():
        for video in videos:
            write_video(root, split, video, shape)
    if table:
        everyone = [video for videos in VIDEOS.values() for video in videos]
        write_table(root, {v: (str(i + 1), "win" if i % 2 else "lose") for i, v in enumerate(everyone)})
    return root
