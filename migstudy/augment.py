"""Which coordinates the model sees: crops, scales, mirrors and projections of keypoints, never of pixels.

Keypoints (..., V, 2) are pixels (x, y), origin top left, image_size is (W, H). As in PYSKL a coordinate of exactly 0
means missing. Functions return new arrays and the new image size; none changes its input.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from migstudy.temporal import Rng

Size = tuple[int, int]
Box = tuple[int, int, int, int]


def compact_box(
    keypoints: np.ndarray, image_size: Size, padding: float = 0.25, threshold: float = 10,
    hw_ratio: float | tuple[float, float] | None = 1.0, allow_imgpad: bool = True,
) -> Box | None:  # fmt: skip
    """The box (x0, y0, x1, y1) around all joints of all frames, grown by `padding`; None when it is too small.

    hw_ratio: height / width, one value or a range, None for any; allow_imgpad: the box may leave the image.
    Corners are truncated towards zero, negative ones too. Source: PYSKL's PoseCompact (threshold in px).
    """
    hw_ratio = (hw_ratio, hw_ratio) if isinstance(hw_ratio, int | float) else hw_ratio
    spans = []
    for axis in (0, 1):
        values = keypoints[..., axis]
        values = values[np.isfinite(values) & (values != 0)]
        if not len(values) or values.max() - values.min() < threshold:
            return None
        spans.append((values.min(), values.max()))
    # sum and difference in the input's own precision, the rest in float64: integer corners then equal PYSKL's
    (cx, half_w), (cy, half_h) = ((float(lo + hi) / 2, float(hi - lo) / 2 * (1 + padding)) for lo, hi in spans)
    if hw_ratio is not None:
        half_h = max(hw_ratio[0] * half_w, half_h)
        half_w = max(1 / hw_ratio[1] * half_h, half_w)
    x0, y0, x1, y1 = cx - half_w, cy - half_h, cx + half_w, cy + half_h
    if not allow_imgpad:
        x0, y0, x1, y1 = max(0, x0), max(0, y0), min(image_size[0], x1), min(image_size[1], y1)
    x0, y0, x1, y1 = int(x0), int(y0), int(x1), int(y1)
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def pose_compact(keypoints: np.ndarray, image_size: Size, **options) -> tuple[np.ndarray, Size]:
    """Cut the image to `compact_box(**options)`; NaN and missing coordinates become and stay 0."""
    keypoints = np.where(np.isnan(keypoints), 0, keypoints)
    box = compact_box(keypoints, image_size, **options)
    if box is None:
        return keypoints, image_size
    x0, y0, x1, y1 = box
    corner = np.array([x0, y0], keypoints.dtype)
    return np.where(keypoints != 0, keypoints - corner, 0), (x1 - x0, y1 - y0)


def resize(keypoints: np.ndarray, image_size: Size, size: int | Size) -> tuple[np.ndarray, Size]:
    """Scale to `size`: (W, H) stretches each axis by itself; one integer is the new short side, keeping the ratio."""
    width, height = image_size
    if isinstance(size, int):
        scale = size / min(width, height)
        size = (int(width * scale + 0.5), int(height * scale + 0.5))
    factor = np.array([size[0] / width, size[1] / height], np.float32)
    return keypoints * factor, size


def crop(keypoints: np.ndarray, box: Box) -> tuple[np.ndarray, Size]:
    """Cut the image to the box; missing coordinates move with the rest (their score still says 0). Returns float64.

    Both as in PYSKL.
    """
    x0, y0, x1, y1 = box
    return keypoints - np.array([x0, y0], np.float64), (x1 - x0, y1 - y0)


def random_crop_box(
    image_size: Size, rng: Rng, area_range: Sequence[float] = (0.56, 1.0),
    aspect_range: Sequence[float] = (3 / 4, 4 / 3), offsets: random.Random | None = None, attempts: int = 10,
) -> Box:  # fmt: skip
    """A random box of given area (share of the image) and aspect (w / h); the central square if `attempts` all miss.

    offsets: PYSKL takes the corner from Python's own generator; give one to repeat it, else `rng` serves for all.
    """
    width, height = image_size
    aspects = np.exp(rng.uniform(np.log(aspect_range[0]), np.log(aspect_range[1]), attempts))
    areas = rng.uniform(area_range[0], area_range[1], attempts) * (width * height)
    widths, heights = np.round(np.sqrt(areas * aspects)).astype(int), np.round(np.sqrt(areas / aspects)).astype(int)
    fits = np.flatnonzero((widths <= width) & (heights <= height))
    if len(fits):
        w, h = int(widths[fits[0]]), int(heights[fits[0]])
        x0, y0 = _integer(width - w, rng, offsets), _integer(height - h, rng, offsets)
    else:
        w = h = min(width, height)
        x0, y0 = (width - w) // 2, (height - h) // 2
    return x0, y0, x0 + w, y0 + h


def random_resized_crop(
    keypoints: np.ndarray, image_size: Size, rng: Rng, area_range: Sequence[float] = (0.56, 1.0),
    aspect_range: Sequence[float] = (3 / 4, 4 / 3), offsets: random.Random | None = None,
) -> tuple[np.ndarray, Size]:  # fmt: skip
    """`crop` to `random_crop_box`; resize afterwards. The ranges are those of PYSKL's PoseC3D configurations."""
    return crop(keypoints, random_crop_box(image_size, rng, area_range, aspect_range, offsets))


def center_crop(keypoints: np.ndarray, image_size: Size, size: int | Size) -> tuple[np.ndarray, Size]:
    """Cut the central (W, H) out, as mmaction2's test pipeline does after resizing the short side."""
    w, h = (size, size) if isinstance(size, int) else size
    x0, y0 = (image_size[0] - w) // 2, (image_size[1] - h) // 2
    return crop(keypoints, (x0, y0, x0 + w, y0 + h))


def flip(
    keypoints: np.ndarray, scores: np.ndarray, image_width: int, mirror: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Mirror left and right: x -> W - x where x is not 0, then joint v takes the place of joint mirror[v].

    W - x, not W - 1 - x: coordinates mirrored this way and pixels mirrored by `heatmaps.mirror_heatmaps` differ by one
    pixel, in PYSKL by design and here for parity. mirror: a permutation, (V,).
    """
    mirror = np.asarray(mirror)
    keypoints = keypoints[..., mirror, :]
    x = keypoints[..., 0]
    keypoints[..., 0] = np.where(x != 0, image_width - x, x)
    return keypoints, scores[..., mirror]


def jitter(keypoints: np.ndarray, rng: Rng, sigma: float) -> np.ndarray:
    """Add Gaussian noise of `sigma` px to every present joint, frame by frame."""
    noise = rng.normal(0, sigma, keypoints.shape).astype(keypoints.dtype)
    return np.where(_present(keypoints), keypoints + noise, keypoints)


def rotate(keypoints: np.ndarray, image_size: Size, rng: Rng, degrees: float) -> np.ndarray:
    """Turn the whole clip about the image's centre by one angle from [-degrees, degrees]; missing joints stay 0."""
    angle = np.deg2rad(rng.uniform(-degrees, degrees))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return _about_center(keypoints, image_size, turn)


def scale(keypoints: np.ndarray, image_size: Size, rng: Rng, low: float, high: float) -> np.ndarray:
    """Scale the whole clip about the image's centre by one factor from [low, high]; missing joints stay 0."""
    return _about_center(keypoints, image_size, rng.uniform(low, high) * np.eye(2))


def project(
    keypoints: np.ndarray, scores: np.ndarray, plane: str = "xy", size: int = 256, margin: float = 0.05,
    y_up: bool = True,
) -> tuple[np.ndarray, Size]:  # fmt: skip
    """Orthographic view of a 3D clip on a square image of `size` px, one scale for the clip, centred.

    keypoints (..., T, V, 3) in any unit; plane "xy" (from the front) or "zy" (from the side). y_up: the data's y axis
    points up, so it is turned over and up stays up. margin: free border as a share of the image. A missing joint
    (score 0) becomes (0, 0). Returns float32 (..., T, V, 2). Raises ValueError on another plane or 2D input.
    """
    if plane not in ("xy", "zy") or keypoints.shape[-1] != 3:
        raise ValueError(f"cannot project keypoints {keypoints.shape} on {plane!r}; give (..., 3) and 'xy' or 'zy'")
    view = keypoints[..., ["xyz".index(plane[0]), 1]] * np.array([1.0, -1.0 if y_up else 1.0])
    present = scores > 0
    if not present.any():
        return np.zeros(view.shape, np.float32), (size, size)
    low, high = view[present].min(axis=0), view[present].max(axis=0)
    extent = (high - low).max()
    factor = size * (1 - 2 * margin) / extent if extent > 0 else 1.0
    pixels = (view - (low + high) / 2) * factor + size / 2
    return np.where(present[..., None], pixels, 0).astype(np.float32), (size, size)


def train_coordinates(
    keypoints: np.ndarray, scores: np.ndarray, image_size: Size, mirror: Sequence[int], rng: Rng, size: int = 56,
    resize_to: int = 64, area_range: Sequence[float] = (0.56, 1.0), flip_probability: float = 0.5,
    degrees: float = 0.0, zoom: float = 0.0, noise: float = 0.0, offsets: random.Random | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The training chain of PoseC3D: compact, short side to `resize_to`, random resized crop, `size` square, flip.

    Ours, off by default: rotation by up to `degrees`, zoom by up to 1 +- `zoom`, joint noise of `noise` px at `size`.
    Returns keypoints in the `size` frame and scores, float32; a joint of score 0 comes back at 0.
    Source: PYSKL's PoseC3D configurations and the MiGA 2023 entry, which share this chain (64, 0.56-1, 56).
    """
    keypoints, image_size = pose_compact(keypoints, image_size)
    keypoints, image_size = resize(keypoints, image_size, resize_to)
    if degrees:
        keypoints = rotate(keypoints, image_size, rng, degrees)
    if zoom:
        keypoints = scale(keypoints, image_size, rng, 1 - zoom, 1 + zoom)
    keypoints, image_size = random_resized_crop(keypoints, image_size, rng, area_range, offsets=offsets)
    keypoints, image_size = resize(keypoints, image_size, (size, size))
    if rng.random() < flip_probability:
        keypoints, scores = flip(keypoints, scores, size, mirror)
    if noise:
        keypoints = jitter(keypoints, rng, noise)
    return _clean(keypoints, scores)


def eval_coordinates(
    keypoints: np.ndarray, scores: np.ndarray, image_size: Size, size: int = 64, keep_ratio: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The test chain of PoseC3D: compact, then stretch to `size` square (PYSKL).

    keep_ratio: short side to `size`, then the central square (mmaction2). Returns as `train_coordinates`.
    """
    keypoints, image_size = pose_compact(keypoints, image_size)
    if keep_ratio:
        keypoints, image_size = resize(keypoints, image_size, size)
        keypoints, _ = center_crop(keypoints, image_size, size)
    else:
        keypoints, _ = resize(keypoints, image_size, (size, size))
    return _clean(keypoints, scores)


def _integer(high: int, rng: Rng, offsets: random.Random | None) -> int:
    """A uniform integer from 0 to `high`, both included."""
    if offsets is not None:
        return offsets.randint(0, high)
    return int((rng.randint if isinstance(rng, np.random.RandomState) else rng.integers)(0, high + 1))


def _present(keypoints: np.ndarray) -> np.ndarray:
    return (keypoints != 0).any(axis=-1, keepdims=True)


def _about_center(keypoints: np.ndarray, image_size: Size, matrix: np.ndarray) -> np.ndarray:
    center = np.array(image_size, np.float64) / 2
    moved = (keypoints - center) @ matrix.T + center
    return np.where(_present(keypoints), moved, 0).astype(keypoints.dtype)


def _clean(keypoints: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.where((scores > 0)[..., None], keypoints, 0).astype(np.float32), scores.astype(np.float32, copy=False)
