"""Graph arithmetic on joints: hop distances, normalised adjacency partitions, bone pairs.

Partitions follow ST-GCN (Yan et al., AAAI 2018, section 3.3) and 2s-AGCN (Shi et al., CVPR 2019, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Edges = Sequence[tuple[int, int]]
STRATEGIES = ("uniform", "distance", "spatial", "agcn")


def neighbours(num_joints: int, edges: Edges) -> np.ndarray:
    """Symmetric 0/1 matrix (V, V) of the edges, without self loops."""
    matrix = np.zeros((num_joints, num_joints))
    for a, b in edges:
        matrix[a, b] = matrix[b, a] = 1
    np.fill_diagonal(matrix, 0)
    return matrix


def hop_distance(num_joints: int, edges: Edges) -> np.ndarray:
    """Edges on the shortest path between each two joints, (V, V); inf where there is no path."""
    reach = neighbours(num_joints, edges) + np.eye(num_joints) > 0
    hops = np.full((num_joints, num_joints), np.inf)
    within = np.eye(num_joints, dtype=bool)
    for distance in range(num_joints):
        hops[within & np.isinf(hops)] = distance
        within = within @ reach
    return hops


def is_connected(num_joints: int, edges: Edges) -> bool:
    """Whether every joint can be reached from every other."""
    return bool(np.isfinite(hop_distance(num_joints, edges)).all())


def _column_normalised(matrix: np.ndarray) -> np.ndarray:
    degree = matrix.sum(0)
    return matrix / np.where(degree > 0, degree, 1)


def oriented_edges(num_joints: int, edges: Edges, center: int) -> list[tuple[int, int]]:
    """Each edge as (far end, end nearer to `center`); equal distances keep the given order."""
    to_center = hop_distance(num_joints, edges)[:, center]
    return [(a, b) if to_center[a] >= to_center[b] else (b, a) for a, b in edges]


def bone_pairs(num_joints: int, edges: Edges, center: int) -> list[tuple[int, int]]:
    """One (joint, parent) pair a joint, by shortest path to `center`; roots and unreachable joints pair with themselves."""
    to_center = hop_distance(num_joints, edges)[:, center]
    parent = list(range(num_joints))
    for child, nearer in oriented_edges(num_joints, edges, center):
        if parent[child] == child and to_center[nearer] < to_center[child]:
            parent[child] = nearer
    return list(enumerate(parent))


def adjacency(num_joints: int, edges: Edges, center: int, strategy: str = "spatial") -> np.ndarray:
    """Normalised adjacency (K, V, V), float64; columns are the joints that receive.

    strategy: `uniform` (K=1) and `distance` (K=2) and `spatial` (K=3: same distance to the centre or self, closer,
    further) as in ST-GCN with one hop; `agcn` (K=3: identity, inward, outward) as in 2s-AGCN.
    Raises ValueError for another strategy.
    """
    if strategy == "agcn":
        inward = np.zeros((num_joints, num_joints))
        for child, parent in oriented_edges(num_joints, edges, center):
            inward[parent, child] = 1
        return np.stack([np.eye(num_joints), _column_normalised(inward), _column_normalised(inward.T)])
    normalised = _column_normalised(neighbours(num_joints, edges) + np.eye(num_joints))
    if strategy == "uniform":
        return normalised[None]
    own = np.eye(num_joints, dtype=bool)
    if strategy == "distance":
        return np.stack([np.where(own, normalised, 0), np.where(own, 0, normalised)])
    if strategy == "spatial":
        # the reference looks one hop far: beyond, all joints count as equally distant (inf) from the centre
        to_center = hop_distance(num_joints, edges)[:, center]
        to_center = np.where(to_center > 1, np.inf, to_center)
        source, target = to_center[:, None], to_center[None, :]
        closer, further = (source >= target) & ~own, (source < target) & ~own
        return np.stack([np.where(mask, normalised, 0) for mask in (own, closer, further)])
    raise ValueError(f"unknown adjacency strategy {strategy!r}; choose one of {', '.join(STRATEGIES)}")
