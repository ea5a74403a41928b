"""Generate a whole simulated release: videos in parallel, resumable, the same bytes however many workers."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from migstudy import __version__
from migstudy.simulate.camera import draw_camera, visibility
from migstudy.simulate.config import PROFILES, SHAPES, SimulatorConfig
from migstudy.simulate.detector import detect
from migstudy.simulate.motion import Motion, perform
from migstudy.simulate.plan import VIDEO_STREAM, VideoPlan, make_plan
from migstudy.simulate.subject import Subject
from migstudy.simulate.takes import draw_take
from migstudy.simulate.writer import FOLDERS, video_folder, write_text, write_video

FORMAT = 1  # raise it when the same seed gives other bytes
_TABLE, _MARKER, _SOURCE = "labels_20200831.csv", "simulation.json", "SOURCE.txt"
_STATEMENT = (
    "Simulated data made by migstudy, not iMiGUE: no person was recorded. The layout, class numbers, class frequencies and"
    " video ids follow the published facts of the iMiGUE release; motion, faces and detector are our reconstruction."
)
_TEST_NOTE = "The labels in this folder are real: the simulator knows them. In the official release the test labels are hidden.\n"


def simulate_video(plan: VideoPlan, subject: Subject, config: SimulatorConfig, seed: int) -> tuple[Motion, tuple, list]:
    """One video: its true motion, the detection (keypoints (T, 137, 2) px, scores (T, 137)) and its label rows."""
    rng = np.random.default_rng([seed, VIDEO_STREAM, plan.number])
    takes = [draw_take(csv_class, subject, config, rng) for csv_class in plan.classes]
    gaps = 2 + rng.gamma(1.5, config.gap_seconds * config.fps / 1.5 + 1e-9, len(takes) + 1).astype(int)
    motion = perform(takes, gaps.tolist(), subject, config, rng)
    camera = draw_camera(config, rng)
    pixels = camera.project(motion.joints)
    detection = detect(pixels, visibility(motion.joints, pixels, camera, config), config, rng)
    rows = [(t.csv_class, start, start + t.frames - 1) for t, start in zip(takes, motion.starts)]
    return motion, detection, rows


def simulate(
    out: str | Path, profile: str = "quick", seed: int = 0, workers: int = 2, shape: str = "openpose", **knobs
) -> Path:
    """Write a simulated release in the official iMiGUE layout and return its folder.

    out: folder, new or an unfinished one of the same settings, which is completed. profile: smoke, quick or paper. shape:
    `openpose` (137 points, xlsx) or `light_hand` (35 points, csv). knobs: fields of SimulatorConfig that replace the
    profile's. The same settings and seed give the same bytes, whatever `workers` is. A finished release is left untouched.
    Raises ValueError for an unknown name, or a folder that holds something else.
    """
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}; choose {', '.join(PROFILES)}")
    if shape not in SHAPES:
        raise ValueError(f"unknown shape {shape!r}; choose {' or '.join(SHAPES)}")
    unknown = sorted(set(knobs) - set(SimulatorConfig.__dataclass_fields__))
    if unknown:
        raise ValueError(f"unknown knob {unknown[0]!r}; known: {', '.join(SimulatorConfig.__dataclass_fields__)}")
    config = replace(PROFILES[profile], **knobs)
    root = Path(out)
    facts = _facts(config, profile, seed, shape)
    if _claim(root, facts):
        return root
    plan, subjects = make_plan(config, seed)
    jobs = [p for p in plan if not video_folder(root, p.split, p.video).is_dir()]
    work = Parallel(n_jobs=max(1, min(workers, len(jobs))), return_as="generator_unordered")(
        delayed(_make)(root, p, subjects[p.subject], config, seed, shape) for p in jobs
    )
    for _ in tqdm(work, total=len(plan), initial=len(plan) - len(jobs), desc=f"simulate {profile}", unit="video"):
        pass
    _finish(root, plan, facts)
    return root


def _make(root: Path, plan: VideoPlan, subject: Subject, config: SimulatorConfig, seed: int, shape: str) -> None:
    _, (keypoints, scores), rows = simulate_video(plan, subject, config, seed)
    write_video(root, plan.split, plan.video, keypoints, scores, rows, shape)


def _facts(config: SimulatorConfig, profile: str, seed: int, shape: str) -> dict:
    versions = {name: metadata.version(name) for name in ("numpy", "scipy")} | {"migstudy": __version__}
    facts = {
        "what": _STATEMENT, "format": FORMAT, "profile": profile, "seed": seed, "shape": shape,
        "config": asdict(config), "versions": versions,
    }  # fmt: skip
    return json.loads(json.dumps(facts))


def _claim(root: Path, facts: dict) -> bool:
    """Whether the folder is finished already; makes it ready otherwise."""
    marker, begun = root / _MARKER, root / f"{_MARKER}.partial"
    for path in (marker, begun):
        if path.is_file():
            there = json.loads(path.read_text(encoding="utf-8"))
            other = [key for key in facts if key != "versions" and there.get(key) != facts[key]]
            if other:
                raise ValueError(
                    f"{path} belongs to a simulation with another {', '.join(other)}; choose another folder or delete this one"
                )
            if path == marker:
                return True
            break
    else:
        if root.exists() and any(root.iterdir()):
            raise ValueError(f"{root} is neither empty nor a simulated release; choose another folder")
    for folder in FOLDERS.values():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for rest in (root / folder).glob("*.partial-*"):
            shutil.rmtree(rest, ignore_errors=True)
    write_text(begun, json.dumps(facts, indent=1) + "\n")
    return False


def _finish(root: Path, plan: list[VideoPlan], facts: dict) -> None:
    lines = ["video_id,class,start_frame,end_frame,subject_id,win_or_lose\n"]
    for p in sorted(plan, key=lambda p: p.video):
        labels = video_folder(root, p.split, p.video) / f"{p.video}_label.csv"
        for row in labels.read_text(encoding="utf-8").splitlines():
            lines.append(f"{p.video},{row},{p.subject},{'win' if p.won else 'lose'}\n")
    write_text(root / _TABLE, "".join(lines))
    write_text(root / _SOURCE, _STATEMENT + f" Profile {facts['profile']}, seed {facts['seed']}.\n")
    write_text(root / FOLDERS["test"] / "README.txt", _TEST_NOTE)
    clips = {split: sum(len(p.classes) for p in plan if p.split == split) for split in FOLDERS}
    videos = {split: sum(p.split == split for p in plan) for split in FOLDERS}
    write_text(root / _MARKER, json.dumps(facts | {"videos": videos, "clips": clips}, indent=1) + "\n")
    (root / f"{_MARKER}.partial").unlink(missing_ok=True)
