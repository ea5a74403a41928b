"""One contract for every model of the registry."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from migstudy.models import MODELS, ModelOutput, average_views, create_model, get_model_class, list_models

# 16 clips, half of the modalities withheld in training: each absence, and each pair, occurs
FUSION = {
    "token_dims": {"rgb": 7, "skeleton": 5}, "num_classes": 7, "width": 8, "heads": 2, "embedding_dim": 6, "memory": True,
    "grids": {"rgb": [2, 3], "skeleton": [4, 2]}, "class_tokens": ["rgb"], "modality_dropout": 0.5,
}  # fmt: skip
TOKENS = {"rgb": (16, 7, 7), "skeleton": (16, 8, 5)}

# name -> (a small configuration, its input shape, or one a modality); a new model must be entered here
CASES = {
    "agcn": (
        {"topology": "coco17", "in_channels": 3, "num_classes": 7, "base_channels": 8, "stage_blocks": [1, 1],
         "embedding_dim": 6},
        (2, 3, 8, 17),
    ),
    "ctrgcn": (
        {"topology": "coco17", "in_channels": 3, "num_classes": 7, "base_channels": 8, "stage_blocks": [1, 1],
         "embedding_dim": 6},
        (2, 3, 8, 17),
    ),
    "stgcn": (
        {"topology": "coco17", "in_channels": 3, "num_classes": 7, "base_channels": 8, "stage_blocks": [1, 1],
         "embedding_dim": 6},
        (2, 3, 8, 17),
    ),
    "attention_mil": ({**FUSION, "modality": "rgb"}, TOKENS),
    "concatenation": (FUSION, TOKENS),
    "gated_fusion": (FUSION, TOKENS),
    "gesture_lstm": (
        {"token_dims": {"gesture": 5}, "num_classes": 7, "width": 8, "embedding_dim": 6, "memory": True},
        {"gesture": (16, 7, 5)},
    ),
    "hypergraph_transformer": (
        {"topology": "coco17", "in_channels": 3, "num_classes": 7, "base_channels": 8, "stage_blocks": [1, 1], "heads": 2,
         "dilations": [1, 2], "mask_ratio": 0.3, "embedding_dim": 6},
        (2, 3, 16, 17),
    ),
    "inter_fusion": (FUSION, TOKENS),
    "joint_transformer": (FUSION, TOKENS),
    "late_fusion": ({**FUSION, "weights": "learned"}, TOKENS),
    "mvit": (
        {"num_classes": 7, "frames": 4, "size": 32, "base_channels": 8, "num_blocks": 3, "downscale_blocks": [1],
         "kv_stride": 2, "drop_path": 0.0, "embedding_dim": 6},
        (2, 3, 4, 32, 32),
    ),  # fmt: skip
    "posec3d": (
        {"in_channels": 5, "num_classes": 7, "base_channels": 4, "stage_blocks": [1, 2, 1], "embedding_dim": 6},
        (2, 5, 6, 16, 16),
    ),
    "single_modality": ({**FUSION, "modality": "rgb"}, TOKENS),
    "swinface": (
        {"num_classes": 7, "branches": [["Expression"]], "size": 16, "patch": 2, "base_channels": 8, "depths": [2, 1],
         "heads": [2, 4], "window": 4, "feature_dim": 12, "dropout": 0.0, "drop_path": 0.0},
        (4, 3, 16, 16),
    ),  # fmt: skip
    "token_fusion": (FUSION, TOKENS),
}


def build(name):
    config, shape = CASES[name]
    torch.manual_seed(0)
    model = create_model(name, **config)
    if getattr(model, "memory", None) is not None:
        model.memory.bank.normal_()
        model.memory.mass.fill_(1)  # an empty memory adds nothing
    generator = torch.Generator().manual_seed(1)
    if isinstance(shape, dict):
        return model, {modality: torch.rand(each, generator=generator) for modality, each in shape.items()}
    return model, torch.rand(shape, generator=generator)


def clips(inputs, part):
    """Some clips of a batch."""
    return {name: x[part] for name, x in inputs.items()} if isinstance(inputs, dict) else inputs[part]


def size(inputs):
    return len(next(iter(inputs.values()))) if isinstance(inputs, dict) else len(inputs)


def test_every_model_has_a_case():
    assert set(CASES) == set(MODELS) == set(list_models())


@pytest.mark.parametrize("name", MODELS)
def test_forward_gives_the_promised_shapes(name):
    model, inputs = build(name)
    config = CASES[name][0]
    output = model(inputs)
    assert isinstance(output, ModelOutput)
    batch, width = output.features.shape
    assert output.logits.shape == (batch, config["num_classes"]) and batch == size(inputs)
    assert output.tokens.ndim == 3 and output.tokens.shape[::2] == (batch, width)
    if config.get("embedding_dim"):
        assert output.embedding.shape == (batch, config["embedding_dim"])


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient(name):
    model, inputs = build(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)  # off zero, where a branch that starts at 0 would hide what lies behind it
    output = model.train()(inputs)
    heads = [output.logits, output.features, output.tokens.mean(1), *([] if output.embedding is None else [output.embedding])]
    if output.reconstruction_error is not None:
        heads.append(output.reconstruction_error[:, None])
    sum((head * torch.linspace(-1, 1, head.shape[1])).square().sum() for head in heads).backward()
    silent = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_eval_is_deterministic_and_each_clip_stands_alone(name):
    model, inputs = build(name)
    model.eval()
    with torch.inference_mode():
        together, again = model(inputs), model(inputs)
        alone = model(clips(inputs, slice(1, None)))
    for field in ("logits", "features", "tokens"):
        assert torch.equal(getattr(together, field), getattr(again, field))
        torch.testing.assert_close(getattr(together, field)[1:], getattr(alone, field), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_initialisation_follows_the_seed(name):
    first, second = build(name)[0].state_dict(), build(name)[0].state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", MODELS)
def test_weights_and_configuration_survive_the_disk(name, tmp_path):
    model, inputs = build(name)
    model.train()(inputs)  # running statistics that are no longer those of a fresh model
    model.to(memory_format=torch.channels_last_3d if getattr(inputs, "ndim", 0) == 5 else torch.preserve_format)
    model.save_pretrained(tmp_path)
    assert {"model.safetensors", "config.json"} <= {path.name for path in tmp_path.iterdir()}
    loaded = get_model_class(name).from_pretrained(tmp_path)
    assert not loaded.training
    theirs = loaded.state_dict()
    assert theirs.keys() == model.state_dict().keys()
    assert all(torch.equal(value, theirs[key]) for key, value in model.state_dict().items())
    with torch.inference_mode():
        torch.testing.assert_close(loaded(inputs).logits, model.eval()(inputs).logits)


@pytest.mark.parametrize("name", MODELS)
def test_a_file_of_another_or_half_a_model_is_refused(name, tmp_path):
    model, _ = build(name)
    model.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="size mismatch"):
        get_model_class(name).from_pretrained(tmp_path, num_classes=CASES[name][0]["num_classes"] + 1)
    state = load_file(tmp_path / "model.safetensors")
    state.popitem()
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match="[Mm]issing key"):
        get_model_class(name).from_pretrained(tmp_path)


def test_views_average_probabilities_not_logits():
    logits = torch.tensor([[[4.0, 0.0], [0.0, 1.0]]])
    expected = (torch.tensor([4.0, 0.0]).softmax(0) + torch.tensor([0.0, 1.0]).softmax(0)) / 2
    torch.testing.assert_close(average_views(logits)[0], expected)
    assert not torch.allclose(average_views(logits), logits.mean(1).softmax(-1), atol=1e-2)


def test_an_unknown_model_is_named():
    with pytest.raises(ValueError, match="unknown model 'posec4d'; known: .*posec3d"):
        create_model("posec4d")


def test_the_skeleton_path_imports_no_video_toolbox():
    code = (
        "import sys, migstudy.temporal, migstudy.augment, migstudy.heatmaps, migstudy.models.posec3d\n"
        "heavy = {'torchvision', 'timm', 'papermill', 'mediapipe', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
