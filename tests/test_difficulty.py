"""How hard simulated data are: motion tells what mean poses do not, knobs turn accuracy, the result shows only by its effect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from migstudy.robustness.baselines import MeanPose, MotionLDA, decode_result, emotion_features
from migstudy.robustness.tables import auc_over_people
from migstudy.scores import get_probabilities
from migstudy.simulate import PROFILES, simulate_clips
from migstudy.simulate.plan import make_plan

SMALL = replace(PROFILES["quick"], subjects=(8, 1, 6), videos_per_subject=1, clips=(480, 2, 240), min_clips=(0, 0, 0))


def top1(kind, **knobs) -> np.ndarray:
    """(clips,) whether a light classifier, trained on some people, is right about others."""
    clips = simulate_clips(replace(SMALL, **knobs), 0, ("train", "test")).to_topology("imigue41")
    train, test = clips.select(split="train"), clips.select(split="test")
    assert not set(train.index["subject"]) & set(test.index["subject"])
    scores = kind().fit(train).predict_scores(test)
    return get_probabilities(scores).argmax(1) == scores["label"].to_numpy()


@pytest.fixture(scope="module")
def as_usual():
    return top1(MotionLDA)


def test_motion_tells_what_a_mean_pose_does_not(as_usual):
    assert top1(MeanPose).mean() < 0.3 and as_usual.mean() > 0.6


@pytest.mark.parametrize("knobs", [{"amplitude": 0.25}, {"noise_px": 12.0}], ids=["small", "noisy"])
def test_small_gestures_and_noise_cost_accuracy(as_usual, knobs):
    lost = as_usual.mean() - top1(MotionLDA, **knobs).mean()
    assert lost > 0.05


def auc(effect: float, seed: int) -> float:
    config = replace(SMALL, subjects=(12, 1, 1), videos_per_subject=2, clips=(96, 2, 2), emotion_effect=effect)
    videos, features = emotion_features(simulate_clips(config, seed, ("train",)))
    plans = {plan.video: plan for plan in make_plan(config, seed)[0]}
    won, people = (np.array([getattr(plans[v], name) for v in videos]) for name in ("won", "subject"))
    evidence = decode_result(features, won, people.astype(str))
    return auc_over_people(evidence, won, people.astype(str)).auc


def test_a_strong_effect_shows_in_people_never_seen():
    """That nothing shows at effect 0 is tested byte for byte, see test_simulate_emotion."""
    assert auc(4.0, 0) > 0.9
