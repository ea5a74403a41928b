"""Videos, people and results of the win/lose track, under one protocol at a time.

The CVPR 2021 emotion split and the MiGA challenge split overlap: training videos of one are test videos of the other. So each
is a type of its own, every prediction carries its protocol's key, and whatever brings two keys together raises ProtocolError.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from migstudy.datasets.protocols import imigue_protocols
from migstudy.datasets.release_errors import Problem, ReleaseError
from migstudy.datasets.release_labels import VideoFacts, read_video_table
from migstudy.datasets.release_layout import SIMULATION_FILE, VIDEO_TABLE, find_release

if TYPE_CHECKING:
    import pandas as pd

PROTOCOLS = ("cvpr", "challenge", "simulated", "folders")
COLUMNS = ("video", "subject", "label", "split")
SPLITS = ("train", "val", "test")
CVPR_RESULTS = {"train": (51, 51), "test": (50, 50)}  # (lost, won), as published


class ProtocolError(ValueError):
    """Videos or predictions of different protocols were brought together, or a protocol was asked of data that have another."""


@dataclass(frozen=True, eq=False)
class EmotionVideos:
    """The videos of one protocol. protocol: its key, carried by every score table; notes: what a reader should know.

    table: one row a video, sorted by split and id: video, subject ("" unknown), label (1 win, 0 lose, -1 unknown), split (train,
    val or test). Made by `read_emotion_videos`; the subclasses are the protocols. Raises ValueError for a faulty table.
    """

    table: pd.DataFrame
    protocol: str = ""
    notes: tuple[str, ...] = ()
    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "protocol", self.protocol or self.name)
        if not self.name or self.protocol.split(":")[0] != self.name:
            fix = f"its key starts with {self.name!r}" if self.name else "make one of its subclasses"
            raise ProtocolError(f"{type(self).__name__} with protocol {self.protocol!r}: {fix}")
        object.__setattr__(self, "table", _checked(self.table, self.protocol))

    def __len__(self) -> int:
        return len(self.table)

    def select(self, split: str) -> pd.DataFrame:
        """The rows of one split; ValueError where it has none."""
        rows = self.table[self.table["split"] == split].reset_index(drop=True)
        if rows.empty:
            there = ", ".join(f"{name} {count}" for name, count in self.counts().items())
            raise ValueError(f"protocol {self.protocol}: no {split!r} videos; there are {there}")
        return rows

    def counts(self) -> dict[str, int]:
        """Videos of each split that has any."""
        return {s: int(n) for s in SPLITS if (n := (self.table["split"] == s).sum())}


class CvprVideos(EmotionVideos):
    """CVPR 2021 (iMiGUE): 102 training and 100 test videos by the published lists, subjects disjoint, no validation part."""

    name = "cvpr"


class ChallengeVideos(EmotionVideos):
    """MiGA challenge: 241 / 10 / 104 videos; the test part's results are withheld, so its labels are always -1."""

    name = "challenge"

    def __post_init__(self) -> None:
        super().__post_init__()
        test = self.table["split"] == "test"
        object.__setattr__(self, "table", self.table.assign(label=self.table["label"].mask(test, -1)))


class SimulatedVideos(EmotionVideos):
    """A simulated release's own folders; its key names settings and seed, so two simulations do not mix either."""

    name = "simulated"


class FolderVideos(EmotionVideos):
    """Somebody's own videos in the layout of the release, split by their folders; its key names folder, split and results."""

    name = "folders"


def protocol_of(item) -> str:
    """The key of an EmotionVideos, a score table, a result of `evaluate_emotion`, or the key itself."""
    if isinstance(item, EmotionVideos):
        return item.protocol
    if not isinstance(item, str):
        found = item["protocol"]
        found = [found] if isinstance(found, str) else sorted(set(found))
        if len(found) != 1:
            raise ProtocolError(f"one table holds the protocols {found}; {_NEVER_MIX}")
        item = found[0]
    if item.split(":")[0] not in PROTOCOLS:
        raise ProtocolError(f"unknown protocol {item!r}; it must be one of {', '.join(PROTOCOLS)} (with a key after ':')")
    return item


_NEVER_MIX = "they share videos between training and test, so train, compare and tabulate within one protocol"


def same_protocol(items: Iterable) -> str:
    """The one key of all items (as `protocol_of` takes them); ProtocolError where they differ."""
    keys = list(dict.fromkeys(protocol_of(item) for item in items))
    if len(keys) != 1:
        raise ProtocolError(f"protocols {' and '.join(keys) or '(none)'} cannot be combined: {_NEVER_MIX}")
    return keys[0]


def read_emotion_videos(
    root: str | Path, protocol: str = "auto", table: str | Path | None = None, strict: bool = True
) -> EmotionVideos:
    """The videos of a release with their people and results.

    root: folder of a release, real or simulated. protocol: "cvpr", "challenge", "simulated", "folders"; "auto" takes a
    simulated release's or one's own folders, and asks for a choice where the videos are iMiGUE's. table: csv with video_id,
    subject_id, win_or_lose; None = the release's labels_20200831.csv. strict: videos that the protocol lists and the table
    lacks, results that are not the published 51/51 and 50/50, or subjects on the wrong side are errors; else notes.
    Raises ReleaseError for files, ProtocolError for a protocol that the data cannot have, each naming the fix.
    """
    from migstudy.paths import resolve

    root = resolve(root)
    if protocol not in ("auto", *PROTOCOLS):
        raise ProtocolError(f"unknown protocol {protocol!r}; choose auto, {', '.join(PROTOCOLS)}")
    found = (root / VIDEO_TABLE, *sorted(root.glob(f"*/{VIDEO_TABLE}")))
    path = resolve(table) if table else next((p for p in found if p.is_file()), None)
    begun = root / f"{SIMULATION_FILE}.partial"
    if begun.is_file():
        raise ReleaseError([Problem(begun, "the simulation of this folder is unfinished", "run it again")])
    if path is None or not path.is_file():
        fix = "put the full release's table there, or pass table= with video_id, subject_id and win_or_lose"
        raise ReleaseError([Problem(path or root / VIDEO_TABLE, "is missing, so no video has a result", fix)])
    facts = read_video_table(path)
    marker = root / SIMULATION_FILE
    if marker.is_file():
        if protocol not in ("auto", "simulated"):
            raise ProtocolError(f"{root} is simulated; results on it are not {protocol!r} results: use protocol='simulated'")
        return SimulatedVideos(_by_folders(root, facts), _simulation_key(marker))
    if protocol == "simulated":
        raise ProtocolError(f"{root} holds no {SIMULATION_FILE}, so it is not simulated; choose cvpr, challenge or folders")
    if protocol == "cvpr":
        return _cvpr(facts, path, strict)
    if protocol == "challenge":
        return _challenge(facts, path, strict)
    listed = imigue_protocols().cvpr_emotion
    if protocol == "auto" and sum(video in facts for video in (*listed.train, *listed.test)) > 150:
        raise ProtocolError(f"{root} holds iMiGUE's videos; choose protocol='cvpr' or 'challenge': {_NEVER_MIX}")
    own = _by_folders(root, facts)
    divided = own.sort_values("video").to_csv(index=False)  # a video moved to another folder makes another protocol
    return FolderVideos(own, f"folders:{root.name}-{hashlib.sha256(divided.encode()).hexdigest()[:8]}")


def _cvpr(facts: dict[str, VideoFacts], path: Path, strict: bool) -> CvprVideos:
    listed, people = imigue_protocols().cvpr_emotion, imigue_protocols().cvpr
    splits = {video: split for split in ("train", "test") for video in getattr(listed, split)}
    rows, faults = _listed(splits, facts)
    for video, subject, _, split in rows:
        if people.split_of(subject) != split:
            whom = f"subject {subject}" if subject else "an unknown subject"
            faults.append(f"video {video} of the {split} list shows {whom}, who is not among the {split} subjects")
    for split, published in CVPR_RESULTS.items():
        found = tuple(sum(row[2] == label and row[3] == split for row in rows) for label in (0, 1))
        if found != published:
            told = f"{published[0]} and {published[1]} are published"
            faults.append(f"{split} has {found[0]} lost and {found[1]} won videos, {told}")
    return CvprVideos(_frame(rows), notes=_notes(faults, path, strict, "CVPR"))


def _challenge(facts: dict[str, VideoFacts], path: Path, strict: bool) -> ChallengeVideos:
    lists = imigue_protocols().challenge.videos
    rows, faults = _listed({video: split for split in SPLITS for video in lists[split]}, facts)
    faults += [f"video {video} of {split} has no result" for video, _, label, split in rows if label < 0 and split != "test"]
    notes = _notes(faults, path, strict, "challenge")
    people = {split: {row[1] for row in rows if row[3] == split and row[1]} for split in SPLITS}
    shared = sorted((people["train"] & people["test"]) | (people["train"] & people["val"]) | (people["val"] & people["test"]))
    if shared:
        notes += (f"subjects {', '.join(shared[:5])} stand in two splits; the published split has it so",)
    return ChallengeVideos(_frame(rows), notes=notes)


def _listed(splits: dict[str, str], facts: dict[str, VideoFacts]) -> tuple[list[tuple], list[str]]:
    missing = sorted(set(splits) - set(facts))
    faults = [f"{len(missing)} listed videos are missing, {missing[0]} first"] if missing else []
    return [(v, facts[v].subject, facts[v].emotion, split) for v, split in splits.items() if v in facts], faults


def _notes(faults: list[str], path: Path, strict: bool, what: str) -> tuple[str, ...]:
    if faults and strict:
        fix = "use the official table, or strict=False and say so beside the results"
        raise ReleaseError([Problem(path, f"{fault} ({what} protocol)", fix) for fault in faults])
    return tuple(faults)


def _by_folders(root: Path, facts: dict[str, VideoFacts]) -> pd.DataFrame:
    videos = find_release(root, labels_needed=False).videos
    if lost := [v for v in videos if v.video not in facts]:
        fix = "add its row, or delete the folder"
        raise ReleaseError([Problem(lost[0].skeleton.parent, f"the table has no row of {lost[0].video} ({len(lost)} such)", fix)])
    return _frame([(v.video, facts[v.video].subject, facts[v.video].emotion, v.split) for v in videos])


def _simulation_key(marker: Path) -> str:
    try:
        facts = json.loads(marker.read_text(encoding="utf-8"))
        what = {key: facts[key] for key in ("format", "profile", "seed", "config")}
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseError([Problem(marker, f"is damaged ({error!r})", "simulate again")]) from error
    told = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    return f"simulated:{what['profile']}-seed{what['seed']}-{told}"


def _frame(rows: list[tuple]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(COLUMNS))


def _checked(table: pd.DataFrame, where: str) -> pd.DataFrame:
    missing = [c for c in COLUMNS if c not in table]
    if missing or not len(table):
        raise ValueError(f"protocol {where}: the table of videos lacks {missing or 'rows'}; it needs {', '.join(COLUMNS)}")
    table = table[list(COLUMNS)].copy()
    for name in ("video", "subject", "split"):
        table[name] = table[name].astype(str)
    table["label"] = table["label"].astype(np.int64)
    for bad, what in (
        (table["video"].duplicated(), "stands in the table twice"),
        (~table["label"].isin((-1, 0, 1)), "has a result other than 1 win, 0 lose, -1 unknown"),
        (~table["split"].isin(SPLITS), f"has a split other than {', '.join(SPLITS)}"),
    ):
        if bad.any():
            raise ValueError(f"protocol {where}: video {table['video'][bad.idxmax()]} {what}")
    if where.split(":")[0] != "challenge":  # whose published lists are not ours to mend
        people = table[table["subject"] != ""].groupby("subject")["split"].nunique()
        if (people > 1).any():
            raise ValueError(f"protocol {where}: subject {people.idxmax()} stands in several splits; move the videos into one")
    order = table["split"].map(SPLITS.index)
    return table.iloc[np.lexsort([table["video"], order])].reset_index(drop=True)
