"""A perspective camera in front of the table, and what it cannot see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from migstudy.simulate.body import TABLE_EDGE, TABLE_HEIGHT
from migstudy.simulate.config import SimulatorConfig
from migstudy.skeletons import BODY25_JOINTS, LEFT_HAND, RIGHT_HAND

_HAND_JOINTS = [BODY25_JOINTS.index(f"{side}_wrist") for side in ("left", "right")] + list(range(LEFT_HAND, RIGHT_HAND + 21))


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
    """(T, V) 0 hidden to 1 in plain view: the image's border, the table before the lap, the trunk before hands behind it.

    joints: (T, V, 3) m; pixels: (T, V, 2).
    """
    size = np.array([config.width, config.height])
    inside = ((pixels >= 0) & (pixels < size)).all(-1)
    # where the line of sight crosses the plane of the table's front edge
    sight = camera.position - joints
    share = (TABLE_EDGE - joints[..., 2]) / np.where(np.abs(sight[..., 2]) < 1e-6, 1e-6, sight[..., 2])
    height = joints[..., 1] + np.clip(share, 0, 1) * sight[..., 1]
    below = np.clip((TABLE_HEIGHT - np.where(share > 0, height, joints[..., 1])) / 0.05, 0, 1)
    visible = inside * (1 - below)
    visible[:, _HAND_JOINTS] *= 1 - _behind_trunk(joints)
    return visible


def _behind_trunk(joints: np.ndarray) -> np.ndarray:
    """(T, H) 0 to 1, how far the trunk covers each hand joint, seen from the front."""
    pelvis, neck = (joints[:, None, BODY25_JOINTS.index(name)] for name in ("mid_hip", "neck"))
    hands = joints[:, _HAND_JOINTS]
    share = np.clip((hands[..., 1] - pelvis[..., 1]) / (neck[..., 1] - pelvis[..., 1]), 0, 1)
    axis = pelvis + share[..., None] * (neck - pelvis)
    aside, behind = np.abs(hands[..., 0] - axis[..., 0]), axis[..., 2] - hands[..., 2]
    return np.clip((0.17 - aside) / 0.03, 0, 1) * np.clip((behind - 0.03) / 0.04, 0, 1)


def _look_at(position: np.ndarray, aim: np.ndarray, spin: np.ndarray) -> np.ndarray:
    forward = (aim - position) / np.linalg.norm(aim - position)
    right = np.cross(forward, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    return spin @ np.stack([right, np.cross(forward, right), forward])
