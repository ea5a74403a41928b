"""Face crops: cut where the landmarks are, only asked frames decoded, ready-made ones taken, faults named in one message."""

import functools
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_face_points import face_of, turned
from test_rgb import write_film

from migstudy.clips import Clip, ClipSet
from migstudy.faces.crops import FaceVideo, aligned_crop, as_model_input, open_faces, usable_share
from migstudy.faces.points import ARCFACE, FaceTrack, align
from migstudy.skeletons import FACE
from migstudy.video.films import Film, FilmError

DOTS = np.array([[255, 40, 40], [40, 255, 40], [40, 40, 255], [255, 255, 40], [40, 255, 255]], np.uint8)
SIZE = (320, 240)


def picture_with(points, radius, size=SIZE):
    """Grey, with a coloured dot at each of five points."""
    y, x = np.mgrid[: size[1], : size[0]] + 0.5
    picture = np.full((size[1], size[0], 3), 110, np.uint8)
    for point, colour in zip(points, DOTS, strict=True):
        picture[(x - point[0]) ** 2 + (y - point[1]) ** 2 <= radius**2] = colour
    return picture


def dots_of(crop):
    """(5, 2) px where the crop shows each colour."""
    y, x = np.mgrid[: crop.shape[0], : crop.shape[1]] + 0.5
    near = np.abs(crop[:, :, None].astype(int) - DOTS).max(-1) < 90
    return np.array([[x[mask].mean(), y[mask].mean()] if mask.any() else [np.nan, np.nan] for mask in np.moveaxis(near, -1, 0)])


def face_at(frame):
    """Where the face of a moving, turning head is in a frame: (5, 2) px."""
    return ARCFACE @ turned(0.04 * frame - 0.2, 1.0 + 0.02 * frame).T + [60 + 4 * frame, 40 + 2 * frame]


def release(root, frames=20, videos=("0001", "0002"), lost=(3, 4), film_size=SIZE, skeleton_size=SIZE):
    """Films of coloured dots, and the skeletons whose landmarks they are, in px of another size if wanted."""
    clips = []
    factor = np.array(skeleton_size) / SIZE
    for video in videos:
        film, share = root / "imigue_rgb_phase1" / "train_data" / video / f"{video}.mp4", film_size[0] / SIZE[0]
        write_film(film, frames, {"g": "5", "crf": "8"}, size=film_size,
                   draw=lambda i, size, share=share: picture_with(face_at(i) * share, 6 * share, size))  # fmt: skip
        points = np.stack([face_of(turned(0.04 * i - 0.2, 1.0 + 0.02 * i), (60 + 4 * i, 40 + 2 * i))[0] for i in range(frames)])
        scores = np.full((frames, 137), 0.9, np.float32)
        scores[list(lost)] = 0
        clips.append(Clip(video, (points * factor).astype(np.float32), scores, 0, video, f"p{video}", "train", 0, frames - 1,
                          skeleton_size))  # fmt: skip
    return ClipSet.from_clips(clips, "openpose137", ("lose", "win"), 25.0, "test films")


# -- crops -------------------------------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(angle=st.floats(-0.6, 0.6), scale=st.floats(0.6, 7.0), data=st.data())
def test_the_five_points_come_to_their_places(angle, scale, data):
    matrix = turned(angle, scale)
    shift = -(np.array([56, 70]) @ matrix.T) + [500 + data.draw(st.floats(-99, 99)), 450]
    points = ARCFACE @ matrix.T + shift
    crop = aligned_crop(picture_with(points, 5 * scale, (1000, 900)), align(points[None]).matrices[0])
    assert crop.shape == (112, 112, 3) and crop.dtype == np.uint8
    np.testing.assert_allclose(dots_of(crop), ARCFACE, atol=0.8)


def test_large_faces_are_averaged_down_not_sampled():
    """Fine stripes, a pixel each, become grey."""
    stripes = np.zeros((900, 900, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = aligned_crop(stripes, align((7 * ARCFACE)[None]).matrices[0])
    assert np.abs(crop.astype(int) - 127).max() <= 20  # 3 or 4 of 7 columns are white
    plain = np.asarray(Image.fromarray(stripes).transform((112, 112), Image.Transform.AFFINE, (7, 0, 0, 0, 7, 0)))
    assert np.abs(plain.astype(int) - 127).max() > 100


def test_black_outside_the_picture_and_any_size():
    matrix = align((ARCFACE + [-56, 0])[None]).matrices[0]
    crop = aligned_crop(np.full((112, 112, 3), 200, np.uint8), matrix, 56)
    assert crop.shape == (56, 56, 3) and (crop[:, :27] == 0).all() and (crop[2:-2, 30:] == 200).all()
    far = aligned_crop(np.full((90, 90, 3), 200, np.uint8), align((4 * ARCFACE + 3000)[None]).matrices[0])
    assert not far.any()


def test_a_model_sees_minus_one_to_one_shrunk_without_aliases():
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), np.uint8)
    whole = as_model_input(crops, 112)
    assert whole.shape == (3, 3, 112, 112) and whole.dtype == torch.float32
    np.testing.assert_allclose(whole.movedim(1, -1), crops / 127.5 - 1, atol=1e-6)
    assert torch.equal(as_model_input(crops, 112, mirrored=True), whole.flip(-1))
    stripes = np.zeros((1, 112, 112, 3), np.uint8)
    stripes[:, :, ::2] = 255
    assert as_model_input(stripes, 56)[..., 2:-2].abs().max() < 0.2


# -- videos ------------------------------------------------------------------------------------------------------------


def test_faces_are_cut_out_of_films_at_any_frames(tmp_path):
    clips = release(tmp_path)
    faces = open_faces(tmp_path, clips, cache=tmp_path / "cache")
    assert list(faces) == ["0001", "0002"] and faces["0001"].frames == 20
    got = dict(faces["0001"].crops([17, 2, 3, 9, 2]))
    assert list(got) == [2, 3, 9, 17] and got[3] is None
    for number in (2, 9, 17):
        np.testing.assert_allclose(dots_of(got[number]), ARCFACE, atol=1.0)
    assert usable_share(faces) == {"0001": 0.9, "0002": 0.9}


def test_films_of_another_size_than_the_skeletons_image(tmp_path):
    clips = release(tmp_path, 13, ("0002",), film_size=(640, 480), skeleton_size=(1280, 960))
    got = dict(open_faces(tmp_path, clips, cache=tmp_path / "cache")["0002"].crops([0, 12]))
    for number in (0, 12):
        np.testing.assert_allclose(dots_of(got[number]), ARCFACE, atol=1.0)


def test_only_what_is_asked_for_and_shows_a_face_is_decoded(tmp_path, monkeypatch):
    clips = release(tmp_path, 20, lost=range(5, 20))
    face = open_faces(tmp_path, clips, cache=tmp_path / "cache")["0001"]
    opened = []
    init = Film.__init__
    monkeypatch.setattr(Film, "__init__", lambda self, *a, **k: (init(self, *a, **k), opened.append(self))[0])
    assert all(crop is None for _, crop in face.crops(range(5, 20))) and not opened
    assert next(face.crops([1, 8]))[1] is not None
    list(face.crops([0, 1, 19]))
    assert opened[-1].decoded <= 2


def test_a_detectors_points_take_the_skeletons_place(tmp_path):
    release(tmp_path)
    seen = []

    def detector(picture):
        seen.append(picture.shape)
        points = dots_of(picture)
        return None if len(seen) == 2 else points

    faces = open_faces(tmp_path, detector=detector, videos=["0002"], cache=tmp_path / "cache")
    for nameless in (lambda picture: detector(picture), functools.partial(detector)):
        with pytest.raises(ValueError, match="no name to keep its crops by"):
            open_faces(tmp_path, detector=nameless, videos=["0002"], cache=tmp_path / "cache")
        nameless.fingerprint = "dots, version 2"
        other = open_faces(tmp_path, detector=nameless, videos=["0002"], cache=tmp_path / "cache")
        assert other["0002"].fingerprint != faces["0002"].fingerprint
    assert list(faces) == ["0002"] and np.isnan(usable_share(faces)["0002"])
    got = dict(faces["0002"].crops([1, 7, 11]))
    assert got[7] is None and seen == [(240, 320, 3)] * 3
    np.testing.assert_allclose(dots_of(got[11]), ARCFACE, atol=1.0)


def ready_faces(root, videos=("0001", "0002"), frames=12, black=(4,), size=(112, 112)):
    for video in videos:
        shades = [(60 + 10 * i + 3 * int(video)) * (i not in black) for i in range(frames)]
        write_film(root / "faces" / f"{video}.mp4", frames, {"g": "5"}, size=size,
                   draw=lambda i, size, shades=shades: np.full((*size[::-1], 3), shades[i], np.uint8))  # fmt: skip
    return root


def test_ready_made_crops_are_taken_as_they_are_and_black_ones_are_none(tmp_path):
    faces = open_faces(ready_faces(tmp_path), cache=tmp_path / "cache")
    assert [(video, face.frames, face.ready) for video, face in faces.items()] == [("0001", 12, True), ("0002", 12, True)]
    got = dict(faces["0002"].crops(range(12)))
    assert [number for number, crop in got.items() if crop is None] == [4]
    assert all(abs(float(crop.mean()) - 66 - 10 * number) < 3 for number, crop in got.items() if crop is not None)


def test_the_fingerprint_follows_film_and_landmarks(tmp_path):
    clips = release(tmp_path, 6)
    first = open_faces(tmp_path, clips, cache=tmp_path / "cache")
    assert open_faces(tmp_path, clips, cache=tmp_path / "cache")["0001"].fingerprint == first["0001"].fingerprint
    clips.keypoints[2, FACE + 30] += 1
    moved = open_faces(tmp_path, clips, cache=tmp_path / "cache")
    assert moved["0001"].fingerprint != first["0001"].fingerprint and moved["0002"].fingerprint == first["0002"].fingerprint


def test_faults_are_one_message_with_file_and_fix(tmp_path):
    clips = release(tmp_path / "r")
    with pytest.raises(ValueError, match=r"give the videos' skeletons \(clips=\), or a detector"):
        open_faces(tmp_path / "r")
    with pytest.raises(ValueError, match="unknown source 'rgb' of faces; choose auto, ready or film"):
        open_faces(tmp_path / "r", clips, source="rgb")
    with pytest.raises(ValueError, match="choose source='film'"):
        open_faces(tmp_path / "r", source="ready", detector=lambda picture: None)
    with pytest.raises(FilmError, match=r"0009\.mp4.*no film of the video's face.*fetch it"):
        open_faces(tmp_path / "r", clips, videos=["0001", "0009"])
    with pytest.raises(ValueError, match="video 0002 has no skeleton in 'test films'"):
        open_faces(tmp_path / "r", clips.select(clip_id="0001"), videos=["0001", "0002"])
    with pytest.raises(FilmError, match="holds no face of any video asked for; simulate it again with --faces"):
        open_faces(tmp_path / "r", source="ready")
    pieces = ClipSet.from_clips([Clip("0001_0", np.zeros((4, 137, 2)), np.ones((4, 137)), 0, "0001", start=5)], "openpose137",
                                ("lose", "win"), 25.0, "pieces")  # fmt: skip
    with pytest.raises(ValueError, match=r"'pieces' holds pieces of videos; .*unit='video'"):
        open_faces(tmp_path / "r", pieces)
    with pytest.raises(FilmError, match=r"0001\.mp4 is 96 x 64 px; ready-made crops are 112 x 112"):
        open_faces(ready_faces(tmp_path / "odd", size=(96, 64)))
    face = open_faces(tmp_path / "r", clips)["0001"]
    with pytest.raises(FilmError, match=r"0001\.mp4: video 0001 has 20 frames, asked for 0\.\.20"):
        list(face.crops([0, 20]))


def test_films_are_as_long_as_their_skeletons(tmp_path):
    clips = release(tmp_path / "long", frames=12, videos=("0001",))
    ready = ready_faces(tmp_path / "ready", videos=("0001",), frames=11)
    with pytest.raises(FilmError, match=r"0001\.mp4 has 11 frames, the skeleton of video 0001 12; simulate it again with --faces"):
        open_faces(ready, clips, cache=tmp_path / "cache")
    release(tmp_path / "short", frames=9, videos=("0001",))
    with pytest.raises(FilmError, match=r"0001\.mp4 has 9 frames, the skeleton of video 0001 12; fetch it again"):
        open_faces(tmp_path / "short", clips, cache=tmp_path / "cache")
    release(tmp_path / "longer", frames=14, videos=("0001",))  # a film may go on behind its skeleton
    assert open_faces(tmp_path / "longer", clips, cache=tmp_path / "cache")["0001"].frames == 12


def test_memory_does_not_grow_with_the_video(tmp_path, monkeypatch):
    """Crops come one at a time: ten times the frames take the same room."""

    class Endless:
        def __init__(self, path):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def frames(self, numbers):
            return ((number, np.full((720, 1280, 3), 90, np.uint8)) for number in numbers)

    monkeypatch.setattr("migstudy.faces.crops.Film", Endless)
    peaks = []
    for count in (10, 100):
        track = align(np.repeat(2 * ARCFACE[None], count, 0))
        assert isinstance(track, FaceTrack) and track.usable.all()
        face = FaceVideo("0001", tmp_path / "a.mp4", count, "x", track=track, image_size=(1280, 720))
        tracemalloc.start()
        assert sum(crop is not None for _, crop in face.crops(range(count))) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 100_000
