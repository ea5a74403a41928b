"""RGB clips: the frames that a model needs, cut out around the person by the skeleton, decoded once and kept.

One packed, memory-mapped file a video; its name is the hash of the film's bytes, of the clips and of how they are cut.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import joblib
import numpy as np
from tqdm import tqdm

from migstudy.clips import Clip, ClipSet
from migstudy.datasets import content_cache as cached
from migstudy.datasets.release_errors import Problem, describe
from migstudy.paths import written_aside
from migstudy.temporal import Rng, interval_positions
from migstudy.topology import Topology
from migstudy.video.films import Film, FilmError

KINETICS_MEAN, KINETICS_STD = 0.45, 0.225
"""Of all three channels, on pixels in 0..1 (torchvision's and mmaction2's MViTv2)."""

_PADDING = round(255 * KINETICS_MEAN)
_OUTLIERS = 0.005
_CROWN = 0.2  # from the highest joint (brows, eyes) to the hair's top, share of the height of the joints
_VERSION = 1  # raise it whenever the same film would be cut differently: it is part of every name

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class RgbSpec:
    """How clips are cut out of films.

    frames: kept a clip, at uniform intervals over it; samplers choose among them, so keep more than the model sees.
    size: side of the kept squares, px; a little more than the model's leaves room for shifted crops. margin: added on
    each side of the person, share of the person's extent. sure: least score of a joint that counts. person: False keeps
    the whole picture instead of the square around the person.
    """

    frames: int = 16
    size: int = 256
    margin: float = 0.05
    sure: float = 0.3
    person: bool = True

    def __post_init__(self) -> None:
        if self.frames < 1 or self.size < 1 or self.margin < 0:
            raise ValueError(f"{self}: frames and size must be at least 1, margin at least 0")


class RgbClips(Mapping[str, np.ndarray]):
    """clip id -> its kept frames (frames, size, size, 3) uint8 RGB, memory-mapped; open it with `open_rgb_clips`.

    fingerprint: hash of films, clips and cutting; two sets of equal fingerprint hold equal pixels.
    """

    def __init__(self, places: Mapping[str, tuple[Path, int]], spec: RgbSpec) -> None:
        self._places, self.spec, self._maps = dict(places), spec, {}
        self.fingerprint = cached.key_of(sorted((clip, path.name, row) for clip, (path, row) in self._places.items()))

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __getitem__(self, clip_id: str) -> np.ndarray:
        path, row = self._places[clip_id]
        if path not in self._maps:
            self._maps[path] = np.load(path, mmap_mode="r", allow_pickle=False)
        return self._maps[path][row]

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_maps": {}}  # a worker process opens its own maps; pickling one would copy its pixels


def kept_frames(length: int, frames: int) -> np.ndarray:
    """(frames,) whole positions at uniform intervals over a clip of `length` frames; short clips repeat theirs."""
    return _whole(interval_positions(length, frames), length)


def pick_frames(kept: int, clip_len: int, views: int = 1, rng: Rng | None = None) -> np.ndarray:
    """Which of a clip's kept frames a model sees: (views * clip_len,); rng None is test mode, as in `temporal`."""
    return _whole(interval_positions(kept, clip_len, views, rng), kept)


def _whole(positions: np.ndarray, length: int) -> np.ndarray:
    return np.clip(np.floor(positions + 0.5), 0, length - 1).astype(np.int64)


def person_box(clip: Clip, topology: Topology, spec: RgbSpec = RgbSpec()) -> Box | None:
    """The square (x0, y0, x1, y1) around a clip's sure joints, in the skeleton's px; None when no joint is sure.

    The same for all frames, so that movement stays movement, and higher than the joints by what hair takes. Legs do not
    count (the table hides them), nor does the outermost 0.5 % of the joints on each side, which a single false detection
    would otherwise decide. Size and margins are our choice.
    """
    used = np.ones(topology.num_joints, bool)
    used[list(topology.parts.get("legs", ()))] = False
    sure = (clip.scores >= spec.sure) & (clip.scores > 0) & used
    if not sure.any():
        return None
    (x0, y0), (x1, y1) = np.quantile(clip.keypoints[sure], (_OUTLIERS, 1 - _OUTLIERS), axis=0)
    y0 -= _CROWN * (y1 - y0)
    half = max(x1 - x0, y1 - y0, 1.0) * (0.5 + spec.margin)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return tuple(round(float(value), 2) for value in (x - half, y - half, x + half, y + half))


def cut_out(picture: np.ndarray, box: Box, size: int) -> np.ndarray:
    """The square `box` of a picture (H, W, 3) uint8 as (size, size, 3), antialiased.

    A square that leaves the picture is moved inside; where it is larger, the rest is the mean grey of Kinetics.
    """
    from PIL import Image

    height, width = picture.shape[:2]
    side = max(int(round(box[2] - box[0])), 1)
    x, y = (_inside(low, side, extent) for low, extent in ((box[0], width), (box[1], height)))
    piece = picture[max(y, 0) : y + side, max(x, 0) : x + side]
    if piece.shape[:2] != (side, side):
        square = np.full((side, side, 3), _PADDING, np.uint8)
        top, left = max(-y, 0), max(-x, 0)
        square[top : top + piece.shape[0], left : left + piece.shape[1]] = piece
        piece = square
    if side == size:
        return np.ascontiguousarray(piece)
    return np.asarray(Image.fromarray(np.ascontiguousarray(piece)).resize((size, size), Image.Resampling.BILINEAR))


def _inside(low: float, side: int, extent: int) -> int:
    """Where the square begins on one axis: within the picture if it fits, else centred over it."""
    return (extent - side) // 2 if side > extent else min(max(int(round(low)), 0), extent - side)


def open_rgb_clips(
    clips: ClipSet, films: Mapping[str, Path], spec: RgbSpec = RgbSpec(), *, cache: str | Path | None = None,
    workers: int = 1, progress: bool = True,
) -> RgbClips:  # fmt: skip
    """Every clip's frames, decoded now for the videos that the cache does not hold yet.

    films: video -> file, of `find_films`. workers: videos at a time (threads; decoding runs in parallel). cache: as in
    `read_release`. A video is written whole or not at all, so a reading that was killed goes on where it stopped, and
    other films or another spec are other files. Raises FilmError listing up to 20 faults with film, clip and fix.
    """
    if clips.units != "px":
        raise ValueError(f"{clips.source!r} is in {clips.units!r}; only skeletons in px say where in a film the person is")
    store = cached.cache_root(cache) / "rgb"
    by_video: dict[str, list[Clip]] = {}
    for clip in clips:
        by_video.setdefault(clip.video, []).append(clip)
    check_films(films, clips)
    used = [Path(films[video]).resolve() for video in by_video]
    absent = [path for path in used if not path.is_file()]
    if absent:
        raise FilmError(describe([Problem(path, "the film is missing", "fetch it again") for path in absent]))
    hashes = cached.content_hashes(used, Path(os.path.commonpath([path.parent for path in used])), store, workers)
    packs = [
        _Pack(path, hashes[path], entries, clips.topology, spec, store)
        for path, entries in zip(used, by_video.values(), strict=True)
    ]
    todo = [pack for pack in packs if not pack.is_there()]
    cached.remove_leftovers(store)
    if todo:
        parallel = joblib.Parallel(workers, prefer="threads", return_as="generator_unordered")
        done = parallel(joblib.delayed(pack.write)() for pack in todo)
        faults = [fault for fault in tqdm(done, "reading films", len(todo), disable=not progress, unit="film") if fault]
        if faults:
            raise FilmError(describe(sorted(faults, key=lambda fault: str(fault.file))))
    places = {clip.clip_id: (pack.file, row) for pack in packs for row, clip in enumerate(pack.clips)}
    return RgbClips({clip_id: places[clip_id] for clip_id in clips.index["clip_id"]}, spec)


def check_films(films: Mapping[str, Path], clips: ClipSet) -> None:
    """Raises FilmError listing up to 20 videos of the clips that have no film."""
    clip_ids = clips.index.groupby("video", sort=False)["clip_id"].agg(["first", "size"])
    places = ", ".join(sorted({str(path.parent.parent) for path in films.values()})) or "the given folder"
    if problems := [
        Problem(Path(f"{video}.mp4"), f"no film of clip {first} ({count} clips of this video) in {places}",
                "fetch it, or leave its clips out")
        for video, first, count in clip_ids.itertuples() if video not in films
    ]:  # fmt: skip
        raise FilmError(describe(problems))


class _Pack:
    """The kept frames of one video's clips: (clips, frames, size, size, 3) uint8 in one file."""

    def __init__(self, film: Path, digest: str, clips: list[Clip], topology: Topology, spec: RgbSpec, store: Path) -> None:
        self.film, self.clips, self.spec = film, clips, spec
        self.boxes = [person_box(clip, topology, spec) if spec.person else None for clip in clips]
        self.shape = (len(clips), spec.frames, spec.size, spec.size, 3)
        rows = [[c.clip_id, c.start, len(c), c.image_size, box] for c, box in zip(clips, self.boxes, strict=True)]
        self.file = store / f"{cached.key_of(_VERSION, digest, asdict(spec), rows)}.npy"

    def is_there(self) -> bool:
        try:
            return np.load(self.file, mmap_mode="r", allow_pickle=False).shape == self.shape
        except (OSError, ValueError):
            return False

    def write(self) -> Problem | None:
        try:
            with Film(self.film) as film:
                if fault := self._too_short(film):
                    return fault
                with written_aside(self.file) as aside:
                    pixels = np.lib.format.open_memmap(aside, "w+", np.uint8, self.shape)
                    self._fill(pixels, film)
                    pixels.flush()
                    del pixels
        except FilmError as error:
            fault = str(error).removeprefix(str(self.film)).lstrip(": ")
            return Problem(self.film, f"clip {self.clips[0].clip_id} and {len(self.clips) - 1} more cannot be read", fault)
        return None

    def _too_short(self, film: Film) -> Problem | None:
        for clip in self.clips:
            last = clip.start + len(clip) - 1
            if clip.start < 0 or last >= len(film):
                return Problem(
                    self.film,
                    f"clip {clip.clip_id} needs frames {clip.start}..{last} of its skeleton, the film has {len(film)} frames",
                    "fetch the whole film again, or leave the clip out",
                )  # fmt: skip
        return None

    def _fill(self, pixels: np.ndarray, film: Film) -> None:
        places: dict[int, list[tuple[int, int]]] = {}
        for row, clip in enumerate(self.clips):
            for slot, frame in enumerate(clip.start + kept_frames(len(clip), self.spec.frames)):
                places.setdefault(int(frame), []).append((row, slot))
        boxes = [self._on_film(clip, box, film.size) for clip, box in zip(self.clips, self.boxes, strict=True)]
        for number, picture in film.frames(places):
            cuts: dict[int, np.ndarray] = {}
            for row, slot in places[number]:
                if row not in cuts:
                    cuts[row] = cut_out(picture, boxes[row], self.spec.size)
                pixels[row, slot] = cuts[row]

    @staticmethod
    def _on_film(clip: Clip, box: Box | None, size: tuple[int, int]) -> Box:
        """The skeleton's box in the film's px; a square around the whole picture where there is none."""
        if box is None:
            side = max(size)
            return ((size[0] - side) / 2, (size[1] - side) / 2, (size[0] + side) / 2, (size[1] + side) / 2)
        scale = [film / own if own else 1.0 for film, own in zip(size, clip.image_size, strict=True)]
        x, y = (box[0] + box[2]) / 2 * scale[0], (box[1] + box[3]) / 2 * scale[1]
        half = (box[2] - box[0]) / 2 * max(scale)
        return (x - half, y - half, x + half, y + half)
