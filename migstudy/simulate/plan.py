"""Who appears in which video, in which split, and which gestures each video holds: the published long tail, kept exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from migstudy.classes import IMIGUE_CLASSES
from migstudy.simulate.config import SPLITS, SimulatorConfig
from migstudy.simulate.emotion import mood_of
from migstudy.simulate.subject import Subject, draw_subject

PLAN_STREAM, SUBJECT_STREAM, VIDEO_STREAM = 0, 1, 2  # seed sequences: np.random.default_rng([seed, stream, ...])
_PROTOCOL_SUBJECTS = (34, 3, 35)  # the CVPR protocol's 37 + 35 people, three of the 37 kept for validation


@dataclass(frozen=True)
class VideoPlan:
    """video: 4 digits. number: its place in the plan, which seeds it. split: of config.SPLITS. subject: id. won: whether the
    speaker has won. classes: csv classes of its clips, in order."""

    video: str
    number: int
    split: str
    subject: int
    won: bool
    classes: tuple[int, ...]


def class_counts(total: int, split: str, least: int) -> np.ndarray:
    """(32,) clips of every class that add up to `total`, in the published proportions (train + val counts).

    least: clips every class gets, taken from the commonest classes (where total allows). Where `total` equals the published
    count of the split, the published counts themselves.
    """
    column = {"train": "train", "validate": "val"}.get(split)
    if column:
        published = np.array([getattr(gesture, column) for gesture in IMIGUE_CLASSES])
        if total == published.sum() and published.min() >= least:
            return published
    shares = np.array([gesture.train + gesture.val for gesture in IMIGUE_CLASSES], float)
    exact = total * shares / shares.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    counts = np.maximum(counts, least)
    while counts.sum() > max(total, least * len(counts)):
        counts[np.argmax(counts)] -= 1
    return counts


def make_plan(config: SimulatorConfig, seed: int) -> tuple[list[VideoPlan], dict[int, Subject]]:
    """All videos and subjects of a release; the same for the same config and seed."""
    rng = np.random.default_rng([seed, PLAN_STREAM])
    sizes = _PROTOCOL_SUBJECTS if config.protocol else config.subjects
    ids = rng.permutation(np.arange(1, sum(sizes) + 1))
    plan: list[VideoPlan] = []
    subjects: dict[int, Subject] = {}
    for s, (split, people) in enumerate(zip(SPLITS, np.split(ids, np.cumsum(sizes)[:-1]))):
        for person in people:
            draw = np.random.default_rng([seed, SUBJECT_STREAM, int(person)])
            subjects[int(person)] = draw_subject(draw, config, len(IMIGUE_CLASSES))
        videos = _videos(split, len(people), config)
        owners = [int(people[i % len(people)]) for i in range(len(videos))]
        # every second video of a person is won, so that the person does not give the result away
        won = [bool((i // len(people) + i % len(people)) % 2) for i in range(len(videos))]
        total = sum(videos.values()) if config.protocol else config.clips[s]
        sizes_left = np.array(list(videos.values())) if config.protocol else _spread(total, len(videos), rng)
        counts = class_counts(total, split, config.min_clips[s])
        weights = np.exp([_preference(subjects[o], w, config) for o, w in zip(owners, won)])
        for i, classes in enumerate(_deal(counts, sizes_left, weights, rng)):
            number = len(plan)
            name = list(videos)[i] if config.protocol else f"{number + 1:04d}"
            plan.append(VideoPlan(name, number, split, owners[i], won[i], tuple(classes)))
    return plan, subjects


def _videos(split: str, people: int, config: SimulatorConfig) -> dict[str, int]:
    if not config.protocol:
        return {str(i): 0 for i in range(people * config.videos_per_subject)}
    from migstudy.datasets.protocols import imigue_protocols

    return dict(imigue_protocols().challenge.videos[{"validate": "val"}.get(split, split)])


def _spread(total: int, videos: int, rng: np.random.Generator) -> np.ndarray:
    """Clips of each video: even within a third, adding up to `total`."""
    shares = rng.uniform(0.67, 1.33, videos)
    edges = np.round(np.cumsum(np.concatenate([[0], shares / shares.sum()])) * total).astype(int)
    return np.diff(edges)


def _preference(subject: Subject, won: bool, config: SimulatorConfig) -> np.ndarray:
    """(32,) log weight of every class for a person in a mood."""
    return subject.habits + mood_of(won, config).rates


def _deal(counts: np.ndarray, sizes: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> list[list[int]]:
    """Deal the clips of every class to the videos, the rare classes first, by weight and by room left; both sums hold."""
    left, hands = sizes.copy(), [[] for _ in sizes]
    for c in np.argsort(counts, kind="stable"):
        for _ in range(counts[c]):
            chance = weights[:, c] * left
            video = int(rng.choice(len(left), p=chance / chance.sum()))
            hands[video].append(IMIGUE_CLASSES[c].csv_class)
            left[video] -= 1
    return [[int(x) for x in rng.permutation(hand)] for hand in hands]
