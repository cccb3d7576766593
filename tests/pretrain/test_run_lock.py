"""One training at a time in a run folder, and no process that outlives its launcher."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pretraining import losses, train
from vitascope.core.errors import UserError
from vitascope.pretrain.distributed import Ranks
from vitascope.pretrain.run_lock import LOCK, Launcher, LauncherEndedError, exclusive_run

HOLD = """
import sys, filelock
lock = filelock.FileLock(sys.argv[1])
lock.acquire()
print(flush=True)
sys.stdin.read()
"""


def test_a_second_training_waits_and_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = tmp_path / "run"
    (run / "kept").mkdir(parents=True)
    with exclusive_run(run, Ranks()):
        with pytest.raises(UserError) as error, exclusive_run(run, Ranks(), seconds=0.01):
            pytest.fail("two trainings hold one folder")
        expected = "another training runs in this folder; wait for it, stop it, or choose another folder with -o"
        assert str(error.value) == f"{run}: {expected}"
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING] == [
        f"{run}: another training runs in this folder; waiting for it to end"
    ]
    with exclusive_run(run, Ranks()):
        pass


def test_the_lock_of_a_killed_training_is_free(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        with pytest.raises(UserError), exclusive_run(tmp_path, Ranks(), seconds=0):
            pytest.fail("held by another process")
        holder.kill()
        holder.wait()
        with exclusive_run(tmp_path, Ranks(), seconds=0):
            assert (tmp_path / LOCK).exists()


def test_a_refused_training_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="torchrun"):
        train(tmp_path / "run", parallel="fsdp")
    assert not (tmp_path / "run").exists()


def test_processes_end_with_their_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Launcher().check(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "standalone")
    launcher = Launcher()
    launcher.check(tmp_path)
    parent = os.getppid()
    monkeypatch.setattr(os, "getppid", lambda: 1 if parent != 1 else 2)
    with pytest.raises(LauncherEndedError, match="torchrun has ended"):
        launcher.check(tmp_path)


def test_a_training_without_launcher_survives_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    parents = iter(range(100, 200))
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    train(tmp_path / "run")
    assert losses(tmp_path / "run")
