"""PYSKL/mmaction2 pickles: read without running them, written so that old tools read them."""

import io
import os
import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy.clips import Clip, ClipSet
from migstudy.datasets.mmaction_pickle import read_pickle, save_pickle
from migstudy.datasets.safe_pickle import UnsafePickleError, load_plain_pickle, save_plain_pickle
from migstudy.skeletons import get_topology


def annotation(name="v0", label=0, m=1, t=5, v=17, d=2, dtype=np.float32, **more):
    rng = np.random.default_rng(abs(hash((label, m, t, v, d))) % 2**32)
    made = {"frame_dir": name, "label": label, "total_frames": t, "img_shape": (240, 320), "original_shape": (240, 320),
            "keypoint": rng.uniform(20, 200, (m, t, v, d)).astype(dtype),
            "keypoint_score": rng.uniform(0.3, 1, (m, t, v)).astype(dtype)}  # fmt: skip
    return made | more


def dump(path, value, protocol=4):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.fixture
def clipset():
    rng = np.random.default_rng(0)
    clips = []
    for i in range(9):
        scores = (rng.uniform(size=(4 + i, 22)) > 0.2).astype(np.float32) * 0.75
        points = rng.uniform(0, 700, (4 + i, 22, 2)).astype(np.float32) * (scores > 0)[..., None]
        third = i // 3
        clips.append(Clip(f"00{third}_{i % 3}", points, scores, i % 4 - 1, f"00{third}", str(third),
                          ("train", "val", "test")[third], 10, 13 + i, (1280, 720)))  # fmt: skip
    return ClipSet.from_clips(clips, "imigue22", ("a", "b", "c"), 25, "made by tests")


def test_round_trip_keeps_everything(clipset, tmp_path):
    again = read_pickle(save_pickle(clipset, tmp_path / "set.pkl"))
    assert again.fingerprint == clipset.fingerprint and again.source == clipset.source and again.units == "px"
    assert again.index.equals(clipset.index) and again.topology == clipset.topology
    assert [p.name for p in tmp_path.iterdir()] == ["set.pkl"]


def test_float16_halves_the_file_and_reads_back(clipset, tmp_path):
    full, half = save_pickle(clipset, tmp_path / "full.pkl"), save_pickle(clipset, tmp_path / "half.pkl", "float16")
    assert half.stat().st_size < 0.62 * full.stat().st_size
    again = read_pickle(half)
    assert again.keypoints.dtype == np.float32 and np.abs(again.keypoints - clipset.keypoints).max() <= 0.25


def test_a_failed_writing_leaves_the_old_file(clipset, tmp_path, monkeypatch):
    path = save_pickle(clipset, tmp_path / "set.pkl")
    before = path.read_bytes()
    breaks = lambda self, value: self.write(b"half") and 1 / 0  # noqa: E731
    monkeypatch.setattr("migstudy.datasets.safe_pickle._Pickler.dump", breaks)
    with pytest.raises(ZeroDivisionError):
        save_pickle(clipset, path)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_old_tools_can_read_what_we_write(clipset, tmp_path):
    path = save_pickle(clipset, tmp_path / "set.pkl")
    named = {arg.split()[0] for op, arg, _ in pickletools.genops(path.read_bytes()) if op.name == "GLOBAL"}
    assert named == {"numpy", "numpy.core.multiarray"}  # as numpy 1 has them
    data = pickle.loads(path.read_bytes())
    assert set(data) == {"split", "annotations", "migstudy"} and data["split"]["val"] == ["001_0", "001_1", "001_2"]
    first = data["annotations"][0]
    assert first["keypoint"].shape == (1, 4, 22, 2) and first["keypoint_score"].shape == (1, 4, 22)
    assert first["img_shape"] == (720, 1280) and first["total_frames"] == 4 and type(first["label"]) is int
    assert np.array_equal(first["keypoint"][0], clipset[0].keypoints)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_protocol_and_precision_is_read(tmp_path, protocol, dtype):
    path = dump(tmp_path / "a.pkl", [annotation(f"v{i}", i % 2, dtype=dtype) for i in range(4)], protocol)
    clips = read_pickle(path, test_fraction=0, val_fraction=0)
    assert clips.topology.name == "coco17" and clips.keypoints.dtype == np.float32 and clips[0].image_size == (320, 240)
    assert np.array_equal(clips["v1"].keypoints, annotation("v1", 1, dtype=dtype)["keypoint"][0].astype(np.float32))


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_numpy_1_and_2_names_are_read(tmp_path, core):
    text = pickle.dumps([annotation()], 2).replace(b"numpy._core", core.encode())
    (tmp_path / "a.pkl").write_bytes(text)
    assert core.encode() in text and len(read_pickle(tmp_path / "a.pkl")) == 1


def test_fortran_order_and_zero_dimensions_are_read(tmp_path):
    value = {"f": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "s": np.float32(2.5), "e": np.zeros((0, 3)),
             "b": np.array([True, False]), "u": np.array(["ab", "c"]), "big": np.arange(3, dtype=">i4")}  # fmt: skip
    for protocol in (2, 4, 5):
        again = load_plain_pickle(dump(tmp_path / "a.pkl", value, protocol))
        for key in value:
            assert np.array_equal(again[key], value[key]) and np.shape(again[key]) == np.shape(value[key])


def test_the_person_seen_best_is_kept(tmp_path):
    one = annotation(m=3)
    one["keypoint_score"][1] = 0.9
    one["keypoint_score"][[0, 2]] = 0.4
    clip = read_pickle(dump(tmp_path / "a.pkl", [one]))[0]
    assert np.array_equal(clip.keypoints, one["keypoint"][1]) and (clip.scores == np.float32(0.9)).all()


def test_missing_joints_without_scores(tmp_path):
    one = annotation(t=3)
    del one["keypoint_score"]
    one["keypoint"][0, 1, 4] = 0
    one["keypoint"][0, 2, 5] = np.nan
    clip = read_pickle(dump(tmp_path / "a.pkl", [one]))[0]
    assert clip.scores[1, 4] == 0 and clip.scores[2, 5] == 0 and clip.scores.sum() == 3 * 17 - 2
    assert not clip.keypoints[2, 5].any()


def test_3d_ntu(tmp_path):
    some = [{k: v for k, v in annotation(f"v{i}", i, v=25, d=3).items() if k != "keypoint_score"} for i in range(2)]
    clips = read_pickle(dump(tmp_path / "a.pkl", some), val_fraction=0)
    assert clips.topology == get_topology("ntu25") and clips.units == "m"


# -- splits ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def ntu(tmp_path):
    some = [annotation(f"v{i}", i % 2) for i in range(20)]
    names = [a["frame_dir"] for a in some]
    split = {"xsub_train": names[:12], "xsub_val": names[12:], "xset_train": names[:10], "xset_val": names[10:18]}
    return dump(tmp_path / "ntu.pkl", {"split": split, "annotations": some})


def test_a_family_of_splits_is_chosen(ntu):
    with pytest.raises(ValueError, match=r"cannot tell its splits \(xsub_train, .*pass split="):
        read_pickle(ntu)
    by = read_pickle(ntu, split="xset").index["split"].value_counts()
    assert by["train"] == 10 and by["val"] == 8 and len(read_pickle(ntu, split="xset")) == 18


def test_pyskls_val_can_be_the_test(ntu):
    index = read_pickle(ntu, split="xsub", val_is_test=True, val_fraction=0.25).index
    assert list(index.loc[index["split"] == "test", "clip_id"]) == [f"v{i}" for i in range(12, 20)]
    assert (index["split"] == "val").sum() == 4 and (index["split"] == "train").sum() == 8


def test_a_clip_in_two_splits_is_refused(tmp_path):
    path = dump(tmp_path / "a.pkl", {"split": {"train": ["v0"], "val": ["v0"]}, "annotations": [annotation()]})
    with pytest.raises(ValueError, match="'v0' stands in split train and in val"):
        read_pickle(path)


BAD = {
    "a number": (3, "neither a list of dicts"),
    "an empty list": ([], "neither a list of dicts"),
    "no keypoint": ([{"frame_dir": "a"}], "annotation 0 (a): needs 'frame_dir' and 'keypoint'"),
    "no frame_dir": ([{"keypoint": np.ones((1, 2, 3, 2))}], "annotation 0 (without frame_dir)"),
    "flat keypoint": ([annotation(keypoint=np.ones((5, 17, 2)))], "keypoint is (5, 17, 2) float64, not numbers"),
    "other scores": ([annotation(keypoint_score=np.ones((1, 4, 17)))], "keypoint_score is (1, 4, 17), not (1, 5, 17)"),
    "other frames": ([annotation(total_frames=9)], "total_frames is 9, keypoint has 5 frames"),
    "same name": ([annotation(), annotation()], "its id stands twice"),
    "strange split": ({"split": {"train": ["x"]}, "annotations": [annotation()]}, "name none of its 1 annotations"),
    "other joints": ([annotation("a"), annotation("b", v=18)], "keypoints are (5, 18, 2)"),
}


@pytest.mark.parametrize("fault", BAD)
def test_faults_name_the_annotation(tmp_path, fault):
    value, message = BAD[fault]
    with pytest.raises(ValueError) as refused:
        read_pickle(dump(tmp_path / "a.pkl", value))
    assert message in str(refused.value)


# -- safety ----------------------------------------------------------------------------------------------------------


class _Runs:
    """Unpickled in the ordinary way, it runs a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class _Restores:
    def __reduce__(self):
        return _Restores, (), {"a": 1}


PAYLOADS = {
    "os.system": lambda mark: _Runs(f"touch {mark}"),
    "inside a dict": lambda mark: [annotation(note=_Runs(f"touch {mark}"))],
    "a class of ours": lambda mark: _Restores(),
    "a builtin function": lambda mark: print,
    "an object array": lambda mark: np.array([1, "a", None], object),
    "an object scalar array": lambda mark: np.array(None, object),
    "a structured array": lambda mark: np.zeros(3, [("x", "f4"), ("o", "i4")]),
    "an object type": lambda mark: np.dtype(object),
    "dates": lambda mark: np.array(["2020-01-01"], "datetime64[D]"),
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_but_plain_data_is_built(tmp_path, payload, protocol):
    mark = tmp_path / "was_here"
    path = dump(tmp_path / "a.pkl", PAYLOADS[payload](mark), protocol)
    with pytest.raises(UnsafePickleError, match="refused: only plain containers") as refused:
        read_pickle(path)
    assert str(path) in str(refused.value) and len(str(refused.value).splitlines()) == 1
    assert not mark.exists()
    if payload == "os.system":
        assert "system" in str(refused.value)
        pickle.loads(path.read_bytes())
        assert mark.exists()  # the payload was real


def _forged(**state):
    """An array whose pickled state was edited."""
    plain = {"version": 1, "shape": (4,), "kind": np.dtype("f4"), "fortran": False, "data": bytes(16)} | state
    stream = io.BytesIO()

    class Forger(pickle._Pickler):
        def save(self, obj, **kwargs):
            if isinstance(obj, np.ndarray):
                reconstruct, args, _ = np.zeros(1, "f4").__reduce__()
                return self.save_reduce(reconstruct, args, tuple(plain.values()), obj=obj)
            return super().save(obj, **kwargs)

    Forger(stream, 4).dump(np.zeros(1, "f4"))
    return stream.getvalue()


@pytest.mark.parametrize("state", [
    {"shape": (5,)}, {"shape": (-4,)}, {"data": b""}, {"shape": (2**62, 4)}, {"data": [1, 2, 3, 4]}, {"kind": "f4"},
])  # fmt: skip
def test_forged_arrays_are_refused(tmp_path, state):
    assert len(pickle.loads(_forged())) == 4
    (tmp_path / "a.pkl").write_bytes(_forged(**state))
    with pytest.raises(ValueError):
        load_plain_pickle(tmp_path / "a.pkl")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_raise_one_kind_of_error(tmp_path_factory, data):
    value = {"split": {"train": ["v0"]}, "annotations": [annotation(t=2, v=3)]}
    good = bytearray(pickle.dumps(value, data.draw(st.integers(0, 5))))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(good)), st.integers(0, len(good) - 1)))
    path = tmp_path_factory.mktemp("fuzz") / "a.pkl"
    path.write_bytes(good[:cut])
    try:
        read_pickle(path)
    except ValueError:
        pass


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner) | st.frozensets(st.integers()),
    max_leaves=12,
)


@given(plain, st.integers(0, 5))
def test_plain_data_is_read_as_it_was(tmp_path_factory, value, protocol):
    path = dump(tmp_path_factory.mktemp("plain") / "a.pkl", value, protocol)
    assert load_plain_pickle(path) == value
    assert load_plain_pickle(save_plain_pickle(value, path)) == value


@pytest.mark.parametrize("bomb", [b"\x80\x02]r\xff\xff\xff\x7f.", b"(lp2147483647\n.", b"\x80\x04\x95\xff\xff\xff\xff\x0f\x00\x00\x00N."])
def test_a_few_bytes_cannot_take_all_memory(tmp_path, bomb):
    path = tmp_path / "bomb.pkl"
    path.write_bytes(bomb)
    with pytest.raises(ValueError, match="claims the size"):
        load_plain_pickle(path)
