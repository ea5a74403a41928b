"""What the runs of the win/lose track say together: models on the same videos, sizes of the effect, evidence, privacy."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from migstudy.config.emotion import NEEDS, EmotionConfig
from migstudy.emotion.answers import gather
from migstudy.emotion.evaluate import compare_emotion, emotion_table
from migstudy.emotion.gesture_evidence import GestureModel, evidence
from migstudy.emotion.recipes import recipe_difference
from migstudy.emotion.scores import load_emotion_scores
from migstudy.results import params_of, provenance
from migstudy.runs.folder import Run, finished_runs, same_question
from migstudy.statistics import holm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from migstudy.emotion.data import EmotionData
    from migstudy.emotion.features import EmotionFeatures

TASK = "05_train_emotion"
PROBES, EVIDENCE = "identity.json", "evidence.json"  # in a run's folder: what its encoders gave away, and why it answered so
_EVENT = ["video", "clip_id", "start", "end", "gesture", "probability", "push"]
EFFECTS = (0.0, 1.0, 2.0, 4.0)
LEGEND = (
    "Percent ± sd of seeds [95 % interval over people, of several seeds over these too]; p: against chance, by exchanged results,"
    " of these runs, in brackets after Holm's correction over the models of an effect."
)
EFFECT_LEGEND = (
    "Effect: size of what a result changes in the simulator, 1 its default, 0 nothing; so the size of what is found here is the"
    " simulator's, not iMiGUE's."
)
PAIR_LEGEND = (
    "Percentage points of AUC, cross-validated [95 % interval over people, of several seeds over these too]; p of the difference (its"
    " t-test; of one seed by swapping people's answers, which speaks of these runs), in brackets after Holm's correction over the"
    " models of an effect; effect: size of what a result changes in the simulator."
)


def emotion_cells(
    profile: str, effects: Sequence[float] = EFFECTS, models: Sequence[str] = tuple(NEEDS), seeds: Sequence[int] = (0,)
) -> list[dict[str, str]]:
    """Options of `migstudy run 05` for every model, effect and seed, those of one effect together."""
    return [
        {"profile": profile, "emotion_effect": f"{effect:g}", "model": model, "seed": str(seed)}
        for effect in effects for seed in seeds for model in models
    ]  # fmt: skip


def emotion_runs(config: EmotionConfig) -> dict[str, list[Run]]:
    """Model -> its finished runs, one a seed, that asked what this configuration asks, model, seed and final aside."""
    found = {(params["model"], params["seed"]): run for params, run in _asked_alike(config, _FREE)}  # of equal ones the newest
    return {model: [found[key] for key in sorted(found) if key[0] == model] for model in NEEDS if model in {k[0] for k in found}}


def finished_effects(config: EmotionConfig) -> tuple[float, ...]:
    """The sizes of the effect, ascending, of the finished runs that asked what this configuration asks but for it."""
    return tuple(sorted({params["emotion_effect"] for params, _ in _asked_alike(config, (*_FREE, "emotion_effect"))}))


_FREE = ("model", "seed", "final")


def _asked_alike(config: EmotionConfig, free: Sequence[str]) -> Iterator[tuple[dict[str, Any], Run]]:
    """Parameters and folder of the finished runs that differ from a configuration in `free` alone, the oldest first."""
    asked = same_question(_without(config.resolved().to_dict(), free))
    for run in sorted(finished_runs(task=TASK), key=lambda run: run.read_json("env.json")["started"]):
        params = params_of(run)
        if same_question(_without(params, free)) == asked:
            yield params, run


def _without(params: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in names}


def part_of(run: Run, part: str = "cross_validation") -> pd.DataFrame:
    """A run's score table of one part: cross_validation, of the training part, or test, of the protocol's."""
    scores = load_emotion_scores(run.path("scores.parquet"))
    return scores[scores["fold"] >= 0] if part == "cross_validation" else scores[scores["fold"] < 0]


def _with_own(config: EmotionConfig, own: Run | None) -> dict[str, list[Run]]:
    """`emotion_runs`, and a run under way that counts as finished."""
    runs = emotion_runs(config)
    if own is not None:
        mine = [run for run in runs.get(config.model, []) if run.id != own.id and params_of(run)["seed"] != config.seed]
        runs[config.model] = sorted([*mine, own], key=lambda run: params_of(run)["seed"])
    return runs


def model_table(config: EmotionConfig, own: Run | None = None, part: str = "cross_validation") -> pd.DataFrame:
    """`emotion_table` of the models that are finished on the same videos; own: a run under way that counts as finished.

    Its note says what the encoders saw. ValueError where no model is.
    """
    runs = {model.replace("_", " "): found for model, found in _with_own(config, own).items()}
    tables = {name: [part_of(run, part) for run in found] for name, found in runs.items()}
    return emotion_table(tables, {name: encoder_facts_of(found, part)["encoders"] for name, found in runs.items()})


def encoder_facts_of(runs: Sequence[Run], part: str = "cross_validation") -> dict[str, Any]:
    """What runs of one model keep of their encoders, see `encoder_people.encoder_facts`."""
    kept = [run.read_json("metrics.json").get(part, {}) for run in runs]
    told = dict.fromkeys(facts.get("encoders", "") for facts in kept)
    return {"encoders": " ".join(filter(None, told)), "optimistic": any(facts.get("optimistic", False) for facts in kept)}


def comparison_table(
    config: EmotionConfig, own: Run | None = None, part: str = "cross_validation", metric: str = "auc", against: str = ""
) -> pd.DataFrame:
    """A row a pair: `against` (empty: this configuration's model) less each other model, with interval, p and p by Holm.

    Of several seeds, interval and p are over seeds and people, see `recipe_difference`; of one over people, see `compare_emotion`.
    Seeds that only one of two models has are left out of the pair.
    """
    runs = {model: {params_of(run)["seed"]: run for run in found} for model, found in _with_own(config, own).items()}
    base, rows = against or config.model, []
    for name, seeds in runs.items():
        common = sorted(seeds.keys() & runs.get(base, {}).keys())
        if name != base and common:
            pair = [[part_of(runs[model][seed], part) for seed in common] for model in (base, name)]
            found = compare_emotion(*pair, metric)
            if len(common) > 1:  # what that says of these runs, runs of one model would often say of each other
                doubt = recipe_difference(*(gather(tables, "test").answers for tables in pair), metric)
                found |= {"low": doubt.interval().low, "high": doubt.interval().high, "p": doubt.test().p_value}
            words = {"A": base.replace("_", " "), "B": name.replace("_", " "), "metric": metric, "seeds": len(common)}
            rows.append({**words, **found})
    table = pd.DataFrame(rows)
    if len(table):
        table, tested = table.drop(columns="p_delong"), table["p"].notna()
        table.loc[tested, "p holm"] = holm(table.loc[tested, "p"])
    return table.loc[:, ~table.columns.duplicated()]


def effect_table(
    config: EmotionConfig, effects: Sequence[float] | None = None, part: str = "cross_validation"
) -> pd.DataFrame:  # fmt: skip
    """`emotion_table` of every model at every size of the effect, first column `effect`; attrs["note"]: an effect's note each.

    effects: None = those that have finished runs. Models that one of them lacks have `runs` 0 there and no numbers. Raises
    ValueError where no run is finished.
    """
    effects = finished_effects(config) if effects is None else effects
    found = {effect: emotion_runs(replace(config, emotion_effect=effect)) for effect in effects}
    models = [model.replace("_", " ") for model in NEEDS if any(model in runs for runs in found.values())]
    if not models:
        raise ValueError(f"no finished runs of {TASK} with these settings; start some with `migstudy run 05 -p emotion_effect=0`")
    tables, notes = [], []
    for effect, runs in found.items():
        if runs:
            table = model_table(replace(config, emotion_effect=effect), part=part)
            notes.append(f"Effect {effect:g}: {table.attrs['note']}")
        else:
            table = pd.DataFrame({"model": [], "runs": []})
            notes.append(f"Effect {effect:g}: no finished run.")
        tables.append(table.set_index("model").reindex(models).reset_index().assign(effect=effect))
    whole = pd.concat(tables, ignore_index=True)
    whole["runs"] = whole["runs"].fillna(0).astype(int)
    whole.insert(0, "effect", whole.pop("effect"))
    whole.attrs = {"note": "\n".join(notes)}
    return whole


def pair_table(config: EmotionConfig, effects: Sequence[float], base: str = "inter_fusion") -> pd.DataFrame:
    """`comparison_table` of one model less every other, for people, at every size of the effect; no rows where it is not finished."""
    rows = []
    for effect in effects:
        for row in comparison_table(replace(config, emotion_effect=effect), against=base).to_dict("records"):
            difference = "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * row[name] for name in ("effect", "low", "high")))
            rows.append({"effect": effect, "against": row["B"], "seeds": row["seeds"], "difference of AUC": difference.replace("-", "−"),
                         "p (Holm)": f"≈ {row['p']:.3f} ({row['p holm']:.3f})"})  # fmt: skip
    return pd.DataFrame(rows)


def keep_evidence(run: Run, data: EmotionData, features: EmotionFeatures) -> None:
    """Keep with the run what each gesture of its test videos pushed its readable model, so that drawing needs no encoder."""
    model, test = GestureModel.load(run.path("gesture_model.json")), data.videos.select("test")
    results = zip(test["video"].tolist(), test["label"].tolist(), strict=True)
    videos = [{"video": video, "label": label, "frames": data.frames[video]} for video, label in results]
    rows = evidence(model, features.events.of(test["video"].tolist())).to_dict("records")
    run.write_json(EVIDENCE, {"fps": data.whole.fps, "intercept": model.intercept, "videos": videos, "events": rows})


def evidence_figure(run: Run, videos: Sequence[str] = ()) -> Figure:
    """The evidence timelines of a won and a lost test video, by the readable model of a run; see `telling_videos`.

    From what `keep_evidence` left in its folder; ValueError where that is missing.
    """
    from migstudy.figures.evidence import draw_evidence

    kept = run.read_json(EVIDENCE)
    rows, about = pd.DataFrame(kept["events"], columns=_EVENT), {row["video"]: row for row in kept["videos"]}
    events, results, seconds = {}, {}, {}
    for video in videos or telling_videos(part_of(run, "test")):
        name = f"video {video}"
        events[name] = rows[rows["video"] == video].reset_index(drop=True)
        results[name], seconds[name] = about[video]["label"], about[video]["frames"] / kept["fps"]
    return draw_evidence(events, results, kept["intercept"], kept["fps"], seconds, run.read_json("metrics.json")["source"])


def stored_probes(runs: Mapping[str, Sequence[Run]]) -> tuple[pd.DataFrame, dict[str, str]]:
    """What finished runs keep of who can be told apart, see `identity_probe`; and modality -> the command that makes what is missing.

    runs: model -> its runs; of several that looked at a modality the newest counts.
    """
    rows: dict[str, dict] = {}
    asked: dict[str, str] = {}
    started = {run: run.read_json("env.json") for found in runs.values() for run in found}
    models = {run: model for model, found in runs.items() for run in found}
    for run in sorted(started, key=lambda run: started[run]["started"]):
        asked |= dict.fromkeys(NEEDS[models[run]], started[run].get("command", ""))
        if run.path(PROBES).exists():
            rows |= {row["modality"]: row for row in run.read_json(PROBES)["probes"]}
    return pd.DataFrame(rows.values()), {name: command for name, command in asked.items() if name not in rows}


def one_source(sources: Sequence[str]) -> str:
    """Lines that name data of several simulations as one, where they differ: `folder quick_emotion_0/2, 137 points`."""
    start = os.path.commonprefix(sources).rstrip("0123456789.")  # a number is named whole
    end = os.path.commonprefix([source[len(start) :][::-1] for source in sources])[::-1]
    parts = dict.fromkeys(source[len(start) : len(source) - len(end)] for source in sources)
    return start + "/".join(parts) + end


def telling_videos(scores: pd.DataFrame) -> list[str]:
    """The won and the lost test video answered most surely and rightly, or least wrongly; the extremes of unknown results."""
    test, chosen = scores[scores["split"] == "test"], []
    for label, side in ((1, 1.0), (0, -1.0)):
        rows = test[test["label"] == label] if (test["label"] == label).any() else test
        chosen.append(str(rows["video"].iloc[int(np.argmax(side * rows["logit"].to_numpy()))]))
    return chosen


def write_report(
    config: EmotionConfig, effects: Sequence[float] | None = None, folder: str | Path = "figures"
) -> list[Path]:  # fmt: skip
    """Tables of all models and effects, the forest, an evidence timeline and the privacy page, from stored runs alone.

    No data are opened and no encoder is asked: what a run did not keep is drawn as missing, and a printed line says how to get it.

    config: what the runs asked, whatever their effect. effects: of the table, None = those that have finished runs; the figures
    show the largest that has some.
    """
    from migstudy import figures
    from migstudy.emotion.evaluate import evaluate_emotion
    from migstudy.emotion.readable import readable_emotion
    from migstudy.report.tables import write_table

    table, written = effect_table(config, effects), []
    config = replace(config, emotion_effect=float(table.loc[table["runs"] > 0, "effect"].max()))
    runs = emotion_runs(config)
    ids = {
        effect: [run.id for found in emotion_runs(replace(config, emotion_effect=effect)).values() for run in found]
        for effect in table["effect"].unique().tolist()
    }
    sources = provenance(runs)
    of_all = one_source([provenance(emotion_runs(replace(config, emotion_effect=e)))["source"] for e in ids if ids[e]])
    titled = sources | {"title": "Win or lose, cross-validated by person", "run_ids": sum(ids.values(), []), "source": of_all}
    simulated = config.data == "simulator"
    legend = f"{LEGEND} {EFFECT_LEGEND * simulated} {table.attrs['note']}".replace("\n", " ").replace("  ", " ")
    written += write_table(table, "table_emotion", titled, str(folder), readable_emotion(table), legend)
    if len(pairs := pair_table(config, list(ids))):
        told = {**titled, "title": "InterFusion less each other model, on the same videos"}
        written += write_table(pairs, "table_emotion_pairs", told, str(folder), pairs, PAIR_LEGEND)
    if simulated and table["effect"].nunique() > 1:
        drawn = figures.draw_emotion_effects(table, of_all)
        written += figures.save_figure(drawn, "emotion_effects", folder, titled)
    results = {
        model.replace("_", " "): evaluate_emotion([part_of(run) for run in found]) | encoder_facts_of(found)
        for model, found in runs.items()
    }
    title = f"Win or lose, effect {config.emotion_effect:g} of the simulator" if simulated else ""
    drawn = figures.draw_emotion_forest(results, sources["source"], title=title)
    written += figures.save_figure(drawn, "emotion_models", folder, sources)
    probes, missing = stored_probes(runs)
    for name, command in missing.items():
        print(f"privacy: no finished run keeps what {name} gives away; made by: {command}")
    drawn = figures.draw_privacy(probes, results, sources["source"], tuple(missing))
    written += figures.save_figure(drawn, "privacy", folder, sources)
    if readable := [run for run in runs.get("gesture_logistic", []) if run.path(EVIDENCE).is_file()]:
        drawn, sources = evidence_figure(readable[0]), {**sources, "run_ids": [readable[0].id]}
    else:
        asked = [f"-p {name}={getattr(config, name)}" for name in ("profile", "data", "emotion_effect")]
        said = f"made by: migstudy run 05 {' '.join(asked)} -p model=gesture_logistic"
        print(f"evidence: no finished run of gesture_logistic keeps its evidence; {said}")
        drawn = figures.draw_missing("evidence of a won and a lost video", said, sources["source"])
        sources = {**sources, "run_ids": []}
    return written + figures.save_figure(drawn, "evidence", folder, sources)
