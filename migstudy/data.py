"""Which data a study uses: the configured dataset, opened and divided into train, val and test."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from migstudy import paths
from migstudy.clips import ClipSet
from migstudy.config.gesture import GestureConfig
from migstudy.topology import Topology

if TYPE_CHECKING:
    from migstudy.datasets.read_report import ReadReport


@dataclass(frozen=True)
class GestureData:
    """One dataset as it was read, its three disjoint parts in the configured topology, and a release reader's account."""

    whole: ClipSet
    train: ClipSet
    val: ClipSet
    test: ClipSet
    report: ReadReport | None = None

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

    Raises ValueError when a part is empty.
    """
    from migstudy.datasets import kind_of, open_with_report

    config = config.resolved()
    place = data_path(config.data, config.profile)
    options = {}
    if place.exists() and kind_of(place) == "release":
        options["cache"] = os.environ.get("MIGSTUDY_CACHE") or paths.resolve("data/cache")
    whole, report = open_with_report(place, val_fraction=config.val_fraction, **options)
    clips = whole if config.topology == "native" else whole.to_topology(config.topology)
    parts = {split: clips.select(split=split) for split in ("train", "val", "test")}
    for split, part in parts.items():
        if len(part) == 0:
            raise ValueError(f"{place}: no clips in split {split!r}; training needs train, val and test")
        if split != "test" and (part.labels < 0).all():
            raise ValueError(f"{place}: no clip in split {split!r} has a label; training needs labels in train and val")
    return GestureData(whole, **parts, report=report)


def data_path(data: str, profile: str) -> Path:
    """Where a dataset lies; `simulator` is written to data/simulated/<profile> when it is not there yet (seed 0)."""
    from migstudy.simulate import simulate

    if data != "simulator":
        return paths.resolve(data)
    return simulate(paths.resolve(f"data/simulated/{profile}"), profile=profile, seed=0, workers=os.cpu_count() or 1)
