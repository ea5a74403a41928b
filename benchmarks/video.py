"""Seconds of a training step of the video model at its published size, through the same code as a run.

    python benchmarks/video.py [--batch 2] [--steps 2]

MViTv2-S on clips of 16 x 224 x 224 px, from scratch, on films of 256 lines that the simulator draws for it; on a GPU where
there is one, in the paper profile's precision, else in float32, because bfloat16 is slow where a CPU lacks it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace

import torch
from accelerate import Accelerator
from record import save_result, show

from migstudy import fit
from migstudy.config.gesture import GestureConfig
from migstudy.data import open_data
from migstudy.simulate import simulate
from migstudy.train import GestureTask


def main(batch: int, steps: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        few = dict(subjects=(1, 1, 1), videos_per_subject=1, clips=(2 * batch, 1, 1), min_clips=(0, 0, 0), fps=8.0, rgb_height=256)
        root = simulate(f"{folder}/release", "smoke", 0, workers=1, extras=("rgb",), **few)
        config = replace(GestureConfig(profile="paper", model="mvit").resolved(), data=str(root), weights="", batch_size=batch,
                         workers=0, precision=None if torch.cuda.is_available() else "no").resolved()  # fmt: skip
        fit.prepare(config)
        task = GestureTask(config, open_data(config))
        accelerator = Accelerator(mixed_precision=config.precision)
        optimizer = fit.make_optimizer(config, task.model)
        model, optimizer, batches = accelerator.prepare(task.model, optimizer, task.loader)
        fit.start_epoch(task.loader, config.seed, 0)
        times, losses = [], []
        while len(times) < steps + 1:
            for clips in batches:
                start = time.perf_counter()
                loss, _ = task.criterion(task.forward(model, clips), clips["label"])
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
                losses.append(loss.item())  # waits for the GPU
                times.append(time.perf_counter() - start)
    seconds = min(times[1:])
    weights = sum(p.numel() for p in task.model.parameters())
    measured = {"a training step": {"seconds": seconds, "clips a second": batch / seconds, "million weights": weights / 1e6}}
    show(measured)
    print("losses", *(f"{loss:.3f}" for loss in losses))
    print(save_result("video", measured, {"batch": batch, "threads": torch.get_num_threads(), "config": config.to_dict()}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=2, help="clips a step")
    parser.add_argument("--steps", type=int, default=2, help="steps to time, after one that is not counted")
    given = parser.parse_args()
    main(given.batch, given.steps)
