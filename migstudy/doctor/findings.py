"""From measures to findings: how bad each is, and what to do about it. The thresholds are ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from migstudy.clips import ClipSet
from migstudy.datasets.read_report import ReadReport
from migstudy.doctor.pose_quality import JUMP_FACTOR, JUMP_SPEED, Quality

FEW_CLIPS = 10  # training clips below which a class can hardly be learned
MISSING, FROZEN, JUMPING, SWAPPED, OUTSIDE = 0.5, 0.1, 0.05, 0.01, 0.02
_SHOWN = 5

Tables = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Finding:
    """One check and its outcome. severity: ok, warn or error; action: what to do about it, empty when ok."""

    check: str
    severity: str
    message: str
    action: str = ""


def judge(
    clipset: ClipSet, index: pd.DataFrame, quality: Quality, tables: Tables, numbers: dict, report: ReadReport | None
) -> tuple[Finding, ...]:
    """Every check's finding, in a fixed order; a check without material to judge gives none."""
    return tuple(
        finding
        for check in (
            _protocol(tables["protocol"]), _reading(report), _overlaps(tables["overlaps"], report is not None),
            _classes(index, tables["class_histogram"]), _empty_clips(index, quality, clipset),
            _missing(tables["missing_by_part"]), _frozen(tables["joints"], quality), _jumps(tables["joints"], numbers),
            _swaps(numbers), _hands(tables["hands"], numbers), _sides(tables["sides"]), _outside(clipset, numbers),
        )
        for finding in check
    )  # fmt: skip


def _listed(names) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _protocol(table: pd.DataFrame) -> Iterator[Finding]:
    if table.empty:
        yield Finding("protocol", "ok", "not the official iMiGUE protocol; counts are not compared")
        return
    wrong = table[~table["ok"].astype(bool)]
    if wrong.empty:
        yield Finding("protocol", "ok", f"all {len(table)} published counts are met")
    else:
        counts = [f"{r.protocol} {r.quantity} {r.found:,} for {r.expected:,}" for r in wrong.itertuples()]
        yield Finding("protocol", "warn", f"{len(wrong)} of {len(table)} published counts differ: {_listed(counts)}",
                      "look for missing or damaged videos; results do not compare with published ones")  # fmt: skip


def _reading(report: ReadReport | None) -> Iterator[Finding]:
    if report is None:
        return
    if report.problems:
        yield Finding("reading", "error", f"{len(report.problems)} faults were passed over: {report.problems[0]}",
                      "mend the files and read again with strict=True")  # fmt: skip
    if report.skipped:
        yield Finding("reading", "ok", f"skipped {_listed(f'{video} ({why})' for video, why in report.skipped)}")
    if report.moved:
        yield Finding("reading", "ok", f"{len(report.moved)} videos put into the protocol's split:"
                      f" {_listed(f'{video} from {old} to {new}' for video, old, new in report.moved)}")  # fmt: skip
    for note in report.notes:
        yield Finding("reading", "ok", note)


def _overlaps(table: pd.DataFrame, release: bool) -> Iterator[Finding]:
    for kind in ("video", "subject", "identical clip"):
        rows, check = table[table["kind"] == kind], "clip copies" if kind == "identical clip" else f"{kind} overlap"
        if rows.empty:
            yield Finding(check, "ok", "none between splits")
            continue
        shown = _listed(f"{r.id} ({r.splits})" for r in rows.itertuples())
        tested = rows["splits"].str.contains("test").any()
        if kind == "subject":
            # in other data a subject may stand in both splits by design; a release promises that none does
            severity = "error" if release and tested else "warn"
            action = "split by subject, or claim nothing about new people"
        else:
            severity, action = "error", f"keep each {kind} in one split, or the test measures memory"
        yield Finding(check, severity, f"{len(rows)} in more than one split: {shown}", action)


def _classes(index: pd.DataFrame, table: pd.DataFrame) -> Iterator[Finding]:
    counts = table[table["label"] >= 0].pivot(index="label", columns="split", values="clips")
    counts.index = counts.index.map(table.drop_duplicates("label").set_index("label")["class"])
    unlabelled = index.loc[index["label"] < 0, "split"].value_counts()
    if "train" in counts:
        elsewhere = counts.drop(columns="train").sum(axis=1)
        unseen = list(counts.index[(counts["train"] == 0) & (elsewhere > 0)])
        few = list(counts.index[(counts["train"] < FEW_CLIPS) & (counts["train"] > 0)])
        if unseen:
            yield Finding("classes", "warn", f"{len(unseen)} classes of other splits have no training clip:"
                          f" {_listed(unseen)}", "they cannot be recognised and lower macro-F1")  # fmt: skip
        if few:
            yield Finding("classes", "warn", f"{len(few)} classes have fewer than {FEW_CLIPS} training clips:"
                          f" {_listed(few)}", "report macro-F1 with intervals, and try a long-tail loss")  # fmt: skip
    total = counts.sum(axis=1)
    if total.sum():
        share = f"{total.idxmax()} is {total.max() / total.sum():.0%} of the labelled clips"
        yield Finding("classes", "ok", f"{(total > 0).sum()} of {len(total)} classes occur; {share}")
    if len(unlabelled):
        shown = _listed(f"{clips:,} clips of {split}" for split, clips in unlabelled.items())
        yield Finding("labels", "ok", f"no label: {shown}")


def _empty_clips(index: pd.DataFrame, quality: Quality, clipset: ClipSet) -> Iterator[Finding]:
    empty = index["clip_id"][quality.missing.sum(1) == quality.frames * clipset.topology.num_joints]
    if len(empty):
        yield Finding("empty clips", "error", f"{len(empty)} clips have no joint in any frame: {_listed(empty)}",
                      "leave them out; a model only learns their class's frequency")  # fmt: skip
    else:
        yield Finding("empty clips", "ok", "every clip has joints")


def _missing(table: pd.DataFrame) -> Iterator[Finding]:
    worst = table.groupby("part", sort=False)["rate"].max()
    bad = worst[worst > MISSING]
    shown = _listed(f"{part} {rate:.0%}" for part, rate in (bad if len(bad) else worst.nlargest(3)).items())
    if len(bad):
        yield Finding("missing joints", "warn", f"missing in more than half of the frames of a split: {shown}",
                      "choose a topology without these parts, or detect them again")  # fmt: skip
    else:
        yield Finding("missing joints", "ok", f"most often missing: {shown}")


def _frozen(joints: pd.DataFrame, quality: Quality) -> Iterator[Finding]:
    bad = joints[joints["frozen"] > FROZEN].sort_values("frozen", ascending=False)
    if not quality.can_freeze.any():
        return
    if len(bad):
        severity = "error" if bad["frozen"].iloc[0] > 0.99 else "warn"
        shown = _listed(f"{r.joint} in {r.frozen:.0%} of clips" for r in bad.itertuples())
        yield Finding("frozen joints", severity, f"{len(bad)} joints stand perfectly still: {shown}",
                      "a detected joint always trembles: find the filled-in constant, mark it missing")  # fmt: skip
    else:
        yield Finding("frozen joints", "ok", "none stand still")


def _jumps(joints: pd.DataFrame, numbers: dict) -> Iterator[Finding]:
    rate = numbers["jump_rate"]
    worst = _listed(f"{r.joint} {r.jump:.1%}" for r in joints.nlargest(3, "jump").itertuples() if r.jump > 0)
    message = f"{rate:.1%} of frame steps move a confident joint faster than {JUMP_SPEED:g} body widths a second and"
    message += f" {JUMP_FACTOR:g} times its usual step" + (f" (most: {worst})" if worst else "")
    if rate > JUMPING:
        yield Finding("jumps", "warn", message, "mark such joints missing, or smooth them before training")
    else:
        yield Finding("jumps", "ok", message)


def _swaps(numbers: dict) -> Iterator[Finding]:
    rate = numbers["swap_rate"]
    message = f"{rate:.1%} of frames look as if left and right were exchanged for a while"
    if rate > SWAPPED:
        yield Finding("left/right swaps", "warn", message, "exchange the sides back there, or mark them missing")
    else:
        yield Finding("left/right swaps", "ok", message)


def _hands(table: pd.DataFrame, numbers: dict) -> Iterator[Finding]:
    if len(table) < 4:
        return
    at = table.set_index(["hand", "wrist"])["distance"]
    nearest = {hand: at[hand].idxmin() for hand in ("left", "right")}
    shown = "; ".join(
        f"{hand} hand's points lie {at[hand, 'left']:.2f} widths from the left wrist,"
        f" {at[hand, 'right']:.2f} from the right one"
        for hand in nearest
    )
    if numbers["crossed"]:
        yield Finding("hands and wrists", "error", f"the hands are on each other's wrists: {shown}",
                      "exchange the two hand blocks, or use a topology that ties them the other way round")  # fmt: skip
    elif any(hand != wrist for hand, wrist in nearest.items()):
        yield Finding("hands and wrists", "warn", f"both hands lie nearer to one wrist: {shown}",
                      "look at the hand points: one block may be copied or misplaced")  # fmt: skip
    else:
        yield Finding("hands and wrists", "ok", f"each hand belongs to its own wrist: {shown}")


def _sides(table: pd.DataFrame) -> Iterator[Finding]:
    if table.empty:
        return
    facing = table.set_index("joint")["rate"]
    shown = ", ".join(f"{joint}s {rate:.0%}" for joint, rate in facing.items())
    message = f"frames in which the left one lies on the image's right, as on a person facing the camera: {shown}"
    against = (facing > 0.5) != (facing.iloc[0] > 0.5)
    if against.any():
        yield Finding("sides", "error", f"{message}; the pairs disagree",
                      "the sides of one part are named the wrong way round; exchange them")  # fmt: skip
    elif facing.iloc[0] <= 0.5:
        yield Finding("sides", "warn", message,
                      "the image is mirrored, sides are named from the viewer, or people turn their backs")  # fmt: skip
    else:
        yield Finding("sides", "ok", message)


def _outside(clipset: ClipSet, numbers: dict) -> Iterator[Finding]:
    if clipset.units != "px" or not np.any(clipset.index["width"]):
        return
    rate = numbers["outside_rate"]
    message = f"{rate:.1%} of confident joints lie beyond the image"
    if rate > OUTSIDE:
        yield Finding("image", "warn", message, "check the image size that the reader assumed, and (x, y) order")
    else:
        yield Finding("image", "ok", message)
