"""The training loop, in the open, on Accelerate; what is trained is a `Task`.

Order, augmentation and dropout of an epoch follow from (seed, epoch) alone: killed at any moment and started again, a
training goes on from its last finished epoch and ends as it would have.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import pandas as pd
import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.data_loader import prepare_data_loader
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from migstudy import paths
from migstudy.models.base import ModelOutput

CHECKPOINT = "checkpoint.pt"


class Training(Protocol):
    """What the loop asks of a task's parameters, resolved; ranges and defaults are the task's."""

    optimizer: str
    schedule: str
    lr: float
    weight_decay: float
    warmup_epochs: float
    epochs: int
    grad_clip: float
    precision: str
    select_on: str
    patience: int
    threads: int
    seed: int


class Task(ABC):
    """A model, its loss and its clips: what the loop trains. Subclasses set `model`, `criterion` and `loader`.

    criterion(output, labels) -> (loss, parts to log). loader: shuffled training batches, dicts with a `label`, whose dataset
    has a settable `epoch` and whose generator is given, see `start_epoch`. lr_shares: start of parameters' names -> their
    learning rate as a share of lr, for parts that were trained before.
    """

    model: nn.Module
    criterion: Callable[[ModelOutput, Tensor], tuple[Tensor, dict[str, Tensor]]]
    loader: DataLoader
    lr_shares: Mapping[str, float] = MappingProxyType({})

    @abstractmethod
    def forward(self, model: nn.Module, batch: dict[str, Any]) -> ModelOutput:
        """The model's answer to a training batch; `model` is `self.model` as Accelerate wraps it."""

    @abstractmethod
    def validate(self, model: nn.Module, accelerator: Accelerator) -> dict[str, float]:
        """Validation metrics to log, the one to select on among them."""

    def after_backward(self, output: ModelOutput, labels: Tensor) -> None:
        """Called with every training batch's answer, before the optimizer's step."""

    def after_step(self) -> None:
        """Called after every optimizer step, on every process."""


@dataclass(frozen=True)
class Fitted:
    """The model with its best weights, one row an epoch, and the accelerator it was trained on."""

    model: nn.Module
    history: list[dict[str, float]]
    accelerator: Accelerator


def prepare(config: Training) -> None:
    """Threads and the seed of a training; call it before the model is made, whose first weights are drawn from that seed."""
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    torch.manual_seed(config.seed)


def fit(task: Task, config: Training, folder: Path | None = None, progress: bool = True) -> Fitted:
    """Train a task and give it back with the weights of its best epoch.

    folder: keeps checkpoint.pt, from which an interrupted training goes on, and log.csv; None: nothing is written.
    Several processes share each batch: what is learned does not depend on how many there are, but for dropout and, on CPUs,
    batch normalisation (on GPUs it is synchronised). Raises ValueError when a batch cannot be shared evenly,
    FloatingPointError when the loss is no longer finite.
    """
    AcceleratorState._reset_state()  # it outlives a training and would refuse the next one's precision
    accelerator = Accelerator(
        mixed_precision=config.precision, dataloader_config=DataLoaderConfiguration(split_batches=True)
    )  # fmt: skip
    if task.loader.batch_size % accelerator.num_processes:
        raise ValueError(
            f"batch_size={task.loader.batch_size} cannot be shared by {accelerator.num_processes} processes; choose a multiple"
        )
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        task.model = nn.SyncBatchNorm.convert_sync_batchnorm(task.model)
    optimizer = make_optimizer(config, task.model, task.lr_shares)
    state = _Progress(folder, task.model, optimizer)  # before wrapping: the names stay the model's own
    model, optimizer, batches = accelerator.prepare(task.model, optimizer, task.loader)
    if isinstance(task.criterion, nn.Module):
        task.criterion.to(accelerator.device)
    state.resume(accelerator)
    if folder and state.history and accelerator.is_main_process:
        write_log(folder, state.history)  # it may have been killed between checkpoint and log

    bar = tqdm(total=config.epochs * len(batches), initial=state.epoch * len(batches), mininterval=1,
               disable=not (progress and accelerator.is_main_process))  # fmt: skip
    for epoch in range(state.epoch, config.epochs):
        if config.patience and epoch - state.best_epoch > config.patience:
            break
        start_epoch(task.loader, config.seed, epoch)
        bar.set_description(f"epoch {epoch + 1}/{config.epochs}")
        losses = train_epoch(task, config, accelerator, model, optimizer, batches, epoch, bar)
        val = task.validate(model, accelerator)
        row = {"epoch": epoch + 1, "lr": optimizer.param_groups[0]["lr"], **losses, **{f"val_{k}": v for k, v in val.items()}}
        state.epoch_done(accelerator, epoch, row, val[config.select_on])
        if folder and accelerator.is_main_process:
            write_log(folder, state.history)
        bar.set_postfix({"loss": f"{losses['loss']:.3f}", f"val_{config.select_on}": f"{val[config.select_on]:.3f}"})
        accelerator.wait_for_everyone()
    bar.close()

    best = accelerator.unwrap_model(model)
    best.load_state_dict(state.best)
    return Fitted(best, state.history, accelerator)


def train_epoch(task: Task, config: Training, accelerator, model, optimizer, batches, epoch: int, bar: tqdm) -> dict[str, float]:
    """One pass over the training clips; returns the mean losses."""
    model.train()
    steps, sums, seen = len(batches), {}, 0
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = group.get("share", 1.0) * learning_rate(config, epoch + step / steps)
        output, labels = task.forward(model, batch), batch["label"]
        loss, parts = task.criterion(output, labels)
        if not math.isfinite(worst := _shared_sum(loss, accelerator)):  # all stop together: one alone would leave others waiting
            raise FloatingPointError(
                f"the loss is {worst} in epoch {epoch + 1}, step {step + 1}; lower lr (now {config.lr:g}), or set"
                " grad_clip or precision=no; the run goes on from the last epoch"
            )
        accelerator.backward(loss)
        task.after_backward(output, labels)
        if config.grad_clip:
            accelerator.clip_grad_norm_(model.parameters(), config.grad_clip)
        optimizer.step()
        optimizer.zero_grad()
        task.after_step()
        seen += len(labels)
        for name, value in {"loss": loss.detach(), **parts}.items():
            sums[name] = sums.get(name, 0.0) + value * len(labels)
        bar.update()
    totals = accelerator.reduce(torch.stack([torch.as_tensor(float(seen)).to(loss), *sums.values()]), "sum").tolist()
    return {name: total / totals[0] for name, total in zip(sums, totals[1:], strict=True)}


def _shared_sum(loss: Tensor, accelerator: Accelerator) -> float:
    """The sum of all processes' losses: finite, in double precision, as long as each is."""
    return float(accelerator.gather(loss.detach().reshape(1)).double().sum())


def shared(loader: DataLoader, accelerator: Accelerator) -> DataLoader:
    """An evaluation loader divided among the processes; with `gather_for_metrics` each clip counts exactly once."""
    return prepare_data_loader(
        loader, accelerator.device, accelerator.num_processes, accelerator.process_index, put_on_device=True
    )  # fmt: skip


def start_epoch(loader: DataLoader, seed: int, epoch: int) -> None:
    """Fix order, augmentation and dropout of an epoch, so that a resumed run draws what an uninterrupted one draws."""
    loader.dataset.epoch = epoch
    loader.generator.manual_seed(seed * 1_000_003 + epoch)
    torch.manual_seed(seed * 1_000_003 + epoch)


def make_optimizer(config: Training, model: nn.Module, shares: Mapping[str, float] = MappingProxyType({})) -> torch.optim.Optimizer:
    """SGD with momentum 0.9, or AdamW; weight decay on everything for SGD as PYSKL does, on matrices alone for AdamW.

    shares: as `Task.lr_shares`; every group knows its own.
    """
    groups = []
    for share, parameters in _by_share(model, shares).items():
        own = {"lr": share * config.lr, "share": share}
        if config.optimizer == "adamw":
            groups.append({"params": [p for p in parameters if p.ndim > 1], **own})
            groups.append({"params": [p for p in parameters if p.ndim <= 1], **own, "weight_decay": 0.0})
        else:
            groups.append({"params": parameters, **own})
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, config.lr, weight_decay=config.weight_decay, fused=True)
    nesterov = config.optimizer == "sgd_nesterov"
    return torch.optim.SGD(groups, config.lr, 0.9, weight_decay=config.weight_decay, nesterov=nesterov, fused=True)


def _by_share(model: nn.Module, shares: Mapping[str, float]) -> dict[float, list[nn.Parameter]]:
    """Share of the learning rate -> its parameters, the whole rate first."""
    found: dict[float, list[nn.Parameter]] = {1.0: []}
    for name, parameter in model.named_parameters():
        share = next((share for start, share in shares.items() if name.startswith(start)), 1.0)
        found.setdefault(share, []).append(parameter)
    return found


def learning_rate(config: Training, epoch: float) -> float:
    """Linear warm-up, then cosine to 0 per iteration, or steps to a tenth at 60 and 80 % of the epochs; `epoch` is fractional."""
    if epoch < config.warmup_epochs:
        return config.lr * (epoch + 1e-3) / config.warmup_epochs
    if config.schedule == "step":
        return config.lr * 0.1 ** sum(int(epoch) >= round(share * config.epochs) for share in (0.6, 0.8))
    done = (epoch - config.warmup_epochs) / max(config.epochs - config.warmup_epochs, 1e-9)
    return config.lr * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def write_log(folder: Path, history: list[dict]) -> None:
    """log.csv, one row an epoch, and the same for TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter

    table = pd.DataFrame(history)
    with paths.written_aside(folder / "log.csv") as aside:
        table.to_csv(aside, index=False)
    with SummaryWriter(str(folder / "tensorboard"), purge_step=int(table["epoch"].iloc[-1])) as writer:
        for name, value in history[-1].items():
            writer.add_scalar(name, value, int(history[-1]["epoch"]))


def clear(folder: Path) -> None:
    """Remove what a finished training no longer needs: its checkpoint, and what a kill left half-written."""
    (folder / CHECKPOINT).unlink(missing_ok=True)
    for left_by_a_kill in folder.glob(".*.partial-*"):
        left_by_a_kill.unlink(missing_ok=True)


class _Progress:
    """What a training needs to go on: next epoch, weights, optimizer, best epoch so far, history; one file, replaced whole."""

    def __init__(self, folder: Path | None, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.path = folder / CHECKPOINT if folder else None
        self.model, self.optimizer = model, optimizer
        self.epoch, self.best_epoch, self.best_score = 0, 0, -math.inf
        self.best: dict = {}
        self.history: list[dict] = []

    def resume(self, accelerator: Accelerator) -> None:
        if self.path is None or not self.path.exists():
            return
        try:
            kept = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a damaged archive makes the reader stumble over; its advice would be to trust it
            raise ValueError(
                f"{self.path} is damaged ({type(error).__name__}); delete it, and the same command trains from the first epoch"
            ) from None
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        if accelerator.scaler is not None and kept["scaler"]:
            accelerator.scaler.load_state_dict(kept["scaler"])
        for name in ("epoch", "best_epoch", "best_score", "best", "history"):
            setattr(self, name, kept[name])

    def epoch_done(self, accelerator: Accelerator, epoch: int, row: dict, score: float) -> None:
        self.epoch = epoch + 1
        self.history.append(row)
        weights = {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()}
        score = -math.inf if math.isnan(score) else float(score)  # nothing is greater than NaN: it would stay the best
        if not self.best or score > self.best_score:
            self.best_epoch, self.best_score, self.best = epoch, score, weights
        if self.path is None or not accelerator.is_main_process:
            return
        with paths.written_aside(self.path) as aside:
            torch.save({
                "model": weights, "optimizer": self.optimizer.state_dict(),
                "scaler": accelerator.scaler.state_dict() if accelerator.scaler is not None else {},
                "epoch": self.epoch, "best_epoch": self.best_epoch, "best_score": self.best_score, "best": self.best,
                "history": self.history,
            }, aside)  # fmt: skip
