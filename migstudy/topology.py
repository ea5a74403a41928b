"""The type of a topology: named joints, limbs, mirror and parts, checked when made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from migstudy.graphs import adjacency as graph


@dataclass(frozen=True)
class Topology:
    """A named set of joints and how they hang together.

    joints: names, V of them. edges: E limbs (i, j). mirror: permutation of the joints, an involution. center: root of
    partitions and bones. parts: part name -> joint indices, a partition of the joints. openpose137: the source index of
    each joint among OpenPose's 137, or None. note: where the topology comes from.
    Raises ValueError when indices, mirror or parts do not fit together.
    """

    name: str
    joints: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    mirror: tuple[int, ...]
    center: int
    parts: Mapping[str, tuple[int, ...]] = field(hash=False)
    openpose137: tuple[int, ...] | None = None
    note: str = ""

    def __post_init__(self) -> None:
        v, where = len(self.joints), f"topology {self.name!r}"
        object.__setattr__(self, "parts", MappingProxyType({k: tuple(p) for k, p in self.parts.items()}))
        if len(set(self.joints)) != v:
            raise ValueError(f"{where}: joint names repeat; give each joint its own name")
        if any(not 0 <= j < v for edge in self.edges for j in edge) or any(a == b for a, b in self.edges):
            raise ValueError(f"{where}: an edge names a joint outside 0..{v - 1} or a joint with itself")
        if len({frozenset(edge) for edge in self.edges}) != len(self.edges):
            raise ValueError(f"{where}: an edge stands twice")
        if sorted(self.mirror) != list(range(v)) or any(self.mirror[self.mirror[i]] != i for i in range(v)):
            raise ValueError(f"{where}: the mirror must swap joints in pairs (an involution over all {v} joints)")
        if sorted(j for part in self.parts.values() for j in part) != list(range(v)):
            raise ValueError(f"{where}: the parts must hold every joint exactly once")
        if not 0 <= self.center < v:
            raise ValueError(f"{where}: center {self.center} is no joint")
        if self.openpose137 is not None and len(self.openpose137) != v:
            raise ValueError(f"{where}: openpose137 needs one source index a joint")

    def __reduce__(self):
        return Topology.from_dict, (self.to_dict(),)  # the read-only view of the parts cannot be pickled, workers need it

    @property
    def num_joints(self) -> int:
        return len(self.joints)

    @property
    def limb_mirror(self) -> tuple[int, ...]:
        """Permutation of the edges under the mirror; an edge whose image is no edge stays where it is."""
        place = {frozenset(edge): e for e, edge in enumerate(self.edges)}
        images = [frozenset((self.mirror[a], self.mirror[b])) for a, b in self.edges]
        return tuple(place.get(image, e) for e, image in enumerate(images))

    @property
    def is_connected(self) -> bool:
        return graph.is_connected(self.num_joints, self.edges)

    @property
    def is_mirror_symmetric(self) -> bool:
        """Whether the mirror maps every edge onto an edge."""
        edges = {frozenset(edge) for edge in self.edges}
        return all(frozenset((self.mirror[a], self.mirror[b])) in edges for a, b in self.edges)

    def adjacency(self, strategy: str = "spatial") -> np.ndarray:
        """(K, V, V) float64; see `graphs.adjacency`."""
        return graph.adjacency(self.num_joints, self.edges, self.center, strategy)

    def bones(self) -> list[tuple[int, int]]:
        """One (joint, parent) pair a joint; the centre pairs with itself."""
        return graph.bone_pairs(self.num_joints, self.edges, self.center)

    def index(self, joint: str) -> int:
        """The index of a joint by name; raises KeyError naming the topology."""
        if joint not in self.joints:
            raise KeyError(f"topology {self.name!r} has no joint {joint!r}; it has {', '.join(self.joints)}")
        return self.joints.index(joint)

    def to_dict(self) -> dict:
        """Plain data that `Topology.from_dict` reads back."""
        return {
            "name": self.name, "joints": list(self.joints), "edges": [list(e) for e in self.edges],
            "mirror": list(self.mirror), "center": self.center, "parts": {k: list(p) for k, p in self.parts.items()},
            "openpose137": None if self.openpose137 is None else list(self.openpose137), "note": self.note,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping) -> Topology:
        source = data.get("openpose137")
        return cls(
            name=data["name"], joints=tuple(data["joints"]), edges=tuple((int(a), int(b)) for a, b in data["edges"]),
            mirror=tuple(map(int, data["mirror"])), center=int(data["center"]),
            parts={k: tuple(map(int, p)) for k, p in data["parts"].items()},
            openpose137=None if source is None else tuple(map(int, source)), note=data.get("note", ""),
        )  # fmt: skip
