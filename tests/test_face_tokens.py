"""Tokens of faces: every sampled frame's own, none twice, no film decoded again, whatever was interrupted or added."""

import numpy as np
import pytest
import torch
from test_faces import ready_faces
from test_swinface import TINY

from migstudy.faces import tokens as module
from migstudy.faces.crops import as_model_input, open_faces
from migstudy.faces.tokens import FaceSpec, face_tokens, samples
from migstudy.models.swinface import SwinFace
from migstudy.video.films import Film

SPEC = FaceSpec(step=2, window=3)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SwinFace(**TINY, branches=[["Expression"], ["Age"]])


@pytest.fixture
def faces(tmp_path):
    return open_faces(ready_faces(tmp_path, frames=15), cache=tmp_path / "cache")


def tokens(model, faces, tmp_path, spec=SPEC, **more):
    return face_tokens(model, faces, spec, cache=tmp_path / "cache", progress=False, dtype="float32", **more)


@pytest.fixture
def decoded(monkeypatch):
    """How often any film's frames are asked for."""
    calls, frames = [], Film.frames
    monkeypatch.setattr(Film, "frames", lambda self, numbers: (calls.append(self.path), frames(self, numbers))[1])
    return calls


def test_every_sample_is_the_models_answer_to_its_own_crop(model, faces, tmp_path):
    found = tokens(model, faces, tmp_path)
    assert list(found) == ["0001", "0002"] and found.shape == (3, 12) and model.training
    got = found["0002"]
    assert got.frames.tolist() == list(range(0, 15, 2)) and got.usable.tolist() == [f != 4 for f in range(0, 15, 2)]
    assert got.tokens.shape == (8, 3, 12) and not got.tokens[2].any()
    crops = dict(faces["0002"].crops([0, 14]))
    with torch.inference_mode():
        expected = model.eval()(as_model_input(np.stack([crops[0], crops[14]]), 16)).tokens
    np.testing.assert_allclose(got.tokens[[0, 7]], expected, atol=1e-5)


def test_windows_are_pieces_of_the_whole(model, faces, tmp_path):
    found = tokens(model, faces, tmp_path)
    whole = found["0001"]
    for start, stop in [(0, 8), (2, 4), (3, 3), (5, 99), (7, 8), (0, 1)]:
        piece = found.window("0001", start, stop)
        for ours, theirs in zip(piece, whole, strict=True):
            np.testing.assert_array_equal(ours, theirs[start:stop])
    with pytest.raises(KeyError, match="no face tokens of video '0009' among the 2"):
        found.window("0009", 0, 1)


def test_a_rerun_decodes_nothing_and_another_video_only_itself(model, faces, tmp_path, decoded):
    one = tokens(model, {"0001": faces["0001"]}, tmp_path)
    assert len(decoded) == 1
    first = one["0001"].tokens.copy()
    both = tokens(model, faces, tmp_path)
    assert [path.stem for path in decoded] == ["0001", "0002"] and both.store.folder == one.store.folder
    again = tokens(model, faces, tmp_path)
    assert len(decoded) == 2
    np.testing.assert_array_equal(again["0001"].tokens, first)
    assert list(one) == ["0001"] and again.store.folder == both.store.folder


def test_the_same_film_under_two_ids_is_looked_at_once(model, faces, tmp_path, decoded):
    (tmp_path / "faces" / "0005.mp4").write_bytes((tmp_path / "faces" / "0001.mp4").read_bytes())
    found = tokens(model, open_faces(tmp_path, cache=tmp_path / "cache"), tmp_path)
    assert len(decoded) == 2 and len(found) == 3
    np.testing.assert_array_equal(found["0001"].tokens, found["0005"].tokens)


def test_what_was_interrupted_goes_on(model, faces, tmp_path, decoded, monkeypatch):
    windows = module._windows

    def killed(*args):
        yield next(windows(*args))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_windows", killed)
    with pytest.raises(KeyboardInterrupt):
        tokens(model, faces, tmp_path)
    monkeypatch.setattr(module, "_windows", windows)
    asked = []
    crops = type(faces["0001"]).crops
    monkeypatch.setattr(type(faces["0001"]), "crops", lambda self, n: crops(self, asked.extend([*map(int, n)]) or asked[-5:]))
    found = tokens(model, {"0001": faces["0001"]}, tmp_path)
    assert asked == [6, 8, 10, 12, 14]  # the first window was kept
    monkeypatch.undo()
    fresh = face_tokens(model, {"0001": faces["0001"]}, SPEC, cache=tmp_path / "other", progress=False, dtype="float32")
    np.testing.assert_array_equal(found["0001"].tokens, fresh["0001"].tokens)


def test_other_weights_steps_and_mirrors_are_other_stores(model, faces, tmp_path):
    first = tokens(model, faces, tmp_path)
    mirrored = tokens(model, faces, tmp_path, FaceSpec(2, 3, mirrored=True))
    torch.manual_seed(1)
    other = tokens(SwinFace(**TINY, branches=[["Expression"], ["Age"]]), faces, tmp_path)
    assert len({found.store.folder for found in (first, mirrored, other)}) == 3
    assert not np.allclose(first["0001"].tokens, other["0001"].tokens)


def test_a_video_without_a_face_and_one_shorter_than_a_step(model, tmp_path):
    ready_faces(tmp_path, ("0003",), frames=5, black=range(5)), ready_faces(tmp_path, ("0004",), frames=1, black=())
    found = tokens(model, open_faces(tmp_path, cache=tmp_path / "cache"), tmp_path, FaceSpec(2, 4))
    assert not found["0003"].usable.any() and not found["0003"].tokens.any()
    assert found["0004"].usable.tolist() == [True] and found["0004"].tokens.any()
    assert [samples(n, 5) for n in (0, 1, 5, 6)] == [0, 1, 1, 2]
    with pytest.raises(ValueError, match="step and window must be at least 1"):
        FaceSpec(step=0)
