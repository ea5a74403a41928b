"""Trunk, neck, arms and clothes from the joints of one frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import PchipInterpolator

from migstudy.simulate.render.appearance import Appearance
from migstudy.simulate.render.meshes import Mesh, grid_mesh
from migstudy.simulate.render.raster import Primitives
from migstudy.skeletons import BODY25_JOINTS

_NECK, _HIP = BODY25_JOINTS.index("neck"), BODY25_JOINTS.index("mid_hip")
_SIDES = tuple(
    tuple(BODY25_JOINTS.index(f"{side}_{joint}") for joint in ("shoulder", "elbow", "wrist")) for side in ("right", "left")
)
_LEGS = tuple(tuple(BODY25_JOINTS.index(f"{side}_{joint}") for joint in ("hip", "knee")) for side in ("right", "left"))
SPINE, SHOULDER = 0.50, 0.175  # of the template the rings are made for, m
# rings of the trunk: height as a share of the spine, half width, half depth and offset forward, m
_RINGS = np.array([
    [-0.20, 0.168, 0.128, 0.000], [0.00, 0.166, 0.126, 0.000], [0.15, 0.158, 0.120, 0.002], [0.30, 0.154, 0.116, 0.004],
    [0.45, 0.156, 0.115, 0.006], [0.60, 0.164, 0.117, 0.009], [0.72, 0.171, 0.118, 0.009], [0.80, 0.172, 0.114, 0.005],
    [0.87, 0.164, 0.105, -0.002], [0.92, 0.147, 0.094, -0.008], [0.96, 0.122, 0.082, -0.012], [0.995, 0.095, 0.071, -0.013],
    [1.03, 0.074, 0.063, -0.013], [1.06, 0.063, 0.058, -0.013],
    [1.10, 0.057, 0.055, -0.012],
])  # fmt: skip
_COLUMNS = 36


@dataclass(frozen=True)
class Body:
    """A person's clothed body, ready to be posed."""

    look: Appearance
    trunk: tuple[Mesh, ...]
    neckline: np.ndarray  # (n, 3) the shirt's upper edge in the trunk's frame, m

    def add(self, primitives: Primitives, joints: np.ndarray, pivot: np.ndarray) -> None:
        """Draws trunk, neck, arms and thighs of joints (137, 3) m; pivot: (3,) m where the head sits on the neck."""
        look, pelvis, neck = self.look, joints[_HIP], joints[_NECK]
        axes, spine = trunk_axes(joints)
        for mesh in self.trunk:
            mesh.add(primitives, pelvis, axes, spine / SPINE)
        yoke, skin = np.array(look.accent if look.pattern == "yoke" else look.top), np.array(look.skin)
        base = neck + axes @ np.array([0.0, -0.02, -0.016])
        wide = look.build[0]
        primitives.cone(base, pivot + axes @ np.array([0, 0.02, -0.010]), 0.057 * wide, 0.050 * wide, 0.9 * skin, 0.04)
        ring = pelvis + (self.neckline * np.array([1.0, spine / SPINE, 1.0])) @ axes.T
        if look.collar == "crew":
            primitives.cones(ring, np.roll(ring, -1, 0), 0.0055, 0.0055, 0.9 * yoke)
        for side, (shoulder, elbow, wrist) in zip((-1, 1), _SIDES):
            shoulder, elbow, wrist = joints[shoulder], joints[elbow], joints[wrist]
            slope = neck + axes @ np.array([side * 0.036, 0.044, -0.024])
            inner = 0.5 * (shoulder + neck) + axes @ np.array([0.0, -0.050, -0.016])
            # the arm hangs from a little below the joint, or the shoulders would be square
            root = shoulder + axes @ np.array([-side * 0.004, -0.014, 0.0])
            primitives.cones([slope, inner], [root, root], [0.026, 0.062], [0.054, 0.056], yoke)
            _add_arm(primitives, look, root, elbow, wrist)
        for hip, knee in _LEGS:
            primitives.cone(joints[hip], joints[knee], 0.085, 0.06, (0.12, 0.13, 0.16))


def make_body(look: Appearance, shoulder: float) -> Body:
    """shoulder: m from the neck to a shoulder joint."""
    width, depth = look.build[0] * shoulder / SHOULDER, look.build[1]
    angle = np.linspace(0, 2 * np.pi, _COLUMNS, endpoint=False)
    # a rounded rectangle: flatter in front than an ellipse
    flat = 2 / 2.5
    x, z = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** flat, np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** flat
    cuts = [share for share, _ in _bands(look)]
    rings = _refine(_RINGS, cuts)
    near_neck = np.clip((rings[:, 0] - 0.9) / 0.15, 0, 1)  # build does not widen the neck
    wide, deep = width + (1 - width) * near_neck, depth + (1 - depth) * near_neck
    # towards the neck the rings tilt: lower in front
    dip = 0.030 * np.clip((rings[:, 0] - 0.88) / 0.12, 0, 1)
    points = np.stack([
        (rings[:, 1] * wide)[:, None] * x, (rings[:, 0] * SPINE)[:, None] - dip[:, None] * z,
        (rings[:, 2] * deep)[:, None] * z + rings[:, 3:],
    ], -1)  # fmt: skip
    whole = grid_mesh(points, np.array(look.top), solid=True)
    # each band has vertices of its own, so that colours meet in a sharp line; normals are the whole trunk's
    normals, parts = whole.normals.reshape(points.shape), []
    ends = [*cuts[1:], np.inf]
    for (low, colour), high in zip(_bands(look), ends):
        rows = (rings[:, 0] >= low - 1e-9) & (rings[:, 0] <= high + 1e-9)
        part = grid_mesh(points[rows], np.array(colour), solid=True)
        parts.append(replace(part, normals=normals[rows].reshape(-1, 3)))
    parts += _front(look, points[:, 0], rings[:, 0])
    neckline = points[np.argmin(np.abs(rings[:, 0] - cuts[-1]))] * [1.02, 1.0, 1.02]
    if look.collar != "crew":
        parts.append(_collar(np.array(look.accent)))
    return Body(look, tuple(parts), neckline)


def _collar(colour: np.ndarray) -> Mesh:
    """A folded collar, open in front."""
    angle = np.deg2rad(np.linspace(14, 346, 30))
    radius = np.array([0.054, 0.059, 0.076])[:, None]
    height = np.array([1.115, 1.125, 1.05])[:, None] * SPINE - np.array([0.012, 0.012, 0.026])[:, None] * np.cos(angle)
    points = np.stack([radius * np.sin(angle), height, 0.96 * radius * np.cos(angle) - 0.012], -1)
    return grid_mesh(points, colour, ring=False)


def _bands(look: Appearance) -> list[tuple[float, tuple]]:
    """Where bands of colour of the trunk begin, as a share of the spine, from below."""
    bands = [(-0.2, look.top)]
    if look.pattern == "stripes":
        bands += [band for low in (0.10, 0.26, 0.42, 0.58) for band in ((low, look.accent), (low + 0.055, look.top))]
    elif look.pattern == "yoke":
        bands.append((0.74, look.accent))
    return [*bands, (1.055 if look.collar == "crew" else 1.06, look.skin)]


def _front(look: Appearance, line: np.ndarray, share: np.ndarray) -> list[Mesh]:
    """An opening below the collar that shows skin, or a zip; line (n, 3) m down the middle of the front."""
    if look.collar == "crew":
        return []
    rows = (share > (0.86 if look.collar == "polo" else -0.1)) & (share < 1.09)
    middle = line[rows] + [0.0, 0.0, 0.002]
    half = 0.022 * (share[rows] - 0.86) / 0.23 if look.collar == "polo" else np.full(rows.sum(), 0.004)
    colour = np.array(look.skin) if look.collar == "polo" else 0.8 * np.array(look.accent)
    across = np.stack([middle + half[:, None] * np.array([k, 0.0, 0.0]) for k in (-1.0, 0.0, 1.0)], 1)
    return [grid_mesh(across, colour, ring=False)]


def trunk_axes(joints: np.ndarray) -> tuple[np.ndarray, float]:
    """Axes (3, 3) of the trunk as columns, and the length of the spine in m."""
    up = joints[_NECK] - joints[_HIP]
    spine = float(np.linalg.norm(up))
    up = up / spine
    across = joints[_SIDES[1][0]] - joints[_SIDES[0][0]]
    across = across - (across @ up) * up
    across = across / np.linalg.norm(across)
    return np.stack([across, up, np.cross(across, up)], 1), spine


def _add_arm(primitives: Primitives, look: Appearance, shoulder: np.ndarray, elbow: np.ndarray, wrist: np.ndarray) -> None:
    skin, top = np.array(look.skin), np.array(look.accent if look.pattern == "yoke" else look.top)
    hem, bulge = shoulder + 0.62 * (elbow - shoulder), elbow + 0.30 * (wrist - elbow)
    if look.long_sleeves:
        end = elbow + 0.93 * (wrist - elbow)
        primitives.cones(
            [shoulder, elbow, bulge], [elbow, bulge, end], [0.056, 0.049, 0.051], [0.049, 0.051, 0.038], top,
        )  # fmt: skip
        cuff = np.array(look.top if look.pattern == "yoke" else look.accent)
        primitives.cone(elbow + 0.90 * (wrist - elbow), end, 0.039, 0.039, cuff)
        primitives.cone(bulge, wrist, 0.040, 0.0245, skin, 0.06)
    else:
        primitives.cone(shoulder, hem, 0.057, 0.058, top)
        first, last = [0.050, 0.040, 0.0425], [0.041, 0.0425, 0.0250]
        primitives.cones([shoulder, elbow, bulge], [elbow, bulge, wrist], first, last, skin, 0.06)


def _refine(rings: np.ndarray, cuts: list[float]) -> np.ndarray:
    """More rings (n, 4) along a smooth curve through the given ones, at every share of the spine in `cuts` too."""
    at = np.unique(np.round([*rings[:, 0], *(0.5 * (rings[1:, 0] + rings[:-1, 0])), *cuts], 6))
    return np.concatenate([at[:, None], PchipInterpolator(rings[:, 0], rings[:, 1:])(at)], 1)
