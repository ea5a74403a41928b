"""Commands: thin wrappers over the package."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Optional

import typer

from migstudy.runs.claims import BUSY, CHANGED, Claimed, PlanChanged

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="Micro-gesture recognition on iMiGUE: a reproducible study.")  # fmt: skip
data_app = typer.Typer(no_args_is_help=True, help="Read, check and export datasets.")
app.add_typer(data_app, name="data")
runs_app = typer.Typer(no_args_is_help=True, help="List, compare and clear away runs.")
app.add_typer(runs_app, name="runs")

Parameters = Annotated[Optional[list[str]], typer.Option("-p", metavar="NAME=VALUE", help="A parameter; may be repeated.")]
Profile = Annotated[str, typer.Option(help="smoke (seconds), quick (minutes, two cores) or paper (published sizes).")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")]


@app.command()
def run(
    notebook: Annotated[str, typer.Argument(help="A notebook's path, its name, or the start of it: 03.")],
    p: Parameters = None,
    profile: Annotated[Optional[str], typer.Option(help="The same as -p profile=...")] = None,
    list_parameters: Annotated[bool, typer.Option("--parameters", help="List the parameters and stop.")] = False,
    quiet: bool = False,
    cell: Annotated[str, typer.Option(hidden=True, help="As a cell of a grid: the id of the run that this must be.")] = "",
) -> None:
    """Run a notebook with checked parameters; leaves runs/<id>/ with the executed notebook and its results."""
    from migstudy.runs import execute

    with _one_message():
        if list_parameters:
            print(execute.show_parameters(execute.find_notebook(notebook)))
            return
        options = _options(p or [])
        if profile:
            options["profile"] = profile
        print(execute.run_notebook(notebook, options, quiet, *([cell] if cell else [])).folder)


@app.command()
def sweep(
    grid: Annotated[str, typer.Argument(help="A grid's file, or its name in grids/: paper_a.")],
    p: Parameters = None,
    profile: Annotated[Optional[str], typer.Option(help="The same as -p profile=...")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check it, show its cells and how long they take.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Runs at a time on this machine; 0 = one a core.")] = 0,
    backend: Annotated[str, typer.Option(help="local (also: joblib) or dask.")] = "local",
    scheduler: Annotated[str, typer.Option(metavar="ADDRESS", help="Of the Dask scheduler, as tcp://host:8786.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="What it always does: finished cells are skipped.")] = True,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Cells that failed before are tried again.")] = False,
    older: Annotated[str, typer.Option(help="Cells finished by another version of the code: refuse, again or use.")] = "refuse",
) -> None:
    """Run every cell of a grid. Started again, or on several machines that share this folder, it shares what is left.

    A cluster: `dask scheduler`, on each machine `dask worker tcp://host:8786 --nthreads 2` (two cells at a time; started in the
    project's folder, which all see at the same place), then `migstudy sweep GRID --backend dask --scheduler tcp://host:8786`.
    """
    from migstudy.sweep.command import sweep_grid

    with _one_message():
        if backend not in ("local", "joblib", "dask"):
            raise ValueError(f"--backend {backend}: it takes local, joblib, dask")
        if older not in ("refuse", "again", "use"):
            raise ValueError(f"--older {older}: it takes refuse, again, use")
        if (backend == "dask") != bool(scheduler):
            raise ValueError("--backend dask and --scheduler ADDRESS go together")
        overrides = {**_options(p or []), **({"profile": profile} if profile else {})}
        raise typer.Exit(code=sweep_grid(grid, overrides, workers, scheduler, dry_run, retry_failed, older))


@app.command()
def study(
    profile: Profile = "quick",
    workers: Annotated[int, typer.Option(min=0, help="Runs at a time; 0 = one a core.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds a variant.")] = 3,
    parts: Annotated[str, typer.Option(help="Of gesture (paper A), fusion and emotion (paper B).")] = "gesture,fusion,emotion",
) -> None:
    """The whole study: simulate, train, ablate, draw. Started again, it goes on where it stopped."""
    from migstudy.config.gesture import GestureConfig
    from migstudy.study import run_study

    with _one_message():
        GestureConfig(profile=profile)  # refused now and once, not by every step
        raise typer.Exit(code=min(run_study(profile, workers, tuple(range(seeds)), tuple(parts.split(","))), 1))


@app.command()
def figures(
    profile: Profile = "quick",
    readme: Annotated[bool, typer.Option("--readme", help="Copy the tables into README.md too.")] = False,
) -> None:
    """Draw every figure and table again from the stored runs; what cannot be drawn is said, and the exit code is 1."""
    from migstudy import paths
    from migstudy.report.readme import fill_readme
    from migstudy.study import redraw

    with _one_message():
        wrong = redraw(profile)
        if readme:
            changed = fill_readme(paths.resolve("README.md"), paths.resolve("figures"))
            print(f"README.md: {', '.join(changed) or 'no table'} changed")
        raise typer.Exit(code=min(wrong, 1))


@app.command()
def report(
    out: Annotated[Path, typer.Argument(help="The page to write.")] = Path("report.html"),
    figures: Annotated[Path, typer.Option(help="Folder of figures and tables.")] = Path("figures"),
    runs: Annotated[Path, typer.Option(help="Folder of runs.")] = Path("runs"),
) -> None:
    """The whole study as one HTML page: tables, figures, executed notebooks, provenance."""
    from migstudy import paths
    from migstudy.report.page import write_report

    with _one_message():
        print(write_report(paths.resolve(out), paths.resolve(figures), paths.resolve(runs)))


@app.command()
def simulate(
    out: Annotated[Optional[Path], typer.Argument(help="Folder of the release; an unfinished one is completed.")] = None,
    profile: Profile = "quick",
    p: Annotated[Optional[list[str]], typer.Option("-p", metavar="KNOB=VALUE", help="A knob; may be repeated.")] = None,
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 = one a core.")] = 0,
    shape: Annotated[str, typer.Option(help="openpose (xlsx, 137 points) or light_hand (csv, 35 points).")] = "openpose",
    rgb: Annotated[bool, typer.Option("--rgb", help="Draw the videos too (mp4).")] = False,
    faces: Annotated[bool, typer.Option("--faces", help="Draw aligned face crops too (mp4, 112 x 112).")] = False,
    truth: Annotated[bool, typer.Option(help="Write the ground truth (npz).")] = True,
    knobs: Annotated[bool, typer.Option("--knobs", help="List the knobs with their units and stop.")] = False,
) -> None:
    """Write simulated recordings in the official release layout. They are not iMiGUE."""
    from migstudy.simulate import config
    from migstudy.simulate import simulate as write

    with _one_message():
        if knobs:
            print(config.describe_knobs(profile))
            return
        if out is None:
            raise ValueError("name the folder to write, as in `migstudy simulate data/sim`; --knobs lists what can be set")
        wanted = [name for name, on in (("truth", truth), ("rgb", rgb), ("faces", faces)) if on]
        values = config.parse_knobs(_options(p or []))
        print(write(out, profile, seed, workers or os.cpu_count() or 1, shape, wanted, **values))


@app.command()
def gallery(
    out: Annotated[Path, typer.Argument(help="Folder for the films.")],
    seed: Seed = 0,
    films: Annotated[bool, typer.Option(help="Write a short film of every class as well as the sheet of key frames.")] = True,
    figure: Annotated[Path, typer.Option(help="Folder for the sheet.")] = Path("figures"),
) -> None:
    """Draw one simulated take of each of the 32 classes: a sheet of key frames, and films."""
    from migstudy.figures.gallery import draw_gallery
    from migstudy.figures.style import save_figure
    from migstudy.simulate.gallery import exhibits, write_gallery
    from migstudy.simulate.video import STATEMENT

    with _one_message():
        if films:
            write_gallery(out, seed)
        source = STATEMENT.split(". ")[0]
        sources = {"source": source, "command": f"migstudy gallery {out} --seed {seed}"}
        print(*save_figure(draw_gallery(list(exhibits(seed)), source), "gallery", figure, sources), sep="\n")


@app.command()
def calibrate(
    recordings: Annotated[Path, typer.Argument(help="Folder of recordings of real people; see migstudy/calibration/recordings.py.")],
    videos: Annotated[int, typer.Option(min=1, help="Simulated videos to compare with.")] = 12,
    seed: Seed = 0,
    figure: Annotated[Path, typer.Option(help="Folder for figure and table.")] = Path("figures"),
) -> None:
    """Draw the simulator beside recordings of real people: jitter, speeds, limb lengths, losses, with the largest mismatches."""
    from migstudy.figures.calibration import calibrate as draw

    with _one_message():
        command = f"migstudy calibrate {recordings} --videos {videos} --seed {seed}"
        print(*draw(recordings, figure, videos=videos, seed=seed, command=command), sep="\n")


@data_app.command()
def check(
    path: Annotated[Path, typer.Argument(help="Release folder, ClipSet folder, .npz or .pkl.")],
    figure: Annotated[Path, typer.Option(help="Folder for the figure.")] = Path("figures"),
) -> None:
    """The data doctor: counts, overlaps, frozen, missing, swapped and jumping joints; text and one figure."""
    from migstudy.datasets import open_with_report
    from migstudy.doctor.examine import examine
    from migstudy.figures import draw_doctor, save_figure

    with _one_message():
        clips, account = open_with_report(path)
        report = examine(clips, account)
        print(report.text())
        sources = {"source": clips.source, "data_fingerprint": clips.fingerprint, "command": f"migstudy data check {path}"}
        print(*save_figure(draw_doctor(report), f"data_check_{path.resolve().stem}", figure, sources), sep="\n")


@data_app.command()
def read(path: Path, out: Annotated[Path, typer.Argument(help="Folder of the packed ClipSet.")]) -> None:
    """Read any dataset once and keep it packed, to be memory-mapped."""
    from migstudy.datasets import open_dataset

    with _one_message():
        clips = open_dataset(path)
        print(clips.summary())
        print(clips.save(out))


@data_app.command()
def export(path: Path, out: Path, topology: Annotated[str, typer.Option(help="Joints to export.")] = "imigue22") -> None:
    """Write a PYSKL / mmaction2 pickle."""
    from migstudy.datasets import open_dataset
    from migstudy.datasets.mmaction_pickle import save_pickle

    with _one_message():
        clips = open_dataset(path)
        print(save_pickle(clips if topology == "native" else clips.to_topology(topology), out))


@runs_app.command("list")
def list_(
    task: Annotated[str, typer.Option(help="The start of a notebook's name: 03.")] = "",
    state: Annotated[str, typer.Option(help="done, running, failed, broken or missing.")] = "",
    p: Annotated[Optional[list[str]], typer.Option("-p", metavar="NAME=VALUE", help="Runs with this parameter.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV.")] = False,
) -> None:
    """Runs with state, parameters that are not the defaults, metrics (percent), minutes and commit."""
    from migstudy.runs import listing as run_listing

    with _one_message():
        runs = run_listing.list_runs(task, state, _options(p or []))
        table = run_listing.as_table(runs)
        print(table.to_csv(index=False) if csv else run_listing.as_text(table) if runs else "no runs")
        for one in runs:
            if one.trouble:
                print(f"! {one.trouble}", file=sys.stderr)


@runs_app.command("show")
def show_(run: Annotated[str, typer.Argument(help="A run's id, or the start of its hash.")]) -> None:
    """Everything about one run: who holds it, how it went, parameters, metrics, files."""
    from migstudy.runs import listing as run_listing

    with _one_message():
        print(run_listing.describe(run_listing.listed(run_listing.find_run(run))))


@runs_app.command("compare")
def compare_(runs: Annotated[list[str], typer.Argument(help="Two or more runs.")]) -> None:
    """The parameters in which runs differ, and their metrics."""
    from migstudy.runs import listing as run_listing

    with _one_message():
        found = [run_listing.listed(run_listing.find_run(run)) for run in runs]
        if len(found) < 2:
            raise ValueError("name two runs or more")
        print(run_listing.compare(found).to_string(float_format="{:.4g}".format))


@runs_app.command("gc")
def gc_(
    older: Annotated[bool, typer.Option("--older", help="Runs of other versions of notebook or code too.")] = False,
    delete: Annotated[bool, typer.Option("--delete/--dry-run", help="Without --delete it only says what would go.")] = False,
) -> None:
    """Clear away what nobody needs: drawings drawn again since, half-written files. Never what is being worked on."""
    from migstudy.runs import listing as run_listing

    with _one_message():
        found = run_listing.rubbish(older)
        for one in found:
            print(f"{one.size / 1e6:9.1f} MB  {one.path.name if one.path.is_dir() else one.path}  ({one.why})")
        if not delete:
            print(f"{len(found)} would go, {sum(one.size for one in found) / 1e6:.1f} MB; --delete does it")
            return
        freed, kept = run_listing.clear(found)
        print(f"{freed / 1e6:.1f} MB freed")
        for said in kept:
            print(f"kept: {said}", file=sys.stderr)


def _options(pairs: list[str]) -> dict[str, str]:
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise ValueError(f"-p {wrong[0]}: write -p name=value")
    return dict(pair.split("=", 1) for pair in pairs)


class _one_message:
    """A user's mistake is one line on stderr and exit code 2; MIGSTUDY_DEBUG=1 shows the traceback behind it. A warning is a line."""

    def __enter__(self) -> None:
        self.usual, warnings.formatwarning = warnings.formatwarning, lambda message, *_: f"migstudy: {message}\n"

    def __exit__(self, kind, error, traceback) -> None:
        warnings.formatwarning = self.usual
        if isinstance(error, KeyboardInterrupt):
            print(f"\nmigstudy: {error or 'stopped'}", file=sys.stderr)
            raise typer.Exit(code=130) from None
        if isinstance(error, typer.Exit) or os.environ.get("MIGSTUDY_DEBUG"):
            return
        if isinstance(error, (ValueError, KeyError, OSError, RuntimeError)):
            print(f"migstudy: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
            code = BUSY if isinstance(error, Claimed) else CHANGED if isinstance(error, PlanChanged) else 2
            raise typer.Exit(code=code) from None
