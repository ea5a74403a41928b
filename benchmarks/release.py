"""Reading a release's folder: beside pandas with openpyxl, at the second start, and the memory it takes.

    python benchmarks/release.py [--videos 6] [--peer-videos 2]

A release is simulated, then read in fresh processes, each with an empty cache of its own; the peer (`pip install openpyxl`; its
column is absent without) reads the skeleton files alone, one after the other, in turns with us, which favours it: we also read
labels, check everything and write the cache. Ratios a frame, since the peer takes minutes for what is read in seconds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import save_result, show

from migstudy.simulate import simulate

PEER = "pandas + openpyxl"


def main(videos: int, peer_videos: int, repeats: int) -> None:
    measured: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        few = dict(subjects=(2, 1, 1), videos_per_subject=videos, min_clips=(0, 0, 0), clips=(70 * videos, 35 * videos, 35 * videos))
        root = simulate(f"{folder}/release", "quick", 0, extras=(), **few)
        half = simulate(f"{folder}/half", "quick", 0, extras=(), **few | dict(subjects=(1, 1, 1)))
        times: dict[str, list[dict[str, float]]] = {}
        for turn in range(repeats):
            cache = f"{folder}/cache{turn}"
            times.setdefault("first start", []).append(_child("ours", root, cache))
            times.setdefault("second start", []).append(_child("ours", root, cache))
            times.setdefault("first start, half as many videos", []).append(_child("ours", half, f"{cache}h"))
            if importlib.util.find_spec("openpyxl"):
                times.setdefault(PEER, []).append(_child("peer", root, str(peer_videos)))
        for name, rows in times.items():
            best = min(rows, key=lambda row: row["seconds"])
            measured[name] = best | {"frames a second": best["frames"] / best["seconds"]}
        if PEER in measured:
            ratio = measured["first start"]["frames a second"] / measured[PEER]["frames a second"]
            measured["first start"][f"times {PEER}"] = ratio
    show(measured)
    print(save_result("release", measured, {"videos": 4 * videos, "peer videos": peer_videos, "repeats": repeats}))


def _child(what: str, root: Path, argument: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, "--child", what, str(root), argument], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _measure(what: str, root: Path, argument: str) -> dict[str, float]:
    """Seconds without imports, frames, and the growth of the largest resident memory, MB."""
    import pandas as pd

    from migstudy.datasets.imigue import read_imigue

    before = _peak()
    start = time.perf_counter()
    if what == "peer":
        files = sorted(root.glob("imigue_skeleton_*/*/*.xlsx"))[: int(argument)]
        frames = sum(len(pd.read_excel(file, header=None, engine="openpyxl")) for file in files)
    else:
        frames = len(read_imigue(root, unit="video", cache=argument, progress=False).keypoints)
    return {"seconds": time.perf_counter() - start, "frames": float(frames), "memory, MB": _peak() - before}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(_measure(sys.argv[2], Path(sys.argv[3]), sys.argv[4])))
        raise SystemExit
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=3, help="videos of each of four people")
    parser.add_argument("--peer-videos", type=int, default=2, help="files that the peer reads")
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args()
    main(given.videos, given.peer_videos, given.repeats)
