"""What tests on real annotations share."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import pytest

Unpack = Callable[..., Path]


@pytest.fixture(scope="session")
def unpacked(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Unpack:
    """The folder of an archive's files; with `names`, a folder of those only."""
    top = tmp_path_factory.mktemp("temporal")

    def unpack(archive: str, *names: str) -> Path:
        path = shared / "data" / "annotations" / f"{archive}.tar.xz"
        if not path.is_file():
            pytest.skip(f"real annotations are absent: there is no {archive}.tar.xz in ../shared/data/annotations")
        folder = top / archive.removeprefix("tas_")
        if not folder.is_dir():
            with tarfile.open(path) as file:
                file.extractall(top, filter="data")
        if not names:
            return folder
        some = top / "-".join((archive, *names))
        some.mkdir(exist_ok=True)
        for name in names:
            shutil.copy(folder / name, some / name)
        return some

    return unpack


@pytest.fixture(scope="module")
def unchecked() -> Iterator[None]:
    """Types are checked on the tiny copies; here that takes ten times as long as reading does."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
