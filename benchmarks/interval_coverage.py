"""Do intervals cover what they promise, and do tests raise false alarms as rarely as they say? Simulated studies.

    python benchmarks/interval_coverage.py [--studies 1000]

Subjects of a long-tailed test set (class frequencies of iMiGUE's training clips, skills and class mixes of their own) are
drawn again and again. One process, a few minutes; writes results/<date>-<commit>-<hardware>-coverage.json.
"""

from __future__ import annotations

import argparse

import numpy as np
from record import save_result, show
from scipy import stats
from tqdm import tqdm

from migstudy import intervals, statistics
from migstudy import metrics as m
from migstudy.classes import IMIGUE_CLASSES

MANY = 24  # seeds whose mean stands for the truth, spread evenly
METRICS = ("top1", "macro_f1", "mean_class_accuracy")


class People:
    """A population of people: each with a mix of classes, and a skill, around the population's."""

    def __init__(self, rng: np.random.Generator, effect: float = 0.0) -> None:
        counts = np.array([c.train for c in IMIGUE_CLASSES], float) + 1
        self.share, self.classes, self.rng = counts / counts.sum(), len(counts), rng
        self.skill = np.log(np.clip(np.log10(counts) / 4, 0.05, 0.9)) + 1
        self.effect = effect

    def study(self, subjects: int, seeds: int, seed_sd: float, clips: int = 50) -> tuple[np.ndarray, np.ndarray]:
        """Confusions (seeds, subjects, C, C) of configurations A and B on the same clips of the same people."""
        shape = (seeds, subjects, self.classes, self.classes)
        runs = np.zeros(shape), np.zeros(shape)
        drawn = self.rng.normal(0, 1, (2, seeds)) if seeds < MANY else np.tile(stats.norm.ppf((np.arange(seeds) + 0.5) / seeds), (2, 1))
        shifts = seed_sd * drawn + np.array([[self.effect], [0.0]])
        for s in range(subjects):
            labels = self.rng.choice(self.classes, 1 + self.rng.poisson(clips), p=self.rng.dirichlet(20 * self.share + 1e-3))
            person, taste = self.rng.normal(0, 0.5), self.rng.normal(0, 0.2)
            for config, stack in enumerate(runs):
                for k in range(seeds):
                    logit = self.skill[labels] + person + taste * (1 - config) + shifts[config][k]
                    right = self.rng.random(len(labels)) < 1 / (1 + np.exp(-logit))
                    answers = np.where(right, labels, self.rng.choice(self.classes, len(labels), p=self.share))
                    np.add.at(stack[k, s], (labels, answers), 1)
        return runs


def coverage(studies: int, subjects: int, seeds: int, seed_sd: float, rng: np.random.Generator) -> dict[str, float]:
    """Shares of studies whose interval holds the truth, by metric and method, and of false alarms where there is no effect."""
    people = People(rng, effect=0.4)
    truth = [stack.sum(1) for stack in people.study(3000 if seed_sd == 0 else 600, 1 if seed_sd == 0 else MANY, seed_sd)]
    true = [{name: float(m.METRICS[name](runs).mean()) for name in METRICS} for runs in truth]
    recall = m.recall(truth[0].sum(0))
    counts: dict[str, list[bool]] = {}

    def note(name: str, low: float, high: float, value: float) -> None:
        counts.setdefault(name, []).append(low <= value <= high)

    for _ in tqdm(range(studies), f"{subjects} subjects, {seeds} seeds", leave=False):
        a, b = people.study(subjects, seeds, seed_sd)
        for name in METRICS:
            if seed_sd == 0:
                # the mean class accuracy of a study speaks of the classes that it shows
                value = true[0][name] if name != "mean_class_accuracy" else float(recall[a[0].sum((0, 2)) > 0].mean())
                note(f"{name}: jackknife t", *intervals.cluster_interval(a[0], name)[1:], value)
                note(f"{name}: percentile bootstrap", *statistics.cluster_bootstrap(a[0], name, 400, rng=rng)[1:], value)
            if name != "mean_class_accuracy":
                effect = true[0][name] - true[1][name]
                note(f"{name}: difference over seeds and subjects", *intervals.paired_difference(a, b, name)[1:], effect)
    people.effect = 0.0
    for _ in tqdm(range(studies), "no effect", leave=False):
        a, b = (stack[0] for stack in people.study(subjects, 1, 0.0))
        counts.setdefault("false alarms: swap test", []).append(statistics.swap_test(a, b, "macro_f1", 2000, rng).p_value <= 0.05)
        counts.setdefault("false alarms: paired bootstrap", []).append(
            intervals.paired_bootstrap(a, b, "macro_f1", 1000, rng).p_value <= 0.05
        )
        counts.setdefault("false alarms: McNemar (clips as independent)", []).append(_mcnemar(a, b, rng) <= 0.05)
    return {name: float(np.mean(hits)) for name, hits in counts.items()}


def _mcnemar(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> float:
    """McNemar's p from confusions: which clips both get right is drawn within each person and class, as it was simulated."""
    right_a, right_b, clips = (x.reshape(-1).astype(int) for x in (
        np.diagonal(a, axis1=1, axis2=2), np.diagonal(b, axis1=1, axis2=2), a.sum(2)))  # fmt: skip
    both = rng.hypergeometric(right_a, clips - right_a, right_b)
    flags = np.repeat([(True, True), (True, False), (False, True)], [both.sum(), (right_a - both).sum(), (right_b - both).sum()], 0)
    return statistics.mcnemar(flags[:, 0], flags[:, 1], mid_p=True).p_value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies of each kind")
    studies = parser.parse_args().studies
    rng = np.random.default_rng(0)
    cases = [(7, 1, 0.0), (7, 3, 0.2), (12, 3, 0.2), (35, 1, 0.0), (35, 3, 0.2), (35, 5, 0.4)]
    measured = {f"{s} subjects, {k} seeds, seed sd {sd:g}": coverage(studies, s, k, sd, rng) for s, k, sd in cases}
    for case, row in measured.items():
        show({name: {case: value} for name, value in row.items()})
    print(save_result("coverage", measured, {"studies": studies, "clips_per_subject": 50, "nominal": 0.95, "alpha": 0.05}))


if __name__ == "__main__":
    main()
