"""Two models of win or lose over seeds and people: against the intervals of confusions, and what equal models look like."""

import numpy as np
import pytest
from scipy.special import expit

from migstudy.emotion import small_sample as s
from migstudy.emotion.recipes import recipe_difference, recipe_interval
from migstudy.intervals import uncertainty


def model(rng, people=36, seeds=3, seed_sd=0.6) -> s.Answers:
    """Two videos a person, one won; a seed finds more or less of what shows."""
    who, won = np.repeat(np.arange(people), 2), np.tile([0, 1], people)
    found = 0.6 + rng.normal(0, seed_sd, (seeds, 1))
    logits = found * (won - 0.5) + rng.normal(0, 0.5, (seeds, people))[:, who] + rng.normal(0, 1, (seeds, len(who)))
    return s.make_answers(won, expit(logits), who)


def confusions(answers: s.Answers) -> np.ndarray:
    """(K, people, 2, 2) of answers at 0.5."""
    people = answers.clusters.max() + 1
    stack = np.zeros((len(answers.probabilities), people, 2, 2))
    for run, p in enumerate(answers.probabilities):
        np.add.at(stack[run], (answers.clusters, answers.labels, (p >= 0.5).astype(int)), 1)
    return stack


@pytest.mark.parametrize(("own", "name"), [("accuracy", "top1"), ("macro_f1", "macro_f1")])
def test_it_is_that_of_confusions_where_the_metric_has_some(own, name):
    rng = np.random.default_rng(0)
    a, b = model(rng), model(rng)
    found, expected = recipe_difference(a, b, own), uncertainty(confusions(a), confusions(b), name, paired_seeds=True)
    np.testing.assert_allclose(np.hstack(found), np.hstack(expected), rtol=1e-9, atol=1e-12)


def test_equal_models_are_rarely_told_apart_though_their_runs_differ():
    rng = np.random.default_rng(1)
    pairs = [(model(rng), model(rng)) for _ in range(60)]
    recipes = np.mean([recipe_difference(*pair).test().p_value <= 0.05 for pair in pairs])
    runs = np.mean([s.swap_test(*pair, "auc", 99, rng).p_value <= 0.05 for pair in pairs])
    assert recipes <= 0.15 < 0.25 <= runs


def test_its_value_is_that_of_the_runs_and_equal_answers_differ_by_nothing():
    rng = np.random.default_rng(2)
    a, b = model(rng), model(rng)
    low, high = recipe_difference(a, b).interval()[1:]
    assert np.isclose(recipe_difference(a, b).effect, s.difference_interval(a, b).value) and low < high
    assert recipe_difference(a, a).test().p_value == 1.0


def test_one_person_tells_nothing_and_one_run_is_refused():
    rng = np.random.default_rng(3)
    a = model(rng, people=1)
    assert np.isnan(recipe_difference(a, a._replace(probabilities=a.probabilities[::-1])).interval()[1:]).all()
    with pytest.raises(ValueError, match="two or more"):
        recipe_difference(model(rng, seeds=1), model(rng, seeds=1))
    with pytest.raises(ValueError, match="3 and 2 runs"):
        recipe_difference(model(rng), model(rng, seeds=2))


def test_the_interval_of_one_model_covers_other_seeds_and_other_people():
    """The true mean is that of endless seeds and people; people alone cover it in about half of the studies."""
    rng = np.random.default_rng(4)
    truth = np.mean([s.mean_metric(model(rng, people=300, seeds=20), "auc") for _ in range(40)])
    held = np.zeros(2)
    for _ in range(80):
        answers = model(rng)
        for i, (value, low, high) in enumerate((recipe_interval(answers), s.subject_interval(answers, "auc"))):
            held[i] += low <= truth <= high
    assert held[0] / 80 >= 0.88 and held[1] / 80 <= 0.7


def test_one_run_has_the_interval_over_people_and_several_never_a_shorter_one():
    rng = np.random.default_rng(5)
    for metric in ("auc", "accuracy", "log_loss"):
        one, several = model(rng, seeds=1), model(rng, seed_sd=0.0)
        assert recipe_interval(one, metric) == s.subject_interval(one, metric)
        wide, alone = recipe_interval(several, metric), s.subject_interval(several, metric)
        assert wide.value == alone.value and wide.low <= alone.low < alone.high <= wide.high
