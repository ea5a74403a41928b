"""Who works on a run: a claim in its folder, kept warm by a heartbeat, so that many machines may share one runs folder.

    runs/<id>/claim        host, process and time of the first holder; its modification time is the heartbeat
    runs/<id>/claim.1 ...  those who took over from a holder that died; the highest number holds

A claim is made by exclusive creation, which is atomic on shared file systems too, those without locks among them; no server.
What many may want to make in the cache is claimed in the same way. Ages are told by the file system's clock, since machines'
clocks differ. On the holder's own machine a dead process is noticed at once, elsewhere when its heartbeat is `stale_after()`
seconds old.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

import psutil

TOKEN = "MIGSTUDY_CLAIM"  # in the environment of a claim's kernel: which claim it works for
_LOOK = 0.2  # s between looks at whether a claim is free
BUSY = 75  # exit code of a command that finds its run claimed: try again later (EX_TEMPFAIL)
CHANGED = 78  # exit code of a cell that is no longer the run that its grid planned (EX_CONFIG)


class Claimed(RuntimeError):
    """Somebody else works on the run."""


class PlanChanged(ValueError):
    """Code, notebook or data are others than those a grid was planned with."""


def stale_after() -> float:
    """Seconds without a heartbeat after which a holder on another machine counts as dead; MIGSTUDY_STALE_SECONDS sets it."""
    return float(os.environ.get("MIGSTUDY_STALE_SECONDS", 120))


@dataclass(frozen=True)
class Holder:
    """What the newest claim of a folder says. age: seconds since its last heartbeat."""

    path: Path
    number: int
    record: dict[str, Any]
    age: float

    @property
    def alive(self) -> bool:
        if self.record.get("machine") == _machine():
            return _is_running(self.record)
        return self.age < stale_after()

    @property
    def place(self) -> str:
        started = self.record.get("started")
        since = f", since {time.strftime('%Y-%m-%d %H:%M', time.localtime(started))}" if started else ""
        return f"{self.record.get('host', 'an unknown host')}, process {self.record.get('pid', '?')}{since}"


def holder_of(folder: Path) -> Holder | None:
    """The newest claim on a folder, of a living holder or a dead one; None without."""
    for number in sorted(_numbers(folder), reverse=True):
        path = _path(folder, number)
        try:
            with path.open(encoding="utf-8") as stream:  # opened first: shared file systems then tell the true time of change
                beat, text = os.fstat(stream.fileno()).st_mtime, stream.read()
        except FileNotFoundError:  # given up meanwhile
            continue
        try:
            record = json.loads(text)
        except ValueError:
            record = {}  # being written just now, or cut by a full disk: its age decides
        age = time.time() + _clock_difference(folder) - beat
        return Holder(path, number, record if isinstance(record, dict) else {}, age)
    return None


class Claim:
    """The right to work on a folder, held until released; a thread keeps it warm. Use as a context manager.

    lost: set when somebody else took over, because this process seemed dead.
    """

    def __init__(self, folder: Path, number: int, record: dict[str, Any], after: Holder | None) -> None:
        self.folder, self.number, self.record, self.after = folder, number, record, after
        self.lost = Event()
        self._released = Event()
        self._thread = Thread(target=self._beat, daemon=True, name="heartbeat")
        self._thread.start()

    @classmethod
    def take(cls, folder: Path) -> Self:
        """Claim a folder, made when it is new; raises Claimed naming the holder while there is a living one.

        What a dead holder on this machine left running is ended first; `after` tells of that holder.
        """
        dead = holder_of(folder)
        if dead and dead.alive:
            raise Claimed(f"{folder} is being worked on by {dead.place}; wait for it, or end it first")
        number = dead.number + 1 if dead else 0
        record = {
            "token": uuid.uuid4().hex, "host": socket.gethostname(), "pid": os.getpid(), "started": time.time(),
            "machine": _machine(), "process_started": psutil.Process().create_time(),
        }  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        path = _path(folder, number)
        try:
            with path.open("x", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
        except (FileExistsError, FileNotFoundError):  # or taken and left again, and its empty folder with it
            raise Claimed(f"{folder} was taken by another process a moment ago") from None
        except OSError:
            path.unlink(missing_ok=True)
            raise
        if max(_numbers(folder), default=-1) != number:
            path.unlink(missing_ok=True)
            raise Claimed(f"{folder} was taken by another process a moment ago")
        if dead and (token := dead.record.get("token")):
            end_kernels(token)
        return cls(folder, number, record, dead)

    @classmethod
    def wait(cls, folder: Path) -> Self:
        """Claim a folder as soon as nobody living holds it; of several that wait, any is next."""
        while True:
            try:
                return cls.take(folder)
            except Claimed:
                time.sleep(_LOOK)

    @property
    def token(self) -> str:
        return self.record["token"]

    def check(self) -> None:
        """Raises Claimed when somebody else took over."""
        if self.lost.is_set() or not self._is_ours():
            self.lost.set()
            raise Claimed(
                f"{self.folder} was taken over by another process while this one stood still for more than"
                f" {stale_after():g} seconds; that one goes on, this one ends"
            )

    def release(self) -> None:
        """Give the folder free; claims of the dead go too."""
        if self._released.is_set():
            return
        self._released.set()
        self._thread.join()
        if self._is_ours():
            for number in sorted(_numbers(self.folder)):
                if number <= self.number:  # a higher one was made just now
                    _path(self.folder, number).unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()  # nothing was written: leave nothing

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def _beat(self) -> None:
        while not self._released.wait(min(stale_after() / 6, 10)):
            with suppress(OSError):  # one missed beat is no death
                if not self._is_ours():
                    self.lost.set()
                    return
                os.utime(_path(self.folder, self.number))

    def _is_ours(self) -> bool:
        return max(_numbers(self.folder), default=-1) == self.number


def end_kernels(token: str, within: Callable[[], list[psutil.Process]] = lambda: list(psutil.process_iter())) -> None:
    """End the kernels that work for a claim and wait until they are gone; others' processes are not looked into."""
    found = []
    for process in within():
        with suppress(psutil.Error, OSError):
            if process.environ().get(TOKEN) == token and process.pid != os.getpid():
                process.kill()
                found.append(process)
    psutil.wait_procs(found, timeout=10)


def _path(folder: Path, number: int) -> Path:
    return folder / (f"claim.{number}" if number else "claim")


def _numbers(folder: Path) -> list[int]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [int(name[6:] or 0) for name in names if name == "claim" or name.startswith("claim.") and name[6:].isdigit()]


@cache
def _machine() -> str:
    """Where process numbers mean the same: this boot of this machine, this container."""
    parts = [socket.gethostname(), platform.system(), str(uuid.getnode())]
    with suppress(OSError):
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def _is_running(record: dict[str, Any]) -> bool:
    try:
        process = psutil.Process(int(record["pid"]))
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - float(record["process_started"])) < 1  # not another one with its number
    except psutil.AccessDenied:
        return True
    except (psutil.NoSuchProcess, KeyError, ValueError, TypeError):
        return False


_differences: dict[Path, tuple[float, float]] = {}


def _clock_difference(folder: Path) -> float:
    """The file system's clock minus ours, s, measured once a minute."""
    place = folder.parent
    measured = _differences.get(place)
    if measured is None or abs(time.monotonic() - measured[0]) > 60:
        probe = place / f".clock-{uuid.uuid4().hex[:8]}"
        try:
            probe.touch()
            difference = probe.stat().st_mtime - time.time()
        except OSError:  # a full disk, or not ours to write
            difference = 0.0
        finally:
            with suppress(OSError):
                probe.unlink()
        measured = _differences[place] = time.monotonic(), difference
    return measured[1]
