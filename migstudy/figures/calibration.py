"""Real recordings beside the simulator: jitter spectra, speeds, limb lengths, confidences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from migstudy.calibration.compare import LARGEST, as_track, compare, largest_mismatches, simulated_videos, write_calibration
from migstudy.calibration.recordings import Track, load_recordings
from migstudy.calibration.track_statistics import LIMBS, SURE, group_joints, samples, spectrum
from migstudy.figures import style
from migstudy.simulate.config import PROFILES, SimulatorConfig
from migstudy.simulate.video import SimulatedVideo

REAL, SIMULATED = style.BLUE, style.VERMILION
_SPEAKERS, _SEATED = "half-body speakers", "seated storytellers"
_PANELS = ((_SPEAKERS, "head"), (_SPEAKERS, "wrists"), (_SPEAKERS, "fingers"), (_SEATED, "head"), (_SEATED, "wrists"))
_SHOWN = {"shoulder width": "shoulder widths", "head to spine": "head–spine lengths"}


@style.styled
def draw_real_vs_simulated(
    real: Mapping[str, Sequence[Track]], videos: Sequence[SimulatedVideo], table: pd.DataFrame, source: str
) -> Figure:
    """Spectra and speeds of five groups of joints, limb-length variation, confidences; one thin line or dot a recording.

    real: `recordings.load_recordings`; a source that is absent leaves its panels empty with a word. table:
    `calibration.compare` of the same, whose largest mismatches are numbered in the figure as in the table. The Kolmogorov-Smirnov
    distance stands in each panel of speeds.
    """
    fig = style.new_figure(style.PAGE, 6.3)
    above, below = fig.subfigures(2, 1, height_ratios=(2, 1.05))
    axes = above.subplots(2, len(_PANELS), sharey="row")
    for column, (name, group) in enumerate(_PANELS):
        tracks = real.get(name)
        title = f"{group}\n{name}" if tracks else f"{group}\n{name}: absent"
        axes[0, column].set_title(title, fontsize=7.5)
        if tracks:
            shown = [as_track(video, tracks[0]) for video in videos]
            _draw_spectra(axes[0, column], tracks, shown, group)
            _draw_speeds(axes[1, column], tracks, shown, group, table[table["source"] == name])
    axes[0, 0].set_ylabel("power spectral density\n(body units² / Hz)")
    axes[1, 0].set_ylabel("share of frames\nthat are faster")
    wide = below.subplots(1, 3, width_ratios=(1.15, 1.3, 1))
    speakers = table[table["source"] == _SPEAKERS]
    _draw_ranges(wide[0], speakers, "length variation", list(LIMBS), "coefficient of variation (%)", "limb length in the image")
    _draw_confidences(wide[1], real.get(_SPEAKERS, ()), videos)
    _draw_ranges(wide[2], speakers, "jitter", ["head", "shoulders", "elbows", "wrists", "fingers"],
                 "10⁻³ shoulder widths", "jitter of a found joint")  # fmt: skip
    keys = [Line2D([], [], color=c, lw=1.6, marker="o", ms=3.5) for c in (REAL, SIMULATED)]
    keys += [Line2D([], [], color=style.INK, lw=0, marker="^", ms=3.5)]
    words = ["recordings of real people", "simulated", "the largest mismatches, numbered as in the table"]
    fig.legend(keys, words, loc="outside upper left", ncols=3)
    style.add_source(fig, source)
    return fig


def _draw_spectra(ax: Axes, real: Sequence[Track], simulated: Sequence[Track], group: str) -> None:
    for tracks, colour in ((real, REAL), (simulated, SIMULATED)):
        curves = []
        for track in tracks:
            hertz, density = spectrum(track, group_joints(track.joints)[group])
            ax.plot(hertz[2:], density[2:], color=colour, lw=0.4, alpha=0.35)
            curves.append(density)
        ax.plot(hertz[2:], np.exp(np.nanmedian(np.log(curves), axis=0))[2:], color=colour, lw=1.6)
    ax.set(xscale="log", yscale="log", xlabel="frequency (Hz)", xlim=(hertz[2], hertz[-1]), xticks=(1, 3, 10))
    ax.set_xticklabels(("1", "3", "10"))
    ax.minorticks_off()
    ax.grid()


def _draw_speeds(ax: Axes, real: Sequence[Track], simulated: Sequence[Track], group: str, table: pd.DataFrame) -> None:
    shares = np.geomspace(1, 1e-3, 120)
    for tracks, colour in ((real, REAL), (simulated, SIMULATED)):
        curves = [np.quantile(samples(track, group, "speed"), 1 - shares) for track in tracks]
        for curve in curves:
            ax.plot(curve, shares, color=colour, lw=0.4, alpha=0.35)
        ax.plot(np.median(curves, axis=0), shares, color=colour, lw=1.6)
    rows = table[(table["group"] == group) & table["statistic"].str.startswith("speed")]
    ax.text(0.04, 0.04, f"KS {rows['ks'].iloc[0]:.2f}", transform=ax.transAxes, fontsize=7)
    for share, name in ((0.5, "median"), (0.1, "90 %"), (0.01, "99 %")):
        row = rows[rows["statistic"] == f"speed {name}"].iloc[0]
        if row["rank"] <= LARGEST:
            _mark(ax, row["rank"], (max(row["simulated"], row["real"]), share))
    ax.set(xscale="log", yscale="log", xlabel=f"speed\n({_SHOWN[real[0].unit]}/s)", xlim=(0.01, 20), ylim=(1e-3, 1.1))
    ax.set_xticks((0.01, 0.1, 1, 10), ("0.01", "0.1", "1", "10"))
    ax.minorticks_off()
    ax.grid()


def _draw_ranges(ax: Axes, table: pd.DataFrame, statistic: str, groups: Sequence[str], label: str, title: str) -> None:
    """Median and range of both, a row a group; the numbers of the largest mismatches at the right."""
    rows = table[table["statistic"] == statistic].set_index("group")
    for y, group in enumerate(reversed(groups)):
        if group not in rows.index:
            continue
        row = rows.loc[group]
        for which, colour, shift in (("real", REAL, 0.14), ("simulated", SIMULATED, -0.14)):
            ax.plot([row[f"{which}_low"], row[f"{which}_high"]], [y + shift] * 2, color=colour, lw=1.6, alpha=0.6)
            ax.plot(row[which], y + shift, "o", color=colour, ms=3.5)
        if row["rank"] <= LARGEST:
            _mark(ax, row["rank"], (max(row["simulated_high"], row["real_high"]), y - 0.14))
    ax.set(xscale="log", xlabel=label, ylim=(-0.6, len(groups) - 0.4))
    ax.set_title(title, fontsize=7.5)
    ax.set_yticks(range(len(groups)), list(reversed(groups)))
    ticks = [tick for tick in (0.3, 1, 3, 10, 30) if ax.get_xlim()[0] <= tick <= ax.get_xlim()[1]]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")


def _mark(ax: Axes, rank: float, at: tuple[float, float]) -> None:
    ax.annotate(f"▲{rank:.0f}", at, (4, 0), textcoords="offset points", va="center", fontsize=6.5)


def _draw_confidences(ax: Axes, real: Sequence[Track], videos: Sequence[SimulatedVideo]) -> None:
    """Quantiles of the confidences by group: 5 to 95 % thin, 25 to 75 % thick, median as a dot; missing joints are 0.

    At the right the share that counts as not found.
    """
    groups = ["head", "shoulders", "elbows", "wrists", "fingers"]
    shown = [as_track(video, real[0]) for video in videos] if real else []
    for y, group in enumerate(reversed(groups)):
        for tracks, colour, shift in ((real, REAL, 0.14), (shown, SIMULATED, -0.14)):
            if tracks:
                values = np.concatenate([samples(track, group, "confidence") for track in tracks])
                low, first, middle, third, high = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
                ax.plot([low, high], [y + shift] * 2, color=colour, lw=0.7)
                ax.plot([first, third], [y + shift] * 2, color=colour, lw=2.4, alpha=0.6)
                ax.plot(middle, y + shift, "o", color=colour, ms=3.5)
                below = f"{np.mean(values < SURE):.0%}"
                ax.text(1.36, y + shift, below, color=colour, ha="right", va="center", fontsize=6.5)
    ax.text(1.36, len(groups) - 0.5, f"below {SURE}", ha="right", fontsize=6.5)
    ax.set(xlabel="5, 25, 50, 75 and 95 % of frames", xlim=(-0.03, 1.38), ylim=(-0.6, len(groups) - 0.4))
    ax.set_title("confidence (DWPose, simulated OpenPose)", fontsize=7.5)
    ax.set_yticks(range(len(groups)), list(reversed(groups)))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")


def calibrate(
    recordings: str | Path, folder: str | Path = "figures", config: SimulatorConfig = PROFILES["quick"], videos: int = 12,
    seed: int = 0, command: str | None = None,
) -> list[Path]:  # fmt: skip
    """Compare the simulator with the recordings in a folder: writes `real_vs_simulated.*` and `table_calibration.*`, and
    prints the largest mismatches.

    command: what the user called, kept beside the files. Returns the files' paths. Raises FileNotFoundError where the folder
    holds no known recording.
    """
    real, simulated = load_recordings(recordings), simulated_videos(config, videos, seed)
    table = compare(real, simulated)
    counts = ", ".join(f"{len(tracks)} {name}" for name, tracks in real.items())
    source = f"recordings of real people ({counts}), not iMiGUE; simulated: {len(simulated)} videos, seed {seed}"
    sources = {"source": source, "title": "The simulator beside recordings of real people"}
    sources |= {"command": command} if command else {}
    print(largest_mismatches(table).to_string(index=False))
    fig = draw_real_vs_simulated(real, simulated, table, source)
    return [*style.save_figure(fig, "real_vs_simulated", folder, sources), *write_calibration(table, sources, folder)]
