"""The parameters of gesture recognition; three profiles fill what is left open.

The fields are the training notebook's parameters cell, the options of `migstudy run -p` and a run's params.json.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Literal, Self

from migstudy.config.parameters import Parameters, Profile


@dataclass(frozen=True)
class GestureConfig(Parameters):
    """Parameters of gesture recognition from clips; None means "as the profile says", for the model in question.

    data: `simulator`, or a path: release folder, ClipSet folder, labelled .npz, mmaction2 pickle. films: the folder of the
    videos that `mvit` sees; empty = where the data lie. model: paper A's `posec3d` on heatmaps of the streams joint and limb,
    a graph network on coordinates of the streams joint, bone and their motion, or `mvit` on the person cut out of the film,
    rgb, or on differences of its frames, rgb_motion. topology: a name of `skeletons.list_topologies()`, or `native` for the
    data's own. projection: planes of 3D data drawn as images. clip_len: frames a sample. train_size, test_size: side of
    heatmaps or pictures, px. sigma: px. kept_frames, kept_size (px): of a clip's film, decoded once and kept, see
    `video.rgb.RgbSpec`; samples and crops are taken from them. test_mirror: mirror images besides, when there are several test
    clips. crop_area: least share of the image that a training crop keeps. colour: brightness, contrast and saturation vary by
    that share. center: what graph networks place at the origin, every `frame`'s body or the `clip`'s; auto: frame in 3D, clip
    in 2D. rotation (degrees), shear, zoom, time_crop, joint_dropout: random views of graph networks, see
    `graphs.augment.GraphAugment`. schedule: of the learning rate, `cosine`, or `step` by a tenth after 60 and 80 % of the
    epochs. stage_blocks: bottlenecks, graph units or attention blocks a stage. drop_path: stochastic depth of `mvit`'s last
    block. weights: what `mvit` starts from, empty = from scratch, `kinetics` = its published ones, or a checkpoint's path.
    loss: of the classes, see `long_tail`; class_balance (beta of class_balanced and ldam), focal_gamma, logit_tau,
    ldam_margin (of the rarest class, in logits) and reweight_from (share of the epochs, ldam) are theirs. classifier: `joint`
    as trained, or a second stage on balanced classes, see `decoupled`: `tau_norm`, or `retrained` for retrain_epochs.
    label_embedding: `none`, `sentence`, `glove` or a file of vectors. patience: epochs without a better validation score
    before stopping, 0 = never. threads: 0 = all cores. shuffle_labels: train on shuffled labels, a control that must fall to
    chance. run_dir: where the run is kept; empty = runs/<id>.
    """

    profile: Profile = "quick"
    data: str = "simulator"
    films: str = ""
    model: Literal["posec3d", "stgcn", "agcn", "ctrgcn", "mvit"] = "posec3d"
    topology: str = "imigue41"
    stream: Literal["joint", "limb", "bone", "joint_motion", "bone_motion", "rgb", "rgb_motion"] | None = None
    sampling: Literal["uniform_interval", "uniform_segments", "zero_pad"] = "uniform_interval"
    projection: Literal["xy", "xy+zy"] = "xy"
    clip_len: int | None = None
    train_size: int | None = None
    test_size: int | None = None
    sigma: float | None = None
    kept_frames: int | None = None
    kept_size: int | None = None
    test_clips: int | None = None
    test_mirror: bool | None = None
    flip: float | None = None
    crop_area: float | None = None
    colour: float | None = None
    center: Literal["auto", "frame", "clip"] = "auto"
    rotation: float | None = None
    shear: float | None = None
    zoom: float | None = None
    time_crop: float | None = None
    joint_dropout: float | None = None
    base_channels: int | None = None
    stage_blocks: str | None = None
    stem_stride: int | None = None
    dropout: float | None = None
    drop_path: float | None = None
    weights: str | None = None
    loss: Literal["cross_entropy", "class_balanced", "focal", "logit_adjusted", "ldam"] = "cross_entropy"
    class_balance: float = 0.999
    focal_gamma: float = 2.0
    logit_tau: float = 1.0
    ldam_margin: float = 3.0
    reweight_from: float = 0.8
    classifier: Literal["joint", "tau_norm", "retrained"] = "joint"
    retrain_epochs: int = 5
    label_embedding: str | None = None
    label_loss: Literal["mse", "cosine", "contrastive"] | None = None
    label_weight: float | None = None
    optimizer: Literal["sgd", "sgd_nesterov", "adamw"] | None = None
    schedule: Literal["cosine", "step"] | None = None
    lr: float | None = None
    weight_decay: float | None = None
    warmup_epochs: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    grad_clip: float | None = None
    precision: Literal["no", "bf16", "fp16"] | None = None
    select_on: Literal["macro_f1", "top1"] = "macro_f1"
    patience: int | None = None
    val_fraction: float | None = None
    workers: int | None = None
    threads: int = 0
    seed: int = 0
    shuffle_labels: bool = False
    run_dir: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        stages, pattern = ("two to five", r"[1-9]\d*(,[1-9]\d*){1,4}") if self.on_rgb else ("three", r"[1-9]\d*(,[1-9]\d*){2}")
        if self.stage_blocks is not None and not re.fullmatch(pattern, self.stage_blocks):
            raise ValueError(f"stage_blocks={self.stage_blocks!r}: give the blocks of {stages} stages, as in 4,6,3")
        if self.classifier != "joint" and self.loss != "cross_entropy":
            raise ValueError(
                f"classifier={self.classifier!r} and loss={self.loss!r} both answer for rare classes; the second stage follows"
                " loss='cross_entropy'"
            )
        known = RGB_STREAMS if self.on_rgb else GRAPH_STREAMS if self.on_graph else HEATMAP_STREAMS
        if self.stream not in (None, *known):
            raise ValueError(f"stream={self.stream!r}: {self.model} takes {', '.join(known)}")
        if self.weights and not self.on_rgb:
            raise ValueError(f"weights={self.weights!r}: {self.model} starts from scratch; only mvit takes a checkpoint")

    def resolved(self) -> Self:
        own = MODEL_PROFILES.get((self.model, self.profile), {})
        blanks = {name: value for name, value in own.items() if getattr(self, name) is None}
        return super(GestureConfig, dataclasses.replace(self, **blanks)).resolved()

    @property
    def on_graph(self) -> bool:
        """Whether the model reads coordinates on a skeleton's graph instead of heatmaps."""
        return self.model in GRAPH_MODELS

    @property
    def on_rgb(self) -> bool:
        """Whether the model sees the films."""
        return self.model == "mvit"

    @property
    def blocks(self) -> tuple[int, ...]:
        """stage_blocks as numbers."""
        return tuple(int(b) for b in self.resolved().stage_blocks.split(","))


GRAPH_MODELS = ("stgcn", "agcn", "ctrgcn")
HEATMAP_STREAMS = ("joint", "limb")
GRAPH_STREAMS = ("joint", "bone", "joint_motion", "bone_motion")
RGB_STREAMS = ("rgb", "rgb_motion")

# `paper` follows the MiGA 2023 winner's published settings (arXiv 2307.10624), from which paper A descends; paper A's own
# are not public. `quick` and `smoke` are ours: the same system, small enough for two cores.
PROFILES: dict[str, dict[str, Any]] = {
    "paper": dict(
        stream="joint", clip_len=48, train_size=56, test_size=64, sigma=0.6, kept_frames=20, kept_size=240,
        test_clips=10, test_mirror=True, flip=0.5, crop_area=0.56, colour=0.2,
        rotation=10.0, shear=0.1, zoom=0.15, time_crop=0.25, joint_dropout=0.0,
        base_channels=32, stage_blocks="4,6,3", stem_stride=1, dropout=0.5, drop_path=0.1, weights="", label_embedding="glove",
        label_loss="mse", label_weight=20.0,
        optimizer="sgd", schedule="cosine", lr=0.4 / 6, weight_decay=3e-4, warmup_epochs=0.0, epochs=100, batch_size=32,
        grad_clip=0.0, precision="fp16", patience=0, val_fraction=0.1, workers=8,
    ),
    "quick": dict(
        stream="joint", clip_len=16, train_size=24, test_size=28, sigma=0.6, kept_frames=16, kept_size=80,
        test_clips=2, test_mirror=True, flip=0.5, crop_area=0.85, colour=0.2,
        rotation=10.0, shear=0.1, zoom=0.15, time_crop=0.25, joint_dropout=0.0,
        base_channels=16, stage_blocks="2,2,2", stem_stride=2, dropout=0.3, drop_path=0.1, weights="", label_embedding="sentence",
        label_loss="cosine", label_weight=1.0,
        optimizer="adamw", schedule="cosine", lr=5e-3, weight_decay=0.02, warmup_epochs=1.0, epochs=10, batch_size=16,
        grad_clip=5.0, precision="no", patience=0, val_fraction=0.15, workers=0,
    ),
    "smoke": dict(
        stream="joint", clip_len=8, train_size=20, test_size=24, sigma=0.6, kept_frames=6, kept_size=40,
        test_clips=2, test_mirror=True, flip=0.5, crop_area=0.56, colour=0.2,
        rotation=10.0, shear=0.1, zoom=0.15, time_crop=0.25, joint_dropout=0.0,
        base_channels=4, stage_blocks="1,1,1", stem_stride=2, dropout=0.0, drop_path=0.1, weights="", label_embedding="sentence",
        label_loss="cosine", label_weight=1.0,
        optimizer="adamw", schedule="cosine", lr=1e-2, weight_decay=0.01, warmup_epochs=0.0, epochs=2, batch_size=16,
        grad_clip=5.0, precision="no", patience=0, val_fraction=0.2, workers=0,
    ),
}  # fmt: skip

# What graph networks want otherwise. `paper`: 2s-AGCN's published recipe (arXiv 1805.07694) on 90 frames, as the baselines of
# iMiGUE have them; CTR-GCN's differs in a warm-up and a stronger weight decay (arXiv 2107.12213).
_SGD = dict(
    clip_len=90, test_clips=1, test_mirror=False, base_channels=64, stage_blocks="4,3,3", dropout=0.0, label_embedding="none",
    optimizer="sgd_nesterov", schedule="step", lr=0.1, weight_decay=1e-4, epochs=50, batch_size=64, precision="no",
)  # fmt: skip
_SMALL = dict(
    clip_len=32, test_clips=1, base_channels=32, label_embedding="none", dropout=0.1, lr=3e-3, epochs=20, batch_size=32,
)  # fmt: skip
MODEL_PROFILES: dict[tuple[str, str], dict[str, Any]] = {
    ("stgcn", "paper"): _SGD, ("agcn", "paper"): _SGD,
    ("ctrgcn", "paper"): _SGD | dict(weight_decay=4e-4, warmup_epochs=5.0, epochs=65),
} | {(model, "quick"): _SMALL for model in GRAPH_MODELS}  # fmt: skip

# `paper`: MViTv2-S at its published size, fine-tuned from Kinetics as is usual for it; rates and epochs are ours. `quick` and
# `smoke`: a small one from scratch, which in minutes learns nothing from pictures, but much from their differences.
MODEL_PROFILES |= {
    ("mvit", "paper"): dict(
        stream="rgb", clip_len=16, train_size=224, test_size=224, test_clips=2, crop_area=0.7, base_channels=96,
        stage_blocks="1,2,11,2", dropout=0.5, drop_path=0.2, weights="kinetics", label_embedding="none", optimizer="adamw",
        schedule="cosine", lr=1e-4, weight_decay=0.05, warmup_epochs=2.0, epochs=15, batch_size=16, grad_clip=1.0,
        precision="bf16",
    ),
    ("mvit", "quick"): dict(
        stream="rgb_motion", clip_len=8, train_size=56, test_size=56, crop_area=0.8, base_channels=32, stage_blocks="1,2,1",
        dropout=0.2, label_embedding="none", lr=1e-3, weight_decay=0.05, epochs=12, grad_clip=1.0,
    ),
    ("mvit", "smoke"): dict(
        stream="rgb_motion", clip_len=4, train_size=32, test_size=32, test_clips=2, crop_area=0.7, base_channels=8,
        stage_blocks="1,1", label_embedding="none", lr=3e-3, grad_clip=1.0,
    ),
}  # fmt: skip

GestureConfig.profiles = PROFILES
GestureConfig.least = {
    "clip_len": 1, "train_size": 8, "test_size": 8, "sigma": 0.05, "test_clips": 1, "flip": 0, "crop_area": 0.01, "colour": 0,
    "kept_frames": 1, "kept_size": 8, "drop_path": 0, "rotation": 0, "shear": 0, "zoom": 0, "time_crop": 0, "joint_dropout": 0,
    "base_channels": 1, "stem_stride": 1, "dropout": 0,
    "class_balance": 0, "focal_gamma": 0, "logit_tau": 0, "ldam_margin": 0, "reweight_from": 0, "retrain_epochs": 1,
    "label_weight": 0, "lr": 0, "weight_decay": 0, "warmup_epochs": 0, "epochs": 1, "batch_size": 1, "grad_clip": 0,
    "patience": 0, "val_fraction": 0, "workers": 0, "threads": 0, "seed": 0,
}  # fmt: skip
GestureConfig.most = {
    "flip": 1, "crop_area": 1, "colour": 0.9, "drop_path": 0.9, "rotation": 180, "time_crop": 0.95, "joint_dropout": 0.95,
    "class_balance": 0.999999, "reweight_from": 1, "dropout": 0.99, "val_fraction": 0.9, "lr": 100, "sigma": 100,
}  # fmt: skip
