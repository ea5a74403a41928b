"""The convolution of separable patches, and its gradient to the kernel, compiled for CPUs; what they mean is in `sparse_stem.py`.

A patch is rows x columns; along x it is folded with the kernel first, (Q + P) k instead of Q P k products a pixel of the kernel's
height. Kernels come as `arranged` (V, k, s, J, C): taps that fall on neighbouring pixels lie side by side, in their order,
so that every inner loop runs over pixels and channels in one. bfloat16 is written and read as its upper half of float32.
"""

from __future__ import annotations

import numpy as np

from migstudy.compiled import compiled


@compiled
def forward(out, half, corner, rows, columns, arranged, ground, size, stride, first, last):
    """out (F, H', W' C) float32, or, where `half` (F, H' W' C) uint16 is not empty, one plane of scratch (1, H', W' C).

    ground (W' C): what each row begins with.
    """
    joints, kernel, residues, taps, channels = arranged.shape
    height, width = size
    span = columns.shape[2]
    # patch x kernel along x, for each row of the kernel and each residue of the row's first pixel
    folded = np.empty((kernel, (span // stride + taps + 1) * channels), np.float32)
    flat = arranged.reshape(joints, kernel, residues, taps * channels)
    pad = kernel // 2
    for f in range(first, last):
        plane = out[f] if len(half) == 0 else out[0]
        for y in range(height):
            plane[y] = ground
        for v in range(joints):
            low, high = _extent(rows[f, v])
            if low == high:
                continue
            left, right = _extent(columns[f, v])
            begin, end = _reach(corner[f, v, 0] + left, corner[f, v, 0] + right, pad, kernel, stride)
            inside, until = max(begin, 0), min(end, width)
            if until <= inside:
                continue
            folded[:, : (end - begin) * channels] = 0
            for j in range(left, right):
                shifted = corner[f, v, 0] + j + pad
                residue = shifted % stride
                count = (kernel - residue + stride - 1) // stride
                at = ((shifted - residue) // stride - count + 1 - begin) * channels
                weight = columns[f, v, j]
                for k in range(kernel):
                    target, source = folded[k, at : at + count * channels], flat[v, k, residue, : count * channels]
                    for i in range(count * channels):
                        target[i] += weight * source[i]
            offset, length = (inside - begin) * channels, (until - inside) * channels
            for i in range(low, high):
                weight = rows[f, v, i]
                shifted = corner[f, v, 1] + i + pad
                for k in range(shifted % stride, kernel, stride):
                    y = (shifted - k) // stride
                    if 0 <= y < height:
                        target, source = plane[y, inside * channels : until * channels], folded[k, offset : offset + length]
                        for n in range(length):
                            target[n] += weight * source[n]
        if len(half):
            _to_half(plane, half[f])


@compiled
def backward(gradient, half, corner, rows, columns, arranged, size, stride, first, last):
    """Adds to `arranged` what frames first to last give; gradient (F, H', W' C), or scratch (1, H', W' C) beside `half`."""
    joints, kernel, residues, taps, channels = arranged.shape
    height, width = size
    span = columns.shape[2]
    folded = np.empty((kernel, (span // stride + taps + 1) * channels), np.float32)
    flat = arranged.reshape(joints, kernel, residues, taps * channels)
    pad = kernel // 2
    for f in range(first, last):
        plane = gradient[f] if len(half) == 0 else gradient[0]
        if len(half):
            _from_half(half[f], plane)
        for v in range(joints):
            low, high = _extent(rows[f, v])
            if low == high:
                continue
            left, right = _extent(columns[f, v])
            begin, end = _reach(corner[f, v, 0] + left, corner[f, v, 0] + right, pad, kernel, stride)
            inside, until = max(begin, 0), min(end, width)
            if until <= inside:
                continue
            folded[:, : (end - begin) * channels] = 0
            offset, length = (inside - begin) * channels, (until - inside) * channels
            for i in range(low, high):
                weight = rows[f, v, i]
                shifted = corner[f, v, 1] + i + pad
                for k in range(shifted % stride, kernel, stride):
                    y = (shifted - k) // stride
                    if 0 <= y < height:
                        source, target = plane[y, inside * channels : until * channels], folded[k, offset : offset + length]
                        for n in range(length):
                            target[n] += weight * source[n]
            for j in range(left, right):
                shifted = corner[f, v, 0] + j + pad
                residue = shifted % stride
                count = (kernel - residue + stride - 1) // stride
                at = ((shifted - residue) // stride - count + 1 - begin) * channels
                weight = columns[f, v, j]
                for k in range(kernel):
                    source, target = folded[k, at : at + count * channels], flat[v, k, residue, : count * channels]
                    for i in range(count * channels):
                        target[i] += weight * source[i]


@compiled
def _extent(profile):
    """From the first to behind the last value that is not zero."""
    low, high = 0, len(profile)
    while low < high and profile[low] == 0:
        low += 1
    while high > low and profile[high - 1] == 0:
        high -= 1
    return low, high


@compiled
def _reach(first, behind, pad, kernel, stride):
    """Output columns from, and up to, which pixels first ... behind - 1 are seen; they may lie outside."""
    return -((kernel - 1 - pad - first) // stride), (behind - 1 + pad) // stride + 1


@compiled
def _to_half(plane, half):
    bits = plane.reshape(-1).view(np.uint32)
    for i in range(len(bits)):
        half[i] = np.uint16((bits[i] + np.uint32(0x7FFF) + ((bits[i] >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))


@compiled
def _from_half(half, plane):
    bits = plane.reshape(-1).view(np.uint32)
    for i in range(len(bits)):
        bits[i] = np.uint32(half[i]) << np.uint32(16)
