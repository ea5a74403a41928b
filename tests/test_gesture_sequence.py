"""What a video's gestures amount to: rates, shares and durations against loops, tokens in order, clear refusals."""

import gesture_cases as cases
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy.emotion.gesture_sequence import (
    KINDS,
    GestureEvents,
    describe_videos,
    event_parts,
    gesture_batch,
    gesture_tokens,
    sum_by,
    typical_seconds,
)
from migstudy.scores import make_scores


def two_videos():
    """a: two events of 2 s and 4 s in 60 s; b: nothing in 30 s; c: one of 1 s in 20 s."""
    table = pd.DataFrame(
        [("c", "c_0", 0, 24), ("a", "a_1", 500, 599), ("a", "a_0", 100, 149)], columns=["video", "clip_id", "start", "end"]
    )
    probabilities = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
    return GestureEvents(table, probabilities, ("lips", "neck"), 25.0, {"a": 1500, "b": 750, "c": 500})


def test_events_are_in_order_with_their_scores():
    events = two_videos()
    assert events.table["clip_id"].tolist() == ["a_0", "a_1", "c_0"] and events.videos == ["a", "b", "c"]
    assert events.probabilities[:, 0].tolist() == [1.0, 0.5, 0.0]
    assert events.seconds.tolist() == [2, 4, 1] and events.owner.tolist() == [0, 0, 2]


def test_rates_shares_and_durations_by_hand():
    events = two_videos()
    typical = typical_seconds(events)
    overall = 7 / 3
    np.testing.assert_allclose(typical, [(2 + 0.5 * 4 + overall) / 2.5, (0.5 * 4 + 1 + overall) / 2.5])
    table = describe_videos(events)
    assert table.columns.tolist() == [(kind, name) for kind in KINDS for name in ("lips", "neck")]
    np.testing.assert_allclose(table.loc["a", "rate"], [1.5, 0.5])  # events in one minute
    np.testing.assert_allclose(table.loc["a", "share"], [(2 + 2) / 60, 2 / 60])
    np.testing.assert_allclose(table.loc["a", "duration"], [(2 + 2 + typical[0]) / 2.5, (2 + typical[1]) / 1.5])
    np.testing.assert_allclose(table.loc["b"], [0, 0, 0, 0, *typical])
    np.testing.assert_allclose(table.loc["c", "rate"], [0, 3])
    assert describe_videos(events, kinds=["share"]).shape == (3, 2)


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.integers(2, 5))
def test_events_add_up_to_their_video(seed, people):
    events, _ = cases.videos_of_gestures(people, seed=seed)
    typical = typical_seconds(events)
    parts, table = event_parts(events, typical), describe_videos(events, typical)
    for kind in KINDS:
        silent = typical if kind == "duration" else 0
        summed = sum_by(events.owner, parts[kind], len(events.videos)) + silent
        np.testing.assert_allclose(table[kind].to_numpy(), summed, rtol=1e-12)
    assert (table["share"] >= 0).all(axis=None) and (table["duration"] > 0).all(axis=None)


def test_a_video_says_the_same_whoever_else_is_there():
    events, videos = cases.videos_of_gestures(6)
    typical = typical_seconds(events)
    some = videos["video"].iloc[3:6].tolist()
    pd.testing.assert_frame_equal(describe_videos(events.of(some), typical), describe_videos(events, typical).loc[sorted(some)])
    with pytest.raises(KeyError, match="video 'v9' was not watched"):
        events.of(["v9"])


def test_tokens_are_in_order_with_duration_and_pause():
    tokens = gesture_tokens(two_videos())
    assert {video: rows.shape for video, rows in tokens.items()} == {"a": (2, 4), "b": (0, 4), "c": (1, 4)}
    np.testing.assert_allclose(tokens["a"][:, :2], [[1, 0], [0.5, 0.5]])
    np.testing.assert_allclose(tokens["a"][:, 2], np.log1p([2, 4]), rtol=1e-6)
    np.testing.assert_allclose(tokens["a"][:, 3], np.log1p([4, 14]), rtol=1e-6)
    assert tokens["c"][0, 3] == 0
    x, mask = gesture_batch(tokens, ["c", "b", "a"])
    assert x.shape == (3, 2, 4) and mask.tolist() == [[True, False], [False, False], [True, True]]
    assert torch.equal(x[0, 0], torch.from_numpy(tokens["c"][0])) and not x[~mask].any()
    assert gesture_batch(tokens, ["b"])[1].tolist() == [[False]]


def test_events_come_from_scores_and_clips():
    index = pd.DataFrame({
        "clip_id": ["a_0", "a_1", "b_0"], "video": ["a", "a", "b"], "subject": "p", "split": "val", "label": 0,
        "start": [10, 60, 0], "end": [29, 99, 9],
    })  # fmt: skip
    scores = make_scores(index, np.array([[0.75, 0.25], [0.5, 0.5], [0.0, 1.0]]), ("lips", "neck"))
    events = GestureEvents.from_scores(scores.iloc[[2, 0, 1]], index, 25.0)
    assert events.frames == {"a": 100, "b": 10} and events.class_names == ("lips", "neck")
    assert events.table["start"].tolist() == [10, 60, 0] and events.probabilities[:, 0].tolist() == [0.75, 0.5, 0]
    assert GestureEvents.from_scores(scores, index, 25.0, {"a": 500, "b": 500, "c": 9}).videos == ["a", "b", "c"]
    with pytest.raises(ValueError, match="clip a_1 has scores, but no start and end"):
        GestureEvents.from_scores(scores, index.drop(1), 25.0)
    with pytest.raises(ValueError, match="clip b_0 lasts from frame 0 to 9 of video b, which has 9"):
        GestureEvents.from_scores(scores, index, 25.0, {"a": 500, "b": 9})
    with pytest.raises(ValueError, match="no number of frames for video 'b'"):
        GestureEvents.from_scores(scores, index, 25.0, {"a": 500})


def test_what_does_not_fit_is_named():
    events = two_videos()
    with pytest.raises(ValueError, match=r"probabilities \(3, 2\) for 3 events of 1 classes"):
        GestureEvents(events.table, events.probabilities, ("lips",), 25.0, events.frames)
    with pytest.raises(ValueError, match="0 frames a second"):
        GestureEvents(events.table, events.probabilities, events.class_names, 0, events.frames)
    with pytest.raises(ValueError, match="unknown kind 'count'"):
        describe_videos(events, kinds=["count"])
    with pytest.raises(ValueError, match="not one event"):
        describe_videos(events.of(["b"]))
