"""Several devices in one command: their processes fill one store, the same as by one; whoever fails leaves nothing."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import blob, vitascope, write_video
from vitascope.cli import devices
from vitascope.core.errors import UserError

ENCODER = '''
import os
import time
from dataclasses import replace
from pathlib import Path

from vitascope.encoders.load import load

HERE = Path(__file__).parent
OWN = "VITASCOPE_DEVICE" in os.environ


class Waiting:
    """The thumbnail; in the first process no batch is done before another process has done one, or has died."""

    def __init__(self):
        self.inner = load("pixels/thumbnail")
        self.card = replace(self.inner.card, name="lab/waiting", frames=2)

    def __call__(self, clips):
        began = time.monotonic()
        if not OWN and os.environ.get("WAIT"):
            while not (HERE / "helper").exists() and time.monotonic() - began < 200:
                time.sleep(0.02)
        if OWN:
            (HERE / "helper").write_text(str(os.getpid()))
            if os.environ["WAIT"] == "die":
                raise RuntimeError("out of order")
            while os.environ["WAIT"] == "forever":
                time.sleep(0.05)
        return self.inner(clips)


def build():
    return Waiting()
'''


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An encoder of the user's, and 140 spans of four videos: two blocks."""
    (tmp_path / "waiting_lab.py").write_text(ENCODER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "waiting_lab", raising=False)
    monkeypatch.delenv(devices.OWN, raising=False)
    for i, name in enumerate("abcd"):
        write_video(tmp_path / "v" / f"{name}.mp4", blob(0.5 * i, i, frames=45))
    starts = [0.1 * (i // 4) for i in range(140)]
    rows = [f"{'abcd'[i % 4]}.mp4,{'xy'[i % 2]},{start:.1f},{start + 0.6:.1f}" for i, start in enumerate(starts)]
    (tmp_path / "v" / "manifest.csv").write_text("\n".join(["path,label,start,end", *sorted(rows)]) + "\n")
    return tmp_path


def command(lab: Path, store: str, *more: str) -> list[str]:
    return ["embed", str(lab / "v"), "-m", "waiting_lab:build", "--store", str(lab / store), "--workers", "1", *more]


def tree(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def encoded(printed: str) -> int:
    return int(printed.partition(" examples,")[0].rpartition(" ")[2])


def test_two_processes_fill_the_store_of_one(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert encoded(vitascope(*command(lab, "one", "-q")).stdout) == 140
    monkeypatch.setenv("WAIT", "yes")
    done = vitascope(*command(lab, "two", "-q", "--device", "cpu,cpu"))
    assert 0 < encoded(done.stdout) < 140
    assert "failed" not in done.stderr
    assert tree(lab / "two") == tree(lab / "one")


@pytest.mark.slow
def test_what_another_process_leaves_is_done_by_the_first(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAIT", "die")
    done = vitascope(*command(lab, "two", "-q", "--device", "cpu,cpu"))
    assert encoded(done.stdout) == 140
    assert "the process on cpu failed" in done.stderr
    assert "out of order" in done.stderr


@pytest.mark.slow
def test_no_process_outlives_the_first(lab: Path) -> None:
    path = os.pathsep.join(sys.path)
    first = subprocess.Popen(
        [sys.executable, "-m", "vitascope", *command(lab, "two", "-q", "--device", "cpu,cpu")],
        env=os.environ | {"WAIT": "forever", "PYTHONPATH": path},
    )
    while not (lab / "helper").exists() or not (lab / "helper").read_text():
        assert first.poll() is None
        time.sleep(0.05)
    helper = int((lab / "helper").read_text())
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    until = time.monotonic() + 60
    while _runs(helper) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _runs(helper)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_processes_are_divided_among_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(devices.OWN, raising=False)
    assert devices.share("cpu", 3) == ("cpu", 3, ())
    assert devices.share("cpu,cpu", 5) == ("cpu", 2, ("cpu",))
    assert devices.share("cpu,cpu", 1).workers == 1
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert devices.share("cpu,cpu,cpu", 0) == ("cpu", 5, ("cpu", "cpu"))
    with pytest.raises(UserError, match="cuda:7"):
        devices.share("cpu,cuda:7", 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(UserError, match="no GPU"):
        devices.share("all", 0)
    with pytest.raises(UserError, match="uses all its devices by itself"):
        devices.share("cpu,cpu", 4, "ray")
