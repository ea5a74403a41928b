"""Losses for rare classes against plain formulas, their limits and their gradients."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy import long_tail as lt
from migstudy.losses import GestureLoss

COUNTS = [900, 120, 33, 7, 1]
SETTINGS = {name: lt.LongTailLoss(name, COUNTS) for name in lt.LOSSES}


def case(seed=0, n=9, c=5):
    g = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(n, c, generator=g, dtype=torch.float64), torch.randint(0, c, (n,), generator=g)


def plain_log_p(logits, label):
    return logits[label] - math.log(sum(math.exp(z) for z in logits))


def test_effective_numbers_are_geometric_sums():
    counts, beta = [1, 2, 5, 40], 0.9
    effective = [sum(beta**j for j in range(n)) for n in counts]  # Cui et al., equation 2, before it is summed
    raw = 1 / np.array(effective)
    np.testing.assert_allclose(lt.effective_number_weights(counts, beta), raw * sum(counts) / (raw * counts).sum(), rtol=1e-12)


def test_effective_numbers_go_from_no_weights_to_inverse_counts():
    torch.testing.assert_close(lt.effective_number_weights(COUNTS, 0.0), torch.ones(5, dtype=torch.float64))
    almost = lt.effective_number_weights(COUNTS, 1 - 1e-12) * torch.tensor(COUNTS)
    np.testing.assert_allclose(almost / almost[0], 1, rtol=1e-6)


@settings(max_examples=50)
@given(st.lists(st.integers(0, 5000), min_size=2, max_size=40).filter(any), st.floats(0, 0.99999))
def test_weights_average_to_one_over_the_clips_and_favour_the_rare(counts, beta):
    weights = lt.effective_number_weights(counts, beta).numpy()
    assert np.isclose((weights * counts).sum() / sum(counts), 1)
    order = np.argsort(counts, kind="stable")
    assert (np.diff(weights[order]) <= 1e-9 * weights.max()).all()


def test_class_balanced_matches_a_loop():
    logits, labels = case()
    weights = lt.effective_number_weights(COUNTS, 0.99)
    expected = [-weights[y].item() * plain_log_p(z, y) for z, y in zip(logits.tolist(), labels.tolist(), strict=True)]
    assert math.isclose(lt.class_balanced(logits, labels, weights).item(), np.mean(expected), rel_tol=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_matches_a_loop(gamma):
    logits, labels = case(1)
    log_p = np.array([plain_log_p(z, y) for z, y in zip(logits.tolist(), labels.tolist(), strict=True)])
    assert math.isclose(lt.focal(logits, labels, gamma).item(), np.mean(-((1 - np.exp(log_p)) ** gamma) * log_p), rel_tol=1e-10)


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_logit_adjustment_is_its_pairwise_form(tau):
    """Menon et al., equation 10: ln(1 + sum over other classes of (prior / own prior)^tau e^(logit - own logit))."""
    logits, labels = case(2)
    prior = np.array(COUNTS) / sum(COUNTS)
    expected = []
    for z, y in zip(logits.numpy(), labels.tolist(), strict=True):
        others = [j for j in range(5) if j != y]
        expected.append(math.log1p(sum((prior[j] / prior[y]) ** tau * math.exp(z[j] - z[y]) for j in others)))
    assert math.isclose(lt.logit_adjusted(logits, labels, lt.log_priors(COUNTS), tau).item(), np.mean(expected), rel_tol=1e-12)


def test_adjusted_logits_of_the_true_posterior_answer_as_if_classes_were_equally_frequent():
    """What minimises it: logits whose softmax is the posterior under equal priors."""
    g = torch.Generator().manual_seed(3)
    likelihood = torch.rand(50, 5, generator=g, dtype=torch.float64)
    prior = torch.tensor(COUNTS, dtype=torch.float64) / sum(COUNTS)
    posterior = likelihood * prior / (likelihood * prior).sum(1, keepdim=True)
    logits = likelihood.log().requires_grad_()
    loss = sum((posterior[:, y] * F.cross_entropy(logits + lt.log_priors(COUNTS), torch.full((50,), y), reduction="none")).sum()
               for y in range(5))  # fmt: skip
    loss.backward()
    assert logits.grad.abs().max() < 1e-12


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_ldam_matches_a_loop(scale):
    logits, labels = case(4)
    logits = logits / 10
    margins = 0.5 * (min(COUNTS) / np.array(COUNTS)) ** 0.25
    np.testing.assert_allclose(lt.ldam_margins(COUNTS, 0.5), margins, rtol=1e-12)
    expected = []
    for z, y in zip(logits.tolist(), labels.tolist(), strict=True):
        z[y] -= margins[y]
        expected.append(-plain_log_p([scale * value for value in z], y))
    assert math.isclose(lt.ldam(logits, labels, torch.from_numpy(margins), scale).item(), np.mean(expected), rel_tol=1e-12)


def test_limits_are_cross_entropy():
    logits, labels = case(5)
    expected = F.cross_entropy(logits, labels)
    equal = [20] * 5
    same = torch.testing.assert_close
    same(lt.focal(logits, labels, 0.0), expected)
    same(lt.logit_adjusted(logits, labels, lt.log_priors(COUNTS), 0.0), expected)
    same(lt.logit_adjusted(logits, labels, lt.log_priors(equal)), expected)
    same(lt.class_balanced(logits, labels, lt.effective_number_weights(equal)), expected)
    for scale in (1.0, 30.0):
        same(lt.ldam(logits, labels, lt.ldam_margins(COUNTS, 0.0), scale), F.cross_entropy(scale * logits, labels))
    same(lt.LongTailLoss("cross_entropy", COUNTS)(logits, labels), expected)


@pytest.mark.parametrize("name", lt.LOSSES)
def test_gradients_are_right(name):
    logits, labels = case(6)
    loss = lt.LongTailLoss(name, COUNTS).double()
    for loss.progress in (0.0, 0.9):
        assert torch.autograd.gradcheck(lambda z: loss(z, labels), logits.clone().requires_grad_())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_focal_is_finite_where_the_answer_is_certain(gamma, dtype):
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], dtype=dtype, requires_grad=True)
    loss = lt.focal(logits, torch.tensor([0, 0]), gamma)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", ["class_balanced", "logit_adjusted", "ldam"])
def test_a_rare_class_pulls_harder_than_a_frequent_one(name):
    logits = torch.zeros(1, 5, dtype=torch.float64, requires_grad=True)
    pulls = []
    for label in range(5):
        (grad,) = torch.autograd.grad(SETTINGS[name].double()(logits, torch.tensor([label])), logits)
        pulls.append(-grad[0, label].item())
    assert pulls == sorted(pulls) and pulls[-1] > pulls[0]


def test_ldam_reweights_late():
    logits, labels = case(7)
    loss = lt.LongTailLoss("ldam", COUNTS, reweight_from=0.5).double()
    margins = lt.ldam_margins(COUNTS, 3.0)
    early, late = lt.ldam(logits, labels, margins), lt.ldam(logits, labels, margins, weights=lt.effective_number_weights(COUNTS))
    for loss.progress, expected in ((0.0, early), (0.49, early), (0.5, late), (0.99, late)):
        torch.testing.assert_close(loss(logits, labels), expected, rtol=1e-6, atol=0)
    never = lt.LongTailLoss("ldam", COUNTS, reweight_from=1).double()
    never.progress = 1.0
    torch.testing.assert_close(never(logits, labels), early, rtol=1e-6, atol=0)


def test_label_embedding_comes_on_top():
    logits, labels = case(8)
    vectors = torch.randn(5, 4, dtype=torch.float64)
    output = type("Output", (), {"logits": logits, "embedding": torch.randn(9, 4, dtype=torch.float64)})
    total, parts = GestureLoss("mse", vectors, weight=2.0, long_tail=SETTINGS["focal"].double())(output, labels)
    assert list(parts) == ["focal", "label_embedding"]
    torch.testing.assert_close(total, lt.focal(logits, labels) + 2 * parts["label_embedding"])


def test_it_keeps_nothing_in_checkpoints():
    assert not lt.LongTailLoss("ldam", COUNTS).state_dict()


@pytest.mark.parametrize(
    "make",
    [
        lambda: lt.LongTailLoss("focl", COUNTS), lambda: lt.LongTailLoss("focal", [0, 0]),
        lambda: lt.LongTailLoss("focal", [3, -1]),
        lambda: lt.LongTailLoss("class_balanced", COUNTS, beta=1.0), lambda: lt.LongTailLoss("ldam", COUNTS, margin=-1),
        lambda: lt.LongTailLoss("ldam", COUNTS, reweight_from=1.5),
        lambda: GestureLoss(label_smoothing=0.1, long_tail=SETTINGS["focal"]),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make):
    with pytest.raises(ValueError):
        make()
