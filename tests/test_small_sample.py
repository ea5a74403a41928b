import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from migstudy.emotion import binary_metrics as b
from migstudy.emotion.binary_power import design_effect, detectable_difference, discordant_share, mdd_note
from migstudy.emotion.small_sample import (
    chance_by_learning,
    chance_test,
    delong_test,
    difference_interval,
    exchange_results,
    make_answers,
    mean_metric,
    p_against,
    subject_bootstrap,
    subject_interval,
    swap_test,
)
from migstudy.statistics import bootstrap_weights, mcnemar, wilson_interval


def drawn(rng, people=20, each=4, effect=0.0, person=0.0, luck=0.0, runs=1):
    """Answers of a model. effect: log odds of won over lost; person: sd of what a face adds; luck: sd of who wins how often."""
    who = np.repeat(np.arange(people), each)
    strength = rng.normal(0, 1, people)
    labels = (rng.random(len(who)) < 1 / (1 + np.exp(-luck * strength[who]))).astype(int)
    labels[:2] = 0, 1
    logits = effect * (labels - 0.5) + person * rng.normal(0, 1, people)[who] + rng.normal(0, 1, (runs, len(who)))
    return make_answers(labels, 1 / (1 + np.exp(-logits)), who)


def test_bootstrap_is_of_resampled_people_written_out():
    answers = drawn(np.random.default_rng(0), 7, 3, 1.0, 0.5, runs=2)
    weights, values = bootstrap_weights(7, 60, 5), []
    for row in weights:
        videos = np.concatenate([np.flatnonzero(answers.clusters == who) for who in np.repeat(np.arange(7), row)])
        values.append(np.mean([b.auc(answers.labels[videos], p[videos]) for p in answers.probabilities]))
    value, low, high = subject_bootstrap(answers, "auc", 60, 0.9, 5)
    assert np.allclose((low, high), np.nanquantile(values, (0.05, 0.95))) and np.isclose(value, mean_metric(answers, "auc"))
    assert np.isnan(subject_bootstrap(make_answers([1, 0], [0.3, 0.4], ["x", "x"]), "auc")[1:]).all()


def test_bootstrap_of_one_video_a_person_is_as_wide_as_wilson():
    answers = drawn(np.random.default_rng(1), 100, 1, 1.0)
    right = round(float(mean_metric(answers, "accuracy")) * 100)
    assert np.allclose(subject_bootstrap(answers, "accuracy", 4000)[1:], wilson_interval(right, 100)[1:], atol=0.02)


def test_jackknife_interval_covers_with_few_people_where_the_bootstrap_does_not():
    rng, covered = np.random.default_rng(11), []
    truth = float(mean_metric(drawn(rng, 20_000, 3, 3.5, 0.7), "auc"))
    for _ in range(150):
        answers = drawn(rng, 12, 3, 3.5, 0.7)
        intervals = subject_interval(answers, "auc"), subject_bootstrap(answers, "auc", 200, rng=rng)
        covered.append([low <= truth <= high for _, low, high in intervals])
    jackknife, bootstrap = np.mean(covered, axis=0)
    assert jackknife > 0.9 and bootstrap < 0.88


def test_interval_of_one_video_a_person_is_the_delta_method_and_that_of_a_perfect_model_wilsons():
    answers = drawn(np.random.default_rng(12), 80, 1, 1.0)
    value, low, high = subject_interval(answers, "accuracy")
    half = stats.t.ppf(0.975, 79) / np.sqrt(79 * value * (1 - value))
    assert np.allclose(np.log([low / (1 - low), high / (1 - high)]) - np.log(value / (1 - value)), [-half, half])
    perfect = make_answers(answers.labels, 0.1 + 0.8 * answers.labels, answers.clusters)
    assert np.allclose(subject_interval(perfect, "auc"), wilson_interval(80, 80))
    assert subject_interval(perfect, "log_loss").low > 0
    assert np.isnan(subject_interval(make_answers([1, 0], [0.3, 0.4], ["x", "x"]), "auc")[1:]).all()
    value, low, high = subject_interval(drawn(np.random.default_rng(13), 9, 3, 0.5), "log_loss")
    assert 0 < low < value < high and np.isclose(low * high, value**2)


@settings(max_examples=40)
@given(st.integers(0, 9999), st.integers(1, 8), st.sampled_from(["subject", "within", "video"]))
def test_exchange_keeps_what_it_must(seed, people, unit):
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.repeat(np.arange(people), rng.integers(1, 5, people)))
    labels = rng.integers(0, 2, len(who))
    dealt = exchange_results(labels, who, 20, unit, seed)
    assert dealt.shape == (20, len(who)) and (dealt.sum(1) == labels.sum()).all()
    won = lambda rows: np.stack([rows[:, who == one].sum(1) for one in range(people)], axis=1)
    sizes = np.bincount(who, minlength=people)
    if unit == "within":
        assert (won(dealt) == won(labels[None])).all()
    if unit == "subject":  # how often each of the people with as many videos has won is dealt among them
        for size in np.unique(sizes):
            assert (np.sort(won(dealt)[:, sizes == size], axis=1) == np.sort(won(labels[None])[:, sizes == size], axis=1)).all()
    assert np.array_equal(dealt, exchange_results(labels, who, 20, unit, seed))


def test_exchange_reaches_every_arrangement_equally_often():
    """Two people of two videos, won (1, 0) and (1, 1): 2 x 2 ways, all as likely."""
    dealt = exchange_results(np.array([1, 0, 1, 1]), np.array([0, 0, 1, 1]), 8000, "subject")
    rows, counts = np.unique(dealt, axis=0, return_counts=True)
    assert len(rows) == 4 and stats.chisquare(counts).pvalue > 1e-3
    with pytest.raises(ValueError, match="choose one of subject"):
        exchange_results(np.array([1]), np.array([0]), 1, "clip")


def test_chance_test_of_one_video_a_person_is_mann_and_whitneys():
    answers = drawn(np.random.default_rng(2), 30, 1, 0.7)
    p = answers.probabilities[0]
    found = chance_test(answers, "auc", n_permutations=20_000)
    exact = stats.mannwhitneyu(p[answers.labels == 1], p[answers.labels == 0], alternative="greater").pvalue
    assert abs(found.p_value - exact) < 0.01 and abs((found.low + found.high) / 2 - 0.5) < 0.02
    assert np.isclose(p_against(0.2, np.array([0.1, 0.3, 0.4]), "brier"), 2 / 4) and found.arrangements > 19_000


def rejections(unit, trials, seed, **traits):
    rng = np.random.default_rng(seed)
    p = [chance_test(drawn(rng, **traits), "auc", unit, 199, rng).p_value for _ in range(trials)]
    return np.mean(np.array(p) <= 0.05)


def test_chance_test_holds_its_level_where_people_differ_and_exchanging_videos_does_not():
    traits = {"people": 16, "each": 5, "person": 3.0, "luck": 4.0}
    for unit in ("subject", "within"):
        assert rejections(unit, 250, 3, **traits) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 250), unit
    assert rejections("video", 150, 3, **traits) > 0.12  # why "video" is not the default
    assert rejections("subject", 60, 4, people=16, each=4, effect=1.2, person=0.5) > 0.8


def test_swap_test_of_one_video_a_person_is_mcnemars():
    rng = np.random.default_rng(5)
    a, other = drawn(rng, 14, 1), rng.random(14)
    c = make_answers(a.labels, other, a.clusters)
    right = [((x.probabilities[0] >= 0.5) == a.labels) for x in (a, c)]
    found, exact = swap_test(a, c, "accuracy", 2**14), mcnemar(*right)
    assert np.isclose(found.p_value, exact.p_value) and np.isclose(found.statistic * 14, exact.statistic) and found.n == 2**14


def test_swap_test_does_not_mind_a_models_scale_and_averages_runs():
    rng = np.random.default_rng(6)
    a = drawn(rng, 12, 3, 1.5, runs=2)
    c = make_answers(a.labels, rng.random((2, 36)), a.clusters)
    squeezed = c._replace(probabilities=0.5 + 0.01 * (c.probabilities - 0.5))
    assert swap_test(a, c, "auc", rng=1).p_value == swap_test(a, squeezed, "auc", rng=1).p_value
    same = swap_test(a, a, "brier")
    assert same.statistic == 0 and same.p_value == 1
    with pytest.raises(ValueError, match="as many of both"):
        swap_test(a, c._replace(probabilities=c.probabilities[:1], thresholds=c.thresholds[:1]))
    with pytest.raises(ValueError, match="same videos in the same order"):
        swap_test(a, c._replace(labels=1 - c.labels))


def test_paired_tests_hold_their_level_and_find_a_better_model():
    rng, found = np.random.default_rng(7), {"swap": [], "interval": [], "delong": []}
    for _ in range(200):
        a = drawn(rng, 20, 3, 1.0, 0.5)
        other = 1.0 * (a.labels - 0.5) + 0.5 * rng.normal(0, 1, 20)[a.clusters] + rng.normal(0, 1, 60)
        c = make_answers(a.labels, 1 / (1 + np.exp(-other)), a.clusters)
        found["swap"].append(swap_test(a, c, "auc", 299, rng).p_value <= 0.05)
        low, high = difference_interval(a, c, "auc")[1:]
        found["interval"].append(not low <= 0 <= high)
        found["delong"].append(delong_test(a.labels, a.probabilities[0], c.probabilities[0], a.clusters).p_value <= 0.05)
    limit = 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert all(np.mean(rate) <= limit for rate in found.values()), {k: np.mean(v) for k, v in found.items()}
    good = drawn(rng, 30, 3, 3.0)
    blind = make_answers(good.labels, rng.random(90), good.clusters)
    assert swap_test(good, blind).p_value < 0.01 and difference_interval(good, blind).low > 0


def naive_delong(labels, first, second):
    """DeLong's variance of the difference, by its definition with loops."""
    won, lost = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    psi = lambda x, y: 1.0 if x > y else 0.5 if x == y else 0.0
    v10 = np.array([[np.mean([psi(s[i], s[j]) for j in lost]) for i in won] for s in (first, second)])
    v01 = np.array([[np.mean([psi(s[i], s[j]) for i in won]) for j in lost] for s in (first, second)])
    cov = np.cov(v10) / len(won) + np.cov(v01) / len(lost)
    return (v10.mean(1)[0] - v10.mean(1)[1]) / np.sqrt(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1])


def test_delong_is_its_definition():
    rng = np.random.default_rng(8)
    labels, first = rng.permutation(np.arange(40) % 2), np.round(rng.random(40), 1)
    second = np.round(rng.random(40), 1)
    found = delong_test(labels, first, second)
    assert np.isclose(found.statistic, naive_delong(labels, first, second))
    assert np.isclose(found.statistic, delong_test(labels, first, second, np.arange(40)).statistic)
    assert delong_test(labels, first, first).p_value == 1
    people = make_answers([0, 1, 0, 1], [0.1, 0.9, 0.2, 0.8], [0, 0, 1, 1])
    coin = make_answers([0, 1, 0, 1], [0.5] * 4, [0, 0, 1, 1])
    assert np.isnan(delong_test(people.labels, people.probabilities[0], coin.probabilities[0], people.clusters).p_value)
    found = difference_interval(people, coin)
    assert found.value == 0.5 and np.isnan([found.low, found.high]).all(), "two people are no certainty"
    assert difference_interval(coin, coin)[1:] == (0, 0) and swap_test(people, coin).p_value == 0.5
    with pytest.raises(ValueError, match="two people with won"):
        delong_test([1, 0, 0], [0.1, 0.2, 0.3], [0.3, 0.1, 0.2])


def power_of(design, n, d, base, differ, trials=4000):
    """Share of simulated studies that find a true difference d, by the tests the formulas stand for."""
    rng = np.random.default_rng(9)
    if design == "chance":
        return np.mean(stats.binom.sf(rng.binomial(n, base + d, trials) - 1, n, base) <= 0.05)
    if design == "unpaired":
        one, two = rng.binomial(n, base, trials) / n, rng.binomial(n, base + d, trials) / n
        middle = (one + two) / 2
        return np.mean(np.abs(two - one) / np.sqrt(2 * middle * (1 - middle) / n) >= stats.norm.isf(0.025))
    differ = 2 * base + d - 2 * base * (base + d) if differ is None else differ
    only = rng.multinomial(n, [(differ + d) / 2, (differ - d) / 2, 1 - differ], trials)
    gain, both = only[:, 0] - only[:, 1], only[:, 0] + only[:, 1]
    return np.mean(np.abs(gain) / np.sqrt(np.maximum(both, 1)) >= stats.norm.isf(0.025))


@pytest.mark.parametrize("design, n, base, differ", [
    ("chance", 100, 0.5, None), ("chance", 400, 0.5, None), ("paired", 100, 0.6, 0.3), ("paired", 300, 0.6, 0.1),
    ("paired", 200, 0.6, 0.48), ("paired", 150, 0.75, None), ("unpaired", 100, 0.6, None), ("unpaired", 400, 0.55, None),
])  # fmt: skip
def test_studies_of_the_stated_difference_find_it_as_often_as_stated(design, n, base, differ):
    d = detectable_difference(n, design, base, differ)
    assert abs(power_of(design, n, d, base, differ) - 0.8) < 0.06


def test_detectable_difference_is_the_closed_form_and_shrinks_with_videos():
    z = stats.norm.isf(0.05) * 0.5 + stats.norm.ppf(0.8) * np.sqrt(0.5**2 - (d := detectable_difference(100, "chance")) ** 2)
    assert np.isclose(d, z / 10)
    for design in ("chance", "paired", "unpaired"):
        values = [detectable_difference(n, design, 0.6) for n in (60, 120, 240, 480)]
        assert (np.diff(values) < 0).all()
        assert np.isclose(detectable_difference(200, design, 0.6, effect=2.0), detectable_difference(100, design, 0.6))
    assert np.isnan(detectable_difference(4, "unpaired", 0.9)) and np.isnan(detectable_difference(10, "paired", discordant=0.1))
    with pytest.raises(ValueError, match="0 < base < 1"):
        detectable_difference(10, base=1.0)


def test_design_effect_grows_with_what_a_person_shares():
    rng = np.random.default_rng(10)
    alone = np.mean([design_effect(drawn(rng, 40, 5)) for _ in range(30)])
    who = np.repeat(np.arange(40), 5)
    labels = rng.integers(0, 2, 200)
    whole = make_answers(labels, np.where(rng.random(40)[who] < 0.5, labels, 1 - labels), who)
    assert 1 <= alone < 1.3 and abs(design_effect(whole) - 5) < 0.3
    flat = make_answers(labels, np.zeros(200), who)
    assert discordant_share(whole, flat) == np.mean((whole.probabilities[0] >= 0.5) != 0) and discordant_share(flat, flat) == 0


def test_the_note_says_that_published_differences_are_too_small_to_be_seen():
    note = mdd_note(100, 35, base=0.55)
    assert "\n" not in note and note.startswith("Minimum detectable difference of accuracy, 100 videos of 35 people")
    assert "12.3 points above chance" in note
    assert detectable_difference(100, "paired", 0.55) > 0.60 - 0.50  # the CVPR table's best against its worst
    assert "more than there is room for" in mdd_note(4, 2, base=0.9)
    assert "design effect of people 2.00" in mdd_note(9, 3, effect=2)


def test_learning_chance_anew_holds_its_level_in_cross_validation():
    """Nearest means over folds by person, on features that only tell people apart."""
    rng, p = np.random.default_rng(14), []
    who = np.repeat(np.arange(10), 3)
    for _ in range(120):
        features = rng.normal(0, 1.5, (10, 5))[who] + rng.normal(0, 1, (30, 5))
        won = (rng.random(30) < 1 / (1 + np.exp(-2 * rng.normal(0, 1, 10)[who]))).astype(int)
        won[:2], won[-2:] = (0, 1), (0, 1)

        def learn(results, features=features):
            scores = np.zeros(30)
            for fold in range(5):
                new = who % 5 == fold
                known = results[~new] == 1
                if known.all() or not known.any():
                    continue
                means = [features[~new][side].mean(0) for side in (~known, known)]
                scores[new] = features[new] @ (means[1] - means[0]) - (means[1] @ means[1] - means[0] @ means[0]) / 2
            return make_answers(results, 1 / (1 + np.exp(-scores)), who)

        p.append(chance_by_learning(learn, won, who, "auc", n_permutations=39, rng=rng).p_value)
    p = np.array(p)
    assert (p <= 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 120) and 0.35 < p.mean() < 0.65
