"""OpenPose-like detection of projected joints: confidence, jitter, losses, swaps and confident mistakes.

Our reconstruction of how the detector fails, not a model of its network.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter1d

from migstudy.simulate.background import drift
from migstudy.simulate.config import SimulatorConfig
from migstudy.skeletons import BODY25_JOINTS, FACE, LEFT_HAND, RIGHT_HAND

_REFERENCE_WIDTH = 220.0  # shoulder width, px, for which noise_px is given
_LOST = 0.06  # confidence below which the detector reports nothing
_BODY, _FACE = slice(0, FACE), slice(FACE, LEFT_HAND)
_HANDS = {"left": slice(LEFT_HAND, LEFT_HAND + 21), "right": slice(RIGHT_HAND, RIGHT_HAND + 21)}
_ARMS = {side: [BODY25_JOINTS.index(f"{side}_{joint}") for joint in ("elbow", "wrist")] for side in _HANDS}
_SHOULDERS = [BODY25_JOINTS.index(f"{side}_shoulder") for side in _HANDS]


def detect(
    pixels: np.ndarray, visible: np.ndarray, config: SimulatorConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Detected keypoints (T, 137, 2) px and confidences (T, 137) in 0..1; a missing joint is (0, 0) with confidence 0.

    pixels: true positions (T, 137, 2) px; visible: (T, 137), 1 in plain view. Jitter grows as confidence falls.
    """
    frames = len(pixels)
    width = np.median(np.linalg.norm(pixels[:, _SHOULDERS[0]] - pixels[:, _SHOULDERS[1]], axis=-1))
    scale = width / _REFERENCE_WIDTH
    score = _confidence(pixels, visible, width, config, rng)
    found = pixels.copy()
    _misplace_hands(found, config, rng)
    _swap_arms(found, score, config, rng)
    sigma = np.full(pixels.shape[1], config.noise_px)
    sigma[_FACE] *= config.face_noise
    for hand in _HANDS.values():
        sigma[hand] *= config.hand_noise
    sigma = scale * sigma * (1 + 3.0 * np.clip(0.85 - score, 0, None))
    # two thirds of the jitter's variance is white, the rest wanders over a third of a second
    white = rng.standard_normal((frames, pixels.shape[1], 2))
    slow = drift(rng, frames, 0.33 * config.fps, 2 * pixels.shape[1]).reshape(white.shape)
    found += sigma[..., None] * (np.sqrt(2 / 3) * white + np.sqrt(1 / 3) * slow)
    lost = score < _LOST
    found[lost], score[lost] = 0.0, 0.0
    return found, score


def _confidence(
    pixels: np.ndarray, visible: np.ndarray, width: float, config: SimulatorConfig, rng: np.random.Generator
) -> np.ndarray:
    frames, joints = visible.shape
    level = np.full(joints, 0.84)
    level[_FACE] = 0.80
    for hand in _HANDS.values():
        level[hand] = 0.62
    wander = np.repeat(drift(rng, frames, 0.8 * config.fps, 4), [FACE, LEFT_HAND - FACE, 21, 21], axis=1)
    score = level + 0.05 * wander + 0.05 * rng.standard_normal((frames, joints))
    speed = np.linalg.norm(np.gradient(pixels, axis=0), axis=-1) * config.fps / width  # shoulder widths a second
    score -= 0.05 * np.clip(speed, 0, 4)
    # a hand before the face hides it
    for hand in _HANDS.values():
        distance = np.linalg.norm(pixels[:, _FACE] - pixels[:, hand].mean(1)[:, None], axis=-1) / width
        score[:, _FACE] *= 1 - 0.7 * np.exp(-((distance / 0.16) ** 2)) * visible[:, hand].mean(1)[:, None]
    # detectors guess a little way behind an edge
    score *= 0.15 + 0.85 * visible
    score[visible <= 0] *= rng.random((frames, joints))[visible <= 0]
    for part, rate in ((_HANDS["left"], 1.0), (_HANDS["right"], 1.0), (_FACE, 0.1), (_ARMS["left"], 0.1), (_ARMS["right"], 0.1)):
        score[:, part] *= 1 - _spells(frames, rate * config.missing_rate, 0.25 * config.fps, rng)[:, None]
    return np.clip(score, 0.0, 0.99)


def _spells(frames: int, share: float, length: float, rng: np.random.Generator) -> np.ndarray:
    """(T,) 1 during spells of about `length` frames that cover `share` of the time in the mean."""
    if share <= 0:
        return np.zeros(frames)
    if share >= 1:
        return np.ones(frames)
    stay, enter = np.exp(-1 / max(length, 1e-6)), (1 - np.exp(-1 / max(length, 1e-6))) * share / (1 - share)
    draws, state, out = rng.random(frames), rng.random() < share, np.zeros(frames)
    for t in range(frames):
        state = draws[t] < (stay if state else enter)
        out[t] = state
    return out


def _events(frames: int, per_minute: float, length: int, config: SimulatorConfig, rng: np.random.Generator) -> np.ndarray:
    """(T,) bool, spells of `length` frames that begin `per_minute` times a minute."""
    begins = (rng.random(frames) < per_minute / (60 * config.fps)).astype(float)
    return maximum_filter1d(begins, length, mode="constant") > 0


def _misplace_hands(found: np.ndarray, config: SimulatorConfig, rng: np.random.Generator) -> None:
    """A hand is now and then seen, with good confidence, where there is none: near the other hand or the other elbow."""
    for side, other in (("left", "right"), ("right", "left")):
        wrong = _events(len(found), config.mistakes / 2, 7, config, rng)
        anchor = found[:, _ARMS[other][rng.integers(2)]] + 12 * rng.standard_normal(2)
        wrist = found[:, _ARMS[side][1]]
        moved = found[:, _HANDS[side]] + (anchor - wrist)[:, None]
        found[:, _HANDS[side]] = np.where(wrong[:, None, None], moved, found[:, _HANDS[side]])


def _swap_arms(found: np.ndarray, score: np.ndarray, config: SimulatorConfig, rng: np.random.Generator) -> None:
    """Left and right forearms change places for a moment."""
    wrong = _events(len(found), config.swaps, 5, config, rng)
    for array in (found, score):
        for pair in ((_ARMS["left"], _ARMS["right"]), (_HANDS["left"], _HANDS["right"])):
            left, right = (np.arange(array.shape[1])[part] for part in pair)
            array[np.ix_(wrong, [*left, *right])] = array[np.ix_(wrong, [*right, *left])]
