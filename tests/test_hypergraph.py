"""The hypergraph Transformer: its layers against loops, missing joints and frames, hyperedges, reconstruction, joint loss."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from migstudy.emotion.hybrid_loss import HybridLoss
from migstudy.losses import GestureLoss
from migstudy.models import create_model
from migstudy.models.hypergraph import SIZES, HypergraphTransformer, displacement, hide, measure_motion, motion_error
from migstudy.models.hypergraph_layers import (
    PRIOR,
    HyperedgeUpdate,
    HypergraphAttention,
    HypergraphLayer,
    MultiScaleTemporal,
    TemporalConv,
    gather,
    halve,
)
from migstudy.skeletons import get_topology

EXACT = dict(rtol=0, atol=0)
CLOSE = dict(rtol=1e-9, atol=1e-9)
SMALL = dict(topology="coco17", base_channels=4, stage_blocks=(1, 1), heads=2, dilations=(1, 2), head_dropout=0.0)


def build(seed=0, **changes):
    """A small model in eval mode and float64, its parameters off their starting values."""
    torch.manual_seed(seed)
    model = HypergraphTransformer(**{**SMALL, **changes}).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def motions(n=2, frames=6, joints=17, seed=1, missing=0.3):
    """(N, 3, T, V) and present (N, T, V) with joints missing here and there, one throughout, and a frame without any."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, frames, joints, generator=generator).double()
    present = torch.rand(n, frames, joints, generator=generator) >= missing
    present[0, :, 3] = False
    if frames > 2:
        present[-1, 1] = False
    return x, present


# -- layers ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_attention_is_what_the_loops_say():
    torch.manual_seed(0)
    layer, (n, t, v, c, e) = HypergraphAttention(6, 2).double(), (2, 3, 5, 6, 3)
    layer.together.copy_(torch.tensor([0.7, -1.3]))
    x, shares = torch.randn(n, t, v, c).double(), torch.randn(n, v, e).double().softmax(-1)
    readable = torch.rand(n, t, v) < 0.7
    readable[:, :, 0] = True
    expected = torch.zeros_like(x)
    for b in range(n):
        for f in range(t):
            seen = [j for j in range(v) if readable[b, f, j]]
            edges = torch.stack([
                sum(shares[b, j, k] * x[b, f, j] for j in seen) / sum(shares[b, j, k] for j in seen) for k in range(e)
            ])
            for i in range(v):
                query, taken = layer.query(x[b, f, i]), []
                for head in range(2):
                    part, scores = slice(3 * head, 3 * head + 3), []
                    for j in seen:
                        key = layer.key(x[b, f, j]) + sum(shares[b, j, k] * layer.edge_key(edges[k]) for k in range(e))
                        share = layer.together[head] * (shares[b, i] @ shares[b, j])
                        scores.append(math.exp(query[part] @ key[part] / math.sqrt(3) + share))
                    values = [layer.value(x[b, f, j])[part] for j in seen]
                    taken.append(sum(s / sum(scores) * value for s, value in zip(scores, values)))
                message = sum(shares[b, i, k] * layer.edge_value(edges[k]) for k in range(e))
                expected[b, f, i] = layer.out(torch.cat(taken) + message)
    torch.testing.assert_close(layer(x, readable, shares), expected, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_a_frame_without_anybody_is_the_same_in_half_precision(precision, monkeypatch):
    torch.manual_seed(0)
    layer, x, shares = HypergraphAttention(8, 2), torch.randn(2, 4, 5, 8), torch.randn(2, 5, 3).softmax(-1)
    readable = torch.ones(2, 4, 5, dtype=torch.bool)
    readable[1, 2:] = False
    masks = []
    given = torch.nn.functional.scaled_dot_product_attention
    attend = lambda q, k, v, attn_mask: masks.append(attn_mask) or given(q, k, v, attn_mask)
    monkeypatch.setattr("migstudy.models.hypergraph_layers.scaled_dot_product_attention", attend)
    whole = layer(x, readable, shares)
    with torch.autocast("cpu", precision):
        half = layer(x, readable, shares)
    assert masks[1].dtype == precision and all(mask.isfinite().all() for mask in masks)
    torch.testing.assert_close(half.float(), whole, rtol=0, atol=0.02)


@torch.no_grad()
def test_hyperedges_move_towards_joints_that_fit():
    """Logits change by the scaled product of a joint's and a hyperedge's mean over time; a joint never seen says nothing."""
    torch.manual_seed(0)
    layer, x = HyperedgeUpdate(4).double(), torch.randn(1, 3, 5, 4).double()
    shares, readable = torch.rand(1, 5, 2).double(), torch.ones(1, 3, 5).bool()
    readable[0, :, 4], readable[0, 1:, 2] = False, False
    joints = torch.stack([x[0, :, 0].mean(0), x[0, :, 1].mean(0), x[0, 0, 2], x[0, :, 3].mean(0), torch.zeros(4).double()])
    weights = shares[0, :4] / shares[0, :4].sum(0)
    edges = weights.T @ joints[:4]
    torch.testing.assert_close(layer(x, readable, shares)[0], layer.joint(joints) @ layer.hyperedge(edges).T / 2, **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (3, 2), (5, 3)])
def test_the_matrix_product_is_a_convolution(kernel, dilation, stride):
    torch.manual_seed(0)
    layer, x = TemporalConv(4, kernel, dilation, stride).double(), torch.randn(2, 7, 3, 4).double()
    weight = layer.weight.unflatten(1, (kernel, 4)).transpose(1, 2)[..., None]
    theirs = torch.nn.functional.conv2d(
        x.permute(0, 3, 1, 2), weight, layer.bias, (stride, 1), (kernel // 2 * dilation, 0), (dilation, 1)
    )
    torch.testing.assert_close(layer(x), theirs.permute(0, 2, 3, 1))


@torch.no_grad()
def test_halving_takes_the_mean_of_what_is_there():
    x, readable = torch.arange(1.0, 6.0).view(1, 5, 1, 1), torch.tensor([1, 1, 0, 1, 0]).bool().view(1, 5, 1)
    halved, either = halve(x, readable)
    assert halved.flatten().tolist() == [1.5, 4.0, 5.0] and either.flatten().tolist() == [True, True, False]


@torch.no_grad()
def test_a_hyperedge_is_the_weighted_mean_of_its_joints():
    x, shares = torch.randn(2, 5, 3), torch.rand(2, 5, 4)
    shares[0, :, 1] = 0
    edges = gather(x, shares)
    torch.testing.assert_close(edges[1, 2], (shares[1, :, 2, None] * x[1]).sum(0) / shares[1, :, 2].sum())
    assert not edges[0, 1].any()


def test_gradients_of_a_layer_are_right():
    torch.manual_seed(0)
    layer = HypergraphLayer(4, 6, 2, 2, 3, (1, 2), 0.0).double()
    x, edges = torch.randn(1, 5, 4, 4).double().requires_grad_(), torch.randn(1, 4, 3).double().requires_grad_()
    readable = torch.rand(1, 5, 4) < 0.7
    forward = lambda x, edges, *parameters: layer(x, readable, edges)[::2]
    assert torch.autograd.gradcheck(lambda x, edges: forward(x, edges), (x, edges))
    assert torch.autograd.gradcheck(forward, (x, edges, *layer.parameters()), fast_mode=True)


# -- what is missing ---------------------------------------------------------------------------------------------------


@torch.no_grad()
@settings(max_examples=15)
@given(st.integers(1, 9), st.integers(0, 2**31), st.sampled_from([float("nan"), float("inf"), 1e9]))
def test_what_is_missing_is_never_looked_at(frames, seed, junk):
    model, (x, present) = build(), motions(frames=frames, seed=seed)
    output, filled = model(x, present), x.masked_fill(~present[:, None], junk)
    for ours, theirs in zip(output, model(filled, present), strict=True):
        torch.testing.assert_close(theirs, ours, **EXACT)
    assert all(torch.isfinite(part).all() for part in output if part is not None)
    torch.testing.assert_close(model.reconstruct(filled, present), model.reconstruct(x, present), **EXACT)


@torch.no_grad()
@pytest.mark.parametrize(("frames", "more"), [(6, 2), (5, 1), (5, 6), (1, 3)])
def test_more_padding_changes_nothing(frames, more):
    model, (x, present) = build(stage_blocks=(1, 1, 1)), motions(frames=frames)
    output = model(x, present)
    longer = torch.cat([x, torch.randn(2, 3, more, 17).double()], dim=2)
    padded = model(longer, torch.cat([present, torch.zeros(2, more, 17).bool()], dim=1))
    for field in ("logits", "features", "reconstruction_error"):
        torch.testing.assert_close(getattr(padded, field), getattr(output, field), **CLOSE)


@torch.no_grad()
def test_a_place_without_a_joint_is_read_by_nobody_but_reads_itself():
    """The state of a missing joint follows the others; theirs does not follow its."""
    model, (x, present) = build(), motions()
    there = model.reconstruct(x, present).permute(0, 2, 3, 1)
    model.joint[3] += 1.0  # joint 3 is missing throughout in the first clip
    moved = model.reconstruct(x, present).permute(0, 2, 3, 1)
    assert not torch.equal(moved[0, :, 3], there[0, :, 3])
    torch.testing.assert_close(moved[0, :, :3], there[0, :, :3], **EXACT)
    other = model.reconstruct(x + 1, present).permute(0, 2, 3, 1)
    assert (other[0, :, 3] - moved[0, :, 3]).abs().max() > 1e-3


@torch.no_grad()
def test_nothing_seen_is_no_evidence():
    model, (x, present) = build(), motions()
    present[1] = False
    output = model(x, present)
    torch.testing.assert_close(output.logits[1], model.fc.bias)
    assert output.reconstruction_error[1] == 0 and not output.tokens[1].any()


@torch.no_grad()
def test_zeros_are_missing_unless_told_otherwise():
    model, (x, present) = build(), motions()
    x = x * present[:, None]
    torch.testing.assert_close(model(x).logits, model(x, present).logits, **EXACT)
    torch.testing.assert_close(model(x[..., None]).logits, model(x).logits, **EXACT)
    everywhere = model(x, torch.ones_like(present)).logits
    assert (everywhere - model(x).logits).abs().max() > 1e-4


@torch.no_grad()
def test_a_clip_stands_alone_in_training_too():
    model, (x, present) = build(dropout=0.0).train(), motions(4)
    alone = model(x[2:3], present[2:3])
    torch.testing.assert_close(model(x, present).logits[2:3], alone.logits, **CLOSE)


# -- hyperedges --------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("name", ["imigue22", "imigue41", "kinect25"])
def test_hyperedges_start_from_the_parts_and_are_updated_layer_by_layer(name):
    topology = get_topology(name)
    torch.manual_seed(0)
    model = HypergraphTransformer(name, **SIZES["small"]).eval()
    for e, part in enumerate(topology.parts.values()):
        assert set((model.edges[:, e] == PRIOR).nonzero().flatten().tolist()) == set(part)
    x = torch.randn(2, 3, 8, topology.num_joints)
    layers = model.hyperedges(x)
    assert len(layers) == 2 and layers[0].shape == (2, topology.num_joints, len(topology.parts))
    for shares in layers:
        torch.testing.assert_close(shares.sum(-1), torch.ones(2, topology.num_joints))
    assert (layers[0] - model.edges.softmax(-1)).abs().max() > 1e-3 and (layers[1] - layers[0]).abs().max() > 1e-3
    assert (layers[0][0] - layers[0][1]).abs().max() > 1e-3  # each clip has its own


@torch.no_grad()
def test_renaming_joints_changes_nothing_else():
    """Joints in another order, and everything that names them: the same answer."""
    model, (x, present) = build(), motions()
    output, order = model(x, present), torch.randperm(17)
    model.joint.copy_(model.joint[order])
    model.edges.copy_(model.edges[order])
    permuted = model(x[..., order], present[..., order])
    for field in ("logits", "features", "reconstruction_error"):
        torch.testing.assert_close(getattr(permuted, field), getattr(output, field), **CLOSE)
    torch.testing.assert_close(permuted.tokens.unflatten(1, (3, 17)), output.tokens.unflatten(1, (3, 17))[:, :, order], **CLOSE)


# -- reconstruction ----------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("target", ["position", "displacement"])
@pytest.mark.parametrize("stages", [(1,), (1, 2), (1, 1, 1)])
def test_the_error_is_that_of_the_reconstruction(target, stages):
    model = build(target=target, stage_blocks=stages, decoder_blocks=2, motion_rms=0.5)
    x, present = motions(frames=7)
    output, rebuilt = model(x, present), model.reconstruct(x, present)
    assert rebuilt.shape == (2, 2, 7, 17) and output.tokens.shape[1] == 17 * math.ceil(7 / 2 ** (len(stages) - 1))
    for n in range(2):
        errors = []
        for v in range(17):
            shown = present[n, :, v]
            goal = x[n, :2, shown, v]
            if target == "displacement":
                goal = (goal - goal.mean(1, keepdim=True)) / 0.5
            errors.append((rebuilt[n][:, shown, v] - goal).square().flatten())
        torch.testing.assert_close(output.reconstruction_error[n], torch.cat(errors).mean())


@given(st.integers(0, 2**31))
@settings(max_examples=20)
def test_displacement_leaves_out_where_a_joint_is(seed):
    x, present = motions(seed=seed)
    x = x.permute(0, 2, 3, 1)
    moved = displacement(x, present)
    offset = torch.randn(2, 1, 17, 3).double()
    torch.testing.assert_close(displacement(x + offset, present), moved)
    torch.testing.assert_close(moved.sum(1), torch.zeros(2, 17, 3).double())
    assert not moved[~present].any()
    assert motion_error(moved, moved, present).tolist() == [0, 0]


def test_hiding_is_for_training_and_follows_the_generator():
    model, (x, present) = build(mask_ratio=0.4, dropout=0.0), motions(frames=20, missing=0.0)
    run = lambda seed: model(x, present, torch.Generator().manual_seed(seed)).logits
    assert torch.equal(run(0), run(1))
    model.train()
    assert torch.equal(run(0), run(0)) and not torch.equal(run(0), run(1))
    kept = hide(torch.ones(200, 20, 17).bool(), 0.4, torch.Generator().manual_seed(0))
    assert abs(kept.double().mean() - 0.6) < 0.02
    assert (kept[:, :8] == kept[:, :1]).all() and (kept[:, 16:] == kept[:, 16:17]).all()
    assert not (hide(present, 0.4) & ~present).any()


def test_what_is_hidden_is_rebuilt_and_not_seen():
    """Hidden joints count in the error, and the encoder does not know them: its gradient there comes from the target alone."""
    model, (x, present) = build(mask_ratio=0.5, dropout=0.0).train(), motions(frames=8, missing=0.0)
    x.requires_grad_()
    draw = lambda: torch.Generator().manual_seed(0)
    hidden = present & ~hide(present, 0.5, draw())
    model(x, present, draw()).logits.sum().backward()
    assert not x.grad.permute(0, 2, 3, 1)[hidden].any() and x.grad.permute(0, 2, 3, 1)[present & ~hidden].any()
    x.grad = None
    model(x, present, draw()).reconstruction_error.sum().backward()
    assert x.grad.permute(0, 2, 3, 1)[hidden][:, :2].all()


def test_the_joint_loss_adds_the_error():
    model, (x, present) = build(), motions()
    output, labels = model(x, present), torch.tensor([1, 0])
    total, parts = HybridLoss(GestureLoss(label_smoothing=0.1), weight=0.3)(output, labels)
    expected = torch.nn.functional.cross_entropy(output.logits, labels, label_smoothing=0.1)
    torch.testing.assert_close(total, expected + 0.3 * output.reconstruction_error.mean())
    torch.testing.assert_close(parts["reconstruction"], output.reconstruction_error.mean())
    torch.testing.assert_close(parts["cross_entropy"], expected)
    with pytest.raises(ValueError, match="reconstructs nothing"):
        HybridLoss()(output._replace(reconstruction_error=None), labels)
    with pytest.raises(ValueError, match="weight -1 of the reconstruction"):
        HybridLoss(weight=-1)


def test_gradients_of_the_joint_loss_are_right():
    model, (x, present) = build(motion_rms=0.5), motions(frames=5)
    x.requires_grad_()
    loss, labels = HybridLoss(weight=0.7), torch.tensor([1, 0])
    forward = lambda x, *parameters: loss(model(x, present), labels)[0]
    assert torch.autograd.gradcheck(forward, (x, *model.parameters()), fast_mode=True)
    loss(model(x, present), labels)[0].backward()
    assert torch.equal(x.grad.any(1), present)
    assert all(p.grad is not None and p.grad.abs().max() > 1e-12 for p in model.parameters())


def people(n, seed):
    """(N, 3, 12, 17) of people of all shapes, every other one with trembling wrists, and who trembles."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    x = 0.5 * torch.randn(n, 2, 1, 17, generator=generator).expand(-1, -1, 12, -1).clone()
    phase = 6.28 * torch.rand(n, 1, 1, generator=generator) + torch.arange(12)[:, None]
    x[..., 9:11] += 0.05 * labels[:, None, None, None] * torch.stack([phase.sin(), phase.cos()], 1).expand(-1, -1, -1, 2)
    return torch.cat([x, torch.ones(n, 1, 12, 17)], dim=1), labels


def test_it_learns_from_few_people_who_trembles_and_to_rebuild_it():
    (x, labels), (test, truth) = people(32, 0), people(100, 1)
    torch.manual_seed(0)
    model = HypergraphTransformer("coco17", motion_rms=measure_motion(x), **SIZES["small"], head_dropout=0.0, dropout=0.0)
    loss, optimizer = HybridLoss(), torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(45):
        total, _ = loss(model(x), labels)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    with torch.no_grad():
        output = model.eval()(test)
    assert (output.logits.argmax(1) == truth).double().mean() > 0.95
    assert output.reconstruction_error.mean() < 0.4  # 1: a still person


def test_motion_is_measured_about_each_joint_s_mean():
    x, _ = people(64, 0)
    expected = math.sqrt(0.05**2 / 2 * 2 / 17 / 2)  # a sine of 0.05, on 2 of 17 joints, in every other person
    assert measure_motion(x) == pytest.approx(expected, rel=0.05)
    assert measure_motion(x[..., None] + 7) == pytest.approx(measure_motion(x), rel=1e-4)
    assert measure_motion(x, torch.ones(64, 12, 17).bool()) == measure_motion(x)
    with pytest.raises(ValueError, match="nothing moves"):
        measure_motion(x[:, :, :1])
    model = HypergraphTransformer("coco17", motion_rms=measure_motion(x), **SIZES["small"])
    with torch.no_grad():
        model.rebuild.weight.zero_()
        assert model(x).reconstruction_error.mean() == pytest.approx(1, rel=1e-3)


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_what_they_say(size):
    model = create_model("hypergraph_transformer", topology="imigue22", **SIZES[size])
    count = sum(parameter.numel() for parameter in model.parameters())
    assert {"paper": 2e6 < count < 3e6, "small": count < 3e4}[size]
    assert model.fc.out_features == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(dims=4), "dims 4: of 3 channels"),
        (dict(mask_ratio=1.0), "mask_ratio 1.0 must be in"),
        (dict(target="motion"), "target 'motion'"),
        (dict(motion_rms=0.0), "motion_rms 0.0 must be positive"),
        (dict(heads=3), "width 4 is not divisible by 3"),
        (dict(temporal_kernel=4), "temporal_kernel 4 must be odd"),
        (dict(dilations=(1, 2, 3, 4)), "4 channels are too few for 4 dilations"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        HypergraphTransformer(**{**SMALL, **changes})


@pytest.mark.parametrize(
    ("x", "present", "message"),
    [
        (torch.zeros(2, 3, 5, 18), None, r"\(2, 3, 5, 18, 1\); this HypergraphTransformer on 'coco17' takes \(N, 3, T, 17, 1\)"),
        (torch.zeros(2, 3, 5, 17, 2), None, "takes"),
        (torch.zeros(2, 3, 5, 17), torch.ones(2, 5, 17), r"present is torch.float32 \(2, 5, 17\); expected torch.bool"),
        (torch.zeros(2, 3, 5, 17), torch.ones(2, 17, 5).bool(), r"expected torch.bool \(2, 5, 17\)"),
    ],
)
def test_inputs_that_do_not_fit_are_named(x, present, message):
    with pytest.raises(ValueError, match=message):
        HypergraphTransformer(**SMALL)(x, present)


def test_strides_other_than_two_are_refused():
    with pytest.raises(ValueError, match="temporal stride 3: 1 or 2"):
        MultiScaleTemporal(4, 4, 3, 3, (1,), 0.0)
