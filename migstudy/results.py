"""Which finished run answers which question of the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from migstudy.config import GestureConfig
from migstudy.runs import Run, code_version, finished_runs, same_question
from migstudy.scores import load_scores
from migstudy.study import LIMB, SEEDS, VARIANTS

TASK = "03_train_gesture"
Groups = dict[str, list[Run]]  # a variant's runs, one a seed; empty where nothing is finished


def find_runs(variants: Mapping[str, Mapping[str, str]], profile: str, data: str, seeds: Sequence[int] = SEEDS) -> Groups:
    """The finished run of each variant and seed, the newest where several answer."""
    stored = sorted(finished_runs(task=TASK), key=lambda run: run.read_json("env.json")["started"])
    by_question = {same_question(run.read_json("params.json")["params"]): run for run in stored}
    groups: Groups = {}
    for name, variant in variants.items():
        asked = [GestureConfig.from_strings({"profile": profile, "data": data, **variant, "seed": str(s)}) for s in seeds]
        found = (by_question.get(same_question(config.resolved().to_dict())) for config in asked)
        groups[name] = [run for run in found if run is not None]
    return groups


def ablation_runs(profile: str, data: str = "simulator") -> Groups:
    """Runs of paper A's ablation: base, one change at a time, all three."""
    return find_runs(VARIANTS, profile, data)


def stream_runs(profile: str, data: str = "simulator") -> Groups:
    """Runs of the joint and of the limb stream with all three changes."""
    return find_runs({"joint": VARIANTS["all three"], "limb": LIMB}, profile, data)


def runs_of_data(data: str) -> list[Run]:
    """All finished training runs on a dataset whose path ends so: `natops.npz`."""
    return [run for run in finished_runs(task=TASK) if str(run.read_json("params.json")["params"]["data"]).endswith(data)]


def source_of(groups: Groups) -> str:
    """What the runs were measured on, saying so when other code made some of them.

    Raises ValueError when there is none, or when they were measured on different data.
    """
    runs = [run for found in groups.values() for run in found]
    if not runs:
        raise ValueError("no finished run answers this; train first: migstudy study")
    sources = {run.read_json("metrics.json")["source"] for run in runs}
    if len({run.read_json("params.json")["data_fingerprint"] for run in runs}) > 1:
        raise ValueError(f"these runs were measured on different data ({'; '.join(sorted(sources))}); train them again")
    older = sum(run.read_json("env.json")["code"] != code_version() for run in runs)
    return sources.pop() + (f" ({older} of {len(runs)} runs made by another version of the code)" if older else "")


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
