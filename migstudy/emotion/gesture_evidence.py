"""Win or lose from recognised gestures, by a model that can be read: which gestures, when, pushed which way.

A regularised logistic regression on `gesture_sequence.describe_videos`. Its log odds are a sum over gestures, and over events:
nothing is attributed afterwards. Ours; there is no published counterpart.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from migstudy.emotion.gesture_sequence import KINDS, GestureEvents, describe_videos, event_parts, typical_seconds
from migstudy.paths import write_text

if TYPE_CHECKING:
    import pandas as pd

STRENGTHS = tuple(10.0 ** (k / 2) for k in range(-10, 3))
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class GestureModel:
    """log odds of a win = bias + sum over kinds and gestures of weights x (description - mean) / scale.

    weights, mean, scale: (kinds, K). typical: (K,) s. bias: the log odds of the average training video. strength: C, the
    inverse of the L2 penalty, as chosen. log_loss: of every strength tried, on people not learned from, classes weighing the
    same where `balanced`.
    """

    class_names: tuple[str, ...]
    kinds: tuple[str, ...]
    typical: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: float
    strength: float
    balanced: bool
    log_loss: tuple[tuple[float, float], ...] = ()

    @property
    def slopes(self) -> np.ndarray:
        """(kinds, K) change of the log odds for one unit of each kind, see `gesture_sequence.KINDS`."""
        return self.weights / self.scale

    @property
    def intercept(self) -> float:
        """The log odds of a silent video: no event, so rates and shares of 0 and typical durations."""
        silent = np.array([self.typical if kind == "duration" else 0 * self.typical for kind in self.kinds])
        return float(self.bias + (self.slopes * (silent - self.mean)).sum())

    def save(self, path: str | os.PathLike) -> Path:
        """A JSON file that loads to the same numbers."""
        data = {
            key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in dataclasses.asdict(self).items()
        }
        return write_text(path, json.dumps({"format": _FORMAT, **data}, indent=1))

    @classmethod
    def load(cls, path: str | os.PathLike) -> Self:
        """Raises ValueError for a file that holds something else."""
        try:
            data = json.loads(Path(path).read_text())
            if data.pop("format") != _FORMAT:
                raise KeyError("format")
            arrays = {key: np.asarray(data.pop(key), float) for key in ("typical", "mean", "scale", "weights")}
            names = {key: tuple(data.pop(key)) for key in ("class_names", "kinds")}
            return cls(**arrays, **names, log_loss=tuple(map(tuple, data.pop("log_loss"))), **data)
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not a gesture model of this version ({error}); fit it anew") from error


def fit_gesture_model(
    events: GestureEvents,
    videos: pd.DataFrame,
    kinds: Sequence[str] = tuple(KINDS),
    strengths: Sequence[float] = STRENGTHS,
    folds: int = 5,
    balanced: bool = True,
    seed: int = 0,
) -> GestureModel:
    """Fit on videos with known results: rows with video, subject, label (1 win, 0 lose), as `EmotionVideos.table` has them.

    The strength is the one with the least log loss over `folds` stratified by result and cut by person, all of it on these
    videos; of equals the strongest penalty. balanced: wins and losses weigh the same, so log odds of 0 mean no evidence
    either way. Raises ValueError for unknown results or people, and for fewer than two people with each result.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known = videos.sort_values("video")
    _check_videos(known)
    events = events.of(known["video"].tolist())
    won, people = known["label"].to_numpy(int), known["subject"].to_numpy(str)
    typical = typical_seconds(events)
    x = describe_videos(events, typical, kinds).to_numpy()

    def make(c: float):
        logistic = LogisticRegression(C=c, class_weight="balanced" if balanced else None, max_iter=5000, tol=1e-8)
        return make_pipeline(StandardScaler(), logistic)

    splits = _splits(won, people, folds, seed)
    losses = [(float(c), _log_loss(make(c), x, won, splits, balanced)) for c in sorted(strengths)]
    strength = min(losses, key=lambda pair: pair[1])[0]
    scaler, logistic = make(strength).fit(x, won)
    shape = (len(kinds), len(events.class_names))
    return GestureModel(
        events.class_names, tuple(kinds), typical, scaler.mean_.reshape(shape), scaler.scale_.reshape(shape),
        logistic.coef_.reshape(shape), float(logistic.intercept_[0]), strength, balanced, tuple(losses),
    )  # fmt: skip


def logits(model: GestureModel, events: GestureEvents) -> pd.Series:
    """Log odds of a win of every video, by video."""
    return contributions(model, events).sum(axis=1) + model.bias


def contributions(model: GestureModel, events: GestureEvents) -> pd.DataFrame:
    """(videos, K) what each gesture adds to a video's log odds, against the average training video; `bias` + row = logit."""
    import pandas as pd

    _check_classes(model, events)
    x = describe_videos(events, model.typical, model.kinds).to_numpy().reshape(-1, *model.weights.shape)
    pushes = (model.slopes * (x - model.mean)).sum(axis=1)
    return pd.DataFrame(pushes, pd.Index(events.videos, name="video"), pd.Index(model.class_names, name="gesture"))


def evidence(model: GestureModel, events: GestureEvents, by_gesture: bool = False) -> pd.DataFrame:
    """What each event pushes the log odds of its video by, against the same video without it: `intercept` + sum = logit.

    One row an event, in order: video, clip_id, start, end (frames), gesture (the most probable), probability, push (> 0
    towards a win). A soft event pushes with all its classes; by_gesture gives one row an event and class, whose pushes add
    up to the event's. "Without it" leaves the mean duration's number of events as it is: what an event adds to a mean
    is its own share of it.
    """
    import pandas as pd

    pushes = _pushes(model, events)
    columns = ["video", "clip_id", "start", "end"]
    n, classes = events.probabilities.shape
    if by_gesture:
        table = events.table[columns].loc[np.repeat(np.arange(n), classes)].reset_index(drop=True)
        more = {"gesture": list(model.class_names) * n, "probability": events.probabilities.ravel(), "push": pushes.ravel()}
    else:
        best = events.probabilities.argmax(axis=1) if n else np.zeros(0, int)
        table = events.table[columns].copy()
        names = np.array(model.class_names, dtype=object)[best]
        more = {"gesture": names, "probability": events.probabilities[np.arange(n), best], "push": pushes.sum(axis=1)}
    return pd.concat([table, pd.DataFrame(more)], axis=1)


def importance(model: GestureModel, events: GestureEvents) -> pd.DataFrame:
    """Gestures by how far they move these videos' log odds: weight and slope of each kind, spread (SD) of the contribution."""
    import pandas as pd

    columns = {f"{kind} weight": model.weights[i] for i, kind in enumerate(model.kinds)}
    columns |= {f"{kind} slope": model.slopes[i] for i, kind in enumerate(model.kinds)}
    table = pd.DataFrame(columns, pd.Index(model.class_names, name="gesture"))
    table["spread"] = contributions(model, events).std(ddof=0).to_numpy()
    return table.sort_values("spread", ascending=False, kind="stable")


def _pushes(model: GestureModel, events: GestureEvents) -> np.ndarray:
    _check_classes(model, events)
    parts = event_parts(events, model.typical)
    return sum(slope * parts[kind] for kind, slope in zip(model.kinds, model.slopes, strict=True))


def _check_classes(model: GestureModel, events: GestureEvents) -> None:
    if tuple(events.class_names) != tuple(model.class_names):
        raise ValueError("these events and the gesture model have different classes; recognise the gestures with the same labels")


def _check_videos(videos: pd.DataFrame) -> None:
    if (twice := videos["video"].duplicated()).any():
        raise ValueError(f"video {videos['video'][twice].iloc[0]} stands twice among the videos to fit; give each once")
    for column, wrong, what in (
        ("label", ~videos["label"].isin([0, 1]), "no known result; fit on videos with label 0 or 1"),
        ("subject", videos["subject"].isna() | (videos["subject"] == ""), "no subject; folds are cut by person"),
    ):
        if wrong.any():
            raise ValueError(f"video {videos['video'][wrong].iloc[0]} has {what} ({column}; {int(wrong.sum())} such)")


def _splits(won: np.ndarray, people: np.ndarray, folds: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    from sklearn.model_selection import StratifiedGroupKFold

    groups = [len(set(people[won == result])) for result in (0, 1)]
    if min(groups) < 2:
        raise ValueError(f"{groups[1]} people won and {groups[0]} lost; it takes two of each to choose the penalty across people")
    cut = StratifiedGroupKFold(min(folds, *groups), shuffle=True, random_state=seed)
    splits = [*cut.split(won, won, people)]
    if usable := [split for split in splits if len(set(won[split[0]])) == 2]:
        return usable
    raise ValueError("no cut by person leaves both results to learn from; give more people")


def _log_loss(model, x: np.ndarray, won: np.ndarray, splits: list[tuple[np.ndarray, np.ndarray]], balanced: bool) -> float:
    """Over all videos held out; mean over videos, or over the two results' means where balanced."""
    losses, results = [], []
    for known, new in splits:
        margin = model.fit(x[known], won[known]).decision_function(x[new])
        losses.append(np.logaddexp(0, np.where(won[new] == 1, -margin, margin)))
        results.append(won[new])
    loss, result = np.concatenate(losses), np.concatenate(results)
    means = [loss[result == r].mean() for r in np.unique(result)]
    return float(np.mean(means) if balanced else loss.mean())
