import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics as sk

from migstudy import metrics as m


@st.composite
def answers(draw, classes=6):
    n = draw(st.integers(1, 60))
    column = hnp.arrays(np.int64, n, elements=st.integers(0, classes - 1))
    return draw(column), draw(column), draw(hnp.arrays(np.int64, n, elements=st.integers(0, 4)))


@settings(deadline=None)
@given(answers())
def test_equal_to_scikit_learn(case):
    labels, predictions, _ = case
    confusion = m.confusion_matrix(labels, predictions, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes without clips, answers or both
        assert np.array_equal(confusion, sk.confusion_matrix(labels, predictions, labels=range(6)))
        assert np.isclose(m.top1(confusion), sk.accuracy_score(labels, predictions))
        assert np.isclose(m.mean_class_accuracy(confusion), sk.balanced_accuracy_score(labels, predictions))
        assert np.isclose(m.macro_f1(confusion), sk.f1_score(labels, predictions, average="macro"))
        precision, recall, f1, _ = sk.precision_recall_fscore_support(
            labels, predictions, labels=range(6), zero_division=np.nan
        )
    for mine, theirs in ((m.precision, precision), (m.recall, recall), (m.f1, f1)):
        assert np.allclose(mine(confusion), theirs, equal_nan=True)


@settings(deadline=None)
@given(answers())
def test_clusters_add_up_and_leading_axes_are_independent(case):
    labels, predictions, clusters = case
    stack = m.cluster_confusions(labels, predictions, clusters, 6, 5)
    assert np.array_equal(stack.sum(0), m.confusion_matrix(labels, predictions, 6))
    for s in range(5):
        own = clusters == s
        assert np.array_equal(stack[s], m.confusion_matrix(labels[own], predictions[own], 6))
    for function in m.METRICS.values():
        assert np.allclose(function(stack), [function(matrix) for matrix in stack], equal_nan=True)


def test_macro_f1_counts_answered_classes_nobody_shows():
    # truth 0 0 1, answers 0 2 1: F1 = 2/3, 1 and, for the class only answered, 0
    assert np.isclose(m.macro_f1(m.confusion_matrix([0, 0, 1], [0, 2, 1], 4)), (2 / 3 + 1 + 0) / 3)


def test_nothing_to_count_is_undefined_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(np.isnan(function(np.zeros((3, 3)))) for function in m.METRICS.values())


@settings(deadline=None)
@given(hnp.arrays(np.float32, (7, 5), elements=st.integers(0, 3).map(float)), hnp.arrays(np.int64, 7, elements=st.integers(0, 4)))
def test_rank_agrees_with_argmax_whatever_the_ties(probabilities, labels):
    rank = m.rank_of_label(probabilities, labels)
    assert np.array_equal(rank == 0, probabilities.argmax(1) == labels)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    assert np.array_equal(order[np.arange(7), rank], labels)


def test_top_k_equals_scikit_learn_without_ties():
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(8), 200), rng.integers(0, 8, 200)
    for k in (1, 3, 5):
        expected = sk.top_k_accuracy_score(labels, probabilities, k=k, labels=range(8))
        assert np.isclose((m.rank_of_label(probabilities, labels) < k).mean(), expected)


def test_clear_errors():
    with pytest.raises(ValueError, match="label -1 at row 1"):
        m.confusion_matrix([0, -1], [0, 0], 3)
    with pytest.raises(ValueError, match="prediction 3 at row 0"):
        m.confusion_matrix([0], [3], 3)
    with pytest.raises(ValueError, match="one length"):
        m.cluster_confusions([0, 1], [0], [0, 0], 2)
    with pytest.raises(ValueError, match="unknown metric 'f1'"):
        m.get_metric("f1")
    assert m.get_metric(m.top1) is m.top1
