"""The 32 gesture classes of iMiGUE: names, texts, published counts, and the release's class numbers.

Counts and texts as published: see the README's sources (MiGA challenge files; the texts are the MiGA 2023 winner's,
arXiv 2307.10624).
"""

from __future__ import annotations

from typing import NamedTuple


class GestureClass(NamedTuple):
    """index 0..31; csv_class as the release writes it (1..31 and 99); train/val: published clip counts."""

    index: int
    csv_class: int
    name: str
    text: str
    train: int
    val: int


_TABLE = """
Turtle neck | turtle neck | 10 | 0
Bulging face, deep breath | deep breath | 393 | 25
Touching hat | touch hat | 38 | 1
Touching or scratching head | touch face | 199 | 8
Touching or scratching forehead | touch forehead | 80 | 0
Covering face | cover face | 23 | 0
Rubbing eyes | rub eyes | 57 | 7
Touching or scratching facial parts | touch other face part | 824 | 34
Touching ears | touch ears | 80 | 7
Biting nails | bite nails | 3 | 0
Touching jaw | touch chin | 284 | 18
Touching or scratching neck | touch neck | 137 | 17
Playing with or adjusting hair | play hair | 97 | 0
Buckle button, pulling shirt collar, adjusting tie | adjust tie | 41 | 0
Touching or covering suprasternal notch | touch chest | 26 | 2
Scratching back | scratch back | 24 | 3
Folding arms | fold arm | 304 | 18
Dustoffing clothes | tidy sleeve | 82 | 1
Putting arms behind body | put arm back | 1 | 1
Moving torso | move torso | 887 | 55
Sitting upright | sit straight | 157 | 13
Scratching or touching arms | scratch arm | 360 | 13
Rubbing or holding hands | rub hand | 656 | 1
Crossing fingers | cross finger | 690 | 10
Minaret gesture | minaret hand | 11 | 0
Playing with or manipulating objects | play things | 280 | 7
Hold back arms | withdraw arms | 84 | 3
Head up | head up | 60 | 0
Pressing lips | bit lip | 1155 | 82
Arms akimbo | arm akimbo | 6 | 0
Shaking shoulders | shake shoulder | 2079 | 193
Illustrative body language | illustrative | 3765 | 258
"""

NON_GESTURE_CSV = 99  # illustrative hand gestures: the release's class for "no micro-gesture"
IMIGUE_CLASSES: tuple[GestureClass, ...] = tuple(
    GestureClass(i, NON_GESTURE_CSV if i == 31 else i + 1, name, text, int(train), int(val))
    for i, (name, text, train, val) in enumerate(
        [cell.strip() for cell in row.split("|")] for row in _TABLE.strip().splitlines()
    )
)
IMIGUE_NAMES: tuple[str, ...] = tuple(c.name for c in IMIGUE_CLASSES)


def label_from_csv(csv_class: int) -> int:
    """The label 0..31 of the release's class number; raises ValueError for a number that is no class."""
    if csv_class == NON_GESTURE_CSV:
        return 31
    if 1 <= csv_class <= 31:
        return int(csv_class) - 1
    raise ValueError(f"class {csv_class} does not exist; the release uses 1 to 31 and 99")


def csv_from_label(label: int) -> int:
    """The release's class number of a label; raises ValueError outside 0..31."""
    if not 0 <= label < 32:
        raise ValueError(f"label {label} does not exist; labels are 0 to 31")
    return IMIGUE_CLASSES[label].csv_class
