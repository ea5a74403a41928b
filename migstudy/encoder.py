"""Which encoder made a clip's tokens: a hash of its weights, its configuration, the data and the sampling."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from migstudy.datasets.content_cache import key_of

if TYPE_CHECKING:
    from migstudy.models import StudyModel


@dataclass(frozen=True)
class Encoder:
    """What decides the tokens of a clip: `describe_encoder` makes it.

    model: class name; weights, config, data: hex digests of the state dict, the constructor's arguments and the data's
    fingerprint; sampling: of how frames and pixels or joints are chosen.
    """

    model: str
    weights: str
    config: str
    data: str
    sampling: str

    @property
    def hash(self) -> str:
        return key_of(asdict(self))

    def differences(self, other: Encoder) -> list[str]:
        return [name for name, value in asdict(self).items() if value != getattr(other, name)]


def describe_encoder(model: StudyModel, data: str, sampling: Mapping[str, Any]) -> Encoder:
    """The encoder of a model on a data set; wherever the weights lie (device, memory format), it is the same.

    data: the fingerprint of what the model is shown (`ClipSet.fingerprint`, `RgbClips.fingerprint`). sampling: every
    setting that chooses frames or pixels, as plain values (clip_len, views, size, ...).
    """
    import torch

    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    config = getattr(model, "_hub_mixin_config", None) or {}
    name = type(model).__name__
    return Encoder(name, digest.hexdigest()[:40], key_of(name, _plain(config)), key_of(data), key_of(_plain(sampling)))


def _plain(value: Any) -> Any:
    """The same as JSON would hold it, so that tuple and list, and a model from disk and a fresh one, agree."""
    return json.loads(json.dumps(value, sort_keys=True, default=str))
