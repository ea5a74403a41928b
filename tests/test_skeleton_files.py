"""The generic door: arrays in an .npz become clips; topologies are inferred, splits are held out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy.datasets import kind_of, open_dataset, open_with_report
from migstudy.datasets.holdout import complete_splits, hold_out
from migstudy.datasets.infer_topology import connect, infer_topology, mirror_from_names
from migstudy.datasets.skeleton_files import read_npz
from migstudy.graphs import adjacency as graph

JOINTS = ["head", "left_hand", "right_hand"]


def arrays(n=12, t=6, d=2, **more):
    rng = np.random.default_rng(n)
    points = rng.uniform(50, 400, (n, t, 3, d)).astype(np.float32)
    return {"keypoints": points, "label": np.arange(n) % 3, "joint_names": np.array(JOINTS)} | more


@pytest.fixture
def write(tmp_path):
    def write(name="set", **content):
        np.savez(tmp_path / f"{name}.npz", **content)
        return tmp_path / f"{name}.npz"

    return write


# -- recordings ------------------------------------------------------------------------------------------------------


def test_natops(recordings_dir):
    clips = read_npz(recordings_dir / "natops.npz")
    counts = clips.index["split"].value_counts()
    assert counts["test"] == 180 and counts["train"] == 144 and counts["val"] == 36
    assert clips.units == "m" and clips.dimensions == 3 and clips.fps == 20 and clips.class_names[0] == "I have command"
    t = clips.topology
    assert t.mirror == (1, 0, 3, 2, 5, 4, 7, 6)
    assert (2, 3) in t.edges and len(t.edges) == 7  # the elbows join the arms
    assert t.is_connected and t.is_mirror_symmetric
    with np.load(recordings_dir / "natops.npz") as file:
        test = np.flatnonzero(file["split_test"])
        assert list(clips.select(split="test").index["clip_id"]) == [f"natops_{i:04d}" for i in test]
        assert np.array_equal(clips[int(test[3])].keypoints, file["keypoints"][test[3]])
        assert np.array_equal(clips.labels, file["label"])
    again = read_npz(recordings_dir / "natops.npz")
    assert again.fingerprint == clips.fingerprint


def test_nw_ucla(recordings_dir):
    clips = read_npz(recordings_dir / "nw_ucla.npz")
    assert len(clips) == 1484 and clips.topology.name == "kinect20"
    assert (clips.index["split"] == "test").sum() == 464
    train, val = (clips.select(split=s).index["subject"] for s in ("train", "val"))
    assert len(set(val)) == 2 and not set(train) & set(val)
    assert clips["a01_s01_e00_v01"].subject == "1" and len(clips["a01_s01_e00_v01"]) == 44


def test_openpose_recordings_are_known_by_their_joint_names(recordings_dir):
    clips = read_npz(recordings_dir / "dbcsp_ar_openpose25.npz")
    assert clips.topology.name == "openpose25" and clips.units == "px" and clips.index["width"][0] == 317
    assert "test is ours: 30% of each class" in clips.source
    labels = clips.index.groupby("split")["label"].nunique()
    assert (labels == 6).all() and set(labels.index) == {"train", "val", "test"}


def test_scores_and_relative_coordinates(recordings_dir):
    path = recordings_dir / "echomimic_halfbody_dwpose.npz"
    with pytest.raises(ValueError, match="shares of the image, not pixels; pass image_size"):
        read_npz(path, scores_last=True)
    clips = read_npz(path, scores_last=True, image_size=(768, 768))
    with np.load(path) as file:
        frames, offsets = file["frames"], file["offsets"]
    assert len(clips) == 8 and set(clips.labels) == {-1} and set(clips.index["split"]) == {""}
    assert np.allclose(clips[2].keypoints, 768 * frames[offsets[2] : offsets[3], :, :2])
    assert np.array_equal(clips[2].scores, frames[offsets[2] : offsets[3], :, 2])
    hand0, hand1 = (clips.topology.index(f"hand{i}_7") for i in (0, 1))
    assert clips.topology.mirror[hand0] == hand1 and clips.topology.is_connected


# -- arrays ----------------------------------------------------------------------------------------------------------


def test_ragged_and_fixed_are_the_same(write):
    fixed = arrays()
    ragged = {k: v for k, v in fixed.items() if k != "keypoints"}
    ragged |= {"frames": fixed["keypoints"].reshape(-1, 3, 2), "offsets": np.arange(0, 73, 6)}
    a, b = read_npz(write("a", **fixed)), read_npz(write("b", **ragged))
    assert np.array_equal(a.keypoints, b.keypoints) and list(a.labels) == list(b.labels)
    assert (a.scores == 1).all() and a.topology.mirror == (0, 2, 1)


def test_missing_joints_and_padding(write):
    content = arrays()
    content["keypoints"][0, 2, 1] = 0
    content["keypoints"][1, 3, 2, 0] = np.nan
    content["keypoints"][2, 4:] = 0
    content["keypoints"][3, 5:] = np.nan
    content["keypoints"][4, 1] = 0  # a gap in the middle is no padding
    content["keypoints"][5] = 0  # nothing at all: kept, for the doctor to find
    clips = read_npz(write(**content))
    assert [len(clips[i]) for i in range(6)] == [6, 6, 4, 5, 6, 6] and list(clips.index["end"][:4]) == [5, 5, 3, 4]
    assert clips[0].scores[2].tolist() == [1, 0, 1] and clips[1].scores[3].tolist() == [1, 1, 0]
    assert not clips[1].keypoints[3, 2].any() and not clips[4].scores[1].any() and not clips[5].scores.any()
    assert np.array_equal(clips[6].keypoints, content["keypoints"][6])


def test_a_joint_at_the_origin_is_present_in_3d(write):
    content = arrays(d=3)
    content["keypoints"][:, :, 0] = 0  # a centred root
    content["keypoints"][0, 3] = 0  # a lost frame
    clips = read_npz(write(**content))
    assert clips.units == "m" and clips[1].scores.all() and not clips[0].scores[3].any() and clips[0].scores[2].all()


def test_declared_scores_come_last(write):
    content = arrays(d=3)
    content["keypoints"][..., 2] = 0.5
    content["keypoints"][0, 0, 0, 2] = 0
    clips = read_npz(write(**content, scores_last=np.array(True), fps=np.float32(15), image_size=np.array([640, 480])))
    assert clips.dimensions == 2 and clips.fps == 15 and clips[0].image_size == (640, 480)
    assert clips[0].scores[0].tolist() == [0, 0.5, 0.5] and not clips[0].keypoints[0, 0].any()


def test_labels_may_be_texts(write):
    content = arrays() | {"label": np.array(["wave", "nod", "wave"] * 4)}
    clips = read_npz(write(**content))
    assert clips.class_names == ("nod", "wave") and list(clips.labels[:3]) == [1, 0, 1]


def test_splits_of_the_file_win(write):
    n = 12
    split = np.array(["train"] * 6 + ["val"] * 2 + ["test"] * 4)
    assert list(read_npz(write("a", **arrays(), split=split)).index["split"]) == list(split)
    flags = {"split_test": np.arange(n) >= 8, "split_val": np.arange(n) < 2}
    assert list(read_npz(write("b", **arrays(), **flags)).index["split"]) == ["val"] * 2 + ["train"] * 6 + ["test"] * 4
    two = {"split_test_view3": np.arange(n) >= 8, "split_test_view1": np.arange(n) < 4}
    with pytest.raises(ValueError, match="several splits .* choose one with split_key="):
        read_npz(write("c", **arrays(), **two))
    chosen = read_npz(write("c", **arrays(), **two), split_key="split_test_view1", val_fraction=0)
    assert list(chosen.index["split"]) == ["test"] * 4 + ["train"] * 8


BAD = {
    "no skeletons": ({"label": np.arange(3)}, "needs 'keypoints'"),
    "three axes": ({"keypoints": np.zeros((3, 4, 2))}, "not (clips, frames, joints, channels)"),
    "offsets": ({"frames": np.ones((9, 3, 2)), "offsets": np.array([0, 4, 8])}, "'offsets' must rise from 0 to 9"),
    "no clip": ({"keypoints": np.zeros((0, 4, 3, 2))}, "numbers and a clip are needed"),
    "five channels": (arrays(d=5), "leave 5 coordinates"),
    "label count": (arrays(label=np.arange(5)), "'label' is (5,), not (12,)"),
    "label range": (arrays(class_names=np.array(["a", "b"])), "label 2 of clip 2 is outside 0..1"),
    "label name": (arrays(label=np.array(["x"] * 12), class_names=np.array(["y"])), "label 'x' is not among"),
    "joint names": (arrays(joint_names=np.array(["a"])), "'joint_names' is (1,), not (3,)"),
    "edges": (arrays(edges=np.array([[0, 3]])), "name joints outside 0..2"),
    "mirror": (arrays(mirror=np.array([0, 1, 1])), "no permutation"),
    "split text": (arrays(split=np.array(["train"] * 11 + ["dev"])), "'split' holds 'dev'"),
    "ids": (arrays(ids=np.array(["a"] * 12)), "clip id 'a' stands twice"),
}


@pytest.mark.parametrize("fault", BAD)
def test_faults_name_the_file_and_the_key(write, fault):
    content, message = BAD[fault]
    path = write(**content)
    with pytest.raises(ValueError) as refused:
        read_npz(path)
    assert message in str(refused.value) and str(path) in str(refused.value)


def test_object_arrays_and_damaged_files_are_refused(tmp_path):
    np.savez(tmp_path / "objects.npz", keypoints=np.array([{"a": 1}], object))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "objects.npz").read_bytes()[:50])
    for name in ("objects.npz", "cut.npz"):
        with pytest.raises(ValueError, match="no readable .npz of plain arrays"):
            open_dataset(tmp_path / name)


# -- inference -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left, right", [
    ("left_hand", "right_hand"), ("HandLeft", "HandRight"), ("hand_l", "hand_r"), ("R_Elbow", "L_Elbow"),
    ("LWrist", "RWrist"), ("hand0_12", "hand1_12"), ("eye_1", "eye_2"), ("LEFT_EAR", "RIGHT_EAR"), ("l.knee", "r.knee"),
])  # fmt: skip
def test_mirrors_are_told_from_names(left, right):
    assert mirror_from_names(["nose", left, right, "spine0", "spine1", "middle_rib", "LReal"]) == (0, 2, 1, 3, 4, 5, 6)


@given(st.lists(st.text("lrLR_01hanedft ", min_size=1, max_size=8), unique=True, max_size=12))
def test_any_names_give_an_involution(names):
    mirror = mirror_from_names(names)
    assert all(mirror[mirror[i]] == i for i in range(len(names)))


@given(st.integers(2, 10), st.data())
def test_any_skeleton_is_joined_with_the_fewest_limbs(v, data):
    pairs = st.tuples(st.integers(0, v - 1), st.integers(0, v - 1)).filter(lambda e: e[0] < e[1])
    edges = data.draw(st.lists(pairs, unique=True, max_size=8))
    points = np.random.default_rng(data.draw(st.integers(0, 99))).normal(size=(v, 3))
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    mirror = list(range(v))
    if v % 2 == 0 and data.draw(st.booleans()):
        mirror = [i ^ 1 for i in range(v)]
    joined = connect(edges, mirror, distance)
    hops = graph.hop_distance(v, edges)
    pieces = len({tuple(np.isfinite(row)) for row in hops})
    assert joined[: len(edges)] == edges and len(joined) == len(edges) + pieces - 1 and graph.is_connected(v, joined)


def test_without_edges_limbs_are_the_shortest_tree():
    points = np.array([[[0.0, 0], [1, 0], [2, 0.1], [10, 0]]])
    topology = infer_topology("line", ["a", "b", "c", "d"], points, np.ones((1, 4), bool))
    assert set(topology.edges) == {(0, 1), (1, 2), (2, 3)} and topology.center in (1, 2)


def test_joints_never_seen_together_are_still_joined():
    seen = np.array([[True, False], [False, True]])
    assert infer_topology("two", ["a", "b"], np.ones((2, 2, 2)), seen).edges == ((0, 1),)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0, 0.9), st.integers(0, 9))
def test_held_out_clips_leave_every_class_in_training(labels, fraction, seed):
    labels = np.array(labels)
    held, _ = hold_out(labels, [""] * len(labels), fraction, seed)
    assert set(labels[~held]) == set(labels)
    assert abs(held.sum() - fraction * len(labels)) <= 1.5 * len(set(labels))
    assert np.array_equal(held, hold_out(labels, [""] * len(labels), fraction, seed)[0])


def test_subjects_are_held_out_whole_when_there_are_enough():
    subjects = np.repeat([str(i) for i in range(10)], 4)
    held, rule = hold_out(np.tile(np.arange(4), 10), subjects, 0.2)
    assert held.sum() == 8 and not set(subjects[held]) & set(subjects[~held]) and rule.startswith("2 of 10 subjects")
    by_class, _ = hold_out(np.tile(np.arange(4), 10), np.where(subjects == "3", "", subjects), 0.2)
    assert len(set(subjects[by_class])) > 2  # one clip without a subject: no whole people then
    with pytest.raises(ValueError, match="fraction of 1"):
        hold_out(np.zeros(3), [""] * 3, 1.0)


def test_test_clips_never_move():
    split = np.array(["train"] * 8 + ["test"] * 4, object)
    done, told = complete_splits(split, np.zeros(12), [""] * 12, 0.25, 0.5)
    assert list(done[8:]) == ["test"] * 4 and (done == "val").sum() == 2 and "val is ours" in told[0]


# -- the one door ----------------------------------------------------------------------------------------------------


def test_one_door_opens_everything(write, tmp_path):
    from release import write_release

    from migstudy.datasets.mmaction_pickle import save_pickle

    clips = open_dataset(write(**arrays()))
    saved, pickled = clips.save(tmp_path / "kept"), save_pickle(clips, tmp_path / "set.pkl")
    release = write_release(tmp_path / "release", "light_hand")
    (pickled.with_suffix(".data")).write_bytes(pickled.read_bytes())
    assert [kind_of(p) for p in (saved, pickled, release, pickled.with_suffix(".data"))] == [
        "clipset", "pickle", "release", "pickle"
    ]  # fmt: skip
    assert open_dataset(saved).fingerprint == clips.fingerprint == open_dataset(pickled).fingerprint
    released, report = open_with_report(release, val_fraction=0.5, progress=False, cache=tmp_path / "cache")
    assert len(released) == 18 and report.shape == "light_hand" and (released.index["split"] == "val").sum() == 3


def test_a_set_without_validation_gets_one(write, tmp_path):
    clips = read_npz(write(**arrays(30)), val_fraction=0)
    folder = clips.save(tmp_path / "kept")
    opened = open_dataset(folder, val_fraction=0.3)
    assert (opened.index["split"] == "val").any() and "val is ours" in opened.source
    before, after = clips.index["split"] == "test", opened.index["split"] == "test"
    assert before.any() and before.equals(after)


def test_what_is_nothing_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_dataset(tmp_path / "none")
    (tmp_path / "notes.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(ValueError, match="cannot tell what"):
            open_dataset(path)
