"""The test protocol, a clip at a time: ten test clips and their mirror images through PoseC3D-R50, beside PYSKL's, CPU.

    python benchmarks/protocol.py [--pyskl CHECKOUT] [--clips 10] [--frames 48] [--threads 2] [--repeats 3] [--clock cpu]

One recording of 90 frames and 41 joints, views of 48 frames on 64 x 64 px, both streams. Ours is what a run of the study does at
its end (`train.predict`: sampling, coordinates, the network, mean probabilities, the table of scores), PYSKL's its
GeneratePoseTarget, its network on all views at once and the mean of the probabilities. `rendering` is from sampled coordinates to
what the network takes: volumes, or patches where ours takes joints' coordinates; `drawn` is ours with volumes all the same. PYSKL
is given sampled coordinates, which spares it its pipeline until there. Each side is a process of its own, as its users start
it (`sides.py`). Before, both answer for fewer and shorter views with the same weights: the largest difference of a probability.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
import pyskl_files
import torch
from heatmaps import SAMPLE, skeletons
from record import save_result, show
from sides import Side, in_turns
from torch import nn

from migstudy.augment import eval_coordinates
from migstudy.clips import Clip, ClipSet
from migstudy.config.gesture import GestureConfig
from migstudy.loading import GestureDataset, represent
from migstudy.models import create_model
from migstudy.runs.execute import ALLOCATOR
from migstudy.scores import get_probabilities
from migstudy.skeletons import get_topology
from migstudy.temporal import uniform_segments
from migstudy.train import predict

CLASSES, SIDE, TOPOLOGY = 32, 720, get_topology("imigue41")
STREAMS = ("joint", "limb")


def recording() -> ClipSet:
    keypoints, scores = skeletons(1, SAMPLE, TOPOLOGY, SIDE)
    clip = Clip("one", keypoints[0], scores[0], 0, "video", "person", "test", image_size=(SIDE, SIDE))
    return ClipSet.from_clips([clip], TOPOLOGY, [f"class {i}" for i in range(CLASSES)], 25, "random bodies")


def settings(stream: str, clips: int, frames: int) -> GestureConfig:
    """Published size and protocol, PYSKL's sampling, one recording a batch."""
    return GestureConfig(
        profile="paper", stream=stream, sampling="uniform_segments", clip_len=frames, batch_size=clips, precision="no", workers=0
    ).resolved()  # fmt: skip


def network(stream: str) -> nn.Module:
    """Ours; its norms are as after a training, so that every branch has a part in the answer."""
    torch.manual_seed(0)
    channels = TOPOLOGY.num_joints if stream == "joint" else len(TOPOLOGY.edges)
    model = create_model("posec3d", in_channels=channels, num_classes=CLASSES)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean, 0, 0.1)
    nn.init.normal_(model.cls_head.fc_cls.weight, 0, 1)
    return model.eval()


def ours(clips: int, frames: int, streams: tuple[str, ...] = STREAMS):
    from accelerate import Accelerator

    accelerator, data, works = Accelerator(mixed_precision="no"), recording(), {}
    for stream in streams:
        config = settings(stream, clips, frames)
        model = network(stream).to(memory_format=torch.channels_last_3d)
        sample = GestureDataset(data, config, train=False, views=clips)[0]
        batch = {name: torch.from_numpy(sample[name])[None] for name in ("keypoints", "scores")}
        whole = partial(predict, model, data, config, accelerator, clips)
        views = partial(represent, batch, TOPOLOGY, config, config.test_size, True)
        works |= {stream: whole, f"{stream}, bf16": partial(_half, whole), f"{stream}, rendering": partial(views, sparse=True)}
        if stream == "joint":
            works[f"{stream}, rendering, drawn"] = views
    return works


@torch.no_grad()
def _half(work):
    with torch.autocast("cpu", torch.bfloat16):
        return work()


def theirs(root: str, clips: int, frames: int, streams: tuple[str, ...] = STREAMS):
    works, clip, size = {}, recording()[0], settings("joint", clips, frames).test_size
    sampled = uniform_segments(clip.keypoints, clip.scores, frames, clips)
    coordinates = eval_coordinates(*sampled, clip.image_size, size)
    for stream in streams:
        state = network(stream).state_dict()
        limb, channels = stream == "limb", len(state["backbone.conv1.conv.weight"][0])
        model = pyskl_files.recognizer(root, channels, CLASSES).eval()
        model.load_state_dict({k.replace("backbone.", "0.").replace("cls_head.fc_cls.", "4."): v for k, v in state.items()})
        mirror = TOPOLOGY.limb_mirror if limb else TOPOLOGY.mirror
        left, right = zip(*((a, b) for a, b in enumerate(mirror) if a < b), strict=True)
        target = pyskl_files.pose_target(
            root, with_kp=not limb, with_limb=limb, skeletons=TOPOLOGY.edges if limb else [], double=True, left_kp=left,
            right_kp=right, left_limb=left, right_limb=right,
        )  # fmt: skip
        draw = partial(_their_views, target, *coordinates, frames, size)
        works |= {stream: partial(_their_answer, model, draw), f"{stream}, rendering": draw}
        if not limb:
            works[f"{stream}, rendering, drawn"] = draw
    return works


def _their_views(target, keypoints: np.ndarray, scores: np.ndarray, frames: int, size: int) -> torch.Tensor:
    """GeneratePoseTarget, FormatShape and ToTensor: (views, C, T, H, W)."""
    volume = target(dict(keypoint=keypoints[None].copy(), keypoint_score=scores[None], img_shape=(size, size)))["imgs"]
    return torch.from_numpy(np.ascontiguousarray(volume.reshape(-1, frames, *volume.shape[1:]).transpose(0, 2, 1, 3, 4)))


@torch.no_grad()
def _their_answer(model: nn.Module, draw) -> torch.Tensor:
    return model(draw()).softmax(-1).mean(0)


def difference(root: str) -> dict[str, float]:
    """Largest difference of the two answers, with the same weights, for two clips of 16 frames and their mirror images."""
    mine, other = ours(2, 16), theirs(root, 2, 16)
    found = {}
    for stream in STREAMS:
        found[stream] = float(np.abs(get_probabilities(mine[stream]())[0] - other[stream]().numpy()).max())
    return found


def main(root: str, clips: int, frames: int, threads: int, repeats: int, clock: str) -> None:
    sides = {"ours": Side(ours, (clips, frames), ALLOCATOR)}
    if root:
        sides["PYSKL"] = Side(theirs, (root, clips, frames))
    errors = difference(root) if root else {}
    timed = in_turns(sides, threads, repeats, clock)
    measured = {}
    for work, row in timed.items():
        measured[work] = {f"{side} s": row[side] for side in sides if side in row}
        measured[work] |= {f"{side} MB": row[f"{side} MB"] for side in sides if side in row}
        reference = timed[work.removesuffix(", bf16")].get("PYSKL")
        if reference and "ours" in row:
            measured[work]["times PYSKL"] = reference / row["ours"]
        if work in errors:
            measured[work]["largest difference"] = errors[work]
    show(measured)
    size = {"clips": clips, "frames": frames, "threads": threads, "repeats": repeats, "clock": clock, "pyskl": bool(root)}
    print(save_result("protocol", measured, size))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pyskl", default="", metavar="CHECKOUT", help="measure PYSKL's too, from this checkout")
    parser.add_argument("--clips", type=int, default=10, help="test clips of the recording; each is also seen mirrored")
    parser.add_argument("--frames", type=int, default=48, help="frames a clip")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: processor time, where others compute")
    given = parser.parse_args()
    main(given.pyskl, given.clips, given.frames, given.threads, given.repeats, given.clock)
