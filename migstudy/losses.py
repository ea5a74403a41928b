"""Cross entropy and the label-embedding losses, on a model's output.

The auxiliary losses pull a projection of the pooled feature (taken before dropout) towards the vector of the clip's class.
`mse` is the form of the MiGA 2023 winner (arXiv 2307.10624): cross entropy + 20 x the mean over clips and dimensions of the
squared difference from the un-normalised GloVe vector. The 2025 paper (arXiv 2506.12848) keeps the idea but does not state
the form; `cosine` and `contrastive` are our reconstruction of what it could be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from migstudy.long_tail import LongTailLoss
    from migstudy.models import ModelOutput

# The published weight goes with un-normalised vectors (GloVe: length about 4); against unit vectors the same MSE is weak.
DEFAULT_WEIGHTS = {"none": 0.0, "mse": 20.0, "cosine": 1.0, "contrastive": 1.0}


def embedding_mse(embedding: Tensor, label_vectors: Tensor, labels: Tensor) -> Tensor:
    """Mean over clips and dimensions of (embedding - vector of the class)^2, as the 2023 winner; scalar.

    embedding (N, D), label_vectors (C, D) not normalised, labels (N,) int64. The same shapes for the two losses below.
    """
    embedding, label_vectors = _same_precision(embedding, label_vectors)
    return F.mse_loss(embedding, label_vectors[labels])


def embedding_cosine(embedding: Tensor, label_vectors: Tensor, labels: Tensor) -> Tensor:
    """Mean over clips of 1 - cos(embedding, vector of the class), in [0, 2]; scalar."""
    embedding, label_vectors = _same_precision(embedding, label_vectors)
    return (1 - F.cosine_similarity(embedding, label_vectors[labels], dim=1)).mean()


def embedding_contrastive(embedding: Tensor, label_vectors: Tensor, labels: Tensor, temperature: float = 0.07) -> Tensor:
    """InfoNCE against the class vectors: cross entropy of softmax over classes of cos(embedding, vector) / temperature.

    The candidates are all C classes, so the loss does not depend on the batch size.
    """
    embedding, label_vectors = _same_precision(embedding, label_vectors)
    cosines = F.normalize(embedding, dim=1) @ F.normalize(label_vectors, dim=1).T
    return F.cross_entropy(cosines / temperature, labels)


def class_weights(counts: Sequence[int] | np.ndarray, power: float = 0.5) -> Tensor:
    """Weights (C,) proportional to count^-power, scaled so that their mean over the training clips is 1.

    power 0 = no weighting, 1 = every class weighs the same in total. A class without clips gets the weight of one clip.
    """
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim != 1 or (counts < 0).any() or not counts.any():
        raise ValueError(f"class counts {counts.tolist()}: give one count >= 0 per class, not all zero")
    weights = np.maximum(counts, 1.0) ** -power
    return torch.from_numpy(weights * counts.sum() / (weights * counts).sum()).float()


class GestureLoss(nn.Module):
    """Cross entropy + weight x label-embedding loss; `loss(output, labels)` -> (total, parts).

    label_loss: 'none', 'mse', 'cosine' or 'contrastive'; label_vectors: (C, D) from `get_label_embeddings`, needed unless
    'none'. weight: None takes the published 20 for mse and 1 for the others. label_smoothing in [0, 1) and class_weights
    (C,) act on the cross entropy alone; long_tail takes its place. parts: detached scalars 'cross_entropy', or the loss in
    its place by name, and, where used, 'label_embedding' (before its weight). Raises ValueError for settings that do not fit
    each other and for an output without embedding.
    """

    def __init__(
        self,
        label_loss: str = "none",
        label_vectors: np.ndarray | Tensor | None = None,
        weight: float | None = None,
        temperature: float = 0.07,
        label_smoothing: float = 0.0,
        class_weights: Tensor | np.ndarray | Sequence[float] | None = None,
        long_tail: LongTailLoss | None = None,
    ):
        super().__init__()
        if label_loss not in DEFAULT_WEIGHTS:
            raise ValueError(f"unknown label_loss {label_loss!r}; choose one of {list(DEFAULT_WEIGHTS)}")
        if label_loss != "none" and label_vectors is None:
            raise ValueError(f"label_loss {label_loss!r} needs label_vectors: pass get_label_embeddings('glove', class_names)")
        if temperature <= 0 or not 0 <= label_smoothing < 1:
            raise ValueError(f"temperature {temperature} must be > 0 and label_smoothing {label_smoothing} in [0, 1)")
        if long_tail is not None and (label_smoothing or class_weights is not None):
            raise ValueError(f"loss {long_tail.name!r} takes neither label_smoothing nor class_weights")
        self.long_tail = long_tail
        self.label_loss = label_loss
        self.weight = DEFAULT_WEIGHTS[label_loss] if weight is None else float(weight)
        self.temperature = temperature
        self.label_smoothing = label_smoothing
        vectors = None if label_loss == "none" else torch.as_tensor(label_vectors)
        if vectors is not None and vectors.ndim != 2:
            raise ValueError(f"label_vectors of shape {tuple(vectors.shape)}; give (classes, dimensions)")
        weights = None if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float32)
        # settings, not learned: they follow the device but stay out of checkpoints
        self.register_buffer("label_vectors", vectors, persistent=False)
        self.register_buffer("class_weights", weights, persistent=False)

    @property
    def embedding_dim(self) -> int | None:
        """Width D that the model's embedding must have; None where no embedding is used."""
        return None if self.label_vectors is None else self.label_vectors.shape[1]

    def set_progress(self, done: float) -> None:
        """Tell which share of the training is done, in [0, 1): a loss may change on the way."""
        if self.long_tail is not None:
            self.long_tail.progress = done

    def forward(self, output: ModelOutput, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = output.logits
        if labels.device.type == "cpu" and labels.numel() and int(labels.min()) < 0:
            worst = int(labels.argmin())
            raise ValueError(f"clip {worst} of the batch has label {int(labels[worst])}; train on labelled clips only")
        if self.long_tail is not None:
            total = self.long_tail(logits, labels)
        else:
            weights = None if self.class_weights is None else self.class_weights.to(logits.dtype)
            total = F.cross_entropy(logits, labels, weight=weights, label_smoothing=self.label_smoothing)
        parts = {"cross_entropy" if self.long_tail is None else self.long_tail.name: total.detach()}
        if self.label_loss != "none":
            auxiliary = self._label_embedding_loss(output, labels)
            parts["label_embedding"] = auxiliary.detach()
            total = total + self.weight * auxiliary
        return total, parts

    def _label_embedding_loss(self, output: ModelOutput, labels: Tensor) -> Tensor:
        vectors, embedding = self.label_vectors, output.embedding
        if embedding is None or embedding.shape[1] != vectors.shape[1] or output.logits.shape[1] != len(vectors):
            got = "no embedding" if embedding is None else f"an embedding of width {embedding.shape[1]}"
            raise ValueError(
                f"the model gives {got} and {output.logits.shape[1]} classes, label_vectors are {tuple(vectors.shape)}; "
                f"make the model with {len(vectors)} classes and a label embedding of width {vectors.shape[1]}"
            )
        if self.label_loss == "mse":
            return embedding_mse(embedding, vectors, labels)
        if self.label_loss == "cosine":
            return embedding_cosine(embedding, vectors, labels)
        return embedding_contrastive(embedding, vectors, labels, self.temperature)


def _same_precision(embedding: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Half-precision embeddings are compared in float32; float64 stays float64."""
    dtype = torch.promote_types(embedding.dtype, torch.float32)
    return embedding.to(dtype), vectors.to(dtype)
