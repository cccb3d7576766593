"""What the command line does with errors: users' are one line, bugs are told as such and leave a file."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

import pytest

import vitascope as package
from helpers import vitascope
from vitascope.cli import crash
from vitascope.core.errors import StorageError, UserError
from vitascope.core.log import log

FILE = re.compile(r"the traceback is in (\S+crash-\d{8}-\d{6}-\d+\.txt)")


def plant(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Make `vitascope ls` raise."""

    def raises(kind: object) -> Any:
        raise error

    monkeypatch.setattr("vitascope.core.registry.Registry.names", raises)


@pytest.mark.parametrize(
    "error",
    [
        KeyError("examples"),
        ValueError("invalid literal for int() with base 10: 'x'"),
        TypeError("unhashable type: 'list'"),
        RuntimeError("shape mismatch"),
        AssertionError(),
        OSError("without a number: raised by code, not by the system"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_bug_is_not_dressed_up_as_the_users(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))
    plant(monkeypatch, error)
    done = vitascope("ls", "encoders", code=70)
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith(f"error: this is a bug in vitascope: {type(error).__name__}: ")
    assert not done.stdout
    found = FILE.search(done.stderr)
    assert found, done.stderr
    path = Path(found[1])
    assert path.parent == (tmp_path / "cache").resolve()
    text = path.read_text(encoding="utf-8")
    for part in ("Traceback (most recent call last)", "command: vitascope ls encoders", "platform: ", "Python 3."):
        assert part in text
    assert re.search(rf"vitascope {re.escape(package.__version__)}, .*torch \d+\..*numpy \d+\.", text)


def test_a_bug_under_way_leaves_its_file_in_the_run_folder(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*given: object, **named: object) -> Any:
        raise KeyError("planted")

    monkeypatch.setattr("vitascope.probes.classification.voting.vote", raises)
    command = ("evaluate", videos, "-m", "pixels/thumbnail", "-t", "knn", "-o", tmp_path / "run")
    done = vitascope(*command, "--store", tmp_path / "store", "-q", code=70)
    assert len(done.stderr.strip().splitlines()) == 1
    (path,) = (tmp_path / "run").glob("crash-*.txt")
    assert str(path) in done.stderr
    assert "KeyError: 'planted'" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("how", ["option", "variable"])
def test_the_traceback_can_be_seen(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, KeyError("planted"))
    if how == "variable":
        monkeypatch.setenv("VITASCOPE_TRACEBACK", "1")
    done = vitascope(*(["--traceback"] if how == "option" else []), "ls", "encoders", code=70)
    assert "Traceback (most recent call last)" in done.stderr
    assert "Registry" not in done.stdout
    assert "Traceback" not in _again(monkeypatch).stderr, "one command's option is not the next one's"


def _again(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("VITASCOPE_TRACEBACK", raising=False)
    return vitascope("ls", "encoders", code=70)


def test_where_no_file_can_be_written_the_traceback_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "file" / "below"))
    plant(monkeypatch, KeyError("planted"))
    done = vitascope("ls", "encoders", code=70)
    assert "no file could be written" in done.stderr
    assert "KeyError: 'planted'" in done.stderr.splitlines()[-1]


def test_the_run_folder_may_be_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = crash.written("text", [tmp_path / "file", tmp_path / "cache"])
    assert path is not None
    assert path.parent == tmp_path / "cache"
    assert crash.written("text", [tmp_path / "file"]) is None


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("x.csv:2: no class 'a'\n; see it"), "error: x.csv:2: no class 'a' ; see it\n"),
        (StorageError("run: the disk took only a part"), "error: run: the disk took only a part\n"),
        (OSError(28, "No space left on device", "run/a"), "error: run/a: No space left on device; free some space"),
        (PermissionError(13, "Permission denied", "run/a"), "error: run/a: Permission denied\n"),
        (MemoryError(), "error: out of memory; "),
        (OSError(12, "Cannot allocate memory"), "error: out of memory; "),
        (ImportError("x.so: failed to map segment from shared object"), "error: out of memory; "),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "error: out of memory; "),
    ],
    ids=lambda e: type(e).__name__,
)
def test_what_users_can_fix_is_one_line(error: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(Path(os.environ["VITASCOPE_CACHE"]).glob("crash-*"))
    plant(monkeypatch, error)
    done = vitascope("ls", "encoders", code=2)
    assert done.stderr.startswith(said)
    assert len(done.stderr.strip().splitlines()) == 1
    assert set(Path(os.environ["VITASCOPE_CACHE"]).glob("crash-*")) == before


def test_notes_go_through_the_logger_and_obey_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def speaks(kind: object) -> list[str]:
        log.debug("a detail")
        log.info("a note of %d words", 4)
        log.warning("a warning")
        raise UserError("the end")

    monkeypatch.setattr("vitascope.core.registry.Registry.names", speaks)
    every = ["a detail", "a note of 4 words", "a warning", "error: the end"]
    assert vitascope("ls", "encoders", code=2).stderr.splitlines() == every[1:]
    assert vitascope("-v", "ls", "encoders", code=2).stderr.splitlines() == every
    assert vitascope("-q", "ls", "encoders", code=2).stderr.splitlines() == every[2:]
    assert vitascope("ls", "encoders", code=2).stderr.splitlines() == every[1:]


def test_imported_the_library_says_nothing_by_itself(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "vitascope"):
        log.warning("a warning")
    assert capsys.readouterr().err == ""
    assert caplog.messages == ["a warning"], "who asks for it gets it"


def test_quiet_before_the_command_or_after_it_is_one(videos: Path, tmp_path: Path) -> None:
    for number, words in enumerate((("-q", "embed"), ("embed", "-q"))):
        store = tmp_path / str(number)
        done = vitascope(*words, videos, "-m", "pixels/thumbnail", "--store", store)
        assert done.stderr == ""
