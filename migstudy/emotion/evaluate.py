"""Everything that is said of a win/lose model, with what so few videos leave open; and the table of several models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from migstudy.emotion import binary_metrics as b
from migstudy.emotion.answers import Gathered, gather
from migstudy.emotion.binary_power import design_effect, detectable_difference, discordant_share, mdd_note
from migstudy.emotion.protocols import same_protocol
from migstudy.emotion.recipes import recipe_interval
from migstudy.emotion.scores import align_emotion_scores
from migstudy.emotion.selective import accuracy_at_coverage, risk_coverage
from migstudy.emotion.small_sample import (
    Answers,
    chance_test,
    delong_test,
    difference_interval,
    mean_metric,
    people_weights,
    swap_test,
)
from migstudy.statistics import holm, percentile_interval, wilson_interval

if TYPE_CHECKING:
    import pandas as pd

    Scores = pd.DataFrame | Sequence[pd.DataFrame]

TESTED = ("balanced_accuracy", "auc", "accuracy")
HEADLINE = ("balanced_accuracy", "auc", "accuracy", "macro_f1", "brier")
CROSS_VALIDATED = (
    "Answers of cross-validation share their chance: intervals over people are too short and p-values by exchanged results too"
    " small there, hence approximate (≈)."
)
SELECTED_ON = "Validation videos chose what is evaluated on them: values are too good and p-values too small (≈)."
COVERAGES = (0.5, 0.7, 0.9)
ENDINGS = {"": "value", " low": "low", " high": "high", " sd": "sd"}
_GRID = np.linspace(0, 1, 41)


def evaluate_emotion(
    scores: Scores, split: str = "test", threshold: str | float = "validation", unit: str = "subject", n_bins: int = 5,
    n_permutations: int = 5000, n_boot: int = 1000, confidence: float = 0.95, seed: int = 0,
) -> dict:  # fmt: skip
    """All there is to say of one model, as numbers, strings and lists, so that it goes into JSON as it is (None = undefined).

    scores: a table of `emotion.scores`, or one a seed; every number is a mean over runs (seeds x repeats). threshold: see
    `answers.gather`. unit: what chance exchanges, see `small_sample.exchange_results`. n_bins: of calibration.

    Keys: protocol, split, cross_validated, n_videos, n_won, n_subjects, n_runs; threshold {source, mean, low, high over
    models}; metrics {name: {value, low, high, sd of runs}}, intervals over people and runs; accuracy_wilson [low, high], as if videos
    were independent; majority (accuracy of the commoner result); chance {metric: {p, low, high, n, arrangements}}, its unit, and
    chance_is_exact (for split "test" without cross-validation, see `small_sample.chance_test`); calibration {raw, temperature,
    platt: {brier, log_loss, ece_mass, ece_width, ece_expected, ece_p}}, the last two by results drawn from the probabilities;
    reliability, risk_coverage, roc: curves with bounds; histogram: lost and won videos by tenths of the probability; selective
    {aurc, best, nothing, accuracy_at}; subjects {accuracy of each, and its spread}; mdd and note: what can be detected, that
    against chance above `majority`. Raises ValueError as `gather`.
    """
    found = gather(scores, split, threshold)
    answers, labels = found.answers, found.answers.labels
    if labels.min() == labels.max():
        raise ValueError(f"all {len(labels)} {split} videos have one result; evaluate videos that were won and lost")
    rng = np.random.default_rng(seed)
    accuracy = float(mean_metric(answers, "accuracy"))
    right, majority = accuracy * len(labels), float(max(labels.mean(), 1 - labels.mean()))
    tests = {name: chance_test(answers, name, unit, n_permutations, rng) for name in TESTED}
    people, effect = int(answers.clusters.max()) + 1, design_effect(answers)
    return {
        "protocol": found.protocol, "split": split, "cross_validated": found.cross_validated, "n_videos": len(labels),
        "n_won": int(labels.sum()), "n_subjects": people, "n_runs": len(answers.probabilities), "confidence": confidence,
        "subjects_known": bool((found.subjects != "").all()),
        "threshold": {
            "source": ("validation" if found.chosen else "0.5, no validation videos") if threshold == "validation" else "given",
            "mean": float(answers.thresholds.mean()), "low": float(answers.thresholds.min()),
            "high": float(answers.thresholds.max()),
        },
        "metrics": {name: _with_interval(answers, name, confidence) for name in b.METRICS},
        "accuracy_wilson": [float(x) for x in wilson_interval(right, len(labels), confidence)[1:]],
        "majority": majority,
        "unit": unit,
        "chance": {
            name: {"p": t.p_value, "low": t.low, "high": t.high, "n": t.n, "arrangements": t.arrangements}
            for name, t in tests.items()
        },
        "chance_is_exact": split == "test" and not found.cross_validated,
        "calibration": {name: _calibration(a, n_bins, seed) for name, a in {"raw": answers, **found.scaled}.items()},
        "reliability": {name: _reliability(a, n_bins, confidence) for name, a in {"raw": answers, **found.scaled}.items()},
        "histogram": _histogram(answers),
        "risk_coverage": _risk_coverage(answers, n_boot, confidence, rng),
        "roc": _roc(answers, n_boot, confidence, rng),
        "selective": _selective(answers),
        "subjects": _by_subject(found),
        "mdd": {
            "chance": _number(detectable_difference(len(labels), "chance", majority, effect=effect)),
            "paired": _number(detectable_difference(len(labels), "paired", _inside(accuracy), effect=effect)),
            "unpaired": _number(detectable_difference(len(labels), "unpaired", _inside(accuracy), effect=effect)),
            "design_effect": effect,
        },
        "note": mdd_note(len(labels), people, None, effect, _inside(accuracy), majority=majority),
    }  # fmt: skip


def compare_emotion(scores_a: Scores, scores_b: Scores, metric: str = "auc", split: str = "test", seed: int = 0) -> dict:
    """Two models on the same videos: effect A - B with its interval over people, p of the swap test by person, and of DeLong
    (with people as clusters; None but for the AUC of one run each, and where it is undefined), share of videos on which one
    alone is right.

    Raises ProtocolError or ValueError where the tables are not of the same protocol, videos and results.
    """
    both = [[s] if hasattr(s, "columns") else list(s) for s in (scores_a, scores_b)]
    align_emotion_scores({f"{name} {i}": t for name, some in zip("AB", both) for i, t in enumerate(some)}, split)
    a, other = (gather(some, split).answers for some in both)
    effect = difference_interval(a, other, metric)
    same_runs = len(a.probabilities) == len(other.probabilities)
    swap = swap_test(a, other, metric, rng=seed) if same_runs else None
    delong = None
    if metric == "auc" and len(a.probabilities) == len(other.probabilities) == 1:
        with suppress(ValueError):  # people too few for its variance; the swap test is there for them
            delong = _number(delong_test(a.labels, a.probabilities[0], other.probabilities[0], a.clusters).p_value)
    return {
        "metric": metric, "effect": effect.value, "low": _number(effect.low), "high": _number(effect.high),
        "p": swap.p_value if swap else None, "p_delong": delong, "discordant": discordant_share(a, other),
    }  # fmt: skip


def emotion_table(
    models: Mapping[str, Scores | dict], encoders: Mapping[str, str] | None = None, **options
) -> pd.DataFrame:  # fmt: skip
    """One row a model: its metrics with intervals, the permutation p, and, in `attrs["note"]`, what the videos can show.

    models: name -> score tables, or a result of `evaluate_emotion`; all of one protocol. encoders: name -> what a reader must
    know of its encoders (`encoder_people.encoder_note`), for the note. Columns: model, runs; of each of `HEADLINE` and "ece"
    its value, `... low`, `... high`, `... sd` (shares); `p balanced_accuracy`, `p auc` and the same with Holm's correction over
    models, `p ... holm`; exact: whether the p-values are, or approximate as the note says. options: of `evaluate_emotion`.
    Raises ProtocolError where protocols differ.
    """
    import pandas as pd

    if not models:
        raise ValueError("no models to tabulate")
    given = {name: value for name, value in models.items() if not isinstance(value, dict)}
    same_protocol([table for x in models.values() for table in ([x] if hasattr(x, "keys") else list(x))])
    results = {n: x if isinstance(x, dict) else evaluate_emotion(x, **options) for n, x in models.items()}
    whose = lambda r: (*r["subjects"]["name"], *r["subjects"]["videos"])
    if len({(r["n_videos"], r["n_won"], r["split"], r["cross_validated"], whose(r)) for r in results.values()}) > 1:
        raise ValueError("the models were evaluated on different videos; tabulate those of one split together")
    rows = []
    for name, result in results.items():
        row = {"model": name, "runs": result["n_runs"]}
        for metric in HEADLINE:
            row |= {metric + ending: result["metrics"][metric][key] for ending, key in ENDINGS.items()}
        row["ece"] = result["calibration"]["raw"]["ece_mass"]
        row |= {f"p {metric}": result["chance"][metric]["p"] for metric in TESTED[:2]}
        rows.append(row | {"exact": result["chance_is_exact"]})
    table = pd.DataFrame(rows)
    for metric in TESTED[:2]:
        table[f"p {metric} holm"] = holm(table[f"p {metric}"])
    first = next(iter(results.values()))
    pairs = [gather(x, **{k: v for k, v in options.items() if k in ("split", "threshold")}).answers for x in given.values()]
    differ = [discordant_share(one, two) for i, one in enumerate(pairs) for two in pairs[:i]]
    base = _inside(float(np.mean([r["metrics"]["accuracy"]["value"] for r in results.values()])))
    effect = max(r["mdd"]["design_effect"] for r in results.values())
    note = mdd_note(
        first["n_videos"], first["n_subjects"], float(np.median(differ)) if differ else None, effect, base,
        majority=first["majority"],
    )  # fmt: skip
    if not first["chance_is_exact"]:
        note += f" {CROSS_VALIDATED if first['cross_validated'] else SELECTED_ON}"
    note += _of_encoders({name: r.get("encoders", "") for name, r in results.items()} | dict(encoders or {}))
    table.attrs = {"protocol": first["protocol"], "note": note}
    return table


def _of_encoders(notes: Mapping[str, str]) -> str:
    """What the models' encoders saw, each said once; with the names of the models where they differ."""
    told: dict[str, list[str]] = {}
    for name, note in notes.items():
        if note:
            told.setdefault(note, []).append(name)
    alike = len(told) == 1 and len(next(iter(told.values()))) == len(notes)
    return "".join(f" {note}" if alike else f" {', '.join(names)}: {note}" for note, names in told.items())


def _with_interval(answers: Answers, metric: str, confidence: float) -> dict:
    value, low, high = recipe_interval(answers, metric, confidence)
    function = b.METRICS[metric]
    runs = [function(answers.labels, p, t) for p, t in zip(answers.probabilities, answers.thresholds, strict=True)]
    sd = float(np.std(runs, ddof=1)) if len(runs) > 1 else None
    return {"value": _number(value), "low": _number(low), "high": _number(high), "sd": sd}


def _calibration(answers: Answers, n_bins: int, seed: int) -> dict:
    labels, runs = answers.labels, answers.probabilities
    out = {name: float(mean_metric(answers, name)) for name in ("brier", "log_loss")}
    for strategy in ("mass", "width"):
        out[f"ece_{strategy}"] = float(np.mean([b.calibration_error(labels, p, n_bins, strategy) for p in runs]))
    null = np.mean([b.expected_calibration_error(p, n_bins, draws=500, seed=seed) for p in runs], axis=0)
    return out | {"ece_expected": float(null.mean()), "ece_p": float(((null >= out["ece_mass"]).sum() + 1) / (len(null) + 1))}


def _reliability(answers: Answers, n_bins: int, confidence: float) -> dict:
    runs = len(answers.probabilities)
    curve = b.reliability_curve(np.tile(answers.labels, runs), answers.probabilities.ravel(), n_bins, "mass", confidence, runs)
    return {name: np.asarray(values, float).tolist() for name, values in curve._asdict().items()}


def _histogram(answers: Answers) -> dict:
    """Videos of one run, lost and won, in ten equal bins of the probability."""
    runs = answers.probabilities
    chosen = {"lost": runs[:, answers.labels == 0], "won": runs[:, answers.labels == 1]}
    return {name: (np.histogram(p, 10, (0, 1))[0] / len(runs)).tolist() for name, p in chosen.items()}


def _curves(answers: Answers, draw, n_boot: int, confidence: float, rng: np.random.Generator) -> dict:
    """draw(run, chosen videos) -> values on `_GRID`: of all videos, and the band over people drawn anew."""
    everything = np.arange(len(answers.labels))
    runs = range(len(answers.probabilities))
    mean = lambda videos: np.mean([draw(run, videos) for run in runs], axis=0)
    weights, bounds = people_weights(answers, n_boot, rng), (None, None)
    if weights is not None:
        replicates = np.stack([mean(np.repeat(everything, row.astype(int))) for row in weights])
        bounds = [side.tolist() for side in percentile_interval(replicates, confidence)]
    return {"x": _GRID.tolist(), "y": mean(everything).tolist(), "low": bounds[0], "high": bounds[1]}


def _risk_coverage(answers: Answers, n_boot: int, confidence: float, rng: np.random.Generator) -> dict:
    def draw(run: int, videos: np.ndarray) -> np.ndarray:
        cut = np.broadcast_to(answers.thresholds[run], answers.labels.shape)[videos]
        curve = risk_coverage(answers.labels[videos], answers.probabilities[run][videos], cut)
        return np.interp(_GRID, curve.coverage, curve.risk)

    return _curves(answers, draw, n_boot, confidence, rng)


def _roc(answers: Answers, n_boot: int, confidence: float, rng: np.random.Generator) -> dict:
    def draw(run: int, videos: np.ndarray) -> np.ndarray:
        labels = answers.labels[videos]
        if labels.min() == labels.max():
            return np.full(len(_GRID), np.nan)
        alarms, hits = b.roc_curve(labels, answers.probabilities[run][videos])
        # where a step goes straight up, its top alone: interpolation needs one value a place
        top = np.append(np.diff(alarms) > 0, True)
        return np.interp(_GRID, alarms[top], hits[top])

    return _curves(answers, draw, n_boot, confidence, rng)


def _selective(answers: Answers) -> dict:
    pairs = [(p, np.broadcast_to(t, p.shape)) for p, t in zip(answers.probabilities, answers.thresholds, strict=True)]
    curves = [risk_coverage(answers.labels, p, t) for p, t in pairs]
    at = {f"{c:g}": float(np.mean([accuracy_at_coverage(answers.labels, p, c, t) for p, t in pairs])) for c in COVERAGES}
    parts = {name: float(np.mean([getattr(c, name) for c in curves])) for name in ("aurc", "best")}
    return parts | {"nothing": float(1 - mean_metric(answers, "accuracy")), "accuracy_at": at}


def _by_subject(found: Gathered) -> dict:
    """Accuracy of every person, its spread, and the spread that chance alone gives to people who are all alike."""
    answers = found.answers
    right = ((answers.probabilities >= answers.thresholds) == (answers.labels == 1)).mean(0)
    count = np.bincount(answers.clusters)
    share = np.bincount(answers.clusters, right) / count
    names = np.empty(len(count), object)
    names[answers.clusters] = np.where(found.subjects == "", found.videos, found.subjects)
    alone = np.sqrt(np.mean(right.var() / count)) if len(count) > 1 else np.nan
    return {
        "name": names.tolist(), "videos": count.tolist(), "accuracy": share.tolist(), "mean": float(share.mean()),
        "sd": _number(share.std(ddof=1)) if len(count) > 1 else None, "sd_alike": _number(alone),
        "quartiles": np.quantile(share, (0, 0.25, 0.5, 0.75, 1)).tolist(),
    }  # fmt: skip


def _inside(accuracy: float) -> float:
    """An accuracy to plan with: that of a worse-than-chance or perfect model says nothing about room for difference."""
    return float(np.clip(accuracy, 0.5, 0.95))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
