"""Films of the toy gestures: bright hands on grey, seen by a camera of 48 x 48 px."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from toy import save_toy, tiny

from migstudy.clips import ClipSet
from migstudy.config.gesture import GestureConfig
from migstudy.simulate.render.film import write_film

SIDE = 48
TINY_VIDEO = dict(
    model="mvit", clip_len=4, train_size=24, test_size=24, kept_frames=6, kept_size=28, base_channels=8, stage_blocks="1,1",
    crop_area=0.8, lr=4e-3, batch_size=8, drop_path=0.0,
)  # fmt: skip


def tiny_video(**changes) -> GestureConfig:
    """A configuration of the video model that trains in a second."""
    return tiny(**{**TINY_VIDEO, **changes})


def save_toy_films(folder: Path, **options) -> Path:
    """The toy as a ClipSet folder with its films in it."""
    place = save_toy(folder, **options)
    for clip in ClipSet.load(place):
        write_film(place / f"{clip.video}.mp4", _pictures(clip), 25)
    return place


def _pictures(clip) -> np.ndarray:
    scale = SIDE / clip.image_size[0]
    y, x = np.mgrid[:SIDE, :SIDE]
    film = np.full((len(clip), SIDE, SIDE, 3), 90, np.uint8)
    for picture, points in zip(film, clip.keypoints * scale, strict=True):
        near = np.hypot(x[..., None] - points[:, 0], y[..., None] - points[:, 1]) < 2.5
        picture[near.any(-1)] = (235, 190, 160)
    return film
