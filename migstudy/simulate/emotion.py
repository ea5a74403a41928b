"""What winning or losing does to a speaker: one table of shifts, scaled by one knob.

The shifts are our assumption, not a finding on iMiGUE or on anybody: they are there so that a method has something of known
size to find. Each is the difference lost minus won at `emotion_effect` 1; a loser gets plus half of it, a winner minus half,
and everything is linear in `emotion_effect`, so at 0 no trace of the result is left. A logistic regression on a video's class
shares, tempo, posture and face, tested on unseen people (60 with 2 half-minute videos each), reached an area under the ROC
curve of 0.52 at effect 0 (mean of five releases, 0.35 to 0.61), 0.54 at 0.3, 0.65 at 0.5, 0.87 at 1 (two releases) and 0.99
at 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from migstudy.classes import IMIGUE_CLASSES
from migstudy.simulate.body import TRUNK
from migstudy.simulate.config import SimulatorConfig
from migstudy.simulate.face import ACTION_UNITS

# csv class -> log ratio of its rate: self-touching, pressed lips and deep breaths rise in losers, illustrating hands fall
RATES = {2: 0.6, 5: 0.4, 8: 0.5, 11: 0.4, 12: 0.4, 17: 0.5, 22: 0.4, 23: 0.2, 29: 0.7, 21: -0.4, 28: -0.5, 31: -0.3, 99: -0.5}
# log ratio of: speed and size of gestures, strength of mouth and head motion in speech, small hand motion, wandering of head
# and gaze; the share of time spent talking
MANNER = {"tempo": -0.08, "amplitude": -0.10, "loudness": -0.16, "fidget": 0.16, "wander": 0.12, "talking": -0.16}
# resting posture, in the units of body.TRUNK (rad, m): the trunk sinks forward, the head drops and looks down, shoulders fall
POSTURE = {
    "lean": 0.024, "nod": -0.030, "head_drop": 0.0035, "head_forward": 0.004, "raise_right": -0.004, "raise_left": -0.004,
    "stretch": -0.004,
}  # fmt: skip
# resting expression, in shares of an action unit at full strength
EXPRESSION = {
    "smile": -0.09, "lip_corner_down": 0.08, "inner_brow_up": 0.07, "brow_down": 0.04, "lip_press": 0.04, "lid_tight": 0.03,
    "chin_raise": 0.04, "gaze_up": -0.05,
}  # fmt: skip
# what a day does, won or lost: standard deviations over the videos of one person, in the units above
_DAY = {
    "tempo": 0.06, "amplitude": 0.08, "loudness": 0.15, "fidget": 0.20, "wander": 0.15, "talking": 0.10,
    "lean": 0.025, "nod": 0.030, "head_drop": 0.003, "head_forward": 0.004, "raise_right": 0.004, "raise_left": 0.004,
    "stretch": 0.003, "turn": 0.03, "shift_x": 0.015,
    "smile": 0.07, "lip_corner_down": 0.06, "inner_brow_up": 0.05, "brow_down": 0.03, "lip_press": 0.04, "lid_tight": 0.03,
    "chin_raise": 0.03, "gaze_up": 0.05, "gaze_side": 0.05,
}  # fmt: skip


@dataclass(frozen=True)
class Mood:
    """How a person is on the day of a video, against their usual self.

    won: the match's result, None for neither. rates: (32,) log weight of every class. manner: log factors, names as in
    `MANNER`. trunk: offsets of trunk channels, rad or m. units: offsets of face action units.
    """

    won: bool | None = None
    rates: np.ndarray = field(default_factory=lambda: np.zeros(len(IMIGUE_CLASSES)), repr=False)
    manner: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(MANNER, 0.0))
    trunk: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, float] = field(default_factory=dict)

    def factor(self, name: str) -> float:
        """What the trait `name` of `MANNER` is multiplied by."""
        return float(np.exp(self.manner[name]))

    def amounts(self) -> dict[str, float]:
        """Every offset by name, the rates aside."""
        return {**self.manner, **self.trunk, **self.units}


NEUTRAL = Mood()


def mood_of(won: bool, config: SimulatorConfig) -> Mood:
    """What the result alone does, by the table above; without the day's chance."""
    share = config.emotion_effect * (-0.5 if won else 0.5)
    # + 0.0: no negative zeros, or a winner's bytes would differ from a loser's at effect 0
    shift = lambda table: {name: share * amount + 0.0 for name, amount in table.items()}  # noqa: E731
    rates = np.array([share * RATES.get(gesture.csv_class, 0.0) + 0.0 for gesture in IMIGUE_CLASSES])
    return Mood(bool(won), rates, shift(MANNER), shift(POSTURE), shift(EXPRESSION))


def draw_mood(won: bool, config: SimulatorConfig, rng: np.random.Generator) -> Mood:
    """The mood of one video: `mood_of` and the day's chance, which does not depend on the result.

    The chance grows with `config.subject_style` up to 1, like all differences between people.
    """
    mood, day = mood_of(won, config), {name: sigma * rng.standard_normal() for name, sigma in _DAY.items()}
    day = {name: min(config.subject_style, 1.0) * value for name, value in day.items()}
    units = {name: mood.units.get(name, 0.0) + day[name] for name in _DAY if name in ACTION_UNITS}
    trunk = {name: mood.trunk.get(name, 0.0) + day[name] for name in _DAY if name in TRUNK}
    return Mood(mood.won, mood.rates, {n: mood.manner[n] + day[n] for n in MANNER}, trunk, units)
