"""The LSTM over gestures: its order, its masks, what it can learn that no count can."""

import gesture_cases
import pytest
import token_cases as cases
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy.emotion.gesture_sequence import gesture_batch, gesture_tokens
from migstudy.models import create_model
from migstudy.models.gesture_lstm import GestureLSTM

CLOSE = dict(rtol=1e-10, atol=1e-10)


def build(**changes):
    torch.manual_seed(0)
    return GestureLSTM({"gesture": 5}, **{"width": 6, **changes}).double().eval()


@torch.no_grad()
@settings(max_examples=20)
@given(st.integers(1, 8), st.integers(1, 2), st.integers(0, 2**31))
def test_what_is_masked_is_passed_over_wherever_it_stands(length, layers, seed):
    model, generator = build(layers=layers), torch.Generator().manual_seed(seed)
    x = torch.randn(3, length, 5, generator=generator).double()
    mask = torch.rand(3, length, generator=generator) < 0.6
    mask[0, 0] = True
    output = model({"gesture": x.masked_fill(~mask[..., None], float("nan"))}, {"gesture": mask})
    for n in range(3):
        if mask[n].any():
            alone = model({"gesture": x[n : n + 1, mask[n]]})
            torch.testing.assert_close(output.features[n], alone.features[0], **CLOSE)
            torch.testing.assert_close(output.tokens[n, mask[n]], alone.tokens[0], **CLOSE)
            torch.testing.assert_close(alone.features[0], alone.tokens[0, -1], **CLOSE)
        else:
            torch.testing.assert_close(output.logits[n], model.fc.bias)
        assert not output.tokens[n, ~mask[n]].any()


@torch.no_grad()
def test_states_are_torch_s_own():
    model, x = build(), torch.randn(2, 7, 5).double()
    embedded = model.norm["gesture"](model.projection["gesture"](x)) + model.modality["gesture"]
    states, _ = model.lstm(model.encoder["gesture"].norm(embedded))
    torch.testing.assert_close(model({"gesture": x}).tokens, states)


@torch.no_grad()
def test_the_order_of_gestures_matters():
    model, x = build(), torch.randn(2, 7, 5).double()
    assert (model({"gesture": x}).logits - model({"gesture": x.flip(1)}).logits).abs().max() > 1e-4


def test_gradients_are_right():
    model = build()
    mask = torch.tensor([[1, 0, 1, 1], [1, 1, 0, 0]]).bool()
    x = torch.randn(2, 4, 5).double().requires_grad_()
    forward = lambda x, *parameters: model({"gesture": x}, {"gesture": mask})[:2]
    assert torch.autograd.gradcheck(forward, (x, *model.parameters()), fast_mode=True)
    assert torch.autograd.gradcheck(lambda x: forward(x), (x,))


def test_it_learns_what_only_the_order_tells():
    """Every video has the same gestures; the class is whether A comes before B."""
    generator = torch.Generator().manual_seed(0)

    def videos(n):
        order = torch.rand(n, 6, generator=generator).argsort(1)
        x = torch.nn.functional.one_hot(order, 6).float()
        return {"gesture": x}, (order.argsort(1)[:, 0] < order.argsort(1)[:, 1]).long()

    torch.manual_seed(0)
    model = create_model("gesture_lstm", token_dims={"gesture": 6}, width=16)
    cases.learn(model, *videos(1024), steps=150, lr=1e-2)
    assert cases.measure(model, *videos(500))[1] > 0.95


def test_it_reads_the_tokens_of_recognised_gestures():
    events, videos = gesture_cases.videos_of_gestures(20, effect=3.0)
    x, mask = gesture_batch(gesture_tokens(events), videos["video"].tolist())
    labels = torch.tensor(videos["label"].to_numpy())
    torch.manual_seed(0)
    model = create_model("gesture_lstm", token_dims={"gesture": x.shape[2]}, width=16)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(80):
        loss = torch.nn.functional.cross_entropy(model({"gesture": x}, {"gesture": mask}).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.25


def test_depth_is_not_its_word():
    with pytest.raises(ValueError, match="has layers, not depth"):
        build(depth=2)
