"""SwinFace: one Swin transformer for recognition, expression, age and attributes of a face, each with attention of its own.

Qin et al., "SwinFace: A Multi-task Transformer for Face Recognition, Expression Recognition, Age Estimation and Attribute
Estimation", arXiv 2308.11509, sections 3 and 4. Arithmetic, branches and key names are those of the authors' released code.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from migstudy.models.base import ModelOutput, StudyModel, _read_checkpoint
from migstudy.models.swin import BN_EPS, Swin

RECOGNITION, EXPRESSION, AGE = "Recognition", "Expression", "Age"
EXPRESSIONS = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""The 7 outputs of `Expression`: RAF-DB's numbering, which the code takes less one and does not name."""

BRANCHES: tuple[tuple[str, ...], ...] = (
    ("Gender",),
    (AGE, "Young"),
    (EXPRESSION, "Smiling"),
    ("Attractive", "Blurry", "Chubby", "Heavy Makeup", "Oval Face", "Pale Skin"),
    ("Bald", "Bangs", "Black Hair", "Blond Hair", "Brown Hair", "Gray Hair", "Receding Hairline", "Straight Hair",
     "Wavy Hair", "Wearing Hat"),
    ("Arched Eyebrows", "Bags Under Eyes", "Bushy Eyebrows", "Eyeglasses", "Narrow Eyes"),
    ("Big Nose", "Pointy Nose"),
    ("High Cheekbones", "Rosy Cheeks", "Wearing Earrings", "Sideburns"),
    ("Five O'Clock Shadow", "Big Lips", "Mouth Slightly Open", "Mustache", "Wearing Lipstick", "No Beard"),
    ("Double Chin", "Goatee"),
    ("Wearing Necklace", "Wearing Necktie"),
)  # fmt: skip
"""Tasks that share a branch, in the order of the output layers. Age: one number, as regressed; Expression: see `EXPRESSIONS`;
Gender and CelebA's 40 attributes (less `Male`, which Gender is): two logits, absent and present."""

PRESETS: dict[str, dict[str, Any]] = {
    "swinface_t": {},
    "small": {
        "size": 56, "patch": 4, "base_channels": 40, "depths": (2, 2), "heads": (2, 4), "feature_dim": 48,
        "dropout": 0.1, "drop_path": 0.0,
    },
}  # fmt: skip
"""Arguments of `SwinFace`: the published model (112 x 112), and one for two cores (56 x 56; ours)."""

_PARTS = ("backbone", "fam", "tss", "om")
_UNUSED = "backbone.head."  # in the checkpoint, but the forward pass never asks for it
_REDUCTION = 16


class SwinFace(StudyModel):
    """Aligned faces (N, 3, size, size), RGB in -1..1 -> `ModelOutput`.

    logits (N, K): the outputs of the tasks in `logits_of`, side by side. features (N, E): the recognition embedding. tokens
    (N, B + 1, E): one token a branch of tasks, in the order of `branches`, then the recognition embedding. `task_outputs`
    gives every task by name.

    branches: names of the tasks of each branch; a task has two outputs, `Age` one, `Expression` num_classes, and those of
    `sizes` as many as it says. size, patch: px. base_channels, depths, heads, window: of the Swin transformer. feature_dim: E.
    dropout: within the branches, after each of their two layers (tokens come after it). drop_path: stochastic depth. The
    defaults are the published Swin-T model (67.4 M parameters in use); `PRESETS` holds a smaller one.
    """

    def __init__(
        self,
        num_classes: int = len(EXPRESSIONS),
        branches: Sequence[Sequence[str]] = BRANCHES,
        sizes: Mapping[str, int] | None = None,
        logits_of: Sequence[str] = (EXPRESSION,),
        size: int = 112,
        patch: int = 2,
        base_channels: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 7,
        feature_dim: int = 512,
        dropout: float = 0.5,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        self.branches = tuple(tuple(tasks) for tasks in branches)
        names = [task for tasks in self.branches for task in tasks]
        if len(set(names)) < len(names) or not all(self.branches) or RECOGNITION in names:
            raise ValueError(f"every branch needs a task, and every task one name, not {RECOGNITION!r}: {self.branches}")
        if unknown := sorted((set(logits_of) | set(sizes or {})) - set(names)):
            raise ValueError(f"unknown task {unknown[0]!r}; the branches hold {', '.join(names)}")
        if not logits_of:
            raise ValueError("logits_of names no task; name those whose outputs are the logits")
        outputs = {AGE: 1, EXPRESSION: num_classes, **(sizes or {})}
        self.sizes = {name: outputs.get(name, 2) for name in names}
        self.logits_of, self.size = tuple(logits_of), size
        self.backbone = Swin(size, patch, base_channels, depths, heads, window, feature_dim, drop_path)
        maps = [*self.backbone.widths[1:], self.backbone.widths[-1]]
        self.fam = Branches(FeatureAttention(maps, feature_dim) for _ in self.branches)
        self.tss = Branches(TaskSubnet(feature_dim, dropout) for _ in self.branches)
        self.om = nn.Module()
        self.om.output_fcs = nn.ModuleList(nn.Linear(feature_dim, count) for count in self.sizes.values())
        self.apply(_initialise)

    def forward(self, faces: Tensor) -> ModelOutput:
        """Raises ValueError when the faces are not (N, 3, size, size)."""
        tokens = self._tokens(faces)
        heads = self._heads(tokens, self.logits_of)
        return ModelOutput(torch.cat(list(heads.values()), 1), tokens[:, -1], tokens)

    def task_outputs(self, faces: Tensor) -> dict[str, Tensor]:
        """Every task by name -> (N, outputs), raw (logits, or the number itself), and `Recognition` (N, E)."""
        tokens = self._tokens(faces)
        return self._heads(tokens, self.sizes) | {RECOGNITION: tokens[:, -1]}

    def _tokens(self, faces: Tensor) -> Tensor:
        if faces.ndim != 4 or faces.shape[1:] != (3, self.size, self.size):
            raise ValueError(
                f"SwinFace takes aligned RGB faces (N, 3, {self.size}, {self.size}), not {tuple(faces.shape)}; see"
                " migstudy.faces.crops.as_model_input"
            )
        seen = self.backbone(faces)
        maps = [*seen.local, seen.global_]
        branches = [subnet(attend(maps)) for attend, subnet in zip(self.fam.nets, self.tss.nets, strict=True)]
        return torch.stack([*branches, seen.embedding], 1)

    def _heads(self, tokens: Tensor, tasks: Sequence[str]) -> dict[str, Tensor]:
        branch = {task: b for b, names in enumerate(self.branches) for task in names}
        layer = dict(zip(self.sizes, self.om.output_fcs, strict=True))
        return {task: layer[task](tokens[:, branch[task]]) for task in tasks}

    def load_published_weights(
        self, source: str | os.PathLike | Mapping[str, Any], skip: Sequence[str] = ()
    ) -> Self:
        """Load the authors' checkpoint: a file, or what it holds; see `StudyModel.load_published_weights`.

        It keeps `state_dict_backbone`, `state_dict_fam`, `state_dict_tss` and `state_dict_om` apart; one state dict with
        `backbone.`, `fam.`, `tss.` and `om.` before its keys passes too. skip=("om.",) starts from other tasks. Raises
        ValueError naming the parts that are not there: the authors' pre-training has a backbone only.
        """
        name = "the given state dict" if isinstance(source, Mapping) else str(source)
        theirs = source if isinstance(source, Mapping) else _read_checkpoint(Path(source))
        if any(key.startswith("state_dict_") for key in theirs):
            skipped = {prefix.removesuffix(".") for prefix in skip}
            missing = [part for part in _PARTS if f"state_dict_{part}" not in theirs and part not in skipped]
            if missing:
                raise ValueError(
                    f"{name} has no {', '.join(f'state_dict_{part}' for part in missing)}; give the checkpoint of the"
                    f" multi-task training, or leave parts as they are with skip={tuple(f'{p}.' for p in missing)}"
                )
            parts = {part: theirs.get(f"state_dict_{part}", {}) for part in _PARTS}
            theirs = {f"{p}.{key.removeprefix('module.')}": value for p, state in parts.items() for key, value in state.items()}
        theirs = {key.removeprefix("module."): value for key, value in theirs.get("state_dict", theirs).items()}
        try:
            return super().load_published_weights({k: v for k, v in theirs.items() if not k.startswith(_UNUSED)}, skip)
        except ValueError as error:
            raise ValueError(str(error).replace("the given state dict", name, 1).replace("cls_head.", "om.")) from None


class Branches(nn.Module):
    """As many modules as there are branches of tasks."""

    def __init__(self, nets) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)


class FeatureAttention(nn.Module):
    """Maps of all levels, each (N, C_i, h, w) -> (N, E): a convolution a level, a gate on channels, maximum, norm."""

    def __init__(self, maps: Sequence[int], feature_dim: int) -> None:
        super().__init__()
        shares = _shares(feature_dim, maps)
        if min(shares) < 1:
            raise ValueError(f"feature_dim {feature_dim} leaves no channel for one of the maps of {list(maps)} channels")
        self.conv = nn.Module()
        self.conv.convs = nn.ModuleList(nn.Conv2d(c, s, 3, padding=1, bias=False) for c, s in zip(maps, shares, strict=True))
        self.channel_attention = ChannelGate(feature_dim)
        self.norm = nn.BatchNorm1d(feature_dim, eps=BN_EPS)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        x = torch.cat([conv(level) for conv, level in zip(self.conv.convs, maps, strict=True)], 1)
        return self.norm(F.relu(self.channel_attention(x)).amax((2, 3)))


class ChannelGate(nn.Module):
    """Scales each channel by its mean's and its maximum's say: CBAM's channel attention (Woo et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // _REDUCTION, 1)
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        gate = self.mlp(x.mean((2, 3))) + self.mlp(x.amax((2, 3)))
        return x * gate.sigmoid()[:, :, None, None]


class TaskSubnet(nn.Module):
    """(N, E) -> (N, E): two layers of a branch's own."""

    def __init__(self, feature_dim: int, dropout: float) -> None:
        super().__init__()
        layers = [layer for _ in range(2) for layer in (nn.Linear(feature_dim, feature_dim), nn.ReLU(), nn.Dropout(dropout))]
        self.feature = nn.Sequential(OrderedDict((str(i), layer) for i, layer in enumerate(layers)))

    def forward(self, x: Tensor) -> Tensor:
        return self.feature(x)


def _shares(total: int, parts: Sequence[int]) -> list[int]:
    """`total` divided in proportion to `parts`, whole numbers; what is left goes to the largest fractions."""
    exact = [total * part / sum(parts) for part in parts]
    shares = [int(share) for share in exact]
    for i in sorted(range(len(parts)), key=lambda i: shares[i] - exact[i])[: total - sum(shares)]:
        shares[i] += 1
    return shares


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        # the original's truncated normal has its bounds 100 sigma away, and now and then draws them
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


__all__ = ["BRANCHES", "EXPRESSIONS", "PRESETS", "SwinFace"]
