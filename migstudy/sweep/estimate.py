"""How long cells will take, from finished runs that are most like them; and where the estimate comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from migstudy.runs.execute import completed
from migstudy.runs.folder import finished_runs
from migstudy.runs.state import seconds_of

# runs are alike when these agree, the best agreement first; a parameter that a task lacks agrees with itself
_LIKENESS = (
    ("the same parameters but the seed", None),
    ("the same profile, model, data and epochs", ("profile", "model", "stream", "data", "epochs")),
    ("the same profile and model", ("profile", "model")),
    ("the same profile", ("profile",)),
)
_ELSEWHERE = {"seed", "threads", "workers", "run_dir"}


class Estimate:
    """Seconds a run of one notebook, by its parameters."""

    def __init__(self, task: str) -> None:
        self.past: list[tuple[dict[str, Any], float]] = []
        for run in finished_runs():
            try:
                kept = run.read_json("params.json")
            except ValueError:  # a broken folder tells nothing
                continue
            if kept.get("task") == task and (seconds := seconds_of(run)) is not None:
                self.past.append((completed(task, kept.get("params", {})), seconds))

    def seconds(self, params: Mapping[str, Any]) -> tuple[float | None, str]:
        """The median of the runs that are most alike, and what they have in common; None when there is none."""
        for words, names in _LIKENESS:
            alike = [seconds for known, seconds in self.past if _key(known, names) == _key(params, names)]
            if alike:
                return median(alike), words
        return None, ""

    def total(self, cells: Sequence[Mapping[str, Any]], slots: int) -> str:
        """One line on how long these cells take, `slots` at a time."""
        if not cells:
            return "nothing is left to run"
        found = [self.seconds(params) for params in cells]
        known = [seconds for seconds, _ in found if seconds is not None]
        if not known:
            return f"{len(cells)} to run; how long cannot be told: no run like them has finished here"
        whole = _makespan([seconds if seconds is not None else median(known) for seconds, _ in found], slots)
        sources = [words for words, _ in _LIKENESS if words in {said for _, said in found}]
        unknown = f"; nothing is known of {len(cells) - len(known)}, taken as the others" if len(known) < len(cells) else ""
        return (
            f"{len(cells)} to run, about {duration(whole)} at {min(slots, len(cells))} at a time, by the medians of finished runs"
            f" with {'; or '.join(sources)} ({duration(min(known))} to {duration(max(known))} a run){unknown}"
        )


def duration(seconds: float) -> str:
    """`8 s`, `12 min`, `3 h 20 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def _makespan(times: Sequence[float], slots: int) -> float:
    """When the last ends, each slot taking the next as it is free."""
    ends = [0.0] * max(1, slots)
    for seconds in times:
        ends[ends.index(min(ends))] += seconds
    return max(ends)


def _key(params: Mapping[str, Any], names: Sequence[str] | None) -> tuple:
    if names is None:
        return tuple(sorted((name, repr(value)) for name, value in params.items() if name not in _ELSEWHERE))
    return tuple(repr(params.get(name)) for name in names)
