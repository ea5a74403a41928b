"""The parameters of win or lose from videos; three profiles fill what is left open.

The fields are the notebook's parameters cell, the options of `migstudy run 05 -p` and a run's params.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from migstudy.config.parameters import Parameters, Profile

NEEDS: dict[str, tuple[str, ...]] = {
    "inter_fusion": ("face", "context"), "concatenation": ("face", "context"), "joint_transformer": ("face", "context"),
    "face": ("face",), "context": ("context",), "attention_mil": ("face",), "hypergraph_transformer": ("skeleton",),
    "gesture_logistic": ("gesture",), "gesture_lstm": ("gesture",),
}  # fmt: skip
"""Model -> what it is shown of a video."""


@dataclass(frozen=True)
class EmotionConfig(Parameters):
    """Parameters of win or lose; None means "as the profile says".

    data: `simulator`, which makes videos of its own for this track, or a release's folder with its table of results. films: the
    folder of the videos, empty = where the data lie. protocol: see `emotion.protocols`; auto = what the data allow without a
    choice. emotion_effect: of simulated videos, the size of what a result changes; 0 leaves no trace. model: a name of `NEEDS`;
    face and context are InterFusion's branches alone.

    window_seconds: of a video, what the context encoder sees; segment_windows: windows that a model sees together, longer
    videos are several segments whose log odds are averaged. face_rate: faces looked at a second; face_steps: tokens of a window
    that they are averaged to. face_weights: SwinFace's published file or an encoder's folder; empty = the stand-in trained on the
    simulator's action units (face_epochs, face_frames). context_run, gesture_run: id or folder of a finished run of
    03_train_gesture; empty = found or trained: `mvit` on clips of simulated people of its own, of real data on training people's,
    for which cross-validation is then optimistic (context_epochs, 0 = as its profile says), and gesture_model on gesture_data
    (empty = the same training people's, or the ordinary simulated release with its other people).
    encoder_seed: of all three. skeleton_rate: frames a second, topology: for the hypergraph, whose first layer is a quarter as
    wide; reconstruction: weight of its other loss, mask_ratio: joints hidden from it in training.

    folds, repeats: of cross-validation on the training part, cut by person. inner_fraction: share of the training people who
    choose the epoch. final: also train on the whole training part and score the protocol's test videos once. The rest is as in
    `GestureConfig`. shuffle_labels: a control; the training results change places within folds and must lead to chance.
    """

    profile: Profile = "quick"
    data: str = "simulator"
    films: str = ""
    protocol: Literal["auto", "cvpr", "challenge", "simulated", "folders"] = "auto"
    emotion_effect: float = 1.0
    model: Literal[
        "inter_fusion", "face", "context", "concatenation", "joint_transformer", "attention_mil", "hypergraph_transformer",
        "gesture_logistic", "gesture_lstm",
    ] = "inter_fusion"  # fmt: skip
    window_seconds: float | None = None
    segment_windows: int | None = None
    face_rate: float | None = None
    face_steps: int | None = None
    face_weights: str = ""
    face_epochs: int | None = None
    face_frames: int | None = None
    context_run: str = ""
    context_epochs: int | None = None
    gesture_run: str = ""
    gesture_model: Literal["posec3d", "stgcn", "agcn", "ctrgcn"] = "posec3d"
    gesture_data: str = ""
    encoder_seed: int = 0
    topology: str = "imigue41"
    skeleton_rate: float | None = None
    reconstruction: float | None = None
    mask_ratio: float | None = None
    width: int | None = None
    depth: int | None = None
    heads: int | None = None
    dropout: float | None = None
    head_dropout: float | None = None
    modality_dropout: float | None = None
    optimizer: Literal["sgd", "sgd_nesterov", "adamw"] | None = None
    schedule: Literal["cosine", "step"] | None = None
    lr: float | None = None
    weight_decay: float | None = None
    warmup_epochs: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    grad_clip: float | None = None
    precision: Literal["no", "bf16", "fp16"] | None = None
    select_on: Literal["log_likelihood", "auc", "balanced_accuracy"] = "log_likelihood"
    patience: int | None = None
    folds: int | None = None
    repeats: int | None = None
    inner_fraction: float | None = None
    final: bool = True
    workers: int | None = None
    threads: int = 0
    seed: int = 0
    shuffle_labels: bool = False
    run_dir: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width is not None and self.heads is not None and self.width % self.heads:
            raise ValueError(f"heads={self.heads}: width {self.width} is not divisible by it")
        if self.data != "simulator" and self.emotion_effect != 1.0:
            raise ValueError(f"emotion_effect={self.emotion_effect:g}: only data=simulator has a knob for it")
        if self.data == "simulator" and self.protocol not in ("auto", "simulated"):
            raise ValueError(f"protocol={self.protocol!r}: simulated videos are no {self.protocol} videos; leave it at auto")

    @property
    def needs(self) -> tuple[str, ...]:
        """What the model is shown: face, context, skeleton, gesture."""
        return NEEDS[self.model]


# Neither sizes nor training of the emotion track are published: `paper` is our reconstruction at the size of facts that are
# (SwinFace at 112, MViTv2-S on 16 frames at stride 4, hence 2.56 s at 25 frames a second).
_COMMON = dict(
    window_seconds=2.56, optimizer="adamw", schedule="cosine", grad_clip=1.0, weight_decay=0.05, patience=0,
    reconstruction=1.0, mask_ratio=0.3, inner_fraction=0.25,
)  # fmt: skip
EmotionConfig.profiles = {
    "paper": _COMMON | dict(
        segment_windows=16, face_rate=5.0, face_steps=4, face_epochs=12, face_frames=20000, context_epochs=0,
        skeleton_rate=6.25, width=256, depth=1, heads=4, dropout=0.1, head_dropout=0.3, modality_dropout=0.2, lr=3e-4,
        warmup_epochs=2.0, epochs=30, batch_size=16, precision="bf16", folds=5, repeats=5, workers=8,
    ),
    "quick": _COMMON | dict(
        segment_windows=8, face_rate=3.125, face_steps=2, face_epochs=6, face_frames=4800, context_epochs=8,
        skeleton_rate=1.0, width=32, depth=1, heads=2, dropout=0.1, head_dropout=0.3, modality_dropout=0.2, lr=2e-3,
        warmup_epochs=1.0, epochs=20, batch_size=16, precision="no", folds=5, repeats=1, workers=0,
    ),
    "smoke": _COMMON | dict(
        segment_windows=4, face_rate=1.5625, face_steps=1, face_epochs=1, face_frames=64, context_epochs=1,
        skeleton_rate=2.0, width=8, depth=1, heads=2, dropout=0.0, head_dropout=0.0, modality_dropout=0.2, lr=5e-3,
        warmup_epochs=0.0, epochs=2, batch_size=8, precision="no", folds=2, repeats=1, workers=0,
    ),
}  # fmt: skip
EmotionConfig.least = {
    "emotion_effect": 0, "window_seconds": 0.1, "segment_windows": 1, "face_rate": 0.01, "face_steps": 1, "face_epochs": 1,
    "face_frames": 1, "context_epochs": 0, "encoder_seed": 0, "skeleton_rate": 0.1, "reconstruction": 0, "mask_ratio": 0,
    "width": 2, "depth": 0, "heads": 1, "dropout": 0, "head_dropout": 0, "modality_dropout": 0, "lr": 0, "weight_decay": 0,
    "warmup_epochs": 0, "epochs": 1, "batch_size": 1, "grad_clip": 0, "patience": 0, "folds": 2, "repeats": 1,
    "inner_fraction": 0.05, "workers": 0, "threads": 0, "seed": 0,
}  # fmt: skip
EmotionConfig.most = {
    "emotion_effect": 10, "mask_ratio": 0.9, "dropout": 0.99, "head_dropout": 0.99, "modality_dropout": 0.95, "lr": 100,
    "inner_fraction": 0.5,
}  # fmt: skip
