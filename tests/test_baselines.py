"""Light classifiers: what their features ignore, what they learn from planted data, and that nobody is learned from twice."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import SHARE, toy_set

from migstudy.clips import Clip, ClipSet
from migstudy.evaluate import evaluate
from migstudy.robustness import baselines
from migstudy.robustness.baselines import MeanPose, MotionLDA, decode_result, emotion_features, mean_pose, motion_features
from migstudy.robustness.shoulder_frame import pose_clips
from migstudy.scores import get_probabilities
from migstudy.simulate import SimulatorConfig, simulate_clips

CLIPS = toy_set(((8, 4, 4), (2, 2, 2), (4, 4, 4)))
FEATURES = {"mean pose": mean_pose, "motion": motion_features}


def changed(clips: ClipSet, change) -> ClipSet:
    """The clips with `change(keypoints, scores)` -> (keypoints, scores) applied to each; missing joints stay missing."""
    made = []
    for clip in clips:
        keypoints, scores = change(clip.keypoints.astype(float), clip.scores)
        made.append(replace(clip, keypoints=np.where(scores[..., None] > 0, keypoints, 0), scores=scores, end=-1))
    return ClipSet.from_clips(made, clips.topology, clips.class_names, clips.fps, clips.source, clips.units)


# -- features --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES)
@settings(max_examples=10)
@given(size=st.floats(0.3, 4), x=st.floats(-300, 300), y=st.floats(-300, 300))
def test_size_and_place_in_the_image_drop_out(features, size, x, y):
    moved = changed(CLIPS, lambda k, s: (size * k + [x, y], s))
    assert features(moved) == pytest.approx(features(CLIPS), abs=1e-3, rel=1e-4)


@pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES)
@settings(max_examples=15)
@given(share=st.floats(0, 1), seed=st.integers(0, 99))
def test_whatever_is_missing_features_are_finite(features, share, seed):
    rng = np.random.default_rng(seed)
    holes = changed(CLIPS, lambda k, s: (k, np.where(rng.random(s.shape) < share, 0, s).astype(np.float32)))
    values = features(holes)
    assert values.shape == features(CLIPS).shape and np.isfinite(values).all()


@pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES)
def test_nothing_seen_at_all_and_single_frames_are_finite(features):
    nothing = changed(CLIPS, lambda k, s: (k, np.zeros_like(s)))
    single = changed(CLIPS, lambda k, s: (k[:1], s[:1]))
    assert np.isfinite(features(nothing)).all() and np.isfinite(features(single)).all()


def test_features_depend_on_a_clip_alone():
    values = motion_features(CLIPS)
    some = np.arange(len(CLIPS)) % 3 == 1
    assert motion_features(CLIPS.select(some)) == pytest.approx(values[some], abs=1e-9)
    assert mean_pose(CLIPS.select(some)) == pytest.approx(mean_pose(CLIPS)[some], abs=1e-9)


def test_either_hand_may_do_it():
    clips = CLIPS.select(label=0)
    right = [clips.topology.joints.index(j) for j in ("right_wrist", "right_elbow")]

    def one_handed(keypoints, scores):
        keypoints = keypoints - (keypoints - keypoints[:1])  # nobody moves
        keypoints[:, right] += 80 * np.sin(np.linspace(0, np.pi, len(keypoints)))[:, None, None] * [0.3, -1]
        return keypoints, np.ones_like(scores)

    mirror = list(clips.topology.mirror)
    shown = changed(clips, one_handed)
    other = changed(shown, lambda k, s: (k[:, mirror] * [-1, 1] + [720, 0], s[:, mirror]))
    assert motion_features(other) == pytest.approx(motion_features(shown), abs=1e-3)
    assert np.abs(mean_pose(other) - mean_pose(shown)).max() > 0.05, "the plain pose knows the side"


def test_speed_is_in_seconds():
    def clip(fps):
        t = np.arange(round(2 * fps)) / fps
        points = np.repeat(CLIPS[0].keypoints[:1].astype(float), len(t), axis=0)
        points[:, CLIPS.topology.joints.index("right_wrist"), 0] += 200 * t
        made = Clip("c", points, np.ones(points.shape[:2]), 0)
        return ClipSet.from_clips([made], CLIPS.topology, CLIPS.class_names, fps, "made")

    slow, fast = motion_features(clip(10)), motion_features(clip(50))
    assert fast == pytest.approx(slow, rel=0.06, abs=0.06)


def test_a_joint_never_seen_lies_with_its_neighbour():
    wrist, elbow = (CLIPS.topology.joints.index(f"right_{j}") for j in ("wrist", "elbow"))

    def lost(keypoints, scores):
        scores = np.ones_like(scores)
        scores[:, wrist] = 0
        return keypoints, scores

    pose = mean_pose(changed(CLIPS, lost)).reshape(len(CLIPS), -1, 2)
    assert np.array_equal(pose[:, wrist], pose[:, elbow]) and np.ptp(pose[:, elbow]) > 0


def test_the_frame_is_the_shoulders():
    posed = pose_clips(CLIPS)
    pair = [CLIPS.topology.joints.index(f"{side}_shoulder") for side in ("left", "right")]
    both = posed.seen[:, pair].all(1)
    apart = np.linalg.norm(posed.points[both][:, pair[0]] - posed.points[both][:, pair[1]], axis=-1)
    assert apart.mean() == pytest.approx(1, abs=0.05) and np.abs(posed.points[both][:, pair].mean((0, 1))).max() < 0.1
    assert (posed.points[posed.seen == 0] == 0).all()


def test_what_cannot_be_scaled_is_refused():
    with pytest.raises(ValueError, match="3 coordinates"):
        motion_features(toy_set(((2, 1, 1),) * 3, dimensions=3))
    with pytest.raises(ValueError, match="lacks face_19; emotion_features needs 137 points"):
        emotion_features(CLIPS)


# -- classifiers -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parts():
    clips = toy_set(SHARE, noise=2.0)
    return clips.select(split="train"), clips.select(split="test")


def test_planted_gestures_are_learned(parts):
    train, test = parts
    lda, pose = (evaluate(kind().fit(train).predict_scores(test), intervals=False) for kind in (MotionLDA, MeanPose))
    assert lda["top1"] > 0.95 and lda["macro_f1"] > 0.95 and lda["log_loss"] < 0.5
    assert pose["top1"] > lda["majority"]["top1"], "where the hands are on average says something here"


@pytest.mark.parametrize("kind", [MeanPose, MotionLDA])
def test_scores_are_those_of_the_house(parts, kind):
    train, test = parts
    scores = kind().fit(train).predict_scores(test)
    assert list(scores["clip_id"]) == list(test.index["clip_id"]) and scores.attrs["class_names"] == list(test.class_names)
    again = kind().fit(train).predict_scores(test)
    assert scores.equals(again)
    assert get_probabilities(scores).sum(1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", [MeanPose, MotionLDA])
def test_a_class_that_training_lacks_is_never_answered(parts, kind):
    train, test = parts
    few = train.select((train.labels != 1) & ((train.labels != 2) | (np.arange(len(train)) == np.argmax(train.labels == 2))))
    probabilities = get_probabilities(kind().fit(few).predict_scores(test))
    assert (probabilities[:, 1] == 0).all() and np.isfinite(probabilities).all()
    assert (few.class_counts() == [48, 0, 1]).all(), "one of the others is shown a single time"


@pytest.mark.parametrize("kind", [MeanPose, MotionLDA])
def test_misuse_is_refused(parts, kind):
    train, test = parts
    with pytest.raises(ValueError, match="not fitted on clips with these class names"):
        kind().predict_scores(test)
    with pytest.raises(ValueError, match="not fitted on clips with these class names"):
        kind().fit(train).predict_scores(replace(test, class_names=("a", "b", "c")))
    with pytest.raises(ValueError, match="no clip has a label"):
        kind().fit(replace(train, index=train.index.assign(label=-1)))


def test_labels_at_random_teach_nothing(parts):
    train, test = parts
    shuffled = replace(train, index=train.index.assign(label=np.random.default_rng(0).permutation(train.labels)))
    found = evaluate(MotionLDA().fit(shuffled).predict_scores(test), intervals=False)
    assert found["macro_f1"] < 0.55


# -- win or lose -----------------------------------------------------------------------------------------------------


def test_emotion_features_are_one_finite_row_a_video():
    config = SimulatorConfig(subjects=(2, 1, 1), videos_per_subject=2, clips=(12, 2, 2), min_clips=(0, 0, 0))
    clips = simulate_clips(config, 3, ("train",))
    videos, features = emotion_features(clips)
    assert videos == sorted(clips.index["video"].unique()) and len(features) == 4 and np.isfinite(features).all()
    one = clips.select(video=videos[2])
    assert emotion_features(one)[1][0] == pytest.approx(features[2], abs=1e-9), "of a video alone"
    nothing = changed(clips, lambda k, s: (k, np.zeros_like(s)))
    assert np.isfinite(emotion_features(nothing)[1]).all()


def planted(people=40, size=1.0, seed=0):
    rng = np.random.default_rng(seed)
    won, person = np.tile([True, False], people), np.repeat(np.arange(people), 2)
    features = rng.normal(0, 1, (2 * people, 12)) + 3 * rng.normal(0, 1, (people, 12))[person]
    features[:, 0] = size * won + rng.normal(0, 0.5, 2 * people)
    return features, won, person.astype(str)


def test_a_planted_mood_is_decoded_and_none_is_not():
    for size, low, high in ((3.0, 0.9, 1.0), (0.0, 0.35, 0.65)):
        features, won, people = planted(size=size)
        evidence = decode_result(features, won, people)
        auc = (evidence[won][:, None] > evidence[~won]).mean()
        assert low <= auc <= high


def test_nobody_is_decoded_by_a_model_that_saw_them():
    """Results that hang on the person alone: only a model that met the person could tell them."""
    rng, people = np.random.default_rng(1), 30
    person = np.repeat(np.arange(people), 4)
    won, features = (rng.permutation(people) % 2 == 0)[person], np.eye(people)[person]
    evidence = decode_result(features, won, person.astype(str))
    assert (evidence[won][:, None] > evidence[~won]).mean() < 0.6
    seen = decode_result(features, won, np.arange(len(won)).astype(str))
    assert (seen[won][:, None] > seen[~won]).mean() > 0.95, "the test can fail"
    with pytest.raises(ValueError, match="two or more"):
        decode_result(features[:4], won[:4], person[:4].astype(str))


def test_decoding_is_repeatable():
    features, won, people = planted()
    assert np.array_equal(baselines.decode_result(features, won, people, seed=2), decode_result(features, won, people, seed=2))
