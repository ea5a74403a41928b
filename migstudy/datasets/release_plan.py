"""Which clips a release yields: splits by protocol, labels, subjects, and everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import pandas as pd

from migstudy.classes import label_from_csv
from migstudy.datasets.protocols import imigue_protocols
from migstudy.datasets.read_report import ReadReport, protocol_counts
from migstudy.datasets.release_errors import Problem, describe
from migstudy.datasets.release_labels import LabelRow, VideoFacts
from migstudy.datasets.release_layout import Layout, VideoFiles

SPLIT_RULES = ("auto", "folders", "challenge", "cvpr", "cvpr_emotion")
TEST_LABELS = ("auto", "use", "ignore")
_KEEP_FIRST = ("test", "val", "train")  # of two copies, the one that cannot leak into training
_DUMMY_ROWS = 20


class SkeletonInfo(NamedTuple):
    """Frames, joints detected in all of them, empty cells, and the image size in px."""

    frames: int
    detected: int
    blank: int
    width: int
    height: int


@dataclass(frozen=True)
class Video:
    """One video on its way through the plan. rows, info: None when absent or unreadable; content: its files' hashes."""

    files: VideoFiles
    rows: tuple[LabelRow, ...] | None
    info: SkeletonInfo | None
    content: tuple[str, str]
    split: str = ""
    subject: str = ""
    emotion: int = -1

    @property
    def name(self) -> str:
        return self.files.video


class Segment(NamedTuple):
    """A clip to cut: id, label (-1 unknown), first and last frame."""

    clip_id: str
    label: int
    start: int
    end: int


@dataclass(frozen=True)
class Plan:
    """What to cut, in order (split, video, row), what was found on the way, and what stands against it."""

    videos: tuple[tuple[Video, tuple[Segment, ...]], ...]
    report: ReadReport
    problems: tuple[Problem, ...]


def plan_release(
    layout: Layout, videos: list[Video], facts: Mapping[str, VideoFacts], problems: list[Problem],
    unit: str, split_by: str, test_labels: str,
) -> Plan:  # fmt: skip
    """Decide splits and labels of every video and collect all problems; a video with a problem is left out of the plan.

    A clip that only ends beyond the video is a problem too, but stays in the plan, cut there, so that ids and counts
    hold. problems: those already met while reading. See `read_release` for the options.
    """
    challenge = imigue_protocols().challenge
    official = challenge.matches({v.name: len(v.rows) for v in videos if v.rows is not None})
    rule = split_by if split_by != "auto" else "challenge" if official else "folders"
    problems, skipped, moved, notes = list(problems), [], [], []

    kept = []
    for video in _single_copies(videos, official, problems, notes):
        fact = facts.get(video.name)
        video = replace(video, subject=fact.subject if fact else "", emotion=fact.emotion if fact else -1)
        why = _reason_to_skip(video, rule, official)
        split = None if why else _split(video, rule, layout, problems)
        if split is None:
            skipped += [(video.name, why)] if why else []
            continue
        if split != video.files.split:
            moved.append((video.name, video.files.split, split))
        kept.append(replace(video, split=split))

    dummy = unit == "clip" and _has_dummy_labels(kept, test_labels)
    planned = []
    for video in sorted(kept, key=lambda v: (-_KEEP_FIRST.index(v.split), v.name)):
        faults = _empty(video)
        if not faults and unit == "clip":
            faults = _faulty_rows(video, dummy)
            problems += _overruns(video)
        problems += faults
        unread = video.info is None or (unit == "clip" and video.rows is None)  # its problem is known already
        if not faults and not unread:
            planned.append((video, _segments(video, unit, dummy)))

    used = [video for video, _ in planned]
    overlaps = _shared_subjects(used, facts, layout)
    if rule == "folders":
        problems += overlaps
    else:  # a published list is not the user's to mend
        notes += [f"{problem.message}; the published split has it so" for problem in overlaps]
    notes += _notes(layout, used, facts, dummy)
    counts = protocol_counts(_table(videos, used, facts), cvpr=not layout.source) if official else ()
    report = ReadReport(
        layout.root.name, layout.shape.name, unit, rule, official, counts,
        tuple(skipped), tuple(moved), tuple(notes), tuple(describe([p], layout.root) for p in problems),
    )  # fmt: skip
    return Plan(tuple(planned), report, tuple(problems))


def _single_copies(videos: list[Video], official: bool, problems: list[Problem], notes: list[str]) -> Iterator[Video]:
    copies: dict[str, list[Video]] = {}
    for video in videos:
        copies.setdefault(video.name, []).append(video)
    for name, group in copies.items():
        group.sort(key=lambda v: _KEEP_FIRST.index(v.files.split))
        if len(group) > 1:
            places = " and ".join(str(v.files.skeleton.parent.relative_to(v.files.skeleton.parents[2])) for v in group)
            if official and len({v.content for v in group}) == 1:
                notes.append(f"video {name} stands in {places} with the same bytes; read once")
            else:
                fix = "delete all but one of the folders" + (" (their files differ)" if official else "")
                problems.append(Problem(group[-1].files.skeleton, f"video {name} stands twice, in {places}", fix))
        yield group[0]


def _table(videos: list[Video], used: list[Video], facts: Mapping[str, VideoFacts]) -> pd.DataFrame:
    """One row a video, skipped ones included: video, subject, rows, read."""
    rows = {video.name: len(video.rows or ()) for video in videos}
    table = pd.DataFrame({"video": list(rows), "rows": list(rows.values())})
    table["subject"] = [facts[name].subject if name in facts else "" for name in rows]
    return table.assign(read=table["video"].isin([video.name for video in used]))


def _reason_to_skip(video: Video, rule: str, official: bool) -> str:
    protocols = imigue_protocols()
    empty = video.info is not None and video.info.detected == 0
    if official and video.name in protocols.challenge.dropped:
        return "the protocol drops it" + (" (empty skeleton)" if empty else "")
    if empty and (video.name in protocols.challenge.dropped or not video.rows):
        return "empty skeleton"
    if rule == "challenge" and protocols.challenge.split_of(video.name) is None:
        return "the challenge protocol does not list it"
    if rule == "cvpr" and video.subject and protocols.cvpr.split_of(video.subject) is None:
        return f"the CVPR protocol does not list its subject {video.subject}"
    if rule == "cvpr_emotion" and protocols.cvpr_emotion.split_of(video.name) is None:
        return "the CVPR emotion protocol does not list it"
    return ""


def _split(video: Video, rule: str, layout: Layout, problems: list[Problem]) -> str | None:
    protocols = imigue_protocols()
    if rule == "folders":
        return video.files.split
    if rule == "challenge":
        return protocols.challenge.split_of(video.name)
    if rule == "cvpr_emotion":
        return protocols.cvpr_emotion.split_of(video.name)
    if not video.subject:
        problems.append(Problem(
            layout.table or layout.root, f"gives no subject for video {video.name}",
            "the CVPR split goes by subject: add the release's label table, or use split_by='challenge'",
        ))  # fmt: skip
        return None
    return protocols.cvpr.split_of(video.subject)


def _has_dummy_labels(videos: list[Video], test_labels: str) -> bool:
    """Whether the test folder's classes are placeholders: none is a class, or all are one and the same."""
    if test_labels != "auto":
        return test_labels == "ignore"
    classes = [row.csv_class for video in videos if video.files.split == "test" for row in video.rows or ()]
    real = [c for c in set(classes) if _is_class(c)]
    return bool(classes) and (not real or (len(classes) >= _DUMMY_ROWS and len(set(classes)) == 1))


def _is_class(csv_class: int) -> bool:
    try:
        return label_from_csv(csv_class) >= 0
    except ValueError:
        return False


def _empty(video: Video) -> list[Problem]:
    if video.info is None or video.info.detected:
        return []
    what = "has no rows" if not video.info.frames else f"has {video.info.frames} rows but no detected joint"
    rows = f", while its label file lists {len(video.rows)} clips" if video.rows else ""
    return [Problem(video.files.skeleton, what + rows, "copy the file again, or delete the video's folder")]


def _faulty_rows(video: Video, dummy: bool) -> list[Problem]:
    problems, path = [], video.files.labels
    for row in video.rows or ():
        if not (dummy and video.files.split == "test") and not _is_class(row.csv_class):
            fix = "correct the row; the release uses 1 to 31 and 99"
            if video.files.split == "test":
                fix += " (or pass test_labels='ignore' when the test classes are placeholders)"
            problems.append(Problem(path, f"class {row.csv_class} does not exist", fix, row.row))
        if video.info and row.start >= video.info.frames:
            where = f"the last frame, {video.info.frames - 1}, of {video.files.skeleton.name}"
            fix = "correct the row (frames count from 0), or copy the skeleton file again"
            problems.append(Problem(path, f"start {row.start} is beyond {where}", fix, row.row))
    return problems


def _overruns(video: Video) -> list[Problem]:
    problems, last = [], video.info.frames - 1 if video.info else -1
    for row in video.rows or ():
        if row.start <= last < row.end:
            where = f"the last frame, {last}, of {video.files.skeleton.name}"
            fix = "correct the row (`end` is the clip's last frame), or pass strict=False to cut the clip there"
            problems.append(Problem(video.files.labels, f"end {row.end} is beyond {where}", fix, row.row))
    return problems


def _segments(video: Video, unit: str, dummy: bool) -> tuple[Segment, ...]:
    if unit == "video":
        return (Segment(video.name, video.emotion, 0, video.info.frames - 1),)
    hidden = dummy and video.files.split == "test"
    return tuple(
        Segment(
            f"{video.name}_{i}", -1 if hidden else label_from_csv(row.csv_class), row.start,
            min(row.end, video.info.frames - 1),
        )  # fmt: skip
        for i, row in enumerate(video.rows)
    )


def _shared_subjects(videos: list[Video], facts: Mapping[str, VideoFacts], layout: Layout) -> list[Problem]:
    problems, home = [], {}
    for video in videos:
        if video.subject:
            first = home.setdefault(video.subject, video)
            if first.split != video.split and (video.subject, video.split) not in home:
                home[video.subject, video.split] = video
                places = f"{first.split} (video {first.name}) and in {video.split} (video {video.name})"
                fix = "move the subject's videos into one split's folder, or correct the subject"
                row = facts[video.name].row
                problems.append(Problem(layout.table, f"subject {video.subject} stands in {places}", fix, row))
    return problems


def _notes(layout: Layout, videos: list[Video], facts: Mapping[str, VideoFacts], dummy: bool) -> list[str]:
    notes = []
    unknown = sum(not video.subject for video in videos)
    if layout.table is None:
        notes.append("no labels_20200831.csv, so subjects are unknown and clips are grouped by video")
    elif unknown:
        notes.append(f"{layout.table.name} has no subject for {unknown} of {len(videos)} videos: grouped by video")
    if dummy:
        notes.append("the test folder's classes are placeholders; test clips have no label")
    blank = [video for video in videos if video.info.blank]
    if blank:
        cells = sum(video.info.blank for video in blank)
        notes.append(f"{cells:,} empty or NaN cells in {len(blank)} videos ({blank[0].name} first): missing joints")
    large = [video for video in videos if (video.info.width, video.info.height) != (1280, 720)]
    if large:
        first = large[0]
        notes.append(f"{len(large)} videos exceed 1280x720 ({first.name}: {first.info.width}x{first.info.height})")
    return notes
