"""A face of 70 landmarks (the 68 of iBUG and two pupils) in head coordinates, driven by a few action units."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from migstudy.skeletons import FACE_PARTS

# head frame, metres: origin between the ears, x to the subject's left, y up, z forward
EAR = np.array([0.077, 0.0, -0.005])
NOSE, PUPILS = FACE_PARTS["nose_line"][3], FACE_PARTS["eyes"][12:]
ACTION_UNITS = ("mouth_open", "lip_press", "lip_bite", "mouth_wide", "cheek_bulge", "brow_up", "brow_down", "eye_close")


def _mirrored(half: list, middle: list | None = None) -> list:
    """Points of the subject's right side, in order, then the middle, then the left side in reverse order."""
    return [*half, *([middle] if middle else []), *([-x, y, z] for x, y, z in reversed(half))]


def _template() -> np.ndarray:
    angle = np.linspace(0, np.pi, 17)
    jaw = np.stack([-0.073 * np.cos(angle), 0.012 - 0.124 * np.sin(angle) ** 1.25, 0.005 + 0.085 * np.sin(angle) ** 1.3], -1)
    brows = _mirrored([[-0.060, 0.029, 0.078], [-0.050, 0.037, 0.092], [-0.038, 0.040, 0.099], [-0.026, 0.038, 0.103],
                       [-0.014, 0.034, 0.104]])  # fmt: skip
    bridge = [[0, 0.014, 0.104], [0, 0.000, 0.110], [0, -0.014, 0.117], [0, -0.028, 0.122]]
    nose = _mirrored([[-0.016, -0.040, 0.100], [-0.008, -0.043, 0.106]], [0, -0.045, 0.109])
    right_eye = [[-0.046, 0.011, 0.086], [-0.037, 0.017, 0.094], [-0.027, 0.017, 0.095], [-0.018, 0.010, 0.093],
                 [-0.027, 0.006, 0.094], [-0.037, 0.006, 0.093]]  # fmt: skip
    left_eye = [[-x, y, z] for x, y, z in (right_eye[i] for i in (3, 2, 1, 0, 5, 4))]
    upper = _mirrored([[-0.025, -0.067, 0.094], [-0.016, -0.061, 0.103], [-0.006, -0.058, 0.107]], [0, -0.0595, 0.1075])
    lower = _mirrored([[0.016, -0.075, 0.101], [0.007, -0.0785, 0.104]], [0, -0.079, 0.1045])
    inner_upper = _mirrored([[-0.021, -0.067, 0.096], [-0.008, -0.0655, 0.103]], [0, -0.066, 0.104])
    inner_lower = _mirrored([[0.008, -0.068, 0.103]], [0, -0.0685, 0.1035])
    pupils = [[-0.032, 0.0115, 0.095], [0.032, 0.0115, 0.095]]
    points = [*jaw, *brows, *bridge, *nose, *right_eye, *left_eye, *upper, *lower, *inner_upper, *inner_lower, *pupils]
    return np.array(points, float)


TEMPLATE = _template()
_JAW, _BROWS, _LIPS = (np.array(FACE_PARTS[part]) for part in ("jaw", "brows", "lips"))
_OUTER, _INNER = _LIPS[:12], _LIPS[12:]
_LIDS = np.array(FACE_PARTS["eyes"][:12]).reshape(2, 6)  # each eye: a corner, two above, a corner, two below
_LID_TOP, _LID_LOW = _LIDS[:, 1:3], _LIDS[:, [5, 4]]
_MOUTH = TEMPLATE[_INNER].mean(0)


def _units() -> np.ndarray:
    """(A, 70, 3) displacement of every landmark at full strength of each action unit, m."""
    moves = {name: np.zeros_like(TEMPLATE) for name in ACTION_UNITS}
    x, y = TEMPLATE[:, 0], TEMPLATE[:, 1]
    below = np.zeros(70)
    below[_LIPS] = (y[_LIPS] < _MOUTH[1] - 1e-4) * (1 - (np.abs(x[_LIPS]) / 0.026) ** 2)
    chin = np.zeros(70)
    chin[_JAW] = np.clip((-y[_JAW] - 0.045) / 0.065, 0, 1)
    moves["mouth_open"][:, 1] = -0.022 * below - 0.017 * chin
    upper = np.zeros(70)
    upper[_LIPS] = (y[_LIPS] > _MOUTH[1]) * 1.0
    moves["mouth_open"][:, 1] += 0.003 * upper * (np.abs(x) < 0.02)
    # pressed: the red of the lips disappears, the corners draw in and the chin rises a little
    for lips, share in ((_OUTER, 0.55), (_INNER, 0.9)):
        moves["lip_press"][lips, 1] = -share * (y[lips] - _MOUTH[1])
    moves["lip_press"][_LIPS, 0] = 0.12 * x[_LIPS]
    moves["lip_press"][_LIPS, 2] = -0.004
    moves["lip_press"][:, 1] += 0.006 * chin
    # bitten: the lower lip alone is drawn in, the corners towards the middle
    moves["lip_bite"][_LIPS, 1] = np.where(below[_LIPS] > 0, -0.75 * (y[_LIPS] - _MOUTH[1]), 0)
    moves["lip_bite"][_LIPS, 0] = -0.10 * x[_LIPS]
    moves["mouth_wide"][_LIPS, 0] = 0.22 * x[_LIPS]
    moves["mouth_wide"][_LIPS, 1] = 0.006 * (np.abs(x[_LIPS]) / 0.025) ** 2
    # puffed cheeks push the lower jaw line outwards and the lips together and forward
    cheek = np.exp(-(((y[_JAW] + 0.055) / 0.035) ** 2))
    moves["cheek_bulge"][_JAW, 0] = 0.010 * np.sign(x[_JAW]) * cheek
    moves["cheek_bulge"][_LIPS, 0] = -0.12 * x[_LIPS]
    moves["cheek_bulge"][_LIPS, 2] = 0.005
    moves["brow_up"][_BROWS, 1] = 0.010
    moves["brow_down"][_BROWS, 1] = -0.006
    moves["brow_down"][_BROWS, 0] = -0.004 * np.sign(x[_BROWS])
    moves["eye_close"][_LID_TOP, 1] = -0.009
    moves["eye_close"][_LID_LOW, 1] = 0.001
    return np.stack([moves[name] for name in ACTION_UNITS])


_UNITS = _units()


def face_points(units: Mapping[str, np.ndarray], template: np.ndarray = TEMPLATE) -> np.ndarray:
    """(T, 70, 3) landmarks in the head frame, m, for action units (T,) of strength 0 (rest) to 1 (full).

    template: the subject's own neutral face. Units left out rest. Raises KeyError for an unknown unit.
    """
    known = set(units) - set(ACTION_UNITS)
    if known:
        raise KeyError(f"unknown action unit {sorted(known)[0]!r}; known: {', '.join(ACTION_UNITS)}")
    strength = np.stack([units[name] for name in ACTION_UNITS if name in units], -1)
    basis = _UNITS[[i for i, name in enumerate(ACTION_UNITS) if name in units]]
    return template + np.einsum("ta,apc->tpc", strength, basis)
