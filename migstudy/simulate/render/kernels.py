"""Which primitive each sample sees, compiled; every number is in camera coordinates, m, x right, y down, z away.

A ray is (x, y, 1), so its parameter is the depth. To stay exact in 32 bits it is measured from each primitive's own depth.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SAMPLES = 4
# a rotated grid: four different columns and rows
SAMPLES_AT = np.array([[0.375, 0.125], [0.875, 0.375], [0.625, 0.875], [0.125, 0.625]], np.float32)
_ZERO, _ONE = np.float32(0), np.float32(1)


def compiled(function):
    """Compiled by numba without checks before divisions, in IEEE arithmetic, so the same on every CPU.

    Kept for later processes beside the package or in numba's cache folder; where neither can be written, compiled every time.
    """
    try:
        return njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # no place for the cache
        return njit(error_model="numpy")(function)


@compiled
def draw_ellipsoids(depth, ident, records, boxes, view, first):
    """records (n, 17): centre, inverse axes, colour, gloss, least depth. boxes (n, 4) px. view: left, top, steps. first: id of
    record 0."""
    for i in range(len(records)):
        cx, cy, cz = records[i, 0], records[i, 1], records[i, 2]
        m, nearest = records[i, 3:12], records[i, 16]
        for s in range(SAMPLES):
            for row in range(boxes[i, 1], boxes[i, 3]):
                y = view[1] + (np.float32(row) + SAMPLES_AT[s, 1]) * view[3]
                ey = y * cz - cy
                dx0, dy0, dz0 = m[1] * y + m[2], m[4] * y + m[5], m[7] * y + m[8]
                ex0, ey0, ez0 = m[1] * ey, m[4] * ey, m[7] * ey
                for col in range(boxes[i, 0], boxes[i, 2]):
                    if depth[s, row, col] <= nearest:
                        continue
                    x = view[0] + (np.float32(col) + SAMPLES_AT[s, 0]) * view[2]
                    e = x * cz - cx
                    dx, dy, dz = m[0] * x + dx0, m[3] * x + dy0, m[6] * x + dz0
                    ex, ez, eyy = m[0] * e + ex0, m[6] * e + ez0, m[3] * e + ey0
                    a = dx * dx + dy * dy + dz * dz
                    b = dx * ex + dy * eyy + dz * ez
                    c = ex * ex + eyy * eyy + ez * ez - _ONE
                    square = b * b - a * c
                    if square > _ZERO:
                        z = cz - (b + np.sqrt(square)) / a
                        if z < depth[s, row, col]:
                            depth[s, row, col] = z
                            ident[s, row, col] = first + i


@compiled
def _span(bounds, row):
    """Columns between which a row of pixels meets the hull of two boxes, bounds (8,) px: x0, y0, x1, y1 of either.

    The hull is the boxes on the way from one to the other; those that touch the row are a stretch of it.
    """
    low, high = 0.0, 1.0
    down = bounds[7] - bounds[3]  # bottom edge at or below the row's upper edge
    if down > 0:
        low = max(low, (row - bounds[3]) / down)
    elif down < 0:
        high = min(high, (row - bounds[3]) / down)
    up = bounds[5] - bounds[1]  # top edge at or above the row's lower edge
    if up > 0:
        high = min(high, (row + 1 - bounds[1]) / up)
    elif up < 0:
        low = max(low, (row + 1 - bounds[1]) / up)
    if low > high + 1e-9:
        return 0.0, -1.0
    left, right = bounds[4] - bounds[0], bounds[6] - bounds[2]
    return bounds[0] + min(low * left, high * left), bounds[2] + max(low * right, high * right)


@compiled
def draw_cones(depth, ident, records, bounds, view):
    """records (n, 14): a, unit axis, length, slope, radius of a, colour, gloss, radius of b; bounds (n, 8) px of both balls.

    The hull of spheres whose centres run from a to b: |q|^2 - r^2 = (q.w - r g)^2 / (1 - g^2) with q from a, axis w, slope
    g = (r - r_b) / length; the sphere that touches has its centre at (q.w - r g) / (1 - g^2), beyond the ends a ball closes it.
    """
    _, height, width = depth.shape
    for i in range(len(records)):
        ax, ay, az, wx, wy, wz, length, g, r = records[i, :9]
        rb = records[i, 13]
        cos2 = _ONE - g * g
        bx, by, bz = ax + length * wx, ay + length * wy, az + length * wz
        fz, rr, rrb, rg = az - bz, r * r, rb * rb, r * g
        nearest = min(az - r, bz - rb)
        top = max(0, int(np.floor(min(bounds[i, 1], bounds[i, 5]))))
        for row in range(top, min(height, int(np.ceil(max(bounds[i, 3], bounds[i, 7]))))):
            first, last = _span(bounds[i], row)
            first, last = max(0, int(np.floor(first))), min(width, int(np.ceil(last)))
            for s in range(SAMPLES):
                y = view[1] + (np.float32(row) + SAMPLES_AT[s, 1]) * view[3]
                ey, fy = y * az - ay, y * az - by
                dd_y, de_y, ee_y, dw_y, ew_y = y * y + _ONE, y * ey, ey * ey, y * wy + wz, ey * wy - rg
                for col in range(first, last):
                    if depth[s, row, col] <= nearest:
                        continue
                    x = view[0] + (np.float32(col) + SAMPLES_AT[s, 0]) * view[2]
                    ex = x * az - ax
                    dd, de, cc = x * x + dd_y, x * ex + de_y, ex * ex + ee_y
                    dw, ew = x * wx + dw_y, ex * wx + ew_y
                    a = cos2 * dd - dw * dw
                    b = cos2 * de - dw * ew
                    c = cos2 * (cc - rr) - ew * ew
                    square = b * b - a * c
                    if square < _ZERO and a > _ZERO:
                        continue
                    u = np.float32(np.inf)
                    if square >= _ZERO and length > _ZERO:
                        root = np.sqrt(square)
                        u = c / (root - b) if b < _ZERO else -(b + root) / a
                        along = (ew + u * dw) / cos2
                        if not (along >= _ZERO and along <= length):
                            u = np.float32(np.inf)
                    if u == np.float32(np.inf):
                        square = de * de - dd * (cc - rr)
                        if square > _ZERO:
                            u = -(de + np.sqrt(square)) / dd
                        fx = x * az - bx
                        df, ff = x * fx + y * fy + fz, fx * fx + fy * fy + fz * fz
                        square = df * df - dd * (ff - rrb)
                        if square > _ZERO:
                            u = min(u, -(df + np.sqrt(square)) / dd)
                    z = az + u
                    if z < depth[s, row, col]:
                        depth[s, row, col] = z
                        ident[s, row, col] = i


@compiled
def draw_triangles(depth, ident, columns, away, faces, first):
    """columns (n, 3): column, row in px and 1 / depth of every vertex, 0 where too near. away (n,): whether it faces away from
    the camera and may be left out. first: id of face 0."""
    _, height, width = depth.shape
    of_sample, slack = np.empty((SAMPLES, 2)), 1e-6
    for i in range(len(faces)):
        a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
        if away[a] and away[b] and away[c]:
            continue
        px, py, pz = columns[a, 0], columns[a, 1], columns[a, 2]
        qx, qy, qz = columns[b, 0], columns[b, 1], columns[b, 2]
        rx, ry, rz = columns[c, 0], columns[c, 1], columns[c, 2]
        area = (qx - px) * (ry - py) - (qy - py) * (rx - px)
        if abs(area) < 1e-9 or pz == 0.0 or qz == 0.0 or rz == 0.0:
            continue
        # a little slack, for the tolerance below
        left, right = min(px, qx, rx) - 1e-4, max(px, qx, rx) + 1e-4
        top, bottom = min(py, qy, ry) - 1e-4, max(py, qy, ry) + 1e-4
        if right < 0 or bottom < 0 or left > width or top > height:
            continue
        x0, x1 = int(max(left, 0.0)), min(width, int(right) + 1)
        y0, y1 = int(max(top, 0.0)), min(height, int(bottom) + 1)
        # shares of q and r, linear in px
        share = 1.0 / area
        qdx, qdy = (ry - py) * share, -(rx - px) * share
        rdx, rdy = -(qy - py) * share, (qx - px) * share
        for s in range(SAMPLES):
            of_sample[s, 0] = qdx * SAMPLES_AT[s, 0] + qdy * SAMPLES_AT[s, 1] + slack
            of_sample[s, 1] = rdx * SAMPLES_AT[s, 0] + rdy * SAMPLES_AT[s, 1] + slack
        for row in range(y0, y1):
            y = row - py
            for col in range(x0, x1):
                x = col - px
                across, down = qdx * x + qdy * y, rdx * x + rdy * y
                for s in range(SAMPLES):
                    of_q, of_r = across + of_sample[s, 0], down + of_sample[s, 1]
                    # the tolerance closes the seam between neighbours
                    if of_q >= 0.0 and of_r >= 0.0 and of_q + of_r <= 1.0 + 3 * slack:
                        of_q, of_r = of_q - slack, of_r - slack
                        z = np.float32(1.0 / ((1.0 - of_q - of_r) * pz + of_q * qz + of_r * rz))
                        if z < depth[s, row, col]:
                            depth[s, row, col] = z
                            ident[s, row, col] = first + i
