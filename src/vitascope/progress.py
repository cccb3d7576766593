"""What a long run says while it works: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType

PLAIN_SECONDS = 15.0
LIVE_SECONDS = 0.2


@dataclass
class Pace:
    """How far encoding is, and what holds it up."""

    label: str
    total: int
    """Examples to do."""
    done: int = 0
    failed: int = 0
    clips: int = 0
    decode_busy: float = 0.0
    """Share of the time that decoding was at work, 0 to 1."""
    encode_busy: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    @property
    def rate(self) -> float:
        """Clips per second."""
        return self.clips / max(self.seconds, 1e-9)

    @property
    def bottleneck(self) -> str:
        """The busier of the two sides."""
        return "decode" if self.decode_busy > self.encode_busy else "encode"

    def line(self) -> str:
        """The state in one line."""
        left = self.seconds / self.done * (self.total - self.done) if self.done else 0.0
        eta = f"{int(left // 60)}:{int(left % 60):02d}" if self.done else "-:--"
        failed = f" · {self.failed} failed" if self.failed else ""
        return (
            f"{self.label} · {self.done}/{self.total}{failed} · {self.rate:.1f} clips/s · ETA {eta} · "
            f"decode {self.decode_busy:.0%} busy, encode {self.encode_busy:.0%} busy: {self.bottleneck} limits"
        )


class Live:
    """Shows a `Pace`: redrawn in place on a terminal, a line every quarter of a minute elsewhere; silent when told."""

    def __init__(self, pace: Pace, *, quiet: bool = False) -> None:
        self.pace = pace
        self.quiet = quiet
        self.terminal = sys.stderr.isatty()
        self.every = LIVE_SECONDS if self.terminal else PLAIN_SECONDS
        self.shown = time.monotonic()

    def __enter__(self) -> Live:
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

    def _show(self, *, last: bool = False) -> None:
        self.shown = time.monotonic()
        if self.quiet:
            return
        if not self.terminal:
            print(self.pace.line(), file=sys.stderr, flush=True)
            return
        print(f"\r\x1b[2K{self.pace.line()}", end="\n" if last else "", file=sys.stderr, flush=True)
