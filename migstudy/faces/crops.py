"""Aligned face crops of videos, at any frames: cut out of films by the skeleton's landmarks, or taken ready-made.

A crop is 112 x 112 px RGB with eyes, nose and mouth where ArcFace's template has them. Films are decoded at the asked frames
alone, and one crop is held at a time, however long the video is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from migstudy.clips import ClipSet
from migstudy.datasets import content_cache as cached
from migstudy.datasets.release_errors import Problem, describe
from migstudy.faces.points import TEMPLATE_SIZE, FaceTrack, align, track_face
from migstudy.video.films import Film, FilmError, find_films

if TYPE_CHECKING:
    from torch import Tensor

READY_FOLDER = "faces"
Detector = Callable[[np.ndarray], "np.ndarray | None"]
"""A picture (H, W, 3) uint8 RGB -> five points (5, 2) px in the order of `points.POINTS`, or None where no face is.

Tokens of its crops are kept by its name, or by an attribute `fingerprint` (str), which tells settings and versions apart."""

_BLACK = 8  # no pixel of a crop is brighter: the renderer's sign that the face is out of the picture, or an empty frame


@dataclass(frozen=True)
class FaceVideo:
    """Where the face crops of one video come from; make it with `open_faces`.

    frames: of the video. track: the face in the skeleton's px, of a picture of image_size (W, H), for films; None with
    `ready` crops or a `detector`. fingerprint: of the film's bytes and of how the face is found.
    """

    video: str
    film: Path
    frames: int
    fingerprint: str
    ready: bool = False
    track: FaceTrack | None = None
    image_size: tuple[int, int] = (0, 0)
    detector: Detector | None = None

    def crops(self, numbers: Iterable[int]) -> Iterator[tuple[int, np.ndarray | None]]:
        """(number, (112, 112, 3) uint8 RGB) for each distinct frame number, ascending; None where there is no usable face.

        Frames that the skeleton shows no face in are not decoded. Raises FilmError for a missing, damaged or too short film.
        """
        wanted = sorted({int(number) for number in numbers})
        if wanted and not 0 <= wanted[0] <= wanted[-1] < self.frames:
            raise FilmError(f"{self.film}: video {self.video} has {self.frames} frames, asked for {wanted[0]}..{wanted[-1]}")
        seen = wanted if self.track is None else [number for number in wanted if self.track.usable[number]]
        if not seen:
            yield from ((number, None) for number in wanted)
            return
        with Film(self.film) as film:
            pictures = film.frames(seen)
            visible = set(seen)
            for number in wanted:
                yield number, self._crop(number, next(pictures)[1]) if number in visible else None

    def _crop(self, number: int, picture: np.ndarray) -> np.ndarray | None:
        if self.ready:
            crop = picture
        elif self.detector is not None:
            points = self.detector(picture)
            if points is None:
                return None
            track = align(np.asarray(points, float)[None])
            crop = aligned_crop(picture, track.matrices[0]) if track.usable[0] else None
        else:
            height, width = picture.shape[:2]
            scale = [own / film if own else 1.0 for own, film in zip(self.image_size, (width, height), strict=True)]
            crop = aligned_crop(picture, self.track.matrices[number] * [*scale, 1.0])
        return None if crop is None or crop.max() <= _BLACK else crop


def open_faces(
    root: str | Path, clips: ClipSet | None = None, *, source: str = "auto", sure: float = 0.3, detector: Detector | None = None,
    videos: Iterable[str] | None = None, cache: str | Path | None = None,
) -> dict[str, FaceVideo]:  # fmt: skip
    """Face crops of a release's videos: video id -> `FaceVideo`, in order of the ids; no frame is decoded yet.

    root: the release's folder, or that of the films (`films.find_films`). source: "ready" = `<root>/faces/<id>.mp4`, 112 x 112
    and aligned, frame for frame the skeleton's (the simulator writes them); "film" = cut out of the films by the landmarks of
    `clips`, whole videos in px (`read_release(unit="video")`), or by `detector`, which `clips` then need not tell; "auto" =
    ready-made crops where there are some and no detector is given. sure: least score of a landmark. videos: ids, of which every
    one must be there; None: all that have a film, and of `clips` where those are given. cache: as in `read_release`.
    Raises FilmError naming what is missing or not as long as its skeleton, or ValueError for clips that are no whole videos in
    px and a nameless detector.
    """
    root = Path(root).expanduser().resolve()
    if source not in ("auto", "ready", "film"):
        raise ValueError(f"unknown source {source!r} of faces; choose auto, ready or film")
    if source == "ready" and detector is not None:
        raise ValueError("ready-made crops are aligned already; leave the detector out, or choose source='film'")
    folder = root / READY_FOLDER
    ready = source == "ready" or (source == "auto" and detector is None and folder.is_dir())
    films = {path.stem: path for path in sorted(folder.glob("*.mp4"))} if ready else find_films(root)
    known = None if clips is None else dict(zip(clips.index["video"], clips.index["clip_id"], strict=True))
    lengths = {} if clips is None or _is_pieces(clips) else dict(zip(clips.index["video"], clips.index["length"], strict=True))
    if not ready and detector is None:
        _check(clips)
    wanted = list(videos) if videos is not None else [video for video in (known or films) if video in films]
    missing = [video for video in wanted if video not in films]
    if missing or not wanted:
        place = folder if ready else root
        fix = "simulate it again with --faces" if ready else "fetch it"
        raise FilmError(describe([
            Problem(place / f"{video}.mp4", "no film of the video's face", f"{fix}, or leave the video out") for video in missing
        ]) if missing else f"{place} holds no face of any video asked for; {fix}, or give another folder")  # fmt: skip
    if not ready and detector is None and (unknown := [video for video in wanted if video not in known]):
        raise ValueError(f"video {unknown[0]} has no skeleton in {clips.source!r}; give its clips, or a detector")
    store = cached.cache_root(cache) / "faces"
    hashes = cached.content_hashes([films[video] for video in wanted], root, store, 1)
    found = {}
    for video in sorted(wanted):
        film, content = films[video], hashes[films[video]]
        with Film(film) as opened:
            frames, size = len(opened), opened.size
        length = lengths.get(video, frames)
        if frames != length if ready else frames < length:
            fix = "simulate it again with --faces" if ready else "fetch it again"
            raise FilmError(f"{film} has {frames} frames, the skeleton of video {video} {length}; {fix}, or leave the video out")
        if ready or detector is not None:
            if ready and size != (TEMPLATE_SIZE, TEMPLATE_SIZE):
                raise FilmError(f"{film} is {size[0]} x {size[1]} px; ready-made crops are {TEMPLATE_SIZE} x {TEMPLATE_SIZE}")
            way = "ready" if ready else _name_of(detector)
            found[video] = FaceVideo(video, film, frames, cached.key_of(content, way), ready, detector=detector)
        else:
            clip = clips[known[video]]
            track = track_face(clip.keypoints, clip.scores, clips.topology, sure)
            key = cached.key_of(content, clip.image_size, [cached.key_of(np.round(track.points, 2).tobytes().hex()), sure])
            found[video] = FaceVideo(video, film, len(track), key, track=track, image_size=clip.image_size)
    return found


def _name_of(detector: Detector) -> str:
    """What tells a detector's crops from another's in the cache."""
    if own := getattr(detector, "fingerprint", None):
        return str(own)
    name = getattr(detector, "__qualname__", type(detector).__qualname__)
    if name == "partial" or name.endswith("<lambda>"):
        fix = "define a function, or set its `fingerprint`"
        raise ValueError(f"the detector {detector!r} has no name to keep its crops by; {fix}")
    return name


def _check(clips: ClipSet | None) -> None:
    if clips is None:
        raise ValueError("to cut faces out of films, give the videos' skeletons (clips=), or a detector of five points")
    if clips.units != "px":
        raise ValueError(f"{clips.source!r} is in {clips.units!r}; only skeletons in px say where in a film the face is")
    if _is_pieces(clips):
        raise ValueError(f"{clips.source!r} holds pieces of videos; read whole ones, with read_release(..., unit='video')")


def _is_pieces(clips: ClipSet) -> bool:
    return clips.index["video"].duplicated().any() or (clips.index["start"] != 0).any()


def aligned_crop(picture: np.ndarray, matrix: np.ndarray, size: int = TEMPLATE_SIZE) -> np.ndarray:
    """The crop (size, size, 3) of a picture (H, W, 3) uint8 that matrix (2, 3), to px of the 112 px template, aligns.

    Bilinear, over a picture that is averaged down first where the crop is less than half as large; black outside the picture.
    """
    from PIL import Image

    forward = np.vstack([np.asarray(matrix, float) * (size / TEMPLATE_SIZE), [0, 0, 1]])
    back = np.linalg.inv(forward)
    image = Image.fromarray(np.ascontiguousarray(picture))
    shrink = int(np.hypot(back[0, 0], back[1, 0]))
    if shrink >= 2:
        corners = back[:2] @ np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]], float)
        low = np.clip(np.floor(corners.min(1) / shrink).astype(int) * shrink - shrink, 0, None)
        high = np.minimum(np.ceil(corners.max(1)).astype(int) + 2 * shrink, image.size)
        if (high <= low).any():
            return np.zeros((size, size, 3), np.uint8)
        image = image.reduce(shrink, box=(*low.tolist(), *high.tolist()))
        back = np.diag([1 / shrink, 1 / shrink, 1]) @ (back - np.array([[0, 0, low[0]], [0, 0, low[1]], [0, 0, 0]]))
    places = tuple(back[:2].ravel().tolist())
    return np.asarray(image.transform((size, size), Image.Transform.AFFINE, places, Image.Resampling.BILINEAR))


def as_model_input(crops: np.ndarray | Tensor, size: int, mirrored: bool = False) -> Tensor:
    """Crops (n, S, S, 3) uint8 RGB -> (n, 3, size, size) float32 in -1..1, antialiased where they shrink, on their device."""
    import torch
    from torch.nn import functional as F

    x = torch.as_tensor(crops).movedim(-1, 1).float().div_(127.5).sub_(1)
    if x.shape[-1] != size:
        x = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
    return x.flip(-1) if mirrored else x


def usable_share(faces: Mapping[str, FaceVideo]) -> dict[str, float]:
    """Share of each video's frames that the skeleton shows a usable face in; NaN where only the film can tell."""
    return {video: float(face.track.usable.mean()) if face.track is not None else np.nan for video, face in faces.items()}
