"""What is said of videos too short for the frames of a training clip: how many, and how far apart theirs are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from vitascope.core.types import Video
from vitascope.pretrain.data.base import ClipSource, ClipSpec
from vitascope.sampling.augmentations import random_clip
from vitascope.sampling.names import Sampler
from vitascope.video import UNREADABLE

LOOKED = 32
"""Maximum number of videos of a source that are looked at before training."""
T = TypeVar("T")


@runtime_checkable
class NotedSource(Protocol):
    """A source that has something to say about its videos before training."""

    def note(self, spec: ClipSpec) -> str:
        """One line about short videos; empty if there are none. Raises UserError if the source has no files."""


def notes(sources: Iterable[ClipSource], spec: ClipSpec) -> Iterator[str]:
    """Yield the notes of all sources that have one."""
    yield from (note for source in sources if isinstance(source, NotedSource) and (note := source.note(spec)))


class Look(NamedTuple):
    """Readable ones of a source's videos, and the number of all if it is known."""

    videos: Sequence[Video]
    total: int | None = None

    @classmethod
    def at(cls, files: Iterable[T], read: Callable[[T], Video], total: int | None = None) -> Look:
        """Look at the first readable `LOOKED` of `files`."""
        return cls(list(islice(_readable(files, read), LOOKED)), total)


def _readable(files: Iterable[T], read: Callable[[T], Video]) -> Iterator[Video]:
    for file in files:
        try:
            yield read(file)
        except UNREADABLE:
            continue


def spread(files: Sequence[T]) -> Sequence[T]:
    """At most `LOOKED` of `files`, evenly spaced."""
    step = max(len(files) / LOOKED, 1)
    return [files[int(i * step)] for i in range(min(len(files), LOOKED))]


def short_note(name: str, sampler: Sampler, frames: int, look: Look) -> str:
    """Say how many of the videos looked at are too short, and how far apart their frames are; empty if none is."""
    clip = random_clip(sampler)
    if clip is None or clip.window is not None or frames == 1:
        return ""
    needed = frames * clip.stride
    short = [video for video in look.videos if len(video.visible()) < needed]
    if not short:
        return ""
    spacings = sorted({clip.spacing(video, frames) for video in short})
    apart = " to ".join(f"{s:.2g}" for s in dict.fromkeys((spacings[0], spacings[-1])))
    count = len(look.videos)
    of = f"{count:,} videos" if look.total == count else f"{count:,} videos looked at"
    return (
        f"{name}: {len(short):,} of {of} are shorter than {needed} frames ({frames} frames {clip.stride} apart); "
        f"their frames are {apart} apart"
    )
