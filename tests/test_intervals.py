"""Intervals over seeds and subjects: closed forms, slow references, coverage on simulated studies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit, logit
from test_statistics import confusions, right_and_wrong

from migstudy import intervals as iv
from migstudy import metrics as m
from migstudy.statistics import swap_test, wilson_interval


def studies(rng, subjects, seeds, effect, seed_sd, clips=20):
    """Two configurations on the same people: subject skill, subject x configuration, seed and clip noise."""
    skill, taste = rng.normal(0, 0.1, subjects), rng.normal(0, 0.04, subjects)
    out = []
    for shift in (effect + taste, 0.0 * taste):
        p = np.clip(0.55 + shift + skill + rng.normal(0, seed_sd, (seeds, 1)), 0, 1)
        out.append(right_and_wrong(rng.binomial(clips, p), clips))
    return out


def on_log_odds(values, confidence):
    """Student's t-interval of a mean, its half-width carried to the log odds by their derivative."""
    mean = float(np.mean(values))
    half = stats.ttest_1samp(values, 0).confidence_interval(confidence).high - mean
    return expit(logit(mean) + np.array([-half, half]) / (mean * (1 - mean)))


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=2, max_size=30), st.integers(1, 3))
def test_interval_of_equal_shares_is_the_t_interval_of_their_mean(hits, runs):
    shares = np.array(hits) / 20
    stack = right_and_wrong(np.array(hits), 20)
    value, low, high = iv.cluster_interval(stack if runs == 1 else np.stack([stack] * runs), "top1", 0.9)
    assert np.isclose(value, shares.mean()) and 0 <= low <= value <= high <= 1
    if len(set(hits)) > 1:
        assert np.allclose((low, high), on_log_odds(shares, 0.9))
    else:  # each person is a trial
        z = stats.norm.ppf(0.95)
        at_bounds = [(value - x) ** 2 * len(hits) - z * z * x * (1 - x) for x in (low, high)]
        assert np.allclose(at_bounds, 0, atol=1e-9), "Wilson's bounds are where the score test turns"
        if value in (0, 1):
            assert np.allclose((low, high), wilson_interval(round(float(value)) * len(hits), len(hits), 0.9)[1:])


def test_interval_of_runs_that_people_do_not_matter_to_is_the_t_interval_of_their_mean():
    hits = np.repeat(np.array([11, 14, 20])[:, None], 400, 1)
    _, low, high = iv.cluster_interval(right_and_wrong(hits, 30), "top1")
    assert np.allclose((low, high), on_log_odds(np.array([11, 14, 20]) / 30, 0.95))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from(["top1", "macro_f1", "mean_class_accuracy"]), st.integers(2, 4))
def test_seeds_never_make_an_interval_shorter_than_people_do(seed, metric, runs):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 9))
    stack = np.stack([confusions(rng, count) for _ in range(runs)])
    value, low, high = iv.cluster_interval(stack, metric)
    mean = iv.leave_one_out(stack, metric)[1].mean(0)
    assert 0 <= low <= value <= high <= 1
    half = stats.t.ppf(0.975, count - 1) * np.sqrt((count - 1) * mean.var())
    alone = expit(logit(value) + np.array([-half, half]) / (value * (1 - value)))
    assert low <= alone[0] + 1e-12 and high >= alone[1] - 1e-12


def test_a_class_never_found_is_as_uncertain_as_the_people_who_show_it_are_few():
    stack = np.zeros((9, 3, 3))
    stack[:, 0, 0], stack[:, 1, 1], stack[::2, 1, 0], stack[:3, 2, 0] = 5, 3, 1, 1
    for many in (stack, np.stack([stack, stack])):
        value, low, high = iv.cluster_interval(many, m.recall)
        assert value[[0, 2]].tolist() == [1, 0] and 0 < low[1] < value[1] < high[1] < 1
        assert np.allclose((low[0], high[0]), wilson_interval(9, 9)[1:])
        assert np.allclose((low[2], high[2]), wilson_interval(0, 3)[1:]), "three people show it"
    right, wrong = np.zeros((2, 1, 4, 2, 2))
    right[..., 0, 0], wrong[..., 0, 1] = 5, 5
    assert np.isnan(iv.paired_difference(right, wrong, "top1")[1:]).all(), "four people are no certainty"


def test_recall_of_a_rare_class_is_covered():
    """A class of one clip in two people: shares near 0 and 1, where an interval that is even on both sides fails."""
    rng, held, even, asked = np.random.default_rng(15), 0, 0, 0
    for _ in range(500):
        clips = rng.poisson(0.5, 20)
        if (clips > 0).sum() < 2:
            continue
        hits, stack = rng.binomial(clips, rng.beta(4, 1, 20)), np.zeros((20, 2, 2))
        stack[:, 0, 0], stack[:, 0, 1], stack[:, 1, 1] = hits, clips - hits, 10
        value, low, high = (x[0] for x in iv.cluster_interval(stack, m.recall))
        without = iv.leave_one_out(stack, m.recall)[1][:, 0]
        half = stats.t.ppf(0.975, 19) * np.sqrt(19 * without.var())
        asked, held, even = asked + 1, held + (low <= 0.8 <= high), even + (abs(value - 0.8) <= half)
    assert 0.93 <= held / asked <= 0.99 and even / asked < 0.9


@pytest.mark.parametrize("metric", ["top1", "mean_class_accuracy", "macro_f1"])
def test_leaving_one_out_by_leaving_one_out(metric):
    stack = confusions(np.random.default_rng(0))
    value, without = iv.leave_one_out(stack, metric)
    slow = [float(m.METRICS[metric](np.delete(stack, i, axis=0).sum(0))) for i in range(len(stack))]
    assert np.allclose(without, slow) and np.isclose(value, m.METRICS[metric](stack.sum(0)))


def test_the_mean_of_runs_and_vector_metrics():
    runs = np.stack([confusions(np.random.default_rng(i)) for i in range(3)])
    value, low, high = iv.cluster_interval(runs, "macro_f1")
    assert np.isclose(value, m.macro_f1(runs.sum(1)).mean()) and low < value < high
    values, lows, highs = iv.cluster_interval(runs[0], m.recall)
    for c in range(4):
        one = iv.cluster_interval(runs[0], lambda x, c=c: m.recall(x)[..., c])
        assert np.allclose((values[c], lows[c], highs[c]), one)


def test_one_subject_gives_no_interval():
    value, low, high = iv.cluster_interval(right_and_wrong(np.array([7]), 10), "top1")
    assert value == 0.7 and np.isnan([low, high]).all()
    assert np.isnan(iv.paired_difference(*(right_and_wrong(np.array([[h]]), 10) for h in (7, 5)), "top1")[1:]).all()


def anova(table):
    """Mean squares of a crossed two-way table, in loops."""
    rows, columns = table.shape
    mean = table.mean()
    between_rows = columns * sum((table[i].mean() - mean) ** 2 for i in range(rows)) / (rows - 1)
    between_columns = rows * sum((table[:, j].mean() - mean) ** 2 for j in range(columns)) / (columns - 1)
    rest = sum((table[i, j] - table[i].mean() - table[:, j].mean() + mean) ** 2 for i in range(rows) for j in range(columns))
    return between_rows, between_columns, rest / ((rows - 1) * (columns - 1))


def test_variance_parts_are_those_of_the_analysis_of_variance():
    hits = np.random.default_rng(1).binomial(50, np.random.default_rng(2).uniform(0.2, 0.8, (4, 9)))
    seed, subject, residual, seeds, subjects = iv.variance_parts(right_and_wrong(hits, 50), "top1")
    rows, columns, rest = anova(hits / 50)
    assert (seeds, subjects) == (4, 9) and np.isclose(residual, rest)
    assert np.isclose(seed, max(rows - rest, 0) / 9) and np.isclose(subject, max(columns - rest, 0) / 4)
    with pytest.raises(ValueError, match="two of each"):
        iv.variance_parts(right_and_wrong(hits[:1], 50), "top1")


def test_variance_parts_find_what_was_planted():
    rng = np.random.default_rng(3)
    found = []
    for _ in range(200):
        p = 0.5 + rng.normal(0, 0.05, (5, 1)) + rng.normal(0, 0.1, 20)
        found.append(iv.variance_parts(right_and_wrong(rng.binomial(400, np.clip(p, 0, 1)), 400), "top1")[:3])
    assert np.allclose(np.mean(found, 0), [0.05**2, 0.1**2, 0.24 / 400], rtol=0.12)


def test_difference_of_single_runs_is_the_paired_t_interval():
    rng = np.random.default_rng(4)
    a, b = rng.binomial(30, 0.6, (2, 1, 12))
    effect = iv.paired_difference(right_and_wrong(a, 30), right_and_wrong(b, 30), "top1")
    expected = stats.ttest_rel(a[0] / 30, b[0] / 30)
    assert np.allclose(effect, ((a - b).mean() / 30, *expected.confidence_interval(0.95)))


def test_difference_of_seeds_that_people_do_not_matter_to_is_welchs():
    seeds = np.array([[10, 14, 19], [9, 9, 12]])
    a, b = (np.repeat(s[:, None], 500, 1) for s in seeds)  # every subject the same: only seeds vary
    effect = iv.paired_difference(right_and_wrong(a, 30), right_and_wrong(b, 30), "top1")
    expected = stats.ttest_ind(seeds[0] / 30, seeds[1] / 30, equal_var=False)
    assert np.allclose(effect[1:], expected.confidence_interval(0.95))
    pairs = iv.paired_difference(right_and_wrong(a, 30), right_and_wrong(b, 30), "top1", paired_seeds=True)
    assert np.allclose(pairs[1:], stats.ttest_rel(*seeds / 30).confidence_interval(0.95))


@pytest.mark.parametrize("subjects, seeds, seed_sd", [(30, 5, 0.02), (10, 3, 0.02), (30, 3, 0.05), (7, 3, 0.03), (7, 3, 0.0)])
def test_interval_covers_the_true_effect(subjects, seeds, seed_sd):
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(400):
        low, high = iv.paired_difference(*studies(rng, subjects, seeds, 0.05, seed_sd), "top1")[1:]
        covered += low <= 0.05 <= high
    assert 0.93 - 0.02 <= covered / 400 <= 0.97 + 0.015  # 95 +- 2 %, and what 400 studies leave open


def test_difference_adds_seed_spread_and_is_paired_over_subjects():
    a, b = studies(np.random.default_rng(9), 25, 4, 0.0, 0.08)
    width = lambda e: e[-1] - e[-2]
    several, alone = iv.paired_difference(a, b, "top1"), iv.paired_difference(a[:1], b[:1], "top1")
    assert np.isclose(several.value, m.top1(a.sum(1)).mean() - m.top1(b.sum(1)).mean()) and width(several) > width(alone)
    # subjects that are hard for both cancel
    assert width(alone) < width(iv.cluster_interval(a[0], "top1")) + width(iv.cluster_interval(b[0], "top1"))
    assert iv.paired_difference(a, a, "top1", paired_seeds=True) == (0, 0, 0)


def test_difference_refuses_what_does_not_fit():
    a, b = studies(np.random.default_rng(0), 5, 3, 0.0, 0.0)
    with pytest.raises(ValueError, match="same clusters"):
        iv.paired_difference(a, b[:, :4])
    with pytest.raises(ValueError, match="as many runs on both sides"):
        iv.paired_difference(a, b[:2], paired_seeds=True)


def test_the_test_of_an_effect_and_its_interval_agree():
    rng = np.random.default_rng(12)
    a, b = rng.binomial(30, 0.6, (2, 1, 12))
    found = iv.difference_test(right_and_wrong(a, 30), right_and_wrong(b, 30), "top1")
    expected = stats.ttest_rel(a[0] / 30, b[0] / 30)
    assert np.allclose(found, (expected.statistic, expected.pvalue, 12)), "one run each: the paired t-test of people"
    hits = np.array([[10, 14, 19], [9, 9, 12]])
    a, b = (right_and_wrong(np.repeat(s[:, None], 500, 1), 30) for s in hits)
    welch = stats.ttest_ind(hits[0], hits[1], equal_var=False)
    assert np.allclose(iv.difference_test(a, b, "top1")[:2], welch), "people who are all alike: Welch's test of seeds"
    paired = iv.difference_test(a, b, "top1", paired_seeds=True)
    assert np.allclose(paired[:2], stats.ttest_rel(hits[0], hits[1]))
    for _ in range(50):
        a, b = studies(rng, 9, 3, rng.normal(0, 0.1), 0.05)
        level = rng.uniform(0.5, 0.99)
        _, low, high = iv.paired_difference(a, b, "top1", level)
        assert (low <= 0 <= high) == (iv.difference_test(a, b, "top1").p_value >= 1 - level)
    assert iv.difference_test(a, a, "top1")[:2] == (0, 1)
    right, wrong = np.zeros((2, 1, 4, 2, 2))
    right[..., 0, 0], wrong[..., 0, 1] = 5, 5
    assert np.isnan(iv.difference_test(right, wrong, "top1").p_value), "four people are no certainty"


def test_seeds_alone_make_no_effect():
    """Two recipes that differ in nothing: the answers of two lots of runs do, and only the test over seeds is not misled."""
    rng, over_seeds, these_runs = np.random.default_rng(13), 0, 0
    for _ in range(300):
        share = np.clip(0.55 + rng.normal(0, 0.08, (2, 3, 1)), 0, 1)
        a, b = right_and_wrong(rng.binomial(20, share, (2, 3, 20)), 20)
        over_seeds += iv.difference_test(a, b, "top1").p_value <= 0.05
        these_runs += swap_test(a, b, "top1", 199, rng).p_value <= 0.05
    assert over_seeds / 300 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300) and these_runs / 300 > 0.3


def test_paired_bootstrap_finds_effects_and_keeps_its_level():
    rng = np.random.default_rng(10)
    rejected = 0
    for i in range(300):
        skill = rng.beta(6, 6, 12)
        a, b = (right_and_wrong(rng.binomial(15, skill), 15) for _ in range(2))
        rejected += iv.paired_bootstrap(a, b, "top1", 400, i).p_value <= 0.1
    assert 0.05 < rejected / 300 < 0.15
    a, b = studies(rng, 12, 3, 0.2, 0.0)
    test = iv.paired_bootstrap(a, b, "top1")
    assert test.p_value < 0.01 and np.isclose(test.statistic, m.top1(a.sum(1)).mean() - m.top1(b.sum(1)).mean())
    assert iv.paired_bootstrap(a, a, "top1").p_value == 1


@pytest.mark.parametrize(("df", "power", "tests"), [(6, 0.8, 1), (34, 0.8, 4), (12.5, 0.9, 1)])
def test_minimum_detectable_difference_is_found_as_often_as_promised(df, power, tests):
    shift = iv.minimum_detectable_difference(2.0, df, power, 0.05, tests)
    rng = np.random.default_rng(0)
    t = (rng.normal(shift / 2, 1, 200_000)) / np.sqrt(rng.chisquare(df, 200_000) / df)
    assert abs((np.abs(t) > stats.t.ppf(1 - 0.05 / tests / 2, df)).mean() - power) < 0.005


def test_minimum_detectable_difference_of_many_people_is_the_textbooks():
    assert np.isclose(iv.minimum_detectable_difference(1, 1e6), stats.norm.ppf(0.975) + stats.norm.ppf(0.8), rtol=1e-3)
    assert iv.minimum_detectable_difference(0, 5) == 0 and np.isnan(iv.minimum_detectable_difference(float("nan"), 5))
    with pytest.raises(ValueError, match="power"):
        iv.minimum_detectable_difference(1, 5, power=0.01)


def test_more_seeds_settle_what_seeds_blur_and_nothing_else():
    found = iv.Uncertainty(effect=0.04, subject=0.0, seed=(0.03**2, 0.03**2), seeds=(3, 3), subjects=20)
    needed = iv.seeds_to_settle(found)
    half = lambda k: stats.t.ppf(0.975, 2 * (k - 1)) * 0.03 * np.sqrt(2 / k)
    assert half(needed) < 0.04 <= half(needed - 1)
    assert iv.seeds_to_settle(found._replace(subject=0.02**2)) is None  # people blur it more than the effect is large
    assert iv.seeds_to_settle(found._replace(subject=0.02**2), difference=0.2) is not None
    curve = iv.half_width_curve(found, 12)
    assert (np.diff(curve[:, 1]) < 0).all() and list(curve[:, 0]) == list(range(2, 13))


def test_seeds_predicted_are_seeds_needed():
    rng = np.random.default_rng(11)
    few, many = [], []
    for _ in range(150):
        found = iv.uncertainty(*studies(rng, 15, 4, 0.05, 0.04), "top1")
        few.append(found.standard_error(12)[0] ** 2)
        many.append(iv.uncertainty(*studies(rng, 15, 12, 0.05, 0.04), "top1").standard_error()[0] ** 2)
    assert np.isclose(np.mean(few), np.mean(many), rtol=0.25)  # a part below 0 counts as 0, so few seeds predict a little too much
