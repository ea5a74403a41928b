import json

import numpy as np
import pandas as pd
import pytest
from emotion_cases import KEY, people, toy_scores, toy_videos, write_challenge_table, write_cvpr_table
from hypothesis import given
from hypothesis import strategies as st
from release import write_release

from migstudy.datasets.protocols import imigue_protocols
from migstudy.datasets.release_errors import ReleaseError
from migstudy.emotion.folds import cross_validation_folds, inner_validation
from migstudy.emotion.protocols import (
    ChallengeVideos,
    CvprVideos,
    EmotionVideos,
    FolderVideos,
    ProtocolError,
    SimulatedVideos,
    protocol_of,
    read_emotion_videos,
    same_protocol,
)
from migstudy.emotion.scores import (
    align_emotion_scores,
    check_emotion_scores,
    combine_emotion_scores,
    load_emotion_scores,
    make_emotion_scores,
    save_emotion_scores,
)


def test_cvpr_has_the_published_videos_results_and_disjoint_people(tmp_path):
    videos = read_emotion_videos(write_cvpr_table(tmp_path / "full"), "cvpr")
    assert type(videos) is CvprVideos and videos.counts() == {"train": 102, "test": 100} and not videos.notes
    assert videos.select("train")["label"].sum() == 51 and videos.select("test")["label"].sum() == 50
    with pytest.raises(ValueError, match="no 'val' videos; there are train 102, test 100"):
        videos.select("val")


@pytest.mark.parametrize("changes, told", [
    ({"v0001": "5,gone"}, "1 listed videos are missing, 0001 first"),
    ({"v0001": "99,lose"}, "0001 of the train list shows subject 99"),
    ({"v0001": "2,win"}, "50 lost and 52 won videos, 51 and 51 are published"),
])  # fmt: skip
def test_cvpr_refuses_a_table_that_is_not_the_published_one(tmp_path, changes, told):
    root = write_cvpr_table(tmp_path, **changes)
    with pytest.raises(ReleaseError, match=told):
        read_emotion_videos(root, "cvpr")
    assert any(told in note for note in read_emotion_videos(root, "cvpr", strict=False).notes)


def test_challenge_withholds_the_results_of_its_test_videos(tmp_path):
    videos = read_emotion_videos(write_challenge_table(tmp_path), "challenge")
    assert type(videos) is ChallengeVideos and videos.counts() == {"train": 241, "val": 10, "test": 104}
    assert (videos.select("test")["label"] == -1).all() and (videos.select("train")["label"] >= 0).all()
    assert (ChallengeVideos(videos.table.assign(label=1)).select("test")["label"] == -1).all()


def test_why_the_protocols_must_not_mix():
    """The reason for the types: videos that one trains on are tested by the other."""
    cvpr, challenge = imigue_protocols().cvpr_emotion, imigue_protocols().challenge.videos
    assert set(challenge["train"]) & set(cvpr.test) and set(cvpr.train) & set(challenge["test"])


def test_own_folders_simulated_folders_and_wrong_names(tmp_path):
    root = write_release(tmp_path / "mine")
    own = read_emotion_videos(root)
    assert type(own) is FolderVideos and own.protocol.startswith("folders:mine-")
    assert own.counts() == {"train": 3, "val": 1, "test": 2}
    train, test = (root / f"imigue_skeleton_{split}" for split in ("train", "test"))
    assert read_emotion_videos(write_release(tmp_path / "again" / "mine")).protocol == own.protocol
    moved = next(path for path in sorted(train.iterdir()) if path.is_dir())
    moved.rename(test / moved.name)
    assert read_emotion_videos(root).protocol != own.protocol, "what one trained on, the other would test on"
    (test / moved.name).rename(moved)
    with pytest.raises(ProtocolError, match="not simulated"):
        read_emotion_videos(root, "simulated")
    facts = {"format": 3, "profile": "quick", "seed": 4, "config": {"fps": 25}}
    (root / "simulation.json").write_text(json.dumps(facts))
    made = read_emotion_videos(root)
    assert type(made) is SimulatedVideos and made.protocol.startswith("simulated:quick-seed4-")
    (root / "simulation.json").write_text(json.dumps(facts | {"config": {"fps": 30}}))
    assert read_emotion_videos(root).protocol != made.protocol
    (root / "simulation.json.partial").write_text("{}")
    with pytest.raises(ReleaseError, match="is unfinished; run it again"):
        read_emotion_videos(root)
    (root / "simulation.json.partial").unlink()
    for name in ("cvpr", "challenge", "folders"):
        with pytest.raises(ProtocolError, match="is simulated"):
            read_emotion_videos(root, name)
    with pytest.raises(ProtocolError, match="choose auto, cvpr"):
        read_emotion_videos(root, "CVPR")


def test_imigue_wants_a_choice_and_a_table(tmp_path):
    with pytest.raises(ProtocolError, match="choose protocol='cvpr' or 'challenge'"):
        read_emotion_videos(write_cvpr_table(tmp_path))
    with pytest.raises(ReleaseError, match="no video has a result"):
        read_emotion_videos(tmp_path / "nowhere", "cvpr")


def test_keys_do_not_mix_whatever_carries_them():
    table = toy_videos().table
    cvpr, challenge = CvprVideos(table), ChallengeVideos(table)
    carriers = lambda videos: (videos, videos.protocol, {"protocol": videos.protocol}, _scores(videos))
    assert same_protocol(carriers(cvpr)) == "cvpr"
    for one in carriers(cvpr):
        for other in carriers(challenge):
            with pytest.raises(ProtocolError, match="cvpr and challenge cannot be combined"):
                same_protocol([one, other])
    with pytest.raises(ProtocolError, match="cannot be combined"):
        same_protocol([KEY, KEY.replace("seed0", "seed1")])
    with pytest.raises(ProtocolError, match="make one of its subclasses"):
        EmotionVideos(table, "cvpr")
    with pytest.raises(ProtocolError, match="starts with 'challenge'"):
        ChallengeVideos(table, "cvpr")
    with pytest.raises(ProtocolError, match="unknown protocol 'mine'"):
        protocol_of("mine")


def _scores(videos):
    rows = videos.table.query("split == 'val'")
    return make_emotion_scores(rows, np.zeros(len(rows)), videos)


def test_tables_of_two_protocols_are_neither_combined_nor_aligned_nor_mixed_within():
    one, other = toy_scores(protocol="cvpr"), toy_scores(seed=1, protocol="challenge")
    for bring in (lambda: combine_emotion_scores([one, other]), lambda: align_emotion_scores({"a": one, "b": other}),
                  lambda: check_emotion_scores(pd.concat([one, other]))):  # fmt: skip
        with pytest.raises(ProtocolError, match="cannot be combined"):
            bring()


def test_scores_come_back_from_a_file_as_they_were(tmp_path):
    scores = toy_scores(repeats=2)
    pd.testing.assert_frame_equal(load_emotion_scores(save_emotion_scores(scores, tmp_path / "s.parquet")), scores)
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match="not a readable parquet"):
        load_emotion_scores(tmp_path / "bad.parquet")
    with pytest.raises(FileNotFoundError):
        load_emotion_scores(tmp_path / "none.parquet")
    assert {p.name for p in tmp_path.iterdir()} == {"s.parquet", "bad.parquet"}


def test_scores_refuse_what_would_be_a_leak_or_a_slip():
    good = toy_scores()
    first = good["video"] == good["video"][0]

    def refused(table, told):
        with pytest.raises(ValueError, match=told):
            check_emotion_scores(table)

    refused(pd.concat([good, good]), "occurs twice in one model")
    refused(good.assign(split=good["split"].mask(first, "train")), "on another side")
    refused(good.assign(probability=0.5), "not the sigmoid")
    refused(good.assign(logit=np.nan), "not finite")
    refused(good.assign(logit=np.inf, probability=1.0), "not finite")
    refused(good.assign(label=2), "result other than")
    refused(good.assign(fold=-2), "no whole fold")
    refused(good.drop(columns="fold"), r"lacks \['fold'\]")
    held = good[good["split"] == "test"]
    refused(pd.concat([held.assign(fold=0), held.assign(fold=1)]), "held out by two folds")
    refused(pd.concat([held, held.assign(fold=0, label=1 - held["label"])]), "two values of label")
    with pytest.raises(ValueError, match="one number a video"):
        make_emotion_scores(held, np.zeros(3), KEY)


def test_aligning_names_the_first_video_that_differs():
    good = toy_scores()
    other = good.assign(label=good["label"].where(good["video"] != "test0003", 1 - good["label"]))
    with pytest.raises(ValueError, match="differ in 2 test videos: video 'test0003'"):
        align_emotion_scores({"a": good, "b": other})
    chosen = align_emotion_scores({"a": good, "b": good.sample(frac=1, random_state=0)})
    pd.testing.assert_frame_equal(chosen["a"], chosen["b"])


@given(st.integers(0, 10_000), st.integers(6, 60), st.integers(4, 20), st.integers(2, 8))
def test_folds_share_nobody_and_hold_both_results(seed, count, subjects, n_splits):
    rows = people(max(count, subjects), subjects, seed)
    kinds = rows.groupby("subject")["label"].agg(["min", "max"])
    mixed, won, lost = (kinds["min"] != kinds["max"]).sum(), (kinds["min"] == 1).sum(), (kinds["max"] == 0).sum()
    possible = mixed + min(won, lost)
    if n_splits > possible:
        with pytest.raises(ValueError, match=f"at most {possible} folds"):
            cross_validation_folds(rows, n_splits, 2, seed)
        return
    folds = cross_validation_folds(rows, n_splits, 2, seed)
    assert folds == cross_validation_folds(rows.sample(frac=1, random_state=seed), n_splits, 2, seed)
    assert [(f.repeat, f.fold) for f in folds] == [(r, f) for r in range(2) for f in range(n_splits)]
    whose, result = (dict(zip(rows["video"], rows[name])) for name in ("subject", "label"))
    for repeat in range(2):
        held = [v for f in folds if f.repeat == repeat for v in f.held_out]
        assert sorted(held) == sorted(rows["video"])
    for fold in folds:
        assert sorted(fold.train + fold.held_out) == sorted(rows["video"])
        for one, other in ((fold.train, fold.held_out), inner_or_none(rows, fold, seed)):
            assert not {whose[v] for v in one} & {whose[v] for v in other}
            assert all({result[v] for v in part} == {0, 1} for part in (one, other))


def inner_or_none(rows, fold, seed):
    try:
        train, val = inner_validation(rows, fold.train, 0.3, seed)
    except ValueError as error:
        assert "at most 1 folds" in str(error)
        return fold.train, fold.held_out
    assert sorted(train + val) == sorted(fold.train)
    return train, val


def test_folds_are_as_even_as_whole_people_allow_and_differ_between_repeats():
    rows = people(102, 37, 3)
    folds = cross_validation_folds(rows, 5, 3, 0)
    result = dict(zip(rows["video"], rows["label"]))
    for fold in folds:
        won = sum(result[v] for v in fold.held_out)
        assert abs(len(fold.held_out) - 20.4) <= 3 and abs(won - 10.2) <= 2
    assert len({f.held_out for f in folds}) == 15


def test_folds_need_people_and_results():
    rows = people()
    for column, value, told in (("subject", "", "no subject"), ("label", -1, "no result")):
        with pytest.raises(ValueError, match=told):
            cross_validation_folds(rows.assign(**{column: value}))
    with pytest.raises(ValueError, match="not in the training part"):
        inner_validation(rows, ("elsewhere",))
    with pytest.raises(ValueError, match="above 0 up to 0.5"):
        inner_validation(rows, fraction=0.7)
    videos = toy_videos()
    assert {v for f in cross_validation_folds(videos, 3) for v in f.held_out} == set(videos.select("train")["video"])
