"""The drawn face: it lines up with its landmarks, has no holes, and shows what the action units do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from migstudy.simulate.camera import Camera
from migstudy.simulate.face import ACTION_UNITS, SIGNED_UNITS, TEMPLATE, draw_face, face_points
from migstudy.simulate.kinematics import rotation
from migstudy.simulate.render.appearance import IDENTITY_FREE, draw_appearance
from migstudy.simulate.render.face_mesh import add_face, face_vertices, head_scale
from migstudy.simulate.render.face_sculpt import COARSE, MEDIUM, PARTS, face_mesh, inside
from migstudy.simulate.render.raster import Light, Primitives, render

GREEN = (0, 255, 0)
HEAD = np.array([0.1, 0.6, 0.2])
LOOK = draw_appearance(np.random.default_rng(0))
ALL = [(name, sign) for name in ACTION_UNITS for sign in ((1.0, -1.0) if name in SIGNED_UNITS else (1.0,))]


def landmarks(units: dict[str, float], template: np.ndarray = TEMPLATE) -> np.ndarray:
    return face_points({name: np.array([value]) for name, value in units.items()}, template)[0] if units else template


def vertices(units: dict[str, float], template: np.ndarray = TEMPLATE) -> np.ndarray:
    return face_vertices(landmarks(units, template), units)


def camera(size: int, span: float = 0.26) -> Camera:
    axes = np.diag([1.0, -1.0, -1.0])
    return Camera(HEAD + [0, -0.01, 3.0], axes, 3.0 * size / span, np.full(2, size / 2))


def portrait(units=None, turn=0.0, nod=0.0, size=160, look=LOOK, template=TEMPLATE, span=0.26) -> tuple[np.ndarray, np.ndarray]:
    """A picture before green, without a skull, and the landmarks' pixels (70, 2)."""
    units = units or {}
    axes = rotation(*(np.deg2rad([angle]) for angle in (nod, turn, 0.0)))[0]
    points = HEAD + landmarks(units, template) @ axes.T
    primitives, view = Primitives(), camera(size, span)
    add_face(primitives, points, axes, HEAD, look, units)
    backdrop = np.broadcast_to(np.array(GREEN, np.uint8), (size, size, 3)).copy()
    return render(primitives, view, (size, size), backdrop, Light(shadow=0.0)).astype(int), view.project(points)


def area(picture: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """(n, 3) colours of the pixels inside a polygon (k, 2) px."""
    height, width = picture.shape[:2]
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return picture[inside(np.stack([x.ravel(), y.ravel()], 1), polygon).reshape(height, width)]


def across(points: np.ndarray) -> np.ndarray:
    a, b, c = (points[face_mesh().faces[:, i]] for i in range(3))
    return np.cross(b - a, c - a)


@pytest.mark.parametrize("step", [1.0, MEDIUM, COARSE])
def test_the_mesh_is_whole_and_its_own_mirror_image(step):
    mesh = face_mesh(step)
    assert mesh.faces.min() == 0 and mesh.faces.max() == len(mesh.neutral) - 1
    assert np.isfinite(mesh.neutral).all() and np.isfinite(mesh.follow).all()
    skin = mesh.neutral[: mesh.skin]
    assert cKDTree(skin).query(skin * [-1, 1, 1])[0].max() < 1e-9
    edges = np.sort(np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]]), 1)
    count = np.unique(edges, axis=0, return_counts=True)[1]
    assert count.max() == 2  # no fins
    again = face_mesh.__wrapped__(step)
    assert all(np.array_equal(getattr(mesh, name), getattr(again, name)) for name in ("neutral", "follow", "faces", "plane"))


@pytest.mark.parametrize(("unit", "sign"), ALL)
def test_no_triangle_degenerates_or_flips(unit, sign):
    neutral, moved = across(vertices({})), across(vertices({unit: sign}))
    assert np.linalg.norm(moved, axis=1).min() > 1e-8  # m2, twice the area
    skin = (np.array(PARTS)[face_mesh().part[face_mesh().faces]] == "skin").all(1)
    flipped = (neutral * moved).sum(1) < 0
    # a hair's breadth in the corners of eyes and lips may turn
    assert np.linalg.norm(neutral[flipped & ~skin], axis=1).sum() < 2e-6
    assert np.linalg.norm(neutral[flipped & skin], axis=1).sum() < 12e-6


@settings(max_examples=30, deadline=None)
@given(
    units=st.fixed_dictionaries({n: st.floats(-1 if n in SIGNED_UNITS else 0, 1) for n in ACTION_UNITS}),
    seed=st.integers(0, 50), size=st.tuples(*[st.floats(0.95, 1.05)] * 3),
)  # fmt: skip
def test_the_surface_passes_through_the_landmarks(units, seed, size):
    template = draw_face(np.random.default_rng(seed), 1.0) * size
    points = landmarks(units, template)
    mesh = vertices(units, template)
    assert cKDTree(mesh).query(points[:68])[0].max() < 1e-9
    assert np.abs(mesh[:, 0]).max() < 0.1 and mesh[:, 1].min() > -0.16 and mesh[:, 1].max() < 0.13


def test_size_and_place_of_the_head_carry_over():
    units = {"smile": 0.6, "mouth_open": 0.3}
    np.testing.assert_allclose(head_scale(1.07 * landmarks(units)), 1.07, atol=1e-12)
    np.testing.assert_allclose(
        face_vertices(1.07 * landmarks(units), units), 1.07 * face_vertices(landmarks(units), units), atol=1e-12
    )
    axes = rotation(*(np.array([angle]) for angle in (0.2, -0.4, 0.1)))[0]
    upright, turned = Primitives(), Primitives()
    add_face(upright, landmarks(units), np.eye(3), np.zeros(3), LOOK, units)
    add_face(turned, HEAD + landmarks(units) @ axes.T, axes, HEAD, LOOK, units)
    (_, _, a, faces_a, *_), (_, _, b, faces_b, *_) = upright.arrays(), turned.arrays()
    np.testing.assert_array_equal(faces_a, faces_b)
    np.testing.assert_allclose(b[:, :3], HEAD + a[:, :3] @ axes.T, atol=1e-9)
    np.testing.assert_allclose(b[:, 3:6], a[:, 3:6] @ axes.T, atol=1e-6)


@pytest.mark.parametrize(("turn", "nod"), [(0, 0), (30, 0), (-30, 0), (0, 20), (0, -20), (20, -10)])
@pytest.mark.parametrize(
    "units", [{}, {"mouth_open": 1.0}, {"smile": 1.0, "eye_close": 1.0}, {"cheek_bulge": 1.0, "brow_up": 1.0}]
)
def test_there_are_no_holes(units, turn, nod):
    picture, pixels = portrait(units, turn, nod)
    # between jaw and brows, a little way in
    outline = pixels[[*range(2, 15), 26, 25, 24, 23, 22, 21, 20, 19, 18, 17]]
    outline = outline.mean(0) + 0.93 * (outline - outline.mean(0))
    colours = area(picture, outline)
    assert len(colours) > 2000
    assert not (colours[:, 1] > colours[:, 0] + 40).any()


def test_eyes_close_and_look_where_the_pupils_are():
    def eye(units):
        picture, pixels = portrait(units, size=400, span=0.2, look=IDENTITY_FREE)
        _, neutral = portrait({}, size=400, span=0.2)
        lids = neutral[36:42]
        return picture, pixels, area(picture, lids.mean(0) + 0.8 * (lids - lids.mean(0)))

    dark = lambda colours: (colours.sum(1) < 250).mean()  # noqa: E731
    assert dark(eye({})[2]) > 0.2 and dark(eye({"eye_close": 1.0})[2]) < 0.1
    centers = {}
    for side in (-1.0, 0.0, 1.0):
        picture, pixels, _ = eye({"gaze_side": side})
        x, y = pixels[68].round().astype(int)
        window = picture[y - 3 : y + 4, x - 30 : x + 31].sum(-1).mean(0)
        centers[side] = x - 30 + np.average(np.arange(61), weights=(window < 230).astype(float))
    assert centers[-1.0] + 4 < centers[0.0] < centers[1.0] - 4


def test_lips_show_pressed_bitten_open():
    def mouth(**units):
        picture, pixels = portrait(units, size=400, span=0.2)
        _, neutral = portrait({}, size=400, span=0.2)
        box = neutral[48:60]
        low, high = box.min(0) - 12, box.max(0) + [12, 50]
        return picture[int(low[1]) : int(high[1]), int(low[0]) : int(high[0])].reshape(-1, 3)

    lips, skin = np.array(LOOK.lips), np.array(LOOK.skin)
    way = (lips / lips.sum() - skin / skin.sum())
    hue = lambda colours: ((colours / colours.sum(1, keepdims=True) - skin / skin.sum()) @ way) / (way @ way)  # noqa: E731
    red = lambda colours: ((hue(colours) > 0.5) & (colours.sum(1) > 150)).sum()  # noqa: E731
    black = lambda colours: (colours.sum(1) < 130).sum()  # noqa: E731
    neutral, pressed, bitten, opened = mouth(), mouth(lip_press=1.0), mouth(lip_bite=1.0), mouth(mouth_open=1.0)
    assert red(pressed) < 0.5 * red(neutral) and red(bitten) < 0.75 * red(neutral)
    assert black(opened) > 6 * max(black(neutral), black(pressed), 20)
    smiling = mouth(smile=1.0, mouth_open=0.4)
    assert ((smiling.min(1) > 110) & (np.ptp(smiling, 1) < 60)).sum() > 100  # teeth


def test_cheeks_bulge_and_rise():
    mesh, rest = face_mesh(), vertices({})
    cheek = np.argmin(np.linalg.norm(rest - [0.055, -0.050, 0.055], axis=1))
    apple = np.argmin(np.linalg.norm(rest - [0.040, -0.022, 0.091], axis=1))
    puffed, smiling = vertices({"cheek_bulge": 1.0}) - rest, vertices({"smile": 1.0}) - rest
    assert puffed[cheek] @ mesh.normals[cheek] > 0.008 and smiling[apple, 1] > 0.001 and smiling[apple, 2] > 0.003
    forehead = (mesh.neutral[:, 1] > 0.06) & (np.arange(len(rest)) < mesh.skin)
    assert np.abs(puffed[forehead]).max() < 0.001
    assert np.abs(vertices({"brow_up": 1.0})[mesh.neutral[:, 1] > 0.105] - rest[mesh.neutral[:, 1] > 0.105]).max() < 0.001


@pytest.mark.parametrize(("step", "size"), [(MEDIUM, 112), (COARSE, 48)])
def test_coarser_meshes_draw_the_same_face_with_fewer_triangles(step, size):
    axes = rotation(*(np.array([angle]) for angle in (0.1, 0.3, 0.0)))[0]
    units = {"smile": 0.7, "mouth_open": 0.5, "eye_close": 0.3}
    points, view, pictures = HEAD + landmarks(units) @ axes.T, camera(size, 0.24), []
    assert cKDTree(face_vertices(landmarks(units), units, step)).query(landmarks(units)[:68])[0].max() < 1e-9
    for detail in (1.0, step):
        primitives = Primitives()
        add_face(primitives, points, axes, HEAD, LOOK, units, detail)
        backdrop = np.full((size, size, 3), 90, np.uint8)
        pictures.append(render(primitives, view, (size, size), backdrop, Light(shadow=0.0)).astype(int))
    assert np.abs(pictures[0] - pictures[1]).mean() < 0.8 and (np.abs(pictures[0] - pictures[1]).max(-1) > 25).mean() < 0.01
    assert len(face_mesh(step).faces) < 0.7 * len(face_mesh().faces)


@pytest.mark.parametrize("size", [112, 48])
def test_small_faces_still_show_what_they_do(size):
    """In a 112 px crop, and in a face some 40 px high, every visible unit changes more pixels than none would."""
    rest, _ = portrait({}, size=size, span=0.24)
    for unit in ("smile", "lip_press", "mouth_open", "eye_close", "cheek_bulge", "brow_up", "brow_down", "pucker"):
        picture, _ = portrait({unit: 1.0}, size=size, span=0.24)
        assert (np.abs(picture - rest).sum(-1) > 30).sum() > 0.003 * size**2, unit


def test_looks_differ_and_the_mask_is_the_same_for_everybody():
    pictures = [portrait({}, look=draw_appearance(np.random.default_rng(seed)))[0] for seed in range(3)]
    assert all(np.abs(a - b).mean() > 1 for i, a in enumerate(pictures) for b in pictures[:i])
    smile, rest = (portrait(units, look=IDENTITY_FREE)[0] for units in ({"smile": 1.0}, {}))
    assert np.abs(smile - rest).mean() > 0.5
    skin = area(rest, portrait({})[1][[2, 8, 14, 22, 21]])
    assert np.median(np.ptp(skin, 1)) < 30  # no colour of skin
