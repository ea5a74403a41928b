"""What the fusion models share: token sequences of several modalities, some of them padded, some of them missing.

The interface and the handling of missing modalities are our reconstruction: paper B (arXiv 2512.23291) states neither.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from migstudy.models.base import ModelOutput, StudyModel
from migstudy.models.memory import MemoryRefinement
from migstudy.models.standardise import Standardise

Pooling = Literal["steps", "tokens"]


class Stream(NamedTuple):
    """One modality inside a fusion model: x (N, 1 + L, C), valid (N, 1 + L) bool, weight (N, 1 + L).

    Slot 0 holds the learned token of an absent modality, valid where the modality is missing and nothing else then is, so
    at least one slot is always valid. weight: each slot's share of the modality's pooled vector, 0 where invalid, sum 1.
    """

    x: Tensor
    valid: Tensor
    weight: Tensor

    def pool(self) -> Tensor:
        """(N, C); the absent token's state where the modality is missing."""
        return (self.weight.unsqueeze(1) @ self.x).squeeze(1)


class FusionNetwork(StudyModel):
    """Tokens of several modalities, name -> (N, L, D) -> ModelOutput; subclasses give `fuse`.

    token_dims: name -> D, one to any number; their order never matters. grids: name -> (steps, places), the tokens'
    arrangement, time-major: (8, 49) for MViTv2-S at 16 x 224², (T', joints) for a graph network, (frames, 1) for a face. A
    sequence may have fewer steps. A modality without grid is a set of tokens. class_tokens: modalities whose first token is
    a class token, outside the grid. positions: embeddings of time (one axis from clip start to clip end, shared by all
    modalities and read at each one's own rate) and place; False leaves sets. pooling: `steps` averages the valid places of a
    step, then the steps (the class token counts as one), then the modalities at hand, so that 8 x 49 patches do not outvote
    24 x 22 joints; `tokens` is the plain mean over valid tokens. modality_dropout: chance in training that a modality of a
    clip is withheld, see `drop_modalities`. dropout: in the layers; head_dropout: before the classifier. embedding_dim: adds
    the head that predicts the label's text vector. memory: adds the cosine to class prototypes to the logits, see
    `MemoryRefinement`. standardised: tokens are read against the training tokens' mean and spread, once `fit_tokens` has
    measured them.

    features (N, width); tokens (N, sum of L, width), before pooling, modalities in alphabetical order, 0 where invalid.
    """

    learns_absence = True  # False: an absent modality is left out instead of represented
    needs_one = True  # False: a clip without any modality gets an answer as well

    def __init__(
        self,
        token_dims: Mapping[str, int],
        num_classes: int = 32,
        width: int = 256,
        grids: Mapping[str, Sequence[int]] | None = None,
        class_tokens: Sequence[str] = (),
        positions: bool = True,
        pooling: Pooling = "steps",
        modality_dropout: float = 0.2,
        head_dropout: float = 0.0,
        embedding_dim: int | None = None,
        memory: bool = False,
        memory_momentum: float = 0.99,
        standardised: bool = False,
    ) -> None:
        super().__init__()
        self.names = tuple(sorted(token_dims))  # a saved configuration comes back in this order
        self.token_dims = {name: int(token_dims[name]) for name in self.names}
        self.grids = {name: (int(steps), int(places)) for name, (steps, places) in sorted((grids or {}).items())}
        self.class_tokens = tuple(sorted(class_tokens))
        if not self.names or not all(name.isidentifier() for name in self.names):
            raise ValueError(f"token_dims {dict(token_dims)}: name at least one modality, in letters, digits and _")
        if unknown := sorted({*self.grids, *self.class_tokens} - {*self.names}):
            raise ValueError(f"grids or class_tokens name {unknown[0]!r}, token_dims only {', '.join(self.names)}")
        if pooling not in ("steps", "tokens"):
            raise ValueError(f"unknown pooling {pooling!r}; choose 'steps' or 'tokens'")
        if not 0 <= modality_dropout < 1:
            raise ValueError(f"modality_dropout {modality_dropout} must be in [0, 1)")
        self.width, self.pooling, self.modality_dropout = width, pooling, modality_dropout
        self.standardise = nn.ModuleDict({name: Standardise(dim) for name, dim in self.token_dims.items()} if standardised else {})
        self.projection = nn.ModuleDict({name: nn.Linear(dim, width) for name, dim in self.token_dims.items()})
        self.norm = nn.ModuleDict({name: nn.LayerNorm(width) for name in self.names})
        self.modality = nn.ParameterDict({name: nn.Parameter(torch.empty(width)) for name in self.names})
        if self.learns_absence:
            self.absent = nn.ParameterDict({name: nn.Parameter(torch.empty(width)) for name in self.names})
        self.positions = PositionEmbeddings(width, self.grids, self.class_tokens) if positions else None
        self.head_dropout = nn.Dropout(head_dropout)
        self.fc = nn.Linear(width, num_classes)
        self.emb_fc = nn.Linear(width, embedding_dim) if embedding_dim else None
        self.memory = MemoryRefinement(num_classes, width, memory_momentum) if memory else None

    def reset_parameters(self) -> None:
        """Glorot, N(0, 0.02) for classifiers and modalities, N(0, 0.5) for positions, biases 0; subclasses call it last."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                if name.startswith(("fc", "emb_fc")):
                    nn.init.normal_(module.weight, std=0.02)
                else:
                    nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        tables = [module for module in self.modules() if isinstance(module, nn.ParameterDict)]
        for parameter in (p for table in tables for p in table.values()):
            nn.init.normal_(parameter, std=0.02)
        if self.positions is not None:
            self.positions.reset_parameters()

    def fit_tokens(self, tokens: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> None:
        """Mean and spread of each modality's training tokens, for `standardised`; shapes as of `forward`."""
        for name, standardise in self.standardise.items():
            if name in tokens:
                standardise.fit(tokens[name].flatten(0, 1), mask[name].flatten())

    @abstractmethod
    def fuse(self, streams: dict[str, Stream], present: Tensor) -> ModelOutput:
        """streams: one a modality, in the order of `names`; present (N, M) bool, after modality dropout."""

    def forward(
        self,
        tokens: Mapping[str, Tensor],
        mask: Mapping[str, Tensor] | None = None,
        present: Mapping[str, Tensor] | None = None,
        generator: torch.Generator | None = None,
    ) -> ModelOutput:
        """tokens: name -> (N, L, D); a modality left out, or with L = 0, is missing from the whole batch.

        mask: name -> (N, L) bool, True = a token, False = padding. present: name -> (N,) bool, False = this clip lacks the
        modality; so does a clip whose tokens are all padding. What padded and missing tokens hold is never looked at, NaN
        included. generator: of the modality dropout; torch's global one when None. Raises ValueError for shapes that do not
        fit and, on the CPU, for a clip without any modality.
        """
        masks = self._check(tokens, mask or {}, present or {})
        at_hand = torch.stack([masks[name].any(1) for name in self.names], dim=1)
        if self.needs_one and at_hand.device.type == "cpu" and not at_hand.any(1).all():
            clip = int(at_hand.any(1).int().argmin())
            raise ValueError(f"clip {clip} of the batch has no modality at all; leave it out")
        if self.training:
            at_hand = drop_modalities(at_hand, self.modality_dropout, generator)
        streams = {}
        for name, here in zip(self.names, at_hand.unbind(1), strict=True):
            streams[name] = self._embed(name, tokens.get(name), masks[name] & here[:, None], ~here)
        return self.fuse(streams, at_hand)

    def pooling_weights(self, streams: Mapping[str, Stream]) -> Tensor:
        """Share (N, sum of 1 + L) of every slot in a clip's vector, absent modalities left out; sums to 1."""
        counted = [s.valid.to(s.weight) if self.pooling == "tokens" else s.weight for s in streams.values()]
        shares = torch.cat([pad(weight[:, 1:], (1, 0)) for weight in counted], dim=1)
        return shares / shares.sum(1, keepdim=True).clamp(min=1e-6)

    def output(self, features: Tensor, streams: Mapping[str, Stream], logits: Tensor | None = None) -> ModelOutput:
        """Heads on the clip's vector; logits replaces the classifier's, tokens are those of the streams."""
        if logits is None:
            logits = self.fc(self.head_dropout(features))
        if self.memory is not None:
            logits = logits + self.memory(features)
        embedding = None if self.emb_fc is None else self.emb_fc(features)
        tokens = [s.x[:, 1:].masked_fill(~s.valid[:, 1:, None], 0) for s in streams.values()]
        return ModelOutput(logits, features, torch.cat(tokens, dim=1), embedding)

    def _embed(self, name: str, tokens: Tensor | None, valid: Tensor, missing: Tensor) -> Stream:
        n, length = valid.shape
        slot = self.modality[name] + (self.absent[name] if self.learns_absence else 0)
        x = slot.expand(n, 1, -1)
        if tokens is not None:
            y = tokens.masked_fill(~valid[..., None], 0)
            if name in self.standardise:
                y = self.standardise[name](y)
            y = self.projection[name](y)
            y = self.norm[name](y) + self.modality[name]
            if self.positions is not None and length:
                y = y + self.positions(name, length)
            x = torch.cat([x.to(y), y], dim=1)
        weight = torch.cat([missing[:, None].to(x), self._weigh(name, valid.to(x))], dim=1)
        return Stream(x, torch.cat([missing[:, None], valid], dim=1), weight)

    def _weigh(self, name: str, weight: Tensor) -> Tensor:
        """Valid (N, L), 1 or 0 -> weights of the mean over valid tokens or steps; 0 throughout where there are none."""
        if self.pooling == "steps" and name in self.grids and weight.shape[1]:
            first = int(name in self.class_tokens)
            steps = weight[:, first:].unflatten(1, (-1, self.grids[name][1]))
            steps = steps / steps.sum(2, keepdim=True).clamp(min=1)
            weight = torch.cat([weight[:, :first], steps.flatten(1)], dim=1)
        return weight / weight.sum(1, keepdim=True).clamp(min=1e-6)

    def _check(
        self, tokens: Mapping[str, Tensor], mask: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Which tokens count, name -> (N, L) bool, L = 0 for a modality that was left out."""
        if unknown := sorted({*tokens, *mask, *present} - {*self.names}):
            raise ValueError(f"unknown modality {unknown[0]!r}; this model knows {', '.join(self.names)}")
        if not tokens:
            raise ValueError(f"no tokens; give those of at least one of {', '.join(self.names)}")
        first = next(iter(tokens.values()))
        masks = {}
        for name in self.names:
            x = tokens.get(name)
            if x is None:
                masks[name] = torch.zeros(len(first), 0, dtype=torch.bool, device=first.device)
                continue
            if x.ndim != 3 or len(x) != len(first) or x.shape[2] != self.token_dims[name]:
                raise ValueError(f"{name} tokens {tuple(x.shape)}; expected ({len(first)}, L, {self.token_dims[name]})")
            if name in self.grids:
                steps, places = self.grids[name]
                patches = x.shape[1] - (name in self.class_tokens)
                if x.shape[1] and (patches % places or not 0 <= patches <= steps * places):
                    raise ValueError(
                        f"{patches} {name} tokens{' beside the class token' if name in self.class_tokens else ''} do not fit"
                        f" a grid of up to {steps} steps x {places} places; give grids the encoder's own"
                    )
            masks[name] = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
            for given, shape in ((mask.get(name), x.shape[:2]), (present.get(name), x.shape[:1])):
                if given is None:
                    continue
                if given.shape != shape or given.dtype != torch.bool:
                    raise ValueError(
                        f"{name}: mask or present is {given.dtype} {tuple(given.shape)}; expected torch.bool {tuple(shape)}"
                    )
                masks[name] = masks[name] & (given if given.ndim == 2 else given[:, None])
        return masks


class PositionEmbeddings(nn.Module):
    """What tells tokens of one modality apart: their time in the clip and their place, learned, summed; (L, C).

    Time is one table for all modalities, as fine as the finest grid and interpolated at the middle of every step of the
    others, so that tokens of the same moment share it. A class token has a vector of its own.
    """

    def __init__(self, width: int, grids: Mapping[str, tuple[int, int]], class_tokens: Sequence[str]) -> None:
        super().__init__()
        self.width, self.grids = width, dict(grids)
        finest = max((steps for steps, _ in self.grids.values()), default=0)
        self.time = nn.Parameter(torch.empty(finest, width)) if finest > 1 else None
        self.places = nn.ParameterDict({n: torch.empty(p, width) for n, (_, p) in self.grids.items() if p > 1})
        self.class_token = nn.ParameterDict({name: torch.empty(width) for name in class_tokens})
        for name, (steps, _) in self.grids.items():
            self.register_buffer(f"rate_{name}", interpolation(steps, finest), persistent=False)

    def reset_parameters(self) -> None:
        # beside tokens of variance 1; from the customary 0.02, attention took far longer to find tokens of the same moment
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5)

    def forward(self, name: str, length: int) -> Tensor | float:
        rows = [self.class_token[name][None]] if name in self.class_token else []
        if name in self.grids:
            rate = self.get_buffer(f"rate_{name}")[: (length - len(rows)) // self.grids[name][1]]
            time = rate @ (rate.new_zeros(rate.shape[1], self.width) if self.time is None else self.time)
            place = self.places[name] if name in self.places else time.new_zeros(1, self.width)
            rows.append((time[:, None] + place).flatten(0, 1))
        elif rows:
            rows.append(rows[0].new_zeros(length - 1, self.width))
        return torch.cat(rows) if rows else 0.0


def interpolation(steps: int, finest: int) -> Tensor:
    """Rows (steps, finest): the middle of each of `steps` equal parts of a clip between the middles of `finest` parts."""
    at = ((torch.arange(steps) + 0.5) * finest / steps - 0.5).clamp(0, finest - 1)
    return (1 - (at[:, None] - torch.arange(finest)).abs()).clamp(min=0)


def drop_modalities(present: Tensor, chance: float, generator: torch.Generator | None = None) -> Tensor:
    """Withhold each modality of each clip with `chance`, never a clip's last one; present and result (N, M) bool.

    Draws on the generator's device, the CPU's global generator when None, so that every device sees the same.
    """
    if not chance:
        return present
    draws = torch.rand(present.shape, generator=generator, device=generator.device if generator else "cpu").to(present.device)
    draws = draws.masked_fill(~present, -1)
    return present & ((draws >= chance) | (draws == draws.amax(1, keepdim=True)))
