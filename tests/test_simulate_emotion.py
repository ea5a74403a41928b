"""What winning and losing do in the simulator: nothing at effect 0, the documented table in proportion otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import CSV_CLASSES, QUICK

from migstudy.classes import IMIGUE_CLASSES
from migstudy.simulate import PROFILES, simulate_video
from migstudy.simulate.body import TRUNK
from migstudy.simulate.emotion import _DAY, EXPRESSION, MANNER, NEUTRAL, POSTURE, RATES, draw_mood, mood_of
from migstudy.simulate.face import ACTION_UNITS
from migstudy.simulate.plan import make_plan
from migstudy.simulate.subject import draw_subject

SMALL = replace(QUICK, subjects=(6, 1, 1), videos_per_subject=1, clips=(60, 8, 8), min_clips=(0, 0, 0))


def both(effect: float, seed: int = 0, video: int = 0):
    """The same video won and lost, every draw alike."""
    config = replace(SMALL, emotion_effect=effect)
    plan, subjects = make_plan(config, seed)
    plan = plan[video]
    return tuple(simulate_video(replace(plan, won=won), subjects[plan.subject], config, seed) for won in (True, False))


def test_tables_name_what_exists():
    assert set(RATES) <= set(CSV_CLASSES) and set(POSTURE) <= set(TRUNK) and set(EXPRESSION) <= set(ACTION_UNITS)
    assert set(MANNER) | set(POSTURE) | set(EXPRESSION) <= set(_DAY) <= {*MANNER, *TRUNK, *ACTION_UNITS}
    assert NEUTRAL.amounts() == dict.fromkeys(MANNER, 0.0) and not NEUTRAL.rates.any()


@pytest.mark.parametrize("seed", [0, 1])
def test_no_trace_of_the_result_at_effect_0(seed):
    won, lost = both(0.0, seed)
    assert won.rows == lost.rows
    for one, other in (
        (won.keypoints, lost.keypoints), (won.scores, lost.scores), (won.motion.joints, lost.motion.joints),
        *((won.motion.channels[name], lost.motion.channels[name]) for name in won.motion.channels),
    ):  # fmt: skip
        assert one.tobytes() == other.tobytes()


def test_no_trace_of_the_result_in_the_plan_at_effect_0():
    config = replace(SMALL, emotion_effect=0.0)
    weights = {mood_of(won, config).rates.tobytes() for won in (True, False)}
    assert weights == {np.zeros(len(IMIGUE_CLASSES)).tobytes()}


@given(effect=st.floats(0, 3), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_everything_is_linear_in_the_effect(effect, seed):
    def difference(size: float) -> np.ndarray:
        config = replace(QUICK, emotion_effect=size)
        lost, won = (draw_mood(result, config, np.random.default_rng(seed)) for result in (False, True))
        assert lost.won is False and won.won is True and list(lost.amounts()) == list(won.amounts())
        return np.concatenate([lost.rates - won.rates, [lost.amounts()[n] - won.amounts()[n] for n in lost.amounts()]])

    np.testing.assert_allclose(difference(effect), effect * difference(1.0), atol=1e-12)


def test_effect_1_is_the_documented_table():
    lost, won = (mood_of(result, replace(QUICK, emotion_effect=1.0)) for result in (False, True))
    table = MANNER | POSTURE | EXPRESSION
    assert {n: round(lost.amounts()[n] - won.amounts()[n], 12) for n in table} == table
    rates = dict(zip((g.csv_class for g in IMIGUE_CLASSES), lost.rates - won.rates))
    assert {c: round(float(r), 12) for c, r in rates.items() if r} == RATES


def test_losers_slump_frown_and_gesture_more_slowly():
    changes: dict[str, list] = {}
    for video in range(4):
        won, lost = both(2.0, video=video)
        for name in (*POSTURE, *EXPRESSION):
            change = lost.motion.channels[name].mean() - won.motion.channels[name].mean()
            changes.setdefault(name, []).append(change)
        lengths = [np.mean([end - start + 1 for _, start, end in v.rows]) for v in (won, lost)]
        changes.setdefault("length", []).append(lengths[1] - lengths[0])
    # speech is shorter in losers, so units of the mouth also change with the share of talking
    for name in (*POSTURE, "inner_brow_up", "lid_tight", "lip_corner_down", "smile"):
        assert np.mean(changes[name]) * (POSTURE | EXPRESSION)[name] > 0, name
    assert np.mean(changes["length"]) > 0


def test_days_differ_whatever_the_result():
    """Videos of one person differ, and by as much in won as in lost ones."""
    config = replace(QUICK, emotion_effect=0.0)
    days = [draw_mood(True, config, np.random.default_rng(s)).amounts() for s in range(400)]
    for name, sigma in _DAY.items():
        assert 0.85 < np.std([day[name] for day in days]) / sigma < 1.15, name
    alike = draw_mood(True, replace(config, subject_style=0.0), np.random.default_rng(0))
    assert not any(alike.amounts().values())


def test_faces_at_rest_differ_between_people():
    people = [draw_subject(np.random.default_rng(s), QUICK, 32) for s in range(30)]
    smiles = [person.expression["smile"] for person in people]
    assert 0.03 < np.std(smiles) < 0.12 and set(people[0].expression) <= set(ACTION_UNITS)
    assert set(people[0].posture) <= set(TRUNK)
    shapes = np.stack([person.size.face - person.size.face.mean(0) for person in people])
    assert 0.0005 < np.std(shapes, axis=0).mean() < 0.01


def test_share_of_left_handers_is_the_knob():
    def share(knob: float) -> float:
        config = replace(PROFILES["quick"], left_handed=knob)
        return np.mean([draw_subject(np.random.default_rng(s), config, 32).left_handed for s in range(400)])

    assert share(0.0) == 0 and share(1.0) == 1 and abs(share(0.12) - 0.12) < 0.06
    one, other = (draw_subject(np.random.default_rng(7), replace(QUICK, left_handed=k), 32) for k in (0.0, 1.0))
    assert one.tempo == other.tempo and (one.size.face == other.size.face).all() and (one.habits == other.habits).all()


@pytest.mark.parametrize("profile", ["smoke", "quick", "paper"])
def test_nobody_always_wins_or_loses(profile):
    """Else the person would give the result away."""
    plan, _ = make_plan(replace(PROFILES[profile], **({"videos_per_subject": 2} if profile == "smoke" else {})), 0)
    results: dict[int, list[bool]] = {}
    for p in plan:
        results.setdefault(p.subject, []).append(p.won)
    for won in results.values():
        assert len(won) == 1 or abs(2 * sum(won) - len(won)) <= 1
