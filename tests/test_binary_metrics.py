import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from scipy.special import expit
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from migstudy.emotion import binary_metrics as b
from migstudy.emotion.scaling import PlattScaling, TemperatureScaling, platt_loss, platt_targets, temperature_loss
from migstudy.emotion.selective import accuracy_at_coverage, risk_coverage


@st.composite
def predictions(draw, coarse=True):
    """Labels of both results and probabilities; coarse ones have many ties."""
    n, seed = draw(st.integers(4, 60)), draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) < rng.integers(1, n)).astype(int)
    probabilities = rng.random(n)
    return labels, np.round(probabilities, 1) if coarse and draw(st.booleans()) else probabilities


@settings(max_examples=60)
@given(predictions())
def test_metrics_are_scikit_learns(case):
    labels, p = case
    answers = p >= 0.5
    assert np.isclose(b.accuracy(labels, p), sk.accuracy_score(labels, answers))
    assert np.isclose(b.balanced_accuracy(labels, p), sk.balanced_accuracy_score(labels, answers))
    assert np.isclose(b.macro_f1(labels, p), sk.f1_score(labels, answers, average="macro", zero_division=0))
    assert np.isclose(b.auc(labels, p), sk.roc_auc_score(labels, p))
    assert np.isclose(b.brier(labels, p), sk.brier_score_loss(labels, p))
    assert np.isclose(b.log_loss(labels, p), sk.log_loss(labels, p))
    fpr, tpr, _ = sk.roc_curve(labels, p, drop_intermediate=False)
    assert np.allclose(b.roc_curve(labels, p), (fpr, tpr))


@settings(max_examples=30)
@given(predictions(), st.integers(0, 999))
def test_weights_count_a_video_several_times_and_batches_are_single_calls(case, seed):
    labels, p = case
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 4, (5, len(p)))
    dealt = np.stack([rng.permutation(labels) for _ in range(5)])
    moved = rng.permuted(np.repeat(p[None], 5, 0), axis=1)
    for name, metric in b.METRICS.items():
        batch = metric(labels, p, 0.4, weights)
        for row, value in zip(weights, batch, strict=True):
            if name == "auc" and len(set(np.repeat(labels, row))) < 2:
                assert np.isnan(value)
            elif row.sum():
                assert np.isclose(value, metric(np.repeat(labels, row), np.repeat(p, row), 0.4)), name
        assert np.allclose(metric(dealt, p), [metric(one, p) for one in dealt]), name
        assert np.allclose(metric(labels, moved), [metric(labels, one) for one in moved]), name


@settings(max_examples=30)
@given(predictions(coarse=False), st.sampled_from([3, 5, 10]), st.sampled_from(["mass", "width"]))
def test_reliability_and_its_error_are_scikit_learns(case, n_bins, strategy):
    labels, p = case
    curve = b.reliability_curve(labels, p, n_bins, strategy)
    assert curve.count.sum() == len(p)
    if strategy == "width" or len(p) % n_bins == 0:  # else the two cut between different videos
        share, mean = calibration_curve(labels, p, n_bins=n_bins, strategy={"mass": "quantile", "width": "uniform"}[strategy])
        assert np.allclose(curve.share, share) and np.allclose(curve.mean, mean)
    assert ((curve.low <= curve.share) & (curve.share <= curve.high)).all()
    if strategy == "mass":
        assert np.ptp(curve.count) <= 1 or len(p) < n_bins
    expected = (np.abs(curve.share - curve.mean) * curve.count).sum() / len(p)
    assert np.isclose(b.calibration_error(labels, p, n_bins, strategy), expected)


def test_right_probabilities_have_the_calibration_error_that_few_videos_give():
    rng = np.random.default_rng(0)
    p = expit(rng.normal(0, 1.5, 100))
    expected = b.expected_calibration_error(p, 5, draws=4000)
    drawn = [float(b.calibration_error(rng.random(100) < p, p, 5)) for _ in range(400)]
    assert abs(np.mean(drawn) - expected.mean()) < 0.005 and expected.mean() > 0.05
    assert b.calibration_error(np.repeat([0, 1], 50), np.repeat([0.0, 1.0], 50), 5) == 0
    assert np.isclose(b.calibration_error(np.repeat([0, 1], 50), np.repeat([1.0, 0.0], 50), 5), 1)


def test_nonsense_is_refused():
    for call, told in (
        (lambda: b.accuracy([1, 0], [0.2]), "one of each"), (lambda: b.auc([1, 0], [0.2, 1.3]), r"lie in \[0, 1\]"),
        (lambda: b.brier([1, -1], [0.2, 0.3]), "unknown result"), (lambda: b.get_metric("f2"), "choose one of"),
        (lambda: b.calibration_error([1, 0], [0.2, 0.3], 5, "size"), "'mass' or 'width'"),
        (lambda: b.choose_threshold([1, 1], [0.2, 0.3]), "won and lost"),
        (lambda: accuracy_at_coverage([1], [0.3], 0), "coverage"),
        (lambda: TemperatureScaling.fit([1.0, 2.0], [1, 1]), "won (.*) and lost"),
        (lambda: PlattScaling.fit([1.0], [1, 0]), "one finite"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=told):
            call()


@settings(max_examples=40)
@given(predictions())
def test_no_threshold_beats_the_chosen_one_and_ties_go_to_one_half(case):
    labels, p = case
    chosen = b.choose_threshold(labels, p)
    best = b.balanced_accuracy(labels, p, np.append(np.unique(p), 2.0)[:, None]).max()
    assert np.isclose(b.balanced_accuracy(labels, p, chosen), best)
    if np.isclose(b.balanced_accuracy(labels, p), best):
        assert chosen == 0.5


def test_threshold_ties_go_to_the_lower_of_two_equally_near():
    # answering from 0.3 or from 0.7 on is equally good; one half is worse
    assert np.isclose(b.choose_threshold([0, 1, 0, 1], [0.2, 0.4, 0.6, 0.8]), 0.3)


@settings(max_examples=30)
@given(st.integers(0, 9999), st.floats(0.2, 6))
def test_temperature_is_the_minimum_and_its_slope_is_right(seed, scale):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, 60)
    labels = (rng.random(60) < expit(logits / 2)).astype(float)
    labels[:2] = 0, 1
    loss = lambda x: temperature_loss(x[0], logits, labels)[0]
    assert optimize.check_grad(loss, lambda x: [temperature_loss(x[0], logits, labels)[1]], [0.7]) < 1e-6
    found = TemperatureScaling.fit(logits, labels)
    options = {"bounds": (0.05, 20), "method": "bounded", "options": {"xatol": 1e-9}}
    other = optimize.minimize_scalar(lambda inverse: loss([inverse]), **options)
    assert loss([1 / found.temperature]) <= other.fun + 1e-9
    assert np.array_equal(found(logits) >= 0.5, logits >= 0) and found.temperature > 0


def test_temperature_is_found_again_and_bounded():
    rng = np.random.default_rng(1)
    truth = rng.normal(0, 1.5, 20_000)
    labels = (rng.random(20_000) < expit(truth)).astype(int)
    assert abs(TemperatureScaling.fit(3 * truth, labels).temperature - 3) < 0.15
    assert TemperatureScaling.fit(np.array([-1.0, 1.0]), np.array([0, 1])).temperature == pytest.approx(0.05)
    assert TemperatureScaling.fit(np.array([1.0, -1.0]), np.array([0, 1])).temperature == pytest.approx(20)


@settings(max_examples=20)
@given(st.integers(0, 9999), st.floats(0.2, 5), st.floats(-2, 2))
def test_platt_is_the_minimum_and_its_gradient_is_right(seed, slope, shift):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, slope, 80)
    labels = (rng.random(80) < expit(logits + shift)).astype(float)
    labels[:2] = 0, 1
    targets = platt_targets(labels)
    parts = [lambda x, i=i: platt_loss(x, logits, targets)[i] for i in range(2)]
    assert optimize.check_grad(*parts, [0.7, -0.3]) < 1e-6
    found = PlattScaling.fit(logits, labels)
    options = {"xatol": 1e-9, "fatol": 1e-12, "maxiter": 5000}
    other = optimize.minimize(parts[0], [1.0, 0.0], method="Nelder-Mead", options=options)
    if other.x[0] > 0:
        assert np.allclose((found.slope, found.intercept), other.x, atol=1e-3)
    assert found.slope >= 0 and np.allclose(found(logits), expit(found.slope * logits + found.intercept))


def test_risk_and_coverage_by_hand():
    labels, p = np.array([1, 0, 1, 0, 1]), np.array([0.9, 0.2, 0.4, 0.55, 0.52])  # right, right, wrong, wrong, right
    curve = risk_coverage(labels, p)
    # surest first: 0.9, 0.2, 0.4, 0.55, 0.52
    assert np.allclose(curve.risk, [0, 0, 1 / 3, 2 / 4, 2 / 5]) and np.allclose(curve.coverage, np.arange(1, 6) / 5)
    assert np.isclose(curve.aurc, np.mean(curve.risk)) and np.isclose(curve.best, np.mean([0, 0, 0, 1 / 4, 2 / 5]))
    assert np.isclose(accuracy_at_coverage(labels, p, 0.5), 2 / 3) and np.isclose(accuracy_at_coverage(labels, p, 0.6), 2 / 3)
    assert np.isclose(risk_coverage(labels, p, 0.45).risk[-1], 2 / 5)


@settings(max_examples=30)
@given(predictions())
def test_a_confidence_that_says_nothing_gains_nothing(case):
    labels, p = case
    flat = risk_coverage(labels, np.where(p >= 0.5, 0.7, 0.3))
    error = 1 - float(b.accuracy(labels, p))
    assert np.allclose(flat.risk, error) and np.isclose(flat.aurc, error) and flat.best <= flat.aurc + 1e-12
    assert np.isclose(risk_coverage(labels, p).risk[-1], error)
    order = np.random.default_rng(0).permutation(len(p))
    assert np.allclose(risk_coverage(labels[order], p[order]).risk, risk_coverage(labels, p).risk)
