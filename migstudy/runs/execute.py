"""Run a notebook through papermill: parameters checked before anything starts, the result kept in a run folder.

papermill only warns at an unknown parameter, checks no types, and calls a killed notebook completed; so names and types are
checked here against the notebook's own parameters cell, and DONE alone says that a run is finished.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from migstudy import paths
from migstudy.config.emotion import EmotionConfig
from migstudy.config.fusion import FusionConfig
from migstudy.config.gesture import GestureConfig
from migstudy.config.parameters import Parameters, describe, parsed
from migstudy.config.robustness import RobustnessConfig
from migstudy.runs.claims import TOKEN, Claim, PlanChanged
from migstudy.runs.folder import RUNNER, Run, damage, finished_runs, open_run, run_of
from migstudy.runs.interrupts import interruptible
from migstudy.runs.kernel import NotebookFault, environment, in_kernel
from migstudy.runs.state import FAILED, mark_failed, note_attempt

# glibc gives freed memory back and faults it in again at every step, which takes 3D convolutions up to half their time on a
# CPU; told to keep it before the kernel starts, it does not. Others ignore these names.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 34), "MALLOC_TOP_PAD_": str(1 << 28)}

# notebooks that train: what finds the run of a configuration, writing nothing in runs/ (config -> Run, as module:name). A
# finished one is not repeated; the other notebooks are drawn anew from what is there, however often they are asked.
TRAINED = {"03_train_gesture": "migstudy.runs.execute:gesture_run", "04_fusion": "migstudy.fusion.train:fusion_run",
           "05_train_emotion": "migstudy.emotion.train:emotion_run"}  # fmt: skip
# the same of notebooks that keep what they measured in a folder of their own, and take it from there when they are drawn again
MEASURED = {"08_robustness": "migstudy.runs.execute:robustness_run"}
# notebooks whose parameters are the fields of a class
CONFIGS: dict[str, type[Parameters]] = {
    "03_train_gesture": GestureConfig, "04_fusion": FusionConfig, "05_train_emotion": EmotionConfig,
    "08_robustness": RobustnessConfig,
}  # fmt: skip


class NotebookFailed(RuntimeError):
    """The notebook itself raised an error; trying again would most likely end the same."""


def find_notebook(name: str) -> Path:
    """The notebook by path or by the start of its name (`03`); raises ValueError listing what there is."""
    if Path(name).suffix == ".ipynb" and Path(name).exists():
        return Path(name).resolve()
    known = sorted(paths.resolve("notebooks").glob("*.ipynb"))
    stem = Path(name).name.removesuffix(".ipynb")
    found = [n for n in known if n.stem == stem] or [n for n in known if n.stem.startswith(stem)]
    if len(found) != 1:
        raise ValueError(f"no single notebook {name!r}; there are: {', '.join(n.stem for n in known) or 'none'}")
    return found[0]


def notebook_parameters(notebook: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Types and defaults of the annotated names in the cell tagged `parameters`; raises ValueError without such a cell."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{notebook.name} has {len(tagged)} cells tagged `parameters`; it needs one")
    kinds, defaults = {}, {}
    for line in ast.parse("".join(tagged[0]["source"])).body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            kinds[line.target.id] = eval(ast.unparse(line.annotation), {"Literal": Literal})
            defaults[line.target.id] = ast.literal_eval(line.value)
    return kinds, defaults


def config_of(task: str) -> type[Parameters] | None:
    """The class whose fields are a notebook's parameters, where there is one."""
    return CONFIGS.get(task)


def completed(task: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """A stored run's parameters as they would be today: what has been added since has its default."""
    config = config_of(task)
    if config is None:
        return dict(params)
    try:
        return config(**{name: value for name, value in params.items() if name in config.types()}).resolved().to_dict()
    except (ValueError, KeyError):  # its values are no longer taken
        return dict(params)


def check_parameters(notebook: Path, options: Mapping[str, str]) -> dict[str, Any]:
    """All parameters of a run, typed; raises ValueError naming the parameter, what it takes and the nearest name."""
    kinds, defaults = notebook_parameters(notebook)
    values = {**defaults, **{name: parsed(name, text, kinds) for name, text in options.items()}}
    config = config_of(notebook.stem)
    return config(**values).resolved().to_dict() if config else values


def show_parameters(notebook: Path) -> str:
    """The parameters as text: name, default, what it takes."""
    kinds, defaults = notebook_parameters(notebook)
    width = max(map(len, kinds), default=0)
    return "\n".join(f"{name:{width}}  {defaults[name]!r:20}  {describe(kind)}" for name, kind in kinds.items())


def run_notebook(name: str, options: Mapping[str, str], quiet: bool = False, cell: str = "") -> Run:
    """Execute a notebook with parameters into its run folder and mark it DONE; a finished training run is not repeated.

    cell: as a cell of a grid, the id of the run that this must be; finished, it is left as it is, whatever the notebook.
    Raises ValueError for bad parameters before anything is written, Claimed while another process works on the run,
    RuntimeError naming the failing cell's error, KeyboardInterrupt (after its kernel ended) saying how to go on.
    """
    notebook = find_notebook(name)
    values = check_parameters(notebook, options)
    own = notebook.stem in TRAINED or notebook.stem in MEASURED
    so_far = "" if own else trained_so_far()
    with environment(MIGSTUDY_COMMAND=command_line(notebook, options)):  # what measures notes it as soon as its run is opened
        run = run_for(notebook, values, so_far)
    if cell and run.id != cell:
        raise PlanChanged(
            f"this run would be {run.id}, but the grid planned {cell}: code, notebook or data changed since the grid was"
            " started, or differ on this machine; start the grid again"
        )
    again = notebook.stem not in TRAINED and not cell
    if run.done and not again:
        return run
    with interruptible(), Claim.take(run.folder) as claim:
        if not run.done or again:  # somebody may have finished it just before the claim
            _attempt(notebook, run, values, so_far, claim, quiet, command_line(notebook, options))
    return run


def run_for(notebook: Path, values: Mapping[str, Any], so_far: str = "") -> Run:
    """The run that a notebook with these parameters has or would have.

    so_far: the training runs that a notebook without data of its own draws, `trained_so_far()`. Raises ValueError for data that
    cannot be opened, and for a finished training with a damaged file.
    """
    task = notebook.stem
    if place := TRAINED.get(task) or MEASURED.get(task):
        module, name = place.split(":")
        run = getattr(importlib.import_module(module), name)(CONFIGS[task](**values))
        if task in TRAINED and run.done and (wrong := damage(run)):
            raise ValueError(wrong)
        return run
    return run_of(task, values, so_far or trained_so_far())


def gesture_run(config: GestureConfig) -> Run:
    """The run of 03_train_gesture with this configuration; raises ValueError when its data cannot be opened."""
    from migstudy.data import open_data

    return run_of("03_train_gesture", config.to_dict(), open_data(config).fingerprint, config.run_dir)


def robustness_run(config: RobustnessConfig) -> Run:
    """The run of 08_robustness with this configuration; raises ValueError for data that no simulator wrote."""
    from migstudy.robustness.measure import open_robustness_run, open_trained_data

    return open_robustness_run(config, open_trained_data(config, prove=False))


def _attempt(
    notebook: Path, run: Run, values: dict[str, Any], so_far: str, claim: Claim, quiet: bool, command: str
) -> None:  # fmt: skip
    for name in ("DONE", FAILED):
        run.path(name).unlink(missing_ok=True)
    end = "interrupted"
    try:
        with environment(MIGSTUDY_COMMAND=command):
            if so_far:
                open_run(notebook.stem, values, so_far, str(run.folder))
            else:
                values = {**values, "run_dir": str(run.folder)}
            _execute(notebook, run, values, claim, quiet)
        end = "done"
    except NotebookFailed as error:
        end = "failed"
        mark_failed(run, str(error))
        raise
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{notebook.name} was stopped; what was done is kept. Go on with: {command}") from None
    finally:
        if not claim.lost.is_set():
            note_attempt(run, claim, end)
    run.finish()


def _execute(notebook: Path, run: Run, values: Mapping[str, Any], claim: Claim, quiet: bool) -> None:
    aside = run.path(".run.partial.ipynb")
    kept = {name: os.environ.get(name, value) for name, value in ALLOCATOR.items()}
    try:
        with environment(**kept, **{RUNNER: "1", TOKEN: claim.token}):
            in_kernel(notebook, aside, values, claim, quiet)
        claim.check()
        os.replace(aside, run.path("run.ipynb"))
        run.path("failed.ipynb").unlink(missing_ok=True)
    except NotebookFault as fault:
        with suppress(FileNotFoundError):  # its disk may be full
            os.replace(aside, run.path("failed.ipynb"))
        kind = RuntimeError if fault.from_outside else NotebookFailed
        raise kind(
            f"{notebook.name} {fault}\nthe executed part is in {run.path('failed.ipynb')}; what was trained is kept,"
            " the same command goes on"
        ) from None
    except OSError as error:
        raise RuntimeError(
            f"{notebook.name} could not be kept in {run.folder}: {error.strerror or error}\n"
            "what was finished is kept; make room, then the same command goes on"
        ) from error
    finally:
        if not claim.lost.is_set():
            with suppress(OSError):
                aside.unlink(missing_ok=True)


def command_line(notebook: Path, options: Mapping[str, str]) -> str:
    """The command that does this run again, wherever it is kept."""
    words = [word for name, value in options.items() if name != "run_dir" for word in ("-p", f"{name}={value}")]
    return shlex.join(["migstudy", "run", notebook.stem, *words])


def trained_so_far() -> str:
    """Hash of which training runs are finished: what notebooks that only draw depend on."""
    ids = sorted(run.id for task in TRAINED for run in finished_runs(task=task))
    return hashlib.sha256(" ".join(ids).encode()).hexdigest()
