"""One clear take of every class, drawn as a film and as key frames: what the simulator's gestures look like."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from migstudy.classes import IMIGUE_CLASSES, GestureClass
from migstudy.simulate.config import PROFILES, SimulatorConfig
from migstudy.simulate.motion import PHASES
from migstudy.simulate.plan import SUBJECT_STREAM, VideoPlan
from migstudy.simulate.programmes import PROGRAMMES
from migstudy.simulate.subject import draw_subject
from migstudy.simulate.video import SimulatedVideo, simulate_video
from migstudy.skeletons import BODY25_JOINTS, FACE

# nothing but the gesture, seen from the front
EXHIBIT = replace(
    PROFILES["quick"], clutter=0.0, class_overlap=0.0, take_variation=0.5, emotion_effect=0.0, camera_yaw=8.0, cuts=0.0,
    gap_seconds=1.0, microphone=False,
)  # fmt: skip
_LIPS = ("lip_press", "lip_bite", "cheek_bulge", "mouth_open")
_SHOULDERS = [BODY25_JOINTS.index(f"{side}_shoulder") for side in ("right", "left")]
_SEEN = [BODY25_JOINTS.index(name) for name in ("nose", "neck", "right_shoulder", "left_shoulder", "right_elbow", "left_elbow")]


@dataclass(frozen=True)
class Exhibit:
    """A class and one take of it. frames: before it, at its height, and the moment at its height that differs most from that.
    window: (x0, y0, x1, y1) px of the image that show it."""

    gesture: GestureClass
    video: SimulatedVideo = field(repr=False)
    frames: tuple[int, int, int]
    window: tuple[float, float, float, float]

    def pictures(self, side: int = 160) -> list[np.ndarray]:
        """The three key frames, each (side, side, 3) uint8."""
        from migstudy.simulate.render.scene import Scene

        scene = Scene(self.video)
        return [scene.picture(frame, (side, side), self.window) for frame in self.frames]


def exhibits(
    seed: int = 0, config: SimulatorConfig = EXHIBIT, csv_classes: Collection[int] | None = None
) -> Iterator[Exhibit]:
    """A take of each of the 32 classes, or of those named, each by another person; raises ValueError for an unknown class."""
    if unknown := sorted(set(csv_classes or ()) - set(PROGRAMMES)):
        raise ValueError(f"there is no class {unknown[0]}; known: {', '.join(map(str, PROGRAMMES))}")
    for gesture in IMIGUE_CLASSES:
        if csv_classes is not None and gesture.csv_class not in csv_classes:
            continue
        subject = draw_subject(np.random.default_rng([seed, SUBJECT_STREAM, gesture.csv_class]), config, len(IMIGUE_CLASSES))
        name = f"{gesture.csv_class:04d}"
        plan = VideoPlan(name, gesture.csv_class, "train", gesture.csv_class, bool(gesture.index % 2), (gesture.csv_class,))
        video = simulate_video(plan, subject, config, seed)
        yield Exhibit(gesture, video, _key_frames(video), _window(video, gesture.csv_class))


def write_gallery(
    out: str | Path, seed: int = 0, height: int = 360, margin: float = 1.0, csv_classes: Collection[int] | None = None
) -> list[Path]:
    """Write `<class>_<name>.mp4`, a short film of every class (or of those named), into a folder; returns the paths.

    height: lines, px. margin: seconds shown before and after the gesture.
    """
    from migstudy.simulate.render.film import film_size, write_film
    from migstudy.simulate.render.scene import Scene

    paths, shown = [], list(exhibits(seed, csv_classes=csv_classes))
    Path(out).mkdir(parents=True, exist_ok=True)
    for exhibit in tqdm(shown, "draw", unit="film"):
        video, config = exhibit.video, exhibit.video.config
        (_, start, end), spare = video.rows[0], round(margin * config.fps)
        size = film_size(config.width, config.height, height)
        scene = Scene(video)
        frames = range(max(0, start - spare), min(len(video.pixels), end + spare + 1))
        name = re.sub(r"[^a-z]+", "_", exhibit.gesture.name.lower()).strip("_")
        paths.append(Path(out) / f"{exhibit.gesture.csv_class:02d}_{name}.mp4")
        write_film(paths[-1], (scene.exposure(t, size) for t in frames), config.fps)
    return paths


def _key_frames(video: SimulatedVideo) -> tuple[int, int, int]:
    joints, (_, start, _) = video.motion.joints, video.rows[0]
    rest = max(0, start - 1)
    shown = np.flatnonzero(video.motion.phases == PHASES.index("apex"))

    def farthest(frame: int) -> int:
        return int(shown[np.linalg.norm(joints[shown] - joints[frame], axis=-1).mean(1).argmax()])

    height = farthest(rest)
    return rest, height, farthest(height)


def _window(video: SimulatedVideo, csv_class: int) -> tuple[float, float, float, float]:
    """A square around head and trunk, or around the head where the gesture is one of the lips."""
    programme, frames = PROGRAMMES[csv_class], video.pixels
    width = float(np.linalg.norm(frames[:, _SHOULDERS[0]] - frames[:, _SHOULDERS[1]], axis=-1).mean())
    if programme.reach is None and any(move.channel in _LIPS for move in programme.moves):
        (x, y), half = frames[:, FACE : FACE + 68].mean((0, 1)), 0.5 * width
    else:
        (x, y), half = frames[:, _SEEN].mean((0, 1)), 1.3 * width
    return float(x - half), float(y - half), float(x + half), float(y + half)
