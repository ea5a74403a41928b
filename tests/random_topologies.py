"""Skeletons nobody has thought of: random trees with a random mirror."""

from hypothesis import strategies as st

from migstudy.topology import Topology


@st.composite
def topologies(draw, least=1, most=8):
    """A connected topology of `least` to `most` joints: edges in any order and direction, any centre, any involution."""
    joints = draw(st.integers(least, most))
    edges = [(child, draw(st.integers(0, child - 1))) for child in range(1, joints)]
    edges = [edge[:: draw(st.sampled_from([1, -1]))] for edge in draw(st.permutations(edges))]
    order, mirror = draw(st.permutations(range(joints))), list(range(joints))
    for a, b in zip(order[::2], order[1::2], strict=False):
        if draw(st.booleans()):
            mirror[a], mirror[b] = b, a
    center = draw(st.integers(0, joints - 1))
    names = tuple(f"joint_{i}" for i in range(joints))
    return Topology("drawn", names, tuple(edges), tuple(mirror), center, {"body": tuple(range(joints))})
