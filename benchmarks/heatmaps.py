"""Heatmaps beside PYSKL's GeneratePoseTarget: time, peak memory and largest difference, CPU.

    python benchmarks/heatmaps.py [--pyskl CHECKOUT] [--frames 48] [--batch 8] [--threads 2] [--repeats 5] [--clock cpu] [--views]

Joints and limbs of skeletons of 17, 22 and 41 joints on 56 x 56 px; `--views`: also the whole test protocol, 10 clips and their
mirror images at 64 x 64 px. We render a batch in one call and PYSKL clip by clip, so both are given a clip. Each side is a
process of its own, started as its users start it (`sides.py`): ours by `migstudy run`, with memory kept by the allocator.
`times zeros` is our time over that of `torch.zeros` of the same size, below which no volume can be written. `patches` is what the
sparse stem takes instead of a volume of joints; it is all that a training of ours on a CPU makes of them.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
import pyskl_files
import torch
from record import save_result, show
from sides import Side, in_turns

from migstudy.heatmaps import joint_patches, render_views
from migstudy.runs.execute import ALLOCATOR
from migstudy.skeletons import get_topology
from migstudy.temporal import uniform_segments

SKELETONS = ("coco17", "imigue22", "imigue41")
SAMPLE = 90  # frames of the clip that the test protocol samples from


def skeletons(batch: int, frames: int, topology, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Bodies that fill an image and move: (N, T, V, 2) px and scores (N, T, V). Limbs measure about an eighth of the image."""
    joints = topology.num_joints
    rng = np.random.default_rng(joints)
    rest = np.full((batch, 1, joints, 2), size / 2)
    for a, b in [*topology.edges] * 2:  # edges come in no particular order: the second round reaches all
        rest[:, :, b] = rest[:, :, a] + rng.normal(0, 0.09 * size, (batch, 1, 2))
    rest = rest.clip(0.05 * size, 0.95 * size)
    steps = rng.normal(0, 0.02 * size, (batch, frames, joints, 2)).cumsum(1) / np.sqrt(frames)
    return (rest + steps).astype(np.float32), rng.uniform(0.2, 1, (batch, frames, joints)).astype(np.float32)


def cases(views: bool):
    """name, topology, edges or None, size, test clips."""
    for size, clips in [(56, 1)] + [(64, 10)] * views:
        for name in SKELETONS if clips == 1 else SKELETONS[1:]:
            topology = get_topology(name)
            for kind in ("joints", "limbs"):
                edges = list(topology.edges) if kind == "limbs" else None
                what = f"{topology.num_joints} {kind}" + (f", {clips} clips and mirrored" if clips > 1 else "")
                yield what, topology, edges, size, clips


def inputs(topology, size: int, clips: int, batch: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    if clips == 1:
        return skeletons(batch, frames, topology, size)
    keypoints, scores = skeletons(1, SAMPLE, topology, size)
    return uniform_segments(keypoints, scores, frames, clips)


def ours(batch: int, frames: int, views: bool):
    works = {}
    for what, topology, edges, size, clips in cases(views):
        keypoints, scores = map(torch.from_numpy, inputs(topology, size, clips, batch, frames))
        mirror = None if clips == 1 else topology.limb_mirror if edges else topology.mirror
        works[what] = partial(render_views, keypoints, scores, size, num_clips=clips, edges=edges, permutation=mirror)
        if not edges:
            works[f"{what}: patches"] = partial(joint_patches, keypoints, scores, size, num_clips=clips, permutation=mirror)
        works[f"{what}: zeros"] = partial(torch.zeros, works[what]().shape)
    return works


def theirs(root: str, batch: int, frames: int, views: bool):
    def run(target, keypoints, scores, size):
        return target(dict(keypoint=keypoints[None].copy(), keypoint_score=scores[None], img_shape=(size, size)))["imgs"]

    works = {}
    for what, topology, edges, size, clips in cases(views):
        keypoints, scores = inputs(topology, size, clips, batch, frames)
        pairs = [(a, b) for a, b in enumerate(topology.limb_mirror if edges else topology.mirror) if a < b]
        left, right = ([p[i] for p in pairs] for i in (0, 1))
        target = pyskl_files.pose_target(
            root, with_kp=not edges, with_limb=bool(edges), skeletons=edges or [], double=clips > 1, left_kp=left, right_kp=right,
            left_limb=left, right_limb=right,
        )  # fmt: skip
        works[what] = partial(run, target, keypoints[0], scores[0], size)
    return works


def difference(root: str, batch: int, frames: int, views: bool) -> dict[str, float]:
    """Largest absolute difference of the two in each case."""
    found, mine = {}, ours(batch, frames, views)
    for what, run in theirs(root, batch, frames, views).items():
        volume = mine[what]()[0]  # (views, C, T, H, W)
        found[what] = float(np.abs(volume.transpose(1, 2).flatten(0, 1).numpy() - run()).max())
    return found


def main(root: str, batch: int, frames: int, views: bool, threads: int, repeats: int, clock: str) -> None:
    sides = {"ours": Side(ours, (batch, frames, views), ALLOCATOR), "ours, own start": Side(ours, (batch, frames, views))}
    if root:
        sides["PYSKL"] = Side(theirs, (root, batch, frames, views))
    errors = difference(root, 1, frames, views) if root else {}
    measured = {}
    timed = in_turns(sides, threads, repeats, clock)
    for what, row in timed.items():
        if ": " in what:
            continue
        share = 1 if "clips" in what else batch
        for side in ("ours", "ours, own start"):
            row[side] /= share
        zeros = timed[f"{what}: zeros"]["ours"] / share
        measured[what] = {f"{side} ms": row[side] * 1e3 for side in sides} | {"times zeros": row["ours"] / zeros}
        if f"{what}: patches" in timed:
            measured[what]["patches ms"] = timed[f"{what}: patches"]["ours"] / share * 1e3
        if root:
            measured[what] |= {"times PYSKL": row["PYSKL"] / row["ours"], "largest difference": errors[what]}
            if "patches ms" in measured[what]:
                measured[what]["patches times PYSKL"] = row["PYSKL"] * 1e3 / measured[what]["patches ms"]
    show(measured)
    settings = {"batch": batch, "frames": frames, "views": views, "threads": threads, "repeats": repeats, "clock": clock}
    print(save_result("heatmaps", measured, settings | {"pyskl": bool(root)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pyskl", default="", metavar="CHECKOUT", help="measure PYSKL's too, from this checkout")
    parser.add_argument("--batch", type=int, default=8, help="clips rendered by one call of ours")
    parser.add_argument("--frames", type=int, default=48, help="frames a clip")
    parser.add_argument("--views", action="store_true", help="also 10 test clips and their mirror images (1.5 GB)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: processor time, where others compute")
    given = parser.parse_args()
    main(given.pyskl, given.batch, given.frames, given.views, given.threads, given.repeats, given.clock)
