"""Folders that only some machines have: parity fixtures and real recordings, beside the project as ../shared."""

import os
from pathlib import Path

# before torch is imported: its threads wait for each other spinning, and on a busy machine a test of 4 s took two minutes
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

settings.register_profile("migstudy", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("migstudy")

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{name} of the original implementations or recordings are not on this machine (../shared/{name})")
    return folder


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    return _folder("fixtures")


@pytest.fixture(scope="session")
def recordings_dir() -> Path:
    return _folder("data")


@pytest.fixture(autouse=True, scope="session")
def private_cache(tmp_path_factory):
    """Tests neither read nor leave anything in the user's cache."""
    patch = pytest.MonkeyPatch()
    patch.setenv("MIGSTUDY_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()
