"""The parts of a result that are plain data, as far as they are read again: settings and error diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.schema import conform


@dataclass(frozen=True)
class ProbeSettings:
    """Settings of the probe."""

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
class Diagnosis:
    """Error analysis of temporal localization, and of boxes in frames; or a comparison of aggregators."""

    gains: Mapping[str, float] = field(default_factory=dict)
    false: Mapping[str, float] = field(default_factory=dict)
    length: tuple[RangeDiagnosis, ...] = ()
    coverage: tuple[RangeDiagnosis, ...] = ()
    best: Mapping[str, float] = field(default_factory=dict)
    missed: Missed | None = None
    size: tuple[BoxRange, ...] = ()
    people: tuple[BoxRange, ...] = ()
    aggregation: AggregationData | None = None


def check(settings: Any, diagnosis: Any) -> None:
    """UserError where settings or diagnosis hold something else than is read of them."""
    conform(settings, Settings, "settings")
    if not diagnosis:
        return
    found = conform(diagnosis, Diagnosis, "diagnosis")
    if found.aggregation:
        return
    if not found.gains or found.gains.keys() != found.false.keys():
        raise UserError("diagnosis: gains and false are not of the same kinds of errors")
