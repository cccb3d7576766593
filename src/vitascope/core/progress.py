"""What a long run says while it works: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import TracebackType

PLAIN_SECONDS = 15.0
LIVE_SECONDS = 0.2


@dataclass
class CountProgress(ABC):
    """How far a long run is."""

    label: str
    total: int
    """Things to do."""
    done: int = 0
    failed: int = 0
    started: float = field(default_factory=time.monotonic)
    known: int = 0
    """Of those done the ones that cost no time, being known from before."""

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    def counted(self, rate: str) -> str:
        """How many are done, how many failed, how fast it goes and how long it will take."""
        worked = self.done - self.known
        left = self.seconds / worked * (self.total - self.done) if worked else 0.0
        time_left = f"ETA {_clock(left)}" if worked else "ETA -:--"
        whole = f"in {_clock(self.seconds)}" if self.done >= self.total else time_left
        failed = f" · {self.failed} failed" if self.failed else ""
        return f"{self.done}/{self.total}{failed} · {rate} · {whole}"

    @abstractmethod
    def line(self, width: int = 0) -> str:
        """The state in one line, of at most `width` characters where that is given."""


@dataclass
class EncodingProgress(CountProgress):
    """How far encoding is, and what holds it up."""

    clips: int = 0
    decode_busy: float = 0.0
    """Share of the time that decoding was at work, 0 to 1."""
    encode_busy: float = 0.0

    @property
    def rate(self) -> float:
        """Clips per second."""
        return self.clips / max(self.seconds, 1e-9)

    @property
    def bottleneck(self) -> str:
        """The busier of the two sides."""
        return "decode" if self.decode_busy > self.encode_busy else "encode"

    def line(self, width: int = 0) -> str:
        """The state in one line, of at most `width` characters where that is given."""
        count = self.counted(f"{self.rate:.1f} clips/s")
        busy = f"decode {self.decode_busy:.0%} busy, encode {self.encode_busy:.0%} busy"
        full = f"{self.label} · {count} · {busy}: {self.bottleneck} limits"
        if not width or len(full) <= width:
            return full
        return f"{count} · {self.bottleneck} limits · {busy} · {self.label}"[:width]


@dataclass
class ReadingProgress(CountProgress):
    """How far the reading of files is."""

    bytes: int = 0
    """Read so far."""

    def line(self, width: int = 0) -> str:
        """The state in one line, of at most `width` characters where that is given."""
        seconds = max(self.seconds, 1e-9)
        rate = f"{(self.done - self.known) / seconds:.1f} files/s, {self.bytes / 1e6 / seconds:.1f} MB/s"
        known = f" · {self.known} read before" if self.known else ""
        full = f"{self.label} · {self.counted(rate)}{known}"
        return full if not width or len(full) <= width else f"{self.counted(rate)}{known} · {self.label}"[:width]


@dataclass
class Training(CountProgress):
    """How far the training of a head is; without a label it is not shown."""

    def line(self, width: int = 0) -> str:
        """The state in one line, of at most `width` characters where that is given."""
        rate = f"{(self.done - self.known) / max(self.seconds, 1e-9):.1f} steps/s"
        full = f"{self.label} · {self.counted(rate)}"
        return full if not width or len(full) <= width else f"{self.counted(rate)} · {self.label}"[:width]


def _clock(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


class ProgressLine:
    """Shows a count: redrawn in place on a terminal, a line every quarter of a minute elsewhere; silent when told."""

    def __init__(self, pace: CountProgress, *, quiet: bool = False) -> None:
        self.pace = pace
        self.quiet = quiet
        self.terminal = sys.stderr.isatty()
        self.every = LIVE_SECONDS if self.terminal else PLAIN_SECONDS
        self.shown = time.monotonic()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.pace.done or self.pace.failed:
            self._show(last=True)

    def tick(self) -> None:
        """Redraw if it is time to."""
        if time.monotonic() - self.shown >= self.every:
            self._show()

    def known(self, count: int) -> None:
        """So many were done before."""
        self.pace.done = self.pace.known = count

    def step(self) -> None:
        """One more is done."""
        self.pace.done += 1
        self.tick()

    def _show(self, *, last: bool = False) -> None:
        self.shown = time.monotonic()
        if self.quiet:
            return
        if not self.terminal:
            print(self.pace.line(), file=sys.stderr, flush=True)
            return
        width = 0 if last else shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[2K{self.pace.line(width)}", end="\n" if last else "", file=sys.stderr, flush=True)
