"""Topologies: mirror, edges, connection, parts, and parity with the published graphs."""

import pickle

import numpy as np
import pytest

from migstudy.graphs import adjacency as graph
from migstudy.skeletons import get_topology, list_topologies, make_topology
from migstudy.topology import Topology

NAMES = list_topologies()


@pytest.mark.parametrize("name", NAMES)
def test_contract(name):
    topology = get_topology(name)
    mirror = np.array(topology.mirror)
    assert (mirror[mirror] == np.arange(topology.num_joints)).all()
    assert sorted(j for part in topology.parts.values() for j in part) == list(range(topology.num_joints))
    assert Topology.from_dict(topology.to_dict()) == topology
    if name != "imigue22_starterkit":
        assert topology.is_connected and topology.is_mirror_symmetric
        limbs = np.array(topology.limb_mirror)
        assert (limbs[limbs] == np.arange(len(topology.edges))).all()
        bones = topology.bones()
        assert sum(a == b for a, b in bones) == 1 and len(bones) == topology.num_joints


@pytest.mark.parametrize("name", NAMES)
def test_mirror_swaps_the_names(name):
    topology = get_topology(name)
    if name == "imigue22_starterkit":
        return
    for joint, image in zip(topology.joints, topology.mirror, strict=True):
        if "left" in joint:
            assert topology.joints[image] == joint.replace("left", "right")
        if "face" not in joint and "left" not in joint and "right" not in joint:
            assert topology.joints[image] == joint


def test_the_starter_kit_is_wrong_in_the_documented_way():
    shipped, corrected = get_topology("imigue22_starterkit"), get_topology("imigue22")
    assert not shipped.is_connected and 0 not in {j for edge in shipped.edges for j in edge}
    edges = {frozenset(e) for e in corrected.edges}
    kept = sum(frozenset((shipped.mirror[a], shipped.mirror[b])) in edges for a, b in corrected.edges)
    assert kept <= 3 and corrected.joints == shipped.joints


def test_sizes_and_sources():
    sizes = {"openpose137": 137, "imigue22": 22, "imigue36": 36, "imigue41": 41, "light35": 35, "openpose25": 25,
             "coco17": 17, "kinect20": 20, "kinect25": 25}  # fmt: skip
    assert {name: get_topology(name).num_joints for name in sizes} == sizes
    forty_one = get_topology("imigue41")
    assert forty_one.openpose137[:22] == get_topology("imigue22").openpose137
    assert len(get_topology("imigue36").edges) == 37  # the published 36 and the one that ties the mouth on


def test_41_ties_face_and_fingertips():
    t = get_topology("imigue41")
    edges = {frozenset((t.joints[a], t.joints[b])) for a, b in t.edges}
    assert frozenset(("nose", "face_51")) in edges
    for side in ("left", "right"):
        for finger in ("thumb", "index", "middle", "ring", "little"):
            assert frozenset((f"{side}_wrist", f"{side}_hand_{finger}_4")) in edges


@pytest.mark.parametrize("layout", ["openpose22", "openpose", "ntu-rgb+d", "openpose25", "openpose8"])
@pytest.mark.parametrize("strategy", ["uniform", "distance", "spatial"])
def test_stgcn_graphs(fixtures_dir, layout, strategy):
    fixture = np.load(fixtures_dir / "stgcn_graphs.npz", allow_pickle=False)
    wanted = fixture[f"A/{layout}/{strategy}"]
    # an edge list with indices of -1 (SMG's, mixing 0- and 1-based) means numpy's last joint, as it did there
    edges = [tuple(e) for e in fixture[f"edge/{layout}"] % wanted.shape[1] if e[0] != e[1]]
    np.testing.assert_allclose(graph.adjacency(wanted.shape[1], edges, 1, strategy), wanted, atol=1e-12)


def test_own_graphs_are_the_published_ones(fixtures_dir):
    stgcn = np.load(fixtures_dir / "stgcn_graphs.npz", allow_pickle=False)
    np.testing.assert_allclose(
        get_topology("imigue22_starterkit").adjacency("spatial"), stgcn["A/openpose22/spatial"], atol=1e-12
    )
    agcn = np.load(fixtures_dir / "agcn_data_streams.npz", allow_pickle=False)
    np.testing.assert_allclose(get_topology("ntu25").adjacency("agcn"), agcn["A_ntu25"], atol=1e-12)
    np.testing.assert_allclose(get_topology("kinetics18").adjacency("agcn"), agcn["A_kinetics18"], atol=1e-12)
    assert sorted(get_topology("ntu25").bones()) == sorted((a - 1, b - 1) for a, b in agcn["pairs_ntu_1based"].tolist())


def test_hop_distance_against_brute_force():
    t = get_topology("imigue41")
    hops = graph.hop_distance(t.num_joints, t.edges)
    slow = np.where(graph.neighbours(t.num_joints, t.edges) > 0, 1.0, np.inf)
    np.fill_diagonal(slow, 0)
    for k in range(t.num_joints):  # Floyd and Warshall
        slow = np.minimum(slow, slow[:, k : k + 1] + slow[k : k + 1])
    np.testing.assert_array_equal(hops, slow)


def test_users_make_their_own():
    t = make_topology("stick", ["head", "left", "right"], [("head", "left"), (0, 2)], [("left", "right")], "head")
    assert get_topology("stick") is t and t.mirror == (0, 2, 1) and t.limb_mirror == (1, 0)
    with pytest.raises(ValueError, match="built-in"):
        make_topology("imigue41", ["a"], [])
    with pytest.raises(KeyError, match="no joint 'foot'"):
        make_topology("x", ["a"], [("a", "foot")], register=False)
    with pytest.raises(ValueError, match="stands twice"):
        make_topology("x", ["a", "b"], [(0, 1), (1, 0)], register=False)
    with pytest.raises(ValueError, match="involution"):
        make_topology("x", ["a", "b", "c"], [(0, 1)], [(0, 1), (1, 2)], register=False)
    with pytest.raises(KeyError, match="imigue41"):
        get_topology("imigue42")


@pytest.mark.parametrize("name", ["imigue41", "kinect20"])
def test_worker_processes_can_receive_them(name):
    assert pickle.loads(pickle.dumps(get_topology(name))) == get_topology(name)
