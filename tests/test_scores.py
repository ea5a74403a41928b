import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy.scores import (
    align_scores,
    check_scores,
    get_class_names,
    get_clusters,
    get_labels,
    get_probabilities,
    load_scores,
    make_scores,
    save_scores,
)


def table(n=6, classes=4, seed=0, **columns):
    rng = np.random.default_rng(seed)
    index = pd.DataFrame(
        {
            "clip_id": [f"{i // 3:04d}_{i % 3}" for i in range(n)],
            "video": [f"{i // 3:04d}" for i in range(n)],
            "subject": [f"s{i % 2}" for i in range(n)],
            "split": "val",
            "label": rng.integers(0, classes, n),
            "length": 9,  # a ClipSet's index has more columns
        }
    ).assign(**columns)
    return make_scores(index, rng.dirichlet(np.ones(classes), n), [f"gesture {i}" for i in range(classes)])


def test_make_has_the_agreed_columns_and_types():
    scores = table()
    assert list(scores.columns) == ["clip_id", "video", "subject", "split", "label", "p000", "p001", "p002", "p003"]
    assert scores["label"].dtype == np.int64 and (scores.dtypes[5:] == np.float32).all()
    assert get_class_names(scores) == tuple(f"gesture {i}" for i in range(4))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 30), st.integers(2, 40), st.integers(0, 99))
def test_round_trip_is_exact(tmp_path_factory, n, classes, seed):
    path = tmp_path_factory.mktemp("scores") / "deep" / "scores.parquet"
    scores = table(n, classes, seed)
    assert save_scores(scores, path) == path
    back = load_scores(path)
    pd.testing.assert_frame_equal(back, scores)
    assert get_class_names(back) == get_class_names(scores)
    assert [p.name for p in path.parent.iterdir()] == ["scores.parquet"]


def test_class_names_are_in_the_metadata_of_the_file(tmp_path):
    path = save_scores(table(classes=2), tmp_path / "s.parquet", ["Größe", "b"])
    assert json.loads(pq.read_schema(path).metadata[b"migstudy.scores"]) == {"class_names": ["Größe", "b"]}
    assert get_class_names(load_scores(path)) == ("Größe", "b")


def test_labels_may_be_unknown_and_subjects_empty(tmp_path):
    scores = load_scores(save_scores(table(label=-1, subject=None), tmp_path / "s.parquet"))
    assert (scores["label"] == -1).all() and (scores["subject"] == "").all()
    with pytest.raises(ValueError, match="6 of 6 clips have no label .first: 0000_0"):
        get_labels(scores)


def broken(column, row, value):
    scores = table().astype({column: object})
    scores.loc[row, column] = value
    return scores


@pytest.mark.parametrize(
    "scores, message",
    [
        (broken("clip_id", 2, "0000_0"), "clip 0000_0 occurs more than once"),
        (broken("clip_id", 2, None), "row 2 has no clip_id"),
        (broken("label", 1, 4), "clip 0000_1 has label 4"),
        (broken("label", 1, 1.5), "clip 0000_1 has label 1.5"),
        (broken("label", 1, -2), "clip 0000_1 has label -2"),
        (broken("label", 1, None), "clip 0000_1 has label nan"),
        (broken("p001", 3, np.nan), "probabilities of clip 0001_0 .* softmax"),
        (broken("p001", 3, np.inf), "probabilities of clip 0001_0"),
        (broken("p001", 3, 5.0), "do not sum to 1"),
        (table().drop(columns="video"), "no column 'video'"),
        (table().drop(columns="p001"), "without a gap"),
        (table().iloc[:0], "no clips"),
    ],
)
def test_a_bad_table_is_refused_with_one_reason_and_nothing_is_written(tmp_path, scores, message):
    with pytest.raises(ValueError, match=message):
        save_scores(scores, tmp_path / "s.parquet")
    assert not list(tmp_path.iterdir())


def test_negative_probabilities_that_sum_to_one_are_refused():
    scores = table()
    scores.loc[0, ["p000", "p001", "p002", "p003"]] = np.float32([1.5, -0.5, 0, 0])
    with pytest.raises(ValueError, match="negative"):
        check_scores(scores)


def test_sums_may_be_a_little_off_as_half_precision_leaves_them():
    scores = table()
    scores["p000"] += np.float32(9e-4)
    check_scores(scores)
    scores["p000"] += np.float32(3e-4)
    with pytest.raises(ValueError, match="sum to 1"):
        check_scores(scores)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = save_scores(table(seed=1), tmp_path / "s.parquet")

    def torn(arrow, where):
        where.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", torn)
    with pytest.raises(OSError, match="disk full"):
        save_scores(table(seed=2), path)
    pd.testing.assert_frame_equal(load_scores(path), table(seed=1))
    assert [p.name for p in tmp_path.iterdir()] == ["s.parquet"]


def test_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such score table"):
        load_scores(tmp_path / "absent.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ValueError, match="torn.parquet: not a readable parquet"):
        load_scores(tmp_path / "torn.parquet")
    table().drop(columns="label").to_parquet(tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="other.parquet: no column 'label'"):
        load_scores(tmp_path / "other.parquet")


def test_make_refuses_what_does_not_fit():
    index = table()[["clip_id", "video", "subject", "split", "label"]]
    with pytest.raises(ValueError, match="for 6 clips"):
        make_scores(index, np.full((5, 2), 0.5))
    with pytest.raises(ValueError, match=r"lacks the columns \['split'\]"):
        make_scores(index.drop(columns="split"), np.full((6, 4), 0.25))
    with pytest.raises(ValueError, match="3 class names for 4"):
        make_scores(index, np.full((6, 4), 0.25), list("abc"))


@settings(deadline=None)
@given(st.permutations(range(6)))
def test_alignment_is_by_clip_id(order):
    a, b = table(seed=0), table(seed=5, label=table(seed=0)["label"])
    aligned = align_scores({"a": a, "b": b.iloc[order]})
    assert list(aligned["a"]["clip_id"]) == list(aligned["b"]["clip_id"]) == sorted(a["clip_id"])
    assert np.array_equal(get_probabilities(aligned["b"]), get_probabilities(b.sort_values("clip_id")))


def test_alignment_refuses_different_clips_labels_and_classes():
    a = table()
    with pytest.raises(ValueError, match="different clips: 1 only in 'a' .first: 0001_2"):
        align_scores({"a": a, "b": a.iloc[:5]})
    with pytest.raises(ValueError, match="give clip 0000_0 the labels"):
        align_scores({"a": a, "b": a.assign(label=(a["label"] + 1) % 4)})
    with pytest.raises(ValueError, match="'a' have 4 classes, 'b' 5"):
        align_scores({"a": a, "b": table(classes=5, label=a["label"])})
    renamed = a.copy()
    renamed.attrs = {"class_names": ["gesture 0", "gesture 2", "gesture 1", "gesture 3"]}
    with pytest.raises(ValueError, match="name class 1 'gesture 1' and 'gesture 2'"):
        align_scores({"a": a, "b": renamed})
    with pytest.raises(ValueError, match="no score tables"):
        align_scores({})


def test_clusters_are_subjects_or_else_videos():
    clusters, names, kind = get_clusters(table())
    assert kind == "subject" and list(names) == ["s0", "s1"] and list(clusters) == [0, 1, 0, 1, 0, 1]
    clusters, names, kind = get_clusters(table(subject=["s0", "", "s0", "s1", "s1", "s1"]))
    assert kind == "video" and list(names) == ["0000", "0001"] and list(clusters) == [0, 0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match="neither subject nor video"):
        get_clusters(table(subject="", video=""))
