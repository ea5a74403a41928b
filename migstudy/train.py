"""Train, select on validation, test: the loop in the open, on Accelerate.

One process:    train(config)                       (the notebook 03_train_gesture does just this)
Several GPUs:   accelerate launch -m migstudy.train -p data=... -p profile=paper

Killed at any moment and started again with the same parameters, a run goes on from its last finished epoch and ends as it
would have: order, augmentation and dropout of an epoch follow from (seed, epoch) alone.
"""

from __future__ import annotations

import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

warnings.filterwarnings("ignore", "IProgress not found")  # accelerate's import says so in notebooks; our bars are text
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tqdm import tqdm

from migstudy import paths
from migstudy.clips import ClipSet
from migstudy.config.gesture import GestureConfig
from migstudy.data import GestureData, open_data
from migstudy.evaluate import evaluate
from migstudy.label_embeddings import get_label_embeddings
from migstudy.loading import channels, eval_loader, represent, start_epoch, train_loader, with_labels
from migstudy.losses import GestureLoss
from migstudy.models import average_views, create_model
from migstudy.runs import Run, open_run
from migstudy.scores import load_scores, make_scores, save_scores

CHECKPOINT = "checkpoint.pt"


def train(config: GestureConfig, data: GestureData | None = None, run: Run | None = None) -> Run:
    """Train, keep the epoch that validates best, score validation and test clips; returns the finished run.

    A trained run is returned as it is, an interrupted one goes on. Leaves log.csv, model.safetensors, config.json,
    scores.parquet (val and test) and, last, metrics.json; the caller marks the run with `run.finish()`.
    Raises FloatingPointError when the loss is no longer finite.
    """
    config = config.resolved()
    data = data or open_data(config)
    run = run or open_gesture_run(config, data)
    if run.path("metrics.json").exists():
        return run
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    torch.manual_seed(config.seed)
    AcceleratorState._reset_state()  # it outlives a training and would refuse the next one's precision
    accelerator = Accelerator(mixed_precision=config.precision)
    model, criterion = build(config, data)
    optimizer = make_optimizer(config, model)
    loader = train_loader(with_labels(data.train), config)
    state = _Progress(run.path(CHECKPOINT), model, optimizer)  # before wrapping: the names stay the model's own
    model, optimizer, batches = accelerator.prepare(model, optimizer, loader)
    criterion.to(accelerator.device)
    state.resume(accelerator)
    if state.history and accelerator.is_main_process:
        write_log(run, state.history)  # it may have been killed between checkpoint and log

    bar = tqdm(total=config.epochs * len(batches), initial=state.epoch * len(batches), mininterval=1,
               disable=not accelerator.is_main_process)  # fmt: skip
    for epoch in range(state.epoch, config.epochs):
        if config.patience and epoch - state.best_epoch > config.patience:
            break
        start_epoch(loader, config.seed, epoch)
        torch.manual_seed(config.seed * 1_000_003 + epoch)
        bar.set_description(f"epoch {epoch + 1}/{config.epochs}")
        losses = train_epoch(accelerator, model, criterion, optimizer, batches, data, config, epoch, bar)
        val = evaluate(predict(model, with_labels(data.val), config, accelerator), n_boot=0)
        row = {"epoch": epoch + 1, "lr": optimizer.param_groups[0]["lr"], **losses, **_named(val, "val_")}
        state.epoch_done(accelerator, epoch, row, val[config.select_on])
        if accelerator.is_main_process:
            write_log(run, state.history)
        bar.set_postfix(loss=f"{losses['loss']:.3f}", val_macro_f1=f"{val['macro_f1']:.3f}")
        accelerator.wait_for_everyone()
    bar.close()

    best = accelerator.unwrap_model(model)
    best.load_state_dict(state.best)
    finish(run, best, data, config, accelerator)
    return run


def train_epoch(accelerator, model, criterion, optimizer, batches, data, config, epoch, bar) -> dict[str, float]:
    """One pass over the training clips; returns the mean losses."""
    model.train()
    steps, sums, seen = len(batches), {}, 0
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, epoch + step / steps)
        volume = represent(batch, data.topology, config, config.train_size, train=True)
        loss, parts = criterion(model(volume), batch["label"])
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} in epoch {epoch + 1}, step {step + 1}; lower lr (now {config.lr:g}), or set"
                " grad_clip or precision=no; the run goes on from the last epoch"
            )
        accelerator.backward(loss)
        if config.grad_clip:
            accelerator.clip_grad_norm_(model.parameters(), config.grad_clip)
        optimizer.step()
        optimizer.zero_grad()
        seen += len(batch["label"])
        for name, value in {"loss": loss.detach(), **parts}.items():
            sums[name] = sums.get(name, 0.0) + value * len(batch["label"])
        bar.update()
    return {name: float(total) / seen for name, total in sums.items()}


def build(config: GestureConfig, data: GestureData) -> tuple[torch.nn.Module, GestureLoss]:
    """The model and the loss of a configuration, the label vectors' width between them."""
    config = config.resolved()
    vectors = None
    if config.label_embedding != "none":
        vectors = get_label_embeddings(config.label_embedding, data.class_names)
    criterion = GestureLoss(config.label_loss if vectors is not None else "none", vectors, config.label_weight)
    shared = dict(
        in_channels=channels(data.topology, config, data.train.dimensions), num_classes=len(data.class_names),
        base_channels=config.base_channels, stage_blocks=config.blocks, dropout=config.dropout,
        embedding_dim=criterion.embedding_dim,
    )  # fmt: skip
    if config.on_graph:
        return create_model(config.model, topology=data.topology, **shared), criterion
    model = create_model("posec3d", stem_stride=config.stem_stride, **shared)
    return model.to(memory_format=torch.channels_last_3d), criterion


def make_optimizer(config: GestureConfig, model: torch.nn.Module) -> torch.optim.Optimizer:
    """SGD with momentum 0.9, or AdamW; weight decay on everything for SGD as PYSKL does, on matrices alone for AdamW."""
    if config.optimizer in ("sgd", "sgd_nesterov"):
        nesterov = config.optimizer == "sgd_nesterov"
        return torch.optim.SGD(model.parameters(), config.lr, 0.9, weight_decay=config.weight_decay, nesterov=nesterov)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, config.lr, weight_decay=config.weight_decay)


def learning_rate(config: GestureConfig, epoch: float) -> float:
    """Linear warm-up, then cosine to 0 per iteration, or steps to a tenth at 60 and 80 % of the epochs; `epoch` is fractional."""
    if epoch < config.warmup_epochs:
        return config.lr * (epoch + 1e-3) / config.warmup_epochs
    if config.schedule == "step":
        return config.lr * 0.1 ** sum(int(epoch) >= round(share * config.epochs) for share in (0.6, 0.8))
    done = (epoch - config.warmup_epochs) / max(config.epochs - config.warmup_epochs, 1e-9)
    return config.lr * (1 + math.cos(math.pi * min(done, 1.0))) / 2


@torch.no_grad()
def predict(
    model: torch.nn.Module, clips: ClipSet, config: GestureConfig, accelerator: Accelerator | None = None, views: int = 1
) -> pd.DataFrame:
    """The score table of the clips: softmax of each view, then the mean over views (and their mirror images).

    views: test clips each; the configured mirror is used when there are more than one.
    """
    config = config.resolved()
    accelerator = accelerator or Accelerator()
    model.eval()
    # what is drawn from 3D is mirrored in space, by the loader
    mirror = config.test_mirror and views > 1 and (config.on_graph or clips.dimensions == 2)
    probabilities, seen = [], []
    for batch in accelerator.prepare_data_loader(eval_loader(clips, config, views)):
        n = len(batch["label"])
        with accelerator.autocast():
            logits = model(represent(batch, clips.topology, config, config.test_size, mirror)).logits
        mean = average_views(logits.float().reshape(n, -1, logits.shape[-1]))
        mean, index = accelerator.gather_for_metrics((mean, batch["index"]))
        probabilities.append(mean.cpu().numpy())
        seen.append(index.cpu().numpy())
    order = np.concatenate(seen)
    return make_scores(clips.index.iloc[order], np.concatenate(probabilities), clips.class_names)


def finish(run: Run, model: torch.nn.Module, data: GestureData, config: GestureConfig, accelerator: Accelerator) -> None:
    """Score val and test with all views and write what the run leaves."""
    model = accelerator.prepare_model(model, evaluation_mode=True)
    parts = [predict(model, part, config, accelerator, config.test_clips) for part in (data.val, data.test)]
    if not accelerator.is_main_process:
        return
    accelerator.unwrap_model(model).save_pretrained(run.folder)
    scores = pd.concat(parts, ignore_index=True)
    save_scores(scores, run.path("scores.parquet"), data.class_names)
    run.write_json("metrics.json", measure(run, data))
    run.path(CHECKPOINT).unlink(missing_ok=True)
    for left_by_a_kill in run.folder.glob(".*.partial-*"):
        left_by_a_kill.unlink(missing_ok=True)


def measure(run: Run, data: GestureData) -> dict[str, Any]:
    """The numbers of a run from its stored scores: test metrics with intervals, and val's."""
    scores = load_scores(run.path("scores.parquet"))
    counts = data.train.class_counts()
    result: dict[str, Any] = {"source": data.source, "clips": {"train": len(data.train)}}
    for split in ("val", "test"):
        part = scores[(scores["split"] == split) & (scores["label"] >= 0)].reset_index(drop=True)
        result["clips"][split] = len(part)
        if len(part):
            part.attrs = scores.attrs
            result[split] = evaluate(part, train_counts=counts)
            result |= _named(result[split], f"{split}_")
    return result


def open_gesture_run(config: GestureConfig, data: GestureData) -> Run:
    """The run folder that belongs to these parameters on these data."""
    return open_run("03_train_gesture", config.resolved().to_dict(), data.fingerprint, config.run_dir)


def write_log(run: Run, history: list[dict]) -> None:
    """log.csv, one row an epoch, and the same for TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter

    table = pd.DataFrame(history)
    with paths.written_aside(run.path("log.csv")) as aside:
        table.to_csv(aside, index=False)
    with SummaryWriter(str(run.path("tensorboard")), purge_step=int(table["epoch"].iloc[-1])) as writer:
        for name, value in history[-1].items():
            writer.add_scalar(name, value, int(history[-1]["epoch"]))


def _named(metrics: dict, prefix: str) -> dict[str, float]:
    return {prefix + name: metrics[name] for name in ("top1", "top5", "mean_class_accuracy", "macro_f1")}


class _Progress:
    """What a run needs to go on: next epoch, weights, optimizer, best epoch so far, history; one file, replaced whole."""

    def __init__(self, path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.path, self.model, self.optimizer = path, model, optimizer
        self.epoch, self.best_epoch, self.best_score = 0, 0, -math.inf
        self.best: dict = {}
        self.history: list[dict] = []

    def resume(self, accelerator: Accelerator) -> None:
        if not self.path.exists():
            return
        kept = torch.load(self.path, map_location="cpu", weights_only=True)
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
        if not self.best or score > self.best_score:
            self.best_epoch, self.best_score, self.best = epoch, float(score), weights
        if not accelerator.is_main_process:
            return
        with paths.written_aside(self.path) as aside:
            torch.save({
                "model": weights, "optimizer": self.optimizer.state_dict(),
                "scaler": accelerator.scaler.state_dict() if accelerator.scaler is not None else {},
                "epoch": self.epoch, "best_epoch": self.best_epoch, "best_score": self.best_score, "best": self.best,
                "history": self.history,
            }, aside)  # fmt: skip


def main() -> None:
    """`python -m migstudy.train -p name=value ...`: one run without a notebook, for `accelerate launch`."""
    import argparse

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("-p", action="append", default=[], metavar="name=value", help="a parameter of GestureConfig")
    pairs = [option.partition("=") for option in parser.parse_args().p]
    if wrong := [name for name, sign, _ in pairs if not sign]:
        parser.error(f"-p {wrong[0]}: write -p name=value")
    try:
        config = GestureConfig.from_strings({name: text for name, _, text in pairs})
    except ValueError as error:
        parser.error(str(error))
    run = train(config)
    if int(os.environ.get("RANK", 0)) == 0:
        run.finish()
        print(run.folder)


if __name__ == "__main__":
    main()
