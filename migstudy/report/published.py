"""Accuracies on iMiGUE, and on Northwestern-UCLA, as published: data with sources, never mixed with numbers measured here."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("method", "modality", "year", "top1", "top5", "protocol", "source")
MODALITIES = ("skeleton", "RGB", "RGB + skeleton")
TEST_CLIPS = {"CVPR 2021": 4563, "MiGA test": 4562}
"""Clips of the official test sets. Their labels are not public, so nothing measured here is on them."""


UCLA_COLUMNS = ("method", "streams", "year", "top1", "source")


def load_published_ucla() -> pd.DataFrame:
    """Published top-1 (percent) on Northwestern-UCLA, views 1 and 2 against view 3, best first, with sources.

    streams: whose scores were summed, NaN where the source does not say.
    """
    import pandas as pd

    with resources.files("migstudy").joinpath("assets/published_ucla.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    return table.sort_values("top1", ascending=False, kind="stable", ignore_index=True)


def load_published() -> pd.DataFrame:
    """The published table, best first: method, modality, year of publication, top1 and top5 in percent (top5 NaN where not
    given), protocol (whose test set), source.
    """
    import pandas as pd

    with resources.files("migstudy").joinpath("assets/published.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    return table.sort_values("top1", ascending=False, kind="stable", ignore_index=True)
