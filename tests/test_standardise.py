"""Inputs in units of the training data: against numpy, what is masked, and networks that then read any units alike."""

import numpy as np
import pytest
import torch

from migstudy.models import create_model
from migstudy.models.standardise import Standardise


def test_mean_and_spread_are_those_of_what_counts():
    generator = torch.Generator().manual_seed(0)
    values, valid = torch.randn(50, 4, generator=generator) * 3 + 7, torch.rand(50, generator=generator) < 0.7
    values[~valid] = torch.nan
    standardise = Standardise(4)
    assert torch.equal(standardise(values[valid]), values[valid])  # before it is fitted
    standardise.fit(values, valid)
    shown = values[valid].double().numpy()
    np.testing.assert_allclose(standardise(values[valid]).numpy(), (shown - shown.mean(0)) / shown.std(0), rtol=0, atol=1e-5)


def test_a_mask_of_joints_is_one_of_each_and_an_unseen_joint_stays_as_it_is():
    values = torch.randn(20, 3, 2, generator=torch.Generator().manual_seed(1))
    valid = torch.ones(20, 3, dtype=torch.bool)
    valid[:, 2], valid[5:, 1] = False, False
    standardise = Standardise(3, 2)
    standardise.fit(values, valid)
    np.testing.assert_allclose(standardise.mean[1].numpy(), values[:5, 1].double().mean(0).numpy(), rtol=0, atol=1e-6)
    assert torch.equal(standardise.mean[2], torch.zeros(2)) and torch.equal(standardise.spread[2], torch.ones(2))


def test_a_constant_feature_and_wrong_shapes():
    standardise = Standardise(2)
    standardise.fit(torch.tensor([[1.0, 5.0], [3.0, 5.0]]), torch.ones(2, dtype=torch.bool))
    assert standardise(torch.tensor([[2.0, 5.0]])).tolist() == [[0.0, 0.0]]
    assert standardise(torch.tensor([[2.0, 5.5]])).tolist() == [[0.0, 0.5]], "what never changed is not blown up when it does"
    for values, valid in ((torch.zeros(3, 4), torch.ones(3)), (torch.zeros(3, 2), torch.ones(4))):
        with pytest.raises(ValueError, match="expected"):
            standardise.fit(values, valid.bool())


@pytest.mark.parametrize("name", ["inter_fusion", "concatenation", "joint_transformer"])
def test_a_fusion_reads_its_tokens_in_any_unit(name):
    generator = torch.Generator().manual_seed(2)
    tokens = {"face": torch.randn(6, 5, 8, generator=generator), "context": torch.randn(6, 4, 3, generator=generator)}
    mask = {"face": torch.rand(6, 5, generator=generator) < 0.8, "context": torch.ones(6, 4, dtype=torch.bool)}
    mask["face"][:, 0] = True
    other = {"face": tokens["face"] * 0.01 + 40, "context": tokens["context"] * 9 - 3}
    said = []
    for given in (tokens, other):
        torch.manual_seed(0)
        model = create_model(name, token_dims={"face": 8, "context": 3}, num_classes=2, width=8, heads=2, standardised=True).eval()
        model.fit_tokens(given, mask)
        said.append(model(given, mask).logits)
    torch.testing.assert_close(*said, rtol=0, atol=2e-3)  # float32 keeps four digits of 0.01 beside 40
    torch.manual_seed(0)
    plain = create_model(name, token_dims={"face": 8, "context": 3}, num_classes=2, width=8, heads=2).eval()
    assert (plain(tokens, mask).logits - plain(other, mask).logits).abs().max() > 0.01  # without, it does not


def test_a_saved_network_keeps_its_units(tmp_path):
    tokens, mask = {"face": torch.randn(6, 5, 8) + 9}, {"face": torch.ones(6, 5, dtype=torch.bool)}
    model = create_model("attention_mil", token_dims={"face": 8}, width=8, heads=2, attention_width=4, standardised=True).eval()
    model.fit_tokens(tokens, mask)
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(tokens, mask).logits, model(tokens, mask).logits, rtol=0, atol=0)


def test_the_hypergraph_reads_poses_against_the_mean_pose():
    coordinates = torch.rand(5, 3, 6, 22, generator=torch.Generator().manual_seed(3)) + 1
    coordinates[..., 4] = 0  # a joint nobody saw
    options = dict(topology="imigue22", base_channels=8, stage_blocks=(1,), heads=2, dilations=(1,))
    torch.manual_seed(0)
    model = create_model("hypergraph_transformer", standardised=True, **options).eval()
    before = model(coordinates).logits
    model.fit_pose(coordinates)
    shown = coordinates.permute(0, 2, 3, 1).flatten(0, 1)[:, 7]
    torch.testing.assert_close(model.standardise.mean[7], shown.mean(0))
    assert model.standardise.mean[4].eq(0).all() and (model(coordinates).logits - before).abs().max() > 1e-4
