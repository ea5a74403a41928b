"""What a seated speaker does all the time: breathing, swaying, talking, nodding, blinking, resting and shifting hands."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from migstudy.simulate.body import LEFT, TRUNK, Hands
from migstudy.simulate.config import SimulatorConfig
from migstudy.simulate.emotion import NEUTRAL, Mood
from migstudy.simulate.expression import idle_face
from migstudy.simulate.hand import shape_weights
from migstudy.simulate.kinematics import ease
from migstudy.simulate.places import CONTACTS, PLACES, mirrored
from migstudy.simulate.subject import Subject

_REST = {"table": 0.42, "table_near": 0.26, "table_far": 0.12, "lap": 0.20}


def drift(rng: np.random.Generator, frames: int, width: float, count: int = 1) -> np.ndarray:
    """(T, count) smooth noise of unit variance; width: its memory in frames (Gaussian low-pass)."""
    margin = int(4 * width) + 1
    noise = gaussian_filter1d(rng.standard_normal((frames + 2 * margin, count)), width, axis=0)
    return noise[margin:-margin] * np.sqrt(2 * np.sqrt(np.pi) * max(width, 0.3))


def talk_spells(frames: int, factor: float, config: SimulatorConfig, rng: np.random.Generator) -> np.ndarray:
    """(T,) 1 while talking, 0 while listening: spells of exponential length, 6 and 4 s in the mean.

    factor: on the share of time spent talking.
    """
    share = float(np.clip(0.6 * factor, 0.05, 0.95))
    means = 10 * config.fps * np.array([1 - share, share])  # listening, talking
    talking, now, at = np.zeros(frames), int(rng.random() < share), 0
    while at < frames:
        length = 1 + int(rng.exponential(means[now]))
        talking[at : at + length] = now
        now, at = 1 - now, at + length
    return talking


def idle_trunk(
    frames: int, talking: np.ndarray, subject: Subject, config: SimulatorConfig, rng: np.random.Generator, *,
    mood: Mood = NEUTRAL,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:  # fmt: skip
    """Trunk channels (body.TRUNK) and action units (face.ACTION_UNITS), each (T,), of somebody who does nothing in particular.

    talking: (T,) 0 listening to 1 talking.
    """
    fps, size = config.fps, config.background
    trunk = {name: np.full(frames, subject.posture.get(name, 0.0) + mood.trunk.get(name, 0.0)) for name in TRUNK}
    units = idle_face(frames, talking, size * subject.talk * mood.factor("loudness"), fps, rng.spawn(1)[0])
    slow, quick = (drift(rng, frames, s * fps, n) for s, n in ((2.5, 10), (0.35, 7)))
    breath = np.sin(2 * np.pi * (0.27 * subject.tempo * np.arange(frames) / fps + 0.1 * slow[:, 0] + rng.random()))
    energy, wander = subject.talk * mood.factor("loudness") * talking, size * mood.factor("wander")
    for name in ("raise_right", "raise_left"):
        trunk[name] += size * (0.0025 * breath + 0.003 * energy * quick[:, 4] + 0.002 * slow[:, 8])
    trunk["stretch"] += size * 0.002 * breath
    trunk["lean"] += subject.slump + size * (0.015 * slow[:, 1] + 0.004 * talking * quick[:, 0])
    trunk["shift_x"] += size * (0.008 * slow[:, 2] + 0.004 * energy * quick[:, 5])
    trunk["tilt"] += size * (0.012 * slow[:, 3] + 0.010 * energy * quick[:, 6])
    trunk["turn"] += size * 0.025 * slow[:, 4]
    trunk["nod"] += 0.02 + 0.030 * wander * slow[:, 5] + 0.030 * size * energy * quick[:, 1]
    trunk["look"] += 0.09 * wander * slow[:, 6] + 0.030 * size * energy * quick[:, 2]
    trunk["cock"] += size * (0.025 * slow[:, 7] + 0.015 * energy * quick[:, 3])
    # a resting expression comes and goes a little
    for name in {**subject.expression, **mood.units}:
        units[name] = units[name] + (subject.expression.get(name, 0.0) + mood.units.get(name, 0.0)) * (1 + 0.3 * slow[:, 9])
    return trunk, units


def idle_hands(
    frames: int, talking: np.ndarray, still: np.ndarray, subject: Subject, config: SimulatorConfig, rng: np.random.Generator,
    *, mood: Mood = NEUTRAL,
) -> tuple[Hands, np.ndarray]:  # fmt: skip
    """Hands that rest on the table or in the lap, change their place now and then, and beat along while talking.

    still: (T,) 0 to 1, how far small motion is held back. Returns the hands and (T, 2) int16, what each rests on: an index
    in places.CONTACTS, -1 on the way from one place to another.
    """
    fps, hands, contacts = config.fps, Hands.empty(frames), np.full((frames, 2), -1, np.int16)
    names, chances = list(_REST), np.array(list(_REST.values()))
    weights = np.exp(0.8 * config.subject_style * rng.standard_normal(len(names))) * chances
    home, time = names[rng.choice(len(names), p=weights / weights.sum())], np.arange(frames)
    fidget = subject.fidget * mood.factor("fidget")
    for side in (0, 1):
        place = home if rng.random() < 0.75 else names[rng.choice(len(names), p=chances)]
        _rest(hands, contacts, side, place, np.ones(frames), rng)
        change = rng.exponential(14 * fps)
        while change < frames:
            place = names[rng.choice(len(names), p=weights / weights.sum())]
            _rest(hands, contacts, side, place, ease((time - change) / (0.8 * fps / subject.tempo)), rng)
            change += rng.exponential(14 * fps) + fps
        beat, wander = drift(rng, frames, 0.16 * fps, 3), drift(rng, frames, 1.2 * fps, 3)
        loose = (1 - still)[:, None] * config.background * fidget
        hands.at[:, side] += loose * (0.013 * talking[:, None] * np.array([1.0, 1.2, 1.0]) * beat + 0.003 * wander)
        hands.flutter[:, side] += loose * 0.06 * drift(rng, frames, 0.25 * fps, 5)
    return hands, contacts


def _rest(
    hands: Hands, contacts: np.ndarray, side: int, name: str, blend: np.ndarray, rng: np.random.Generator
) -> None:
    """Move one hand to a resting place, with weight `blend` (T,) against where it was."""
    contacts[blend > 0, side] = -1
    contacts[blend == 1, side] = CONTACTS.index(name)
    place, left, weight = PLACES[name], side == LEFT, blend[:, None]
    at = mirrored(np.array(place.at) + np.array([0.015, 0.0, 0.015]) * rng.standard_normal(3), left)
    for target, value in (
        (hands.at, at), (hands.fingers, mirrored(place.fingers, left)), (hands.palm, mirrored(place.palm, left)),
        (hands.elbow, mirrored(place.elbow, left)), (hands.shape, shape_weights("relaxed" if name == "lap" else "resting")),
    ):  # fmt: skip
        target[:, side] = (1 - weight) * target[:, side] + weight * value
    hands.tip[:, side] *= 1 - blend
