"""Classification and reconstruction learned together, in one stage, as in arXiv 2507.14867."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from migstudy.losses import GestureLoss

if TYPE_CHECKING:
    from migstudy.models import ModelOutput


class HybridLoss(nn.Module):
    """classification + weight x mean over clips of the reconstruction's error; `loss(output, labels)` -> (total, parts).

    classification: any module (output, labels) -> (loss, parts), a plain cross entropy by default. weight: >= 0, of the order
    of 1 for errors in units of the data's own motion (HypergraphTransformer's motion_rms); the paper's is not known to us.
    parts: those of the classification and, detached, 'reconstruction', before its weight. Raises ValueError for an output of a
    model that reconstructs nothing.
    """

    def __init__(self, classification: nn.Module | None = None, weight: float = 1.0) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight {weight} of the reconstruction must not be negative")
        self.classification = GestureLoss() if classification is None else classification
        self.weight = float(weight)

    def forward(self, output: ModelOutput, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        if output.reconstruction_error is None:
            raise ValueError("this model reconstructs nothing; train it by classification alone, or use hypergraph_transformer")
        total, parts = self.classification(output, labels)
        error = output.reconstruction_error.mean()
        return total + self.weight * error, {**parts, "reconstruction": error.detach()}
