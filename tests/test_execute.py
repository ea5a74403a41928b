"""Running a notebook: bad parameters write nothing, a failure is no result, a finished run is not repeated."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from projects import (
    ROOT,
    TRAINING,
    is_running,
    start,
    wait_for,
    words,
    write_notebook,
    write_training_notebook,
)  # fmt: skip
from toy import TINY, save_toy, tiny

from migstudy.config.gesture import GestureConfig
from migstudy.runs import execute
from migstudy.runs import folder as runs
from migstudy.runs.execute import check_parameters, find_notebook, notebook_parameters, run_notebook, show_parameters
from migstudy.train import train

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    (folder / "notebooks").mkdir(parents=True)
    monkeypatch.setenv("MIGSTUDY_ROOT", str(folder))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # kernels run this checkout
    for name in (runs.RUNNER, "MIGSTUDY_COMMAND"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return str(save_toy(tmp_path_factory.mktemp("small") / "clips", share=((8, 8, 8), (3, 3, 3), (4, 4, 4))))


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def printed(notebook: Path) -> str:
    cells = json.loads(notebook.read_text())["cells"]
    return "".join("".join(o.get("text", "")) for c in cells for o in c.get("outputs", []))


# -- parameters ------------------------------------------------------------------------------------------------------


def test_the_training_notebook_takes_exactly_the_fields_of_the_configuration():
    kinds, defaults = notebook_parameters(TRAINING)
    assert list(kinds) == list(GestureConfig.types()) and kinds == GestureConfig.types()
    assert defaults == GestureConfig().to_dict()
    assert GestureConfig.from_namespace(defaults) == GestureConfig()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_name_means_the_same_in_every_notebook(notebook):
    kinds, defaults = notebook_parameters(notebook)
    shared = kinds.keys() & GestureConfig.types().keys()
    assert {"profile", "data"} <= shared
    for name in shared - {"model", "select_on"}:  # what is trained and how it is judged is each task's own
        known = execute.describe(GestureConfig.types()[name]).split(" or ")
        assert set(execute.describe(kinds[name]).split(" or ")) <= set(known), f"{name} is {kinds[name]} here"
        if name not in ("clip_len",):  # 02 shows the published length, 03 leaves it to the profile
            assert defaults[name] == GestureConfig().to_dict()[name]


def test_notebooks_are_found_by_name_start_or_path(project, monkeypatch):
    one, two = write_notebook(project, "01_dataset"), write_notebook(project, "011_other")
    assert find_notebook("01_dataset") == find_notebook("01_d") == find_notebook("01_dataset.ipynb") == one
    assert find_notebook("011") == two and find_notebook(str(one)) == one
    monkeypatch.chdir(project / "notebooks")
    assert find_notebook("01_dataset.ipynb") == one
    for wrong in ("01", "99", "nothing.ipynb"):
        with pytest.raises(ValueError, match=f"no single notebook '{wrong}'; there are: 011_other, 01_dataset"):
            find_notebook(wrong)


@pytest.mark.parametrize("count", [0, 2])
def test_a_notebook_without_one_parameters_cell_is_refused(project, count):
    path = write_notebook(project, "90_odd", "1", parameters=None)
    content = json.loads(path.read_text())
    content["cells"] = [{**content["cells"][0], "metadata": {"tags": ["parameters"]}}] * count
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"90_odd.ipynb has {count} cells tagged `parameters`; it needs one"):
        run_notebook("90", {})
    assert not (project / "runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch": "3"}, "no parameter 'epoch'; did you mean 'epochs'"),
        ({"epochs": "three"}, "epochs='three': it takes int or None"),
        ({"epochs": "2.5"}, "epochs='2.5': it takes int or None"),
        ({"stream": "bone"}, "stream='bone': posec3d takes joint, limb"),
        ({"profile": "fast"}, "one of smoke, quick, paper"),
        ({"test_mirror": "perhaps"}, "bool"),
        ({"epochs": "0"}, "at least 1"),
        ({"topology": "imigue99"}, "imigue99"),
        ({"topology": "imigue41"}, "lacks|cannot be taken"),  # the toy has 22 joints
        ({"data": "no/such/folder"}, "does not exist"),
    ],
)
def test_bad_parameters_are_refused_before_anything_is_written(project, small, options, message):
    write_training_notebook(project)
    before = files(project)
    with pytest.raises((ValueError, KeyError, FileNotFoundError), match=message):
        run_notebook("03", {"data": small, "topology": "native", **options}, quiet=True)
    assert files(project) == before and not (project / "runs").exists()


def test_other_notebooks_are_checked_against_their_own_cell(project):
    write_notebook(project, "90_small", parameters="from typing import Literal\nn: int = 3\nkind: Literal['a', 'b'] = 'a'\nx = 1")
    assert check_parameters(find_notebook("90"), {"n": "5", "kind": "b"}) == {"n": 5, "kind": "b"}
    for options, message in [({"n": "five"}, "it takes int"), ({"kind": "c"}, "one of a, b"), ({"x": "2"}, "no parameter 'x'")]:
        with pytest.raises(ValueError, match=message):
            run_notebook("90", options)
    assert show_parameters(find_notebook("90")).splitlines()[1].split() == ["kind", "'a'", "one", "of", "a,", "b"]


# -- running ---------------------------------------------------------------------------------------------------------


def test_a_run_keeps_the_executed_notebook_and_its_command(project):
    write_notebook(project, "90_add", "import os\nprint(n + 1, os.getcwd(), os.environ['MIGSTUDY_COMMAND'])")
    run = run_notebook("90", {"n": "41"}, quiet=True)
    assert run.done and {p.name for p in run.folder.iterdir()} == {"params.json", "env.json", "run.ipynb", "attempts.json", "DONE"}
    assert printed(run.path("run.ipynb")).split() == ["42", str(project), "migstudy", "run", "90_add", "-p", "n=41"]
    assert run.read_json("params.json")["params"] == {"n": 41}
    assert run.read_json("env.json")["command"] == "migstudy run 90_add -p n=41"
    assert runs.RUNNER not in os.environ and "MIGSTUDY_COMMAND" not in os.environ
    other = run_notebook("90", {"n": "1"}, quiet=True)
    assert other.id != run.id and other.read_json("env.json")["command"] == "migstudy run 90_add -p n=1"


def test_a_failing_notebook_is_no_result(project):
    write_notebook(project, "90_fails", "import pathlib\nassert pathlib.Path('ready').exists(), 'it is not ready'", "print('after')")
    with pytest.raises(RuntimeError, match=r"90_fails.ipynb failed in cell 3: AssertionError: it is not ready\n.*failed.ipynb"):
        run_notebook("90", {}, quiet=True)
    [folder] = (project / "runs").iterdir()
    assert {p.name for p in folder.iterdir()} == {"params.json", "env.json", "failed.ipynb", "FAILED", "attempts.json"}
    assert "it is not ready" in folder.joinpath("failed.ipynb").read_text() and not runs.finished_runs()
    assert runs.RUNNER not in os.environ and "MIGSTUDY_COMMAND" not in os.environ
    (project / "ready").touch()
    run = run_notebook("90", {}, quiet=True)
    assert run.folder == folder and run.done and not run.path("failed.ipynb").exists()
    assert printed(run.path("run.ipynb")) == "after\n"
    (project / "ready").unlink()  # a notebook that only draws is drawn anew; its old DONE must not outlive a failure
    with pytest.raises(RuntimeError):
        run_notebook("90", {}, quiet=True)
    assert not run.done


def test_a_kernel_that_dies_is_no_result(project):
    write_notebook(project, "90_dies", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(RuntimeError, match=r"90_dies.ipynb was ended from outside.*kernel died\n.*failed.ipynb"):
        run_notebook("90", {}, quiet=True)
    [folder] = (project / "runs").iterdir()
    assert {p.name for p in folder.iterdir()} == {"params.json", "env.json", "failed.ipynb", "attempts.json"}, "a kill is no fault"


def test_a_finished_run_is_not_repeated(project, small):
    write_training_notebook(project)
    options = {"profile": "smoke", "data": small, "topology": "native"}
    run = run_notebook("03", options, quiet=True)
    assert run.done and run.path("times_run").read_text() == "x"
    before = files(run.folder)
    for again in (options, {**options, "threads": "2"}, {**options, "workers": "1"}, {**options, "epochs": "2"}):
        assert run_notebook("03", again, quiet=True) == run
    assert files(run.folder) == before
    assert run.read_json("env.json")["command"].startswith("migstudy run 03_train_gesture -p profile=smoke -p data=")
    run.path("DONE").unlink()
    assert run_notebook("03", options, quiet=True) == run and run.path("times_run").read_text() == "xx"


def test_a_chosen_folder_never_answers_for_other_parameters(project, small):
    write_training_notebook(project)
    options = {"profile": "smoke", "data": small, "topology": "native", "run_dir": "mine"}
    run = run_notebook("03", options, quiet=True)
    assert run.folder == project / "mine" and run.done
    before = files(project)
    with pytest.raises(ValueError, match="mine holds a run with other parameters or data"):
        run_notebook("03", {**options, "seed": "1"}, quiet=True)
    assert files(project) == before


def test_a_failed_training_goes_on_with_the_same_command(project, small):
    write_training_notebook(project, "import pathlib\nassert pathlib.Path('ready').exists()")
    options = {"profile": "smoke", "data": small, "topology": "native"}
    with pytest.raises(RuntimeError, match="failed in cell 3: AssertionError"):
        run_notebook("03", options, quiet=True)
    [folder] = (project / "runs").iterdir()
    assert (folder / "failed.ipynb").exists() and not (folder / "DONE").exists() and not (folder / "run.ipynb").exists()
    (project / "ready").touch()
    run = run_notebook("03", options, quiet=True)
    assert run.folder == folder and run.done and run.path("times_run").read_text() == "xx"
    assert not run.path("failed.ipynb").exists()


def test_a_killed_notebook_is_finished_by_the_same_command(project, small):
    """The real notebook, the real training, SIGKILL to the command in mid-training."""
    (project / "notebooks" / TRAINING.name).write_bytes(TRAINING.read_bytes())
    changes = {"epochs": 40, "dropout": 0.3, "data": small}
    options = {**TINY, **changes, "run_dir": "killed"}
    command = ("-m", "migstudy", "run", "03", "--quiet", *words(options))
    process = start(project, *command)
    wait_for((project / "killed" / "log.csv").exists, process)
    kernels = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert kernels and not (project / "killed" / "DONE").exists() and not (project / "killed" / "metrics.json").exists()
    wait_for(lambda: not any(map(is_running, kernels)), seconds=30)  # the kernel does not go on alone
    assert not (project / "killed" / "DONE").exists() and not (project / "killed" / "metrics.json").exists()
    again = start(project, *command)
    said, complained = again.communicate(timeout=240)
    assert again.returncode == 0, complained
    run = runs.Run(project / "killed")
    assert Path(said.strip()) == run.folder and run.done
    assert {"run.ipynb", "params.json", "env.json", "log.csv", "scores.parquet", "model.safetensors"} <= files(run.folder).keys()
    assert not [name for name in files(run.folder) if "partial" in name or "checkpoint" in name]
    whole = train(tiny(**changes))
    assert run.read_json("metrics.json") == whole.read_json("metrics.json")
    assert run.path("log.csv").read_bytes() == whole.path("log.csv").read_bytes()
    cells = json.loads(run.path("run.ipynb").read_text())["cells"]
    assert not [o for c in cells for o in c.get("outputs", []) if o["output_type"] == "error"]
    assert all(c["execution_count"] for c in cells if c["cell_type"] == "code")


# -- stopping, and what is in the way ---------------------------------------------------------------------------------


def test_a_run_in_other_hands_is_refused_and_a_finished_cell_left_alone(project):
    from migstudy.runs.claims import Claim, Claimed

    write_notebook(project, "90_add", "print(n)")
    run = execute.run_for(find_notebook("90"), {"n": 3})
    with Claim.take(run.folder), pytest.raises(Claimed, match=f"90_add-.* is being worked on by .*, process {os.getpid()}"):
        run_notebook("90", {}, quiet=True)
    assert not run.folder.exists()
    run.write_json("params.json", {"task": "90_add", "params": {"n": 3}, "data_fingerprint": execute.trained_so_far()})
    run.finish()
    before = files(run.folder)
    assert run_notebook("90", {}, quiet=True, cell=run.id) == run and files(run.folder) == before, "a cell is not drawn again"


def test_a_full_disk_is_no_failure_of_the_notebook_and_loses_nothing(project, monkeypatch):
    """papermill cannot write: one message that says what to do; the run is broken, not failed, and goes on afterwards."""
    import errno

    from migstudy.runs.state import state_of

    write_notebook(project, "90_add", "print(n)")

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = execute.run_for(find_notebook("90"), {"n": 3})
    with monkeypatch.context() as patch:
        patch.setattr("migstudy.runs.kernel._papermill", full)
        with pytest.raises(RuntimeError, match="90_add.ipynb could not be kept in .*: No space left on device\n.*make room"):
            run_notebook("90", {}, quiet=True)
    assert state_of(run) == "broken" and not [name for name in files(run.folder) if "claim" in name or "partial" in name]
    assert run_notebook("90", {}, quiet=True).done


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
@pytest.mark.parametrize(("write", "says"), [
    ("import pathlib; pathlib.Path('/dev/full').write_text('x')", "OSError: .*No space left"),
    ("import torch; torch.save({'a': torch.zeros(100_000)}, '/dev/full')", "RuntimeError: .*the disk is full, or was"),
    ("import numpy as np; np.zeros(100_000).tofile('/dev/full')", "OSError: .*the disk is full, or was"),
], ids=["python", "torch", "numpy"])  # fmt: skip
def test_a_notebook_that_fills_the_disk_is_tried_again(project, write, says):
    from migstudy.runs.state import state_of

    write_notebook(project, "90_full", write)
    with pytest.raises(RuntimeError, match=f"90_full.ipynb failed in cell 3: {says}"):
        run_notebook("90", {}, quiet=True)
    [folder] = (project / "runs").iterdir()
    assert state_of(runs.Run(folder)) == "broken"
