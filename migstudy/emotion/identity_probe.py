"""How well what a model sees of a video tells people apart: a linear probe, asked about one video at a time.

A video is left out; a linear discriminant analysis (one covariance within people, shrunk as by Ledoit and Wolf 2004; equal
priors) that knows one or more other videos of every person says who it shows. Whoever can be told apart can be recognised, whether
or not anybody wanted that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from migstudy.config.emotion import EmotionConfig
from migstudy.statistics import wilson_interval

if TYPE_CHECKING:
    import pandas as pd

    from migstudy.emotion.data import EmotionData
    from migstudy.emotion.features import EmotionFeatures

_LEAST_VIDEOS = 2


class Probe(NamedTuple):
    """top1: share of videos whose person comes first, with its 95 % interval; chance: 1 / people; rank: median place of the right
    person, 1 = first; videos, people: how many; p: of so many by chance, one-sided binomial."""

    top1: float
    low: float
    high: float
    chance: float
    rank: float
    videos: int
    people: int
    p: float


def identity_probe(embeddings: np.ndarray, people: np.ndarray) -> Probe:
    """The probe on embeddings (N, D) of videos of people (N,), names; people with one video only are left out.

    A video without embedding (NaN) counts as not recognised. The interval takes videos for independent (Wilson). ValueError
    with fewer than two people of two videos.
    """
    from scipy.stats import binom

    people = np.asarray(people).astype(str)
    x = np.asarray(embeddings, float)
    if x.ndim != 2 or len(x) != len(people):
        raise ValueError(f"embeddings {x.shape} for {len(people)} videos; give an array (N, D) and a person for each")
    names, count = np.unique(people, return_counts=True)
    kept = np.isin(people, names[count >= _LEAST_VIDEOS])
    x, people = x[kept], people[kept]
    names = np.unique(people)
    if len(names) < 2:
        raise ValueError(f"{len(names)} people have {_LEAST_VIDEOS} videos or more; the probe needs two such people")
    whole = np.isfinite(x).all(1)
    spread = x[whole].std(0)
    x = (x[:, spread > 1e-9] - x[whole].mean(0)[spread > 1e-9]) / spread[spread > 1e-9]
    ranks = np.full(len(x), len(names), float)
    for i in np.flatnonzero(whole):
        rest = whole.copy()
        rest[i] = False
        if people[i] in people[rest]:
            distance, known = _distances(x[i], x[rest], people[rest])
            ranks[i] = 1 + (distance < distance[np.searchsorted(known, people[i])]).sum()
    right = int((ranks == 1).sum())
    top1, low, high = wilson_interval(right, len(x))
    p = float(binom.sf(right - 1, len(x), 1 / len(names)))
    return Probe(float(top1), float(low), float(high), 1 / len(names), float(np.median(ranks)), len(x), len(names), p)


def _distances(video: np.ndarray, x: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared Mahalanobis distances of a video (D,) to the means of all people, (P,), and their names, sorted."""
    from sklearn.covariance import ledoit_wolf

    known, owner = np.unique(people, return_inverse=True)
    means = np.zeros((len(known), x.shape[1]))
    np.add.at(means, owner, x)
    means /= np.bincount(owner)[:, None]
    within = x - means[owner]
    several = np.bincount(owner)[owner] > 1  # who has one video only tells nothing of how a person varies
    covariance = ledoit_wolf(within[several], assume_centered=True)[0] if several.any() else np.eye(x.shape[1])
    covariance += 1e-6 * max(np.trace(covariance) / len(covariance), 1e-6) * np.eye(len(covariance))
    away = video - means
    return (away * np.linalg.solve(covariance, away.T).T).sum(1), known


def video_embeddings(config: EmotionConfig, data: EmotionData, features: EmotionFeatures) -> dict[str, np.ndarray]:
    """Modality -> (N, D) of all videos in the order of the protocol's table: what each would give a model on average.

    face and context: mean token; skeleton: each joint's mean place in the body's own frame; gesture: rates and shares of time.
    """
    from migstudy.emotion.features import video_embedding
    from migstudy.emotion.gesture_sequence import describe_videos

    config, videos, found = config.resolved(), data.videos.table["video"].tolist(), {}
    for name, source in features.tokens.items():
        found[name] = np.stack([video_embedding(source, data, video, config.window_seconds) for video in videos])
    if features.skeleton is not None:
        found["skeleton"] = np.stack([_mean_pose(features, data, video, config) for video in videos])
    if features.events is not None:
        found["gesture"] = describe_videos(features.events, kinds=("rate", "share")).loc[videos].to_numpy()
    return found


def _mean_pose(features: EmotionFeatures, data: EmotionData, video: str, config: EmotionConfig) -> np.ndarray:
    """(2 V,) mean coordinates over the windows of a video, one window at a time; joints that are never seen are 0."""
    total, shown = 0.0, 0.0
    for number in range(len(data.window_edges(video, config.window_seconds)) - 1):
        piece = features.skeleton.segment(video, number, number + 1)
        seen = piece[2] > 0
        total, shown = total + (piece[:2] * seen).sum(1), shown + seen.sum(0)
    return (total / np.maximum(shown, 1)).ravel()


def probe_table(embeddings: Mapping[str, np.ndarray], people: np.ndarray) -> pd.DataFrame:
    """One row a modality: the fields of `Probe`."""
    import pandas as pd

    return pd.DataFrame([{"modality": name, **identity_probe(x, people)._asdict()} for name, x in embeddings.items()])
