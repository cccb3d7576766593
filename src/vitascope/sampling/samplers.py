"""The samplers that look at a video as it is: from a video and a frame count to clips. Pure arithmetic on seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.types import Clip, Crop, Video
from vitascope.sampling.timestamps import (
    centers,
    check_counts,
    check_seconds,
    check_word,
    cropped,
    indexed,
    looked_at,
    strided,
)

RULES = ("centers", "ends")
Positions = np.ndarray[Any, np.dtype[np.float64]]


@runtime_checkable
class Sampler(Protocol):
    """Implementations are frozen dataclasses: equal fields, equal plans. Without a generator nothing is drawn."""

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """The clips of `frames` instants each that this sampler wants of `video`, within its span."""
        ...


@dataclass(frozen=True, slots=True)
class Uniform:
    """One clip over the whole span, whatever its length (Uniform Embedding, TWLV-I section 4).

    `centers` looks at the middle of each of N equal parts: frame floor((i + 0.5) n / N) at a constant rate. `ends`
    looks at frame round(i (n - 1) / (N - 1)), halves to even, so that first and last are seen; one frame: the first.
    """

    rule: str = "centers"

    def __post_init__(self) -> None:
        check_word("uniform rule", self.rule, RULES)

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """One clip."""
        span = looked_at(video, frames)
        if self.rule == "centers":
            return [Clip(centers(video, span, frames), span)]
        n = len(video.visible())
        indices = [round(Fraction(i * (n - 1), max(frames - 1, 1))) for i in range(frames)]
        return [indexed(video, indices, (0, n))]


@dataclass(frozen=True, slots=True)
class MultiClip:
    """Clips of `seconds` every `stride` seconds (`seconds` when None), each sampled uniformly (Multi-Clip Embedding).

    Only whole clips: max(1, floor((D - T) / stride) + 1) of them, so a tail shorter than a stride is not seen; a video
    shorter than T is one clip over all of it.
    """

    seconds: float | int
    stride: float | int | None = None

    def __post_init__(self) -> None:
        check_seconds(self, "seconds")
        check_seconds(self, "stride")

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """M clips in order of time."""
        start, end = looked_at(video, frames)
        stride = self.seconds if self.stride is None else self.stride
        # the quotient of decimal seconds may fall just short of a whole number
        count = max(1, math.floor((end - start - self.seconds) / stride + 1e-6) + 1)
        begins = [start + j * stride for j in range(count)]
        spans = [(begin, min(begin + self.seconds, end)) for begin in begins]
        return [Clip(centers(video, span, frames), span) for span in spans]


@dataclass(frozen=True, slots=True)
class Views:
    """`clips` windows of frames `stride` apart at equal intervals, each seen through `crops` squares (m x n views).

    Window j starts at frame floor(j (n - L) / (clips - 1)), L = frames * stride; a single window is the middle one. A
    video shorter than L is one window from its start whose last frame is held.
    """

    crops: int = 3
    clips: int = 4
    stride: int = 4

    def __post_init__(self) -> None:
        check_counts(self, "crops", "clips", "stride")

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """clips x crops clips; the crops of one window stand together."""
        looked_at(video, frames)
        room = max(len(video.visible()) - frames * self.stride, 0)
        starts = [room // 2] if self.clips == 1 else [j * room // (self.clips - 1) for j in range(self.clips)]
        windows = [strided(video, start, frames, self.stride) for start in starts]
        return cropped(windows, [Crop(i, self.crops) for i in range(self.crops)])


@dataclass(frozen=True, slots=True)
class VJepa:
    """V-JEPA's evaluation clips as its code draws them, quirks included (facebookresearch/jepa, VideoDataset).

    Where a partition of n // clips frames is longer than L = frames * stride, a window is drawn in each; the published
    evaluation draws too. Without a generator the window is the partition's first, as with its random_clip_sampling
    off. Else every clip ends on the same frame twice or more, and for n <= L all clips are equal. One crop is cut from
    a short side of 256 / 224 the size, as its single-view configuration does.
    """

    clips: int = 8
    stride: int = 4
    crops: int = 3

    def __post_init__(self) -> None:
        check_counts(self, "clips", "stride", "crops")

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """clips x crops clips; the crops of one window stand together."""
        looked_at(video, frames)
        n, length = len(video.visible()), frames * self.stride
        part = n // self.clips
        windows = []
        for k in range(self.clips):
            if part > length:
                start = 0 if rng is None else int(rng.integers(part - length))
                positions = np.linspace(start, start + length, frames).clip(start, start + length - 1)
                first, ahead = k * part + start, k * part
            else:
                positions = self._overlapping(n, frames)
                first = ahead = k * ((n - length) // (self.clips - 1)) if n > length else 0
            indices = [ahead + int(position) for position in positions]
            windows.append(indexed(video, indices, (first, first + min(length, n))))
        one = [Crop(scale=256 / 224)]
        return cropped(windows, one if self.crops == 1 else [Crop(i, self.crops) for i in range(self.crops)])

    def _overlapping(self, n: int, frames: int) -> Positions:
        last = min(frames * self.stride, n) - 1
        spread = last // self.stride
        positions = np.append(np.linspace(0, last, spread), np.full(frames - spread, last))
        return positions.clip(0, max(last - 1, 0))


@dataclass(frozen=True, slots=True)
class Around:
    """A clip centered on `seconds` (a keyframe; the middle of the span when None), held at the ends of the span.

    Frames are `stride` apart with number N / 2 the keyframe itself, or spread over `window` seconds where that is
    given.
    """

    seconds: float | int | None = None
    stride: int = 4
    window: float | int | None = None

    def __post_init__(self) -> None:
        check_counts(self, "stride")
        check_seconds(self, "window")
        if self.seconds is not None:
            object.__setattr__(self, "seconds", float(self.seconds))

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """One clip."""
        start, end = looked_at(video, frames)
        key = (start + end) / 2 if self.seconds is None else self.seconds
        if not start <= key <= end:
            raise UserError(f"{video.path}: keyframe {key:g} s is outside {start:g}-{end:g} s; give one inside")
        if self.window is not None:
            wanted = (key - self.window / 2, key + self.window / 2)
            span = (max(wanted[0], start), min(wanted[1], end))
            return [Clip(tuple(max(t, start) for t in centers(video, wanted, frames)), span)]
        middle = min(video.frame_at(key), video.visible()[-1]) - video.visible()[0]
        return [strided(video, middle - frames // 2 * self.stride, frames, self.stride)]
