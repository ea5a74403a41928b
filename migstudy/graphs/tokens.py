"""The tokens of skeleton clips from a trained graph network, and which of them stand for frames that show somebody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from migstudy.clips import ClipSet
from migstudy.config.gesture import GestureConfig
from migstudy.loading import GestureDataset, eval_loader, represent
from migstudy.models import ModelOutput
from migstudy.models.graph_network import GraphNetwork
from migstudy.token_cache import TokenStore, describe_encoder, extract_tokens, store_folder

TokenKind = Literal["frame", "joint"]


def graph_tokens(
    model: GraphNetwork, parts: Sequence[ClipSet], config: GestureConfig, fingerprint: str, kind: TokenKind = "frame", *,
    dtype: str = "float16", cache: str | Path | None = None, progress: bool = True,
) -> TokenStore:  # fmt: skip
    """Every clip's tokens (L, C) of one test view, unmirrored: L = T' frames, or T' frames x V joints, time-major.

    parts: sets of clips in the model's topology, of data with that fingerprint; config: the model's own. The store belongs
    to these weights, these data and this way of sampling; what was interrupted goes on.
    """
    config = config.resolved()
    sampling = {name: getattr(config, name) for name in ("clip_len", "sampling", "stream", "center", "topology")}
    encoder = describe_encoder(model, fingerprint, {**sampling, "tokens": kind})
    folder = store_folder(encoder, dtype, cache)
    ids = [clip_id for part in parts for clip_id in part.index["clip_id"]]
    if (folder / "DONE").is_file():
        store = TokenStore.open(folder, encoder)
        if not store.missing(ids):
            return store
    network = FrameTokens(model) if kind == "frame" else model
    with TokenStore.resume(folder, encoder, _shape(network, model, config), dtype) as store:
        left = [part.select(clip_id=store.missing(part.index["clip_id"])) for part in parts]
        loaders = [(part, eval_loader(part, config)) for part in left if len(part)]

        def batches() -> Iterator[tuple[list[str], Tensor]]:
            device = next(model.parameters()).device
            for part, loader in loaders:
                for batch in loader:
                    on_device = {key: batch[key].to(device) for key in ("keypoints", "scores")}
                    inputs = represent(on_device, part.topology, config, config.test_size)
                    yield [part.index["clip_id"][i] for i in batch["index"].tolist()], inputs

        return extract_tokens(network, batches(), store, progress=progress, total=sum(len(loader) for _, loader in loaders))


class FrameTokens(nn.Module):
    """A graph network whose tokens are its frames."""

    def __init__(self, model: GraphNetwork) -> None:
        super().__init__()
        self.model = model

    def forward(self, coordinates: Tensor) -> ModelOutput:
        output = self.model(coordinates)
        return output._replace(tokens=self.model.frame_tokens(output.tokens))


def shown_steps(clips: ClipSet, config: GestureConfig, steps: int) -> dict[str, np.ndarray]:
    """clip id -> (steps,) bool, which of the steps of its test view hold a frame with a joint; only clips with a step without.

    Frames of padding and frames on which the detector found nobody hold no joint.
    """
    dataset, shown = GestureDataset(clips, config.resolved(), train=False), {}
    for i, clip in enumerate(clips):
        if dataset.config.sampling != "zero_pad" and (clip.scores > 0).any(axis=1).all():
            continue  # sampling between frames that all show somebody
        frames = (dataset[i]["scores"] > 0).any(axis=1)
        own = np.array([part.any() for part in np.array_split(frames, steps)])
        if not own.all():
            shown[clip.clip_id] = own
    return shown


def _shape(network: nn.Module, model: GraphNetwork, config: GestureConfig) -> tuple[int, int]:
    was_training, device = model.training, next(model.parameters()).device
    blank = torch.zeros(1, model.in_channels, config.clip_len, model.topology.num_joints, 1, device=device)
    with torch.inference_mode():
        tokens = network.eval()(blank).tokens
    network.train(was_training)
    return tuple(tokens.shape[1:])
