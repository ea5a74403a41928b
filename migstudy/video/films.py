"""Films: where a release's videos lie, and their frames by number, without decoding what lies between.

Frame i of a film is frame i of its skeleton file: the i-th picture shown, counted from 0, whatever its time stamp.
"""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import numpy as np

from migstudy.datasets.release_labels import video_name

RGB_FOLDERS = "imigue_rgb*"
REENCODE = "write it again with `ffmpeg -i IN.mp4 -c:v libx264 -crf 18 OUT.mp4`, or fetch it again"


class FilmError(ValueError):
    """A film that is missing, unreadable or too short; the message names the file and the fix."""


def find_films(root: str | Path) -> dict[str, Path]:
    """video id -> mp4 file, in order of the ids.

    Looks under the release's `imigue_rgb_phase1/{train_data,validation_data}/<id>/<id>.mp4` and
    `imigue_rgb_phase2/<id>/<id>.mp4`; where root holds no such folder, root itself is searched for `<id>/<id>.mp4` one or
    two folders down, then for `<id>.mp4`. Numbers become four digits. Raises FilmError when nothing is found, or when a
    video has two films that differ.
    """
    root = Path(root).expanduser().resolve()
    folders = [folder for folder in sorted(root.glob(RGB_FOLDERS)) if folder.is_dir()] or [root]
    paths = [
        path for folder in folders for pattern in ("*/*.mp4", "*/*/*.mp4") for path in sorted(folder.glob(pattern))
        if path.stem == path.parent.name
    ] or (sorted(root.glob("*.mp4")) if folders == [root] else [])  # fmt: skip
    films: dict[str, Path] = {}
    for path in paths:
        first = films.setdefault(video_name(path.stem), path)
        if first is not path and not filecmp.cmp(first, path, shallow=False):
            raise FilmError(f"{first} and {path} are different films of one video; remove the one that is not the skeleton's")
    if not films:
        raise FilmError(
            f"{root} holds no films; expected imigue_rgb_phase1/train_data/<id>/<id>.mp4, the same under validation_data,"
            " and imigue_rgb_phase2/<id>/<id>.mp4. Give the release's folder, or simulate one with --rgb"
        )
    return dict(sorted(films.items()))


class Film:
    """One video file, open for reading frames by number; a context manager.

    size: (W, H) px; len(): frames. decoded: frames decoded so far, asked for or passed on the way. Opening reads the
    file's packets but decodes none. Raises FilmError when the file is missing or is no readable film.
    """

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        import av

        self.path, self.decoded = Path(path), 0
        if not self.path.is_file():
            raise FilmError(f"{self.path} is missing; fetch the film, or leave its clips out")
        try:
            self._container = av.open(str(self.path))
        except av.error.FFmpegError as error:
            raise FilmError(f"{self.path} is no readable film ({error.strerror}); {REENCODE}") from error
        try:
            self._stream = self._container.streams.video[0]
            self._stream.codec_context.thread_count = threads
            packets = [
                (packet.pts, packet.dts, packet.is_keyframe)
                for packet in self._container.demux(self._stream)
                if packet.size and not packet.is_discard  # an edit list hides the rest
            ]
        except (av.error.FFmpegError, IndexError) as error:
            self._container.close()
            raise FilmError(f"{self.path} is no readable film ({error}); {REENCODE}") from error
        stamps = [pts for pts, _, _ in packets]
        keys = sorted((pts, pts if dts is None else dts) for pts, dts, key in packets if key and pts is not None)
        if not keys or None in stamps or len(set(stamps)) < len(stamps):
            self._container.close()
            fault = "has no key frame" if not keys else "has frames without a time stamp of their own"
            raise FilmError(f"{self.path} {fault}, so that they cannot be told apart; {REENCODE}")
        self._stamps = np.sort(np.array(stamps, np.int64))  # in order of display
        self._key_stamps, self._key_places = np.array(keys, np.int64).T
        self._frames, self._at = iter(()), None
        self.size = (self._stream.width, self._stream.height)

    def __len__(self) -> int:
        return len(self._stamps)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._frames = iter(())
        self._container.close()

    def frames(self, numbers: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """(number, (H, W, 3) uint8 RGB) for each distinct number, ascending; decoding starts at the key frame before.

        Raises FilmError for a number outside the film, or a frame that cannot be decoded.
        """
        wanted = np.unique(np.fromiter(numbers, np.int64))
        if len(wanted) and not (wanted[0] >= 0 and wanted[-1] < len(self)):
            number = wanted[0] if wanted[0] < 0 else wanted[-1]
            raise FilmError(f"{self.path} has {len(self)} frames, so there is no frame {number}; fetch the whole film again")
        for number in wanted.tolist():
            frame = self._decode(int(self._stamps[number]))
            if frame is None:
                raise FilmError(f"{self.path}: frame {number} of {len(self)} cannot be decoded; {REENCODE}")
            yield number, frame.to_ndarray(format="rgb24")

    def read(self, numbers: Iterable[int]) -> np.ndarray:
        """The frames at `numbers`, in their order and with repetitions: (n, H, W, 3) uint8."""
        numbers = list(numbers)
        found = dict(self.frames(numbers))
        return np.stack([found[number] for number in numbers])

    def _decode(self, stamp: int):
        """The frame shown at `stamp`; None when it does not come, even from the start of the film."""
        import av

        key = max(int(np.searchsorted(self._key_stamps, stamp, side="right")) - 1, 0)
        ahead = self._at is not None and self._at < stamp and self._key_stamps[key] <= self._at
        while True:
            if not ahead:
                self._container.seek(int(self._key_places[key]), stream=self._stream, backward=True)
                self._frames, self._at = self._container.decode(self._stream), None
            try:
                for frame in self._frames:
                    self.decoded += 1
                    self._at = frame.pts
                    if frame.pts is not None and frame.pts >= stamp:
                        break
            except av.error.FFmpegError:
                self._at = None
            if self._at == stamp and not frame.is_corrupt:  # h264 patches over missing data with another frame's
                return frame
            self._at = None
            if not ahead:
                if key == 0:
                    return None
                key -= 1  # the container sought too far, or the frame needs what came before the key frame
            ahead = False
