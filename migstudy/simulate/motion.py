"""From a sequence of takes to 137 joints in 3D over time: background plus gestures, solved by inverse kinematics."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from migstudy.simulate.background import idle_hands, idle_trunk, talk_spells
from migstudy.simulate.body import LEFT, TABLE_HEIGHT, Hands, Trunk, pose_arms, pose_trunk, skeleton137
from migstudy.simulate.clearance import way_out
from migstudy.simulate.config import SimulatorConfig
from migstudy.simulate.emotion import NEUTRAL, Mood
from migstudy.simulate.expression import SPEECH_UNITS
from migstudy.simulate.kinematics import ease, unit
from migstudy.simulate.mirror import mirror_channels, mirror_joints
from migstudy.simulate.places import CONTACTS, PLACES, mirrored
from migstudy.simulate.subject import Subject
from migstudy.simulate.takes import HandTake, Take

PHASES = ("rest", "onset", "apex", "offset")
REST, ONSET, APEX, OFFSET = range(4)
_PULSES = ("raise_right", "raise_left")  # strokes go up from rest and back, instead of to both sides
_SILENCING = ("lip_press", "lip_bite", "cheek_bulge")  # such lips do not talk
_CLEARINGS = 2
_SWIVEL = 0.12  # s over which the turn of an elbow about the arm's axis is smoothed: it is fast where a hand passes the shoulder
_BEHIND = -0.12  # places of the trunk farther back than this are behind it, m
_TOUCH = 0.01  # m between where a resting hand should be and where the arm can put it
_LIFTED = 0.015  # m above or below its place, from which a resting hand no longer touches it
_NEAR = 0.05  # m from a place within which a gesturing hand touches it


@dataclass(frozen=True)
class Motion:
    """The truth about T frames, and about the takes that are performed in them.

    joints: (T, 137, 3) in the room, m. starts: first frame of every take's label. envelopes: per take, (frames,) share of the
    gesture that is shown at each labelled frame, 0 to 1. channels: trunk channels and face action units, each (T,). phases:
    (T,) int8, index in `PHASES`; `rest` between takes and in the annotator's slack at a label's ends. gesture: (T,) int16,
    index of the take whose label covers the frame, or -1. contacts: (T, 2) int16, for the right and the left hand the index
    in `CONTACTS` of what it touches, or -1. talking: (T,) float, 0 silent to 1 speaking. mood: in which
    it was performed.
    """

    joints: np.ndarray = field(repr=False)
    starts: tuple[int, ...]
    envelopes: tuple[np.ndarray, ...] = field(repr=False)
    channels: dict[str, np.ndarray] = field(repr=False)
    phases: np.ndarray = field(repr=False)
    gesture: np.ndarray = field(repr=False)
    contacts: np.ndarray = field(repr=False)
    talking: np.ndarray = field(repr=False)
    mood: Mood = NEUTRAL


def mirrored_motion(motion: Motion) -> Motion:
    """The motion of the mirror image of this person."""
    return replace(
        motion, joints=mirror_joints(motion.joints), channels=mirror_channels(motion.channels),
        contacts=motion.contacts[:, ::-1].copy(),
    )  # fmt: skip


def _span(take: Take, config: SimulatorConfig, tempo: float) -> tuple[int, int, float]:
    """First and last frame of the motion within the label, and frames of its onset (the offset lasts as long)."""
    first, last = take.slack[0], take.frames - 1 - take.slack[1]
    return first, last, min((0.60 if take.hands else 0.32) * config.fps / tempo, 0.42 * (last - first))


def envelope(take: Take, config: SimulatorConfig, tempo: float) -> np.ndarray:
    """(frames,) onset, apex, offset of a take: 0 rest, 1 fully shown; 0 in the annotator's slack."""
    first, last, rise = _span(take, config, tempo)
    time = np.arange(take.frames)
    return ease((time - first) / rise) * ease((last - time) / rise)


def phases_of(take: Take, config: SimulatorConfig, tempo: float) -> np.ndarray:
    """(frames,) int8 phase of every labelled frame."""
    first, last, rise = _span(take, config, tempo)
    time = np.arange(take.frames)
    bounds = np.array([first + 1e-9, first + rise, last - rise + 1e-9, last])
    return np.array([REST, ONSET, APEX, OFFSET, REST], np.int8)[np.searchsorted(bounds, time, side="right")]


def perform(
    takes: list[Take], gaps: list[int], subject: Subject, config: SimulatorConfig, rng: np.random.Generator, *,
    mood: Mood = NEUTRAL,
) -> Motion:  # fmt: skip
    """One continuous sequence: gap, take, gap, take, ..., gap; `gaps` (frames) has one entry more than `takes`.

    Everything is performed right-handed; a left-handed subject's motion is mirrored at the end.
    """
    starts = [int(s) for s in np.cumsum(gaps[:-1]) + np.cumsum([0, *(take.frames for take in takes[:-1])])] if takes else []
    frames, tempo = int(sum(gaps) + sum(take.frames for take in takes)), subject.tempo * mood.factor("tempo")
    talking, still = talk_spells(frames, mood.factor("talking"), config, rng), np.zeros(frames)
    phases, gesture = np.full(frames, REST, np.int8), np.full(frames, -1, np.int16)
    spans = [slice(start, start + take.frames) for start, take in zip(starts, takes)]
    near = int(config.fps)  # a take decides about speech up to a second around it
    for i, (span, take) in enumerate(zip(spans, takes)):
        talking[max(0, span.start - min(gaps[i] // 2, near)) : span.stop + min((gaps[i + 1] + 1) // 2, near)] = take.talking
        still[span], gesture[span], phases[span] = take.still, i, phases_of(take, config, tempo)
    talking, still = (gaussian_filter1d(x, 0.12 * config.fps) for x in (talking, still))
    trunk_channels, units = idle_trunk(frames, talking, subject, config, rng, mood=mood)
    hands, resting = idle_hands(frames, talking, still, subject, config, rng, mood=mood)
    envelopes = tuple(envelope(take, config, tempo) for take in takes)
    channels = trunk_channels | units
    for span, take, shown in zip(spans, takes, envelopes):
        _add_moves(channels, span, take, shown, config)
    for name in units:
        np.clip(channels[name], -1.0, 1.3, out=channels[name])
    trunk = pose_trunk(channels, subject.size)
    elbows, wrists, _, _ = pose_arms(trunk, hands, subject.size)
    for span, take, shown in zip(spans, takes, envelopes):
        for side, part in take.hands.items():
            _add_reach(hands, side, part, span, shown, trunk, elbows, wrists, config)
    elbows, wrists, fingers, touch = _clear(hands, trunk, subject, _reaching(spans, takes, envelopes, frames), config)
    contacts = np.where(np.abs((touch - hands.at)[..., 1]) > _TOUCH, -1, resting)
    contacts[_hovering(hands, resting)] = -1
    for span, take, shown in zip(spans, takes, envelopes):
        for side, part in take.hands.items():
            there, touched = shown * part.weight > 0.98, _place_touched(part, side, span, trunk, elbows, wrists, touch)
            contacts[span, side] = np.where(there, touched, np.where(shown > 0.02, -1, contacts[span, side]))
    joints = skeleton137(trunk, (elbows, wrists, fingers), {name: channels[name] for name in units}, subject.size)
    motion = Motion(joints, tuple(starts), envelopes, channels, phases, gesture, contacts, talking, mood)
    return mirrored_motion(motion) if subject.left_handed else motion


def _reaching(spans: list[slice], takes: list[Take], envelopes: tuple, frames: int) -> np.ndarray:
    """(T, 2) 0 to 1, how far each hand is on its way to a place."""
    reaching = np.zeros((frames, 2))
    for span, take, shown in zip(spans, takes, envelopes):
        for side in take.hands:
            reaching[span, side] = ease(shown / 0.3)
    return reaching


def _clear(
    hands: Hands, trunk: Trunk, subject: Subject, reaching: np.ndarray, config: SimulatorConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Arms that reach without passing through the body; moves the contact points of reaching hands, and only those."""
    arms = pose_arms(trunk, hands, subject.size)
    busy = np.flatnonzero(reaching.any(1))
    if not len(busy):
        return arms
    shift, near, held = np.zeros((*reaching.shape, 3)), trunk.at(busy), hands.at_frames(busy)
    for _ in range(_CLEARINGS):
        shift[busy] = way_out(near, *(part[busy] for part in arms[:3]), subject.size)
        share, bend = reaching[busy, :, None], gaussian_filter1d(_bend(trunk, *arms[:2]), _SWIVEL * config.fps, axis=0)[busy]
        held.elbow = (1 - share) * held.elbow + share * bend
        held.at += (reaching[..., None] * gaussian_filter1d(shift, 0.06 * config.fps, axis=0))[busy]
        for whole, part in zip(arms, pose_arms(near, held, subject.size)):
            whole[busy] = part
    hands.at[busy] = held.at
    return arms


def _bend(trunk: Trunk, elbows: np.ndarray, wrists: np.ndarray) -> np.ndarray:
    """(T, 2, 3) unit vectors from the line between shoulder and wrist to the elbow."""
    along = unit(wrists - trunk.shoulders)
    way = elbows - trunk.shoulders
    return unit(way - (way * along).sum(-1, keepdims=True) * along)


def _add_moves(channels: dict, span: slice, take: Take, shown: np.ndarray, config: SimulatorConfig) -> None:
    seconds = np.arange(take.frames) / config.fps
    for channel, (size, hertz, phase) in take.moves.items():
        stroke = 1.0
        if hertz:
            # at least one whole stroke, however short the clip
            hertz = max(hertz, config.fps / take.frames)
            pulse = channel in _PULSES
            stroke = 0.5 - 0.5 * np.cos(2 * np.pi * hertz * seconds) if pulse else np.sin(2 * np.pi * (hertz * seconds + phase))
        value = size * shown * stroke
        if channel in _SILENCING:
            for speech in SPEECH_UNITS:
                channels[speech][span] *= 1 - np.clip(np.abs(value), 0, 1)
        channels[channel][span] += value


def _add_reach(
    hands: Hands, side: int, part: HandTake, span: slice, shown: np.ndarray, trunk: Trunk, elbows: np.ndarray,
    wrists: np.ndarray, config: SimulatorConfig,
) -> None:  # fmt: skip
    seconds = np.arange(len(shown)) / config.fps
    target = _contact(part, side, span, trunk, elbows, wrists)
    swing = np.sin(2 * np.pi * (part.hertz * seconds + part.phase))
    second = np.sin(2 * np.pi * (0.5 * part.hertz * seconds + 1.7 * part.phase))
    wave = np.stack([0.7 * swing + 0.3 * second, swing, second], -1)
    target = target + part.stroke * wave * shown[:, None] ** 2
    below = ease((TABLE_HEIGHT - hands.at[span, side, 1:2]) / 0.05)
    shown = shown * max(part.weight, float(below.max()))  # a hand from below the table does not stop within its top
    weight = shown[:, None]
    # the way there bows out to the front, so that a hand does not pass through the body
    travel = np.linalg.norm(target - hands.at[span, side], axis=-1, keepdims=True)
    # or close by its shoulder; one that goes behind the body goes round its side
    bow = np.minimum(0.35 * travel, 0.16) * np.array([0.0, 0.0, 1.0])
    if part.frame == "torso" and part.at[2] < _BEHIND:
        bow = np.array([0.22 if side == LEFT else -0.22, 0.0, 0.0])
    bow = 4 * weight * (1 - weight) * bow
    # one that rests below the table first comes out between the table and the body
    bow = bow - below * 1.8 * weight * (1 - weight) ** 4 * np.array([0.0, 0.0, 1.0])
    hands.at[span, side] = (1 - weight) * hands.at[span, side] + weight * target + bow
    # the elbow lifts only when the hand is nearly there
    for held, value, share in (
        (hands.fingers, part.fingers, weight), (hands.palm, part.palm, weight), (hands.elbow, part.elbow, weight**2),
        (hands.shape, part.shape, weight),
    ):  # fmt: skip
        held[span, side] = (1 - share) * held[span, side] + share * value
    hands.tip[span, side] = (1 - shown) * hands.tip[span, side] + shown * part.tip
    fingers = np.sin(2 * np.pi * (1.3 * part.hertz * seconds[:, None] + part.phase + 0.13 * np.arange(5)))
    hands.flutter[span, side] += part.flutter * weight * fingers


def _hovering(hands: Hands, resting: np.ndarray) -> np.ndarray:
    """(T, 2) whether a hand at rest is lifted off its place, as when it beats along with speech."""
    height = np.array([PLACES[name].at[1] for name in CONTACTS])
    return (resting >= 0) & (np.abs(hands.at[..., 1] - height[resting]) > _LIFTED)


def _place_touched(
    part: HandTake, side: int, span: slice, trunk: Trunk, elbows: np.ndarray, wrists: np.ndarray, touch: np.ndarray
) -> np.ndarray:
    """(frames,) index in `CONTACTS` of the place that the hand touches, -1 where none is near.

    The nearest one, not the one aimed at: strokes, the person's manner and a confusable class lead elsewhere.
    """
    names = [name for name in CONTACTS if PLACES[name].frame == part.frame]
    if not names:
        return np.full(span.stop - span.start, -1)
    arm = part.frame in ("forearm", "upper_arm")
    at = [np.asarray(PLACES[name].at) if arm else mirrored(PLACES[name].at, side == LEFT) for name in names]
    targets = np.stack([_contact(replace(part, at=place), side, span, trunk, elbows, wrists) for place in at])
    distance = np.linalg.norm(targets - touch[span, side], axis=-1)  # (places, frames)
    nearest = np.array([CONTACTS.index(name) for name in names])[distance.argmin(0)]
    return np.where(distance.min(0) > _NEAR, -1, nearest)


def _contact(part: HandTake, side: int, span: slice, trunk: Trunk, elbows: np.ndarray, wrists: np.ndarray) -> np.ndarray:
    """(frames, 3) where the hand should be, in the room."""
    if part.frame == "head":
        return trunk.head[span] + trunk.head_axes[span] @ part.at
    if part.frame == "torso":
        return trunk.neck[span] + trunk.torso_axes[span] @ part.at
    if part.frame == "room":
        return np.broadcast_to(part.at, (len(trunk.neck[span]), 3))
    other = 1 - side
    top, end = (elbows, wrists) if part.frame == "forearm" else (trunk.shoulders, elbows)
    share, above = np.clip(part.at[0], 0.05, 1.0), part.at[1]
    outside = np.array([0.4 if other == LEFT else -0.4, 0.5, 0.75])
    return top[span, other] + share * (end - top)[span, other] + above * outside
