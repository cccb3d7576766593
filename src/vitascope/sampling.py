"""Samplers: from a video and a frame count to the clips to look at. Pure arithmetic on seconds."""

from __future__ import annotations

import math
import re
from dataclasses import MISSING, dataclass, fields, replace
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

import numpy as np

from vitascope.instants import (
    centres,
    check_counts,
    check_range,
    check_seconds,
    check_word,
    cropped,
    indexed,
    looked_at,
    strided,
)
from vitascope.types import Box, Clip, Crop, Video, nearest

RULES = ("centres", "ends")
MOMENTS = ("middle", "first")
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

    `centres` looks at the middle of each of N equal parts: frame floor((i + 0.5) n / N) at a constant rate. `ends`
    looks at frame round(i (n - 1) / (N - 1)), halves to even, so that first and last are seen; one frame: the first.
    """

    rule: str = "centres"

    def __post_init__(self) -> None:
        check_word("uniform rule", self.rule, RULES)

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """One clip."""
        span = looked_at(video, frames)
        if self.rule == "centres":
            return [Clip(centres(video, span, frames), span)]
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
        return [Clip(centres(video, span, frames), span) for span in spans]


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
    """A clip centred on `seconds` (a keyframe; the middle of the span when None), held at the ends of the span.

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
            raise ValueError(f"{video.path}: keyframe {key:g} s is outside {start:g}-{end:g} s; give one inside")
        if self.window is not None:
            wanted = (key - self.window / 2, key + self.window / 2)
            span = (max(wanted[0], start), min(wanted[1], end))
            return [Clip(tuple(max(t, start) for t in centres(video, wanted, frames)), span)]
        middle = min(video.frame_at(key), video.visible()[-1]) - video.visible()[0]
        return [strided(video, middle - frames // 2 * self.stride, frames, self.stride)]


@dataclass(frozen=True, slots=True)
class RandomClip:
    """One window drawn anywhere in the span, for training: frames `stride` apart, or spread over `window` seconds.

    Without a generator: the window in the middle. A video shorter than the window is seen from its start, its last
    frame held (`stride`), or over all of it (`window`).
    """

    stride: int = 4
    window: float | int | None = None

    def __post_init__(self) -> None:
        check_counts(self, "stride")
        check_seconds(self, "window")

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """One clip."""
        start, end = looked_at(video, frames)
        if self.window is not None:
            room = max(end - start - self.window, 0.0)
            begin = start + room * (0.5 if rng is None else float(rng.random()))
            span = (begin, min(begin + self.window, end))
            return [Clip(centres(video, span, frames), span)]
        slack = max(len(video.visible()) - frames * self.stride, 0)
        first = slack // 2 if rng is None else int(rng.integers(slack + 1))
        return [strided(video, first, frames, self.stride)]


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """The clips of `inner` through a random resized crop each, for training: one box for all frames of a clip.

    The box covers a share of the frame within `scale`, with width / height within `ratio` (log-uniform), and is
    mirrored half of the time where `flip`. Without a generator: the clips as `inner` gives them.
    """

    inner: Sampler
    scale: tuple[float, float] = (0.3, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)
    flip: bool = False

    def __post_init__(self) -> None:
        check_range(self, "scale", 1.0)
        check_range(self, "ratio", 100.0)

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """As many clips as `inner` gives."""
        clips = self.inner(video, frames, rng)
        if rng is None:
            return clips
        return [replace(clip, crop=self._draw(video.width / video.height, rng)) for clip in clips]

    def _draw(self, aspect: float, rng: np.random.Generator) -> Crop:
        box = (0.0, 0.0, 1.0, 1.0)
        for _ in range(10):
            area = rng.uniform(*self.scale)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1]))) / aspect
            wide, high = math.sqrt(area * ratio), math.sqrt(area / ratio)
            if wide <= 1 and high <= 1:
                left, top = rng.uniform(0, 1 - wide), rng.uniform(0, 1 - high)
                box = (left, top, min(left + wide, 1.0), min(top + high, 1.0))
                break
        else:
            box = self._largest(aspect)
        return Crop(box=box, flip=self.flip and bool(rng.random() < 0.5))

    def _largest(self, aspect: float) -> Box:
        """The largest centred box with an allowed ratio: what is left when no draw fits the frame."""
        ratio = min(max(aspect, self.ratio[0]), self.ratio[1]) / aspect
        wide, high = min(ratio, 1.0), min(1 / ratio, 1.0)
        return ((1 - wide) / 2, (1 - high) / 2, (1 + wide) / 2, (1 + high) / 2)


@dataclass(frozen=True, slots=True)
class Reversed:
    """The clips of `inner` played backwards."""

    inner: Sampler

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """As many clips as `inner` gives."""
        return [replace(clip, times=clip.times[::-1]) for clip in self.inner(video, frames, rng)]


@dataclass(frozen=True, slots=True)
class Shuffled:
    """The clips of `inner`, their instants in one order fixed by `seed`; never the given order from two frames on."""

    inner: Sampler
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"shuffled: the seed is a whole number from 0, not {self.seed!r}")

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """As many clips as `inner` gives."""
        clips = self.inner(video, frames, rng)
        fixed = np.random.default_rng(self.seed)
        order = fixed.permutation(frames)
        while frames > 1 and (np.diff(order) == 1).all():
            order = fixed.permutation(frames)
        return [replace(clip, times=tuple(clip.times[i] for i in order)) for clip in clips]


@dataclass(frozen=True, slots=True)
class Frozen:
    """The clips of `inner` with one instant held throughout: the `middle` one (number N / 2) or the `first`."""

    inner: Sampler
    at: str = "middle"

    def __post_init__(self) -> None:
        check_word("frozen moment", self.at, MOMENTS)

    def __call__(self, video: Video, frames: int, rng: np.random.Generator | None = None) -> list[Clip]:
        """As many clips as `inner` gives."""
        held = 0 if self.at == "first" else frames // 2
        return [replace(clip, times=(clip.times[held],) * frames) for clip in self.inner(video, frames, rng)]


SAMPLERS: dict[str, type[Any]] = {
    kind.__name__.lower(): kind
    for kind in (Uniform, MultiClip, Views, VJepa, Around, RandomClip, RandomCrop, Reversed, Shuffled, Frozen)
}
"""The samplers by their name on the command line."""


def parse(text: str) -> Sampler:
    """The sampler that `text` names, its fields in order: `uniform:ends`, `multiclip:0.5/0.125`, `views:3x4/4`,
    `around:12.5/4`, `reversed(uniform)`, `shuffled(multiclip:2,7)`, `randomcrop(uniform,0.3..1)`; `-` is None."""
    text = text.strip().lower()
    form = re.fullmatch(r"(\w+)(?:\((.*)\)|:(.*))?", text)
    name = form[1] if form else text
    if form is None or name not in SAMPLERS:
        raise ValueError(f"no sampler {name!r}{nearest(name, SAMPLERS)}; there are {', '.join(SAMPLERS)}")
    kind = SAMPLERS[name]
    if (form[2] is not None) != ("inner" in kind.__slots__):
        raise ValueError(f"sampler {text!r} is written {f'{name}:...' if form[2] is not None else f'{name}(uniform)'}")
    words = re.split("[x/]" if kind is Views else "/", form[3]) if form[3] else _split(form[2] or "")
    known = fields(kind)
    needed = sum(f.default is MISSING for f in known)
    if not needed <= len(words) <= len(known):
        takes = ", ".join(f.name + ("" if f.default is MISSING else "?") for f in known)
        raise ValueError(f"sampler {text!r}: {name} takes {takes}")
    sampler: Sampler = kind(
        *(_value(word.strip(), f"{name}: {f.name}", str(f.type)) for word, f in zip(words, known, strict=False))
    )
    return sampler


def describe(sampler: Sampler) -> str:
    """The text that `parse` makes an equal sampler of; defaults at the end are left out, but for views."""
    kind = type(sampler)
    name = kind.__name__.lower()
    if SAMPLERS.get(name) is not kind:
        return repr(sampler)
    given = [(getattr(sampler, f.name), f.default) for f in fields(kind)]
    while given and given[-1][0] == given[-1][1] and kind is not Views:
        given.pop()
    words = [_word(value) for value, _ in given]
    if "inner" in kind.__slots__:
        return f"{name}({','.join(words)})"
    if kind is Views:
        words[:2] = ["x".join(words[:2])]
    return ":".join([name, "/".join(words)]) if words else name


def _split(text: str) -> list[str]:
    """`text` at its outermost commas."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts if text else []


def _value(word: str, name: str, kind: str) -> Any:
    """What `word` says for the field `name`, declared as `kind`."""
    if word == "-" and kind.endswith("None"):
        return None
    try:
        if kind == "Sampler":
            return parse(word)
        if kind == "bool":
            return {"true": True, "false": False}[word]
        if kind.startswith("tuple"):
            low, high = word.split("..")
            return float(low), float(high)
        return int(word) if kind == "int" else float(word) if kind.startswith("float") else word
    except (KeyError, ValueError) as error:
        if kind == "Sampler":
            raise
        wanted = {"i": "a whole number", "b": "true or false", "t": "low..high"}.get(kind[0], "a number")
        raise ValueError(f"{name} is {wanted}, not {word!r}") from error


def _word(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return "..".join(map(_word, value))
    if isinstance(value, (bool, str)):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value).removesuffix(".0")
    return describe(value)
