"""Every joint name, index, limb, mirror pair, part and topology; the only file that knows joint numbers.

OpenPose writes 137 points a person: BODY_25 (0-24), 70 facial landmarks (25-94: the 68 of iBUG and two pupils),
left hand (95-115), right hand (116-136). "Left" and "right" are the person's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from migstudy.topology import Topology

FACE, LEFT_HAND, RIGHT_HAND = 25, 95, 116  # where each block starts among the 137
FINGERTIPS = (4, 8, 12, 16, 20)  # within a hand of 21

BODY25_JOINTS = (
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist mid_hip right_hip right_knee"
    " right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear left_big_toe left_small_toe"
    " left_heel right_big_toe right_small_toe right_heel"
).split()
_BODY25_EDGES = [
    (1, 8), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (8, 9), (9, 10), (10, 11), (8, 12), (12, 13), (13, 14),
    (1, 0), (0, 15), (15, 17), (0, 16), (16, 18), (14, 19), (19, 20), (14, 21), (11, 22), (22, 23), (11, 24),
]  # fmt: skip
_FINGERS = ("thumb", "index", "middle", "ring", "little")
HAND_JOINTS = ("root", *(f"{finger}_{k}" for finger in _FINGERS for k in range(1, 5)))
HAND_EDGES = [(0 if k == 0 else 4 * f + k, 4 * f + k + 1) for f in range(5) for k in range(4)]

# the 70 facial landmarks; each part with the permutation that a mirror applies to it
FACE_PARTS = {
    "jaw": range(0, 17), "brows": range(17, 27), "nose_line": range(27, 36), "eyes": (*range(36, 48), 68, 69),
    "lips": range(48, 68),
}  # fmt: skip
_FACE_MIRROR = [
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55,
    64, 63, 62, 61, 60, 67, 66, 65, 69, 68,
]  # fmt: skip


def _chain(start: int, stop: int) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(start, stop)]


def _ring(start: int, stop: int) -> list[tuple[int, int]]:
    return [*_chain(start, stop), (stop, start)]


_FACE_EDGES = [
    *_chain(0, 16), *_chain(17, 21), *_chain(22, 26), *_chain(27, 30), *_chain(31, 35), *_ring(36, 41), *_ring(42, 47),
    *_ring(48, 59), *_ring(60, 67), (30, 33), (33, 51), (51, 62), (57, 8), (68, 37), (69, 44), (19, 37), (24, 44),
]  # fmt: skip


def make_topology(
    name: str,
    joints: Sequence[str],
    edges: Iterable[tuple[int | str, int | str]],
    mirror_pairs: Iterable[tuple[int | str, int | str]] = (),
    center: int | str = 0,
    parts: Mapping[str, Iterable[int | str]] | None = None,
    register: bool = True,
) -> Topology:
    """A user's own topology; joints may be given by name or index, parts default to one part `body`.

    Raises ValueError (see `Topology`) or KeyError for an unknown joint name. Registering makes `get_topology(name)` work;
    a built-in name cannot be taken.
    """
    joints = tuple(joints)

    def at(joint: int | str) -> int:
        if isinstance(joint, str) and joint not in joints:
            raise KeyError(f"topology {name!r} has no joint {joint!r}; it has {', '.join(joints)}")
        return joints.index(joint) if isinstance(joint, str) else int(joint)

    mirror = list(range(len(joints)))
    for a, b in mirror_pairs:
        mirror[at(a)], mirror[at(b)] = at(b), at(a)
    parts = {k: tuple(map(at, p)) for k, p in (parts or {"body": range(len(joints))}).items()}
    topology = Topology(name, joints, tuple((at(a), at(b)) for a, b in edges), tuple(mirror), at(center), parts)
    if register:
        if name in _BUILT_IN:
            raise ValueError(f"{name!r} is a built-in topology; choose another name")
        _REGISTRY[name] = topology
    return topology


def _openpose137() -> Topology:
    joints = [*BODY25_JOINTS, *(f"face_{i}" for i in range(70))]
    joints += [f"{side}_hand_{joint}" for side in ("left", "right") for joint in HAND_JOINTS]
    edges = list(_BODY25_EDGES)
    edges += [(FACE + a, FACE + b) for a, b in _FACE_EDGES]
    edges += [(root + a, root + b) for root in (LEFT_HAND, RIGHT_HAND) for a, b in HAND_EDGES]
    # the blocks hang on the body: nose, ears, eyes, wrists
    edges += [(0, FACE + 30), (17, FACE + 0), (18, FACE + 16), (15, FACE + 68), (16, FACE + 69)]
    edges += [(4, RIGHT_HAND), (7, LEFT_HAND)]
    mirror = [BODY25_JOINTS.index(_other_side(joint)) for joint in BODY25_JOINTS]
    mirror += [FACE + i for i in _FACE_MIRROR]
    mirror += [*range(RIGHT_HAND, RIGHT_HAND + 21), *range(LEFT_HAND, LEFT_HAND + 21)]
    parts = {"head": [0, *range(15, 19)], "body": range(1, 9), "legs": [*range(9, 15), *range(19, 25)]}
    parts |= {part: [FACE + i for i in landmarks] for part, landmarks in FACE_PARTS.items()}
    parts |= {"left_hand": range(LEFT_HAND, LEFT_HAND + 21), "right_hand": range(RIGHT_HAND, RIGHT_HAND + 21)}
    return Topology(
        "openpose137", tuple(joints), tuple(edges), tuple(mirror), 1, {k: tuple(p) for k, p in parts.items()},
        tuple(range(137)), "all of OpenPose's points; limbs between the blocks are ours",
    )  # fmt: skip


def _other_side(joint: str) -> str:
    if joint.startswith("left"):
        return "right" + joint[4:]
    return "left" + joint[5:] if joint.startswith("right") else joint


def _subset(name: str, source: Sequence[int], edges: Iterable[tuple[int, int]], note: str, mirror=None) -> Topology:
    """A topology picked out of the 137 points; mirror and parts follow from theirs."""
    whole, place = _BUILT_IN["openpose137"], {s: i for i, s in enumerate(source)}
    parts = {k: tuple(place[j] for j in part if j in place) for k, part in whole.parts.items()}
    return Topology(
        name, tuple(whole.joints[s] for s in source), tuple(edges),
        tuple(mirror or (place[whole.mirror[s]] for s in source)), 1, {k: p for k, p in parts.items() if p},
        tuple(source), note,
    )  # fmt: skip


def _add(topology: Topology) -> None:
    _BUILT_IN[topology.name] = topology


def get_topology(name: str | Topology) -> Topology:
    """The topology of that name (a Topology passes through); raises KeyError that lists the names."""
    if isinstance(name, Topology):
        return name
    if name not in _REGISTRY:
        raise KeyError(f"unknown topology {name!r}; known: {', '.join(_REGISTRY)}")
    return _REGISTRY[name]


def list_topologies() -> list[str]:
    """Names that `get_topology` knows, built-in and registered."""
    return list(_REGISTRY)


_BUILT_IN: dict[str, Topology] = {"openpose137": _openpose137()}

_UPPER_BODY = (*range(0, 8), *range(15, 19))
_LEFT_TIPS = tuple(LEFT_HAND + tip for tip in FINGERTIPS)
_RIGHT_TIPS = tuple(RIGHT_HAND + tip for tip in FINGERTIPS)
_ARMS_AND_HEAD = [(1, 0), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (0, 8), (8, 10), (0, 9), (9, 11)]
_TIP_EDGES = [(4, tip) for tip in range(12, 17)] + [(7, tip) for tip in range(17, 22)]

_add(_subset("openpose25", range(25), _BODY25_EDGES, "OpenPose BODY_25"))
_add(_subset(
    "light35", (*range(25), *_RIGHT_TIPS, *_LEFT_TIPS),
    [*_BODY25_EDGES, *((4, tip) for tip in range(25, 30)), *((7, tip) for tip in range(30, 35))],
    "the 35 points of iMiGUE's _light_hand.csv; the release does not say which five tips come first, so the reader decides"
    " from the distance to the wrists",
))
_add(_subset(
    "imigue22", (*_UPPER_BODY, *_RIGHT_TIPS, *_LEFT_TIPS), [*_ARMS_AND_HEAD, *_TIP_EDGES],
    "iMiGUE's usual 22 joints with the starter kit's edge list and mirror corrected",
))
_add(_subset(
    "imigue22_starterkit", (*_UPPER_BODY, *_RIGHT_TIPS, *_LEFT_TIPS),
    [(2, 1), (2, 3), (3, 4), (4, 5), (2, 6), (6, 7), (7, 8), (1, 9), (9, 11), (1, 10), (10, 11),
     *((5, tip) for tip in range(12, 17)), *((8, tip) for tip in range(17, 22))],
    "as shipped, for ablation only: edges mix 0- and 1-based indices (joint 0 is alone) and the mirror is COCO's",
    mirror=(0, *(i + 1 if i % 2 else i - 1 for i in range(1, 17)), *range(17, 22)),
))
_add(_subset(
    "imigue36",
    (*_UPPER_BODY, 27, 29, 33, 37, 39, 44, 49, 52, 73, 76, 79, 82,
     LEFT_HAND, *_LEFT_TIPS, RIGHT_HAND, *_RIGHT_TIPS),
    [(0, 1), (0, 8), (8, 10), (0, 9), (9, 11), (19, 17), (19, 18), (17, 12), (12, 13), (13, 14), (18, 16), (16, 15),
     (15, 14), (20, 21), (21, 22), (22, 23), (23, 20), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7),
     (4, 30), *((30, tip) for tip in range(31, 36)), (7, 24), *((24, tip) for tip in range(25, 30)), (0, 19),
     (19, 21)],
    "MM-Gesture (MiGA 2025); the last edge, nose bridge to upper lip, is ours: the published mouth hangs on nothing",
))  # fmt: skip

# Our reconstruction of paper A's 41: the 22 and 19 facial landmarks where facial micro-gestures show.
# The lips carry pressing and biting, so the outer ring is whole; five jaw points carry breath and jaw touches, two brows
# expression. Ears hold the jaw's ends, eyes the brows, the nose holds the lips and the lips the chin: every tie joins
# neighbours on the face, is its own mirror image or has one, and leaves the graph connected.
_LIPS, _JAW, _BROWS = range(48, 60), range(0, 17, 4), (19, 24)
_add(_subset(
    "imigue41",
    (*_UPPER_BODY, *_RIGHT_TIPS, *_LEFT_TIPS, *(FACE + i for i in (*_LIPS, *_JAW, *_BROWS))),
    [*_ARMS_AND_HEAD, *_TIP_EDGES, *_ring(22, 33), *_chain(34, 38),
     (10, 34), (11, 38), (8, 39), (9, 40), (0, 25), (31, 36)],
    "our reconstruction of paper A's 41 keypoints (arXiv 2506.12848 does not list them)",
))  # fmt: skip

_SIDES = ("left", "right")


def _both(*pairs: tuple[str, str]) -> list[tuple[str, str]]:
    """Pairs of joint names, once for each side where a name holds `*`."""
    return [
        (a.replace("*", s), b.replace("*", s))
        for a, b in pairs
        for s in (_SIDES if "*" in a + b else ("",))
    ]


def _named(name: str, joints: str, edges: list[tuple[str, str]], center: str, note: str) -> Topology:
    """A topology that does not come from OpenPose's 137; sides and parts follow from the joints' names."""
    names = joints.split()
    mirror = tuple(names.index(_other_side(joint)) for joint in names)
    parts: dict[str, list[int]] = {}
    for i, joint in enumerate(names):
        part = next((p for p, words in _PART_WORDS.items() if any(w in joint for w in words)), "body")
        parts.setdefault(part, []).append(i)
    pairs = tuple((names.index(a), names.index(b)) for a, b in edges)
    return Topology(name, tuple(names), pairs, mirror, names.index(center), parts, note=note)


_PART_WORDS = {
    "legs": ("knee", "ankle", "foot", "hip_left", "hip_right", "left_hip", "right_hip"),
    "left_hand": ("left_hand", "hand_left", "left_thumb"), "right_hand": ("right_hand", "hand_right", "right_thumb"),
    "head": ("head", "nose", "eye", "ear"),
}  # fmt: skip
_COCO = "nose left_eye right_eye left_ear right_ear " + " ".join(
    f"{side}_{joint}" for joint in "shoulder elbow wrist hip knee ankle".split() for side in _SIDES
)
_add(_named(
    "coco17", _COCO,
    [("nose", "left_shoulder"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
     ("nose", "right_shoulder"), ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"),
     ("left_shoulder", "left_hip"), ("left_hip", "left_knee"), ("left_knee", "left_ankle"),
     ("right_shoulder", "right_hip"), ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
     ("nose", "left_eye"), ("nose", "right_eye"), ("left_eye", "left_ear"), ("right_eye", "right_ear"),
     ("left_hip", "right_hip")],
    "nose", "COCO's 17 joints with PYSKL's 17 limbs",
))
_add(_named(
    "kinetics18",
    "nose neck right_shoulder right_elbow right_wrist left_shoulder left_elbow left_wrist right_hip right_knee"
    " right_ankle left_hip left_knee left_ankle right_eye left_eye right_ear left_ear",
    _both(("neck", "nose"), ("*_shoulder", "neck"), ("*_elbow", "*_shoulder"), ("*_wrist", "*_elbow"),
          ("*_hip", "*_shoulder"), ("*_knee", "*_hip"), ("*_ankle", "*_knee"), ("*_eye", "nose"), ("*_ear", "*_eye")),
    "neck", "OpenPose COCO-18, the skeleton of Kinetics-Skeleton",
))
_KINECT_LEGS = ("*_hip", "hip_center"), ("*_knee", "*_hip"), ("*_ankle", "*_knee"), ("*_foot", "*_ankle")
_KINECT_ARMS = ("*_elbow", "*_shoulder"), ("*_wrist", "*_elbow"), ("*_hand", "*_wrist")
_KINECT_LIMBS = " ".join(
    f"{side}_{joint}"
    for joints in ("shoulder elbow wrist hand", "hip knee ankle foot") for side in _SIDES for joint in joints.split()
)  # fmt: skip
_add(_named(
    "kinect20", f"hip_center spine shoulder_center head {_KINECT_LIMBS}",
    _both(("spine", "hip_center"), ("shoulder_center", "spine"), ("head", "shoulder_center"),
          ("*_shoulder", "shoulder_center"), *_KINECT_ARMS, *_KINECT_LEGS),
    "shoulder_center", "Kinect v1, as in Northwestern-UCLA",
))
_add(_named(
    "kinect25", f"hip_center spine neck head {_KINECT_LIMBS} spine_shoulder left_hand_tip left_hand_thumb"
    " right_hand_tip right_hand_thumb",
    _both(("hip_center", "spine"), ("spine", "spine_shoulder"), ("neck", "spine_shoulder"), ("head", "neck"),
          ("*_shoulder", "spine_shoulder"), *_KINECT_ARMS, *_KINECT_LEGS,
          ("*_hand_tip", "*_hand_thumb"), ("*_hand_thumb", "*_hand")),
    "spine_shoulder", "Kinect v2, as in NTU RGB+D and SMG",
))  # fmt: skip

_REGISTRY: dict[str, Topology] = {**_BUILT_IN, "ntu25": _BUILT_IN["kinect25"]}
