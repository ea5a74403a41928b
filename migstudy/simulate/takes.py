"""A take: one execution of a gesture, drawn from its programme for a subject."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace

import numpy as np

from migstudy.classes import IMIGUE_CLASSES
from migstudy.simulate.body import LEFT, RIGHT
from migstudy.simulate.config import SimulatorConfig
from migstudy.simulate.emotion import NEUTRAL, Mood
from migstudy.simulate.hand import shape_weights
from migstudy.simulate.places import PLACES, Place, mirrored
from migstudy.simulate.programmes import MIRROR_SIDES, PROGRAMMES, Move, Programme, Reach
from migstudy.simulate.subject import Subject

_ROW = {gesture.csv_class: gesture.index for gesture in IMIGUE_CLASSES}
SECONDS = (20.0, 120.0)  # length of a video, where the gestures it must hold allow
_WITHOUT_SIDE = ("raise", "forward")
# common gestures that need no contact may accompany any other
_SECONDARY = [gesture.csv_class for gesture in IMIGUE_CLASSES if gesture.csv_class in (2, 20, 21, 28, 29, 31, 99)]
_SECONDARY_SHARES = np.array([gesture.train for gesture in IMIGUE_CLASSES if gesture.csv_class in _SECONDARY], float)
_SECONDARY_SHARES /= _SECONDARY_SHARES.sum()


@dataclass(frozen=True)
class HandTake:
    """One hand's part of a take: `Place` and `Reach` made concrete.

    place: name in PLACES. stroke: (3,) m, in the room. phase: in turns. weight: 1 goes all the way to the place, less stays
    on the way.
    """

    place: str
    frame: str
    at: np.ndarray
    fingers: np.ndarray
    palm: np.ndarray
    elbow: np.ndarray
    tip: float
    shape: np.ndarray
    stroke: np.ndarray
    hertz: float
    phase: float
    flutter: float
    weight: float = 1.0


@dataclass(frozen=True)
class Take:
    """csv_class: its label. frames: length of the label, both ends included. slack: frames of the label before and after
    the motion, which an annotator adds. moves: channel -> (size, hertz, phase). hands: side -> HandTake. talking: whether the
    person talks meanwhile. still: damping of unlabelled hand motion. overlap: share borrowed from the confusable partner.

    Everybody's takes are a right-hander's; `perform` mirrors the finished motion of left-handers."""

    csv_class: int
    frames: int
    slack: tuple[int, int]
    moves: dict[str, tuple[float, float, float]]
    hands: dict[int, HandTake] = field(repr=False)
    talking: bool = False
    still: float = 0.0
    overlap: float = 0.0


def draw_take(
    csv_class: int, subject: Subject, config: SimulatorConfig, rng: np.random.Generator, *, mood: Mood = NEUTRAL
) -> Take:
    """One execution of class `csv_class` by `subject` in a mood; sizes in the units of `Take`."""
    tempo = subject.tempo * mood.factor("tempo")
    programme = PROGRAMMES[csv_class]
    partner = PROGRAMMES[programme.partner] if programme.partner else programme
    median, spread = programme.seconds
    seconds = median * np.exp(spread * config.take_variation * rng.standard_normal())
    # a hand needs time to go up to the head or across the body, and back
    least = 0.3 if programme.reach is None or PLACES[programme.reach.places[0]].frame == "room" else 1.0
    frames = seconds * config.clip_seconds / tempo * config.fps
    frames = int(np.clip(round(frames), max(4, round(least * config.fps / tempo)), 8 * config.fps))
    # scaled, not drawn from a range: however short the clip, the later draws stay the same
    slack = tuple(int(share * (1 + min(3, frames // 8))) for share in rng.random(2))
    overlap = config.class_overlap * rng.random()
    strength = subject.amplitude * mood.factor("amplitude") * np.exp(0.35 * config.take_variation * rng.standard_normal())
    hands = _draw_hands(programme, partner, overlap, strength, subject, tempo, config, rng)
    sources = [(programme, (1 - overlap) * strength), (partner, overlap * strength)]
    aside = rng.spawn(1)[0]  # so that the knob leaves all other draws alone
    if rng.random() < config.clutter:
        # people do two things at once; the label names the stronger
        second = PROGRAMMES[int(aside.choice(_SECONDARY, p=_SECONDARY_SHARES))]
        weaker = strength * aside.uniform(0.3, 0.7)
        sources.append((second, weaker))
        if second.reach is not None and not hands:
            hands = _draw_hands(second, second, 0.0, weaker, subject, tempo, config, aside, weight=min(1.0, weaker))
    moves: dict[str, list] = defaultdict(list)
    for (source, size), draws in zip(sources, (rng, rng, aside)):
        for channel, full, hertz in _draw_moves(source.moves, tempo, config.take_variation, draws):
            moves[channel].append((full * size, hertz, draws.random()))
    return Take(
        csv_class, frames, slack, {c: max(parts, key=lambda part: abs(part[0])) for c, parts in moves.items()},
        hands, bool(rng.random() < programme.talking * mood.factor("talking")), programme.still, overlap,
    )  # fmt: skip


def draw_gaps(takes: list[Take], config: SimulatorConfig, rng: np.random.Generator) -> list[int]:
    """Frames before, between and after the takes of a video, one more than there are takes.

    2 frames and a gamma distributed rest (shape 1.5) with mean `config.gap_seconds`. A video that would be shorter than
    `SECONDS[0]` waits at both ends; one that would be longer than `SECONDS[1]` has its pauses shortened, down to 2 frames.
    """
    gaps = 2 + rng.gamma(1.5, config.gap_seconds * config.fps / 1.5 + 1e-9, len(takes) + 1)
    split = rng.uniform(0.3, 0.7)
    shortest, longest = (seconds * config.fps - sum(take.frames for take in takes) for seconds in SECONDS)
    if gaps.sum() > longest:
        spare = (longest - 2 * len(gaps)) / (gaps.sum() - 2 * len(gaps))
        gaps = 2 + (gaps - 2) * max(spare, 0.0)
    missing = max(0.0, shortest + len(gaps) - gaps.sum())  # rounding down below takes up to a frame of each
    gaps[0] += split * missing
    gaps[-1] += (1 - split) * missing
    return [int(gap) for gap in gaps]


def _draw_moves(moves: tuple[Move, ...], tempo: float, variation: float, rng: np.random.Generator) -> list[tuple[str, float, float]]:
    drawn, chosen = [], {}
    for group in sorted({move.group for move in moves} - {""}):
        members = [move for move in moves if move.group == group]
        chances = np.array([move.chance for move in members])
        chosen[group] = members[int(rng.choice(len(members), p=chances / chances.sum()))]
    for move in moves:
        present, sign, one, which = rng.random(4)
        if chosen[move.group] is not move if move.group else present > move.chance:
            continue
        size = -move.size if move.sign == "either" and sign < 0.5 else move.size
        hertz = move.hertz * tempo * np.exp(0.15 * variation * rng.standard_normal())
        channels = (move.channel,)
        if move.channel in _WITHOUT_SIDE:
            both = move.sides == "both" or (move.sides == "either" and one < 0.5)
            channels = MIRROR_SIDES[move.channel]
            channels = channels if both else (channels[int(which < 0.5)],)
        drawn += [(channel, size, hertz) for channel in channels]
    return drawn


def _draw_hands(
    programme: Programme, partner: Programme, overlap: float, strength: float, subject: Subject, tempo: float,
    config: SimulatorConfig, rng: np.random.Generator, weight: float = 1.0,
) -> dict[int, HandTake]:  # fmt: skip
    reach = programme.reach
    if reach is None:
        return {}
    both = {"one": 0.0, "mostly_one": 0.2, "either": 0.45, "both": 1.0}[reach.hands]
    main = RIGHT if rng.random() < subject.dominant else LEFT
    sides = (main, 1 - main) if rng.random() < both else (main,)
    name = reach.places[rng.integers(len(reach.places))]
    place = PLACES[name]
    shape = shape_weights(reach.shape)
    if partner.reach is not None:
        other = PLACES[partner.reach.places[rng.integers(len(partner.reach.places))]]
        place = _blend_places(place, other, overlap)
        shape = (1 - overlap) * shape + overlap * shape_weights(partner.reach.shape)
        reach = _blend_reaches(reach, partner.reach, overlap)
    loose = 0.15 * min(config.take_variation, 1.0)
    shape = (1 - loose) * shape + loose * rng.dirichlet(np.ones(len(shape)))
    # the person's own way, kept over takes, and this take's whim
    offset = np.zeros(3)
    offset[:2] = subject.manner[_ROW[programme.csv_class]]
    offset += 0.006 * config.take_variation * rng.standard_normal(3)
    hertz = reach.hertz * tempo * np.exp(0.2 * config.take_variation * rng.standard_normal())
    tilt = 0.15 * config.take_variation * rng.standard_normal((3, 3))
    phase, twist = rng.random(), rng.standard_normal(3)
    stroke = strength * np.array(reach.stroke) * (1 + 0.25 * config.take_variation * twist)
    on_arm = place.frame in ("forearm", "upper_arm")
    hands = {}
    for order, side in enumerate(sides):
        left = side == LEFT
        at = np.array(place.at) + (offset * [6.0, 1.0, 0.0] if on_arm else offset)
        if len(sides) == 2:
            at = at + np.array(reach.apart) * ([-1, -1, -1] if order else [-1, 1, 1])
        hands[side] = HandTake(
            name, place.frame, at if on_arm else mirrored(at, left), mirrored(np.array(place.fingers) + tilt[0], left),
            mirrored(np.array(place.palm) + tilt[1], left), mirrored(np.array(place.elbow) + tilt[2], left), place.tip,
            shape, mirrored(stroke, left), hertz, phase + order * reach.phase, reach.flutter, weight,
        )  # fmt: skip
    return hands


def _blend_places(own: Place, other: Place, share: float) -> Place:
    if own.frame != other.frame:
        return own
    names = ("at", "fingers", "palm", "elbow")
    mixed = {n: tuple((1 - share) * np.array(getattr(own, n)) + share * np.array(getattr(other, n))) for n in names}
    return replace(own, tip=(1 - share) * own.tip + share * other.tip, **mixed)


def _blend_reaches(own: Reach, other: Reach, share: float) -> Reach:
    stroke = tuple((1 - share) * np.array(own.stroke) + share * np.array(other.stroke))
    hertz, flutter = ((1 - share) * getattr(own, n) + share * getattr(other, n) for n in ("hertz", "flutter"))
    return replace(own, stroke=stroke, hertz=hertz, flutter=flutter)
