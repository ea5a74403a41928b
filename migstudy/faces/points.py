"""Where a face is, from the skeleton's own landmarks: five points, and the similarity that takes them to ArcFace's template.

The template is that of aligned 112 x 112 crops in Deng et al., "ArcFace", CVPR 2019 (`arcface_dst` in its authors' insightface);
least squares after Umeyama, IEEE TPAMI 13(4), 1991. Which landmarks stand for a point that is missing is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from migstudy.skeletons import BODY25_JOINTS, FACE, get_topology
from migstudy.topology import Topology

POINTS = ("right_eye", "left_eye", "nose", "right_mouth_corner", "left_mouth_corner")
ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
"""(5, 2) px in a crop of 112 x 112, in the order of `POINTS`; left and right are the person's own."""
TEMPLATE_SIZE = 112

MIRROR = (1, 0, 2, 4, 3)
_LEAST_POINTS = 3
_LEAST_SIDE = 16.0  # px of the skeleton's image that a crop shows at least; below, there is no face to look at
_LARGEST_ERROR = 9.0  # px of the crop; a swapped, jumped or far turned away face fits the template worse

# for each point, where to take it from, best first: landmarks that are averaged, and how many of them must be sure
_SOURCES: tuple[tuple[tuple[tuple[int, ...], int], ...], ...] = (
    ((tuple(range(FACE + 36, FACE + 42)), 4), ((FACE + 68,), 1), ((BODY25_JOINTS.index("right_eye"),), 1)),
    ((tuple(range(FACE + 42, FACE + 48)), 4), ((FACE + 69,), 1), ((BODY25_JOINTS.index("left_eye"),), 1)),
    (((FACE + 30,), 1), ((BODY25_JOINTS.index("nose"),), 1)),
    (((FACE + 48,), 1), ((FACE + 60,), 1)),
    (((FACE + 54,), 1), ((FACE + 64,), 1)),
)


@dataclass(frozen=True)
class FaceTrack:
    """The face of a video's T frames.

    points: (T, 5, 2) px of the skeleton's image, 0 where not found; found: (T, 5) bool. matrices: (T, 2, 3), from px of the
    skeleton's image to px of the 112 x 112 crop, both counted from the outer edge of the first pixel. usable: (T,) bool,
    whether there is a face to crop. error: (T,) px of the crop, rms distance of the found points from the template.
    """

    points: np.ndarray
    found: np.ndarray
    matrices: np.ndarray
    usable: np.ndarray
    error: np.ndarray

    def __len__(self) -> int:
        return len(self.points)


def track_face(
    keypoints: np.ndarray, scores: np.ndarray, topology: Topology | str = "openpose137", sure: float = 0.3
) -> FaceTrack:
    """The face in every frame of keypoints (T, V, 2) px with scores (T, V); see `five_points` and `align`."""
    return align(*five_points(keypoints, scores, topology, sure))


def five_points(
    keypoints: np.ndarray, scores: np.ndarray, topology: Topology | str = "openpose137", sure: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    """(T, 5, 2) px and (T, 5) found, in the order of `POINTS`.

    An eye is the mean of its six landmarks (four sure ones at least), else its pupil, else the body's eye joint; the tip of
    the nose, else the body's nose; a mouth corner, else the inner one. Topologies without facial landmarks give eyes and nose
    from the body. Raises ValueError when the topology does not come from OpenPose's 137 points, or the arrays do not fit it.
    """
    topology = get_topology(topology)
    if topology.openpose137 is None:
        raise ValueError(f"topology {topology.name!r} is not taken from OpenPose's 137 points; give a detector's five points")
    if keypoints.shape[1:] != (topology.num_joints, 2) or scores.shape != keypoints.shape[:2]:
        raise ValueError(
            f"keypoints {keypoints.shape} and scores {scores.shape} are not (T, {topology.num_joints}, 2) and"
            f" (T, {topology.num_joints}), as {topology.name!r} needs"
        )
    place = {point: joint for joint, point in enumerate(topology.openpose137)}
    points, found = np.zeros((len(keypoints), 5, 2)), np.zeros((len(keypoints), 5), bool)
    for p, sources in enumerate(_SOURCES):
        for landmarks, least in sources:
            joints = [place[landmark] for landmark in landmarks if landmark in place]
            if not joints:
                continue
            xy, weights = np.asarray(keypoints[:, joints], float), np.asarray(scores[:, joints])
            counted = (weights >= sure) & (weights > 0) & np.isfinite(xy).all(-1)
            enough = (counted.sum(1) >= least) & ~found[:, p]
            mean = np.where(counted[..., None], xy, 0).sum(1) / np.maximum(counted.sum(1), 1)[:, None]
            points[enough, p], found[enough, p] = mean[enough], True
    return points, found


def align(points: np.ndarray, found: np.ndarray | None = None, template: np.ndarray = ARCFACE) -> FaceTrack:
    """The similarities that take points (T, 5, 2) closest to the template, from those points that were found.

    found: (T, 5) bool; None: those that are finite, so that a detector's frames without a face may hold NaN. A frame is usable
    with three points at least, a crop of 16 px or more, and an rms error of 9 px of the crop or less. Raises ValueError for
    other shapes.
    """
    points = np.asarray(points, float)
    if points.ndim != 3 or points.shape[1:] != template.shape:
        raise ValueError(f"five points are (T, {len(template)}, 2) px in the order {', '.join(POINTS)}, not {points.shape}")
    found = np.isfinite(points).all(-1) if found is None else np.asarray(found, bool) & np.isfinite(points).all(-1)
    points = np.where(found[..., None], points, 0)
    matrices = similarity(points, template, found)
    scale = np.hypot(matrices[:, 0, 0], matrices[:, 1, 0])
    reached = points @ matrices[:, :, :2].mT + matrices[:, None, :, 2]
    distance = ((reached - template) ** 2).sum(-1)
    error = np.sqrt((distance * found).sum(1) / np.maximum(found.sum(1), 1))
    side = TEMPLATE_SIZE / np.maximum(scale, 1e-12)
    usable = (found.sum(1) >= _LEAST_POINTS) & (scale > 0) & (side >= _LEAST_SIDE) & (error <= _LARGEST_ERROR)
    return FaceTrack(points, found, np.where(usable[:, None, None], matrices, 0), usable, error)


def similarity(points: np.ndarray, template: np.ndarray, found: np.ndarray | None = None) -> np.ndarray:
    """(T, 2, 3) rotation, scale and shift (no reflection) that take points (T, P, 2) closest to template (P, 2).

    With x + iy for (x, y), rotation and scale are one complex factor, so that least squares has a closed form. found: (T, P)
    bool, the points that count; 0 where they are fewer than two places.
    """
    weight = np.ones(points.shape[:2]) if found is None else found.astype(float)
    weight = weight / np.maximum(weight.sum(1, keepdims=True), 1)
    z, w = points[..., 0] + 1j * points[..., 1], template[:, 0] + 1j * template[:, 1]
    at, to = (weight * z).sum(1), (weight * w).sum(1)
    from_at = z - at[:, None]
    spread = (weight * np.abs(from_at) ** 2).sum(1)
    factor = (weight * from_at.conj() * (w - to[:, None])).sum(1) / np.where(spread > 1e-9, spread, np.inf)
    shift = np.where(factor != 0, to - factor * at, 0)
    rows = [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    return np.moveaxis(np.array(rows), -1, 0)


def mirror_points(points: np.ndarray, width: float) -> np.ndarray:
    """Five points (..., 5, 2) of the mirrored picture, `width` px wide: turned round, and right and left exchanged."""
    points = np.asarray(points, float)[..., MIRROR, :]
    return np.stack([width - points[..., 0], points[..., 1]], -1)
