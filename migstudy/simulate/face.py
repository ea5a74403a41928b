"""A face of 70 landmarks (the 68 of iBUG and two pupils) in head coordinates, driven by facial action units.

Units follow the Facial Action Coding System (Ekman, Friesen and Hager 2002); sizes at full strength are our reconstruction.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from migstudy.skeletons import FACE_PARTS

# head frame, metres: origin between the ears, x to the subject's left, y up, z forward
EAR = np.array([0.077, 0.0, -0.005])
NOSE, PUPILS = FACE_PARTS["nose_line"][3], FACE_PARTS["eyes"][12:]

# FACS number, what it looks like, how far the landmark that moves most goes at strength 1 on the average face
UNITS = {
    "mouth_open": "AU25+26, the jaw turns open and the lips part by 21 mm",
    "lip_press": "AU24, lips pressed until little of their red is left: 62 % thinner, chin 4 mm up",
    "lip_bite": "AD32, the lower lip drawn in under the teeth: 8 mm up, 5 mm back",
    "mouth_wide": "AU20, lips stretched sideways: each corner 5 mm out, lips thinner",
    "cheek_bulge": "AD34, cheeks puffed: jaw line 8 mm out, lips closed and 4 mm forward",
    "brow_up": "AU1+2, the whole brow 10 mm up",
    "brow_down": "AU4, brows 7 mm down and 4 mm together at their inner ends",
    "eye_close": "AU43/45, the upper lid comes down on the lower one (9 mm)",
    "smile": "AU6+12, lip corners 8 mm up, 6 mm out and back; the raised cheek lifts the lower lids by 2 mm",
    "lip_corner_down": "AU15, lip corners 7 mm down",
    "inner_brow_up": "AU1, inner ends of the brows 9 mm up",
    "nose_wrinkle": "AU9, wings of the nose 4 mm up, upper lip and lower lids up, brows down",
    "pucker": "AU18, lips drawn together to 60 % of their width and 7 mm forward",
    "funnel": "AU22, lips 25 % narrower, 6 mm forward and 8 mm apart, as for a rounded vowel",
    "chin_raise": "AU17, chin and lower lip 5 mm up, upper lip pushed 2 mm up",
    "eye_wide": "AU5, upper lids 3 mm up",
    "lid_tight": "AU7, lower lids 2.5 mm up, upper lids 1.5 mm down",
    "jaw_side": "AD30, jaw 7 mm to the subject's left; negative: right",
    "gaze_side": "AU61/62, pupils 5 mm (25 degrees) to the subject's left; negative: right",
    "gaze_up": "AU63/64, pupils 4 mm (20 degrees) up, the lids follow; negative: down",
}  # fmt: skip
ACTION_UNITS = tuple(UNITS)
SIGNED_UNITS = ("jaw_side", "gaze_side", "gaze_up")  # -1 to 1, the others 0 to 1


def _mirrored(half: list, middle: list | None = None) -> list:
    """Points of the subject's right side, in order, then the middle, then the left side in reverse order."""
    return [*half, *([middle] if middle else []), *([-x, y, z] for x, y, z in reversed(half))]


def _template() -> np.ndarray:
    angle = np.linspace(0, np.pi, 17)
    wide = -0.073 * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.8
    # the jaw's angle below the ear: down first, then forward
    jaw = np.stack([wide, 0.012 - 0.124 * np.sin(angle) ** 1.25, 0.005 + 0.085 * np.sin(angle) ** 2.0], -1)
    jaw[8, 0] = 0.0
    brows = _mirrored([[-0.060, 0.029, 0.078], [-0.050, 0.037, 0.092], [-0.038, 0.040, 0.099], [-0.026, 0.038, 0.103],
                       [-0.014, 0.034, 0.104]])  # fmt: skip
    bridge = [[0, 0.014, 0.104], [0, 0.000, 0.110], [0, -0.014, 0.117], [0, -0.028, 0.122]]
    nose = _mirrored([[-0.016, -0.040, 0.100], [-0.008, -0.043, 0.106]], [0, -0.045, 0.109])
    right_eye = [[-0.046, 0.011, 0.086], [-0.037, 0.0162, 0.094], [-0.027, 0.0162, 0.095], [-0.018, 0.010, 0.093],
                 [-0.027, 0.0064, 0.094], [-0.037, 0.0064, 0.093]]  # fmt: skip
    left_eye = [[-x, y, z] for x, y, z in (right_eye[i] for i in (3, 2, 1, 0, 5, 4))]
    upper = _mirrored([[-0.025, -0.067, 0.094], [-0.016, -0.061, 0.103], [-0.006, -0.058, 0.107]], [0, -0.0595, 0.1075])
    lower = _mirrored([[0.016, -0.075, 0.101], [0.007, -0.0785, 0.104]], [0, -0.079, 0.1045])
    inner_upper = _mirrored([[-0.021, -0.067, 0.096], [-0.008, -0.0663, 0.103]], [0, -0.0668, 0.104])
    inner_lower = _mirrored([[0.008, -0.0676, 0.103]], [0, -0.0680, 0.1035])
    pupils = [[-0.032, 0.0115, 0.095], [0.032, 0.0115, 0.095]]
    points = [*jaw, *brows, *bridge, *nose, *right_eye, *left_eye, *upper, *lower, *inner_upper, *inner_lower, *pupils]
    return np.array(points, float)


TEMPLATE = _template()
_JAW, _BROWS, _LIPS = (np.array(FACE_PARTS[part]) for part in ("jaw", "brows", "lips"))
_INNER = _LIPS[12:]
_LIDS = np.array(FACE_PARTS["eyes"][:12]).reshape(2, 6)  # each eye: a corner, two above, a corner, two below
_LID_TOP, _LID_LOW = _LIDS[:, 1:3], _LIDS[:, [5, 4]]
_CORNERS = [48, 54, 60, 64]
_UPPER, _LOWER = np.array([*range(49, 54), 61, 62, 63]), np.array([*range(55, 60), 65, 66, 67])
_GAP_TOP, _GAP_LOW = np.array([61, 62, 63]), np.array([67, 66, 65])  # inner lips, upper above lower
_RED_TOP, _RED_LOW = np.array([50, 51, 52]), np.array([58, 57, 56])  # the outer lips beside them
_WINGS, _NOSTRILS = [31, 35], [32, 34]


def displacements(template: np.ndarray = TEMPLATE) -> np.ndarray:
    """(A, 70, 3) way of every landmark at full strength of each of ACTION_UNITS, m, for a neutral face (70, 3)."""
    moves = {name: np.zeros_like(template) for name in ACTION_UNITS}
    scale = np.ptp(template[:, 1]) / np.ptp(TEMPLATE[:, 1])
    mm, (x, y, z) = 0.001 * scale, template.T
    side, line = np.sign(x), template[_INNER, 1].mean()
    out = np.zeros(70)
    out[_LIPS] = np.abs(x[_LIPS]) / np.abs(x[54])  # 0 in the middle of the mouth, 1 at its corners
    bow = 1 - out**2
    lips, upper, lower = (np.isin(np.arange(70), which).astype(float) for which in (_LIPS, _UPPER, _LOWER))
    corner = lips * out**2
    chin = np.zeros(70)
    chin[_JAW] = np.clip((z[_JAW] - z[0]) / (z[8] - z[0]), 0, 1) # how far a point of the jaw line goes with the bone

    m = moves["mouth_open"]
    jaw = chin + lower * (0.35 + 0.65 * bow)
    m[:, 1] = mm * (-19 * jaw - 7 * corner * (1 - lower) + 2 * upper * bow)
    m[:, 2] = mm * -5 * jaw
    m[:, 0] = -0.08 * lips * x
    m = moves["lip_press"]
    m[_LIPS, 1] = 0.62 * (line - y[_LIPS])
    m[_INNER, 1] = 0.92 * (line - y[_INNER])
    m[:, 2] = -4 * mm * lips
    m[:, 0] = 0.03 * lips * x
    m[:, 1] += 4 * mm * chin**3
    m = moves["lip_bite"]
    m[:, 1] = lower * 0.58 * bow * (line + 1.5 * mm - y)
    m[_GAP_LOW, 1] = 0.9 * (y[_GAP_TOP] - y[_GAP_LOW])
    m[:, 2] = -5 * mm * lower * bow
    m[:, 0] = -0.06 * lips * x
    m = moves["mouth_wide"]
    m[:, 0], m[:, 2] = 0.20 * lips * x, mm * (-4 * corner - 1.5 * lips)
    m[:, 1] = 0.15 * lips * bow * (line - y) - 0.5 * mm * corner
    m = moves["cheek_bulge"]
    puff = np.zeros(70)
    puff[_JAW] = np.exp(-(((y[_JAW] - line - 12 * mm) / (36 * mm)) ** 2))
    m[:, 0] = 8 * mm * side * puff * (1 - chin**4) - 0.14 * lips * x
    m[:, 2] = mm * 4 * lips * bow
    m[_GAP_TOP, 1], m[_GAP_LOW, 1] = (0.45 * s * (y[_GAP_LOW] - y[_GAP_TOP]) for s in (1, -1))
    along = np.zeros(70)
    along[_BROWS] = [0, 0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25, 0]  # of a brow, from its outer to its inner end
    brows = np.isin(np.arange(70), _BROWS).astype(float)
    arch = brows * (1 - (2 * along - 1) ** 2)
    moves["brow_up"][:, 1] = mm * (6 * brows + 2 * along + 3 * arch)
    moves["brow_up"][:, 2] = -1.5 * mm * brows
    moves["brow_down"][:, 1] = -mm * (3.0 * brows + 4 * along)
    moves["brow_down"][:, 0] = -4 * mm * side * along
    moves["brow_down"][:, 2] = mm * along
    moves["inner_brow_up"][:, 1] = 9 * mm * along**1.5
    moves["inner_brow_up"][:, 0] = -1.5 * mm * side * along**2
    slit = y[_LID_TOP] - y[_LID_LOW]
    moves["eye_close"][_LID_TOP, 1], moves["eye_close"][_LID_LOW, 1] = -0.9 * slit, 0.1 * slit
    moves["eye_wide"][_LID_TOP, 1] = 3 * mm
    moves["eye_wide"][_LID_TOP, 2] = -0.5 * mm
    moves["lid_tight"][_LID_TOP, 1], moves["lid_tight"][_LID_LOW, 1] = -1.5 * mm, 2.5 * mm
    m = moves["smile"]
    m[:, 0], m[:, 2] = 0.24 * lips * x, mm * (-6 * corner - 1.5 * lips * bow)
    m[:, 1] = mm * (8 * corner + 1.0 * upper * bow - 0.5 * lower * bow) + 0.12 * lips * bow * (line - y)
    m[_LID_LOW, 1] = 2 * mm
    m[_WINGS, 0] = 1.2 * mm * side[_WINGS]
    m = moves["lip_corner_down"]
    m[:, 1], m[:, 0] = mm * (-7 * corner + 0.6 * lower * bow), 0.04 * lips * x
    m = moves["nose_wrinkle"]
    m[_WINGS] = mm * np.stack([0.8 * side[_WINGS], [4, 4], [-1, -1]], -1)
    m[_NOSTRILS, 1], m[NOSE, 1] = 2 * mm, mm
    m[:, 1] += mm * (upper * (1.5 + 2 * bow) - 2 * along - brows)
    m[_LID_LOW, 1] = 1.2 * mm
    m = moves["pucker"]
    m[:, 0], m[:, 2] = -0.40 * lips * x, mm * lips * (4 + 3 * bow)
    m[_RED_TOP, 1], m[_RED_LOW, 1], m[_LOWER[[0, 4]], 1] = mm, 0.5 * mm, -0.5 * mm
    m[_GAP_TOP, 1], m[_GAP_LOW, 1] = (0.3 * s * (y[_GAP_LOW] - y[_GAP_TOP]) for s in (1, -1))
    m = moves["funnel"]
    m[:, 0], m[:, 2] = -0.25 * lips * x, mm * lips * (3.5 + 2.5 * bow)
    m[:, 1] = mm * bow * (3.5 * upper - 4.5 * lower) - 1.5 * mm * chin**2
    m = moves["chin_raise"]
    m[:, 1] = mm * (5 * chin**3 + bow * (2.2 * upper + 5 * lower) - 1.0 * corner)
    m[_GAP_LOW, 1] = m[_GAP_TOP, 1] + 0.9 * (y[_GAP_TOP] - y[_GAP_LOW])
    m[:, 2] = 2 * mm * lower * bow
    moves["jaw_side"][:, 0] = mm * (7 * chin + lower * (3 + 2 * bow) + upper * (1 + bow))
    moves["jaw_side"][_CORNERS, 0] = 2.5 * mm
    moves["gaze_side"][PUPILS, 0] = 5 * mm
    moves["gaze_up"][PUPILS, 1] = 4 * mm
    moves["gaze_up"][_LID_TOP, 1], moves["gaze_up"][_LID_LOW, 1] = 2.4 * mm, 0.8 * mm
    return np.stack([moves[name] for name in ACTION_UNITS])


def face_points(units: Mapping[str, np.ndarray], template: np.ndarray = TEMPLATE) -> np.ndarray:
    """(T, 70, 3) landmarks in the head frame, m, for action units (T,) of strength 0 (rest) to 1 (full).

    template: the subject's own neutral face. Units left out rest; of unsigned ones, what is below 0 rests. The sum of all
    units is linear except that lids stop at each other, and so do lips. Raises KeyError for an unknown unit.
    """
    unknown = set(units) - set(ACTION_UNITS)
    if unknown:
        raise KeyError(f"unknown action unit {sorted(unknown)[0]!r}; known: {', '.join(ACTION_UNITS)}")
    names = [name for name in ACTION_UNITS if name in units]
    strength = np.stack([units[name] if name in SIGNED_UNITS else np.maximum(units[name], 0) for name in names], -1)
    basis = displacements(template)[[ACTION_UNITS.index(name) for name in names]]
    points = template + np.einsum("ta,apc->tpc", strength, basis)
    height = points[..., 1]  # a view
    height[:, _LID_TOP] = np.maximum(height[:, _LID_TOP], height[:, _LID_LOW])
    height[:, _GAP_LOW] = np.minimum(height[:, _GAP_LOW], height[:, _GAP_TOP])
    red = 0.2 * (template[_RED_TOP, 1] - template[_GAP_TOP, 1]), 0.2 * (template[_GAP_LOW, 1] - template[_RED_LOW, 1])
    height[:, _RED_TOP] = np.maximum(height[:, _RED_TOP], height[:, _GAP_TOP] + red[0])
    height[:, _RED_LOW] = np.minimum(height[:, _RED_LOW], height[:, _GAP_LOW] - red[1])
    return points


def draw_face(rng: np.random.Generator, style: float) -> np.ndarray:
    """(70, 3) neutral face of a person, m: the average face changed by twelve shape components drawn at random.

    style: factor on the differences; 0 is TEMPLATE exactly. Each component keeps the face its own mirror image and lies
    within 2.2 standard deviations; those are about what anthropometry finds between adults of one size.
    """
    weights = style * np.clip(rng.standard_normal(len(_SHAPES)), -2.2, 2.2)
    return TEMPLATE + np.einsum("s,spc->pc", weights, _SHAPES)


def _shapes() -> np.ndarray:
    """(12, 70, 3) shape components at one standard deviation, m."""
    x, y, z = TEMPLATE.T
    parts = {name: np.isin(np.arange(70), list(which)).astype(float) for name, which in FACE_PARTS.items()}
    jaw, brows, nose, eyes, lips = (parts[name] for name in ("jaw", "brows", "nose_line", "eyes", "lips"))
    low = jaw * np.clip((0.012 - y) / 0.124, 0, 1)  # 0 before the ear, 1 at the chin
    wings = np.isin(np.arange(70), range(31, 36)).astype(float)
    tip = nose * np.clip((0.014 - y) / 0.042, 0, 1.2)
    line, eye = TEMPLATE[_INNER, 1].mean(), TEMPLATE[PUPILS[1]]
    zero = np.zeros(70)
    from_eye = np.stack([x - np.sign(x) * eye[0], y - eye[1], zero], -1) * eyes[:, None]
    rows = [
        (0.045 * x * jaw * np.sin(np.pi * np.minimum(low, 1)) ** 0.7, zero, zero),  # breadth of the jaw
        (zero, -0.0035 * low**3 - 0.0012 * lips, zero),  # length of the chin
        (zero, zero, 0.003 * low**3),  # chin forward
        (0.03 * x * low, zero, zero),  # a broad or a pointed chin
        (zero, -0.0022 * tip, zero),  # length of the nose
        (zero, zero, 0.0028 * tip),  # how far it stands out
        (0.11 * x * wings, zero, zero),  # its breadth
        (0.0014 * np.sign(x) * (eyes + 0.6 * brows), zero, zero),  # distance of the eyes
        tuple((0.05 * from_eye).T + np.stack([zero, 0.05 * from_eye[:, 1], zero])),  # size of the eyes
        (zero, 0.0018 * brows, zero),  # height of the brows
        (0.06 * x * lips, zero, zero),  # breadth of the mouth
        (zero, 0.16 * (y - line) * lips, 0.0008 * lips),  # fullness of the lips
    ]
    return np.stack([np.stack(row, -1) for row in rows])


_SHAPES = _shapes()
