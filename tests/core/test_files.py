"""Files appear whole or not at all, whatever was killed before; what never ends to read is not read."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vitascope.core import files
from vitascope.core.arrays import map_array, read_arrays
from vitascope.core.errors import DamagedFileError, UserError
from vitascope.core.files import read_bytes, read_json, require_regular_file

KILLED = """
import os, signal, sys
from pathlib import Path
from vitascope.core import files
with files.{writer}(Path(sys.argv[1])) as aside:
    (aside / "inner" if aside.is_dir() else aside).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_while_writing(writer: str, path: Path) -> None:
    """A process that dies with half a file written."""
    subprocess.run([sys.executable, "-c", KILLED.format(writer=writer), str(path)], check=False, env=os.environ)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("writer", ["atomic_file", "atomic_folder"])
def test_the_next_writer_removes_what_a_killed_one_left(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    kill_while_writing(writer, path)
    assert len(names(tmp_path)) == 1
    with getattr(files, writer)(path) as living:
        assert names(tmp_path) == ([living.name] if living.exists() else [])
        (living / "inner" if living.is_dir() else living).write_text("new")
    assert names(tmp_path) == ["a.json"]


@pytest.fixture
def endless(tmp_path: Path) -> dict[str, Path]:
    """Paths that never end to be read."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    server = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(tmp_path)  # paths of sockets are short
    server.bind("socket")
    os.chdir(here)
    server.close()
    return {
        "a named pipe": tmp_path / "pipe",
        "a device": tmp_path / "link",
        "a socket": tmp_path / "socket",
    }


def test_what_never_ends_is_refused(endless: dict[str, Path], tmp_path: Path) -> None:
    readers = [
        require_regular_file,
        read_bytes,
        lambda path: read_json(path, "again"),
        lambda path: map_array(path, "again"),
        lambda path: read_arrays(path, "again"),
    ]
    for what, path in {**endless, "a device": Path("/dev/random"), "a device ": endless["a device"]}.items():
        for read in readers:
            with pytest.raises(UserError) as caught:
                read(path)
            assert str(caught.value) == (
                f"{path}: {what.strip()}, not a regular file, so it may never end; give a file on disk"
            )
    with pytest.raises(UserError, match="a folder, not a file; name a file in it"):
        require_regular_file(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        require_regular_file(tmp_path / "gone")
    (tmp_path / "file").write_text("")
    require_regular_file(tmp_path / "file")


def test_no_more_is_read_than_allowed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1, 2]")
    assert read_bytes(path, 6) == b"[1, 2]"
    with pytest.raises(UserError, match="larger than"):
        read_bytes(path, 5)


@pytest.mark.parametrize(
    "shape", ["(10000000, 1000000)", "(2147483648, 2)", "(10000000000000, 10000000000000)", "(-1,)"]
)
def test_arrays_are_held_to_their_files(shape: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(8, np.float32))
    data = path.read_bytes()
    old = b"(8,), }"
    assert old in data
    header = data[: data.index(old)] + f"{shape}, }}".encode()
    path.write_bytes(header + b" " * (127 - len(header)) + b"\n" + data[128:])
    with pytest.raises(DamagedFileError, match=r"a\.npy: not a NumPy array \(.*\); get it again"):
        map_array(path, "get it again")


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(1_000_000))
    assert read_arrays(path, "again")["a"].shape == (1_000_000,)
    monkeypatch.setattr("vitascope.core.arrays.ALLOWED", 1000)
    with pytest.raises(DamagedFileError, match="compressed far more than"):
        read_arrays(path, "again")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.npy", b"no array")
    with pytest.raises(DamagedFileError, match="a is not an array; again"):
        read_arrays(path, "again")
