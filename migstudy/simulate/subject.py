"""One simulated person: proportions, manner, habits."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from migstudy.simulate.body import Proportions
from migstudy.simulate.config import SimulatorConfig
from migstudy.simulate.face import EAR, TEMPLATE


@dataclass(frozen=True)
class Subject:
    """size: proportions. tempo, amplitude: factors on the speed and size of every gesture. right_handed: share of one-handed
    gestures made with the right hand. slump: forward lean of the trunk, rad. talk: strength of mouth and head motion while
    talking. fidget: strength of small unlabelled hand motion. habits: (32,) log preference for every class. manner: (32, 2)
    offset of contact points, m, along x and y, that this person keeps in every take."""

    size: Proportions
    tempo: float
    amplitude: float
    right_handed: float
    slump: float
    talk: float
    fidget: float
    habits: np.ndarray = field(repr=False)
    manner: np.ndarray = field(repr=False)


def draw_subject(rng: np.random.Generator, config: SimulatorConfig, num_classes: int) -> Subject:
    """A person drawn at random; `config.subject_style` 0 makes everybody the average adult."""
    style = config.subject_style

    def factor(spread: float) -> float:
        return float(np.exp(style * spread * rng.standard_normal()))

    stature, breadth, arms = factor(0.05), factor(0.04), factor(0.03)
    face = stature**0.5 * np.array([factor(0.04), factor(0.04), factor(0.03)])
    size = Proportions(
        spine=0.50 * stature, shoulder=0.175 * stature * breadth, upper_arm=0.295 * stature * arms,
        forearm=0.255 * stature * arms, hand=stature * factor(0.03), neck=0.095 * stature, head=0.115 * stature**0.5,
        hip=0.095 * stature * breadth, face=TEMPLATE * face, ear=EAR * face,
    )  # fmt: skip
    left_handed = rng.random() < 0.12 * min(style, 1.0)
    return Subject(
        size=size, tempo=config.tempo * factor(0.15), amplitude=config.amplitude * factor(0.22),
        right_handed=0.15 if left_handed else 0.75, slump=0.10 + 0.05 * style * rng.standard_normal(),
        talk=factor(0.3), fidget=factor(0.4), habits=0.7 * style * rng.standard_normal(num_classes),
        manner=0.006 * style * rng.standard_normal((num_classes, 2)),
    )  # fmt: skip
