"""The scene and its films: the person is where the keypoints are, files are deterministic, whole or not there, and seekable."""

from dataclasses import replace

import numpy as np
import pytest

from migstudy.simulate import PROFILES
from migstudy.simulate.plan import make_plan
from migstudy.simulate.video import simulate_video
from migstudy.skeletons import BODY25_JOINTS, FACE, LEFT_HAND, RIGHT_HAND

pytest.importorskip("numba")
av = pytest.importorskip("av")
film = pytest.importorskip("migstudy.simulate.render.film")
from migstudy.simulate.render.appearance import HAIR_STYLES, HEADWEAR, IDENTITY_FREE, draw_appearance  # noqa: E402
from migstudy.simulate.render.scene import Scene  # noqa: E402

CONFIG = replace(PROFILES["smoke"], gap_seconds=0.2)


def _video(number=0, classes=(29, 22), **knobs):
    config = replace(CONFIG, **knobs)
    plan, subjects = make_plan(config, 0)
    return simulate_video(replace(plan[number], classes=classes), subjects[plan[number].subject], config, 0)


@pytest.fixture(scope="module")
def video():
    return _video(clip_seconds=0.4)


def _read(path):
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frames = list(file.decode(stream))
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames]), [frame.key_frame for frame in frames], stream


def _skin_like(picture, points, skin):
    """Share of points (n, 2) px whose pixel has the hue of a skin: its colour's direction."""
    at = np.round(points - 0.5).astype(int)
    seen = (picture[at[:, 1], at[:, 0]].astype(float) / 255) ** 2
    skin = np.array(skin) ** 2
    cosine = (seen @ skin) / np.maximum(np.linalg.norm(seen, axis=1) * np.linalg.norm(skin), 1e-9)
    return (cosine > 0.985).mean()


@pytest.mark.parametrize("number", [0, 2, 5])
def test_face_and_hands_are_drawn_where_the_true_keypoints_are(number):
    video = _video(number, microphone=False)
    scene, config = Scene(video), video.config
    shares = []
    for frame in np.linspace(0, len(video.pixels) - 1, 4).astype(int):
        picture = scene.picture(frame, (config.width, config.height))
        pixels, visible = video.pixels[frame], video.visible[frame] > 0.95
        nose = [i for i in range(FACE + 27, FACE + 31) if visible[i]]
        hands = [i for i in (*range(LEFT_HAND, LEFT_HAND + 21), *range(RIGHT_HAND, RIGHT_HAND + 21)) if visible[i]]
        shares.append(_skin_like(picture, pixels[nose + hands], scene.look.skin))
        # and nothing of the person's is far from them
        away = np.array([[5.0, 5.0], [config.width - 5.0, 5.0]])
        assert _skin_like(picture, away, scene.look.skin) < 1 or scene.room.wall.std() < 60
    assert np.mean(shares) > 0.85


def test_what_the_table_hides_is_not_drawn_and_hands_hide_the_face():
    video = _video(classes=(6,), microphone=False)  # covering the face
    scene, config = Scene(video), video.config
    _, start, end = video.rows[0]
    frame, size = (start + end) // 2, (config.width, config.height)
    camera = video.shots.camera_at(frame)
    picture = scene.picture(frame, size)
    empty = scene._room_layer(camera, size, (0.0, 0.0, *map(float, size))).picture
    changed = np.abs(picture.astype(int) - empty).max(-1) > 0
    lap = video.pixels[frame, [BODY25_JOINTS.index(f"{side}_{joint}") for side in ("right", "left") for joint in ("hip", "knee")]]
    inside = [(int(x), int(y)) for x, y in lap if 0 <= x < config.width and 0 <= y < config.height]
    assert inside and not any(changed[y, x] for x, y in inside)
    x, y = video.pixels[frame, BODY25_JOINTS.index("neck")].astype(int)
    assert changed[y, x]
    # the hands lie before the eyes: without a face the picture is the same there
    bare = Scene(video)
    bare.look = replace(bare.look, eyes=(1.0, 0.0, 1.0), lips=(0.0, 1.0, 0.0))
    x, y = video.pixels[frame, [FACE + 68, FACE + 69]].mean(0).astype(int)
    box = slice(y - 12, y + 13), slice(x - 25, x + 26)
    hidden = np.abs(bare.picture(frame, size)[box].astype(int) - picture[box]).max()
    open_ = np.abs(bare.picture(0, size).astype(int) - scene.picture(0, size)).max()
    assert open_ > 80 and hidden < 0.5 * open_


def test_head_frame_is_found_again():
    video = _video(classes=(28, 20))
    scene = Scene(video)
    for frame in (0, len(video.pixels) // 2):
        joints = video.motion.joints[frame]
        head, axes = scene.head_at(joints)
        assert np.allclose(axes.T @ axes, np.eye(3), atol=1e-9) and np.linalg.det(axes) > 0
        points = joints[[*(FACE + i for i in (27, 28, 29, 30)), *(BODY25_JOINTS.index(f"{s}_ear") for s in ("right", "left"))]]
        size = video.subject.size
        template = np.concatenate([size.face[27:31], size.ear * np.array([[-1.0, 1, 1], [1, 1, 1]])])
        assert np.abs(head + template @ axes.T - points).max() < 0.004


def test_film_is_the_same_bytes_twice_and_reads_back(video, tmp_path):
    paths = [film.render_video(video, tmp_path / f"{k}.mp4", height=90) for k in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    frames, keys, stream = _read(paths[0])
    assert frames.shape == (len(video.pixels), 90, 160, 3)
    assert (stream.codec_context.name, stream.codec_context.pix_fmt, float(stream.average_rate)) == ("h264", "yuv420p", 25.0)
    assert np.flatnonzero(keys).tolist() == list(range(0, len(frames), 25))
    drawn = next(film.video_frames(video, 90)).astype(int)
    assert np.abs(frames[0].astype(int) - drawn).mean() < 4


def test_broken_film_leaves_nothing_behind(tmp_path):
    def frames():
        yield np.zeros((16, 16, 3), np.uint8)
        raise RuntimeError("interrupted")

    path = tmp_path / "a.mp4"
    with pytest.raises(RuntimeError, match="interrupted"):
        film.write_film(path, frames(), 25.0)
    assert not list(tmp_path.iterdir())
    for bad in ([], [np.zeros((15, 16, 3), np.uint8)]):
        with pytest.raises(ValueError, match=r"a\.mp4"):
            film.write_film(path, bad, 25.0)


def test_face_crops_follow_the_landmarks(video, tmp_path):
    template, points = film.ARCFACE, film.five_landmarks(video.pixels)
    factors, shifts = film.align(points)
    z = points[..., 0] + 1j * points[..., 1]
    aligned = factors[:, None] * z + shifts[:, None]
    assert np.abs(aligned - (template[:, 0] + 1j * template[:, 1])).mean() < 6
    # the warped camera projects as the similarity maps
    for frame in (0, 20):
        camera = film.warped(video.shots.camera_at(frame), factors[frame], shifts[frame])
        there = film.five_landmarks(camera.project(video.motion.joints[frame])[None])[0]
        assert np.allclose(there[:, 0] + 1j * there[:, 1], aligned[frame], atol=1e-6)
    frames, _, _ = _read(film.render_faces(video, tmp_path / "faces.mp4"))
    assert frames.shape == (len(video.pixels), 112, 112, 3)


def test_similarity_is_undone_exactly():
    rng = np.random.default_rng(0)
    factor, shift = 0.4 * np.exp(0.3j), 20 - 7j
    w = film.ARCFACE[:, 0] + 1j * film.ARCFACE[:, 1]
    z = (w - shift) / factor
    found, moved = film.align(np.stack([z.real, z.imag], -1)[None])
    assert np.isclose(found[0], factor) and np.isclose(moved[0], shift)
    noisy = np.stack([z.real, z.imag], -1)[None] + rng.normal(0, 1e-3, (1, 5, 2))
    assert abs(film.align(noisy)[0][0] - factor) < 1e-3


def test_face_out_of_the_picture_is_black(video):
    hidden = replace(video, visible=np.zeros_like(video.visible))
    assert not next(film.face_frames(hidden)).any()
    assert next(film.face_frames(video)).mean() > 20


def test_fast_frames_are_blurred_and_still_ones_are_not(video):
    sharp = replace(video, config=replace(video.config, blur=0.0))
    speed = np.linalg.norm(np.diff(video.pixels[:, LEFT_HAND : RIGHT_HAND + 21], axis=0), axis=-1).max(-1)
    fast, slow = int(speed.argmax()), int(speed[1:-1].argmin()) + 1
    size = (512, 288)
    assert speed[fast] > 8 * speed[slow]
    blurred, frozen = Scene(video).exposure(fast, size).astype(int), Scene(sharp).exposure(fast, size).astype(int)
    assert np.abs(blurred - frozen).max() > 30
    assert np.abs(Scene(video).exposure(slow, size).astype(int) - Scene(sharp).exposure(slow, size)).mean() < 0.3


def test_people_differ_stay_themselves_and_the_mannequin_is_one():
    looks = [draw_appearance(np.random.default_rng(k)) for k in range(200)]
    assert len(set(looks)) == 200
    assert {look.hair_style for look in looks} == set(HAIR_STYLES) and {look.headwear for look in looks} == set(HEADWEAR)
    assert draw_appearance(np.random.default_rng(3)) == looks[3]
    for look in looks:
        for colour in (look.skin, look.lips, look.hair_colour, look.top, look.accent, look.eyes):
            assert all(0 <= value <= 1 for value in colour)
    first, second = _video(0), _video(3)
    assert Scene(first).look != Scene(second).look
    assert Scene(first, identity_free=True).look == Scene(second, identity_free=True).look == IDENTITY_FREE
    assert np.array_equal(Scene(first, True).room.wall, Scene(second, True).room.wall)


def test_nobody_touches_a_hat_without_one():
    from migstudy.classes import IMIGUE_CLASSES

    hat = next(gesture.csv_class for gesture in IMIGUE_CLASSES if gesture.name == "Touching hat")
    assert all(Scene(_video(k, classes=(hat,))).look.headwear == "cap" for k in range(4))


@pytest.mark.parametrize("style", HAIR_STYLES)
@pytest.mark.parametrize("headwear", HEADWEAR)
def test_hair_and_headwear_leave_the_face_free(style, headwear):
    from migstudy.simulate.face import TEMPLATE
    from migstudy.simulate.render.head import make_head

    look = replace(IDENTITY_FREE, hair_style=style, headwear=headwear)
    head = make_head(look, np.ones(3), np.random.default_rng(0))
    eyes, nose, mouth = TEMPLATE[36:48].mean(0), TEMPLATE[30], TEMPLATE[48:60].mean(0)
    for mesh in head.meshes:
        for place in (eyes, nose, mouth):
            before = (np.abs(mesh.vertices[:, :2] - place[:2]).max(1) < 0.012) & (mesh.vertices[:, 2] > place[2] - 0.01)
            assert not before.any()
    for center, axes, _ in head.balls:  # the filling stays behind the face
        for place in (eyes, nose, mouth):
            assert (((place - center) / axes) ** 2).sum() > 1
