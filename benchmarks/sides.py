"""Competitors in processes of their own, timed in turns: each has the environment in which its users start it.

Allocator settings are read when a process starts, so what gains by them cannot be measured beside what goes without in one
process; and absolute times of a shared machine say nothing, so both take turns and only their ratio counts.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from migstudy.runs.kernel import environment

Works = dict[str, Callable[[], Any]]


@dataclass(frozen=True)
class Side:
    """make(*arguments) -> works by name; a function of a module, since its process imports it. variables: environment."""

    make: Callable[..., Works]
    arguments: tuple = ()
    variables: Mapping[str, str] = field(default_factory=dict)


def in_turns(
    sides: Mapping[str, Side], threads: int, repeats: int, clock: str = "wall"
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Work -> side -> least of several times, s, and "side quartiles"; of the sides that have it, in turns, after one uncounted.

    clock: `wall`, or `cpu`, the processor time of all threads of the side's process, which wait without spinning: what a machine
    that others use still tells. Also `work -> "side MB"`: the peak of the resident memory of that side's process so far. Raises
    RuntimeError with the message of a side that failed.
    """
    waiting = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"} if clock == "cpu" else {}
    context, measured = multiprocessing.get_context("spawn"), {}
    with ExitStack() as stack:
        ends, names = {}, {}
        for name, side in sides.items():
            ours, theirs = context.Pipe()
            with environment(OMP_NUM_THREADS=str(threads), **waiting, **side.variables):
                process = context.Process(target=_serve, args=(theirs, side.make, side.arguments, threads, clock), daemon=True)
                process.start()
            theirs.close()
            stack.callback(process.join)
            stack.callback(_dismiss, ours)
            ends[name], names[name] = ours, _answer(ours, name)
        for work in dict.fromkeys(work for listed in names.values() for work in listed):
            able = [name for name in sides if work in names[name]]
            taken: dict[str, list[float]] = {name: [] for name in able}
            row = measured[work] = {}
            for turn in range(repeats + 1):
                for name in able:
                    ends[name].send(work)
                    seconds, peak = _answer(ends[name], name)
                    row[f"{name} MB"] = peak
                    if turn:
                        taken[name].append(seconds)
            row |= {name: min(times) for name, times in taken.items()}
            row |= {f"{name} quartiles": np.percentile(times, (25, 50, 75)).tolist() for name, times in taken.items()}
    return measured


def _dismiss(end) -> None:
    with suppress(BrokenPipeError):  # it failed, and said so
        end.send(None)


def _answer(end, name: str):
    try:
        answer = end.recv()
    except EOFError:
        raise RuntimeError(f"the process of {name} died; most often for want of memory: try smaller sizes") from None
    if isinstance(answer, str):
        raise RuntimeError(f"{name}: {answer}")
    return answer


def _peak() -> float:
    """The largest resident memory of this process so far, MB; getrusage's begins with that of the process it was forked from."""
    with suppress(OSError), open("/proc/self/status") as status:
        return next(float(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _serve(end, make: Callable[..., Works], arguments: tuple, threads: int, clock: str) -> None:
    import torch

    torch.set_num_threads(threads)
    now = time.process_time if clock == "cpu" else time.perf_counter
    try:
        works = make(*arguments)
        end.send(list(works))
        while (work := end.recv()) is not None:
            start = now()
            result = works[work]()
            seconds = now() - start
            del result
            end.send((seconds, _peak()))
    except Exception as error:  # the parent says it
        end.send(f"{type(error).__name__}: {error}")
        raise
