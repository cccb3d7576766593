"""Commands that are stopped, that nobody reads to the end, and names that would steer the terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers import blob, vitascope, write_video

WAITING = """
import signal, sys, time
from vitascope.cli import main
from vitascope.core.registry import Registry

def wait(self):
    try:
        print("waiting", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up", flush=True)

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests were started from
signal.signal(signal.SIGINT, signal.default_int_handler)
Registry.names = wait
sys.argv = ["vitascope", "ls", "encoders"]
main.main()
"""


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    """Another Python process with both outputs piped."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], text=True, env=os.environ, **pipes)


ENDING = """
import atexit, sys
from vitascope.cli import main

class Late:
    def __del__(self):
        print("finalized")

late = Late()
atexit.register(print, "at exit")
sys.argv = ["vitascope", "--nonsense"]
main.main()
"""


@pytest.mark.parametrize("launched", [False, True])
def test_a_process_of_torchrun_ends_before_the_interpreter_is_torn_down(
    launched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    if launched:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    process = start(ENDING)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith("error: no such option")
    assert out.splitlines() == (["at exit"] if launched else ["at exit", "finalized"])


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_stops_a_command_as_ctrl_c_does(number: str, code: int) -> None:
    process = start(WAITING)
    assert process.stdout
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(getattr(signal, number))
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert out == "cleaned up\n"
    assert err.strip() == "stopped; rerun the command to resume"


def test_a_reader_that_goes_is_no_error() -> None:
    code = "import sys; from vitascope.cli.main import main; sys.argv = ['vitascope', *sys.argv[1:]]; main()"
    process = start(code, "ls", "encoders", "--json")
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=30) == 141
    process.stderr.close()


@pytest.fixture
def steering(tmp_path: Path) -> Path:
    """Videos in folders whose names paint, erase and turn the direction of writing."""
    for c, label in enumerate(("\x1b[31mred", "\u202egnp")):
        for i in range(3):
            write_video(tmp_path / "data" / label / f"{i}\x1b[2J.mp4", blob(c * np.pi / 2, i))
    (tmp_path / "data" / "\x1b[31mred" / "torn\x9b2J.mp4").write_bytes(b"no video")
    return tmp_path / "data"


def assert_harmless(text: str) -> None:
    assert all(c.isprintable() or c in "\n\t\xa0\u200d" for c in text), ascii(text)


def test_names_do_not_steer_the_terminal(steering: Path, tmp_path: Path) -> None:
    video = next((steering / "\x1b[31mred").glob("0*"))
    done = vitascope("plan", video)
    assert "\\x1b[2J.mp4" in done.stdout
    assert_harmless(done.stdout + done.stderr)
    listed = vitascope("plan", video, "--json").stdout
    assert_harmless(listed)
    assert json.loads(listed)["video"]["path"] == str(video)
    for *arguments, code in (
        ("plan", tmp_path / "\x1b[31mgone.mp4", 2),
        ("plan", steering / "\x1b[31mred" / "torn\x9b2J.mp4", 2),
        ("check", "\x1b[31mnone", 2),
        ("embed", steering, "-m", "pixels/thumbnail", "--store", tmp_path / "store", "--workers", "1", 0),
        ("ls", "store", "--store", tmp_path / "store", 0),
        (*EVALUATE, steering, "-o", tmp_path / "run", "--store", tmp_path / "store", 0),
        ("report", tmp_path / "run", 0),
    ):
        done = vitascope(*arguments, code=code)
        assert_harmless(done.stdout + done.stderr)
    assert_harmless((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))


EVALUATE = ("evaluate", "-m", "pixels/thumbnail", "-t", "knn", "--workers", "1")
