"""A face encoder: the published SwinFace from a file, or a small stand-in trained on simulated faces.

The stand-in is SwinFace in small, trained on crops of training people to tell the simulator's true action units, and the
people apart. It knows nothing of real faces, nor who won; it stands where the published weights, not ours to give, would.
Measured once (14 training people, one video each, 3000 frames, 6 epochs: 86 s of one core; 10 people never seen): correlation
within a person 0.91 for mouth_open, 0.63 lip_press, 0.48 mouth_wide, 0.33 eye_close, 0.21 on average over the units. What a face
does at rest did not carry over to other people (R^2 below 0 for smile and inner_brow_up): few people, confounded with anatomy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from migstudy.datasets.content_cache import key_of
from migstudy.faces.crops import FaceVideo, as_model_input, open_faces
from migstudy.faces.units import UNIT_BRANCHES, UnitFaceDataset, UnitFaces, load_unit_faces, views_of
from migstudy.fit import Task, clear, fit, prepare
from migstudy.models.base import ModelOutput
from migstudy.models.swinface import PRESETS, SwinFace
from migstudy.paths import resolve, write_text
from migstudy.simulate.face import ACTION_UNITS

STAND_IN = "a stand-in: SwinFace in small, trained on simulated faces to tell their action units; not the published model"
_ABOUT, _WEIGHTS = "about.json", "model.safetensors"
_LEAST_SPREAD = 0.02  # share of full strength; units that vary less count as if they varied so much
_TEMPERATURE = 0.1


@dataclass(frozen=True)
class FaceTraining:
    """How the stand-in is trained: what `fit` asks for, and preset of `models.swinface.PRESETS`; frames in all; identity, the
    weight of telling people apart."""

    preset: str = "small"
    frames: int = 5000
    epochs: int = 12
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.05
    identity: float = 0.1
    seed: int = 0
    threads: int = 0
    optimizer: str = "adamw"
    schedule: str = "cosine"
    warmup_epochs: float = 1.0
    grad_clip: float = 1.0
    precision: str = "no"
    select_on: str = "epoch"  # the last: no validation people are asked
    patience: int = 0

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ValueError(f"unknown preset {self.preset!r} of SwinFace; choose {', '.join(PRESETS)}")
        if min(self.frames, self.epochs, self.batch_size) < 1 or self.lr <= 0 or self.identity < 0:
            raise ValueError(f"{self}: frames, epochs, batch_size and lr must be above 0, identity 0 or more")


def load_face_encoder(path: str | Path) -> SwinFace:
    """A face encoder in eval mode: a folder of `train_face_encoder` or `save_pretrained`, or a file of the authors' checkpoint.

    Raises FileNotFoundError naming what is expected, ValueError when a file's weights do not fit the published model.
    """
    path = resolve(path)
    if path.is_dir() and (path / _WEIGHTS).is_file():
        return SwinFace.from_pretrained(path).eval()
    if path.is_file():
        return SwinFace().load_published_weights(path).eval()
    raise FileNotFoundError(
        f"{path} is no face encoder; give the file of SwinFace's checkpoint, or the folder of a trained one ({_WEIGHTS})"
    )


def train_face_encoder(
    root: str | Path, videos: Iterable[str], *, preset: str = "small", seed: int = 0, epochs: int = 12, frames: int = 5000,
    folder: str | Path | None = None, faces: Mapping[str, FaceVideo] | None = None, progress: bool = True,
    cache: str | Path | None = None, **settings: Any,
) -> SwinFace:  # fmt: skip
    """The stand-in, trained on the faces of those videos of a simulated release alone; give the videos of training people.

    root: the release, with `truth/` and `faces/` (`migstudy simulate --faces`), or with `faces` of `open_faces`. folder: keeps
    model.safetensors, config.json and about.json; a finished one of the same videos and settings is opened, an unfinished one
    goes on. settings: other fields of `FaceTraining`. The same call gives the same weights on the same machine.
    Loss: squared errors of the action units in units of their spread, and a supervised contrast of the embeddings by person
    (Khosla et al. 2020). Raises ValueError for a folder of another training, and as `load_unit_faces` and `open_faces` do.
    """
    config = FaceTraining(preset=preset, seed=seed, epochs=epochs, frames=frames, **settings)
    faces = faces or open_faces(root, videos=videos, cache=cache)
    wanted = sorted(set(videos))
    if missing := sorted(set(wanted) - faces.keys()):
        raise ValueError(f"no faces of video {missing[0]} are given; open them with open_faces, or leave the video out")
    faces = {video: faces[video] for video in wanted}
    about = {"what": STAND_IN, **_plain(config), "data": key_of([(v, f.fingerprint) for v, f in faces.items()]), "videos": wanted}
    folder = None if folder is None else resolve(folder)
    if folder is not None and _claimed(folder, about):
        return load_face_encoder(folder)
    prepare(config)
    given = PRESETS[config.preset]
    model = SwinFace(branches=list(UNIT_BRANCHES.values()), sizes=dict.fromkeys(ACTION_UNITS, 1), logits_of=ACTION_UNITS, **given)
    shown = load_unit_faces(root, faces, model.size, config.frames, config.seed)
    fitted = fit(_UnitTask(model, shown, config), config, folder, progress)
    model = fitted.accelerator.unwrap_model(fitted.model).eval()
    if folder is not None and fitted.accelerator.is_main_process:
        _save(model, folder)
        clear(folder)
    return model


def action_units(model: SwinFace, pixels: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """(n, 20) predicted action units of crops (n, S, S, 3) uint8, in the order of `simulate.face.ACTION_UNITS`."""
    device, was_training = next(model.parameters()).device, model.training
    model.eval()
    with torch.inference_mode():
        found = [
            model(as_model_input(torch.from_numpy(pixels[i : i + batch_size]).to(device), model.size)).logits.cpu()
            for i in range(0, len(pixels), batch_size)
        ]
    model.train(was_training)
    return torch.cat(found).numpy()


def unit_scores(
    model: SwinFace, root: str | Path, faces: Mapping[str, FaceVideo], frames: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """How well a stand-in tells the action units of those videos, a row a unit: spread, r2, correlation, within_person.

    spread: standard deviation of the truth. r2: against the mean of these very frames. correlation: Pearson's, over all frames;
    within_person: its mean over people, after each person's own mean is taken off. Units that hardly vary are NaN.
    """
    shown = load_unit_faces(root, faces, model.size, frames, seed)
    return score_units(shown.units, action_units(model, shown.pixels), shown.people)


def score_units(truth: np.ndarray, found: np.ndarray, people: np.ndarray) -> pd.DataFrame:
    """The table of `unit_scores`, of action units (n, 20) and people (n,)."""
    truth, found = truth.astype(float), found.astype(float)
    spread = truth.std(0)
    rows = pd.DataFrame({"spread": spread}, index=pd.Index(ACTION_UNITS, name="unit"))
    with np.errstate(invalid="ignore", divide="ignore"):
        rows["r2"] = np.where(spread >= _LEAST_SPREAD, 1 - ((found - truth) ** 2).mean(0) / spread**2, np.nan)
    rows["correlation"] = np.where(spread >= _LEAST_SPREAD, _correlation(truth, found), np.nan)
    own = [_correlation(truth[people == p], found[people == p]) for p in np.unique(people)]
    vary = [truth[people == p].std(0) >= _LEAST_SPREAD for p in np.unique(people)]
    counted = np.where(vary, np.nan_to_num(own), 0).sum(0) / np.maximum(np.sum(vary, 0), 1)
    rows["within_person"] = np.where(np.any(vary, 0), counted, np.nan)
    return rows


def _correlation(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    truth, found = truth - truth.mean(0), found - found.mean(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (truth * found).sum(0) / np.sqrt((truth**2).sum(0) * (found**2).sum(0))


class UnitLoss(nn.Module):
    """Squared errors of the action units, and the contrast of embeddings by person; labels (n, 21): units, person."""

    def __init__(self, spread: np.ndarray, identity: float) -> None:
        super().__init__()
        self.register_buffer("weight", torch.from_numpy(np.maximum(spread, _LEAST_SPREAD) ** -2.0).float())
        self.identity = identity

    def forward(self, output: ModelOutput, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        units = ((output.logits - labels[:, :-1]) ** 2 * self.weight).mean()
        people = person_contrast(output.features, labels[:, -1])
        return units + self.identity * people, {"units": units.detach(), "people": people.detach()}


def person_contrast(embeddings: Tensor, people: Tensor) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, equation 2) of embeddings (n, E) by person (n,); 0 without pairs."""
    unit = F.normalize(embeddings, dim=1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    log = (unit @ unit.T / _TEMPERATURE).masked_fill(itself, -torch.inf).log_softmax(1)
    same = (people[:, None] == people) & ~itself
    own = torch.where(same, log, 0).sum(1) / same.sum(1).clamp(min=1)
    return -own.sum() / same.any(1).sum().clamp(min=1)


class _UnitTask(Task):
    """The stand-in on its training people; nobody validates, the last epoch stays."""

    def __init__(self, model: SwinFace, faces: UnitFaces, config: FaceTraining) -> None:
        self.model = model
        self.criterion = UnitLoss(faces.units.std(0), config.identity)
        with torch.no_grad():  # a unit at rest has a mean; the first epoch need not learn it
            for unit, mean in zip(ACTION_UNITS, faces.units.mean(0).tolist(), strict=True):
                model.om.output_fcs[list(model.sizes).index(unit)].bias.fill_(mean)
        rest = len(faces) % config.batch_size
        self.loader = DataLoader(
            UnitFaceDataset(faces, config.seed), min(config.batch_size, len(faces)), shuffle=True,
            drop_last=0 < rest < config.batch_size // 4, generator=torch.Generator(),
        )  # fmt: skip

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> ModelOutput:
        return model(views_of(batch["face"], batch["view"], batch["light"], self.model.size))

    def validate(self, model: nn.Module, accelerator: Accelerator) -> dict[str, float]:
        return {"epoch": float(self.loader.dataset.epoch)}


def _plain(config: FaceTraining) -> dict[str, Any]:
    """What decides the weights: the threads do not."""
    return {name: value for name, value in asdict(config).items() if name != "threads"}


def _claimed(folder: Path, about: Mapping[str, Any]) -> bool:
    """Whether the folder holds a finished encoder of this training; makes it this training's folder if it is new."""
    mark = folder / _ABOUT
    if mark.is_file():
        there = json.loads(mark.read_text())
        if other := sorted(key for key in about if there.get(key) != about[key]):
            raise ValueError(f"{folder} holds a face encoder of other {', '.join(other)}; delete it, or choose another folder")
        return (folder / _WEIGHTS).is_file()
    folder.mkdir(parents=True, exist_ok=True)
    write_text(mark, json.dumps(dict(about), indent=1) + "\n")
    return False


def _save(model: SwinFace, folder: Path) -> None:
    """Configuration first, weights last: an encoder whose weights are there is whole."""
    aside = folder / f".encoder.partial-{os.getpid()}"
    model.save_pretrained(aside)
    for name in ("config.json", _WEIGHTS):
        os.replace(aside / name, folder / name)
    for rest in aside.iterdir():
        rest.unlink()
    aside.rmdir()
