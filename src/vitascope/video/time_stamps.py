"""Frame times from time stamps: which stamps are believed, how the others are replaced, and what is reported.

One rule for all containers. A stamp is believed if it is later than the last believed one. Frames whose stamp is
missing, repeated or earlier are spread evenly up to the next believed stamp. Where stamps start over, or leap ahead by
more than a pause explains (10 s in MPEG streams, whose clocks may jump, as in FFmpeg; an hour elsewhere), time goes on
by the median interval. Shorter pauses are kept, with the last frame on display. All of this is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

import numpy as np

LEAP = {"mpegts": 10.0, "mpeg": 10.0}
"""Longest believable pause by FFmpeg format, seconds (FFmpeg's dts_delta_threshold)."""
LONGEST_LEAP = 3600.0
"""Longest believable pause in other formats, seconds."""
PAUSE, INTERVALS = 1.0, 10
"""A pause is reported if it is longer than this, seconds, and than so many median intervals."""
AHEAD = 250
"""Number of frames within which a believable stamp must follow; otherwise the stamps start over."""
DENSEST = 0.25
"""Frames between two believed stamps are at least this share of the median interval apart."""
RATE = 25.0
"""Frame rate of a stream that states none, frames per second."""
SLOWEST, FASTEST = 600.0, 1e-4
"""Bounds of a credible median interval, seconds: above the first, stamps are ignored; below the second, reported."""


class Clock(NamedTuple):
    """What a container says about the clock of its stamps."""

    tick: float
    """Seconds."""
    rate: float
    """Frames per second in the header, or 0."""
    leap: float = LONGEST_LEAP
    """Longest believable pause, seconds."""


UNKNOWN = Clock(0.0, 0.0)


class Timeline(NamedTuple):
    """Times of frames in seconds from the first, the duration, whether both are estimated, and what to report."""

    seconds: list[float]
    duration: float
    untimed: bool
    warnings: list[str]


def timeline(stamps: Sequence[int | None], last: int, clock: Clock) -> Timeline:
    """The times of frames with these stamps, in order of display; `last` is the length of the last; all in ticks."""
    given = [s for s in stamps if s is not None]
    if 2 * len(given) < len(stamps) or not clock.tick:
        return _untimed(len(stamps), clock.rate, "no time stamps")
    gaps = np.diff(np.asarray(given, np.float64)) * clock.tick
    ahead = gaps[gaps > 0]
    step = float(np.median(ahead)) if len(ahead) else 1 / (clock.rate or RATE)
    if step > SLOWEST:
        return _untimed(len(stamps), 0.0, f"improbable time stamps, a frame every {step:.3g} s")
    pause = max(PAUSE, INTERVALS * step)
    if len(given) == len(stamps) == len(ahead) + 1 and not (gaps > pause).any():
        times, warnings = [(s - given[0]) * clock.tick for s in given], []
    else:
        walk = _Walk(step, pause, clock)
        times = walk.through(stamps)
        warnings = walk.warnings
    length = _last(last * clock.tick, times, clock.rate)
    if pause < length and len(times) > 1:
        length = length if length <= clock.leap else step
        warnings.append(f"the last frame is displayed for {length:.4g} s")
    if step < FASTEST:
        warnings.append(f"improbable time stamps: {1 / step:.3g} frames per second; is the clock of the file wrong?")
    return Timeline(times, times[-1] + length, False, warnings)


def _untimed(count: int, rate: float, cause: str) -> Timeline:
    """Times at a constant rate, by default `RATE`, for want of credible stamps."""
    step = 1 / (rate or RATE)
    times = [i * step for i in range(count)]
    return Timeline(times, count * step, True, [f"{cause}: assuming {1 / step:.4g} frames per second"])


def _last(length: float, times: list[float], rate: float) -> float:
    """Length of the last frame, seconds: that of its packet, or the median interval if that is too short."""
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 1 / rate if rate else 0.0
    return length if length > usual / 2 else usual


@dataclass
class _Walk:
    """One pass over the stamps of a stream that are missing, do not increase or pause; all in seconds."""

    step: float
    """Median interval."""
    pause: float
    """Longer intervals are reported."""
    clock: Clock
    pauses: list[tuple[int, float]] = field(default_factory=list)
    """Frames before a pause, and its length."""
    leaps: list[tuple[int, float]] = field(default_factory=list)
    restarts: list[int] = field(default_factory=list)
    replaced: list[int] = field(default_factory=list)

    def through(self, stamps: Sequence[int | None]) -> list[float]:
        """The times of the frames from the first."""
        self.stamps = [None if s is None else s * self.clock.tick for s in stamps]
        ahead = next((i, s) for i, s in enumerate(self.stamps) if s is not None)
        self.origin = ahead[0] * self.step - ahead[1]
        """Added to a stamp, the time of its frame."""
        self.times, self.believed = [0.0], 0.0
        while len(self.times) < len(stamps):
            place = self._next()
            self._replace(len(self.times)) if place is None else self._go_to(place)
        return self.times

    def _next(self) -> int | None:
        """The next frame whose stamp is believed, if one is near; stamps that fell back need room before it."""
        k, back = len(self.times), 0
        for m in range(k, min(k + AHEAD, len(self.stamps))):
            room = DENSEST * self.step * (back + 1) if m > k or self.times[-1] > self.believed else 0.0
            time = self._time(m)
            if time is not None and time > self.believed and not self._refuted(time, m):
                return m if time - self.times[-1] > room else None
            back += time is not None and time < self.believed
        return None

    def _refuted(self, time: float, m: int) -> bool:
        """Whether the stamp after that of frame m is an earlier one, and nearer to what is expected."""
        after, usual = self._time(m + 1), self.times[-1] + (m - len(self.times) + 1) * self.step
        earlier = after is not None and self.times[-1] < after < time
        return earlier and abs(time - usual) > abs(after - usual - self.step)  # type: ignore[operator]

    def _time(self, m: int) -> float | None:
        """The time of frame m by its stamp."""
        stamp = self.stamps[m] if m < len(self.stamps) else None
        return None if stamp is None else stamp + self.origin

    def _go_to(self, m: int) -> None:
        """Believe the stamp of frame m, and spread the frames before it evenly."""
        k, now, time = len(self.times), self.times[-1], self._time(m) or 0.0
        gap, frames = time - now, m - k + 1
        if gap > max(self.clock.leap, self.pause):
            self.leaps.append((k - 1, gap))
            time = now + frames * self.step
            self.origin += time - now - gap
        elif gap > self.pause + (frames - 1) * self.step:
            self.pauses.append((k - 1, gap))
        self.replaced += range(k, m)
        self.times += [now + (time - now) * i / frames for i in range(1, frames)]
        self.times.append(time)
        self.believed = time

    def _replace(self, k: int) -> None:
        """Place frame k after the last one, since no stamp from its own on is believed soon; stamps may start over."""
        stamp, time = self.stamps[k], self.times[-1] + self.step
        if stamp is not None and stamp + self.origin <= self.believed - self.step / 2:
            self.restarts.append(k - 1)
            self.origin, self.believed = time - stamp, time
        else:
            self.replaced.append(k)
            time = self.times[-1] + float(min([self.step, *np.diff(self.times[-2:])]))
        self.times.append(time)

    @property
    def warnings(self) -> list[str]:
        """What was found, a line per kind."""
        onward = f"; time goes on by the median interval of {self.step:.3g} s"
        lines = []
        if self.replaced:
            what = (
                f"time stamps missing or not increasing: {len(self.replaced)}, the first is of frame {self.replaced[0]}"
            )
            lines.append(f"{what}; these frames are placed evenly between their neighbors")
        if self.restarts:
            place, more = self._place(self.restarts[0]), _more(self.restarts)
            lines.append(f"time stamps start over {place}{more}{onward}")
        if self.leaps:
            frame, length = max(self.leaps, key=itemgetter(1))
            lines.append(f"time stamps leap by {length:.4g} s {self._place(frame)}{_more(self.leaps)}{onward}")
        if self.pauses:
            frame, length = max(self.pauses, key=itemgetter(1))
            lines.append(f"no new frame for {length:.4g} s {self._place(frame)}{_more(self.pauses)}")
        return lines

    def _place(self, frame: int) -> str:
        """After which frame something was found."""
        return f"after frame {frame} ({self.times[frame]:.2f} s)"


def _more(found: Sequence[object]) -> str:
    """How often more something was found."""
    return f", and {len(found) - 1} times more" if len(found) > 1 else ""
