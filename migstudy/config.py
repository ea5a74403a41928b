"""The parameters of a study's tasks: one flat, typed, frozen dataclass each; three profiles fill what is left open.

The fields are a notebook's parameters cell, the options of `migstudy run -p` and a run's params.json.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

Profile = Literal["smoke", "quick", "paper"]


class Parameters:
    """What the parameters of every task have in common: types and ranges checked, profiles, texts.

    Subclasses are frozen dataclasses with a field `profile`; None stands for the profile's value.
    """

    profiles: ClassVar[Mapping[str, Mapping[str, Any]]]
    least: ClassVar[Mapping[str, float]]
    most: ClassVar[Mapping[str, float]] = {}

    def __post_init__(self) -> None:
        kinds = self.types()
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, checked(field.name, getattr(self, field.name), kinds[field.name]))
        for name, low in self.least.items():
            value = getattr(self, name)
            high = self.most.get(name, float("inf"))
            if value is not None and not low <= value <= high:  # also refuses NaN
                most = f" and at most {high}" if name in self.most else ""
                raise ValueError(f"{name}={value!r}: it must be at least {low}{most}")

    @classmethod
    def types(cls) -> dict[str, Any]:
        """Name -> type of every parameter."""
        hints = typing.get_type_hints(cls)
        return {field.name: hints[field.name] for field in dataclasses.fields(cls)}

    def resolved(self) -> Self:
        """The same with every None replaced by the profile's value."""
        blanks = {k: v for k, v in self.profiles[self.profile].items() if getattr(self, k) is None}
        return dataclasses.replace(self, **blanks)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_namespace(cls, names: Mapping[str, Any]) -> Self:
        """From a notebook's globals: the names that are fields."""
        return cls(**{f.name: names[f.name] for f in dataclasses.fields(cls) if f.name in names})

    @classmethod
    def from_strings(cls, options: Mapping[str, str], **given: Any) -> Self:
        """From `name=value` texts; raises ValueError naming the parameter, what it takes and the nearest name."""
        return cls(**given, **{name: parsed(name, text, cls.types()) for name, text in options.items()})


@dataclass(frozen=True)
class GestureConfig(Parameters):
    """Parameters of gesture recognition from skeletons; None means "as the profile says", for the model in question.

    model: paper A's `posec3d` on heatmaps of the streams joint and limb, or a graph network on coordinates of the streams joint,
    bone and their motion. data: `simulator`, or a path: release folder, ClipSet folder, labelled .npz, mmaction2 pickle. topology: a name of
    `skeletons.list_topologies()`, or `native` for the data's own. projection: planes of 3D data drawn as images.
    clip_len: frames a sample. train_size, test_size: heatmap side, px. sigma: px. test_mirror: mirror
    images besides, when there are several test clips. crop_area: least share of the image
    that a training crop keeps. center: what graph networks place at the origin, every `frame`'s body or the `clip`'s; auto:
    frame in 3D, clip in 2D. rotation (degrees), shear, zoom, time_crop, joint_dropout: random views of graph networks, see
    `graph_augment.GraphAugment`. schedule: of the learning rate, `cosine`, or `step` by a tenth after 60 and 80 % of the
    epochs. stage_blocks: bottlenecks a stage. label_embedding: `none`, `sentence`, `glove` or a
    file of vectors. patience: epochs without a better validation score before stopping, 0 = never. threads: 0 = all
    cores. shuffle_labels: train on shuffled labels, a control that must fall to chance. run_dir: where the run is kept;
    empty = runs/<id>.
    """

    profile: Profile = "quick"
    data: str = "simulator"
    model: Literal["posec3d", "stgcn", "agcn", "ctrgcn"] = "posec3d"
    topology: str = "imigue41"
    stream: Literal["joint", "limb", "bone", "joint_motion", "bone_motion"] = "joint"
    sampling: Literal["uniform_interval", "uniform_segments", "zero_pad"] = "uniform_interval"
    projection: Literal["xy", "xy+zy"] = "xy"
    clip_len: int | None = None
    train_size: int | None = None
    test_size: int | None = None
    sigma: float | None = None
    test_clips: int | None = None
    test_mirror: bool | None = None
    flip: float | None = None
    crop_area: float | None = None
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
        if self.stage_blocks is not None and not re.fullmatch(r"[1-9]\d*,[1-9]\d*,[1-9]\d*", self.stage_blocks):
            raise ValueError(f"stage_blocks={self.stage_blocks!r}: give the bottlenecks of three stages, as in 4,6,3")
        known = GRAPH_STREAMS if self.on_graph else HEATMAP_STREAMS
        if self.stream not in known:
            raise ValueError(f"stream={self.stream!r}: {self.model} takes {', '.join(known)}")

    def resolved(self) -> Self:
        own = MODEL_PROFILES.get((self.model, self.profile), {}) if self.on_graph else {}
        blanks = {name: value for name, value in own.items() if getattr(self, name) is None}
        return super(GestureConfig, dataclasses.replace(self, **blanks)).resolved()

    @property
    def on_graph(self) -> bool:
        """Whether the model reads coordinates on a skeleton's graph instead of heatmaps."""
        return self.model != "posec3d"

    @property
    def blocks(self) -> tuple[int, ...]:
        """stage_blocks as numbers."""
        return tuple(int(b) for b in self.resolved().stage_blocks.split(","))


HEATMAP_STREAMS = ("joint", "limb")
GRAPH_STREAMS = ("joint", "bone", "joint_motion", "bone_motion")

# `paper` follows the MiGA 2023 winner's published settings (arXiv 2307.10624), from which paper A descends; paper A's own
# are not public. `quick` and `smoke` are ours: the same system, small enough for two cores.
PROFILES: dict[str, dict[str, Any]] = {
    "paper": dict(
        clip_len=48, train_size=56, test_size=64, sigma=0.6, test_clips=10, test_mirror=True, flip=0.5, crop_area=0.56,
        rotation=10.0, shear=0.1, zoom=0.15, time_crop=0.25, joint_dropout=0.0,
        base_channels=32, stage_blocks="4,6,3", stem_stride=1, dropout=0.5, label_embedding="glove",
        label_loss="mse", label_weight=20.0,
        optimizer="sgd", schedule="cosine", lr=0.4 / 6, weight_decay=3e-4, warmup_epochs=0.0, epochs=100, batch_size=32, grad_clip=0.0,
        precision="fp16", patience=0, val_fraction=0.1, workers=8,
    ),
    "quick": dict(
        clip_len=16, train_size=24, test_size=28, sigma=0.6, test_clips=2, test_mirror=True, flip=0.5, crop_area=0.85,
        rotation=10.0, shear=0.1, zoom=0.15, time_crop=0.25, joint_dropout=0.0,
        base_channels=16, stage_blocks="2,2,2", stem_stride=2, dropout=0.3, label_embedding="sentence",
        label_loss="cosine", label_weight=1.0,
        optimizer="adamw", schedule="cosine", lr=5e-3, weight_decay=0.02, warmup_epochs=1.0, epochs=10, batch_size=16, grad_clip=5.0,
        precision="no", patience=0, val_fraction=0.15, workers=0,
    ),
    "smoke": dict(
        clip_len=8, train_size=20, test_size=24, sigma=0.6, test_clips=2, test_mirror=True, flip=0.5, crop_area=0.56,
        rotation=10.0, shear=0.1, zoom=0.15, time_crop=0.25, joint_dropout=0.0,
        base_channels=4, stage_blocks="1,1,1", stem_stride=2, dropout=0.0, label_embedding="sentence",
        label_loss="cosine", label_weight=1.0,
        optimizer="adamw", schedule="cosine", lr=1e-2, weight_decay=0.01, warmup_epochs=0.0, epochs=2, batch_size=16, grad_clip=5.0,
        precision="no", patience=0, val_fraction=0.2, workers=0,
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
} | {(model, "quick"): _SMALL for model in ("stgcn", "agcn", "ctrgcn")}  # fmt: skip

TYPES: dict[str, Any] = GestureConfig.types()
GestureConfig.profiles = PROFILES
GestureConfig.least = {
    "clip_len": 1, "train_size": 8, "test_size": 8, "sigma": 0.05, "test_clips": 1, "flip": 0, "crop_area": 0.01,
    "rotation": 0, "shear": 0, "zoom": 0, "time_crop": 0, "joint_dropout": 0, "base_channels": 1, "stem_stride": 1, "dropout": 0, "label_weight": 0, "lr": 0, "weight_decay": 0,
    "warmup_epochs": 0, "epochs": 1, "batch_size": 1, "grad_clip": 0, "patience": 0, "val_fraction": 0, "workers": 0,
    "threads": 0, "seed": 0,
}  # fmt: skip
GestureConfig.most = {
    "flip": 1, "crop_area": 1, "rotation": 180, "time_crop": 0.95, "joint_dropout": 0.95, "dropout": 0.99, "val_fraction": 0.9,
    "lr": 100, "sigma": 100,
}  # fmt: skip


@dataclass(frozen=True)
class RobustnessConfig(Parameters):
    """Parameters of the robustness curves: what is simulated, and which trained models are asked; None as in `GestureConfig`.

    data: `simulator`, or the folder of a simulated release: the data that the models were trained on. models: recipes of
    the training runs to ask, by their names in `study.VARIANTS`, or joint, limb. knobs: names of the knobs that are
    turned after training, or `all`. values: how many values of each. test_clips: views of a clip. matched_knobs: knobs at
    whose values light classifiers are trained and tested. matched_seeds: simulations of each value. emotion_effects: values
    at which win or lose is decoded, from two videos of each of emotion_people people with emotion_clips clips (about 2 s
    each) a video. n_boot: bootstrap replicates. seed: of resampling and of the simulations made anew. workers: processes,
    0 = one a core. threads: of each process, 0 = its share of the cores. run_dir: where the run is kept; empty = runs/<id>.
    """

    profile: Profile = "quick"
    data: str = "simulator"
    models: str = "joint"
    knobs: str | None = None
    values: int | None = None
    test_clips: int | None = None
    matched_knobs: str | None = None
    matched_seeds: int | None = None
    emotion_effects: str | None = None
    emotion_people: int | None = None
    emotion_clips: int | None = None
    n_boot: int | None = None
    seed: int = 0
    workers: int | None = None
    threads: int = 0
    run_dir: str = ""

    profiles = {
        "paper": dict(
            knobs="all", values=7, test_clips=10, matched_knobs="amplitude,noise_px,class_overlap,missing_rate", matched_seeds=3,
            emotion_effects="0,0.25,0.5,1,2", emotion_people=200, emotion_clips=24, n_boot=2000, workers=0,
        ),
        "quick": dict(
            knobs="amplitude,tempo,class_overlap,clutter,subject_style,camera_yaw,fps,noise_px,hand_noise,missing_rate,"
            "swaps,mistakes",
            values=5, test_clips=1, matched_knobs="amplitude,noise_px", matched_seeds=3,
            emotion_effects="0,0.25,0.5,1,2", emotion_people=60, emotion_clips=8, n_boot=2000, workers=0,
        ),
        "smoke": dict(
            knobs="amplitude,noise_px", values=2, test_clips=1, matched_knobs="amplitude", matched_seeds=1,
            emotion_effects="0,2", emotion_people=6, emotion_clips=3, n_boot=200, workers=1,
        ),
    }  # fmt: skip
    least = {
        "values": 2, "test_clips": 1, "matched_seeds": 1, "emotion_people": 4, "emotion_clips": 1, "n_boot": 1, "seed": 0,
        "workers": 0, "threads": 0,
    }  # fmt: skip


def alternatives(kind: Any) -> tuple:
    """The members of a union, or the type alone."""
    return typing.get_args(kind) if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union else (kind,)


def describe(kind: Any) -> str:
    """What a type takes, in words: `int or None`, `one of joint, limb`."""
    words = []
    for option in alternatives(kind):
        if typing.get_origin(option) is Literal:
            words.append("one of " + ", ".join(map(str, typing.get_args(option))))
        else:
            words.append("None" if option is type(None) else option.__name__)
    return " or ".join(words)


def checked(name: str, value: Any, kind: Any) -> Any:
    """The value when it has the type (an int also passes for a float); raises ValueError naming the parameter."""
    for option in alternatives(kind):
        if typing.get_origin(option) is Literal:
            if value in typing.get_args(option) and isinstance(value, str):
                return value
        elif option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        elif type(value) is option:
            return value
    raise ValueError(f"{name}={value!r}: it takes {describe(kind)}")


def parsed(name: str, text: str, kinds: Mapping[str, Any]) -> Any:
    """The value that a text stands for, by the parameter's type; raises ValueError for an unknown name or a bad text."""
    import difflib

    if name not in kinds:
        near = difflib.get_close_matches(name, kinds, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(kinds)}"
        raise ValueError(f"there is no parameter {name!r}; {hint}")
    for option in alternatives(kinds[name]):
        if option is type(None) and text.lower() in ("none", "null"):
            return None
        if option is bool and text.lower() in ("true", "false", "1", "0", "yes", "no"):
            return text.lower() in ("true", "1", "yes")
        if option in (int, float):
            try:
                return option(text)
            except ValueError:
                continue
        if option is str or typing.get_origin(option) is Literal and text in typing.get_args(option):
            return text
    raise ValueError(f"{name}={text!r}: it takes {describe(kinds[name])}")
