"""PYSKL's own files, run from a checkout of github.com/kennymckormick/pyskl beside ours; nothing of them is kept here.

Its packages need mmcv, which has no build for current PyTorch. Only the files named here are executed, and what they import is
stood in for by the least that they use: registries that register nothing, and mmcv's ConvModule (convolution, norm, ReLU in
place, in that order). Weights do not matter for time, so mmcv's initialisers do nothing.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

HEATMAPS = "pyskl/datasets/pipelines/heatmap_related.py"
RESNET = "pyskl/models/cnns/resnet3d.py"
SLOWONLY = "pyskl/models/cnns/resnet3d_slowonly.py"


def pose_target(root: str, **options: Any):
    """Its GeneratePoseTarget(**options); raises ValueError when `root` has no such file."""
    return _load(root, HEATMAPS).GeneratePoseTarget(**options)


def recognizer(root: str, joints: int, classes: int) -> nn.Module:
    """PoseC3D as configs/posec3d/slowonly_r50_ntu60_xsub/joint.py builds it: backbone, global mean, dropout 0.5, classifier."""
    _load(root, RESNET)
    backbone = _load(root, SLOWONLY).ResNet3dSlowOnly(
        in_channels=joints, base_channels=32, num_stages=3, out_indices=(2,), stage_blocks=(4, 6, 3), conv1_stride=(1, 1),
        pool1_stride=(1, 1), inflate=(0, 1, 1), spatial_strides=(2, 2, 2), temporal_strides=(1, 1, 2),
    )  # fmt: skip
    return nn.Sequential(backbone, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(512, classes))


class _Registry:
    def register_module(self):
        return lambda cls: cls


class _ConvModule(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, bias=True, conv_cfg=None, norm_cfg=None,
                 act_cfg=None):  # fmt: skip
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        self.bn = nn.BatchNorm3d(out_channels)
        self.activate = None if act_cfg is None else nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn(self.conv(x))
        return x if self.activate is None else self.activate(x)


def _nothing(*_, **__) -> None: ...


_STANDINS: dict[str, dict[str, Any]] = {
    "mmcv": {}, "pyskl": {}, "pyskl.datasets": {}, "pyskl.datasets.pipelines": {}, "pyskl.models": {}, "pyskl.models.cnns": {},
    "mmcv.cnn": dict(ConvModule=_ConvModule, constant_init=_nothing, kaiming_init=_nothing,
                     build_activation_layer=lambda _: nn.ReLU(inplace=True)),
    "mmcv.runner": dict(_load_checkpoint=_nothing, load_checkpoint=_nothing),
    "mmcv.utils": dict(_BatchNorm=nn.modules.batchnorm._BatchNorm),
    "pyskl.utils": dict(cache_checkpoint=_nothing, get_root_logger=_nothing),
    "pyskl.datasets.builder": dict(PIPELINES=_Registry()),
    "pyskl.models.builder": dict(BACKBONES=_Registry()),
}  # fmt: skip


def _load(root: str, file: str) -> ModuleType:
    path = Path(root) / file
    if not path.is_file():
        raise ValueError(f"--pyskl {root}: no {file} there; give a checkout of github.com/kennymckormick/pyskl")
    for name, contents in _STANDINS.items():
        if name not in sys.modules:
            module = sys.modules[name] = ModuleType(name)
            module.__path__ = []
            vars(module).update(contents)
    name = file.removesuffix(".py").replace("/", ".")
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
