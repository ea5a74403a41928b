"""At which values the simulator's knobs are tried."""

from __future__ import annotations

import difflib

import numpy as np

from migstudy.simulate import SimulatorConfig

KNOBS: dict[str, tuple[float, ...]] = {
    "amplitude": (0.25, 0.5, 0.75, 1.25, 1.5, 2.0),
    "tempo": (0.5, 0.7, 0.85, 1.2, 1.5, 2.0),
    "class_overlap": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "clutter": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "subject_style": (0.0, 0.5, 1.5, 2.0, 2.5, 3.0),
    "take_variation": (0.0, 0.5, 1.5, 2.0, 2.5, 3.0),
    "background": (0.0, 0.5, 1.5, 2.0, 3.0, 4.0),
    "camera_yaw": (0.0, 10.0, 30.0, 45.0, 60.0, 80.0),
    "cuts": (0.0, 2.0, 5.0, 10.0, 15.0, 20.0),
    "blur": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "fps": (5.0, 8.0, 12.5, 15.0, 30.0, 50.0),
    "noise_px": (0.0, 1.0, 2.0, 4.0, 8.0, 16.0),
    "hand_noise": (0.0, 3.0, 6.0, 10.0, 15.0, 20.0),
    "face_noise": (0.0, 1.5, 3.0, 6.0, 10.0, 15.0),
    "missing_rate": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "swaps": (0.0, 6.0, 15.0, 30.0, 60.0, 120.0),
    "mistakes": (0.0, 6.0, 15.0, 30.0, 60.0, 120.0),
}
"""Knob -> values in its own unit, the trained one aside."""


def knob_values(name: str, trained: float, count: int) -> list[float]:
    """`count` values of a knob, rising, the trained one among them; raises ValueError for a knob that is not here."""
    if name not in KNOBS:
        near = difflib.get_close_matches(name, KNOBS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(KNOBS)}"
        raise ValueError(f"there is no knob {name!r} to turn; {hint}")
    others = [value for value in KNOBS[name] if value != trained]
    chosen = np.linspace(0, len(others) - 1, min(count - 1, len(others))).round().astype(int)
    return sorted({*(others[i] for i in chosen), trained})


def conditions(names: str, simulation: SimulatorConfig, count: int) -> list[tuple[str, float]]:
    """(knob, value) for every value of the knobs named in a comma-separated list, or `all`; the trained values included."""
    knobs = list(KNOBS) if names == "all" else names.split(",")
    return [(knob, value) for knob in knobs for value in knob_values(knob, getattr(simulation, knob, 0.0), count)]
