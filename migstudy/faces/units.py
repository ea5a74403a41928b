"""Face crops of simulated videos with what their muscles truly did: action units, to train and to test a face encoder on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from migstudy.faces.crops import FaceVideo, as_model_input
from migstudy.simulate.face import ACTION_UNITS
from migstudy.simulate.truth import load_truth

UNIT_BRANCHES: dict[str, tuple[str, ...]] = {
    "brows": ("brow_up", "brow_down", "inner_brow_up"),
    "eyes": ("eye_close", "eye_wide", "lid_tight", "gaze_side", "gaze_up"),
    "cheeks": ("smile", "cheek_bulge", "nose_wrinkle"),
    "lips": ("lip_press", "lip_bite", "mouth_wide", "lip_corner_down", "pucker", "funnel"),
    "jaw": ("mouth_open", "chin_raise", "jaw_side"),
}
"""The action units of each part of a face: the branches of an encoder that is trained on them."""

_SIDES = np.array([-1.0 if unit in ("jaw_side", "gaze_side") else 1.0 for unit in ACTION_UNITS], np.float32)


@dataclass(frozen=True)
class UnitFaces:
    """n frames of simulated people.

    pixels: (n, size, size, 3) uint8 RGB. units: (n, 20) float32 in the order of `simulate.face.ACTION_UNITS`, shares of full
    strength. people: (n,) int, index in `names`; names: the people's ids. videos: (n,) ids.
    """

    pixels: np.ndarray
    units: np.ndarray
    people: np.ndarray
    names: tuple[str, ...]
    videos: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)


def load_unit_faces(root: str | Path, faces: Mapping[str, FaceVideo], size: int, frames: int, seed: int = 0) -> UnitFaces:
    """About `frames` frames of the videos' faces, evenly from each, shrunk to `size` px, with their true action units.

    root: a simulated release with `truth/<id>.npz`. Frames without a usable face are left out. Memory: frames x size^2 x 3 bytes,
    however long the videos are. Raises FileNotFoundError for a video without truth, ValueError where no face is left.
    """
    root, rng = Path(root), np.random.default_rng(seed)
    pixels, units, people, videos = [], [], [], []
    for video, face in faces.items():
        path = root / "truth" / f"{video}.npz"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: only simulated videos have true action units; simulate with the truth")
        truth = load_truth(path)
        count = min(-(-frames // len(faces)), face.frames)
        phase = rng.random()
        numbers = np.unique(((np.arange(count) + phase) * face.frames / count).astype(int))
        channels = np.stack([truth.channels[unit] for unit in ACTION_UNITS], 1).astype(np.float32)
        if len(channels) != face.frames:
            raise ValueError(f"{face.film} has {face.frames} frames, {path} {len(channels)}; simulate the video again")
        for number, crop in face.crops(numbers):
            if crop is not None:
                pixels.append(_shrunk(crop, size))
                units.append(channels[number])
                people.append(str(truth.traits["subject"]))
                videos.append(video)
    if not pixels:
        raise ValueError(f"{root}: no usable face in {len(faces)} videos; are the crops black?")
    names = tuple(sorted(set(people)))
    index = np.array([names.index(person) for person in people])
    return UnitFaces(np.stack(pixels), np.stack(units), index, names, np.array(videos))


def _shrunk(crop: np.ndarray, size: int) -> np.ndarray:
    if crop.shape[0] == size:
        return crop
    return ((as_model_input(crop[None], size)[0] + 1) * 127.5).round_().clamp_(0, 255).byte().movedim(0, -1).numpy()


class UnitFaceDataset(Dataset):
    """Frames as a face model takes them; an item: {face (size, size, 3) uint8, view (5,), label (21,)}.

    view: mirrored, turn (rad), zoom, shift right and down (share of half the crop), drawn from (seed, epoch, position) alone.
    label: the action units of the picture as shown (a mirrored face looks the other way), then the person's index.
    """

    def __init__(self, faces: UnitFaces, seed: int = 0, mirror: float = 0.5) -> None:
        self.faces, self.seed, self.mirror, self.epoch = faces, seed, mirror, 0

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, self.epoch, i])
        mirrored = rng.random() < self.mirror
        view = np.array([mirrored, 0.06 * rng.standard_normal(), 0.05 * rng.standard_normal(),
                         *(0.03 * rng.standard_normal(2))], np.float32)  # fmt: skip
        label = np.append(mirrored_units(self.faces.units[i]) if mirrored else self.faces.units[i], self.faces.people[i])
        return {"face": self.faces.pixels[i], "view": view, "light": rng.uniform(0.8, 1.25, 2).astype(np.float32),
                "label": label.astype(np.float32)}  # fmt: skip


def mirrored_units(units: np.ndarray) -> np.ndarray:
    """Action units (..., 20) of the mirror image: what points to one side points to the other."""
    return units * _SIDES


def views_of(pixels: Tensor, views: Tensor, light: Tensor, size: int) -> Tensor:
    """Faces (n, S, S, 3) uint8 moved by views (n, 5) and lit by light (n, 2: brightness, contrast) -> (n, 3, size, size)."""
    x = as_model_input(pixels, size)
    mirrored, turn, zoom, right, down = views.to(x).unbind(1)
    cos, sin = torch.cos(turn) * (1 + zoom), torch.sin(turn) * (1 + zoom)
    side = 1 - 2 * mirrored
    grid = torch.stack([torch.stack([cos * side, -sin, right], 1), torch.stack([sin * side, cos, down], 1)], 1)
    x = F.grid_sample(x, F.affine_grid(grid, list(x.shape), align_corners=False), padding_mode="border", align_corners=False)
    brightness, contrast = light.to(x)[:, :, None, None, None].unbind(1)
    x = (x + 1) * brightness - 1
    mean = x.mean((1, 2, 3), keepdim=True)
    return (mean + (x - mean) * contrast).clamp(-1, 1)
