"""Tables of the robustness curves: scores and paired changes at every value of a knob, trends, win or lose against its effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from migstudy.clips import ClipSet
from migstudy.comparison import run_confusions
from migstudy.emotion.small_sample import make_answers, subject_interval
from migstudy.intervals import cluster_interval, paired_difference, uncertainty
from migstudy.metrics import METRICS
from migstudy.report import tables
from migstudy.robustness.baselines import decode_result
from migstudy.simulate import SimulatorConfig

METRIC_NAMES = tables.HEADLINE
LEGEND = (
    "Percent, mean over runs [95 % interval over test people and runs]; change: percentage points against the trained value,"
    " paired clip by clip, with a 95 % interval over people and runs and the p of its t-test (not adjusted for the number of"
    " rows)."
)
Tables = Mapping[tuple[str, float], Mapping[str, Sequence[pd.DataFrame]]]


def robustness_table(answers: Tables, simulation: SimulatorConfig) -> pd.DataFrame:
    """One row a knob, value and model: scores with intervals over people and runs, and changes against the trained value.

    Columns: knob, value, unit, trained (whether it is the trained value), model, runs, people; of each metric m (shares): m,
    `m low`, `m high`, `m change`, `m change low`, `m change high`, `m p`; NaN changes at the trained value itself.
    """
    stacks, rows = _stacks(answers), []
    for (knob, value), models in stacks.items():
        trained = float(getattr(simulation, knob))
        for model, stack in models.items():
            row = {"knob": knob, "value": value, "unit": unit_of(knob), "trained": value == trained, "model": model,
                   "runs": len(stack), "people": stack.shape[1]}  # fmt: skip
            for metric in METRIC_NAMES:
                names = (metric, f"{metric} low", f"{metric} high")
                row |= dict(zip(names, map(float, cluster_interval(stack, metric)), strict=True))
                row |= _change(stack, stacks[knob, trained][model], metric, value == trained)
            rows.append(row)
    return pd.DataFrame(rows)


def matched_table(answers: Tables, simulation: SimulatorConfig) -> pd.DataFrame:
    """The same of classifiers trained at every value: the people of all simulations together, `runs` counts simulations."""
    pooled = {where: {name: [_pooled(several)] for name, several in models.items()} for where, models in answers.items()}
    table = robustness_table(pooled, simulation)
    counts = [len(answers[knob, value][model]) for knob, value, model in zip(table["knob"], table["value"], table["model"])]
    return table.assign(runs=counts)


def trend_table(answers: Tables, pool: bool = False) -> pd.DataFrame:
    """One row a knob and model: does top-1 rise or fall with the knob, over all its values?

    Columns: knob, model, values, spearman (of value and mean top-1), trend (`rises`, `falls`, `flat`), page_p (Page's L over
    people as blocks, two-sided), steps_against (steps between neighbouring values that go against the trend by more than
    their paired 95 % interval), people. pool: the tables of a cell are of different simulations, not runs on one.
    """
    if pool:
        answers = {where: {name: [_pooled(several)] for name, several in models.items()} for where, models in answers.items()}
    stacks, rows = _stacks(answers), []
    for knob in dict.fromkeys(knob for knob, _ in stacks):
        values = sorted(value for name, value in stacks if name == knob)
        for model in stacks[knob, values[0]]:
            steps = [stacks[knob, value][model] for value in values]
            people = np.stack([METRICS["top1"](stack).mean(0) for stack in steps], axis=1)  # (people, values)
            means = [float(METRICS["top1"](stack.sum(1)).mean()) for stack in steps]
            rho = stats.spearmanr(values, means).statistic if len(set(means)) > 1 else 0.0
            sign, against = int(np.sign(rho)), 0
            for before, after in zip(steps, steps[1:]):
                step = paired_difference(after, before, "top1", paired_seeds=True)
                against += bool(step.high < 0 if sign > 0 else step.low > 0 if sign < 0 else False)
            rows.append({
                "knob": knob, "model": model, "values": len(values), "spearman": float(rho),
                "trend": {1: "rises", -1: "falls", 0: "flat"}[sign], "page_p": _page(people, sign), "steps_against": against,
                "people": len(people),
            })  # fmt: skip
    return pd.DataFrame(rows)


def emotion_table(videos: Mapping[float, pd.DataFrame], seed: int = 0, permutations: int = 200) -> pd.DataFrame:
    """One row an effect: AUC of win against lose in videos of people not learned from, beside what chance gives.

    Columns: emotion_effect, auc, low, high (95 % over people, with the evidence as it is: it does not count what learning from
    other people would change), chance_low, chance_high (95 % of AUCs learned anew from results exchanged within people) and p,
    how often such an AUC is as large, people, videos.
    """
    rows = []
    for effect, table in videos.items():
        features = table.filter(regex=r"^f\d+$").to_numpy(float)
        won, people = table["won"].to_numpy(bool), table["subject"].to_numpy(str)
        auc = auc_over_people(_evidence(features, won, people, seed), won, people)
        chance = chance_aucs(features, won, people, permutations, seed)
        low, high = np.quantile(chance, [0.025, 0.975])
        rows.append({
            "emotion_effect": effect, **auc._asdict(), "chance_low": low, "chance_high": high,
            "p": (1 + (chance >= auc.auc).sum()) / (1 + permutations), "people": len(set(people)), "videos": len(table),
        })  # fmt: skip
    return pd.DataFrame(rows)


def chance_aucs(features: np.ndarray, won: np.ndarray, people: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """(permutations,) AUCs of the same learning on results exchanged at random among each person's own videos."""
    from sklearn.metrics import roc_auc_score

    rng, groups = np.random.default_rng(seed), [np.flatnonzero(people == person) for person in np.unique(people)]
    aucs = np.empty(permutations)
    for i in range(permutations):
        exchanged = won.copy()
        for group in groups:
            exchanged[group] = won[rng.permutation(group)]
        aucs[i] = roc_auc_score(exchanged, _evidence(features, exchanged, people, seed))
    return aucs


def _evidence(features: np.ndarray, won: np.ndarray, people: np.ndarray, seed: int) -> np.ndarray:
    # one division into five: chance has to be learned a few hundred times in the same way
    return decode_result(features, won, people, folds=5, repeats=1, seed=seed)


class AUC(NamedTuple):
    """Area under the ROC curve and its interval over people."""

    auc: float
    low: float
    high: float


def auc_over_people(scores: np.ndarray, won: np.ndarray, people: np.ndarray, confidence: float = 0.95) -> AUC:
    """How often a won video scores above a lost one (ties count half), with `small_sample.subject_interval`: (N,) each.

    Raises ValueError when all videos are won, or lost.
    """
    if won.all() or not won.any():
        raise ValueError("an AUC needs won and lost videos; simulate two videos of each person")
    # only the order counts, and it takes shares
    ranks = stats.rankdata(scores) / len(scores)
    return AUC(*subject_interval(make_answers(won, ranks, people), "auc", confidence))


def majority_of(train: ClipSet, test: ClipSet) -> float:
    """Top-1 of always answering the class most frequent in training."""
    known = test.labels[test.labels >= 0]
    return float((known == train.class_counts().argmax()).mean())


def unit_of(knob: str) -> str:
    """The unit in which a knob is given, in a word."""
    return SimulatorConfig.__dataclass_fields__[knob].metadata["unit"]


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """A `robustness_table` for people: one row a knob and value, a column a model and number."""
    rows: dict[tuple[str, float], dict[str, str]] = {}
    for entry in table.to_dict("records"):
        told = f"{entry['value']:g} {entry['unit']}" + " (trained)" * entry["trained"]
        row = rows.setdefault((entry["knob"], entry["value"]), {"knob": entry["knob"], "value": told})
        for metric in METRIC_NAMES:
            name = f"{entry['model']}: {tables.NAMES[metric]}"
            low, high = entry[f"{metric} low"], entry[f"{metric} high"]
            row[name] = f"{100 * entry[metric]:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
        change, low, high = (100 * entry[f"top1 change{end}"] for end in ("", " low", " high"))
        told = "–" if np.isnan(change) else f"{change:+.1f} [{low:+.1f}, {high:+.1f}], p {entry['top1 p']:.3f}"
        row[f"{entry['model']}: change of top-1"] = told.replace("-", "−")
    return pd.DataFrame(list(rows.values()))


def write_table(
    table: pd.DataFrame, name: str, sources: Mapping[str, object], legend: str = LEGEND, folder: str = "figures"
) -> list:
    """`report.tables.write_table` of a `robustness_table` in its readable form; other tables as they are, rounded."""
    shown = readable(table) if "top1 change" in table else table.round(3)
    return tables.write_table(table, name, sources, folder, shown, legend)


def _stacks(answers: Tables) -> dict[tuple[str, float], dict[str, np.ndarray]]:
    """Confusions (runs, people, C, C) of every cell; people stand in the same order everywhere."""
    return {where: {name: run_confusions(several)[0] for name, several in models.items()} for where, models in answers.items()}


def _pooled(several: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Score tables of different simulations as one, their people and clips kept apart."""
    named = []
    for number, table in enumerate(several):
        named.append(table.assign(**{key: f"{number}/" + table[key].astype(str) for key in ("clip_id", "video", "subject")}))
    pooled = pd.concat(named, ignore_index=True)
    pooled.attrs = dict(several[0].attrs)
    return pooled


def _change(stack: np.ndarray, base: np.ndarray, metric: str, same: bool) -> dict[str, float]:
    numbers = [np.nan] * 4
    if not same:
        found = uncertainty(stack, base, metric, paired_seeds=True)
        numbers = [*found.interval(), found.test().p_value]
    return dict(zip((f"{metric} change", f"{metric} change low", f"{metric} change high", f"{metric} p"), numbers, strict=True))


def _page(people: np.ndarray, sign: int) -> float:
    """Two-sided p of Page's test that accuracy (people, values) goes the way of `sign`; 1 where it goes no way."""
    if sign == 0 or people.shape[1] < 3:
        return float("nan") if people.shape[1] < 3 else 1.0
    ordered = people if sign > 0 else people[:, ::-1]
    return float(min(1.0, 2 * stats.page_trend_test(ordered, method="asymptotic").pvalue))
