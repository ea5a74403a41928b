"""Stacking: learned on validation alone, subjects never on both sides, better than a convex mixture where it should be."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy.evaluate import evaluate
from migstudy.fusion.late import fuse, learn_weights
from migstudy.fusion.stacking import _fit, _folds, _logs, _pool, learn_stacking
from migstudy.scores import get_probabilities, make_scores


def stream(skill, seed, n=150, heat=1.0, split="val", classes=4, people=6, labels_of=0):
    """heat: how much too sure of itself the stream is."""
    labels = np.random.default_rng(labels_of).integers(0, classes, n)
    logits = heat * (np.random.default_rng([1, seed]).normal(size=(n, classes)) + skill * np.eye(classes)[labels])
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    index = pd.DataFrame({
        "clip_id": [f"{i:04d}_0" for i in range(n)], "video": "v", "subject": [f"{split}{i % people}" for i in range(n)],
        "split": split, "label": labels,
    })  # fmt: skip
    return make_scores(index, probabilities, [f"g{i}" for i in range(classes)])


def two(split="val", n=150, **options):
    seeds = (1, 2) if split == "val" else (3, 4)
    options = {"split": split, "n": n, "labels_of": 0 if split == "val" else 9, **options}
    return {"hot": stream(1.0, seeds[0], heat=4.0, **options), "cold": stream(1.5, seeds[1], heat=0.3, **options)}


@pytest.fixture(scope="module")
def learned():
    return learn_stacking(two())


def test_it_repairs_streams_that_are_too_sure_or_too_modest(learned):
    test = two("test", 2000)
    stacked, equal, convex = learned.fuse(test), fuse(test), fuse(test, learn_weights(two()).weights)
    losses = [evaluate(table, intervals=False)["log_loss"] for table in (stacked, equal, convex)]
    assert losses[0] < 0.85 * min(losses[1:])
    assert evaluate(stacked, intervals=False)["top1"] > evaluate(equal, intervals=False)["top1"] + 0.05
    assert learned.best == "stacking" and learned.shared["cold"] > learned.shared["hot"] > 0
    # what it says of itself, on clips it had not seen, is near what it does on other people
    assert learned.log_loss["stacking"] == pytest.approx(losses[0], abs=0.12)


def test_nothing_is_made_of_noise():
    """Streams that know nothing: the nested log-loss is honest, no better than the shares of the classes."""
    noise = {name: stream(0.0, seed, n=80, heat=2.0) for name, seed in (("a", 5), ("b", 6))}
    found = learn_stacking(noise)
    assert found.log_loss["stacking"] > 0.97 * np.log(4)


@settings(max_examples=2)
@given(st.randoms(use_true_random=False))
def test_order_of_rows_and_streams_changes_nothing(random):
    tables, expected = two(n=40, people=3), learn_stacking(two(n=40, people=3))
    shuffled = {}
    for name in random.sample(sorted(tables), 2):
        order = list(range(40))
        random.shuffle(order)
        shuffled[name] = tables[name].iloc[order].reset_index(drop=True)
    found = learn_stacking(shuffled)
    assert found.strength == expected.strength
    for name in tables:
        assert found.shared[name] == pytest.approx(expected.shared[name], rel=1e-6)
    test = two("test", 50)
    again = found.fuse({name: table.iloc[::-1].reset_index(drop=True) for name, table in reversed(test.items())})
    assert list(again["clip_id"]) == sorted(test["hot"]["clip_id"])
    np.testing.assert_allclose(get_probabilities(again), get_probabilities(expected.fuse(test)), atol=1e-6)


def test_test_labels_are_refused_and_never_looked_at(learned):
    with pytest.raises(ValueError, match="of split 'test'"):
        learn_stacking(two("test"))
    mixed = {name: pd.concat([table, other]) for (name, table), other in zip(two().items(), two("test").values(), strict=True)}
    with pytest.raises(ValueError, match="of split 'test'"):
        learn_stacking(mixed, split="test")
    test = two("test", 60)
    other = {name: table.assign(label=(table["label"] + 1) % 4) for name, table in test.items()}
    np.testing.assert_array_equal(*(get_probabilities(learned.fuse(tables)) for tables in (test, other)))


def test_other_streams_and_too_few_people_are_refused(learned):
    with pytest.raises(ValueError, match="learned of"):
        learned.fuse({"hot": two("test")["hot"]})
    with pytest.raises(ValueError, match="three subjects or more, there are 2"):
        learn_stacking(two(people=2))
    tables = two("test")
    tables["cold"] = tables["cold"].iloc[1:]
    with pytest.raises(ValueError, match="different clips"):
        learned.fuse(tables)


@given(st.lists(st.integers(0, 7), min_size=1, max_size=60), st.integers(2, 6))
def test_a_person_is_held_out_whole_and_once(clusters, folds):
    clusters = np.array(clusters)
    held = _folds(clusters, folds)
    assert len(held) == min(folds, len(np.unique(clusters))) and (np.sum(held, axis=0) == 1).all()
    assert all(fold.any() for fold in held)
    for person in np.unique(clusters):
        assert sum(fold[clusters == person].any() for fold in held) == 1


def test_strength_shrinks_the_classes_own_parts_alone():
    tables = dict(sorted(two(n=80).items()))
    x, labels = _logs(tables), tables["hot"]["label"].to_numpy()
    sizes, shared = zip(*[(np.abs(own).max(), w) for w, own in (_fit(x, labels, s) for s in (0.001, 0.1, 1000.0))], strict=True)
    assert sizes[0] > sizes[1] > sizes[2] and sizes[2] < 1e-3 and np.abs(shared[2]).min() > 0.1
    # and what is left is the least: a step of either share gains nothing
    loss = lambda w: -np.log(_pool(x, w)[np.arange(80), labels]).mean()
    steps = [shared[2] + step * np.eye(2)[:, [j]] for j in range(2) for step in (0.05, -0.05)]
    assert all(loss(w) > loss(shared[2]) for w in steps)
