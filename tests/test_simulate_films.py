"""Films and face crops of a whole release: where they lie, frame for frame with the skeletons, the same bytes on any workers."""

from __future__ import annotations

import hashlib
import json

import av
import numpy as np
import pytest

from migstudy.datasets.imigue import read_imigue
from migstudy.simulate import simulate
from migstudy.simulate.truth import load_truth
from migstudy.video.films import find_films

# a slow camera and few lines: three short videos in seconds
TINY = dict(subjects=(1, 1, 1), videos_per_subject=1, clips=(2, 1, 1), min_clips=(0, 0, 0), fps=4.0, rgb_height=64)
ALL = ("truth", "rgb", "faces")


def digest(root):
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*.mp4")}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("films") / "a", "smoke", 1, workers=2, extras=ALL, **TINY)


def frames_of(path):
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def test_films_lie_where_the_release_has_them_and_match_the_skeletons(release, tmp_path):
    films = find_films(release)
    whole = read_imigue(release, unit="video", cache=tmp_path)
    assert set(films) == set(whole.index["video"]) and len(films) == 3
    for clip in whole:
        film, faces = frames_of(films[clip.video]), frames_of(release / "faces" / f"{clip.video}.mp4")
        assert film.shape[1:] == (64, 114, 3) and faces.shape[1:] == (112, 112, 3)
        assert len(film) == len(faces) == len(clip) == len(load_truth(release / "truth" / f"{clip.video}.npz").joints)
        assert film.std() > 20 and faces[faces.any((1, 2, 3))].std() > 20


def test_same_bytes_on_one_worker_and_when_added_later(release, tmp_path):
    later = simulate(tmp_path / "b", "smoke", 1, workers=1, extras=(), **TINY)
    assert not list(later.rglob("*.mp4")) and not (later / "truth").exists()
    simulate(later, "smoke", 1, workers=1, extras=("rgb",), **TINY)
    simulate(later, "smoke", 1, workers=1, extras=("faces", "truth"), **TINY)
    assert digest(later) == digest(release)
    assert (later / "simulation.json").read_bytes() == (release / "simulation.json").read_bytes()


def test_what_films_alone_use_may_change_until_there_are_films(tmp_path):
    root = simulate(tmp_path / "d", "smoke", 1, workers=1, **TINY)
    skeletons = {p: p.read_bytes() for p in root.glob("imigue_skeleton_*/*/*")}
    lower = TINY | {"rgb_height": 32}
    simulate(root, "smoke", 1, workers=1, extras=("rgb",), **lower)
    assert {frames_of(film).shape[1] for film in find_films(root).values()} == {32}
    assert skeletons == {p: p.read_bytes() for p in root.glob("imigue_skeleton_*/*/*")}
    with pytest.raises(ValueError, match="another config"):
        simulate(root, "smoke", 1, workers=1, extras=("rgb",), **TINY)
    with pytest.raises(ValueError, match="another config"):
        simulate(root, "smoke", 1, workers=1, **lower | {"amplitude": 2.0})


def test_films_begun_at_one_height_go_on_at_it(tmp_path):
    root = simulate(tmp_path / "e", "smoke", 1, workers=1, **TINY)
    lower = TINY | {"rgb_height": 32}
    simulate(root, "smoke", 1, workers=1, extras=("rgb",), **lower)
    whole = digest(root)
    marker = root / "simulation.json"
    told = json.loads(marker.read_text())
    marker.write_text(json.dumps(told | {"extras": ["truth"]}))  # as a run leaves it that was killed after two films
    next(root.rglob("*.mp4")).unlink()
    simulate(root, "smoke", 1, workers=1, extras=("rgb",), **lower)
    assert digest(root) == whole and json.loads(marker.read_text()) == told


def test_identity_free_films_show_everybody_alike(tmp_path):
    root = simulate(tmp_path / "c", "smoke", 1, workers=1, extras=("rgb",), **TINY, identity_free=True)
    first, second, _ = (frames_of(film).astype(int) for film in find_films(root).values())
    wall = np.s_[:, :12, :20]  # a corner that nobody reaches
    assert np.abs(first[wall].mean((0, 1, 2)) - second[wall].mean((0, 1, 2))).max() < 6
