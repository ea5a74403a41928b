"""A topology for recordings that bring joint names, edges or neither: mirror from names, limbs from distances."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from migstudy.graphs import adjacency as graph
from migstudy.skeletons import get_topology, list_topologies
from migstudy.topology import Topology

Edges = list[tuple[int, int]]
_SAMPLE = 2000  # frames that distances are measured on
_PAIRED = "hand finger thumb wrist elbow shoulder arm hip knee ankle foot toe heel leg eye ear brow"
_CENTERS = ("neck", "shoulder_center", "spine_shoulder", "spine", "torso", "chest", "hip_center", "mid_hip", "pelvis")


def infer_topology(
    name: str,
    joints: Sequence[str],
    keypoints: np.ndarray,
    present: np.ndarray,
    edges: Edges | None = None,
    mirror: Sequence[int] | None = None,
) -> Topology:
    """The topology of recorded joints.

    keypoints: (F, V, D) frames, present: (F, V) bool. Joints named as one of our topologies, in its order, are that
    topology. Else: the mirror comes from `mirror` (a permutation) or the names (`mirror_from_names`); limbs are
    `edges`, joined where they fall apart (`connect`), or the shortest tree when there are none; parts are left, right
    and middle; the centre is the neck, spine or hip by name, else the joint from which all others are nearest.
    Raises ValueError for edges or a mirror that do not fit the joints.
    """
    for known in list_topologies():
        if [_tokens(j) for j in joints] == [_tokens(j) for j in get_topology(known).joints]:
            return get_topology(known)
    v = len(joints)
    if mirror is None:
        mirror = mirror_from_names(joints)
    if sorted(mirror) != list(range(v)):
        raise ValueError(f"the mirror of {name!r} is no permutation of its {v} joints; give the partner of every joint")
    edges = list({frozenset((int(a), int(b))): (int(a), int(b)) for a, b in (() if edges is None else edges)}.values())
    if any(not 0 <= j < v for edge in edges for j in edge):
        raise ValueError(f"the edges of {name!r} name joints outside 0..{v - 1}; count joints from 0")
    edges = connect(edges, mirror, mean_distances(keypoints, present))
    sides = {"left": [], "right": [], "middle": []}
    for joint, side in enumerate(_sides(joints, mirror)):
        sides[side].append(joint)
    hops = graph.hop_distance(v, edges)
    middle = int(np.argmin(hops.max(1) + hops.mean(1) / v))
    center = next((list(joints).index(c) for c in _CENTERS if c in joints), middle)
    note = "joints as recorded; mirror by name, missing limbs by distance"
    parts = {side: tuple(part) for side, part in sides.items() if part}
    return Topology(name, tuple(joints), tuple(edges), tuple(map(int, mirror)), center, parts, None, note)


def mirror_from_names(joints: Sequence[str]) -> tuple[int, ...]:
    """The permutation that swaps left with right, by name; joints without a partner stay.

    Known: left/right anywhere (`left_hand`, `HandLeft`), l/r as a word (`hand_l`, `R_Elbow`), a capital L/R before a
    word (`LWrist`), and 0/1 or 1/2 after the name of a paired limb (`hand0_3`, `eye_1`), if both names of a pair exist.
    """
    place = {joint: i for i, joint in enumerate(joints)}
    mirror = list(range(len(joints)))
    for other in (_swap_words, _swap_letters, _swap_capitals, *_swap_numbers()):
        for i, joint in enumerate(joints):
            j = place.get(other(joint), i)
            if mirror[i] == i and mirror[j] == j:
                mirror[i], mirror[j] = j, i
    return tuple(mirror)


def _swap_words(name: str) -> str:
    swap = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "LEFT": "RIGHT", "RIGHT": "LEFT"}
    return re.sub("|".join(swap), lambda m: swap[m[0]], name)


def _swap_letters(name: str) -> str:
    swap = dict(zip("lrLR", "rlRL", strict=True))
    return re.sub(r"(?<![^\W_])[lrLR](?![^\W_])", lambda m: swap[m[0]], name)


def _swap_capitals(name: str) -> str:
    swap = {"L": "R", "R": "L"}
    return re.sub(r"^[LR](?=[A-Z][a-z])", lambda m: swap[m[0]], name)


def _swap_numbers():
    limbs = "|".join(_PAIRED.split())
    for one, two in (("0", "1"), ("1", "2")):
        swap = {one: two, two: one}
        yield lambda name, swap=swap: re.sub(
            rf"^((?:{limbs})_?)([{''.join(swap)}])(?!\d)", lambda m: m[1] + swap[m[2]], name, flags=re.IGNORECASE
        )


def _tokens(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+|\d+", name.lower()))


def _sides(joints: Sequence[str], mirror: Sequence[int]) -> list[str]:
    """left, right or middle for each joint; of a pair whose names say nothing, the first is called left."""
    sides = []
    for i, joint in enumerate(joints):
        tokens = _tokens(re.sub(r"(left|right)", r" \1 ", joint, flags=re.IGNORECASE))
        if mirror[i] == i:
            sides.append("middle")
        elif tokens & {"left", "l"} or (not tokens & {"right", "r"} and i < mirror[i]):
            sides.append("left")
        else:
            sides.append("right")
    return sides


def mean_distances(keypoints: np.ndarray, present: np.ndarray) -> np.ndarray:
    """(V, V) mean distance of each two joints over at most 2,000 evenly spaced frames in which both are present."""
    step = max(1, len(keypoints) // _SAMPLE)
    points, seen = np.asarray(keypoints[::step], np.float64), np.asarray(present[::step], bool)
    total, count = np.zeros((points.shape[1],) * 2), np.zeros((points.shape[1],) * 2)
    for block in range(0, len(points), 200):
        p, s = points[block : block + 200], seen[block : block + 200]
        both = s[:, :, None] & s[:, None, :]
        total += (np.linalg.norm(p[:, :, None] - p[:, None, :], axis=-1) * both).sum(0)
        count += both.sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.inf)


def connect(edges: Edges, mirror: Sequence[int], distance: np.ndarray) -> Edges:
    """The edges, and the fewest more that join them into one piece.

    Each new limb is the nearest pair of joints of two pieces. Where the mirror maps one piece onto another, the nearest
    pair of mirrored joints is taken, so that the skeleton stays symmetric.
    """
    edges, partner = list(edges), np.asarray(mirror)
    distance = np.where(np.isinf(distance), 1e300, (distance + distance[partner][:, partner]) / 2)
    piece = np.arange(len(partner))
    for a, b in edges:
        piece[piece == piece[b]] = piece[a]
    while len(np.unique(piece)) > 1:
        cost = np.where(piece[:, None] != piece[None, :], distance, np.inf)
        a, b = np.unravel_index(np.argmin(cost), cost.shape)
        ours, theirs = (np.flatnonzero(piece == piece[end]) for end in (a, b))
        # a lone pair of joints is no mirrored half of a body
        if len(ours) > 1 and set(partner[ours]) == set(theirs):
            a = min(ours, key=lambda i: cost[i, partner[i]])
            b = partner[a]
        edges.append((int(min(a, b)), int(max(a, b))))
        piece[piece == piece[b]] = piece[a]
    return edges
