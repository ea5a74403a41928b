"""The data doctor: what is wrong with a ClipSet before anything is trained on it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from migstudy.clips import ClipSet
from migstudy.datasets.protocols import imigue_protocols
from migstudy.datasets.read_report import ReadReport, protocol_counts
from migstudy.doctor.findings import Finding, judge
from migstudy.doctor.pose_quality import Quality, measure_quality

SEVERITIES = ("ok", "warn", "error")
NO_SPLIT = "no split"
_SIGNS = {"ok": "ok   ", "warn": "warn ", "error": "ERROR"}


@dataclass(frozen=True)
class DoctorReport:
    """What the doctor saw: plain numbers and long tables, ready to print, draw or store.

    Rates are fractions in [0, 1]; a frame-rate counts frames, a joint-rate (frame, joint) cells.

    - source, units ("px" or "m"), topology: as in the ClipSet. clips, frames, videos, subjects: how many.
    - findings: a `Finding` a check, in the order of the checks.
    - protocol: (protocol, quantity, expected, found, ok); empty when the data is not an official protocol's.
    - class_histogram: (label, class, split, clips); every class has a row in every split, 0 included; label -1 stands
      for clips without one, if there are any.
    - clip_lengths: (split, frames, clips): how many clips have that many frames.
    - missing_by_part: (part, split, rate): joints with score 0.
    - joints: (joint, part, missing, frozen, jump): rate of missing cells; rate of clips in which the joint, present
      throughout, never moves; rate of frame steps at which it jumps.
    - hands: (hand, wrist, distance): mean wrist to hand-point distance in shoulder widths; empty without hands.
    - sides: (joint, rate): share of frames in which the left one of a pair lies on the image's right, as on a person
      who faces the camera; empty in 3D.
    - overlaps: (kind, id, splits): a video, subject or identical clip that stands in more than one split.
    - by_split: (split, clips, missing, jump, swap): the rates below, a split at a time.
    - jump_rate: frame steps with an outlying speed; swap_rate: frames whose left and right look exchanged;
      outside_rate: confident joints beyond the image; crossed: whether the hands' points lie at the other wrist.
    """

    source: str
    units: str
    topology: str
    clips: int
    frames: int
    videos: int
    subjects: int
    findings: tuple[Finding, ...]
    protocol: pd.DataFrame
    class_histogram: pd.DataFrame
    clip_lengths: pd.DataFrame
    missing_by_part: pd.DataFrame
    joints: pd.DataFrame
    hands: pd.DataFrame
    sides: pd.DataFrame
    overlaps: pd.DataFrame
    by_split: pd.DataFrame
    jump_rate: float
    swap_rate: float
    outside_rate: float
    crossed: bool

    @property
    def severity(self) -> str:
        """The worst severity among the findings."""
        return max((finding.severity for finding in self.findings), key=SEVERITIES.index, default="ok")

    def text(self) -> str:
        """The report for a terminal: one line a finding, what to do below it, and the rates of each split."""
        lines = [
            self.source,
            f"{self.clips:,} clips, {self.frames:,} frames, {self.videos:,} videos, {self.subjects:,} subjects;"
            f" {self.topology}, {self.units}",
            "",
        ]
        for finding in self.findings:
            lines.append(f"{_SIGNS[finding.severity]}  {finding.check}: {finding.message}")
            lines += [f"       -> {finding.action}"] if finding.action else []
        tables = [self.by_split, self.missing_by_part.pivot(index="part", columns="split", values="rate").reset_index()]
        for table in tables:
            lines += ["", table.to_string(index=False, float_format=lambda rate: f"{rate:.2%}")]
        return "\n".join(lines)

    def to_dict(self) -> dict:
        """JSON-able: tables become lists of records."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain["findings"] = [vars(finding) for finding in self.findings]
        return {k: v.to_dict("records") if isinstance(v, pd.DataFrame) else v for k, v in plain.items()}


def examine(clipset: ClipSet, release_report: ReadReport | None = None) -> DoctorReport:
    """Examine a ClipSet: protocol counts, overlaps between splits, classes, and the quality of its poses.

    release_report: the reader's account (`imigue.read_release`), which also knows skipped videos; without it, counts
    are compared when each video has as many clips as the challenge's. Frames are measured a few thousand at a time,
    so memory stays bounded. Raises ValueError for an empty set.
    """
    if not len(clipset):
        raise ValueError(f"{clipset.source!r} has no clips to examine; check the split or the filter that chose them")
    index = clipset.index.assign(split=clipset.index["split"].replace("", NO_SPLIT))
    quality = measure_quality(clipset)
    tables = {
        "protocol": _protocol(index, release_report), "class_histogram": _class_histogram(index, clipset.class_names),
        "clip_lengths": _clip_lengths(index), "missing_by_part": _missing_by_part(index, quality, clipset),
        "joints": _joints(quality, clipset), "overlaps": _overlaps(index, quality),
        "hands": pd.DataFrame([(*key, d) for key, d in quality.hands.items()], columns=["hand", "wrist", "distance"]),
        "sides": pd.DataFrame(list(quality.sides.items()), columns=["joint", "rate"]),
        "by_split": _by_split(index, quality, clipset.topology.num_joints),
    }  # fmt: skip
    hands = quality.hands
    numbers = {
        "jump_rate": _rate(quality.jump_steps, quality.frames - 1), "swap_rate": _rate(quality.swapped, quality.frames),
        "outside_rate": _rate(quality.outside, quality.sure),
        "crossed": len(hands) == 4
        and hands["left", "right"] < hands["left", "left"] and hands["right", "left"] < hands["right", "right"],
    }  # fmt: skip
    people = index.loc[index["subject"] != "", "subject"].nunique()
    findings = judge(clipset, index, quality, tables, numbers, release_report)
    return DoctorReport(
        clipset.source, clipset.units, clipset.topology.name, len(index), int(quality.frames.sum()),
        index["video"].nunique(), people, findings, **tables, **numbers,
    )  # fmt: skip


def _rate(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum() / max(whole.sum(), 1))


def _protocol(index: pd.DataFrame, report: ReadReport | None) -> pd.DataFrame:
    if report is not None:
        return report.protocol_table()
    by_video = index.groupby("video", sort=False)
    videos = by_video.agg(rows=("clip_id", "size"), subject=("subject", "first")).reset_index()
    official = imigue_protocols().challenge.matches(dict(zip(videos["video"], videos["rows"], strict=True)))
    counts = protocol_counts(videos.assign(read=True), cvpr=False) if official else ()
    return ReadReport("", "", "", "", official, counts).protocol_table()


def _class_histogram(index: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    counts = index.groupby(["split", "label"]).size()
    classes = [*enumerate(names), *([(-1, "no label")] if (index["label"] < 0).any() else [])]
    rows = [
        (label, name, split, int(counts.get((split, label), 0)))
        for split in index["split"].unique() for label, name in classes
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["label", "class", "split", "clips"])


def _clip_lengths(index: pd.DataFrame) -> pd.DataFrame:
    lengths = index.groupby(["split", "length"], sort=False).size().reset_index(name="clips")
    return lengths.rename(columns={"length": "frames"})


def _missing_by_part(index: pd.DataFrame, quality: Quality, clipset: ClipSet) -> pd.DataFrame:
    rows = []
    for split in index["split"].unique():
        mine = (index["split"] == split).to_numpy()
        missing, frames = quality.missing[mine].sum(0), quality.frames[mine].sum()
        rows += [(p, split, missing[list(j)].sum() / (frames * len(j))) for p, j in clipset.topology.parts.items()]
    return pd.DataFrame(rows, columns=["part", "split", "rate"])


def _joints(quality: Quality, clipset: ClipSet) -> pd.DataFrame:
    part_of = {j: part for part, joints in clipset.topology.parts.items() for j in joints}
    steps = max((quality.frames - 1).sum(), 1)
    return pd.DataFrame({
        "joint": clipset.topology.joints, "part": [part_of[j] for j in range(len(part_of))],
        "missing": quality.missing.sum(0) / quality.frames.sum(),
        "frozen": quality.frozen.sum(0) / np.maximum(quality.can_freeze.sum(0), 1),
        "jump": quality.jumps.sum(0) / steps,
    })  # fmt: skip


def _overlaps(index: pd.DataFrame, quality: Quality) -> pd.DataFrame:
    rows = []
    copies = index["clip_id"].groupby(pd.Series(quality.digests, index.index)).transform("first")
    for kind, column in (("video", index["video"]), ("subject", index["subject"]), ("identical clip", copies)):
        known = column != ""
        splits = index.loc[known, "split"].groupby(column[known]).unique()
        rows += [(kind, name, " and ".join(found)) for name, found in splits.items() if len(found) > 1]
    return pd.DataFrame(rows, columns=["kind", "id", "splits"])


def _by_split(index: pd.DataFrame, quality: Quality, joints: int) -> pd.DataFrame:
    rows = []
    for split in index["split"].unique():
        mine = (index["split"] == split).to_numpy()
        frames = quality.frames[mine]
        rows.append((
            split, int(mine.sum()), _rate(quality.missing[mine], frames * joints),
            _rate(quality.jump_steps[mine], frames - 1), _rate(quality.swapped[mine], frames),
        ))  # fmt: skip
    return pd.DataFrame(rows, columns=["split", "clips", "missing", "jump", "swap"])
