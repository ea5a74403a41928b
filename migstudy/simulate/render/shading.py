"""The rasteriser's light, compiled: contact shadows from the depth buffer, then colour for every pixel; camera coordinates, m."""

from __future__ import annotations

import numpy as np

from migstudy.simulate.render.kernels import SAMPLES, SAMPLES_AT, compiled

_SLACK, _CLOSE, _FAR = np.float32(0.0012), np.float32(0.04), np.float32(0.16)  # m; contact shadows fade from close to far
_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)


@compiled
def _surface(number, x, y, z, col, row, cones, ellipsoids, surface, columns, faces, out):
    """Unit normal, colour and gloss (7) into `out` of primitive `number` where the ray (x, y, 1) meets it at depth z."""
    if number < len(cones):
        i = number
        qx, qy, qz = x * z - cones[i, 0], y * z - cones[i, 1], z - cones[i, 2]
        wx, wy, wz, g = cones[i, 3], cones[i, 4], cones[i, 5], cones[i, 7]
        along = (qx * wx + qy * wy + qz * wz - cones[i, 8] * g) / (_ONE - g * g)
        along = min(max(along, _ZERO), cones[i, 6])
        out[0], out[1], out[2] = qx - along * wx, qy - along * wy, qz - along * wz
        for k in range(4):
            out[3 + k] = cones[i, 9 + k]
    elif number < len(cones) + len(ellipsoids):
        i = number - len(cones)
        qx, qy, qz = x * z - ellipsoids[i, 0], y * z - ellipsoids[i, 1], z - ellipsoids[i, 2]
        out[0] = out[1] = out[2] = _ZERO
        for r in range(3, 12, 3):
            u = ellipsoids[i, r] * qx + ellipsoids[i, r + 1] * qy + ellipsoids[i, r + 2] * qz
            for k in range(3):
                out[k] += ellipsoids[i, r + k] * u
        for k in range(4):
            out[3 + k] = ellipsoids[i, 12 + k]
    else:
        i = number - len(cones) - len(ellipsoids)
        a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
        px, py = columns[a, 0], columns[a, 1]
        qx, qy, rx, ry = columns[b, 0] - px, columns[b, 1] - py, columns[c, 0] - px, columns[c, 1] - py
        area, dx, dy = qx * ry - qy * rx, col - px, row - py
        of_q = min(max((ry * dx - rx * dy) / area, 0.0), 1.0)
        of_r = min(max((qx * dy - qy * dx) / area, 0.0), 1.0)
        of_p = max(1.0 - of_q - of_r, 0.0) * columns[a, 2]
        of_q, of_r = of_q * columns[b, 2], of_r * columns[c, 2]
        total = of_p + of_q + of_r
        wp, wq, wr = np.float32(of_p / total), np.float32(of_q / total), np.float32(of_r / total)
        for k in range(7):
            out[k] = wp * surface[a, k] + wq * surface[b, k] + wr * surface[c, k]
    size = np.sqrt(out[0] * out[0] + out[1] * out[1] + out[2] * out[2]) + np.float32(1e-12)
    # both sides of a sheet are seen and lit; a smooth outline's normals may lean away a little without being its back
    if out[0] * x + out[1] * y + out[2] > np.float32(0.35) * size:
        size = -size
    for k in range(3):
        out[k] /= size


@compiled
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


@compiled
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


@compiled
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


@compiled
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


@compiled
def resolve(picture, depth, ident, background, cones, ellipsoids, surface, columns, faces, sheets, view, lamps, shade):
    """Shades what each pixel's samples see and writes their mean as sRGB into picture (h, w, 3).

    A pixel within one primitive, or one sheet (faces of the same number in sheets (m,), 0 for none), is shaded once; others at
    each sample. shade: (h, w) 0 lit to 1 dark.
    """
    height, width = picture.shape[:2]
    picture[:] = background
    first = len(cones) + len(ellipsoids)
    out, colour, mean = np.empty(7, np.float32), np.empty(3, np.float32), np.empty(3, np.float32)
    for row in range(height):
        for col in range(width):
            number, same = ident[0, row, col], True
            for s in range(1, SAMPLES):
                other = ident[s, row, col]
                if other != number:
                    same = same and number >= first and other >= first
                    same = same and sheets[number - first] > 0 and sheets[number - first] == sheets[other - first]
            if same and number < 0:
                if shade[row, col] > _ZERO:
                    dark = np.sqrt(_ONE - shade[row, col])
                    for k in range(3):
                        picture[row, col, k] = np.uint8(dark * background[row, col, k] + _HALF)
                continue
            near = far = depth[0, row, col]
            for s in range(1, SAMPLES):
                near, far = min(near, depth[s, row, col]), max(far, depth[s, row, col])
            flat = far - near < np.float32(0.01)
            mean[:] = _ZERO
            for s in range(SAMPLES):
                number = ident[s, row, col]
                if number < 0:
                    for k in range(3):
                        b = np.float32(background[row, col, k]) / np.float32(255)
                        mean[k] += b * b
                    continue
                sx = _HALF if same else SAMPLES_AT[s, 0]
                sy = _HALF if same else SAMPLES_AT[s, 1]
                z = _HALF * (near + far) if same else depth[s, row, col]
                x, y = view[0] + (np.float32(col) + sx) * view[2], view[1] + (np.float32(row) + sy) * view[3]
                _surface(number, x, y, z, np.float32(col) + sx, np.float32(row) + sy, cones, ellipsoids, surface, columns,
                         faces, out)  # fmt: skip
                _shade(out, x, y, lamps, colour)
                dark = _ONE - (shade[row, col] if same or flat else _shade_of(shade, depth, s, row, col))
                for k in range(3):
                    mean[k] += dark * colour[k]
                if same:
                    for k in range(3):
                        mean[k] *= np.float32(SAMPLES)
                    break
            for k in range(3):
                picture[row, col, k] = np.uint8(min(np.sqrt(mean[k] * np.float32(0.25)), _ONE) * np.float32(255) + _HALF)
