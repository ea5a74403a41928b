"""The look of every figure, and how a figure is saved: PNG, PDF and a sidecar that says where it came from."""

from __future__ import annotations

import functools
import io
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from migstudy import paths
from migstudy.runs.folder import git_commit

COLUMN, PAGE = 3.5, 7.2  # inches: one column and the full width of a paper

# Okabe and Ito's palette: told apart under every common colour blindness
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY, PALE, INK = "#8A8A8A", "#E4E6EA", "#333333"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK, GREY)
SPLITS = {"train": BLUE, "val": ORANGE, "test": GREEN}

STYLE = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs on every machine
    "font.size": 7.5, "axes.titlesize": 8.5, "axes.labelsize": 7.5, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 7, "figure.titlesize": 9, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "axes.edgecolor": INK,
    "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK, "axes.titlelocation": "left",
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2.5, "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5, "ytick.minor.size": 1.5, "lines.linewidth": 1.2, "lines.markersize": 3.5,
    "grid.linewidth": 0.4, "grid.color": "#D9D9D9", "axes.axisbelow": True, "figure.facecolor": "white",
    "figure.dpi": 100, "savefig.dpi": 200, "pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none",
    "axes.prop_cycle": mpl.cycler(color=SERIES), "image.interpolation": "nearest", "axes.unicode_minus": True,
}  # fmt: skip

SIDECAR_KEYS = ("title", "run_ids", "commit", "data_fingerprint", "source", "command")


class StudyFigure(Figure):
    """A Figure that shows itself in a notebook without pyplot, so nothing is left open behind it."""

    def _repr_png_(self) -> bytes:
        return _render(self, "png", dpi=130)


def new_figure(width: float = PAGE, height: float = 3.0) -> StudyFigure:
    """An empty figure of `width` x `height` inches with constrained layout."""
    with mpl.rc_context(STYLE):
        fig = StudyFigure(figsize=(width, height), layout="constrained")
        fig.get_layout_engine().set(w_pad=0.03, h_pad=0.03)
        return fig


def styled(draw: Callable) -> Callable:
    """Run a drawing function under the study's style and leave the caller's settings alone."""

    @functools.wraps(draw)
    def wrapper(*args, **kwargs):
        with mpl.rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapper


def add_source(fig: Figure, source: str, what: str = "measured on") -> None:
    """The small line under a figure that says what data it shows; empty text is refused with ValueError."""
    if not source or not source.strip():
        raise ValueError("a figure of results must name its data; pass source='simulated data, not iMiGUE: ...'")
    fig.supxlabel(f"{what}: {source.strip()}", x=0.005, ha="left", fontsize=7, color=GREY, wrap=True)


@styled
def draw_missing(what: str, said: str, source: str) -> Figure:
    """In place of a figure whose numbers no run keeps: what is missing, and how to get it."""
    fig = new_figure(PAGE, 1.1)
    fig.text(0.5, 0.72, f"missing: {what}", ha="center", va="center", fontsize=9, color=GREY)
    fig.text(0.5, 0.48, said, ha="center", va="center", fontsize=7, color=GREY, wrap=True)
    add_source(fig, source)
    return fig


def save_figure(fig: Figure, name: str, folder: str | Path = "figures", sources: Mapping | None = None) -> list[Path]:
    """Write `<name>.png` (200 dpi), `<name>.pdf` and the sidecar `<name>.json`; returns the three paths.

    sources: `source`, the line that says what the data is (needed), and as known `title`, `run_ids` (list of str),
    `commit`, `data_fingerprint`, `command`. The title defaults to the name in words, the commit to the checkout's, the
    command to the one that started the study. A relative folder lies in the project. Each file is written aside and then renamed; the same figure gives the same bytes. Raises ValueError for a missing or unknown key or a name with a folder.
    """
    if Path(name).name != name or not name:
        raise ValueError(f"figure name {name!r}: give a plain name without folder or ending")
    sidecar = _sidecar(name, dict(sources or {}))
    folder = paths.resolve(folder)
    contents = {
        "png": _render(fig, "png", dpi=200),
        "pdf": _render(fig, "pdf"),
        "json": (json.dumps(sidecar, indent=1, ensure_ascii=False) + "\n").encode(),
    }
    for ending, content in contents.items():
        with paths.written_aside(folder / f"{name}.{ending}") as aside:
            aside.write_bytes(content)
    return [folder / f"{name}.{ending}" for ending in contents]


def _sidecar(name: str, sources: dict) -> dict:
    unknown = sorted(set(sources) - set(SIDECAR_KEYS))
    if unknown:
        raise ValueError(f"figure {name!r}: unknown sources {unknown}; the keys are {', '.join(SIDECAR_KEYS)}")
    if not str(sources.get("source") or "").strip():
        raise ValueError(f"figure {name!r}: sources lack `source`, the line that says what data is shown")
    command = os.environ.get("MIGSTUDY_COMMAND")
    known = {"title": name.replace("_", " "), "run_ids": [], "commit": None, "data_fingerprint": None, "command": command} | sources
    known["run_ids"] = sorted(map(str, known["run_ids"]))
    known["commit"] = known["commit"] or git_commit() or None
    return {key: known[key] for key in SIDECAR_KEYS}


def _render(fig: Figure, ending: str, **options) -> bytes:
    """The figure as bytes, without dates or versions: equal figures give equal files."""
    drop = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None, "Creator": None}}[ending]
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        fig.savefig(buffer, format=ending, metadata=drop, **options)
    return buffer.getvalue()
