"""What every test can use: shapes checked at run time, the shared data where it is at hand, small videos."""

from __future__ import annotations

import gc
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import typechecker

typechecker.install()

import numpy as np  # noqa: E402 - the hook has to come first
import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

import warm_workers  # noqa: E402
from helpers import SHARED, blob, write_video  # noqa: E402

settings.register_profile("on a busy machine too", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("on a busy machine too")


def pytest_collection_finish() -> None:
    """Collections of garbage leave out what all tests share: the libraries and the tests themselves."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the repository."""
    if not (SHARED / "data").is_dir():
        pytest.skip("real data is absent: there is no ../shared/data")
    return SHARED


@pytest.fixture(autouse=True)
def _check_types() -> None:
    """Types and shapes are checked anew in every test."""
    typechecker.start_test()


@pytest.fixture(autouse=True)
def _warm_workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding processes start at once, but where they are what is tested."""
    if request.path.name != "test_worker_pool.py" and request.path.parent.name != "endurance":
        monkeypatch.setattr("vitascope.core.worker_pool.subprocess", warm_workers.NAMESPACE)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's cache."""
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class folders: `right`, `down`, `left`, six tiny videos each."""
    root = tmp_path_factory.mktemp("videos")
    for c, name in enumerate(("right", "down", "left")):
        for i in range(6):
            write_video(root / name / f"clip {i}.mp4", blob(c * np.pi / 2, i))
    return root
