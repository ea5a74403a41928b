"""An LSTM over the gestures of a video: win or lose from what was recognised, in the order it happened.

After the TSM + LSTM baseline of iMiGUE (Liu et al., CVPR 2021): a recogniser's micro-gestures, one after the other, through
an LSTM. Its sizes are not published; one layer of 64 over class probabilities, duration and pause is our reconstruction.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from migstudy.models.base import ModelOutput
from migstudy.models.fusion_baselines import SingleModality
from migstudy.models.fusion_network import Stream


class GestureLSTM(SingleModality):
    """A sequence of events (N, L, D) -> ModelOutput, read first to last; see FusionNetwork for inputs and further arguments.

    `modality` names the sequence (tokens of `gesture_sequence.gesture_tokens`); tokens of others are not looked at. What is
    masked is passed over, wherever it stands. features: the state after the last event; tokens: the state after each.
    width: of the state. layers: LSTMs on top of each other, `dropout` between them.
    """

    def __init__(
        self,
        token_dims: Mapping[str, int],
        modality: str = "gesture",
        num_classes: int = 2,
        width: int = 64,
        layers: int = 1,
        dropout: float = 0.1,
        positions: bool = False,
        **options,
    ) -> None:
        if "depth" in options:
            raise ValueError("a gesture LSTM has layers, not depth")
        super().__init__(token_dims, modality, num_classes, width=width, depth=0, positions=positions, **options)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.reset_parameters()

    def combine(self, streams: dict[str, Stream], present: Tensor) -> ModelOutput:
        ((name, stream),) = streams.items()
        order = (~stream.valid).byte().argsort(dim=1, stable=True)[..., None].expand_as(stream.x)  # events first, in order
        x = stream.x.masked_fill(~stream.valid[..., None], 0)
        states, _ = self.lstm(x.gather(1, order))
        last = stream.valid.sum(1) - 1  # never -1: the slot of an absent modality counts where nothing else does
        features = states[torch.arange(len(x), device=x.device), last]
        states = torch.zeros_like(states).scatter(1, order, states)
        return self.output(features * present, {name: stream._replace(x=states)})
