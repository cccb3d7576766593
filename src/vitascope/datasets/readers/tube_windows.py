"""Videos with tubes as examples: one for every second, with the boxes of all its frames."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from vitascope.core.actors import Actor, Keyframes, box
from vitascope.core.media import stem
from vitascope.core.types import Dataset
from vitascope.datasets.readers.tube_files import TubeVideo
from vitascope.datasets.readers.video_files import AnnotatedVideo, Footage, Side, assemble
from vitascope.video.stated_rate import stated_rate

OPENED = 16
"""Files opened at a time."""


def tube_dataset(
    name: str,
    videos: Mapping[str, TubeVideo],
    split: tuple[Sequence[str], Sequence[str]],
    classes: tuple[str, ...],
    *,
    root: Path,
    file: str,
    rate: float,
    official_counts: Mapping[str, int],
    fold: str,
) -> Dataset[Keyframes]:
    """The training and test videos of a split as a dataset; videos may be missing.

    `file` is the path of a video in the authors' distribution with `{}` for its name, and `rate` the frames per second
    of folders of frames; files state their own. An example covers about `rate` frames.
    """
    sides: tuple[tuple[Side, Sequence[str]], ...] = (("train", split[0]), ("test", split[1]))
    files = {video: file.format(video) for _, names in sides for video in names}
    footage = Footage(root, frames=True, names={stem(path) for path in files.values()})
    rates = _rates(footage, files, rate)
    entries = [
        entry
        for side, names in sides
        for video in names
        for entry in _windows(video, videos[video], side, files[video], stated=rates[video], usual=rate)
    ]
    return assemble(
        name,
        entries,
        classes,
        footage=footage,
        axis="",
        official_counts=official_counts,
        fold=fold,
        kind="detection",
        notes=tuple(_notes([videos[video] for video in files])),
    )


def _rates(footage: Footage, files: Mapping[str, str], usual: float) -> dict[str, float | None]:
    """Frames per second that the file of each video states; None for folders of frames and missing videos."""
    found = {video: footage.find(file) for video, file in files.items()}
    paths = {video: os.path.join(footage.root, path) for video, path in found.items() if path is not None}
    opened = {video: path for video, path in paths.items() if not os.path.isdir(path)}
    with ThreadPoolExecutor(OPENED) as pool:
        stated = dict(zip(opened, pool.map(stated_rate, opened.values()), strict=True))
    return {video: (stated[video] or usual) if video in stated else None for video in files}


def _windows(
    name: str, video: TubeVideo, side: Side, file: str, *, stated: float | None, usual: float
) -> Iterator[AnnotatedVideo[Keyframes]]:
    """The examples of a video, named by the number of their first frame, from 1."""
    rate = stated or usual
    by_frame: dict[int, list[Actor]] = defaultdict(list)
    for track, tube in enumerate(video.tubes):
        for frame, corners in zip(tube.frames.tolist(), tube.boxes.tolist(), strict=True):
            by_frame[frame].append(Actor(frame / rate, box(corners), (tube.label,), track))
    for first, stop in windows(video.frames, usual):
        frames = range(first, stop)
        yield AnnotatedVideo(
            id=f"{name}@{first + 1:05d}",
            side=side,
            truth=Keyframes(tuple(f / rate for f in frames), tuple(a for f in frames for a in by_frame.get(f, ()))),
            file=file,
            span=(first / rate, stop / rate),
            group=name,
            fps=None if stated else usual,
        )


def windows(frames: int, rate: float) -> Iterator[tuple[int, int]]:
    """First and last frame (excluded) of equal parts of a video, each as near to `rate` frames as can be."""
    count = max(round(frames / rate), 1)
    yield from pairwise(round(i * frames / count) for i in range(count + 1))


def _notes(videos: Sequence[TubeVideo]) -> Iterator[str]:
    total = sum(len(tube.frames) for video in videos for tube in video.tubes)
    if cut := sum(video.cut for video in videos):
        yield f"{cut} of {total} boxes extended beyond the frame and were cut at it"
    if dropped := sum(video.dropped for video in videos):
        yield f"{dropped} boxes without an area in the frame are left out"
