"""Which data a study uses: the configured dataset, opened and divided into train, val and test."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from migstudy import paths
from migstudy.clips import ClipSet
from migstudy.config import GestureConfig
from migstudy.topology import Topology


@dataclass(frozen=True)
class GestureData:
    """One dataset as it was read, and its three disjoint parts in the configured topology."""

    whole: ClipSet
    train: ClipSet
    val: ClipSet
    test: ClipSet

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
    from migstudy.datasets import kind_of, open_dataset

    config = config.resolved()
    place = data_path(config.data, config.profile)
    options = {
        "release": {"cache": os.environ.get("MIGSTUDY_CACHE") or paths.resolve("data/cache")},
        "npz": {"val_fraction": config.val_fraction},
        "pickle": {"val_fraction": config.val_fraction},
    }
    whole = open_dataset(place, **options.get(kind_of(place) if place.exists() else "", {}))
    clips = whole if config.topology == "native" else whole.to_topology(config.topology)
    parts = {split: clips.select(split=split) for split in ("train", "val", "test")}
    for split, part in parts.items():
        if len(part) == 0:
            raise ValueError(f"{place}: no clips in split {split!r}; training needs train, val and test")
    return GestureData(whole, **parts)


def data_path(data: str, profile: str) -> Path:
    """Where a dataset lies; `simulator` is written to data/simulated/<profile> when it is not there yet (seed 0)."""
    from migstudy.simulate import simulate

    if data != "simulator":
        return paths.resolve(data)
    return simulate(paths.resolve(f"data/simulated/{profile}"), profile=profile, seed=0, workers=os.cpu_count() or 1)
