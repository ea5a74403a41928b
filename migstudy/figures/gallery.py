"""The contact sheet of the simulator: key frames of one take of every class."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten

from migstudy.figures.style import PAGE, StudyFigure, add_source, new_figure, styled
from migstudy.simulate.gallery import Exhibit

COLUMNS = 4


@styled
def draw_gallery(shown: Sequence[Exhibit], source: str, side: int = 170) -> StudyFigure:
    """Three frames a class: before the gesture, at its height, and the moment that differs most from that.

    side: px of a key frame.
    """
    rows = -(-len(shown) // COLUMNS)
    fig = new_figure(1.4 * PAGE, 1.4 * PAGE / COLUMNS * rows * 0.39)
    fig.get_layout_engine().set(w_pad=0.01, h_pad=0.02, wspace=0.02)
    axes = fig.subplots(rows, COLUMNS, squeeze=False).ravel()
    for ax, exhibit in zip(axes, shown):
        for i, picture in enumerate(exhibit.pictures(side)):
            ax.imshow(picture, extent=(1.02 * i * side, (1.02 * i + 1) * side, 0, side), interpolation="lanczos")
        ax.set(xlim=(0, 3.04 * side), ylim=(0, side), aspect="equal")
        ax.set_title(shorten(f"{exhibit.gesture.csv_class}  {exhibit.gesture.name}", 46, placeholder=" ..."), fontsize=8, pad=2)
    for ax in axes:
        ax.axis("off")
    add_source(fig, source, what="shown")
    return fig
