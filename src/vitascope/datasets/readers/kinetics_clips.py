"""Clips of Kinetics as files of keyframes: their names say which part of the YouTube video they are."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vitascope.core.media import stem
from vitascope.datasets.readers.keyframe_examples import VideoSource
from vitascope.datasets.readers.video_files import walk

NAME = re.compile(r"(.+)_(\d+)_(\d+)")
"""Name of a clip without its ending: YouTube id, start and end in seconds."""


class NamedClip(NamedTuple):
    """A file and the part of the YouTube video that it shows, seconds."""

    path: str
    start: float
    end: float


def clip_sources(times: Mapping[str, Iterable[float]], root: Path) -> dict[str, VideoSource]:
    """The clip of each YouTube id: of several the one that shows most of the annotated `times` of the id."""
    clips, unnamed = _clips(root, times)
    sources: dict[str, VideoSource] = {}
    for video, wanted in times.items():
        if (shown := clips.get(video)) is None:
            name = f"{video}_START_END.mp4"
            why = f"{unnamed[video]} does not say its start; call it {name}" if video in unnamed else f"no {name}"
            path = unnamed.get(video, f"{video}.mp4")
            sources[video] = VideoSource(path=f"{root}/{path}", missing=f"{why} below {root}")
        else:
            clip = _best(shown, list(wanted))
            sources[video] = VideoSource(path=f"{root}/{clip.path}", offset=clip.start, duration=clip.end - clip.start)
    return sources


def _clips(root: Path, wanted: Mapping[str, object]) -> tuple[dict[str, list[NamedClip]], dict[str, str]]:
    """The clips below `root` of the ids `wanted`, by id, and the files that are named after an id alone."""
    clips: dict[str, list[NamedClip]] = defaultdict(list)
    unnamed: dict[str, str] = {}
    for path in sorted(walk(root)):
        name = stem(path)
        if name in wanted:
            unnamed[name] = path
        elif (match := NAME.fullmatch(name)) and match[1] in wanted:
            clips[match[1]].append(NamedClip(path, float(match[2]), float(match[3])))
    return clips, unnamed


def _best(clips: Sequence[NamedClip], times: Sequence[float]) -> NamedClip:
    """The clip that shows most of the times, the first of several."""
    return max(clips, key=lambda clip: sum(clip.start <= time <= clip.end for time in times))
