"""A notebook in a kernel of its own, through papermill, that can be stopped without a trace of its machinery."""

from __future__ import annotations

import errno
import logging
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from migstudy import paths
from migstudy.runs.claims import TOKEN, Claim, end_kernels
from migstudy.runs.interrupts import Background

GENTLY = 10.0  # s that a kernel may take to leave its cell when it is told to stop
_FULL = [os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT)]
_PERHAPS_FULL = ["inline_container.cc", " written"]  # torch's writer and numpy's do not say why they wrote less than they were given


class NotebookFault(Exception):
    """A cell raised an error or its kernel died. from_outside: of a kill or a full disk, and not of what the notebook does."""

    def __init__(self, said: str, from_outside: bool) -> None:
        super().__init__(said)
        self.from_outside = from_outside


def in_kernel(notebook: Path, out: Path, values: Mapping[str, Any], claim: Claim, quiet: bool) -> None:
    """Execute a notebook into `out`; raises NotebookFault, OSError when `out` cannot be written, Claimed when the claim is
    lost, and KeyboardInterrupt; in the latter two its kernel has ended before.

    papermill works in a thread, so that Ctrl-C strikes no event loop: the kernel is told to stop, and the thread ends by itself.
    """
    papermill = Background(lambda: _papermill(notebook, out, values, quiet), "papermill")
    try:
        while papermill.running:
            papermill.wait(0.1)
            if claim.lost.is_set():
                claim.check()
    except BaseException:
        _stop(papermill, claim.token)
        raise
    papermill.result()


def _papermill(notebook: Path, out: Path, values: Mapping[str, Any], quiet: bool) -> None:
    import papermill  # slow to import, and not needed to find a run finished
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    logging.getLogger("papermill").setLevel(logging.ERROR)  # it cannot read Literal types; names were checked before
    try:
        papermill.execute_notebook(
            notebook, out, parameters=dict(values), kernel_name="python3", progress_bar=not quiet,
            cwd=paths.project_root(), log_output=False, extra_arguments=["--IPKernelApp.log_level=50"],
        )  # fmt: skip
    except DeadKernelError:
        raise NotebookFault("was ended from outside, most often for want of memory: its kernel died", True) from None
    except PapermillExecutionError as error:
        said, full = f"failed in cell {error.exec_count}: {error.ename}: {error.evalue}", any(w in error.evalue for w in _FULL)
        if not full and error.ename in ("OSError", "RuntimeError") and any(words in error.evalue for words in _PERHAPS_FULL):
            said, full = f"{said} (a file could not be written whole: the disk is full, or was)", True
        raise NotebookFault(said, full) from None


def _stop(papermill: Background, token: str) -> None:
    """Interrupt the cell; end the kernel when it does not listen, or when the user asks once more."""

    def ours() -> list[psutil.Process]:
        return psutil.Process().children(recursive=True)

    with suppress(KeyboardInterrupt):
        for process in ours():
            with suppress(psutil.Error, OSError):
                if process.environ().get(TOKEN) == token:
                    process.send_signal(signal.SIGINT)
        papermill.wait(GENTLY)
    while papermill.running:
        with suppress(KeyboardInterrupt):
            end_kernels(token, ours)
            papermill.wait(1)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
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
