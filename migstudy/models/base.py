"""What every model shares: its output, its weights on disk and on the Hub, and the average over test views."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn


class ModelOutput(NamedTuple):
    """logits (N, K); features (N, C), pooled, before dropout; tokens (N, L, C), before pooling; embedding or None.

    embedding (N, E) is the projection of the features into the space of the label embeddings. reconstruction_error (N,): mean
    squared error of the input as rebuilt by a model that does so, to be minimised beside the classification.
    """

    logits: Tensor
    features: Tensor
    tokens: Tensor
    embedding: Tensor | None = None
    reconstruction_error: Tensor | None = None


class StudyModel(nn.Module, PyTorchModelHubMixin, library_name="migstudy"):
    """A network with `from_pretrained`, `save_pretrained`, `push_to_hub` (safetensors) and the original's weights.

    Subclasses keep the original's state-dict keys, so that published checkpoints load without a converter.
    """

    def load_published_weights(
        self, source: str | os.PathLike | Mapping[str, Tensor], skip: Sequence[str] = ()
    ) -> Self:
        """Load an original author's checkpoint: a .pth or .safetensors file, or a state dict.

        Unwraps {'state_dict': ...} and a `module.` prefix. skip: key prefixes left as they are, such as "cls_head."
        to start from another label set. Never unpickles code. Raises ValueError listing every missing, unexpected or
        misshapen key, before anything is changed. Returns self.
        """
        name = "the given state dict" if isinstance(source, Mapping) else str(source)
        theirs = source if isinstance(source, Mapping) else _read_checkpoint(Path(source))
        theirs = theirs.get("state_dict", theirs)
        theirs = {key.removeprefix("module."): value for key, value in theirs.items()}
        ours = self.state_dict()
        skip = tuple(skip)
        wanted = {key for key in ours if not key.startswith(skip)}
        given = {key: value for key, value in theirs.items() if not key.startswith(skip)}
        problems = {
            "missing": sorted(wanted - given.keys()),
            "unexpected": sorted(given.keys() - wanted),
            "misshapen": [
                f"{key} {tuple(given[key].shape)} instead of {tuple(ours[key].shape)}"
                for key in sorted(wanted & given.keys())
                if given[key].shape != ours[key].shape
            ],
        }
        if any(problems.values()):
            lists = "; ".join(f"{len(keys)} {what}: {', '.join(keys)}" for what, keys in problems.items() if keys)
            raise ValueError(
                f"{name} does not fit this {type(self).__name__}: {lists}. "
                "Build the model with the checkpoint's configuration, or leave parts out with skip=('cls_head.',)"
            )
        self.load_state_dict(given, strict=not skip)
        return self

    @classmethod
    def _from_pretrained(cls, *, strict: bool = True, **arguments) -> Self:
        # the mixin's own default would load half a checkpoint without a word
        return super()._from_pretrained(strict=strict, **arguments)


def average_views(logits: Tensor) -> Tensor:
    """Probabilities of a clip from the logits of its views, (N, views, K) -> (N, K): softmax first, then the mean.

    Source: average_clips="prob" of PYSKL and mmaction2.
    """
    return logits.softmax(dim=-1).mean(dim=-2)


def _read_checkpoint(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors, and unpickling it could run foreign code ({str(error).splitlines()[0]}). "
            "Where you trust it, open it once with its own toolbox and save its state_dict alone"
        ) from error
