"""Examples of spatio-temporal localization, one per keyframe, of annotated rows as columns.

Annotations name a keyframe by the time of their authors, such as a second of a whole movie; a file may begin later than
that clock does. `VideoSource.offset` is the annotated time of the first frame of the file; truth and spans are relative
to the file, ids keep the annotated time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray

from vitascope.core.actors import Actor, Box, Keyframes
from vitascope.core.errors import UserError
from vitascope.core.media import VIDEO_SUFFIXES, suffix
from vitascope.core.types import Dataset, Example, Fold
from vitascope.datasets.readers.video_files import SIDES, AnnotatedVideo, Footage, Side, locate_videos
from vitascope.metrics.boxes import Frames, joint_codes

Array: TypeAlias = NDArray[Any]

CONTEXT = 6.0
"""Seconds before and after a keyframe that clips may show by default: 64 frames 4 apart take 10.2 s at 25 a second."""
KEYFRAME_SLACK = 0.5
"""Seconds by which a keyframe may lie outside of its file, since headers are imprecise."""
NO_FRAMES = Frames(np.zeros(0, np.int64), np.zeros(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorRows:
    """Annotated boxes as columns, a row per box and label; rows of one person and box are one actor.

    A row of a class that is not evaluated keeps its frame and gives no actor.
    """

    videos: tuple[str, ...]
    """Names of the videos."""
    video: Int64[Array, "n"]
    """Index of the video."""
    time: Float64[Array, "n"]
    """Annotated time, seconds, or number of the frame where `VideoSource.times` has its time."""
    box: Float64[Array, "n 4"]
    """Left, top, right, bottom as fractions of the frame."""
    label: Int64[Array, "n"]
    """Index of the class; -1: not evaluated."""
    person: Int64[Array, "n"] | None = None
    """Number of the person within its video; None if unknown: equal boxes of a frame are one actor."""
    empty: Frames = NO_FRAMES
    """Frames without people."""

    def without(self, dropped: Bool[Array, "n"], empty: Bool[Array, "m"]) -> ActorRows:
        """The rows that are not `dropped`, and the frames without people that are not in `empty`."""
        return replace(
            self,
            video=self.video[~dropped],
            time=self.time[~dropped],
            box=self.box[~dropped],
            label=self.label[~dropped],
            person=None if self.person is None else self.person[~dropped],
            empty=Frames(self.empty.video[~empty], self.empty.time[~empty]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSource:
    """The file of a video, and the annotated time at which it begins."""

    path: str
    offset: float = 0.0
    """Annotated time of the first frame, seconds."""
    fps: float | None = None
    """Frame rate of a folder of frames."""
    duration: float | None = None
    """Duration of the file, seconds, if known: keyframes after it are missing."""
    missing: str = ""
    """Reason that there is no file; empty if there is one."""
    times: Mapping[float, float] = field(default_factory=dict)
    """Seconds of the file by annotated time, where annotations count frames; empty: annotated times less `offset`."""
    seconds: frozenset[int] = frozenset()
    """Of a folder of files called after seconds, the annotated seconds that have one; empty for anything else."""

    def time(self, annotated: float) -> float:
        """Seconds of the file."""
        return round(self.times.get(annotated, annotated - self.offset), 6)

    def problem(self, annotated: float) -> str:
        """Reason that the keyframe at an annotated time cannot be shown; empty if it can."""
        time = self.time(annotated)
        end = np.inf if self.duration is None else self.duration
        if not self.missing and self.seconds and math.floor(annotated) not in self.seconds:
            return f"no {math.floor(annotated)}.mp4 in {self.path}"
        if self.missing or -KEYFRAME_SLACK <= time <= end + KEYFRAME_SLACK:
            return self.missing
        if time < 0 or self.duration is None:
            return f"the keyframe at {annotated:g} s is before the file, which begins at {self.offset:g} s"
        return f"the keyframe at {annotated:g} s is after the file, which ends at {self.offset + self.duration:g} s"


class KeyframeExamples(NamedTuple):
    """The examples of some videos, by video and time, and those without a file as {id: reason}."""

    examples: tuple[Example[Keyframes], ...]
    missing: dict[str, str]


def keyframe_id(video: str, time: float, *, digits: int = 1) -> str:
    """The id of a keyframe: the video and the annotated time with at least `digits` before the point (AVA: 4)."""
    whole, _, rest = f"{time:.6f}".partition(".")
    rest = rest.rstrip("0")
    return f"{video}@{whole.zfill(digits)}{f'.{rest}' if rest else ''}"


def keyframe_of(example_id: str) -> tuple[str, float]:
    """The video and the annotated time in the id of a keyframe; ValueError if it is none."""
    video, at, time = example_id.rpartition("@")
    if not at:
        raise ValueError(f"{example_id!r} is not the id of a keyframe")
    return video, float(time)


def video_sources(
    videos: Iterable[str],
    footage: Footage,
    *,
    folder: str = "videos",
    offset: float = 0.0,
    fps: float | None = None,
) -> dict[str, VideoSource]:
    """Where each video is: the file of its name below the folder of `footage`, or the reason that there is none.

    Of several files of one name that in `folder` is taken. Names may have the ending of a video.
    """
    files = {name: f"{folder}/{name}{'' if suffix(name) in VIDEO_SUFFIXES else '.mp4'}" for name in videos}
    entries = [AnnotatedVideo(id=name, side="train", truth=None, file=f, also=(name,)) for name, f in files.items()]
    examples, missing = locate_videos(entries, footage)
    return {e.id: VideoSource(path=e.path, offset=offset, fps=fps, missing=missing.get(e.id, "")) for e in examples}


def keyframe_examples(
    rows: ActorRows, sources: Mapping[str, VideoSource], *, context: float = CONTEXT, digits: int = 1
) -> KeyframeExamples:
    """An example for each annotated frame: by video as in `rows.videos`, then by time.

    `context` is the number of seconds around a keyframe that clips may show.
    """
    examples: list[Example[Keyframes]] = []
    missing: dict[str, str] = {}
    clock = _Clock(sources, context, digits)
    for video, time, actors in _frames(rows):
        example = clock.example(rows.videos[video], time, actors)
        examples.append(example)
        if reason := sources[rows.videos[video]].problem(time):
            missing[example.id] = reason
    return KeyframeExamples(tuple(examples), missing)


class _Clock(NamedTuple):
    """Turns annotated times into ids and into times of the files."""

    sources: Mapping[str, VideoSource]
    context: float
    digits: int

    def example(self, video: str, annotated: float, actors: Sequence[_ActorAt]) -> Example[Keyframes]:
        source = self.sources[video]
        time = source.time(annotated)
        return Example(
            id=keyframe_id(video, annotated, digits=self.digits),
            path=source.path,
            truth=Keyframes((time,), tuple(Actor(time, box, labels, track) for box, labels, track in actors)),
            span=(time - self.context, time + self.context),
            group=video,
            fps=source.fps,
        )


_ActorAt: TypeAlias = tuple[Box, tuple[int, ...], int]
"""Box, labels and track of an actor."""


def _frames(rows: ActorRows) -> Iterator[tuple[int, float, list[_ActorAt]]]:
    """The annotated frames with their actors: index of the video, annotated time, actors as they are listed."""
    video, time = (np.concatenate(pair) for pair in ((rows.video, rows.empty.video), (rows.time, rows.empty.time)))
    moment = np.unique(time, return_inverse=True)[1]
    frame = joint_codes(video, moment)
    first = np.full(int(frame.max(initial=-1)) + 1, 0)
    first[frame[::-1]] = np.arange(len(frame))[::-1]
    actors: list[list[_ActorAt]] = [[] for _ in first]
    for where, actor in _actors(rows, frame[: len(rows.video)]):
        actors[where].append(actor)
    yield from zip(video[first].tolist(), time[first].tolist(), actors, strict=True)


def _actors(rows: ActorRows, frame: Int64[Array, "n"]) -> Iterator[tuple[int, _ActorAt]]:
    """The actors in the order in which they are listed first: number of the frame, and the actor."""
    used = np.flatnonzero(rows.label >= 0)
    if not used.size:
        return
    corners = [np.unique(column, return_inverse=True) for column in rows.box[used].T]
    person = np.full(len(used), -1) if rows.person is None else rows.person[used]
    code = joint_codes(frame[used], person, *(place for _, place in corners))
    order = np.lexsort((rows.label[used], code))
    starts = np.flatnonzero(np.append(True, np.diff(code[order]) != 0))
    # the first row of each actor, whose rank is its place in the file
    lead = np.minimum.reduceat(order, starts)
    labels = rows.label[used][order].tolist()
    ends = [*starts[1:].tolist(), len(order)]
    values = [value.tolist() for value, _ in corners]
    where, tracks = frame[used][lead].tolist(), person[lead].tolist()
    boxes = np.column_stack([place[lead] for _, place in corners]).tolist()
    known: dict[tuple[int, ...], tuple[int, ...]] = {}
    begins = starts.tolist()
    for i in np.argsort(lead, kind="stable").tolist():
        several = tuple(dict.fromkeys(labels[begins[i] : ends[i]]))
        # equal numbers and tuples are one object: there are hundreds of thousands of actors
        left, top, right, bottom = (values[k][boxes[i][k]] for k in range(4))
        yield where[i], ((left, top, right, bottom), known.setdefault(several, several), tracks[i])


def keyframe_dataset(
    name: str,
    sides: Mapping[Side, KeyframeExamples],
    classes: tuple[str, ...],
    *,
    root: str,
    key: str = "",
    axis: Literal["appearance", "motion", ""] = "",
    official_counts: Mapping[str, int] | None = None,
    class_groups: Mapping[str, tuple[int, ...]] | None = None,
    fold: str = "train/val",
    notes: Iterable[str] = (),
) -> Dataset[Keyframes]:
    """The dataset of a given split; `UserError` for a side without keyframes, or a keyframe on both.

    A video with keyframes on both sides is no group, since no fold may divide one.
    """
    for side in SIDES:
        if not sides[side].examples:
            raise UserError(f"{root}: the annotations of {name} list no {side} keyframes")
    ids = {side: tuple(e.id for e in sides[side].examples) for side in SIDES}
    if both := sorted(set(ids["train"]) & set(ids["test"])):
        raise UserError(f"{root}: {len(both):,} keyframes of {name} are in training and in test, such as {both[0]!r}")
    train, test = ({e.group for e in sides[side].examples} for side in SIDES)
    listed = tuple(e for side in SIDES for e in sides[side].examples)
    divided = {e.id: e.group for e in listed if e.group in train & test and e.group is not None}
    return Dataset(
        name=name,
        key=key,
        examples=tuple(replace(e, group=None) if e.id in divided else e for e in listed) if divided else listed,
        classes=classes,
        folds=(Fold(name=fold, train=ids["train"], test=ids["test"]),),
        axis=axis,
        missing_files={i: why for side in SIDES for i, why in sides[side].missing.items()},
        root=root,
        official_counts=dict(official_counts or {}),
        kind="detection",
        notes=tuple(notes),
        class_groups=dict(class_groups or {}),
        divided_groups=divided,
    )
