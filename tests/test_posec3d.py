"""PoseC3D against the original: the same numbers, gradients, running statistics and initialisation."""

import copy
import json
import pickle

import numpy as np
import pytest
import recipe
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from migstudy.models import average_views
from migstudy.models.posec3d import PoseC3D

SMALL = ["posec3d_small_c17", "posec3d_small_c22_miga"]
STAGES = ("conv1", "maxpool", "layer1", "layer2", "layer3")


@pytest.fixture(scope="module")
def stored(fixtures_dir):
    """name -> the arrays of a fixture, each file read once."""
    return {name: dict(np.load(fixtures_dir / f"{name}.npz")) for name in [*SMALL, "posec3d_r50_recipe_c22"]}


def original(data, **changes):
    """The network of a small fixture, with the fixture's weights."""
    config = json.loads(str(data["meta/config"]))
    state = {key[3:]: torch.from_numpy(value) for key, value in data.items() if key.startswith("sd/")}
    model = PoseC3D(
        in_channels=config["backbone"]["in_channels"], num_classes=config["cls_head"]["num_classes"],
        base_channels=config["backbone"]["base_channels"], dropout=0.0,
        embedding_dim=300 if "eval/emb" in data else None, **changes,
    )  # fmt: skip
    return model.load_published_weights(state)


def inputs_of(data):
    inputs = recipe.unit_input(str(data["meta/input_key"]), tuple(data["meta/input_shape"]))
    assert recipe.crc32(inputs) == data["meta/input_crc32"]
    return torch.from_numpy(inputs)


# -- evaluation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_equal_the_original(stored, name):
    data = stored[name]
    model, inputs = original(data).eval(), inputs_of(data)
    seen = {}
    for stage in STAGES:
        model.backbone.get_submodule(stage).register_forward_hook(lambda *a, stage=stage: seen.update({stage: a[2]}))
    with torch.inference_mode():
        single = model(inputs)
        double = model.double()(inputs.double())
    for stage, value in seen.items():
        assert list(value.shape) == data[f"eval/shape/{stage}"].tolist()
        value = value.relu() if stage == "conv1" else value  # the original's stem holds its activation
        np.testing.assert_allclose(value.mean((0, 3, 4)), data[f"eval/mean/{stage}"], atol=1e-5, err_msg=stage)
    np.testing.assert_allclose(single.logits, data["eval/logits"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(double.logits, data["eval/logits_f64"], atol=1e-9, rtol=0)
    np.testing.assert_allclose(average_views(single.logits[None]), data["eval/prob_mean_of_2_clips"], atol=1e-6)
    if "eval/emb" in data:
        np.testing.assert_allclose(single.embedding, data["eval/emb"], atol=1e-5, rtol=0)
        np.testing.assert_allclose(double.embedding, data["eval/emb_f64"], atol=1e-9, rtol=0)


def test_the_full_network_equals_the_original(stored):
    data = stored["posec3d_r50_recipe_c22"]
    model = PoseC3D(in_channels=22, num_classes=32).eval()
    state = recipe.filled_state(model)
    assert list(state) == data["keys"].tolist()
    assert [json.dumps(list(value.shape)) for value in state.values()] == data["shapes"].tolist()
    for value, crc, filled in zip(state.values(), data["crc32"], data["filled"], strict=True):
        assert not filled or recipe.crc32(value.numpy()) == crc
    assert sum(parameter.numel() for parameter in model.parameters()) == data["meta/n_params"]
    model.load_published_weights(state)
    inputs = inputs_of(data)
    with torch.inference_mode():
        single, double = model(inputs), model.double()(inputs.double())
    np.testing.assert_allclose(single.logits, data["eval/logits"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(single.features, data["eval/pooled"], atol=1e-5, rtol=0)
    np.testing.assert_allclose(double.logits, data["eval/logits_f64"], atol=1e-9, rtol=0)
    np.testing.assert_allclose(double.features, data["eval/pooled_f64"], atol=1e-9, rtol=0)
    assert double.tokens.shape == (2, 24 * 7 * 7, 512)


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["fixedbn", "trainbn"])
@pytest.mark.parametrize("name", SMALL)
def test_a_training_step_equals_the_original(stored, name, mode):
    data = stored[name]
    model = original(data).double().train()
    if mode == "fixedbn":
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm3d):
                module.eval()
    output = model(inputs_of(data).double())
    loss = F.cross_entropy(output.logits, torch.from_numpy(data["label"]))
    if "emb_target" in data:  # the 2023 entry: CE + 20 MSE on the feature before dropout
        loss = loss + 20 * F.mse_loss(output.embedding, torch.from_numpy(data["emb_target"]).double())
    loss.backward()
    assert loss.item() == pytest.approx(float(data[f"{mode}/loss"]), rel=1e-12)
    if f"{mode}/logits" in data:
        np.testing.assert_allclose(output.logits.detach(), data[f"{mode}/logits"], atol=1e-6)
    parameters, state = dict(model.named_parameters()), model.state_dict()
    compared = {"grad": 0, "gradnorm": 0, "after": 0}
    for entry, expected in data.items():
        group, _, rest = entry.partition("/")
        kind, _, key = rest.partition("/")
        if group != mode or kind not in compared:
            continue
        compared[kind] += 1
        if kind == "gradnorm":
            assert parameters[key].grad.norm().item() == pytest.approx(float(expected), rel=1e-9), key
        else:
            ours = parameters[key].grad if kind == "grad" else state[key]
            np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max(), err_msg=entry)
    assert compared["gradnorm"] == len(parameters) and compared["grad"] >= 2
    if mode == "trainbn" and name == SMALL[0]:
        assert compared["after"] > 80


def test_the_embedding_is_read_before_the_dropout():
    model = PoseC3D(in_channels=3, base_channels=4, stage_blocks=(1, 1, 1), dropout=0.9, embedding_dim=8).train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eval()
    volume = torch.rand(2, 3, 4, 16, 16)
    first, second = model(volume), model(volume)
    torch.testing.assert_close(first.embedding, second.embedding, rtol=0, atol=0)
    torch.testing.assert_close(first.features, second.features, rtol=0, atol=0)
    assert not torch.allclose(first.logits, second.logits)


# -- structure and initialisation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch", [2, 16])
def test_cheaper_ways_change_nothing(batch, training):
    """Folded norms, products instead of convolutions, activations in place: against convolution, norm and ReLU one by one."""
    torch.manual_seed(0)
    model = PoseC3D(in_channels=3, base_channels=8, stage_blocks=(2, 1, 2), dropout=0.0).train(training)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.1)
    model = model.double().to(memory_format=torch.channels_last_3d)
    volume = torch.rand(batch, 3, 4, 16, 16).double().contiguous(memory_format=torch.channels_last_3d)
    plain = copy.deepcopy(model)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)  # small batches go another way there
        with torch.set_grad_enabled(training):
            logits = model(volume).logits
        expected = one_by_one(plain, volume)
        np.testing.assert_allclose(logits.detach(), expected.detach(), atol=1e-10)
        if training:
            logits.square().sum().backward()
            expected.square().sum().backward()
            for (name, found), wanted in zip(model.named_parameters(), plain.parameters(), strict=True):
                np.testing.assert_allclose(found.grad, wanted.grad, atol=1e-9, err_msg=name)
    finally:
        torch.set_num_threads(before)


def one_by_one(model, x):
    def layer(block, x):
        return F.batch_norm(
            F.conv3d(x, block.conv.weight, None, block.conv.stride, block.conv.padding), block.bn.running_mean,
            block.bn.running_var, block.bn.weight, block.bn.bias, model.training, 0.1, 1e-5,
        )  # fmt: skip

    backbone = model.backbone
    x = F.max_pool3d(layer(backbone.conv1, x).relu(), (1, 3, 3), 1, (0, 1, 1))
    for stage in (backbone.layer1, backbone.layer2, backbone.layer3):
        for block in stage:
            residual = x if block.downsample is None else layer(block.downsample, x)
            x = layer(block.conv2, layer(block.conv1, x).relu()).relu()
            x = (layer(block.conv3, x) + residual).relu()
    return F.linear(x.mean((2, 3, 4)), model.cls_head.fc_cls.weight, model.cls_head.fc_cls.bias)


def test_strides_and_inflation_sit_where_the_original_has_them():
    backbone = PoseC3D().backbone
    assert backbone.maxpool.stride == 1
    for stage, blocks in enumerate((4, 6, 3), start=1):
        layer = backbone.get_submodule(f"layer{stage}")
        assert len(layer) == blocks
        for i, block in enumerate(layer):
            temporal = 2 if (stage, i) == (3, 0) else 1
            assert block.conv1.conv.kernel_size == ((1, 1, 1) if stage == 1 else (3, 1, 1))
            assert block.conv1.conv.stride == (1, 1, 1)
            assert block.conv2.conv.stride == ((temporal, 2, 2) if i == 0 else (1, 1, 1))
            assert (block.downsample is not None) == (i == 0)


def test_initialisation_is_the_originals():
    torch.manual_seed(0)
    model = PoseC3D(in_channels=22, embedding_dim=300)
    for key, module in model.named_modules():
        if isinstance(module, torch.nn.Conv3d):
            fan_out = module.out_channels * np.prod(module.kernel_size)
            tolerance = 5 / np.sqrt(2 * module.weight.numel())
            assert module.weight.std().item() == pytest.approx(np.sqrt(2 / fan_out), rel=tolerance), key
            assert module.bias is None
        elif isinstance(module, torch.nn.BatchNorm3d):
            assert (module.weight == (0 if key.endswith("conv3.bn") else 1)).all() and not module.bias.any(), key
            assert (module.eps, module.momentum) == (1e-5, 0.1)
        elif isinstance(module, torch.nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.01, rel=0.05) and not module.bias.any()


@pytest.mark.parametrize(
    "config",
    [
        {"stem_kernel": 3},
        {"stem_stride": 2},
        {"stage_blocks": (2, 2), "inflate": (0, 1), "spatial_strides": (1, 2), "temporal_strides": (2, 1)},
    ],
)
def test_small_profiles_are_a_matter_of_configuration(config):
    model = PoseC3D(in_channels=4, base_channels=4, **config).eval()
    output = model(torch.rand(1, 4, 8, 20, 20))
    assert torch.isfinite(output.logits).all()
    assert output.features.shape[1] == 4 * 4 * 2 ** (len(model._hub_mixin_config["stage_blocks"]) - 1)


def test_stages_and_strides_must_agree():
    with pytest.raises(ValueError, match="argument"):
        PoseC3D(stage_blocks=(1, 1))


# -- published checkpoints ---------------------------------------------------------------------------------------------


def tiny(**changes):
    return PoseC3D(**{"in_channels": 3, "num_classes": 4, "base_channels": 4, "stage_blocks": (1, 1, 1), **changes})


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "module", "safetensors"])
def test_checkpoints_load_in_every_wrapping(tmp_path, wrap):
    torch.manual_seed(0)
    source, target = tiny(), tiny()
    state, path = source.state_dict(), tmp_path / "checkpoint.pth"
    if wrap == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file(state, path)
    elif wrap == "module":
        torch.save({"meta": {"epoch": 24}, "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    else:
        torch.save(state if wrap == "plain" else {"state_dict": state, "meta": {"config": "model = dict()"}}, path)
    assert target.load_published_weights(path) is target
    assert all(torch.equal(value, state[key]) for key, value in target.state_dict().items())


def test_one_message_lists_all_that_does_not_fit():
    state = tiny(num_classes=9, embedding_dim=5).state_dict()
    del state["backbone.conv1.bn.weight"]
    model = tiny()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError) as caught:
        model.load_published_weights(state)
    message = str(caught.value)
    for part in ("1 missing: backbone.conv1.bn.weight", "2 unexpected: cls_head.emb_fc.bias, cls_head.emb_fc.weight",
                 "cls_head.fc_cls.weight (9, 64) instead of (4, 64)", "skip=('cls_head.',)"):  # fmt: skip
        assert part in message
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_another_label_set_starts_from_the_published_backbone():
    torch.manual_seed(0)
    published, model = tiny(num_classes=9), tiny()
    head = model.cls_head.fc_cls.weight.clone()
    model.load_published_weights(published.state_dict(), skip=("cls_head.",))
    assert torch.equal(model.backbone.conv1.conv.weight, published.backbone.conv1.conv.weight)
    assert torch.equal(model.cls_head.fc_cls.weight, head)


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code ran')",))


def test_code_in_a_checkpoint_never_runs(tmp_path):
    path = tmp_path / "foreign.pth"
    torch.save({"state_dict": {}, "hook": Bomb()}, path)
    with pytest.raises(ValueError, match="foreign.pth holds more than tensors"):
        tiny().load_published_weights(path)
    path.write_bytes(pickle.dumps(Bomb(), protocol=2))
    with pytest.raises(ValueError, match="holds more than tensors"):
        tiny().load_published_weights(path)
