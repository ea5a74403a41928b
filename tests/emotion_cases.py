"""Videos, people, results and predictions made for tests of the win/lose track."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from migstudy.datasets.protocols import imigue_protocols
from migstudy.emotion.protocols import SimulatedVideos
from migstudy.emotion.scores import combine_emotion_scores, make_emotion_scores

KEY = "simulated:toy-seed0-00000000"


def people(videos: int = 40, subjects: int = 12, seed: int = 0, split: str = "train") -> pd.DataFrame:
    """Rows video, subject, label, split; people have different numbers of videos, results nearly even."""
    rng = np.random.default_rng(seed)
    subject = np.concatenate([np.arange(subjects), rng.integers(0, subjects, videos - subjects)])
    return pd.DataFrame({
        "video": [f"{split}{i:04d}" for i in range(videos)], "subject": [f"{split}{s}" for s in subject],
        "label": rng.permutation(np.arange(videos) % 2), "split": split,
    })  # fmt: skip


def toy_videos(seed: int = 0) -> SimulatedVideos:
    """Train, val and test people, all different."""
    parts = [people(40, 12, seed, "train"), people(16, 6, seed + 1, "val"), people(40, 14, seed + 2, "test")]
    return SimulatedVideos(pd.concat(parts, ignore_index=True), KEY)


def toy_scores(effect: float = 1.0, repeats: int = 1, seed: int = 0, of_person: float = 0.3, protocol: str = KEY) -> pd.DataFrame:
    """Predictions for the val and test people of `toy_videos(0)`: a won video's log odds lie `effect` above a lost one's."""
    rng, rows = np.random.default_rng(seed + 100), toy_videos().table.query("split != 'train'")
    base = rng.normal(0, of_person, 100)[pd.factorize(rows["subject"])[0]] + effect * (rows["label"].to_numpy() - 0.5)
    tables = [
        make_emotion_scores(rows, base + rng.normal(0, 1, len(rows)), protocol, repeat=repeat) for repeat in range(repeats)
    ]
    return combine_emotion_scores(tables)


def write_cvpr_table(folder: Path, **changes: str) -> Path:
    """A table with the CVPR emotion videos, people and counts of results as published; changes: video -> "subject,result"."""
    listed, subjects = imigue_protocols().cvpr_emotion, imigue_protocols().cvpr
    lines = ["video_id,class,start_frame,end_frame,subject_id,win_or_lose"]
    for videos, names in ((listed.train, subjects.train_subjects), (listed.test, subjects.test_subjects)):
        for i, video in enumerate(videos):
            told = changes.get(f"v{video}", f"{names[i % len(names)]},{'win' if i % 2 else 'lose'}")
            lines += [f"{video},1,0,9,{told}", f"{video},99,12,20,{told}"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels_20200831.csv").write_text("\n".join(line for line in lines if not line.endswith(",gone")) + "\n")
    return folder


def write_challenge_table(folder: Path) -> Path:
    """A table with the challenge's 355 videos, results of all of them."""
    lines = ["video_id,class,start_frame,end_frame,subject_id,win_or_lose"]
    for shift, videos in zip((0, 40, 50), imigue_protocols().challenge.videos.values(), strict=True):
        lines += [f"{v},1,0,9,{shift + i % 20},{'win' if i % 2 else 'lose'}" for i, v in enumerate(videos)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels_20200831.csv").write_text("\n".join(lines) + "\n")
    return folder
