"""Win or lose: how far the probabilities can be trusted, where a model is sure, and which models can be told from chance.

Everything is drawn from results of `emotion.evaluate.evaluate_emotion`; models of different protocols are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from migstudy.emotion.binary_metrics import NAMES
from migstudy.emotion.evaluate import TESTED
from migstudy.emotion.protocols import same_protocol
from migstudy.emotion.readable import p_words
from migstudy.figures import style

_SCALED = {"temperature": "temperature", "platt": "Platt"}
_COLUMNS = 4
_BAND = "95 % over people, at each place"
_OTHERS = "#BFC3C9"


@style.styled
def draw_reliability(results: Mapping[str, dict], source: str, scaling: str = "temperature") -> Figure:
    """A panel a model: share won against the probability of a win, in bins of equally many videos, over a histogram.

    Bars: Wilson's interval, of videos taken for independent. Filled: as trained; open: after `scaling` ("temperature" or "platt",
    learned on validation), where there is one. Under the name the calibration errors, and what right probabilities would have.
    """
    results = _checked(results)
    rows, columns = _places(len(results))
    fig = style.new_figure(max(style.COLUMN, 1.8 * columns), 0.7 + 2.3 * rows if columns > 1 else 3.9)
    grid = fig.subplots(2 * rows, columns, squeeze=False, sharex=True, height_ratios=[3.2, 1] * rows)
    most = max(max(np.add(r["histogram"]["lost"], r["histogram"]["won"])) for r in results.values())
    for number, (name, result) in enumerate(results.items()):
        ax, below = grid[2 * (number // columns) : 2 * (number // columns) + 2, number % columns]
        ax.plot([0, 1], [0, 1], color=style.GREY, lw=0.8, ls=(0, (4, 2)), zorder=1)
        scaled = scaling in result["reliability"]
        for kind in ("raw", scaling) if scaled else ("raw",):
            _draw_bins(ax, result["reliability"][kind], kind == "raw")
        errors = {kind: found["ece_mass"] for kind, found in result["calibration"].items()}
        told = f"ECE {errors['raw']:.2f}" + (f" → {errors[scaling]:.2f}" if scaled else "")
        _name(ax, name, f"{told}, if right {result['calibration']['raw']['ece_expected']:.2f}")
        ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), yticks=(0, 0.5, 1))
        ax.grid()
        lost, won = result["histogram"]["lost"], result["histogram"]["won"]
        for counts, bottom, colour in ((lost, 0, style.GREY), (won, lost, style.SKY)):
            below.bar(np.arange(10) / 10 + 0.05, counts, 0.088, bottom, color=colour, lw=0)
        below.set(ylim=(0, 1.1 * most), xticks=(0, 0.5, 1), yticks=(0, round(most)), xlabel="probability of a win")
        for axis, label in ((ax, "share won"), (below, "videos")):
            axis.tick_params(labelleft=number % columns == 0)
            axis.set_ylabel(label if number % columns == 0 else "")
        below.tick_params(labelbottom=True)
    for ax in grid[-2:, len(results) - columns * (rows - 1) :].ravel():
        ax.set_visible(False)
    handles = [Line2D([], [], color=style.BLUE, marker="o", ms=4.5, label="as trained")]
    if any(scaling in r["reliability"] for r in results.values()):
        told = f"after {_SCALED.get(scaling, scaling)} scaling"
        handles.append(Line2D([], [], color=style.VERMILION, marker="o", ms=4.5, mfc="white", label=told))
    handles.append(Line2D([], [], color=style.GREY, lw=0.8, ls=(0, (4, 2)), label="right probabilities"))
    handles += [Patch(color=style.GREY, label="lost"), Patch(color=style.SKY, label="won")]
    fig.legend(handles=handles, loc="outside upper left", ncols=3 if columns < 3 else 5, columnspacing=1.2)
    style.add_source(fig, _told(results, source))
    return fig


@style.styled
def draw_risk_coverage(results: Mapping[str, dict], source: str, least: float = 0.1) -> Figure:
    """A panel a model: share of wrong answers when only the surest share of the videos is answered; bands over people (95 %).

    least: coverage from which curves are drawn; below, a handful of videos decide. Grey: the other models.
    """
    results = _checked(results)
    parts = {name: result["selective"] for name, result in results.items()}
    words = {name: f"AURC {part['aurc']:.2f}, best possible {part['best']:.2f}" for name, part in parts.items()}
    fig, axes = _curve_panels(results, "risk_coverage", words, least)
    highest = max(max(r["risk_coverage"]["high"] or r["risk_coverage"]["y"]) for r in results.values())
    for ax in axes:
        ax.axhline(0.5, color=style.GREY, lw=0.8, ls=(0, (4, 2)), zorder=1)
        ax.set(xlim=(0, 1), ylim=(0, max(0.6, min(1.0, highest))), xlabel="share answered, surest first")
        if ax.get_subplotspec().is_first_col():
            ax.set_ylabel("wrong among them")
    style.add_source(fig, _told(results, source))
    return fig


@style.styled
def draw_roc(results: Mapping[str, dict], source: str) -> Figure:
    """A panel a model: ROC curve, won videos called won against lost ones called won; pointwise bands over people (95 %).

    Grey: the other models.
    """
    results, words = _checked(results), {}
    for name, result in results.items():
        area = result["metrics"]["auc"]
        bounds = "" if area["low"] is None else f" [{area['low']:.2f}, {area['high']:.2f}]"
        words[name] = f"AUC {area['value']:.2f}{bounds}"
    fig, axes = _curve_panels(results, "roc", words)
    for ax in axes:
        ax.plot([0, 1], [0, 1], color=style.GREY, lw=0.8, ls=(0, (4, 2)), zorder=1)
        ax.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="lost called won", aspect="equal")
        if ax.get_subplotspec().is_first_col():
            ax.set_ylabel("won called won")
    style.add_source(fig, _told(results, source))
    return fig


@style.styled
def draw_emotion_forest(
    results: Mapping[str, dict], source: str, metrics: Sequence[str] = ("accuracy", "auc"), title: str = ""
) -> Figure:
    """A row a model, a panel a metric: value with its 95 % interval over people and runs, chance, and what lies too near to it.

    The band about chance: of accuracy the differences from always the commoner result that so many videos show with less than
    80 % power (the largest of the models' minimum detectable differences), of AUC the middle 95 % of exchanged results. Dotted:
    the accuracy of always answering the commoner result, where that is not a coin's. Filled marks: p < 0.05 by exchanged
    results. Broad bars: ± one sd of a model's runs. Raises ValueError for a metric that no test against chance was made of.
    """
    if unknown := sorted(set(metrics) - set(TESTED)):
        raise ValueError(f"no chance is known of {unknown[0]!r}; draw some of {', '.join(TESTED)}")
    results = _checked(results)
    fig = style.new_figure(style.PAGE, 1.2 + 0.27 * len(results) + 0.25 * bool(title))
    axes = np.atleast_1d(fig.subplots(1, len(metrics), sharey=True))
    places, most = np.arange(len(results))[::-1], max(result["majority"] for result in results.values())
    for ax, metric in zip(axes, metrics, strict=True):
        ax.axvspan(*_near_chance(results, metric), color=style.PALE, lw=0, zorder=0)
        ax.axvline(0.5, color=style.INK, lw=0.8, zorder=1)
        if metric == "accuracy" and most > 0.5:
            ax.axvline(most, color=style.INK, lw=0.9, ls=(0, (1, 1.5)), zorder=1)
        for place, result in zip(places, results.values(), strict=True):
            _draw_row(ax, place, result, metric)
        ax.set(xlabel=NAMES[metric], ylim=(-0.6, len(results) - 0.4))
        low = min([0.4, *(r["metrics"][metric]["low"] or 0.4 for r in results.values())])
        ax.set_xlim(max(0, np.floor(10 * low) / 10), 1.0)
        ax.xaxis.set_major_formatter(PercentFormatter(1) if metric != "auc" else "{x:.1f}")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.grid(axis="x")
    axes[0].set_yticks(places, list(results))
    several = any(r["metrics"][metrics[0]]["sd"] is not None for r in results.values())
    told = f"value, 95 % over people{' and runs' * several}; filled: p < 0.05"
    handles = [Line2D([], [], color=style.BLUE, marker="o", ms=5, lw=1.4, label=told)]
    if several:
        handles.append(Line2D([], [], color=style.BLUE, alpha=0.3, lw=4, label="± sd of runs"))
    handles += [Line2D([], [], color=style.INK, lw=0.8, label="chance"), Patch(color=style.PALE, label=_band_words(metrics))]
    if "accuracy" in metrics and most > 0.5:
        handles.append(Line2D([], [], color=style.INK, lw=0.9, ls=(0, (1, 1.5)), label="always the commoner result"))
    fig.legend(
        handles=handles, loc="outside upper left", ncols=2 + (len(handles) < 4), columnspacing=1.4, title=title or None,
        title_fontsize=9, alignment="left",
    )  # fmt: skip
    told = _told(results, source, "")
    if not all(result["chance_is_exact"] for result in results.values()):
        crossed = next(iter(results.values()))["cross_validated"]
        told += ", where intervals are too short and p too small" if crossed else ", which chose the models: p is too small"
    style.add_source(fig, told + optimistic_line(results))
    return fig


def _draw_bins(ax: Axes, curve: Mapping, filled: bool) -> None:
    mean, share = np.asarray(curve["mean"]), np.asarray(curve["share"])
    reach = np.maximum([share - curve["low"], np.asarray(curve["high"]) - share], 0)
    colour = style.BLUE if filled else style.VERMILION
    shift = 0 if filled else 0.012
    ax.errorbar(mean + shift, share, reach, color=colour, lw=1.1, elinewidth=0.9, capsize=1.5, marker="o", ms=4,
                mfc=colour if filled else "white", zorder=4 if filled else 3)  # fmt: skip


def _places(count: int) -> tuple[int, int]:
    """Rows and columns, filled as evenly as they can be."""
    rows = -(-count // _COLUMNS)
    return rows, -(-count // rows)


def _name(ax: Axes, name: str, words: str) -> None:
    ax.set_title(" \n ", fontsize=7.5)  # room for two lines, whose baselines are then the same in all panels
    for text, above, size in ((name, 12.5, 8), (words, 3.5, 6.5)):
        ax.annotate(text, (0, 1), (0, above), "axes fraction", "offset points", fontsize=size, in_layout=False)


def _curve_panels(
    results: Mapping[str, dict], which: str, words: Mapping[str, str], least: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """A panel a model with its curve and band, the others thin and grey behind it."""
    rows, columns = _places(len(results))
    fig = style.new_figure(max(style.COLUMN, 1.8 * columns), 0.65 + 2.1 * rows if columns > 1 else 3.6)
    fig.get_layout_engine().set(wspace=0.06)
    grid = fig.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    axes = list(grid.ravel()[: len(results)])
    for ax, (name, result) in zip(axes, results.items(), strict=True):
        for other, shown in results.items():
            curve, mine = shown[which], other == name
            x, y = np.asarray(curve["x"]), np.asarray(curve["y"])
            held = x >= least - 1e-9
            if mine and curve["low"] is not None:
                bounds = (np.asarray(curve[side])[held] for side in ("low", "high"))
                ax.fill_between(x[held], *bounds, color=style.BLUE, alpha=0.2, lw=0, zorder=2)
            look = (style.BLUE, 1.4, 4) if mine else (_OTHERS, 0.7, 1.5)
            ax.plot(x[held], y[held], **dict(zip(("color", "lw", "zorder"), look, strict=True)))
        _name(ax, name, words[name])
        ax.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        ax.tick_params(labelbottom=True)
        ax.grid()
    for ax in grid.ravel()[len(results) :]:
        ax.set_visible(False)
    handles = [Line2D([], [], color=style.BLUE, lw=1.4, label="the model"), Patch(color=style.BLUE, alpha=0.2, label=_BAND)]
    if len(results) > 1:
        handles.append(Line2D([], [], color=_OTHERS, lw=0.7, label="the other models"))
    handles.append(Line2D([], [], color=style.GREY, lw=0.8, ls=(0, (4, 2)), label="a coin"))
    fig.legend(handles=handles, loc="outside upper left", ncols=2 if columns < 3 else 4, columnspacing=1.2)
    return fig, axes


def _draw_row(ax: Axes, place: float, result: dict, metric: str) -> None:
    found, test = result["metrics"][metric], result["chance"][metric]
    value, beats = found["value"], test["p"] < 0.05
    if found["low"] is not None:
        ax.plot([found["low"], found["high"]], [place, place], color=style.BLUE, lw=1.4, solid_capstyle="butt", zorder=3)
    if found["sd"] is not None:
        ax.plot([value - found["sd"], value + found["sd"]], [place, place], color=style.BLUE, lw=4, alpha=0.3, zorder=2)
    ax.plot(value, place, "o", color=style.BLUE, mfc=style.BLUE if beats else "white", ms=5, zorder=4)
    told = f"{value:.2f}" if metric == "auc" else f"{100 * value:.0f} %"
    told += f", p {'' if result['chance_is_exact'] else '≈ '}{p_words(test['p'])}"
    ax.annotate(told, (1.0, place), (7, 0), textcoords="offset points", va="center", fontsize=7, annotation_clip=False)


def _near_chance(results: Mapping[str, dict], metric: str) -> tuple[float, float]:
    if metric != "auc":
        most = max(r["majority"] for r in results.values())
        widest = max(r["mdd"]["chance"] or 1 - most for r in results.values())
        return most - widest, most + widest
    bands = [r["chance"][metric] for r in results.values()]
    return min(band["low"] for band in bands), max(band["high"] for band in bands)


def _band_words(metrics: Sequence[str]) -> str:
    words = [] if set(metrics) == {"auc"} else ["accuracy: too near for 80 % power"]
    return "; ".join(words + ["AUC: 95 % of exchanged results"] * ("auc" in metrics))


def optimistic_line(results: Mapping[str, Mapping]) -> str:
    """What stands under a figure, on a line of its own, where encoders were trained on the people cross-validated."""
    known = [name for name, result in results.items() if result.get("optimistic")]
    whose = "" if len(known) == len(results) else f" of {', '.join(known)}"
    return f"\noptimistic: encoders{whose} were trained on these people" if known else ""


def _told(results: Mapping[str, dict], source: str, seen: str | None = None) -> str:
    first = next(iter(results.values()))
    how = ", cross-validated by person" if first["cross_validated"] else ""
    seen = optimistic_line(results) if seen is None else seen
    return f"{source}; {first['n_videos']} videos of {first['n_subjects']} people{how}{seen}" if source.strip() else source


def _checked(results: Mapping[str, dict]) -> Mapping[str, dict]:
    if not results:
        raise ValueError("no results to draw; give name -> result of evaluate_emotion")
    same_protocol(results.values())
    return results
