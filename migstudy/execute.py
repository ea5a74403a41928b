"""Run a notebook through papermill: parameters checked before anything starts, the result kept in a run folder.

papermill only warns at an unknown parameter, checks no types, and calls a killed notebook completed; so names and types are
checked here against the notebook's own parameters cell, and DONE alone says that a run is finished.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import logging
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from migstudy import paths
from migstudy.config.gesture import GestureConfig
from migstudy.config.parameters import Parameters, describe, parsed
from migstudy.config.robustness import RobustnessConfig
from migstudy.runs import RUNNER, Run, finished_runs, open_run, run_of

# glibc gives freed memory back and faults it in again at every step, which takes 3D convolutions up to half their time on a
# CPU; told to keep it before the kernel starts, it does not. Others ignore these names.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 34), "MALLOC_TOP_PAD_": str(1 << 28)}

# notebooks that train: what finds the run of a configuration, writing nothing in runs/ (config -> Run, as module:name). A
# finished one is not repeated; the other notebooks are drawn anew from what is there, however often they are asked.
TRAINED = {"03_train_gesture": "migstudy.execute:gesture_run"}
# notebooks whose parameters are the fields of a class
CONFIGS: dict[str, type[Parameters]] = {"03_train_gesture": GestureConfig, "08_robustness": RobustnessConfig}


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
    cells = json.loads(notebook.read_text())["cells"]
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{notebook.name} has {len(tagged)} cells tagged `parameters`; it needs one")
    kinds, defaults = {}, {}
    for line in ast.parse("".join(tagged[0]["source"])).body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            kinds[line.target.id] = eval(ast.unparse(line.annotation), {"Literal": Literal})
            defaults[line.target.id] = ast.literal_eval(line.value)
    return kinds, defaults


def check_parameters(notebook: Path, options: Mapping[str, str]) -> dict[str, Any]:
    """All parameters of a run, typed; raises ValueError naming the parameter, what it takes and the nearest name."""
    kinds, defaults = notebook_parameters(notebook)
    values = {**defaults, **{name: parsed(name, text, kinds) for name, text in options.items()}}
    config = CONFIGS.get(notebook.stem)
    return config(**values).resolved().to_dict() if config else values


def show_parameters(notebook: Path) -> str:
    """The parameters as text: name, default, what it takes."""
    kinds, defaults = notebook_parameters(notebook)
    width = max(map(len, kinds), default=0)
    return "\n".join(f"{name:{width}}  {defaults[name]!r:20}  {describe(kind)}" for name, kind in kinds.items())


def run_notebook(name: str, options: Mapping[str, str], quiet: bool = False) -> Run:
    """Execute a notebook with parameters into its run folder and mark it DONE; a finished training run is not repeated.

    Raises ValueError for bad parameters before anything is written, RuntimeError naming the failing cell's error.
    """
    notebook = find_notebook(name)
    values = check_parameters(notebook, options)
    with _environment(MIGSTUDY_COMMAND=command_line(notebook, options)):
        return _run(notebook, values, quiet)


def _run(notebook: Path, values: dict[str, Any], quiet: bool) -> Run:
    if notebook.stem in TRAINED:
        run = trained_run(notebook.stem, values)
        if run.done:
            return run
        values["run_dir"] = str(run.folder)
    else:
        if notebook.stem == "08_robustness":
            from migstudy.robustness import open_robustness_run, open_trained_data

            config = RobustnessConfig(**values)
            run = open_robustness_run(config, open_trained_data(config, prove=False))
            values["run_dir"] = str(run.folder)
        else:
            run = open_run(notebook.stem, values, _trained_so_far())
        run.path("DONE").unlink(missing_ok=True)

    _execute(notebook, run, values, quiet)
    run.path("failed.ipynb").unlink(missing_ok=True)
    run.finish()
    return run


def trained_run(task: str, values: Mapping[str, Any]) -> Run:
    """The run that a training notebook with these parameters has or would have; raises ValueError for bad parameters or data."""
    module, name = TRAINED[task].split(":")
    return getattr(importlib.import_module(module), name)(CONFIGS[task](**values))


def gesture_run(config: GestureConfig) -> Run:
    """The run of 03_train_gesture with this configuration; raises ValueError when its data cannot be opened."""
    from migstudy.data import open_data

    return run_of("03_train_gesture", config.to_dict(), open_data(config).fingerprint, config.run_dir)


def _execute(notebook: Path, run: Run, values: Mapping[str, Any], quiet: bool) -> None:
    import papermill  # slow to import, and not needed to find a run finished
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    run.folder.mkdir(parents=True, exist_ok=True)
    aside = run.path(".run.partial.ipynb")
    logging.getLogger("papermill").setLevel(logging.ERROR)  # it cannot read Literal types; names were checked above
    try:
        with _environment(**{name: os.environ.get(name, value) for name, value in ALLOCATOR.items()}, **{RUNNER: "1"}):
            papermill.execute_notebook(
                notebook, aside, parameters=dict(values), kernel_name="python3", progress_bar=not quiet,
                cwd=paths.project_root(), log_output=False, extra_arguments=["--IPKernelApp.log_level=50"],
            )  # fmt: skip
    except (PapermillExecutionError, DeadKernelError) as error:
        os.replace(aside, run.path("failed.ipynb"))
        if isinstance(error, DeadKernelError):
            fault = "was ended from outside, most often for want of memory: its kernel died"
        else:
            fault = f"failed in cell {error.exec_count}: {error.ename}: {error.evalue}"
        raise RuntimeError(
            f"{notebook.name} {fault}\nthe executed part is in {run.path('failed.ipynb')}; what was trained is kept,"
            " the same command goes on"
        ) from None
    os.replace(aside, run.path("run.ipynb"))


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Environment variables for what is started meanwhile; afterwards as before."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def command_line(notebook: Path, options: Mapping[str, str]) -> str:
    """The command that does this run again, wherever it is kept."""
    words = [word for name, value in options.items() if name != "run_dir" for word in ("-p", f"{name}={value}")]
    return shlex.join(["migstudy", "run", notebook.stem, *words])


def _trained_so_far() -> str:
    ids = sorted(run.id for task in TRAINED for run in finished_runs(task=task))
    return hashlib.sha256(" ".join(ids).encode()).hexdigest()
