"""Joint and limb heatmaps (pseudo heatmaps), rendered from coordinates on the device of the input.

Equal to PYSKL's GeneratePoseTarget (arXiv 2104.13586, section 3.1). A joint is a Gaussian, a limb the same Gaussian of
the distance to its segment; both end in a hard window, both are scaled by the confidence. In torch, and on a CPU, where no
gradient is asked for, by compiled kernels (`drawing.py`) that write each pixel once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

EPS_PYSKL = 1e-3
EPS_MMACTION2 = 1e-4
"""Scores below eps draw nothing; the two codebases differ."""

_PIXELS_AT_ONCE = 1 << 19


def render_joints(
    keypoints: Tensor, scores: Tensor | None, size: int | tuple[int, int], sigma: float = 0.6, *,
    eps: float = EPS_PYSKL, dtype: torch.dtype = torch.float32,
) -> Tensor:  # fmt: skip
    """One Gaussian a joint and frame.

    keypoints (N, T, V, 2) in px of the output image, scores (N, T, V) or None for all 1; with a persons axis,
    (N, M, T, V, 2) and (N, M, T, V), persons are merged by the maximum. size: (H, W) or one side. sigma in px.
    The window reaches from trunc(x - 3 sigma) to trunc(x + 3 sigma): up to a pixel farther left and up than right and
    down; a joint just outside the image still draws its edge. Returns (N, V, T, H, W). Raises ValueError on shapes that do not fit.
    """
    if _compiled(keypoints, scores, dtype):
        return _draw_views(keypoints, scores, size, sigma, eps=eps, dtype=dtype)[:, 0]
    keypoints, scores, (height, width) = _prepare(keypoints, scores, size)
    work = torch.promote_types(dtype, torch.float32)
    columns = _profile(keypoints[..., 0], width, sigma).to(work)
    rows = (_profile(keypoints[..., 1], height, sigma) * _drawn(scores, scores, eps)[..., None]).to(work)
    # the Gaussian and its window are separable: one outer product writes the whole volume
    heatmaps = rows[0, ..., :, None] * columns[0, ..., None, :]
    for person in range(1, len(keypoints)):
        heatmaps = torch.maximum(heatmaps, rows[person, ..., :, None] * columns[person, ..., None, :])
    return heatmaps.to(dtype)


def render_limbs(
    keypoints: Tensor, scores: Tensor | None, edges: Sequence[tuple[int, int]], size: int | tuple[int, int],
    sigma: float = 0.6, *, eps: float = EPS_PYSKL, dtype: torch.dtype = torch.float32,
) -> Tensor:  # fmt: skip
    """One ridge a limb and frame: the Gaussian of the distance to the segment from joint edges[e][0] to edges[e][1].

    Arguments as in `render_joints`. The confidence is the smaller of the two joints'. The window is the segment's
    bounding box grown by 3 sigma. A limb shorter than one pixel is drawn as its first joint, with that joint's score.
    Returns (N, E, T, H, W); edges (E, 2) may be empty.
    """
    if _compiled(keypoints, scores, dtype):
        return _draw_views(keypoints, scores, size, sigma, edges=edges, eps=eps, dtype=dtype)[:, 0]
    keypoints, scores, (height, width) = _prepare(keypoints, scores, size)
    start, end, amplitude = _segments(keypoints, scores, edges, eps)
    heatmaps = torch.zeros((*start.shape[1:4], height, width), dtype=dtype, device=keypoints.device)
    for person in range(len(start)):
        _draw_segments(heatmaps, start[person].reshape(-1, 2), end[person].reshape(-1, 2),
                       amplitude[person].reshape(-1), sigma, merge=person > 0)  # fmt: skip
    return heatmaps


def mirror_heatmaps(volume: Tensor, permutation: Sequence[int]) -> Tensor:
    """The mirrored view of (..., C, T, H, W): pixel columns reversed and channels swapped by the permutation (C,).

    PYSKL's `double`. For limbs the permutation is `Topology.limb_mirror`. Not the same as rendering flipped
    coordinates: pixels turn about W - 1 - x, coordinates about W - x.
    """
    order = torch.as_tensor(permutation, dtype=torch.long, device=volume.device)
    return volume.flip(-1).index_select(-4, order)


def render_views(
    keypoints: Tensor, scores: Tensor | None, size: int | tuple[int, int], sigma: float = 0.6, *, num_clips: int = 1,
    edges: Sequence[tuple[int, int]] | None = None, permutation: Sequence[int] | None = None, **options,
) -> Tensor:  # fmt: skip
    """All test views of a batch: the `num_clips` clips lying end to end along T, then, mirrored, the same again.

    keypoints (N, num_clips * T, V, 2) and scores as in `render_joints` (persons axis allowed). edges: limbs instead of
    joints. permutation: of the channels (joints or limbs) for the mirrored half; None leaves that half out.
    Returns (N, views, C, T, H, W), views = num_clips or twice that, in PYSKL's order. Average the model's
    probabilities over them with `models.average_views`. Raises ValueError when T does not divide.
    """
    frames = keypoints.shape[-3]
    if frames % num_clips:
        raise ValueError(f"{frames} frames cannot be cut into {num_clips} clips of equal length")
    if _compiled(keypoints, scores, options.get("dtype", torch.float32)):
        return _draw_views(keypoints, scores, size, sigma, num_clips, edges, permutation, **options)
    if edges is None:
        volume = render_joints(keypoints, scores, size, sigma, **options)
    else:
        volume = render_limbs(keypoints, scores, edges, size, sigma, **options)
    views = volume.unflatten(2, (num_clips, frames // num_clips)).movedim(2, 1)
    if permutation is None:
        return views.contiguous()
    return torch.cat([views, mirror_heatmaps(views, permutation)], dim=1)


class JointPatches(NamedTuple):
    """Joint heatmaps by their only pixels that are not zero: one patch a joint and frame, rows x columns.

    corner (N, V, T, 2) int64, left column and top row; the patch lies inside the image. rows (N, V, T, Q), columns (N, V, T, P)
    float32. size: (H, W) of the image. What `models.sparse_stem` convolves without drawing it.
    """

    corner: Tensor
    rows: Tensor
    columns: Tensor
    size: tuple[int, int]

    def draw(self) -> Tensor:
        """The volume, (N, V, T, H, W)."""
        height, width = self.size
        canvas = self.rows.new_zeros((*self.rows.shape[:3], height, width))
        across, down = (torch.arange(p.shape[-1], device=canvas.device) for p in (self.columns, self.rows))
        inside = ((self.corner[..., 1, None] + down) * width)[..., None] + (self.corner[..., 0, None] + across)[..., None, :]
        values = self.rows[..., None] * self.columns[..., None, :]
        return canvas.flatten(3).scatter_(3, inside.flatten(3), values.flatten(3)).view_as(canvas)


def joint_patches(
    keypoints: Tensor, scores: Tensor | None, size: int | tuple[int, int], sigma: float = 0.6, *, num_clips: int = 1,
    permutation: Sequence[int] | None = None, eps: float = EPS_PYSKL,
) -> JointPatches:  # fmt: skip
    """`render_views` of joints, not drawn, its views along the first axis: N * views samples.

    One person only. Patches have 6 sigma + 2 pixels a side, rounded down, or the image's. Raises ValueError as `render_views`.
    """
    keypoints, scores, (height, width) = _prepare(keypoints, scores, size)
    persons, frames = len(scores), scores.shape[3]
    if persons != 1 or frames % num_clips:
        raise ValueError(f"{persons} persons and {frames} frames in {num_clips} clips; patches are of one person and equal clips")
    left, columns = _patch(keypoints[0, ..., 0], width, sigma)
    top, rows = _patch(keypoints[0, ..., 1], height, sigma)
    rows = rows * _drawn(scores[0], scores[0], eps)[..., None]
    parts = [p.unflatten(2, (num_clips, -1)).transpose(1, 2) for p in (left, top, rows.float(), columns.float())]
    if permutation is not None:
        order = torch.as_tensor(permutation, dtype=torch.long, device=left.device)
        left, top, rows, columns = (p.index_select(2, order) for p in parts)
        mirrored = (width - columns.shape[-1] - left, top, rows, columns.flip(-1))
        parts = [torch.cat(pair, 1) for pair in zip(parts, mirrored, strict=True)]
    left, top, rows, columns = (p.flatten(0, 1) for p in parts)
    return JointPatches(torch.stack([left, top], -1), rows, columns, (height, width))


def _patch(centers: Tensor, length: int, sigma: float) -> tuple[Tensor, Tensor]:
    """The part of `_profile` that is not zero: (...) centres -> where it begins, (...) int64, and its values (..., P)."""
    span = min(int(6 * sigma + 1e-9) + 2, length)
    centers = centers.to(_wide(centers))
    first = (centers - 3 * sigma).trunc().nan_to_num(0).clamp(0, length - span)
    pixels = first[..., None] + torch.arange(span, dtype=centers.dtype, device=centers.device)
    return first.long(), _windowed(pixels, centers[..., None], sigma)


def _compiled(keypoints: Tensor, scores: Tensor | None, dtype: torch.dtype) -> bool:
    """Whether the compiled kernels draw it: on a CPU, in at most float32, without a gradient to anything."""
    learned = torch.is_grad_enabled() and (keypoints.requires_grad or (scores is not None and scores.requires_grad))
    return keypoints.device.type == "cpu" and dtype != torch.float64 and not learned


def _draw_views(
    keypoints: Tensor, scores: Tensor | None, size: int | tuple[int, int], sigma: float, num_clips: int = 1,
    edges: Sequence[tuple[int, int]] | None = None, permutation: Sequence[int] | None = None, *, eps: float = EPS_PYSKL,
    dtype: torch.dtype = torch.float32,
) -> Tensor:  # fmt: skip
    """`render_views` by the compiled kernels, every view drawn where it belongs."""
    from migstudy import drawing
    from migstudy.compiled import in_threads

    joints, weights, (height, width) = _prepare(keypoints.detach(), None if scores is None else scores.detach(), size)
    if edges is None:
        draw, points, peak = drawing.draw_joints, (joints,), _drawn(weights, weights, eps)
    else:
        start, end, peak = _segments(joints, weights, edges, eps)
        draw, points = drawing.draw_limbs, (start, end)
    peak = torch.where(sum(points).isfinite().all(-1), peak, 0).float()
    parts, channels = (*(p.double() for p in points), peak), peak.shape[2]
    batch, frames = joints.shape[1], joints.shape[3] // num_clips
    views = num_clips * (1 if permutation is None else 2)
    canvas = torch.empty((batch, views, channels, frames, height, width))
    begins = torch.arange(batch * views).view(batch, views) * (channels * frames * height * width)
    twins, twin = begins[:, num_clips:].flatten(), torch.as_tensor([] if permutation is None else permutation, dtype=torch.long)
    # (M, N, C, clips T, ...) -> (M, N clips, C, T, ...)
    arrays = [p.unflatten(3, (num_clips, frames)).movedim(3, 2).flatten(1, 2).contiguous().numpy() for p in parts]
    fixed = (canvas.view(-1), begins[:, :num_clips].flatten(), twins, twin.argsort())
    arrays = [*(f.numpy() for f in fixed), *arrays, float(sigma), height, width]
    in_threads(lambda first, last: draw(*arrays, first, last), batch * num_clips * channels)
    return canvas.to(dtype)


def _segments(keypoints: Tensor, scores: Tensor, edges: Sequence[tuple[int, int]], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Where limbs start and end, (M, N, E, T, 2), and their peaks (M, N, E, T); those shorter than a pixel end at the start."""
    ends = torch.as_tensor(edges, dtype=torch.long, device=keypoints.device).reshape(-1, 2)
    start, end = keypoints[:, :, ends[:, 0]], keypoints[:, :, ends[:, 1]]
    start_score, end_score = scores[:, :, ends[:, 0]], scores[:, :, ends[:, 1]]
    smaller = torch.minimum(start_score, end_score)
    short = (end - start).to(_wide(keypoints)).square().sum(-1) < 1
    amplitude = _drawn(smaller, torch.where(short, start_score, smaller), eps)
    return start, torch.where(short[..., None], start, end), amplitude


def _prepare(keypoints: Tensor, scores: Tensor | None, size: int | tuple[int, int]):
    """-> keypoints (M, N, V, T, 2), scores (M, N, V, T), (height, width)."""
    if scores is None:
        scores = keypoints.new_ones(keypoints.shape[:-1])
    if keypoints.ndim not in (4, 5) or keypoints.shape[-1] != 2 or scores.shape != keypoints.shape[:-1]:
        raise ValueError(
            f"cannot render keypoints {tuple(keypoints.shape)} with scores {tuple(scores.shape)}; "
            "expected (N, T, V, 2) and (N, T, V), or with persons (N, M, T, V, 2) and (N, M, T, V)"
        )
    if keypoints.ndim == 4:
        keypoints, scores = keypoints[:, None], scores[:, None]
    size = (size, size) if isinstance(size, int) else size
    return keypoints.permute(1, 0, 3, 2, 4), scores.permute(1, 0, 3, 2), size


def _wide(tensor: Tensor) -> torch.dtype:
    """float64, in which window bounds must be computed to fall as the original's; Apple's GPUs have none."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def _drawn(scores: Tensor, values: Tensor, eps: float) -> Tensor:
    """The values where the score reaches eps, else 0; compared in float64, since float32(1e-4) is below 1e-4."""
    return torch.where(scores.to(_wide(scores)) < eps, 0, values)


def _profile(centers: Tensor, length: int, sigma: float) -> Tensor:
    """The windowed Gaussian along one axis: (...) centres -> (..., length)."""
    centers = centers.to(_wide(centers))[..., None]
    pixels = torch.arange(length, dtype=centers.dtype, device=centers.device)
    return _windowed(pixels, centers, sigma)


def _windowed(pixels: Tensor, centers: Tensor, sigma: float) -> Tensor:
    inside = (pixels >= (centers - 3 * sigma).trunc()) & (pixels <= (centers + 3 * sigma).trunc())
    return torch.where(inside, torch.exp((pixels - centers).square() / (-2 * sigma**2)), 0)


def _draw_segments(
    canvas: Tensor, start: Tensor, end: Tensor, amplitude: Tensor, sigma: float, merge: bool
) -> None:  # fmt: skip
    """Draw segment i of S onto image i of the canvas (..., H, W), S images; only pixels inside windows are computed.

    start, end (S, 2); amplitude (S,). merge: keep the maximum of what is there and what is drawn.
    """
    height, width = canvas.shape[-2:]
    wide = _wide(start)
    start, end = start.to(wide), end.to(wide)
    limit = torch.tensor([width, height], dtype=wide, device=start.device)
    low = (torch.minimum(start, end) - 3 * sigma).trunc().clamp_min(0).minimum(limit)
    high = ((torch.maximum(start, end) + 3 * sigma).trunc() + 1).clamp_min(0).minimum(limit)
    boxes = torch.where((amplitude > 0)[:, None], (high - low).clamp_min(0), 0).long()
    corner = (low[:, 1] * width + low[:, 0]).long() + torch.arange(len(low), device=low.device) * (height * width)
    inverse = (end - start).square().sum(-1).clamp_min(1e-12).reciprocal()
    # what a pixel needs of its segment: the window's corner seen from the start, the segment, 1 / its square, the peak
    table = torch.stack([*(low - start).T, *(end - start).T, inverse, amplitude.to(wide)])

    filled = boxes.prod(-1).cumsum(0)
    total = int(filled[-1]) if len(filled) else 0
    marks = torch.arange(_PIXELS_AT_ONCE, max(total, _PIXELS_AT_ONCE), _PIXELS_AT_ONCE, device=filled.device)
    cuts = torch.searchsorted(filled, marks).tolist()
    for first, last in zip([0, *cuts], [*cuts, len(filled)], strict=True):
        part = slice(first, last)
        _fill_windows(canvas.view(-1), boxes[part], corner[part], table[:, part], width, sigma, merge)


def _fill_windows(
    canvas: Tensor, boxes: Tensor, corner: Tensor, table: Tensor, width: int, sigma: float, merge: bool
) -> None:  # fmt: skip
    """The pixels of all windows as one flat list: each finds its segment, its value and its place on the canvas."""
    areas = boxes.prod(-1)
    owner = torch.repeat_interleave(areas)
    # column by column: gathering rows of a table is several times slower on a CPU
    before, box_width, corner = (c.index_select(0, owner) for c in (areas.cumsum(0) - areas, boxes[:, 0], corner))
    left, top, dx, dy, inverse, peak = (column.index_select(0, owner) for column in table)
    place = torch.arange(len(owner), device=owner.device) - before
    row = place.div(box_width, rounding_mode="floor")
    column = place - row * box_width
    x, y = column + left, row + top
    along = ((x * dx + y * dy) * inverse).clamp(0, 1)
    distance = (x - along * dx).square() + (y - along * dy).square()
    values = (torch.exp(distance / (-2 * sigma**2)) * peak).to(canvas.dtype)
    target = corner + row * width + column
    canvas.index_copy_(0, target, torch.maximum(canvas.index_select(0, target), values) if merge else values)
