"""Tubes of actions as two pickles of the community have them, read without running them.

`read_videos` reads {video: {numf, label, annotations: [{sf, ef, label, boxes}]}} with the first frame, the one after
the last (both from 0) and boxes x, y, width, height in pixels: the corrected annotations of UCF101-24. `read_sets`
reads the form of the ACT detector, in which JHMDB, UCF101-24 and MultiSports are distributed: a dictionary of `labels`,
`gttubes` {video: {label: [rows of frame (from 1), x1, y1, x2, y2]}}, `nframes`, `resolution` (height, width), and
`train_videos` and `test_videos` (a list for each split).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numpy.typing import NDArray

from vitascope.core import plain_pickle
from vitascope.core.errors import UserError
from vitascope.core.text import nearest

Array = NDArray[Any]
WHAT = "annotations of tubes"
LONGEST = 1_000_000
"""Most frames of a video."""


class Tube(NamedTuple):
    """The boxes of one action of one actor."""

    label: int
    frames: Int64[Array, "n"]
    """From 0, ascending."""
    boxes: Float64[Array, "n 4"]
    """Left, top, right and bottom as fractions of the frame, within it, each with an area."""


class TubeVideo(NamedTuple):
    """The tubes of one video."""

    frames: int
    """Number of frames."""
    tubes: tuple[Tube, ...]
    cut: int
    """Boxes that extended beyond the frame."""
    dropped: int
    """Boxes without an area within the frame."""


class TubeSets(NamedTuple):
    """Annotated videos by name, their classes, and the names of training and test videos of each split."""

    classes: tuple[str, ...]
    videos: dict[str, TubeVideo]
    splits: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]


class _Place(NamedTuple):
    """A place in a file, for messages."""

    text: str

    def wrong(self, expected: str, found: Any) -> UserError:
        shown = " ".join(repr(found).split())
        return UserError(f"{self.text}: expected {expected}, not {shown[:60]}; get the authors' file")

    def of(self, key: Any) -> _Place:
        return _Place(f"{self.text}[{key!r:.80}]")

    def field(self, content: Any, name: str, kind: type) -> Any:
        """The entry `name` of a dictionary, which must be a `kind`."""
        if not isinstance(content, dict):
            raise self.wrong("a dictionary", content)
        if name not in content:
            raise UserError(f"{self.text}: no {name!r}{nearest(name, [str(key) for key in content])}")
        if not isinstance(content[name], kind) or isinstance(content[name], bool):
            raise self.of(name).wrong(f"a {kind.__name__}", content[name])
        return content[name]

    def number(self, content: Any, name: str, low: int, high: int) -> int:
        """The whole number `name` of a dictionary, within its bounds."""
        value: int = self.field(content, name, int)
        if not low <= value <= high:
            raise self.of(name).wrong(f"{low} to {high}", value)
        return value

    def table(self, value: Any, columns: int) -> Float64[Array, "n c"]:
        """A table of finite numbers."""
        fits = (
            isinstance(value, np.ndarray)
            and value.ndim == 2
            and value.shape[1] == columns
            and value.dtype.kind in "iuf"
        )
        if not fits or not np.isfinite(value).all():
            raise self.wrong(f"rows of {columns} finite numbers", value)
        return np.asarray(value, np.float64)


def read_videos(path: Path, classes: Sequence[str], size: tuple[int, int]) -> dict[str, TubeVideo]:
    """The videos of a pickle of the first form; `size` is the width and height of all of them, pixels."""
    content = plain_pickle.read(path, WHAT)
    if not isinstance(content, dict) or not content:
        raise _Place(str(path)).wrong("a dictionary of videos", content)
    return {str(name): _video(video, len(classes), size, _Place(str(path)).of(name)) for name, video in content.items()}


def _video(content: Any, classes: int, size: tuple[int, int], place: _Place) -> TubeVideo:
    frames = place.number(content, "numf", 1, LONGEST)
    found = []
    for i, one in enumerate(place.field(content, "annotations", list)):
        at = place.of("annotations").of(i)
        first = at.number(one, "sf", 0, frames - 1)
        last = at.number(one, "ef", first + 1, frames)
        label = at.number(one, "label", 0, classes - 1)
        boxes = at.of("boxes").table(at.field(one, "boxes", np.ndarray), 4)
        if len(boxes) != last - first:
            raise at.of("boxes").wrong(f"{last - first} rows, for frames {first} to {last - 1}", len(boxes))
        boxes[:, 2:] += boxes[:, :2]
        found.append((label, np.arange(first, last), boxes))
    return _within(frames, found, size)


def _within(frames: int, found: Sequence[tuple[int, Array, Array]], size: tuple[int, int]) -> TubeVideo:
    """The video with boxes in pixels as fractions, cut at the frame of that width and height."""
    tubes, cut, dropped = [], 0, 0
    for label, times, boxes in found:
        fractions = boxes / np.array([*size, *size], np.float64)
        inside = np.clip(fractions, 0.0, 1.0)
        good = (inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])
        cut += int((inside != fractions).any(1).sum())
        dropped += int((~good).sum())
        tubes.append(Tube(label, times[good], inside[good]))
    return TubeVideo(frames, tuple(tubes), cut, dropped)


def read_sets(path: Path) -> TubeSets:
    """The videos, classes and splits of a pickle of the second form."""
    place, content = _Place(str(path)), plain_pickle.read(path, WHAT)
    classes = tuple(_names(place.field(content, "labels", list), place.of("labels")))
    listed = place.field(content, "gttubes", dict)
    lengths, sizes = (place.field(content, name, dict) for name in ("nframes", "resolution"))
    videos = {}
    for name, tubes in listed.items():
        frames = place.of("nframes").number(lengths, name, 1, LONGEST)
        size = _size(sizes.get(name), place.of("resolution").of(name))
        found = list(_tubes(tubes, (len(classes), frames), place.of("gttubes").of(name)))
        videos[str(name)] = _within(frames, found, size)
    sides = [_split_lists(content, name, place, videos) for name in ("train_videos", "test_videos")]
    if len(sides[0]) != len(sides[1]):
        raise place.of("test_videos").wrong(f"{len(sides[0])} lists, one for each split", len(sides[1]))
    return TubeSets(classes, videos, tuple(zip(*sides, strict=True)))


def _names(values: Sequence[Any], place: _Place) -> Sequence[str]:
    for value in values:
        if not isinstance(value, str):
            raise place.wrong("text", value)
    return values


def _size(value: Any, place: _Place) -> tuple[int, int]:
    """Width and height from height and width."""
    fits = isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(v, int) and v > 0 for v in value)
    if not fits:
        raise place.wrong("height and width in pixels", value)
    return value[1], value[0]


def _tubes(content: Any, limits: tuple[int, int], place: _Place) -> Iterator[tuple[int, Array, Array]]:
    """Label, frames and boxes in pixels of each tube; `limits` are the numbers of classes and frames."""
    if not isinstance(content, dict):
        raise place.wrong("a dictionary of tubes by label", content)
    classes, frames = limits
    for label, tubes in content.items():
        at = place.of(label)
        if type(label) is not int or not 0 <= label < classes or not isinstance(tubes, list):
            raise at.wrong(f"a list of tubes of a label from 0 to {classes - 1}", tubes)
        for i, tube in enumerate(tubes):
            table = at.of(i).table(tube, 5)
            times = np.rint(table[:, 0]).astype(np.int64) - 1
            if len(times) and (times[0] < 0 or times[-1] >= frames or (np.diff(times) <= 0).any()):
                raise at.of(i).wrong(f"ascending frames from 1 to {frames}", table[:, 0].tolist())
            yield label, times, table[:, 1:]


def _split_lists(content: Any, name: str, place: _Place, videos: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The videos of one side of each split."""
    lists = []
    for i, names in enumerate(place.field(content, name, list)):
        at = place.of(name).of(i)
        if not isinstance(names, list):
            raise at.wrong("a list of videos", names)
        if unknown := next((n for n in _names(names, at) if n not in videos), None):
            raise UserError(f"{at.text}: {unknown!r:.80} has no entry in 'gttubes'{nearest(unknown, videos)}")
        lists.append(tuple(names))
    return lists
