"""Films of simulated videos: h264 in mp4, the same bytes for the same video, and aligned crops of the face."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from migstudy.simulate.camera import Camera
from migstudy.simulate.render.scene import Scene
from migstudy.simulate.video import SimulatedVideo
from migstudy.skeletons import FACE

CRF = 23  # quality of x264: 0 lossless, 23 its default
FACE_SIZE = 112  # px
# where ArcFace expects the person's right and left eye, tip of the nose, right and left corner of the mouth (Deng et al. 2019)
ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
_EYES, _NOSE, _CORNERS = (tuple(range(36, 42)), tuple(range(42, 48))), 30, (48, 54)
_SMPTE170M, _LIMITED = 6, 1  # how libswscale turns RGB into YUV, said in the file


def write_film(path: str | Path, frames: Iterable[np.ndarray], fps: float, crf: float = CRF) -> Path:
    """Writes frames (h, w, 3) uint8, all of one even size, as h264 yuv420p; a keyframe every second, no B-frames.

    The same frames give the same bytes with the same version of x264. The file appears when it is whole. Raises ValueError
    without frames or for an odd size.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial")
    rate = Fraction(fps).limit_denominator(1001)
    frames = iter(frames)
    first = next(frames, None)
    if first is None or first.shape[0] % 2 or first.shape[1] % 2:
        what = "there are no frames" if first is None else f"{first.shape[1]} x {first.shape[0]} px is odd"
        raise ValueError(f"{path}: {what}; h264 needs at least one frame of even width and height")
    try:
        with av.open(str(partial), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as file:
            options = {"preset": "veryfast", "crf": f"{crf:g}", "bf": "0", "threads": "1"}
            stream = file.add_stream("libx264", rate=rate, options=options)
            stream.height, stream.width, stream.pix_fmt = *first.shape[:2], "yuv420p"
            stream.codec_context.gop_size = max(1, round(fps))
            stream.codec_context.thread_count = 1
            stream.codec_context.colorspace, stream.codec_context.color_range = _SMPTE170M, _LIMITED
            for picture in _chain(first, frames):
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            file.mux(stream.encode())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def render_video(video: SimulatedVideo, path: str | Path, height: int | None = None, identity_free: bool = False) -> Path:
    """Draws every frame of a video, by its own cameras, and writes it as mp4.

    height: px, None for `config.rgb_height`; made even, the width follows. identity_free: the same mannequin for everybody.
    """
    return write_film(path, video_frames(video, height, identity_free), video.config.fps)


def video_frames(video: SimulatedVideo, height: int | None = None, identity_free: bool = False) -> Iterator[np.ndarray]:
    """The frames (h, w, 3) uint8 of `render_video`, one after the other."""
    config, scene = video.config, Scene(video, identity_free)
    size = film_size(config.width, config.height, height or config.rgb_height)
    for frame in range(len(video.motion.joints)):
        yield scene.exposure(frame, size)


def film_size(width: int, height: int, lines: int) -> tuple[int, int]:
    """(w, h) px, both even, of a film with about `lines` lines of pictures of width x height."""
    return max(2, 2 * round(lines * width / height / 2)), max(2, 2 * round(lines / 2))


def render_faces(video: SimulatedVideo, path: str | Path, identity_free: bool = False) -> Path:
    """Writes the face alone, 112 x 112 px, as many frames as the video; black where the face is out of the picture.

    Each frame is drawn through the similarity that takes the five true landmarks to ArcFace's places (Umeyama 1991).
    """
    return write_film(path, face_frames(video, identity_free), video.config.fps, crf=18)


def face_frames(video: SimulatedVideo, identity_free: bool = False) -> Iterator[np.ndarray]:
    """The frames (112, 112, 3) uint8 of `render_faces`, one after the other."""
    scene, size = Scene(video, identity_free), (FACE_SIZE, FACE_SIZE)
    factors, shifts = align(five_landmarks(video.pixels))
    visible = video.visible[:, FACE : FACE + 68].mean(1) > 0.5
    for frame in range(len(visible)):
        if visible[frame]:
            camera = warped(video.shots.camera_at(frame), factors[frame], shifts[frame])
            yield scene.exposure(frame, size, (0.0, 0.0, FACE_SIZE, FACE_SIZE), camera)
        else:
            yield np.zeros((FACE_SIZE, FACE_SIZE, 3), np.uint8)


def five_landmarks(pixels: np.ndarray) -> np.ndarray:
    """(T, 5, 2) centres of the eyes (right, left), tip of the nose, corners of the mouth, of keypoints (T, 137, 2)."""
    face = pixels[:, FACE : FACE + 70]
    eyes = np.stack([face[:, list(eye)].mean(1) for eye in _EYES], 1)
    return np.concatenate([eyes, face[:, [_NOSE, *_CORNERS]]], 1)


def align(points: np.ndarray, template: np.ndarray = ARCFACE) -> tuple[np.ndarray, np.ndarray]:
    """Similarities (T,) and shifts (T,), complex with y as the imaginary part, that take points (T, P, 2) closest to template.

    In one complex number a rotation and a scale are a factor, so least squares has this closed form.
    """
    z, w = points[..., 0] + 1j * points[..., 1], template[:, 0] + 1j * template[:, 1]
    at, to = z.mean(1), w.mean()
    z, w = z - at[:, None], w - to
    factor = (w * z.conj()).sum(1) / np.maximum((np.abs(z) ** 2).sum(1), 1e-12)
    return factor, to - factor * at


def warped(camera: Camera, factor: complex, shift: complex) -> Camera:
    """The camera whose pixels are factor * pixel + shift of the given one's: rolled, zoomed and moved."""
    scale, turn = abs(factor), factor / abs(factor)
    axes = camera.axes.copy()
    axes[0] = turn.real * camera.axes[0] - turn.imag * camera.axes[1]
    axes[1] = turn.imag * camera.axes[0] + turn.real * camera.axes[1]
    center = factor * (camera.center[0] + 1j * camera.center[1]) + shift
    return replace(camera, axes=axes, focal=camera.focal * scale, center=np.array([center.real, center.imag]))


def _chain(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest
