"""Graph networks on recordings: streams are told apart, fused seed by seed, and copies of training clips are left out."""

import dataclasses

import numpy as np
import pytest
from test_results import CLASSES, made_run
from toy import toy_set

from migstudy.clips import ClipSet
from migstudy.evaluate import evaluate
from migstudy.fusion.late import fuse
from migstudy.report import recordings_table as table
from migstudy.report import tables
from migstudy.results import labelled_scores
from migstudy.runs import folder as runs

DATA = {"data": "/somewhere/nw_ucla.npz", "fingerprint": "u"}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_ROOT", str(tmp_path))
    monkeypatch.delenv(runs.RUNNER, raising=False)


@pytest.fixture
def trained():
    made = {}
    for model, streams in (("agcn", ("joint", "bone")), ("ctrgcn", ("joint", "bone", "joint_motion"))):
        for stream in streams:
            for seed in (0, 1):
                accuracy = 0.7 if model == "ctrgcn" else 0.6
                made[model, stream, seed] = made_run({"model": model, "stream": stream}, seed, accuracy, **DATA)
    made_run({"model": "agcn", "stream": "joint"}, 7, 0.6, **DATA)  # a seed without its bone stream
    made_run({}, 0, 0.5, **DATA)  # heatmaps stand in the other table
    return made


def test_streams_and_sums_by_recipe(trained):
    rows = table.graph_table()
    assert [tuple(row) for row in rows[["variant", "streams", "seeds"]].to_numpy()] == [
        ("CTR-GCN (ours)", "joint", 2), ("CTR-GCN (ours)", "bone", 2), ("CTR-GCN (ours)", "joint_motion", 2),
        ("CTR-GCN (ours)", "joint + bone", 2), ("CTR-GCN (ours)", "joint + bone, learned weights", 2),
        ("CTR-GCN (ours)", "joint + bone + joint_motion", 2),
        ("CTR-GCN (ours)", "joint + bone + joint_motion, learned weights", 2),
        ("2s-AGCN", "joint", 3), ("2s-AGCN", "bone", 2), ("2s-AGCN", "joint + bone", 2),
        ("2s-AGCN", "joint + bone, learned weights", 2),
    ]  # fmt: skip
    assert rows["top-1 without copies"].isna().all()
    assert len(table.graph_sources()["run_ids"]) == 11
    assert tables.recordings_table().set_index("variant").loc["Northwestern-UCLA", "seeds"] == 1
    assert "±" in tables.readable(rows)["top-1"].iloc[0]


def test_a_sum_fuses_runs_of_one_seed(trained):
    rows = table.graph_table().set_index(["variant", "streams"])
    by_hand = [
        evaluate(fuse({s: labelled_scores(trained["agcn", s, seed]) for s in ("joint", "bone")}), intervals=False)["top1"]
        for seed in (0, 1)
    ]
    assert rows.loc[("2s-AGCN", "joint + bone"), "top1"] == pytest.approx(np.mean(by_hand))
    assert by_hand[0] != by_hand[1]


def test_recipes_stand_apart(trained):
    made_run({"model": "agcn", "stream": "joint"}, 0, 0.6, epochs=60, **DATA)
    rows = table.graph_table()
    assert rows.loc[(rows["variant"] == "2s-AGCN") & (rows["streams"] == "joint"), "epochs"].tolist() == [2, 60]


def test_copies_are_left_out(trained):
    test = labelled_scores(trained["agcn", "joint", 0])
    wrong = test[[CLASSES.index("rest") == label for label in test["label"]]]["clip_id"].tolist()
    rows = table.graph_table(copies=wrong).set_index(["variant", "streams"])
    expected = [
        evaluate(table.without(labelled_scores(trained["agcn", "bone", seed]), wrong), intervals=False)["top1"] for seed in (0, 1)
    ]
    assert rows.loc[("2s-AGCN", "bone"), "top-1 without copies"] == pytest.approx(100 * np.mean(expected), abs=0.06)
    assert len(table.without(test, wrong)) == len(test) - len(wrong) > 0


def test_copied_clips_are_those_whose_bytes_repeat():
    made = toy_set(share=((4, 4, 4), (2, 2, 2), (3, 3, 3)), dimensions=3)
    of = {split: [clip for clip in made if clip.split == split] for split in ("train", "val", "test")}
    copy = lambda clip, twin: dataclasses.replace(clip, keypoints=twin.keypoints, scores=twin.scores)
    test = [copy(of["test"][0], of["train"][0]), copy(of["test"][1], of["val"][1]), *of["test"][2:]]
    clips = [*of["train"], *of["val"], *test]
    found = table.copied_clips(ClipSet.from_clips(clips, made.topology, made.class_names, 25, "copies", "m"))
    assert found == {clip.clip_id for clip in test[:2]}


def test_the_95_copies_of_nw_ucla(recordings_dir):
    from migstudy.datasets import open_dataset

    assert len(table.copied_clips(open_dataset(recordings_dir / "nw_ucla.npz"))) == 95


def test_nothing_trained_is_an_empty_table():
    assert table.graph_table().empty and table.known_copies() is None
