"""The study's tables: scores of each variant, effects against a base, streams and their fusion, real recordings."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from migstudy import paths
from migstudy.comparison import compare, run_confusions
from migstudy.evaluate import evaluate, evaluate_runs
from migstudy.fusion.late import fuse, learn_weights
from migstudy.intervals import minimum_detectable_difference, seeds_to_settle, variance_parts
from migstudy.results import (
    Groups,
    find_runs,
    labelled_scores,
    params_of,
    runs_of_data,
    seed_of,
    stream_runs,
    without_seed,
)  # fmt: skip
from migstudy.runs.folder import Run, git_commit, same_question
from migstudy.statistics import holm
from migstudy.study import SEEDS, SHUFFLED, VARIANTS

HEADLINE = ("top1", "macro_f1")
SUMMARY = ("top1", "macro_f1", "mean_class_accuracy", "top5")
NAMES = {"top1": "top-1", "macro_f1": "macro-F1", "mean_class_accuracy": "mean class accuracy", "top5": "top-5"}
LEGEND = (
    "Percent: mean ± sd over seeds [95 % interval over seeds and test subjects (clips where the data names no subject); of one"
    " seed over subjects]."
)


def score_table(groups: Groups) -> pd.DataFrame:
    """One row a variant: seeds and, for each metric, mean over seeds, sd between them, 95 % interval over seeds and subjects.

    A variant without runs stands there as missing.
    """
    return pd.DataFrame([score_row(name, [labelled_scores(run) for run in runs]) for name, runs in groups.items()])


def stream_table(profile: str, data: str = "simulator") -> pd.DataFrame:
    """Joint, limb and their fusions, rows as in `score_table`; runs of one seed are fused.

    Weights are published, or learned on validation clips alone.
    """
    groups = {name: {seed_of(run): run for run in runs} for name, runs in stream_runs(profile, data).items()}
    alone = {name: [labelled_scores(run) for run in runs.values()] for name, runs in groups.items()}
    published, learned = [], []
    for seed in sorted(set.intersection(*map(set, groups.values()))):
        test, val = ({name: labelled_scores(runs[seed], split) for name, runs in groups.items()} for split in ("test", "val"))
        published.append(fuse(test, "miga2023"))
        learned.append(fuse(test, learn_weights(val).weights))
    answers = {**alone, "0.4 joint + 0.6 limb": published, "weights learned on val": learned}
    return pd.DataFrame([score_row(name, tables) for name, tables in answers.items()])


def effect_table(groups: Groups, base: str = "base") -> pd.DataFrame:
    """One row a variant and metric: difference from the base over seeds and subjects together.

    Columns: variant, metric, seeds, effect, low, high (percentage points; 95 %, `intervals.paired_difference`), p (its
    t-test, Holm over the variants of a metric), detectable (percentage points that 80 % of such studies would find, tests
    shared as in Holm's first step), seeds_to_settle (how many would make the interval shorter than the effect; NaN where the
    subjects alone leave more doubt, 0 where one seed cannot tell), by_seed (each run minus the base's mean). A missing variant
    stays, with NaN.
    """
    return effects_of({name: [labelled_scores(run) for run in runs] for name, runs in groups.items()}, base)


def effects_of(
    scores: Mapping[str, Sequence[pd.DataFrame]], base: str, variants: Sequence[str] | None = None, paired_seeds: Sequence[str] = (),
) -> pd.DataFrame:  # fmt: skip
    """`effect_table` of score tables, variant -> one a seed; variants: those compared, all but the base by default.

    paired_seeds: variants whose runs share something with the base's run of the same place, as an encoder.
    """
    rows, compared = [], [name for name in scores if name != base] if variants is None else list(variants)
    tests = sum(bool(len(scores[name])) for name in compared)
    for metric in HEADLINE:
        start = np.mean([evaluate(table, intervals=False)[metric] for table in scores[base]]) if scores[base] else np.nan
        for name in compared:
            row = dict(variant=name, metric=metric, seeds=len(scores[name]), effect=np.nan, low=np.nan, high=np.nan,
                       p=np.nan, detectable=np.nan, seeds_to_settle=np.nan, by_seed=[])  # fmt: skip
            if scores[name] and scores[base]:
                found = compare(scores[name], scores[base], metric, paired_seeds=name in paired_seeds)
                row["detectable"] = 100 * minimum_detectable_difference(*found.uncertainty.standard_error(), tests=tests)
                alone = min(found.uncertainty.seeds) < 2  # nothing is known of what seeds do
                row["seeds_to_settle"] = 0 if alone else seeds_to_settle(found.uncertainty) or np.nan
                row |= dict(zip(("effect", "low", "high"), 100 * np.array(found.effect), strict=True))
                row["p"] = found.uncertainty.test().p_value  # a swap test takes runs that differ for recipes that do
                row["by_seed"] = [100 * (evaluate(table, intervals=False)[metric] - start) for table in scores[name]]
            rows.append(row)
    table = pd.DataFrame(rows)
    for metric in HEADLINE:
        tested = (table["metric"] == metric) & table["p"].notna()
        table.loc[tested, "p"] = holm(table.loc[tested, "p"])
    return table


def readable_effects(effects: pd.DataFrame) -> pd.DataFrame:
    """An `effect_table` for people, in percentage points."""
    rows = []
    for row in effects.to_dict("records"):
        missing = np.isnan(row["effect"])
        needed = row["seeds_to_settle"]
        settled = "more people" if np.isnan(needed) else f"{needed:.0f} seeds" if needed else "–"
        rows.append({
            "change": row["variant"], "metric": NAMES[row["metric"]], "seeds": row["seeds"],
            "effect": "–" if missing else f"{row['effect']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]".replace("-", "−"),
            "p (Holm)": "–" if np.isnan(row["p"]) else f"{row['p']:.3f}",
            "detectable": "–" if missing else f"{row['detectable']:.1f}", "would be settled by": "–" if missing else settled,
        })  # fmt: skip
    return pd.DataFrame(rows)


def variance_table(groups: Groups) -> pd.DataFrame:
    """One row a variant and metric: standard deviation (percentage points) between seeds, between subjects, and of the rest."""
    rows = []
    for name, runs in groups.items():
        for metric in HEADLINE:
            row = {"variant": name, "metric": NAMES[metric], "between seeds": np.nan, "between subjects": np.nan, "rest": np.nan}
            confusions = run_confusions([labelled_scores(run) for run in runs])[0] if len(runs) > 1 else np.empty((0, 0))
            if len(runs) > 1 and confusions.shape[1] > 1:
                row |= zip(list(row)[2:], 100 * np.sqrt(variance_parts(confusions, metric)[:3]), strict=True)
            rows.append(row)
    return pd.DataFrame(rows)


def seed_effects(effects: pd.DataFrame) -> pd.DataFrame:
    """The single runs behind an `effect_table`: variant, metric, effect (percentage points)."""
    long = effects[["variant", "metric", "by_seed"]].explode("by_seed").dropna()
    return long.rename(columns={"by_seed": "effect"}).reset_index(drop=True)


def control_table(profile: str, data: str = "simulator") -> pd.DataFrame:
    """Training on shuffled labels beside the real thing and the blind answer, on the test clips."""
    asked = {"all three": VARIANTS["all three"], "shuffled labels": SHUFFLED}
    groups = find_runs(asked, profile, data, SEEDS[:1])
    rows = [score_row(name, [labelled_scores(run) for run in runs]) for name, runs in groups.items()]
    for run in groups["all three"]:
        blind = run.read_json("metrics.json")["test"]["majority"]
        rows.append({"variant": f"always {blind['name']!r}", **{m: blind[m] for m in SUMMARY if m in blind}})
    return pd.DataFrame(rows)


RECORDINGS = {"NATOPS": "natops.npz", "Northwestern-UCLA": "nw_ucla.npz"}


def recordings_table() -> pd.DataFrame:
    """Runs of the training notebook on public recordings of gestures, rows as in `score_table`; missing until run.

    Runs of one dataset that differ in more than the seed stand apart.
    """
    rows = []
    for title, file in RECORDINGS.items():
        kinds: dict[str, list[Run]] = {}
        for run in heatmap_runs(file):
            kinds.setdefault(same_question(without_seed(params_of(run))), []).append(run)
        for runs in kinds.values() or [[]]:
            settings = {k: str(params_of(runs[0])[k]) if runs else "–" for k in ("projection", "train_size", "crop_area", "epochs")}
            rows.append({**score_row(title, [labelled_scores(run) for run in runs]), **settings})
    return pd.DataFrame(rows)


def heatmap_runs(data: str) -> list[Run]:
    """The finished runs on a dataset that saw it as heatmaps; for graph networks see `recordings_table`."""
    return [run for run in runs_of_data(data) if params_of(run).get("model", "posec3d") == "posec3d"]


def recordings_sources() -> dict[str, object]:
    """The sidecar of the recordings' table."""
    runs = [run for file in RECORDINGS.values() for run in heatmap_runs(file)]
    return {"title": "The same notebook on public recordings", "source": " and ".join(RECORDINGS), "run_ids": [r.id for r in runs]}


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table for people: percent, as mean ± sd over seeds [95 % interval over subjects]; a dash where missing."""
    plain = [c for c in table.columns if not c.startswith(SUMMARY)]
    shown = table[plain].copy()
    for metric in SUMMARY:
        if metric in table:
            shown[NAMES[metric]] = [_cell(*(row.get(c, np.nan) for c in _columns(metric))) for row in table.to_dict("records")]
    return shown.astype(object).where(shown.notna(), "–")


def write_table(
    table: pd.DataFrame, name: str, sources: Mapping[str, object], folder: str = "figures",
    shown: pd.DataFrame | None = None, legend: str = LEGEND,
) -> list:  # fmt: skip
    """A table as Markdown and LaTeX (readable) and CSV (all numbers), with a JSON sidecar that says where they come from.

    shown: what people read instead of `readable(table)`; legend: how they read it.
    """
    target, shown = paths.resolve(folder), readable(table) if shown is None else shown
    caption = f"{sources['title']}. {legend} Measured on: {sources['source']}."
    text = f"{caption}\n\n{shown.to_markdown(index=False)}\n"
    sidecar = {**sources, "commit": git_commit() or None, "command": os.environ.get("MIGSTUDY_COMMAND")}
    return [
        paths.write_text(target / f"{name}.md", text),
        paths.write_text(target / f"{name}.tex", latex(shown, caption, name)),
        paths.write_text(target / f"{name}.csv", table.to_csv(index=False)),
        paths.write_text(target / f"{name}.json", json.dumps(sidecar, indent=1, ensure_ascii=False) + "\n"),
    ]


def latex(shown: pd.DataFrame, caption: str, label: str) -> str:
    """A table as LaTeX, for the packages booktabs and (long ones) adjustbox."""
    words = {
        "±": r"$\pm$", "–": "--", "−": "$-$", "×": r"$\times$", "≥": r"$\ge$", "≤": r"$\le$", "≈": r"$\approx$", "Δ": r"$\Delta$"
    }  # fmt: skip
    table = shown.astype(str).to_latex(index=False, escape=True, label=f"tab:{label.removeprefix('table_')}", position="t")
    head, body = table.split(r"\begin{tabular}")
    escaped = caption.replace("%", r"\%").replace("_", r"\_").replace("&", r"\&").replace("#", r"\#")
    text = f"{head}\\caption{{{escaped}}}\n\\begin{{tabular}}{body}"
    for sign, command in words.items():
        text = text.replace(sign, command)
    return text


def _columns(metric: str) -> tuple[str, str, str, str]:
    return metric, f"{metric} sd", f"{metric} low", f"{metric} high"


def score_row(name: str, scores: Sequence[pd.DataFrame]) -> dict[str, object]:
    """Mean over the runs, sd between them, and the interval over seeds and subjects together (of one run: over subjects)."""
    row: dict[str, object] = {"variant": name, "seeds": len(scores)}
    together = evaluate_runs(scores) if len(scores) else dict.fromkeys(SUMMARY, (np.nan,) * 3)
    each = [evaluate(table, intervals=False) for table in scores]
    for metric, (mean, low, high) in together.items():
        sd = float(np.std([m[metric] for m in each], ddof=1)) if len(each) > 1 else np.nan
        row |= dict(zip(_columns(metric), (mean, sd, low, high), strict=True))
    return row


def _cell(mean: float, sd: float, low: float, high: float) -> str:
    if np.isnan(mean):
        return "–"
    text = f"{100 * mean:.1f}" + ("" if np.isnan(sd) else f" ± {100 * sd:.1f}")
    return text if np.isnan(low) else f"{text} [{100 * low:.1f}, {100 * high:.1f}]"
