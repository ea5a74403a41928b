"""The first convolution of a heatmap network, from joints' coordinates: the same numbers without drawing or reading a heatmap.

A joint lights at most 5 x 5 pixels of its channel (sigma 0.6), so that a 7 x 7 kernel over V channels meets almost only zeros.
Here each patch meets its own channel's kernel and the products are added where they fall: about a two-hundredth of the arithmetic
at 56 x 56 px. Exact up to the order of sums. Our own; it relies on patches being separable (`heatmaps.JointPatches`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from migstudy.heatmaps import JointPatches

_PIECES = 16  # that the gradient's sum is cut into, however many threads there are: its rounding stays the same


def pays(conv: nn.Conv3d, patches: JointPatches) -> bool:
    """Whether `sparse_conv` stands in for drawing and `conv`.

    On a CPU, for a kernel 1 x k x k with its usual padding, no gradient to the coordinates, and patches that cover at most an
    eighth of the image; that share is ours, its gain was measured at 56 x 56 px and in the quick profile.
    """
    (depth, *kernel), (step, *strides) = conv.kernel_size, conv.stride
    standard = (
        depth == step == 1 and kernel[0] == kernel[1] and strides[0] == strides[1] and conv.groups == 1 and conv.bias is None
        and conv.padding == (0, kernel[0] // 2, kernel[0] // 2) and conv.dilation == (1, 1, 1) and kernel[0] % 2
    )  # fmt: skip
    learned = torch.is_grad_enabled() and (patches.rows.requires_grad or patches.columns.requires_grad)
    small = 8 * patches.rows.shape[-1] * patches.columns.shape[-1] <= patches.size[0] * patches.size[1]
    plain = conv.weight.dtype == torch.float32 and not torch.compiler.is_compiling()
    return conv.weight.device.type == "cpu" and bool(standard) and plain and small and not learned


def sparse_conv(patches: JointPatches, weight: Tensor, stride: int = 1, bias: Tensor | None = None) -> Tensor:
    """conv3d(patches.draw(), weight, stride=(1, stride, stride), padding=(0, k // 2, k // 2)) on a CPU.

    weight (C, V, 1, k, k) float32, k odd; its gradient is given, that of patches and bias (C,) is not. Returns (N, C, T, H', W')
    in channels_last_3d, float32, or bfloat16 where autocast asks for it: the sums are float32 either way.
    """
    half = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return _SparseConv.apply(weight, bias, *patches[:3], patches.size, stride, half)


class _SparseConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, bias, corner, rows, columns, size, stride, half):
        from migstudy.compiled import in_threads
        from migstudy.models import sparse_kernels

        # (N, V, T, ...) -> (N T, V, ...)
        arrays = tuple(p.detach().transpose(1, 2).flatten(0, 1).contiguous().numpy() for p in (corner, rows, columns))
        kernel, channels, (batch, _, frames) = weight.shape[-1], len(weight), rows.shape[:3]
        height, width = ((side + 2 * (kernel // 2) - kernel) // stride + 1 for side in size)
        arranged = arrange(weight.detach().float(), stride).numpy()
        out = torch.empty((batch, frames, height, width, channels), dtype=torch.bfloat16 if half else torch.float32)
        ground = (torch.zeros(channels) if bias is None else bias.detach().float()).repeat(width).numpy()
        planes, halves = _planes(out)

        def work(first: int, last: int) -> None:
            drawn = planes if planes is not None else _scratch(height, width * channels)
            sparse_kernels.forward(drawn, halves, *arrays, arranged, ground, (height, width), stride, first, last)

        in_threads(work, batch * frames)
        ctx.arrays, ctx.stride, ctx.shape, ctx.size = arrays, stride, weight.shape, (height, width)
        return out.permute(0, 4, 1, 2, 3)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        from migstudy.compiled import in_threads
        from migstudy.models import sparse_kernels

        height, width = ctx.size
        channels, joints, _, kernel, _ = ctx.shape
        gradient = gradient.permute(0, 2, 3, 4, 1).contiguous()
        planes, halves = _planes(gradient)
        jobs = gradient.shape[0] * gradient.shape[1]
        pieces = max(1, min(_PIECES, jobs))
        sums = torch.zeros((pieces, *arranged_shape(joints, kernel, ctx.stride, channels)))

        def work(first: int, last: int) -> None:
            read = planes if planes is not None else _scratch(height, width * channels)
            # the piece that begins here: see in_threads' cuts
            piece = -(-first * pieces // jobs)
            sparse_kernels.backward(
                read, halves, *ctx.arrays, sums[piece].numpy(), (height, width), ctx.stride, first, last
            )  # fmt: skip

        in_threads(work, jobs, pieces)
        return disarrange(sums.sum(0), kernel, ctx.stride), *[None] * 7


def arrange(weight: Tensor, stride: int) -> Tensor:
    """(C, V, 1, k, k) as the kernels read it, (V, k, s, J, C): residue kx mod s, then taps by falling kx."""
    channels, joints, _, kernel, _ = weight.shape
    arranged = weight.new_zeros(arranged_shape(joints, kernel, stride, channels))
    arranged[:, :, *_taps(kernel, stride)] = weight[:, :, 0].permute(1, 2, 3, 0)
    return arranged


def disarrange(arranged: Tensor, kernel: int, stride: int) -> Tensor:
    """The inverse of `arrange`."""
    return arranged[:, :, *_taps(kernel, stride)].permute(3, 0, 1, 2)[:, :, None].contiguous()


def arranged_shape(joints: int, kernel: int, stride: int, channels: int) -> tuple[int, ...]:
    return joints, kernel, stride, -(-kernel // stride), channels


def _taps(kernel: int, stride: int) -> tuple[Tensor, Tensor]:
    across = torch.arange(kernel)
    residue = across % stride
    count = (kernel - residue + stride - 1).div(stride, rounding_mode="floor")
    return residue, count - 1 - across.div(stride, rounding_mode="floor")


def _planes(volume: Tensor):
    """(N, T, H, W, C) as what the kernels take: float32 planes, or None, and bfloat16 as uint16, or an empty array."""
    flat = volume.flatten(0, 1)
    if volume.dtype == torch.bfloat16:
        return None, flat.flatten(1).view(torch.uint16).numpy()
    return flat.float().flatten(2).numpy(), torch.empty((0, 0), dtype=torch.uint16).numpy()


def _scratch(height: int, row: int):
    return torch.empty((1, height, row)).numpy()
