"""What a grid is doing: a live table on a terminal, a line for every change where it is piped into a file."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from migstudy.runs.claims import holder_of
from migstudy.runs.state import STATES, seconds_of, state_of
from migstudy.sweep.engines import Job, Outcome
from migstudy.sweep.estimate import duration

COLOURS = {"done": "green", "running": "cyan", "failed": "bold red", "broken": "yellow", "missing": "dim"}
_ROWS = 24  # of a table that fits a terminal
_EVERY = 60.0  # s between lines on how far a grid is, where there is no terminal


class Progress:
    """Follows the run folders of a grid's cells, whoever works on them. guess: a cell's expected seconds, None =
    unknown; slots: cells that run here at a time."""

    def __init__(
        self, title: str, jobs: Sequence[Job], guess: Callable[[Job], float | None], slots: int = 1,
        console: Console | None = None,
    ) -> None:  # fmt: skip
        self.title, self.jobs, self.guess, self.slots = title, jobs, guess, slots
        self.console = console or Console(file=sys.stderr)
        self.states: dict[int, str] = {}
        self.live: Live | None = None
        self.told = self.looked = 0.0

    def __enter__(self) -> Progress:
        self.look()
        counts = Counter(self.states.values())
        self.say(f"{self.title}: {len(self.jobs)} cells, {counts['done']} done before")
        if self.console.is_terminal:
            self.live = Live(self.table(), console=self.console, auto_refresh=False, transient=True)
            self.live.__enter__()
        self.told = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.live.__exit__(None, None, None)

    def refresh(self, now: bool = False) -> None:
        """Look again, unless `now` not more often than looking costs a tenth of the time."""
        if time.monotonic() - self.looked < 1 and not now:
            return
        before = dict(self.states)
        started = time.monotonic()
        self.look()
        self.looked = time.monotonic() + 9 * (time.monotonic() - started)
        if self.live:
            self.live.update(self.table(), refresh=True)
            return
        for job in self.jobs:
            state = self.states[job.number]
            if state not in (before[job.number], "failed"):  # `noted` says why it failed
                where = f" ({holder.place})" if state == "running" and (holder := self.holder(job)) else ""
                took = f" in {duration(seconds)}" if state == "done" and (seconds := seconds_of(job.run)) else ""
                self.say(f"{state}: {job.name}{where}{took}")
        if time.monotonic() - self.told > _EVERY:
            self.told = time.monotonic()
            self.say(self.summary())

    def noted(self, outcome: Outcome) -> Outcome:
        """Say at once what a cell failed of."""
        if outcome.end == "failed":
            self.say(f"failed: {outcome.job.name}: {outcome.said.splitlines()[0]}")
        return outcome

    def look(self) -> None:
        self.looked = time.monotonic()
        for job in self.jobs:
            if self.states.get(job.number) != "done":
                self.states[job.number] = state_of(job.run) if job.run else "failed"

    def summary(self) -> str:
        """Counts and time left."""
        counts = Counter(self.states.values())
        parts = [f"{counts[state]} {state}" for state in STATES if counts[state]]
        left = self.seconds_left()
        return ", ".join(parts) + (f"; about {duration(left)} left" if left else "")

    def seconds_left(self) -> float | None:
        """Expected work left, shared by the cells that run now; None when nothing is known of it."""
        counts = Counter(self.states.values())
        running = max(1, counts["running"], min(self.slots, counts["missing"] + counts["broken"]))
        total = 0.0
        took = [seconds for job in self.jobs if self.states[job.number] == "done" and (seconds := seconds_of(job.run))]
        for job in self.jobs:
            state = self.states[job.number]
            if state in ("done", "failed"):
                continue
            guess = self.guess(job)
            if guess is None:
                if not took:
                    return None
                guess = sum(took) / len(took)
            holder = self.holder(job) if state == "running" else None
            total += max(guess - (time.time() - holder.record.get("started", time.time()) if holder else 0), 0)
        return total / running

    def table(self) -> Group:
        """Running and failed cells first, then the newest news; what does not fit is counted."""
        table = Table(box=None, pad_edge=False)
        for name in ("state", "cell", "where", "time"):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        rank = {"running": 0, "failed": 1, "broken": 2, "missing": 3, "done": 4}
        rows = sorted(self.jobs, key=lambda job: rank[self.states[job.number]])
        for job in rows[:_ROWS]:
            state = self.states[job.number]
            holder = self.holder(job) if state == "running" else None
            where = f"{holder.record.get('host', '?')} {_epoch(job)}" if holder else ""
            seconds = time.time() - holder.record.get("started", time.time()) if holder else None
            if state == "done":
                seconds = seconds_of(job.run)
            table.add_row(Text(state, COLOURS[state]), Text(job.name), where, duration(seconds) if seconds is not None else "")
        if len(rows) > _ROWS:
            table.add_row("", f"and {len(rows) - _ROWS} more", "", "")
        return Group(Text(f"{self.title}: {self.summary()}", "bold"), table)

    def holder(self, job: Job):
        return holder_of(job.run.folder) if job.run else None

    def say(self, line: str) -> None:
        clock = "" if self.console.is_terminal else time.strftime("%H:%M:%S ")
        self.console.print(f"{clock}{line}", markup=False, highlight=False, soft_wrap=True)


def _epoch(job: Job) -> str:
    """How far a training is, by its log."""
    with suppress(OSError, AttributeError):
        lines = job.run.path("log.csv").read_bytes().count(b"\n")
        return f"epoch {lines}" if lines > 1 else ""
    return ""
