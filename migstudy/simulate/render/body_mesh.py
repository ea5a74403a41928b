"""Trunk, neck, arms and clothes from the joints of one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
    [1.03, 0.073, 0.062, -0.012], [1.06, 0.061, 0.056, -0.010],
])  # fmt: skip
_COLUMNS = 40


@dataclass(frozen=True)
class Body:
    """A person's clothed body, ready to be posed."""

    look: Appearance
    trunk: Mesh
    collar: np.ndarray  # (n, 3) a closed line around the neck in the trunk's frame, m
    width: float

    def add(self, primitives: Primitives, joints: np.ndarray, pivot: np.ndarray) -> None:
        """Draws trunk, neck, arms and thighs of joints (137, 3) m; pivot: (3,) m where the head sits on the neck."""
        look, pelvis, neck = self.look, joints[_HIP], joints[_NECK]
        axes, spine = trunk_axes(joints)
        self.trunk.add(primitives, pelvis, axes, spine / SPINE)
        top, skin = np.array(look.top), np.array(look.skin)
        base = neck + axes @ np.array([0.0, -0.03, -0.014])
        primitives.cone(base, pivot + axes @ np.array([0, 0.015, -0.012]), 0.062, 0.053, skin, 0.06)
        ring = pelvis + (self.collar * np.array([1.0, spine / SPINE, 1.0])) @ axes.T
        if look.collar != "crew":
            primitives.cones(ring, np.roll(ring, -1, 0), 0.0105, 0.0105, np.array(look.accent))
        for side, (shoulder, elbow, wrist) in zip((-1, 1), _SIDES):
            shoulder, elbow, wrist = joints[shoulder], joints[elbow], joints[wrist]
            slope = neck + axes @ np.array([side * 0.046, 0.020, -0.016])
            inner = 0.5 * (shoulder + neck) + axes @ np.array([0.0, -0.055, -0.012])
            # the arm hangs from a little below the joint, or the shoulders would be square
            root = shoulder + axes @ np.array([-side * 0.004, -0.014, 0.0])
            primitives.cones(
                [slope, inner], [shoulder + axes @ np.array([-side * 0.016, -0.016, -0.004]), root], [0.034, 0.078],
                [0.047, 0.055], top,
            )  # fmt: skip
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
    near_neck = np.clip((_RINGS[:, 0] - 0.9) / 0.15, 0, 1)  # build does not widen the neck
    wide, deep = width + (1 - width) * near_neck, depth + (1 - depth) * near_neck
    points = np.stack([
        (_RINGS[:, 1] * wide)[:, None] * x, np.broadcast_to((_RINGS[:, 0] * SPINE)[:, None], (len(_RINGS), _COLUMNS)),
        (_RINGS[:, 2] * deep)[:, None] * z + _RINGS[:, 3:],
    ], -1)  # fmt: skip
    points, height = _refine(points), _refine(np.broadcast_to(_RINGS[:, :1, None], (len(_RINGS), _COLUMNS, 1)))[..., 0]
    colours = np.broadcast_to(np.array(look.top), points.shape).copy()
    if look.pattern == "yoke":
        colours[height > 0.80] = look.accent
    elif look.pattern == "stripes":
        colours[((height % 0.16) < 0.055) & (height < 0.68)] = look.accent
    if look.collar == "crew":
        colours[height > 1.02 - 0.05 * np.clip(points[..., 2] / 0.06, 0, 1)] = look.skin
    else:
        # an opening below the collar: skin for a polo shirt, the accent's colour for a zip
        middle = (np.abs(points[..., 0]) < 0.020) & (points[..., 2] > 0)
        if look.collar == "polo":
            colours[middle & (height > 0.90) & (np.abs(points[..., 0]) < 0.25 * (height - 0.86) * SPINE)] = look.skin
        else:
            colours[(np.abs(points[..., 0]) < 0.006) & (points[..., 2] > 0)] = np.array(look.accent) * 0.8
    angle = np.linspace(0, 2 * np.pi, 20, endpoint=False) + 0.16
    collar = np.stack([0.062 * np.sin(angle), SPINE * (1.055 - 0.03 * np.cos(angle)), 0.060 * np.cos(angle) - 0.010], -1)
    return Body(look, grid_mesh(points, colours), collar, width)


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
    skin, top = np.array(look.skin), np.array(look.top)
    cuff, bulge = shoulder + 0.62 * (elbow - shoulder), elbow + 0.30 * (wrist - elbow)
    if look.long_sleeves:
        end = elbow + 0.93 * (wrist - elbow)
        primitives.cones(
            [shoulder, elbow, bulge], [elbow, bulge, end], [0.056, 0.049, 0.051], [0.049, 0.051, 0.038], top,
        )  # fmt: skip
        primitives.cone(elbow + 0.90 * (wrist - elbow), end, 0.039, 0.039, np.array(look.accent))
        primitives.cone(bulge, wrist, 0.040, 0.0245, skin, 0.06)
    else:
        primitives.cone(shoulder, cuff, 0.057, 0.058, top)
        primitives.cones([shoulder, elbow, bulge], [elbow, bulge, wrist], [0.050, 0.040, 0.0425], [0.041, 0.0425, 0.0250], skin, 0.06)


def _refine(rings: np.ndarray, times: int = 3) -> np.ndarray:
    """Rings (rows, columns, d) with `times` - 1 more between each pair, along a smooth curve."""
    from scipy.interpolate import PchipInterpolator

    at = np.arange(len(rings))
    return PchipInterpolator(at, rings)(np.linspace(0, len(rings) - 1, times * (len(rings) - 1) + 1))
