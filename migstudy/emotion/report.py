"""What the runs of the win/lose track say together: models on the same videos, sizes of the effect, evidence, privacy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from migstudy.config.emotion import NEEDS, EmotionConfig
from migstudy.emotion.evaluate import compare_emotion, emotion_table
from migstudy.emotion.gesture_evidence import GestureModel, evidence
from migstudy.emotion.scores import load_emotion_scores
from migstudy.results import params_of
from migstudy.runs.folder import Run, finished_runs, same_question
from migstudy.statistics import holm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from migstudy.emotion.data import EmotionData
    from migstudy.emotion.features import EmotionFeatures

TASK = "05_train_emotion"
LEGEND = (
    "Percent ± sd of seeds [95 % interval over people]; effect: size of what a result changes in the simulator; p: against chance,"
    " by exchanged results, in brackets after Holm's correction over the models of an effect."
)


def emotion_cells(
    profile: str, effects: Sequence[float] = (0.0, 1.0), models: Sequence[str] = tuple(NEEDS), seeds: Sequence[int] = (0,)
) -> list[dict[str, str]]:
    """Options of `migstudy run 05` for every model, effect and seed, those of one effect together."""
    return [
        {"profile": profile, "emotion_effect": f"{effect:g}", "model": model, "seed": str(seed)}
        for effect in effects for seed in seeds for model in models
    ]  # fmt: skip


def emotion_runs(config: EmotionConfig) -> dict[str, list[Run]]:
    """Model -> its finished runs, one a seed, that asked what this configuration asks, model, seed and final aside."""
    free = ("model", "seed", "final")
    asked, found = same_question(_without(config.resolved().to_dict(), free)), {}
    stored = sorted(finished_runs(task=TASK), key=lambda run: run.read_json("env.json")["started"])
    for run in stored:
        params = params_of(run)
        if same_question(_without(params, free)) == asked:
            found[params["model"], params["seed"]] = run  # of equal ones the newest
    return {model: [found[key] for key in sorted(found) if key[0] == model] for model in NEEDS if model in {k[0] for k in found}}


def _without(params: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in names}


def part_of(run: Run, part: str = "cross_validation") -> pd.DataFrame:
    """A run's score table of one part: cross_validation, of the training part, or test, of the protocol's."""
    scores = load_emotion_scores(run.path("scores.parquet"))
    return scores[scores["fold"] >= 0] if part == "cross_validation" else scores[scores["fold"] < 0]


def model_scores(config: EmotionConfig, own: Run | None = None, part: str = "cross_validation") -> dict[str, list[pd.DataFrame]]:
    """Model -> score tables, one a seed; own: a run under way that counts as finished."""
    runs = emotion_runs(config)
    if own is not None:
        mine = [run for run in runs.get(config.model, []) if run.id != own.id and params_of(run)["seed"] != config.seed]
        runs[config.model] = sorted([*mine, own], key=lambda run: params_of(run)["seed"])
    return {model: [part_of(run, part) for run in found] for model, found in runs.items()}


def model_table(config: EmotionConfig, own: Run | None = None, part: str = "cross_validation") -> pd.DataFrame:
    """`emotion_table` of the models that are finished on the same videos; see `model_scores`. ValueError where none is."""
    return emotion_table({name.replace("_", " "): tables for name, tables in model_scores(config, own, part).items()})


def comparison_table(
    config: EmotionConfig, own: Run | None = None, part: str = "cross_validation", metric: str = "auc", against: str = ""
) -> pd.DataFrame:
    """A row a pair: `against` (empty: this configuration's model) less each other model, with interval, p and p by Holm.

    Seeds that only one of two models has are left out of the pair.
    """
    scores, rows = model_scores(config, own, part), []
    base = against or config.model
    for name, tables in scores.items():
        count = min(len(tables), len(scores.get(base, [])))
        if name != base and count:
            found = compare_emotion(scores[base][:count], tables[:count], metric)
            rows.append({"A": base.replace("_", " "), "B": name.replace("_", " "), "metric": metric, "seeds": count, **found})
    table = pd.DataFrame(rows)
    if len(table):
        table = table.drop(columns="p_delong").assign(**{"p holm": holm(table["p"])})
    return table.loc[:, ~table.columns.duplicated()]


def effect_table(config: EmotionConfig, effects: Sequence[float] = (0.0, 1.0), part: str = "cross_validation") -> pd.DataFrame:
    """`emotion_table` of every model at every size of the effect, first column `effect`; attrs["note"]: an effect's note each."""
    tables, notes = [], []
    for effect in effects:
        own = replace(config, emotion_effect=effect)
        if emotion_runs(own):
            table = model_table(own, part=part)
            notes.append(f"Effect {effect:g}: {table.attrs['note']}")
            tables.append(table.assign(effect=effect))
    if not tables:
        raise ValueError(f"no finished runs of {TASK} with these settings; start some with `migstudy run 05 -p emotion_effect=0`")
    whole = pd.concat(tables, ignore_index=True)
    whole.insert(0, "effect", whole.pop("effect"))
    whole.attrs = {"note": "\n".join(notes)}
    return whole


def evidence_figure(
    config: EmotionConfig, data: EmotionData, features: EmotionFeatures, run: Run, videos: Sequence[str] = ()
) -> Figure:
    """The evidence timelines of a won and a lost test video, by the readable model of a run; see `telling_videos`."""
    from migstudy.figures.evidence import draw_evidence

    model = GestureModel.load(run.path("gesture_model.json"))
    chosen = list(videos) or telling_videos(part_of(run, "test"))
    rows = evidence(model, features.events.of(chosen))
    labels = dict(zip(data.videos.table["video"], data.videos.table["label"], strict=True))
    events, results, seconds = {}, {}, {}
    for video in chosen:
        name = f"video {video}"
        events[name] = rows[rows["video"] == video].reset_index(drop=True)
        results[name], seconds[name] = labels[video], data.frames[video] / data.whole.fps
    return draw_evidence(events, results, model.intercept, data.whole.fps, seconds, data.source)


def telling_videos(scores: pd.DataFrame) -> list[str]:
    """The won and the lost test video answered most surely and rightly, or least wrongly; the extremes of unknown results."""
    test, chosen = scores[scores["split"] == "test"], []
    for label, side in ((1, 1.0), (0, -1.0)):
        rows = test[test["label"] == label] if (test["label"] == label).any() else test
        chosen.append(str(rows["video"].iloc[int(np.argmax(side * rows["logit"].to_numpy()))]))
    return chosen


def write_report(config: EmotionConfig, effects: Sequence[float] = (0.0, 1.0), folder: str | Path = "figures") -> list[Path]:
    """Tables of all models and effects, the forest, an evidence timeline and the privacy page, from stored runs alone.

    config: what the runs asked; the figures show its own effect.
    """
    from migstudy import figures
    from migstudy.emotion.data import open_emotion_data
    from migstudy.emotion.evaluate import evaluate_emotion, readable_emotion
    from migstudy.emotion.features import open_features
    from migstudy.emotion.identity_probe import probe_table, video_embeddings
    from migstudy.report.tables import write_table

    runs, written = emotion_runs(config), []
    data = open_emotion_data(replace(config, model="inter_fusion"))
    ids = [run.id for found in runs.values() for run in found]
    sources = {"source": data.source, "data_fingerprint": data.fingerprint, "run_ids": ids}
    table = effect_table(config, effects)
    shown = readable_emotion(table)
    shown.insert(0, "effect", table["effect"])
    titled = sources | {"title": "Win or lose, cross-validated by person"}
    legend = f"{LEGEND} {table.attrs['note']}".replace("\n", " ")
    written += write_table(table, "table_emotion", titled, str(folder), shown, legend)
    results = {f"{m.replace('_', ' ')}": evaluate_emotion([part_of(r) for r in found]) for m, found in runs.items()}
    written += figures.save_figure(figures.draw_emotion_forest(results, data.source), "emotion_models", folder, sources)
    needs = tuple(dict.fromkeys(need for model in runs for need in NEEDS[model]))
    features = open_features(config, data, needs)
    probes = probe_table(video_embeddings(config, data, features), data.videos.table["subject"].to_numpy())
    subjects = {name: result["subjects"] for name, result in results.items()}
    written += figures.save_figure(figures.draw_privacy(probes, subjects, data.source), "privacy", folder, sources)
    if found := runs.get("gesture_logistic"):
        drawn = evidence_figure(config, data, features, found[0])
        written += figures.save_figure(drawn, "evidence", folder, {**sources, "run_ids": [found[0].id]})
    return written
