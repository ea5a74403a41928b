"""Table, microphone, a blurred wall without text or logos, and the light of a press room."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter

from migstudy.simulate.body import TABLE_EDGE, TABLE_HEIGHT
from migstudy.simulate.camera import MICROPHONE, Camera
from migstudy.simulate.render.kernels import compiled
from migstudy.simulate.render.meshes import plate
from migstudy.simulate.render.raster import Light, Primitives

WALL = -1.7  # where the wall stands, m behind the seat
TABLE_DEPTH, TABLE_WIDTH, TABLE_TOP = 0.62, 1.9, 0.028  # depth, half width and thickness of its top, m
_LEFT, _TOP, _PER_METRE, _SIZE = -4.0, 3.2, 80, (640, 400)  # the wall's picture: corner in m, px a metre, (w, h) px
_KINDS, _KIND_SHARES = ("panels", "curtain", "plain"), (0.6, 0.2, 0.2)


@dataclass(frozen=True)
class Room:
    """table, front: colours of the table's top and front, sRGB 0..1. wall: (h, w, 3) uint8 picture of the wall."""

    table: tuple
    front: tuple
    wall: np.ndarray = field(repr=False)
    light: Light
    microphone: bool = True

    def add(self, primitives: Primitives) -> None:
        """Draws table and microphone."""
        middle = np.array([0.0, TABLE_HEIGHT, TABLE_EDGE + TABLE_DEPTH / 2])
        top = plate(middle, TABLE_WIDTH, TABLE_DEPTH / 2)
        edge = np.stack([top[3], top[2], top[2] - [0, TABLE_TOP, 0], top[3] - [0, TABLE_TOP, 0]])
        front = np.stack([edge[3], edge[2], edge[2] - [0, 0.7, 0], edge[3] - [0, 0.7, 0]]) - [0.0, 0.0, 0.02]
        faces, up, ahead = [[0, 1, 2], [0, 2, 3]], np.array([[0.0, 1, 0]] * 4), np.array([[0.0, 0, 1]] * 4)
        primitives.triangles(top, faces, self.table, up, 0.06)
        primitives.triangles(edge, faces, np.array(self.table) * 0.8, ahead)
        primitives.triangles(front, faces, self.front, ahead)
        if self.microphone:
            (foot, neck, thin), (low, tip, wide) = MICROPHONE
            primitives.cone(foot, neck, thin, thin, (0.10, 0.10, 0.11), 0.3)
            primitives.cone(low, tip, wide * 0.85, wide, (0.13, 0.13, 0.14), 0.12)
            foot = np.array(foot)
            primitives.ellipsoid(foot, np.diag([0.055, 0.012, 0.055]), (0.12, 0.12, 0.13), 0.15)

    def backdrop(self, camera: Camera, size: tuple[int, int], window: tuple[float, float, float, float]) -> np.ndarray:
        """(h, w, 3) uint8 the wall as the camera sees it in `window` (px of the full image), `size` (w, h)."""
        width, height = size
        picture = np.empty((height, width, 3), np.uint8)
        x0, y0, x1, y1 = window
        step = np.array([(x1 - x0) / width, (y1 - y0) / height]) / camera.focal
        left = (np.array([x0, y0]) - camera.center) / camera.focal + 0.5 * step
        _paint_wall(picture, self.wall, camera.position, camera.axes, left, step, WALL)
        return picture


def draw_room(rng: np.random.Generator, microphone: bool = True) -> Room:
    """A room at random."""
    tones = 0.3 * rng.random((4, 3)) + rng.uniform(0.04, 0.55, (4, 1))
    kind = str(rng.choice(_KINDS, p=_KIND_SHARES))
    wall = _draw_wall(kind, tones, rng)
    wood = np.array([0.46, 0.33, 0.22]) * rng.uniform(0.5, 1.4) if rng.random() < 0.5 else np.full(3, rng.uniform(0.12, 0.85))
    front = tones[1] if rng.random() < 0.6 else wood * 0.7
    turn, height = np.deg2rad(rng.uniform(-55, 55)), np.deg2rad(rng.uniform(28, 62))
    warm = 1 + 0.06 * rng.uniform(-1, 1) * np.array([1.0, 0.1, -1.2])
    key = 0.66 * rng.uniform(0.9, 1.1) * warm
    around = 0.34 * rng.uniform(0.85, 1.15) * (2 - warm)
    light = Light(
        key=(np.sin(turn) * np.cos(height), np.sin(height), np.cos(turn) * np.cos(height)), key_colour=tuple(key),
        fill=(-np.sin(turn) - 0.3 * np.sign(turn), 0.25, 0.8), fill_colour=(0.17, 0.18, 0.20), ambient=tuple(around),
    )  # fmt: skip
    return Room(_clip(wood), _clip(front), wall, light, microphone)


def plain_room(microphone: bool = True) -> Room:
    """The same grey room for everybody."""
    width, height = _SIZE
    wall = np.broadcast_to(np.linspace(150, 110, height)[:, None, None], (height, width, 3)).astype(np.uint8)
    return Room((0.36, 0.36, 0.37), (0.28, 0.28, 0.29), wall, Light(), microphone)


def _draw_wall(kind: str, tones: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    width, height = _SIZE
    x, y = np.meshgrid(np.arange(width) / _PER_METRE, np.arange(height) / _PER_METRE)
    base = tones[0] * np.ones((height, width, 1))
    if kind == "panels":
        base = _panels(base, x, y, tones, rng)
    elif kind == "curtain":
        folds = np.sin(2 * np.pi * x / 0.21 + 0.8 * np.sin(2 * np.pi * x / 0.9 + rng.uniform(0, 6)))
        base = base * (1 + 0.28 * folds[..., None])
    fall = 1.08 - 0.09 * y - 0.03 * np.abs(x - rng.uniform(2, 6))
    picture = gaussian_filter(base * fall[..., None], (rng.uniform(1.5, 4.0),) * 2 + (0,))
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def _panels(base: np.ndarray, x: np.ndarray, y: np.ndarray, tones: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A lattice of two abstract marks, staggered, as on a sponsors' wall."""
    pitch_x, pitch_y = rng.uniform(0.5, 0.9), rng.uniform(0.28, 0.45)
    row = np.floor(y / pitch_y)
    shifted = x + 0.5 * pitch_x * (row % 2)
    column = np.floor(shifted / pitch_x)
    u, v = (shifted / pitch_x - column - 0.5) * pitch_x, (y / pitch_y - row - 0.5) * pitch_y
    odd = (row + column) % 2 == 0
    for chosen, tone, kind in ((odd, tones[2], int(rng.integers(3))), (~odd, tones[3], int(rng.integers(3)))):
        a, b = pitch_x * rng.uniform(0.18, 0.36), pitch_y * rng.uniform(0.15, 0.33)
        if kind == 0:
            mark = (u / a) ** 2 + (v / b) ** 2 < 1
        elif kind == 1:
            mark = (np.abs(u) < a) & (np.abs(v) < b) & (np.abs(v) > 0.25 * b)
        else:
            mark = np.abs(u) / a + np.abs(v) / b < 1
        base = np.where((mark & chosen)[..., None], tone, base)
    return base


def _clip(colour: np.ndarray) -> tuple:
    return tuple(float(c) for c in np.clip(colour, 0, 1))


@compiled
def _paint_wall(picture, wall, position, axes, left, step, depth):
    """Looks the wall's picture up, bilinearly, where each pixel's ray meets the plane z = depth; its border goes on for ever."""
    height, width = picture.shape[:2]
    rows, columns = wall.shape[:2]
    for row in range(height):
        dy = left[1] + row * step[1]
        for col in range(width):
            dx = left[0] + col * step[0]
            way = axes[0, 2] * dx + axes[1, 2] * dy + axes[2, 2]
            share = (depth - position[2]) / min(way, -1e-6)
            x = position[0] + share * (axes[0, 0] * dx + axes[1, 0] * dy + axes[2, 0])
            y = position[1] + share * (axes[0, 1] * dx + axes[1, 1] * dy + axes[2, 1])
            u = min(max((x - _LEFT) * _PER_METRE - 0.5, 0.0), columns - 1.001)
            v = min(max((_TOP - y) * _PER_METRE - 0.5, 0.0), rows - 1.001)
            i, j = int(v), int(u)
            fv, fu = v - i, u - j
            for k in range(3):
                upper = wall[i, j, k] * (1 - fu) + wall[i, j + 1, k] * fu
                lower = wall[i + 1, j, k] * (1 - fu) + wall[i + 1, j + 1, k] * fu
                picture[row, col, k] = np.uint8(upper * (1 - fv) + lower * fv + 0.5)
