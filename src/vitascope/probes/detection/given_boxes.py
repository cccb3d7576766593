"""The boxes given to a head that only classifies them: true ones, or those of a detector, by keyframe."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

from vitascope.core.actors import Keyframes
from vitascope.core.errors import UserError
from vitascope.core.file_identity import content_digest
from vitascope.core.media import VIDEO_SUFFIXES, suffix
from vitascope.core.names import NameIndex
from vitascope.core.text import nearest
from vitascope.core.types import Example
from vitascope.datasets.readers.keyframe_examples import keyframe_of
from vitascope.datasets.readers.person_boxes import PersonBoxes, read_person_boxes

Array: TypeAlias = NDArray[Any]
Frame: TypeAlias = tuple[str, int]
"""A video, and a time in milliseconds."""


class GivenBoxes(NamedTuple):
    """The boxes of an example."""

    times: Float64[Array, "n"]
    """Seconds from the first frame of the video."""
    boxes: Float32[Array, "n 4"]
    """Left, top, right, bottom, 0 to 1."""
    scores: Float32[Array, "n"]
    """Probability that there is an actor; 1 for true boxes."""


class Detected(NamedTuple):
    """The boxes of a detector at the keyframes of examples."""

    by_example: Mapping[str, GivenBoxes]
    """Boxes by the id of the example; those without any are not in it."""
    notes: tuple[str, ...]
    """What did not fit, in words."""


def true_boxes(example: Example[Keyframes]) -> GivenBoxes:
    """The annotated boxes of an example."""
    actors = example.truth.actors
    return GivenBoxes(
        np.array([a.time for a in actors], np.float64),
        np.array([a.box for a in actors], np.float32).reshape(-1, 4),
        np.ones(len(actors), np.float32),
    )


NO_BOXES = GivenBoxes(np.zeros(0), np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
"""The boxes of an example without any."""


def digest_of(file: str) -> str:
    """A digest of all bytes of a file of detections; empty if none is named. UserError if there is none such."""
    if not file:
        return ""
    try:
        return content_digest(str(Path(file).expanduser()), full=True)
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error}); name a file of detections") from error


def detected_boxes(file: str, examples: Sequence[Example[Keyframes]], least: float) -> Detected:
    """The boxes with a score of at least `least` at the keyframes of examples, whose ids name video and time.

    Times are compared to the millisecond. Raises UserError if no keyframe has a box.
    """
    found = read_person_boxes(Path(file).expanduser())
    keyframes = [_keyframe(e) for e in examples]
    videos = tuple(dict.fromkeys(video for video, _ in keyframes))
    index = NameIndex(videos)
    meant = [_video(name, index, file) for name in found.videos]
    rows = _rows_by_frame(found, meant, least)
    boxes = {e.id: _boxes_of(e, k, rows, found) for e, k in zip(examples, keyframes, strict=True)}
    by_example = {i: own for i, own in boxes.items() if len(own.times)}
    strangers = [name for name, video in zip(found.videos, meant, strict=True) if video is None]
    if not by_example:
        near = nearest(strangers[0], videos) if strangers else ""
        faint = f" with a score of at least {least:g}" * bool(least)
        raise UserError(
            f"{file}: no box{faint} is at one of the {len(examples)} test keyframes, such as {examples[0].id!r}, "
            f"VIDEO@SECONDS; its {len(found.time)} boxes are of {', '.join(found.videos[:3])}{near}"
        )
    return Detected(by_example, tuple(_notes(found, strangers, (len(examples) - len(by_example), len(examples)))))


def _keyframe(example: Example[Keyframes]) -> tuple[str, float]:
    try:
        return keyframe_of(example.id)
    except ValueError:
        raise UserError(
            f"example {example.id!r} is not named as a keyframe, VIDEO@SECONDS, so no box is at it"
        ) from None


def _video(name: str, index: NameIndex, file: str) -> str | None:
    """The video that a name in the file means: with or without the ending of its file."""
    ending = suffix(name)
    bare = name[: -len(ending)] if ending in VIDEO_SUFFIXES else name
    return index.find(name, file) or index.find(bare, file)


def _rows_by_frame(found: PersonBoxes, meant: Sequence[str | None], least: float) -> dict[Frame, list[int]]:
    """The rows of each frame of the videos that are meant."""
    rows: dict[Frame, list[int]] = defaultdict(list)
    kept = np.flatnonzero(found.score >= least)
    for row, number, time in zip(kept, found.video[kept], _milliseconds(found.time[kept]), strict=True):
        if (video := meant[number]) is not None:
            rows[video, time].append(int(row))
    return rows


def _milliseconds(times: Float64[Array, "n"]) -> list[int]:
    rounded: list[int] = np.round(1000 * times).astype(np.int64).tolist()
    return rounded


def _boxes_of(
    example: Example[Keyframes], keyframe: tuple[str, float], rows: Mapping[Frame, list[int]], found: PersonBoxes
) -> GivenBoxes:
    """The boxes at the annotated times of an example; if it is one, the id has it on the clock of the annotators."""
    video, annotated = keyframe
    times = np.array(example.truth.times, np.float64)
    shift = annotated - times[0] if len(times) == 1 else 0.0
    chosen = [rows.get((video, time), []) for time in _milliseconds(times + shift)]
    flat = np.array([row for own in chosen for row in own], np.int64)
    return GivenBoxes(
        np.repeat(times, [len(own) for own in chosen]),
        found.box[flat].astype(np.float32),
        found.score[flat].astype(np.float32),
    )


def _notes(found: PersonBoxes, strangers: Sequence[str], keyframes: tuple[int, int]) -> list[str]:
    """What does not fit; `keyframes` are the numbers of those without a box and of all."""
    without, count = keyframes
    such = f", such as {strangers[0]!r}" if strangers else ""
    known = {
        f"{len(strangers)} of {len(found.videos)} videos are not in the test set{such}": len(strangers),
        f"{without} of {count} test keyframes have no box": without,
        f"{found.dropped} boxes have no area within the frame": found.dropped,
    }
    return [note for note, there in known.items() if there]
