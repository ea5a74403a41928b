"""Tracks of keypoints from recordings of real people, in body units, for comparison with the simulator.

Nothing of them ships with the project: the user names the folder that holds them, and what is absent is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from migstudy.skeletons import BODY25_JOINTS, HAND_JOINTS

RATE = 25.0  # Hz, to which all recordings are brought
_LONGEST_GAP = 0.15  # s without a frame, above which a recording is taken apart


@dataclass(frozen=True)
class Track:
    """Keypoints of one person over time.

    xy: (T, V, 2) in body units (`unit` names the length that is 1). scores: (T, V) confidences, or None where the source
    has none. joints: V names. fps: frames a second. starts: first frames of pieces that do not continue each other (cuts,
    gaps). source: the data set; name: the recording.
    """

    source: str
    name: str
    xy: np.ndarray
    scores: np.ndarray | None
    joints: tuple[str, ...]
    fps: float
    unit: str = "shoulder width"
    starts: tuple[int, ...] = (0,)


def load_recordings(folder: str | Path) -> dict[str, list[Track]]:
    """Tracks by source for every known file in `folder`; unknown files are ignored, absent ones left out.

    Raises FileNotFoundError where the folder holds none of them, naming what was looked for.
    """
    folder = Path(folder)
    found = {source: read(folder / file) for source, (file, read) in _FILES.items() if (folder / file).is_file()}
    if not found:
        names = ", ".join(file for file, _ in _FILES.values())
        raise FileNotFoundError(f"{folder} holds no recordings: looked for {names}; name the folder they lie in")
    return found


def _open(path: Path, *keys: str) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as data:
        lacking = [key for key in keys if key not in data.files]
        if lacking:
            raise ValueError(f"{path} has no array {lacking[0]!r}; it is not the file that the name promises")
        return [data[key] for key in keys]


def _half_body_speakers(path: Path) -> list[Track]:
    """DWPose detections of half-body speakers; frame rate not stated, 25 Hz assumed. 18 body joints and two hands."""
    frames, offsets, ids, joints = _open(path, "frames", "offsets", "ids", "joint_names")
    names = tuple(_hand_name(str(joint)) for joint in joints)
    tracks = []
    for name, piece in zip(ids, np.split(frames.astype(float), offsets[1:-1])):
        xy = piece[..., :2]
        tracks.append(Track("half-body speakers", str(name), xy / shoulder_width(xy, names), piece[..., 2], names, RATE))
    return tracks


def _hand_name(joint: str) -> str:
    """`hand0_0` is the left hand's root; named as among the 137 points."""
    if not joint.startswith("hand"):
        return joint
    side, number = joint[4:].split("_")
    return f"{('left', 'right')[int(side)]}_hand_{HAND_JOINTS[int(number)]}"


def _interaction_clips(path: Path) -> list[Track]:
    """OpenPose BODY_25 of standing people, resampled to 92 frames a clip by its authors: no true frame rate, no confidences."""
    (keypoints,) = _open(path, "keypoints")
    names = tuple(BODY25_JOINTS)
    clips = enumerate(keypoints.astype(float))
    return [Track("interaction clips", str(i), xy / shoulder_width(xy, names), None, names, np.nan) for i, xy in clips]


def _storytellers(path: Path) -> list[Track]:
    """Kinect joints of seated storytellers in the image plane, brought from their time stamps to an even 25 Hz."""
    frames, offsets, ids, joints, stamps = _open(path, "frames", "offsets", "ids", "joint_names", "timestamp_ms")
    names = tuple("_".join(str(joint).split("_")[::-1]) for joint in joints)  # hand_left -> left_hand
    tracks = []
    for name, piece, time in zip(ids, np.split(frames.astype(float), offsets[1:-1]), np.split(stamps / 1000, offsets[1:-1])):
        xy, starts = evenly_sampled(piece[..., :2], time, RATE, _LONGEST_GAP)
        unit = np.median(np.linalg.norm(xy[:, names.index("head")] - xy[:, names.index("spine")], axis=-1))
        tracks.append(Track("seated storytellers", str(name), xy / unit, None, names, RATE, "head to spine", starts))
    return tracks


def evenly_sampled(values: np.ndarray, time: np.ndarray, rate: float, gap: float) -> tuple[np.ndarray, tuple[int, ...]]:
    """Linear interpolation of (T, ...) values at times (T,) s to `rate` Hz, piece by piece between gaps longer than `gap` s.

    Pieces under a second are dropped. Returns the samples and the first sample of each piece; raises ValueError when no
    piece is long enough.
    """
    breaks = np.flatnonzero((np.diff(time) > gap) | (np.diff(time) <= 0)) + 1
    pieces, starts = [], []
    for part in np.split(np.arange(len(time)), breaks):
        if time[part[-1]] - time[part[0]] < 1.0:
            continue
        grid = np.arange(time[part[0]], time[part[-1]], 1 / rate)
        right = np.clip(np.searchsorted(time[part], grid, side="right"), 1, len(part) - 1)
        left = right - 1
        share = (grid - time[part][left]) / (time[part][right] - time[part][left])
        share = share.reshape(-1, *(1,) * (values.ndim - 1))
        starts.append(sum(map(len, pieces)))
        pieces.append((1 - share) * values[part][left] + share * values[part][right])
    if not pieces:
        raise ValueError(f"no stretch of a second without a gap above {gap} s: the time stamps cannot be brought to {rate} Hz")
    return np.concatenate(pieces), tuple(starts)


def shoulder_width(xy: np.ndarray, joints: tuple[str, ...]) -> float:
    """Median distance of the two shoulders over time, in the unit of `xy` (T, V, 2)."""
    left, right = (xy[:, joints.index(f"{side}_shoulder")] for side in ("left", "right"))
    return float(np.median(np.linalg.norm(left - right, axis=-1)))


_FILES: dict[str, tuple[str, Callable[[Path], list[Track]]]] = {
    "half-body speakers": ("echomimic_halfbody_dwpose.npz", _half_body_speakers),
    "seated storytellers": ("gesture_phase_seg.npz", _storytellers),
    "interaction clips": ("dbcsp_ar_openpose25.npz", _interaction_clips),
}
