"""Training paper A's network: what loading costs, how near the arithmetic's limit, how much memory, how long at full size.

    python benchmarks/training.py [--profile quick] [--clips 2000] [--steps 8] [--batch 16] [--video]

Clips are simulated, saved and memory-mapped as those of a release. An epoch with loading and one from batches already on the
device take turns; on a GPU their difference is the device's idle share. The limit is the rate of a large matrix product in the
same precision, in the same run. `--profile paper --clips 12893` on a GPU measures the published size; `--video` adds the rate at
which MViTv2-S makes tokens. Ratios say more than times where other work shares the machine.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
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
from migstudy.simulate import PROFILES, simulate_clips
from migstudy.train import GestureTask

PUBLISHED_EPOCHS, PUBLISHED_CLIPS = 24, 12_893


def main(profile: str, clips: int, steps: int, batch: int | None, precision: str | None, repeats: int, video: bool) -> None:
    config = GestureConfig(profile=profile, batch_size=batch, precision=precision, workers=None).resolved()
    if not torch.cuda.is_available():
        config = replace(config, workers=0, precision=precision or "no")
    with tempfile.TemporaryDirectory() as folder:
        data = _data(config, clips, folder)
        base = _resident()
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
            start = time.perf_counter()
            for _, one in zip(range(steps), batches, strict=False):
                step(one)
            _wait()
            return time.perf_counter() - start

        fit.start_epoch(task.loader, config.seed, 0)
        kept = [send_to_device(one, accelerator.device) for _, one in zip(range(steps), loader, strict=False)]
        step(kept[0])
        with FlopCounterMode(display=False) as counter:
            step(kept[0])
        loading = memory = float("inf")
        for turn in range(repeats):
            fit.start_epoch(task.loader, config.seed, turn)
            loading, memory = min(loading, epoch(loader)), min(memory, epoch(kept))
        rate, limit = steps * config.batch_size / loading, _matrix_rate(accelerator)
        measured: dict[str, dict[str, float]] = {
            "a training step": {
                "clips a second": rate, "with loading / from memory": loading / memory,
                "share of the matrix rate": counter.get_total_flops() * steps / memory / limit,
                f"hours, {PUBLISHED_EPOCHS} epochs of {PUBLISHED_CLIPS}": PUBLISHED_EPOCHS * PUBLISHED_CLIPS / rate / 3600,
                "memory beyond the start, MB": _resident() - base,
            }
        }  # fmt: skip
        if torch.cuda.is_available():
            measured["a training step"]["device memory, MB"] = torch.cuda.max_memory_allocated() / 2**20
    if video:
        measured["MViTv2-S tokens"] = _video_rate(accelerator, limit, batch or 8, repeats)
    show(measured)
    settings = {"clips": clips, "steps": steps, "threads": torch.get_num_threads(), "config": config.to_dict()}
    print(save_result("training", measured, settings))


def _data(config: GestureConfig, clips: int, folder: str) -> GestureData:
    """That many training clips and a few to validate on, memory-mapped."""
    simulation = PROFILES["paper" if config.profile == "paper" else "quick"]
    share = max(clips / simulation.clips[0], 0.02)
    people = tuple(max(1, min(n, round(n * share))) for n in simulation.subjects)
    few = replace(simulation, protocol=False, clips=(clips, 32, 32), min_clips=(0, 0, 0), subjects=people)
    whole = simulate_clips(simulation if clips >= simulation.clips[0] and simulation.protocol else few, workers=-1)
    whole = ClipSet.load(whole.save(f"{folder}/clips"))
    shown = whole.to_topology(config.topology)
    parts = [shown.select(split=split) for split in ("train", "val", "test")]
    return GestureData(whole, *parts)


def _matrix_rate(accelerator: Accelerator, size: int = 2048) -> float:
    """Floating-point operations a second of a matrix product in the training's precision."""
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(accelerator.mixed_precision, torch.float32)
    size *= 4 if torch.cuda.is_available() else 1
    a = torch.randn(size, size, device=accelerator.device, dtype=kind)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        a @ a
        _wait()
        times.append(time.perf_counter() - start)
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", choices=("smoke", "quick", "paper"), default="quick")
    parser.add_argument("--clips", type=int, default=1000, help="training clips to simulate")
    parser.add_argument("--steps", type=int, default=8, help="training steps to time")
    parser.add_argument("--batch", type=int, help="clips a step; default: the profile's")
    parser.add_argument("--precision", choices=("no", "bf16", "fp16"))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--video", action="store_true", help="also MViTv2-S")
    given = parser.parse_args()
    main(**vars(given))
