"""The second stage: tau-normalised and retrained classifiers, on a layer alone and in the training loop."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, Dataset
from toy import save_toy, tiny

from migstudy import decoupled
from migstudy.config.gesture import GestureConfig
from migstudy.data import open_data
from migstudy.models import create_model, get_model_class
from migstudy.train import build, predict, train


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_ROOT", str(tmp_path))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return str(save_toy(tmp_path_factory.mktemp("toy") / "clips", share=((9, 5, 2), (3, 3, 3), (3, 3, 3))))


def layer(seed=0):
    torch.manual_seed(seed)
    made = nn.Linear(6, 4).double()
    with torch.no_grad():
        made.weight *= torch.tensor([[5.0], [2.0], [1.0], [0.2]], dtype=torch.float64)
    return made


def test_tau_normalisation_is_the_formula_and_moves_from_nothing_to_unit_length():
    made = layer()
    before, bias = made.weight.detach().clone(), made.bias.detach().clone()
    decoupled.tau_normalise(made, 0.0)
    assert torch.equal(made.weight, before) and torch.equal(made.bias, bias)
    decoupled.tau_normalise(made, 0.5)
    expected = [[w / np.sqrt(sum(v * v for v in row)) ** 0.5 for w in row] for row in before.tolist()]
    np.testing.assert_allclose(made.weight.detach(), expected, rtol=1e-12)
    assert not made.bias.any()
    decoupled.tau_normalise(made, 1.0)
    np.testing.assert_allclose(made.weight.detach().norm(dim=1), 1, rtol=1e-12)


@pytest.mark.parametrize("best", [0.0, 0.4, 1.0])
def test_the_best_tau_is_kept(best):
    made, wanted = layer(), layer()
    bias = made.bias.detach().clone()
    decoupled.tau_normalise(wanted, best)
    scores = decoupled.choose_tau(made, lambda: -(made.weight - wanted.weight).abs().sum().item())
    assert max(scores, key=scores.get) == best and list(scores) == list(decoupled.TAUS)
    torch.testing.assert_close(made.weight, wanted.weight)
    assert torch.equal(made.bias, bias if best == 0 else torch.zeros(4, dtype=torch.float64))


def test_among_equals_the_least_change_wins():
    made = layer()
    before = made.weight.detach().clone()
    decoupled.choose_tau(made, lambda: 1.0)
    assert torch.equal(made.weight, before)


def test_draws_are_balanced_and_repeat():
    class Clips(Dataset):
        labels = np.repeat([0, 1, 3], [900, 90, 10])

        def __len__(self):
            return len(self.labels)

        def __getitem__(self, i):
            return self.labels[i]

    first = DataLoader(Clips(), 50, shuffle=True, generator=torch.Generator())
    loader = decoupled.balanced_loader(first, Clips.labels)
    drawn = []
    for _ in range(2):
        loader.generator.manual_seed(5)
        drawn.append(torch.cat(list(loader)).numpy())
    assert np.array_equal(*drawn) and len(drawn[0]) == 1000
    share = np.bincount(drawn[0], minlength=4) / 1000
    assert share[2] == 0 and (abs(share[[0, 1, 3]] - 1 / 3) < 4 * np.sqrt(2 / 9 / 1000)).all()


@pytest.mark.parametrize("name", ["posec3d", "stgcn", "agcn", "ctrgcn", "mvit"])
def test_every_network_has_a_classifier(name):
    small = {"frames": 4, "size": 32, "num_blocks": 2, "base_channels": 8, "downscale_blocks": [1], "kv_stride": 2}
    options = small if name == "mvit" else {"base_channels": 8, "stage_blocks": (1, 1, 1)}
    found = decoupled.classifier_of(create_model(name, num_classes=7, **options))
    assert len(found.weight) == 7 and found.bias.shape == (7,)


def test_a_network_without_one_is_named():
    with pytest.raises(TypeError, match="Conv1d has no linear classifier"):
        decoupled.classifier_of(nn.Conv1d(1, 1, 1))


@pytest.mark.parametrize("classifier", ["tau_norm", "retrained"])
def test_the_second_stage_changes_the_classifier_alone(toy, classifier):
    one = train(tiny(data=toy, epochs=2))
    two = train(tiny(data=toy, epochs=2, classifier=classifier, retrain_epochs=2))
    assert one.id != two.id
    before, after = (load_file(run.path("model.safetensors")) for run in (one, two))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    log = pd.read_csv(two.path("classifier/log.csv"))
    if classifier == "tau_norm":
        assert changed <= {"cls_head.fc_cls.weight", "cls_head.fc_cls.bias"} and len(log) == 11
        assert log.filter(like="val_").max().item() >= log.filter(like="val_").iloc[0].item()
    else:
        assert changed == {"cls_head.fc_cls.weight", "cls_head.fc_cls.bias"} and len(log) == 2
    assert not two.path("classifier/checkpoint.pt").exists()
    # what is stored is what was tested
    config, data = tiny(data=toy), open_data(tiny(data=toy))
    model = get_model_class("posec3d").from_pretrained(two.folder)
    again = predict(model, data.test, config, views=config.resolved().test_clips)
    stored = pd.read_parquet(two.path("scores.parquet"))
    stored = stored[stored["split"] == "test"]
    assert (again["label"].to_numpy() == stored["label"].to_numpy()).all()


def test_retraining_goes_on_where_it_was_killed(toy, monkeypatch):
    config = tiny(data=toy, epochs=1, classifier="retrained", retrain_epochs=3)
    whole = load_file(train(config).path("model.safetensors"))
    validate, seen = decoupled._Retraining.validate, []

    def killed(self, model, accelerator):
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return validate(self, model, accelerator)

    other = dataclasses.replace(config, run_dir="again")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(decoupled._Retraining, "validate", killed)
        train(other)
    run = train(other)
    again = load_file(run.path("model.safetensors"))
    assert len(pd.read_csv(run.path("classifier/log.csv"))) == 3
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.parametrize("loss", ["class_balanced", "focal", "logit_adjusted", "ldam"])
def test_every_loss_trains_beside_the_label_embedding(toy, loss):
    run = train(tiny(data=toy, epochs=2, loss=loss, label_embedding="sentence", label_loss="cosine"))
    log = pd.read_csv(run.path("log.csv"))
    assert {loss, "label_embedding"} <= set(log) and "cross_entropy" not in log
    assert np.isfinite(log[loss]).all() and json.loads(run.path("metrics.json").read_text())["test"]["n_clips"]


def test_the_losses_know_the_training_clips(toy):
    config = tiny(data=toy, loss="ldam", ldam_margin=2.0)
    data = open_data(config)
    margins = build(config, data)[1].long_tail.margins
    expected = 2 * (data.train.class_counts().min() / data.train.class_counts()) ** 0.25
    np.testing.assert_allclose(margins, expected, rtol=1e-6)


def test_two_answers_to_one_question_are_refused():
    with pytest.raises(ValueError, match="both answer"):
        GestureConfig(loss="focal", classifier="tau_norm")
