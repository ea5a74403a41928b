"""The parameters of fusing trained encoders (paper B, track 1); three profiles fill what is left open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from migstudy.config.gesture import GRAPH_STREAMS
from migstudy.config.parameters import Parameters, Profile

VIDEO = "rgb"
"""The name of the video model's modality; a skeleton stream is a modality of its own name."""


@dataclass(frozen=True)
class FusionConfig(Parameters):
    """Parameters of the fusion stage: which encoders, which of their tokens, how they are brought together.

    data, films, topology, val_fraction: as in `GestureConfig`. streams: of the skeleton, as in joint,bone, or none; each is
    encoded by a skeleton_model of its own. video_model: adds the modality `rgb`. video_run: id or folder of a finished run of
    03_train_gesture with that model, on the same data and split; empty = found or trained. encoder_epochs, encoder_channels,
    encoder_frames: of the skeleton encoders, 0 = as the training notebook's profile says. encoder_seed: of all encoders that are
    not given, -1 = seed. tokens: of a skeleton, one a `frame` (the joints' mean) or one a `joint` of every frame. token_dtype:
    as they are kept.

    fusion: a name of `models.MODELS`; modality: what `single_modality` looks at. depth: layers; mlp_ratio: hidden width of
    their feed-forward parts / width. pooling, modality_dropout: see `FusionNetwork`. late_weights: of `late_fusion`. memory:
    adds the bank of class prototypes; memory_momentum: of its averages, memory_weight: of its pull and push loss,
    memory_margin: cosine from which other prototypes push. finetune: go on from the fusion of frozen encoders and train these
    with it, on augmented clips, see `fusion.end_to_end`; encoder_lr: their learning rate as a share of lr, 0 = they stay as they
    are. It takes far more memory: lower batch_size. The rest is as in `GestureConfig`.
    """

    profile: Profile = "quick"
    data: str = "simulator"
    films: str = ""
    topology: str = "imigue41"
    streams: str = "joint,bone"
    skeleton_model: Literal["agcn", "ctrgcn", "stgcn"] = "agcn"
    video_model: Literal["none", "mvit"] = "none"
    video_run: str = ""
    encoder_epochs: int | None = None
    encoder_channels: int | None = None
    encoder_frames: int | None = None
    encoder_seed: int = -1
    tokens: Literal["frame", "joint"] = "frame"
    token_dtype: Literal["float32", "float16"] = "float16"
    fusion: Literal[
        "token_fusion", "single_modality", "concatenation", "late_fusion", "gated_fusion", "joint_transformer"
    ] = "token_fusion"
    modality: str = ""
    width: int | None = None
    depth: int | None = None
    heads: int | None = None
    mlp_ratio: float | None = None
    dropout: float | None = None
    head_dropout: float | None = None
    pooling: Literal["steps", "tokens"] = "steps"
    late_weights: Literal["mean", "learned"] = "learned"
    modality_dropout: float | None = None
    memory: bool = True
    memory_momentum: float | None = None
    memory_weight: float | None = None
    memory_margin: float | None = None
    finetune: bool = False
    encoder_lr: float | None = None
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
        streams = _streams(self.streams)
        if wrong := [name for name in streams if name not in GRAPH_STREAMS]:
            known = ", ".join(GRAPH_STREAMS)
            raise ValueError(f"streams={self.streams!r}: no stream {wrong[0]!r}; choose among {known}, or none")
        if len({*streams}) < len(streams):
            raise ValueError(f"streams={self.streams!r}: name each stream once")
        if self.video_run and self.video_model == "none":
            raise ValueError(f"video_run={self.video_run!r}: it is a run of a video model; say which with video_model=mvit")
        if self.fusion == "single_modality":
            if self.modality not in self.available:
                raise ValueError(f"modality={self.modality!r}: single_modality looks at one of {', '.join(self.available)}")
        elif self.modality:
            raise ValueError(f"modality={self.modality!r}: only fusion=single_modality takes it")
        elif len(self.available) < 2:
            raise ValueError(
                f"fusion={self.fusion!r} needs two modalities, there is {', '.join(self.available) or 'none'}; add one with"
                " streams or video_model"
            )
        if self.width is not None and self.heads is not None and self.width % self.heads:
            raise ValueError(f"heads={self.heads}: width {self.width} is not divisible by it")

    @property
    def available(self) -> tuple[str, ...]:
        """All modalities that the parameters name, in alphabetical order."""
        return tuple(sorted([*_streams(self.streams), *([VIDEO] if self.video_model != "none" else [])]))

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that this fusion looks at, in alphabetical order."""
        return (self.modality,) if self.fusion == "single_modality" else self.available


def _streams(text: str) -> list[str]:
    return [] if text == "none" else [name.strip() for name in text.split(",")]


# Paper B publishes none of these: `paper` is our reconstruction (facts of its abstract: cross-modal attention, projection,
# pooling, a prototype a class), with the training that small transformers usually get. `quick` and `smoke` fit two cores.
_COMMON = dict(
    mlp_ratio=2.0, memory_momentum=0.99, memory_weight=0.1, memory_margin=0.0, encoder_lr=0.1, optimizer="adamw",
    schedule="cosine", weight_decay=0.05, grad_clip=1.0, patience=0,
)  # fmt: skip
FusionConfig.profiles = {
    "paper": _COMMON | dict(
        encoder_epochs=0, encoder_channels=0, encoder_frames=0, width=256, depth=2, heads=4, dropout=0.1, head_dropout=0.3,
        modality_dropout=0.2, lr=3e-4, warmup_epochs=2.0, epochs=30, batch_size=64, precision="bf16", val_fraction=0.1, workers=8,
    ),
    "quick": _COMMON | dict(
        encoder_epochs=15, encoder_channels=16, encoder_frames=32, width=64, depth=2, heads=4, dropout=0.1, head_dropout=0.3,
        modality_dropout=0.2, lr=1e-3, warmup_epochs=1.0, epochs=20, batch_size=32, precision="no", val_fraction=0.15, workers=0,
    ),
    "smoke": _COMMON | dict(
        encoder_epochs=0, encoder_channels=0, encoder_frames=0, width=16, depth=1, heads=2, dropout=0.0, head_dropout=0.0,
        modality_dropout=0.2, lr=3e-3, warmup_epochs=0.0, epochs=2, batch_size=16, precision="no", val_fraction=0.2, workers=0,
    ),
}  # fmt: skip
FusionConfig.least = {
    "encoder_epochs": 0, "encoder_channels": 0, "encoder_frames": 0, "encoder_seed": -1, "width": 1, "depth": 0, "heads": 1,
    "mlp_ratio": 0.1, "dropout": 0, "head_dropout": 0, "modality_dropout": 0, "memory_momentum": 0, "memory_weight": 0,
    "memory_margin": -1, "encoder_lr": 0, "lr": 0, "weight_decay": 0, "warmup_epochs": 0, "epochs": 1, "batch_size": 1,
    "grad_clip": 0, "patience": 0, "val_fraction": 0, "workers": 0, "threads": 0, "seed": 0,
}  # fmt: skip
FusionConfig.most = {
    "dropout": 0.99, "head_dropout": 0.99, "modality_dropout": 0.95, "memory_momentum": 0.9999, "memory_margin": 1,
    "encoder_lr": 1, "lr": 100, "val_fraction": 0.9,
}  # fmt: skip
