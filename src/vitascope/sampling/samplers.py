"""Deterministic samplers: uniform, multi-clip, multi-view, V-JEPA and keyframe clips, and whole frames."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Annotated, Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.fields import AT_LEAST_ONE, FINITE
from vitascope.core.types import Clip, Crop, Video
from vitascope.sampling.timestamps import (
    centers,
    checked,
    cropped,
    indexed,
    sampled_span,
    strided,
)

Rule: TypeAlias = Literal["centers", "ends"]
Positions = np.ndarray[Any, np.dtype[np.float64]]


@runtime_checkable
class Sampler(Protocol):
    """Chooses the clips of a video.

    Implementations are frozen dataclasses; equal fields give equal clips, and without a generator nothing is random.
    """

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """The clips of `video`, each with `frames` time stamps within its span."""
        ...


@runtime_checkable
class SamplerWrapper(Protocol):
    """A sampler that changes the clips of another."""

    @property
    def inner(self) -> Sampler:
        """The sampler that is changed."""
        ...


@runtime_checkable
class CropSampler(Protocol):
    """A sampler that takes several crops of every window."""

    @property
    def crops(self) -> int:
        """Crops of one window, which stand together."""
        ...


@dataclass(frozen=True, slots=True)
class Uniform:
    """One clip over the whole span (Uniform Embedding, TWLV-I section 4).

    `centers` takes the center of each of N equal parts: frame floor((i + 0.5) n / N) at a constant frame rate. `ends`
    takes frame round(i (n - 1) / (N - 1)), halves to even, from the first to the last; the first if N = 1.
    """

    rule: Rule = "centers"
    """Which frames stand for the span: the center of each of N equal parts, or N from the first frame to the last."""

    def __post_init__(self) -> None:
        checked(self)

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """A list of one clip."""
        span = sampled_span(video, frames)
        if self.rule == "centers":
            return [Clip(centers(video, span, frames), span)]
        n = len(video.visible())
        indices = [round(Fraction(i * (n - 1), max(frames - 1, 1))) for i in range(frames)]
        return [indexed(video, indices, (0, n))]


@dataclass(frozen=True, slots=True)
class MultiClip:
    """Clips of `seconds` every `stride` seconds (default: `seconds`), each sampled uniformly (Multi-Clip Embedding).

    There are max(1, floor((D - T) / stride) + 1) clips for a video of D seconds and clips of T: a remainder shorter
    than the stride is dropped, and a video shorter than T gives one clip over all of it.
    """

    seconds: Annotated[float | int, FINITE]
    """Length of a clip, seconds."""
    stride: Annotated[float | int | None, FINITE] = None
    """From the start of a clip to the start of the next, seconds; none: as `seconds`, so that clips do not overlap."""

    def __post_init__(self) -> None:
        checked(self, "seconds", "stride")

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """The clips in order of time."""
        start, end = sampled_span(video, frames)
        stride = self.seconds if self.stride is None else self.stride
        # the quotient of decimal numbers may be slightly below a whole number
        count = max(1, math.floor((end - start - self.seconds) / stride + 1e-6) + 1)
        begins = [start + j * stride for j in range(count)]
        spans = [(begin, min(begin + self.seconds, end)) for begin in begins]
        return [Clip(centers(video, span, frames), span) for span in spans]


@dataclass(frozen=True, slots=True)
class Views:
    """Multi-view evaluation: `clips` equally spaced windows of frames `stride` apart, each with `crops` square crops.

    Window j starts at frame floor(j (n - L) / (clips - 1)) with L = frames * stride; a single window is centered. In a
    video shorter than L, windows start at the first frame and repeat the last one.
    """

    crops: Annotated[int, AT_LEAST_ONE] = 3
    """Square crops of each window, evenly spaced along the long side of the frame."""
    clips: Annotated[int, AT_LEAST_ONE] = 4
    """Windows of a video, at equal intervals."""
    stride: Annotated[int, AT_LEAST_ONE] = 4
    """Frames from one sampled frame of a window to the next."""

    def __post_init__(self) -> None:
        checked(self)

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """The clips * crops views; crops of one window are adjacent."""
        sampled_span(video, frames)
        room = max(len(video.visible()) - frames * self.stride, 0)
        starts = [room // 2] if self.clips == 1 else [j * room // (self.clips - 1) for j in range(self.clips)]
        windows = [strided(video, start, frames, self.stride) for start in starts]
        return cropped(windows, [Crop(i, self.crops) for i in range(self.crops)])


@dataclass(frozen=True, slots=True)
class VJepa:
    """V-JEPA's evaluation clips exactly as in its code (facebookresearch/jepa, `VideoDataset`).

    If a partition of n // clips frames is longer than L = frames * stride, each has a window at a random position, also
    in the official evaluation; without a generator it starts with the partition (`random_clip_sampling` off).
    Otherwise the last frame of each clip is repeated, and for n <= L all clips are equal. A single crop is cut from a
    short side of 256 / 224 times the size, as in the single-view config.
    """

    clips: Annotated[int, AT_LEAST_ONE] = 8
    """Windows of a video, one in each of as many equal partitions."""
    stride: Annotated[int, AT_LEAST_ONE] = 4
    """Frames from one sampled frame of a window to the next."""
    crops: Annotated[int, AT_LEAST_ONE] = 3
    """Square crops of each window, evenly spaced along the long side of the frame."""

    def __post_init__(self) -> None:
        checked(self)

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """The clips * crops views; crops of one window are adjacent."""
        sampled_span(video, frames)
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
            windows.append(indexed(video, [ahead + int(p) for p in positions], (first, first + min(length, n))))
        one = [Crop(scale=256 / 224)]
        return cropped(windows, one if self.crops == 1 else [Crop(i, self.crops) for i in range(self.crops)])

    def _overlapping(self, n: int, frames: int) -> Positions:
        last = min(frames * self.stride, n) - 1
        spread = last // self.stride
        positions = np.append(np.linspace(0, last, spread), np.full(frames - spread, last))
        return positions.clip(0, max(last - 1, 0))


@dataclass(frozen=True, slots=True)
class Around:
    """One clip centered on a keyframe at `seconds` (default: the middle of the span), clamped to the span.

    Frames are `stride` apart with the keyframe at index N // 2, or spread over `window` seconds.
    """

    seconds: float | int | None = None
    """Time of the keyframe, seconds from the start of the video; none: the middle of the span."""
    stride: Annotated[int, AT_LEAST_ONE] = 4
    """Frames from one sampled frame to the next, where there is no `window`."""
    window: Annotated[float | int | None, FINITE] = None
    """Length of the clip, seconds; none: as many frames as the encoder takes, `stride` apart."""

    def __post_init__(self) -> None:
        checked(self, "seconds", "window")

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """A list of one clip."""
        start, end = sampled_span(video, frames)
        key = _middle(video) if self.seconds is None else self.seconds
        if not start <= key <= end:
            raise UserError(
                f"{video.path}: keyframe {key:g} s is outside the span {start:g}-{end:g} s; choose one inside"
            )
        if self.window is not None:
            window = (key - self.window / 2, key + self.window / 2)
            span = (max(window[0], start), min(window[1], end))
            return [Clip(tuple(max(t, start) for t in centers(video, window, frames)), span)]
        middle = min(video.frame_at(key), video.visible()[-1]) - video.visible()[0]
        return [strided(video, middle - frames // 2 * self.stride, frames, self.stride)]


def _middle(video: Video) -> float:
    """The middle of the span within the video, seconds; a span that extends beyond the video is not cut first."""
    start, end = video.span if math.isfinite(video.span[1]) else (video.start, video.end)
    return min(max((start + end) / 2, video.start), video.end)


@dataclass(frozen=True, slots=True)
class WholeFrame:
    """The clips of `inner` with the whole frame resized to the square input, so that no part of it is lost."""

    inner: Sampler
    """The sampler that chooses the frames."""

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """The clips of `inner`, one crop each."""
        clips = self.inner(video, frames, rng)
        return [replace(clip, crop=Crop(box=(0.0, 0.0, 1.0, 1.0))) for clip in clips if clip.crop.index == 0]
