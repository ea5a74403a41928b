"""The data doctor: what is wrong with a ClipSet before anything is trained on it."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pandas as pd

SEVERITIES = ("ok", "warn", "error")


@dataclass(frozen=True)
class Finding:
    """One check and its outcome. severity: ok, warn or error; action: what to do about it, empty when ok."""

    check: str
    severity: str
    message: str
    action: str = ""


@dataclass(frozen=True)
class DoctorReport:
    """What the doctor saw: plain numbers and long tables, ready to print, draw or store.

    Rates are fractions in [0, 1]; a frame-rate counts frames, a joint-rate (frame, joint) cells.

    - source, units ("px" or "m"), topology: as in the ClipSet. clips, frames, videos, subjects: how many.
    - findings: a `Finding` a check, in the order of the checks.
    - protocol: (protocol, quantity, expected, found, ok); empty when the data is not an official protocol's.
    - class_histogram: (label, class, split, clips); every class has a row in every split, 0 included.
    - clip_lengths: (split, frames, clips): how many clips have that many frames.
    - missing_by_part: (part, split, rate): joints with score 0.
    - joints: (joint, part, missing, frozen, jump): rate of missing cells; rate of clips in which the joint, present
      throughout, never moves; rate of frame steps at which it jumps.
    - hands: (hand, wrist, distance): mean wrist to hand-point distance in shoulder widths; empty without hands.
    - overlaps: (kind, id, splits): a video or subject that stands in more than one split.
    - by_split: (split, clips, missing, jump, swap): the rates below, a split at a time.
    - jump_rate: frame steps with an outlying speed; swap_rate: frames whose left and right look exchanged;
      crossed: whether left and right hand blocks belong to the other wrist throughout.
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
    overlaps: pd.DataFrame
    by_split: pd.DataFrame
    jump_rate: float
    swap_rate: float
    crossed: bool

    @property
    def severity(self) -> str:
        """The worst severity among the findings."""
        return max((finding.severity for finding in self.findings), key=SEVERITIES.index, default="ok")

    def to_dict(self) -> dict:
        """JSON-able: tables become lists of records."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain["findings"] = [vars(finding) for finding in self.findings]
        return {
            name: value.to_dict("records") if isinstance(value, pd.DataFrame) else value for name, value in plain.items()
        }
