"""RGB clips as a model takes them: cropped, mirrored, recoloured and normalised on the device, a whole batch at once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from migstudy.clips import ClipSet
from migstudy.temporal import Rng
from migstudy.video.rgb import KINETICS_MEAN, KINETICS_STD, RgbClips, pick_frames

VIEW_FIELDS = ("mirrored", "x", "y", "side", "brightness", "contrast", "saturation")
WHOLE = np.array([0, 0, 0, 1, 1, 1, 1], np.float32)
"""The view that changes nothing: test mode."""


def draw_view(rng: Rng, mirrored: bool, least_area: float = 0.7, colour: float = 0.2) -> np.ndarray:
    """A random view of one clip, (7,) float32 in the order of `VIEW_FIELDS`, the same for all of its frames.

    mirrored: as the skeleton of the same sample was (its flip decides). least_area: least share of the kept square that
    stays. colour: brightness, contrast and saturation are multiplied by factors in 1 +- colour. x and y are the crop's
    centre, its side a share of the square's (centre 0, edges +-1).
    """
    side = np.sqrt(rng.uniform(least_area, 1.0))
    centre = rng.uniform(side - 1, 1 - side, 2)
    return np.array([mirrored, *centre, side, *rng.uniform(1 - colour, 1 + colour, 3)], np.float32)


def apply_views(pixels: Tensor, views: Tensor, size: int) -> Tensor:
    """(N, T, S, S, 3) uint8 and views (N, 7) -> (N, 3, T, size, size) float32, normalised, on the device of `pixels`.

    One bilinear sampling crops, mirrors and resizes; it is not antialiased, so keep S at most about twice `size`.
    Brightness and contrast (about the clip's mean), then saturation (towards grey), are clipped to 0..1.
    """
    n, t = pixels.shape[:2]
    x = pixels.permute(0, 4, 1, 2, 3).float().div_(255)  # (N, 3, T, S, S)
    views = views.to(x)
    mirrored, cx, cy, side, brightness, contrast, saturation = views.unbind(1)
    if not (pixels.shape[2] == size and torch.equal(views[:, :4], views.new_tensor(WHOLE[:4]).expand(n, 4))):
        zero = torch.zeros_like(side)
        rows = [torch.stack([side * (1 - 2 * mirrored), zero, cx], 1), torch.stack([zero, side, cy], 1)]
        grid = F.affine_grid(torch.stack(rows, 1), [n, 3 * t, size, size], align_corners=False)
        x = F.grid_sample(x.flatten(1, 2), grid, padding_mode="border", align_corners=False).unflatten(1, (3, t))
    brightness, contrast, saturation = (factor.view(n, 1, 1, 1, 1) for factor in (brightness, contrast, saturation))
    x = x * brightness
    mean = x.mean(dim=(1, 2, 3, 4), keepdim=True)
    x = (mean + (x - mean) * contrast).clamp(0, 1)
    grey = (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1, 1)).sum(dim=1, keepdim=True)
    x = (grey + (x - grey) * saturation).clamp(0, 1)
    return (x - KINETICS_MEAN) / KINETICS_STD


class RgbDataset(Dataset):
    """Clips as kept pixels and a view each; every draw follows from (seed, epoch, position) alone.

    An item: {pixels (views * clip_len, S, S, 3) uint8, view (7,), label, index}; `as_model_input` makes a model's input
    of a batch on its device. The clips may be in any order: pixels are found by clip id.
    """

    def __init__(
        self, clips: ClipSet, pixels: RgbClips, clip_len: int, train: bool, seed: int = 0, views: int = 1,
        mirror: float = 0.5, least_area: float = 0.7, colour: float = 0.2,
    ) -> None:  # fmt: skip
        self.clips, self.pixels, self.clip_len, self.views, self.train = clips, pixels, clip_len, views, train
        self.seed, self.epoch, self.mirror, self.least_area, self.colour = seed, 0, mirror, least_area, colour
        self.ids, self.labels = clips.index["clip_id"].tolist(), clips.labels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, self.epoch, i]) if self.train else None
        kept = self.pixels[self.ids[i]]
        frames = pick_frames(len(kept), self.clip_len, self.views, rng)
        view = WHOLE if rng is None else draw_view(rng, rng.random() < self.mirror, self.least_area, self.colour)
        return {"pixels": np.asarray(kept[frames]), "view": view, "label": self.labels[i], "index": np.int64(i)}


def as_model_input(batch: dict[str, Tensor], clip_len: int, size: int) -> Tensor:
    """A batch of `RgbDataset` -> (N * views, 3, clip_len, size, size), the views of a clip one after the other."""
    pixels = batch["pixels"]
    views = pixels.shape[1] // clip_len
    return apply_views(
        pixels.unflatten(1, (views, clip_len)).flatten(0, 1), batch["view"].repeat_interleave(views, 0), size
    )
