"""Which videos and subjects the iMiGUE protocols put where, and how many clips each must hold.

Facts only, from `assets/imigue_protocols.json`, which names its source. The gesture classes live in `migstudy.classes`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from types import MappingProxyType

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Challenge:
    """MiGA challenge split: video -> number of label rows, a split at a time.

    videos: {"train": 241 videos with 12,893 clips, "val": 10 with 777, "test": 104 with 4,562}.
    dropped: videos whose skeletons are empty.
    """

    videos: Mapping[str, Mapping[str, int]]
    dropped: tuple[str, ...]

    def split_of(self, video: str) -> str | None:
        """Split of a 4-digit video id, or None when the protocol does not know it."""
        return next((split for split, rows in self.videos.items() if video in rows), None)

    def clips_of(self, video: str) -> int | None:
        """Number of label rows the protocol counts for a video, or None."""
        return next((rows[video] for rows in self.videos.values() if video in rows), None)

    def clips(self, split: str) -> int:
        """Clips of a whole split."""
        return sum(self.videos[split].values())

    def matches(self, rows: Mapping[str, int], share: float = 0.8) -> bool:
        """Whether these videos are the official ones, judged by how many label rows each has.

        rows: video id -> label rows found. Ids alone prove nothing (a simulated release may reuse them), but many equal
        row counts do: true when at least 5 videos, and at least `share` of all, have exactly the protocol's count.
        """
        known = [video for video in rows if video not in self.dropped]
        equal = sum(rows[video] == self.clips_of(video) for video in known)
        return equal >= 5 and equal >= share * len(known)


@dataclass(frozen=True)
class Cvpr:
    """CVPR 2021 cross-subject split: subjects as text ("1" ... "72"), clips {"train": 13936, "test": 4563}."""

    train_subjects: tuple[str, ...]
    test_subjects: tuple[str, ...]
    clips: Mapping[str, int]

    def split_of(self, subject: str) -> str | None:
        """Split of a subject id, or None."""
        if subject in self.train_subjects:
            return "train"
        return "test" if subject in self.test_subjects else None


@dataclass(frozen=True)
class CvprEmotion:
    """CVPR 2021 emotion split: 102 training and 100 test videos. It overlaps the challenge split: never mix the two."""

    train: tuple[str, ...]
    test: tuple[str, ...]

    def split_of(self, video: str) -> str | None:
        """Split of a video, or None (more than 150 videos are in neither list)."""
        if video in self.train:
            return "train"
        return "test" if video in self.test else None


@dataclass(frozen=True)
class Protocols:
    """The three published iMiGUE splits and where the numbers come from."""

    challenge: Challenge
    cvpr: Cvpr
    cvpr_emotion: CvprEmotion
    source: str


@lru_cache(maxsize=1)
def imigue_protocols() -> Protocols:
    """The iMiGUE protocols shipped with the package."""
    raw = json.loads(resources.files("migstudy").joinpath("assets/imigue_protocols.json").read_text(encoding="utf-8"))
    challenge, cvpr, emotion = raw["challenge"], raw["cvpr"], raw["cvpr_emotion"]
    return Protocols(
        challenge=Challenge(
            videos=MappingProxyType({split: MappingProxyType(challenge[split]) for split in SPLITS}),
            dropped=tuple(challenge["dropped"]),
        ),
        cvpr=Cvpr(_texts(cvpr["train_subjects"]), _texts(cvpr["test_subjects"]), MappingProxyType(cvpr["clips"])),
        cvpr_emotion=CvprEmotion(tuple(emotion["train"]), tuple(emotion["test"])),
        source=raw["source"],
    )


def _texts(numbers: Iterable[int]) -> tuple[str, ...]:
    return tuple(str(number) for number in numbers)
