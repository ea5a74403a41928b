"""The study in order: data, representation, the training runs of both papers, ablations, tables and figures, robustness."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable

from migstudy.sweep.cells import run_cells

SEEDS = (0, 1, 2)
PARTS = ("gesture", "fusion", "emotion")  # paper A, and paper B's two tracks
VIDEO_MODEL = "mvit"
DRAWN = ("01_dataset", "02_representation", "06_ablations", "07_paper_tables", "08_robustness")

# Paper A's three changes on the way from its predecessor, one at a time and all together. The predecessor (MiGA 2023)
# samples over zero-padded clips; its own label-embedding loss is left out of the base so that the third change can be seen.
BASE = {"topology": "imigue22", "sampling": "zero_pad", "label_embedding": "none"}
CHANGES = {
    "topology": {"topology": "imigue41"},
    "sampling": {"sampling": "uniform_interval"},
    "label embedding": {"label_embedding": "sentence", "label_loss": "cosine", "label_weight": "1.0"},
}
ALL = {name: value for change in CHANGES.values() for name, value in change.items()}
VARIANTS: dict[str, dict[str, str]] = {
    "base": BASE,
    **{f"+ {name}": {**BASE, **change} for name, change in CHANGES.items()},
    "all three": {**BASE, **ALL},
}
LIMB = {**BASE, **ALL, "stream": "limb"}
SHUFFLED = {**BASE, **ALL, "shuffle_labels": "true"}


def cells(profile: str, seeds: tuple[int, ...] = SEEDS) -> list[dict[str, str]]:
    """The training runs of the study: ablation variants and the limb stream over seeds, one run on shuffled labels."""
    wanted = [({**variant, "seed": str(seed)}) for seed in seeds for variant in (*VARIANTS.values(), LIMB)]
    wanted.append({**SHUFFLED, "seed": str(seeds[0])})
    return [{"profile": profile, **cell} for cell in wanted]


def run_study(profile: str, workers: int = 0, seeds: tuple[int, ...] = SEEDS, parts: tuple[str, ...] = PARTS) -> int:
    """All notebooks and runs in order, resuming what is there; returns the number of failures.

    parts: gesture (paper A), fusion and emotion (paper B's two tracks). Raises ValueError for an unknown one.
    """
    from migstudy.data import data_path
    from migstudy.runs.execute import run_notebook

    if unknown := sorted({*parts} - {*PARTS}):
        raise ValueError(f"there is no part {unknown[0]!r} of the study; choose among {', '.join(PARTS)}")
    failures = 0
    started = time.monotonic()

    def step(title: str, work: Callable[[], object]) -> None:
        nonlocal failures
        print(f"\n[{time.monotonic() - started:5.0f} s] {title}", flush=True)
        try:
            failed = work()
        except (ValueError, KeyError, OSError, RuntimeError) as error:
            failed = [({}, str(error.args[0] if isinstance(error, KeyError) else error))]
        for cell, said in failed if isinstance(failed, list) else []:
            failures += 1
            print(f"FAILED {dict(cell) or title}\n{said}", file=sys.stderr)

    def train(notebook: str, plan: list[dict[str, str]]) -> None:
        step(f"train: {len(plan)} runs of {notebook}", lambda: run_cells(notebook, plan, workers))

    step(f"simulate the {profile} dataset", lambda: data_path("simulator", profile))
    for name in ("01_dataset", "02_representation"):
        step(f"notebook {name}", lambda name=name: run_notebook(name, {"profile": profile}, quiet=True))
    if "gesture" in parts:
        train("03_train_gesture", cells(profile, seeds))
    if "fusion" in parts:
        from migstudy.fusion.study import fusion_cells, fusion_encoder_cells

        train("03_train_gesture", fusion_encoder_cells(profile, seeds, video=VIDEO_MODEL))
        train("04_fusion", fusion_cells(profile, seeds, video=VIDEO_MODEL))
    if "emotion" in parts:
        from migstudy.emotion.report import emotion_cells

        train("05_train_emotion", emotion_cells(profile, seeds=seeds))
    for name in DRAWN[2:]:
        if "gesture" in parts or name == "07_paper_tables":
            step(f"notebook {name}", lambda name=name: run_notebook(name, {"profile": profile}, quiet=True))
    minutes = (time.monotonic() - started) / 60
    print(f"\n{minutes:.1f} minutes, {failures} failures; look into figures/ and runs/*/run.ipynb, or make one page: migstudy report")
    return failures


def redraw(profile: str) -> int:
    """Draw every figure and table again from the stored runs; nothing is trained or measured.

    What cannot be drawn, and every damaged run, is one line on stderr and stops nothing; returns how many there were.
    """
    from migstudy import paths
    from migstudy.config.robustness import RobustnessConfig
    from migstudy.robustness.measure import stored_run
    from migstudy.runs.execute import run_notebook
    from migstudy.runs.folder import DRAWING
    from migstudy.runs.kernel import environment
    from migstudy.runs.listing import all_runs, listed

    wrong = [one.trouble for one in map(listed, all_runs()) if one.state == "done" and one.trouble]

    def draw(name: str, title: str = "", **options: str) -> None:
        print(f"notebook {name}{title}", flush=True)
        try:
            with environment(**{DRAWING: "1"}):
                run_notebook(name, {"profile": profile, **options}, quiet=True)
        except (ValueError, KeyError, OSError, RuntimeError) as error:
            wrong.append(str(error).partition("\n")[0])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged runs, told once in the end
        measured = stored_run(RobustnessConfig(profile=profile))
        for name in DRAWN:
            if name != "08_robustness":
                draw(name)
            elif measured:  # once, by whatever version of the code
                draw(name, run_dir=str(measured.folder))
            else:
                print(f"notebook {name}: nothing to draw; measured by: migstudy run 08 --profile {profile}")
        for file in sorted(paths.resolve("grids").glob("*.yaml")):
            try:
                if _is_compared(file.stem, profile):
                    draw("06_ablations", f", grid {file.stem}", grid=file.stem)
            except ValueError as error:
                wrong.append(str(error))
    for line in wrong:
        print(f"migstudy: {line}", file=sys.stderr)
    return len(wrong)


def _is_compared(grid: str, profile: str) -> bool:
    """Whether a grid can be compared: its base is finished, and at least half of the variants. Raises ValueError for a broken one."""
    from migstudy import results
    from migstudy.sweep.grid import read_grid

    if grid == "paper_a" or read_grid(grid).notebook.stem == results.EMOTION_TASK:  # notebooks 06 and 07 show them anyway
        return False
    finished = [bool(runs) for runs in results.grid_runs(grid, profile)[1].values()]
    return finished[0] and 2 * sum(finished) >= len(finished)
