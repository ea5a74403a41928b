"""What a reader read, left out and moved, and how the counts compare with the published protocols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import NamedTuple

import pandas as pd

from migstudy.datasets.protocols import SPLITS, imigue_protocols


class Count(NamedTuple):
    """One number of a protocol beside the number found."""

    protocol: str
    quantity: str
    expected: int
    found: int

    @property
    def ok(self) -> bool:
        return self.expected == self.found


@dataclass(frozen=True)
class ReadReport:
    """The account of one reading.

    shape: "openpose" or "light_hand"; unit: "clip" or "video"; split_by: the rule that made the splits ("challenge",
    "cvpr", "cvpr_emotion" or "folders"). official: whether the videos have the challenge's label-row counts; counts are
    compared only then. skipped: (video, why). moved: (video, split of its folder, split of the protocol). notes: what
    else a reader of the results should know. problems: faults passed over because `strict` was off.
    """

    root: str
    shape: str
    unit: str
    split_by: str
    official: bool
    counts: tuple[Count, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    moved: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """No problem was passed over and every compared count is the published one."""
        return not self.problems and all(count.ok for count in self.counts)

    def protocol_table(self) -> pd.DataFrame:
        """Columns protocol, quantity, expected, found, ok; no rows when the data is not the official protocol's."""
        rows = [(*count, count.ok) for count in self.counts]
        return pd.DataFrame(rows, columns=["protocol", "quantity", "expected", "found", "ok"])

    def text(self) -> str:
        """The account in lines of plain text."""
        lines = [f"read {self.root}: {self.shape} files, one item a {self.unit}, splits by {self.split_by}"]
        if not self.official:
            lines.append("not the official protocol: clip counts are not compared with the published ones")
        for count in self.counts:
            expected = "" if count.ok else f", expected {count.expected:,}"
            lines.append(f"{'✓' if count.ok else '✗'} {count.protocol}: {count.found:,} {count.quantity}{expected}")
        lines += [f"skipped {video}: {why}" for video, why in self.skipped]
        lines += [f"moved {video} from {old} to {new}, as the protocol has it" for video, old, new in self.moved]
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"passed over: {problem}" for problem in self.problems]
        return "\n".join(lines)

    def to_dict(self) -> dict:
        """Plain data that `ReadReport.from_dict` reads back."""
        return asdict(self) | {"counts": [list(count) for count in self.counts]}

    @classmethod
    def from_dict(cls, data: Mapping) -> ReadReport:
        return cls(**{
            **data, "counts": tuple(Count(*count) for count in data["counts"]),
            "skipped": tuple(map(tuple, data["skipped"])), "moved": tuple(map(tuple, data["moved"])),
            "notes": tuple(data["notes"]), "problems": tuple(data["problems"]),
        })  # fmt: skip


def protocol_counts(videos: pd.DataFrame, cvpr: bool) -> tuple[Count, ...]:
    """Published counts beside those found.

    videos: one row a video: video, subject ("" unknown), rows (label rows), read (False for a skipped one). cvpr:
    compare with the CVPR protocol too; its counts include the label rows of videos whose skeletons are empty.
    """
    protocols, counts = imigue_protocols(), []
    for split in SPLITS:
        published = protocols.challenge.videos[split]
        mine = videos[videos["read"] & videos["video"].isin(published)]
        counts.append(Count("challenge", f"{split} videos", len(published), len(mine)))
        counts.append(Count("challenge", f"{split} clips", sum(published.values()), int(mine["rows"].sum())))
    if cvpr:
        published = protocols.cvpr
        total = sum(published.clips.values())
        counts.append(Count("CVPR 2021", "clips of all videos", total, int(videos["rows"].sum())))
        for split, subjects in (("train", published.train_subjects), ("test", published.test_subjects)):
            mine = videos[videos["subject"].isin(subjects)]
            if (videos["subject"] != "").all():
                counts.append(Count("CVPR 2021", f"{split} subjects", len(subjects), mine["subject"].nunique()))
                counts.append(Count("CVPR 2021", f"{split} clips", published.clips[split], int(mine["rows"].sum())))
    return tuple(counts)
