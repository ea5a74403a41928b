"""MViTv2-S: a transformer over video patches whose attention pools space while its channels grow.

Li et al., "MViTv2: Improved Multiscale Vision Transformers for Classification and Detection", arXiv 2112.01526, section 4
and table 1 (the video model). Blocks and key names are torchvision's, whose arithmetic equals the original's; mmaction2's
checkpoints are renamed on loading.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.video import MViT as Torchvision
from torchvision.models.video import MViT_V2_S_Weights
from torchvision.models.video.mvit import MSBlockConfig

from migstudy.models.base import ModelOutput, StudyModel, _read_checkpoint

PATCH_STRIDE = (2, 4, 4)
_MOTION_GAIN = 3.0  # differences of neighbouring frames are that much smaller than the pictures
KINETICS = "kinetics"
PRESETS: dict[str, dict[str, Any]] = {
    "mvit_v2_s": {},
    "small": {
        "frames": 8, "size": 64, "base_channels": 32, "num_blocks": 4, "downscale_blocks": (1, 3), "kv_stride": 4,
        "dropout": 0.3, "drop_path": 0.1, "init_std": None,
    },
}  # fmt: skip
"""Arguments of `MViT`: the published model (16 x 224 x 224), and one for two cores (8 x 64 x 64; ours)."""

_FROM_MMACTION2 = [
    (r"^backbone\.(?=.)", ""),
    (r"^cls_token$", "pos_encoding.class_token"),
    (r"^patch_embed\.projection\.", "conv_proj."),
    (r"^(blocks\.\d+\.attn)\.proj\.", r"\1.project.0."),
    (r"^(blocks\.\d+\.attn)\.pool_([qkv])\.", r"\1.pool_\2.pool."),
    (r"^(blocks\.\d+\.attn)\.norm_([qkv])\.", r"\1.pool_\2.norm_act.0."),
    (r"^(blocks\.\d+)\.mlp\.fc1\.", r"\1.mlp.0."),
    (r"^(blocks\.\d+)\.mlp\.fc2\.", r"\1.mlp.3."),
    (r"^(blocks\.\d+)\.proj\.", r"\1.project."),
    (r"^norm\d+\.", "norm."),
    (r"^cls_head\.(fc_cls\.)?", lambda match: "head.1." if match[1] else "head."),
]


class MViT(StudyModel):
    """RGB clips (N, 3, T, H, W), normalised -> class logits; features = the class token, tokens = (N, 1 + T'H'W', C).

    The class token comes first; T' = T / 2, H' = H / (4 * 2 ** len(downscale_blocks)); both come after the last norm. frames,
    size: the clip that the position tables are made for (size: px, or (H, W)); other clips pass too, the tables being
    interpolated. base_channels, num_heads: of the first block; both double at each of `downscale_blocks`, where height and
    width halve. kv_stride: pooling of keys and values in space at the first block, halved at each of them. dropout: before
    the classifier only. drop_path: stochastic depth of the last block, rising to it from 0. init_std: of the linear layers'
    first weights, as published; None: Xavier's, without which a narrow model learns much slower. motion: look at differences
    of neighbouring frames ("RGB difference", Wang et al., "Temporal Segment Networks", arXiv 1608.00859), in which a
    background that stands still is gone. embedding_dim: adds the head that predicts the label's text vector. The defaults are
    MViTv2-S (34.5 M parameters, 16 frames at stride 4, dropout and drop_path as torchvision's); `PRESETS` holds smaller ones.
    """

    def __init__(
        self,
        num_classes: int = 32,
        frames: int = 16,
        size: int | Sequence[int] = 224,
        base_channels: int = 96,
        num_blocks: int = 16,
        num_heads: int = 1,
        downscale_blocks: Sequence[int] = (1, 3, 14),
        kv_stride: int = 8,
        dropout: float = 0.5,
        drop_path: float = 0.2,
        init_std: float | None = 0.02,
        motion: bool = False,
        embedding_dim: int | None = None,
    ) -> None:
        super().__init__()
        height, width = (size, size) if isinstance(size, int) else size
        least = 4 * 2 ** len(downscale_blocks)
        if num_blocks < 2 or not all(0 < block < num_blocks for block in downscale_blocks):
            raise ValueError(f"downscale_blocks {tuple(downscale_blocks)} must lie in 1..num_blocks - 1 = {num_blocks - 1}")
        if frames < PATCH_STRIDE[0] or min(height, width) < least:
            raise ValueError(
                f"{frames} frames of {height} x {width} px leave no token; {len(downscale_blocks)} downscale_blocks need"
                f" {PATCH_STRIDE[0]} frames of {least} x {least} px at least"
            )
        network = Torchvision(
            spatial_size=(height, width), temporal_size=frames,
            block_setting=_blocks(base_channels, num_blocks, num_heads, frozenset(downscale_blocks), kv_stride),
            residual_pool=True, residual_with_cls_embed=False, rel_pos_embed=True, proj_after_attn=True,
            stochastic_depth_prob=drop_path, num_classes=num_classes, patch_embed_stride=PATCH_STRIDE,
        )  # fmt: skip
        if init_std != 0.02:
            for layer in network.modules():
                if isinstance(layer, nn.Linear) and init_std is None:
                    nn.init.xavier_uniform_(layer.weight)
                elif isinstance(layer, nn.Linear):
                    nn.init.trunc_normal_(layer.weight, std=init_std)
        self.conv_proj, self.pos_encoding = network.conv_proj, network.pos_encoding
        self.blocks, self.norm = network.blocks, network.norm
        self.head = nn.Sequential(nn.Dropout(dropout), network.head[1])  # torchvision's drops in place: tokens with it
        self.motion = motion
        self.out_channels = network.head[1].in_features
        self.emb_fc = nn.Linear(self.out_channels, embedding_dim) if embedding_dim else None
        if self.emb_fc is not None:
            nn.init.trunc_normal_(self.emb_fc.weight, std=0.02)
            nn.init.zeros_(self.emb_fc.bias)

    def forward(self, clip: Tensor) -> ModelOutput:
        """Raises ValueError when the clip is not (N, 3, T, H, W)."""
        if clip.ndim != 5 or clip.shape[1] != 3:
            raise ValueError(f"MViT takes RGB clips (N, 3, T, H, W), not {tuple(clip.shape)}")
        if self.motion:
            clip = F.pad(_MOTION_GAIN * clip.diff(dim=2), (0, 0, 0, 0, 1, 0))
        patches = self.conv_proj(clip)
        thw = tuple(patches.shape[2:])
        x = self.pos_encoding(patches.flatten(2).transpose(1, 2))
        for block in self.blocks:
            x, thw = block(x, thw)
        tokens = self.norm(x)
        features = tokens[:, 0]
        embedding = None if self.emb_fc is None else self.emb_fc(features)
        return ModelOutput(self.head(features), features, tokens, embedding)

    def load_published_weights(
        self, source: str | os.PathLike | Mapping[str, Tensor], skip: Sequence[str] = ()
    ) -> Self:
        """Load weights under torchvision's or mmaction2's names; see `StudyModel.load_published_weights`.

        source: a file, a state dict, or "kinetics" to download torchvision's Kinetics-400 weights (138 MB), which raises
        ConnectionError with the address when that fails. skip=("head.",) starts from another label set. Position tables
        made for clips of another size are interpolated linearly, as the forward pass would.
        """
        if isinstance(source, Mapping):
            name, theirs = "the given state dict", source
        elif source == KINETICS:
            name, theirs = "torchvision's Kinetics-400 checkpoint", _download()
        else:
            name, theirs = str(source), _read_checkpoint(Path(source))
        theirs = {key.removeprefix("module."): value for key, value in theirs.get("state_dict", theirs).items()}
        if "conv_proj.weight" not in theirs:
            theirs = {_renamed(key): value for key, value in theirs.items()}
        fitted = {key: _fitted(key, value, own) for key, value in theirs.items() if (own := self._own(key)) is not None}
        try:
            return super().load_published_weights({**theirs, **fitted}, [_renamed(prefix) for prefix in skip])
        except ValueError as error:
            raise ValueError(str(error).replace("the given state dict", name, 1).replace("cls_head.", "head.")) from None

    def _own(self, key: str) -> Tensor | None:
        module, _, leaf = key.rpartition(".")
        try:
            return getattr(self.get_submodule(module), leaf, None)
        except AttributeError:
            return None


def _blocks(
    channels: int, num_blocks: int, heads: int, downscale: frozenset[int], kv_stride: int
) -> list[MSBlockConfig]:
    """The blocks' settings, as table 1 of the paper grows them."""
    blocks = []
    for i in range(num_blocks):
        grow = 2 if i in downscale else 1
        heads, kv_stride = heads * grow, max(kv_stride // grow, 1)
        blocks.append(
            MSBlockConfig(
                num_heads=heads, input_channels=channels, output_channels=channels * grow,
                kernel_q=[3, 3, 3], kernel_kv=[3, 3, 3], stride_q=[1, grow, grow], stride_kv=[1, kv_stride, kv_stride],
            )
        )  # fmt: skip
        channels *= grow
    return blocks


def _renamed(key: str) -> str:
    for pattern, ours in _FROM_MMACTION2:
        key = re.sub(pattern, ours, key)
    return key


def _fitted(key: str, value: Tensor, own: Tensor) -> Tensor:
    """A position table of another length interpolated to ours; mmaction2's class token without its leading axes."""
    if key.endswith("class_token"):
        return value.reshape(-1)
    if ".rel_pos_" in key and len(value) != len(own) and value.shape[1:] == own.shape[1:]:
        return F.interpolate(value.float().T[None], size=len(own), mode="linear")[0].T.to(value.dtype)
    return value


def _download() -> Mapping[str, Tensor]:
    weights = MViT_V2_S_Weights.KINETICS400_V1
    try:
        return weights.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:
        raise ConnectionError(
            f"the Kinetics weights of MViTv2-S cannot be downloaded ({error}). Fetch {weights.url} where there is a"
            " network, and give the file's path instead of 'kinetics'"
        ) from error
