"""Draws what `costs.py` measured: figures/costs.png, .pdf and .json beside this file.

    python benchmarks/costs_figure.py [RESULT.json]

Without a file the newest result is drawn. Lines are the least times, bands their quartiles.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FormatStrFormatter, LogLocator, NullFormatter, NullLocator
from record import RESULTS

from migstudy.figures import style

FOLDER = Path(__file__).parent / "figures"
COLUMNS = {
    "joints": "joints", "frames": "frames a clip", "batch": "clips a batch", "views": "test views", "clips": "clips stored",
}  # fmt: skip
OURS, DENSE, PYSKL, FLOOR = style.BLUE, style.GREEN, style.VERMILION, style.GREY
# what a panel shows: curve -> colour, line, marker
DRAWING = {
    "PYSKL limbs": (PYSKL, "--", "s"), "PYSKL joints": (PYSKL, "-", "o"), "ours limbs": (OURS, "--", "s"),
    "ours joints": (OURS, "-", "o"), "ours patches": (style.SKY, "-", "D"), "ours clearing": (FLOOR, ":", ""),
}  # fmt: skip
RENDERING = {"PYSKL rendering": (PYSKL, "-", "o"), "ours rendering": (style.SKY, "-", "D")}
STEP = {
    "PYSKL step": (PYSKL, "-", "o"), "dense step": (DENSE, "-", "^"), "ours step": (OURS, "-", "o"),
    "ours floor": (FLOOR, ":", ""),
}  # fmt: skip
TEST = {"PYSKL test": (PYSKL, "-", "o"), "dense test": (DENSE, "-", "^"), "ours test": (OURS, "-", "o")}
LOADING = {"read whole loading": (style.PURPLE, "-", "v"), "ours loading": (OURS, "-", "o")}
STEPS = ("joints", "frames", "batch")
PANELS = {  # (row, column) -> the result's part, its curves, what is read off
    **{(0, axis): (f"drawing: {axis}", DRAWING, "time") for axis in STEPS},
    (0, "views"): ("network: views", RENDERING, "time"), (0, "clips"): ("data: clips", LOADING, "time"),
    **{(1, axis): (f"network: {axis}", STEP, "time") for axis in STEPS},
    (1, "views"): ("network: views", TEST, "time"),
    **{(2, axis): (f"network: {axis}", STEP, "MB") for axis in STEPS},
    (2, "views"): ("network: views", TEST, "MB"), (2, "clips"): ("data: clips", LOADING, "MB"),
}  # fmt: skip
TITLES = {(0, "views"): "views made", (0, "clips"): "data opened, 64 clips"}
TITLES |= {(0, axis): "drawing" for axis in STEPS} | {(1, axis): "training step" for axis in STEPS} | {(1, "views"): "test"}
ROWS = ("processor time, ms", "processor time, s", "peak memory\nbeyond start, MB")
LEGEND = {
    "ours": (OURS, "-", "o"), "ours, limbs": (OURS, "--", "s"), "ours, patches": (style.SKY, "-", "D"),
    "ours, dense stem": (DENSE, "-", "^"),
    "PYSKL": (PYSKL, "-", "o"), "PYSKL, limbs": (PYSKL, "--", "s"), "data read whole": (style.PURPLE, "-", "v"),
    "floor: clearing, products": (FLOOR, ":", ""),
}  # fmt: skip


@style.styled
def draw(measured: dict, settings: dict, source: str):
    fig = style.new_figure(style.PAGE, 5.2)
    axes = fig.subplots(3, len(COLUMNS))
    for row in range(3):
        for column, (axis, words) in enumerate(COLUMNS.items()):
            ax = axes[row, column]
            if (row, axis) not in PANELS:
                ax.axis("off")
                continue
            if axis in STEPS[1:]:
                ax.sharey(axes[row, 0])
            part, curves, what = PANELS[row, axis]
            _panel(ax, measured[part], curves, what, unit=1e3 if row == 1 else 1)
            ax.set_title(TITLES.get((row, axis), ""), fontsize=7.5)
            if row == 2:
                ax.set_xlabel(words)
            if axis in STEPS[1:]:
                ax.tick_params(labelleft=False)
        axes[row, 0].set_ylabel(ROWS[row])
    for ax in (ax for ax in axes.flat if ax.axison):
        low, high = ax.get_ylim()
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 40 else (1,)))
        ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    lines = [Line2D([], [], color=c, linestyle=line, marker=m) for c, line, m in LEGEND.values()]
    axes[1, -1].legend(lines, list(LEGEND), loc="center", bbox_to_anchor=(0.4, 0.5), handlelength=2.2, borderpad=0)
    style.add_source(fig, source)
    return fig


def _panel(ax, part: dict, curves: dict, what: str, unit: float) -> None:
    for name, (colour, line, marker) in curves.items():
        if name not in part or (what == "MB" and name.endswith("floor")):
            continue
        points = part[name]
        values = [max(mb, 1) for mb in points["MB"]] if what == "MB" else [ms / unit for ms in points["least ms"]]
        ax.plot(points["value"], values, color=colour, linestyle=line, marker=marker, markersize=3, markeredgewidth=0)
        if what == "time":
            low, high = ([quartiles[i] / unit for quartiles in points["quartiles ms"]] for i in (0, 2))
            ax.fill_between(points["value"], low, high, color=colour, alpha=0.15, linewidth=0)
    ax.set(xscale="log", yscale="log")
    ax.xaxis.set_major_locator(FixedLocator(points["value"]))
    ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(axis="y")


def main(result: str | None) -> None:
    path = Path(result) if result else max(RESULTS.glob("*-costs.json"), key=lambda p: p.stat().st_mtime, default=None)
    if path is None or not path.is_file():
        raise SystemExit(f"{result or 'no result of costs.py'}: not there; run benchmarks/costs.py first")
    kept = json.loads(path.read_text())
    settings, env = kept["settings"], kept["environment"]
    drawn, trained = settings["drawn"], settings["trained"]
    source = (
        f"{env['cpu']}, {settings['threads']} thread, {settings['repeats']} repeats in turns, lines: least, bands: quartiles;"
        f" beside its axis drawing has {drawn['joints']} joints x {drawn['frames']} frames x {drawn['batch']} clip, training"
        f" {trained['joints']} x {trained['frames']} x {trained['batch']}, test views {settings['view frames']} frames"
    )
    sources = {"source": source, "commit": env["commit"], "command": f"python benchmarks/{env['command']}",
               "title": "What drawing, training, testing and loading cost"}  # fmt: skip
    for written in style.save_figure(draw(kept["measured"], settings, source), "costs", FOLDER, sources):
        print(written)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", nargs="?", help="a result of costs.py; default: the newest")
    main(parser.parse_args().result)
