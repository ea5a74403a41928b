"""ST-GCN against the original: the same numbers, gradients, running statistics and initialisation."""

import numpy as np
import pytest
import torch
from graph_parity import check_evaluation, check_training_step, inputs_of, published

from migstudy.models.stgcn import STGCN, GraphConv
from migstudy.skeletons import get_topology


@pytest.fixture(scope="module")
def data(fixtures_dir):
    return dict(np.load(fixtures_dir / "stgcn_openpose22.npz"))


def original(data):
    return published(STGCN("imigue22_starterkit"), data)


def test_evaluation_equals_the_original(data):
    model = original(data)
    torch.testing.assert_close(model.A, torch.from_numpy(data["A"]), atol=0, rtol=0)
    output, _ = check_evaluation(model, data, {f"l{i}": u for i, u in enumerate(model.st_gcn_networks)}, atol=1e-5)
    assert output.tokens.shape == (2, 23 * 22, 256)
    # the original's extract_feature: the classifier on every token, before pooling
    with torch.inference_mode():
        grid = model.double().fcn(output.tokens.transpose(1, 2).unflatten(2, (23, 22)))
    np.testing.assert_allclose(grid[:, ::4, ::2, :, None], data["eval/extract_output"], atol=1e-5, rtol=0)
    frames = model.frame_tokens(output.tokens)
    torch.testing.assert_close(frames[:, 3], output.tokens[:, 3 * 22 : 4 * 22].mean(1))


@pytest.mark.parametrize("mode", ["fixedbn", "trainbn"])
def test_a_training_step_equals_the_original(data, mode):
    check_training_step(original(data), data, mode)


def test_initialisation_is_the_originals():
    torch.manual_seed(0)
    model = STGCN()
    for key, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            assert module.weight.std().item() == pytest.approx(0.02, rel=5 / np.sqrt(2 * module.weight.numel())), key
            assert not module.bias.any()
        elif isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            assert module.weight.mean().item() == pytest.approx(1, abs=0.02) and 0.01 < module.weight.std() < 0.03
            assert not module.bias.any() and (module.eps, module.momentum) == (1e-5, 0.1)
    assert len(model.edge_importance) == 10 and all((weight == 1).all() for weight in model.edge_importance)


def test_strides_residuals_and_dropout_sit_where_the_original_has_them():
    units = STGCN().st_gcn_networks
    assert [u.tcn[2].stride[0] for u in units] == [1, 1, 1, 1, 2, 1, 1, 2, 1, 1]
    assert [u.tcn[2].out_channels for u in units] == [64] * 4 + [128] * 3 + [256] * 3
    assert [u.residual is not None for u in units] == [i in (4, 7) for i in range(10)]
    assert [u.has_residual for u in units] == [False] + [True] * 9
    assert [u.tcn[4].p for u in units] == [0.0] + [0.1] * 9


def test_a_checkpoint_brings_its_own_graph():
    ours, theirs = STGCN("imigue22", base_channels=4), STGCN("imigue22_starterkit", base_channels=4)
    assert not torch.equal(ours.A, theirs.A)
    ours.load_published_weights(theirs.state_dict())
    assert torch.equal(ours.A, theirs.A)


def test_people_are_exchangeable():
    torch.manual_seed(0)
    model = STGCN("coco17", 2, base_channels=4, stage_blocks=(1, 1)).double().eval()
    x = torch.randn(2, 2, 8, 17, 3, dtype=torch.float64)
    torch.testing.assert_close(model(x).logits, model(x[..., [2, 0, 1]]).logits)


def test_the_graph_convolution_is_the_sum_over_neighbours():
    torch.manual_seed(0)
    adjacency = torch.as_tensor(get_topology("kinect20").adjacency("spatial"))
    conv, x = GraphConv(3, 5, 3).double(), torch.randn(2, 3, 4, 20, dtype=torch.float64)
    weight, bias = conv.conv.weight.view(3, 5, 3), conv.conv.bias.view(3, 5)
    expected = torch.zeros(2, 5, 4, 20, dtype=torch.float64)
    for k, source, target in adjacency.nonzero().tolist():
        message = torch.einsum("oc,nct->not", weight[k], x[..., source]) + bias[k, :, None]
        expected[..., target] += adjacency[k, source, target] * message
    torch.testing.assert_close(conv(x, adjacency), expected)


def test_the_fixtures_input_is_a_starter_kit_clip(data):
    assert inputs_of(data).shape == (2, 3, 90, 22, 1)
