"""The neutral face as one fixed triangle mesh, and how every vertex follows the 70 landmarks; our own sculpture.

Contours (lids, lips, jaw, brows) are splines through landmarks; the skin between them passes through hand-placed points of the
average face and follows the contours by biharmonic weights (Botsch and Kobbelt 2004), so everything is linear in the landmarks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.interpolate import CubicSpline, RBFInterpolator
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import splu
from scipy.spatial import Delaunay, cKDTree

from migstudy.simulate.face import TEMPLATE

_AXIS, _ROUND = -0.030, 0.125  # the face is unrolled about a vertical axis at this z, m; arc length at this radius
BROWS, JAW = ((17, 18, 19, 20, 21), (26, 25, 24, 23, 22)), tuple(range(17))
NOSE = (27, 28, 29, 30), (31, 32, 33, 34, 35)
LIDS = (((36, 37, 38, 39), (36, 41, 40, 39)), ((45, 44, 43, 42), (45, 46, 47, 42)))  # right and left: upper, lower
OUTER_LIPS = (48, 49, 50, 51, 52, 53, 54), (48, 59, 58, 57, 56, 55, 54)  # upper, lower, from the right corner
INNER_LIPS = (60, 61, 62, 63, 64), (60, 67, 66, 65, 64)
_LIP_SAMPLES, _JAW_SAMPLES = 25, 65
COARSE, MEDIUM = 1.8, 1.7  # how much wider than in close-ups the skin's grid may be
# of a lid from corner to corner: dense at the corners, at every landmark
_ALONG_LID = np.array([0, 0.05, 0.12, 0.22, 1 / 3, 0.42, 0.5, 0.58, 2 / 3, 0.78, 0.88, 0.95, 1])
_ALONG_BROW = np.linspace(-0.0625, 1.0625, 19)
# left half of the skin of the average face, head frame, mm
_SKIN = """
0 50 105.5, 0 65 103.5, 0 80 96, 0 95 82, 0 107 60, 25 55 102, 25 75 94, 25 95 76, 24 106 55, 48 50 89.5, 47.5 70 78.5, 44 92 60,
61.5 45 67, 58 65 57, 53 86 42, 72 45 35, 68.5 65 28, 60 86 20, 75 30 15, 0 30 106, 0 22 104.6, 9 26 103.8,
32 28.5 98.5, 20 27 99.5, 44 27 92, 32 23 95.2, 21 22 94.6, 42 21 91, 12.5 12 94.5, 8.5 5 99.8, 32 0 94.2, 21 -1 93.2, 43 1 88.8,
54 11 80, 62 12 66.5, 32 -6 93.6, 4.5 0 109, 9.5 0 100.5, 14.5 -4 95.2, 4.5 -14 116, 9.5 -14 108.5, 15.5 -14 97.5,
5 -28 121.3, 9.5 -28 116, 14 -30 108.5, 18.5 -31 99, 17.3 -36 102.5, 15.2 -36 107, 12.5 -33 112.5, 18.5 -41 97.5, 0 -33.5 122,
0 -39 119, 5 -36 120.2, 4.5 -41 115, 10.5 -39 111.5, 6.5 -42 110.5, 0 -50 106.6, 0 -54.5 106.8, 4.5 -53.5 107.8, 12 -52 104.3,
23 -52 96.3, 23 -44 94.8, 41 -12 92, 53 -10 81.5, 62 -8 65.5, 28 -14 94.3, 26 -28 95.2, 40 -29 90.5, 52 -31 78.5, 62 -31 59.5,
69 -20 41, 73 -8 22, 36 -50 88.8, 48 -54 73.5, 57.5 -51 54.5, 64.5 -44 34, 70.5 -30 16, 34 -68 86.4, 45 -71 71,
30 -85 83, 31 -66 90.8, 0 -86 99.3, 0 -97 103.6, 0 -106.5 98.5, 14 -85.5 96.2, 14 -97 99.6, 13 -105.5 94.8, 26 -98 85.5,
21 -104.5 90.5, 34.8 -96 79.2, 46.2 -83 65.5
"""
# where it ends under the hair, from the ear up
_CROWN = np.array([[73.5, 32, -2], [72.5, 48, -4], [67, 66, -2], [58, 84, 2], [45.5, 98, 10], [26, 109, 20], [0, 113, 25]])


@dataclass(frozen=True)
class FaceMesh:
    """neutral: (n, 3) m, head frame. follow: (n, 70) share of every landmark's displacement. faces: (m, 3), counter-clockwise
    seen from outside. part: (n,) index into PARTS. skin: number of vertices of the open skin, which come first. plane: (n, 2)
    unrolled place, m, for painting. normals: (n, 3) of the neutral face. seam: (2, k) vertices along the jaw line that lie at one
    place, of the skin and of the throat."""

    neutral: np.ndarray
    follow: np.ndarray
    faces: np.ndarray
    part: np.ndarray
    skin: int
    plane: np.ndarray
    normals: np.ndarray
    seam: np.ndarray


PARTS = ("skin", "lip", "lip_rim", "mouth", "tongue", "upper_teeth", "lower_teeth", "upper_lid_rim", "lower_lid_rim", "throat")


def spline(landmarks: tuple[int, ...], samples: np.ndarray) -> np.ndarray:
    """(S, 70) weights of a natural cubic spline through landmarks; samples: (S,) 0 at the first to 1 at the last."""
    k, weights = len(landmarks), np.zeros((len(samples), 70))
    weights[:, list(landmarks)] = CubicSpline(np.arange(k), np.eye(k), bc_type="natural")(samples * (k - 1))
    return weights


def brow_half(share: np.ndarray) -> np.ndarray:
    """Half the height of a brow, m, from its outer (0) to its inner end (1)."""
    return 0.0010 + 0.0020 * np.sin(np.pi * np.clip(0.08 + 0.74 * share, 0, 1)) ** 0.8


def unroll(points: np.ndarray) -> np.ndarray:
    """(..., 3) of the head frame to (..., 2): arc length about the face's axis and height, m."""
    return np.stack([np.arctan2(points[..., 0], points[..., 2] - _AXIS) * _ROUND, points[..., 1]], -1)


def inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """(n,) whether points (n, 2) lie in a polygon (k, 2), by the even-odd rule."""
    (x, y), a, b = points.T[:, :, None], polygon, np.roll(polygon, -1, 0)
    crosses = (a[:, 1] > y) != (b[:, 1] > y)
    rise = np.where(b[:, 1] == a[:, 1], 1.0, b[:, 1] - a[:, 1])
    return (crosses & (x < a[:, 0] + (y - a[:, 1]) * (b[:, 0] - a[:, 0]) / rise)).sum(1) % 2 == 1


class _Builder:
    """Vertices and faces in the order they come; `follow` is None where the biharmonic weights decide."""

    def __init__(self) -> None:
        self.place, self.follow, self.known, self.part, self.faces, self.count = [], [], [], [], [], 0

    def add(self, place: np.ndarray, follow: np.ndarray | None, part: str) -> np.ndarray:
        """Indices of new vertices."""
        n = len(place)
        self.place.append(place)
        self.follow.append(np.zeros((n, 70)) if follow is None else follow)
        self.known.append(np.full(n, follow is not None))
        self.part.append(np.full(n, PARTS.index(part)))
        self.count += n
        return np.arange(self.count - n, self.count)

    def strip(self, one: np.ndarray, two: np.ndarray, closed: bool = False) -> None:
        """Faces between two rows of as many vertices."""
        a, b, c, d = one, np.roll(one, -1), two, np.roll(two, -1)
        quads = np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])
        keep = np.ones(len(a), bool)
        keep[-1] = closed
        self.faces.append(quads[np.tile(keep, 2)])


def _ring(weights: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """One closed ring from two contours between the same corners."""
    return np.concatenate([weights[0], weights[1][-2:0:-1]])


def _outward(ring: np.ndarray) -> np.ndarray:
    """(k, 2) unit normals of a closed polygon that point away from its middle."""
    along = np.roll(ring, -1, 0) - np.roll(ring, 1, 0)
    normal = np.stack([along[:, 1], -along[:, 0]], 1) / np.linalg.norm(along, axis=1, keepdims=True)
    return normal * np.sign(((ring - ring.mean(0)) * normal).sum(1, keepdims=True).sum())


def _both_sides(points: np.ndarray) -> np.ndarray:
    return np.concatenate([points, points[np.abs(points[:, 0]) >= 1e-9] * [-1, 1, 1]])


@cache
def face_mesh(step: float = 1.0) -> FaceMesh:
    """The mesh, built once a process. step: factor on its vertices' distance; COARSE halves the contours' samples too."""
    builder, every = _Builder(), 2 if step >= COARSE else 1
    along_lid, along_brow = _ALONG_LID[::every], _ALONG_BROW[every - 1 :: every]
    lip_samples, jaw_samples = ((n - 1) // every + 1 for n in (_LIP_SAMPLES, _JAW_SAMPLES))
    skin = _both_sides(np.array([row.split() for row in _SKIN.replace("\n", " ").split(",")], float) / 1000)
    share = lambda n: np.linspace(0, 1, n)  # noqa: E731
    lids = [_ring(tuple(spline(row, along_lid) for row in eye)) for eye in LIDS]
    outer, inner = (_ring(tuple(spline(row, share(lip_samples)) for row in lips)) for lips in (OUTER_LIPS, INNER_LIPS))
    jaw = spline(JAW, share(jaw_samples))
    brows = [spline(row, along_brow) for row in BROWS]
    nose = spline(NOSE[0], share(7)), spline(NOSE[1], share(9))
    crown = np.concatenate([_CROWN * [-1, 1, 1], _CROWN[-2::-1]]) / 1000
    contours = np.concatenate([*lids, outer, jaw, *brows, *nose])
    centers = np.concatenate([contours @ TEMPLATE, skin, crown])
    centers = centers[np.unique(np.round(centers, 4), axis=0, return_index=True)[1]]
    flat = unroll(centers)
    radius = RBFInterpolator(flat, np.hypot(centers[:, 0], centers[:, 2] - _AXIS), smoothing=1e-9)

    def lift(plane: np.ndarray) -> np.ndarray:
        angle, r = plane[:, 0] / _ROUND, radius(plane)
        return np.stack([r * np.sin(angle), plane[:, 1], _AXIS + r * np.cos(angle)], 1)

    # 1. contours that the landmarks decide, and rings of skin about the eyes
    rims = [builder.add(ring @ TEMPLATE, ring, "skin") for ring in lids]
    sockets, within = [], [*rims]
    for ring, rim in zip(lids, rims):
        at = unroll(ring @ TEMPLATE)
        away = (at - at.mean(0)) / np.array([0.0140, 0.0085]) ** 2  # an ellipse's normals turn evenly around the corners
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        rows = [builder.add(lift(at + off * away), None, "skin") for off in (0.0016, 0.0036)]
        for one, two in ((rim, rows[0]), (rows[0], rows[1])):
            builder.strip(one, two, closed=True)
        within.append(rows[0])
        sockets.append(rows[1])
    mouth = builder.add(outer @ TEMPLATE, outer, "lip")
    side = builder.add(jaw @ TEMPLATE, jaw, "skin")
    crown = np.stack([CubicSpline(np.arange(13), unroll(crown)[:, k])(np.linspace(0, 12, 37)) for k in (0, 1)], 1)
    hair_line = builder.add(lift(crown), np.zeros((37, 70)), "skin")
    for row in (*brows, *nose):
        builder.add(row @ TEMPLATE, row, "skin")
    for row in brows:
        at = unroll(row @ TEMPLATE)
        slope = np.gradient(at, axis=0)
        across = np.stack([-slope[:, 1], slope[:, 0]], 1) / np.linalg.norm(slope, axis=1, keepdims=True)
        for off in (-1.8, -1.0, 1.0, 1.8):
            builder.add(lift(at + off * brow_half(along_brow)[:, None] * across), row, "skin")
    # 2. free skin between them, finer where the face is
    place = lambda rows: unroll(np.concatenate(builder.place)[rows])  # noqa: E731
    outline = np.concatenate([place(side), place(hair_line)[::-1]])
    for off in (0.0035, 0.0075):  # an even edge along the jaw
        builder.add(lift((place(side) - off * _outward(outline)[: len(side)])[2:-2]), None, "skin")
    holes = [*(place(row) for row in sockets), place(mouth)]
    taken = unroll(np.concatenate(builder.place))
    for wide, low, high, pitch in ((0.021, -0.05, 0.004, 2e-3 * step), (0.060, -0.115, 0.050, 3.1e-3 * step),
                                   (0.19, -0.13, 0.12, 6.2e-3 * step)):  # fmt: skip
        rows, half = np.arange(low, high, pitch * 0.866), np.arange(np.round(wide / pitch) + 0.5) * pitch
        columns = [np.r_[-half[:0:-1], half], np.r_[-half[::-1] - pitch / 2, half + pitch / 2]]  # every second row between
        grid = np.concatenate([np.stack([columns[i % 2], np.full(len(columns[i % 2]), y)], 1) for i, y in enumerate(rows)])
        grid = grid[inside(grid, outline) & ~np.any([inside(grid, hole) for hole in holes], 0)]
        grid = grid[cKDTree(taken).query(grid)[0] > 0.72 * pitch]
        builder.add(lift(grid), None, "skin")
        taken = np.concatenate([taken, grid])
    use = np.setdiff1d(np.arange(builder.count), np.concatenate(within))
    faces = use[Delaunay(taken[use]).simplices]
    middle = taken[faces].mean(1)
    faces = faces[inside(middle, outline) & ~np.any([inside(middle, hole) for hole in holes], 0)]
    builder.faces.append(faces)
    open_skin = builder.count
    neutral, known = np.concatenate(builder.place), np.concatenate(builder.known)
    follow = _biharmonic(neutral, np.concatenate(builder.faces), np.concatenate(builder.follow), known)
    builder.follow = [follow]
    # 3. what hangs on the contours
    _lips_and_mouth(builder, mouth, outer, inner)
    for ring, rim in zip(lids, rims):
        upper = np.arange(len(rim)) < len(along_lid)
        at, middle = ring @ TEMPLATE, (ring @ TEMPLATE).mean(0)
        back = middle + (at - middle) * [0.98, 0.96, 1] - [0, 0, 0.0022], middle + (at - middle) * [0.72, 0.8, 1] - [0, 0, 0.0120]
        for part, rows in (("upper_lid_rim", np.flatnonzero(upper)), ("lower_lid_rim", np.r_[len(along_lid) - 1 : len(rim), 0])):
            lines = [builder.add(place[rows], ring[rows], part) for place in (at, *back)]
            builder.strip(*lines[:2])
            builder.strip(*lines[1:])
    seam = edge = builder.add(jaw @ TEMPLATE, jaw, "throat")
    for x, y, z in ((0.94, 0.0015, -0.010), (0.76, 0.005, -0.032), (0.52, 0.018, -0.062)):
        low = np.sin(np.linspace(0, np.pi, len(jaw)))[:, None]
        under = (jaw @ TEMPLATE) * [x, 1, 1] + np.array([0, y, z]) * (0.3 + 0.7 * low)
        row = builder.add(under, jaw, "throat")
        builder.strip(edge, row)
        edge = row
    neutral, faces = np.concatenate(builder.place), _orient(np.concatenate(builder.faces), np.concatenate(builder.place))
    return FaceMesh(
        neutral, np.concatenate(builder.follow), faces, np.concatenate(builder.part), open_skin, unroll(neutral),
        _normals(neutral, faces), np.stack([side, seam]),
    )  # fmt: skip


def _lips_and_mouth(builder: _Builder, mouth: np.ndarray, outer: np.ndarray, inner: np.ndarray) -> None:
    """Lips from the outer to the inner contour, a cavity behind them, a tongue, two rows of teeth."""
    samples = len(outer) // 2 + 1
    edge, upper = mouth, np.arange(len(outer)) < samples
    for share, bulge in ((0.3, 0.0012), (0.62, 0.0014), (0.88, 0.0006)):
        weights = (1 - share) * outer + share * inner
        full = np.sin(np.pi * np.r_[np.linspace(0, 1, samples), np.linspace(1, 0, samples)[1:-1]])[:, None]
        row = builder.add(weights @ TEMPLATE + bulge * full * [0, 0, 1], weights, "lip")
        builder.strip(edge, row, closed=True)
        edge = row
    row = builder.add(inner @ TEMPLATE, inner, "lip_rim")
    builder.strip(edge, row, closed=True)
    # the cavity: back from the inner contour, wide open behind the lips
    behind = TEMPLATE[60:68].mean(0)
    edge = row
    for back, spread, rise in ((-0.004, 1.0, 0.0010), (-0.010, 1.04, 0.004), (-0.019, 0.9, 0.003), (-0.023, 0.0, 0.0)):
        place = behind + (inner @ TEMPLATE - behind) * [spread, min(3 * spread, 1), 1] + np.array([0, 0, back])
        place[:, 1] += np.where(upper, rise, -rise)
        weights = inner if back > -0.015 else 0.8 * inner if spread else np.tile(0.8 * inner.mean(0), (len(inner), 1))
        row = builder.add(place, weights, "mouth")
        builder.strip(edge, row, closed=True)
        edge = row
    across = np.linspace(-1, 1, 21)
    arch = np.stack([np.sin(1.35 * across), 0 * across, np.cos(1.35 * across) - 1], 1)
    jaw = np.zeros((21, 70))
    jaw[:, 8] = 0.95
    for part, weights, top, bottom, half, front in (
        ("upper_teeth", np.zeros((21, 70)), -0.0570, -0.0661, 0.0240, 0.0975),
        ("lower_teeth", jaw, -0.0705, -0.0790, 0.0220, 0.0945), ("tongue", jaw * 0.9, -0.0660, -0.0715, 0.0170, 0.0910),
    ):  # fmt: skip
        rows = []
        for y, back in ((top, 0.0 if part != "tongue" else -0.016), (bottom, 0.0)):
            rows.append(builder.add(arch * [half, 0, 0.026] + [0, y, front + back], weights, part))
        builder.strip(*rows)


def _biharmonic(place: np.ndarray, faces: np.ndarray, follow: np.ndarray, known: np.ndarray) -> np.ndarray:
    """`follow` (n, 70) with the rows of free vertices filled in: least squared Laplacian over the surface."""
    n, rows, columns, values = len(place), [], [], []
    area = np.zeros(n)
    for i in range(3):
        a, b, c = faces[:, i], faces[:, (i + 1) % 3], faces[:, (i + 2) % 3]
        u, v = place[b] - place[a], place[c] - place[a]
        double = np.linalg.norm(np.cross(u, v), axis=1)
        weight = np.clip((u * v).sum(1) / np.maximum(double, 1e-12), 0.02, 50) / 2  # cotangent, kept positive
        for p, q, sign in ((b, c, 1), (c, b, 1), (b, b, -1), (c, c, -1)):
            rows.append(p), columns.append(q), values.append(sign * weight)
        np.add.at(area, a, double / 6)
    laplacian = coo_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (n, n)).tocsr()
    used = area > 0
    energy = (laplacian.T @ diags_array(1 / np.where(used, area, 1.0)) @ laplacian).tocsc()
    free = np.flatnonzero(~known & used)
    filled = follow.copy()
    filled[free] = splu(energy[free][:, free].tocsc()).solve(-(energy[free][:, np.flatnonzero(known)] @ follow[known]))
    return filled


def _normals(place: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (place[faces[:, i]] for i in range(3))
    normals = np.zeros_like(place)
    for i in range(3):
        np.add.at(normals, faces[:, i], np.cross(b - a, c - a))
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _orient(faces: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Faces turned so that their normals point away from the middle of the head."""
    a, b, c = (place[faces[:, i]] for i in range(3))
    inward = (np.cross(b - a, c - a) * ((a + b + c) / 3 - [0, -0.02, 0.0])).sum(1) < 0
    return np.where(inward[:, None], faces[:, ::-1], faces)
