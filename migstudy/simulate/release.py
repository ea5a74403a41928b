"""Generate a whole simulated release: videos in parallel, resumable, the same bytes however many workers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path

from joblib import Parallel, delayed
from tqdm import tqdm

from migstudy import __version__
from migstudy.simulate.config import PROFILES, SHAPES, SimulatorConfig
from migstudy.simulate.plan import VideoPlan, make_plan
from migstudy.simulate.subject import Subject
from migstudy.simulate.video import STATEMENT, SimulatedVideo, simulate_video
from migstudy.simulate.writer import FOLDERS, film_path, video_folder, write_text, write_video

FORMAT = 3  # raise it when the same seed gives other bytes
EXTRAS = ("truth", "rgb", "faces")
_OF_FILMS = ("rgb_height", "identity_free")  # free to choose as long as a release has no films
_TABLE, _MARKER, _SOURCE = "labels_20200831.csv", "simulation.json", "SOURCE.txt"
_TEST_NOTE = "The labels in this folder are real: the simulator knows them. In the official release the test labels are hidden.\n"


def simulate(
    out: str | Path,
    profile: str = "quick",
    seed: int = 0,
    workers: int = 2,
    shape: str = "openpose",
    extras: Sequence[str] = ("truth",),
    **knobs,
) -> Path:
    """Write a simulated release in the official iMiGUE layout and return its folder.

    out: folder, new or one of the same settings, which is completed. profile: smoke, quick or paper. shape: `openpose` (137
    points, xlsx) or `light_hand` (35 points, csv). extras: `truth` (`truth/<id>.npz`, see `truth.load_truth`), `rgb` (the
    release's mp4 videos), `faces` (`faces/<id>.mp4`, 112 x 112, aligned); they may be added to a finished release later.
    knobs: fields of SimulatorConfig that replace the profile's; `rgb_height` and `identity_free` may still change while there
    are no films. The same settings and seed give the same bytes, whatever `workers` is. What is finished is left untouched,
    what is missing is made again. Raises ValueError for an unknown name, or a folder that holds something else.
    """
    if profile not in PROFILES:
        raise ValueError(f"unknown profile {profile!r}; choose {', '.join(PROFILES)}")
    if shape not in SHAPES:
        raise ValueError(f"unknown shape {shape!r}; choose {' or '.join(SHAPES)}")
    for kind, given, known in (("extra", extras, EXTRAS), ("knob", knobs, SimulatorConfig.__dataclass_fields__)):
        if unknown := sorted(set(given) - set(known)):
            raise ValueError(f"unknown {kind} {unknown[0]!r}; known: {', '.join(known)}")
    config = replace(PROFILES[profile], **knobs)
    root = Path(out)
    facts = _facts(config, profile, seed, shape)
    there = _claim(root, facts)
    plan, subjects = make_plan(config, seed)
    jobs = [p for p in plan if _missing(root, p, extras)]
    if there is not None and set(extras) <= set(there) and not jobs:
        return root
    for rest in set(root.rglob("*.partial*")) - {root / f"{_MARKER}.partial"}:  # what a killed run left behind
        shutil.rmtree(rest, ignore_errors=True) if rest.is_dir() else rest.unlink(missing_ok=True)
    work = Parallel(n_jobs=max(1, min(workers, len(jobs))), return_as="generator_unordered")(
        delayed(_make)(root, p, subjects[p.subject], config, seed, shape, extras) for p in jobs
    )
    for _ in tqdm(work, total=len(plan), initial=len(plan) - len(jobs), desc=f"simulate {profile}", unit="video"):
        pass
    _finish(root, plan, facts, sorted({*extras, *(there or ())}))
    return root


def _outputs(root: Path, plan: VideoPlan, extras: Sequence[str]) -> dict[str, Path]:
    paths = {
        "truth": root / "truth" / f"{plan.video}.npz",
        "rgb": film_path(root, plan.split, plan.video),
        "faces": root / "faces" / f"{plan.video}.mp4",
    }
    return {"skeleton": video_folder(root, plan.split, plan.video)} | {name: paths[name] for name in extras}


def _missing(root: Path, plan: VideoPlan, extras: Sequence[str]) -> dict[str, Path]:
    return {name: path for name, path in _outputs(root, plan, extras).items() if not path.exists()}


def _make(
    root: Path, plan: VideoPlan, subject: Subject, config: SimulatorConfig, seed: int, shape: str, extras: Sequence[str]
) -> None:
    video = simulate_video(plan, subject, config, seed)
    for name, path in _missing(root, plan, extras).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == "skeleton":
            write_video(root, plan.split, plan.video, video.keypoints, video.scores, video.rows, shape)
        else:
            _write_extra(name, video, path)


def _write_extra(name: str, video: SimulatedVideo, path: Path) -> None:
    if name == "truth":
        from migstudy.simulate.truth import save_truth

        save_truth(path, video)
        return
    from migstudy.simulate.render.film import render_faces, render_video  # compiles; only films pay for it

    draw = render_video if name == "rgb" else render_faces
    draw(video, path, identity_free=video.config.identity_free)


def _facts(config: SimulatorConfig, profile: str, seed: int, shape: str) -> dict:
    versions = {name: metadata.version(name) for name in ("numpy", "scipy", "av")} | {"migstudy": __version__}
    facts = {
        "what": STATEMENT, "format": FORMAT, "profile": profile, "seed": seed, "shape": shape,
        "config": asdict(config), "versions": versions,
    }  # fmt: skip
    return json.loads(json.dumps(facts))


def _claim(root: Path, facts: dict) -> list[str] | None:
    """The extras of a finished folder; None, and the folder made ready, when there is work to do."""
    marker, begun = root / _MARKER, root / f"{_MARKER}.partial"
    for path in (marker, begun):
        if path.is_file():
            there = _read_marker(path)
            other = [key for key in facts if key != "versions" and there.get(key) != facts[key]]
            if other == ["config"] and _only_films_differ(there, facts) and not any(root.rglob("*.mp4")):
                other = []
                write_text(path, json.dumps(there | {"config": facts["config"]}, indent=1) + "\n")
            if other:
                raise ValueError(
                    f"{path} belongs to a simulation with another {', '.join(other)}; choose another folder or delete this one"
                )
            if path == marker:
                return there["extras"]
            break
    else:
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise ValueError(f"{root} is neither empty nor a simulated release; choose another folder")
    for folder in FOLDERS.values():
        (root / folder).mkdir(parents=True, exist_ok=True)
    write_text(begun, json.dumps(facts, indent=1) + "\n")
    return None


def _only_films_differ(there: dict, facts: dict) -> bool:
    config, other = there.get("config") or {}, facts["config"]
    return {name for name in config.keys() | other.keys() if config.get(name) != other.get(name)} <= set(_OF_FILMS)


def _read_marker(path: Path) -> dict:
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(there, dict) or (path.name == _MARKER and not isinstance(there.get("extras"), list)):
            raise ValueError("not what the simulator writes")
    except ValueError as error:
        what = f"{path} is damaged or was written by another version ({error})"
        raise ValueError(f"{what}; delete its folder and simulate again, or choose another") from None
    return there


def _finish(root: Path, plan: list[VideoPlan], facts: dict, extras: list[str]) -> None:
    lines = ["video_id,class,start_frame,end_frame,subject_id,win_or_lose\n"]
    for p in sorted(plan, key=lambda p: p.video):
        labels = video_folder(root, p.split, p.video) / f"{p.video}_label.csv"
        for row in labels.read_text(encoding="utf-8").splitlines():
            lines.append(f"{p.video},{row},{p.subject},{'win' if p.won else 'lose'}\n")
    write_text(root / _TABLE, "".join(lines))
    write_text(root / _SOURCE, STATEMENT + f" Profile {facts['profile']}, seed {facts['seed']}.\n")
    write_text(root / FOLDERS["test"] / "README.txt", _TEST_NOTE)
    clips = {split: sum(len(p.classes) for p in plan if p.split == split) for split in FOLDERS}
    videos = {split: sum(p.split == split for p in plan) for split in FOLDERS}
    write_text(root / _MARKER, json.dumps(facts | {"videos": videos, "clips": clips, "extras": extras}, indent=1) + "\n")
    (root / f"{_MARKER}.partial").unlink(missing_ok=True)
