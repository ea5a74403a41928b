"""The ground truth of a video as one .npz file: what no recording can tell."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from migstudy.simulate.camera import Camera, Shots
from migstudy.simulate.motion import PHASES
from migstudy.simulate.places import CONTACTS

if TYPE_CHECKING:
    from migstudy.simulate.video import SimulatedVideo

JOINT_STEP = 1e-4  # m, quantisation of joints: half of it is the largest error
VISIBLE_STEP = 1 / 255
_FORMAT = 1


@dataclass(frozen=True)
class Truth:
    """What `load_truth` gives back, for a video of T frames with K labelled takes and C channels.

    video: its id. split: train, validate or test. fps: Hz. size: (width, height) px.
    joints: (T, 137, 3) float32 m in the room (x to the subject's left, y up, z to the camera; origin at the seat's mid hip),
    within 0.05 mm. visible: (T, 137) float32, 0 hidden to 1 in plain view, within 1/510. channels: name -> (T,) float16, trunk
    channels (rad, m) and face action units (share of full strength). phases: (T,) int8, index in `phase_names`. gesture: (T,)
    int16, row of `rows` that the frame belongs to, or -1. contacts: (T, 2) int16, what the right and the left hand touch, index
    in `contact_names`, or -1: the place that the take aims at, from which manner, `class_overlap` and the body's surface keep
    the touch some cm away. talking: (T,) float16, 0 silent to 1 speaking. rows: (K, 3) int32, csv class, first and last
    frame. motion_rows: (K, 2) int32, first and last frame of the motion within each label (an annotator's slack left out).
    shots: the cameras; `shots.project(joints)` are the true pixels. won: whether the speaker has won. mood: offsets against
    the person's usual self by name (see `emotion.Mood`). traits: of the person, by name; of left-handers, traits and mood
    describe the right-hander whose mirror image they are, everything else them. face: (70, 3) float32 m, neutral.
    """

    video: str
    split: str
    fps: float
    size: tuple[int, int]
    joints: np.ndarray = field(repr=False)
    visible: np.ndarray = field(repr=False)
    channels: Mapping[str, np.ndarray] = field(repr=False)
    phases: np.ndarray = field(repr=False)
    gesture: np.ndarray = field(repr=False)
    contacts: np.ndarray = field(repr=False)
    talking: np.ndarray = field(repr=False)
    rows: np.ndarray = field(repr=False)
    motion_rows: np.ndarray = field(repr=False)
    shots: Shots = field(repr=False)
    won: bool
    mood: Mapping[str, float]
    traits: Mapping[str, Any]
    face: np.ndarray = field(repr=False)
    phase_names: tuple[str, ...] = PHASES
    contact_names: tuple[str, ...] = CONTACTS


def save_truth(path: str | Path, video: SimulatedVideo) -> Path:
    """Write the truth of a video; the same video gives the same bytes, and the file appears whole or not at all.

    Arrays, beside those `Truth` names: `joints` int16 in steps of 0.1 mm, `visible` uint8 in steps of 1/255, `channels` (C, T)
    float16; cameras of the S shots: `shot_starts` (S,), `camera_position` (S, 3) m, `camera_axes` (S, 3, 3), `camera_focal`
    (S,) px, `camera_center` (S, 2) px, `zoom` (T,), `pan` (T, 2) px; `about`: a JSON text with everything else.
    """
    path, motion, shots, subject = Path(path), video.motion, video.shots, video.subject
    about = {
        "format": _FORMAT, "video": video.plan.video, "split": video.plan.split, "subject": video.plan.subject,
        "won": video.plan.won, "fps": video.config.fps, "size": [video.config.width, video.config.height],
        "mood": {name: float(value) for name, value in video.motion.mood.amounts().items()}, "traits": _traits(video),
        "phases": PHASES, "contacts": CONTACTS, "channels": list(motion.channels),
    }  # fmt: skip
    steps = np.round(motion.joints / JOINT_STEP)
    if np.abs(steps).max() > np.iinfo(np.int16).max:
        raise ValueError(f"{path}: video {video.plan.video} has a joint beyond 3.2 m of the seat; lower the amplitude")
    arrays = {
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8), "joints": steps.astype(np.int16),
        "visible": np.round(np.clip(video.visible, 0, 1) / VISIBLE_STEP).astype(np.uint8),
        "channels": np.stack(list(motion.channels.values())).astype(np.float16),
        "phases": motion.phases, "gesture": motion.gesture, "contacts": motion.contacts,
        "talking": motion.talking.astype(np.float16), "rows": np.array(video.rows, np.int32).reshape(-1, 3),
        "motion_rows": _motion_rows(video), "face": subject.size.face.astype(np.float32),
        "shot_starts": np.asarray(shots.starts, np.int32),
        "camera_position": np.stack([camera.position for camera in shots.cameras]),
        "camera_axes": np.stack([camera.axes for camera in shots.cameras]),
        "camera_focal": np.array([camera.focal for camera in shots.cameras], float),
        "camera_center": np.stack([camera.center for camera in shots.cameras]),
        "zoom": shots.zoom.astype(np.float32), "pan": shots.pan.astype(np.float32),
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.partial-{os.getpid()}")
    with zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))  # a date inside would give other bytes
            entry.compress_type, entry.create_system, entry.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(entry, data.getvalue())
    os.replace(aside, path)
    return path


def load_truth(path: str | Path) -> Truth:
    """Read a file of `save_truth`. Raises ValueError naming the file if it is something else or damaged."""
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(arrays["about"].tobytes())
        cameras = tuple(
            Camera(*parts)
            for parts in zip(*(arrays[f"camera_{name}"] for name in ("position", "axes", "focal", "center")), strict=True)
        )
        shots = Shots(arrays["shot_starts"].astype(int), cameras, arrays["zoom"].astype(float), arrays["pan"].astype(float))
        return Truth(
            about["video"], about["split"], about["fps"], tuple(about["size"]),
            arrays["joints"].astype(np.float32) * np.float32(JOINT_STEP),
            arrays["visible"].astype(np.float32) * np.float32(VISIBLE_STEP),
            dict(zip(about["channels"], arrays["channels"], strict=True)),
            *(arrays[name] for name in ("phases", "gesture", "contacts", "talking", "rows", "motion_rows")),
            shots, about["won"], about["mood"], about["traits"], arrays["face"],
            tuple(about["phases"]), tuple(about["contacts"]),
        )  # fmt: skip
    except FileNotFoundError:
        raise
    except (KeyError, ValueError, TypeError, zipfile.BadZipFile, EOFError, OSError) as error:
        what = f"{path}: not a truth file of the simulator, or damaged ({error})"
        raise ValueError(f"{what}; delete it and simulate again") from error


def _traits(video: SimulatedVideo) -> dict[str, Any]:
    """The person as JSON: numbers, lists and dicts; the neutral face aside."""
    traits = asdict(video.subject)
    traits["size"].pop("face")
    return {"subject": video.plan.subject} | json.loads(json.dumps(traits, default=lambda a: a.tolist()))


def _motion_rows(video: SimulatedVideo) -> np.ndarray:
    moving = [np.flatnonzero(shown > 0) for shown in video.motion.envelopes]
    spans = [(start + int(m[0]), start + int(m[-1])) for start, m in zip(video.motion.starts, moving)]
    return np.array(spans, np.int32).reshape(-1, 2)
