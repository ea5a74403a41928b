"""The 32 gestures as a table: which places are touched, how the trunk and face move, for how long.

Our reconstruction: the release publishes class names and counts, not how the gestures are executed.
"""

from __future__ import annotations

from dataclasses import dataclass

MIRROR_SIDES = {"raise": ("raise_right", "raise_left"), "forward": ("forward_right", "forward_left")}


@dataclass(frozen=True)
class Move:
    """One trunk or face channel. channel: of body.TRUNK, face.ACTION_UNITS, or `raise` / `forward` for the shoulders.
    size: at the apex (m, rad, or share of an action unit). hertz: strokes a second, 0 holds. sides: for shoulders, `both`,
    `one` or `either` (drawn per take). sign: `+`, or `either` where the direction is drawn per take. chance: how often a take
    has this move at all. group: of the moves that share a group's name, a take has exactly one, drawn by their chances."""

    channel: str
    size: float
    hertz: float = 0.0
    sides: str = "both"
    sign: str = "+"
    chance: float = 1.0
    group: str = ""


@dataclass(frozen=True)
class Reach:
    """What the hands do. places: names in PLACES, one drawn per take. shape: of the hand at the apex. stroke: (x, y, z) size
    of the movement at the place, m. hertz: strokes a second. hands: `one`, `both`, or `mostly_one` (both in a fifth of the
    takes). phase: of the second hand's stroke against the first's, in turns. flutter: finger motion, rad. apart: of two
    hands, m: outward for both, then up and forward for the first and as far the other way for the second."""

    places: tuple[str, ...]
    shape: str
    stroke: tuple[float, float, float] = (0.0, 0.0, 0.0)
    hertz: float = 0.0
    hands: str = "one"
    phase: float = 0.5
    flutter: float = 0.0
    apart: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Programme:
    """One class. csv_class: number in the label files. seconds: (median, spread of the log) of its duration. moves, reach: the
    motion. talking: how often the person talks meanwhile. partner: csv class it is confused with. still: how far unlabelled
    hand motion is held back meanwhile, 0 to 1."""

    csv_class: int
    seconds: tuple[float, float]
    moves: tuple[Move, ...] = ()
    reach: Reach | None = None
    talking: float = 0.45
    partner: int | None = None
    still: float = 0.0


def _touch(
    *places: str, shape: str = "point", stroke=(0.0, 0.0, 0.0), hertz=0.0, hands="one", phase=0.5, flutter=0.15,
    apart=(0.0, 0.0, 0.0),
) -> Reach:  # fmt: skip
    return Reach(places, shape, stroke, hertz, hands, phase, flutter, apart)


_TO_HAND = (Move("nod", -0.06), Move("cock", 0.05, sign="either"))  # a head that meets the hand
_TABLE = (
    Programme(1, (1.5, 0.35), (Move("raise", 0.055), Move("head_drop", 0.040), Move("head_forward", 0.026), Move("nod", 0.06)),
              partner=31),
    Programme(2, (1.3, 0.40), (Move("raise", 0.018), Move("stretch", 0.016), Move("cheek_bulge", 1.0, chance=0.6, group="breath"),
              Move("mouth_open", 0.35, chance=0.4, group="breath"), Move("lip_press", 0.35, chance=0.4)), talking=0.08,
              partner=29),
    Programme(3, (1.7, 0.35), _TO_HAND[:1], _touch("hat_brim", "hat_top", shape="pinch", stroke=(0.008, 0.008, 0), hertz=1.2,
              hands="mostly_one"), partner=4),
    Programme(4, (1.6, 0.40), _TO_HAND, _touch("crown", "side_of_head", shape="claw", stroke=(0.008, 0.016, 0.012),
              hertz=3.2, flutter=0.30), partner=13),
    Programme(5, (1.5, 0.40), _TO_HAND, _touch("forehead", "temple", stroke=(0.018, 0.006, 0), hertz=2.4), partner=7),
    Programme(6, (1.9, 0.40), (Move("nod", -0.16), Move("eye_close", 0.8)), _touch("face", shape="flat",
              stroke=(0, 0.012, 0), hertz=0.8, hands="either", phase=0.0, apart=(0.026, 0.004, 0.008)), talking=0.1, partner=7),
    Programme(7, (1.6, 0.35), (Move("nod", -0.08), Move("eye_close", 0.9)), _touch("eye", stroke=(0.009, 0.006, 0),
              hertz=2.6, hands="mostly_one", phase=0.0), talking=0.2, partner=8),
    Programme(8, (1.4, 0.45), _TO_HAND, _touch("nose", "cheek", "upper_lip", "mouth", "mouth_corner", "nose",
              stroke=(0.008, 0.012, 0), hertz=2.2), talking=0.3, partner=11),
    Programme(9, (1.5, 0.40), (Move("cock", 0.08, sign="either"),), _touch("ear", "earlobe", shape="pinch",
              stroke=(0.003, 0.010, 0.004), hertz=1.8), partner=13),
    Programme(10, (1.8, 0.40), (Move("nod", -0.10), Move("mouth_open", 0.22)), _touch("mouth", shape="claw",
              stroke=(0.004, 0.004, 0), hertz=2.2), talking=0.0, partner=8),
    Programme(11, (1.7, 0.45), _TO_HAND[1:], _touch("chin", "jaw_side", shape="pinch", stroke=(0.010, 0.005, 0), hertz=1.2),
              talking=0.3, partner=8),
    Programme(12, (1.6, 0.40), (Move("cock", 0.09, sign="either"), Move("look", 0.08, sign="either")),
              _touch("neck_side", "neck_back", "throat", shape="relaxed", stroke=(0.004, 0.014, 0.008), hertz=1.8), partner=9),
    Programme(13, (1.7, 0.40), (Move("cock", 0.08, sign="either"),), _touch("hair_side", "hair_front", shape="relaxed",
              stroke=(0.006, 0.024, 0.018), hertz=1.0, hands="mostly_one"), partner=4),
    Programme(14, (1.8, 0.40), (Move("nod", -0.14),), _touch("collar", "tie", "button", shape="pinch",
              stroke=(0.010, 0.016, 0.004), hertz=1.4, hands="mostly_one"), partner=15),
    Programme(15, (1.5, 0.40), (), _touch("notch", shape="flat", stroke=(0.003, 0.004, 0), hertz=0.8), partner=14),
    Programme(16, (1.8, 0.40), (Move("lean", 0.08), Move("turn", 0.10, sign="either")), _touch("upper_back", "lower_back",
              shape="claw", stroke=(0.008, 0.020, 0.004), hertz=2.4), partner=12),
    Programme(17, (2.2, 0.45), (Move("lean", -0.03), Move("raise", 0.006)), _touch("elbow_crook", shape="relaxed",
              stroke=(0.003, 0.003, 0), hertz=0.4, hands="both", apart=(0.0, 0.024, 0.032)), talking=0.3, partner=22, still=0.6),
    Programme(18, (1.4, 0.40), (Move("nod", -0.15),), _touch("other_sleeve", "chest", "far_shoulder", shape="flat",
              stroke=(0.020, 0.030, 0.010), hertz=2.4), partner=22),
    Programme(19, (2.2, 0.35), (Move("lean", -0.06),), _touch("behind", shape="relaxed", hands="both"), partner=27),
    Programme(20, (1.6, 0.45), (Move("shift_x", 0.060, sign="either"), Move("tilt", 0.120, 0.5, sign="either"),
              Move("turn", 0.200, 0.5, sign="either", chance=0.6), Move("lean", 0.120, sign="either", chance=0.6)),
              partner=21),
    Programme(21, (1.6, 0.35), (Move("lean", -0.150), Move("stretch", 0.035), Move("nod", 0.06)), partner=20),
    Programme(22, (1.7, 0.45), (Move("nod", -0.06),), _touch("other_forearm", "other_upper_arm", "other_wrist",
              shape="relaxed", stroke=(0.016, 0.012, 0.010), hertz=1.7), partner=23),
    Programme(23, (1.5, 0.50), (), _touch("palms", "clasped", shape="relaxed", stroke=(0.004, 0.012, 0.022), hertz=1.9,
              hands="both", flutter=0.20, apart=(0.0, 0.016, 0.006)), partner=24, still=0.5),
    Programme(24, (1.5, 0.50), (), _touch("meeting_laced", shape="laced", stroke=(0.005, 0.005, 0.004), hertz=1.3,
              hands="both", phase=0.0, flutter=0.32, apart=(0.0, 0.005, 0.004)), partner=23, still=0.5),
    Programme(25, (2.0, 0.35), (), _touch("steeple", shape="flat", stroke=(0.003, 0.006, 0), hertz=0.6, hands="both",
              phase=0.0), partner=24, still=0.5),
    Programme(26, (1.8, 0.45), (Move("nod", -0.12),), _touch("object", shape="pinch", stroke=(0.012, 0.010, 0.012),
              hertz=1.6, hands="either", flutter=0.35), talking=0.4, partner=23),
    Programme(27, (1.7, 0.35), (Move("lean", -0.03), Move("forward", -0.010)), _touch("withdrawn", shape="relaxed",
              hands="both"), partner=19),
    Programme(28, (1.2, 0.40), (Move("nod", 0.34), Move("eye_close", 0.4, chance=0.4)), talking=0.25, partner=20),
    Programme(29, (1.1, 0.50), (Move("lip_press", 1.0, chance=0.65, group="lips"),
              Move("lip_bite", 1.0, chance=0.35, group="lips"), Move("brow_down", 0.6, chance=0.5)), talking=0.05,
              partner=2),
    Programme(30, (2.2, 0.35), (Move("lean", -0.04),), _touch("hip", shape="resting", hands="both"), partner=27),
    Programme(31, (0.95, 0.50), (Move("raise", 0.048, 1.5, sides="either"), Move("tilt", 0.025, sign="either", chance=0.4),
              Move("cock", 0.09, sign="either", chance=0.5)), talking=0.6, partner=20),
    Programme(99, (1.6, 0.50), (Move("nod", 0.05, 1.3, sign="either"), Move("lean", 0.03, chance=0.5)),
              Reach(("speaking", "speaking_low", "table_far"), "spread", (0.028, 0.032, 0.026), 1.3, "either", 0.0, 0.25),
              talking=0.95, partner=26),
)  # fmt: skip
PROGRAMMES = {programme.csv_class: programme for programme in _TABLE}
