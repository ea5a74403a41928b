"""Every knob of the simulator, with its unit and range, and the three sizes it comes in."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

SPLITS = ("train", "validate", "test")
SHAPES = ("openpose", "light_hand")


def _knob(default: Any, unit: str, says: str, low: float = 0.0, high: float = math.inf, above: bool = False) -> Any:
    """A setting from `low` to `high`; above: `low` itself is refused."""
    return field(default=default, metadata={"unit": unit, "says": says, "low": low, "high": high, "above": above})


def _factor(default: float, says: str, above: bool = False) -> Any:
    return _knob(default, "factor", says, above=above)


def _share(default: float, says: str) -> Any:
    return _knob(default, "share", says, high=1.0)


@dataclass(frozen=True)
class SimulatorConfig:
    """Settings of one simulated release; `PROFILES` holds the usual ones, `describe_knobs()` lists them with their units.

    Factors are 1 for the person we modelled. Raises ValueError naming the knob for a value out of range.
    """

    # size
    subjects: tuple[int, int, int] = _knob((14, 3, 7), "people", "in train, validate, test", low=1)
    videos_per_subject: int = _knob(2, "videos", "of each person", low=1)
    clips: tuple[int, int, int] = _knob((1150, 240, 390), "clips", "labelled, in train, validate, test")
    min_clips: tuple[int, int, int] = _knob((3, 0, 1), "clips", "least of every class in train, validate, test, taken from the "
                                            "commonest classes")  # fmt: skip
    protocol: bool = _knob(False, "", "the official challenge's videos and clip counts, with 34 / 3 / 35 people, instead of the "
                           "four sizes above")  # fmt: skip

    # motion
    amplitude: float = _factor(1.0, "on the size of strokes, trunk and face motion; hands go all the way", above=True)
    tempo: float = _factor(1.0, "on the speed of gestures, which last as much shorter, and of breathing", above=True)
    clip_seconds: float = _factor(1.0, "on the duration of every gesture", above=True)
    gap_seconds: float = _knob(0.5, "s", "mean pause between labelled clips, on top of two frames")
    class_overlap: float = _share(0.4, "how far a clip may drift towards its class's confusable partner: moves, strokes, hand "
                                  "shape, and place on one body part; which hands and how long stay its own")  # fmt: skip
    clutter: float = _share(0.25, "clips in which a second, weaker gesture goes on")
    subject_style: float = _factor(1.0, "on differences between people; 0: all alike, left-handers aside")
    take_variation: float = _factor(1.0, "on differences of size, speed, duration and place between a person's takes; which hand "
                                    "and which variant are drawn for each")  # fmt: skip
    background: float = _factor(1.0, "on unlabelled motion: breathing, sway, nods, talking, fidgeting; blinks, glances and hands "
                                "that change their resting place stay")
    left_handed: float = _share(0.12, "people who are left-handed: exact mirror images of right-handers")
    emotion_effect: float = _factor(1.0, "on what winning or losing changes (the table in simulate/emotion.py); 0: nothing")

    # camera
    fps: float = _knob(25.0, "Hz", "frame rate", above=True)
    width: int = _knob(1280, "px", "image width, in which keypoints are given", above=True)
    height: int = _knob(720, "px", "image height", above=True)
    rgb_height: int = _knob(288, "px", "lines of the videos; their width follows", above=True)
    identity_free: bool = _knob(False, "", "films show one neutral mannequin in a grey room instead of different people")
    camera_yaw: float = _knob(20.0, "degrees", "largest angle between camera and subject, seen from above", high=90.0)
    cuts: float = _knob(0.5, "a minute", "changes of camera, mostly between labelled clips; none leaves a shot under 2 s")
    camera_drift: float = _knob(0.0, "px", "slow pan of the operator (sd at 1280 px width); the zoom drifts along by 0.2 % a px")
    blur: float = _share(0.5, "frame interval for which the shutter is open; fast joints are found less surely and jitter along "
                         "their path")  # fmt: skip
    microphone: bool = _knob(True, "", "whether one stands on the table and hides what lies behind it")

    # detector
    noise_px: float = _knob(0.28, "px", "jitter of a fully confident joint (sd, where shoulders are 220 px apart)")
    hand_noise: float = _factor(1.3, "on the jitter of finger joints")
    face_noise: float = _factor(0.6, "on the jitter of facial landmarks")
    missing_rate: float = _share(0.10, "frames in which a visible hand is lost, occlusion aside; face, forearms and single "
                                 "joints a tenth, whole frames a hundredth as often; with a wrist goes its hand")  # fmt: skip
    swaps: float = _knob(1.0, "a minute", "exchanges of the left and the right forearm")
    mistakes: float = _knob(1.5, "a minute", "confident misplacements of a hand, half of them on the other hand")

    def __post_init__(self) -> None:
        for item in fields(self):
            value, is_tuple = getattr(self, item.name), isinstance(item.default, tuple)
            if is_tuple and (not isinstance(value, (tuple, list)) or len(value) != len(SPLITS)):
                raise ValueError(f"simulator: {item.name}={value!r} needs three numbers, for {', '.join(SPLITS)}")
            if is_tuple:
                object.__setattr__(self, item.name, tuple(value))
            low, high, above = (item.metadata[key] for key in ("low", "high", "above"))
            whole = isinstance(item.default[0] if is_tuple else item.default, int)
            for number in value if is_tuple else (value,):
                if isinstance(number, str) or (whole and number != number // 1):
                    raise ValueError(f"simulator: {item.name}={value!r} must be {'a whole number' if whole else 'a number'}")
                if not low <= number <= high or (above and number == low):  # `not <=` catches NaN
                    raise ValueError(f"simulator: {item.name}={value!r} must be {_range(low, high, above)}")


def describe_knobs(profile: str = "quick") -> str:
    """All knobs as text: name, the profile's value, unit, meaning. Raises ValueError for an unknown profile."""
    config = named_profile(profile)
    rows = [(item.name, str(getattr(config, item.name)), item.metadata["unit"], item.metadata["says"]) for item in fields(config)]
    wide = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join("  ".join([*(cell.ljust(w) for cell, w in zip(row, wide)), row[3]]) for row in rows)


def parse_knobs(options: Mapping[str, str]) -> dict[str, Any]:
    """Typed knobs from `name=value` texts, three sizes as `14,3,7`; raises ValueError naming the knob and the nearest name."""
    from migstudy.config.parameters import parsed

    kinds, values = typing.get_type_hints(SimulatorConfig), {}
    for name, text in options.items():
        if typing.get_origin(kinds.get(name)) is tuple:
            try:
                values[name] = tuple(int(part) for part in text.split(","))
            except ValueError:
                raise ValueError(f"{name}={text!r}: give three whole numbers, as in 14,3,7") from None
        else:
            values[name] = parsed(name, text, kinds)
    return values


def named_profile(name: str) -> SimulatorConfig:
    """The settings of a profile; raises ValueError listing the profiles."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; choose {', '.join(PROFILES)}")
    return PROFILES[name]


def _range(low: float, high: float, above: bool) -> str:
    if high < math.inf:
        return f"between {low:g} and {high:g}"
    return f"above {low:g}" if above else f"{low:g} or more"


PROFILES = {
    "smoke": SimulatorConfig(subjects=(4, 2, 2), videos_per_subject=1, clips=(64, 16, 24), min_clips=(0, 0, 0), rgb_height=72),
    "quick": SimulatorConfig(rgb_height=192),  # people 115 px high at least
    "paper": SimulatorConfig(protocol=True, min_clips=(1, 0, 1), gap_seconds=0.5, rgb_height=720),
}
