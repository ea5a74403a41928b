"""The loop: a task's hooks, what it writes and does not, and any number of processes learning the same."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from projects import start
from torch import nn
from torch.utils.data import DataLoader, Dataset

from migstudy.fit import Task, fit, make_optimizer, prepare, shared
from migstudy.models import ModelOutput

STEPS = dict(
    optimizer="adamw", schedule="cosine", lr=0.05, weight_decay=0.01, warmup_epochs=0.5, epochs=5, grad_clip=1.0, precision="no",
    select_on="top1", patience=0, threads=1, seed=3,
)  # fmt: skip


class Points(Dataset):
    """Two classes of points, jittered anew in each epoch as augmentation does."""

    epoch = 0

    def __len__(self):
        return 32

    def __getitem__(self, i):
        rng = np.random.default_rng([self.epoch, i])
        x = np.array([i % 2, i % 3, 1.0]) + 0.1 * rng.normal(size=3)
        return {"x": x.astype(np.float32), "label": np.int64(i % 2), "index": np.int64(i)}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 2))

    def forward(self, x):
        return ModelOutput(self.layers(x), x, x[:, None])


class PointTask(Task):
    def __init__(self, batch=8):
        self.model, self.heard = Net(), []
        self.loader = DataLoader(Points(), batch, shuffle=True, generator=torch.Generator(), drop_last=True)

    def criterion(self, output, labels):
        loss = nn.functional.cross_entropy(output.logits, labels)
        return loss, {"cross_entropy": loss.detach()}

    def forward(self, model, batch):
        return model(batch["x"])

    def validate(self, model, accelerator):
        right, seen = [], []
        model.eval()
        for batch in shared(DataLoader(Points(), 5), accelerator):
            hits = model(batch["x"]).logits.argmax(1) == batch["label"]
            hits, index = accelerator.gather_for_metrics((hits, batch["index"]))
            right.append(hits), seen.append(index)
        assert sorted(torch.cat(seen).tolist()) == list(range(32)), "each clip exactly once"
        return {"top1": float(torch.cat(right).float().mean())}

    def after_backward(self, output, labels):
        self.heard.append(("backward", len(labels), self.model.layers[0].weight.grad is not None))

    def after_step(self):
        self.heard.append("step")


def learned(folder=None, **changes):
    config = SimpleNamespace(**{**STEPS, **changes})
    prepare(config)
    task = PointTask()
    return task, fit(task, config, folder, progress=False)


def test_hooks_are_called_around_every_step():
    task, fitted = learned()
    assert task.heard == [("backward", 8, True), "step"] * 20 and len(fitted.history) == 5
    assert fitted.history[-1]["loss"] < 0.5 * fitted.history[0]["loss"] and fitted.history[-1]["val_top1"] > 0.9


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_parts_learn_at_their_share_of_the_rate(optimizer):
    config = SimpleNamespace(**{**STEPS, "optimizer": optimizer, "epochs": 1})
    prepare(config)
    task = PointTask()
    task.lr_shares = {"layers.0.": 0.0, "layers.1.": 0.5}
    before = {name: p.detach().clone() for name, p in task.model.named_parameters()}
    groups = make_optimizer(config, task.model, task.lr_shares).param_groups
    own = {id(p): group["lr"] / config.lr for group in groups for p in group["params"]}
    assert [own[id(p)] for p in task.model.parameters()] == [0, 0, 0.5, 0.5, 1, 1] and len(groups) == (6 if optimizer == "adamw" else 3)
    fitted = fit(task, config, progress=False)
    moved = {name: not torch.equal(p, before[name]) for name, p in fitted.model.named_parameters()}
    assert {name for name in moved if not moved[name]} == {"layers.0.weight", "layers.0.bias"}
    assert fitted.history[0]["lr"] > 0, "the log names the whole rate"


def test_nothing_is_written_where_no_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, fitted = learned()
    assert list(tmp_path.iterdir()) == []
    _, kept = learned(tmp_path / "run")
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"checkpoint.pt", "log.csv", "tensorboard"}
    assert all(torch.equal(a, b) for a, b in zip(fitted.model.parameters(), kept.model.parameters(), strict=True))


@pytest.mark.parametrize("hurt", [lambda content: content[: len(content) // 2], lambda content: content[512:], lambda content: b""])
def test_a_damaged_checkpoint_is_told_in_one_line_and_kept(tmp_path, hurt):
    config = SimpleNamespace(**STEPS)
    prepare(config)
    fit(PointTask(), config, tmp_path, progress=False)
    kept = tmp_path / "checkpoint.pt"
    kept.write_bytes(hurt(kept.read_bytes()))
    before = kept.read_bytes()
    with pytest.raises(ValueError, match=r"checkpoint.pt is damaged \(\w+\); delete it, and the same command trains") as told:
        fit(PointTask(), config, tmp_path, progress=False)
    assert "\n" not in str(told.value) and "weights_only" not in str(told.value) and kept.read_bytes() == before


def test_an_epoch_that_validates_as_undefined_is_never_the_best(monkeypatch):
    said = iter([float("nan"), 0.2, 0.9, float("nan"), 0.5])
    monkeypatch.setattr(PointTask, "validate", lambda self, model, accelerator: {"top1": next(said)})
    kept = []
    monkeypatch.setattr(PointTask, "after_step", lambda self: kept.append(self.model.layers[0].weight.detach().clone()))
    _, fitted = learned()
    assert torch.equal(fitted.model.layers[0].weight, kept[4 * 3 - 1]), "the weights of the third epoch"


def test_all_processes_stop_where_one_loss_is_undefined(monkeypatch):
    """One that stopped alone would leave the others waiting for its gradients."""
    of_others = iter([0.5, float("inf")])
    monkeypatch.setattr(Accelerator, "gather", lambda self, loss: torch.cat([loss, torch.tensor([next(of_others)])]))
    with pytest.raises(FloatingPointError, match="the loss is inf in epoch 1, step 2; lower lr"):
        learned()


def test_two_processes_learn_what_one_learns(tmp_path):
    process = start(
        tmp_path, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", __file__, str(tmp_path),
        ACCELERATE_USE_CPU="true", CUDA_VISIBLE_DEVICES="",
    )  # fmt: skip
    _, complained = process.communicate(timeout=240)
    assert process.returncode == 0, complained
    task, fitted = learned()
    theirs = torch.load(tmp_path / "weights.pt", weights_only=True)
    mine = fitted.model.state_dict()
    worst = max(float((theirs[k] - mine[k]).abs().max()) for k in mine)
    assert len(task.heard) == 40 and worst < 1e-5, f"after 20 steps: {worst}"
    history = json.loads((tmp_path / "history.json").read_text())
    assert all(a == pytest.approx(b, abs=1e-5) for a, b in zip(history, fitted.history, strict=True))


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    process = start(
        tmp_path, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", __file__, str(tmp_path), "7",
        ACCELERATE_USE_CPU="true", CUDA_VISIBLE_DEVICES="",
    )  # fmt: skip
    _, complained = process.communicate(timeout=240)
    assert process.returncode != 0 and "batch_size=7 cannot be shared by 2 processes; choose a multiple" in complained


if __name__ == "__main__":  # one of two processes
    folder, batch = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 8
    config = SimpleNamespace(**STEPS)
    prepare(config)
    fitted = fit(PointTask(batch), config, None, progress=False)
    if fitted.accelerator.is_main_process:
        torch.save(fitted.model.state_dict(), f"{folder}/weights.pt")
        with open(f"{folder}/history.json", "w") as file:
            json.dump(fitted.history, file)
