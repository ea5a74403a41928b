"""The rasteriser's inner loops, compiled; every number is in camera coordinates, m, x right, y down, z away.

A ray is (x, y, 1), so its parameter is the depth. To stay exact in 32 bits it is measured from each primitive's own depth.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SAMPLES = 4
# a rotated grid: four different columns and rows
_AT = np.array([[0.375, 0.125], [0.875, 0.375], [0.625, 0.875], [0.125, 0.625]], np.float32)
_SLACK, _CLOSE, _FAR = np.float32(0.0012), np.float32(0.04), np.float32(0.16)  # m; contact shadows fade from close to far
_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)


@njit(cache=True)
def draw_ellipsoids(depth, ident, records, boxes, view, first):
    """records (n, 16): centre, inverse axes, colour, gloss. boxes (n, 4) px. view: left, top, steps. first: id of record 0."""
    for i in range(len(records)):
        cx, cy, cz = records[i, 0], records[i, 1], records[i, 2]
        m = records[i, 3:12]
        for s in range(SAMPLES):
            for row in range(boxes[i, 1], boxes[i, 3]):
                y = view[1] + (np.float32(row) + _AT[s, 1]) * view[3]
                ey = y * cz - cy
                dx0, dy0, dz0 = m[1] * y + m[2], m[4] * y + m[5], m[7] * y + m[8]
                ex0, ey0, ez0 = m[1] * ey, m[4] * ey, m[7] * ey
                for col in range(boxes[i, 0], boxes[i, 2]):
                    x = view[0] + (np.float32(col) + _AT[s, 0]) * view[2]
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


@njit(cache=True)
def draw_cones(depth, ident, records, boxes, view):
    """records (n, 14): a, unit axis, length, slope, radius of a, colour, gloss, radius of b.

    The hull of spheres whose centres run from a to b: |q|^2 - r^2 = (q.w - r g)^2 / (1 - g^2) with q from a, axis w, slope
    g = (r - r_b) / length; the sphere that touches has its centre at (q.w - r g) / (1 - g^2), beyond the ends a ball closes it.
    """
    for i in range(len(records)):
        ax, ay, az, wx, wy, wz, length, g, r = records[i, :9]
        rb = records[i, 13]
        cos2 = _ONE - g * g
        bx, by, bz = ax + length * wx, ay + length * wy, az + length * wz
        for s in range(SAMPLES):
            for row in range(boxes[i, 1], boxes[i, 3]):
                y = view[1] + (np.float32(row) + _AT[s, 1]) * view[3]
                ey, fy = y * az - ay, y * az - by
                fz = az - bz
                for col in range(boxes[i, 0], boxes[i, 2]):
                    x = view[0] + (np.float32(col) + _AT[s, 0]) * view[2]
                    ex = x * az - ax
                    dd, de, ee = x * x + y * y + _ONE, x * ex + y * ey, ex * ex + ey * ey
                    dw, ew = x * wx + y * wy + wz, ex * wx + ey * wy - r * g
                    a = cos2 * dd - dw * dw
                    b = cos2 * de - dw * ew
                    c = cos2 * (ee - r * r) - ew * ew
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
                        square = de * de - dd * (ee - r * r)
                        if square > _ZERO:
                            u = -(de + np.sqrt(square)) / dd
                        fx = x * az - bx
                        df, ff = x * fx + y * fy + fz, fx * fx + fy * fy + fz * fz
                        square = df * df - dd * (ff - rb * rb)
                        if square > _ZERO:
                            u = min(u, -(df + np.sqrt(square)) / dd)
                    z = az + u
                    if z < depth[s, row, col]:
                        depth[s, row, col] = z
                        ident[s, row, col] = i


@njit(cache=True)
def draw_triangles(depth, ident, columns, faces, first):
    """columns (n, 3): column, row in px and 1 / depth of every vertex. first: id of face 0."""
    _, height, width = depth.shape
    for i in range(len(faces)):
        p, q, r = columns[faces[i, 0]], columns[faces[i, 1]], columns[faces[i, 2]]
        area = (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])
        if abs(area) < 1e-9:
            continue
        x0, x1 = max(0, int(np.floor(min(p[0], q[0], r[0])))), min(width, int(np.ceil(max(p[0], q[0], r[0]))))
        y0, y1 = max(0, int(np.floor(min(p[1], q[1], r[1])))), min(height, int(np.ceil(max(p[1], q[1], r[1]))))
        # shares of q and r, linear in px
        qx, qy = (r[1] - p[1]) / area, -(r[0] - p[0]) / area
        rx, ry = -(q[1] - p[1]) / area, (q[0] - p[0]) / area
        for s in range(SAMPLES):
            for row in range(y0, y1):
                y = row + _AT[s, 1] - p[1]
                for col in range(x0, x1):
                    x = col + _AT[s, 0] - p[0]
                    of_q, of_r = qx * x + qy * y, rx * x + ry * y
                    of_p = 1.0 - of_q - of_r
                    # the tolerance closes the seam between neighbours
                    if of_p >= -1e-6 and of_q >= -1e-6 and of_r >= -1e-6:
                        z = np.float32(1.0 / (of_p * p[2] + of_q * q[2] + of_r * r[2]))
                        if z < depth[s, row, col]:
                            depth[s, row, col] = z
                            ident[s, row, col] = first + i


@njit(cache=True)
def _surface(number, x, y, z, col, row, cones, ellipsoids, vertices, columns, faces, out):
    """Unit normal, colour and gloss (7) into `out` of primitive `number` where the ray (x, y, 1) meets it at depth z."""
    px, py, pz = x * z, y * z, z
    if number < len(cones):
        c = cones[number]
        qx, qy, qz = px - c[0], py - c[1], pz - c[2]
        along = (qx * c[3] + qy * c[4] + qz * c[5] - c[8] * c[7]) / (_ONE - c[7] * c[7])
        along = min(max(along, _ZERO), c[6])
        out[0], out[1], out[2] = qx - along * c[3], qy - along * c[4], qz - along * c[5]
        for k in range(4):
            out[3 + k] = c[9 + k]
    elif number < len(cones) + len(ellipsoids):
        e = ellipsoids[number - len(cones)]
        qx, qy, qz = px - e[0], py - e[1], pz - e[2]
        ux, uy, uz = e[3] * qx + e[4] * qy + e[5] * qz, e[6] * qx + e[7] * qy + e[8] * qz, e[9] * qx + e[10] * qy + e[11] * qz
        for k in range(3):
            out[k] = e[3 + k] * ux + e[6 + k] * uy + e[9 + k] * uz
        for k in range(4):
            out[3 + k] = e[12 + k]
    else:
        f = faces[number - len(cones) - len(ellipsoids)]
        p, q, r = columns[f[0]], columns[f[1]], columns[f[2]]
        area = (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])
        dx, dy = col - p[0], row - p[1]
        of_q = min(max(((r[1] - p[1]) * dx - (r[0] - p[0]) * dy) / area, 0.0), 1.0)
        of_r = min(max(((q[0] - p[0]) * dy - (q[1] - p[1]) * dx) / area, 0.0), 1.0)
        of_p = max(1.0 - of_q - of_r, 0.0)
        of_p, of_q, of_r = of_p * p[2], of_q * q[2], of_r * r[2]
        total = of_p + of_q + of_r
        wp, wq, wr = np.float32(of_p / total), np.float32(of_q / total), np.float32(of_r / total)
        for k in range(7):
            out[k] = wp * vertices[f[0], 3 + k] + wq * vertices[f[1], 3 + k] + wr * vertices[f[2], 3 + k]
    size = np.sqrt(out[0] * out[0] + out[1] * out[1] + out[2] * out[2]) + np.float32(1e-12)
    # both sides of a sheet are seen and lit; a smooth outline's normals may lean away a little without being its back
    if out[0] * x + out[1] * y + out[2] > np.float32(0.35) * size:
        size = -size
    for k in range(3):
        out[k] /= size


@njit(cache=True)
def _shade(out, x, y, lamps, colour):
    """Lambert light of key, fill and surroundings, brighter from above, and a highlight; linear colour (3) into `colour`."""
    nx, ny, nz = out[0], out[1], out[2]
    key = max(nx * lamps[0, 0] + ny * lamps[0, 1] + nz * lamps[0, 2], _ZERO)
    fill = max(nx * lamps[2, 0] + ny * lamps[2, 1] + nz * lamps[2, 2], _ZERO)
    up = nx * lamps[5, 0] + ny * lamps[5, 1] + nz * lamps[5, 2]
    around = np.float32(0.8) + np.float32(0.2) * up
    shine = _ZERO
    if out[6] > _ZERO:
        size = np.sqrt(x * x + y * y + _ONE)
        hx, hy, hz = lamps[0, 0] - x / size, lamps[0, 1] - y / size, lamps[0, 2] - _ONE / size
        shine = max((nx * hx + ny * hy + nz * hz) / np.sqrt(hx * hx + hy * hy + hz * hz), _ZERO)
        for _ in range(4):
            shine *= shine
        shine *= out[6]
    for k in range(3):
        colour[k] = out[3 + k] * (key * lamps[1, k] + fill * lamps[3, k] + around * lamps[4, k]) + shine * lamps[1, k]


@njit(cache=True)
def _box(plane, radius):
    """In place, the sums of plane (h, w) over a square window of 2 radius + 1 px, cut at the border."""
    height, width = plane.shape
    line = np.empty(width, np.float32)
    for row in range(height):
        total = 0.0
        for col in range(min(radius, width)):
            total += plane[row, col]
        for col in range(width):
            if col + radius < width:
                total += plane[row, col + radius]
            if col - radius - 1 >= 0:
                total -= plane[row, col - radius - 1]
            line[col] = total
        plane[row] = line
    source, totals = plane.copy(), np.zeros(width)
    for row in range(min(radius, height)):
        totals += source[row]
    for row in range(height):
        if row + radius < height:
            totals += source[row + radius]
        if row - radius - 1 >= 0:
            totals -= source[row - radius - 1]
        plane[row] = totals


@njit(cache=True)
def occlusion(depth, ident, reach, shade):
    """Writes into shade (h, w) 0 open to 1: how much of what was drawn around a pixel stands shortly before it.

    depth, ident: (h, w) of one sample. From the depth buffer and its blur (Luft et al. 2006), with the blurred square besides:
    if a share p of the surroundings stands a distance D nearer, the mean difference is p D and the mean square p D^2, which
    gives both. Only what was drawn (ident >= 0) darkens; whatever has a depth is darkened. reach: m times px a ray step; one
    radius for the whole picture.
    """
    height, width = depth.shape
    shade[:] = _ZERO
    top, bottom, first, last = height, -1, width, -1
    total, count = 0.0, 0
    for row in range(height):
        for col in range(width):
            if ident[row, col] >= 0:
                total += depth[row, col]
                count += 1
                top, bottom = min(top, row), max(bottom, row)
                first, last = min(first, col), max(last, col)
    if count == 0:
        return
    middle = np.float32(total / count)
    radius = max(1, int(reach / middle))
    top, first = max(0, top - 2 * radius), max(0, first - 2 * radius)
    bottom, last = min(height, bottom + 2 * radius + 1), min(width, last + 2 * radius + 1)
    sums = np.zeros((3, bottom - top, last - first), np.float32)  # of 1, depth and its square
    for row in range(top, bottom):
        for col in range(first, last):
            if ident[row, col] >= 0:
                z = depth[row, col] - middle
                sums[0, row - top, col - first] = _ONE
                sums[1, row - top, col - first] = z
                sums[2, row - top, col - first] = z * z
    for k in range(3):
        for _ in range(2):
            _box(sums[k], radius)
    area = _ONE / np.float32((2 * radius + 1) ** 4)
    for row in range(top, bottom):
        for col in range(first, last):
            r, c = row - top, col - first
            if depth[row, col] == np.inf or sums[0, r, c] == _ZERO:
                continue
            z = depth[row, col] - middle
            nearer = (z * sums[0, r, c] - sums[1, r, c]) * area
            if nearer <= _SLACK:
                continue
            square = (z * z * sums[0, r, c] - np.float32(2) * z * sums[1, r, c] + sums[2, r, c]) * area
            away, share = square / nearer, (nearer - _SLACK) * nearer / square
            close = min(max((_FAR - away) / (_FAR - _CLOSE), _ZERO), _ONE)
            shade[row, col] = min(np.float32(2) * share, _ONE) * close * close


@njit(cache=True)
def _shade_of(shade, depth, s, row, col):
    """The shade of one sample of an outline's pixel: that of the neighbour which lies at its depth."""
    height, width = shade.shape
    best, value = np.float32(np.inf), _ZERO
    for r in range(max(row - 1, 0), min(row + 2, height)):
        for c in range(max(col - 1, 0), min(col + 2, width)):
            away = abs(depth[0, r, c] - depth[s, row, col])
            if away < best:
                best, value = away, shade[r, c]
    return value


@njit(cache=True)
def resolve(picture, depth, ident, background, cones, ellipsoids, vertices, columns, faces, view, lamps, shade):
    """Shades every primitive that a pixel's samples see, once, and writes the samples' mean as sRGB into picture (h, w, 3).

    shade: (h, w) 0 lit to 1 dark.
    """
    height, width = picture.shape[:2]
    out, colour, mean = np.empty(7, np.float32), np.empty(3, np.float32), np.empty(3, np.float32)
    for row in range(height):
        for col in range(width):
            i0, i1, i2, i3 = ident[0, row, col], ident[1, row, col], ident[2, row, col], ident[3, row, col]
            same = i0 == i1 and i0 == i2 and i0 == i3
            if same and i0 < 0:
                for k in range(3):
                    picture[row, col, k] = background[row, col, k]
                if shade[row, col] > _ZERO:
                    dark = np.sqrt(_ONE - shade[row, col])
                    for k in range(3):
                        picture[row, col, k] = np.uint8(dark * background[row, col, k] + _HALF)
                continue
            mean[:] = _ZERO
            for s in range(SAMPLES):
                number = ident[s, row, col]
                if number < 0:
                    for k in range(3):
                        b = np.float32(background[row, col, k]) / np.float32(255)
                        mean[k] += b * b
                    continue
                sx = _HALF if same else _AT[s, 0]
                sy = _HALF if same else _AT[s, 1]
                z = depth[s, row, col]
                if same:
                    z = (z + depth[1, row, col] + depth[2, row, col] + depth[3, row, col]) * np.float32(0.25)
                x, y = view[0] + (np.float32(col) + sx) * view[2], view[1] + (np.float32(row) + sy) * view[3]
                _surface(number, x, y, z, np.float32(col) + sx, np.float32(row) + sy, cones, ellipsoids, vertices, columns,
                         faces, out)  # fmt: skip
                _shade(out, x, y, lamps, colour)
                dark = _ONE - (shade[row, col] if same else _shade_of(shade, depth, s, row, col))
                for k in range(3):
                    mean[k] += dark * colour[k]
                if same:
                    for k in range(3):
                        mean[k] *= np.float32(SAMPLES)
                    break
            for k in range(3):
                picture[row, col, k] = np.uint8(min(np.sqrt(mean[k] * np.float32(0.25)), _ONE) * np.float32(255) + _HALF)
