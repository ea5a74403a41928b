"""What a face does by itself: the lips of somebody who talks, blinks, glances; as action units over time.

Rates follow the literature where it has numbers (mouth opening at 2 to 7 Hz: Chandrasekaran et al. 2009; blinks: Bentivoglio
et al. 1997; lid motion: VanderWerf et al. 2003); shapes of the mouth and the order of sounds are our reconstruction.
"""

from __future__ import annotations

import numpy as np

from migstudy.simulate.face import ACTION_UNITS
from migstudy.simulate.kinematics import ease

SYLLABLES_PER_SECOND = 4.6
BLINKS_PER_MINUTE = 17.0, 25.0  # silent, talking
SPEECH_UNITS = ("mouth_open", "mouth_wide", "lip_press", "lip_bite", "pucker", "funnel", "chin_raise")
# (chance, strength of each of SPEECH_UNITS): where the mouth goes in a syllable's vowel
_VOWELS = (
    (0.18, (0.46, 0.05, 0.00, 0.00, 0.00, 0.00, 0.00)),  # a
    (0.24, (0.32, 0.28, 0.00, 0.00, 0.00, 0.00, 0.00)),  # e
    (0.20, (0.18, 0.48, 0.00, 0.00, 0.00, 0.00, 0.00)),  # i
    (0.16, (0.30, 0.00, 0.00, 0.00, 0.05, 0.45, 0.00)),  # o
    (0.08, (0.12, 0.00, 0.00, 0.00, 0.55, 0.25, 0.00)),  # u
    (0.14, (0.24, 0.10, 0.00, 0.00, 0.00, 0.05, 0.00)),  # the weak vowel
)
# and in the consonant before it
_CONSONANTS = (
    (0.17, (0.00, 0.02, 0.42, 0.00, 0.00, 0.00, 0.05)),  # p b m: lips meet
    (0.08, (0.06, 0.08, 0.00, 0.40, 0.00, 0.00, 0.00)),  # f v: lower lip to the teeth
    (0.12, (0.07, 0.05, 0.00, 0.00, 0.12, 0.30, 0.08)),  # sh, r, w: lips round
    (0.20, (0.07, 0.26, 0.00, 0.00, 0.00, 0.00, 0.03)),  # s z: teeth nearly shut
    (0.43, (0.15, 0.12, 0.00, 0.00, 0.00, 0.00, 0.00)),  # t d n l k g: the lips wait
)
_REST = (0.02, 0.0, 0.06, 0.0, 0.0, 0.0, 0.0)


def _draw(rng: np.random.Generator, table: tuple, count: int) -> np.ndarray:
    chances = np.array([row[0] for row in table])
    return np.array([row[1] for row in table])[rng.choice(len(table), count, p=chances / chances.sum())]


def speech_units(talking: np.ndarray, fps: float, energy: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """SPEECH_UNITS (T,) of a mouth that speaks in phrases of some seconds with pauses between them.

    talking: (T,) 0 silent to 1 talking, scales everything. fps: frames a second. energy: factor on the size of the motion
    (1: clear articulation), sizes stay within 0..1. A syllable is a consonant and a vowel, 4.6 a second on average within
    phrases; lips close at p, b, m and between phrases.
    """
    duration = len(talking) / fps
    times, poses, clock = [0.0], [np.array([_REST])], rng.uniform(0, 0.3)
    while clock < duration:
        count = 2 + rng.poisson(10.0)
        lengths = np.exp(0.24 * rng.standard_normal(count) - 0.03) / SYLLABLES_PER_SECOND
        lengths[-1] *= 1.5  # the last syllable of a phrase is drawn out
        starts = clock + 0.12 + np.cumsum(lengths) - lengths
        consonants, vowels = _draw(rng, _CONSONANTS, count), _draw(rng, _VOWELS, count)
        stress = np.clip(1 + 0.28 * rng.standard_normal((count, 1)), 0.5, 1.6) * np.linspace(1.08, 0.85, count)[:, None]
        keys = np.stack([starts, starts + 0.45 * lengths], 1).ravel()
        mouth = np.stack([consonants, vowels * stress], 1).reshape(2 * count, -1)
        end = starts[-1] + lengths[-1] + 0.08
        breath = np.array(_REST) + (rng.random() < 0.4) * np.array([0.14, 0, -0.06, 0, 0, 0, 0])  # through the mouth
        pause = 0.15 + rng.gamma(2.0, 0.22)
        times += [clock, *keys, end, end + 0.6 * pause]
        poses += [np.array([_REST]), mouth, np.array([_REST, breath])]
        clock = end + pause
    strength = _between(np.arange(len(talking)) / fps, np.array(times), np.concatenate(poses))
    strength = np.clip(strength * energy, 0, 1) * talking[:, None]
    return dict(zip(SPEECH_UNITS, strength.T))


def _between(at: np.ndarray, times: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """(T, D) poses (K, D) reached at `times` (K,), with smooth ways between; the last one lasts."""
    index = np.clip(np.searchsorted(times, at, "right") - 1, 0, len(times) - 1)
    after = np.minimum(index + 1, len(times) - 1)
    share = ease((at - times[index]) / np.maximum(times[after] - times[index], 1e-6))
    return poses[index] + share[:, None] * (poses[after] - poses[index])


def blink(seconds: np.ndarray) -> np.ndarray:
    """How far the lids are closed, 0 to 1, so many seconds after a blink begins: down in 70 ms, shut 40 ms, up in 150 ms."""
    return ease(seconds / 0.07) * ease((0.26 - seconds) / 0.15)


def blink_times(talking: np.ndarray, fps: float, rng: np.random.Generator) -> np.ndarray:
    """Seconds at which blinks begin, 17 a minute in silence to 25 while talking, never closer than 0.4 s."""
    rate = (BLINKS_PER_MINUTE[0] + (BLINKS_PER_MINUTE[1] - BLINKS_PER_MINUTE[0]) * talking) / 60
    expected = np.cumsum(rate) / fps  # blinks due until each frame
    count = int(expected[-1] + 6 * np.sqrt(expected[-1]) + 8) if len(expected) else 0
    due = np.cumsum(0.15 + rng.gamma(1.3, 0.85 / 1.3, count)) - rng.uniform(0, 1)
    due = due[(due > 0) & (due < expected[-1])] if count else due
    times = np.searchsorted(expected, due) / fps + rng.uniform(0, 1 / fps, len(due))
    return times[np.diff(times, prepend=-1.0) >= 0.4]


def gaze(talking: np.ndarray, fps: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`gaze_side` and `gaze_up`, each (T,) in -1..1, of somebody interviewed: fixations and saccades.

    A listener looks at the interviewer three quarters of the time, a speaker half of it (Argyle and Cook 1976, rounded);
    other glances go aside and rather down. Fixations last 0.3 s and more, saccades 30 to 60 ms.
    """
    frames = len(talking)
    times, targets, clock = [], [], 0.0
    partner = np.array([0.16, 0.08]) * rng.standard_normal(2)
    while clock * fps < frames:
        now = talking[int(clock * fps)]
        away = rng.random() < 0.38 + 0.26 * now
        target = np.array([0.42, 0.26]) * rng.standard_normal(2) - [0, 0.12] if away else 0.06 * rng.standard_normal(2)
        jump = np.clip(partner + target, -0.95, 0.95)
        hold = 0.3 + rng.gamma(1.6, 0.28 if away else 0.60)
        size = np.linalg.norm(jump - targets[-1]) if targets else 0.0
        times += [clock, clock + hold - min(0.028 + 0.03 * size, 0.06)]
        targets += [jump, jump]
        clock += hold
    side, up = _between(np.arange(frames) / fps, np.array(times), np.array(targets)).T if frames else np.zeros((2, 0))
    return side, up


def idle_face(
    frames: int, talking: np.ndarray, subject_talk: float, fps: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """All ACTION_UNITS, each (T,), of a face at rest that talks, blinks and looks about; units nothing uses are 0.

    talking: (T,) 0 listening to 1 talking. subject_talk: this person's factor on the motion of the mouth. fps: frames a
    second. Gestures and emotion come on top of it.
    """
    units = {name: np.zeros(frames) for name in ACTION_UNITS}
    units |= speech_units(talking, fps, subject_talk, rng)
    units["lip_press"] = units["lip_press"] + 0.10 * (1 - talking)
    units["mouth_open"] = units["mouth_open"] + 0.02 * (1 - talking)
    seconds = np.arange(frames) / fps
    for start in blink_times(talking, fps, rng):
        near = slice(max(int(start * fps), 0), int((start + 0.26) * fps) + 2)
        units["eye_close"][near] = np.maximum(units["eye_close"][near], blink(seconds[near] - start))
    units["gaze_side"], units["gaze_up"] = gaze(talking, fps, rng)
    # brows rise with stress and thought: some a minute, a second long
    for name, rate, size in (("brow_up", 9.0, 0.35), ("brow_down", 4.0, 0.30)):
        for start in rng.uniform(0, frames / fps, rng.poisson(rate * frames / fps / 60)):
            size_now, length = size * rng.uniform(0.4, 1.2), rng.uniform(0.5, 1.4)
            shown = ease((seconds - start) / 0.18) * ease((start + length - seconds) / 0.3)
            units[name] = np.maximum(units[name], size_now * min(subject_talk, 1.5) * shown * (0.25 + 0.75 * talking))
    return units
