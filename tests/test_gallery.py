"""The gallery: one clear take of every class, as key frames and as films."""

from __future__ import annotations

import av
import numpy as np
import pytest

from migstudy.classes import IMIGUE_CLASSES
from migstudy.figures.gallery import draw_gallery
from migstudy.simulate.gallery import exhibits, write_gallery


@pytest.fixture(scope="module")
def shown():
    return list(exhibits())


def test_every_class_is_shown_once_at_rest_and_at_its_height(shown):
    assert [exhibit.gesture for exhibit in shown] == list(IMIGUE_CLASSES)
    for exhibit in shown:
        (csv_class, start, end), (rest, height, other) = exhibit.video.rows[0], exhibit.frames
        assert csv_class == exhibit.gesture.csv_class and rest < start <= height <= end and start <= other <= end
        joints = exhibit.video.motion.joints
        assert np.linalg.norm(joints[height] - joints[rest], axis=-1).max() > 0.004, f"{exhibit.gesture.name}: nothing moves"


def test_windows_hold_the_head(shown):
    for exhibit in shown:
        x0, y0, x1, y1 = exhibit.window
        nose = exhibit.video.pixels[exhibit.frames[0], 0]
        assert x0 < nose[0] < x1 and y0 < nose[1] < y1 and x1 - x0 == pytest.approx(y1 - y0)


def test_pictures_show_the_gesture(shown):
    for csv_class in (5, 17, 29):
        rest, height, _ = next(e for e in shown if e.gesture.csv_class == csv_class).pictures(64)
        assert rest.shape == (64, 64, 3) and rest.dtype == np.uint8
        changed = np.abs(rest.astype(int) - height).max(-1) > 24
        assert 0.002 < changed.mean() < 0.9


def test_figure_and_films(shown, tmp_path):
    assert len(draw_gallery(shown[:5], "simulated", side=32).axes) == 8
    (film,) = write_gallery(tmp_path / "new", height=64, margin=0.2, csv_classes=[28])
    assert film.name == "28_head_up.mp4"
    with av.open(str(film)) as container:
        frames = sum(1 for _ in container.decode(video=0))
    _, start, end = next(e for e in shown if e.gesture.csv_class == 28).video.rows[0]
    assert frames == end - start + 1 + 2 * 5


def test_an_unknown_class_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no class 77; known: 1, 2,"):
        write_gallery(tmp_path / "new", csv_classes=[28, 77])
    assert not (tmp_path / "new").exists()
