"""InterFusion's own parts: who queries whom, the gate, what absence does. The contract is in test_fusion_baselines."""

import pytest
import token_cases as cases
import torch

from migstudy.models import create_model
from migstudy.models.inter_fusion import GatedExchange, InterFusion


def test_the_defaults_are_the_reconstruction_written_down():
    model = InterFusion({"face": 512, "context": 768})
    assert model.names == ("context", "face") and model.width == 256 and model.fc.out_features == 2
    assert set(model.exchange) == {"face", "context"}
    for name in model.names:
        assert model.exchange[name].attention.heads == 4 and len(model.encoder[name].layers) == 1
    with pytest.raises(ValueError, match="needs two modalities or more, got face alone"):
        InterFusion({"face": 512})


@torch.no_grad()
def test_each_token_is_between_its_own_and_what_it_took():
    torch.manual_seed(0)
    layer = GatedExchange(8, 2, 2.0).double()
    layer.mlp = torch.nn.Identity()
    x, context, valid = torch.randn(3, 4, 8).double(), torch.randn(3, 5, 8).double(), torch.rand(3, 5) < 0.7
    valid[:, 0] = True
    mixed, taken = layer(x, context, valid) / 2, layer.attention(x, context, valid)  # the identity doubles
    assert ((mixed >= torch.minimum(x, taken)) & (mixed <= torch.maximum(x, taken))).all()
    for bias, expected in ((1e4, taken), (-1e4, x)):  # gates all open, all shut
        layer.gate.bias.fill_(bias)
        torch.testing.assert_close(layer(x, context, valid) / 2, expected)


@torch.no_grad()
def test_both_query_the_encoded_other():
    model, tokens = cases.build("inter_fusion"), cases.batch()
    seen = {}
    for name in model.names:
        model.encoder[name].register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    output = model(tokens)
    expected = []
    for name, other in (("rgb", "skeleton"), ("skeleton", "rgb")):
        mixed = model.exchange[name](seen[name].x, seen[other].x, seen[other].valid)
        expected.append(model.out(mixed)[:, 1:])
    torch.testing.assert_close(output.tokens, torch.cat(expected, dim=1))
    rgb, skeleton = expected
    pooled = torch.stack([rgb[:, 0], rgb[:, 1:4].mean(1), rgb[:, 4:].mean(1)]).mean(0), skeleton.mean(1)
    torch.testing.assert_close(output.features, torch.stack(pooled).mean(0))


@torch.no_grad()
@pytest.mark.parametrize("name", ["rgb", "skeleton"])
def test_with_shut_gates_nothing_is_learned_of_the_other(name):
    """Shut, each modality is on its own and the features are the mean of theirs: what fusion adds is behind the gates."""
    model, tokens = cases.build("inter_fusion"), cases.batch()
    (other,) = {*tokens} - {name}
    changed = {**tokens, other: tokens[other].flip(0)}
    own = slice(0, 7) if name == "rgb" else slice(7, 15)
    assert (model(changed).tokens[:, own] - model(tokens).tokens[:, own]).abs().max() > 1e-3
    model.exchange[name].gate.bias.fill_(-1e4)
    torch.testing.assert_close(model(changed).tokens[:, own], model(tokens).tokens[:, own], rtol=0, atol=0)


def test_a_tiny_set_is_learned_by_heart():
    torch.manual_seed(0)
    dims, labels = {"face": 6, "context": 4, "pose": 3}, torch.arange(12) % 2
    tokens = {name: torch.randn(12, 5, dim) for name, dim in dims.items()}
    model = create_model("inter_fusion", token_dims=dims, width=16, heads=2, grids={name: (5, 1) for name in dims}, dropout=0.0)
    cases.learn(model, tokens, labels, steps=60, size=12, lr=5e-3)
    log_loss, accuracy = cases.measure(model, tokens, labels)
    assert accuracy == 1 and log_loss < 0.1
