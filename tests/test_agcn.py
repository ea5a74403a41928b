"""2s-AGCN against the original: the same numbers, gradients, running statistics and initialisation."""

import numpy as np
import pytest
import torch
from graph_parity import check_evaluation, check_training_step, published

from migstudy.models.agcn import AGCN, AdaptiveGraphConv
from migstudy.skeletons import get_topology


@pytest.fixture(scope="module")
def data(fixtures_dir):
    return dict(np.load(fixtures_dir / "agcn_ntu25.npz"))


def original(data):
    return published(AGCN("ntu25", num_classes=60, num_people=2), data)


def test_evaluation_equals_the_original(data):
    model = original(data)
    np.testing.assert_array_equal(model.l1.gcn1.A, data["A"].astype(np.float32))
    stages = {"data_bn": model.data_bn, **{f"l{i}": model.get_submodule(f"l{i}") for i in range(1, 11)}}
    output, last = check_evaluation(model, data, stages, atol=1e-4)
    np.testing.assert_allclose(last[:, ::8], data["eval/l10"], atol=1e-4, rtol=0)
    assert output.tokens.shape == (2, 8 * 25, 256)


@pytest.mark.parametrize("mode", ["fixedbn", "trainbn"])
def test_a_training_step_equals_the_original(data, mode):
    check_training_step(original(data), data, mode)


def test_initialisation_is_the_originals(data):
    """Every tensor's mean and deviation, within the chance of one draw."""
    torch.manual_seed(0)
    state = AGCN("ntu25", num_classes=60, num_people=2).state_dict()
    assert list(state) == data["init/keys"].tolist()
    for key, std, mean in zip(state, data["init/std"], data["init/mean"], strict=True):
        value, count = state[key].double(), state[key].numel()
        if std < 1e-12:  # a constant
            assert (value - mean).abs().max() < 1e-9, key
            continue
        # two draws: standard errors of the deviation and of the mean, five of them
        assert value.std(correction=0).item() == pytest.approx(std, rel=5 / np.sqrt(count)), key
        assert value.mean().item() == pytest.approx(mean, abs=5 * std * np.sqrt(2 / count)), key


def adaptive(topology="kinect20", channels=(3, 8), seed=0):
    """An adaptive graph convolution away from its initial silence, and clips for it."""
    torch.manual_seed(seed)
    adjacency = torch.as_tensor(get_topology(topology).adjacency("agcn"), dtype=torch.float32)
    conv = AdaptiveGraphConv(*channels, adjacency).double().eval()
    for parameter in conv.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return conv, torch.randn(2, channels[0], 3, len(adjacency[0]), dtype=torch.float64)


def test_attention_is_a_distribution_over_the_source_joints():
    conv, x = adaptive()
    attention = conv.attention(x)[:, 1]
    torch.testing.assert_close(attention.sum(1), torch.ones(2, 20, dtype=torch.float64))
    assert (attention > 0).all()
    theta, phi = conv.conv_a[1](x), conv.conv_b[1](x)
    logits = torch.einsum("nctv,nctw->nvw", theta, phi) / (theta.shape[1] * theta.shape[2])
    torch.testing.assert_close(attention, logits.exp() / logits.exp().sum(1, keepdim=True))


def test_gradients_are_the_differences():
    conv, x = adaptive(channels=(2, 4))
    conv.train()
    names, values = zip(*conv.named_parameters(), strict=True)

    def run(x, *values):
        return torch.func.functional_call(conv, dict(zip(names, values, strict=True)), (x,))

    x = x[:, :, :2, :].clone().requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *values), fast_mode=True)


def test_renaming_joints_renames_the_output():
    conv, x = adaptive()
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    expected = conv(x)[..., order]
    conv.A = conv.A[:, order][:, :, order]
    with torch.no_grad():
        conv.PA.copy_(conv.PA[:, order][:, :, order])
    torch.testing.assert_close(conv(x[..., order]), expected)


def test_each_person_has_input_statistics_of_its_own():
    model = AGCN("coco17", 2, 5, num_people=2, base_channels=4, stage_blocks=(1,))
    assert model.data_bn.num_features == 2 * 17 * 2
    with pytest.raises(ValueError, match=r"takes \(N, 2, T, 17, 2\)"):
        model(torch.zeros(1, 2, 4, 17, 3))
    x = torch.randn(4, 2, 6, 17, 2)
    x[..., 1] += 10  # the second person stands elsewhere
    model.train()(x)
    first, second = model.data_bn.running_mean.view(2, 17, 2)
    assert (second - first).mean() > 0.9
