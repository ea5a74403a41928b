"""Swin transformer over small square pictures: attention within windows that shift by half from block to block.

Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", arXiv 2103.14030, section 3. Key names
are those of its authors' code, which SwinFace's checkpoints keep. All maps are (N, H, W, C), channels last.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BN_EPS = 2e-5
_ELSEWHERE = -100.0  # added to the attention between what lay apart before the shift


class SwinOutput(NamedTuple):
    """local: the maps after each merging, pooled to the last map's size, and global_, the last one before its norm, all
    (N, C_i, h, w); pooled (N, C) after the norm; embedding (N, E)."""

    local: list[Tensor]
    global_: Tensor
    pooled: Tensor
    embedding: Tensor


class Swin(nn.Module):
    """Pictures (N, 3, size, size) -> `SwinOutput`.

    size, patch: px. base_channels: of the first stage; they double from stage to stage while the map halves. depths, heads: of
    each stage; every second block shifts its windows by half. embedding_dim: E. drop_path: stochastic depth of the last
    block, rising to it from 0. Raises ValueError when the maps do not come out in whole windows.
    """

    def __init__(
        self, size: int, patch: int, base_channels: int, depths: Sequence[int], heads: Sequence[int], window: int,
        embedding_dim: int, drop_path: float,
    ) -> None:  # fmt: skip
        super().__init__()
        stages = len(depths)
        sides = [size // patch // 2**stage for stage in range(stages)]
        fits = size % patch == 0 and all(side and side % min(window, side) == 0 for side in sides)
        if len(heads) != stages or not fits or any(side % 2 for side in sides[:-1]):
            raise ValueError(
                f"{size} px in patches of {patch} give maps of {sides} over {stages} stages, {len(heads)} of them with heads;"
                f" every map must be whole windows of {window}, and even where it is halved (112 px: patch 2, 4 stages)"
            )
        widths = [base_channels * 2**stage for stage in range(stages)]
        if any(width % head for width, head in zip(widths, heads, strict=True)):
            raise ValueError(f"heads {tuple(heads)} do not divide the channels {tuple(widths)} of their stages")
        chances = iter(torch.linspace(0, drop_path, sum(depths)).tolist())
        self.widths, self.size = widths, size
        self.patch_embed = PatchEmbedding(patch, base_channels)
        self.layers = nn.ModuleList(
            Stage(width, side, head, window, [next(chances) for _ in range(depth)], merge=stage < stages - 1)
            for stage, (width, side, head, depth) in enumerate(zip(widths, sides, heads, depths, strict=True))
        )
        self.norm = nn.LayerNorm(widths[-1])
        self.feature = nn.Sequential(
            nn.Linear(widths[-1], widths[-1], bias=False), nn.BatchNorm1d(widths[-1], eps=BN_EPS),
            nn.Linear(widths[-1], embedding_dim, bias=False), nn.BatchNorm1d(embedding_dim, eps=BN_EPS),
        )  # fmt: skip

    def forward(self, x: Tensor) -> SwinOutput:
        x, local = self.patch_embed(x), []
        for stage in self.layers:
            x = stage(x)
            local.append(x.movedim(-1, 1))
        *local, last = local
        local = [F.avg_pool2d(m, m.shape[-1] // last.shape[-1]) if m.shape != last.shape else m for m in local]
        pooled = self.norm(x).mean((1, 2))
        return SwinOutput(local, last, pooled, self.feature(pooled))


class PatchEmbedding(nn.Module):
    """Pictures (N, 3, H, W) -> (N, H / patch, W / patch, C)."""

    def __init__(self, patch: int, channels: int) -> None:
        super().__init__()
        self.proj, self.norm = nn.Conv2d(3, channels, patch, patch), nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x).movedim(1, -1))


class Stage(nn.Module):
    """Blocks on one map, then its merging into half the height and width."""

    def __init__(self, channels: int, side: int, heads: int, window: int, drop_paths: Sequence[float], merge: bool) -> None:
        super().__init__()
        whole = side <= window  # a map of one window has nowhere to shift
        self.blocks = nn.ModuleList(
            Block(channels, side, heads, side if whole else window, 0 if whole or i % 2 == 0 else window // 2, chance)
            for i, chance in enumerate(drop_paths)
        )
        self.downsample = PatchMerging(channels) if merge else None

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class Block(nn.Module):
    """Window attention and a perceptron, each after a norm and beside a residual."""

    def __init__(self, channels: int, side: int, heads: int, window: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.window, self.shift, self.drop_path = window, shift, drop_path
        self.register_buffer("attn_mask", shift_mask(side, window, shift) if shift else None)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, window, heads)
        layers = [("fc1", nn.Linear(channels, 4 * channels)), ("act", nn.GELU()), ("fc2", nn.Linear(4 * channels, channels))]
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        seen = self.norm1(x)
        if self.shift:
            seen = seen.roll((-self.shift, -self.shift), (1, 2))
        seen = from_windows(self.attn(to_windows(seen, self.window), self.attn_mask), x.shape[1])
        if self.shift:
            seen = seen.roll((self.shift, self.shift), (1, 2))
        x = x + self._dropped(seen)
        return x + self._dropped(self.mlp(self.norm2(x)))

    def _dropped(self, x: Tensor) -> Tensor:
        """Stochastic depth: in training, a picture's branch is left out at random and otherwise scaled up."""
        if not self.training or self.drop_path == 0:
            return x
        keep = 1 - self.drop_path
        return x * (torch.empty(len(x), 1, 1, 1, dtype=x.dtype, device=x.device).bernoulli_(keep) / keep)


class WindowAttention(nn.Module):
    """Attention among the tokens of each window, (N, windows, window^2, C), with a bias learned for every offset.

    mask: (windows, window^2, window^2), added; None for windows that were not shifted.
    """

    def __init__(self, channels: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", offset_index(window))
        self.qkv, self.proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        nn.init.normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)  # each (N, windows, heads, L, c)
        scores = (q * q.shape[-1] ** -0.5) @ k.mT + self.relative_position_bias_table[self.relative_position_index].movedim(-1, 0)
        if mask is not None:
            scores = scores + mask[:, None]
        return self.proj((scores.softmax(-1) @ v).transpose(2, 3).flatten(3))


class PatchMerging(nn.Module):
    """(N, H, W, C) -> (N, H / 2, W / 2, 2C): squares of four tokens side by side, down columns first, then a projection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction, self.norm = nn.Linear(4 * channels, 2 * channels, bias=False), nn.LayerNorm(4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, channels = x.shape
        squares = x.view(n, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 4, 2, 5)
        return self.reduction(self.norm(squares.flatten(3)))


def to_windows(x: Tensor, window: int) -> Tensor:
    """(N, H, W, C) -> (N, windows, window^2, C), row by row."""
    n, height, width, channels = x.shape
    x = x.view(n, height // window, window, width // window, window, channels)
    return x.transpose(2, 3).reshape(n, -1, window * window, channels)


def from_windows(x: Tensor, height: int) -> Tensor:
    """The inverse of `to_windows`, for square maps of that height."""
    n, _, length, channels = x.shape
    window = round(length**0.5)
    x = x.view(n, height // window, height // window, window, window, channels)
    return x.transpose(2, 3).reshape(n, height, height, channels)


def offset_index(window: int) -> Tensor:
    """(window^2, window^2): the row of the bias table for each pair of tokens, by how far apart they lie."""
    place = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
    down, right = place[:, :, None] - place[:, None] + window - 1
    return down * (2 * window - 1) + right


def shift_mask(side: int, window: int, shift: int) -> Tensor:
    """(windows, window^2, window^2): 0 between tokens that were neighbours before the shift, -100 between others."""
    place = torch.arange(side)
    band = (place >= side - window).long() + (place >= side - shift).long()
    region = to_windows((3 * band[:, None] + band)[None, :, :, None], window)[0, :, :, 0]
    return (region[:, :, None] != region[:, None]).float() * _ELSEWHERE
