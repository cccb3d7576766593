"""How a command ends early: stopped by a signal as by Ctrl-C, or silently where nobody reads its output any more."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from vitascope.core.terminal import raw
from vitascope.core.torchrun import launched

STOPPED = 130
"""Exit code of an interrupted command, as in shells."""
UNREAD = 141
"""Exit code where the reader of the output is gone (`| head`): that of SIGPIPE in shells."""
SIGNALS = (signal.SIGTERM, signal.SIGHUP)
"""What batch systems, `kill` and closed terminals send."""


@dataclass
class Request:
    """The signal that asked the command to stop, if any."""

    number: int = signal.SIGINT

    @property
    def code(self) -> int:
        """Exit code of a command stopped by it."""
        return 128 + self.number


@contextmanager
def on_signals() -> Iterator[Request]:
    """Within it signals interrupt as Ctrl-C does, so that all is cleaned up; one sent again ends the process at once.

    Signals that are ignored (`nohup`) or handled already stay so.
    """
    request = Request()

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        request.number = number
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    ours = [number for number in SIGNALS if main and signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, stop)
    try:
        yield request
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def leave(code: int) -> NoReturn:
    """End the command.

    A process of `torchrun` skips Python's finalization: threads that torch has for communication may then ask for the
    interpreter, which aborts the process after all its work (seen twice in some hundred runs, on busy machines).
    """
    if not launched():
        sys.exit(code)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def unread() -> bool:
    """Whether the reader of stdout or stderr is gone; then the interpreter will not complain when it ends."""
    gone = False
    for stream in (raw(sys.stdout), raw(sys.stderr)):  # typer hides broken streams
        try:
            stream.flush()
        except BrokenPipeError:
            gone = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return gone
