"""Heatmaps drawn on a CPU by compiled kernels: each plane is cleared and drawn while it is in the cache, in one pass.

What is drawn, and where its windows end, is said in `heatmaps.py`; here are only loops. The canvas is flat; plane (s, c, t) of
sample s begins at places[s] + (c T + t) H W. twins: the same for the mirrored planes, columns reversed, channel c at twin[c]; empty
for none. Where persons meet, the larger value stays.
"""

from __future__ import annotations

from math import exp, sqrt

import numpy as np

from migstudy.compiled import compiled

REACH = 6.5  # sigmas from a limb's line beyond which its Gaussian, below 1e-9, is not drawn


@compiled
def draw_joints(canvas, places, twins, twin, center, peak, sigma, height, width, first, last):
    """center (M, S, C, T, 2) float64, peak (M, S, C, T). Samples x channels first to last."""
    persons, _, channels, frames = peak.shape
    columns, rows = np.empty(width, np.float32), np.empty(height, np.float32)
    for job in range(first, last):
        s, c = job // channels, job % channels
        for t in range(frames):
            plane, mirrored = _cleared(canvas, places, twins, twin, s, c, t, channels, frames, height * width)
            for m in range(persons):
                weight = np.float64(peak[m, s, c, t])
                if not weight > 0:
                    continue
                x, y = center[m, s, c, t, 0], center[m, s, c, t, 1]
                left, right = _window(x, x, sigma, width)
                top, bottom = _window(y, y, sigma, height)
                for j in range(left, right):
                    columns[j] = exp((j - x) ** 2 / (-2 * sigma * sigma))
                for i in range(top, bottom):
                    rows[i] = exp((i - y) ** 2 / (-2 * sigma * sigma)) * weight
                for i in range(top, bottom):
                    at = plane + i * width
                    for j in range(left, right):
                        canvas[at + j] = max(canvas[at + j], rows[i] * columns[j])
                    if mirrored >= 0:
                        at = mirrored + i * width + width - 1
                        for j in range(left, right):
                            canvas[at - j] = max(canvas[at - j], rows[i] * columns[j])


@compiled
def draw_limbs(canvas, places, twins, twin, start, end, peak, sigma, height, width, first, last):
    """start, end (M, S, C, T, 2) float64, peak (M, S, C, T). Samples x channels first to last."""
    persons, _, channels, frames = peak.shape
    for job in range(first, last):
        s, c = job // channels, job % channels
        for t in range(frames):
            plane, mirrored = _cleared(canvas, places, twins, twin, s, c, t, channels, frames, height * width)
            for m in range(persons):
                if peak[m, s, c, t] > 0:
                    _draw_limb(canvas, plane, mirrored, start[m, s, c, t], end[m, s, c, t], np.float64(peak[m, s, c, t]),
                               sigma, height, width)  # fmt: skip


@compiled
def _cleared(canvas, places, twins, twin, s, c, t, channels, frames, area):
    """Where a plane and its mirrored one, or -1, begin, both set to 0."""
    plane, mirrored = places[s] + (c * frames + t) * area, np.int64(-1)
    canvas[plane : plane + area] = 0
    if len(twins):
        mirrored = twins[s] + (twin[c] * frames + t) * area
        canvas[mirrored : mirrored + area] = 0
    return plane, mirrored


@compiled
def _draw_limb(canvas, plane, mirrored, start, end, peak, sigma, height, width):
    ax, ay, dx, dy = start[0], start[1], end[0] - start[0], end[1] - start[1]
    left, right = _window(min(ax, end[0]), max(ax, end[0]), sigma, width)
    top, bottom = _window(min(ay, end[1]), max(ay, end[1]), sigma, height)
    square = dx * dx + dy * dy
    inverse = 1 / max(square, 1e-12)
    # columns farther than this from the line on a row, none when the limb lies on a row
    band = REACH * sigma * sqrt(square) / abs(dy) if abs(dy) > 1e-3 else np.inf
    slope = dx / dy if abs(dy) > 1e-3 else 0.0
    scale = -1 / (2 * sigma * sigma)
    for row in range(top, bottom):
        y = row - ay
        middle = ax + y * slope
        low = max(left, int(middle - band)) if middle - band > left else left
        high = min(right, int(middle + band) + 1) if middle + band < right else right
        for column in range(low, high):
            x = column - ax
            along = min(max((x * dx + y * dy) * inverse, 0.0), 1.0)
            u, v = x - along * dx, y - along * dy
            value = np.float32(exp((u * u + v * v) * scale) * peak)
            at = plane + row * width + column
            canvas[at] = max(canvas[at], value)
            if mirrored >= 0:
                at = mirrored + row * width + width - 1 - column
                canvas[at] = max(canvas[at], value)


@compiled
def _window(low, high, sigma, length):
    """From trunc(low - 3 sigma) to trunc(high + 3 sigma), inside the image."""
    first = np.trunc(low - 3 * sigma)
    last = np.trunc(high + 3 * sigma) + 1
    return int(min(max(first, 0.0), float(length))), int(min(max(last, 0.0), float(length)))
