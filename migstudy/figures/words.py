"""The classes' text vectors: how close their words are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import leaves_list, linkage

from migstudy.figures import style
from migstudy.figures.data import numbered, short_name


@style.styled
def draw_label_similarity(vectors: np.ndarray, names: Sequence[str]) -> Figure:
    """Cosines between the classes' vectors (C, D), classes in the order of a hierarchical clustering."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    order = leaves_list(linkage(unit, "average", metric="cosine"))
    shown = [f"{short_name(names[i], 38)}  {numbered(i)}" for i in order]
    fig = style.new_figure(style.PAGE, 0.5 + 0.155 * len(names))
    ax = fig.subplots()
    image = ax.imshow(cosines[np.ix_(order, order)], cmap="viridis", vmin=min(0.0, float(cosines.min())), vmax=1,
                      aspect="auto")  # fmt: skip
    ax.set_yticks(range(len(names)), shown)
    ax.set_xticks(range(len(names)), [str(i) for i in order])
    ax.tick_params(length=0, labelsize=7)
    ax.set_xlabel("class number")
    bar = fig.colorbar(image, ax=ax, shrink=0.6, pad=0.02)
    bar.set_label("cosine of the text vectors")
    bar.outline.set_visible(False)
    return fig
