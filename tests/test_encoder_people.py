"""Encoders of the win/lose track: whatever the protocol, none learns from a test person, and a missing part is said first."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from emotion_cases import write_challenge_table, write_cvpr_table
from toy_emotion import KEY, ToyWindows, toy_emotion

from migstudy.clips import Clip, ClipSet
from migstudy.config.emotion import EmotionConfig
from migstudy.config.gesture import GestureConfig
from migstudy.data import open_data
from migstudy.datasets import imigue
from migstudy.datasets.release_labels import read_video_table
from migstudy.emotion import data as emotion_data
from migstudy.emotion import encoder_people, features
from migstudy.emotion.data import EmotionData
from migstudy.emotion.protocols import FolderVideos, ProtocolError, SimulatedVideos, read_emotion_videos
from migstudy.video.films import FilmError


def release(folder, protocol, monkeypatch) -> EmotionData:
    """A release whose folders divide otherwise than the protocol, with a stray video of a test and of a training person."""
    if protocol == "folders":
        rows = [(f"{i:04d}", str(i // 2), i % 2, "train" if i < 16 else "test") for i in range(24)]
        videos = FolderVideos(pd.DataFrame(rows, columns=["video", "subject", "label", "split"]), "folders:mine")
        folder.mkdir()
    else:
        write = write_cvpr_table if protocol == "cvpr" else write_challenge_table
        videos = read_emotion_videos(write(folder), protocol)
    known = videos.table
    of = {split: known.loc[known["split"] == split, "subject"].iloc[0] for split in ("train", "test")}
    told = [*zip(known["video"], known["subject"], strict=True)] + [("9001", of["test"]), ("9002", of["train"]), ("9003", "")]
    clips = [
        Clip(f"{v}_{k}", np.full((2, 41, 2), 5.0), np.ones((2, 41)), (i + k) % 2, v, s, ("train", "val", "test")[i % 3],
             image_size=(64, 48))
        for i, (v, s) in enumerate(told) for k in (0, 1)
    ]  # fmt: skip
    whole = ClipSet.from_clips(clips, "imigue41", ("nod", "shrug"), 10, "toy release")
    monkeypatch.setattr(imigue, "read_release", lambda *where, **how: SimpleNamespace(clips=whole))
    monkeypatch.setenv("MIGSTUDY_CACHE", str(folder / "cache"))
    return EmotionData(folder, videos, whole, whole, folder)


@pytest.mark.parametrize("protocol", ["cvpr", "challenge", "folders"])
def test_encoders_of_every_protocol_learn_from_nobody_it_tests(tmp_path, protocol, monkeypatch):
    data = release(tmp_path / "release", protocol, monkeypatch)
    place = encoder_people.teaching_clips(data)
    own = GestureConfig(profile="smoke", data=str(place))
    seen, test = open_data(own), data.videos.select("test")
    for part in (seen.train, seen.val):
        assert len(part) and not set(part.index["video"]) & set(test["video"])
        assert not set(part.index["subject"]) & set(test["subject"]) and "" not in set(part.index["subject"])
    assert not set(seen.train.index["subject"]) & set(seen.val.index["subject"]) or protocol == "challenge"
    assert set(seen.test.index["video"]) == set(test["video"])
    learned = set(seen.train.index["video"]) | set(seen.val.index["video"])
    assert "9002" in learned and not learned & {"9001", "9003"}
    people = set(data.videos.select("train")["subject"])
    assert encoder_people.people_known(own, data, "it") >= len(people - set(test["subject"]))
    assert encoder_people.teaching_clips(data) == place
    if protocol == "challenge":
        assert set(seen.val.index["video"]) == set(data.videos.select("val")["video"])


def test_the_releases_own_division_is_refused_where_it_teaches_test_people(tmp_path, monkeypatch):
    data = release(tmp_path / "release", "cvpr", monkeypatch)
    data.clips.save(tmp_path / "given")
    with pytest.raises(ProtocolError, match="the run learns from .* test videos"):
        encoder_people.people_known(GestureConfig(profile="smoke", data=str(tmp_path / "given")), data, "the run")


def test_a_test_part_that_is_missing_or_says_nothing_is_met_before_training(tmp_path):
    rows = [(f"{split}{i}", f"{split} {i // 2}", i % 2, split) for split in ("train", "test") for i in range(4)]
    table = pd.DataFrame(rows, columns=["video", "subject", "label", "split"])
    check = lambda table: emotion_data._check_test(SimulatedVideos(table, KEY), tmp_path)
    assert check(table) == ()
    with pytest.raises(ValueError, match="no test videos.*fetch the test folder, or set final=False"):
        check(table[table["split"] == "train"])
    with pytest.raises(ValueError, match="labels_20200831.csv: all 4 test videos .* have one result"):
        check(table.assign(label=table["label"].where(table["split"] == "train", 1)))
    (note,) = check(table.assign(label=table["label"].mask(table["video"] == "test2", -1)))
    assert note.startswith("1 of 4 test videos (test2 first) have no result in") and "only cross-validation is" in note


def test_a_withheld_test_part_is_told_with_the_videos(tmp_path, monkeypatch):
    data = release(tmp_path / "release", "challenge", monkeypatch)
    assert read_video_table(tmp_path / "release" / "labels_20200831.csv")
    config = EmotionConfig(profile="smoke", data=str(data.root), protocol="challenge", model="context")
    opened = emotion_data.open_emotion_data(config)
    assert "104 of 104 test videos" in opened.videos.notes[-1]
    assert not emotion_data.open_emotion_data(EmotionConfig(**config.to_dict() | {"final": False})).videos.notes
    with pytest.raises(ValueError, match="at most .* folds"):
        emotion_data.open_emotion_data(EmotionConfig(**config.to_dict() | {"folds": 200}))


@pytest.mark.parametrize("model", ["context", "face"])
def test_a_missing_film_is_met_before_any_encoder_is_trained(tmp_path, monkeypatch, model):
    toy = toy_emotion()
    for video in [video for video in toy.frames if video != "test10"]:
        (tmp_path / video).mkdir()
        (tmp_path / video / f"{video}.mp4").touch()
    data = EmotionData(tmp_path, toy.videos, toy.whole, toy.clips, tmp_path)
    monkeypatch.setattr(features, "find_films", lambda root: {path.stem: path for path in root.glob("*/*.mp4")})
    for name in ("context_run", "face_encoder"):
        monkeypatch.setattr(features, name, lambda *args: pytest.fail("an encoder was asked for"))
    with pytest.raises(FilmError, match="test10.mp4"):
        features.open_features(EmotionConfig(profile="smoke", model=model, threads=1), data, progress=False)


def test_held_windows_are_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(features, "_HELD", 10 * 2 * (4 * 6 + 1))
    source = ToyWindows("face", 1.0)
    for number in range(25):
        source.segment("train00", number, number + 1)
    assert source._held.cache_info()[2:] == (10, 10)
    monkeypatch.setattr(features, "_HELD", 1)
    assert ToyWindows("face", 1.0)._held.cache_info().maxsize == 1


def test_a_place_in_the_project_is_named_from_there_also_through_a_link(tmp_path, monkeypatch):
    """A run's id holds it: the same on every machine, wherever the data's disk is mounted."""
    from migstudy.emotion.encoders import _as_given

    home, disk = tmp_path / "project", tmp_path / "disk"
    (disk / "made").mkdir(parents=True)
    (home / "data").mkdir(parents=True)
    (home / "data" / "simulated").symlink_to(disk)
    monkeypatch.setenv("MIGSTUDY_ROOT", str(home))
    assert _as_given(home / "data" / "simulated" / "made") == "data/simulated/made"
    assert _as_given(disk / "made") == str(disk / "made")
