"""OpenPose-like detection of projected joints: confidence, jitter, losses, swaps and confident mistakes.

Our reconstruction of how a detector fails, not a model of its network. Sizes of jitter and the pace of the confidences follow
recordings of half-body speakers (`migstudy.calibration.compare`); the shares of lost joints have no public source and are ours.
Every purpose has a random stream of its own and every event a fixed draw, so that raising one knob adds to what was there and
leaves the rest alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.signal import lfilter
from scipy.special import ndtri

from migstudy.simulate.background import drift
from migstudy.simulate.config import SimulatorConfig
from migstudy.skeletons import BODY25_JOINTS, FACE, FINGERTIPS, LEFT_HAND, RIGHT_HAND

_REFERENCE_WIDTH = 220.0  # shoulder width, px, for which noise_px is given
_LOST = 0.06  # confidence below which the detector reports nothing
_FACE = slice(FACE, LEFT_HAND)
_HANDS = {"left": slice(LEFT_HAND, LEFT_HAND + 21), "right": slice(RIGHT_HAND, RIGHT_HAND + 21)}
_SIDES = (("left", "right"), ("right", "left"))
_ARMS = {side: [BODY25_JOINTS.index(f"{side}_{joint}") for joint in ("elbow", "wrist")] for side in _HANDS}
_SHOULDERS = [BODY25_JOINTS.index(f"{side}_shoulder") for side in _HANDS]
_NOSE = BODY25_JOINTS.index("nose")
_PARTS = np.repeat(np.arange(4), [FACE, LEFT_HAND - FACE, 21, 21])  # body, face, left and right hand
_COMMON = np.array([0.1, 0.4, 0.3, 0.3])  # share of each part's variance that all its joints have in common

# confidence of a joint in plain view, and how often one out of sight is guessed at, by the joint's name
_SURE = {"eye": 0.88, "ear": 0.82, "nose": 0.88, "neck": 0.84, "shoulder": 0.84, "elbow": 0.80, "wrist": 0.77, "hip": 0.68}
_GUESSED = {"hip": 0.45, "knee": 0.12, "elbow": 0.5, "wrist": 0.3, "ear": 0.1}
_LEG, _FACE_SURE, _HAND_SURE, _TIP_SURE = 0.62, 0.80, 0.62, 0.55
_RARELY, _HAND_GUESSED = 0.04, 0.08


def detect(
    pixels: np.ndarray, visible: np.ndarray, config: SimulatorConfig, rng: np.random.Generator, starts: Sequence[int] = (0,)
) -> tuple[np.ndarray, np.ndarray]:
    """Detected keypoints (T, 137, 2) px and confidences (T, 137) in 0..1; a missing joint is (0, 0) with confidence 0.

    pixels: true positions (T, 137, 2) px; visible: (T, 137), 1 in plain view; starts: first frames of the shots. Jitter grows
    as confidence falls. With `noise_px`, `blur`, `swaps` and `mistakes` at 0 every found joint lies at its true position.
    """
    sureness, guessing, losing, misplacing, swapping, shaking, smearing = rng.spawn(7)
    width, velocity = _scale_and_velocity(pixels, starts)
    streak = config.blur * velocity  # what a joint draws into the picture while the shutter is open, px
    score = _confidence(visible, np.linalg.norm(streak, axis=-1) / width[:, None], config, sureness)
    guessed = _guesses(visible, config, guessing)
    score = np.where(visible > 0.02, score * (0.2 + 0.8 * visible), guessed)
    score[_losses(*score.shape, config, losing)] = 0.0
    for hand, arm in zip(_HANDS.values(), _ARMS.values()):
        score[:, hand] *= (score[:, arm[1]] >= _LOST)[:, None]  # hands are looked for at the wrist
    found = pixels.copy()
    _misplace_hands(found, score, width, config, misplacing)
    _swap_arms(found, score, config, swapping)
    found += _jitter(score, visible, width, config, shaking)
    found += streak * (smearing.random(score.shape) - 0.5)[..., None]
    size = (config.width, config.height)
    lost = (score < _LOST) | (found < 0).any(-1) | (found >= size).any(-1)
    found[lost], score[lost] = 0.0, 0.0
    return found, score


def _scale_and_velocity(pixels: np.ndarray, starts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Shoulder width (T,) px, one for each shot, and velocity (T, V, 2) px a frame, which knows nothing of cuts."""
    width, velocity = np.empty(len(pixels)), np.zeros(pixels.shape)
    for first, last in zip(starts, [*starts[1:], len(pixels)]):
        shot = pixels[first:last]
        width[first:last] = np.median(np.linalg.norm(shot[:, _SHOULDERS[0]] - shot[:, _SHOULDERS[1]], axis=-1))
        if len(shot) > 1:
            velocity[first:last] = np.gradient(shot, axis=0)
    return width, velocity


def _wander(rng: np.random.Generator, shape: tuple[int, ...], memory: float) -> np.ndarray:
    """Unit-variance noise of `shape` whose autocorrelation along axis 0 falls to 1/e in `memory` frames."""
    keep = np.exp(-1 / max(memory, 1e-6))
    noise = rng.standard_normal(shape)
    return lfilter([np.sqrt(1 - keep**2)], [1, -keep], noise, axis=0, zi=keep * rng.standard_normal((1, *shape[1:])))[0]


def _shared(own: np.ndarray, common: np.ndarray) -> np.ndarray:
    """Unit-variance noise of every joint, own (T, 137, ...), mixed with that of its part, common (T, 4, ...)."""
    shape = (-1, *(1,) * (own.ndim - 2))
    return np.sqrt(1 - _COMMON)[_PARTS].reshape(shape) * own + np.sqrt(_COMMON)[_PARTS].reshape(shape) * common[:, _PARTS]


def _confidence(visible: np.ndarray, streak: np.ndarray, config: SimulatorConfig, rng: np.random.Generator) -> np.ndarray:
    """(T, V) confidence of joints in plain view: footage and joint set its level, it wanders slowly and falls with blur."""
    frames, joints = visible.shape
    spread = np.array([0.02, 0.03, 0.06, 0.06])
    level = _by_name(_SURE, _LEG, _FACE_SURE, _HAND_SURE)
    for hand in _HANDS.values():
        level[hand][list(FINGERTIPS)] = _TIP_SURE
    level = level + 0.5 * (spread * rng.standard_normal(4))[_PARTS] + 0.03 * rng.standard_normal(joints)
    common, own = (_wander(rng, (frames, n), 0.5 * config.fps) for n in (4, joints))
    score = (level + spread[_PARTS] * _shared(own, common)) * np.exp(-streak / 0.35)
    return np.clip(score, 0.10, 0.97)


def _by_name(values: dict[str, float], leg: float, face: float, hand: float) -> np.ndarray:
    """(137,) a value for every joint, by the last word of a body joint's name."""
    body = [values.get(joint.split("_")[-1], leg) for joint in BODY25_JOINTS]
    return np.array(body + [face] * (LEFT_HAND - FACE) + [hand] * 42)


def _guesses(visible: np.ndarray, config: SimulatorConfig, rng: np.random.Generator) -> np.ndarray:
    """(T, V) low confidences of joints out of sight in the spells in which the detector guesses, else 0."""
    frames, joints = visible.shape
    share = np.tile(_by_name(_GUESSED, _RARELY, _RARELY, _HAND_GUESSED), (frames, 1))
    for part in (_FACE, *_HANDS.values()):  # what is partly seen is completed
        share[:, part] += (0.9 - share[:, part]) * visible[:, part].mean(1, keepdims=True)
    whole = drift(rng, frames, 0.3 * config.fps, 4)
    single = drift(rng, frames, 0.3 * config.fps, FACE)
    tendency = np.concatenate([single, np.repeat(whole[:, 1:], [LEFT_HAND - FACE, 21, 21], axis=1)], axis=1)
    over = tendency - ndtri(1 - share)
    return np.where(over > 0, np.clip(0.10 + 0.15 * over + 0.02 * rng.standard_normal((frames, joints)), 0, 0.45), 0.0)


def _spells(
    frames: int, share: float, seconds: float, count: int, config: SimulatorConfig, rng: np.random.Generator
) -> np.ndarray:
    """(T, count) bool, True for `share` of the time in the mean; spells last about `seconds` where the share is a tenth.

    Smooth noise above a threshold: a larger share contains the smaller one's spells, for the same random numbers.
    """
    return drift(rng, frames, 0.5 * seconds * config.fps, count) > ndtri(1 - min(max(share, 0.0), 1.0))


def _losses(frames: int, joints: int, config: SimulatorConfig, rng: np.random.Generator) -> np.ndarray:
    """(T, V) bool: hands lost at `missing_rate`; face, forearms and single joints a tenth, whole frames a hundredth as often."""
    rate, lost = config.missing_rate, np.zeros((frames, joints), bool)
    hands = _spells(frames, rate, 0.25, 2, config, rng)
    parts = _spells(frames, 0.1 * rate, 0.15, 3, config, rng)
    single = _spells(frames, 0.1 * rate, 0.08, joints, config, rng)
    lost |= single
    for k, side in enumerate(_HANDS):
        lost[:, _HANDS[side]] |= hands[:, k, None]
        lost[:, _ARMS[side]] |= parts[:, k, None]
    lost[:, _FACE] |= parts[:, 2, None]
    return lost | _spells(frames, 0.01 * rate, 0.15, 1, config, rng)


def _events(
    frames: int, per_minute: float, seconds: float, count: int, config: SimulatorConfig, rng: np.random.Generator
) -> list[tuple[int, slice]]:
    """(which of `count` kinds, frames) of events that begin `per_minute` times a minute each and last `seconds` in the mean."""
    chance, lasting = rng.random((frames, count)), rng.exponential(seconds * config.fps, (frames, count))
    begins = np.argwhere(chance < per_minute / (60 * config.fps))
    return [(int(k), slice(int(t), int(t) + 1 + int(lasting[t, k]))) for t, k in begins]


def _misplace_hands(
    found: np.ndarray, score: np.ndarray, width: np.ndarray, config: SimulatorConfig, rng: np.random.Generator
) -> None:
    """A hand is now and then seen, with good confidence, where it is not: on the other hand, the other elbow, the face.

    On the other hand it takes that hand's fingers for its own.
    """
    frames, true = len(found), found.copy()
    kinds, offsets, sure = rng.integers(4, size=(frames, 2)), rng.standard_normal((frames, 2, 2)), rng.random((frames, 2))
    for k, span in _events(frames, config.mistakes / 2, 0.3, 2, config, rng):
        side, other = _SIDES[k]
        first = span.start
        if kinds[first, k] < 2:
            found[span, _HANDS[side]] = true[span, _HANDS[other]]
        else:
            anchor = true[span, _ARMS[other][0] if kinds[first, k] == 2 else _NOSE]
            shift = anchor - true[span, _ARMS[side][1]] + 0.06 * width[span, None] * offsets[first, k]
            found[span, _HANDS[side]] = true[span, _HANDS[side]] + shift[:, None]
        score[span, _HANDS[side]] = np.maximum(score[span, _HANDS[side]], 0.40 + 0.25 * sure[first, k])


def _swap_arms(found: np.ndarray, score: np.ndarray, config: SimulatorConfig, rng: np.random.Generator) -> None:
    """Left and right forearms change places for a moment."""
    wrong = np.zeros(len(found), bool)
    for _, span in _events(len(found), config.swaps, 0.2, 1, config, rng):
        wrong[span] = True
    for array in (found, score):
        for pair in ((_ARMS["left"], _ARMS["right"]), (_HANDS["left"], _HANDS["right"])):
            left, right = (np.arange(array.shape[1])[part] for part in pair)
            array[np.ix_(wrong, [*left, *right])] = array[np.ix_(wrong, [*right, *left])]


def _jitter(
    score: np.ndarray, visible: np.ndarray, width: np.ndarray, config: SimulatorConfig, rng: np.random.Generator
) -> np.ndarray:
    """(T, V, 2) px: two thirds of the variance white, the rest wandering over a third of a second; partly shared by a part.

    A joint out of sight is guessed at: far off, and there it stays for a while.
    """
    frames, joints = score.shape
    factor = np.array([1.0, config.face_noise, config.hand_noise, config.hand_noise])[_PARTS]
    sigma = config.noise_px * width[:, None] / _REFERENCE_WIDTH * factor * (1 + 2.5 * np.clip(0.84 - score, 0, None))
    white, slow = (
        [draw((frames, n, 2)) for n in (joints, 4)]
        for draw in (rng.standard_normal, lambda shape: _wander(rng, shape, config.fps / 3))
    )
    hidden = 1 + 15 * (1 - visible)
    noise = np.sqrt(2 / 3) * _shared(*white) + np.sqrt(1 / 3) * hidden[..., None] * _shared(*slow)
    return sigma[..., None] * noise
