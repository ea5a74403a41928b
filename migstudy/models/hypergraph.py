"""Hypergraph-enhanced Transformer: recognises an emotion from a skeleton and rebuilds the motion it saw.

Xia et al., "Hybrid-supervised Hypergraph-enhanced Transformer for Micro-gesture Based Emotion Recognition", arXiv 2507.14867.
From its abstract: encoder and decoder of hypergraph-enhanced self-attention, whose hyperedges between joints are gradually
updated, and multi-scale temporal convolution; a decoder with upsampling that reconstructs; a shallow head on the encoder;
one joint training of both. The layers, sizes and the masking are our reconstruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from migstudy.models.base import ModelOutput
from migstudy.models.graph_network import GraphNetwork, Skeleton, stage_plan
from migstudy.models.hypergraph_layers import HypergraphLayer, first_hyperedges
from migstudy.models.standardise import Standardise

SIZES: dict[str, dict] = {
    "paper": dict(base_channels=64, stage_blocks=(2, 2, 2), decoder_blocks=1, heads=4, dilations=(1, 2, 4)),
    "small": dict(base_channels=16, stage_blocks=(1, 1), decoder_blocks=1, heads=2, dilations=(1, 2)),
}
"""Options of HypergraphTransformer by size; `paper` is as large as the graph networks here, the paper's own is unknown to us."""


class Encoded(NamedTuple):
    """x (N, T', V, C'); readable: (N, T, V) of every stage, first to last; edges: incidence logits (N, V, E) of every layer."""

    x: Tensor
    readable: list[Tensor]
    edges: list[Tensor]


class HypergraphTransformer(GraphNetwork):
    """Coordinates of one person (N, C, T, V), or (N, C, T, V, 1), any T -> ModelOutput with the reconstruction's error.

    in_channels: C; of these the first `dims` are coordinates, the others (a score) are only read. Beside where a joint is, the
    network reads how far it is from its own mean over the clip, in units of motion_rms, the training data's `measure_motion`:
    next to a pose, small motion is found late or never. standardised: where a joint is, is read against the training data's mean
    pose and spread, once `fit_pose` has measured them.
    base_channels, stage_blocks: layers a stage; every stage after the first doubles the width and halves time. decoder_blocks:
    layers after every upsampling. temporal_kernel: frames, odd; dilations: one branch of the temporal convolution each,
    beside a pointwise one. mask_ratio: share of the joints hidden from the encoder in training, eight frames at a time;
    0 reconstructs what was seen. target: what is rebuilt, the `displacement`, so that an error of 1 is that of a still person
    and a loss weight of the order of 1 fits, or the `position`, in units of the input. The first hyperedges are the topology's
    parts, one each.

    tokens (N, T' * V, C'), time-major, 0 where nothing was seen; features their mean over what was seen.
    """

    def __init__(
        self,
        topology: Skeleton = "imigue22",
        in_channels: int = 3,
        num_classes: int = 2,
        dims: int = 2,
        base_channels: int = 64,
        stage_blocks: Sequence[int] = (2, 2, 2),
        decoder_blocks: int = 1,
        heads: int = 4,
        temporal_kernel: int = 3,
        dilations: Sequence[int] = (1, 2, 4),
        mask_ratio: float = 0.0,
        target: Literal["displacement", "position"] = "displacement",
        motion_rms: float = 1.0,
        dropout: float = 0.1,
        head_dropout: float = 0.5,
        embedding_dim: int | None = None,
        standardised: bool = False,
    ) -> None:
        plan = list(stage_plan(base_channels, base_channels, stage_blocks))
        width = plan[-1][1]
        super().__init__(topology, in_channels, 1, width, embedding_dim, head_dropout, False)
        if not 1 <= dims <= in_channels:
            raise ValueError(f"dims {dims}: of {in_channels} channels, reconstruct at least one and at most all")
        if not 0 <= mask_ratio < 1 or target not in ("position", "displacement"):
            raise ValueError(f"mask_ratio {mask_ratio} must be in [0, 1), target {target!r} 'displacement' or 'position'")
        if not motion_rms > 0:
            raise ValueError(f"motion_rms {motion_rms} must be positive; measure_motion of the training data gives it")
        self.dims, self.mask_ratio, self.target, self.motion_rms = dims, mask_ratio, target, float(motion_rms)
        joints, parts = self.topology.num_joints, self.topology.parts
        options = (heads, temporal_kernel, tuple(dilations), dropout)
        self.standardise = Standardise(joints, in_channels) if standardised else None
        self.embed = nn.Linear(in_channels + dims, base_channels)
        self.joint = nn.Parameter(torch.empty(joints, base_channels))
        self.hidden = nn.Parameter(torch.empty(base_channels)) if mask_ratio else None
        self.edges = nn.Parameter(first_hyperedges(parts.values(), joints))
        self.encoder = nn.ModuleList(HypergraphLayer(a, b, stride, *options) for a, b, stride in plan)
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, num_classes)
        down = [base_channels * 2**stage for stage in range(len(stage_blocks))][::-1]
        self.decoder = nn.ModuleList(
            nn.ModuleList(HypergraphLayer(a if i == 0 else b, b, 1, *options) for i in range(decoder_blocks))
            for a, b in zip(down, down[1:] or down, strict=False)
        )
        self.decoder_norm = nn.LayerNorm(base_channels)
        self.rebuild = nn.Linear(base_channels, dims)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot for linear layers, N(0, 0.02) for both heads, joints and the hidden token, biases 0."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02) if name in ("fc", "rebuild") else nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for parameter in (self.joint, self.hidden):
            if parameter is not None:
                nn.init.normal_(parameter, std=0.02)

    def forward(
        self, coordinates: Tensor, present: Tensor | None = None, generator: torch.Generator | None = None
    ) -> ModelOutput:
        """present: (N, T, V) bool, False for a missing joint, all of a frame's for padding; by default what is not 0 throughout.

        What is not present is never looked at, NaN included. generator: of the hiding, torch's global one when None.
        Raises ValueError for shapes that do not fit.
        """
        x, present = self._inputs(coordinates, present)
        readable = present
        if self.training and self.mask_ratio:
            readable = hide(present, self.mask_ratio, generator)
        encoded = self._encode(x, readable)
        seen = encoded.readable[-1].flatten(1)[..., None]
        tokens = encoded.x.flatten(1, 2) * seen
        features = tokens.sum(1) / seen.sum(1).clamp(min=1)
        embedding = None if self.emb_fc is None else self.emb_fc(features)
        goal = self._motion(x, present) if self.target == "displacement" else x[..., : self.dims]
        error = motion_error(self._decode(encoded), goal, present)
        return ModelOutput(self.classify(self.dropout(features)), features, tokens, embedding, error)

    def reconstruct(self, coordinates: Tensor, present: Tensor | None = None) -> Tensor:
        """The target as rebuilt from what is present, (N, dims, T, V), in its units; also where nothing was seen."""
        return self._decode(self._encode(*self._inputs(coordinates, present))).permute(0, 3, 1, 2)

    def hyperedges(self, coordinates: Tensor, present: Tensor | None = None) -> list[Tensor]:
        """Each encoder layer's share (N, V, E) of every joint in every hyperedge, sum over E 1; `topology.parts` at first."""
        return [edges.softmax(-1) for edges in self._encode(*self._inputs(coordinates, present)).edges]

    def fit_pose(self, coordinates: Tensor, present: Tensor | None = None) -> None:
        """Mean and spread of every joint's channels over training clips, for `standardised`; inputs as of `forward`."""
        x, present = self._inputs(coordinates, present)
        self.standardise.fit(x.flatten(0, 1), present.flatten(0, 1))

    def encode(self, coordinates: Tensor) -> Tensor:
        return self._encode(*self._inputs(coordinates, None)).x.permute(0, 3, 1, 2)

    def classify(self, features: Tensor) -> Tensor:
        return self.fc(features)

    def _inputs(self, coordinates: Tensor, present: Tensor | None) -> tuple[Tensor, Tensor]:
        """(N, T, V, C), 0 where not present, and present (N, T, V)."""
        x = coordinates[..., None] if coordinates.ndim == 4 else coordinates
        self._check(x)
        x = x.squeeze(-1).permute(0, 2, 3, 1)
        if present is None:
            present = x.ne(0).any(-1)
        elif present.shape != x.shape[:3] or present.dtype != torch.bool:
            raise ValueError(f"present is {present.dtype} {tuple(present.shape)}; expected torch.bool {tuple(x.shape[:3])}")
        return x.masked_fill(~present[..., None], 0), present

    def _encode(self, x: Tensor, readable: Tensor) -> Encoded:
        # a place that nothing is known of reads the others, in every layer, and is never read by them
        unknown = x.new_zeros(()) if self.hidden is None else self.hidden
        pose = x if self.standardise is None else self.standardise(x)
        x = torch.cat([pose, self._motion(x, readable)], dim=-1)
        x = torch.where(readable[..., None], self.embed(x), unknown) + self.joint
        edges = self.edges.expand(len(x), -1, -1)
        stages, updates = [readable], []
        for layer in self.encoder:
            x, readable, edges = layer(x, readable, edges)
            updates.append(edges)
            if layer.stride > 1:
                stages.append(readable)
        return Encoded(self.norm(x), stages, updates)

    def _motion(self, x: Tensor, present: Tensor) -> Tensor:
        return displacement(x[..., : self.dims], present) / self.motion_rms

    def _decode(self, encoded: Encoded) -> Tensor:
        x, stages, edges = encoded.x, encoded.readable, encoded.edges[-1]
        for layers, readable in zip(self.decoder, stages[-2::-1] or stages, strict=True):
            if readable.shape[1] != x.shape[1]:
                x = x.repeat_interleave(2, dim=1)[:, : readable.shape[1]]
            for layer in layers:
                x, _, edges = layer(x, readable, edges)
        return self.rebuild(self.decoder_norm(x))


def motion_error(rebuilt: Tensor, target: Tensor, present: Tensor) -> Tensor:
    """Mean squared error (N,) of (N, T, V, D) over each clip's present joints (N, T, V) and dimensions; 0 where none is."""
    squared = (rebuilt - target).square().mean(-1).masked_fill(~present, 0)
    return squared.flatten(1).sum(1) / present.flatten(1).sum(1).clamp(min=1)


def displacement(x: Tensor, present: Tensor) -> Tensor:
    """(N, T, V, C) less every joint's mean over the frames that show it, (N, T, V); 0 where it is not shown."""
    shown = present[..., None]
    mean = (x * shown).sum(1, keepdim=True) / shown.sum(1, keepdim=True).clamp(min=1)
    return (x - mean) * shown


def measure_motion(coordinates: Tensor, present: Tensor | None = None, dims: int = 2) -> float:
    """Root mean square displacement over present joints and `dims` coordinates of (N, C, T, V) or (N, C, T, V, 1): motion_rms.

    Raises ValueError where nothing moves.
    """
    x = (coordinates[..., 0] if coordinates.ndim == 5 else coordinates).permute(0, 2, 3, 1)
    present = x.ne(0).any(-1) if present is None else present
    moved = displacement(x.masked_fill(~present[..., None], 0)[..., :dims], present)[present]
    if not moved.any():
        raise ValueError("nothing moves in these clips; check that their joints are not all missing")
    return float(moved.double().square().mean().sqrt())


def hide(present: Tensor, ratio: float, generator: torch.Generator | None = None, frames: int = 8) -> Tensor:
    """present (N, T, V) less a share `ratio`, drawn for every joint and `frames` frames at a time, where both ends tell less.

    Draws on the generator's device, the CPU's global generator when None, so that every device sees the same.
    """
    n, time, joints = present.shape
    device = generator.device if generator else "cpu"
    draws = torch.rand(n, -(-time // frames), joints, generator=generator, device=device).to(present.device)
    return present & (draws >= ratio).repeat_interleave(frames, dim=1)[:, :time]
