"""Win or lose on few videos: do intervals cover, do tests hold their level, how soon is a difference found? Simulated studies.

    python benchmarks/emotion_uncertainty.py [--studies 400]

People differ in what their face adds to a model's answers and in how often they win. One process, some minutes; writes
results/<date>-<commit>-<hardware>-emotion_uncertainty.json. The numbers in the docstrings of small_sample come from here.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from record import save_result, show
from scipy.special import expit
from tqdm import tqdm

from migstudy.emotion import small_sample as s
from migstudy.emotion.binary_power import detectable_difference
from migstudy.emotion.folds import cross_validation_folds

METRICS = ("accuracy", "auc", "macro_f1")


def study(rng: np.random.Generator, people: int, each: int, effect: float, person: float, luck: float = 0.0) -> s.Answers:
    """A model's answers. effect: log odds of won over lost; person: sd of a person's part; luck: sd of who wins how often."""
    who = np.repeat(np.arange(people), each)
    won = (rng.random(len(who)) < expit(luck * rng.normal(0, 1, people)[who])).astype(int)
    won[:2] = 0, 1
    logits = effect * (won - 0.5) + person * rng.normal(0, 1, people)[who] + rng.normal(0, 1, len(who))
    return s.make_answers(won, expit(logits), who)


def coverage(studies: int, people: int, effect: float, rng: np.random.Generator) -> dict[str, float]:
    """Shares of studies (three videos a person) whose 95 % interval holds the truth."""
    truth = {name: float(s.mean_metric(study(rng, 40_000, 3, effect, 0.7), name)) for name in METRICS}
    held: dict[str, list[bool]] = {}
    for _ in tqdm(range(studies), f"coverage, {people} people", leave=False):
        answers = study(rng, people, 3, effect, 0.7)
        for name, value in truth.items():
            found = s.subject_interval(answers, name), s.subject_bootstrap(answers, name, 400, rng=rng)
            for method, (_, low, high) in zip(("jackknife", "bootstrap"), found, strict=True):
                held.setdefault(f"{method}: {name}", []).append(low <= value <= high)
    return {name: float(np.mean(flags)) for name, flags in held.items()}


def false_alarms(studies: int, luck: float, rng: np.random.Generator) -> dict[str, float]:
    """Shares of null studies in which a test against chance gives p <= 0.05, by what it exchanges (AUC, 16 people, 80 videos)."""
    drawn, rates = [study(rng, 16, 5, 0.0, 3.0, luck) for _ in range(studies)], {}
    for unit in s.UNITS:
        alarms = [s.chance_test(a, "auc", unit, 199, rng).p_value <= 0.05 for a in tqdm(drawn, unit, leave=False)]
        rates[f"exchanging by {unit}"] = float(np.mean(alarms))
    return rates


def cross_validated(studies: int, luck: float, rng: np.random.Generator) -> dict[str, float]:
    """The same for answers gathered from five folds, and shares of intervals without 0.5: 27 people, 80 videos, logistic
    regression on 10 features of people."""
    from sklearn.linear_model import LogisticRegression

    people, alarms, areas, missed = np.arange(80) % 27, [], [], []
    for number in tqdm(range(studies), "cross-validation", leave=False):
        won = (rng.random(80) < expit(luck * rng.normal(0, 1, 27)[people])).astype(int)
        features = 1.5 * rng.normal(0, 1, (27, 10))[people] + rng.normal(0, 1, (80, 10))
        names = np.array([f"{i:03d}" for i in range(80)])
        rows, logits = pd.DataFrame({"video": names, "subject": people.astype(str), "label": won}), np.zeros(80)
        for fold in cross_validation_folds(rows, 5, 1, number):
            new = np.isin(names, fold.held_out)
            model = LogisticRegression(C=0.1).fit(features[~new], won[~new])
            logits[new] = model.decision_function(features[new])
        answers = s.make_answers(won, expit(logits), people)
        areas.append(float(s.mean_metric(answers, "auc")))
        alarms.append(s.chance_test(answers, "auc", "subject", 199, rng).p_value <= 0.05)
        found = s.subject_interval(answers, "auc")
        missed.append(not found.low <= 0.5 <= found.high)
    told = {"exchanging by subject, model fixed": alarms, "interval without 0.5": missed, "mean AUC": areas}
    return {name: float(np.mean(values)) for name, values in told.items()}


def power(studies: int, rng: np.random.Generator) -> dict[str, float]:
    """Shares of studies of 100 videos, one a person, that find the minimum detectable difference (stated: 0.8)."""
    gain = detectable_difference(100, "chance")
    found = []
    for _ in tqdm(range(studies), "power", leave=False):
        won = rng.permutation(np.arange(100) % 2)
        answers = s.make_answers(won, np.where(rng.random(100) < 0.5 + gain, won, 1 - won), np.arange(100))
        found.append(s.chance_test(answers, "accuracy", "subject", 999, rng).p_value <= 0.05)
    return {f"{100 * gain:.1f} points above chance": float(np.mean(found))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=400, help="simulated studies of each kind")
    studies = parser.parse_args().studies
    rng, measured = np.random.default_rng(0), {}
    for effect in (0.0, 1.5, 3.5):
        for people in (7, 12, 35):
            measured[f"coverage, {people} people, effect {effect:g}"] = coverage(studies, people, effect, rng)
    for luck in (0.0, 4.0):
        measured[f"false alarms, luck {luck:g}"] = false_alarms(studies, luck, rng)
    for luck in (0.0, 2.0):
        measured[f"false alarms, five folds, luck {luck:g}"] = cross_validated(studies, luck, rng)
    measured["power"] = power(studies, rng)
    for case, row in measured.items():
        show({name: {case: value} for name, value in row.items()})
    print(save_result("emotion_uncertainty", measured, {"studies": studies, "nominal": 0.95, "alpha": 0.05}))


if __name__ == "__main__":
    main()
