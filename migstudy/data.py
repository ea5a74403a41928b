"""Which data a study uses: the configured dataset, opened and divided into train, val and test."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from migstudy import paths
from migstudy.clips import ClipSet
from migstudy.config.gesture import GestureConfig
from migstudy.topology import Topology

if TYPE_CHECKING:
    from migstudy.datasets.read_report import ReadReport
    from migstudy.video.rgb import RgbClips, RgbSpec


@dataclass(frozen=True)
class GestureData:
    """One dataset as it was read, its three disjoint parts in the configured topology, and a release reader's account.

    films: video -> file, and rgb: how clips are cut out of them, for models that see them.
    """

    whole: ClipSet
    train: ClipSet
    val: ClipSet
    test: ClipSet
    report: ReadReport | None = None
    films: Mapping[str, Path] | None = None
    rgb: RgbSpec | None = None

    @cached_property
    def pixels(self) -> RgbClips | None:
        """Every clip's kept frames, decoded now if they are not yet; None for models without films.

        The person is found by the skeleton as it was read, whatever topology is trained on.
        """
        if self.films is None:
            return None
        from migstudy.video.rgb import open_rgb_clips

        return open_rgb_clips(self.whole, self.films, self.rgb, cache=cache_folder(), workers=os.cpu_count() or 1)

    @property
    def fingerprint(self) -> str:
        return self.whole.fingerprint

    @property
    def topology(self) -> Topology:
        return self.train.topology

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.train.class_names

    @property
    def source(self) -> str:
        return self.train.source


def open_data(config: GestureConfig) -> GestureData:
    """The configured dataset in three parts; simulates it first when it is the simulator's and not there yet.

    For `mvit` with its films, not yet decoded. Raises ValueError when a part is empty, FilmError when a film is missing.
    """
    from migstudy.datasets import kind_of, open_with_report

    config = config.resolved()
    place = data_path(config.data, config.profile, films=config.on_rgb and not config.films)
    options = {}
    if place.exists() and kind_of(place) == "release":
        options["cache"] = cache_folder()
    whole, report = open_with_report(place, val_fraction=config.val_fraction, **options)
    clips = whole if config.topology == "native" else whole.to_topology(config.topology)
    parts = {split: clips.select(split=split) for split in ("train", "val", "test")}
    for split, part in parts.items():
        if len(part) == 0:
            raise ValueError(f"{place}: no clips in split {split!r}; training needs train, val and test")
        if split != "test" and (part.labels < 0).all():
            raise ValueError(f"{place}: no clip in split {split!r} has a label; training needs labels in train and val")
    return GestureData(whole, **parts, report=report, **_films(config, place, whole))


def _films(config: GestureConfig, place: Path, whole: ClipSet) -> dict[str, object]:
    if not config.on_rgb:
        return {}
    from migstudy.video.films import find_films
    from migstudy.video.rgb import RgbSpec, check_films

    films = find_films(paths.resolve(config.films) if config.films else place if place.is_dir() else place.parent)
    check_films(films, whole)
    return {"films": films, "rgb": RgbSpec(config.kept_frames, config.kept_size)}


def data_path(data: str, profile: str, films: bool = False) -> Path:
    """Where a dataset lies; `simulator` is written to data/simulated/<profile> when it is not there yet (seed 0).

    films: the simulator's videos as well; skeletons and labels stay as they are.
    """
    if data != "simulator":
        return paths.resolve(data)
    from migstudy.runs.claims import Claim
    from migstudy.simulate import simulate

    folder = paths.resolve(f"data/simulated/{profile}")
    with Claim.wait(folder.with_name(f".{profile}.making")):  # runs started side by side would write the same files
        extras = ("truth", "rgb") if films else ("truth",)
        return simulate(folder, profile=profile, seed=0, workers=os.cpu_count() or 1, extras=extras)


def cache_folder() -> Path:
    """Where decoded data are kept: MIGSTUDY_CACHE, else data/cache."""
    return Path(os.environ.get("MIGSTUDY_CACHE") or paths.resolve("data/cache"))
