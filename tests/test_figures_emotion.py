import numpy as np
import pandas as pd
import pytest
from emotion_cases import toy_scores

from migstudy.emotion.evaluate import evaluate_emotion
from migstudy.emotion.protocols import ProtocolError
from migstudy.figures import (
    draw_emotion_effects,
    draw_emotion_forest,
    draw_reliability,
    draw_risk_coverage,
    draw_roc,
    save_figure,
)  # fmt: skip

DRAW = (draw_reliability, draw_risk_coverage, draw_roc, draw_emotion_forest)


@pytest.fixture(scope="module")
def results():
    models = {"face": toy_scores(1.5), "seeds": [toy_scores(0.5, seed=s) for s in (1, 2)], "nothing": toy_scores(0.0, seed=3),
              "perfect": toy_scores(12.0, seed=4), "more": toy_scores(1.0, seed=5)}  # fmt: skip
    return {name: evaluate_emotion(scores, n_permutations=200, n_boot=40) for name, scores in models.items()}


def words(fig):
    return " ".join(text.get_text() for text in fig.findobj(lambda artist: hasattr(artist, "get_text")))


@pytest.mark.parametrize("draw", DRAW)
@pytest.mark.parametrize("count", [1, 5])
def test_every_figure_names_models_and_data_and_can_be_saved(results, draw, count, tmp_path):
    some = dict(list(results.items())[:count])
    fig = draw(some, "simulated data, not iMiGUE")
    told = words(fig)
    assert all(name in told for name in some) and "simulated data, not iMiGUE; 40 videos of 14 people" in told
    paths = save_figure(fig, "emotion", tmp_path, {"source": "simulated data, not iMiGUE"})
    assert [path.suffix for path in paths] == [".png", ".pdf", ".json"] and all(path.stat().st_size for path in paths)


@pytest.mark.parametrize("draw", DRAW)
def test_figures_refuse_two_protocols_no_models_and_no_source(results, draw):
    cvpr = evaluate_emotion(toy_scores(protocol="cvpr"), n_permutations=50, n_boot=10)
    with pytest.raises(ProtocolError, match="cannot be combined"):
        draw({"a": results["face"], "b": cvpr}, "toy")
    with pytest.raises(ValueError, match="no results"):
        draw({}, "toy")
    with pytest.raises(ValueError, match="name its data"):
        draw({"face": results["face"]}, " ")


def test_reliability_shows_the_bins_and_counts_of_the_result(results):
    fig = draw_reliability({"face": results["face"]}, "toy", scaling="platt")
    upper, lower = fig.axes
    points = [container.lines[0].get_xydata() for container in upper.containers]
    for kind, drawn in zip(("raw", "platt"), points, strict=True):
        curve = results["face"]["reliability"][kind]
        assert np.allclose(drawn[:, 1], curve["share"]) and np.allclose(drawn[:, 0], curve["mean"], atol=0.02)
    heights = np.array([patch.get_height() for patch in lower.patches])
    assert heights.sum() == 40 and np.array_equal(heights[:10], results["face"]["histogram"]["lost"])
    assert f"{results['face']['calibration']['raw']['ece_expected']:.2f}" in words(fig) and "Platt" in words(fig)


def test_forest_fills_what_beats_chance_and_marks_what_is_too_near_it(results):
    fig = draw_emotion_forest(results, "toy", metrics=("accuracy",))
    ax = fig.axes[0]
    marks = [line for line in ax.lines if line.get_marker() == "o"]
    for mark, result in zip(marks, results.values(), strict=True):
        assert np.isclose(mark.get_xdata()[0], result["metrics"]["accuracy"]["value"])
        assert (mark.get_markerfacecolor() != "white") == (result["chance"]["accuracy"]["p"] < 0.05)
    band = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    widest = max(result["mdd"]["chance"] for result in results.values())
    assert np.isclose(band.x1, 0.5 + widest) and "commoner" not in words(fig), "20 of 40 were won: a coin's accuracy"
    uneven = {"face": results["face"] | {"majority": 0.6}}
    fig = draw_emotion_forest(uneven, "toy", metrics=("accuracy", "auc"))
    upright = lambda line: len(set(line.get_xdata())) == 1 < len(line.get_xdata())
    lines = [[line.get_xdata()[0] for line in ax.lines if upright(line)] for ax in fig.axes]
    assert lines == [[0.5, 0.6], [0.5]] and "always the commoner result" in words(fig)
    crossed = {"face": results["face"] | {"chance_is_exact": False, "cross_validated": True}}
    assert "where intervals are too short and p too small" in words(draw_emotion_forest(crossed, "toy"))
    with pytest.raises(ValueError, match="no chance is known of 'brier'"):
        draw_emotion_forest(results, "toy", metrics=("brier",))


def test_curves_are_those_of_the_result_and_start_at_the_least_coverage(results):
    chosen = {"face": results["face"]}
    for draw, which, least in ((draw_roc, "roc", 0.0), (draw_risk_coverage, "risk_coverage", 0.2)):
        ax = (draw(chosen, "toy") if draw is draw_roc else draw(chosen, "toy", least=0.2)).axes[0]
        curve = results["face"][which]
        x, y = (np.asarray(curve[name]) for name in "xy")
        assert np.allclose(ax.lines[0].get_xydata(), np.c_[x, y][x >= least - 1e-9])


def test_a_model_climbs_from_chance_and_is_filled_where_a_test_says_so():
    table = pd.DataFrame(
        [(0.0, "face", 3, 0.52, 0.40, 0.63, 1.0), (4.0, "face", 3, 0.9, 0.8, 0.97, 0.001), (1.0, "face", 1, 0.6, 0.5, 0.7, 0.2),
         (0.0, "context", 1, 0.45, 0.3, 0.6, 1.0), (1.0, "context", 0, np.nan, np.nan, np.nan, np.nan),
         (0.0, "lstm", 0, np.nan, np.nan, np.nan, np.nan)],
        columns=["effect", "model", "runs", "auc", "auc low", "auc high", "p auc holm"],
    )  # fmt: skip
    fig = draw_emotion_effects(table, "toy people")
    face, context = (ax for ax in fig.axes if ax.get_visible())
    assert [face.get_title(loc="left"), context.get_title(loc="left")] == ["face", "context"], "lstm has no finished run"
    marks = {line.get_markerfacecolor() == "white": line for line in face.lines if line.get_marker() == "o"}
    shown = {hollow: line.get_xdata()[np.isfinite(line.get_xdata())].tolist() for hollow, line in marks.items()}
    assert shown == {False: [4.0], True: [0.0, 1.0]}
    assert face.get_xticks().tolist() == [0, 1, 4] and "toy people" in words(fig)
    with pytest.raises(ValueError, match="tests no 'brier'"):
        draw_emotion_effects(table, "toy", "brier")
    with pytest.raises(ValueError, match="no model has a finished run"):
        draw_emotion_effects(table.assign(runs=0), "toy")
