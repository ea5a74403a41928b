"""MViTv2-S against the original and torchvision: the same numbers, both key formats, any clip size, small presets."""

import json
import subprocess
import sys
import urllib.error

import numpy as np
import pytest
import recipe
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.video import mvit_v2_s

from migstudy.models import create_model
from migstudy.models.mvit import PRESETS, MViT

TINY = {"num_classes": 5, "frames": 4, "size": 32, "base_channels": 8, "num_blocks": 3, "downscale_blocks": (1,), "kv_stride": 2}


def tiny(seed=0, **changes):
    torch.manual_seed(seed)
    return MViT(**{**TINY, **changes})


def rgb(*shape, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


# -- the original ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(fixtures_dir):
    return dict(np.load(fixtures_dir / "mvit_tiny_custom.npz", allow_pickle=False))


def published(stored):
    """The fixture's weights under mmaction2's names."""
    state = {}
    for key, shape, crc in zip(stored["keys"], stored["shapes"], stored["crc32"], strict=True):
        value = recipe.fill(str(key), tuple(json.loads(str(shape))))
        assert recipe.crc32(value) == crc
        state[str(key)] = torch.from_numpy(value)
    return state


def network(stored, **changes):
    meta = json.loads(str(stored["meta/backbone"]))
    arch = meta["arch"]
    return MViT(**{
        "num_classes": 32, "frames": meta["temporal_size"], "size": meta["spatial_size"],
        "base_channels": arch["embed_dims"], "num_blocks": arch["num_layers"], "num_heads": arch["num_heads"],
        "downscale_blocks": arch["downscale_indices"], "drop_path": meta["drop_path_rate"], **changes,
    })  # fmt: skip


def clip_of(stored):
    low, high = stored["meta/input_range"]
    inputs = recipe.unit_input(str(stored["meta/input_key"]), tuple(stored["meta/input_shape"]), low, high)
    assert recipe.crc32(inputs) == stored["meta/input_crc32"]
    return torch.from_numpy(inputs)


def test_it_equals_the_original_under_mmaction2s_key_names(stored):
    model, clip = network(stored).load_published_weights(published(stored)).eval(), clip_of(stored)
    assert sum(parameter.numel() for parameter in model.parameters()) == stored["meta/n_params"]
    seen = {}
    for i, block in enumerate(model.blocks):
        block.register_forward_hook(lambda module, inputs, output, i=i: seen.update({i: output[0]}))
    with torch.inference_mode():
        single = model(clip)
        for i, value in seen.items():
            assert list(value.shape) == stored[f"eval/shape/blocks.{i}"].tolist()
            np.testing.assert_allclose(value.mean(1), stored[f"eval/mean_over_tokens/blocks.{i}"], atol=1e-5, rtol=0)
        double = model.double()(clip.double())
    assert len(seen) == 5
    np.testing.assert_allclose(single.features, stored["eval/cls_token"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(single.tokens[:, 1:].mean(1), stored["eval/patch_token_mean"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(single.logits, stored["eval/logits"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(double.logits, stored["eval/logits_f64"], atol=1e-9, rtol=0)


def test_a_checkpoint_of_either_library_gives_the_same_network(stored, tmp_path):
    """mmaction2's names -> ours -> a file under torchvision's names -> the same weights."""
    first = network(stored).load_published_weights(published(stored))
    torch.save({"state_dict": {f"module.{key}": value for key, value in first.state_dict().items()}}, tmp_path / "own.pth")
    second = network(stored).load_published_weights(tmp_path / "own.pth")
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())


# -- torchvision -------------------------------------------------------------------------------------------------------


def test_torchvisions_own_state_dict_loads_key_by_key():
    torch.manual_seed(0)
    theirs = mvit_v2_s(weights=None).eval()
    ours = MViT(num_classes=400).eval()
    state = theirs.state_dict()
    assert state.keys() == ours.state_dict().keys()
    assert {key: value.shape for key, value in state.items()} == {k: v.shape for k, v in ours.state_dict().items()}
    ours.load_published_weights(state)
    clip = rgb(1, 3, 16, 224, 224)
    with torch.inference_mode():
        output, expected = ours(clip), theirs(clip)
    torch.testing.assert_close(output.logits, expected, rtol=0, atol=1e-6)
    assert output.tokens.shape == (1, 1 + 8 * 7 * 7, 768) and output.features.shape == (1, 768)
    assert sum(parameter.numel() for parameter in ours.parameters()) == 34_537_744


def test_kinetics_weights_start_another_label_set_and_another_clip_size():
    torch.manual_seed(0)
    published = mvit_v2_s(weights=None).state_dict()
    model = MViT(num_classes=32, frames=8, size=112)
    head = model.head[1].weight.clone()
    model.load_published_weights(published, skip=("head.",))
    assert torch.equal(model.head[1].weight, head)
    assert torch.equal(model.blocks[5].mlp[0].weight, published["blocks.5.mlp.0.weight"])
    table, source = model.blocks[0].attn.rel_pos_h, published["blocks.0.attn.rel_pos_h"]
    assert len(source) == 111 and len(table) == 55
    assert (table[27] - source[55]).abs().max() < 1e-6  # distance 0 stays distance 0


def refuse(*_, **__):
    raise urllib.error.URLError("no route to host")


def test_without_a_network_one_message_says_what_to_fetch(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ConnectionError, match=r"no route to host.*Fetch https://\S+mvit_v2_s-\S+\.pth .*file's path"):
        MViT(num_classes=400).load_published_weights("kinetics")


def test_nothing_is_downloaded_unasked(monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    tiny().load_published_weights(tiny(seed=1).state_dict())
    with pytest.raises(FileNotFoundError):
        tiny().load_published_weights("kinetics.pth")


def test_one_message_lists_all_that_does_not_fit():
    state = tiny(num_classes=9, base_channels=16).state_dict()
    del state["norm.weight"]
    model = tiny()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError) as caught:
        model.load_published_weights(state)
    for part in ("1 missing: norm.weight", "head.1.weight (9, 32) instead of (5, 16)", "skip=('head.',)"):
        assert part in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_checkpoint_that_does_not_fit_is_named(tmp_path):
    torch.save(tiny(num_classes=9).state_dict(), tmp_path / "nine.pth")
    with pytest.raises(ValueError, match=r"nine\.pth does not fit this MViT: 2 misshapen"):
        tiny().load_published_weights(tmp_path / "nine.pth")


@pytest.mark.parametrize("prefix", ["head.", "cls_head."])
def test_the_head_is_left_out_under_either_name(stored, prefix):
    model = network(stored, num_classes=7)
    head = model.head[1].weight.clone()
    model.load_published_weights(published(stored), skip=(prefix,))
    assert torch.equal(model.head[1].weight, head)
    assert torch.equal(model.norm.bias, published(stored)["backbone.norm3.bias"])


# -- clip sizes --------------------------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(
    clips=st.integers(1, 2), frames=st.integers(2, 9), height=st.integers(8, 50), width=st.integers(8, 50),
    downscale=st.sampled_from([(), (1,), (1, 2)]), kv_stride=st.sampled_from([1, 3, 8]), heads=st.integers(1, 2),
)  # fmt: skip
def test_clips_of_any_size_pass(clips, frames, height, width, downscale, kv_stride, heads):
    model = tiny(size=(32, 48), downscale_blocks=downscale, kv_stride=kv_stride, num_heads=heads).eval()
    with torch.inference_mode():
        output = model(rgb(clips, 3, frames, height, width))
    t, h, w = -(-frames // 2), -(-height // 4), -(-width // 4)
    for _ in downscale:
        h, w = -(-h // 2), -(-w // 2)
    channels = 8 * 2 ** len(downscale)
    assert output.tokens.shape == (clips, 1 + t * h * w, channels) and output.logits.shape == (clips, 5)
    assert output.features.shape == (clips, channels) and torch.isfinite(output.tokens).all()
    assert torch.equal(output.features, output.tokens[:, 0])


@settings(max_examples=5)
@given(frames=st.sampled_from([4, 8, 16]), size=st.sampled_from([16, 32, 64]))
def test_tables_interpolated_on_loading_equal_those_interpolated_on_the_way(frames, size):
    source = tiny(downscale_blocks=(1, 2)).eval()
    target = tiny(1, downscale_blocks=(1, 2), frames=frames, size=size).load_published_weights(source.state_dict()).eval()
    assert size == 32 or len(target.blocks[0].attn.rel_pos_h) != len(source.blocks[0].attn.rel_pos_h)
    clip = rgb(2, 3, frames, size, size)
    with torch.inference_mode():
        torch.testing.assert_close(target(clip).tokens, source(clip).tokens, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 4}, "4 frames of 4 x 4 px leave no token"),
        ({"frames": 1}, "1 frames of 32 x 32 px"),
        ({"downscale_blocks": (3,)}, r"must lie in 1\.\.num_blocks - 1 = 2"),
        ({"num_blocks": 1, "downscale_blocks": ()}, "num_blocks"),
    ],
)
def test_impossible_networks_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


@pytest.mark.parametrize("shape", [(2, 4, 3, 32, 32), (3, 4, 32, 32)])
def test_frames_in_the_wrong_place_are_refused(shape):
    with pytest.raises(ValueError, match=r"RGB clips \(N, 3, T, H, W\), not"):
        tiny()(torch.zeros(shape))


# -- training ----------------------------------------------------------------------------------------------------------


def test_every_parameter_gets_a_gradient():
    model = tiny(embedding_dim=6, drop_path=0.0).train()
    output = model(rgb(2, 3, 4, 32, 32))
    # the class token looks at no position table, so the last block's show in the other tokens only
    heads = (output.logits, output.embedding, output.tokens)
    sum((head * torch.linspace(-1, 1, head.shape[-1])).square().sum() for head in heads).backward()
    assert not [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]


def test_gradients_are_those_of_finite_differences():
    model = tiny(drop_path=0.0, dropout=0.0, frames=2, size=8, base_channels=4, num_blocks=2).double()
    clip = rgb(1, 3, 2, 8, 8).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: model(x).tokens.mean(1), clip, fast_mode=True)


def test_features_and_tokens_are_read_before_the_dropout():
    model = tiny(dropout=0.9, drop_path=0.0, embedding_dim=6).train()
    clip = rgb(2, 3, 4, 32, 32)
    first, second = model(clip), model(clip)
    for field in ("features", "tokens", "embedding"):
        assert torch.equal(getattr(first, field), getattr(second, field)), field
    assert torch.equal(first.features, first.tokens[:, 0]) and not torch.allclose(first.logits, second.logits)


def test_it_learns_where_something_moves():
    """Which way a bright bar goes: still pictures of it say nothing."""
    rng = np.random.default_rng(0)
    clips, labels = np.zeros((32, 3, 4, 32, 32), np.float32), np.arange(32) % 2
    for clip, label in zip(clips, labels, strict=True):
        start = rng.integers(8, 20)
        for t in range(4):
            x = start + (4 * t if label else -4 * t) - (6 if label else -6)
            clip[:, t, :, max(x, 0) : x + 4] = 1
    model = tiny(num_classes=2, dropout=0.0, drop_path=0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    inputs, targets = torch.from_numpy(clips), torch.from_numpy(labels)
    for _ in range(40):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs).logits, targets).backward()
        optimizer.step()
    with torch.inference_mode():
        assert (model.eval()(inputs).logits.argmax(1) == targets).float().mean() > 0.9


# -- presets, disk -----------------------------------------------------------------------------------------------------


def test_presets_are_the_published_network_and_a_small_one():
    assert PRESETS["mvit_v2_s"] == {}
    small = create_model("mvit", num_classes=32, **PRESETS["small"])
    assert sum(parameter.numel() for parameter in small.parameters()) < 400_000
    output = small(rgb(2, 3, 8, 64, 64))
    assert output.logits.shape == (2, 32) and output.tokens.shape == (2, 1 + 4 * 4 * 4, 128)


def test_weights_and_configuration_survive_the_disk(tmp_path):
    model = tiny(size=(32, 48), embedding_dim=6).eval()
    model.save_pretrained(tmp_path)
    loaded = MViT.from_pretrained(tmp_path)
    clip = rgb(2, 3, 4, 32, 48)
    with torch.inference_mode():
        for ours, theirs in zip(model(clip), loaded(clip), strict=True):
            assert ours is theirs is None or torch.equal(ours, theirs)
    with pytest.raises(RuntimeError, match="size mismatch"):
        MViT.from_pretrained(tmp_path, num_classes=6)


def test_the_registry_loads_torchvision_only_when_asked():
    code = "import sys, migstudy, migstudy.models; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
