"""The mirror image of a person: joints, trunk channels and action units."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from migstudy.skeletons import get_topology

# angles and shifts that point to one side; channels of one side have its name at the end
_SIDED = ("turn", "tilt", "shift_x", "look", "cock", "jaw_side", "gaze_side")
_SIDES = {"right": "left", "left": "right"}


def mirror_joints(joints: np.ndarray) -> np.ndarray:
    """(T, 137, 3) joints in the room with x turned round and the joints of both sides exchanged."""
    return joints[:, list(get_topology("openpose137").mirror)] * np.array([-1.0, 1.0, 1.0])


def mirror_channels(channels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Trunk channels and action units of the mirror image; the order of names is kept."""
    out = {}
    for name in channels:
        head, _, side = name.rpartition("_")
        source = channels[f"{head}_{_SIDES[side]}"] if side in _SIDES else channels[name]
        out[name] = -source if name in _SIDED else source
    return out
