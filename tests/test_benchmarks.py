"""Benchmarks start: what they import is there, and they explain themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SHARED = ("record.py", "sides.py", "pyskl_files.py")


@pytest.mark.parametrize("script", sorted(p.name for p in FOLDER.glob("*.py") if p.name not in SHARED))
def test_a_benchmark_starts_and_explains_itself(script):
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), "--help"], capture_output=True, text=True, timeout=120, cwd=FOLDER.parent,
        env={**os.environ, "PYTHONPATH": str(FOLDER.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout
