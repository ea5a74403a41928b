"""The sparse stem against the dense one: the same volume, output, gradient, weights and whole network."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from migstudy.heatmaps import JointPatches, joint_patches, render_joints, render_views
from migstudy.models import posec3d, sparse_stem
from migstudy.models.posec3d import ConvNorm, PoseC3D, _convolve

# -- patches -----------------------------------------------------------------------------------------------------------

# inside, on whole pixels, at window edges, far outside, missing
positions = st.one_of(
    st.floats(-5, 30, width=32), st.integers(-3, 25).map(float), st.sampled_from([0.0, 1.8, -1.8, 1e6, float("nan")])
)
confidences = st.one_of(st.floats(0, 2, width=32), st.sampled_from([0.0, 1.0, 9.99e-4]))


@st.composite
def skeletons(draw):
    batch, frames, joints = (draw(st.integers(1, high)) for high in (2, 3, 4))
    count = batch * frames * joints
    keypoints = torch.tensor(draw(st.lists(positions, min_size=2 * count, max_size=2 * count)))
    scores = torch.tensor(draw(st.lists(confidences, min_size=count, max_size=count)))
    return keypoints.view(batch, frames, joints, 2), scores.view(batch, frames, joints)


sizes = st.tuples(st.integers(4, 22), st.integers(4, 22))


@settings(deadline=None, max_examples=40)
@given(skeletons(), sizes, st.sampled_from([0.3, 0.6, 1.5]))
def test_patches_hold_all_that_is_drawn(skeleton, size, sigma):
    keypoints, scores = skeleton
    patches = joint_patches(keypoints, scores, size, sigma)
    ends = patches.corner + torch.tensor([patches.columns.shape[-1], patches.rows.shape[-1]])
    assert (patches.corner >= 0).all() and (ends <= torch.tensor(size[::-1])).all()
    torch.testing.assert_close(patches.draw(), render_joints(keypoints, scores, size, sigma), rtol=0, atol=1e-6)


def test_views_of_patches_are_the_views_of_the_volume():
    generator = torch.Generator().manual_seed(0)
    keypoints, scores = torch.rand(2, 12, 3, 2, generator=generator) * 18, torch.rand(2, 12, 3, generator=generator)
    how = dict(num_clips=3, permutation=(1, 0, 2))
    volume = render_views(keypoints, scores, (14, 16), **how).flatten(0, 1)
    torch.testing.assert_close(joint_patches(keypoints, scores, (14, 16), **how).draw(), volume, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="5 clips"):
        joint_patches(keypoints, scores, 16, num_clips=5)
    with pytest.raises(ValueError, match="2 persons"):
        joint_patches(keypoints[:, None].repeat(1, 2, 1, 1, 1), scores[:, None].repeat(1, 2, 1, 1), 16)


# -- the convolution ---------------------------------------------------------------------------------------------------


def convolution(joints, channels=3, kernel=7, stride=1):
    return nn.Conv3d(joints, channels, (1, kernel, kernel), (1, stride, stride), (0, kernel // 2, kernel // 2), bias=False)


@settings(deadline=None, max_examples=40)
@given(skeletons(), sizes, st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 2, 3]), st.sampled_from([0.6, 1.5]), st.data())
def test_output_and_gradient_equal_the_dense_convolution(skeleton, size, kernel, stride, sigma, data):
    keypoints, scores = skeleton
    torch.manual_seed(data.draw(st.integers(0, 9)))
    conv = convolution(scores.shape[-1], data.draw(st.sampled_from([1, 3, 8])), kernel, stride)
    dense = conv(render_joints(keypoints, scores, size, sigma))
    sparse = sparse_stem.sparse_conv(joint_patches(keypoints, scores, size, sigma), conv.weight, stride)
    assert sparse.shape == dense.shape and sparse.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(sparse, dense, rtol=1e-5, atol=1e-5)
    upstream = torch.randn_like(dense)
    expected, found = (torch.autograd.grad(out, conv.weight, upstream)[0] for out in (dense, sparse))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def case(joints=5, size=24, batch=2, frames=4):
    generator = torch.Generator().manual_seed(3)
    keypoints = torch.rand(batch, frames, joints, 2, generator=generator) * (size + 6) - 3
    return keypoints, torch.rand(batch, frames, joints, generator=generator), size


@pytest.mark.parametrize("stride", [1, 2])
def test_the_gradient_is_that_of_the_output_by_finite_differences(stride):
    """The convolution is linear in its weight: <f(w), g> = <w, f'(g)> for any w and g, here in float64 sums."""
    patches, weight = joint_patches(*case()), torch.randn(3, 5, 1, 7, 7, requires_grad=True)
    out = sparse_stem.sparse_conv(patches, weight, stride)
    for seed in range(3):
        upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed))
        (gradient,) = torch.autograd.grad(out, weight, upstream, retain_graph=True)
        direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed + 10))
        moved = sparse_stem.sparse_conv(patches, weight.detach() + direction, stride) - out.detach()
        expected = (moved.double() * upstream).sum()
        assert (gradient.double() * direction).sum().item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-3)


def test_float64_gradients_go_the_dense_way():
    patches = joint_patches(*case(joints=2, size=20, batch=1, frames=1))
    conv = convolution(2, 1, 3).double()
    assert not sparse_stem.pays(conv, patches)
    assert torch.autograd.gradcheck(lambda w: nn.functional.conv3d(patches.draw().double(), w, padding=(0, 1, 1)), conv.weight)
    dense = _convolve(patches, conv, conv.weight)
    torch.testing.assert_close(dense.float(), sparse_stem.sparse_conv(patches, conv.weight.float()))


def test_threads_do_not_change_a_bit():
    patches, weight = joint_patches(*case(frames=19)), torch.randn(8, 5, 1, 7, 7, requires_grad=True)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            out = sparse_stem.sparse_conv(patches, weight)
            found.append((out.detach(), *torch.autograd.grad(out.square().sum(), weight)))
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, *found))


def test_bfloat16_is_the_float32_sum_rounded_once():
    patches, weight = joint_patches(*case()), torch.randn(8, 5, 1, 7, 7, requires_grad=True)
    plain = sparse_stem.sparse_conv(patches, weight, 2)
    with torch.autocast("cpu", torch.bfloat16):
        half = sparse_stem.sparse_conv(patches, weight, 2)
    assert half.dtype == torch.bfloat16 and torch.equal(half, plain.bfloat16())
    upstream = torch.randn_like(plain).bfloat16()
    expected, found = (torch.autograd.grad(out, weight, upstream.to(out.dtype))[0] for out in (plain, half))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(("kernel", "stride"), [(7, 1), (7, 2), (5, 3), (3, 2), (1, 1)])
def test_arranging_is_undone(kernel, stride):
    weight = torch.randn(4, 3, 1, kernel, kernel)
    assert torch.equal(sparse_stem.disarrange(sparse_stem.arrange(weight, stride), kernel, stride), weight)


# -- in the network ----------------------------------------------------------------------------------------------------


def small(**changes):
    torch.manual_seed(0)
    return PoseC3D(in_channels=5, num_classes=4, base_channels=8, stage_blocks=(1, 1, 1), dropout=0.0, **changes)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_network_answers_and_learns_alike(stride, monkeypatch):
    keypoints, scores, size = case()
    answers = []
    for sparse in (True, False):
        model = small(stem_stride=stride).train()
        inputs = joint_patches(keypoints, scores, size) if sparse else render_joints(keypoints, scores, size)
        called = []
        monkeypatch.setattr(posec3d, "sparse_conv", _spy(called, sparse_stem.sparse_conv))
        logits = model(inputs).logits
        logits.square().sum().backward()
        assert bool(called) == sparse
        answers.append((logits, *(p.grad for p in model.parameters()), *model.buffers()))
    for found, expected in zip(*answers, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def _spy(called, function):
    def spy(*arguments):
        called.append(True)
        return function(*arguments)

    return spy


def test_the_norm_is_folded_into_the_stem_where_nothing_is_learned():
    keypoints, scores, size = case()
    torch.manual_seed(1)
    layer = ConvNorm(5, 8, (1, 7, 7)).eval()
    for value in (layer.bn.running_mean, layer.bn.bias):
        nn.init.normal_(value.data)
    nn.init.uniform_(layer.bn.running_var, 0.5, 2)
    patches, volume = joint_patches(keypoints, scores, size), render_joints(keypoints, scores, size)
    expected = layer.bn(layer.conv(volume)).detach()
    with torch.no_grad():
        torch.testing.assert_close(layer(patches), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(layer(volume), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer(patches), expected, rtol=1e-5, atol=1e-5)


def test_names_and_shapes_of_the_weights_are_the_dense_ones():
    state = small().state_dict()
    assert state["backbone.conv1.conv.weight"].shape == (8, 5, 1, 7, 7)
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {f"backbone.conv1.{name}" for name in ("conv.weight", *(f"bn.{n}" for n in norm))}
    assert {key for key in state if key.startswith("backbone.conv1.")} == expected


def test_what_does_not_fit_is_drawn():
    keypoints, scores, size = case()
    patches, conv = joint_patches(keypoints, scores, size), convolution(5)
    assert sparse_stem.pays(conv, patches)
    learned = joint_patches(keypoints.clone().requires_grad_(), scores, size)
    wide = joint_patches(keypoints, scores, size, sigma=2.0)
    odd = [
        (nn.Conv3d(5, 3, (3, 7, 7), padding=(1, 3, 3), bias=False), patches),
        (nn.Conv3d(5, 3, (1, 7, 5), padding=(0, 3, 2), bias=False), patches),
        (nn.Conv3d(5, 3, (1, 7, 7), padding=(0, 3, 3)), patches),
        (nn.Conv3d(5, 3, (1, 7, 7), bias=False), patches),
        (nn.Conv3d(5, 5, (1, 7, 7), padding=(0, 3, 3), groups=5, bias=False), patches),
        (conv, learned), (conv, wide),
    ]  # fmt: skip
    for other, given_patches in odd:
        assert not sparse_stem.pays(other, given_patches)
        torch.testing.assert_close(_convolve(given_patches, other, other.weight), other(given_patches.draw()))
    _convolve(learned, conv, conv.weight).sum().backward()  # draws, and the coordinates have their gradient
    with torch.no_grad():
        assert sparse_stem.pays(conv, learned)


def test_nothing_to_convolve():
    keypoints, scores, size = case()
    empty = joint_patches(keypoints, torch.zeros_like(scores), size)
    weight = torch.randn(3, 5, 1, 7, 7, requires_grad=True)
    out = sparse_stem.sparse_conv(empty, weight)
    assert not out.any() and not torch.autograd.grad(out.sum(), weight)[0].any()
    none = JointPatches(*(p[:0] for p in empty[:3]), empty.size)
    assert sparse_stem.sparse_conv(none, weight).shape == (0, 3, 4, 24, 24)
