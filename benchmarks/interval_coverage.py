"""Do intervals cover what they promise, and do tests raise false alarms as rarely as they say? Simulated studies.

    python benchmarks/interval_coverage.py [--studies 1000]

Subjects of a long-tailed test set (class frequencies of iMiGUE's training clips; each with a skill, a mix of classes and a
number of clips of their own) are drawn again and again, and seeds that learn each class a little otherwise. An interval is
right when it holds the metric's expected value on as many people: the mean over all studies of a case. One process, some ten
minutes; writes results/<date>-<commit>-<hardware>-coverage.json.
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

METRICS = ("top1", "macro_f1", "mean_class_accuracy")
ENDLESS = 4000  # people of the study that stands for the limit
EFFECT = 0.4  # of configuration A over B, on the log odds of a right answer


class People:
    """A population of people and of seeds; standard deviations are on the log odds of a right answer."""

    def __init__(self, rng: np.random.Generator, person_sd: float, seed_sd: float, effect: float, shared: bool = False) -> None:
        counts = np.array([c.train for c in IMIGUE_CLASSES], float) + 1
        self.rng, self.share, self.classes = rng, counts / counts.sum(), len(counts)
        self.skill = np.log(np.clip(np.log10(counts) / 4, 0.05, 0.9)) + 1
        self.person_sd, self.seed_sd, self.effect, self.shared = person_sd, seed_sd, effect, shared
        # wrong answers: half of them frequent classes, half two look-alikes
        wrong = np.tile(self.share, (self.classes, 1)) / 2
        fixed = np.random.default_rng(123)
        for c in range(self.classes):
            wrong[c, fixed.choice(np.delete(np.arange(self.classes), c), 2, replace=False)] += 0.25
        np.fill_diagonal(wrong, 0)
        self.wrong = np.cumsum(wrong / wrong.sum(1, keepdims=True), axis=1)

    def study(self, subjects: int, seeds: int) -> tuple[np.ndarray, np.ndarray]:
        """Confusions (2, seeds, subjects, C, C) of A and B on the same clips, and which clips are got right (2, seeds, clips)."""
        rng, classes = self.rng, self.classes
        clips = 1 + rng.poisson(50 * rng.lognormal(-0.125, 0.5, subjects))
        who = np.repeat(np.arange(subjects), clips)
        mix = np.cumsum(rng.dirichlet(20 * self.share + 1e-3, subjects), axis=1)
        labels = self._draw(mix[who])
        person, hard = rng.normal(0, self.person_sd, subjects), rng.normal(0, 0.7, len(who))
        taste = rng.normal(0, 0.2, (2, subjects))
        drawn = rng.normal(0, self.seed_sd, (2, seeds, 1 + classes))
        if self.shared:
            drawn = drawn[[0, 0]] / np.sqrt(1.25) + rng.normal(0, self.seed_sd, drawn.shape) / np.sqrt(5)
        stack, flags = [], []
        for config, seed in np.ndindex(2, seeds):
            shift = drawn[config, seed, 0] + drawn[config, seed, 1 + labels] + self.effect * (1 - config)
            logit = self.skill[labels] + (person + taste[config])[who] + hard + shift
            right = rng.random(len(who)) < 1 / (1 + np.exp(-logit))
            answers = np.where(right, labels, self._draw(self.wrong[labels]))
            stack.append(m.cluster_confusions(labels, answers, who, classes, subjects))
            flags.append(right)
        shape = (2, seeds, subjects, classes, classes)
        return np.reshape(stack, shape), np.reshape(flags, (2, seeds, -1))

    def _draw(self, cumulative: np.ndarray) -> np.ndarray:
        return np.minimum((self.rng.random((len(cumulative), 1)) > cumulative).sum(1), self.classes - 1)


def coverage(people: People, studies: int, subjects: int, seeds: int, bootstrap: bool) -> dict[str, float]:
    """Share of intervals that hold the expected value, and their mean length, by metric."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for _ in tqdm(range(studies), f"{subjects} subjects, {seeds} seeds", leave=False):
        a, b = people.study(subjects, seeds)[0]
        for name in METRICS:
            rows = {"": intervals.cluster_interval(a, name)}
            if seeds > 1:
                rows[", seeds not counted"] = _over_people(a, name)
            elif bootstrap:
                rows[", percentile bootstrap"] = statistics.cluster_bootstrap(a[0], name, 400, rng=people.rng)
            rows[", difference"] = intervals.paired_difference(a, b, name, paired_seeds=people.shared)
            for kind, interval in rows.items():
                found.setdefault(name + kind, []).append(tuple(map(float, interval)))
    endless = people.study(ENDLESS, 1)[0][0, 0].sum(0)
    measured = {}
    for name, rows in found.items():
        value, low, high = np.array(rows).T
        measured[name] = _held(value.mean(), low, high)
        measured[f"{name}, length"] = float(np.mean(high - low))
        if name in METRICS:
            measured[f"{name}, expected"] = float(value.mean())
        if name in METRICS and not people.seed_sd:
            limit = float(m.METRICS[name](endless))
            measured |= {f"{name}, of endless people": limit, f"{name}, coverage of that": _held(limit, low, high)}
    return measured


def _held(target: float, low: np.ndarray, high: np.ndarray) -> float:
    return float(np.mean((low <= target) & (target <= high)))


def _over_people(runs: np.ndarray, metric: str) -> tuple[float, float, float]:
    """Jackknife interval of the mean of these runs: what an interval is that takes the runs for the recipe."""
    value, without = (x.mean(0) for x in intervals.leave_one_out(runs, metric))
    count = len(without)
    half = stats.t.ppf(0.975, count - 1) * np.sqrt((count - 1) * without.var())
    return value, value - half, value + half


def false_alarms(people: People, studies: int, subjects: int, seeds: int) -> dict[str, float]:
    """Share of studies in which a test at 0.05 finds a difference of macro-F1 between two equal configurations."""
    p: dict[str, list[float]] = {}
    for _ in tqdm(range(studies), f"no effect: {subjects} subjects, {seeds} seeds", leave=False):
        (a, b), right = people.study(subjects, seeds)
        tests = {
            "t-test over seeds and people": intervals.difference_test(a, b, "macro_f1", people.shared),
            "swap test": statistics.swap_test(a, b, "macro_f1", 499, people.rng),
            "paired bootstrap": intervals.paired_bootstrap(a, b, "macro_f1", 499, people.rng),
        }
        if seeds == 1:
            tests["McNemar (clips as independent)"] = statistics.mcnemar(right[0, 0], right[1, 0], mid_p=True)
        for name, test in tests.items():
            p.setdefault(f"false alarms: {name}", []).append(test.p_value)
    return {name: float(np.mean(np.array(values) <= 0.05)) for name, values in p.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies of each kind")
    studies, rng, measured = parser.parse_args().studies, np.random.default_rng(0), {}
    for person_sd in (0.5, 1.0):
        for subjects in (7, 20, 35):
            kinds = [(1, 0.0, False), (3, 0.3, False), (5, 0.3, False), (3, 0.3, True)]
            for seeds, seed_sd, shared in kinds if person_sd == 1 else kinds[:2]:
                people = People(rng, person_sd, seed_sd, EFFECT, shared)
                case = f"{subjects} subjects (sd {person_sd:g}), {seeds} seeds (sd {seed_sd:g}{', shared' * shared})"
                measured[case] = coverage(people, studies, subjects, seeds, bootstrap=person_sd == 1)
                if person_sd == 1:
                    people.effect = 0.0
                    measured[case] |= false_alarms(people, studies, subjects, seeds)
    for case, row in measured.items():
        show({name: {case: value} for name, value in row.items()})
    settings = {"studies": studies, "clips_per_subject": 50, "nominal": 0.95, "alpha": 0.05, "effect": EFFECT}
    print(save_result("coverage", measured, settings))


if __name__ == "__main__":
    main()
