"""The simulator beside recordings of real people: the same statistics of both, and where they part most."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from migstudy import paths
from migstudy.calibration.recordings import Track
from migstudy.calibration.track_statistics import GROUPS, LIMBS, UNITS, samples, statistics
from migstudy.runs.folder import git_commit
from migstudy.simulate.config import PROFILES, SimulatorConfig
from migstudy.simulate.plan import make_plan
from migstudy.simulate.video import SimulatedVideo, simulate_video
from migstudy.skeletons import get_topology

LARGEST = 8  # mismatches that are marked
LEGEND = (
    "Simulator against recordings of real people: median [range over recordings] and [range over simulated videos]. Body unit:"
    " shoulder width, for the storytellers the length from head to spine. ▲ marks the largest mismatches, 1 the worst: the"
    " simulated median lies outside the recordings' range. KS: Kolmogorov-Smirnov distance of the distributions. A note says"
    " why a row does not speak about the simulator. Differences in kind that were not fitted away: the half-body speakers face"
    " the camera, keep head and trunk still and gesture before the chest (frame rate unknown, 25 Hz assumed); the storytellers"
    " gesture with both hands all the time; the simulated people sit at a table, mostly listen, and touch head and body."
)
_KEYS = ["group", "statistic"]
_QUANTILES = (np.arange(200) + 0.5) / 200  # how a recording's distribution enters the common one
_WALK = "people stand, walk and turn: out of scope for a seated speaker"
_NOTES = (
    (("interaction clips", None, None), _WALK),
    (("half-body speakers", None, "confidence"), "DWPose's scores reach 1.2; OpenPose's scale is another"),
    (("half-body speakers", None, "not found"), "DWPose reports every joint of a person in plain view"),
    (("half-body speakers", None, "spell not found"), "DWPose reports every joint of a person in plain view"),
    (("seated storytellers", None, "jitter"), "a depth sensor's jitter, not a detector's"),
    (("seated storytellers", None, "motion above 6 Hz"), "a depth sensor's jitter, not a detector's"),
)
_SIX = {
    "left_hand": [f"left_hand_{joint}" for joint in ("root", "index_1", "middle_1", "ring_1")],
    "right_hand": [f"right_hand_{joint}" for joint in ("root", "index_1", "middle_1", "ring_1")],
    "head": ["left_ear", "right_ear"], "spine": ["neck", "mid_hip"], "left_wrist": ["left_wrist"],
    "right_wrist": ["right_wrist"],
}  # fmt: skip
_UNIT_ENDS = {"shoulder width": ("left_shoulder", "right_shoulder"), "head to spine": ("head", "spine")}


def simulated_videos(config: SimulatorConfig = PROFILES["quick"], videos: int = 8, seed: int = 0) -> list[SimulatedVideo]:
    """Videos of different people, in memory; all of the plan's where it has fewer."""
    plan, subjects = make_plan(config, seed)
    first = {p.subject: p for p in reversed(plan)}  # one video of each person
    return [simulate_video(p, subjects[p.subject], config, seed) for p in sorted(first.values(), key=lambda p: p.video)[:videos]]


def as_track(video: SimulatedVideo, like: Track) -> Track:
    """A simulated video as a recording `like` the given one would show it: its joints, in its body unit.

    The body unit is the true one, of each shot. The storytellers' joints are made from ours: head between the ears, spine
    between neck and hips, hand the middle of palm joints; such a joint is as sure as its least sure part.
    """
    parts = [_SIX.get(joint, [joint]) if like.unit == "head to spine" else [joint] for joint in like.joints]
    known = get_topology("openpose137").joints
    chosen = [(joint, [known.index(p) for p in part]) for joint, part in zip(like.joints, parts) if set(part) <= set(known)]
    names = tuple(joint for joint, _ in chosen)

    def picked(values: np.ndarray, how) -> np.ndarray:
        return np.stack([how(values[:, columns], axis=1) for _, columns in chosen], 1)

    true, found = (picked(xy.astype(float), np.mean) for xy in (video.pixels, video.keypoints))
    scores = picked(video.scores, np.min)
    a, b = (names.index(name) for name in _UNIT_ENDS[like.unit])
    xy = np.empty_like(found)
    for span in video.shots.spans:
        xy[span] = found[span] / np.median(np.linalg.norm(true[span, a] - true[span, b], axis=-1))
    starts = tuple(int(start) for start in video.shots.starts)
    return Track("simulated", video.plan.video, xy, scores, names, video.config.fps, like.unit, starts)


def compare(real: Mapping[str, Sequence[Track]], videos: Sequence[SimulatedVideo]) -> pd.DataFrame:
    """One row a source, group and statistic that the recordings have, beside the same of the simulated videos.

    Columns: source, group, statistic, unit; real, real_low, real_high (median, least and largest over recordings);
    simulated, simulated_low, simulated_high (over videos); ratio of the medians and its natural logarithm log_ratio;
    ks: Kolmogorov-Smirnov distance of the single values' distributions, every recording and video counting alike (NaN for
    statistics without single values); outside: the simulated median lies outside the recordings' range; note: why the row
    says nothing about the simulator, else empty; rank: 1 for the largest |log_ratio| among rows outside and without note.
    """
    rows = []
    for source, tracks in real.items():
        shown = [as_track(video, tracks[0]) for video in videos]
        measured, simulated = (pd.concat(map(statistics, some)).groupby(_KEYS)["value"] for some in (tracks, shown))
        ours = simulated.agg(["median", "min", "max"])
        for key, value in measured.agg(["median", "min", "max"]).iterrows():
            if key in ours.index:
                group, statistic = key
                row = dict(zip(("source", "group", "statistic"), (source, group, statistic)), unit=UNITS[statistic])
                row |= dict(zip(("real", "real_low", "real_high"), value))
                row |= dict(zip(("simulated", "simulated_low", "simulated_high"), ours.loc[key]))
                rows.append(row | {"ks": _distance(tracks, shown, group, statistic), "note": _note(source, group, statistic)})
    return _ranked(pd.DataFrame(rows))


def _ranked(table: pd.DataFrame) -> pd.DataFrame:
    ratio = (table["simulated"] / table["real"]).where((table["simulated"] > 0) & (table["real"] > 0))
    table.insert(table.columns.get_loc("ks"), "ratio", ratio)
    table.insert(table.columns.get_loc("ks"), "log_ratio", np.log(ratio))
    outside = (table["simulated"] < table["real_low"]) | (table["simulated"] > table["real_high"])
    table.insert(table.columns.get_loc("note"), "outside", outside)
    counted = outside & (table["note"] == "") & ratio.notna()
    table["rank"] = table["log_ratio"].abs().where(counted).rank(ascending=False, method="first")
    order = {name: i for i, name in enumerate([*UNITS, *GROUPS, *LIMBS])}
    keys = [table["source"].map({name: i for i, name in enumerate(table["source"].unique())})]
    keys += [table[column].map(order) for column in ("statistic", "group")]
    return table.iloc[np.lexsort(keys[::-1])].reset_index(drop=True)


def _distance(real: Sequence[Track], simulated: Sequence[Track], group: str, statistic: str) -> float:
    pooled = []
    for tracks in (real, simulated):
        values = [samples(track, group, statistic) for track in tracks]
        pooled.append([np.quantile(v, _QUANTILES) for v in values if len(v)])
    return float(ks_2samp(*map(np.concatenate, pooled)).statistic) if all(pooled) else np.nan


def _note(source: str, group: str, statistic: str) -> str:
    row = (source, group, statistic)
    return next((note for pattern, note in _NOTES if all(p in (None, value) for p, value in zip(pattern, row))), "")


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The comparison for people: median [range], ratio, distance, and ▲ with its rank at the largest mismatches."""

    def cell(row: Mapping, which: str) -> str:
        return f"{row[which]:.3g} [{row[f'{which}_low']:.3g}, {row[f'{which}_high']:.3g}]"

    def mark(row: Mapping) -> str:
        return f"▲ {row['rank']:.0f}" if row["rank"] <= LARGEST else "outside" if row["outside"] and not row["note"] else ""

    rows = table.to_dict("records")
    shown = table[["source", "statistic", "group", "unit"]].copy()
    shown["real"], shown["simulated"] = ([cell(row, which) for row in rows] for which in ("real", "simulated"))
    shown["ratio"] = [f"{value:.2f}" if np.isfinite(value) else "–" for value in table["ratio"]]
    shown["KS"] = [f"{value:.2f}" if np.isfinite(value) else "–" for value in table["ks"]]
    shown["mismatch"] = [mark(row) for row in rows]
    return shown.assign(note=table["note"])


def largest_mismatches(table: pd.DataFrame, count: int = LARGEST) -> pd.DataFrame:
    """The rows in which simulator and recordings part most, the worst first."""
    return table[table["rank"] <= count].sort_values("rank")


def write_calibration(table: pd.DataFrame, sources: Mapping[str, object], folder: str = "figures") -> list[Path]:
    """`table_calibration.md` for people, `.csv` with all numbers and `.json` saying where they come from."""
    target, text = paths.resolve(folder), f"{LEGEND}\n\n{readable(table).to_markdown(index=False, disable_numparse=True)}\n"
    sidecar = {**sources, "commit": git_commit() or None, "command": sources.get("command") or os.environ.get("MIGSTUDY_COMMAND")}
    contents = {"md": text, "csv": table.to_csv(index=False), "json": json.dumps(sidecar, indent=1, ensure_ascii=False) + "\n"}
    return [paths.write_text(target / f"table_calibration.{ending}", content) for ending, content in contents.items()]
