"""Progress of long runs: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import TracebackType

from vitascope.core.terminal import raw
from vitascope.core.text import escaped

PLAIN_SECONDS = 15.0
LIVE_SECONDS = 0.2


@dataclass
class CountProgress(ABC):
    """Counts of a long run, as shown on its progress line."""

    label: str
    total: int
    """Number of items to process."""
    done: int = 0
    failed: int = 0
    started: float = field(default_factory=time.monotonic)
    """Start, seconds on the monotonic clock."""
    reused: int = 0
    """Items of `done` that an earlier run processed; they do not count towards the rate."""

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def counted(self, rate: str) -> str:
        """Items done and failed, the given rate, and the remaining time (elapsed time once complete)."""
        worked = self.done - self.reused
        left = self.seconds / worked * (self.total - self.done) if worked else 0.0
        time_left = f"ETA {_clock(left)}" if worked else "ETA -:--"
        duration = f"in {_clock(self.seconds)}" if self.done >= self.total else time_left
        failed = f" · {self.failed} failed" if self.failed else ""
        return f"{self.done}/{self.total}{failed} · {rate} · {duration}"

    @abstractmethod
    def line(self, width: int = 0) -> str:
        """The state in one line, at most `width` characters if `width` is nonzero."""


@dataclass
class EncodingProgress(CountProgress):
    """Progress of feature extraction, with its bottleneck."""

    clips: int = 0
    decode_busy: float = 0.0
    """Share of wall time the decoding workers were busy, 0 to 1."""
    encode_busy: float = 0.0
    """Share of wall time the encoder was busy, 0 to 1."""

    @property
    def rate(self) -> float:
        """Clips encoded per second."""
        return self.clips / max(self.seconds, 1e-9)

    @property
    def bottleneck(self) -> str:
        """The busier of the two stages, `decode` or `encode`."""
        return "decode" if self.decode_busy > self.encode_busy else "encode"

    def line(self, width: int = 0) -> str:
        """The state in one line, at most `width` characters if `width` is nonzero."""
        count = self.counted(f"{self.rate:.1f} clips/s")
        busy = f"decode {self.decode_busy:.0%} busy, encode {self.encode_busy:.0%} busy"
        full = f"{self.label} · {count} · {busy}: {self.bottleneck} limits"
        if not width or len(full) <= width:
            return full
        return f"{count} · {self.bottleneck} limits · {busy} · {self.label}"[:width]


@dataclass
class ReadingProgress(CountProgress):
    """Progress of reading files."""

    bytes: int = 0
    """Bytes read so far."""

    def line(self, width: int = 0) -> str:
        """The state in one line, at most `width` characters if `width` is nonzero."""
        seconds = max(self.seconds, 1e-9)
        rate = f"{(self.done - self.reused) / seconds:.1f} files/s"
        rate += f", {self.bytes / 1e6 / seconds:.1f} MB/s" if self.bytes else ""
        reused = f" · {self.reused} read before" if self.reused else ""
        full = f"{self.label} · {self.counted(rate)}{reused}"
        return full if not width or len(full) <= width else f"{self.counted(rate)}{reused} · {self.label}"[:width]


@dataclass
class TrainingProgress(CountProgress):
    """Progress of training a probe, in steps."""

    def line(self, width: int = 0) -> str:
        """The state in one line, at most `width` characters if `width` is nonzero."""
        rate = f"{(self.done - self.reused) / max(self.seconds, 1e-9):.1f} steps/s"
        full = f"{self.label} · {self.counted(rate)}"
        return full if not width or len(full) <= width else f"{self.counted(rate)} · {self.label}"[:width]


def _clock(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


class ProgressLine:
    """Prints progress to stderr: redrawn in place on a terminal, elsewhere a line every 15 s; silent if `quiet`."""

    def __init__(self, progress: CountProgress, *, quiet: bool = False) -> None:
        self.progress = progress
        self.quiet = quiet
        self.terminal = sys.stderr.isatty()
        self.every = LIVE_SECONDS if self.terminal else PLAIN_SECONDS
        self.last_drawn = time.monotonic()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.progress.done or self.progress.failed:
            self._draw(last=True)

    def tick(self) -> None:
        """Redraw if the refresh interval has passed."""
        if time.monotonic() - self.last_drawn >= self.every:
            self._draw()

    def resume_at(self, count: int) -> None:
        """Count items that an earlier run processed."""
        self.progress.done = self.progress.reused = count

    def step(self) -> None:
        """Count one more item and redraw if due."""
        self.progress.done += 1
        self.tick()

    def _draw(self, *, last: bool = False) -> None:
        self.last_drawn = time.monotonic()
        if self.quiet:
            return
        if not self.terminal:
            print(escaped(self.progress.line()), file=sys.stderr, flush=True)
            return
        width = 0 if last else shutil.get_terminal_size().columns - 1
        line = escaped(self.progress.line(width))
        print(f"\r\x1b[2K{line}", end="\n" if last else "", file=raw(sys.stderr), flush=True)
