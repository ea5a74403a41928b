"""Our re-implementation of CTR-GCN: what its equations promise, since no parity is claimed."""

import numpy as np
import pytest
import torch

from migstudy.models.ctrgcn import CTRGCN, MultiScaleTemporalConv, RefinedGraphConv
from migstudy.skeletons import get_topology


def refined(topology="kinect20", channels=(4, 6), seed=0):
    """A refined graph convolution away from its initial silence, float64, and clips for it."""
    torch.manual_seed(seed)
    adjacency = torch.as_tensor(get_topology(topology).adjacency("agcn"), dtype=torch.float32)
    conv = RefinedGraphConv(*channels, adjacency).double().eval()
    for parameter in conv.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return conv, torch.randn(2, channels[0], 3, len(adjacency[0]), dtype=torch.float64)


def test_graphs_and_output_are_the_papers_equations():
    """Equations 3-6, pair by pair of joints, in plain loops."""
    conv, x = refined("coco17", (3, 4))
    k, v, still = 3, 17, x.mean(2)
    psi, phi = (layer(still).unflatten(1, (k, -1)) for layer in (conv.psi, conv.phi))
    weight, bias = conv.xi.weight.view(k, 4, -1), conv.xi.bias.view(k, 4)
    expected = torch.empty(2, k, 4, v, v, dtype=torch.float64)
    for part in range(k):
        for i in range(v):
            for j in range(v):
                relation = (psi[:, part, :, i] - phi[:, part, :, j]).tanh()
                refinement = relation @ weight[part].T + bias[part]
                expected[:, part, :, j, i] = conv.A[part, j, i] + conv.alpha[part] * refinement
    torch.testing.assert_close(conv.graphs(x), expected)
    value = conv.value(x).unflatten(1, (k, -1))
    gathered = sum(torch.einsum("nctj,ncji->ncti", value[:, part], expected[:, part]) for part in range(k))
    torch.testing.assert_close(conv(x), (conv.bn(gathered) + conv.down(x)).relu())


def test_gradients_are_the_differences():
    conv, x = refined("coco17", (2, 3))
    conv.train()
    names, values = zip(*conv.named_parameters(), strict=True)

    def run(x, *values):
        return torch.func.functional_call(conv, dict(zip(names, values, strict=True)), (x,))

    x = x[:, :, :2].clone().requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *values), fast_mode=True)
    assert torch.autograd.gradcheck(conv.graphs, (x,), fast_mode=True)


def test_renaming_joints_renames_the_output():
    conv, x = refined()
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    expected = conv(x)[..., order]
    with torch.no_grad():
        conv.A.copy_(conv.A[:, order][:, :, order])
    torch.testing.assert_close(conv(x[..., order]), expected)


def test_training_starts_from_the_skeleton():
    model = CTRGCN("imigue41", base_channels=8, stage_blocks=(1, 1))
    x = torch.randn(2, 3, 8, 41, 1)
    for unit in model.units:
        skeleton = get_topology("imigue41").adjacency("agcn").astype(np.float32)
        np.testing.assert_array_equal(unit.space.A.detach(), skeleton)
        assert not unit.space.alpha.any() and (unit.space.bn.weight == 1e-6).all()
    assert model.train()(x).logits.std() > 0.01  # quiet graph convolutions, but no silent network


def test_each_channel_has_a_graph_of_its_own():
    conv, x = refined()
    graphs = conv.graphs(x)
    assert (graphs.std(dim=2) > 1e-3).all()
    assert not torch.allclose(graphs[0], graphs[1])
    with torch.no_grad():
        conv.alpha.zero_()
    torch.testing.assert_close(conv.graphs(x), conv.A[:, None].expand(2, 3, 6, 20, 20))


@pytest.mark.parametrize(("channels", "stride", "dilations"), [(8, 1, (1, 2)), (9, 2, (1, 2)), (7, 2, (1, 2, 3))])
def test_temporal_branches_fill_all_channels(channels, stride, dilations):
    torch.manual_seed(0)
    conv = MultiScaleTemporalConv(channels, stride, 5, dilations).eval()
    for branch in list(conv.branches)[:-1]:
        torch.nn.init.constant_(branch[0].bn.bias, 10)  # no rectifier closes
    x = torch.randn(2, channels, 9, 4)
    assert conv(x).shape == (2, channels, -(-9 // stride), 4)
    # how far a frame reaches: the widest dilated kernel, joint by joint
    x = x.requires_grad_()
    conv(x)[0, :, 4 // stride, 1].sum().backward()
    seen = x.grad[0].abs().sum(0)
    reach = 2 * max(dilations)
    frames = [t for t in range(9) if seen[t].any()]
    assert frames[0] == max(4 - reach, 0) and frames[-1] == min(4 + reach, 8)
    assert not seen[:, [0, 2, 3]].any() and not x.grad[1].any()


def test_too_few_channels_and_even_kernels_are_refused():
    with pytest.raises(ValueError, match="raise base_channels"):
        MultiScaleTemporalConv(3, 1)
    with pytest.raises(ValueError, match="temporal_kernel 4 must be odd"):
        CTRGCN(temporal_kernel=4)


def test_the_published_size():
    """Units and widths of section 3.4, and a network of the order of the paper's 1.46 million parameters."""
    model = CTRGCN("ntu25", num_classes=60)
    assert [unit.space.bn.num_features for unit in model.units] == [64] * 4 + [128] * 3 + [256] * 3
    assert [unit.time.branches[0][2].conv.stride[0] for unit in model.units] == [1, 1, 1, 1, 2, 1, 1, 2, 1, 1]
    assert 1.3e6 < sum(p.numel() for p in model.parameters()) < 1.6e6


def test_it_learns_what_no_single_frame_tells():
    """Which of two joints moves first: the joints' positions are the same in both classes, their order in time is not."""
    torch.manual_seed(0)
    model = CTRGCN("coco17", 2, 2, base_channels=8, stage_blocks=(1, 1))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)

    def clips(count):
        label = torch.arange(count) % 2
        x = 0.1 * torch.randn(count, 2, 8, 17, 1)
        early, late = torch.arange(8) >= 2, torch.arange(8) >= 5
        first = torch.where(label[:, None] == 0, early, late).float()
        second = torch.where(label[:, None] == 0, late, early).float()
        x[:, 0, :, 9, 0] += first
        x[:, 0, :, 10, 0] += second
        return x, label

    for _ in range(40):
        x, label = clips(16)
        loss = torch.nn.functional.cross_entropy(model.train()(x).logits, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, label = clips(64)
    assert (model.eval()(x).logits.argmax(1) == label).float().mean() > 0.95
