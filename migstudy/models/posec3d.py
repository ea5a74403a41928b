"""PoseC3D: a SlowOnly ResNet over volumes of joint or limb heatmaps.

Duan et al., "Revisiting Skeleton-based Action Recognition", arXiv 2104.13586, table 1 and section 3.2. The defaults are
those of PYSKL, mmaction2 and the MiGA 2023 entry (arXiv 2307.10624); `embedding_dim` is the latter's second head.
Parameter names are the original's, so its checkpoints load as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from migstudy.heatmaps import JointPatches
from migstudy.models.base import ModelOutput, StudyModel
from migstudy.models.sparse_stem import pays, sparse_conv

EXPANSION = 4


class PoseC3D(StudyModel):
    """Heatmap volume (N, V or E, T, H, W), or joints as patches that need no drawing (`heatmaps.joint_patches`) -> class logits.

    in_channels: joints or limbs. base_channels, stage_blocks: width and depth; features have
    base_channels * 2 ** (stages - 1) * 4 channels (512). inflate: stages whose first 1x1x1 convolutions look at three
    frames. spatial_strides, temporal_strides: one a stage. stem_kernel, stem_stride: pixels; smaller kernels suit small
    maps. dropout: before the classifier only. embedding_dim: adds the head that predicts the label's text vector.
    """

    def __init__(
        self,
        in_channels: int = 17,
        num_classes: int = 32,
        base_channels: int = 32,
        stage_blocks: Sequence[int] = (4, 6, 3),
        inflate: Sequence[int] = (0, 1, 1),
        spatial_strides: Sequence[int] = (2, 2, 2),
        temporal_strides: Sequence[int] = (1, 1, 2),
        stem_kernel: int = 7,
        stem_stride: int = 1,
        dropout: float = 0.5,
        embedding_dim: int | None = None,
    ) -> None:
        super().__init__()
        stages = list(zip(stage_blocks, inflate, spatial_strides, temporal_strides, strict=True))
        self.backbone = SlowOnly(in_channels, base_channels, stages, stem_kernel, stem_stride)
        self.cls_head = Head(self.backbone.out_channels, num_classes, dropout, embedding_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The original's initialisation: He (fan out), the last norm of a block 0, classifiers N(0, 0.01)."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm3d):
                module.reset_parameters()
        for module in self.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.conv3.bn.weight)

    def forward(self, volume: Tensor | JointPatches) -> ModelOutput:
        return self.cls_head(self.backbone(volume))


class SlowOnly(nn.Module):
    """Stem, pooling without stride, then stages of bottlenecks: (N, V, T, H, W) -> (N, C, T', H', W')."""

    def __init__(
        self,
        in_channels: int,
        base_channels: int,
        stages: Sequence[tuple[int, int, int, int]],
        stem_kernel: int,
        stem_stride: int,
    ) -> None:
        super().__init__()
        self.conv1 = ConvNorm(in_channels, base_channels, (1, stem_kernel, stem_kernel), (1, stem_stride, stem_stride))
        self.maxpool = nn.MaxPool3d((1, 3, 3), stride=1, padding=(0, 1, 1))
        channels = base_channels
        for stage, (blocks, inflated, spatial, temporal) in enumerate(stages):
            planes = base_channels * 2**stage
            layer = nn.Sequential()
            for block in range(blocks):
                stride = (temporal, spatial, spatial) if block == 0 else (1, 1, 1)
                layer.append(Bottleneck(channels, planes, stride, bool(inflated)))
                channels = planes * EXPANSION
            self.add_module(f"layer{stage + 1}", layer)
        self.stages = len(stages)
        self.out_channels = channels

    def forward(self, volume: Tensor | JointPatches) -> Tensor:
        x = self.maxpool(self.conv1(volume).relu_())
        for stage in range(1, self.stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
        return x


class Bottleneck(nn.Module):
    """1x1x1 (3x1x1 where inflated), 1x3x3 with all of the stride, 1x1x1; a residual around them."""

    def __init__(self, in_channels: int, planes: int, stride: tuple[int, int, int], inflated: bool) -> None:
        super().__init__()
        out_channels = planes * EXPANSION
        self.conv1 = ConvNorm(in_channels, planes, (3, 1, 1) if inflated else (1, 1, 1))
        self.conv2 = ConvNorm(planes, planes, (1, 3, 3), stride)
        self.conv3 = ConvNorm(planes, out_channels, (1, 1, 1))
        changes = stride != (1, 1, 1) or in_channels != out_channels
        self.downsample = ConvNorm(in_channels, out_channels, (1, 1, 1), stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.downsample is None else self.downsample(x)
        # in place: a norm's gradient needs its input, not its output
        x = self.conv1(x).relu_()
        x = self.conv2(x).relu_()
        return self.conv3(x).add_(residual).relu_()


class ConvNorm(nn.Module):
    """Convolution that keeps the size (up to its stride), without bias, and batch norm; without gradients, both in one."""

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, int, int], stride=(1, 1, 1)) -> None:
        super().__init__()
        padding = tuple(k // 2 for k in kernel)
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm3d(out_channels)

    def forward(self, x: Tensor | JointPatches) -> Tensor:
        conv = self.conv
        if self.training or torch.is_grad_enabled():
            return self.bn(_convolve(x, conv, conv.weight))
        scale = self.bn.weight * (self.bn.running_var + self.bn.eps).rsqrt()
        return _convolve(x, conv, conv.weight * scale.view(-1, 1, 1, 1, 1), self.bn.bias - self.bn.running_mean * scale)


def _convolve(x: Tensor | JointPatches, conv: nn.Conv3d, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """conv(x) with that weight and bias, the cheaper way."""
    if isinstance(x, JointPatches):
        if pays(conv, x):
            return sparse_conv(x, weight, conv.stride[-1], bias)
        x = x.draw().to(weight.dtype)
    if _one_thread_is_slow(x, conv):
        return _as_products(x, weight, bias)
    return conv(x) if weight is conv.weight else F.conv3d(x, weight, bias, conv.stride, conv.padding)


def _one_thread_is_slow(x: Tensor, conv: nn.Conv3d) -> bool:
    """Where PyTorch leaves oneDNN for its plain kernel: one thread, batches below 16, kernels of one pixel."""
    return (
        x.device.type == "cpu" and torch.get_num_threads() == 1 and len(x) < 16 and x.dtype in (torch.float32, torch.float64)
        and conv.kernel_size[1:] == (1, 1) and conv.stride == (1, 1, 1) and not torch.is_autocast_enabled("cpu")
        and x.is_contiguous(memory_format=torch.channels_last_3d)
    )  # fmt: skip


def _as_products(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution with a kernel k x 1 x 1 as a matrix product, or, over time, as one of pictures T x (H W)."""
    x = x.permute(0, 2, 3, 4, 1)
    if weight.shape[2] == 1:
        return F.linear(x, weight.flatten(1), bias).permute(0, 4, 1, 2, 3)
    picture = F.conv2d(x.flatten(2, 3).permute(0, 3, 1, 2), weight[..., 0], bias, padding=(weight.shape[2] // 2, 0))
    return picture.permute(0, 2, 3, 1).unflatten(2, x.shape[2:4]).permute(0, 4, 1, 2, 3)


class Head(nn.Module):
    """Mean over time and space, dropout, classifier; the label embedding is read off before the dropout."""

    def __init__(self, in_channels: int, num_classes: int, dropout: float, embedding_dim: int | None) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc_cls = nn.Linear(in_channels, num_classes)
        self.emb_fc = nn.Linear(in_channels, embedding_dim) if embedding_dim else None

    def forward(self, x: Tensor) -> ModelOutput:
        tokens = x.flatten(2).transpose(1, 2)
        features = x.mean(dim=(2, 3, 4))
        embedding = None if self.emb_fc is None else self.emb_fc(features)
        return ModelOutput(self.fc_cls(self.dropout(features)), features, tokens, embedding)
