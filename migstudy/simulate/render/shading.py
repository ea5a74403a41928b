"""The rasteriser's light, compiled: contact shadows from the depth buffer, then colour for every pixel; camera coordinates, m."""

from __future__ import annotations

import numpy as np

from migstudy.simulate.render.kernels import SAMPLES, SAMPLES_AT, compiled

_SLACK, _CLOSE, _FAR = np.float32(0.0012), np.float32(0.04), np.float32(0.16)  # m; contact shadows fade from close to far
_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)


@compiled
def _facing(nx, ny, nz, x, y):
    """The unit normal that looks at the camera along the ray (x, y, 1).

    Both sides of a sheet are seen and lit; a smooth outline's normals may lean away a little without being its back.
    """
    size = np.sqrt(nx * nx + ny * ny + nz * nz) + np.float32(1e-12)
    if nx * x + ny * y + nz > np.float32(0.35) * size:
        size = -size
    return nx / size, ny / size, nz / size


@compiled
def _surface(number, x, y, z, col, row, cones, ellipsoids, surface, columns, faces):
    """Normal of any length, colour and gloss of primitive `number` where the ray (x, y, 1) meets it at depth z."""
    if number < len(cones):
        qx, qy, qz = x * z - cones[number, 0], y * z - cones[number, 1], z - cones[number, 2]
        wx, wy, wz, g = cones[number, 3], cones[number, 4], cones[number, 5], cones[number, 7]
        along = (qx * wx + qy * wy + qz * wz - cones[number, 8] * g) / (_ONE - g * g)
        along = min(max(along, _ZERO), cones[number, 6])
        nx, ny, nz = qx - along * wx, qy - along * wy, qz - along * wz
        return nx, ny, nz, cones[number, 9], cones[number, 10], cones[number, 11], cones[number, 12]
    number -= len(cones)
    if number < len(ellipsoids):
        qx, qy, qz = x * z - ellipsoids[number, 0], y * z - ellipsoids[number, 1], z - ellipsoids[number, 2]
        out_x = out_y = out_z = _ZERO
        for r in range(3, 12, 3):
            mx, my, mz = ellipsoids[number, r], ellipsoids[number, r + 1], ellipsoids[number, r + 2]
            u = mx * qx + my * qy + mz * qz
            out_x, out_y, out_z = out_x + mx * u, out_y + my * u, out_z + mz * u
        return (
            out_x, out_y, out_z, ellipsoids[number, 12], ellipsoids[number, 13], ellipsoids[number, 14], ellipsoids[number, 15],
        )  # fmt: skip
    number -= len(ellipsoids)
    a, b, c = faces[number, 0], faces[number, 1], faces[number, 2]
    px, py = columns[a, 0], columns[a, 1]
    qx, qy, rx, ry = columns[b, 0] - px, columns[b, 1] - py, columns[c, 0] - px, columns[c, 1] - py
    inverse, dx, dy = 1.0 / (qx * ry - qy * rx), col - px, row - py
    of_q = min(max((ry * dx - rx * dy) * inverse, 0.0), 1.0)
    of_r = min(max((qx * dy - qy * dx) * inverse, 0.0), 1.0)
    of_p = max(1.0 - of_q - of_r, 0.0) * columns[a, 2]
    of_q, of_r = of_q * columns[b, 2], of_r * columns[c, 2]
    inverse = 1.0 / (of_p + of_q + of_r)
    wp, wq, wr = np.float32(of_p * inverse), np.float32(of_q * inverse), np.float32(of_r * inverse)
    red = wp * surface[a, 3] + wq * surface[b, 3] + wr * surface[c, 3]
    green = wp * surface[a, 4] + wq * surface[b, 4] + wr * surface[c, 4]
    blue = wp * surface[a, 5] + wq * surface[b, 5] + wr * surface[c, 5]
    if surface[a, 6] < _ZERO:
        return _ZERO, _ZERO, _ONE, red, green, blue, surface[a, 6]
    nx = wp * surface[a, 0] + wq * surface[b, 0] + wr * surface[c, 0]
    ny = wp * surface[a, 1] + wq * surface[b, 1] + wr * surface[c, 1]
    nz = wp * surface[a, 2] + wq * surface[b, 2] + wr * surface[c, 2]
    return nx, ny, nz, red, green, blue, wp * surface[a, 6] + wq * surface[b, 6] + wr * surface[c, 6]


@compiled
def _shade(nx, ny, nz, red, green, blue, gloss, x, y, lamps):
    """Linear colour under Lambert light of key, fill and surroundings, brighter from above, and a highlight."""
    nx, ny, nz = _facing(nx, ny, nz, x, y)
    key = max(nx * lamps[0, 0] + ny * lamps[0, 1] + nz * lamps[0, 2], _ZERO)
    fill = max(nx * lamps[2, 0] + ny * lamps[2, 1] + nz * lamps[2, 2], _ZERO)
    up = nx * lamps[5, 0] + ny * lamps[5, 1] + nz * lamps[5, 2]
    around = np.float32(0.8) + np.float32(0.2) * up
    shine = _ZERO
    if gloss > _ZERO:
        size = _ONE / np.sqrt(x * x + y * y + _ONE)
        hx, hy, hz = lamps[0, 0] - x * size, lamps[0, 1] - y * size, lamps[0, 2] - size
        shine = max((nx * hx + ny * hy + nz * hz) / np.sqrt(hx * hx + hy * hy + hz * hz), _ZERO)
        for _ in range(4):
            shine *= shine
        shine *= gloss
    return (
        red * (key * lamps[1, 0] + fill * lamps[3, 0] + around * lamps[4, 0]) + shine * lamps[1, 0],
        green * (key * lamps[1, 1] + fill * lamps[3, 1] + around * lamps[4, 1]) + shine * lamps[1, 1],
        blue * (key * lamps[1, 2] + fill * lamps[3, 2] + around * lamps[4, 2]) + shine * lamps[1, 2],
    )


@compiled
def light_vertices(surface, columns, fine, view, lamps):
    """Lights the vertices of fine meshes: in surface (n, 7), in place, their colour becomes the lit one and their gloss -1."""
    for i in range(len(surface)):
        if fine[i]:
            x, y = view[0] + np.float32(columns[i, 0]) * view[2], view[1] + np.float32(columns[i, 1]) * view[3]
            v = surface[i]
            v[3], v[4], v[5] = _shade(v[0], v[1], v[2], v[3], v[4], v[5], v[6], x, y, lamps)
            v[6] = -_ONE


@compiled
def _blur(sums, radius):
    """In place, the sums of each plane of sums (h, w, 3) over a square window of 2 radius + 1 px, cut at the border."""
    height, width = sums.shape[:2]
    line = np.empty((width, 3), np.float32)
    for row in range(height):
        a, b, c = 0.0, 0.0, 0.0  # side by side: three sums cost hardly more time than one
        for col in range(-radius, width):
            if col + radius < width:
                p = sums[row, col + radius]
                a, b, c = a + p[0], b + p[1], c + p[2]
            if col - radius - 1 >= 0:
                p = sums[row, col - radius - 1]
                a, b, c = a - p[0], b - p[1], c - p[2]
            if col >= 0:
                line[col, 0], line[col, 1], line[col, 2] = a, b, c
        sums[row] = line
    source, totals = sums.copy().reshape(height, 3 * width), np.zeros(3 * width)
    target = sums.reshape(height, 3 * width)
    for row in range(-radius, height):
        if row + radius < height:
            for k in range(3 * width):
                totals[k] += source[row + radius, k]
        if row - radius - 1 >= 0:
            for k in range(3 * width):
                totals[k] -= source[row - radius - 1, k]
        if row >= 0:
            for k in range(3 * width):
                target[row, k] = totals[k]


@compiled
def occlusion(depth, ident, reach, shade, box):
    """Writes into shade (h, w) 0 open to 1: how much of what was drawn around a pixel stands shortly before it.

    depth, ident: (h, w) of one sample. From the depth buffer and its blur (Luft et al. 2006), with the blurred square besides:
    if a share p of the surroundings stands a distance D nearer, the mean difference is p D and the mean square p D^2, which
    gives both. Only what was drawn (ident >= 0) darkens; whatever has a depth is darkened. reach: m times px a ray step; one
    radius for the whole picture. box: x0, y0, x1, y1 px around what was drawn; returned with what is darkened besides.
    """
    height, width = depth.shape
    shade[:] = _ZERO
    top, bottom, first, last = height, -1, width, -1
    total, count = 0.0, 0
    for row in range(box[1], box[3]):
        for col in range(box[0], box[2]):
            if ident[row, col] >= 0:
                total += depth[row, col]
                count += 1
                top, bottom = min(top, row), max(bottom, row)
                first, last = min(first, col), max(last, col)
    if count == 0:
        return box
    middle = np.float32(total / count)
    radius = max(1, int(reach / middle))
    top, first = max(0, top - 2 * radius), max(0, first - 2 * radius)
    bottom, last = min(height, bottom + 2 * radius + 1), min(width, last + 2 * radius + 1)
    sums = np.zeros((bottom - top, last - first, 3), np.float32)  # of 1, depth and its square
    for row in range(top, bottom):
        for col in range(first, last):
            if ident[row, col] >= 0:
                z = depth[row, col] - middle
                at = sums[row - top, col - first]
                at[0], at[1], at[2] = _ONE, z, z * z
    for _ in range(2):
        _blur(sums, radius)
    area = _ONE / np.float32((2 * radius + 1) ** 4)
    for row in range(top, bottom):
        for col in range(first, last):
            count_of, sum_of, square_of = sums[row - top, col - first]
            if depth[row, col] == np.inf or count_of == _ZERO:
                continue
            z = depth[row, col] - middle
            nearer = (z * count_of - sum_of) * area
            if nearer <= _SLACK:
                continue
            square = (z * z * count_of - np.float32(2) * z * sum_of + square_of) * area
            away, share = square / nearer, (nearer - _SLACK) * nearer / square
            close = min(max((_FAR - away) / (_FAR - _CLOSE), _ZERO), _ONE)
            shade[row, col] = min(np.float32(2) * share, _ONE) * close * close
    return min(first, box[0]), min(top, box[1]), max(last, box[2]), max(bottom, box[3])


@compiled
def _shade_of(shade, depth, z, row, col):
    """The shade at depth z within an outline's pixel: that of the neighbour which lies nearest in depth."""
    height, width = shade.shape
    best, value = np.float32(np.inf), _ZERO
    for r in range(max(row - 1, 0), min(row + 2, height)):
        for c in range(max(col - 1, 0), min(col + 2, width)):
            away = abs(depth[0, r, c] - z)
            if away < best:
                best, value = away, shade[r, c]
    return value


@compiled
def resolve(picture, depth, ident, background, cones, ellipsoids, surface, columns, faces, sheets, view, lamps, shade, box):
    """Shades what each pixel's samples see and writes their mean as sRGB into picture (h, w, 3), at first the background.

    Samples that see one primitive, or one sheet (faces of the same number in sheets (m,), 0 for none), are shaded once, in
    their middle. shade: (h, w) 0 lit to 1 dark. box: x0, y0, x1, y1 px outside of which there is only background.
    """
    first, per_sample = len(cones) + len(ellipsoids), np.float32(1 / SAMPLES)
    for row in range(box[1], box[3]):
        for col in range(box[0], box[2]):
            empty = ident[0, row, col] < 0
            for s in range(1, SAMPLES):
                empty &= ident[s, row, col] < 0
            if empty:
                if shade[row, col] > _ZERO:
                    dark = np.sqrt(_ONE - shade[row, col])
                    for k in range(3):
                        picture[row, col, k] = np.uint8(dark * background[row, col, k] + _HALF)
                continue
            near = far = depth[0, row, col]
            for s in range(1, SAMPLES):
                near, far = min(near, depth[s, row, col]), max(far, depth[s, row, col])
            flat = far - near < np.float32(0.01)
            red = green = blue = _ZERO
            done = 0
            for s in range(SAMPLES):
                if (done >> s) & 1:
                    continue
                number, sx, sy, z, share = ident[s, row, col], SAMPLES_AT[s, 0], SAMPLES_AT[s, 1], depth[s, row, col], _ONE
                sheet = sheets[number - first] if number >= first else 0
                for t in range(s + 1, SAMPLES):
                    other = ident[t, row, col]
                    if other == number or (sheet > 0 and other >= first and sheets[other - first] == sheet):
                        done |= 1 << t
                        sx, sy, z, share = sx + SAMPLES_AT[t, 0], sy + SAMPLES_AT[t, 1], z + depth[t, row, col], share + _ONE
                if number < 0:
                    scale = share / np.float32(255 * 255)
                    r, g, b = (np.float32(background[row, col, 0]), np.float32(background[row, col, 1]),
                               np.float32(background[row, col, 2]))  # fmt: skip
                    red, green, blue = red + r * r * scale, green + g * g * scale, blue + b * b * scale
                    continue
                dark = shade[row, col] if flat or share == SAMPLES else _shade_of(shade, depth, z / share, row, col)
                across, down = np.float32(col) + sx / share, np.float32(row) + sy / share
                x, y = view[0] + across * view[2], view[1] + down * view[3]
                nx, ny, nz, r, g, b, gloss = _surface(number, x, y, z / share, across, down, cones, ellipsoids, surface,
                                                      columns, faces)  # fmt: skip
                if gloss >= _ZERO:
                    r, g, b = _shade(nx, ny, nz, r, g, b, gloss, x, y, lamps)
                share *= _ONE - dark
                red, green, blue = red + share * r, green + share * g, blue + share * b
            scale = np.float32(255)
            picture[row, col, 0] = np.uint8(min(np.sqrt(red * per_sample), _ONE) * scale + _HALF)
            picture[row, col, 1] = np.uint8(min(np.sqrt(green * per_sample), _ONE) * scale + _HALF)
            picture[row, col, 2] = np.uint8(min(np.sqrt(blue * per_sample), _ONE) * scale + _HALF)
