"""One video's folder in the official layout, and the files beside all videos; every write is atomic."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np

from migstudy.simulate.sheet import write_sheet
from migstudy.skeletons import get_topology

FOLDERS = {split: f"imigue_skeleton_{split}" for split in ("train", "validate", "test")}
_FILMS = {
    "train": "imigue_rgb_phase1/train_data", "validate": "imigue_rgb_phase1/validation_data", "test": "imigue_rgb_phase2",
}  # fmt: skip
_SUFFIX = {"openpose": "_openpose.xlsx", "light_hand": "_light_hand.csv"}


def video_folder(root: Path, split: str, video: str) -> Path:
    """Where a video's files lie."""
    return root / FOLDERS[split] / video


def film_path(root: Path, split: str, video: str) -> Path:
    """Where a video's mp4 lies."""
    return root / _FILMS[split] / video / f"{video}.mp4"


def write_video(
    root: Path, split: str, video: str, keypoints: np.ndarray, scores: np.ndarray, rows: list[tuple[int, int, int]], shape: str
) -> Path:
    """Write `<id>_openpose.xlsx` or `<id>_light_hand.csv`, and `<id>_label.csv`; the folder appears whole or not at all.

    keypoints: (T, 137, 2) px; scores: (T, 137); rows: (csv class, first frame, last frame), frames from 0, end included.
    """
    folder = video_folder(root, split, video)
    aside = folder.with_name(f"{video}.partial-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    table = np.round(np.concatenate([keypoints, scores[..., None]], -1), 3)
    skeleton = aside / f"{video}{_SUFFIX[shape]}"
    if shape == "openpose":
        write_sheet(skeleton, table.reshape(len(table), -1))
    else:
        table = table[:, list(get_topology("light35").openpose137)].reshape(len(table), -1)
        line = "%d," + ",".join(["%.6g"] * table.shape[1]) + "\n"
        text = "".join(line % (i, *row) for i, row in enumerate(table.tolist()))
        skeleton.write_text(text, encoding="utf-8", newline="")
    text = "".join(f"{csv_class},{start},{end}\n" for csv_class, start, end in rows)
    (aside / f"{video}_label.csv").write_text(text, encoding="utf-8", newline="")
    os.replace(aside, folder)
    return folder


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, UTF-8, with newlines as they are."""
    aside = path.with_name(f"{path.name}.partial-{os.getpid()}")
    aside.write_text(text, encoding="utf-8", newline="")
    os.replace(aside, path)
