"""How a simulated person looks: skin, hair, clothes; drawn at random, or one neutral mannequin for everybody."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

Colour = tuple[float, float, float]
HAIR_STYLES = ("short", "full", "cropped", "bald", "long", "bun", "ponytail")
HEADWEAR = ("none", "cap", "headband")
COLLARS = ("crew", "polo", "zip")
PATTERNS = ("plain", "yoke", "stripes")
_STYLE_SHARES = (0.34, 0.12, 0.14, 0.05, 0.13, 0.10, 0.12)
_HEADWEAR_SHARES = (0.80, 0.13, 0.07)
# from the lightest to the darkest, sRGB; our choice over the human range
_SKIN = np.array([[0.95, 0.81, 0.73], [0.90, 0.73, 0.62], [0.80, 0.61, 0.48], [0.66, 0.47, 0.35], [0.49, 0.33, 0.25],
                  [0.34, 0.23, 0.18]])  # fmt: skip
_HAIR = np.array([[0.09, 0.07, 0.06], [0.17, 0.11, 0.08], [0.29, 0.19, 0.12], [0.44, 0.30, 0.18], [0.68, 0.53, 0.33],
                  [0.55, 0.53, 0.51]])  # fmt: skip
_HAIR_SHARES = np.array([[0.35, 0.30, 0.20, 0.15], [0.25, 0.30, 0.20, 0.20], [0.20, 0.20, 0.20, 0.15], [0.10, 0.10, 0.15, 0.25],
                         [0.05, 0.05, 0.15, 0.15], [0.05, 0.05, 0.10, 0.10]])  # fmt: skip
_EYES = ((0.26, 0.17, 0.11), (0.38, 0.26, 0.15), (0.36, 0.42, 0.30), (0.36, 0.48, 0.58))
_TOPS = (
    (0.85, 0.86, 0.88), (0.13, 0.14, 0.17), (0.12, 0.20, 0.42), (0.60, 0.12, 0.14), (0.10, 0.36, 0.27), (0.86, 0.68, 0.16),
    (0.45, 0.47, 0.50), (0.23, 0.47, 0.72), (0.42, 0.20, 0.46), (0.88, 0.45, 0.16), (0.62, 0.78, 0.80), (0.93, 0.80, 0.80),
)  # fmt: skip


@dataclass(frozen=True)
class Appearance:
    """Colours are sRGB 0..1. build: factors on the trunk's width and depth. plain: whether the face is a neutral mask."""

    skin: Colour
    lips: Colour
    eyes: Colour  # the iris
    hair_colour: Colour
    hair_style: str
    headwear: str
    headwear_colour: Colour
    top: Colour
    accent: Colour
    long_sleeves: bool
    collar: str
    pattern: str
    build: tuple[float, float]
    plain: bool = False

    def with_cap(self) -> Appearance:
        """The same person wearing a cap."""
        return replace(self, headwear="cap")


IDENTITY_FREE = Appearance(
    skin=(0.76, 0.72, 0.69), lips=(0.62, 0.52, 0.50), eyes=(0.30, 0.28, 0.27), hair_colour=(0.35, 0.33, 0.32), hair_style="bald",
    headwear="none", headwear_colour=(0.4, 0.4, 0.4), top=(0.42, 0.46, 0.52), accent=(0.36, 0.40, 0.46), long_sleeves=True,
    collar="crew", pattern="plain", build=(1.0, 1.0), plain=True,
)  # fmt: skip


def draw_appearance(rng: np.random.Generator) -> Appearance:
    """A person's looks at random; skin and hair colour go together about as they do in people."""
    tone = rng.random() * (len(_SKIN) - 1)
    skin = _between(_SKIN, tone) * rng.uniform(0.97, 1.03, 3)
    shares = _HAIR_SHARES[:, 0] if tone > 2.5 else _HAIR_SHARES[:, 1 + int(rng.integers(3))]
    hair = _HAIR[rng.choice(len(_HAIR), p=shares / shares.sum())] * rng.uniform(0.85, 1.15)
    red = rng.uniform(0.15, 0.45)
    lips = (1 - red) * skin + red * np.array([0.62, 0.20, 0.22])
    eyes = _EYES[int(rng.integers(len(_EYES)))] if tone < 2.5 else _EYES[int(rng.integers(2))]
    top, accent = (np.array(_TOPS[i]) for i in rng.choice(len(_TOPS), 2, replace=False))
    return Appearance(
        skin=_colour(skin), lips=_colour(lips), eyes=eyes, hair_colour=_colour(hair),
        hair_style=str(rng.choice(HAIR_STYLES, p=_STYLE_SHARES)), headwear=str(rng.choice(HEADWEAR, p=_HEADWEAR_SHARES)),
        headwear_colour=_colour(_TOPS[int(rng.integers(len(_TOPS)))]), top=_colour(top * rng.uniform(0.85, 1.05)),
        accent=_colour(accent), long_sleeves=bool(rng.random() < 0.6), collar=str(rng.choice(COLLARS)),
        pattern=str(rng.choice(PATTERNS, p=(0.5, 0.3, 0.2))),
        build=(float(rng.uniform(0.92, 1.10)), float(rng.uniform(0.90, 1.15))),
    )  # fmt: skip


def _between(table: np.ndarray, at: float) -> np.ndarray:
    low = min(int(at), len(table) - 2)
    return table[low] + (at - low) * (table[low + 1] - table[low])


def _colour(values) -> Colour:
    return tuple(float(v) for v in np.clip(values, 0, 1))
