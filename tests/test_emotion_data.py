"""Videos of the win/lose track: windows and segments cover every frame, parameters, and what may not be asked."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migstudy.clips import Clip, ClipSet
from migstudy.config.emotion import NEEDS, EmotionConfig
from migstudy.config.gesture import GestureConfig
from migstudy.emotion import encoder_people
from migstudy.emotion import encoders as emotion_encoders
from migstudy.emotion.data import EmotionData, window_edges, window_id
from migstudy.emotion.identity_probe import identity_probe
from migstudy.emotion.loading import segments
from migstudy.emotion.protocols import ProtocolError, SimulatedVideos
from migstudy.runs.execute import CONFIGS, TRAINED, find_notebook, notebook_parameters
from migstudy.runs.folder import Run

KEY = "simulated:toy-seed0-00000000"


@given(frames=st.integers(1, 5000), length=st.floats(1, 300))
def test_every_frame_is_in_one_window_and_windows_are_as_long_as_asked(frames, length):
    edges = window_edges(frames, length)
    lengths = np.diff(edges)
    assert edges[0] == 0 and edges[-1] == frames and (lengths > 0).all() and np.ptp(lengths) <= 1
    if frames >= 2 * length:
        assert 0.75 * length - 1 <= lengths.min() and lengths.max() <= 1.34 * length + 1


@given(windows=st.integers(1, 400), size=st.integers(1, 40))
def test_segments_cover_every_window_and_hold_no_more_than_asked(windows, size):
    spans = segments(windows, size)
    assert {i for first, last in spans for i in range(first, last)} == set(range(windows))
    assert all(last - first == min(size, windows) for first, last in spans) and len(spans) == -(-windows // size)


def toy_data(frames=(40, 65, 40, 40)) -> EmotionData:
    rng = np.random.default_rng(0)
    clips = [
        Clip(f"v{i}", rng.random((n, 22, 2)) + 1, np.ones((n, 22)), i % 2, f"v{i}", f"p{i // 2}", "train", image_size=(64, 48))
        for i, n in enumerate(frames)
    ]
    whole = ClipSet.from_clips(clips, "imigue22", ("lose", "win"), 10, "toy")
    table = pd.DataFrame({"video": [c.video for c in clips], "subject": [c.subject for c in clips],
                          "label": [c.label for c in clips], "split": "train"})  # fmt: skip
    return EmotionData(None, SimulatedVideos(table, KEY), whole, whole, None)


def test_windows_are_the_videos_own_frames():
    data = toy_data()
    windows = data.windows(2.0)
    assert len(windows) == 2 + 3 + 2 + 2 and windows.index["length"].sum() == sum(data.frames.values())
    second = windows[window_id("v1", 1)]
    start, stop = data.window_edges("v1", 2.0)[1:3]
    assert (second.start, second.end) == (start, stop - 1)
    assert np.array_equal(second.keypoints, data.whole["v1"].keypoints[start:stop])
    assert windows.fingerprint not in (data.whole.fingerprint, data.windows(3.0).fingerprint)


def test_the_notebook_holds_exactly_the_parameters():
    kinds, defaults = notebook_parameters(find_notebook("05_train_emotion"))
    assert defaults == {field.name: field.default for field in dataclasses.fields(EmotionConfig)}
    assert kinds == EmotionConfig.types()
    assert CONFIGS["05_train_emotion"] is EmotionConfig and "05_train_emotion" in TRAINED


@pytest.mark.parametrize("profile", ["smoke", "quick", "paper"])
def test_profiles_fill_every_blank(profile):
    resolved = EmotionConfig(profile=profile).resolved()
    assert None not in resolved.to_dict().values() and resolved.width % resolved.heads == 0
    assert set(NEEDS) == set(EmotionConfig.types()["model"].__args__)


@pytest.mark.parametrize(("given", "says"), [
    ({"emotion_effect": -1}, "emotion_effect"), ({"folds": 1}, "folds"), ({"width": 6, "heads": 4}, "heads"),
    ({"data": "x", "emotion_effect": 2.0}, "only data=simulator"), ({"protocol": "cvpr"}, "simulated videos"),
    ({"model": "mvit"}, "model"), ({"inner_fraction": 0.6}, "inner_fraction"),
])  # fmt: skip
def test_parameters_that_cannot_be(given, says):
    with pytest.raises(ValueError, match=says):
        EmotionConfig(**given)


def fake_run(folder, task="03_train_gesture", model="mvit", done=True) -> Run:
    folder.mkdir()
    params = {"model": model, "data": "here", "profile": "smoke"}
    (folder / "params.json").write_text(json.dumps({"task": task, "params": params}))
    if done:
        (folder / "DONE").write_text("now")
    return Run(folder)


def test_runs_that_are_given_must_be_finished_and_fit(tmp_path):
    with pytest.raises(ValueError, match="no finished run"):
        emotion_encoders.given_run(str(tmp_path / "nowhere"), ("mvit",))
    with pytest.raises(ValueError, match="no finished run"):
        emotion_encoders.given_run(str(fake_run(tmp_path / "a", done=False).folder), ("mvit",))
    with pytest.raises(ValueError, match="posec3d"):
        emotion_encoders.given_run(str(fake_run(tmp_path / "b", model="posec3d").folder), ("mvit",))
    assert emotion_encoders.given_run(str(fake_run(tmp_path / "c").folder), ("mvit",)).id == "c"


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_encoder_that_knows_a_test_person_is_refused(tmp_path, monkeypatch, split):
    """Whether the person taught it or chose its epoch, and in whatever video."""
    config = GestureConfig(profile="smoke", data="here")
    rows = [("1", "a", 0, "train"), ("2", "b", 1, "train"), ("3", "c", 1, "test")]
    table = pd.DataFrame(rows, columns=["video", "subject", "label", "split"])
    data = SimpleNamespace(root=tmp_path, videos=SimulatedVideos(table, KEY))
    parts = {name: pd.DataFrame({"video": ["8"], "subject": ["a"]}) for name in ("train", "val")}
    seen = SimpleNamespace(**{name: SimpleNamespace(index=index) for name, index in parts.items()})
    monkeypatch.setattr(encoder_people, "open_data", lambda config: seen)
    monkeypatch.setattr(encoder_people, "data_path", lambda data, profile: tmp_path)
    assert encoder_people.people_known(config, data, "the run") == 1
    getattr(seen, split).index = pd.DataFrame({"video": ["9"], "subject": ["c"]})
    with pytest.raises(ProtocolError, match="the run learns from 1 test people"):
        encoder_people.people_known(config, data, "the run")
    getattr(seen, split).index = pd.DataFrame({"video": ["3"], "subject": [""]})
    with pytest.raises(ProtocolError, match="1 test videos"):
        encoder_people.people_known(config, data, "the run")
    monkeypatch.setattr(encoder_people, "data_path", lambda data, profile: tmp_path / "elsewhere")
    with pytest.raises(ProtocolError, match="1 test videos"):  # a copy of the release, known by the video
        encoder_people.people_known(config, data, "the run")
    getattr(seen, split).index = pd.DataFrame({"video": ["1", "9"], "subject": ["a", "c"]})
    with pytest.raises(ProtocolError, match="1 test people"):
        encoder_people.people_known(config, data, "the run")
    for name in ("train", "val"):
        getattr(seen, name).index = pd.DataFrame({"video": ["9"], "subject": ["c"]})
    assert encoder_people.people_known(config, data, "the run") == 0, "somebody else is called c too"


def test_encoders_learn_from_people_of_their_own():
    from migstudy.emotion.data import ENCODER_SEED, ENCODERS, SIMULATED, SIMULATED_SEED
    from migstudy.simulate import PROFILES
    from migstudy.simulate.plan import make_plan

    assert len({0, SIMULATED_SEED, ENCODER_SEED}) == 3 and set(ENCODERS) == set(SIMULATED) == set(PROFILES)
    looks = [
        {tuple(np.round(s.habits, 6)) for s in make_plan(dataclasses.replace(PROFILES["smoke"], **knobs), seed)[1].values()}
        for knobs, seed in ((SIMULATED["smoke"], SIMULATED_SEED), *((own, ENCODER_SEED) for own in ENCODERS["smoke"].values()))
    ]
    assert not looks[0] & looks[1] and not looks[0] & looks[2]


@pytest.mark.parametrize(("key", "says"), [
    ("folders:mine-1", "give SwinFace's file"), (f"simulated:quick-seed{2}-00000000", "simulate another seed"),
])  # fmt: skip
def test_videos_that_have_no_stand_in(tmp_path, key, says):
    data = SimpleNamespace(root=tmp_path, videos=SimpleNamespace(protocol=key))
    with pytest.raises(ValueError, match=says):
        emotion_encoders.face_encoder(EmotionConfig(), data)


def test_the_probe_finds_people_who_differ_and_none_where_nobody_does():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(12), 3)
    marks = rng.normal(size=(12, 8))[people]
    known = identity_probe(marks + 0.1 * rng.normal(size=marks.shape), people)
    assert known.top1 == 1 and known.rank == 1 and known.chance == 1 / 12 and known.p < 1e-6
    blind = identity_probe(rng.normal(size=marks.shape), people)
    assert blind.low < 1 / 12 < blind.high and blind.p > 0.01


def test_the_probe_leaves_out_whoever_it_could_not_know():
    rng = np.random.default_rng(1)
    people = np.array(["a", "a", "b", "b", "alone"])
    x = rng.normal(size=(5, 3)) + 9 * (people == "a")[:, None]
    probe = identity_probe(x, people)
    assert (probe.videos, probe.people, probe.top1) == (4, 2, 1.0)
    x[0] = np.nan
    assert identity_probe(x, people).top1 <= 0.75
    with pytest.raises(ValueError, match="two such people"):
        identity_probe(x[:3], people[:3])
    with pytest.raises(ValueError, match="give an array"):
        identity_probe(x, people[:3])
