"""The drawn face: skin, lids, eyes, brows, lips and mouth that follow the 70 landmarks and the action units."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache

import numpy as np
from scipy.spatial import cKDTree

from migstudy.simulate.face import PUPILS, TEMPLATE
from migstudy.simulate.render.appearance import Appearance
from migstudy.simulate.render.face_sculpt import (
    BROWS,
    JAW,
    LIDS,
    NOSE,
    OUTER_LIPS,
    PARTS,
    brow_half,
    face_mesh,
    spline,
    unroll,
)  # fmt: skip
from migstudy.simulate.render.raster import Primitives, smooth_normals

_EYE_RADIUS, _EYE_BEHIND = 0.0120, np.array([0.0, 0.0010, -0.0075])  # m; its centre, from the middle of the corners
_CORNERS = ((36, 39), (45, 42))
# degrees off the line of sight and what is there; two rings at one place make a sharp edge
_EYE_RINGS = (
    (0.0, "pupil"), (10.0, "pupil"), (10.5, "iris"), (25.0, "iris"), (27.0, "limbus"), (29.5, "limbus"), (30.5, "sclera"),
    (48.0, "sclera"), (72.0, "corner"), (95.0, "corner"),
)  # fmt: skip
_EYE_COLUMNS = 20


def add_face(
    primitives: Primitives, landmarks: np.ndarray, head_axes: np.ndarray, head: np.ndarray, appearance: Appearance,
    units: Mapping[str, float], step: float = 1.0,
) -> None:  # fmt: skip
    """Adds one frame's face, from the jaw line to the hair line, to be drawn in front of the skull.

    landmarks: (70, 3) room, m. head_axes: (3, 3), columns are the head's x, y, z in the room; head: (3,) m. units: strength of
    action units, for what landmarks cannot tell (puffed cheeks, raised cheeks); those left out rest. step: of `face_mesh`.
    """
    local = (np.asarray(landmarks) - head) @ head_axes
    vertices = face_vertices(local, units, step)
    mesh, (colours, gloss) = face_mesh(step), _paint(*_looks(appearance), step)
    normals = smooth_normals(vertices, mesh.faces)
    normals[mesh.seam[1]] = normals[mesh.seam[0]]  # no edge along the jaw
    primitives.triangles(head + vertices @ head_axes.T, mesh.faces, colours, normals @ head_axes.T, gloss, fine=True)
    place, normals, faces = _eyes(local)
    colours, gloss = _paint_eyes(tuple(appearance.eyes), appearance.plain)
    primitives.triangles(head + place @ head_axes.T, faces, colours, normals @ head_axes.T, gloss, fine=True)


def face_vertices(landmarks: np.ndarray, units: Mapping[str, float], step: float = 1.0) -> np.ndarray:
    """(n, 3) vertices of `face_mesh(step)` in the head frame, m, for landmarks (70, 3) in the head frame and action units."""
    mesh, scale = face_mesh(step), head_scale(landmarks)
    vertices = mesh.neutral + mesh.follow @ (landmarks / scale - TEMPLATE)
    for name, bulge in _bulges(step).items():
        strength = units.get(name, 0.0)
        if strength:
            vertices += strength * bulge
    _fit_teeth(vertices, landmarks / scale, step)
    return vertices * scale


def _fit_teeth(vertices: np.ndarray, landmarks: np.ndarray, step: float) -> None:
    """Moves both rows of teeth, in place, so that lips hide them until the mouth is open, whatever the face's shape."""
    upper, lower = _teeth(step)
    gap = landmarks[62, 1] - landmarks[66, 1]
    edge = landmarks[61:64, 1].max() - np.clip(0.5 * (gap - 0.0030), -0.0015, 0.0040)
    vertices[upper, 1] += np.clip(edge - vertices[upper, 1].min(), -0.005, 0.005)
    edge = landmarks[65:68, 1].min() + np.clip(0.25 * (gap - 0.0080), -0.0005, 0.0020)
    vertices[lower, 1] += min(edge - vertices[lower, 1].max(), 0.0)


@cache
def _teeth(step: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the upper and of the lower teeth."""
    part = face_mesh(step).part
    return tuple(np.flatnonzero(part == PARTS.index(f"{row}_teeth")) for row in ("upper", "lower"))


def head_scale(landmarks: np.ndarray) -> np.ndarray:
    """(3,) size of a head against the template's along x, y, z, from landmarks that neither units nor identity move."""
    across = (landmarks[16, 0] - landmarks[0, 0]) / (TEMPLATE[16, 0] - TEMPLATE[0, 0])
    height, depth = landmarks[27, 1:] / TEMPLATE[27, 1:]
    usual = 0.5 * (across + depth)
    return np.array([across, np.clip(height, 0.92 * usual, 1.08 * usual), depth])


def _blob(at: np.ndarray, x: float, y: float, wide: float, high: float) -> np.ndarray:
    """(n,) Gaussian hills, one on each side, over unrolled places (n, 2)."""
    return np.exp(-(((np.abs(at[:, 0]) - x) / wide) ** 2) - ((at[:, 1] - y) / high) ** 2)


def _off_line(at: np.ndarray, a: tuple[float, float], b: tuple[float, float]) -> np.ndarray:
    """(n,) distance of unrolled places to the segment a b, on either side of the face."""
    p, a, b = np.stack([np.abs(at[:, 0]), at[:, 1]], 1), np.array(a), np.array(b)
    share = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    return np.linalg.norm(p - a - share[:, None] * (b - a), axis=1)


@cache
def _bulges(step: float) -> dict[str, np.ndarray]:
    """Action unit -> (n, 3) how the skin between the landmarks moves at full strength, m."""
    mesh = face_mesh(step)
    at, skin = mesh.plane, (np.arange(len(mesh.plane)) < mesh.skin).astype(float)
    line = lambda *rows: unroll(np.concatenate([spline(row, np.linspace(0, 1, 241)) for row in rows]) @ TEMPLATE)  # noqa: E731
    # nothing moves on the contours, which follow the landmarks alone
    soft, others = line(*LIDS[0], *LIDS[1], *OUTER_LIPS), line(JAW, *BROWS, *NOSE)
    near = np.minimum(cKDTree(soft).query(at)[0] / 0.010, cKDTree(others).query(at)[0] / 0.006)
    near = np.where(near < 0.02, 0, np.clip(near, 0, 1))
    away = skin * near**2 * (3 - 2 * near)
    out, up = mesh.normals, np.array([0.0, 1.0, 0.0])
    fold = np.exp(-((_off_line(at, (0.022, -0.038), (0.038, -0.070)) / 0.0045) ** 2))
    hollow = (away * _blob(at, 0.046, -0.056, 0.016, 0.022))[:, None] * out
    apple = (away * _blob(at, 0.040, -0.022, 0.017, 0.014))[:, None]
    lid = (skin * (near > 0) * _blob(at, 0.032, 0.016, 0.013, 0.0065))[:, None] * out
    return {
        "cheek_bulge": 0.011 * (away * _blob(at, 0.050, -0.054, 0.024, 0.024))[:, None] * out,
        "smile": 0.0050 * apple * out + 0.0025 * apple * up - 0.0016 * (away * fold)[:, None] * out,
        "mouth_open": -0.0020 * hollow, "pucker": -0.0025 * hollow, "funnel": -0.0015 * hollow,
        "eye_close": 0.0016 * lid,
        "brow_down": 0.0014 * (away * _blob(at, 0.007, 0.031, 0.006, 0.008))[:, None] * out,
        "nose_wrinkle": 0.0012 * (away * _blob(at, 0.012, 0.002, 0.006, 0.010))[:, None] * out
        - 0.0012 * (away * fold)[:, None] * out,
    }  # fmt: skip


def _looks(appearance: Appearance) -> tuple:
    """What `_paint` needs, hashable."""
    return tuple(appearance.skin), tuple(appearance.lips), tuple(appearance.hair_colour), bool(appearance.plain)


@lru_cache(maxsize=64)
def _paint(skin: tuple, lips: tuple, hair: tuple, plain: bool, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Colours (n, 3) sRGB and gloss (n,) of the mesh's vertices."""
    mesh, skin, lips, hair = face_mesh(step), np.array(skin), np.array(lips), np.array(hair)
    at, colours, gloss = mesh.plane, np.tile(skin, (len(mesh.plane), 1)), np.full(len(mesh.plane), 0.06)
    part = lambda name: mesh.part == PARTS.index(name)  # noqa: E731

    def tint(share: np.ndarray, colour: np.ndarray) -> None:
        colours[:] += np.clip(share, 0, 1)[:, None] * (colour - colours)

    strength = 0.5 if plain else 1.0
    blood = skin * [1.0, 0.84, 0.82]
    tint(0.55 * strength * _blob(at, 0.042, -0.022, 0.018, 0.015), blood)
    tint(0.45 * strength * _blob(at, 0.0, -0.034, 0.013, 0.010), blood)
    tint(0.8 * _blob(at, 0.031, 0.017, 0.018, 0.009), skin * [0.88, 0.84, 0.83])
    tint(0.5 * _blob(at, 0.026, -0.003, 0.014, 0.005), skin * [0.90, 0.86, 0.87])
    tint(0.5 * np.exp(-((_off_line(at, (0.021, -0.038), (0.036, -0.066)) / 0.004) ** 2)), skin * 0.90)
    tint(0.4 * _blob(at, 0.0, -0.0865, 0.016, 0.005), skin * 0.88)
    tint(1.3 * _blob(at, 0.0068, -0.0425, 0.0030, 0.0020), skin * 0.22)
    tint(0.5 * np.exp(-((_off_line(at, (0.0185, -0.034), (0.0195, -0.040)) / 0.0025) ** 2)), skin * 0.75)
    share = np.linspace(0, 1, 41)
    for row in BROWS:
        line = unroll(spline(row, share) @ TEMPLATE)
        distance, nearest = cKDTree(line).query(at)
        shown = np.clip(1.8 - distance / brow_half(share[nearest]), 0, 1) * (np.arange(len(at)) < mesh.skin)
        tint(0.92 * shown, 0.75 * hair + 0.125 * skin)
    for upper, _ in LIDS:
        distance, nearest = cKDTree(lid := unroll(spline(upper, share) @ TEMPLATE)).query(at)
        crease = np.exp(-(((distance - 0.0040) / 0.0013) ** 2)) * (at[:, 1] > lid[nearest, 1])
        tint(0.55 * crease, skin * [0.74, 0.66, 0.64])
    colours[part("lip")] = lips
    edge = part("lip") & (np.arange(len(at)) < mesh.skin)  # the outer contour belongs to both
    colours[edge] = 0.5 * (lips + skin * [0.97, 0.93, 0.92])
    colours[part("lip_rim")] = lips * [0.72, 0.62, 0.62]
    colours[part("mouth")] = [0.09, 0.03, 0.03]
    colours[part("tongue")] = [0.52, 0.24, 0.24]
    colours[part("upper_teeth") | part("lower_teeth")] = [0.70, 0.67, 0.61]
    colours[part("lower_teeth")] *= 0.85
    colours[part("upper_lid_rim")] = 0.2 * skin + [0.03, 0.02, 0.02]
    colours[part("lower_lid_rim")] = skin * [0.72, 0.55, 0.53]
    colours[part("throat")] = skin * 0.96
    gloss[part("lip")], gloss[part("upper_teeth") | part("tongue")] = 0.16, 0.25
    gloss[part("mouth") | part("upper_lid_rim") | part("throat")] = 0.0
    return colours, gloss


@cache
def _eye() -> tuple[np.ndarray, np.ndarray]:
    """Directions (m, 3) of the vertices of an eye that looks along z, and its faces (k, 3)."""
    down = np.deg2rad([ring[0] for ring in _EYE_RINGS])[:, None]
    around = np.linspace(0, 2 * np.pi, _EYE_COLUMNS, endpoint=False)
    ball = np.stack([np.sin(down) * np.cos(around), np.sin(down) * np.sin(around), np.cos(down) + 0 * around], -1)
    here = np.arange((len(down) - 1) * _EYE_COLUMNS)
    beside = here // _EYE_COLUMNS * _EYE_COLUMNS + (here + 1) % _EYE_COLUMNS
    quads = np.stack([here, here + _EYE_COLUMNS, beside, beside, here + _EYE_COLUMNS, beside + _EYE_COLUMNS], 1)
    return ball.reshape(-1, 3), quads.reshape(-1, 3)


def _eyes(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (2m, 3), normals and faces of both eyes in the head frame, turned so that they look through the pupils."""
    ball, faces = _eye()
    size = head_scale(landmarks).mean()
    place, normals = [], []
    for corners, pupil in zip(_CORNERS, PUPILS):
        center = landmarks[list(corners)].mean(0) + size * _EYE_BEHIND
        ahead = landmarks[pupil] - center
        ahead = ahead / np.linalg.norm(ahead)
        aside = np.array([ahead[2], 0.0, -ahead[0]]) / np.hypot(ahead[0], ahead[2])
        turned = ball @ np.stack([aside, np.cross(ahead, aside), ahead])
        normals.append(turned)
        place.append(center + size * _EYE_RADIUS * turned)
    return np.concatenate(place), np.concatenate(normals), np.concatenate([faces, faces + len(ball)])


@lru_cache(maxsize=64)
def _paint_eyes(iris: tuple, plain: bool) -> tuple[np.ndarray, float]:
    iris = np.array(iris)
    white = np.array([0.76, 0.745, 0.73] if plain else [0.78, 0.765, 0.75])
    table = {"pupil": np.array([0.03, 0.03, 0.03]), "iris": iris, "limbus": 0.45 * iris, "sclera": white,
             "corner": white * [0.92, 0.84, 0.82]}  # fmt: skip
    rings = np.repeat(np.array([table[name] for _, name in _EYE_RINGS]), _EYE_COLUMNS, 0)
    return np.tile(rings, (2, 1)), 0.14
