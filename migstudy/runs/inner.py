"""Runs of the training notebook inside another run: an encoder is trained by its own runner and opened with its weights."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from migstudy.runs.folder import RUNNER, Run

if TYPE_CHECKING:
    from migstudy.models import StudyModel


@contextmanager
def own_runner() -> Iterator[None]:
    """Runs started from inside a notebook have a runner of their own, which marks them finished."""
    mark = os.environ.pop(RUNNER, None)
    try:
        yield
    finally:
        if mark is not None:
            os.environ[RUNNER] = mark


def load_encoder(run: Run) -> StudyModel:
    """A finished run's network with its weights, in eval mode."""
    from migstudy.models import get_model_class

    with redirect_stdout(io.StringIO()):  # the hub tells where it reads
        return get_model_class(run.read_json("params.json")["params"]["model"]).from_pretrained(run.folder).eval()
