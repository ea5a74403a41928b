"""Perspective cameras in front of the table, and the shots a video is cut together from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from migstudy.simulate.background import drift
from migstudy.simulate.config import SimulatorConfig

_SET_UPS = 3  # cameras a video is cut between
_SHORTEST = 2.0  # least duration of a shot, s
_INSIDE = 0.15  # share of cuts that may fall inside a labelled clip
_PAN_SECONDS = 3.0  # memory of an operator's slow pan and zoom

# the microphone on the table as two capsules, stand and head: ends a, b and radius, m in the room
MICROPHONE = (
    ((0.045, 0.145, 0.60), (0.025, 0.330, 0.52), 0.006),
    ((0.025, 0.330, 0.52), (0.019, 0.385, 0.49), 0.021),
)


@dataclass(frozen=True)
class Camera:
    """position: (3,) m. axes: (3, 3), rows are image right, image down and viewing direction. focal: px. center: (2,) px."""

    position: np.ndarray
    axes: np.ndarray
    focal: float
    center: np.ndarray

    def project(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) m in the room to (..., 2) px, origin top left, y down."""
        local = (points - self.position) @ self.axes.T
        return self.center + self.focal * local[..., :2] / np.maximum(local[..., 2:], 0.05)


@dataclass(frozen=True)
class Shots:
    """What the camera does over a video of T frames.

    starts: (S,) first frame of every shot, the first 0. cameras: one of each shot. zoom: (T,) factor on the focal length and
    pan: (T, 2) px by which the image centre moves: the operator's slow drift.
    """

    starts: np.ndarray
    cameras: tuple[Camera, ...]
    zoom: np.ndarray
    pan: np.ndarray

    @property
    def index(self) -> np.ndarray:
        """(T,) which shot each frame belongs to."""
        return np.searchsorted(self.starts, np.arange(len(self.zoom)), side="right") - 1

    @property
    def spans(self) -> list[slice]:
        """The frames of every shot."""
        return [slice(int(a), int(b)) for a, b in zip(self.starts, [*self.starts[1:], len(self.zoom)])]

    @property
    def positions(self) -> np.ndarray:
        """(T, 3) where the camera stands, m."""
        return np.stack([camera.position for camera in self.cameras])[self.index]

    @property
    def focals(self) -> np.ndarray:
        """(T,) focal length, px."""
        return np.array([camera.focal for camera in self.cameras])[self.index] * self.zoom

    def depths(self, points: np.ndarray) -> np.ndarray:
        """(T, P) m along the viewing direction, of points (T, P, 3)."""
        forward = np.stack([camera.axes[2] for camera in self.cameras])[self.index]
        return np.einsum("tpi,ti->tp", points - self.positions[:, None], forward)

    def camera_at(self, frame: int) -> Camera:
        """The camera of one frame, its drift included."""
        camera = self.cameras[int(np.searchsorted(self.starts, frame, side="right")) - 1]
        return replace(camera, focal=camera.focal * self.zoom[frame], center=camera.center + self.pan[frame])

    def project(self, points: np.ndarray) -> np.ndarray:
        """(T, ..., 3) m in the room to (T, ..., 2) px, each frame by its own camera."""
        if len(points) != len(self.zoom):
            raise ValueError(f"shots of {len(self.zoom)} frames cannot project {len(points)} frames")
        pixels = np.empty((*points.shape[:-1], 2))
        ones = (1,) * (points.ndim - 2)
        for span, camera in zip(self.spans, self.cameras):
            zoom, pan = self.zoom[span].reshape(-1, *ones, 1), self.pan[span].reshape(-1, *ones, 2)
            pixels[span] = camera.center + pan + zoom * (camera.project(points[span]) - camera.center)
        return pixels


def draw_shots(
    frames: int, config: SimulatorConfig, rng: np.random.Generator, rows: Sequence[tuple[int, int, int]] = ()
) -> Shots:
    """Shots of a video of `frames` frames, cut between a few set-ups of its own, `config.cuts` times a minute in the mean.

    rows: labelled clips (csv_class, first frame, last frame); most cuts fall between them, as an editor's do. Cuts, set-ups
    and drift have random streams of their own: changing one knob leaves the others' draws alone.
    """
    framing, cutting, moving = rng.spawn(3)
    set_ups = _draw_set_ups(config, framing)
    starts = _cut_frames(frames, config, cutting, rows)
    steps = cutting.integers(1, _SET_UPS, len(starts) - 1)  # never the same set-up twice in a row
    order = np.concatenate([[0], np.cumsum(steps)]) % _SET_UPS
    slow = drift(moving, frames, _PAN_SECONDS * config.fps, 3)
    pan = config.camera_drift * config.width / 1280 * slow[:, :2]
    zoom = np.exp(config.camera_drift / 500 * slow[:, 2])
    return Shots(starts, tuple(set_ups[i] for i in order), zoom, pan)


def draw_camera(config: SimulatorConfig, rng: np.random.Generator) -> Camera:
    """A camera 2.5 to 5 m away, aimed at the speaker's upper chest, framed so that the table shows."""
    yaw = np.deg2rad(config.camera_yaw) * rng.uniform(-1, 1)
    pitch, roll = np.deg2rad(rng.uniform(-2, 10)), np.deg2rad(1.0) * rng.standard_normal()
    # shoulders 180 to 270 px wide at 720 lines
    return _frame(config, yaw, pitch, roll, rng.uniform(2.5, 5.0), rng.uniform(500, 740), rng.uniform(-1, 1, 2))


def _draw_set_ups(config: SimulatorConfig, rng: np.random.Generator) -> tuple[Camera, ...]:
    """The main camera, a closer view of the same camera, and a second camera to the side."""
    main = draw_camera(config, rng)
    zoom, aside = rng.uniform(1.2, 1.5), config.width * 0.04 * rng.uniform(-1, 1)
    lower = np.array([aside, config.height * 0.10 * (zoom - 1)])  # a closer view keeps the head in the picture
    close = replace(main, focal=main.focal * zoom, center=main.center + lower)
    return main, close, draw_camera(config, rng)


def _frame(
    config: SimulatorConfig, yaw: float, pitch: float, roll: float, distance: float, size: float, offset: np.ndarray
) -> Camera:
    aim = np.array([0.0, 0.42, 0.10])
    towards = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    spin = np.array([[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1.0]])
    position = aim + distance * towards
    center = np.array([config.width, config.height]) * (np.array([0.5, 0.53]) + np.array([0.06, 0.05]) * offset)
    return Camera(position, _look_at(position, aim, spin), size * distance * config.height / 720, center)


def _cut_frames(
    frames: int, config: SimulatorConfig, rng: np.random.Generator, rows: Sequence[tuple[int, int, int]]
) -> np.ndarray:
    """(S,) first frames of the shots."""
    minutes = frames / (60 * config.fps)
    wanted = np.sort(rng.random(rng.poisson(config.cuts * minutes))) * frames
    inside = rng.random(len(wanted)) < _INSIDE
    labelled = np.zeros(frames + 1, bool)
    for _, first, last in rows:
        labelled[first + 1 : last + 1] = True  # a cut before a clip's first frame parts nothing
    pauses = np.flatnonzero(~labelled[:-1])
    starts = [0]
    for frame, anywhere in zip(wanted.astype(int), inside):
        if not anywhere and len(pauses):
            frame = pauses[np.argmin(np.abs(pauses - frame))]
        if frame - starts[-1] >= _SHORTEST * config.fps and frames - frame >= _SHORTEST * config.fps:
            starts.append(int(frame))
    return np.array(starts)


def _look_at(position: np.ndarray, aim: np.ndarray, spin: np.ndarray) -> np.ndarray:
    forward = (aim - position) / np.linalg.norm(aim - position)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    return spin @ np.stack([right, np.cross(forward, right), forward])
