"""Commands: a mistake is one line and exit code 2, a result is what is printed, nothing is written by accident."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from projects import ROOT, TRAINING, write_notebook
from toy import save_toy, toy_set
from typer.testing import CliRunner

from migstudy import results, study
from migstudy.cli import app
from migstudy.clips import ClipSet
from migstudy.config.gesture import GestureConfig
from migstudy.datasets.mmaction_pickle import read_pickle
from migstudy.runs import execute, folder
from migstudy.runs.folder import Run


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    (folder / "notebooks").mkdir(parents=True)
    monkeypatch.setenv("MIGSTUDY_ROOT", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # kernels run this checkout
    monkeypatch.delenv("MIGSTUDY_DEBUG", raising=False)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return save_toy(tmp_path_factory.mktemp("toy") / "clips", share=((8, 8, 8), (3, 3, 3), (4, 4, 4)))


def call(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def assert_refused(result, message: str) -> None:
    """Exit code 2, nothing on stdout, the message in one line on stderr."""
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stdout == "" and message in result.stderr and "Traceback" not in result.stderr
    assert result.stderr.startswith("migstudy: ") and result.stderr.count("\n") == 1


def test_every_command_explains_itself():
    commands = {("run",), ("study",), ("figures",), ("simulate",), ("data", "check"), ("data", "read"), ("data", "export")}
    for command in ((), ("data",), *commands):
        result = call(*command, "--help")
        assert result.exit_code == 0 and len(result.stdout) > 200
    assert {name for (name,) in (c for c in commands if len(c) == 1)} <= set(call("--help").stdout.split())


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "migstudy", "run", "99"], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 2 and done.stdout == "" and done.stderr == "migstudy: no single notebook '99'; there are: none\n"


# -- run -------------------------------------------------------------------------------------------------------------


def test_run_lists_the_parameters_of_a_notebook(project):
    (project / "notebooks" / TRAINING.name).write_bytes(TRAINING.read_bytes())
    lines = call("run", "03", "--parameters").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(GestureConfig().to_dict())
    assert next(line for line in lines if line.startswith("stream")).split(maxsplit=2)[1:] == ["None", "one of joint, limb, bone, joint_motion, bone_motion, rgb, rgb_motion or None"]
    assert not (project / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["99"], "no single notebook '99'; there are: 03_train_gesture"),
        (["03", "-p", "epochs"], "-p epochs: write -p name=value"),
        (["03", "-p", "epoch=3"], "there is no parameter 'epoch'; did you mean 'epochs'?"),
        (["03", "-p", "stream=bone"], "stream='bone': posec3d takes joint, limb"),
        (["03", "--profile", "fast"], "profile='fast': it takes one of smoke, quick, paper"),
        (["03", "-p", "data=nowhere"], "does not exist"),
    ],
)
def test_run_refuses_mistakes_in_one_line(project, arguments, message):
    (project / "notebooks" / TRAINING.name).write_bytes(TRAINING.read_bytes())
    assert_refused(call("run", *arguments), message)
    assert [p.name for p in project.iterdir()] == ["notebooks"]


def test_the_traceback_is_there_on_request(monkeypatch):
    monkeypatch.setenv("MIGSTUDY_DEBUG", "1")
    result = call("run", "99")
    assert isinstance(result.exception, ValueError) and result.exit_code == 1


def test_run_hands_everything_over_and_prints_the_folder(monkeypatch, project):
    seen = []
    monkeypatch.setattr(execute, "run_notebook", lambda *a: seen.append(a) or Run(project / "runs" / "x"))
    result = call("run", "03", "-p", "data=a=b", "-p", "seed=1", "--profile", "smoke", "--quiet")
    assert result.exit_code == 0 and result.stdout == f"{project / 'runs' / 'x'}\n"
    assert seen == [("03", {"data": "a=b", "seed": "1", "profile": "smoke"}, True)]


def test_a_failing_notebook_is_a_failing_command(project):
    write_notebook(project, "90_fails", "raise KeyError('who')")
    result = call("run", "90", "--quiet")
    assert result.exit_code == 2 and result.stdout == "" and "90_fails.ipynb failed in cell 3: KeyError: 'who'" in result.stderr
    assert "Traceback" not in result.stderr and len(result.stderr.strip().splitlines()) == 2


# -- study -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("failures", "code"), [(0, 0), (1, 1), (7, 1)])
def test_the_study_says_by_its_exit_code_whether_all_went_well(monkeypatch, failures, code):
    seen = []
    monkeypatch.setattr(study, "run_study", lambda *a: seen.append(a) or failures)
    result = call("study", "--profile", "smoke", "--workers", 1, "--seeds", 2)
    assert result.exit_code == code and result.stderr == "" and seen == [("smoke", 1, (0, 1), study.PARTS)]


@pytest.mark.parametrize("option", [("--profile", "fast"), ("--seeds", "0"), ("--workers", "-1")])
def test_the_study_refuses_nonsense_before_it_starts(monkeypatch, option, project):
    monkeypatch.setattr(study, "run_study", lambda *a: pytest.fail("it started"))
    result = call("study", *option)
    assert result.exit_code == 2 and option[0].strip("-") in result.stderr and result.stdout == ""
    assert [p.name for p in project.iterdir()] == ["notebooks"]


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, KeyError, FileNotFoundError])
def test_a_study_goes_on_when_a_step_fails(monkeypatch, capsys, kind):
    done = []

    def notebook(name, options, quiet):
        done.append(name)
        if name == "02_representation":
            raise kind("no heatmaps today")

    monkeypatch.setattr(execute, "run_notebook", notebook)
    monkeypatch.setattr("migstudy.data.data_path", lambda *a: done.append("simulate"))
    monkeypatch.setattr(study, "run_cells", lambda name, cells, workers: done.append(name) or [(cells[3], "no loss today")])
    assert study.run_study("smoke", 1, (0,), ("gesture",)) == 2
    assert done == ["simulate", "01_dataset", "02_representation", "03_train_gesture", "06_ablations", "07_paper_tables", "08_robustness"]
    said = capsys.readouterr()
    assert "no heatmaps today" in said.err and "no loss today" in said.err and "2 failures" in said.out


def test_a_study_has_known_parts(capsys):
    assert call("study", "--parts", "gesture,voice").exit_code == 2
    with pytest.raises(ValueError, match="no part 'voice' of the study; choose among gesture, fusion, emotion"):
        study.run_study("smoke", 1, (0,), ("voice",))


FINISHED = {"a": ["run"], "b": [], "c": []}, {"a": ["run"], "b": ["run"], "c": []}  # too few to compare, and enough


def with_grids(project: Path) -> None:
    for name in ("grids", "notebooks"):
        shutil.copytree(ROOT / name, project / name, dirs_exist_ok=True)


def test_figures_draws_every_notebook_again(project, monkeypatch):
    done = []
    with_grids(project)
    monkeypatch.setattr(execute, "run_notebook", lambda name, options, quiet: done.append((name, options["profile"], options.get("grid"))))
    monkeypatch.setattr(results, "grid_runs", lambda name, profile: ("", FINISHED[name == "sampling"]))
    result = call("figures", "--profile", "smoke")
    assert result.exit_code == 0 and "08_robustness: nothing to draw; measured by: migstudy run 08 --profile smoke" in result.stdout
    names = ("01_dataset", "02_representation", "06_ablations", "07_paper_tables")
    assert done == [(name, "smoke", None) for name in names] + [("06_ablations", "smoke", "sampling")]


def test_what_cannot_be_drawn_is_a_line_each_and_stops_nothing(project, monkeypatch):
    with_grids(project)
    (project / "grids" / "mine.yaml").write_text("notebook: 03_train_gesture\naxes: {topologie: [imigue22]}\n")
    runs = {name: folder.open_run("03_train_gesture", {"profile": "smoke", "seed": seed}, "f") for seed, name in enumerate("abcd")}
    for run in runs.values():
        run.finish()
    runs["a"].path("metrics.json").write_text('{"test_top1": 0.')
    runs["b"].path("scores.parquet").write_bytes(b"PAR1 but cut off")
    runs["c"].path("params.json").unlink()
    done = []

    def draw(name, options, quiet):
        if name == "07_paper_tables":
            raise RuntimeError("07_paper_tables.ipynb failed in cell 3: ValueError: no\nmore about it")
        assert os.environ[folder.DRAWING]
        done.append((name, options.get("grid")))

    monkeypatch.setattr(execute, "run_notebook", draw)
    result = call("figures", "--profile", "smoke")
    assert result.exit_code == 1 and done == [("01_dataset", None), ("02_representation", None), ("06_ablations", None)]
    said = result.stderr.splitlines()
    assert len(said) == 5 and all(line.startswith("migstudy: ") for line in said)
    for run, words in (("a", "metrics.json cannot be read"), ("b", "scores.parquet is cut off"), ("c", "params.json cannot be read")):
        [line] = [line for line in said if runs[run].id in line]
        assert words in line and f"delete {runs[run].folder} and run again" in line
    assert said[3] == "migstudy: 07_paper_tables.ipynb failed in cell 3: ValueError: no"
    assert "mine.yaml, axis topologie: 03_train_gesture has no parameter 'topologie'; did you mean 'topology'?" in said[4]
    with pytest.warns(UserWarning, match="left out: .* cannot be read|left out: .* cut off") as warned:
        assert [run.id for run in folder.finished_runs(task="03_train_gesture")] == [runs["d"].id]
    assert len(warned) == 3


def test_nothing_is_trained_or_measured_while_drawing(project, monkeypatch):
    from migstudy.config.robustness import RobustnessConfig
    from migstudy.robustness import measure
    from migstudy.robustness.cells import Cells
    from migstudy.sweep.cells import run_cells

    write_notebook(project, "90_none")
    assert folder.DRAWING not in os.environ
    monkeypatch.setenv(folder.DRAWING, "1")
    with pytest.raises(ValueError, match="drawing trains nothing.*made by: migstudy run 90_none -p n=1"):
        run_cells("90_none", [{"n": "1"}])
    with pytest.raises(ValueError, match=r"1 of 1 conditions \(tests\) are not measured.*migstudy run 08 --profile smoke"):
        wanted = {0: {"a": {"name": "x"}}}
        measure._measure(wanted, pytest.fail, RobustnessConfig(profile="smoke").resolved(), Cells(project / "cells"), "tests")
    assert not (project / "runs").exists()


# -- data ------------------------------------------------------------------------------------------------------------


def test_data_check_reports_and_draws(toy, project):
    result = call("data", "check", toy, "--figure", project / "drawn")
    assert result.exit_code == 0, result.output
    assert "a toy made for a test" in result.stdout and "45" in result.stdout
    assert sorted(p.name for p in (project / "drawn").iterdir()) == [f"data_check_{toy.stem}.{e}" for e in ("json", "pdf", "png")]
    told = json.loads((project / "drawn" / f"data_check_{toy.stem}.json").read_text())
    assert told["data_fingerprint"] == ClipSet.load(toy).fingerprint and told["command"] == f"migstudy data check {toy}"


def test_data_read_packs_any_dataset(project):
    clips = toy_set(((2, 2, 2), (1, 1, 1), (1, 1, 1)))
    np.savez(project / "mine.npz", frames=np.concatenate([clips.keypoints, clips.scores[..., None]], -1), scores_last=True,
             offsets=np.r_[clips.index["offset"], len(clips.keypoints)], label=clips.labels, split=clips.index["split"].to_numpy(str),
             joint_names=np.array(clips.topology.joints), image_size=np.array([720, 720]))  # fmt: skip
    result = call("data", "read", "mine.npz", project / "packed")
    assert result.exit_code == 0 and str(project / "packed") in result.stdout, result.output
    packed = ClipSet.load(project / "packed")
    assert len(packed) == 12 and packed.labels.tolist() == clips.labels.tolist()
    np.testing.assert_allclose(packed.keypoints, clips.keypoints, atol=1e-3)


def test_data_export_writes_what_pyskl_reads(toy, project):
    result = call("data", "export", toy, project / "out.pkl")
    assert result.exit_code == 0, result.output
    back, clips = read_pickle(project / "out.pkl"), ClipSet.load(toy)
    assert sorted(back.labels) == sorted(clips.labels) and back.keypoints.shape == clips.keypoints.shape
    assert back.index["split"].value_counts().to_dict() == clips.index["split"].value_counts().to_dict()


@pytest.mark.parametrize("command", [("check",), ("read",), ("export",)])
def test_data_commands_refuse_what_they_cannot_read(project, command):
    target = [] if command == ("check",) else [project / "out"]
    assert_refused(call("data", *command, "nowhere", *target), "does not exist")
    Path("odd.txt").write_text("no skeletons")
    assert_refused(call("data", *command, "odd.txt", *target), "cannot tell what")
    assert sorted(p.name for p in project.iterdir()) == ["notebooks", "odd.txt"]


def test_data_export_names_missing_joints(toy, project):
    assert_refused(call("data", "export", toy, project / "out.pkl", "--topology", "imigue41"), "lacks 19 joints of 'imigue41'")


def test_simulate_hands_its_settings_over(monkeypatch, project):
    import migstudy.simulate

    seen = []
    given = ("there", "--profile", "smoke", "--seed", 3, "--workers", 2, "--shape", "light_hand")
    with monkeypatch.context() as patch:
        patch.setattr(migstudy.simulate, "simulate", lambda *given, **knobs: seen.append((given, knobs)) or given[0])
        assert call("simulate", *given, "-p", "amplitude=1.5", "-p", "subjects=3,1,1", "--rgb").stdout == "there\n"
    settings = (Path("there"), "smoke", 3, 2, "light_hand", ["truth", "rgb"])
    assert seen == [(settings, {"amplitude": 1.5, "subjects": (3, 1, 1)})]
    assert "share     people who are left-handed" in call("simulate", "--knobs", "--profile", "smoke").stdout
    assert_refused(call("simulate", project / "x", "-p", "amplitud=1"), "did you mean 'amplitude'?")
    assert_refused(call("simulate", project / "x", "--profile", "fast"), "unknown profile 'fast'")
    assert_refused(call("simulate", project / "x", "--shape", "coco"), "unknown shape 'coco'")
    assert_refused(call("simulate", "--profile", "smoke"), "name the folder to write")
    (project / "file").touch()
    assert_refused(call("simulate", project / "file", "--profile", "smoke"), "neither empty nor a simulated release")
    assert_refused(call("simulate", project / "file" / "inside", "--profile", "smoke"), "inside")
    for wrong in ("--seed", "--workers"):
        assert call("simulate", project / "x", wrong, "-1").exit_code == 2 and not (project / "x").exists()


def test_gallery_writes_sheet_and_films(monkeypatch, project):
    from migstudy.simulate import gallery

    whole = gallery.exhibits
    monkeypatch.setattr(gallery, "exhibits", lambda seed=0, *_, **__: whole(seed, csv_classes=(28, 31)))
    written = call("gallery", project / "films", "--figure", project / "figures").stdout.split()
    assert [Path(p).name for p in written] == ["gallery.png", "gallery.pdf", "gallery.json"]
    assert sorted(p.name for p in (project / "films").iterdir()) == ["28_head_up.mp4", "31_shaking_shoulders.mp4"]


def test_calibrate_needs_recordings(project):
    assert_refused(call("calibrate", project), "holds no recordings")
