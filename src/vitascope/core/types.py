"""Core data types: videos, clips, encoder cards, examples, datasets and scores, all frozen plain data."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cache, cached_property
from itertools import groupby
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar, get_args

import numpy as np
from jaxtyping import Int, Int64

from vitascope.core.actors import Box
from vitascope.core.class_structure import UNRELATED, ClassStructure
from vitascope.core.errors import UserError
from vitascope.core.migrate import CARD, current
from vitascope.core.pixel_transform import CropRounding, Decoder, Filter, PixelTransform, Resize, transform_problem
from vitascope.core.schema import conform

Span: TypeAlias = tuple[float, float]
"""A time interval: start and end, seconds from the first frame of the video."""
RGB: TypeAlias = tuple[float, float, float]
Precision: TypeAlias = Literal["float32", "bfloat16"]
AsImage: TypeAlias = Literal["repeat", "single"]
Kind: TypeAlias = Literal["recognition", "localization", "segmentation", "detection"]
"""Task type: classification, temporal localization, temporal segmentation or spatio-temporal localization."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

ATOMS = frozenset({str, int, float, bool})
ROWS = frozenset({list, tuple})
KNOWLEDGE = {"knowledge": True}
"""Metadata of the fields that describe a model without affecting its output."""
LATER = {"later": True}
"""Metadata of fields added later: at its default such a field is in no digest, so that older digests stay valid."""
LITERALS = {**PixelTransform.literals(), "precision": Precision, "image": AsImage}
"""Fields of a card with a fixed set of values."""
CLOCK = 1e-3
"""Tolerance of time stamps, seconds: the tick of the coarsest common container clock (Matroska, WebM)."""
SHARE = 0.03
"""Largest tolerance as a share of the interval between frames: centers of 16 equal parts come within 1/32 of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A video file, a folder of frames or files, or an image, as returned by `inspect`, with the span to sample from.

    `times` are presentation times in seconds, ascending from `times[0] == 0`; frame i is displayed from `times[i]` to
    `times[i + 1]`, the last one until `duration` (seconds). `width` and `height` are in pixels, after rotation.
    """

    path: str
    times: tuple[float, ...]
    duration: float
    width: int
    height: int
    rotation: int = 0
    """Clockwise rotation applied to the stored frames, degrees: 0, 90, 180 or 270."""
    mirrored: bool = False
    """Whether left and right are exchanged after the rotation."""
    kind: Literal["file", "frames", "segments", "image"] = "file"
    span: Span = (0.0, float("inf"))
    """The interval to sample from, seconds; samplers never leave it."""
    warnings: tuple[str, ...] = ()

    @property
    def fps(self) -> float:
        """Mean frame rate, frames per second."""
        return len(self.times) / self.duration if self.duration > 0 else 0.0

    @property
    def start(self) -> float:
        """Start of the span, seconds, clamped to the video."""
        return min(max(self.span[0], 0.0), self.duration)

    @property
    def end(self) -> float:
        """End of the span, seconds, clamped to the video."""
        return max(min(self.span[1], self.duration), self.start)

    def within(self, span: Span | None) -> Video:
        """The same video restricted to `span` (seconds); unchanged if None."""
        return self if span is None else replace(self, span=span)

    def tolerance(self, i: int) -> float:
        """How long before `times[i]` frame i counts as displayed, seconds: one tick, but little of a short interval."""
        return min(CLOCK, SHARE * (self.times[i] - self.times[i - 1])) if i > 0 else CLOCK

    def frame_at(self, time: float) -> int:
        """Index of the frame displayed at `time` seconds, clamped to the first and last frame."""
        after = bisect_right(self.times, time)
        near = after < len(self.times) and self.times[after] <= time + self.tolerance(after)
        return max(after - (not near), 0)

    def visible(self) -> range:
        """Indices of the frames displayed at any time between `start` and `end`."""
        first, last = self.frame_at(self.start), bisect_right(self.times, self.end) - 1
        begun = self.times[last] <= self.end - self.tolerance(last)
        return range(first, max(last + begun, first + 1))


@dataclass(frozen=True, slots=True)
class Crop:
    """The part of the frame that becomes the encoder's square input.

    Without a `box`, the short side is resized to `int(size * scale)` pixels and crop `index` of `count` is taken; the
    crops are evenly spaced along the long side (a single one is the center crop). A `box` is cut out and resized to
    the square without keeping its aspect ratio.
    """

    index: int = 0
    count: int = 1
    scale: float = 1.0
    box: Box | None = None
    flip: bool = False


@dataclass(frozen=True, slots=True)
class Clip:
    """The frames to decode for one clip: their time stamps, the interval that the clip represents, and the crop.

    `times` are in seconds; descending times play backwards. The frame for time t is the one displayed at t.
    """

    times: tuple[float, ...]
    span: Span
    crop: Crop = Crop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Encoder metadata: everything besides the weights that can change the output, and facts about the model."""

    name: str
    digest: str
    """Digest of the weights."""
    dim: int
    """Size of the embedding."""
    frames: int
    """Frames per clip."""
    size: int
    """Side of the square input, pixels."""
    mean: RGB
    """Mean subtracted from each channel, with pixel values in 0 to 1."""
    std: RGB
    """Standard deviation that each channel is divided by."""
    resize: Resize = "shorter"
    """Preprocessing of a center crop: resize the shorter side and crop, or resize the whole frame to a square."""
    filter: Filter = field(default="bilinear", metadata=LATER)
    """Resampling filter."""
    antialias: bool = field(default=True, metadata=LATER)
    """Whether the filter is widened when shrinking; see `PixelTransform`."""
    crop_ratio: float = field(default=1.0, metadata=LATER)
    """Side of the center crop relative to the resized side."""
    crop_rounding: CropRounding = field(default="even", metadata=LATER)
    """Rounding of the offset of the center crop."""
    decoder: Decoder = field(default="pyav", metadata=LATER)
    """What decodes video files."""
    precision: Precision = "float32"
    compiled: bool = field(default=False, metadata=LATER)
    """Whether torch compiles the forward pass, which then rounds otherwise."""
    pool: str = "mean"
    """How tokens are pooled into the clip embedding, and where that is defined."""
    image: AsImage = "repeat"
    """Input for an image: `repeat` it `frames` times, or a `single` frame."""
    options: str = ""
    """Options that the user changed from the defaults (`frames:8+pool:cls`); also part of the name."""
    architecture: str = ""
    """Digest of a network config that is not the official one: tensor shapes do not show, say, the number of heads."""
    pretraining_datasets: frozenset[str] = field(default_factory=frozenset, metadata=KNOWLEDGE)
    """Names of the datasets in the pretraining data; results on them get a dagger in the tables."""
    trained: str = field(default="", metadata=KNOWLEDGE)
    """Pretraining data and method, in words."""
    sampling: str = field(default="", metadata=KNOWLEDGE)
    """How the authors sample videos at evaluation."""
    transform: str = field(default="", metadata=KNOWLEDGE)
    """How the authors resize and crop frames at evaluation, and where that is defined."""
    license: str = field(default="", metadata=KNOWLEDGE)
    """License of the weights."""
    params: int = field(default=0, metadata=KNOWLEDGE)
    """Number of parameters."""
    framewise: bool = field(default=False, metadata=KNOWLEDGE)
    """Every frame is encoded alone, and the clip vector is the mean over frames: it does not depend on their order."""
    gflops: float = field(default=0.0, metadata=KNOWLEDGE)
    """Cost of one clip, 1e9 multiply-adds (what papers report as GFLOPs)."""

    def __post_init__(self) -> None:
        for name, literal in LITERALS.items():
            if (value := getattr(self, name)) not in get_args(literal):
                raise UserError(f"{self.name}: card.{name} is one of {', '.join(get_args(literal))}, not {value!r}")
        if problem := transform_problem(self.filter, self.antialias, self.crop_ratio):
            raise UserError(f"{self.name}: card: {problem}")

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Card:
        """The card stored as plain data in a file, which may use the field names of an earlier version.

        Raises UserError for a field that is unknown, missing or not of its type.
        """
        named = current(data, CARD)
        if unknown := sorted(named.keys() - {f.name for f in fields(cls)} - {"type"}):
            raise UserError(f"unknown card field {unknown[0]!r}: the file was written by a newer version")
        card: Card = conform(named, cls)
        return card

    @property
    def behavior(self) -> dict[str, Any]:
        """The fields that can change an embedding, as plain data."""
        used = {f.name for f in fields(self) if f.metadata != KNOWLEDGE}
        return {name: value for name, value in plain(self).items() if name in used}

    @property
    def knowledge(self) -> dict[str, Any]:
        """The fields that describe the model and cannot change an embedding, as plain data."""
        return {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.metadata == KNOWLEDGE}

    @property
    def pixels(self) -> PixelTransform:
        """How frames become the square input."""
        return PixelTransform(**{f.name: getattr(self, f.name) for f in fields(PixelTransform)})


@dataclass(frozen=True, slots=True)
class Segment:
    """An annotated or predicted action: start and end in seconds, and the index of its class."""

    start: float
    end: float
    label: int
    score: float = 1.0
    """Confidence of a prediction."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Frame-wise labels of a video as runs of (label, number of frames), at `fps` frames per second."""

    runs: tuple[tuple[int, int], ...]
    fps: float

    def __post_init__(self) -> None:
        if not self.fps > 0 or not all(count > 0 for _, count in self.runs):
            raise UserError(f"a timeline needs frames in each run and a positive rate: {self.runs[:3]}, {self.fps} fps")

    @property
    def labels(self) -> Int64[np.ndarray, "t"]:
        """The label of every frame."""
        labels, counts = np.array(self.runs, np.int64).reshape(-1, 2).T
        return np.repeat(labels, counts)

    @property
    def frames(self) -> int:
        """Number of labeled frames."""
        return sum(count for _, count in self.runs)

    @classmethod
    def of(cls, labels: Iterable[int] | Int[np.ndarray, "t"], fps: float) -> Timeline:
        """A timeline from one label per frame."""
        return cls(tuple((int(label), sum(1 for _ in run)) for label, run in groupby(labels)), fps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example(Generic[T_co]):
    """A labeled video or span of a video.

    `truth` is a class index for classification, or an ascending tuple of them (multi-label; empty: of no class); a
    tuple of `Segment` for localization; a `Timeline` for segmentation; `Keyframes` for detection.
    """

    id: str
    path: str
    truth: T_co
    span: Span | None = None
    group: str | None = None
    """Source video, subject or session: never split across train and test, and the unit of the bootstrap."""
    fps: float | None = None
    """Frame rate of a folder of frames, frames per second."""
    duration: float | None = None
    """Annotated duration of the video, seconds, if the task needs it; predictions are cut at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """A train/test split by example id."""

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Dataset(Generic[T]):
    """Labeled examples with their classes and train/test splits."""

    name: str
    examples: tuple[Example[T], ...]
    classes: tuple[str, ...]
    folds: tuple[Fold, ...]
    key: str = ""
    """Name of the dataset in the feature store, if different from `name`."""
    axis: Literal["appearance", "motion", ""] = ""
    """Axis of the report that the task belongs to, if any."""
    missing_files: dict[str, str] = field(default_factory=dict)
    """Annotated examples without a file: {id: reason}."""
    root: str = ""
    """Folder of the videos, if any."""
    official_counts: dict[str, int] = field(default_factory=dict)
    """Number of examples per side according to the authors: {"train": 168913, "test": 24777}."""
    factors: tuple[tuple[int, ...], ...] = ()
    """For compositional classes (verb and noun): per factor, its class of every class; scores of factors multiply."""
    factor_classes: tuple[tuple[str, ...], ...] = ()
    """Class names of each factor."""
    factor_names: tuple[str, ...] = ()
    """Name of each factor."""
    train_fraction: str = ""
    """Subset of the training set, `5%` or `8-shot`, drawn per class and seed; empty for all of it."""
    cards: tuple[Card, ...] = ()
    """Encoders whose embeddings come with the dataset, which then needs no videos."""
    store: str = ""
    """Folder of these embeddings."""
    kind: Kind = "recognition"
    notes: tuple[str, ...] = ()
    """Problems in the annotations and how they were handled; logged when the dataset is opened."""
    class_groups: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Classes that are also scored apart, such as {"appearance": ..., "motion": ...}."""
    structure: ClassStructure = UNRELATED
    """Opposite classes, families of classes, and those that are alike without the order of frames."""
    divided_groups: dict[str, str] = field(default_factory=dict)
    """{example id: group} of the groups that an official split divides; these examples have no `group`."""
    layout: str = ""
    """What the examples of a folder were read from, in words."""

    @cached_property
    def digest(self) -> str:
        """Digest of the classes, examples and folds: equal digests mean the same evaluation data."""
        durations = [[] if e.duration is None else [e.duration] for e in self.examples]
        content = [[e.id, e.truth, e.span, e.group, e.fps, *d] for e, d in zip(self.examples, durations, strict=True)]
        return digest([self.name, self.classes, content, self.folds, *self._kind])

    @property
    def _kind(self) -> list[str]:
        """The task type in the digest; empty for recognition, so that digests older than this field stay valid."""
        return [] if self.kind == "recognition" else [self.kind]

    @property
    def family(self) -> str:
        """The name without variant and training fraction, as listed in `Card.pretraining_datasets`."""
        return self.name.removesuffix(f"@{self.train_fraction}").partition("/")[0]

    @property
    def mean_duration(self) -> float:
        """Mean annotated duration of the videos, seconds; 0 if the annotations have none."""
        durations = [e.duration for e in self.examples if e.duration is not None]
        return sum(durations) / len(durations) if durations else 0.0

    def by_id(self) -> dict[str, Example[T]]:
        """The examples by id."""
        return {e.id: e for e in self.examples}


@cache
def _omitted(kind: Any) -> dict[str, Any]:
    return {f.name: f.default if f.metadata == LATER else MISSING for f in fields(kind)}


def plain(value: Any) -> Any:
    """JSON data of `value`: dataclasses as {"type": name, field: value ...} without `LATER` fields at their default."""
    if value is None or type(value) in ATOMS:
        return value
    if type(value) in ROWS:  # first: most of a dataset is rows of atoms, which need no call each
        return [v if v is None or type(v) in ATOMS else plain(v) for v in value]
    if is_dataclass(value) and not isinstance(value, type):
        items = ((name, getattr(value, name), omitted) for name, omitted in _omitted(type(value)).items())
        return {"type": type(value).__name__, **{n: plain(v) for n, v, o in items if o is MISSING or v != o}}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(v) for v in value)
    if isinstance(value, (list, tuple)):
        return plain([*value])
    return value


def digest(value: Any) -> str:
    """A 64-bit hash of `plain(value)`, as 16 hexadecimal digits."""
    text = json.dumps(plain(value), sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


class Score(NamedTuple):
    """A value with its 95 % interval; `low` and `high` are None without an interval, never NaN."""

    value: float
    low: float | None = None
    high: float | None = None
