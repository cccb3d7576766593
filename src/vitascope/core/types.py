"""The nouns of Vitascope as frozen, plain data: every other module speaks in these."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from itertools import groupby
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar, get_args

import numpy as np
from jaxtyping import Int, Int64

from vitascope.core.errors import UserError
from vitascope.core.migrate import CARD, current

Span: TypeAlias = tuple[float, float]
"""A stretch of time: start and end in seconds, from the first frame of the video."""
RGB: TypeAlias = tuple[float, float, float]
Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom as fractions of the displayed frame, 0 to 1."""

Resize: TypeAlias = Literal["shorter", "square"]
Precision: TypeAlias = Literal["float32", "bfloat16"]
AsImage: TypeAlias = Literal["repeat", "single"]
Kind: TypeAlias = Literal["recognition", "localization", "segmentation"]
"""What is asked of an example: a class, the actions in it and when, or the class of every frame."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

KNOWLEDGE = {"knowledge": True}
"""Marks fields that are known about a model and cannot change its output."""
CLOCK = 1e-3
"""Seconds by which a frame may seem late: the tick of the coarsest common container clock (Matroska, WebM)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A file, a directory of frames or an image, as `video.inspect` found it; and the part of it to look at.

    `times` are presentation times in seconds, ascending, `times[0] == 0`; frame i is shown from `times[i]` to the
    next frame's time, the last one until `duration`. `width` and `height` are as displayed, rotation applied.
    """

    path: str
    times: tuple[float, ...]
    duration: float
    width: int
    height: int
    rotation: int = 0
    """Degrees clockwise that decoding turns the stored picture by: 0, 90, 180 or 270."""
    kind: Literal["file", "frames", "image"] = "file"
    span: Span = (0.0, float("inf"))
    """The part to look at; samplers never leave it."""
    warnings: tuple[str, ...] = ()

    @property
    def fps(self) -> float:
        """Mean frame rate, frames per second."""
        return len(self.times) / self.duration if self.duration > 0 else 0.0

    @property
    def start(self) -> float:
        """First second to look at."""
        return min(max(self.span[0], 0.0), self.duration)

    @property
    def end(self) -> float:
        """Last second to look at."""
        return max(min(self.span[1], self.duration), self.start)

    def within(self, span: Span | None) -> Video:
        """The same video with only `span` (seconds) to look at; None is all of it."""
        return self if span is None else replace(self, span=span)

    def frame_at(self, time: float) -> int:
        """Index of the frame on display at `time` seconds, clamped to the first and the last."""
        return max(bisect_right(self.times, time + CLOCK) - 1, 0)

    def visible(self) -> range:
        """Indices of the frames on display at some instant between `start` and `end`."""
        first = self.frame_at(self.start)
        return range(first, max(bisect_right(self.times, self.end - CLOCK), first + 1))


@dataclass(frozen=True, slots=True)
class Crop:
    """Which part of the frame becomes the encoder's square.

    Without a `box`: the short side is resized to `int(size * scale)` and square `index` of `count` is cut, squares
    evenly spaced along the long side (one: the center). A `box` is cut out and resized to the square as it is.
    """

    index: int = 0
    count: int = 1
    scale: float = 1.0
    box: Box | None = None
    flip: bool = False


@dataclass(frozen=True, slots=True)
class Clip:
    """A request for pixels: the instants to look at, the interval they speak for, and the crop.

    `times` in seconds; descending means played backwards. The pixel at time t is the frame on display at t.
    """

    times: tuple[float, ...]
    span: Span
    crop: Crop = Crop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Everything about an encoder that can change its output, as data beside its weights."""

    name: str
    digest: str
    """Of the weights: other weights, another card."""
    dim: int
    frames: int
    """Frames of one clip."""
    size: int
    """Side of the square input, pixels."""
    mean: RGB
    std: RGB
    resize: Resize = "shorter"
    """Habit for a plain center crop: keep the aspect and cut, or squash the whole frame."""
    precision: Precision = "float32"
    pool: str = "mean"
    """How `Tokens.clip` comes about, with its source."""
    image: AsImage = "repeat"
    """An image is shown as `frames` equal frames, or as one."""
    options: str = ""
    """What a user set otherwise than the report does (`frames:8+pool:cls`); part of the name too."""
    architecture: str = ""
    """Digest of the network's numbers where they are not the published ones: heads, say, show in no tensor."""
    pretraining_datasets: frozenset[str] = field(default_factory=frozenset, metadata=KNOWLEDGE)
    """Data sets met in pretraining, by dataset name: the dagger in the tables."""
    trained: str = field(default="", metadata=KNOWLEDGE)
    """What it was pretrained on, in the field's words."""
    sampling: str = field(default="", metadata=KNOWLEDGE)
    """How its authors sample a video at evaluation."""
    license: str = field(default="", metadata=KNOWLEDGE)
    """Of the weights."""
    params: int = field(default=0, metadata=KNOWLEDGE)
    """Numbers in the encoder's weights."""
    gflops: float = field(default=0.0, metadata=KNOWLEDGE)
    """Multiply-adds of one clip, in 1e9, as papers count FLOPs."""

    def __post_init__(self) -> None:
        for word, known in (("resize", Resize), ("precision", Precision), ("image", AsImage)):
            if (given := getattr(self, word)) not in get_args(known):
                raise UserError(f"{self.name}: card.{word} {given!r} is none of {', '.join(get_args(known))}")

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Card:
        """The card of the plain data in a file, whose fields may bear the names of an earlier version.

        Raises ValueError for a field that no version has, and TypeError where one lacks.
        """
        named = current(data, CARD)
        given: dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in named.items() if key != "type"
        }
        if unknown := sorted(given.keys() - {f.name for f in fields(cls)}):
            raise UserError(f"a card has no field {unknown[0]!r}; it is of a newer version")
        return cls(**{**given, "pretraining_datasets": frozenset(given.get("pretraining_datasets", ()))})

    @property
    def behavior(self) -> dict[str, Any]:
        """The fields that can change a vector, as plain data; what is merely known about the model is left out."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self) if not f.metadata}

    @property
    def knowledge(self) -> dict[str, Any]:
        """The other fields: what is known about the model and changes no vector."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.metadata}


@dataclass(frozen=True, slots=True)
class Segment:
    """An annotated or predicted action in time: seconds from the start of the video, and an index of the classes."""

    start: float
    end: float
    label: int
    score: float = 1.0
    """Of a prediction."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """What every frame of a video is labeled with: runs of (label, number of frames), and the frames per second."""

    runs: tuple[tuple[int, int], ...]
    fps: float

    def __post_init__(self) -> None:
        if not self.fps > 0 or not all(count > 0 for _, count in self.runs):
            raise UserError(f"a timeline has frames, and more than 0 a second, not {self.runs[:3]} at {self.fps}")

    @property
    def labels(self) -> Int64[np.ndarray, "t"]:
        """The label of every frame."""
        labels, counts = np.array(self.runs, np.int64).reshape(-1, 2).T
        return np.repeat(labels, counts)

    @property
    def frames(self) -> int:
        """How many frames are labeled."""
        return sum(count for _, count in self.runs)

    @classmethod
    def of(cls, labels: Iterable[int] | Int[np.ndarray, "t"], fps: float) -> Timeline:
        """The timeline of labels given frame by frame."""
        return cls(tuple((int(label), sum(1 for _ in run)) for label, run in groupby(labels)), fps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example(Generic[T_co]):
    """One thing to judge: a video or a span of one, and its truth.

    The truth is an index of the classes, or of a localization a tuple of `Segment`, of a segmentation a `Timeline`.
    """

    id: str
    path: str
    truth: T_co
    span: Span | None = None
    group: str | None = None
    """Source video, subject or session: never divided by a fold, and the unit the bootstrap draws."""
    fps: float | None = None
    """Rate of a directory of frames, frames per second."""
    duration: float | None = None
    """Seconds of the video by its annotations, where a task needs them: predictions end there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One division into training and test examples, by id."""

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Dataset(Generic[T]):
    """Examples, what they can be, and how to divide them. `truth` of a classification is an index of `classes`."""

    name: str
    examples: tuple[Example[T], ...]
    classes: tuple[str, ...]
    folds: tuple[Fold, ...]
    key: str = ""
    """What the store files its vectors under; `name` unless two datasets could share it."""
    axis: Literal["appearance", "motion", ""] = ""
    """What the labels ask for, where that is known: the report's two axes."""
    missing_files: dict[str, str] = field(default_factory=dict)
    """Examples the annotations list and the disk lacks: {id: why}."""
    root: str = ""
    """Folder that holds its files, where there is one."""
    official_counts: dict[str, int] = field(default_factory=dict)
    """Examples of each side as its authors count them: {"train": 168913, "test": 24777}."""
    factors: tuple[tuple[int, ...], ...] = ()
    """Where a class is made of parts (a verb and a noun): for each part the part's class of every class. Such a dataset
    is asked part by part, and a class scores the product."""
    factor_classes: tuple[tuple[str, ...], ...] = ()
    """The classes of each part."""
    factor_names: tuple[str, ...] = ()
    train_fraction: str = ""
    """What is kept of the training side, `5%` or `8-shot`, drawn class by class by each seed; empty: all of it."""
    cards: tuple[Card, ...] = ()
    """Encoders whose vectors come with the dataset (published embeddings); such a dataset needs no video."""
    store: str = ""
    """Folder of those vectors."""
    kind: Kind = "recognition"
    notes: tuple[str, ...] = ()
    """What was odd about the annotations and what was done about it; said when the dataset is opened."""

    @property
    def digest(self) -> str:
        """Of names, truths, spans, rates and folds: two results with equal digests were asked the same thing."""
        lasting = [[] if e.duration is None else [e.duration] for e in self.examples]
        asked = [[e.id, e.truth, e.span, e.group, e.fps, *d] for e, d in zip(self.examples, lasting, strict=True)]
        return digest([self.name, self.classes, asked, self.folds, *self._kind])

    @property
    def _kind(self) -> list[str]:
        """What a digest knows of the kind: nothing of recognition, which was all there was when digests began."""
        return [] if self.kind == "recognition" else [self.kind]

    @property
    def family(self) -> str:
        """The name without variant and share: what a card's `saw` and a table of settings know it by."""
        return self.name.removesuffix(f"@{self.train_fraction}").partition("/")[0]

    @property
    def mean_duration(self) -> float:
        """Seconds of its videos on average, 0 where its annotations do not say."""
        known = [e.duration for e in self.examples if e.duration is not None]
        return sum(known) / len(known) if known else 0.0

    def by_id(self) -> dict[str, Example[T]]:
        """The examples by id."""
        return {e.id: e for e in self.examples}


def spoken(truth: Any, classes: Sequence[str]) -> str:
    """A truth of any kind in words: its class, or how many actions of which, in a table's cell."""
    if isinstance(truth, int):
        return classes[truth] if 0 <= truth < len(classes) else str(truth)
    labels = [s.label for s in truth] if isinstance(truth, tuple) else [label for label, _ in truth.runs]
    counts = {classes[label]: labels.count(label) for label in sorted(set(labels))}
    return ", ".join(f"{name} x {count}" if count > 1 else name for name, count in counts.items()) or "nothing"


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: frozen dataclasses become {"type": ..., fields}, sets sorted lists."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            "type": type(value).__name__,
            **{f.name: plain(getattr(value, f.name)) for f in fields(value)},
        }
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(v) for v in value)
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def digest(value: Any) -> str:
    """Sixteen hex digits that stand for `value`'s plain data."""
    text = json.dumps(plain(value), sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class Score(NamedTuple):
    """A number with its 95 % interval; NaN-free, `low`/`high` None where no interval was drawn."""

    value: float
    low: float | None = None
    high: float | None = None
