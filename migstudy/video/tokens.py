"""The tokens of RGB clips from a trained video model: taken from the cache, or extracted once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from migstudy.clips import ClipSet
from migstudy.models import StudyModel
from migstudy.token_cache import TokenStore, describe_encoder, extract_tokens, store_folder
from migstudy.video.rgb import RgbClips
from migstudy.video.views import RgbDataset, as_model_input


def rgb_tokens(
    model: StudyModel, clips: ClipSet, pixels: RgbClips, clip_len: int, size: int, *, dtype: str = "float16",
    batch_size: int = 16, workers: int = 0, cache: str | Path | None = None, progress: bool = True,
) -> TokenStore:  # fmt: skip
    """Every clip's tokens (L, C), of one test view: uniform frames of the whole square, unmirrored.

    clip_len, size: frames and px that the model was trained on. The store belongs to these weights, this configuration,
    these pixels and these two numbers; a change of any is another store, and what was interrupted goes on.
    """
    ids = clips.index["clip_id"].tolist()
    encoder = describe_encoder(model, pixels.fingerprint, {"clip_len": clip_len, "size": size, **asdict(pixels.spec)})
    folder = store_folder(encoder, dtype, cache)
    if (folder / "DONE").is_file():
        store = TokenStore.open(folder, encoder)
        if not store.missing(ids):
            return store
    device = next(model.parameters()).device
    with TokenStore.resume(folder, encoder, _shape(model, clip_len, size, device), dtype) as store:
        left = clips.select(clip_id=store.missing(ids))
        if len(left) == 0:
            return store.finish()
        loader = DataLoader(RgbDataset(left, pixels, clip_len, train=False), batch_size, num_workers=workers)

        def batches() -> Iterator[tuple[list[str], Tensor]]:
            for batch in loader:
                on_device = {key: batch[key].to(device) for key in ("pixels", "view")}
                yield [left.index["clip_id"][i] for i in batch["index"].tolist()], as_model_input(on_device, clip_len, size)

        return extract_tokens(model, batches(), store, progress=progress, total=len(loader))


def _shape(model: StudyModel, clip_len: int, size: int, device: torch.device) -> tuple[int, int]:
    was_training = model.training
    with torch.inference_mode():
        tokens = model.eval()(torch.zeros(1, 3, clip_len, size, size, device=device)).tokens
    model.train(was_training)
    return tuple(tokens.shape[1:])
