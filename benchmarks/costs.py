"""What drawing, training and testing cost against joints, frames, batch, test views and stored clips, CPU; and their memory.

    python benchmarks/costs.py [--pyskl CHECKOUT] [--threads 1] [--repeats 5] [--clock cpu]

One axis at a time, around 41 joints. Ours beside the dense way (the volume drawn, and convolved as a whole), beside PYSKL's, and
beside what bounds them: clearing the memory that is drawn on, and the matrix products of all convolutions but the stem. Each side
and axis is a process of its own, as its users start it (`sides.py`), whose peak of resident memory is read after each point, the
smallest first. The network is PoseC3D-R50 on few frames, so that all of it takes minutes. Stored clips are loaded memory-mapped,
as a study loads them, and beside that from arrays read whole, as from a pickle. `costs_figure.py` draws the result.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import posec3d
import protocol
import pyskl_files
import torch
from heatmaps import skeletons
from record import save_result
from sides import Side, in_turns
from tqdm import tqdm

from migstudy.clips import Clip, ClipSet
from migstudy.config.gesture import GestureConfig
from migstudy.heatmaps import joint_patches, render_joints, render_limbs
from migstudy.loading import GestureDataset
from migstudy.runs.execute import ALLOCATOR
from migstudy.skeletons import get_topology

SIZE, JOINTS = posec3d.SIZE, (17, 22, 41)
DRAWING = {"joints": JOINTS, "frames": (12, 24, 48, 96), "batch": (1, 2, 4, 8)}
NETWORK = {"joints": JOINTS, "frames": (8, 16, 32), "batch": (1, 2, 4)}
VIEWS, VIEW_FRAMES = (2, 5, 10), 4  # test clips, each also mirrored
STORED, PICKED, CLIP_FRAMES = (800, 3200, 12800), 64, 60
DRAWN = dict(joints=41, frames=48, batch=1)
TRAINED = dict(joints=41, frames=16, batch=1)


def points(axes: dict[str, tuple[int, ...]], fixed: dict[str, int], axis: str) -> Iterator[tuple[int, dict[str, int]]]:
    return ((value, {**fixed, axis: value}) for value in axes[axis])


def our_drawing(axis: str):
    works = {"nothing": _nothing}
    for value, (keypoints, scores, topology) in _bodies(axis):
        given = [torch.from_numpy(keypoints), torch.from_numpy(scores)]
        works |= {
            f"{value} joints": partial(render_joints, *given, SIZE),
            f"{value} limbs": partial(render_limbs, *given, list(topology.edges), SIZE),
            f"{value} patches": partial(joint_patches, *given, SIZE),
            f"{value} clearing": partial(torch.zeros, render_joints(*given, SIZE).shape),
        }
    return works


def their_drawing(root: str, axis: str):
    def run(target, keypoints, scores):
        for k, s in zip(keypoints, scores, strict=True):
            target(dict(keypoint=k[None].copy(), keypoint_score=s[None], img_shape=(SIZE, SIZE)))

    works = {"nothing": _nothing}
    for value, (keypoints, scores, topology) in _bodies(axis):
        for limb in (False, True):
            target = pyskl_files.pose_target(root, with_kp=not limb, with_limb=limb, skeletons=list(topology.edges))
            works[f"{value} {'limbs' if limb else 'joints'}"] = partial(run, target, keypoints, scores)
    return works


def _bodies(axis: str):
    for value, size in points(DRAWING, DRAWN, axis):
        topology = get_topology(posec3d.TOPOLOGIES[size["joints"]])
        yield value, (*skeletons(size["batch"], size["frames"], topology, SIZE), topology)


def our_step(axis: str, dense: bool = False):
    works = {"nothing": _nothing}
    for value, size in points(NETWORK, TRAINED, axis):
        made = posec3d.ours(**size, dense=dense)
        works[f"{value} step"] = made["step"]
        if not dense:
            works[f"{value} floor"] = made["floor without the stem"]
    return works


def their_step(root: str, axis: str):
    works = {f"{value} step": posec3d.theirs(root, **size)["step"] for value, size in points(NETWORK, TRAINED, axis)}
    return {"nothing": _nothing} | works


def our_views(dense: bool = False):
    if dense:
        from migstudy.models import posec3d as network

        network.pays = lambda *_: False  # patches are drawn, and convolved as any volume
    return _views(lambda clips: protocol.ours(clips, VIEW_FRAMES, ("joint",)))


def their_views(root: str):
    return _views(lambda clips: protocol.theirs(root, clips, VIEW_FRAMES, ("joint",)))


def _views(make):
    works = {"nothing": _nothing}
    for clips in VIEWS:
        made = make(clips)
        works |= {f"{2 * clips} test": made["joint"], f"{2 * clips} rendering": made["joint, rendering"]}
    return works


def stored(folder: str, mapped: bool):
    return {"nothing": _nothing} | {f"{count} loading": partial(_load, f"{folder}/{count}", mapped) for count in STORED}


def _load(folder: str, mapped: bool) -> None:
    """Open a data set and make one batch of it."""
    clips = ClipSet.load(folder)
    if not mapped:
        clips = ClipSet(np.array(clips.keypoints), np.array(clips.scores), *(getattr(clips, name) for name in
                        ("index", "topology", "class_names", "fps", "source", "units", "joints")))  # fmt: skip
    data = GestureDataset(clips, GestureConfig(profile="quick"), train=True)
    for i in np.random.default_rng(0).integers(len(data), size=PICKED):
        data[int(i)]


def write_clips(folder: str) -> None:
    """Data sets of so many clips, the same hundred over and over."""
    topology, names = get_topology("imigue41"), [str(i) for i in range(posec3d.CLASSES)]
    keypoints, scores = skeletons(100, CLIP_FRAMES, topology, 720)
    for count in STORED:
        clips = (Clip(str(i), keypoints[i % 100], scores[i % 100], i % len(names), image_size=(720, 720)) for i in range(count))
        ClipSet.from_clips(clips, topology, names, 25, "random bodies").save(f"{folder}/{count}")


def _nothing() -> None: ...


def main(root: str, threads: int, repeats: int, clock: str) -> None:
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_clips(folder)
        jobs: dict[tuple[str, str], dict[str, Side]] = {}
        for axis in DRAWING:
            jobs["drawing", axis] = {"ours": Side(our_drawing, (axis,), ALLOCATOR), "PYSKL": Side(their_drawing, (root, axis))}
        for axis in NETWORK:
            kinds = {"ours": Side(our_step, (axis,), ALLOCATOR), "dense": Side(our_step, (axis, True), ALLOCATOR)}
            jobs["network", axis] = kinds | {"PYSKL": Side(their_step, (root, axis))}
        kinds = {"ours": Side(our_views, (), ALLOCATOR), "dense": Side(our_views, (True,), ALLOCATOR)}
        jobs["network", "views"] = kinds | {"PYSKL": Side(their_views, (root,))}
        kinds = {"ours": Side(stored, (folder, True), ALLOCATOR), "read whole": Side(stored, (folder, False), ALLOCATOR)}
        jobs["data", "clips"] = kinds
        for (kind, axis), sides in tqdm(jobs.items()):
            able = {name: side for name, side in sides.items() if root or name != "PYSKL"}
            measured[f"{kind}: {axis}"] = _curves(in_turns(able, threads, repeats, clock))
    settings = {
        "threads": threads, "repeats": repeats, "clock": clock, "pyskl": bool(root), "drawn": DRAWN, "trained": TRAINED,
        "view frames": VIEW_FRAMES, "picked clips": PICKED, "frames of a stored clip": CLIP_FRAMES, "size": SIZE,
    }  # fmt: skip
    print(save_result("costs", measured, settings))


def _curves(timed: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Side and work -> its points: value, least time and quartiles in ms, peak memory beyond the process's start in MB."""
    start, found = timed.pop("nothing"), {}
    for work, row in timed.items():
        value, _, what = work.partition(" ")
        for side in (name for name in row if f"{name} quartiles" in row):
            points = found.setdefault(f"{side} {what}", {"value": [], "least ms": [], "quartiles ms": [], "MB": []})
            ms = 3e3 if what == "floor" else 1e3  # a step has the forward's products, and as many for each of its gradients
            points["value"].append(int(value))
            points["least ms"].append(row[side] * ms)
            points["quartiles ms"].append([seconds * ms for seconds in row[f"{side} quartiles"]])
            points["MB"].append(row[f"{side} MB"] - start[f"{side} MB"])
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pyskl", default="", metavar="CHECKOUT", help="measure PYSKL's too, from this checkout")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="cpu", help="cpu: processor time, where others compute")
    given = parser.parse_args()
    main(given.pyskl, given.threads, given.repeats, given.clock)
