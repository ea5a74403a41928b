"""Representation first, classifier after: what is done to a trained network's last layer for the sake of rare classes.

Source: Kang et al., "Decoupling Representation and Classifier for Long-Tailed Recognition", ICLR 2020 (arXiv 1910.09217),
section 4: `tau_norm` (tau-normalised classifier) and `retrained` (classifier re-training, cRT). Both end as an ordinary
linear layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, WeightedRandomSampler

from migstudy import paths
from migstudy.fit import Fitted, Task, clear, fit
from migstudy.models.base import ModelOutput

CLASSIFIERS = ("joint", "tau_norm", "retrained")
TAUS = tuple(round(0.1 * i, 1) for i in range(11))


def classifier_of(model: nn.Module) -> nn.Linear | nn.Conv2d:
    """The layer that gives a network's logits, linear or a 1x1 convolution; raises TypeError for a network without one."""
    parts = dict(model.named_modules())
    for name in ("fc", "fcn", "cls_head.fc_cls", "head.1"):
        if isinstance(layer := parts.get(name), nn.Linear | nn.Conv2d):
            return layer
    raise TypeError(f"{type(model).__name__} has no linear classifier to normalise or retrain; use classifier=joint")


@torch.no_grad()
def tau_normalise(layer: nn.Linear | nn.Conv2d, tau: float, weight: Tensor | None = None) -> None:
    """Divide each class's weights (C, D) by their length to the power of tau, in place; the bias goes unless tau is 0.

    tau 0 changes nothing, 1 makes all classes' weights equally long. weight: start from these instead of the layer's own. The
    paper leaves the bias out.
    """
    weight = layer.weight if weight is None else weight
    length = weight.flatten(1).norm(dim=1).clamp(min=torch.finfo(weight.dtype).tiny)
    layer.weight.copy_((weight.flatten(1) / length[:, None] ** tau).view_as(weight))
    if tau and layer.bias is not None:
        layer.bias.zero_()


@torch.no_grad()
def choose_tau(layer: nn.Linear | nn.Conv2d, score: Callable[[], float]) -> dict[float, float]:
    """Leave the layer tau-normalised with the tau of `TAUS` that scores best; returns the score of each.

    score() is asked once a tau and must look at validation clips alone. The smallest of equals wins.
    """
    weight, bias = layer.weight.clone(), None if layer.bias is None else layer.bias.clone()
    scores = {}
    for tau in TAUS:
        tau_normalise(layer, tau, weight)
        scores[tau] = float(score())
    tau_normalise(layer, max(scores, key=scores.get), weight)
    if bias is not None and max(scores, key=scores.get) == 0:
        layer.bias.copy_(bias)
    return scores


def freeze_all_but_classifier(model: nn.Module) -> nn.Linear | nn.Conv2d:
    """Give the classifier new weights and leave nothing else to train; returns it.

    Batch norm goes on normalising by what the first stage saw as long as the model is kept in eval mode.
    """
    layer = classifier_of(model)
    model.requires_grad_(False)
    layer.requires_grad_(True)
    layer.reset_parameters()
    return layer


def balanced_loader(loader: DataLoader, labels: np.ndarray) -> DataLoader:
    """The same batches, with clips drawn such that every class that has any is equally likely; as many clips an epoch."""
    labels = np.asarray(labels)
    weights = 1.0 / np.bincount(labels)[labels]
    sampler = WeightedRandomSampler(torch.from_numpy(weights), len(labels), generator=loader.generator)
    return DataLoader(
        loader.dataset, loader.batch_size, sampler=sampler, generator=loader.generator, num_workers=loader.num_workers,
        drop_last=loader.drop_last, pin_memory=loader.pin_memory,
    )  # fmt: skip


def second_stage(task: Task, fitted: Fitted, config: Any, folder: Path | None) -> Fitted:
    """A trained task's network with the configured classifier (`tau_norm` or `retrained`) instead of the one learned with it.

    tau_norm: the tau that validates best. retrained: trained as the first stage was, for retrain_epochs of balanced draws on
    features that no longer change; the epoch that validates best is kept. config: `fit.Training` and classifier,
    retrain_epochs. folder: the run's; keeps classifier/log.csv, and a checkpoint until `fit.clear`.
    """
    own = folder / "classifier" if folder else None
    if config.classifier == "tau_norm":
        scores = choose_tau(
            classifier_of(fitted.model), lambda: task.validate(fitted.model, fitted.accelerator)[config.select_on]
        )
        if own and fitted.accelerator.is_main_process:
            table = pd.DataFrame({"tau": scores.keys(), f"val_{config.select_on}": scores.values()})
            paths.write_text(own / "log.csv", table.to_csv(index=False))
        return fitted
    if own:
        own.mkdir(exist_ok=True)
    shorter = dataclasses.replace(config, epochs=config.retrain_epochs, warmup_epochs=0.0)
    refitted = fit(_Retraining(task, fitted.model, config.seed), shorter, own)
    if own:
        clear(own)
    return refitted


class _Retraining(Task):
    """The same task on balanced draws, with all but the classifier frozen; batch norm and dropout stay as when tested."""

    def __init__(self, task: Task, model: nn.Module, seed: int) -> None:
        self.task, self.model, self.criterion = task, model, task.criterion
        with torch.random.fork_rng(devices=[]):  # the same start when a killed run goes on
            torch.manual_seed(seed)
            freeze_all_but_classifier(model)
        self.loader = balanced_loader(task.loader, task.loader.dataset.labels)

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> ModelOutput:
        return self.task.forward(model.eval(), batch)

    def validate(self, model: nn.Module, accelerator: Accelerator) -> dict[str, float]:
        return self.task.validate(model, accelerator)
