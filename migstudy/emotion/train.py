"""Win or lose from videos: cross-validate by person on the training part, then test once; every model by the same command.

Threshold and temperature of a fold's answers come from its inner validation people, those of the test from the answers of
cross-validation: no test video, and no held-out one, decides anything. The loop itself is `fit.py`; the notebook
05_train_emotion does just this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from tqdm import tqdm

from migstudy import paths
from migstudy.config.emotion import EmotionConfig
from migstudy.emotion.binary_metrics import auc, balanced_accuracy, log_loss
from migstudy.emotion.data import EmotionData, open_emotion_data
from migstudy.emotion.encoder_people import encoder_facts
from migstudy.emotion.evaluate import evaluate_emotion
from migstudy.emotion.features import EmotionFeatures, open_features
from migstudy.emotion.folds import Fold, cross_validation_folds, inner_validation
from migstudy.emotion.gesture_evidence import fit_gesture_model, logits
from migstudy.emotion.hybrid_loss import HybridLoss
from migstudy.emotion.loading import segment_loader
from migstudy.emotion.scores import (
    combine_emotion_scores,
    load_emotion_scores,
    make_emotion_scores,
    save_emotion_scores,
)
from migstudy.fit import Task, clear, fit, prepare, shared
from migstudy.losses import GestureLoss, class_weights
from migstudy.models import create_model
from migstudy.models.base import ModelOutput
from migstudy.models.hypergraph import measure_motion
from migstudy.runs.folder import Run, open_run, run_of

TASK = "05_train_emotion"
GESTURE_MODEL = "gesture_model.json"


def train_emotion(
    config: EmotionConfig, data: EmotionData | None = None, features: EmotionFeatures | None = None, run: Run | None = None,
    progress: bool = True,
) -> Run:  # fmt: skip
    """Cross-validate, fit on the whole training part, score the test part once; returns the finished run.

    A trained run is returned as it is; an interrupted one goes on after its last finished fold. Leaves folds/*.parquet,
    scores.parquet (see `emotion.scores`: fold >= 0 cross-validation, -1 the protocol's split), log.csv, folds.csv (epochs of a
    fold), model.safetensors or gesture_model.json, and, last, metrics.json.
    """
    config = config.resolved()
    data = data or open_emotion_data(config)
    run = run or open_emotion_run(config, data)
    if run.path("metrics.json").exists():
        return run
    folds = cross_validation_folds(data.videos, config.folds, config.repeats, config.seed)
    features = features or open_features(config, data, progress=progress)
    tables, epochs = [], []
    for fold in tqdm(folds, f"{config.model}, folds", disable=not progress, unit="fold"):
        table, epoch = _fold(config, data, features, run, fold)
        tables.append(table)
        epochs.append({"repeat": fold.repeat, "fold": fold.fold, "epochs": epoch})
    with paths.written_aside(run.path("folds.csv")) as aside:
        pd.DataFrame(epochs).to_csv(aside, index=False)
    if config.final:
        tables.append(_final(config, data, features, run, tables, int(np.median([row["epochs"] for row in epochs])), progress))
    scores = combine_emotion_scores(tables)
    save_emotion_scores(scores, run.path("scores.parquet"))
    run.write_json("metrics.json", measure(scores, data, features.saw) | {"encoders": features.encoders})
    clear(run.folder)
    return run


class EmotionTask(Task):
    """One model on the segments of its training videos; validated on videos of other people, or on none."""

    def __init__(
        self, config: EmotionConfig, data: EmotionData, features: EmotionFeatures, train: pd.DataFrame, val: pd.DataFrame | None
    ) -> None:
        self.config, self.data, self.features, self.val = config, data, features, val
        labels = train["label"].to_numpy()
        if config.shuffle_labels:
            labels = np.random.default_rng([config.seed, 7]).permutation(labels)
        self.loader = segment_loader(train, labels, data, features, config, train=True)
        # of training videos alone, one segment each: the units in which the model reads
        shown = self.loader.dataset.__getitems__(range(len(train)))
        motion = measure_motion(shown["coordinates"]) if "coordinates" in shown else 1.0
        self.model, self.criterion = build(config, features, np.bincount(labels, minlength=2), motion)
        if "coordinates" in shown:
            self.model.fit_pose(shown["coordinates"])
        else:
            self.model.fit_tokens(shown["tokens"], shown["mask"])

    def forward(self, model: torch.nn.Module, batch: dict[str, Any]) -> ModelOutput:
        return _answer(model, batch)

    def validate(self, model: torch.nn.Module, accelerator: Accelerator) -> dict[str, float]:
        if self.val is None:
            return {"epoch": float(self.loader.dataset.epoch)}
        found, labels = predict(model, self.val, self.data, self.features, self.config, accelerator), self.val["label"].to_numpy()
        p = 1 / (1 + np.exp(-found))
        return {
            "log_likelihood": -float(log_loss(labels, p)), "auc": float(auc(labels, p)),
            "balanced_accuracy": float(balanced_accuracy(labels, p)),
        }  # fmt: skip


def build(
    config: EmotionConfig, features: EmotionFeatures, counts: Sequence[int], motion: float = 1.0
) -> tuple[torch.nn.Module, torch.nn.Module]:  # fmt: skip
    """The network and its loss, in which wins and losses weigh the same; counts: training videos lost and won.

    motion: root mean square displacement of the training skeletons, from `measure_motion`.
    """
    config = config.resolved()
    criterion = GestureLoss(class_weights=class_weights(counts, 1.0))
    if features.skeleton is not None:
        model = create_model(
            "hypergraph_transformer", topology=features.skeleton.whole.topology, in_channels=features.skeleton.channels,
            base_channels=max(config.width // 4, 4 * config.heads), stage_blocks=(1,) * (config.depth + 1), heads=config.heads,
            dropout=config.dropout, head_dropout=config.head_dropout, mask_ratio=config.mask_ratio, motion_rms=motion,
            standardised=True,
        )  # fmt: skip
        return model, HybridLoss(criterion, config.reconstruction)
    if config.model == "gesture_lstm":
        model = create_model(
            "gesture_lstm", token_dims={"gesture": len(features.events.class_names) + 2}, width=config.width,
            head_dropout=config.head_dropout, modality_dropout=0.0, standardised=True,
        )  # fmt: skip
        return model, criterion
    common = dict(
        token_dims={name: source.dim for name, source in features.tokens.items()}, num_classes=2, width=config.width,
        heads=config.heads, dropout=config.dropout, head_dropout=config.head_dropout, standardised=True,
    )  # fmt: skip
    if config.model == "attention_mil":
        return create_model("attention_mil", attention_width=config.width, modality_dropout=0.0, **common), criterion
    common |= dict(
        depth=config.depth, grids={name: (config.segment_windows * source.steps, 1) for name, source in features.tokens.items()}
    )
    if config.model in ("face", "context"):
        return create_model("single_modality", modality=config.model, modality_dropout=0.0, **common), criterion
    return create_model(config.model, modality_dropout=config.modality_dropout, **common), criterion


def _answer(model: torch.nn.Module, batch: dict[str, Any]) -> ModelOutput:
    return model(batch["coordinates"]) if "coordinates" in batch else model(batch["tokens"], batch["mask"])


@torch.no_grad()
def predict(
    model: torch.nn.Module, rows: pd.DataFrame, data: EmotionData, features: EmotionFeatures, config: EmotionConfig,
    accelerator: Accelerator | None = None,
) -> np.ndarray:  # fmt: skip
    """(N,) log odds of a win of the videos in `rows`: the mean over a video's segments, by their windows."""
    config, accelerator = config.resolved(), accelerator or Accelerator()
    model.eval()
    total, weight = np.zeros(len(rows)), np.zeros(len(rows))
    loader = segment_loader(rows, rows["label"].to_numpy(), data, features, config)
    for batch in shared(loader, accelerator):
        with accelerator.autocast():
            found = _answer(model, batch).logits.float()
        parts = (found[:, 1] - found[:, 0], batch["weight"], batch["video"])
        margin, share, owner = (x.cpu().numpy() for x in accelerator.gather_for_metrics(parts))
        np.add.at(total, owner, margin * share)
        np.add.at(weight, owner, share)
    return total / weight


def _fold(config: EmotionConfig, data: EmotionData, features: EmotionFeatures, run: Run, fold: Fold) -> tuple[pd.DataFrame, int]:
    """Answers of one fold's model for its validation and held-out people, and its best epoch; kept as soon as they are there."""
    kept = run.path("folds") / f"{fold.repeat}_{fold.fold}.parquet"
    if kept.is_file():
        table = load_emotion_scores(kept)
        return table, int(kept.with_suffix(".txt").read_text())
    own = replace(config, seed=(config.seed * config.repeats + fold.repeat) * config.folds + fold.fold)
    train, val = inner_validation(data.videos, fold.train, config.inner_fraction, config.seed)
    parts = [data.rows(ids) for ids in (train, val, fold.held_out)]
    if config.model == "gesture_logistic":
        model, epoch = _gesture_model(own, features, parts[0]), 0
        answers = [_gesture_answers(model, features, part) for part in parts[1:]]
    else:
        prepare(own)
        fitted = fit(EmotionTask(own, data, features, *parts[:2]), own, None, progress=False)
        answers = [predict(fitted.model, p, data, features, own, fitted.accelerator) for p in parts[1:]]
        epoch = 1 + int(np.argmax([row[f"val_{own.select_on}"] for row in fitted.history]))
    tables = [
        make_emotion_scores(part, found, data.videos, split, fold.fold, fold.repeat)
        for part, found, split in zip(parts[1:], answers, ("val", "test"), strict=True)
    ]
    table = combine_emotion_scores(tables)
    paths.write_text(kept.with_suffix(".txt"), f"{epoch}\n")
    save_emotion_scores(table, kept)
    return table, epoch


def _final(
    config: EmotionConfig, data: EmotionData, features: EmotionFeatures, run: Run, folds: list[pd.DataFrame], epochs: int,
    progress: bool,
) -> pd.DataFrame:  # fmt: skip
    """The model of the whole training part, trained for as many epochs as the folds' median, on the test part.

    Its "val" rows, which set threshold and temperature, are what one repeat's models said of the training people they held out:
    one model's mean log odds over segments, as of the test. Means over repeats would vary less than what they are to scale.
    """
    train, test = data.videos.select("train"), data.videos.select("test")
    if config.model == "gesture_logistic":
        model = _gesture_model(config, features, train)
        model.save(run.path(GESTURE_MODEL))
        found = _gesture_answers(model, features, test)
    else:
        prepare(config)
        about = SimpleNamespace(**config.to_dict() | {"epochs": max(epochs, 1), "select_on": "epoch", "patience": 0})
        fitted = fit(EmotionTask(config, data, features, train, None), about, run.folder, progress)
        fitted.model.save_pretrained(run.folder)
        found = predict(fitted.model, test, data, features, config, fitted.accelerator)
    held = pd.concat(folds).query("split == 'test' and repeat == 0").sort_values("video")
    known = data.rows(held["video"])
    val = make_emotion_scores(known, held["logit"].to_numpy(), data.videos, "val")
    return combine_emotion_scores([val, make_emotion_scores(test, found, data.videos, "test")])


def _gesture_model(config: EmotionConfig, features: EmotionFeatures, rows: pd.DataFrame):
    if config.shuffle_labels:
        rows = rows.assign(label=np.random.default_rng([config.seed, 7]).permutation(rows["label"]))
    return fit_gesture_model(features.events, rows, seed=config.seed)


def _gesture_answers(model, features: EmotionFeatures, rows: pd.DataFrame) -> np.ndarray:
    return logits(model, features.events.of(rows["video"])).loc[rows["video"]].to_numpy()


def measure(scores: pd.DataFrame, data: EmotionData, saw: Mapping[str, int | None] | None = None) -> dict[str, Any]:
    """All numbers of a run: `cross_validation` and, where the test results are known, `test`; see `evaluate_emotion`.

    saw: whom the encoders learned from, of `EmotionFeatures`; each part says what that means for it, see `encoder_facts`.
    """
    found: dict[str, Any] = {"source": data.source, "protocol": data.videos.protocol, "notes": list(data.videos.notes)}
    saw, people = dict(saw or {}), data.videos.select("train")["subject"].nunique()
    found["encoders_saw"] = saw
    found["cross_validation"] = evaluate_emotion(scores[scores["fold"] >= 0]) | encoder_facts(saw, people, "cross_validation")
    own = scores[scores["fold"] < 0]
    if len(own) and (own.query("split == 'test'")["label"] >= 0).all():
        found["test"] = evaluate_emotion(own) | encoder_facts(saw, people, "test")
    return found


def open_emotion_run(config: EmotionConfig, data: EmotionData) -> Run:
    """The run folder that belongs to these parameters on these data."""
    return open_run(TASK, config.resolved().to_dict(), data.fingerprint, config.run_dir)


def emotion_run(config: EmotionConfig) -> Run:
    """The run that these parameters have or would have; nothing is written in runs/. Raises as `open_emotion_data`."""
    return run_of(TASK, config.resolved().to_dict(), open_emotion_data(config).fingerprint, config.run_dir)
