"""PoseC3D-R50 beside PYSKL's: training step, forward, stem, and the matrix products below which no dense forward gets, CPU.

    python benchmarks/posec3d.py [--pyskl CHECKOUT] [--batch 2] [--frames 48] [--joints 41] [--threads 2] [--clock cpu]

At the published size with --batch 8; --no-dense then, where memory is scarce: three processes keep 22 GB, and a machine short
of free memory slows PYSKL, which asks for its anew. Each side is a process of its own, started as its users start it
(`sides.py`): ours by `migstudy run` (memory kept by the allocator, channels_last_3d, joints given as coordinates to the sparse
stem), PYSKL's plainly, on volumes that its GeneratePoseTarget draws. A step is forward, cross-entropy, backward and SGD.
`dense` is ours with the volume drawn and convolved as a whole, `floor` the products of all convolutions as matrix products of
the same shapes, 4096 rows at a time. bfloat16 is ours alone: PYSKL has it for GPUs only, so its float32 step stands beside it.
"""

from __future__ import annotations

import argparse
from functools import partial

import pyskl_files
import torch
from heatmaps import skeletons
from record import save_result, show
from sides import Side, in_turns
from torch import nn
from torch.nn import functional as F

from migstudy.heatmaps import joint_patches, render_joints
from migstudy.models import create_model
from migstudy.models.sparse_stem import sparse_conv
from migstudy.runs.execute import ALLOCATOR
from migstudy.skeletons import get_topology

CLASSES, SIZE, ROWS = 32, 56, 4096
TOPOLOGIES = {17: "coco17", 22: "imigue22", 41: "imigue41"}


def inputs(batch: int, frames: int, joints: int):
    keypoints, scores = skeletons(batch, frames, get_topology(TOPOLOGIES[joints]), SIZE)
    return torch.from_numpy(keypoints), torch.from_numpy(scores), torch.arange(batch) % CLASSES


def step(model: nn.Module, optimizer: torch.optim.Optimizer, make, labels, half: bool = False) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        answer = model(make())
    F.cross_entropy(getattr(answer, "logits", answer).float(), labels).backward()
    optimizer.step()
    optimizer.zero_grad()


def forward(model: nn.Module, make, half: bool = False) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        model(make())


def ours(batch: int, frames: int, joints: int, dense: bool = False):
    torch.manual_seed(0)
    keypoints, scores, labels = inputs(batch, frames, joints)
    make = partial(render_joints if dense else joint_patches, keypoints, scores, SIZE)
    model, frozen = (create_model("posec3d", in_channels=joints, num_classes=CLASSES) for _ in range(2))
    model.to(memory_format=torch.channels_last_3d)
    frozen.to(memory_format=torch.channels_last_3d).eval()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, 0.9, fused=True)  # as `fit` makes it
    works = {"step": partial(step, model, optimizer, make, labels), "forward": partial(forward, frozen, make)}
    works |= {f"{name}, bf16": partial(work, half=True) for name, work in works.items()}
    conv = model.backbone.conv1.conv
    works["stem, forward and gradient"] = partial(_stem, conv, make, sparse=not dense)
    if not dense:
        works |= {f"floor {name}": work for name, work in floors(batch, frames, joints).items()}
    return works


def _stem(conv: nn.Conv3d, make, sparse: bool) -> None:
    out = sparse_conv(make(), conv.weight) if sparse else conv(make())
    torch.autograd.grad(out, conv.weight, torch.ones_like(out))


def floors(batch: int, frames: int, joints: int):
    """The products of a forward: of all convolutions, and of all but the stem."""
    shapes = []
    with torch.device("meta"):
        model = create_model("posec3d", in_channels=joints, num_classes=CLASSES)
        volume = torch.empty(1, joints, frames, SIZE, SIZE)

    def note(module: nn.Conv3d, _, out: torch.Tensor) -> None:
        shapes.append((batch * out[0, 0].numel(), module.weight[0].numel(), len(module.weight)))

    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(note)
    model(volume)  # with gradients: else norms are folded in, and modules not called
    return {"of all": partial(_products, shapes), "without the stem": partial(_products, shapes[1:])}


def _products(shapes: list[tuple[int, int, int]]) -> None:
    for rows, depth, columns in shapes:
        a, b, out = torch.ones(ROWS, depth), torch.ones(depth, columns), torch.empty(ROWS, columns)
        for first in range(0, rows, ROWS):
            some = min(ROWS, rows - first)
            torch.mm(a[:some], b, out=out[:some])


def theirs(root: str, batch: int, frames: int, joints: int):
    torch.manual_seed(0)
    keypoints, scores, labels = inputs(batch, frames, joints)
    target = pyskl_files.pose_target(root, with_kp=True, with_limb=False)

    def drawn() -> torch.Tensor:  # GeneratePoseTarget, FormatShape, ToTensor, collate
        sizes = dict(img_shape=(SIZE, SIZE))
        clips = [target(dict(keypoint=k[None].copy(), keypoint_score=s[None], **sizes))["imgs"]
                 for k, s in zip(keypoints.numpy(), scores.numpy(), strict=True)]  # fmt: skip
        return torch.stack([torch.from_numpy(clip).transpose(0, 1) for clip in clips])

    volume = drawn()
    model, frozen = (pyskl_files.recognizer(root, joints, CLASSES) for _ in range(2))
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, 0.9)
    frozen.eval()
    return {
        "step": partial(step, model, optimizer, drawn, labels),
        "step without drawing": partial(step, model, optimizer, lambda: volume, labels),
        "forward": partial(forward, frozen, lambda: volume),
    }


def main(root: str, batch: int, frames: int, joints: int, threads: int, repeats: int, clock: str, dense: bool) -> None:
    size = (batch, frames, joints)
    sides = {"ours": Side(ours, size, ALLOCATOR)}
    if dense:
        sides["dense"] = Side(ours, (*size, True), ALLOCATOR)
    if root:
        sides["PYSKL"] = Side(theirs, (root, *size))
    timed = in_turns(sides, threads, repeats, clock)
    measured = {}
    for work, row in timed.items():
        measured[work] = {f"{side} s": row[side] for side in sides if side in row}
        measured[work] |= {f"{side} MB": row[f"{side} MB"] for side in sides if side in row}
        if "dense" in row:
            measured[work]["times dense"] = row["dense"] / row["ours"]
        reference = timed[work.removesuffix(", bf16")].get("PYSKL")
        if reference and "ours" in row:
            measured[work]["times PYSKL"] = reference / row["ours"]
        if work == "forward":
            measured[work] |= {f"floor {what} / ours": timed[f"floor {what}"]["ours"] / row["ours"]
                               for what in ("of all", "without the stem")}  # fmt: skip
    show(measured)
    settings = {"batch": batch, "frames": frames, "joints": joints, "threads": threads, "repeats": repeats, "clock": clock}
    print(save_result("posec3d", measured, settings | {"pyskl": bool(root)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pyskl", default="", metavar="CHECKOUT", help="measure PYSKL's too, from this checkout")
    parser.add_argument("--batch", type=int, default=2, help="clips; 8 at the published size")
    parser.add_argument("--frames", type=int, default=48, help="frames a clip")
    parser.add_argument("--joints", type=int, default=41, choices=sorted(TOPOLOGIES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: processor time, where others compute")
    parser.add_argument("--dense", action=argparse.BooleanOptionalAction, default=True, help="measure the dense stem too")
    given = parser.parse_args()
    main(given.pyskl, given.batch, given.frames, given.joints, given.threads, given.repeats, given.clock, given.dense)
