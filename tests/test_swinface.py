"""SwinFace against the original: the same numbers for every task, the released checkpoint's keys, other sizes, gradients."""

import json

import numpy as np
import pytest
import recipe
import torch
from safetensors.torch import save_file

from migstudy.models import create_model
from migstudy.models.swin import Swin, from_windows, shift_mask, to_windows
from migstudy.models.swinface import BRANCHES, EXPRESSIONS, PRESETS, SwinFace, _shares

TINY = {
    "size": 16, "patch": 2, "base_channels": 8, "depths": (2, 1), "heads": (2, 4), "window": 4, "feature_dim": 12,
    "dropout": 0.0, "drop_path": 0.0,
}  # fmt: skip
UNUSED = {"backbone.head.weight", "backbone.head.bias"}


def tiny(seed=0, **changes):
    torch.manual_seed(seed)
    return SwinFace(**{**TINY, **changes})


def faces(n=2, size=16, seed=1):
    return torch.rand((n, 3, size, size), generator=torch.Generator().manual_seed(seed)) * 2 - 1


# -- the original ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stored(fixtures_dir):
    return dict(np.load(fixtures_dir / "swinface.npz", allow_pickle=False))


@pytest.fixture(scope="module")
def checkpoint(stored):
    """The fixture's weights as the authors save them: a state dict a part, without the part's name before its keys."""
    model, parts = SwinFace(), {}
    own = model.state_dict()
    for key, shape, crc, filled in zip(stored["keys"], stored["shapes"], stored["crc32"], stored["filled"], strict=True):
        part, _, rest = str(key).partition(".")
        value = recipe.fill(str(key), tuple(json.loads(str(shape))))
        assert (value is not None) == filled and (not filled or recipe.crc32(value) == crc)
        parts.setdefault(f"state_dict_{part}", {})[rest] = own[key] if value is None else torch.from_numpy(value)
    assert own.keys() | UNUSED == set(stored["keys"])
    return {"epoch": 3, "global_step": 79999, "state_dict_softmax_fc": {"weight": torch.zeros(3, 2)}, **parts}


@pytest.fixture(scope="module")
def published(checkpoint):
    return SwinFace().load_published_weights(checkpoint).eval()


def _close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)


def test_it_equals_the_original_in_every_task(stored, published):
    low, high = stored["meta/input_range"]
    inputs = recipe.unit_input(str(stored["meta/input_key"]), stored["input"].shape, low, high)
    np.testing.assert_array_equal(inputs, stored["input"])
    assert sum(p.numel() for p in published.parameters()) == stored["meta/n_params"] - 512 * 768 - 512  # the unused head
    seen, hooks = {}, []
    places = {"patch_embed", *(f"layers.{i}" for i in range(4)), "layers.0.blocks.0", "layers.0.blocks.1"}
    for name, module in published.backbone.named_modules():
        if name in places:
            hooks.append(module.register_forward_hook(lambda *a, name=name: seen.update({name: a[2].flatten(1, 2)})))
    hooks.append(published.backbone.register_forward_hook(lambda *a: seen.update(backbone=a[2])))
    for i, net in enumerate(published.fam.nets):
        hooks.append(net.register_forward_hook(lambda *a, i=i: seen.update({f"fam{i}": a[2]})))
    with torch.inference_mode():
        single, output = published.task_outputs(torch.from_numpy(inputs)), published(torch.from_numpy(inputs))
    for hook in hooks:
        hook.remove()
    for name in places:
        assert list(seen[name].shape) == stored[f"eval/shape/{name}"].tolist()
        _close(seen[name].mean(1), stored[f"eval/mean_over_tokens/{name}"])
    _close(torch.cat(seen["backbone"].local, 1), stored["eval/local_features"])
    _close(seen["backbone"].global_, stored["eval/global_features"])
    _close(torch.stack([seen[f"fam{i}"] for i in range(11)]), stored["eval/fam"])
    _close(output.tokens[:, :-1].movedim(1, 0), stored["eval/tss"])
    assert set(single) == {str(name) for name in stored["meta/output_order"]} and len(single) == 43
    for name, value in single.items():
        _close(value, stored[f"eval/out/{name}"])
    _close(output.logits, stored["eval/out/Expression"])
    _close(output.features, stored["eval/out/Recognition"])
    assert torch.equal(output.tokens[:, -1], output.features) and output.tokens.shape == (2, 12, 512)


def test_it_equals_the_original_in_double_precision(stored, published):
    try:
        with torch.inference_mode():
            double = published.double().task_outputs(torch.from_numpy(stored["input"]).double())
    finally:
        published.float()
    for name, value in double.items():
        np.testing.assert_allclose(value, stored[f"eval/out_f64/{name}"], atol=1e-9, rtol=0, err_msg=name)


def test_its_own_initialisation_is_the_originals(stored):
    torch.manual_seed(0)
    own = SwinFace().state_dict()
    expected = dict(zip(stored["init/keys"].tolist(), stored["init/std"].tolist(), strict=True))
    compared = 0
    for key, value in own.items():
        if key in expected and value.numel() > 2000 and value.is_floating_point():
            std, size = value.double().std(correction=0).item(), value.numel()
            # the original's truncated normal now and then draws its bound, 2, a hundred standard deviations away
            strays = max(round((expected[key] ** 2 - std**2) * size / 4), 0)
            theirs = (expected[key] ** 2 - strays * 4 / size) ** 0.5
            assert std == pytest.approx(theirs, rel=0.01 + 5 * size**-0.5, abs=1e-12) and strays < 4, key
            compared += 1
    assert compared > 90


# -- the released checkpoint -------------------------------------------------------------------------------------------


def test_the_released_file_is_read_without_unpickling_code(published, checkpoint, tmp_path):
    file = tmp_path / "checkpoint_step_79999_gpu_0.pt"
    parts = {name: value for name, value in checkpoint.items()}
    parts["state_optimizer"] = {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]}
    torch.save(parts, file)
    loaded = SwinFace().load_published_weights(file)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in published.state_dict().items())
    del parts["state_dict_fam"], parts["state_dict_om"]
    torch.save(parts, file)
    with pytest.raises(ValueError, match=r"gpu_0\.pt has no state_dict_fam, state_dict_om; .*skip=\('fam\.', 'om\.'\)"):
        SwinFace().load_published_weights(file)
    other = SwinFace(num_classes=8)
    before = other.fam.nets[0].conv.convs[0].weight.clone()
    other.load_published_weights(file, skip=("fam.", "om."))
    assert torch.equal(other.fam.nets[0].conv.convs[0].weight, before)
    assert torch.equal(other.backbone.norm.weight, published.backbone.norm.weight)


class Harmful:
    def __reduce__(self):
        return (print, ("code of the file has run",))


def test_a_file_that_would_run_code_or_does_not_fit_is_refused(tmp_path, capsys):
    file = tmp_path / "bad.pt"
    torch.save({"state_dict_backbone": {}, "state_lr_scheduler": Harmful()}, file)
    with pytest.raises(ValueError, match=r"bad\.pt holds more than tensors"):
        tiny().load_published_weights(file)
    assert "has run" not in capsys.readouterr().out
    save_file(tiny(feature_dim=16).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors does not fit this SwinFace: \d+ misshapen: .*instead of"):
        tiny().load_published_weights(tmp_path / "other.safetensors")
    save_file(tiny(seed=3).state_dict(), tmp_path / "same.safetensors")
    model = tiny().load_published_weights(tmp_path / "same.safetensors")
    assert torch.equal(model.om.output_fcs[5].weight, tiny(seed=3).om.output_fcs[5].weight)


# -- parts -------------------------------------------------------------------------------------------------------------


def test_tasks_are_those_of_the_paper():
    tasks = [task for branch in BRANCHES for task in branch]
    assert len(BRANCHES) == 11 and len(set(tasks)) == 42 and len(EXPRESSIONS) == 7
    sizes = SwinFace(**TINY).sizes
    assert sizes.pop("Age") == 1 and sizes.pop("Expression") == 7 and set(sizes.values()) == {2}


def test_a_shifted_window_sees_only_what_were_neighbours():
    """Through a whole block's attention: a token answers to tokens of its own shifted window alone, never round the edge."""
    side, window, shift = 8, 4, 2
    mask = shift_mask(side, window, shift)
    place = to_windows(torch.arange(side * side).view(1, side, side, 1).roll((-shift, -shift), (1, 2)), window)[0, ..., 0]
    for w in range(len(place)):
        rows, columns = place[w] // side, place[w] % side
        far = ((rows[:, None] - rows[None]).abs() >= window) | ((columns[:, None] - columns[None]).abs() >= window)
        assert torch.equal(mask[w] == 0, ~far) and set(mask[w].unique().tolist()) <= {0.0, -100.0}


def test_windows_come_apart_and_together():
    x = torch.rand(2, 8, 8, 3)
    apart = to_windows(x, 4)
    assert apart.shape == (2, 4, 16, 3) and torch.equal(apart[:, 1, 0], x[:, 0, 4]) and torch.equal(from_windows(apart, 8), x)


def test_channels_are_shared_out_as_in_the_original():
    assert _shares(512, [192, 384, 768, 768]) == [47, 93, 186, 186]
    assert sum(_shares(48, [80, 80])) == 48


# -- use ---------------------------------------------------------------------------------------------------------------


def test_every_parameter_gets_a_gradient_from_tasks_and_embedding():
    model = tiny(drop_path=0.1).train()
    outputs = model.task_outputs(faces(8))
    sum((value * torch.linspace(-1, 1, 8)[:, None]).square().sum() for value in outputs.values()).backward()
    assert not [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]


def test_gradients_are_those_of_finite_differences():
    model = tiny(branches=[["Expression"], ["Age"]], base_channels=4, heads=(1, 2), feature_dim=6).double().eval()
    inputs = faces(1).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: torch.cat(list(model.task_outputs(x).values()), 1), inputs, fast_mode=True)


def test_own_tasks_with_numbers_as_logits():
    model = tiny(branches=[["smile", "pucker"], ["blink"]], sizes={"smile": 1, "pucker": 1, "blink": 1},
                 logits_of=["blink", "smile"]).eval()  # fmt: skip
    with torch.inference_mode():
        output, tasks = model(faces()), model.task_outputs(faces())
    assert torch.equal(output.logits, torch.cat([tasks["blink"], tasks["smile"]], 1))
    assert output.tokens.shape == (2, 3, 12) and list(tasks) == ["smile", "pucker", "blink", "Recognition"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"branches": [["Age"], ["Age"]]}, "every task one name"),
        ({"branches": [["Age"], []]}, "every branch needs a task"),
        ({"branches": [["Age"]]}, "unknown task 'Expression'; the branches hold Age"),
        ({"sizes": {"Anger": 1}}, "unknown task 'Anger'"),
        ({"logits_of": ()}, "logits_of names no task"),
        ({"size": 20}, r"20 px in patches of 2 give maps of \[10, 5\]"),
        ({"heads": (3, 3)}, r"heads \(3, 3\) do not divide the channels \(8, 16\)"),
        ({"feature_dim": 1}, "feature_dim 1 leaves no channel"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


@pytest.mark.parametrize("shape", [(2, 3, 112, 112), (3, 16, 16), (2, 1, 16, 16), (2, 16, 16, 3)])
def test_other_pictures_are_refused(shape):
    with pytest.raises(ValueError, match=r"aligned RGB faces \(N, 3, 16, 16\), not .*as_model_input"):
        tiny()(torch.zeros(shape))


def test_presets_are_the_published_network_and_a_small_one():
    assert PRESETS["swinface_t"] == {}
    small = create_model("swinface", **PRESETS["small"])
    assert sum(p.numel() for p in small.parameters()) < 800_000
    assert small.eval()(faces(1, 56)).tokens.shape == (1, 12, 48)


def test_stochastic_depth_drops_branches_of_whole_pictures_in_training_alone():
    torch.manual_seed(0)
    swin = Swin(16, 2, 8, (1, 1), (2, 4), 4, 12, drop_path=0.5)
    block = swin.layers[1].blocks[0]
    assert (swin.layers[0].blocks[0].drop_path, block.drop_path) == (0, 0.5)
    block.mlp.fc2.weight.data.zero_(), block.mlp.fc2.bias.data.zero_()
    x = torch.rand(64, 4, 4, 16)
    with torch.inference_mode():
        whole, some = block.eval()(x) - x, block.train()(x) - x
    kept = some.flatten(1).any(1)
    assert 12 < kept.sum() < 52
    torch.testing.assert_close(some[kept], 2 * whole[kept], atol=1e-5, rtol=1e-4)  # the perceptron adds nothing here
