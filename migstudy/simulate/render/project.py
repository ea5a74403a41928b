"""Primitives as the camera sees them, compiled: places, outlines and bounds in px, normals, linear colours; one pass each."""

from __future__ import annotations

import numpy as np

from migstudy.simulate.render.kernels import compiled

NEAR = 0.05  # m; what reaches nearer to the camera than this is left out


@compiled
def vertex_normals(vertices, faces):
    """(n, 3) unit normals of a mesh's vertices (n, 3), each the area-weighted mean of its faces'."""
    normals = np.zeros((len(vertices), 3))
    for i in range(len(faces)):
        a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for v in (a, b, c):
            normals[v, 0] += nx
            normals[v, 1] += ny
            normals[v, 2] += nz
    for i in range(len(normals)):
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        size = max(np.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
        normals[i, 0], normals[i, 1], normals[i, 2] = nx / size, ny / size, nz / size
    return normals


@compiled
def _turn(axes, x, y, z):
    return (
        axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z, axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z,
        axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z,
    )  # fmt: skip


@compiled
def _linear(colour):
    """Light adds up in linear colour."""
    colour = min(max(colour, 0.0), 1.0)
    return colour * colour


@compiled
def _ends(along, depth, spread, mixed, deep, left, step):
    """Where an ellipsoid's outline begins and ends along one side of the picture, px.

    From the dual of the outline's conic, spread - center center^T (Hartley and Zisserman, Multiple View Geometry, 8.3), with the
    center at `along`, `depth` and the needed entries of spread = axes axes^T.
    """
    side, across, front = spread - along * along, mixed - along * depth, deep - depth * depth
    half = np.sqrt(max(across * across - side * front, 0.0))
    one, two = (across + half) / front, (across - half) / front
    return (min(one, two) - left) / step, (max(one, two) - left) / step


@compiled
def view_vertices(vertices, axes, place, left, step):
    """Of vertices (n, 12) in the room: columns (n, 3) px, px, 1 / depth (0 where too near); surface (n, 7) float32 normal, linear
    colour, gloss as the camera sees them; away (n,) whether it faces away from the camera and may be left out."""
    n = len(vertices)
    columns, surface, away = np.empty((n, 3)), np.empty((n, 7), np.float32), np.empty(n, np.bool_)
    for i in range(n):
        v = vertices[i]
        x, y, z = _turn(axes, v[0] - place[0], v[1] - place[1], v[2] - place[2])
        nx, ny, nz = _turn(axes, v[3], v[4], v[5])
        inverse = 1.0 / max(z, NEAR)
        columns[i, 0], columns[i, 1] = (x * inverse - left[0]) / step[0], (y * inverse - left[1]) / step[1]
        columns[i, 2] = inverse if z > NEAR else 0.0
        surface[i, 0], surface[i, 1], surface[i, 2] = nx, ny, nz
        for k in range(3):
            surface[i, 3 + k] = _linear(v[6 + k])
        surface[i, 6] = v[9]
        away[i] = v[10] > 0 and x * nx + y * ny + z * nz > 0
    return columns, surface, away


@compiled
def view_cones(cones, axes, place, left, step, width, height):
    """Of cones (n, 12) in the room, those that may be seen, the nearest first.

    Records (m, 14) float32: a, axis, length, slope, radius, linear colour, gloss, radius of b; bounds (m, 8) px of the balls at a
    and b: columns and rows x0, y0, x1, y1.
    """
    records, bounds, nearest, m = np.empty((len(cones), 14), np.float32), np.empty((len(cones), 8)), np.empty(len(cones)), 0
    for i in range(len(cones)):
        c = cones[i]
        ra, rb = c[6], c[7]
        ax, ay, az = _turn(axes, c[0] - place[0], c[1] - place[1], c[2] - place[2])
        bx, by, bz = _turn(axes, c[3] - place[0], c[4] - place[1], c[5] - place[2])
        near = min(az - ra, bz - rb)
        if near <= NEAR:
            continue
        wx, wy, wz = bx - ax, by - ay, bz - az
        length = np.sqrt(wx * wx + wy * wy + wz * wz)
        if length <= abs(ra - rb) + 1e-6:  # one ball within the other: the larger alone
            if rb > ra:
                ax, ay, az, ra = bx, by, bz, rb
            bx, by, bz, rb = ax, ay, az, ra
            wx, wy, wz, length, slope = 0.0, 0.0, 1.0, 0.0, 0.0
        else:
            wx, wy, wz, slope = wx / length, wy / length, wz / length, (ra - rb) / length
        x0, x1 = _ends(ax, az, ra * ra, 0.0, ra * ra, left[0], step[0])
        y0, y1 = _ends(ay, az, ra * ra, 0.0, ra * ra, left[1], step[1])
        u0, u1 = _ends(bx, bz, rb * rb, 0.0, rb * rb, left[0], step[0])
        v0, v1 = _ends(by, bz, rb * rb, 0.0, rb * rb, left[1], step[1])
        if max(x1, u1) < 0 or max(y1, v1) < 0 or min(x0, u0) > width or min(y0, v0) > height:
            continue
        r = records[m]
        r[0], r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8] = ax, ay, az, wx, wy, wz, length, slope, ra
        for k in range(3):
            r[9 + k] = _linear(c[8 + k])
        r[12], r[13] = c[11], rb
        b = bounds[m]
        b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7] = x0, y0, x1, y1, u0, v0, u1, v1
        nearest[m] = near
        m += 1
    order = np.argsort(nearest[:m], kind="mergesort")
    return records[:m][order], bounds[:m][order]


@compiled
def view_ellipsoids(ellipsoids, axes, place, left, step, width, height):
    """Of ellipsoids (n, 16) in the room, those that may be seen: records (m, 17) float32 (centre, inverse axes, linear colour,
    gloss, least depth) and boxes (m, 4) whole px."""
    records, boxes, m = np.empty((len(ellipsoids), 17), np.float32), np.empty((len(ellipsoids), 4), np.int64), 0
    a = np.empty((3, 3))
    for i in range(len(ellipsoids)):
        e = ellipsoids[i]
        x, y, z = _turn(axes, e[0] - place[0], e[1] - place[1], e[2] - place[2])
        for k in range(3):
            a[0, k], a[1, k], a[2, k] = _turn(axes, e[3 + k], e[6 + k], e[9 + k])
        deep = a[2, 0] ** 2 + a[2, 1] ** 2 + a[2, 2] ** 2
        if z - np.sqrt(deep) <= NEAR:
            continue
        x0, x1 = _ends(x, z, a[0, 0] ** 2 + a[0, 1] ** 2 + a[0, 2] ** 2,
                       a[0, 0] * a[2, 0] + a[0, 1] * a[2, 1] + a[0, 2] * a[2, 2], deep, left[0], step[0])  # fmt: skip
        y0, y1 = _ends(y, z, a[1, 0] ** 2 + a[1, 1] ** 2 + a[1, 2] ** 2,
                       a[1, 0] * a[2, 0] + a[1, 1] * a[2, 1] + a[1, 2] * a[2, 2], deep, left[1], step[1])  # fmt: skip
        if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
            continue
        boxes[m, 0], boxes[m, 1] = max(np.floor(x0), 0), max(np.floor(y0), 0)
        boxes[m, 2], boxes[m, 3] = min(np.ceil(x1), width), min(np.ceil(y1), height)
        r = records[m]
        r[0], r[1], r[2] = x, y, z
        volume = 0.0
        for k in range(3):  # rows of the inverse are cross products of the columns
            p, q = (k + 1) % 3, (k + 2) % 3
            cx, cy = a[1, p] * a[2, q] - a[2, p] * a[1, q], a[2, p] * a[0, q] - a[0, p] * a[2, q]
            cz = a[0, p] * a[1, q] - a[1, p] * a[0, q]
            volume = a[0, k] * cx + a[1, k] * cy + a[2, k] * cz
            r[3 + 3 * k], r[4 + 3 * k], r[5 + 3 * k] = cx / volume, cy / volume, cz / volume
            r[12 + k] = _linear(e[12 + k])
        r[15], r[16] = e[15], z - np.sqrt(deep)
        m += 1
    return records[:m], boxes[:m]


@compiled
def bounding_box(columns, cones, ellipsoids, width, height):
    """(x0, y0, x1, y1) whole px around all vertices (n, 3), cones' bounds (m, 8) and ellipsoids' boxes (k, 4) in the picture."""
    x0, y0, x1, y1 = np.inf, np.inf, -np.inf, -np.inf
    for i in range(len(columns)):
        if columns[i, 2] > 0:
            x0, x1 = min(x0, columns[i, 0]), max(x1, columns[i, 0])
            y0, y1 = min(y0, columns[i, 1]), max(y1, columns[i, 1])
    for i in range(len(cones)):
        x0, x1 = min(x0, cones[i, 0], cones[i, 4]), max(x1, cones[i, 2], cones[i, 6])
        y0, y1 = min(y0, cones[i, 1], cones[i, 5]), max(y1, cones[i, 3], cones[i, 7])
    for i in range(len(ellipsoids)):
        x0, x1 = min(x0, ellipsoids[i, 0]), max(x1, ellipsoids[i, 2])
        y0, y1 = min(y0, ellipsoids[i, 1]), max(y1, ellipsoids[i, 3])
    if x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0:
        return 0, 0, 0, 0
    return int(max(x0 - 1, 0)), int(max(y0 - 1, 0)), int(min(x1 + 2, width)), int(min(y1 + 2, height))
