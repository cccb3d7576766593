"""When annotated keyframes are, by the videos themselves: seconds of the file, or numbers of its frames."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

from vitascope.core.errors import UserError
from vitascope.datasets.consistency import MILLISECONDS, SLACK, Factor, common_factor
from vitascope.datasets.readers.box_sets import BoxSet
from vitascope.datasets.readers.keyframe_examples import VideoSource
from vitascope.video.image_folder import RATE, read_folder
from vitascope.video.inspect import inspect

NUMBER = re.compile(r"\d+(?!.*\d)")
"""The last number in the name of an image."""
MOVIE = (900.0, 1800.0)
"""Range of the keyframes of AVA's movies, seconds."""
DENSE = 3
"""Videos from which on a common factor of times that are too short is said."""
EARLY = 0.95
"""Factors below this one are said; the last keyframe of a short video is often no later."""


@dataclass(frozen=True, slots=True)
class VideoClock:
    """What boxes and times of a video are measured by."""

    times: tuple[float, ...]
    """Times of its frames, seconds."""
    duration: float
    width: int
    """Of the frame as it is displayed, pixels."""
    height: int
    numbers: tuple[int, ...] = ()
    """For a folder of frames, the numbers in the names of the images, ascending."""

    @property
    def interval(self) -> float:
        """Mean interval between frames, seconds."""
        return self.duration / len(self.times)

    def index(self, number: int, base: Base) -> int | None:
        """The index of the frame that is annotated as `number`; None after the last one."""
        if base.by_name and self.numbers:
            return None if number > self.numbers[-1] else max(bisect_right(self.numbers, number) - 1, 0)
        index = number - base.first
        return index if index < len(self.times) else None


class Base(NamedTuple):
    """What numbers of frames count from."""

    first: int = 0
    """Number of the first frame, 0 or 1."""
    by_name: bool = False
    """Whether numbers in folders of frames are those in the names of the images."""


class Timing(NamedTuple):
    """How annotated times were understood."""

    sources: Mapping[str, VideoSource]
    """The videos, with the times of their frames where annotations count frames."""
    late: frozenset[tuple[int, float]]
    """Keyframes, by number of the video and annotated time, that lie after the end of their video."""
    about: str
    """The unit, in words."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Annotated:
    """The keyframes of a video beside its clock."""

    name: str
    times: Sequence[float]
    """As annotated, ascending."""
    clock: VideoClock | None
    fps: float

    def placed(self, base: Base | None) -> dict[float, float | None]:
        """Seconds of the file by annotated time, None after the end; `base` if times are numbers of frames."""
        if base is None:
            latest = float("inf") if self.clock is None else self.clock.duration + self.clock.interval
            return {t: t if t <= latest else None for t in self.times}
        if self.clock is None:
            return {n: max(n - base.first, 0) / self.fps for n in self.times}
        indices = {n: self.clock.index(int(n), base) for n in self.times}
        return {n: None if i is None else self.clock.times[i] for n, i in indices.items()}

    def stretch(self, base: Base | None) -> float:
        """The last keyframe relative to the end of the video."""
        assert self.clock
        if base is None:
            return self.times[-1] / self.clock.duration if self.clock.duration else 1.0
        return (self.times[-1] - base.first + 1) / len(self.clock.times)


def read_clock(source: VideoSource) -> VideoClock | None:
    """The clock of a video; None if it is missing or cannot be read, which is said where its frames are needed."""
    if source.missing:
        return None
    try:
        video = inspect(source.path, fps=source.fps)
        files = read_folder(source.path).files if video.kind == "frames" else ()
    except (UserError, OSError):
        return None
    found = [NUMBER.search(os.path.splitext(os.path.basename(name))[0]) for name in files]
    numbers = tuple(int(match[0]) for match in found if match)
    ascending = len(numbers) == len(files) and all(a < b for a, b in pairwise(numbers))
    return VideoClock(video.times, video.duration, video.width, video.height, numbers if ascending else ())


def timing(rows: BoxSet, sources: Mapping[str, VideoSource], clocks: Mapping[str, VideoClock | None]) -> Timing:
    """Place the keyframes of `rows` in their videos; `UserError` if most lie after the end, with the likely cause."""
    annotated = [
        _Annotated(name := rows.videos[number], times, clocks[name], sources[name].fps or RATE)
        for number, times in rows.keyframes().items()
    ]
    _check_numbers(rows, annotated)
    base = _base(annotated) if rows.counts_frames else None
    places = {video.name: video.placed(base) for video in annotated}
    late = {
        (number, t) for number, name in enumerate(rows.videos) for t, at in places.get(name, {}).items() if at is None
    }
    known = [video for video in annotated if video.clock]
    over = [video for video in known if None in places[video.name].values()]
    if 2 * len(over) > len(known):
        raise UserError(_too_late(rows, over, known, base))
    if base:
        sources = {name: _with_times(source, places.get(name, {})) for name, source in sources.items()}
    return Timing(sources, frozenset(late), _about(rows, annotated, base), tuple(_notes(known, sources, base)))


def _with_times(source: VideoSource, places: Mapping[float, float | None]) -> VideoSource:
    return replace(source, times={t: at for t, at in places.items() if at is not None})


def _check_numbers(rows: BoxSet, annotated: Sequence[_Annotated]) -> None:
    """Raise for times before the first frame, and numbers of frames that are not whole."""
    what = f"{rows.tables[0].time_column or 'time'}"
    for video in annotated:
        odd = [t for t in video.times if t < 0 or (rows.counts_frames and t != int(t))]
        if odd:
            rule = "frames are whole numbers from 0 or 1" if rows.counts_frames else "the first frame is at 0 s"
            raise UserError(f"{rows.tables[0].path}: video {video.name!r} has {what} {odd[0]:g}; {rule}")


def _base(annotated: Sequence[_Annotated]) -> Base:
    """What frames are counted from: 1 if no frame is 0, and the first is 1 or a last one the length of its video."""
    folders = [video for video in annotated if video.clock and video.clock.numbers]
    by_name = bool(folders) and all(v.times[0] >= v.clock.numbers[0] for v in folders if v.clock)
    counted = [video for video in annotated if not (by_name and video in folders)]
    if not counted or min(video.times[0] for video in counted) < 1:
        return Base(0, by_name)
    ends = any(v.clock is not None and v.times[-1] == len(v.clock.times) for v in counted)
    starts = 2 * sum(video.times[0] == 1 for video in counted) >= len(counted)
    return Base(int(ends or starts), by_name)


def _too_late(rows: BoxSet, over: Sequence[_Annotated], known: Sequence[_Annotated], base: Base | None) -> str:
    """The message for keyframes after the end of most videos."""
    first = over[0]
    assert first.clock
    unit = "frame " if base else ""
    end = f"{len(first.clock.times)} frames" if base else f"{first.clock.duration:.4g} s"
    where = f"{first.name!r} has keyframes up to {unit}{first.times[-1]:.10g}{'' if base else ' s'} and {end}"
    cause = _cause(over, known, base) or "are these the annotated videos, and times from the first frame of each file?"
    return f"{rows.tables[0].path}: keyframes after the end of {len(over)} of {len(known)} videos ({where}); {cause}"


def _cause(over: Sequence[_Annotated], known: Sequence[_Annotated], base: Base | None) -> str:
    """The likely reason that times are too late, in words; empty if there is none."""
    factor = _factor(known, base)
    if base:
        return f"all by a factor of {factor.value:.3g}{factor.cause()}" if factor else ""
    numbers = [v for v in over if v.clock and v.times[-1] <= len(v.clock.times) * (1 + SLACK)]
    if 2 * len(numbers) > len(over) and all(t == int(t) for v in over for t in v.times):
        return "these are numbers of frames, not seconds: call the column `frame`"
    if min(v.times[0] for v in over) >= MOVIE[0] and max(v.times[-1] for v in over) <= MOVIE[1]:
        return "these are seconds of AVA's movies: give ava=FOLDER, or times from the first frame of each file"
    if max(v.stretch(base) for v in over) > MILLISECONDS / 4:
        return "these look like milliseconds: divide them by 1000"
    return f"all by a factor of {factor.value:.3g}{factor.cause()}; correct the times" if factor else ""


def _factor(known: Sequence[_Annotated], base: Base | None) -> Factor | None:
    ratios = [video.stretch(base) for video in known]
    return common_factor([r * (1 - SLACK) for r in ratios], [r * (1 + SLACK) for r in ratios])


def _about(rows: BoxSet, annotated: Sequence[_Annotated], base: Base | None) -> str:
    column = f" (column {rows.tables[0].time_column!r})" if rows.tables[0].column_named else ""
    if base is None:
        return f"times in seconds{column}"
    named = sum(bool(video.clock and video.clock.numbers) for video in annotated) if base.by_name else 0
    if named == len(annotated):
        return f"times are frames{column}, by the numbers of the images"
    images = ", in folders by the numbers of the images" if named else ""
    return f"times are frames{column}, counted from {base.first}{images}"


def _notes(known: Sequence[_Annotated], sources: Mapping[str, VideoSource], base: Base | None) -> Iterator[str]:
    unrated = [v.name for v in known if v.clock and v.clock.numbers and not sources[v.name].fps]
    if unrated:
        which = f"{unrated[0]!r} is a folder" if len(unrated) == 1 else f"{len(unrated)} videos are folders"
        yield f"{which} of frames, taken at {RATE:g} frames per second; a column `fps` says otherwise"
    lengths = [len(v.clock.times) if base else v.clock.duration for v in known if v.clock]
    factor = _factor(known, base)
    if len(known) >= DENSE and max(lengths) > 1.2 * min(lengths) and factor and factor.high < EARLY and factor.cause():
        yield (
            f"the last keyframes of all videos are at {factor.value:.3g} of their length{factor.cause()}; are the "
            "times right?"
        )
