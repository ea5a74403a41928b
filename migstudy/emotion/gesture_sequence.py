"""The gestures recognised in a video, in order: from clips' scores to what a video's gestures amount to.

Rates, shares and durations come from soft scores: an event that is 0.7 "pressing lips" counts as 0.7 of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from migstudy.scores import check_scores, get_class_names, get_probabilities

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

KINDS = {
    "rate": "events a minute",
    "share": "share of the video's time",
    "duration": "mean seconds of an event, with one typical event added",
}
"""What is told of every gesture, and its unit."""


@dataclass(frozen=True, eq=False)
class GestureEvents:
    """Recognised gestures of some videos.

    table: one row an event, sorted by video and start: video, clip_id, start, end (frames, end inclusive). probabilities:
    (N, K) of the classes, float64. frames: video -> frames watched, also of videos without any event. fps: frames a second.
    Raises ValueError naming the clip or video for what does not fit.
    """

    table: pd.DataFrame
    probabilities: np.ndarray
    class_names: tuple[str, ...]
    fps: float
    frames: Mapping[str, int]

    def __post_init__(self) -> None:
        table = self.table
        if self.probabilities.shape != (len(table), len(self.class_names)):
            raise ValueError(
                f"gesture events: probabilities {self.probabilities.shape} for {len(table)} events of {len(self.class_names)} classes"
            )
        if not self.fps > 0:
            raise ValueError(f"gesture events: {self.fps} frames a second; give the rate of the video")
        if unknown := sorted(set(table["video"]) - set(self.frames)):
            raise ValueError(f"gesture events: no number of frames for video {unknown[0]!r}; add it to frames")
        length = table["video"].map(self.frames).to_numpy(float)
        start, end = table["start"].to_numpy(float), table["end"].to_numpy(float)
        wrong = np.flatnonzero((end < start) | (start < 0) | (end >= length))
        if wrong.size:
            row = table.iloc[wrong[0]]
            raise ValueError(
                f"gesture events: clip {row['clip_id']} lasts from frame {row['start']} to {row['end']} of video {row['video']},"
                f" which has {self.frames[row['video']]}"
            )
        order = np.lexsort((end, start, table["video"].to_numpy(str)))
        object.__setattr__(self, "table", table.iloc[order].reset_index(drop=True))
        object.__setattr__(self, "probabilities", self.probabilities[order])

    @classmethod
    def from_scores(
        cls, scores: pd.DataFrame, index: pd.DataFrame, fps: float, frames: Mapping[str, int] | None = None
    ) -> GestureEvents:
        """scores: a score table of clips; index: rows with clip_id, start and end (a `ClipSet.index` will do).

        frames: video -> its length; by default up to the end of its last clip, which makes the rates of a video that ends
        in a long pause too high. Raises ValueError naming the first clip without start and end.
        """
        scores = check_scores(scores)
        places = index.drop_duplicates("clip_id").set_index("clip_id")[["start", "end"]]
        if len(lost := scores["clip_id"][~scores["clip_id"].isin(places.index)]):
            raise ValueError(
                f"gesture events: clip {lost.iloc[0]} has scores, but no start and end in the index ({len(lost)} such)"
            )
        table = scores[["video", "clip_id"]].join(places, on="clip_id")
        last = (table.groupby("video")["end"].max() + 1).to_dict()
        frames = {str(video): int(n) for video, n in (last if frames is None else frames).items()}
        return cls(table, get_probabilities(scores).astype(np.float64), get_class_names(scores), float(fps), frames)

    @property
    def videos(self) -> list[str]:
        """All videos watched, sorted; the order of every table of videos below."""
        return sorted(self.frames)

    @property
    def seconds(self) -> np.ndarray:
        """(N,) duration of the events."""
        return (self.table["end"].to_numpy(float) - self.table["start"].to_numpy(float) + 1) / self.fps

    @property
    def owner(self) -> np.ndarray:
        """(N,) place of each event's video among `videos`."""
        return np.searchsorted(np.array(self.videos, dtype=str), self.table["video"].to_numpy(str))

    def of(self, videos: Sequence[str]) -> GestureEvents:
        """The events of some videos; raises KeyError for a video that was not watched."""
        if unknown := sorted({*videos} - {*self.frames}):
            raise KeyError(f"gesture events: video {unknown[0]!r} was not watched; recognise its gestures first")
        kept = self.table["video"].isin(list(videos)).to_numpy()
        frames = {video: self.frames[video] for video in videos}
        return GestureEvents(self.table[kept], self.probabilities[kept], self.class_names, self.fps, frames)


def typical_seconds(events: GestureEvents) -> np.ndarray:
    """(K,) mean duration of each class over all events, s, with one event of the overall mean added to each."""
    if not len(events.table):
        raise ValueError("gesture events: not one event, so nothing is known of durations")
    seconds, p = events.seconds, events.probabilities
    return (seconds @ p + seconds.mean()) / (p.sum(0) + 1)


def event_parts(events: GestureEvents, typical: np.ndarray) -> dict[str, np.ndarray]:
    """What each event adds to its video's description, kind -> (N, K); they add up to `describe_videos` less a silent video.

    A silent video has rates and shares of 0 and typical durations. typical: (K,) s, of `typical_seconds`.
    """
    p, seconds, owner = events.probabilities, events.seconds[:, None], events.owner
    watched = np.array([events.frames[video] for video in events.videos], float)[owner, None] / events.fps
    counts = sum_by(owner, p, len(events.videos))[owner]
    return {
        "rate": 60 * p / watched,
        "share": p * seconds / watched,
        "duration": p * (seconds - typical) / (counts + 1),
    }


def sum_by(owner: np.ndarray, values: np.ndarray, groups: int) -> np.ndarray:
    """(groups, ...) sums of rows with the same owner."""
    total = np.zeros((groups, *values.shape[1:]))
    np.add.at(total, owner, values)
    return total


def describe_videos(
    events: GestureEvents, typical: np.ndarray | None = None, kinds: Sequence[str] = tuple(KINDS)
) -> pd.DataFrame:
    """One row a video, one column a kind and gesture: (`rate`, name), ...; units in `KINDS`, finite for a silent video too.

    typical: (K,) s, towards which mean durations are drawn; of these events unless given. For new videos give the training
    videos'. Raises ValueError for an unknown kind.
    """
    import pandas as pd

    if unknown := [kind for kind in kinds if kind not in KINDS]:
        raise ValueError(f"unknown kind {unknown[0]!r}; choose from {', '.join(KINDS)}")
    typical = typical_seconds(events) if typical is None else np.asarray(typical, float)
    parts, owner, n = event_parts(events, typical), events.owner, len(events.videos)
    values = [sum_by(owner, parts[kind], n) + (typical if kind == "duration" else 0) for kind in kinds]
    columns = pd.MultiIndex.from_product([kinds, events.class_names], names=["kind", "gesture"])
    return pd.DataFrame(np.concatenate(values, axis=1), pd.Index(events.videos, name="video"), columns)


def gesture_tokens(events: GestureEvents) -> dict[str, np.ndarray]:
    """video -> (L, K + 2) float32, its events in order: probabilities, log(1 + duration s), log(1 + pause s before it).

    The pause reaches back to the end of the event before, or to the start of the video; 0 for events that overlap.
    """
    owner, end = events.owner, events.table["end"].to_numpy(float) + 1
    before = np.zeros(len(end))
    if len(end):
        same = owner[1:] == owner[:-1]
        before[1:] = np.where(same, end[:-1], 0)
    pause = np.maximum(events.table["start"].to_numpy(float) - before, 0) / events.fps
    rows = np.column_stack([events.probabilities, np.log1p(events.seconds), np.log1p(pause)]).astype(np.float32)
    return {video: rows[owner == i] for i, video in enumerate(events.videos)}


def gesture_batch(tokens: Mapping[str, np.ndarray], videos: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Tokens (N, L, D) float32 and mask (N, L) bool of some videos, padded at the end; L is at least 1."""
    import torch

    rows = [torch.from_numpy(tokens[video]) for video in videos]
    length = max(1, *(len(row) for row in rows))
    padded = torch.zeros(len(rows), length, rows[0].shape[1])
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return padded, torch.arange(length) < torch.tensor([len(row) for row in rows])[:, None]
