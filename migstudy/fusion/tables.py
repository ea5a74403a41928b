"""The tables of fusion: single modalities and their fusions, effects against the best single one, modalities missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from migstudy.config.fusion import VIDEO
from migstudy.evaluate import evaluate
from migstudy.fusion.late import fuse, learn_weights
from migstudy.fusion.stacking import learn_stacking
from migstudy.fusion.study import encoder_groups, fusion_groups, heatmap_groups
from migstudy.fusion.train import subset_file
from migstudy.report import tables
from migstudy.results import Groups, labelled_scores, provenance, seed_of
from migstudy.runs.folder import Run
from migstudy.scores import load_scores

BySeed = dict[int, pd.DataFrame]
LATE = {"equal": "equal weights", "convex": "weights learned on val", "stacking": "stacking learned on val"}


class Answers(NamedTuple):
    """What the study of fusion rests on: row -> seed -> score table, of test clips, and of val for what is chosen there.

    singles: rows that see one modality. runs: row -> the runs behind it; a row without is empty.
    """

    test: dict[str, BySeed]
    val: dict[str, BySeed]
    singles: tuple[str, ...]
    runs: Groups


def collect(profile: str, data: str = "simulator", video: str = "none") -> Answers:
    """Encoders, their late fusions, and the fusions trained on their tokens, from finished runs."""
    encoders = {f"{name}, encoder": runs for name, runs in encoder_groups(profile, data, video).items()}
    fused = fusion_groups(profile, data, video)
    groups = {**encoders, **fused}
    singles = (*encoders, *(name for name in fused if name.endswith(" alone")))
    test, val = ({name: _scores(runs, split) for name, runs in groups.items()} for split in ("test", "val"))
    late = late_fusions({name: test[name] for name in encoders}, {name: val[name] for name in encoders})
    rows = {**{name: test[name] for name in singles}, **late, **{name: test[name] for name in fused if name not in singles}}
    return Answers(rows, val, singles, groups)


def late_fusions(test: Mapping[str, BySeed], val: Mapping[str, BySeed], ways: Sequence[str] = tuple(LATE)) -> dict[str, BySeed]:
    """Scores of one seed fused after the fact, `late: <way>` -> seed -> table, for the seeds that every stream has.

    Weights and stacking are learned on validation clips; stacking is missing where these show fewer than three people.
    """
    rows: dict[str, BySeed] = {f"late: {LATE[way]}": {} for way in ways}
    for seed in sorted(set.intersection(*map(set, test.values()))):
        now, before = ({name: part[name][seed] for name in test} for part in (test, val))
        for way in ways:
            rows[f"late: {LATE[way]}"] |= {seed: table} if (table := _late(way, now, before)) is not None else {}
    return rows


def _late(way: str, test: Mapping[str, pd.DataFrame], val: Mapping[str, pd.DataFrame]) -> pd.DataFrame | None:
    if way == "equal":
        return fuse(test)
    if way == "convex":
        return fuse(test, learn_weights(val).weights)
    people = next(iter(val.values()))
    people = people["subject"] if (people["subject"] != "").all() else people["video"]
    return learn_stacking(val).fuse(test) if people.nunique() > 2 else None


def fusion_table(answers: Answers) -> pd.DataFrame:
    """One row a variant, as in `tables.score_table`; a variant without runs stands there as missing."""
    return pd.DataFrame([tables.score_row(name, [*by_seed.values()]) for name, by_seed in answers.test.items()])


def late_table(profile: str, data: str = "simulator", video: str = "none") -> pd.DataFrame:
    """Paper A's joint and limb streams, the graph networks' streams, the video model, and what late fusion makes of them."""
    streams = encoder_groups(profile, data, video).items()
    groups = heatmap_groups(profile, data) | {name if name == VIDEO else f"graph {name}": runs for name, runs in streams}
    test, val = ({name: _scores(runs, split) for name, runs in groups.items()} for split in ("test", "val"))
    heat, graph = ([name for name in groups if name.startswith(kind)] for kind in ("PoseC3D", "graph"))
    together = {"PoseC3D joint + limb": heat, "graph joint + bone": graph, "all": [*groups]}
    rows = dict(test)
    for title, names in together.items():
        found = late_fusions({n: test[n] for n in names}, {n: val[n] for n in names})
        rows |= {f"{title}, {name.removeprefix('late: ')}": by_seed for name, by_seed in found.items()}
    return pd.DataFrame([tables.score_row(name, [*by_seed.values()]) for name, by_seed in rows.items()])


def best_single(answers: Answers, metric: str = "macro_f1") -> str:
    """The row with one modality that validates best, mean over its seeds; raises ValueError when none is finished."""
    worth = {
        name: np.mean([evaluate(table, intervals=False)[metric] for table in answers.val[name].values()])
        for name in answers.singles if answers.val[name]
    }  # fmt: skip
    if not worth:
        raise ValueError("no finished run of a single modality; train first: migstudy study")
    return max(worth, key=worth.get)


def effect_table(answers: Answers, base: str) -> pd.DataFrame:
    """Every fusion against a base, rows and columns as in `tables.effect_table`; runs of one seed share their encoders."""
    scores = {name: [*by_seed.values()] for name, by_seed in answers.test.items()}
    others = [name for name in answers.test if name not in answers.singles]
    shared = [name for name in others if answers.test[name].keys() == answers.test[base].keys()]
    return tables.effects_of(scores, base, others, shared)


def missing_table(answers: Answers) -> pd.DataFrame:
    """Every trained fusion with all its modalities at hand and with only some: variant, at hand, and `score_table`'s columns."""
    rows = []
    for name, runs in answers.runs.items():
        if name in answers.singles:
            continue
        rows.append({"variant": name, "at hand": "all", **_numbers([*answers.test[name].values()])})
        for chosen in _subsets(runs):
            rows.append({"variant": name, "at hand": " + ".join(chosen), **_numbers([_subset_scores(run, chosen) for run in runs])})
    return pd.DataFrame(rows)


def sources_of(answers: Answers) -> dict:
    """The sidecar of these tables and figures."""
    return provenance(answers.runs)


def _scores(runs: Sequence[Run], split: str) -> BySeed:
    return {seed_of(run): labelled_scores(run, split) for run in runs}


def _numbers(scores: Sequence[pd.DataFrame]) -> dict[str, object]:
    row = tables.score_row("", scores)
    del row["variant"]
    return row


def _subsets(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    found = {tuple(chosen.split("+")) for run in runs for chosen in run.read_json("metrics.json").get("at_hand", {})}
    return sorted(found, key=lambda chosen: (-len(chosen), chosen))


def _subset_scores(run: Run, chosen: Sequence[str]) -> pd.DataFrame:
    scores = load_scores(run.path(subset_file(chosen)))
    known = scores[scores["label"] >= 0].reset_index(drop=True)
    known.attrs = scores.attrs
    return known
