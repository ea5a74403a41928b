"""Requests to end: a closed terminal and SIGTERM are as Ctrl-C, and processes are ended gently, then not."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread, current_thread, main_thread

PATIENCE = 30.0  # s that a cell may take to end its kernel and to leave its folder in order


def end_process(process: subprocess.Popen, patience: float = PATIENCE) -> None:
    """Ask a process that leads a session of its own to end, make it after `patience` seconds, and wait until it has."""
    for name in ("SIGTERM", "SIGKILL"):
        with suppress(ProcessLookupError):  # it may have ended by itself
            if hasattr(os, "killpg"):
                os.killpg(process.pid, getattr(signal, name))
            else:
                process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


@contextmanager
def interruptible() -> Iterator[None]:
    """A request to end, or a closed terminal, is as Ctrl-C: what runs in sessions of its own would go on alone."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    if current_thread() is not main_thread():  # only the main thread may set handlers
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    mine = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]  # nohup's choice stands
    for number in mine:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


class Background:
    """Work in a thread, waited for by a main thread that hears Ctrl-C.

    Not by Thread.join: interrupted, it takes a thread that still runs for one that has ended (Python 3.11 and 3.12).
    """

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self._over = Event()
        self.error: BaseException | None = None

        def run() -> None:
            try:
                work()
            except BaseException as error:
                self.error = error
            finally:
                self._over.set()

        Thread(target=run, daemon=True, name=name).start()

    @property
    def running(self) -> bool:
        return not self._over.is_set()

    def wait(self, seconds: float | None = None) -> None:
        """Until it is over, or that long; does not raise what it died of."""
        self._over.wait(seconds)

    def result(self) -> None:
        """Raises what it died of."""
        if self.error is not None:
            raise self.error
