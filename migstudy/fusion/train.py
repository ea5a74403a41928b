"""Train a fusion of encoders on their tokens, select on validation, test; and test again with modalities withheld.

The loop itself is `fit.py`; the notebook 04_fusion does just this.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator

from migstudy.clips import ClipSet
from migstudy.config.fusion import FusionConfig
from migstudy.data import GestureData
from migstudy.evaluate import SUMMARY, evaluate
from migstudy.fit import Task, clear, fit, prepare, shared
from migstudy.fusion.data import FusionData, open_clips, open_fusion_data
from migstudy.fusion.encoders import encoder_runs, train_encoders
from migstudy.loading import with_labels
from migstudy.losses import GestureLoss
from migstudy.models import StudyModel, create_model
from migstudy.models.base import ModelOutput
from migstudy.models.fusion_network import FusionNetwork
from migstudy.models.memory import MemoryLoss
from migstudy.runs.folder import Run, open_run, run_of
from migstudy.scores import load_scores, make_scores, save_scores
from migstudy.train import measure

TASK = "04_fusion"


def train_fusion(config: FusionConfig, data: FusionData | None = None, run: Run | None = None) -> Run:
    """Train, keep the epoch that validates best, score validation and test clips; returns the finished run.

    A trained run is returned as it is, an interrupted one goes on; encoders that are missing are trained first. Leaves what
    `train` leaves and, for more than one modality, the scores with only some of them at hand (`subset_file`). With finetune,
    model.safetensors holds the encoders as well, see `end_to_end`.
    Raises FloatingPointError when the loss is no longer finite.
    """
    config = config.resolved()
    clips = data.clips if data else open_clips(config)
    run = run or open_fusion_run(config, clips)
    if run.path("metrics.json").exists():
        return run
    data = data or open_fusion_data(config, clips, train_encoders(config, clips.fingerprint))
    prepare(config)
    task = _task(config, data)
    fitted = fit(task, config, run.folder)
    finish(run, fitted.model, task.data, config, fitted.accelerator)
    return run


def _task(config: FusionConfig, data: FusionData) -> FusionTask:
    if not config.finetune:
        return FusionTask(config, data)
    from migstudy.fusion.end_to_end import EndToEndTask

    return EndToEndTask(config, data)


class FusionTask(Task):
    """A fusion network on what `data` gives of the training clips, their tokens, validated on the validation clips."""

    def __init__(self, config: FusionConfig, data: FusionData) -> None:
        self.config, self.data = config, data
        self.model, self.criterion = build(config, data)
        self.loader = data.loader(with_labels(data.clips.train), config, train=True)

    def forward(self, model: torch.nn.Module, batch: dict) -> ModelOutput:
        return model(*self.data.inputs(batch, train=True))

    def validate(self, model: torch.nn.Module, accelerator: Accelerator) -> dict[str, float]:
        val = evaluate(predict(model, with_labels(self.data.clips.val), self.data, self.config, accelerator), intervals=False)
        return {name: val[name] for name in SUMMARY}

    def after_backward(self, output: ModelOutput, labels: torch.Tensor) -> None:
        if self.model.memory is not None:
            self.model.memory.observe(output.features, labels)

    def after_step(self) -> None:
        if self.model.memory is not None:
            self.model.memory.step()


def build(config: FusionConfig, data: FusionData) -> tuple[FusionNetwork, torch.nn.Module]:
    """The network and the loss of a configuration."""
    config, network = config.resolved(), describe(config, data)
    model = create_model(network["model"], **network["config"])
    criterion = GestureLoss()
    if model.memory is not None:
        criterion = MemoryLoss(criterion, model.memory, config.memory_weight, config.memory_margin)
    return model, criterion


def describe(config: FusionConfig, data: FusionData) -> dict[str, Any]:
    """The fusion network of a configuration: its name in `MODELS` as model, its arguments as config."""
    config = config.resolved()
    own = {"late_fusion": {"weights": config.late_weights}, "single_modality": {"modality": config.modality}}
    options = dict(
        num_classes=len(data.clips.class_names), width=config.width, depth=config.depth, heads=config.heads,
        mlp_ratio=config.mlp_ratio, dropout=config.dropout, head_dropout=config.head_dropout, pooling=config.pooling,
        modality_dropout=config.modality_dropout, memory=config.memory, memory_momentum=config.memory_momentum,
        **data.shared, **own.get(config.fusion, {}),
    )  # fmt: skip
    return {"model": config.fusion, "config": options}


@torch.no_grad()
def predict(
    model: torch.nn.Module, clips: ClipSet, data: FusionData, config: FusionConfig, accelerator: Accelerator | None = None,
    only: Sequence[str] | None = None,
) -> pd.DataFrame:  # fmt: skip
    """The score table of the clips; only: the modalities at hand, all when None.

    A clip of which nothing is at hand is answered with the classes' shares of the training clips.
    """
    accelerator = accelerator or Accelerator()
    model.eval()
    probabilities, seen = [], []
    loader = data.loader(clips, config)
    for batch in shared(loader, accelerator):
        tokens, mask, present = data.inputs(batch)
        present = {name: here if only is None or name in only else here & False for name, here in present.items()}
        at_hand = torch.stack([mask[name].any(1) & here for name, here in present.items()]).any(0)
        inputs = ({name: x[at_hand] for name, x in part.items()} for part in (tokens, mask, present))
        answers = _shares(data.clips).to(at_hand.device).repeat(len(at_hand), 1)
        if at_hand.any():
            with accelerator.autocast():
                logits = model(*inputs).logits
            answers[at_hand] = logits.float().softmax(1)
        answers, index = accelerator.gather_for_metrics((answers, batch["index"]))
        probabilities.append(answers.cpu().numpy())
        seen += [loader.dataset.ids[i] for i in index.tolist()]
    known = dict(zip(seen, np.concatenate(probabilities), strict=True)) if seen else {}
    shares = _shares(data.clips).numpy()
    rows = np.stack([known.get(clip_id, shares) for clip_id in clips.index["clip_id"]])
    return make_scores(clips.index, rows, clips.class_names)


def _shares(clips: GestureData) -> torch.Tensor:
    counts = torch.as_tensor(clips.train.class_counts(), dtype=torch.float32)
    return counts / counts.sum()


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Every choice of modalities but all and none."""
    return [chosen for size in range(1, len(names)) for chosen in combinations(sorted(names), size)]


def subset_file(chosen: Sequence[str]) -> str:
    """Where a run keeps its test scores with only these modalities at hand."""
    return f"scores_only_{'_and_'.join(sorted(chosen))}.parquet"


def finish(run: Run, model: StudyModel, data: FusionData, config: FusionConfig, accelerator: Accelerator) -> None:
    """Score val and test, and test with every choice of modalities; write what the run leaves, metrics.json last."""
    model = accelerator.prepare_model(model, evaluation_mode=True)
    clips = data.clips
    parts = [predict(model, part, data, config, accelerator) for part in (clips.val, clips.test)]
    few = {chosen: predict(model, clips.test, data, config, accelerator, chosen) for chosen in subsets([*data.modalities])}
    if not accelerator.is_main_process:
        return
    accelerator.unwrap_model(model).save_pretrained(run.folder)
    save_scores(pd.concat(parts, ignore_index=True), run.path("scores.parquet"), clips.class_names)
    for chosen, scores in few.items():
        save_scores(scores, run.path(subset_file(chosen)), clips.class_names)
    run.write_json("metrics.json", measure(run, clips) | {"encoders": dict(data.encoders), "at_hand": _few(run, [*few])})
    clear(run.folder)


def _few(run: Run, choices: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Test metrics with only some modalities at hand, for labelled clips."""
    found = {}
    for chosen in choices:
        scores = load_scores(run.path(subset_file(chosen)))
        known = scores[scores["label"] >= 0].reset_index(drop=True)
        known.attrs = scores.attrs
        if len(known):
            test = evaluate(known)
            found["+".join(chosen)] = {name: test[name] for name in (*SUMMARY, "intervals", "n_clips")}
    return found


def open_fusion_run(config: FusionConfig, clips: GestureData) -> Run:
    """The run folder that belongs to these parameters on these data."""
    return open_run(TASK, config.resolved().to_dict(), clips.fingerprint, config.run_dir)


def fusion_run(config: FusionConfig) -> Run:
    """The run that these parameters have or would have; nothing is written.

    Raises ValueError when data cannot be opened, or a given run does not fit them.
    """
    fingerprint = open_clips(config).fingerprint
    encoder_runs(config, fingerprint)
    return run_of(TASK, config.resolved().to_dict(), fingerprint, config.run_dir)
