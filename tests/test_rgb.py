"""Films by frame number, the cut around the person, the cache, and the views of a batch."""

import os
import pickle
import shutil
import time

import av
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy import augment
from migstudy.clips import Clip, ClipSet
from migstudy.skeletons import get_topology
from migstudy.video import rgb
from migstudy.video.films import Film, FilmError, find_films
from migstudy.video.rgb import RgbSpec, cut_out, kept_frames, open_rgb_clips, person_box, pick_frames
from migstudy.video.views import VIEW_FIELDS, WHOLE, RgbDataset, apply_views, as_model_input, draw_view

BITS = 8  # a frame's own number in black and white stripes survives any codec
KINDS = {
    "no_b_frames": dict(options={"bf": "0", "g": "8"}),
    "b_frames": dict(options={"bf": "3", "g": "12", "b_strategy": "0"}),
    "open_gop": dict(options={"g": "10", "bf": "3", "b_strategy": "0", "x264-params": "open-gop=1:scenecut=0"}),
    "one_key_frame": dict(options={"g": "1000", "bf": "2"}),
    "variable_rate": dict(options={"g": "9", "bf": "3"}, stamps=lambda i: i * 7 + (i * i) % 5),
    "late_start": dict(options={"g": "9", "bf": "2"}, stamps=lambda i: 40 + 3 * i),
    "matroska": dict(options={"g": "9", "bf": "2"}, suffix=".mkv"),
}


def picture(number, size=(96, 64)):
    """Frame `number`: its binary digits as stripes."""
    stripes = np.array([255 * (number >> bit & 1) for bit in range(BITS)], np.uint8)
    row = np.repeat(stripes, size[0] // BITS)
    return np.broadcast_to(row[None, :, None], (size[1], size[0], 3)).copy()


def number_of(image):
    middles = image[image.shape[0] // 2].mean(-1).reshape(BITS, -1)[:, 2:-2].mean(1)
    return int(sum(int(value > 128) << bit for bit, value in enumerate(middles)))


def write_film(path, frames=50, options=None, stamps=lambda i: i, size=(96, 64), draw=picture, suffix=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.with_suffix(suffix or path.suffix)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options or {"g": "10"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.thread_count = 1
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(draw(i, size), format="rgb24")
            frame.pts = stamps(i)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def whole(path):
    """Every frame, the ordinary way: from the start to the end."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """kind -> (film, all of its frames)."""
    folder = tmp_path_factory.mktemp("films")
    paths = {kind: write_film(folder / f"{kind}.mp4", **how) for kind, how in KINDS.items()}
    return {kind: (path, whole(path)) for kind, path in paths.items()}


# -- random access -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_frame_alone_is_the_frame_of_the_whole_film(written, kind):
    path, frames = written[kind]
    assert [number_of(frame) for frame in frames] == list(range(50))
    with Film(path) as film:
        assert (len(film), film.size) == (50, (96, 64))
        for number in [*range(49, -1, -7), 0, 49, 25, 24, 26]:
            assert np.array_equal(film.read([number])[0], frames[number]), number


@settings(max_examples=40)
@given(data=st.data(), kind=st.sampled_from(sorted(KINDS)))
def test_any_frames_in_any_order(written, data, kind):
    path, frames = written[kind]
    asked = data.draw(st.lists(st.lists(st.integers(0, 49), min_size=1, max_size=6), min_size=1, max_size=3))
    with Film(path) as film:
        for numbers in asked:
            for number, image in zip(numbers, film.read(numbers), strict=True):
                assert np.array_equal(image, frames[number])


def test_b_frames_and_open_groups_are_really_there(written):
    for kind in ("b_frames", "open_gop", "variable_rate"):
        with av.open(str(written[kind][0])) as container:
            packets = [p for p in container.demux(video=0) if p.size]
        assert [p.pts for p in packets] != sorted(p.pts for p in packets)
    with av.open(str(written["open_gop"][0])) as container:
        packets = [(p.pts, p.is_keyframe) for p in container.demux(video=0) if p.size]
    key = [i for i, (_, is_key) in enumerate(packets) if is_key][1]
    assert packets[key + 1][0] < packets[key][0]  # shown before the key frame that it follows in the file
    with av.open(str(written["late_start"][0])) as container:
        assert next(container.decode(video=0)).pts > 0
    with av.open(str(written["variable_rate"][0])) as container:
        assert len(set(np.diff([frame.pts for frame in container.decode(video=0)]))) > 1


def test_a_short_clip_decodes_no_whole_film(tmp_path):
    path = write_film(tmp_path / "long.mp4", 250, {"g": "10", "bf": "2"})
    with Film(path) as film:
        assert film.decoded == 0
        list(film.frames(range(200, 205)))
        assert film.decoded <= 16
        list(film.frames([205, 207]))  # goes on where it is
        assert film.decoded <= 19
        list(film.frames([3, 240]))
        assert film.decoded <= 45


def test_real_recordings(recordings_dir):
    for path in sorted((recordings_dir / "video").glob("*.mp4")):
        frames = whole(path)
        with Film(path) as film:
            assert len(film) == len(frames)
            for number in (len(film) - 1, 17, 18, 3):
                assert np.array_equal(film.read([number])[0], frames[number])


def test_what_is_no_film_is_named(tmp_path, written):
    with pytest.raises(FilmError, match=r"nowhere\.mp4 is missing; fetch the film"):
        Film(tmp_path / "nowhere.mp4")
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(b"this is no film" * 100)
    with pytest.raises(FilmError, match=r"noise\.mp4 is no readable film .*ffmpeg -i"):
        Film(noise)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(written["b_frames"][0].read_bytes()[:3000])
    with pytest.raises(FilmError, match=r"cut\.mp4 .*ffmpeg -i"), Film(cut) as film:
        film.read(range(len(film)))
    with Film(written["b_frames"][0]) as film:
        for number in (-1, 50):
            with pytest.raises(FilmError, match=f"has 50 frames, so there is no frame {number}"):
                film.read([7, number])


def test_damage_is_never_patched_over(tmp_path):
    path = write_film(tmp_path / "damaged.mp4", 50, {"g": "10", "bf": "2"})
    with av.open(str(path)) as container:
        place, size = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size][13]
    content = bytearray(path.read_bytes())
    content[place + 12 : place + size] = bytes(size - 12)
    path.write_bytes(content)
    bad = {i for i, frame in enumerate(whole(path)) if number_of(frame) != i}
    assert bad  # an ordinary reader shows another frame here, and says nothing
    with Film(path) as film:
        for number in range(50):
            if number in bad:
                with pytest.raises(FilmError, match=f"damaged.mp4: frame {number} of 50 cannot be decoded; .*ffmpeg"):
                    film.read([number])
            else:
                assert number_of(film.read([number])[0]) == number


# -- where films lie ---------------------------------------------------------------------------------------------------


def touch(path, content=b"film"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_films_of_a_release_are_found_by_video(tmp_path):
    places = ["imigue_rgb_phase1/train_data/0012/0012.mp4", "imigue_rgb_phase1/validation_data/7/7.mp4",
              "imigue_rgb_phase2/0100/0100.mp4"]  # fmt: skip
    for place in [*places, "faces/0012.mp4", "imigue_rgb_phase1/train_data/0012/preview.mp4"]:
        touch(tmp_path / place)
    found = find_films(tmp_path)
    assert list(found) == ["0007", "0012", "0100"]
    assert [path.relative_to(tmp_path).as_posix() for path in found.values()] == [places[1], places[0], places[2]]
    assert find_films(tmp_path / "imigue_rgb_phase1").keys() == {"0007", "0012"}


def test_loose_films_are_found_too(tmp_path):
    touch(tmp_path / "talk.mp4")
    touch(tmp_path / "3.mp4")
    assert list(find_films(tmp_path)) == ["0003", "talk"]


def test_a_folder_without_films_and_two_films_of_one_video_are_named(tmp_path):
    with pytest.raises(FilmError, match=r"holds no films; expected imigue_rgb_phase1/train_data/<id>/<id>\.mp4"):
        find_films(tmp_path)
    first = touch(tmp_path / "imigue_rgb_phase1/train_data/0001/0001.mp4")
    second = touch(tmp_path / "imigue_rgb_phase1/validation_data/0001/0001.mp4")
    assert find_films(tmp_path) == {"0001": first}
    second.write_bytes(b"another")
    with pytest.raises(FilmError, match="are different films of one video"):
        find_films(tmp_path)


# -- where the person is -----------------------------------------------------------------------------------------------

TOPOLOGY = get_topology("openpose25")
LEGS = list(TOPOLOGY.parts["legs"])


def clip(clip_id="0001_0", video="0001", start=0, length=10, low=(30, 20), high=(60, 44), image_size=(96, 64), seed=0):
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(low, high, (length, 25, 2)).astype(np.float32)
    keypoints[:, 0], keypoints[:, 1] = low, high
    return Clip(clip_id, keypoints, np.full((length, 25), 0.9, np.float32), 0, video, "1", "train", start, start + length - 1,
                image_size)  # fmt: skip


def test_the_box_is_the_square_around_sure_joints():
    c = clip()
    c.keypoints[:, LEGS] = 1000
    c.keypoints[:, 2], c.scores[:, 2] = 500, 0.1
    x0, y0, x1, y1 = person_box(c, TOPOLOGY, RgbSpec(margin=0.1))
    assert (x1 - x0) == pytest.approx(1.2 * 30, abs=0.05) and (y1 - y0) == pytest.approx(x1 - x0, abs=0.02)
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((45, (20 - 0.2 * 24 + 44) / 2), abs=0.05)  # room for hair


def test_one_false_detection_moves_no_box():
    c = clip(length=60)
    before = person_box(c, TOPOLOGY)
    c.keypoints[17, 4] = (5000, -5000)
    assert np.allclose(person_box(c, TOPOLOGY), before, atol=1.0)


def test_without_a_sure_joint_there_is_no_box():
    c = clip()
    c.scores[:, [j for j in range(25) if j not in LEGS]] = 0
    assert person_box(c, TOPOLOGY, RgbSpec(sure=0.0)) is None


@settings(max_examples=60)
@given(
    height=st.integers(4, 40), width=st.integers(4, 40), x=st.integers(-30, 50), y=st.integers(-30, 50),
    side=st.integers(1, 60), size=st.integers(1, 24),
)  # fmt: skip
def test_a_cut_holds_as_much_of_the_picture_as_fits(height, width, x, y, side, size):
    image = np.full((height, width, 3), 255, np.uint8)
    cut = cut_out(image, (x, y, x + side, y + side), size)
    assert cut.shape == (size, size, 3) and cut.dtype == np.uint8
    if side <= min(height, width):
        assert (cut == 255).all()  # moved inside: no border
    elif size == side:
        assert (cut == 255).sum() == 3 * min(side, height) * min(side, width)
        assert set(np.unique(cut)) == {115, 255}


def test_a_cut_of_the_models_size_is_the_pictures_own_pixels():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    assert np.array_equal(cut_out(image, (13, 7, 29, 23), 16), image[7:23, 13:29])


def test_shrinking_is_antialiased():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, ::2] = 255  # stripes of one pixel: shrunk by four they are grey, unless every fourth is picked
    cut = cut_out(image, (0, 0, 64, 64), 16)[2:-2, 2:-2].astype(int)
    assert abs(cut - 128).max() < 12


# -- the cache ---------------------------------------------------------------------------------------------------------

SPEC = RgbSpec(frames=5, size=24)


def clipset(*clips):
    return ClipSet.from_clips(clips, TOPOLOGY, ["a", "b"], 25, "test")


@pytest.fixture
def release(tmp_path):
    """Two films of one release, and clips of both."""
    root = tmp_path / "release"
    for video in ("0001", "0002"):
        write_film(root / f"imigue_rgb_phase1/train_data/{video}/{video}.mp4", 50, {"g": "9", "bf": "2"})
    whole_picture = dict(low=(0, 0), high=(96, 64))
    clips = clipset(
        clip("0002_0", "0002", 12, 20, **whole_picture), clip("0001_0", "0001", 3, 7, **whole_picture),
        clip("0001_1", "0001", 5, 40, **whole_picture), clip("0001_2", "0001", 49, 1, **whole_picture),
    )  # fmt: skip
    return clips, find_films(root), tmp_path / "cache"


def read(release, spec=SPEC, clips=None, **options):
    return open_rgb_clips(clips or release[0], release[1], spec, cache=release[2], progress=False, **options)


def test_clips_hold_the_frames_that_were_asked_for(release):
    spec = RgbSpec(frames=5, size=96, person=False)
    pixels = read(release, spec)
    assert list(pixels) == ["0002_0", "0001_0", "0001_1", "0001_2"]
    for c in release[0]:
        assert pixels[c.clip_id].shape == (5, 96, 96, 3)
        numbers = [number_of(image[16:80]) for image in pixels[c.clip_id]]  # 96 x 64 in the middle of the square
        assert numbers == (c.start + kept_frames(len(c), 5)).tolist()
    assert isinstance(pixels["0001_0"], np.memmap)


def test_skeletons_of_another_resolution_are_scaled_to_the_film(release):
    _, films, cache = release
    images = []
    for size, factor in (((96, 64), 1), ((1152, 768), 12)):
        clips = clipset(clip(low=(30 * factor, 20 * factor), high=(60 * factor, 44 * factor), image_size=size))
        images.append(np.array(open_rgb_clips(clips, films, SPEC, cache=cache, progress=False)["0001_0"], int))
    assert abs(images[0] - images[1]).max() <= 2
    with Film(films["0001"]) as film:
        side = 30 * (1 + 2 * SPEC.margin)
        expected = cut_out(film.read([1])[0], (45 - side / 2, 29.6 - side / 2, 45 + side / 2, 29.6 + side / 2), 24)
    assert abs(images[0][0] - expected.astype(int)).max() <= 2


def test_films_are_read_once(release, monkeypatch):
    first = {clip_id: np.array(image) for clip_id, image in read(release).items()}
    monkeypatch.setattr(rgb, "Film", None)  # no film can be opened from here on
    again = read(release)
    assert all(np.array_equal(again[clip_id], image) for clip_id, image in first.items())
    some = release[0].select(video="0002")
    assert np.array_equal(read(release, clips=some)["0002_0"], first["0002_0"])
    with pytest.raises(TypeError):
        read(release, RgbSpec(frames=5, size=25))


def test_another_film_under_the_same_name_is_read_again(release):
    clips, films, _ = release
    before = np.array(read(release)["0002_0"])
    fingerprint = read(release).fingerprint
    write_film(films["0002"], 50, draw=lambda i, size: 255 - picture(i, size))
    assert abs(read(release)["0002_0"].astype(int) - before).mean() > 50
    assert read(release).fingerprint != fingerprint


def test_order_of_clips_and_number_of_workers_change_no_pixel(release, tmp_path):
    clips = release[0]
    expected = read(release)
    turned = clipset(*reversed(list(clips)))
    other = open_rgb_clips(turned, release[1], SPEC, cache=tmp_path / "other", workers=2, progress=False)
    assert list(other) == list(expected)[::-1]
    assert all(np.array_equal(other[clip_id], expected[clip_id]) for clip_id in expected)


def test_a_killed_reading_goes_on_where_it_stopped(release, monkeypatch):
    class Killed(BaseException):
        pass

    class Dying(Film):
        def frames(self, numbers):
            for i, frame in enumerate(super().frames(numbers)):
                if self.path.stem == "0001" and i == 3:
                    raise Killed
                yield frame

    monkeypatch.setattr(rgb, "Film", Dying)
    with pytest.raises(Killed):
        read(release)
    done = sorted((release[2] / "rgb").glob("*.npy"))
    assert len(done) == 1  # the first video, whole; nothing of the second
    monkeypatch.setattr(rgb, "Film", Film)
    stamp = done[0].stat().st_mtime_ns
    assert len(read(release)) == 4 and done[0].stat().st_mtime_ns == stamp


def test_a_cut_cache_file_is_written_again(release):
    expected = np.array(read(release)["0002_0"])
    for path in (release[2] / "rgb").glob("*.npy"):
        path.write_bytes(path.read_bytes()[:-100])
    assert np.array_equal(read(release)["0002_0"], expected)


def test_old_leftovers_are_swept(release):
    store = release[2] / "rgb"
    left = touch(store / ".x.partial-12345678.npy")
    os.utime(left, (time.time() - 9999,) * 2)
    read(release)
    assert not left.exists()


def test_all_that_is_wrong_stands_in_one_message(release, tmp_path):
    clips, films, _ = release
    with pytest.raises(FilmError) as caught:
        read((clips, {}, tmp_path / "c"))
    for part in ("2 problems", "0001.mp4: no film of clip 0001_0 (3 clips of this video)", "fetch it, or leave"):
        assert part in str(caught.value)
    films["0002"].write_bytes(b"nothing")
    longer = clipset(*clips, clip("0001_9", "0001", 45, 6))
    with pytest.raises(FilmError) as caught:
        read((longer, films, tmp_path / "c"))
    message = str(caught.value)
    assert "0001.mp4: clip 0001_9 needs frames 45..50 of its skeleton, the film has 50 frames; fetch the whole" in message
    assert "0002.mp4: clip 0002_0 and 0 more cannot be read; is no readable film" in message
    shutil.rmtree(films["0002"].parent)
    with pytest.raises(FilmError, match=r"0002\.mp4: the film is missing; fetch it again"):
        read((clips, films, tmp_path / "c"))


def test_3d_skeletons_are_refused(release):
    metres = ClipSet.from_clips([clip()], TOPOLOGY, ["a"], 25, "rooms", units="m")
    with pytest.raises(ValueError, match="only skeletons in px"):
        read(release, clips=metres)


def test_worker_processes_open_their_own_maps(release):
    pixels = read(release)
    expected = np.array(pixels["0001_1"])
    sent = pickle.dumps(pixels)
    assert len(sent) < 3000 and np.array_equal(pickle.loads(sent)["0001_1"], expected)


# -- views -------------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(length=st.integers(1, 400), frames=st.integers(1, 40))
def test_kept_frames_lie_in_the_clip_in_order(length, frames):
    kept = kept_frames(length, frames)
    assert kept.shape == (frames,) and kept.min() >= 0 and kept.max() < length and (np.diff(kept) >= 0).all()
    if length <= frames:
        assert set(kept) == set(range(length))
    if length == frames:
        assert kept.tolist() == list(range(length))


@settings(max_examples=30)
@given(seed=st.integers(0, 999), kept=st.integers(1, 40), clip_len=st.integers(1, 20), views=st.integers(1, 3))
def test_picked_frames_are_kept_ones(seed, kept, clip_len, views):
    for rng in (None, np.random.default_rng(seed)):
        picked = pick_frames(kept, clip_len, views, rng)
        assert picked.shape == (views * clip_len,) and picked.min() >= 0 and picked.max() < kept
        assert (np.diff(picked.reshape(views, -1), axis=1) >= 0).all()


def pixels_of(n=2, t=3, size=16, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, t, size, size, 3), np.uint8))


def views_of(n=2, **changes):
    view = WHOLE.copy()
    for field, value in changes.items():
        view[VIEW_FIELDS.index(field)] = value
    return torch.from_numpy(np.tile(view, (n, 1)))


def test_the_whole_view_only_normalises():
    pixels = pixels_of()
    expected = ((pixels.float() / 255 - 0.45) / 0.225).permute(0, 4, 1, 2, 3)
    torch.testing.assert_close(apply_views(pixels, views_of(), 16), expected, atol=1e-5, rtol=0)


def test_mirroring_is_the_pixels_mirror_and_goes_with_the_skeletons():
    pixels = pixels_of()
    plain, mirrored = apply_views(pixels, views_of(), 16), apply_views(pixels, views_of(mirrored=1), 16)
    torch.testing.assert_close(mirrored, plain.flip(-1), atol=1e-4, rtol=0)
    spot = torch.zeros(1, 1, 32, 32, 3, dtype=torch.uint8)
    spot[..., 20:22, 5:7, :] = 255  # its centre is (6, 21) px
    x = apply_views(spot, views_of(1, mirrored=1), 32)[0, 0, 0]
    column = float((x.clamp(min=0).sum(0) * (torch.arange(32) + 0.5)).sum() / x.clamp(min=0).sum())
    keypoints, _ = augment.flip(np.array([[[6.0, 21.0]]], np.float32), np.ones((1, 1)), 32, [0])
    assert column == pytest.approx(float(keypoints[0, 0, 0]), abs=1e-2)


def test_a_crop_is_the_part_of_the_picture_it_says():
    pixels = pixels_of(size=32)
    part = apply_views(pixels, views_of(x=-0.5, y=0.5, side=0.5), 16)  # the lower left quarter
    torch.testing.assert_close(part, apply_views(pixels[:, :, 16:, :16], views_of(), 16), atol=1e-4, rtol=0)


def test_colours_change_as_they_are_told():
    pixels = pixels_of(size=8) // 2 + 40
    grey = apply_views(pixels, views_of(saturation=0), 8)
    torch.testing.assert_close(grey[:, 0], grey[:, 2], atol=1e-5, rtol=0)
    flat = apply_views(pixels, views_of(contrast=0), 8)
    assert flat.flatten(1).std(1).max() < 1e-4
    dark = apply_views(pixels, views_of(brightness=0.5), 8) * 0.225 + 0.45
    torch.testing.assert_close(dark, (apply_views(pixels, views_of(), 8) * 0.225 + 0.45) / 2, atol=1e-5, rtol=0)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), least_area=st.floats(0.1, 1), colour=st.floats(0, 0.9), mirrored=st.booleans())
def test_drawn_views_stay_inside_the_picture(seed, least_area, colour, mirrored):
    view = dict(zip(VIEW_FIELDS, draw_view(np.random.default_rng(seed), mirrored, least_area, colour), strict=True))
    assert view["mirrored"] == mirrored and least_area - 1e-5 <= view["side"] ** 2 <= 1 + 1e-6
    assert max(abs(view["x"]), abs(view["y"])) + view["side"] <= 1 + 1e-6
    assert all(1 - colour - 1e-6 <= view[field] <= 1 + colour + 1e-6 for field in VIEW_FIELDS[4:])


def test_a_data_set_gives_batches_that_follow_seed_and_epoch_alone(release):
    clips = release[0]
    pixels = read(release, RgbSpec(frames=6, size=24))
    train = RgbDataset(clips, pixels, 4, train=True, seed=3)
    first, again = train[2], RgbDataset(clips, pixels, 4, train=True, seed=3)[2]
    assert all(np.array_equal(first[key], again[key]) for key in first)
    train.epoch = 1
    assert not np.array_equal(train[2]["view"], first["view"])
    test = RgbDataset(clips, pixels, 4, train=False, views=2)
    batch = next(iter(torch.utils.data.DataLoader(test, 3)))
    assert batch["pixels"].shape == (3, 8, 24, 24, 3) and batch["index"].tolist() == [0, 1, 2]
    inputs = as_model_input(batch, 4, 20)
    assert inputs.shape == (6, 3, 4, 20, 20) and torch.isfinite(inputs).all()
    alone = as_model_input({key: value[1:2] for key, value in batch.items()}, 4, 20)
    torch.testing.assert_close(inputs[2:4], alone, atol=1e-6, rtol=0)
