"""Frames a second of the simulator: skeletons, files, ground truth, films and face crops.

    python benchmarks/simulate.py [--videos 3] [--whole]

Everything runs in one process on one thread except `--whole`, which writes the quick dataset with a process a core. The times
of a noisy machine say little; the ratios, to real time (25 frames/s) and to XlsxWriter in the same run, say more.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import xlsxwriter
from record import best_seconds, interleaved, save_result, show

from migstudy.simulate import PROFILES, simulate, simulate_video
from migstudy.simulate.detector import detect
from migstudy.simulate.occlusion import visibility
from migstudy.simulate.plan import make_plan
from migstudy.simulate.render.film import render_faces, render_video
from migstudy.simulate.sheet import write_sheet
from migstudy.simulate.truth import save_truth


def main(videos: int, whole: bool) -> None:
    config, seed = PROFILES["quick"], 0
    plan, subjects = make_plan(config, seed)
    made = [simulate_video(p, subjects[p.subject], config, seed) for p in plan[:videos]]
    frames = sum(len(video.keypoints) for video in made)
    measured: dict[str, dict[str, float]] = {}

    def note(name: str, seconds: float, count: int = frames) -> None:
        measured[name] = {"frames a second": count / seconds, "times real time": count / seconds / config.fps}

    def detection() -> None:
        for video in made:
            pixels, rng = video.shots.project(video.motion.joints), np.random.default_rng(0)
            detect(pixels, visibility(video.motion.joints, pixels, video.shots, config), config, rng, video.shots.starts)

    note("skeletons", best_seconds(lambda: [simulate_video(p, subjects[p.subject], config, seed) for p in plan[:videos]]))
    note("  of it camera and detector", best_seconds(detection))
    table = np.concatenate([made[0].keypoints, made[0].scores[..., None]], -1).reshape(len(made[0].scores), -1)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        sheets = interleaved({"spreadsheets": lambda: write_sheet(out / "a.xlsx", table), "XlsxWriter": lambda: _peer(out / "b.xlsx", table)}, 3)
        for name, seconds in sheets.items():
            note(name, seconds, len(table))
        note("ground truth", best_seconds(lambda: [save_truth(out / "t.npz", video) for video in made]))
        note(f"films of {config.rgb_height} lines", best_seconds(lambda: render_video(made[0], out / "v.mp4"), 1), len(table))
        note("face crops", best_seconds(lambda: render_faces(made[0], out / "f.mp4"), 1), len(table))
        if whole:
            start, cores = time.perf_counter(), os.cpu_count() or 1
            root = simulate(out / "quick", "quick", seed, cores, extras=("truth",))
            seconds, total = time.perf_counter() - start, sum(len(np.load(f)["visible"]) for f in root.glob("truth/*.npz"))
            note(f"quick dataset, {cores} processes", seconds, total)
            measured[f"quick dataset, {cores} processes"]["seconds"] = seconds
    measured["spreadsheets"]["times XlsxWriter"] = sheets["XlsxWriter"] / sheets["spreadsheets"]
    show(measured)
    print(save_result("simulate", measured, {"videos": videos, "frames": frames, "config": asdict(config)}))


def _peer(path: Path, table: np.ndarray) -> None:
    with xlsxwriter.Workbook(str(path), {"constant_memory": True}) as book:
        sheet = book.add_worksheet()
        for i, row in enumerate(table.tolist()):
            sheet.write_row(i, 0, row)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=3, help="videos of the quick profile to measure on")
    parser.add_argument("--whole", action="store_true", help="also write the whole quick dataset")
    given = parser.parse_args()
    main(given.videos, given.whole)
