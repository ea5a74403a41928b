"""What became of a run: from its DONE marker and its claim, never from the executed notebook.

papermill calls a killed notebook completed. Beside DONE and the claim, a run's folder keeps FAILED (what its notebook died of,
until it is tried again) and attempts.json (how long each attempt took, and how it ended).
"""

from __future__ import annotations

import datetime
import os
import socket
import time
from contextlib import suppress
from typing import Any, Literal, get_args

from migstudy import paths
from migstudy.runs.claims import Claim, holder_of
from migstudy.runs.folder import Run

State = Literal["done", "running", "failed", "broken", "missing"]
STATES: tuple[str, ...] = get_args(State)
FAILED = "FAILED"
ATTEMPTS = "attempts.json"


def state_of(run: Run) -> State:
    """done: DONE stands. running: somebody living holds it. failed: its notebook raised an error. broken: it was ended half
    way, and goes on when it is started again. missing: never started."""
    if run.done:
        return "done"
    holder = holder_of(run.folder)
    if holder and holder.alive:
        return "running"
    if run.done:  # finished between the two looks
        return "done"
    if run.path(FAILED).exists():
        return "failed"
    return "broken" if holder or run.path("params.json").exists() else "missing"


def fault_of(run: Run) -> str:
    """What a failed run died of; empty for others."""
    with suppress(OSError):
        return run.path(FAILED).read_text(encoding="utf-8").partition("\n")[2].strip()
    return ""


def mark_failed(run: Run, said: str) -> None:
    """Keep what the notebook died of; a folder that cannot be written, as on a full disk, stays as it is."""
    with suppress(OSError):
        paths.write_text(run.path(FAILED), f"{_now()} {socket.gethostname()} {os.getpid()}\n{said}\n")


def note_attempt(run: Run, claim: Claim, end: Literal["done", "failed", "interrupted"]) -> None:
    """Add an attempt's length to the run's account, and that of a killed one before it as far as its heartbeat tells."""
    noted = attempts(run)
    if noted and noted[-1]["end"] == "done":  # drawn again
        noted = []
    if (dead := claim.after) and dead.record.get("started"):
        last_beat = claim.record["started"] - dead.age  # its age was told when the claim was taken
        noted.append(_attempt(dead.record, max(last_beat - dead.record["started"], 0.0), "killed"))
    noted.append(_attempt(claim.record, time.time() - claim.record["started"], end))
    with suppress(OSError):
        run.write_json(ATTEMPTS, {"attempts": noted})


def attempts(run: Run) -> list[dict[str, Any]]:
    """host, started, seconds, end (done, failed, interrupted or killed) of each attempt so far."""
    try:
        return list(run.read_json(ATTEMPTS)["attempts"])
    except (ValueError, KeyError, TypeError):  # runs of older versions have none
        return []


def seconds_of(run: Run) -> float | None:
    """How long a finished run took, all attempts together; by its first start and its DONE marker where nothing else tells."""
    if noted := attempts(run):
        return float(sum(one["seconds"] for one in noted))
    try:
        started = datetime.datetime.fromisoformat(run.read_json("env.json")["started"])
        return (datetime.datetime.fromisoformat(run.path("DONE").read_text().strip()) - started).total_seconds()
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _attempt(record: dict[str, Any], seconds: float, end: str) -> dict[str, Any]:
    started = datetime.datetime.fromtimestamp(record["started"], datetime.UTC).isoformat(timespec="seconds")
    return {"host": record.get("host", ""), "started": started, "seconds": round(seconds, 2), "end": end}


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
