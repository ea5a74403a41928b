"""What lies in the runs folder: listed, compared, cleared of what nobody needs."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from migstudy import paths
from migstudy.config.parameters import parsed
from migstudy.runs.claims import Claim, Claimed, holder_of
from migstudy.runs.execute import CONFIGS, TRAINED, config_of
from migstudy.runs.folder import RUNS, Run, code_of, damage, run_id, same_question
from migstudy.runs.state import STATES, attempts, fault_of, seconds_of, state_of

HEADLINE = ("test_top1", "test_macro_f1", "test_accuracy", "test_auc")  # metrics that a list shows, where a run has them
_LONG_AGO = 3600.0  # s without a write, after which nobody is thought to work on files without a claim


@dataclass(frozen=True)
class Listed:
    """A run as a list shows it. odd: its parameters that are not the defaults. trouble: what could not be read."""

    run: Run
    state: str
    task: str
    params: Mapping[str, Any]
    odd: Mapping[str, Any]
    metrics: Mapping[str, Any]
    seconds: float | None
    commit: str
    code: str
    data: str
    started: str
    trouble: str = ""


def all_runs() -> list[Run]:
    """Every folder of runs/, finished or not, sorted by name."""
    folder = paths.resolve(RUNS)
    return [Run(path) for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] != "."] if folder.is_dir() else []


def find_run(name: str) -> Run:
    """A run by its folder, its id, or the start of the id's hash; raises ValueError when that is none or several."""
    if Path(name).is_dir() and (Path(name) / "params.json").exists():
        return Run(Path(name).resolve())
    known = all_runs()
    found = [run for run in known if run.id == name] or [
        run for run in known if run.id.startswith(name) or run.id.rpartition("-")[2].startswith(name)
    ]  # fmt: skip
    if not found:
        raise ValueError(f"no run {name!r}; see `migstudy runs list`")
    if len(found) > 1:
        raise ValueError(f"{name!r} stands for {len(found)} runs: {', '.join(run.id for run in found[:5])}")
    return found[0]


def listed(run: Run) -> Listed:
    """A run's account; what cannot be read is told in `trouble`, not raised."""
    trouble, read = [], {}
    for name in ("params.json", "env.json", "metrics.json"):
        if run.path(name).exists():
            try:
                read[name] = run.read_json(name)
            except ValueError as error:
                trouble.append(str(error))
    params, env = read.get("params.json", {}), read.get("env.json", {})
    given = params.get("params", {})
    state = state_of(run)
    if state == "done" and not trouble and (wrong := damage(run)):
        trouble.append(wrong)
    return Listed(
        run, state, params.get("task", ""), given, _odd(params.get("task", ""), given), read.get("metrics.json", {}),
        seconds_of(run), env.get("commit", ""), env.get("code", ""), params.get("data_fingerprint", ""), env.get("started", ""),
        "; ".join(trouble),
    )  # fmt: skip


def list_runs(task: str = "", state: str = "", where: Mapping[str, str] | None = None) -> list[Listed]:
    """Runs by time of their start. task: the start of a notebook's name; where: parameters that they must have, as texts.

    Raises ValueError for an unknown state, and for a parameter that no run has.
    """
    if state not in ("", *STATES):
        raise ValueError(f"there is no state {state!r}; choose among {', '.join(STATES)}")
    found, where = [listed(run) for run in all_runs()], where or {}
    if odd := [name for name in where if found and not any(name in one.params for one in found)]:
        raise ValueError(f"no run has a parameter {odd[0]!r}; see `migstudy run 03 --parameters`")
    found = [
        one for one in found
        if one.task.startswith(task) and state in ("", one.state) and all(_has(one, *pair) for pair in where.items())
    ]  # fmt: skip
    return sorted(found, key=lambda one: one.started)


def as_table(runs: Sequence[Listed]) -> pd.DataFrame:
    """One row a run: id, state, the parameters that are not the defaults, headline metrics (percent), minutes, commit."""
    rows = []
    for one in runs:
        shown = {name: round(100 * one.metrics[name], 1) for name in HEADLINE if isinstance(one.metrics.get(name), (int, float))}
        rows.append({
            "run": one.run.id, "state": one.state + "!" * bool(one.trouble), "parameters": _words(one.odd), **shown,
            "minutes": None if one.seconds is None else round(one.seconds / 60, 1), "commit": one.commit[:7],
        })  # fmt: skip
    columns = ["run", "state", "parameters", *HEADLINE, "minutes", "commit"]
    table = pd.DataFrame(rows, columns=columns)
    return table.drop(columns=[name for name in HEADLINE if table[name].isna().all()])


def describe(one: Listed) -> str:
    """Everything about a run, as text."""
    lines = [f"{one.run.folder}", f"state        {one.state}"]
    if (holder := holder_of(one.run.folder)) is not None:
        lines.append(f"{'held by' if holder.alive else 'was held by':12} {holder.place}, heard of {holder.age:.0f} s ago")
    if one.state == "failed":
        lines.append(f"failed of    {fault_of(one.run)}")
    lines += [f"trouble      {one.trouble}"] * bool(one.trouble)
    lines += [f"notebook     {one.task}", f"data         {one.data[:12]}", f"started      {one.started}"]
    lines += [f"commit       {one.commit}", f"code         {one.code}{'' if _is_current(one) else ' (another version than now)'}"]
    for attempt in attempts(one.run):
        lines.append(f"attempt      {attempt['started']} on {attempt['host']}: {attempt['end']} after {attempt['seconds']:.0f} s")
    for title, values in (("parameters", one.params), ("metrics", one.metrics)):
        width = max(map(len, values), default=0)
        lines += ["", title, *(f"  {name:{width}}  {_short(value)}" for name, value in values.items())]
    files = sorted(path for path in one.run.folder.rglob("*") if path.is_file())
    lines += ["", "files", *(f"  {path.stat().st_size:>12,}  {path.relative_to(one.run.folder)}" for path in files)]
    return "\n".join(lines)


def compare(runs: Sequence[Listed]) -> pd.DataFrame:
    """What differs between runs, a column each: parameters, data, code, then every number both have; equal rows left out."""
    rows: dict[str, list[Any]] = {}
    for name in dict.fromkeys(name for one in runs for name in one.params):
        rows[name] = [one.params.get(name, "–") for one in runs]
    for name, kind in (("notebook", "task"), ("data fingerprint", "data"), ("code", "code"), ("commit", "commit")):
        rows[name] = [str(getattr(one, kind))[:12] for one in runs]
    rows = {name: values for name, values in rows.items() if len(set(map(repr, values))) > 1}
    numbers = dict.fromkeys(name for one in runs for name, value in one.metrics.items() if isinstance(value, (int, float)))
    for name in numbers:
        rows[name] = [one.metrics.get(name, "–") for one in runs]
    return pd.DataFrame.from_dict(rows, orient="index", columns=[one.run.id for one in runs])


# -- clearing away ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rubbish:
    """Something that nobody needs: a file of a run, or its whole folder, and why."""

    path: Path
    why: str

    @property
    def size(self) -> int:
        """Bytes."""
        inside = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(path.stat().st_size for path in inside if path.is_file())


def rubbish(older: bool = False) -> list[Rubbish]:
    """What can go: half-written files, notebooks that only draw and were drawn again since, empty folders.

    older: runs of other versions of notebook or code too, finished or not. Never what is claimed, nor what was written to
    within the last hour, and never a training or measurement for another reason than `older`.
    """
    everything = [listed(run) for run in all_runs() if state_of(run) != "running"]
    newest: dict[str, str] = {}
    for one in everything:
        if one.state == "done":
            key = one.task + same_question(one.params)
            newest[key] = max(newest.get(key, ""), one.started)
    found = []
    for one in everything:
        if why := _why(one, newest, older):
            found.append(Rubbish(one.run.folder, why))
        elif _quiet(one.run.folder):
            found += [Rubbish(path, "half written by a process that was killed") for path in _halves(one.run.folder)]
    trash = paths.resolve(RUNS).glob(".trash-*")
    return found + [Rubbish(path, "left by a clearing that was stopped") for path in trash]


def clear(found: Sequence[Rubbish]) -> tuple[int, list[str]]:
    """Delete; returns bytes freed, and what had to stay because somebody claimed it meanwhile."""
    freed, kept = 0, []
    for one in found:
        size, place = one.size, paths.resolve(RUNS)
        folder = place / one.path.relative_to(place).parts[0]
        if folder.name.startswith(".trash-"):
            shutil.rmtree(folder, ignore_errors=True)
            freed += size
            continue
        try:
            with Claim.take(folder):
                if one.path == folder:  # out of the way at once, so that nobody finds half a run
                    trash = folder.with_name(f".trash-{folder.name}-{uuid.uuid4().hex[:8]}")
                    folder.rename(trash)
                    shutil.rmtree(trash)
                else:
                    one.path.unlink(missing_ok=True)
            freed += size
        except Claimed as error:
            kept.append(str(error))
    return freed, kept


def _has(one: Listed, name: str, text: str) -> bool:
    """Whether a run's parameter is what a text stands for, written as for `migstudy run -p`."""
    if name not in one.params:
        return False
    config, value = config_of(one.task), one.params[name]
    if config is None:
        return str(value).lower() == text.lower()
    with suppress(ValueError):
        return value == parsed(name, text, config.types())
    return False


def _why(one: Listed, newest: Mapping[str, str], older: bool) -> str:
    if one.trouble or not _quiet(one.run.folder):
        return ""
    if one.state == "missing":
        return "empty" if not any(one.run.folder.iterdir()) else ""
    if one.task not in CONFIGS:
        if newest.get(one.task + same_question(one.params), "") > one.started:
            return "drawn again since"
        if one.state == "broken":
            return "a drawing that was never finished"
    if older and not _is_current(one):
        return "made by another version of the notebook or the code"
    return ""


def _is_current(one: Listed) -> bool:
    if not one.task or not one.code:
        return True  # nothing is known
    if one.run.id.rpartition("-")[0] == one.task and one.task in TRAINED:
        return run_id(one.task, one.params, one.data) == one.run.id  # the notebook's cells count too
    return code_of(one.task, one.params) == one.code


def _quiet(folder: Path) -> bool:
    times = [path.stat().st_mtime for path in (folder, *folder.rglob("*")) if path.exists()]
    return time.time() - max(times) > _LONG_AGO


def _halves(folder: Path) -> Iterator[Path]:
    yield from folder.rglob(".*.partial-*")
    yield from folder.glob(".run.partial.ipynb")


def _odd(task: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters that differ from the defaults of the profile and model, those two among them."""
    config = config_of(task)
    if config is None:
        return dict(params)
    usual: dict[str, Any] = {}
    with suppress(ValueError, TypeError, KeyError):
        chosen = {name: params[name] for name in ("profile", "model") if name in params}
        usual = config(**chosen).resolved().to_dict()
    usual |= {"profile": None, "model": config().to_dict().get("model")} | {name: params.get(name) for name in ("threads", "workers", "run_dir")}
    return {name: params[name] for name in config.types() if name in params and params[name] != usual.get(name)}


def _words(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in values.items())


def _short(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) < 100 else text[:97] + "..."


def as_text(table: pd.DataFrame) -> str:
    """The table for a terminal: numbers to the right, words to the left, the longest last, a dash where there is nothing."""
    columns = []
    for name in sorted(table, key=lambda name: name == "parameters"):
        numbers = pd.api.types.is_numeric_dtype(table[name])
        cells = [name, *("–" if pd.isna(value) else str(value) for value in table[name])]
        width = max(map(len, cells))
        columns.append([cell.rjust(width) if numbers else cell.ljust(width) for cell in cells])
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))
