"""Training paper A's network: what loading costs, how near the arithmetic's limit, how much memory, how long at full size.

    python benchmarks/training.py [--profile quick] [--clips 2000] [--steps 8] [--batch 16] [--clock cpu] [--video]

Clips are simulated by a process of its own, saved and memory-mapped as those of a release. A part of an epoch (`--steps`) with
loading and one from batches already on the device take turns; on a GPU their difference is the device's idle share. The limit
is the rate of a large matrix product in the same precision, in the same run. Memory is the peak of what is resident beyond what
it was with everything imported, after every clip has been loaded once; `mapped` are pages of files, libraries among them, which
the system takes back as it needs them. `--profile paper --clips 12893` on a GPU measures the published size; `--video` adds the
rate at which MViTv2-S makes tokens. Started as `migstudy run` starts a training. Ratios say more than times where other work
shares the machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from record import save_result, show
from torch.utils.flop_counter import FlopCounterMode

from migstudy import fit
from migstudy.clips import ClipSet
from migstudy.config.gesture import GestureConfig
from migstudy.data import GestureData
from migstudy.models import create_model
from migstudy.runs.execute import ALLOCATOR
from migstudy.simulate import PROFILES, simulate_clips
from migstudy.train import GestureTask

PUBLISHED_EPOCHS, PUBLISHED_CLIPS = 24, 12_893


def main(
    profile: str, clips: int, steps: int, batch: int | None, precision: str | None, repeats: int, threads: int, clock: str,
    video: bool,
) -> None:  # fmt: skip
    base, now = _resident(), time.process_time if clock == "cpu" else time.perf_counter
    config = GestureConfig(profile=profile, batch_size=batch, precision=precision, threads=threads).resolved()
    if not torch.cuda.is_available():
        config = replace(config, workers=0, precision=precision or "no")
    with tempfile.TemporaryDirectory() as folder:
        data = _data(config, clips, folder)
        fit.prepare(config)
        task = GestureTask(config, data)
        accelerator = Accelerator(mixed_precision=config.precision)
        optimizer = fit.make_optimizer(config, task.model, task.lr_shares)
        model, optimizer, loader = accelerator.prepare(task.model, optimizer, task.loader)
        model.train()
        steps = min(steps, len(loader))

        def step(one: dict[str, Any]) -> None:
            loss, _ = task.criterion(task.forward(model, one), one["label"])
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()

        def epoch(batches) -> float:
            start = now()
            for _, one in zip(range(steps), batches, strict=False):
                step(one)
            _wait()
            return now() - start

        def in_turns() -> tuple[float, float]:
            """Where nothing is loaded ahead the two take turns step by step: medians, times the steps."""
            batches, taken = iter(loader), []
            for one in kept:
                start = now()
                step(next(batches))
                middle = now()
                step(one)
                taken.append((middle - start, now() - middle))
            loading, memory = (statistics.median(times) * steps for times in zip(*taken, strict=True))
            return loading, memory

        fit.start_epoch(task.loader, config.seed, 0)
        kept = [send_to_device(one, accelerator.device) for _, one in zip(range(steps), loader, strict=False)]
        step(kept[0])
        with FlopCounterMode(display=False) as counter:
            step(kept[0])
        start, pairs = now(), []
        for _ in loader:  # every clip's pages, as after an epoch
            pass
        alone = now() - start
        for turn in range(repeats):
            fit.start_epoch(task.loader, config.seed, turn)
            pairs.append(in_turns() if config.workers == 0 else (epoch(loader), epoch(kept)))
        loading, memory = map(min, zip(*pairs, strict=True))
        rate, limit = steps * config.batch_size / loading, _matrix_rate(accelerator, now)
        measured: dict[str, dict[str, float]] = {
            "a training step": {
                "clips a second": rate,
                "with loading / from memory": statistics.median(pair[0] / pair[1] for pair in pairs),
                "loading alone, ms a clip": alone / len(data.train) * 1e3,
                "share of the matrix rate": counter.get_total_flops() * steps / memory / limit,
                f"hours, {PUBLISHED_EPOCHS} epochs of {PUBLISHED_CLIPS}": PUBLISHED_EPOCHS * PUBLISHED_CLIPS / rate / 3600,
                "memory beyond torch, MB": _resident() - base, "mapped, MB": _mapped(), "torch alone, MB": base,
            }
        }  # fmt: skip
        if torch.cuda.is_available():
            measured["a training step"]["device memory, MB"] = torch.cuda.max_memory_allocated() / 2**20
    if video:
        measured["MViTv2-S tokens"] = _video_rate(accelerator, limit, batch or 8, repeats)
    show(measured)
    settings = {"clips": clips, "steps": steps, "of an epoch's": len(loader), "repeats": repeats, "clock": clock,
                "threads": torch.get_num_threads(), "config": config.to_dict()}  # fmt: skip
    print(save_result("training", measured, settings))


def _data(config: GestureConfig, clips: int, folder: str) -> GestureData:
    """That many training clips and a few to validate on, memory-mapped; what simulates them leaves no memory behind."""
    subprocess.run([sys.executable, __file__, "--simulate", config.profile, str(clips), f"{folder}/clips"], check=True)
    whole = ClipSet.load(f"{folder}/clips")
    shown = whole.to_topology(config.topology)
    parts = [shown.select(split=split) for split in ("train", "val", "test")]
    return GestureData(whole, *parts)


def _simulate(profile: str, clips: int, folder: str) -> None:
    simulation = PROFILES["paper" if profile == "paper" else "quick"]
    share = max(clips / simulation.clips[0], 0.02)
    people = tuple(max(1, min(n, round(n * share))) for n in simulation.subjects)
    few = replace(simulation, protocol=False, clips=(clips, 32, 32), min_clips=(0, 0, 0), subjects=people)
    whole = simulate_clips(simulation if clips >= simulation.clips[0] and simulation.protocol else few, workers=-1)
    whole.save(folder)


def _matrix_rate(accelerator: Accelerator, now: Callable[[], float], size: int = 2048) -> float:
    """Floating-point operations a second of a matrix product in the training's precision."""
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision, torch.float32)
    size *= 4 if torch.cuda.is_available() else 1
    a = torch.randn(size, size, device=accelerator.device, dtype=kind)
    times = []
    for _ in range(6):
        start = now()
        a @ a
        _wait()
        times.append(now() - start)
    return 2 * size**3 / min(times)


@torch.no_grad()
def _video_rate(accelerator: Accelerator, limit: float, batch: int, repeats: int) -> dict[str, float]:
    """MViTv2-S at its published size on 16 x 224 x 224 px, forward, tokens out."""
    model = create_model("mvit").to(accelerator.device).eval()
    pictures = torch.randn(batch, 3, 16, 224, 224, device=accelerator.device)
    best = float("inf")
    with accelerator.autocast(), FlopCounterMode(display=False) as counter:
        model(pictures)
    for _ in range(repeats):
        _wait()
        start = time.perf_counter()
        with accelerator.autocast():
            model(pictures)
        _wait()
        best = min(best, time.perf_counter() - start)
    return {"clips a second": batch / best, "share of the matrix rate": counter.get_total_flops() / best / limit}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _resident() -> float:
    """Largest resident memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _mapped() -> float:
    """Resident pages of memory-mapped files now, MB, libraries among them; 0 where the system does not tell."""
    try:
        with open("/proc/self/status") as status:
            return sum(float(line.split()[1]) / 1024 for line in status if line.startswith("RssFile"))
    except OSError:
        return 0.0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--simulate"]:
        _simulate(sys.argv[2], int(sys.argv[3]), sys.argv[4])
        raise SystemExit
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", choices=("smoke", "quick", "paper"), default="quick")
    parser.add_argument("--clips", type=int, default=1000, help="training clips to simulate")
    parser.add_argument("--steps", type=int, default=8, help="training steps to time")
    parser.add_argument("--batch", type=int, help="clips a step; default: the profile's")
    parser.add_argument("--precision", choices=("no", "bf16", "fp16"))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: processor time, where others compute")
    parser.add_argument("--video", action="store_true", help="also MViTv2-S")
    given = parser.parse_args()
    wanted = ALLOCATOR | ({"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"} if given.clock == "cpu" else {})
    if missing := {name: value for name, value in wanted.items() if name not in os.environ}:  # read when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **missing})
    main(**vars(given))
