"""Kernels compiled by numba, called from plain threads: numba's own pools break processes that fork, as DataLoader's do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import torch
from numba import njit


def compiled(function: Callable) -> Callable:
    """Compiled without checks before divisions, free of the GIL, its sums in any order (they are vectorised).

    Kept for later processes beside the package or in numba's cache folder; where neither can be written, compiled every time.
    """
    options = dict(nogil=True, error_model="numpy", fastmath={"contract", "reassoc"})
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no place for the cache
        return njit(**options)(function)


def in_threads(work: Callable[[int, int], None], count: int, pieces: int = 0) -> None:
    """work(first, last) over 0 ... count, cut into `pieces` (0: four a thread), by as many threads as torch uses."""
    threads = min(torch.get_num_threads(), max(count, 1))
    pieces = max(1, min(pieces or 4 * threads, count))
    cuts = [count * i // pieces for i in range(pieces + 1)]
    if threads == 1:
        for span in pairwise(cuts):
            work(*span)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, cuts, cuts[1:]))
