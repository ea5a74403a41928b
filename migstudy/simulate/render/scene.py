"""The whole scene of one simulated video, at any moment, as primitives and as a picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from migstudy.classes import IMIGUE_CLASSES
from migstudy.simulate.camera import Camera
from migstudy.simulate.face import ACTION_UNITS, EAR
from migstudy.simulate.render.appearance import IDENTITY_FREE, draw_appearance
from migstudy.simulate.render.body_mesh import make_body
from migstudy.simulate.render.face_mesh import add_face
from migstudy.simulate.render.face_sculpt import COARSE, MEDIUM
from migstudy.simulate.render.hands import add_hand
from migstudy.simulate.render.head import make_head
from migstudy.simulate.render.pen import PLAYING, Pen
from migstudy.simulate.render.raster import Canvas, Layer, Primitives, render, render_layer
from migstudy.simulate.render.room import draw_room, plain_room
from migstudy.simulate.video import SimulatedVideo
from migstudy.skeletons import BODY25_JOINTS, FACE, LEFT_HAND, RIGHT_HAND

_EARS = tuple(BODY25_JOINTS.index(f"{side}_ear") for side in ("right", "left"))
_HAT = next(gesture.csv_class for gesture in IMIGUE_CLASSES if gesture.name == "Touching hat")
_RIGID = (27, 28, 29, 30, 36, 39, 42, 45)  # bridge of the nose and corners of the eyes: no action unit moves them much
_CLOSE, _FAR = 900.0, 300.0  # px a metre from which, and up to which, the face's mesh is the finest and the coarsest
_STEP_PX, _MOMENTS = 1.5, 4  # motion blur: path between two moments, and the most there are
_UPPER = [i for i, name in enumerate(BODY25_JOINTS[:19]) if name.split("_")[-1] not in ("hip", "knee", "ankle")]
_UPPER = _UPPER + list(range(LEFT_HAND, RIGHT_HAND + 21))


class Scene:
    """Draws a video's frames. identity_free: one mannequin in one grey room for everybody.

    Nobody touches a hat without one: in a video in which that happens the person wears a cap.
    """

    def __init__(self, video: SimulatedVideo, identity_free: bool = False) -> None:
        self.video, size = video, video.subject.size
        look, person = IDENTITY_FREE, np.random.default_rng(0)
        if not identity_free:
            person = video.person_rng()
            look = draw_appearance(person)
            if _HAT in video.plan.classes:
                look = look.with_cap()
        self.look = look
        microphone = video.config.microphone
        self.room = plain_room(microphone) if identity_free else draw_room(video.room_rng(), microphone)
        self.pen = Pen(video) if PLAYING in video.plan.classes else None
        self.body = make_body(look, size.shoulder)
        self.head = make_head(look, np.full(3, size.ear[0] / EAR[0]), person)
        self.template = np.concatenate([size.face[list(_RIGID)], size.ear * np.array([[-1.0, 1, 1], [1.0, 1, 1]])])
        self._canvas = self._layer = self._view = None

    def joints_at(self, time: float) -> np.ndarray:
        """(137, 3) m at a moment in frames, which may lie between two."""
        joints = self.video.motion.joints
        time = min(max(time, 0.0), len(joints) - 1.0)
        first = min(int(time), len(joints) - 2) if len(joints) > 1 else 0
        share = time - first
        return joints[first] if share == 0 else (1 - share) * joints[first] + share * joints[first + 1]

    def head_at(self, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Origin (3,) and axes (3, 3) of the head: the rigid motion that fits its firm points best (Kabsch 1976)."""
        points = joints[[*(FACE + i for i in _RIGID), *_EARS]]
        middle, at = self.template.mean(0), points.mean(0)
        u, _, vt = np.linalg.svd((points - at).T @ (self.template - middle))
        axes = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
        return at - axes @ middle, axes

    def primitives(self, time: float, scale: float = np.inf) -> Primitives:
        """The person at a moment in frames. scale: px a metre at the seat; the smaller, the coarser the face's mesh."""
        joints, size, shapes = self.joints_at(time), self.video.subject.size, Primitives()
        head, axes = self.head_at(joints)
        self.body.add(shapes, joints, head - axes @ np.array([0.0, size.head, 0.015]))
        self.head.add(shapes, head, axes)
        frame, channels = round(min(max(time, 0.0), len(self.video.motion.joints) - 1.0)), self.video.motion.channels
        units = {name: float(channels[name][frame]) for name in ACTION_UNITS if name in channels}
        step = 1.0 if scale >= _CLOSE else MEDIUM if scale >= _FAR else COARSE
        add_face(shapes, joints[FACE : FACE + 70], axes, head, self.look, units, step)
        for start in (LEFT_HAND, RIGHT_HAND):
            add_hand(shapes, joints[start : start + 21], size.hand, self.look.skin)
        if self.pen is not None:
            self.pen.add(shapes, joints, frame)
        return shapes

    def picture(
        self, time: float, size: tuple[int, int], window: tuple[float, float, float, float] | None = None,
        camera: Camera | None = None,
    ) -> np.ndarray:  # fmt: skip
        """(h, w, 3) uint8 of a moment in frames. size: (w, h) px. window: px of the full image that fill it, None for all.

        camera: None for the video's own.
        """
        config = self.video.config
        camera = camera or self.video.shots.camera_at(min(max(round(time), 0), len(self.video.motion.joints) - 1))
        window = window or (0.0, 0.0, float(config.width), float(config.height))
        size = tuple(size)
        if self._canvas is None or self._canvas.size != size:
            self._canvas = Canvas(*size)
        layer = self._room_layer(camera, size, window)
        scale = camera.focal / np.linalg.norm(camera.position) * size[0] / (window[2] - window[0])
        return render(self.primitives(time, scale), camera, size, layer, self.room.light, window, self._canvas)

    def exposure(
        self, frame: int, size: tuple[int, int], window: tuple[float, float, float, float] | None = None,
        camera: Camera | None = None,
    ) -> np.ndarray:  # fmt: skip
        """As `picture`, with the blur of a shutter open for `config.blur` of a frame's time, centred on the frame.

        Fast frames are the mean of up to four moments, spaced by about `_STEP_PX` of the fastest joint; most need one only.
        """
        config = self.video.config
        camera = camera or self.video.shots.camera_at(frame)
        x0, y0, x1, y1 = window or (0.0, 0.0, float(config.width), float(config.height))
        ends = [camera.project(self.joints_at(frame + share * config.blur)[_UPPER]) for share in (-0.5, 0.5)]
        places = (np.stack(ends) - [x0, y0]) / [x1 - x0, y1 - y0]
        seen = ((places > -0.1) & (places < 1.1)).all(-1).any(0)
        travel = np.linalg.norm((places[1] - places[0]) * size, axis=-1)[seen].max(initial=0.0)
        moments = int(np.clip(np.ceil(travel / _STEP_PX), 1, _MOMENTS))
        times = frame + config.blur * ((np.arange(moments) + 0.5) / moments - 0.5)
        pictures = [self.picture(time, size, window, camera) for time in times]
        return pictures[0] if moments == 1 else (np.mean(pictures, 0, dtype=np.float32) + 0.5).astype(np.uint8)

    def _room_layer(self, camera: Camera, size: tuple[int, int], window: tuple[float, float, float, float]) -> Layer:
        """The room, drawn anew only when the view changes."""
        view = (*camera.position, *camera.axes.ravel(), camera.focal, *camera.center, *size, *window)
        if self._view != view:
            shapes = Primitives()
            self.room.add(shapes)
            backdrop = self.room.backdrop(camera, size, window)
            still = replace(self.room.light, shadow=0.0)
            self._view, self._layer = view, render_layer(shapes, camera, size, backdrop, still, window)
        return self._layer
