"""Train a clip classifier, select on validation, test: paper A's system, or any encoder of clips.

One process:    train(config)                       (the notebook 03_train_gesture does just this)
Several GPUs:   accelerate launch -m migstudy.train -p data=... -p profile=paper

The loop itself is `fit.py`.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator

from migstudy import paths
from migstudy.clips import ClipSet
from migstudy.config.gesture import GestureConfig
from migstudy.data import GestureData, open_data
from migstudy.decoupled import second_stage
from migstudy.evaluate import SUMMARY, evaluate
from migstudy.fit import Task, clear, fit, prepare, shared
from migstudy.label_embeddings import get_label_embeddings
from migstudy.loading import channels, eval_loader, represent, train_loader, with_labels
from migstudy.long_tail import LongTailLoss
from migstudy.losses import GestureLoss
from migstudy.models import average_views, create_model
from migstudy.models.base import ModelOutput
from migstudy.runs.claims import BUSY, Claim, Claimed
from migstudy.runs.folder import Run, open_run
from migstudy.scores import load_scores, make_scores, save_scores
from migstudy.video.rgb import RgbClips


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
    prepare(config)
    task = GestureTask(config, data)
    fitted = fit(task, config, run.folder)
    if config.classifier != "joint":
        fitted = second_stage(task, fitted, config, run.folder)
    finish(run, fitted.model, data, config, fitted.accelerator)
    return run


class GestureTask(Task):
    """A clip classifier on its training clips, validated on its validation clips."""

    def __init__(self, config: GestureConfig, data: GestureData) -> None:
        self.config, self.data = config, data
        self.model, self.criterion = build(config, data)
        self.loader = train_loader(with_labels(data.train), config, data.pixels)

    def forward(self, model: torch.nn.Module, batch: dict) -> ModelOutput:
        self.criterion.set_progress(self.loader.dataset.epoch / self.config.epochs)
        return model(represent(batch, self.data.topology, self.config, self.config.train_size, train=True, sparse=True))

    def validate(self, model: torch.nn.Module, accelerator: Accelerator) -> dict[str, float]:
        scores = predict(model, with_labels(self.data.val), self.config, accelerator, pixels=self.data.pixels)
        val = evaluate(scores, intervals=False)
        return {name: val[name] for name in SUMMARY}


def build(config: GestureConfig, data: GestureData) -> tuple[torch.nn.Module, GestureLoss]:
    """The model and the loss of a configuration, the label vectors' width between them."""
    config = config.resolved()
    vectors = None
    if config.label_embedding != "none":
        vectors = get_label_embeddings(config.label_embedding, data.class_names)
    long_tail = None
    if config.loss != "cross_entropy":
        long_tail = LongTailLoss(
            config.loss, data.train.class_counts(), config.class_balance, config.focal_gamma, config.logit_tau,
            config.ldam_margin, config.reweight_from,
        )  # fmt: skip
    label_loss = "none" if vectors is None else config.label_loss
    criterion = GestureLoss(label_loss, vectors, config.label_weight, long_tail=long_tail)
    common = dict(
        num_classes=len(data.class_names), base_channels=config.base_channels, dropout=config.dropout,
        embedding_dim=criterion.embedding_dim,
    )  # fmt: skip
    if config.on_rgb:
        return build_video_model(config, **common), criterion
    common |= dict(in_channels=channels(data.topology, config, data.train.dimensions), stage_blocks=config.blocks)
    if config.on_graph:
        return create_model(config.model, topology=data.topology, **common), criterion
    model = create_model("posec3d", stem_stride=config.stem_stride, **common)
    return model.to(memory_format=torch.channels_last_3d), criterion


def build_video_model(config: GestureConfig, **shared: Any) -> torch.nn.Module:
    """MViT of the configured size, its weights but the heads' from a checkpoint when one is named.

    Raises ValueError for a file that is missing or does not fit, ConnectionError when `kinetics` cannot be downloaded.
    """
    stages = config.blocks
    model = create_model(
        config.model, frames=config.clip_len, size=config.train_size, num_blocks=sum(stages), drop_path=config.drop_path,
        downscale_blocks=[sum(stages[: i + 1]) for i in range(len(stages) - 1)], kv_stride=2 ** (len(stages) - 1),
        init_std=0.02 if config.base_channels >= 96 else None, motion=config.stream == "rgb_motion", **shared,
    )  # fmt: skip
    if config.weights:
        source = config.weights if config.weights == "kinetics" else paths.resolve(config.weights)
        if source != "kinetics" and not source.is_file():
            raise ValueError(f"weights={config.weights!r}: no such file; give torchvision's or mmaction2's MViTv2-S, or a run's")
        model.load_published_weights(source, skip=("head.", "emb_fc."))
    return model


@torch.no_grad()
def predict(
    model: torch.nn.Module, clips: ClipSet, config: GestureConfig, accelerator: Accelerator | None = None, views: int = 1,
    pixels: RgbClips | None = None,
) -> pd.DataFrame:  # fmt: skip
    """The score table of the clips: softmax of each view, then the mean over views (and their mirror images).

    views: test clips each; the configured mirror is used when there are more than one. pixels: of a video model.
    """
    config = config.resolved()
    accelerator = accelerator or Accelerator()
    model.eval()
    # what is drawn from 3D is mirrored in space, by the loader
    mirror = config.test_mirror and views > 1 and (config.on_graph or config.on_rgb or clips.dimensions == 2)
    probabilities, seen = [], []
    for batch in shared(eval_loader(clips, config, views, pixels), accelerator):
        n = len(batch["label"])
        with accelerator.autocast():
            logits = model(represent(batch, clips.topology, config, config.test_size, mirror, sparse=True)).logits
        mean = average_views(logits.float().reshape(n, -1, logits.shape[-1]))
        mean, index = accelerator.gather_for_metrics((mean, batch["index"]))
        probabilities.append(mean.cpu().numpy())
        seen.append(index.cpu().numpy())
    order = np.concatenate(seen)
    return make_scores(clips.index.iloc[order], np.concatenate(probabilities), clips.class_names)


def finish(run: Run, model: torch.nn.Module, data: GestureData, config: GestureConfig, accelerator: Accelerator) -> None:
    """Score val and test with all views and write what the run leaves."""
    model = accelerator.prepare_model(model, evaluation_mode=True)
    parts = [predict(model, part, config, accelerator, config.test_clips, data.pixels) for part in (data.val, data.test)]
    if not accelerator.is_main_process:
        return
    accelerator.unwrap_model(model).save_pretrained(run.folder)
    scores = pd.concat(parts, ignore_index=True)
    save_scores(scores, run.path("scores.parquet"), data.class_names)
    run.write_json("metrics.json", measure(run, data))
    clear(run.folder)


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
            result |= {f"{split}_{name}": result[split][name] for name in SUMMARY}
    return result


def open_gesture_run(config: GestureConfig, data: GestureData) -> Run:
    """The run folder that belongs to these parameters on these data."""
    return open_run("03_train_gesture", config.resolved().to_dict(), data.fingerprint, config.run_dir)


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
        data = open_data(config)
        run = open_gesture_run(config, data)
    except ValueError as error:
        parser.error(str(error))
    first = int(os.environ.get("RANK", 0)) == 0
    try:
        with Claim.take(run.folder) if first else nullcontext() as claim:  # a grid may want the same run
            train(config, data, run)
            if claim:
                claim.check()
                run.finish()
                print(run.folder)
    except Claimed as error:
        parser.exit(BUSY, f"{error}\n")


if __name__ == "__main__":
    main()
