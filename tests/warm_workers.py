"""Decoding processes forked from one that has imported what they need, in place of new interpreters.

A worker of `worker_pool` takes a third of a second of processor time to import its module, far more than it takes to
decode a small video. Tests of the pool itself, and what is run as a command in a process of its own, use real ones.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, NoReturn

from vitascope.core import worker_process

PRELOADED = (
    "vitascope.datasets.audit.file_journal",
    "vitascope.datasets.audit.fingerprint_journal",
    "vitascope.features.decode_group",
    "vitascope.pretrain.data.clip_decoder",
    "vitascope.video.decode",
)
LARGEST = 1 << 17
"""Bytes of a request."""
_server: list[tuple[socket.socket, subprocess.Popen[bytes]]] = []


class WarmProcess:
    """What `worker_pool` needs of a `subprocess.Popen`; the other arguments are always the same there."""

    def __init__(self, arguments: Sequence[str], *, pass_fds: Sequence[int], env: Mapping[str, str], **_: Any) -> None:
        code = arguments.index(worker_process.BOOT)
        request = {"env": dict(env), "folder": os.getcwd(), "arguments": arguments[code + 3 :]}
        self._status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(_started(), [json.dumps(request).encode()], [*pass_fds, theirs.fileno(), 2])
        self.pid = int(self._status.recv(32))
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """The status of the process once it has ended, negative for a signal."""
        if self.returncode is None:
            self._status.settimeout(timeout)
            try:
                self.returncode = int(self._status.recv(32))
            except TimeoutError:
                raise subprocess.TimeoutExpired("worker", timeout or 0) from None
            self._status.close()
        return self.returncode

    def kill(self) -> None:
        """Kill the process, unless it has ended: its number is another's only after `wait`."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


NAMESPACE = SimpleNamespace(Popen=WarmProcess, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired)
"""What stands in for the module `subprocess`."""


def _started() -> socket.socket:
    """The socket of the process that forks."""
    if not _server:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "warm_workers", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            process_group=0,
        )
        theirs.close()
        _server.append((ours, process))
        atexit.register(_stop)
    return _server[0][0]


def _stop() -> None:
    """End the process that forks."""
    requests, process = _server.pop()
    requests.close()
    process.wait()


def _serve(requests: socket.socket) -> None:
    """Fork for each request, and report how the processes end; until the tests have ended."""
    for module in PRELOADED:
        importlib.import_module(module)
    poll, running = select.poll(), dict[int, tuple[int, socket.socket]]()
    poll.register(requests, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready in running:
                pid, status = running.pop(ready)
                poll.unregister(ready)
                os.close(ready)
                with status, contextlib.suppress(OSError):
                    status.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                continue
            request, fds, *_ = socket.recv_fds(requests, LARGEST, 4)
            if not request:
                return
            pipe, memory, status_fd, errors = fds
            status = socket.socket(fileno=status_fd)
            pid = os.fork()
            if not pid:
                requests.close()
                for other, (_, waiting) in running.items():
                    os.close(other)
                    waiting.close()
                status.close()
                _become(json.loads(request), pipe, memory, errors)
            for fd in (pipe, memory, errors):
                os.close(fd)
            ended = os.pidfd_open(pid)
            running[ended] = pid, status
            poll.register(ended, select.POLLIN)
            status.send(b"%d" % pid)


def _become(request: Mapping[str, Any], pipe: int, memory: int, errors: int) -> NoReturn:
    """The worker, in the fork."""
    os.setpgid(0, 0)
    os.dup2(errors, 2)
    os.close(errors)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[:0] = [folder for folder in request["env"]["PYTHONPATH"].split(os.pathsep) if folder not in sys.path]
    slots, stride, *names = request["arguments"]
    worker_process.serve(pipe, memory, int(slots), int(stride), *names)
    os._exit(0)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
