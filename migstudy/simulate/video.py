"""One simulated video from its plan: true motion, cameras, detection and labels; and the same as clips in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from joblib import Parallel, delayed

from migstudy.classes import IMIGUE_CLASSES, label_from_csv
from migstudy.clips import Clip, ClipSet
from migstudy.simulate.camera import Shots, draw_shots
from migstudy.simulate.config import SPLITS, SimulatorConfig
from migstudy.simulate.detector import detect
from migstudy.simulate.emotion import draw_mood
from migstudy.simulate.motion import Motion, perform
from migstudy.simulate.occlusion import visibility
from migstudy.simulate.plan import SUBJECT_STREAM, VIDEO_STREAM, VideoPlan, make_plan
from migstudy.simulate.subject import Subject
from migstudy.simulate.takes import draw_gaps, draw_take

STATEMENT = (
    "Simulated data made by migstudy, not iMiGUE: no person was recorded. The layout, class numbers, class frequencies and"
    " video ids follow the published facts of the iMiGUE release; motion, faces and detector are our reconstruction."
)
# a stream of random numbers for each purpose, so that a knob of one leaves the draws of the others alone
_TAKES, _PAUSES, _BACKGROUND, _CAMERA, _DETECTOR, _LOOK, _MOOD = range(7)


@dataclass(frozen=True)
class SimulatedVideo:
    """Everything there is to know of one video of T frames.

    motion: the truth in 3D. shots: the cameras. pixels: (T, 137, 2) true projections, px. visible: (T, 137) 0 hidden to 1
    in plain view. keypoints: (T, 137, 2) px and scores: (T, 137) as a detector reports them, in the precision of the files;
    a missing joint is (0, 0) with score 0. rows: (csv class, first frame, last frame), from 0, end included.
    """

    plan: VideoPlan
    subject: Subject
    config: SimulatorConfig
    seed: int
    motion: Motion
    shots: Shots
    pixels: np.ndarray = field(repr=False)
    visible: np.ndarray = field(repr=False)
    keypoints: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    rows: list[tuple[int, int, int]] = field(repr=False)

    def room_rng(self) -> np.random.Generator:
        """Random numbers for how the room looks in this video."""
        return _stream(self.seed, self.plan, _LOOK)

    def person_rng(self) -> np.random.Generator:
        """Random numbers for how the person looks, the same in all of a subject's videos."""
        return np.random.default_rng([self.seed, SUBJECT_STREAM, self.plan.subject, _LOOK])


def simulate_video(plan: VideoPlan, subject: Subject, config: SimulatorConfig, seed: int) -> SimulatedVideo:
    """One video; the same for the same arguments, whatever else is simulated."""
    mood = draw_mood(plan.won, config, _stream(seed, plan, _MOOD))
    takes = [draw_take(c, subject, config, _stream(seed, plan, _TAKES, i), mood=mood) for i, c in enumerate(plan.classes)]
    gaps = draw_gaps(takes, config, _stream(seed, plan, _PAUSES))
    motion = perform(takes, gaps, subject, config, _stream(seed, plan, _BACKGROUND), mood=mood)
    rows = [(t.csv_class, start, start + t.frames - 1) for t, start in zip(takes, motion.starts)]
    shots = draw_shots(len(motion.joints), config, _stream(seed, plan, _CAMERA), rows)
    pixels = shots.project(motion.joints)
    visible = visibility(motion.joints, pixels, shots, config)
    keypoints, scores = detect(pixels, visible, config, _stream(seed, plan, _DETECTOR), shots.starts)
    return SimulatedVideo(
        plan, subject, config, seed, motion, shots, pixels, visible, _as_written(keypoints), np.round(scores, 3), rows
    )


def simulate_clips(
    config: SimulatorConfig, seed: int = 0, splits: Sequence[str] = SPLITS, workers: int = 1, unit: str = "clip",
    planned: SimulatorConfig | None = None,
) -> ClipSet:  # fmt: skip
    """The clips that a written release of these settings would hold, without files.

    splits: of train, validate, test. unit: "clip" = labelled segments, "video" = whole videos labelled 0 lose / 1 win, as the
    release's reader has them. workers: processes. planned: settings by which gestures are dealt to videos where they are not
    these (people's habits grow with `subject_style`); sizes must agree. Raises ValueError for an unknown split or unit.
    """
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown or unit not in ("clip", "video"):
        what, known = ("split", SPLITS) if unknown else ("unit", ("clip", "video"))
        raise ValueError(f"unknown {what} {(unknown or [unit])[0]!r}; choose {', '.join(known)}")
    plan, subjects = make_plan(config, seed)
    if planned is not None and planned != config:
        plan, _ = make_plan(planned, seed)
    jobs = sorted((p for p in plan if p.split in splits), key=lambda p: (SPLITS.index(p.split), p.video))
    cut = _whole if unit == "video" else _segments
    parts = Parallel(workers)(delayed(_cut)(cut, p, subjects[p.subject], config, seed) for p in jobs)
    names = ("lose", "win") if unit == "video" else [gesture.name for gesture in IMIGUE_CLASSES]
    source = f"{STATEMENT.split('. ')[0]} (in memory, seed {seed})"
    return ClipSet.from_clips((clip for part in parts for clip in part), "openpose137", names, config.fps, source)


def _cut(cut, plan: VideoPlan, subject: Subject, config: SimulatorConfig, seed: int) -> list[Clip]:
    return cut(simulate_video(plan, subject, config, seed))


def _whole(video: SimulatedVideo) -> list[Clip]:
    return [_clip(video, video.plan.video, int(video.plan.won), 0, len(video.keypoints) - 1)]


def _segments(video: SimulatedVideo) -> list[Clip]:
    return [
        _clip(video, f"{video.plan.video}_{i}", label_from_csv(csv_class), start, end)
        for i, (csv_class, start, end) in enumerate(video.rows)
    ]


def _clip(video: SimulatedVideo, clip_id: str, label: int, start: int, end: int) -> Clip:
    frames, plan = slice(start, end + 1), video.plan
    split = {"validate": "val"}.get(plan.split, plan.split)
    size = (video.config.width, video.config.height)
    return Clip(
        clip_id, video.keypoints[frames], video.scores[frames], label, plan.video, str(plan.subject), split, start, end, size
    )


def _as_written(keypoints: np.ndarray) -> np.ndarray:
    """Six significant digits and at most three decimals, as the files have them."""
    return np.where(np.abs(keypoints) >= 1000, np.round(keypoints, 2), np.round(keypoints, 3))


def _stream(seed: int, plan: VideoPlan, purpose: int, *more: int) -> np.random.Generator:
    return np.random.default_rng([seed, VIDEO_STREAM, plan.number, purpose, *more])
