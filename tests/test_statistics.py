import itertools
import statistics
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from migstudy import metrics as m
from migstudy import statistics as s


def confusions(rng, clusters=8, classes=4, clips=12):
    """Random answers, right about half the time: (S, C, C)."""
    labels = rng.integers(0, classes, (clusters, clips))
    answers = np.where(rng.random(labels.shape) < 0.5, labels, rng.integers(0, classes, labels.shape))
    who = np.repeat(np.arange(clusters), clips)
    return m.cluster_confusions(labels.ravel(), answers.ravel(), who, classes, clusters)


def right_and_wrong(hits, clips):
    """Hits of `clips` per cluster as two-class confusions (..., 2, 2) whose top-1 is hits / clips."""
    out = np.zeros((*np.shape(hits), 2, 2))
    out[..., 0, 0], out[..., 0, 1] = hits, clips - hits
    return out


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9))
def test_seed_summary_is_scipys_t_interval(values):
    mean, sd, low, high, n = s.summarise_seeds(values, 0.9)
    assert np.isclose(mean, np.mean(values)) and np.isclose(sd, statistics.stdev(values)) and n == len(values)
    if sd > 1e-9:
        assert np.allclose((low, high), stats.ttest_1samp(values, 0).confidence_interval(0.9))
    else:
        assert np.allclose((low, high), mean)


def test_one_seed_has_no_interval():
    assert np.isnan(s.summarise_seeds([0.5])[1:4]).all()
    with pytest.raises(ValueError, match="one finite number"):
        s.summarise_seeds([0.5, np.nan])


@settings(deadline=None)
@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_is_scipys(case, confidence):
    k, n = case
    value, low, high = s.wilson_interval(k, n, confidence)
    expected = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert np.allclose((value, low, high), (k / n, *expected), atol=1e-12)


def test_wilson_of_the_best_published_emotion_accuracy():
    _, low, high = s.wilson_interval(60, 100)
    assert round(low, 2) == 0.50 and round(high, 2) == 0.69
    with pytest.raises(ValueError, match="0 <= successes <= n"):
        s.wilson_interval(3, 2)


@pytest.mark.parametrize("metric", ["top1", "mean_class_accuracy", "macro_f1"])
def test_bootstrap_equals_resampling_the_clips_of_drawn_subjects(metric):
    stack = confusions(np.random.default_rng(0))
    weights = s.bootstrap_weights(8, 40, rng=3)
    assert (weights.sum(1) == 8).all()
    slow = [float(m.METRICS[metric](np.concatenate([stack[[i] * w] for i, w in enumerate(row)]).sum(0))) for row in weights]
    assert np.allclose(s.bootstrap_metric(stack, metric, weights), slow)


def test_bootstrap_in_chunks_is_the_same(monkeypatch):
    stack, weights = confusions(np.random.default_rng(1)), s.bootstrap_weights(8, 50)
    whole = s.bootstrap_metric(stack, "macro_f1", weights)
    monkeypatch.setattr(s, "_CHUNK_BYTES", 8 * 16 * 7)
    assert np.allclose(s.bootstrap_metric(stack, "macro_f1", weights), whole)


def test_cluster_bootstrap_of_accuracy_has_the_closed_form_spread():
    rng = np.random.default_rng(2)
    hits = rng.binomial(20, rng.beta(8, 5, 60))
    value, low, high = s.cluster_bootstrap(right_and_wrong(hits, 20), "top1", 4000, rng=0)
    assert np.isclose(value, hits.mean() / 20)
    half = stats.norm.ppf(0.975) * (hits / 20).std() / np.sqrt(60)
    assert np.allclose((value - low, high - value), half, rtol=0.1)
    again = s.cluster_bootstrap(right_and_wrong(hits, 20), "top1", 4000, rng=0)
    assert again == (value, low, high)


def test_one_cluster_gives_no_interval():
    value, low, high = s.cluster_bootstrap(right_and_wrong(np.array([7]), 10), "top1")
    assert value == 0.7 and np.isnan([low, high]).all()


def test_percentiles_leave_out_undefined_replicates():
    replicates = np.array([[0.0, np.nan, 1.0], [0.5, np.nan, np.nan], [1.0, np.nan, 3.0]])
    low, high = s.percentile_interval(replicates, 0.5)
    assert np.allclose(low, [0.25, np.nan, 1.5], equal_nan=True) and np.allclose(high, [0.75, np.nan, 2.5], equal_nan=True)


def test_two_thousand_replicates_of_the_full_test_set_take_less_than_a_second():
    stack = confusions(np.random.default_rng(0), clusters=35, classes=32, clips=130)
    took = []
    for _ in range(3):  # the best of three: the machine may be busy with something else
        start = time.perf_counter()
        s.cluster_bootstrap(stack, "macro_f1", 2000)
        took.append(time.perf_counter() - start)
    assert min(took) < 1


@settings(deadline=None)
@given(st.integers(0, 14), st.integers(0, 14), st.integers(0, 5))
def test_mcnemar_by_enumeration(only_a, only_b, both):
    a = np.array([1] * only_a + [0] * only_b + [1] * both, dtype=bool)
    b = np.array([0] * only_a + [1] * only_b + [1] * both, dtype=bool)
    n = only_a + only_b
    if n == 0:
        assert s.mcnemar(a, b) == (0, 1, 0)
        return
    # all ways to share n disagreements, and how far each is from an even share
    mass, gap = stats.binom.pmf(range(n + 1), n, 0.5), abs(2 * np.arange(n + 1) - n)
    exact = min(1, mass[gap >= abs(only_a - only_b)].sum())
    mid = mass[gap > abs(only_a - only_b)].sum() + 0.5 * mass[gap == abs(only_a - only_b)].sum()
    assert np.allclose(s.mcnemar(a, b), (only_a - only_b, exact, n))
    assert np.allclose(s.mcnemar(a, b, mid_p=True), (only_a - only_b, mid, n))


def test_swap_test_by_brute_force():
    rng = np.random.default_rng(4)
    a, b = confusions(rng, 6), np.empty((6, 4, 4))
    for i in range(6):  # B answers the same clips otherwise
        b[i] = np.stack([rng.multinomial(int(row.sum()), [0.4, 0.3, 0.2, 0.1]) for row in a[i]])
    differences = []
    for swap in itertools.product([False, True], repeat=6):
        x = sum(b[i] if w else a[i] for i, w in enumerate(swap))
        y = sum(a[i] if w else b[i] for i, w in enumerate(swap))
        differences.append(float(m.macro_f1(x) - m.macro_f1(y)))
    p = np.mean(np.abs(differences) >= abs(differences[0]) - 1e-12)
    assert np.allclose(s.swap_test(a, b), (differences[0], p, 64))
    estimate = s.swap_test(a, b, n_permutations=63)  # too few for all 64 swaps: random ones
    assert estimate.n == 63 and estimate.statistic == differences[0] and abs(estimate.p_value - p) < 0.25


def test_swap_test_averages_the_metric_over_runs():
    rng = np.random.default_rng(5)
    hits = rng.binomial(20, 0.5, (2, 3, 7))
    a, b = (right_and_wrong(h, 20) for h in hits)
    one = s.swap_test(a.sum(0), b.sum(0), "top1")  # top-1 is linear, so averaging runs is pooling them
    assert np.allclose(s.swap_test(a, b, "top1"), one)
    signs = np.array(list(itertools.product([1, -1], repeat=7)))
    means = (signs @ (hits[0] - hits[1]).sum(0)) / (3 * 7 * 20)
    assert np.isclose(one.p_value, np.mean(abs(means) >= abs(one.statistic) - 1e-12))


def test_swap_test_keeps_its_level():
    rng = np.random.default_rng(6)
    rejected = 0
    for _ in range(300):
        skill = rng.beta(6, 6, 12)
        a, b = (right_and_wrong(rng.binomial(15, skill), 15) for _ in range(2))
        rejected += s.swap_test(a, b, "top1", 300, rng).p_value <= 0.1
    assert 0.05 < rejected / 300 < 0.15


def test_swap_test_refuses_other_clips():
    a = right_and_wrong(np.array([3, 4]), 10)
    with pytest.raises(ValueError, match="align the scores"):
        s.swap_test(a, right_and_wrong(np.array([3, 4]), 9))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_closed_testing_with_bonferroni(p):
    adjusted = s.holm(p)
    # Holm's procedure rejects i iff every set of hypotheses holding i is rejected by Bonferroni
    if len(p) <= 6:
        sets = [c for r in range(1, len(p) + 1) for c in itertools.combinations(range(len(p)), r)]
        brute = [max(min(1, len(c) * min(p[j] for j in c)) for c in sets if i in c) for i in range(len(p))]
        assert np.allclose(adjusted, brute)
    assert (adjusted >= np.asarray(p)).all() and (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()


def test_holm_of_a_textbook_family():
    assert np.allclose(s.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    with pytest.raises(ValueError, match="must lie in"):
        s.holm([0.1, 1.2])


def test_cluster_interval_covers_and_a_clip_interval_does_not():
    rng = np.random.default_rng(8)
    cluster = clip = 0
    for i in range(250):
        hits = rng.binomial(40, rng.beta(5, 5, 30))
        _, low, high = s.cluster_bootstrap(right_and_wrong(hits, 40), "top1", 300, rng=i)
        cluster += low <= 0.5 <= high
        _, low, high = s.wilson_interval(int(hits.sum()), 1200)
        clip += low <= 0.5 <= high
    assert 0.88 <= cluster / 250 <= 0.99
    assert clip / 250 < 0.75  # treating clips as independent is what this module is for avoiding
