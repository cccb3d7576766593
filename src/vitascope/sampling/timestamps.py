"""Time stamps within the span of a video, shared by the samplers, and the check of their fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.fields import check_fields
from vitascope.core.types import Clip, Crop, Span, Video


def sampled_span(video: Video, frames: int) -> Span:
    """The interval to sample from, seconds; raises UserError if it is empty or `frames` is below 1."""
    if frames < 1:
        raise UserError(f"{video.path}: a clip needs at least one frame, not {frames}")
    if video.duration > 0 and not video.start < video.end:
        span, length = f"{video.span[0]:g}-{video.span[1]:g} s", f"{video.duration:g} s"
        raise UserError(f"{video.path}: the span {span} has no overlap with the video of {length}; correct the span")
    return video.start, video.end


def centers(video: Video, span: Span, frames: int) -> tuple[float, ...]:
    """The center of each of `frames` equal parts of `span`, clamped so that no frame after the video's span is used."""
    step = (span[1] - span[0]) / frames
    after = video.visible().stop
    whole = after == len(video.times)
    latest = video.end if whole else min(video.end, video.times[after] - 1.001 * video.tolerance(after))
    return tuple(min(span[0] + (i + 0.5) * step, latest) for i in range(frames))


def indexed(video: Video, indices: Sequence[int], interval: tuple[int, int]) -> Clip:
    """A clip of the visible frames `indices`, clamped at the ends, that represents the half-open frame `interval`."""
    visible = video.visible()
    times = tuple(max(video.times[visible[min(max(i, 0), len(visible) - 1)]], video.start) for i in indices)
    first, stop = (min(max(i, 0), len(visible)) for i in interval)
    begin = max(video.times[visible[min(first, len(visible) - 1)]], video.start)
    return Clip(times, (begin, video.end if stop == len(visible) else video.times[visible[stop]]))


def strided(video: Video, first: int, frames: int, stride: int) -> Clip:
    """A clip of `frames` visible frames, `stride` apart, starting at frame `first`."""
    return indexed(video, range(first, first + frames * stride, stride), (first, first + frames * stride))


def cropped(windows: Sequence[Clip], crops: Sequence[Crop]) -> list[Clip]:
    """All combinations of windows and crops; crops of one window are adjacent."""
    return [replace(clip, crop=crop) for clip in windows for crop in crops]


def checked(sampler: Any, *floats: str) -> None:
    """Check the fields of a sampler and convert those in `floats` to float, so that 2 and 2.0 are the same sampler.

    Raises UserError that names every invalid field.
    """
    check_fields(sampler, type(sampler).__name__.lower())
    for name in floats:
        value = getattr(sampler, name)
        if isinstance(value, tuple):
            object.__setattr__(sampler, name, tuple(map(float, value)))
        elif value is not None:
            object.__setattr__(sampler, name, float(value))
