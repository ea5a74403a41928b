"""A perspective camera in front of the table, and what it cannot see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from migstudy.simulate.body import TABLE_EDGE, TABLE_HEIGHT
from migstudy.simulate.config import SimulatorConfig


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


def draw_camera(config: SimulatorConfig, rng: np.random.Generator) -> Camera:
    """A camera 2.5 to 5 m away, aimed at the speaker's upper chest, framed so that the table shows."""
    yaw = np.deg2rad(config.camera_yaw) * rng.uniform(-1, 1)
    pitch, roll = np.deg2rad(rng.uniform(-2, 10)), np.deg2rad(1.0) * rng.standard_normal()
    distance, aim = rng.uniform(2.5, 5.0), np.array([0.0, 0.42, 0.10])
    towards = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    spin = np.array([[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1.0]])
    position = aim + distance * towards
    axes = _look_at(position, aim, spin)
    # shoulders 180 to 270 px wide at 720 lines
    focal = rng.uniform(500, 740) * distance * config.height / 720
    center = np.array([config.width * (0.5 + 0.06 * rng.uniform(-1, 1)), config.height * (0.53 + 0.05 * rng.uniform(-1, 1))])
    return Camera(position, axes, focal, center)


def visibility(joints: np.ndarray, pixels: np.ndarray, camera: Camera, config: SimulatorConfig) -> np.ndarray:
    """(T, V) 0 hidden to 1 in plain view: the image's border and the table in front of the lap.

    joints: (T, V, 3) m; pixels: (T, V, 2).
    """
    size = np.array([config.width, config.height])
    inside = ((pixels >= 0) & (pixels < size)).all(-1)
    # where the line of sight crosses the plane of the table's front edge
    sight = camera.position - joints
    share = (TABLE_EDGE - joints[..., 2]) / np.where(np.abs(sight[..., 2]) < 1e-6, 1e-6, sight[..., 2])
    height = joints[..., 1] + np.clip(share, 0, 1) * sight[..., 1]
    below = np.clip((TABLE_HEIGHT - np.where(share > 0, height, joints[..., 1])) / 0.05, 0, 1)
    return inside * (1 - below)


def _look_at(position: np.ndarray, aim: np.ndarray, spin: np.ndarray) -> np.ndarray:
    forward = (aim - position) / np.linalg.norm(aim - position)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    return spin @ np.stack([right, np.cross(forward, right), forward])
