"""ClipSet: what goes in comes out, whole or not at all."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy.clips import Clip, ClipSet
from migstudy.skeletons import get_topology


def make_clips(lengths, topology="openpose137", classes=4, seed=0):
    rng = np.random.default_rng(seed)
    v = get_topology(topology).num_joints
    for i, length in enumerate(lengths):
        yield Clip(
            f"{i:04d}_0", rng.random((length, v, 2), np.float32), rng.random((length, v), np.float32), i % classes,
            f"{i:04d}", f"s{i % 3}", ("train", "val", "test")[i % 3], 5, 5 + length - 1, (1280, 720),
        )  # fmt: skip


def make_set(lengths=(3, 1, 4, 1, 5), topology="openpose137"):
    return ClipSet.from_clips(make_clips(lengths, topology), topology, list("abcd"), 25, "made for a test")


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_save_and_load_round_trip(tmp_path_factory, lengths):
    clips = ClipSet.from_clips(make_clips(lengths, "imigue22"), "imigue22", list("abcd"), 25, "made for a test")
    loaded = ClipSet.load(clips.save(tmp_path_factory.mktemp("set") / "s"))
    assert isinstance(loaded.keypoints, np.memmap) and len(loaded) == len(lengths)
    for mine, theirs in zip(clips, loaded, strict=True):
        np.testing.assert_array_equal(mine.keypoints, theirs.keypoints)
        np.testing.assert_array_equal(mine.scores, theirs.scores)
        assert (mine.clip_id, mine.label, mine.end, mine.split) == (theirs.clip_id, theirs.label, theirs.end, theirs.split)
    assert loaded.fingerprint == clips.fingerprint
    del loaded.__dict__["fingerprint"]
    assert loaded.fingerprint == clips.fingerprint  # also when computed from what was read


def test_select_topology_and_order():
    clips = make_set()
    part = clips.select(split=["train", "test"], label=[0, 2, 3]).to_topology("imigue41")
    assert list(part.index["clip_id"]) == ["0000_0", "0002_0", "0003_0"]
    wanted = clips["0002_0"].keypoints[:, list(get_topology("imigue41").openpose137)]
    np.testing.assert_array_equal(part["0002_0"].keypoints, wanted)
    again = part.to_topology("imigue22")  # out of 41 into 22, still lazily
    np.testing.assert_array_equal(again[1].keypoints, wanted[:, :22])
    assert clips.select(lambda index: index["length"] > 3).index["length"].tolist() == [4, 5]
    with pytest.raises(ValueError, match="lacks 115 joints"):
        part.to_topology("imigue22").to_topology("openpose137")
    with pytest.raises(TypeError, match="colour"):
        clips.select(colour="red")
    with pytest.raises(KeyError, match="no clip 'x'"):
        clips["x"]


def test_selected_and_reduced_sets_are_saved_as_seen(tmp_path):
    part = make_set().select(split="test").to_topology("imigue22")
    loaded = ClipSet.load(part.save(tmp_path / "part"))
    assert loaded.topology.name == "imigue22" and loaded.keypoints.shape == (4, 22, 2)
    np.testing.assert_array_equal(loaded[0].keypoints, part[0].keypoints)


def test_concatenate():
    a, b = make_set((2, 3)), ClipSet.from_clips(
        (Clip(c.clip_id + "b", c.keypoints, c.scores, c.label) for c in make_clips((4,))), "openpose137", list("abcd"), 25, "other"
    )  # fmt: skip
    both = ClipSet.concatenate([a, b])
    assert len(both) == 3 and both.source == "made for a test + other"
    np.testing.assert_array_equal(both[2].keypoints, b[0].keypoints)
    with pytest.raises(ValueError, match="stands twice"):
        ClipSet.concatenate([a, a])
    with pytest.raises(ValueError, match="topology differ"):
        ClipSet.concatenate([a, a.to_topology("imigue22")])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoints": np.zeros((2, 5, 2))}, r"not \(T, 137"),
        ({"scores": np.zeros((1, 137))}, "scores are"),
        ({"keypoints": np.full((2, 137, 2), np.nan)}, "NaN"),
        ({"label": 4}, "label 4 is outside"),
        ({"keypoints": np.zeros((0, 137, 2)), "scores": np.zeros((0, 137))}, "no frames"),
    ],
)
def test_bad_clips_are_refused_by_name(change, message):
    good = {"clip_id": "0007_3", "keypoints": np.zeros((2, 137, 2)), "scores": np.zeros((2, 137)), "video": "0007"}
    with pytest.raises(ValueError, match=f"0007_3.*{message}"):
        ClipSet.from_clips([Clip(**{**good, **change})], "openpose137", list("abcd"), 25, "x")


def test_saving_replaces_whole_and_leaves_nothing_aside(tmp_path, monkeypatch):
    folder = make_set((2,)).save(tmp_path / "s")
    monkeypatch.setattr("pandas.DataFrame.to_parquet", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        make_set((3, 3)).save(folder)
    assert len(ClipSet.load(folder)) == 1 and [p.name for p in tmp_path.iterdir()] == ["s"]


def test_broken_folders_say_so(tmp_path):
    folder = make_set((2, 2)).save(tmp_path / "s")
    np.save(folder / "keypoints.npy", np.zeros((1, 137, 2), np.float32))
    with pytest.raises(ValueError, match="do not fit together"):
        ClipSet.load(folder)
    np.save(folder / "keypoints.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="no readable ClipSet"):
        ClipSet.load(folder)
    (folder / "clipset.json").write_text(json.dumps({})[:1])
    with pytest.raises(ValueError, match="no readable ClipSet"):
        ClipSet.load(folder)


def test_fingerprint_sees_every_change():
    base = make_set()
    changed = base.keypoints.copy()
    changed[3, 7, 1] += 1e-3
    others = [
        ClipSet(changed, base.scores, base.index, base.topology, base.class_names, 25, base.source),
        ClipSet(base.keypoints, base.scores, base.index.assign(split="train"), base.topology, base.class_names, 25, ""),
        base.to_topology("imigue41"),
        base.select(split="train"),
    ]
    assert len({s.fingerprint for s in [base, *others]}) == 5
