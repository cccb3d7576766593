"""Several devices in one command: a process each, which fill the store together and leave the rest to the first one.

The others are the same command again, told by the environment which device is theirs. They claim blocks of examples as
any process that shares a store does, so what one leaves undone when it dies is done by the first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, NamedTuple

from vitascope.core.errors import UserError
from vitascope.core.log import log

OWN = "VITASCOPE_DEVICE"
"""Environment variable with the device of a process that another one has started."""
GRACE = 60.0
"""Seconds that the others have to end after the first one has found everything done."""


class Share(NamedTuple):
    """What this process uses: its device and number of decoding processes, and the devices of others to start."""

    device: str
    workers: int
    others: tuple[str, ...] = ()


def is_helper() -> bool:
    """Return whether another process has started this one for one of its devices."""
    return OWN in os.environ


def share(text: str, workers: int, on: str = "") -> Share:
    """Divide the decoding processes among the devices in `cuda:0,cuda:1` or `all`; UserError for one that is not there.

    `workers` is their number for all devices together; 0: all cores but one. A cluster (`on`) divides its own devices.
    """
    if "," not in text and text != "all":
        return Share(text, workers)
    if on:
        raise UserError(f"--device {text}: the cluster at --on {on} uses all its devices by itself; leave out --device")
    from vitascope.core.device import device as pick

    devices = tuple(str(pick(name)) for name in (_gpus() if text == "all" else text.split(",")))
    each = max(1, (workers or (os.cpu_count() or 2) - 1) // len(devices))
    if is_helper():
        threading.Thread(target=_follow, daemon=True).start()
        return Share(os.environ[OWN], each)
    return Share(devices[0], each, devices[1:])


def _gpus() -> list[str]:
    import torch

    if not torch.cuda.device_count():
        raise UserError("--device all: this machine has no GPU that torch can use; leave it out, or name devices")
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def _follow() -> None:
    """End this process when the one that started it is gone."""
    while os.read(0, 1):  # not through sys.stdin, whose lock would be held when the interpreter ends
        pass
    os._exit(0)


@contextmanager
def helped_by(devices: Sequence[str]) -> Iterator[None]:
    """Run the same command for other devices meanwhile; say so if one of them fails, and leave none behind."""
    with tempfile.TemporaryFile() as said:
        processes = [_start(name, said) for name in devices]
        try:
            yield
            for name, process in zip(devices, processes, strict=True):
                _wait(name, process, said)
        finally:
            for process in processes:
                process.kill()
                with process:  # waits for its end and closes its pipe
                    pass


def _start(device: str, said: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "vitascope", *sys.argv[1:]],
        env=os.environ | {OWN: device, "PYTHONPATH": os.pathsep.join(folder or os.getcwd() for folder in sys.path)},
        stdin=subprocess.PIPE,  # never written to: its end tells that this process is gone
        stdout=subprocess.DEVNULL,
        stderr=said,
        start_new_session=True,  # Ctrl-C reaches only the first, which ends the others
    )


def _wait(device: str, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    try:
        code = process.wait(GRACE)
    except subprocess.TimeoutExpired:
        log.warning("the process on %s has not ended although everything is done; it is stopped", device)
        return
    if code:
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
        log.warning("the process on %s failed (%s); its part was done here", device, lines[-1] if lines else code)
