"""Peak memory of the emotion track against the length of a video: encoders, their tokens, and a model on top of them.

    python benchmarks/emotion_memory.py [--minutes 1,10] [--fps 25]

Each length is a process of its own that makes a film and a skeleton of one video, lets untrained encoders of the quick profile
(SwinFace in small, MViT on 8 x 64 x 64) look at all of it, and asks InterFusion for the answer. What counts is what lies between
the lengths: `own` is the process's own memory (Linux), `resident` has also the pages of memory-mapped files, which the system
takes back as it needs them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from record import save_result, show

MINUTES = "1,10"


def measure(minutes: float, fps: float, folder: Path) -> dict[str, float]:
    """Peak memory in MB while one video is looked at and answered, seconds, and the answer."""
    import numpy as np
    import pandas as pd
    import torch

    from migstudy.clips import Clip, ClipSet
    from migstudy.config.emotion import EmotionConfig
    from migstudy.emotion.data import EmotionData
    from migstudy.emotion.features import ContextWindows, EmotionFeatures, FaceWindows, StepTokens
    from migstudy.emotion.protocols import SimulatedVideos
    from migstudy.emotion.train import build, predict
    from migstudy.faces.crops import open_faces
    from migstudy.faces.tokens import FaceSpec, face_tokens
    from migstudy.models import create_model
    from migstudy.models.swinface import PRESETS
    from migstudy.simulate.render.film import write_film
    from migstudy.video.films import find_films
    from migstudy.video.rgb import RgbSpec, open_rgb_clips
    from migstudy.video.tokens import rgb_tokens

    torch.set_num_threads(1)
    torch.manual_seed(0)
    frames, rng = round(minutes * 60 * fps), np.random.default_rng(0)

    def pictures(place: Path, height: int, width: int):
        place.mkdir(parents=True, exist_ok=True)
        grain = rng.integers(0, 255, (height, width + 64, 3), np.uint8)
        return (np.ascontiguousarray(grain[:, i % 64 : i % 64 + width]) for i in range(frames))

    write_film(folder / "films" / "0001" / "0001.mp4", pictures(folder / "films" / "0001", 192, 342), fps)
    write_film(folder / "faces" / "0001.mp4", pictures(folder / "faces", 112, 112), fps)
    keypoints = np.lib.format.open_memmap(folder / "keypoints.npy", "w+", np.float32, (frames, 137, 2))
    scores = np.lib.format.open_memmap(folder / "scores.npy", "w+", np.float32, (frames, 137))
    for start in range(0, frames, 1000):
        part = slice(start, min(start + 1000, frames))
        keypoints[part] = rng.normal(300, 60, (part.stop - part.start, 137, 2))
        scores[part] = 0.9
    whole = ClipSet.from_clips(
        [Clip("0001", keypoints[:1], scores[:1], 1, "0001", "1", "train", image_size=(1280, 720))], "openpose137",
        ("lose", "win"), fps, "a film of noise",
    )  # fmt: skip
    index = whole.index.assign(length=frames, end=frames - 1)
    whole = ClipSet(keypoints, scores, index, whole.topology, whole.class_names, fps, whole.source)
    whole.__dict__["fingerprint"] = f"noise {frames}"
    table = pd.DataFrame({"video": ["0001"], "subject": ["1"], "label": [1], "split": ["train"]})
    data = EmotionData(folder, SimulatedVideos(table, "simulated:noise-seed0-00000000"), whole, whole, folder / "films")
    config = EmotionConfig().resolved()
    face = create_model("swinface", **PRESETS["small"]).eval()
    video = create_model("mvit", frames=8, size=64, base_channels=32, num_blocks=4, downscale_blocks=(1, 3), kv_stride=4)
    watch, start = Watch(), time.perf_counter()
    watch.start()
    spec = FaceSpec(step=max(1, round(fps / config.face_rate)))
    tokens = face_tokens(face, open_faces(folder, cache=folder / "cache"), spec, cache=folder / "cache", progress=False)
    windows = data.windows(config.window_seconds)
    pixels = open_rgb_clips(windows, find_films(data.films), RgbSpec(8, 64), cache=folder / "cache", progress=False)
    store = rgb_tokens(StepTokens(video, 4), windows, pixels, 8, 64, cache=folder / "cache", progress=False)
    features = EmotionFeatures({"face": FaceWindows(tokens, data, config), "context": ContextWindows(store)})
    model, _ = build(config, features, [1, 1])
    answer = predict(model, table, data, features, config)
    return {
        "minutes": minutes, "frames": frames, "windows": len(windows), "own_mb": watch.stop(), "resident_mb": _peak(),
        "seconds": round(time.perf_counter() - start, 1), "log_odds": float(answer[0]),
    }  # fmt: skip


class Watch(threading.Thread):
    """The largest anonymous memory of this process, MB, looked at every 20 ms; NaN where the system does not tell."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.ended = 0.0, threading.Event()

    def run(self) -> None:
        status = Path("/proc/self/status")
        while not self.ended.wait(0.02):
            lines = status.read_text().splitlines() if status.exists() else []
            held = [int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")]
            self.most = max(self.most, *held, 0.0) if held else float("nan")

    def stop(self) -> float:
        self.ended.set()
        self.join()
        return round(self.most, 1)


def _peak() -> float:
    """MB; the kernel counts in kB, macOS in bytes."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", default=MINUTES, help="lengths, as 1,10")
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--one", type=float, default=0.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(args.one, args.fps, Path(folder))))
        return
    measured = {}
    for minutes in map(float, args.minutes.split(",")):
        command = [sys.executable, __file__, "--one", str(minutes), "--fps", str(args.fps)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr)
        measured[f"{minutes:g} min"] = json.loads(done.stdout.strip().splitlines()[-1])
    show(measured)
    first, *_, last = sorted(measured.values(), key=lambda row: row["minutes"]) * (2 if len(measured) == 1 else 1)
    if last["minutes"] > first["minutes"]:
        for name in ("own_mb", "resident_mb"):
            growth = (last[name] - first[name]) / (last["minutes"] - first["minutes"])
            print(f"{name} grows by {growth:.2f} MB a minute of video")
    print(save_result("emotion_memory", measured, {"fps": args.fps}))


if __name__ == "__main__":
    main()
