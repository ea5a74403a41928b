"""Graph networks on public recordings: each stream of each model and their fused scores, beside the published ladder."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import numpy as np
import pandas as pd

from migstudy.clips import ClipSet
from migstudy.config.gesture import GRAPH_STREAMS
from migstudy.data import data_path
from migstudy.evaluate import evaluate
from migstudy.fusion.late import fuse, learn_weights
from migstudy.report import tables
from migstudy.results import labelled_scores, params_of, runs_of_data, seed_of, without_seed
from migstudy.runs.folder import Run, same_question

GRAPH_MODELS = {"ctrgcn": "CTR-GCN (ours)", "agcn": "2s-AGCN", "stgcn": "ST-GCN"}
PAIR = ("joint", "bone")
"""The streams whose sum is 2s-AGCN (arXiv 1805.07694)."""
Streams = dict[str, dict[int, Run]]  # stream -> seed -> run


def graph_recipes(data: str = "nw_ucla.npz") -> list[tuple[dict, Streams]]:
    """What graph networks were trained with on a dataset whose path ends so, seed and stream aside, and the finished runs."""
    recipes: dict[str, tuple[dict, Streams]] = {}
    for run in runs_of_data(data):
        params = params_of(run)
        if params.get("model") in GRAPH_MODELS:
            asked = {name: value for name, value in without_seed(params).items() if name != "stream"}
            _, streams = recipes.setdefault(same_question(asked), (asked, {}))
            streams.setdefault(params["stream"], {})[seed_of(run)] = run
    order = list(GRAPH_MODELS)
    return sorted(recipes.values(), key=lambda recipe: (order.index(recipe[0]["model"]), recipe[0]["epochs"]))


def graph_table(data: str = "nw_ucla.npz", copies: Collection[str] | None = None) -> pd.DataFrame:
    """Rows as in `tables.score_table`: of each recipe its streams, their sum, and one weighted as learned on validation clips.

    Runs of one seed are fused with each other; joint + bone alone stands beside all streams when there are more. A sum has as
    many seeds as all of its streams have. copies: test clips that repeat training clips, from `copied_clips`; top-1 (percent)
    without them is a column of its own (None: not known).
    """
    rows = []
    for params, streams in graph_recipes(data):
        names = [name for name in GRAPH_STREAMS if name in streams]
        answers = {name: [labelled_scores(run) for run in streams[name].values()] for name in names}
        sums = [names] if len(names) > 1 else []
        if len(names) > 2 and set(PAIR) < set(names):
            sums.insert(0, list(PAIR))
        for chosen in sums:
            test, val = (by_seed(streams, chosen, split) for split in ("test", "val"))
            title = " + ".join(chosen)
            answers[title] = [fuse(asked) for asked in test]
            answers[f"{title}, learned weights"] = [
                fuse(asked, learn_weights(known).weights) for asked, known in zip(test, val, strict=True)
            ]
        for name, scores in answers.items():
            row = tables.score_row(GRAPH_MODELS[params["model"]], scores)
            row = {"variant": row.pop("variant"), "streams": name, "epochs": params["epochs"], **row}
            kept = [evaluate(without(table, copies), intervals=False)["top1"] for table in scores] if copies is not None else []
            row["top-1 without copies"] = round(100 * float(np.mean(kept)), 1) if kept else np.nan
            rows.append(row)
    return pd.DataFrame(rows)


def by_seed(streams: Streams, names: Collection[str], split: str) -> list[dict[str, pd.DataFrame]]:
    """Score tables by stream, for each seed that all of these streams have."""
    seeds = sorted(set.intersection(*(set(streams[name]) for name in names)))
    return [{name: labelled_scores(streams[name][seed], split) for name in names} for seed in seeds]


def copied_clips(clips: ClipSet) -> set[str]:
    """Ids of test clips whose coordinates repeat a training or validation clip's byte for byte."""
    index = clips.index
    digests = [hashlib.sha256(clip.keypoints.tobytes() + clip.scores.tobytes()).digest() for clip in clips]
    test = (index["split"] == "test").to_numpy()
    seen = {digest for digest, tested in zip(digests, test, strict=True) if not tested}
    return {name for name, digest, tested in zip(index["clip_id"], digests, test, strict=True) if tested and digest in seen}


def known_copies(data: str = "nw_ucla.npz") -> set[str] | None:
    """`copied_clips` of the file that the runs were trained on; None where it is no longer there, or nothing was trained."""
    from migstudy.datasets import open_dataset

    for params, _ in graph_recipes(data):
        if (path := data_path(params["data"], params["profile"])).exists():
            return copied_clips(open_dataset(path))
    return None


def without(scores: pd.DataFrame, copies: Collection[str]) -> pd.DataFrame:
    """A score table without these clips."""
    kept = scores[~scores["clip_id"].isin(list(copies))].reset_index(drop=True)
    kept.attrs = scores.attrs
    return kept


def graph_sources(data: str = "nw_ucla.npz") -> dict[str, object]:
    """The sidecar of the graph networks' table."""
    runs = [run for _, streams in graph_recipes(data) for found in streams.values() for run in found.values()]
    sources = sorted({run.read_json("metrics.json")["source"] for run in runs})
    source = " and ".join(sources) or data
    return {"title": "Graph networks on a public recording", "source": source, "run_ids": [run.id for run in runs]}
