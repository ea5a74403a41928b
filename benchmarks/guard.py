"""A guard on speed for developers: ratios that a change may not make worse, measured anew beside those that are kept.

    python benchmarks/guard.py [--tolerance 1.4] [--update]

Each is our cost over that of something that no change of ours touches (clearing memory, a plain numpy drawing, matrix products)
or over the dense way, so that another machine, or a busy one, moves it little: processor time of one thread, both in turns, the
least of several. Ends with 1 and says what became slower when a ratio exceeds its kept one by the tolerance; `--update` keeps
today's, in baseline.json. A minute or two; where a ratio seems too large it is measured twice more before it counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import posec3d
import protocol
import sweep
import torch
from heatmaps import skeletons

from migstudy.config.gesture import GestureConfig
from migstudy.heatmaps import joint_patches, render_joints, render_limbs, render_views
from migstudy.loading import GestureDataset
from migstudy.paths import write_text
from migstudy.runs.execute import ALLOCATOR
from migstudy.runs.folder import environment
from migstudy.skeletons import get_topology

BASELINE = Path(__file__).parent / "baseline.json"
JOINTS, FRAMES, SIZE, SIGMA, REPEATS, AGAIN = 41, 48, posec3d.SIZE, 0.6, 7, 2
Pair = tuple[Callable[[], Any], Callable[[], Any]]


def drawing() -> dict[str, Pair]:
    topology = get_topology(posec3d.TOPOLOGIES[JOINTS])
    bodies = skeletons(1, FRAMES, topology, SIZE)
    given, edges = [torch.from_numpy(part) for part in bodies], list(topology.edges)
    views = dict(num_clips=4, permutation=topology.mirror)
    clearing, twice = (partial(torch.zeros, n, JOINTS, FRAMES, SIZE, SIZE) for n in (1, 2))
    return {
        "joints drawn / memory cleared": (partial(render_joints, *given, SIZE), clearing),
        "joints drawn / plain numpy": (partial(render_joints, *given, SIZE), partial(plain_joints, *bodies)),
        "limbs drawn / memory cleared": (partial(render_limbs, *given, edges, SIZE), clearing),
        "views drawn / memory cleared": (partial(render_views, *given, SIZE, **views), twice),
        "patches / plain numpy": (partial(joint_patches, *given, SIZE), partial(plain_joints, *bodies)),
    }


def plain_joints(keypoints: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Joint heatmaps as an outer product of Gaussians, every pixel computed: what one writes first."""
    pixels = np.arange(SIZE, dtype=np.float32)
    columns, rows = (np.exp((pixels - keypoints[..., axis, None]) ** 2 / (-2 * SIGMA**2)) for axis in (0, 1))
    return (scores[..., None] * rows)[..., None] * columns[..., None, :]


def network() -> dict[str, Pair]:
    few = (1, 8, JOINTS)
    sparse, dense = posec3d.ours(*few), posec3d.ours(*few, dense=True)
    return {
        "stem on patches / dense": (sparse["stem, forward and gradient"], dense["stem, forward and gradient"]),
        "step on patches / dense": (sparse["step"], dense["step"]),
        "forward on patches / dense": (sparse["forward"], dense["forward"]),
        "forward / its matrix products": (sparse["forward"], sparse["floor without the stem"]),
        "step / its matrix products": (sparse["step"], sparse["floor without the stem"]),
        "step in bfloat16 / float32": (sparse["step, bf16"], sparse["step"]),
    }


def loading() -> dict[str, Pair]:
    """A training batch of the quick profile, and the step that it feeds."""
    data = GestureDataset(protocol.recording(), GestureConfig(profile="quick"), train=True)
    keypoints, scores = (np.stack([data[0][name]] * 16) for name in ("keypoints", "scores"))
    plain = partial(plain_joints, keypoints, scores)
    return {"loading 16 clips / drawing them in plain numpy": (lambda: [data[0] for _ in range(16)], plain)}


def ratio(pair: Pair) -> float:
    """Least processor time of the first over that of the second, taken in turns."""
    least = [float("inf")] * 2
    for turn in range(REPEATS + 1):
        for side, work in enumerate(pair):
            start = time.process_time()
            work()
            if turn:
                least[side] = min(least[side], time.process_time() - start)
    return least[0] / least[1]


def cell() -> float:
    """Processor time of `migstudy run` of an empty notebook over that of importing torch, with all that they start."""
    with tempfile.TemporaryDirectory() as folder:
        bare = sweep.timed(Path(folder), [sys.executable, "-c", "import torch"], 1)["CPU, s"]
        return sweep.cells(Path(folder), sweep.EMPTY, 1)["CPU, s"] / bare


def child(names: list[str]) -> dict[str, float]:
    """The ratios of those names, or of all, in this process, which has the allocator's settings."""
    torch.set_num_threads(1)
    pairs = drawing() | network() | loading()
    found = {name: ratio(pair) for name, pair in pairs.items() if not names or name in names}
    name = "cell of an empty notebook / import of torch"
    return found | ({name: cell()} if not names or name in names else {})


def measured(names: list[str]) -> dict[str, float]:
    waiting = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        [sys.executable, __file__, "--child", *names], env={**os.environ, **ALLOCATOR, **waiting}, stdout=subprocess.PIPE,
        text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def worse(now: dict[str, float], kept: dict[str, float], tolerance: float) -> list[str]:
    return [name for name, value in now.items() if value > kept.get(name, float("inf")) * tolerance]


def main(tolerance: float, update: bool) -> int:
    if not update and not BASELINE.exists():
        print(f"guard: no {BASELINE.name} yet; keep today's ratios by --update")
        return 1
    now, kept = measured([]), {}
    if not update:
        baseline = json.loads(BASELINE.read_text())
        kept = baseline["ratios"]
    for _ in range(AGAIN):
        if again := [*now] if update else worse(now, kept, tolerance):
            now |= {name: min(value, now[name]) for name, value in measured(again).items()}
    for name, value in now.items():
        print(f"{name:50} {value:9.4f}" + (f"  kept {kept[name]:9.4f}" if name in kept else "  new"))
    if update:
        env = {key: value for key, value in environment().items() if key != "command"}
        write_text(BASELINE, json.dumps({"ratios": now, "environment": env}, indent=1) + "\n")
        print(f"kept in {BASELINE.name}")
        return 0
    if slower := worse(now, kept, tolerance):
        for name in slower:
            print(f"guard: {name} is {now[name] / kept[name]:.2f} times what is kept, more than {tolerance:g}", file=sys.stderr)
        where = baseline["environment"]
        print(
            f"guard: kept on {where['cpu']} at commit {where['commit'][:7]}; find what made it slower, or, if it is meant, keep"
            " today's by --update", file=sys.stderr,
        )  # fmt: skip
        return 1
    print("guard: nothing became slower")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(sys.argv[2:])))
        raise SystemExit
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tolerance", type=float, default=1.4, help="how many times its kept value a ratio may be")
    parser.add_argument("--update", action="store_true", help="keep today's ratios instead of comparing")
    given = parser.parse_args()
    raise SystemExit(main(given.tolerance, given.update))
