"""The notebooks as a reader meets them: the whole study in the smoke profile, in a project of its own, and drawn again."""

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from matplotlib.image import imread
from projects import ROOT, start

from migstudy.evaluate import SUMMARY
from migstudy.figures.style import SIDECAR_KEYS
from migstudy.runs.execute import notebook_parameters
from migstudy.runs.folder import Run
from migstudy.scores import load_scores
from migstudy.study import cells

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# what a reader is promised; a figure added to a notebook is expected besides
PROMISED = {
    "01_dataset": {"dataset_classes", "dataset_lengths", "dataset_clip", "data_check"},
    "02_representation": {"topologies", "adjacency", "sampling", "interpolation", "heatmaps", "label_similarity"},
    "03_train_gesture": set(),
    "04_fusion": set(),
    "05_train_emotion": set(),
    "06_ablations": {"ablation", "table_ablation", "table_control", "table_effects"},
    "07_paper_tables": {"published", "confusion", "per_class", "training_curves", "table_streams", "table_recordings",
                        "table_fusion", "table_fusion_effects", "fusion_effects", "missing_modalities", "table_late_fusion",
                        "table_graphs"},
    "08_robustness": {"robustness", "difficulty", "table_robustness", "table_difficulty", "table_emotion_effect"},
}  # fmt: skip
EMOTION = {"emotion_models", "privacy", "evidence"}, {"table_emotion"}  # drawn by notebook 07 in one call


def code_of(notebook: Path) -> str:
    return "\n".join("".join(c["source"]) for c in json.loads(notebook.read_text())["cells"] if c["cell_type"] == "code")


def drawn_by(notebook: Path, function: str) -> set[str]:
    return set(re.findall(rf'{function}\(\w+, "(\w+)"', code_of(notebook)))


# -- as they are stored ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_valid_and_stripped(path, tmp_path):
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3" and len({c.id for c in notebook.cells}) == len(notebook.cells)
    copy = Path(shutil.copy(path, tmp_path))
    subprocess.run([sys.executable, "-m", "nbstripout", "--keep-id", "--extra-keys", "metadata.papermill cell.metadata.papermill", copy], check=True)
    assert json.loads(copy.read_text()) == json.loads(path.read_text()), "call nbstripout on it"


def test_every_notebook_is_part_of_this_test():
    assert {p.stem for p in NOTEBOOKS} == set(PROMISED)
    for path in NOTEBOOKS:
        assert drawn_by(path, "save_figure") | drawn_by(path, "write_table") >= PROMISED[path.stem]


# -- executed --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Fusion and win/lose once, then `migstudy study --profile smoke --seeds 1 --parts gesture`, in an empty project."""
    folder = tmp_path_factory.mktemp("study")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    for words in (("run", "04", "--profile", "smoke", "-p", "video_model=mvit", "-p", "memory=false"),
                  ("run", "05", "--profile", "smoke", "-p", "model=gesture_logistic"),
                  ("study", "--profile", "smoke", "--seeds", "1", "--parts", "gesture")):  # fmt: skip
        process = command(folder, *words)
        said, complained = process.communicate(timeout=900)
        assert process.returncode == 0, said + complained
        assert "FAILED" not in complained
    assert "0 failures" in said
    return folder


def command(folder: Path, *words: str) -> subprocess.Popen:
    return start(folder, "-m", "migstudy", *words, MIGSTUDY_CACHE=str(folder / "cache"))


def runs_of(project: Path, task: str) -> list[Run]:
    return [Run(folder) for folder in sorted((project / "runs").glob(f"{task}-*"))]


def test_every_run_of_the_study_is_finished(project):
    counts = {path.stem: len(runs_of(project, path.stem)) for path in NOTEBOOKS}
    encoders = 3  # of fusion: two streams of the skeleton and the films; win/lose recognises gestures with a run of the study
    assert counts == {**dict.fromkeys(PROMISED, 1), "03_train_gesture": len(cells("smoke", (0,))) + encoders}
    for run in map(Run, (project / "runs").iterdir()):
        assert run.done and run.path("run.ipynb").exists() and not run.path("failed.ipynb").exists()
        assert shlex.split(run.read_json("env.json")["command"])[:3] == ["migstudy", "run", run.id.rsplit("-", 1)[0]]
    leftovers = [p for p in project.rglob("*") if "partial" in p.name or p.name == "checkpoint.pt"]
    assert leftovers == []


@pytest.mark.parametrize("stem", PROMISED)
def test_every_cell_ran_and_none_failed(project, stem):
    for run in runs_of(project, stem):
        notebook = nbformat.read(run.path("run.ipynb"), as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in code)
        outputs = [output for cell in code for output in cell.outputs]
        assert not [o for o in outputs if o.output_type == "error"]
        said = "".join(o.text for o in outputs if o.output_type == "stream")
        assert "Traceback" not in said and "Warning" not in said
        images = [o for o in outputs if "image/png" in o.get("data", {})]
        drawn = drawn_by(ROOT / "notebooks" / f"{stem}.ipynb", "save_figure")
        assert len(images) >= len(drawn), "a figure that is saved is also shown"
        injected = [c for c in code if "injected-parameters" in c.metadata.get("tags", [])]
        assert len(injected) == 1 and 'profile = "smoke"' in injected[0].source


def test_figures_are_there_with_their_sidecars(project):
    done = {run.id: run for run in map(Run, (project / "runs").iterdir())}
    fingerprints = {run.read_json("params.json")["data_fingerprint"] for run in done.values()}
    assert len(fingerprints) < len(done)
    expected = set()
    for notebook in NOTEBOOKS:
        figures = drawn_by(notebook, "save_figure") | (PROMISED[notebook.stem] - drawn_by(notebook, "write_table"))
        figures |= EMOTION[0] if notebook.stem == "07_paper_tables" else set()
        for name in figures:
            files = {ending: project / "figures" / f"{name}.{ending}" for ending in ("png", "pdf", "json")}
            expected |= {path.name for path in files.values()}
            pixels = imread(io.BytesIO(files["png"].read_bytes()))
            ink = (pixels[..., :3] < 0.9).any(axis=-1).mean()
            assert min(pixels.shape[:2]) > 150 and 0.005 < ink < 0.9, f"{name}: {ink:.1%} of it is drawn on"
            assert files["pdf"].read_bytes()[:5] == b"%PDF-"
            told = json.loads(files["json"].read_text())
            assert set(told) == set(SIDECAR_KEYS) and told["title"] and told["source"]
            assert told["command"] == f"migstudy run {notebook.stem} -p profile=smoke"
            assert {*told["run_ids"]} <= done.keys() and told["data_fingerprint"] in {None, *fingerprints}
            measured = notebook.stem in ("06_ablations", "07_paper_tables", "08_robustness") and name != "published"
            assert bool(told["run_ids"]) == measured and (told["data_fingerprint"] is None) <= (not measured)
            if measured or notebook.stem == "01_dataset":
                assert "not iMiGUE" in told["source"], "simulated data say so"
        for name in drawn_by(notebook, "write_table") | (EMOTION[1] if notebook.stem == "07_paper_tables" else set()):
            expected |= {f"{name}.{ending}" for ending in ("md", "tex", "csv", "json")}
    assert {p.name for p in (project / "figures").iterdir()} == expected


def test_the_tables_say_what_the_runs_say(project):
    table = np.genfromtxt(project / "figures" / "table_ablation.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert table["variant"].tolist() == ["base", "+ topology", "+ sampling", "+ label embedding", "all three"]
    assert (table["seeds"] == 1).all()
    params = {"topology": "imigue22", "sampling": "zero_pad", "label_embedding": "none", "stream": "joint", "shuffle_labels": False}
    [base] = [r for r in runs_of(project, "03_train_gesture") if params.items() <= r.read_json("params.json")["params"].items()]
    metrics = base.read_json("metrics.json")["test"]
    assert [table[name][0] for name in SUMMARY] == pytest.approx([metrics[name] for name in SUMMARY])
    text = (project / "figures" / "table_recordings.md").read_text()
    assert "NATOPS" in text and "–" in text, "recordings that were not trained on are shown as missing"


def test_a_training_run_is_complete_and_right(project):
    for run in runs_of(project, "03_train_gesture"):
        metrics, scores = run.read_json("metrics.json"), load_scores(run.path("scores.parquet"))
        assert {"log.csv", "model.safetensors", "config.json"} <= {p.name for p in run.folder.iterdir()}
        assert metrics["clips"]["val"] + metrics["clips"]["test"] == len(scores)
        assert 0 <= metrics["test_macro_f1"] <= 1 and metrics["test"]["cluster"] == "subject"
        assert "not iMiGUE" in metrics["source"]


def test_drawing_again_changes_no_byte(project):
    trained = {run.id: run.path("metrics.json").stat().st_mtime_ns for run in runs_of(project, "03_train_gesture")}
    before = {p.name: p.read_bytes() for p in (project / "figures").iterdir()}
    process = command(project, "figures", "--profile", "smoke")
    said, complained = process.communicate(timeout=600)
    assert process.returncode == 0, complained
    after = {p.name: p.read_bytes() for p in (project / "figures").iterdir()}
    commit = re.compile(rb'"commit": .*')  # somebody may be committing meanwhile
    assert before.keys() == after.keys()
    assert [name for name in before if commit.sub(b"", before[name]) != commit.sub(b"", after[name])] == []
    assert {run.id: run.path("metrics.json").stat().st_mtime_ns for run in runs_of(project, "03_train_gesture")} == trained


def test_the_profile_is_a_parameter_of_every_notebook():
    for path in NOTEBOOKS:
        kinds, defaults = notebook_parameters(path)
        assert defaults["profile"] == "quick" and defaults["data"] == "simulator" and os.sep not in defaults["data"], path.stem
