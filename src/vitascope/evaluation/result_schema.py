"""The parts of a result that are plain data, as far as they are read again: settings and error diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.schema import conform

QUARTILES = (0, 25, 50, 75, 100)
"""Percentiles of lengths that a data card has."""


@dataclass(frozen=True)
class ProbeSettings:
    """Settings of the probe."""

    type: str | None = None
    select: str | None = None
    style: str | None = None
    background: tuple[int, ...] | None = None
    tiou_thresholds: tuple[float, ...] | None = None
    tious: tuple[float, ...] | None = None


@dataclass(frozen=True)
class DatasetSettings:
    """Settings of the dataset."""

    examples: int = 0
    digest: str | None = None


@dataclass(frozen=True)
class Settings:
    """Settings of an evaluation."""

    probe: ProbeSettings | None = None
    card: Mapping[str, Any] | None = None
    model: Mapping[str, Any] | None = None
    dataset: DatasetSettings = DatasetSettings()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RangeDiagnosis:
    """Scores of the actions of one range of lengths."""

    range: str
    above: float
    segments: int
    mAP_N: float | None  # noqa: N815 - the field's name
    missed: float | None


@dataclass(frozen=True)
class BoxRange:
    """Scores of the true boxes of one range of sizes, or of numbers of people in the frame."""

    range: str
    above: float
    boxes: int
    mAP_N: float | None  # noqa: N815 - the field's name
    missed: float | None
    people: int
    found: float | None


@dataclass(frozen=True)
class Missed:
    """True boxes that no prediction matches."""

    boxes: int
    percent: float | None
    gain: float | None


@dataclass(frozen=True)
class ScoreData:
    """A score with its interval."""

    value: float
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        check_interval(self.low, self.high)


@dataclass(frozen=True)
class DifferenceData(ScoreData):
    """A paired difference; see `metrics.stats.Difference`."""

    p: float = 1.0
    n: int = 0
    units: int = 0
    least: float = 0.0


@dataclass(frozen=True)
class AggregatorData:
    """One aggregator of clip vectors, and its gain over the reference, which has none."""

    name: str
    sees_order: bool
    score: ScoreData
    gain: DifferenceData | None = None
    adjusted: float = 1.0
    verdict: str = ""
    backwards: float | None = None
    selected: int = 0


@dataclass(frozen=True)
class AggregationData:
    """Aggregators against a reference, and the gain of those selected on training data."""

    reference: str
    folds: int
    selection: DifferenceData
    aggregators: tuple[AggregatorData, ...]


@dataclass(frozen=True)
class VersionsDiagnosis:
    """How versions of videos are told apart: permutation test, quantiles of cosines, histogram of projections."""

    of: str
    names: tuple[str, ...]
    p: float
    draws: int
    inflation: float
    videos: int
    groups: int
    tied: int
    cosine: tuple[float, ...]
    reach: float
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Diagnosis:
    """Error analysis of temporal localization, and of boxes in frames; or a comparison of aggregators, or how versions
    of videos are told apart."""

    gains: Mapping[str, float] = field(default_factory=dict)
    false: Mapping[str, float] = field(default_factory=dict)
    length: tuple[RangeDiagnosis, ...] = ()
    coverage: tuple[RangeDiagnosis, ...] = ()
    best: Mapping[str, float] = field(default_factory=dict)
    missed: Missed | None = None
    size: tuple[BoxRange, ...] = ()
    people: tuple[BoxRange, ...] = ()
    aggregation: AggregationData | None = None
    versions: VersionsDiagnosis | None = None


@dataclass(frozen=True)
class Lengths:
    """Lengths of examples, seconds."""

    of: str = "clips"
    count: int = 0
    quartiles: tuple[float, ...] = ()
    histogram: tuple[int, ...] = ()


@dataclass(frozen=True)
class Groups:
    """Groups of examples that belong together, and files."""

    count: int = 0
    grouped: int = 0
    largest: int = 0
    files: int = 0


@dataclass(frozen=True)
class FoldSize:
    """Training and test examples of a fold."""

    name: str
    train: int
    test: int


@dataclass(frozen=True)
class DataCard:
    """What a dataset holds, as it was evaluated."""

    examples: int = 0
    tested: int = 0
    absent: int = 0
    lengths: Lengths = Lengths()
    classes: tuple[int, ...] = ()
    tested_classes: tuple[int, ...] = ()
    groups: Groups = Groups()
    folds: tuple[FoldSize, ...] = ()
    fold_count: int = 0
    divided: int = 0
    layout: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CostCard:
    """What a test video costs."""

    clips: float = 0.0
    bytes: float = 0.0
    gflops: float = 0.0
    encoded: int = 0


def check_interval(low: float | None, high: float | None) -> None:
    """UserError for an interval that ends before it begins."""
    if low is not None and high is not None and low > high:
        raise UserError(f"an interval from {low:g} to {high:g}")


def check_cards(data: Any, cost: Any) -> None:
    """UserError where the cards of the data or of the cost hold something else than is read of them."""
    conform(cost, CostCard, "cost")
    lengths = conform(data, DataCard, "data").lengths
    if lengths.quartiles and len(lengths.quartiles) != len(QUARTILES):
        raise UserError(f"data.lengths.quartiles: {len(lengths.quartiles)} numbers, not {len(QUARTILES)}")


def check(settings: Any, diagnosis: Any) -> None:
    """UserError where settings or diagnosis hold something else than is read of them."""
    conform(settings, Settings, "settings")
    if not diagnosis:
        return
    found = conform(diagnosis, Diagnosis, "diagnosis")
    if found.versions:
        _check_versions(found.versions)
    elif not found.aggregation and (not found.gains or found.gains.keys() != found.false.keys()):
        raise UserError("diagnosis: gains and false are not of the same kinds of errors")


def _check_versions(found: VersionsDiagnosis) -> None:
    """UserError for a histogram that is not one of all versions."""
    if len(found.names) < 2 or len(found.counts) != len(found.names) or len(set(map(len, found.counts))) != 1:
        raise UserError("diagnosis: the histogram is not one of all versions")
