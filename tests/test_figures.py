"""Figures: every one is drawn from synthetic inputs and checked for bytes, text, provenance and what it shows."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import warnings

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.text import Text

from migstudy import figures, temporal
from migstudy.classes import IMIGUE_CLASSES, IMIGUE_NAMES
from migstudy.clips import Clip, ClipSet
from migstudy.doctor.examine import DoctorReport, Finding
from migstudy.figures import style
from migstudy.figures.canonical_pose import canonical_openpose137, canonical_pose, face_points
from migstudy.heatmaps import render_joints, render_limbs
from migstudy.label_embeddings import get_label_embeddings
from migstudy.report.published import load_published
from migstudy.skeletons import get_topology, list_topologies

SOURCE = "made for a test, not iMiGUE"


def make_clips() -> ClipSet:
    rng, pose = np.random.default_rng(0), canonical_pose("imigue41")
    clips = []
    for i in range(60):
        length = int(rng.integers(12, 90))
        sway = 0.05 * np.sin(np.arange(length) / 6)[:, None, None]
        scores = (rng.random((length, 41)) > 0.05).astype(np.float32)
        keypoints = ((pose + sway) * 90 + 400).astype(np.float32) * scores[..., None]
        clips.append(Clip(f"{i:04d}_0", keypoints, scores, i % 7, f"{i:04d}", str(i % 9), ("train", "val", "test")[i % 3]))
    return ClipSet.from_clips(clips, "imigue41", IMIGUE_NAMES, 25.0, SOURCE)


def make_report() -> DoctorReport:
    rng, topology = np.random.default_rng(1), get_topology("openpose137")
    splits = ("train", "val", "test")
    classes = [(c.index, c.name, s, c.val if s == "val" else c.train) for c in IMIGUE_CLASSES for s in splits]
    lengths = [(s, f, int(rng.integers(1, 30))) for s in splits for f in range(5, 200, 3)]
    part_of = {j: part for part, joints in topology.parts.items() for j in joints}
    table = pd.DataFrame
    long = "hands and wrists are crossed: " + "the left hand lies nearer to the right wrist " * 4
    return DoctorReport(
        source=SOURCE, units="px", topology="openpose137", clips=900, frames=50_000, videos=40, subjects=30,
        findings=(Finding("protocol", "error", "train has 900 clips, the protocol 12,893", "read the whole release"),
                  Finding("hands", "warn", long, "swap them"), Finding("overlap", "ok", "no subject in two splits")),
        protocol=table(), class_histogram=table(classes, columns=["label", "class", "split", "clips"]),
        clip_lengths=table(lengths, columns=["split", "frames", "clips"]),
        missing_by_part=table([(p, s, rng.random()) for p in topology.parts for s in splits], columns=["part", "split", "rate"]),
        joints=table([(n, part_of[i], *rng.random(3)) for i, n in enumerate(topology.joints)],
                     columns=["joint", "part", "missing", "frozen", "jump"]),
        hands=table([(h, w, 0.2 if h[0] == w[0] else 1.1) for h in ("left", "right") for w in ("left", "right")],
                    columns=["hand", "wrist", "distance"]),
        sides=table(), overlaps=table(), by_split=table([(s, 300, 0.1, 0.02, np.nan) for s in splits],
                                         columns=["split", "clips", "missing", "jump", "swap"]),
        jump_rate=0.01, swap_rate=0.0, outside_rate=0.0, crossed=False,
    )  # fmt: skip


def make_per_class() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    f1 = rng.random(32)
    table = pd.DataFrame({"index": range(32), "name": IMIGUE_NAMES, "n_train": [c.train for c in IMIGUE_CLASSES],
                          "n": [c.val for c in IMIGUE_CLASSES], "f1": f1, "f1_low": f1 * 0.7, "f1_high": f1 * 0.7 + 0.3})  # fmt: skip
    table.loc[table["n"] == 0, ["f1", "f1_low", "f1_high"]] = np.nan
    table.loc[3, ["f1_low", "f1_high"]] = np.nan
    return table


def make_confusion() -> np.ndarray:
    rng = np.random.default_rng(3)
    counts = rng.poisson(1.0, (32, 32)) + np.diag([c.train // 20 for c in IMIGUE_CLASSES])
    counts[9] = 0
    return counts


def make_logs() -> dict[str, list[pd.DataFrame]]:
    rng = np.random.default_rng(4)
    return {
        name: [pd.DataFrame({"epoch": range(1, 9), "loss": rng.random(8), "val_top1": rng.random(8),
                             "val_macro_f1": rng.random(8)}) for _ in range(3)]
        for name in ("base", "+ topology", "+ sampling", "+ label embedding", "all three")
    }  # fmt: skip


def make_ablation() -> tuple[pd.DataFrame, pd.DataFrame]:
    rng, rows, seeds = np.random.default_rng(5), [], []
    for variant, metric in itertools.product(["+ topology", "+ sampling", "all three"], ["top1", "macro_f1"]):
        effect = rng.normal(1, 3)
        rows.append((variant, metric, effect, effect - 2, effect + 2.5))
        seeds += [(variant, metric, effect + rng.normal()) for _ in range(3)]
    return (pd.DataFrame(rows, columns=["variant", "metric", "effect", "low", "high"]),
            pd.DataFrame(seeds, columns=["variant", "metric", "effect"]))  # fmt: skip


def make_heatmaps():
    topology, pose = get_topology("imigue41"), canonical_pose("imigue41")
    frames = torch.tensor((pose - pose.min(0)) / np.ptp(pose, axis=0).max() * 24 + 4, dtype=torch.float32)
    keypoints, scores = frames.repeat(1, 8, 1, 1), torch.ones(1, 8, 41)
    joints, limbs = render_joints(keypoints, scores, 32)[0], render_limbs(keypoints, scores, topology.edges, 32)[0]
    return figures.draw_heatmaps(joints, limbs, 4, joints.flip(-1), SOURCE)


def make_graph_input(in_space: bool):
    topology, rng = get_topology("imigue41"), np.random.default_rng(0)
    points = np.concatenate([canonical_pose("imigue41") / 300, np.ones((41, 1))], 1)
    points[:, 2] = rng.normal(size=41) if in_space else 1
    moving = points[None] + 0.02 * rng.normal(size=(8, 1, 1)) * [1, 1, 0]
    return figures.draw_input(np.moveaxis(moving, -1, 0)[..., None], topology, SOURCE)


def make_pictures():
    scene = np.linspace(-2, 2, 3 * 6 * 40 * 40).reshape(3, 6, 40, 40)
    return figures.draw_pictures(scene, 4, SOURCE, training=[scene[..., ::-1]])


def make_interpolation():
    values, scores = 400 + 50 * np.sin(np.arange(20) / 4), np.full(20, 0.9)
    scores[[6, 7, 8, 14]] = 0
    return figures.draw_interpolation(np.where(scores > 0, values, 0), scores, 48, "right wrist, x", source=SOURCE)


FIGURES = {
    "topologies": lambda: figures.draw_topologies(),
    "topology": lambda: figures.draw_topology("imigue41"),
    "adjacency": lambda: figures.draw_adjacency("imigue41"),
    "clip": lambda: figures.draw_clip(make_clips()[4], "imigue41", 6, IMIGUE_NAMES, SOURCE),
    "sampling": lambda: figures.draw_sampling(),
    "interpolation": make_interpolation,
    "heatmaps": make_heatmaps,
    "pictures": lambda: make_pictures(),
    "graph_input": lambda: make_graph_input(False),
    "graph_input_3d": lambda: make_graph_input(True),
    "class_histogram": lambda: figures.draw_class_histogram(make_report().class_histogram, SOURCE),
    "class_histogram_clips": lambda: figures.draw_class_histogram(make_clips()),
    "clip_lengths": lambda: figures.draw_clip_lengths(make_clips(), 48),
    "doctor": lambda: figures.draw_doctor(make_report()),
    "training_curves": lambda: figures.draw_training_curves(make_logs(), SOURCE),
    "confusion": lambda: figures.draw_confusion(make_confusion(), IMIGUE_NAMES, SOURCE),
    "confusion_small": lambda: figures.draw_confusion(np.eye(6) * 20 + 3, IMIGUE_NAMES[:6], SOURCE),
    "per_class": lambda: figures.draw_per_class(make_per_class(), SOURCE, majority=0.02),
    "ablation": lambda: figures.draw_ablation(make_ablation()[0], SOURCE, make_ablation()[1], "22 joints, zero-padded"),
    "label_similarity": lambda: figures.draw_label_similarity(get_label_embeddings("sentence"), IMIGUE_NAMES),
    "published": lambda: figures.draw_published(load_published()),
}
NO_RESULTS = {"topologies", "topology", "adjacency", "sampling", "label_similarity"}  # drawings, no data set behind them


@pytest.fixture(scope="module")
def drawn() -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layout that does not fit warns
        figs = {name: draw() for name, draw in FIGURES.items()}
        for fig in figs.values():
            fig.texts_drawn = drawn_texts(fig)
    return figs


def drawn_texts(fig) -> list[Text]:
    """The texts that reach the canvas; a figure also holds tick labels that are never drawn."""
    seen, draw = [], Text.draw

    def spy(self, renderer, *args, **kwargs):
        if self.get_visible() and self.get_text().strip():
            seen.append(self)
        return draw(self, renderer, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", spy)
        FigureCanvasAgg(fig).draw()
    return seen


def texts(fig) -> list[Text]:
    return fig.texts_drawn


def overlap(a, b) -> bool:
    return min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5


@pytest.mark.parametrize("name", FIGURES)
def test_text_is_inside_and_readable(drawn, name):
    fig = drawn[name]
    width, height = fig.bbox.width, fig.bbox.height
    for text in texts(fig):
        box = text.get_window_extent()
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
        assert inside, f"{text.get_text()!r} leaves the figure"
        assert text.get_fontsize() >= 7, f"{text.get_text()!r} is too small"


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_lies_on_another(drawn, name):
    shown = [(t.get_text(), t.get_window_extent()) for t in texts(drawn[name]) if t.get_rotation() in (0, 90)]
    for (one, a), (two, b) in itertools.combinations(shown, 2):
        assert not overlap(a, b), f"{one!r} lies on {two!r}"


@pytest.mark.parametrize("name", FIGURES)
def test_data_source_is_written_on_the_figure(drawn, name):
    words = " ".join(t.get_text() for t in texts(drawn[name])).replace("\n", " ")
    if name == "published":
        assert "as published" in words and "not reproduced here" in words and SOURCE not in words
    elif name not in NO_RESULTS:
        assert SOURCE in words


@pytest.mark.parametrize("name", ["topology", "clip", "heatmaps", "clip_lengths", "training_curves"])
def test_same_input_same_bytes(name, tmp_path):
    for k in (1, 2):
        figures.save_figure(FIGURES[name](), name, tmp_path / str(k), {"source": SOURCE})
    for ending in ("png", "pdf", "json"):
        one, two = (tmp_path / k / f"{name}.{ending}" for k in "12")
        assert one.read_bytes() == two.read_bytes() and one.stat().st_size > 50
    assert "CreationDate" not in (tmp_path / "1" / f"{name}.pdf").read_bytes().decode("latin1")


def test_same_bytes_in_another_process(tmp_path):
    code = ("import sys; from migstudy import figures; "
            "figures.save_figure(figures.draw_topology('imigue22'), 'a', sys.argv[1], {'source': 'x', 'commit': 'c'})")  # fmt: skip
    for seed in ("1", "2"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / seed)], check=True,
                       env={**os.environ, "PYTHONHASHSEED": seed})  # fmt: skip
    for file in sorted((tmp_path / "1").iterdir()):
        assert file.read_bytes() == (tmp_path / "2" / file.name).read_bytes()


def test_sidecar(tmp_path, monkeypatch):
    monkeypatch.setenv("MIGSTUDY_COMMAND", "migstudy study --profile smoke")
    sources = {"title": "T", "source": SOURCE, "run_ids": ["b", "a"], "data_fingerprint": "f" * 64, "commit": "c0ffee"}
    png, pdf, sidecar = figures.save_figure(style.new_figure(), "empty", tmp_path, sources)
    assert [p.suffix for p in (png, pdf, sidecar)] == [".png", ".pdf", ".json"]
    kept = json.loads(sidecar.read_text())
    assert kept == {"title": "T", "run_ids": ["a", "b"], "commit": "c0ffee", "data_fingerprint": "f" * 64, "source": SOURCE,
                    "command": "migstudy study --profile smoke"}  # fmt: skip


@pytest.mark.parametrize(("name", "sources", "message"), [
    ("a", {}, "source"), ("a", {"source": " "}, "source"), ("a", {"source": "x", "run": "1"}, "unknown sources"),
    ("sub/a", {"source": "x"}, "plain name"), ("", {"source": "x"}, "plain name"),
])  # fmt: skip
def test_figures_without_provenance_are_refused(tmp_path, name, sources, message):
    with pytest.raises(ValueError, match=message):
        figures.save_figure(style.new_figure(), name, tmp_path, sources)
    assert not list(tmp_path.iterdir())


def test_failed_save_keeps_the_old_figure(tmp_path, monkeypatch):
    fig = figures.draw_sampling()
    before = {p: p.read_bytes() for p in figures.save_figure(fig, "a", tmp_path, {"source": SOURCE})}

    def disk_full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", disk_full)
    with pytest.raises(OSError, match="no space"):
        figures.save_figure(figures.draw_sampling((30,)), "a", tmp_path, {"source": "other"})
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_nothing_leaks_into_pyplot_or_settings():
    code = """
import sys, matplotlib as mpl
from migstudy import figures
settings = lambda: {key: mpl.rcParams[key] for key in mpl.rcParams if key != "backend"}  # asking for that one imports pyplot
before = settings()
fig = figures.draw_sampling()
assert settings() == before
assert "matplotlib.pyplot" not in sys.modules
assert fig._repr_png_()[:4] == b"\\x89PNG"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert mpl.rcParams["font.size"] != style.STYLE["font.size"]


def test_results_need_a_source():
    with pytest.raises(ValueError, match="name its data"):
        figures.draw_confusion(np.eye(2), ["a", "b"], " ")


def test_canonical_pose_is_its_own_mirror_image():
    pose, mirror = canonical_openpose137(), list(get_topology("openpose137").mirror)
    np.testing.assert_allclose(pose[mirror], pose * (-1, 1), atol=1e-12)


@pytest.mark.parametrize("name", list_topologies())
def test_every_topology_has_a_drawn_place(name):
    topology, pose = get_topology(name), canonical_pose(name)
    assert pose.shape == (topology.num_joints, 2) and np.isfinite(pose).all()
    lengths = [np.hypot(*(pose[a] - pose[b])) for a, b in topology.edges]
    if name != "imigue22_starterkit":
        assert max(lengths) < 3.0  # no limb of a true skeleton crosses the body


def test_canonical_pose_looks_like_a_person():
    topology, pose = get_topology("openpose137"), canonical_openpose137()
    at = dict(zip(topology.joints, pose, strict=True))
    assert at["right_shoulder"][0] < 0 < at["left_shoulder"][0]  # it faces the reader
    assert at["nose"][1] < at["neck"][1] < at["mid_hip"][1] < at["left_knee"][1] < at["left_ankle"][1]
    face = face_points()
    brows, eyes, nose, lips, chin = face[17:27], face[36:48], face[30], face[48:60], face[8]
    assert brows[:, 1].max() < eyes[:, 1].min() < nose[1] < lips[:, 1].min() < lips[:, 1].max() < chin[1]
    for side in ("left", "right"):
        fingers = [at[f"{side}_hand_{f}_4"] for f in ("thumb", "index", "middle", "ring", "little")]
        assert all(np.hypot(*(tip - at[f"{side}_wrist"])) < 1.2 for tip in fingers)
        inwards = [abs(tip[0]) for tip in fingers]
        assert inwards == sorted(inwards)  # palms forward: the thumb points to the body


def test_unknown_joints_need_key_points():
    from migstudy.skeletons import make_topology

    tail = make_topology("fox", ["nose", "tail"], [(0, 1)], register=False)
    with pytest.raises(ValueError, match="tail"):
        canonical_pose(tail)
    assert figures.draw_topology(tail, np.array([[0.0, 0.0], [1.0, 1.0]])).axes
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        figures.draw_topology(tail, np.zeros((3, 2)))


def test_all_41_joints_are_numbered(drawn):
    numbers = [int(t.get_text()) for t in texts(drawn["topology"]) if t.get_text().isdigit()]
    assert set(numbers) == set(range(41))


def test_wrong_limbs_of_the_starter_kit_are_marked(drawn):
    shipped = {frozenset(e) for e in get_topology("imigue22_starterkit").edges}
    right = {frozenset(e) for e in get_topology("imigue22").edges}
    person = drawn["topologies"].axes[0]
    dashed = [c for c in person.collections if isinstance(c, LineCollection) and c.get_linestyle()[0][1] is not None]
    assert sum(len(c.get_segments()) for c in dashed) == len(shipped - right) == 16


def test_sampling_counts_its_empty_frames(drawn):
    scores = temporal.zero_pad(np.ones((20, 1, 2)), np.ones((20, 1)), 48)[1]
    words = [t.get_text() for t in texts(drawn["sampling"])]
    assert f"{(scores == 0).mean():.0%} empty" in words


def test_interpolation_never_crosses_a_missing_frame(drawn):
    line = next(line for line in drawn["interpolation"].axes[0].lines if len(line.get_xdata()) > 2)
    x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
    for missing in (6, 7, 8, 14):
        joined = (x[:-1] <= missing) & (x[1:] >= missing) & np.isfinite(y[:-1]) & np.isfinite(y[1:])
        assert not joined.any()


def test_confusion_rows_are_shares(drawn):
    shown = np.asarray(drawn["confusion"].axes[0].images[0].get_array(), float)
    counts = make_confusion()
    assert np.isnan(shown[9]).all()
    np.testing.assert_allclose(shown[0], counts[0] / counts[0].sum())
    with pytest.raises(ValueError, match="do not fit"):
        figures.draw_confusion(np.eye(3), ["a"], SOURCE)


def test_classes_stand_in_order_of_their_training_clips(drawn):
    rows = [t.get_text() for t in drawn["per_class"].axes[0].get_yticklabels()]
    expected = sorted(IMIGUE_CLASSES, key=lambda c: (c.train, -c.index))
    assert [row.rsplit(maxsplit=1)[-1].strip("\u2007") for row in rows] == [str(c.index) for c in expected]


def test_zero_clips_are_shown_as_zero(drawn):
    ax = drawn["class_histogram"].axes[0]
    label = {t.get_text(): p for t, p in zip(ax.get_xticklabels(), ax.get_xticks(), strict=True)}
    val = next(c for c in ax.collections if len(c.get_offsets()) == 32 and (c.get_offsets()[:, 0] < 0.9).any())
    x = val.get_offsets()[:, 0]
    assert np.isclose(x[x < 0.9], label["0"]).all()
    assert (x < 0.9).sum() == sum(c.val == 0 for c in IMIGUE_CLASSES)


def test_ablation_shows_effects_and_seeds(drawn):
    table, seeds = make_ablation()
    for ax, metric in zip(drawn["ablation"].axes, ("top1", "macro_f1"), strict=True):
        dots, means = (c.get_offsets()[:, 0] for c in ax.collections if not isinstance(c, LineCollection))
        np.testing.assert_allclose(means, table[table.metric == metric].effect)
        np.testing.assert_allclose(dots, seeds[seeds.metric == metric].effect)


def test_missing_variants_are_said_to_be_missing():
    table = make_ablation()[0]
    table.loc[table["variant"] == "all three", ["effect", "low", "high"]] = np.nan
    words = [t.get_text().strip() for t in drawn_texts(figures.draw_ablation(table, SOURCE))]
    assert words.count("not run") == 2 and "nan" not in " ".join(words)
    curves = figures.draw_training_curves({**make_logs(), "limb": []}, SOURCE)
    assert "limb" not in [t.get_text() for t in drawn_texts(curves)]


def test_no_effect_looks_like_none():
    table = make_ablation()[0].assign(effect=-1e-17, low=0.0, high=1e-17)
    fig = figures.draw_ablation(table, SOURCE)
    assert fig.axes[0].get_xlim() == (-1, 1) and "0.0" in [t.get_text() for t in drawn_texts(fig)]


def test_curves_end_where_the_shortest_run_ends():
    logs = make_logs()["base"]
    logs[1] = logs[1].iloc[:5]
    ax = figures.draw_training_curves({"base": logs}, SOURCE).axes[0]
    assert ax.lines[0].get_xdata().max() == 5
    with pytest.raises(ValueError, match="columns"):
        figures.draw_training_curves({"base": logs}, SOURCE, metrics=("nothing",))


def test_clip_of_another_skeleton_is_refused():
    with pytest.raises(ValueError, match="41 joints, but imigue22 has 22"):
        figures.draw_clip(make_clips()[0], "imigue22")
