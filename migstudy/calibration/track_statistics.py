"""How keypoint tracks jitter, move, stretch and get lost: the same statistics for real recordings and for the simulator.

All statistics are robust and per group of joints; lengths are in the track's body unit, see `recordings.Track`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.signal import detrend

from migstudy.calibration.recordings import Track

SURE = 0.3  # confidence from which a joint counts as found
GROUPS = ("head", "shoulders", "elbows", "wrists", "fingers", "face")
LIMBS = {
    "shoulder line": [("left_shoulder", "right_shoulder")],
    "upper arms": [("left_shoulder", "left_elbow"), ("right_shoulder", "right_elbow")],
    "forearms": [("left_elbow", "left_wrist"), ("right_elbow", "right_wrist")],
    "neck to nose": [("neck", "nose")],
    "palms": [(f"{side}_hand_root", f"{side}_hand_middle_1") for side in ("left", "right")],
}
UNITS = {
    "jitter": "10⁻³ body units", "motion 1 to 4 Hz": "10⁻³ body units", "motion above 6 Hz": "10⁻³ body units",
    "speed median": "body units/s", "speed 90 %": "body units/s", "speed 99 %": "body units/s", "length variation": "%",
    "confidence": "", "not found": "% of frames", "spell not found": "s",
}  # fmt: skip
_WINDOW = 64  # frames of one spectrum


def group_joints(joints: Sequence[str]) -> dict[str, list[int]]:
    """Which columns of a track belong to each of `GROUPS`; a group without joints is left out. Ankles and hips are in none."""

    def group(joint: str) -> str | None:
        if joint.startswith("face_"):
            return "face"
        if "_hand_" in joint:
            return None if joint.endswith("_root") else "fingers"
        ends = {"nose": "head", "eye": "head", "ear": "head", "head": "head", "shoulder": "shoulders", "elbow": "elbows"}
        return (ends | {"wrist": "wrists"}).get(joint.split("_")[-1])

    columns = {name: [i for i, joint in enumerate(joints) if group(joint) == name] for name in GROUPS}
    return {name: found for name, found in columns.items() if found}


def found(track: Track) -> np.ndarray:
    """(T, V) bool, where a joint is found with confidence; everywhere where the source has no confidences."""
    finite = np.isfinite(track.xy).all(-1)
    return finite if track.scores is None else finite & (track.scores >= SURE)


def runs_of(track: Track, length: int) -> np.ndarray:
    """(T - length + 1, V) bool, whether the `length` frames from here on all are found and belong together."""
    ok = found(track).astype(int)
    total = np.concatenate([np.zeros((1, ok.shape[1]), int), np.cumsum(ok, 0)])
    piece = np.searchsorted(track.starts, np.arange(len(ok)), side="right")
    together = piece[length - 1 :] == piece[: len(ok) - length + 1]
    return (total[length:] - total[:-length] == length) & together[:, None]


def second_differences(track: Track, columns: Sequence[int]) -> np.ndarray:
    """(N,) second differences of x and y, body units, at joints found in three frames running."""
    return np.diff(track.xy[:, columns], n=2, axis=0)[runs_of(track, 3)[:, columns]].ravel()


def jitter(track: Track, columns: Sequence[int]) -> float:
    """Standard deviation of the white jitter, body units, that would make the second differences as wide as they are.

    Robust (1.4826 times the median absolute value, over the square root of 6): fast motion hardly counts. NaN without data.
    """
    values = second_differences(track, columns)
    return float(1.4826 * np.median(np.abs(values)) / np.sqrt(6)) if len(values) else np.nan


def spectrum(track: Track, columns: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (F,) Hz from 0 and the power spectral density (F,) of the position, body units squared per Hz.

    Median over windows of 64 frames (half overlapping, linear trend removed, Hann) in which the joint is found throughout,
    and over x, y and joints; divided by ln 2, so that white noise shows its own density. NaN where no window is whole.
    """
    hertz = np.fft.rfftfreq(_WINDOW, 1 / track.fps)
    if len(track.xy) < _WINDOW:
        return hertz, np.full(len(hertz), np.nan)
    whole = runs_of(track, _WINDOW)[:: _WINDOW // 2, columns]
    windows = np.lib.stride_tricks.sliding_window_view(track.xy[:, columns], _WINDOW, axis=0)[:: _WINDOW // 2]
    windows = windows[whole].reshape(-1, _WINDOW)
    if not len(windows):
        return hertz, np.full(len(hertz), np.nan)
    taper = np.hanning(_WINDOW + 1)[:-1]
    power = np.abs(np.fft.rfft(detrend(windows, axis=-1) * taper)) ** 2
    return hertz, 2 * np.median(power, axis=0) / (np.log(2) * track.fps * (taper**2).sum())


def band_rms(hertz: np.ndarray, density: np.ndarray, low: float, high: float) -> float:
    """Root mean square of the motion between `low` and `high` Hz, body units."""
    inside = (hertz >= low) & (hertz <= high)
    return float(np.sqrt(density[inside].sum() * (hertz[1] - hertz[0])))


def speeds(track: Track, columns: Sequence[int]) -> np.ndarray:
    """(N,) speed over two frame intervals, body units a second, at joints found in three frames running."""
    step = (track.xy[2:, columns] - track.xy[:-2, columns]) * track.fps / 2
    return np.linalg.norm(step, axis=-1)[runs_of(track, 3)[:, columns]]


def limb_lengths(track: Track, limb: str) -> list[np.ndarray]:
    """Lengths in the image, each divided by its mean over time, of both sides' limb in frames where both ends are found."""
    lengths, ok = [], found(track)
    for ends in LIMBS[limb]:
        if set(ends) <= set(track.joints):
            a, b = (track.joints.index(end) for end in ends)
            length = np.linalg.norm(track.xy[:, a] - track.xy[:, b], axis=-1)[ok[:, a] & ok[:, b]]
            if len(length) >= 2:
                lengths.append(length / length.mean())
    return lengths


def limb_variation(track: Track, limb: str) -> float:
    """Coefficient of variation of a limb's length in the image over time, mean of both sides; NaN where it is never found."""
    lengths = limb_lengths(track, limb)
    return float(np.mean([length.std() for length in lengths])) if lengths else np.nan


def missing_spells(lost: np.ndarray, starts: Sequence[int] = (0,)) -> np.ndarray:
    """(N,) lengths in frames of the runs of True along axis 0 of (T, V) bool; a run ends where a new piece starts."""
    lengths = []
    for piece in np.split(lost, list(starts)[1:]):
        edges = np.diff(np.pad(piece.astype(np.int8), ((1, 1), (0, 0))), axis=0).T
        lengths.append(np.nonzero(edges == -1)[1] - np.nonzero(edges == 1)[1])
    return np.concatenate(lengths)


def statistics(track: Track) -> pd.DataFrame:
    """All that can be measured on a track: columns group (of `GROUPS` or `LIMBS`), statistic (of `UNITS`), value.

    Lengths in jitter and motion are thousandths of the body unit, shares and variations percent. What the track lacks is left
    out: confidences, a frame rate, joints.
    """
    rows: list[tuple[str, str, float]] = []
    for group, columns in group_joints(track.joints).items():
        if np.isfinite(track.fps):
            hertz, density = spectrum(track, columns)
            speed = speeds(track, columns)
            quantiles = np.quantile(speed, (0.5, 0.9, 0.99)) if len(speed) else np.full(3, np.nan)
            rows += [(group, "jitter", 1000 * jitter(track, columns))]
            rows += [(group, "motion 1 to 4 Hz", 1000 * band_rms(hertz, density, 1, 4))]
            rows += [(group, "motion above 6 Hz", 1000 * band_rms(hertz, density, 6, track.fps / 2))]
            rows += [(group, f"speed {name}", value) for name, value in zip(("median", "90 %", "99 %"), quantiles)]
        if track.scores is not None:
            lost = ~found(track)[:, columns]
            spells = missing_spells(lost, track.starts)
            rows += [(group, "not found", 100 * lost.mean()), (group, "confidence", np.median(track.scores[:, columns]))]
            rows += [(group, "spell not found", spells.mean() / track.fps if len(spells) else np.nan)]
    rows += [(limb, "length variation", 100 * limb_variation(track, limb)) for limb in LIMBS]
    return pd.DataFrame(rows, columns=["group", "statistic", "value"]).dropna().reset_index(drop=True)


def samples(track: Track, group: str, statistic: str) -> np.ndarray:
    """The single values behind a statistic, for comparing whole distributions; empty where it has none.

    jitter: absolute second differences; speed: speeds; confidence: confidences; length variation: lengths over their mean.
    """
    if group in LIMBS:
        lengths = limb_lengths(track, group) if statistic == "length variation" else []
        return np.concatenate(lengths) if lengths else np.empty(0)
    columns = group_joints(track.joints).get(group)
    if not columns:
        return np.empty(0)
    if statistic == "jitter":
        return np.abs(second_differences(track, columns))
    if statistic.startswith("speed"):
        return speeds(track, columns)
    return track.scores[:, columns].ravel() if statistic == "confidence" and track.scores is not None else np.empty(0)
