"""Which finished run answers which question of the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from migstudy.config.gesture import GestureConfig
from migstudy.runs.folder import Run, code_of, finished_runs, same_question
from migstudy.scores import load_scores
from migstudy.study import LIMB, VARIANTS

TASK, EMOTION_TASK = "03_train_gesture", "05_train_emotion"
Groups = dict[str, list[Run]]  # a variant's runs, one a seed; empty where nothing is finished


def find_runs(
    variants: Mapping[str, Mapping[str, str]], profile: str, data: str, seeds: Sequence[int] | None = None
) -> Groups:  # fmt: skip
    """The finished run of each variant and seed, in order of seeds; all seeds there are unless told which."""
    stored = answers()
    groups: Groups = {}
    for name, variant in variants.items():
        config = GestureConfig.from_strings({"profile": profile, "data": data, **variant})
        asked = same_question(without_seed(config.resolved().to_dict()))
        found = [run for run in stored if same_question(without_seed(params_of(run))) == asked]
        groups[name] = [run for run in found if seeds is None or seed_of(run) in seeds]
    return groups


def answers(task: str = TASK) -> list[Run]:
    """A training notebook's finished runs by seed, of those that asked for the same thing the newest."""
    stored = sorted(finished_runs(task=task), key=lambda run: run.read_json("env.json")["started"])
    return sorted({same_question(params_of(run)): run for run in stored}.values(), key=seed_of)


def params_of(run: Run) -> dict:
    """The run's parameters as they would be today: what was added since has the value that changes nothing, its default."""
    from migstudy.runs.execute import completed

    kept = run.read_json("params.json")
    return completed(kept["task"], kept["params"])


def seed_of(run: Run) -> int:
    return params_of(run)["seed"]


def without_seed(params: Mapping[str, object]) -> dict:
    return {name: value for name, value in params.items() if name != "seed"}


def ablation_runs(profile: str, data: str = "simulator") -> Groups:
    """Runs of paper A's ablation: base, one change at a time, all three."""
    return find_runs(VARIANTS, profile, data)


def grid_runs(name: str, profile: str, data: str = "simulator") -> tuple[str, Groups]:
    """A grid's title, and each of its variants with its finished runs, in the grid's order; see `sweep.grid`.

    profile, data: instead of what the grid says, where it does not vary them. Raises ValueError for a grid that is not there, and
    for one of win or lose, whose models notebook 07 compares.
    """
    from migstudy.sweep.grid import read_grid

    grid = read_grid(name, {"profile": profile} | ({"data": data} if data != "simulator" else {}))
    if grid.notebook.stem == EMOTION_TASK:
        raise ValueError(f"{grid.file}: its runs score videos, not clips; notebook 07_paper_tables compares them")
    stored = answers(grid.notebook.stem)
    groups: Groups = {cell.variant: [] for cell in grid.cells}
    for cell in grid.cells:
        asked = same_question(cell.params)
        groups[cell.variant] += [run for run in stored if same_question(params_of(run)) == asked]
    return grid.title, groups


def stream_runs(profile: str, data: str = "simulator") -> Groups:
    """Runs of the joint and of the limb stream with all three changes."""
    return find_runs({"joint": VARIANTS["all three"], "limb": LIMB}, profile, data)


def runs_of_data(data: str) -> list[Run]:
    """All finished training runs on a dataset whose path ends so (`natops.npz`), controls on shuffled labels left out."""
    found = [(run, params_of(run)) for run in answers()]
    return [run for run, params in found if str(params["data"]).endswith(data) and not params["shuffle_labels"]]


def source_of(groups: Groups) -> str:
    """What the runs were measured on, saying so when other code made some of them.

    Raises ValueError when there is none, or when they were measured on different data.
    """
    runs = [run for found in groups.values() for run in found]
    if not runs:
        raise ValueError("no finished run answers this; train first: migstudy study")
    sources = {run.read_json("metrics.json")["source"] for run in runs}
    if len({run.read_json("params.json")["data_fingerprint"] for run in runs}) > 1:
        raise ValueError(
            f"these runs were measured on different data ({'; '.join(sorted(sources))}); train them again, or delete those that"
            f" no longer count: {', '.join(run.id for run in runs)}"
        )
    older = sum(_is_older(run) for run in runs)
    return sources.pop() + (f" ({older} of {len(runs)} runs made by another version of the code)" if older else "")


def _is_older(run: Run) -> bool:
    kept = run.read_json("params.json")
    return run.read_json("env.json")["code"] != code_of(kept["task"], kept["params"])


def provenance(groups: Groups) -> dict:
    """What a figure's or table's sidecar says of the runs behind it."""
    runs = [run for found in groups.values() for run in found]
    fingerprint = runs[0].read_json("params.json")["data_fingerprint"] if runs else None
    return {"source": source_of(groups), "data_fingerprint": fingerprint, "run_ids": [run.id for run in runs]}


def labelled_scores(run: Run, split: str = "test") -> pd.DataFrame:
    """A run's stored scores of one split, labelled clips only."""
    scores = load_scores(run.path("scores.parquet"))
    part = scores[(scores["split"] == split) & (scores["label"] >= 0)].reset_index(drop=True)
    part.attrs = scores.attrs
    return part
