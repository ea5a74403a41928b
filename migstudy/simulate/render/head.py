"""Skull, ears, hair and headwear in head coordinates (origin between the ears, x to the subject's left, y up, z forward)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from migstudy.simulate.render.appearance import Appearance
from migstudy.simulate.render.meshes import Mesh, grid_mesh
from migstudy.simulate.render.raster import Primitives

SKULL, SKULL_AXES = np.array([0.0, 0.028, 0.0]), np.array([0.0755, 0.097, 0.102])  # m
# ellipsoids behind the face: vault, back of the head, jaw; none reaches through it
_FILLING = (
    ((0.0, 0.060, -0.004), (0.068, 0.065, 0.094)), ((0.0, 0.018, -0.020), (0.0755, 0.075, 0.083)),
    ((0.0, -0.045, 0.015), (0.056, 0.052, 0.058)),
)  # fmt: skip
_EAR = np.array([0.0785, -0.004, -0.012])
# the hair's edge: degrees around from the front, and down from the crown
_AROUND = np.array([0, 30, 50, 68, 84, 97, 115, 150, 180.0])
_EDGE = np.array([48, 51, 62, 90, 101, 92, 106, 122, 126.0])
# thickness above the skull in m: crown, front, sides, back
_THICKNESS = {
    "short": (0.022, 0.022, 0.010, 0.014), "full": (0.042, 0.032, 0.026, 0.032), "cropped": (0.007, 0.013, 0.005, 0.006),
    "long": (0.022, 0.020, 0.018, 0.022), "bun": (0.013, 0.017, 0.010, 0.014), "ponytail": (0.014, 0.018, 0.010, 0.014),
}  # fmt: skip
_ROWS, _COLUMNS = 16, 36


@dataclass(frozen=True)
class Head:
    """Everything of a person's head but the face, ready to be placed. scale: (3,) the person's head against the template's."""

    scale: np.ndarray
    skin: tuple
    meshes: tuple[Mesh, ...]
    balls: tuple[tuple, ...]  # ellipsoids: centre, semi-axes, colour

    def add(self, primitives: Primitives, head: np.ndarray, axes: np.ndarray) -> None:
        """Draws it at head (3,) m with axes (3, 3) as columns."""
        for mesh in self.meshes:
            mesh.add(primitives, head, axes)
        centers = np.array([ball[0] for ball in self.balls])
        sizes = np.array([ball[1] for ball in self.balls])
        colours = np.array([ball[2] for ball in self.balls])
        primitives.ellipsoids(head + centers @ axes.T, axes * sizes[:, None, :], colours, 0.06)


def make_head(look: Appearance, scale: np.ndarray, rng: np.random.Generator) -> Head:
    """The head of a person; rng: for the strands of the hair."""
    skin = np.array(look.skin)
    balls = [(np.array(at) * scale, np.array(axes) * scale, skin) for at, axes in _FILLING]
    for side in (-1, 1):
        ear = _EAR * [side, 1, 1] * scale
        balls += [(ear, np.array([0.0085, 0.029, 0.0165]) * scale, skin * [0.97, 0.93, 0.92])]
        balls += [(ear + [side * 0.006, 0.002, 0.005], np.array([0.0040, 0.019, 0.0095]) * scale, skin * 0.8)]
    meshes, hair = [], np.array(look.hair_colour)
    capped = look.headwear == "cap"
    if look.hair_style != "bald":
        meshes.append(_hair(look.hair_style, hair, scale, rng, flat=capped))
    if look.hair_style == "long":
        meshes.append(_curtain(hair, scale, rng))
    if look.hair_style == "bun" and not capped:
        balls += [(np.array([0.0, 0.135, -0.055]) * scale, np.array([0.038, 0.034, 0.038]), hair * 0.95)]
    if look.hair_style == "ponytail":
        balls += [(np.array([0.0, 0.075, -0.118]) * scale, np.array([0.022, 0.026, 0.03]), hair)]
        balls += [(np.array([0.03, -0.02, -0.135]) * scale, np.array([0.028, 0.10, 0.026]), hair * 0.9)]
    colour = np.array(look.headwear_colour)
    if capped:
        meshes += [_band(0.0, 64.0, 0.016, colour, scale, lower=12.0), *_visor(colour * 0.9, scale)]
    elif look.headwear == "headband":
        hair_front = max(_THICKNESS.get(look.hair_style, (0.01,) * 4)[1:3])
        meshes.append(_band(45.0, 60.0, 0.003 + hair_front, colour, scale, lower=18.0))
    return Head(scale, look.skin, tuple(meshes), tuple(balls))


def _shell(down: np.ndarray, around: np.ndarray, thickness: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(..., 3) points thickness m off the skull, at angles (radians) down from the crown and around from the front."""
    way = np.stack([np.sin(down) * np.sin(around), np.cos(down), np.sin(down) * np.cos(around)], -1)
    return (SKULL + way * (SKULL_AXES + thickness[..., None])) * scale


def _hair(style: str, colour: np.ndarray, scale: np.ndarray, rng: np.random.Generator, flat: bool) -> Mesh:
    around = np.linspace(-np.pi, np.pi, _COLUMNS, endpoint=False)
    edge = np.deg2rad(np.interp(np.abs(around), np.deg2rad(_AROUND), _EDGE))
    edge = edge + 0.02 * rng.standard_normal(_COLUMNS)
    share = np.linspace(0.0, 1.0, _ROWS)[:, None]
    down = share * edge
    crown, front, sides, back = _THICKNESS[style] if not flat else (0.002, 0.004, 0.007, 0.008)
    cos = np.cos(around)
    rim = np.where(cos > 0, sides + (front - sides) * cos**2, sides + (back - sides) * cos**2)
    thick = crown + (rim - crown) * np.clip(down / 1.2, 0, 1)
    curls = 0.18 if style == "full" else 0.12
    lumps = 1 + curls * _smooth_noise(rng, 1.0) * np.clip(2 * share, 0, 1)
    # a rounded edge that dives under the skin
    thick = thick * lumps * np.sqrt(np.clip(1 - share**6, 0, 1)) - 0.006 * share**12
    points = _shell(down, np.broadcast_to(around, down.shape), thick, scale)
    strands = 1 + 0.09 * rng.standard_normal(_COLUMNS) * np.clip(3 * share, 0, 1) + 0.06 * _smooth_noise(rng, 0.6)
    return grid_mesh(points, colour * strands[..., None], gloss=0.08, solid=True)


def _smooth_noise(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """(rows, columns) of standard deviation 1 that goes on around the head."""
    noise = gaussian_filter(rng.standard_normal((_ROWS, _COLUMNS)), sigma, mode=("nearest", "wrap"))
    return noise / noise.std()


def _curtain(colour: np.ndarray, scale: np.ndarray, rng: np.random.Generator) -> Mesh:
    """Long hair: a sheet around the head, open at the face, down to the shoulders."""
    around = np.deg2rad(np.linspace(66, 294, 36))
    share = np.linspace(0, 1, 10)[:, None]
    wave = 0.004 * rng.standard_normal((10, 36)) + 0.003 * np.sin(5 * share * np.pi + 3 * around)
    x = (0.091 + 0.012 * np.sin(np.pi * share)) * np.sin(around) + wave
    z = -0.02 + (0.092 - 0.03 * share) * np.cos(around) + wave
    y = 0.055 - 0.275 * share + 0.015 * np.cos(around) * share
    points = np.stack([x, np.broadcast_to(y, x.shape), z], -1) * scale
    strands = 1 + 0.12 * rng.standard_normal(36)
    return grid_mesh(points, colour * np.broadcast_to(strands[:, None], points.shape), ring=False, gloss=0.10)


def _band(top: float, bottom: float, thickness: float, colour: np.ndarray, scale: np.ndarray, lower: float) -> Mesh:
    """A ring or dome of cloth from `top` to `bottom` degrees below the crown, `lower` degrees lower at the back."""
    around = np.linspace(-np.pi, np.pi, _COLUMNS, endpoint=False)
    share = np.linspace(0, 1, 9)[:, None]
    back = lower * (0.5 - 0.5 * np.cos(around))
    down = np.deg2rad(top + (bottom - top) * share + back * (share if top == 0 else 1.0))
    # both edges of a ring, and the lower edge of a dome, are rounded
    edge = np.abs(2 * share - 1) if top else share
    thick = thickness * np.sqrt(1 - 0.6 * edge**10) * np.ones_like(down)
    return grid_mesh(_shell(down, np.broadcast_to(around, down.shape), thick, scale), colour, gloss=0.03, solid=top == 0)


def _visor(colour: np.ndarray, scale: np.ndarray) -> tuple[Mesh, Mesh]:
    around = np.deg2rad(np.linspace(-60, 60, 25))
    out = np.linspace(0.0, 1.0, 6)[:, None]
    reach = out * np.cos(1.5 * around) ** 0.7
    x = (0.080 + 0.006 * out) * np.sin(around)
    z = 0.012 + 0.086 * np.cos(around) + 0.068 * reach
    y = 0.084 - 0.030 * reach - 2.2 * x**2
    points = np.stack([x, y, z], -1) * scale
    top, under = (grid_mesh(points - [0, low, 0], shade * colour, ring=False) for low, shade in ((0, 1.0), (0.004, 0.55)))
    up = top.normals * np.sign(top.normals[:, 1].sum())
    return replace(top, normals=up), replace(under, normals=-up)
