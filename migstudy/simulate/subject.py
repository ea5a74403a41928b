"""One simulated person: proportions, manner, habits, resting posture and expression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from migstudy.simulate.body import Proportions
from migstudy.simulate.config import SimulatorConfig
from migstudy.simulate.face import EAR, draw_face

DOMINANT = 0.75  # share of one-handed gestures made with the dominant hand, the average adult's
# how people's resting posture (rad, m) differs: standard deviations
_POSTURE = {"nod": 0.035, "head_drop": 0.004, "head_forward": 0.005, "raise_right": 0.005, "raise_left": 0.005, "cock": 0.02}
# their resting expression, share of an action unit: mean of people, standard deviation
_EXPRESSION = {
    "smile": (0.06, 0.07), "lip_corner_down": (0.05, 0.07), "inner_brow_up": (0.05, 0.05), "brow_down": (0.06, 0.06),
    "lip_press": (0.02, 0.05), "lid_tight": (0.05, 0.05), "chin_raise": (0.04, 0.04), "eye_close": (0.05, 0.05),
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """size: proportions. tempo, amplitude: factors on the speed and size of every gesture. left_handed: whether the person is
    the mirror image of the right-hander described by everything else here. dominant: share of one-handed gestures made with
    the dominant hand. slump: forward lean of the trunk, rad. talk: strength of mouth and head motion while talking. fidget:
    strength of small unlabelled hand motion. habits: (32,) log preference for every class. manner: (32, 2) offset of contact
    points, m, along x and y, that this person keeps in every take. posture: resting offsets of trunk channels, rad or m.
    expression: resting strength of action units."""

    size: Proportions
    tempo: float
    amplitude: float
    left_handed: bool
    dominant: float
    slump: float
    talk: float
    fidget: float
    habits: np.ndarray = field(repr=False)
    manner: np.ndarray = field(repr=False)
    posture: Mapping[str, float] = field(default_factory=dict)
    expression: Mapping[str, float] = field(default_factory=dict)


def draw_subject(rng: np.random.Generator, config: SimulatorConfig, num_classes: int) -> Subject:
    """A person drawn at random; `config.subject_style` 0 makes everybody the average adult."""
    style = config.subject_style

    def factor(spread: float) -> float:
        return float(np.exp(style * spread * rng.standard_normal()))

    stature, breadth, arms = factor(0.05), factor(0.04), factor(0.03)
    head = stature**0.5  # heads differ less than bodies
    size = Proportions(
        spine=0.50 * stature, shoulder=0.175 * stature * breadth, upper_arm=0.295 * stature * arms,
        forearm=0.255 * stature * arms, hand=stature * factor(0.03), neck=0.095 * stature, head=0.115 * head,
        hip=0.095 * stature * breadth, face=head * draw_face(rng, style), ear=head * EAR,
    )  # fmt: skip
    left_handed = bool(rng.random() < config.left_handed)
    posture = {name: style * sigma * rng.standard_normal() for name, sigma in _POSTURE.items()}
    expression = {name: mean + style * sigma * rng.standard_normal() for name, (mean, sigma) in _EXPRESSION.items()}
    return Subject(
        size=size, tempo=config.tempo * factor(0.15), amplitude=config.amplitude * factor(0.22), left_handed=left_handed,
        dominant=float(np.clip(DOMINANT + 0.08 * style * rng.standard_normal(), 0.5, 1.0)),
        slump=0.10 + 0.05 * style * rng.standard_normal(), talk=factor(0.3), fidget=factor(0.4),
        habits=0.7 * style * rng.standard_normal(num_classes), manner=0.006 * style * rng.standard_normal((num_classes, 2)),
        posture=posture, expression=expression,
    )  # fmt: skip
