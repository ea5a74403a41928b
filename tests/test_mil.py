"""Attention over a bag of face images: equation 9 by loops, order, padding, and the one image that matters."""

import math

import pytest
import token_cases as cases
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy.models import create_model
from migstudy.models.mil import AttentionMIL, GatedAttention


def build(**changes):
    torch.manual_seed(0)
    return AttentionMIL({"face": 5, "context": 3}, **{"width": 8, "attention_width": 6, **changes}).double().eval()


@torch.no_grad()
def test_weights_are_equation_9():
    torch.manual_seed(0)
    layer, x = GatedAttention(4, 3).double(), torch.randn(2, 5, 4).double()
    valid = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 0, 0]]).bool()
    v, u, w = layer.content, layer.gate, layer.score.weight[0]
    for n in range(2):
        scores = []
        for k in range(5):
            hidden = [math.tanh(a) / (1 + math.exp(-b)) for a, b in zip(v(x[n, k]).tolist(), u(x[n, k]).tolist())]
            scores.append(math.exp(sum(a * b for a, b in zip(w.tolist(), hidden))) if valid[n, k] else 0.0)
        expected = torch.tensor(scores).double() / sum(scores)
        torch.testing.assert_close(layer(x, valid)[n], expected)


@torch.no_grad()
@settings(max_examples=20)
@given(st.integers(1, 9), st.integers(0, 2**31))
def test_a_bag_has_no_order_and_padding_no_say(length, seed):
    model, generator = build(), torch.Generator().manual_seed(seed)
    faces = torch.randn(3, length, 5, generator=generator).double()
    mask = torch.rand(3, length, generator=generator) < 0.7
    mask[:, 0] = True
    order = torch.randperm(length, generator=generator)
    output, permuted = model({"face": faces}, {"face": mask}), model({"face": faces[:, order]}, {"face": mask[:, order]})
    torch.testing.assert_close(permuted.logits, output.logits, rtol=1e-10, atol=1e-10)
    weights = model.attention(output.tokens, mask)
    torch.testing.assert_close(weights.sum(1), torch.ones(3).double())
    torch.testing.assert_close(model.attention(permuted.tokens, mask[:, order]), weights[:, order], rtol=1e-10, atol=1e-10)
    assert not weights[~mask].any() and (weights[mask] > 0).all()
    torch.testing.assert_close(model.attention(output.tokens), weights)
    torch.testing.assert_close((weights[..., None] * output.tokens).sum(1), output.features)
    filled = faces.masked_fill(~mask[..., None], float("nan"))
    torch.testing.assert_close(model({"face": filled}, {"face": mask}).logits, output.logits, rtol=0, atol=0)
    kept = model({"face": faces[:1, mask[0]]})
    torch.testing.assert_close(kept.logits, output.logits[:1], rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_a_video_without_faces_gets_the_bias_and_no_weights():
    model, faces = build(), torch.randn(2, 4, 5).double()
    output = model({"face": faces, "context": torch.randn(2, 9, 3)}, None, {"face": torch.tensor([True, False])})
    torch.testing.assert_close(output.logits[1], model.fc.bias)
    assert not model.attention(output.tokens)[1].any() and model.attention(output.tokens)[0].all()
    assert model.attention(output.tokens, torch.tensor([[True] * 4, [False] * 4]))[1].tolist() == [0] * 4


def test_gradients_are_right():
    model = build(width=4)
    mask = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 0]]).bool()
    faces = torch.randn(2, 4, 5).double().requires_grad_()
    forward = lambda faces, *parameters: model({"face": faces}, {"face": mask})[:2]
    assert torch.autograd.gradcheck(forward, (faces, *model.parameters()), fast_mode=True)
    model({"face": faces}, {"face": mask}).logits.square().sum().backward()
    assert torch.equal(faces.grad.any(2), mask)


def test_it_finds_the_face_that_matters():
    """One of ten faces, anywhere, shows the class; the mean over all of them drowns it more than attention does."""

    def bags(n, seed):
        generator = torch.Generator().manual_seed(seed)
        x, labels = 0.7 * torch.randn(n, 10, 6, generator=generator), torch.randint(0, 2, (n,), generator=generator)
        at = torch.randint(0, 10, (n,), generator=generator)
        x[torch.arange(n), at, 0] = 3.0
        x[torch.arange(n), at, 1] += 2.0 * (2 * labels - 1)
        return {"face": x}, labels, at

    (train, labels, _), (test, truth, at) = bags(1024, 0), bags(500, 1)
    torch.manual_seed(0)
    model = create_model("attention_mil", token_dims={"face": 6}, width=16, dropout=0.0)
    cases.learn(model, train, labels, steps=120, lr=5e-3)
    assert cases.measure(model, test, truth)[1] > 0.93
    with torch.no_grad():
        weights = model.attention(model(test).tokens)
    assert weights[torch.arange(500), at].mean() > 0.5 and (weights.argmax(1) == at).double().mean() > 0.9


def test_an_unknown_bag_is_named():
    with pytest.raises(ValueError, match="unknown modality 'face'; token_dims has context"):
        AttentionMIL({"context": 3})
