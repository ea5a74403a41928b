"""A training of the quick profile beside an earlier version of this project: what became faster, and by how much.

    python benchmarks/before.py --before CHECKOUT [--epochs 1] [--clips 240] [--repeats 3] [--threads 2]

CHECKOUT: another version, e.g. `git worktree add ../before <commit>`. Both train what `migstudy run 03 --profile quick` trains,
on the same simulated clips, by their own loop from the first batch to the validation after the last, each time in a process of
its own, in turns; started as `migstudy run` starts it, with the allocator's settings of this version. Processor time of all
threads, without imports and without a first short training that compiles what is compiled.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from record import save_result, show

HERE = Path(__file__).resolve().parents[1]
TRAINING = """
import json, sys, time
folder, stream, epochs, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
import torch
import migstudy
from migstudy import fit
from migstudy.config.gesture import GestureConfig
from migstudy.data import open_data
from migstudy.train import GestureTask

def seconds(epochs, clips):
    config = GestureConfig(profile="quick", data=clips, stream=stream, epochs=epochs, threads=threads).resolved()
    fit.prepare(config)
    task = GestureTask(config, open_data(config))
    start = time.process_time()
    fit.fit(task, config, None, progress=False)
    return time.process_time() - start, len(task.loader)

seconds(1, folder + "/few")
taken, steps = seconds(epochs, folder + "/clips")
print(json.dumps({"seconds": taken, "steps": steps * epochs, "of": migstudy.__file__}))
"""


def main(before: str, clips: int, epochs: int, repeats: int, threads: int) -> None:
    places = {"before": Path(before).resolve(), "now": HERE}
    for place in places.values():
        if not (place / "migstudy" / "fit.py").is_file():
            raise SystemExit(f"--before {before}: no migstudy/fit.py there; give a checkout of this project")
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        simulated(clips).save(f"{folder}/clips")
        simulated(48).save(f"{folder}/few")
        for stream in ("joint", "limb"):
            taken: dict[str, list[float]] = {name: [] for name in places}
            for _ in range(repeats):
                for name, place in places.items():
                    answer = trained(place, [folder, stream, str(epochs), str(threads)], threads)
                    taken[name].append(answer["seconds"])
            row = measured[f"quick, {stream} stream"] = {f"{name} s": min(times) for name, times in taken.items()}
            row |= {f"{name} median s": statistics.median(times) for name, times in taken.items()}
            row |= {"steps": answer["steps"], "times before": row["before s"] / row["now s"]}
    show(measured)
    settings = {"clips": clips, "epochs": epochs, "repeats": repeats, "threads": threads, "clock": "cpu",
                "before": commit(places["before"]), "load": os.getloadavg()}  # fmt: skip
    print(save_result("before", measured, settings))


def simulated(clips: int):
    """As many training clips, and a quarter for validation and for the test, of people of their own."""
    from dataclasses import replace

    from migstudy.simulate import PROFILES, simulate_clips

    parts = (clips, clips // 4, clips // 4)
    return simulate_clips(replace(PROFILES["quick"], protocol=False, clips=parts, min_clips=(0, 0, 0)), workers=1)


def trained(place: Path, arguments: list[str], threads: int) -> dict[str, float]:
    """One process that trains with the package of that checkout."""
    from migstudy.runs.execute import ALLOCATOR

    waiting = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "OMP_NUM_THREADS": str(threads)}
    variables = {**os.environ, **ALLOCATOR, **waiting, "PYTHONPATH": str(place), "MIGSTUDY_ROOT": arguments[0]}
    command = [sys.executable, "-c", TRAINING, *arguments]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, cwd=arguments[0], check=False)
    if done.returncode:
        raise SystemExit(f"the training of {place} ended with {done.returncode}\n{done.stderr}")
    answer = json.loads(done.stdout.splitlines()[-1])
    if not Path(answer["of"]).is_relative_to(place):
        raise SystemExit(f"{place} was not measured: its process imported {answer['of']}")
    return answer


def commit(place: Path) -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=place, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", required=True, metavar="CHECKOUT", help="a checkout of the earlier version")
    parser.add_argument("--clips", type=int, default=240, help="training clips")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    main(given.before, given.clips, given.epochs, given.repeats, given.threads)
