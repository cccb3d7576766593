"""The files of AVA's movies and where they begin: whole movies, minutes 15 to 30 of them, their seconds or frames.

What is annotated lies between 900 and 1800 s. A file shorter than `SHORTEST` is the part from 900 s on, as SlowFast and
mmaction2 cut it; so are folders of frames, which have 30 frames per second. Files of a second each, as AlphAction cuts
them, are called after the second of the movie at which they begin, or after that of the annotated part.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from vitascope.core.names import loose
from vitascope.datasets.readers.keyframe_examples import VideoSource, video_sources
from vitascope.datasets.readers.video_files import Footage
from vitascope.video.segment_folder import list_segments
from vitascope.video.stated_duration import stated_duration

CUT = 900.0
"""Where the annotated part of a movie begins, seconds."""
SHORTEST = 1000.0
"""Files shorter than this, seconds, are the annotated part and not the movie: all movies have more than 30 minutes."""
RATE = 30.0
"""Frames per second of folders of frames."""
FOLDERS = "videos_15min"
"""Folder of the cut movies in SlowFast and mmaction2; of several files of one name, the one there is taken."""
NUMBER = re.compile(r"(\d+)\.\w+$")
FIRST_NAMES = ("{}_000001.jpg", "img_00001.jpg", "image_000001.jpg", "{}_000000.jpg", "img_00000.jpg")
"""Names of the frame at 900 s: SlowFast's, mmaction2's, ACAR's; counted from 1 or from 0."""


def movie_sources(videos: Iterable[str], footage: Footage) -> tuple[dict[str, VideoSource], list[str]]:
    """Where each movie is and begins, and notes on how that was recognized.

    The header of each file is opened for its duration, nothing is decoded.
    """
    forms: Counter[str] = Counter()
    sources = video_sources(videos, footage, folder=FOLDERS)
    for name, source in sources.items():
        if not source.missing:
            form, sources[name] = _placed(name, source)
            forms[form] += 1
    notes = [f"{count:,} of {len(sources):,} movies are {form}" for form, count in forms.most_common()]
    gaps = sum(max(s.seconds) - min(s.seconds) + 1 - len(s.seconds) for s in sources.values() if s.seconds)
    return sources, [*notes, *([f"{gaps:,} seconds of them have no file: clips jump over these"] if gaps else [])]


def _placed(name: str, source: VideoSource) -> tuple[str, VideoSource]:
    """What a file is, in words, and the source with the time at which it begins."""
    if os.path.isdir(source.path) and (segments := list_segments(source.path)):
        return _seconds(source, [segment.second for segment in segments])
    if os.path.isdir(source.path):
        first = _first_frame(name, source.path)
        offset = CUT + max(first - 1, 0) / RATE
        return f"folders of frames, taken for {RATE:g} a second from {CUT:g} s on", replace(
            source, offset=offset, fps=RATE
        )
    duration = stated_duration(source.path)
    cut = f"cut: their files are taken to begin at {CUT:g} s"
    if duration is None:
        inside = any(loose(FOLDERS) == loose(part) for part in source.path.split("/")[:-1])
        return (cut, replace(source, offset=CUT)) if inside else ("of unknown duration, taken for whole", source)
    if duration < SHORTEST:
        return cut, replace(source, offset=CUT, duration=duration)
    return "whole", replace(source, duration=duration)


def _seconds(source: VideoSource, numbers: list[int]) -> tuple[str, VideoSource]:
    """The form and the source of a folder of files of a second each, called `numbers`, ascending."""
    whole = numbers[-1] >= CUT
    zero = 0 if whole else int(CUT)
    form = f"cut into files of a second, counted from {'the start of the movie' if whole else f'{CUT:g} s on'}"
    seconds = frozenset(number + zero for number in numbers)
    return form, replace(source, offset=float(min(seconds)), seconds=seconds)


def _first_frame(name: str, folder: str) -> int:
    """The number of the first frame in a folder; the folder is listed only if it has none of the usual names."""
    if any(os.path.exists(os.path.join(folder, pattern.format(name))) for pattern in FIRST_NAMES):
        return 1
    numbers = [int(match[1]) for entry in os.listdir(folder) if (match := NUMBER.search(entry))]
    return min(numbers, default=1)
