"""What samplers share: the arithmetic of instants within a video's span, and the checks of their fields."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import CLOCK, Clip, Crop, Span, Video


def looked_at(video: Video, frames: int) -> Span:
    """The part to look at, seconds, after checking that there is one."""
    if frames < 1:
        raise UserError(f"{video.path}: a clip has at least one frame, not {frames}")
    if video.duration > 0 and not video.start < video.end:
        asked, length = f"{video.span[0]:g}-{video.span[1]:g} s", f"{video.duration:g} s"
        raise UserError(f"{video.path}: nothing to look at in span {asked} of a video of {length}; correct the span")
    return video.start, video.end


def centers(video: Video, span: Span, frames: int) -> tuple[float, ...]:
    """The middle of each of `frames` equal parts of `span`, none so late that a frame after the video's end shows."""
    step = (span[1] - span[0]) / frames
    after = video.visible().stop
    latest = video.end if after == len(video.times) else min(video.end, video.times[after] - 1.001 * CLOCK)
    return tuple(min(span[0] + (i + 0.5) * step, latest) for i in range(frames))


def indexed(video: Video, indices: Sequence[int], stretch: tuple[int, int]) -> Clip:
    """The visible frames `indices`, held at the ends, speaking for the visible frames of the half-open `stretch`."""
    shown = video.visible()
    times = tuple(max(video.times[shown[min(max(i, 0), len(shown) - 1)]], video.start) for i in indices)
    first, stop = (min(max(i, 0), len(shown)) for i in stretch)
    begin = max(video.times[shown[min(first, len(shown) - 1)]], video.start)
    return Clip(times, (begin, video.end if stop == len(shown) else video.times[shown[stop]]))


def strided(video: Video, first: int, frames: int, stride: int) -> Clip:
    """`frames` visible frames, `stride` apart from `first` on, speaking for all frames of that stretch."""
    return indexed(video, range(first, first + frames * stride, stride), (first, first + frames * stride))


def cropped(windows: Sequence[Clip], crops: Sequence[Crop]) -> list[Clip]:
    """Every clip through every crop; the crops of one clip stand together."""
    return [replace(clip, crop=crop) for clip in windows for crop in crops]


def check_word(what: str, value: str, known: tuple[str, str]) -> None:
    """ValueError unless `value` is one of the words `known`."""
    if value not in known:
        raise UserError(f"{what} {value!r}{nearest(str(value), known)}; there are {', '.join(known)}")


def check_counts(sampler: Any, *names: str) -> None:
    """ValueError unless the fields `names` of `sampler` are whole numbers from 1."""
    for name in names:
        value = getattr(sampler, name)
        if value < 1:
            raise UserError(f"{type(sampler).__name__.lower()}: {name} is a whole number from 1, not {value!r}")


def check_seconds(sampler: Any, name: str) -> None:
    """Check a positive number of seconds, or None where the field may be, and hold it as a float: 2 and 2.0 are one."""
    value = getattr(sampler, name)
    optional = next(f.default for f in fields(sampler) if f.name == name) is None
    if value is None and optional:
        return
    if not 0 < value < math.inf:
        raise UserError(f"{type(sampler).__name__.lower()}: {name} is a number of seconds above 0, not {value!r}")
    object.__setattr__(sampler, name, float(value))


def check_range(sampler: Any, name: str, most: float) -> None:
    """Check a range of positive numbers up to `most`, and hold it as floats."""
    low, high = getattr(sampler, name)
    if not 0 < low <= high <= most:
        raise UserError(f"randomcrop: {name} is a range low..high above 0, at most {most:g}, not {low:g}..{high:g}")
    object.__setattr__(sampler, name, (float(low), float(high)))
