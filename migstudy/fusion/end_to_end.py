"""Fine-tuning encoders through the fusion of their tokens: clips in, augmented anew in every epoch, one network, one loss.

How paper B trains its parts together is not published; this is our reconstruction, in two steps, first the fusion on frozen
encoders' tokens, then everything from there: a fusion that knows nothing yet would undo what the encoders have learned (Kumar et
al., "Fine-Tuning can Distort Pretrained Features", arXiv 2202.10054).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, Dataset

from migstudy.clips import ClipSet
from migstudy.config.fusion import FusionConfig
from migstudy.config.gesture import GestureConfig
from migstudy.data import open_data
from migstudy.fusion.data import FusionData, Inputs, Modality, with_tokens
from migstudy.fusion.encoders import encoder_configs, encoder_runs
from migstudy.fusion.train import TASK, FusionTask, describe
from migstudy.loading import make_dataset, represent, training_labels
from migstudy.models import StudyModel, create_model, get_model_class
from migstudy.models.base import ModelOutput
from migstudy.models.graph_network import GraphNetwork
from migstudy.models.memory import MemoryRefinement
from migstudy.runs.folder import Run, run_of
from migstudy.runs.inner import load_encoder, own_runner
from migstudy.sweep.cells import run_cells
from migstudy.video.rgb import RgbClips

HEADS = ("fc", "fcn", "head")
"""What encoders call their classifiers, which their tokens do not pass."""


class EndToEnd(StudyModel):
    """Encoders without their classifiers and the fusion of their tokens: clips of several modalities -> ModelOutput.

    encoders: modality -> {"model": a name of `MODELS`, "config": its arguments}; fusion: the same of a `FusionNetwork`. tokens:
    of graph networks, one a `frame` or one a `joint` of every frame.

    Batch normalisation of the encoders keeps the statistics it came with, in training as well; its scales and shifts are learned.
    Tokens are then those that the fusion was first trained on, a clip's do not depend on the others of its batch, and memory
    allows only small batches of films, whose statistics say little.
    """

    def __init__(self, encoders: Mapping[str, Mapping[str, Any]], fusion: Mapping[str, Any], tokens: str = "frame") -> None:
        super().__init__()
        self.tokens = tokens
        self.encoders = nn.ModuleDict({name: _headless(about) for name, about in sorted(encoders.items())})
        self.fusion = create_model(fusion["model"], **fusion["config"])

    @property
    def memory(self) -> MemoryRefinement | None:
        return self.fusion.memory

    def train(self, mode: bool = True) -> EndToEnd:
        super().train(mode)
        for module in self.encoders.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def encode(self, name: str, clips: Tensor) -> Tensor:
        """One modality's tokens (N, L, C)."""
        encoder = self.encoders[name]
        tokens = encoder(clips).tokens
        return encoder.frame_tokens(tokens) if isinstance(encoder, GraphNetwork) and self.tokens == "frame" else tokens

    def forward(
        self, clips: Mapping[str, Tensor], mask: Mapping[str, Tensor] | None = None, present: Mapping[str, Tensor] | None = None
    ) -> ModelOutput:  # fmt: skip
        """clips: modality -> its encoder's input (N, ...), one left out is missing from all; mask, present: as `FusionNetwork`."""
        if not self.training and present:  # nothing is encoded that nobody has; in training, processes have to do the same
            clips = {name: x for name, x in clips.items() if name not in present or present[name].any()}
        mask, present = ({k: v for k, v in (given or {}).items() if k in clips} for given in (mask, present))
        return self.fusion({name: self.encode(name, x) for name, x in clips.items()}, mask, present)


def _headless(about: Mapping[str, Any]) -> StudyModel:
    encoder = create_model(about["model"], **about["config"])
    for name in HEADS:
        if hasattr(encoder, name):
            setattr(encoder, name, nn.Identity())
    encoder.emb_fc = None
    return encoder


@dataclass(frozen=True)
class ClipData(FusionData):
    """The same clips and modalities, but batches hold what the encoders eat instead of their tokens.

    own: modality -> its encoder's parameters. pixels: what a video model sees.
    """

    own: Mapping[str, GestureConfig] = field(default_factory=dict)
    pixels: RgbClips | None = None

    @classmethod
    def of(cls, config: FusionConfig, data: FusionData) -> ClipData:
        own = encoder_configs(config)
        films = next((one for one in own.values() if one.on_rgb), None)
        return cls(data.clips, data.modalities, data.encoders, own, None if films is None else open_data(films).pixels)

    def loader(self, clips: ClipSet, config: FusionConfig, train: bool = False) -> DataLoader:
        """Batches of `ClipDataset`, of the clips that have a modality; as `token_loader` otherwise."""
        clips, config = with_tokens(clips, self.modalities), config.resolved()
        return DataLoader(
            ClipDataset(clips, self, config, train), config.batch_size, shuffle=train, num_workers=config.workers,
            generator=torch.Generator() if train else None, drop_last=train and len(clips) > config.batch_size,
            pin_memory=torch.cuda.is_available(),
        )  # fmt: skip

    def inputs(self, batch: dict[str, Any], train: bool = False) -> Inputs:
        """Encoders' inputs, masks and presence, name -> (N, ...), (N, L) and (N,) bool, on the batch's device.

        train: random views, of all streams of a skeleton the same; their masks are those of the views. A clip whose view shows
        nobody at all counts whole.
        """
        seed = int(torch.randint(2**31, (1,))) if train else 0
        clips, mask = {}, dict(batch["mask"])
        for name, own in self.own.items():
            clips[name] = self._view(batch["views"][name], own, seed, train)
            if train and own.on_graph:
                joints = self._view(batch["views"][name], replace(own, stream="joint"), seed, train)
                mask[name] = shown_tokens(joints, *self.modalities[name].grid)
        if train:
            nothing = ~torch.stack([mask[name].any(1) & here for name, here in batch["present"].items()]).any(0)
            mask = {name: shown | nothing[:, None] for name, shown in mask.items()}
        return clips, mask, batch["present"]

    def _view(self, view: dict[str, Tensor], own: GestureConfig, seed: int, train: bool) -> Tensor:
        generator = torch.Generator().manual_seed(seed) if train else None
        return represent(view, self.clips.topology, replace(own, flip=0.0), own.test_size, train=train, generator=generator)


def shown_tokens(joints: Tensor, steps: int, places: int) -> Tensor:
    """Which tokens stand for a frame with a joint: a graph network's input (N, C, T, V, M) -> (N, steps * places) bool.

    Frames are divided among the steps as by `graphs.tokens.shown_steps`.
    """
    frames = joints.ne(0).flatten(3).any(3).any(1)  # (N, T); a missing joint is 0 in every channel
    step = np.concatenate([np.full(len(part), k) for k, part in enumerate(np.array_split(np.arange(frames.shape[1]), steps))])
    counts = frames.new_zeros(len(frames), steps, dtype=torch.int32).index_add_(
        1, torch.as_tensor(step, device=frames.device), frames.int()
    )
    return counts.gt(0).repeat_interleave(places, 1)


class ClipDataset(Dataset):
    """Clips of every modality as their encoders' own data sets sample them; every draw follows from (seed, epoch, position).

    An item: {views {name: the fields of `loading.make_dataset`}, mask {name: (L,) bool}, present {name: bool}, label, index}; in
    training one coin a clip decides whether all of its modalities are mirrored.
    """

    def __init__(self, clips: ClipSet, data: ClipData, config: FusionConfig, train: bool) -> None:
        self.ids, self.train, self.seed, self.epoch = clips.index["clip_id"].tolist(), train, config.seed, 0
        self.own, self.modalities, self.mirror = data.own, data.modalities, list(clips.topology.mirror)
        self.labels = training_labels(clips, config) if train else clips.labels
        self.parts = {
            name: make_dataset(clips, replace(own, seed=config.seed), train, pixels=data.pixels) for name, own in data.own.items()
        }

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict[str, Any]:
        coin = np.random.default_rng([self.seed, self.epoch, i, 1]).random() if self.train else 1.0
        item: dict[str, Any] = {"views": {}, "mask": {}, "present": {}}
        for name, part in self.parts.items():
            part.epoch = self.epoch
            view = {key: value for key, value in part[i].items() if key not in ("label", "index")}
            if self.train:
                view = _mirrored(view, coin < self.own[name].flip, self.mirror)
            item["views"][name] = view
            item["mask"][name], item["present"][name] = _counted(self.modalities[name], self.ids[i])
        return item | {"label": self.labels[i], "index": np.int64(i)}


def _mirrored(view: dict[str, np.ndarray], flip: bool, mirror: Sequence[int]) -> dict[str, np.ndarray]:
    """The view, or its mirror image; coordinates are mirrored about x = 0, from where normalising moves them."""
    if "view" in view:
        return view | {"view": np.concatenate([[flip], view["view"][1:]]).astype(np.float32)}
    if not flip:
        return view
    sign = np.ones(view["keypoints"].shape[-1], np.float32)
    sign[0] = -1
    return {"keypoints": view["keypoints"][:, mirror] * sign, "scores": view["scores"][:, mirror]}


def _counted(modality: Modality, clip_id: str) -> tuple[np.ndarray, np.bool_]:
    """Mask and presence of a clip's test view, as `TokenDataset` gives them."""
    here = modality.has(clip_id)
    return np.full(modality.shape[0], here) & modality.shown.get(clip_id, True), np.bool_(here)


class EndToEndTask(FusionTask):
    """Encoders from their runs and the fusion from the frozen encoders' run, trained on the clips themselves.

    With encoder_lr=0 the encoders stay as they are and the fusion alone learns, from augmented clips.
    """

    def __init__(self, config: FusionConfig, data: FusionData) -> None:
        config = config.resolved()
        super().__init__(config, ClipData.of(config, data))
        runs = encoder_runs(config, data.clips.fingerprint)
        about = {
            name: {"model": run.read_json("params.json")["params"]["model"], "config": run.read_json("config.json")}
            for name, run in runs.items()
        }
        fusion, self.model = self.model, EndToEnd(about, describe(config, data), config.tokens)
        self.model.fusion = fusion  # the one whose memory the loss knows
        fusion.load_state_dict(load_fusion(frozen_run(config, data.clips.fingerprint)).state_dict())
        for name, run in runs.items():
            kept = self.model.encoders[name].state_dict().keys()
            self.model.encoders[name].load_state_dict({k: v for k, v in load_encoder(run).state_dict().items() if k in kept})
        self.model.encoders.requires_grad_(config.encoder_lr > 0)
        self.lr_shares = {"encoders.": config.encoder_lr}


def load_fusion(run: Run) -> StudyModel:
    """The network of a finished run of 04_fusion, in eval mode: the fusion alone, for tokens, or with finetune `EndToEnd`."""
    params = run.read_json("params.json")["params"]
    network = EndToEnd if params.get("finetune") else get_model_class(params["fusion"])
    with redirect_stdout(io.StringIO()):  # the hub tells where it reads
        return network.from_pretrained(run.folder).eval()


def frozen_run(config: FusionConfig, fingerprint: str) -> Run:
    """The finished run of the same fusion on frozen encoders' tokens; trained now, as `migstudy run 04` would, when there is none.

    Raises RuntimeError with what a failed training said.
    """
    frozen = replace(config, finetune=False, encoder_lr=None, run_dir="").resolved()
    run = run_of(TASK, frozen.to_dict(), fingerprint)
    if not run.done:
        usual = FusionConfig(profile=frozen.profile).resolved().to_dict()
        options = {"profile": frozen.profile} | {k: str(v) for k, v in frozen.to_dict().items() if v != usual[k]}
        with own_runner():
            failed = run_cells(TASK, [options], 1, "fusion of frozen encoders")
        if failed:
            raise RuntimeError(f"the fusion {options} could not be trained: {failed[0][1]}")
    return run
