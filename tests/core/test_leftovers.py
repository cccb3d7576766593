"""Temporary files: those of dead writers go, those of living ones and of strangers stay."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vitascope.core import files, leftovers
from vitascope.core.leftovers import remove_leftovers, temporary


def of_process(path: Path, pid: int) -> Path:
    """The temporary name that another process of this machine would give."""
    return Path(str(temporary(path)).replace(f"-{os.getpid()}-", f"-{pid}-"))


def ended() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_what_dead_writers_left_is_removed(tmp_path: Path) -> None:
    path, other_machine = tmp_path / "index.parquet", tmp_path / f".index.parquet.00000000-{ended()}-0123456789ab"
    dead, living, stranger = of_process(path, ended()), of_process(path, os.getppid()), tmp_path / ".bashrc"
    old = [tmp_path / ".index.parquet.0123456789ab", tmp_path / ".a.ffffffff-1-0123456789ab"]
    for each in (path, dead, living, stranger, other_machine, *old):
        each.write_bytes(b"x")
    for each in (stranger, *old):
        os.utime(each, (0, 0))
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([path, living, stranger, other_machine])


def test_a_folder_half_written_by_a_killed_import_is_removed_by_the_next(tmp_path: Path) -> None:
    dead = of_process(tmp_path / "out", ended())
    dead.mkdir()
    (dead / "dataset.json").write_text("{}")
    unrelated = of_process(tmp_path / "other", ended())
    unrelated.mkdir()
    with files.atomic_folder(tmp_path / "out"):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([unrelated.name, "out"])


def test_processes_of_another_container_are_not_taken_for_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = of_process(tmp_path / "a", ended())
    name.write_bytes(b"")
    monkeypatch.setattr(leftovers, "_machine", lambda: "12345678")
    remove_leftovers(tmp_path)
    assert name.exists()
