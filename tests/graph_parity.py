"""One graph network against its parity fixture: manifest, outputs, one training step."""

import json

import numpy as np
import pytest
import recipe
import torch
from torch.nn import functional as F


def published(model, data):
    """The model with the fixture's weights, loaded under the original's key names; checks the manifest on the way."""
    state = recipe.filled_state(model)
    assert list(state) == data["keys"].tolist()
    assert [json.dumps(list(value.shape)) for value in state.values()] == data["shapes"].tolist()
    for value, crc, filled in zip(state.values(), data["crc32"], data["filled"], strict=True):
        assert not filled or recipe.crc32(value.numpy()) == crc
    assert sum(parameter.numel() for parameter in model.parameters()) == data["meta/n_params"]
    return model.load_published_weights(state)


def inputs_of(data):
    inputs = recipe.unit_input(str(data["meta/input_key"]), data["input"].shape, -1.0, 1.0)
    np.testing.assert_array_equal(inputs, data["input"])
    return torch.from_numpy(inputs)


def check_evaluation(model, data, stages, atol):
    """float32 logits within `atol`, float64 logits within 1e-9, every stage's shape and channel means; the last stage."""
    model, inputs, seen = model.eval(), inputs_of(data), {}
    for stage, module in stages.items():
        module.register_forward_hook(lambda *a, stage=stage: seen.update({stage: a[2]}))
    with torch.inference_mode():
        double = model.double()(inputs.double())
        single = model.float()(inputs)
    for stage, value in seen.items():
        assert list(value.shape) == data[f"eval/shape/{stage}"].tolist()
        rest = [axis for axis in range(value.ndim) if axis != 1]
        np.testing.assert_allclose(value.mean(rest), data[f"eval/mean/{stage}"], atol=atol, rtol=0, err_msg=stage)
    assert len(seen) == len(stages)
    np.testing.assert_allclose(single.logits, data["eval/logits"], atol=atol, rtol=0)
    np.testing.assert_allclose(double.logits, data["eval/logits_f64"], atol=1e-9, rtol=0)
    torch.testing.assert_close(double.features, double.tokens.mean(1), atol=1e-12, rtol=0)
    return double, value


def check_training_step(model, data, mode):
    """Loss, logits, gradients of input and parameters, running statistics; `fixedbn` keeps batch norms in eval mode."""
    model = model.double().train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif mode == "fixedbn" and isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.eval()
    inputs = inputs_of(data).double().requires_grad_()
    output = model(inputs)
    loss = F.cross_entropy(output.logits, torch.from_numpy(data["label"]))
    loss.backward()
    assert loss.item() == pytest.approx(float(data[f"{mode}/loss"]), rel=1e-12)
    np.testing.assert_allclose(output.logits.detach(), data[f"{mode}/logits"], atol=1e-6)
    _close(inputs.grad, data[f"{mode}/grad_input"], "input")
    parameters, state = dict(model.named_parameters()), model.state_dict()
    largest = max(float(data[f"{mode}/gradnorm/{key}"]) for key in parameters)
    compared = {"grad": 0, "gradnorm": 0, "after": 0}
    for entry, expected in data.items():
        group, _, rest = entry.partition("/")
        kind, _, key = rest.partition("/")
        if group != mode or kind not in compared:
            continue
        compared[kind] += 1
        if kind == "after":
            _close(state[key], expected, entry)
        elif kind == "gradnorm":
            # the gradient of a bias before a batch norm is 0 but for rounding
            norm = parameters[key].grad.norm().item()
            assert norm == pytest.approx(float(expected), rel=1e-9, abs=1e-13 * largest), key
        elif float(data[f"{mode}/gradnorm/{key}"]) > 1e-13 * largest:
            _close(parameters[key].grad, expected, entry)
    assert compared["gradnorm"] == len(parameters) and compared["grad"] > 50
    assert compared["after"] == (0 if mode == "fixedbn" else sum("running" in key for key in state))


def _close(ours, expected, what):
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=2e-7 * np.abs(expected).max(), err_msg=what)
