"""Paired bootstrap of scores that are no means over examples (mAP, mF1), with the same resamples for all encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from vitascope.core.errors import UserError
from vitascope.evaluation.results import Result, read_predictions
from vitascope.metrics import frame_ap, pair_accuracy, prediction_columns, segmental, temporal_ap
from vitascope.metrics.average_precision import DRAWS, MultilabelScores, draws_of
from vitascope.metrics.pair_accuracy import PairMargins, PairScores
from vitascope.metrics.prediction_columns import Table
from vitascope.metrics.stats import Difference, codes, paired_draws, redrawn

SEED = 0
"""Random seed; results on the same videos get the same resamples."""
Statistic: TypeAlias = Callable[[Int64[ndarray, "b v"]], Float64[ndarray, "b 1"]]
"""Headline score of each resample, given how often each video occurs in it."""


@dataclass(frozen=True)
class ResampledScore:
    """Headline score of one result, on its test videos and on each bootstrap resample of them."""

    value: float
    key: ndarray
    """Fold and example of each test item."""
    units: int
    """Number of groups that are resampled."""
    resamples: Float64[ndarray, "draws"]


def resampled_score(result: Result) -> ResampledScore | None:
    """Resample the headline score of a result from its predictions (of the first seed).

    None if no predictions were saved or the headline metric is not supported. Prediction paths must be absolute.
    """
    path, settings = Path(result.predictions), result.settings.get("probe") or {}
    make = STATISTICS.get(next(iter(result.scores)))
    if make is None or not result.predictions or not path.is_file():
        return None
    table = read_predictions(path)
    try:
        statistic = make(table, settings)
        key = np.array([f"{fold}/{example}" for fold, example in zip(table["fold"], table["id"], strict=True)])
        code = codes([group or None for group in table["group"]], len(key))
    except KeyError as error:
        raise UserError(f"{path}: column or setting {error} is missing; evaluate again with --overwrite") from None
    if not len(key):
        return None
    units = int(code.max()) + 1
    draws = draws_of(len(key), len(result.per_class)) if "class_scores" in table else DRAWS
    rng = np.random.default_rng(SEED)
    resamples = redrawn(lambda weights: statistic(weights[:, code]), units, draws=draws, rng=rng)[:, 0]
    return ResampledScore(result.headline.value, key, units, resamples)


def difference(a: ResampledScore, b: ResampledScore) -> Difference | None:
    """Headline of a minus headline of b; None unless both were tested on the same videos."""
    if not np.array_equal(a.key, b.key) or a.units != b.units:
        return None
    return paired_draws(a.value - b.value, a.resamples - b.resamples, n=len(a.key), units=a.units)


def _map(table: Table, settings: Mapping[str, Any]) -> Statistic:
    """mAP of actions in time, or of labels of whole videos."""
    return _map_of_labels(table) if "class_scores" in table else _map_of_segments(table, settings)


def _map_of_labels(table: Table) -> Statistic:
    scores = MultilabelScores(np.array(table["class_scores"], np.float32), table["true_classes"])
    return lambda weights: scores(weights)[:, :1]


def _map_of_segments(table: Table, settings: Mapping[str, Any]) -> Statistic:
    matching = temporal_ap.match(
        *prediction_columns.segments(table), settings.get("tiou_thresholds", settings.get("tious"))
    )

    def statistic(weights: Int64[ndarray, "b v"]) -> Float64[ndarray, "b 1"]:
        each = temporal_ap.average_precision(matching, weights[:, matching.videos])
        mean: Float64[ndarray, "b 1"] = temporal_ap.mean_over_classes(each).mean(axis=1, keepdims=True)
        return mean

    return statistic


def _mean_f1(table: Table, settings: Mapping[str, Any]) -> Statistic:
    predicted, true = prediction_columns.labels(table)
    predictions = [p if len(p) else None for p in predicted]
    each = segmental.counts(predictions, true, style=settings["style"], background=settings["background"])
    place, folds = each.names.index("mF1"), np.array(table["fold"], np.int64)

    def statistic(weights: Int64[ndarray, "b v"]) -> Float64[ndarray, "b 1"]:
        return segmental.pooled(each, weights, splits=folds)[:, [place]]

    return statistic


def _frame_map(table: Table, settings: Mapping[str, Any]) -> Statistic:
    predicted, true, empty = prediction_columns.boxes(table)
    reading = frame_ap.READINGS["stable"]
    selected = frame_ap.select(predicted, true, empty=empty, reading=reading)
    matching = frame_ap.match(selected, (frame_ap.IOU,), reading)

    def statistic(weights: Int64[ndarray, "b v"]) -> Float64[ndarray, "b 1"]:
        each = temporal_ap.average_precision(matching, weights[:, matching.videos])
        return temporal_ap.mean_over_classes(each)

    return statistic


def _pair_accuracy(table: Table, settings: Mapping[str, Any]) -> Statistic:
    columns = (table[name] for name in ("pairs", "sides", "margins"))
    scores = PairScores([PairMargins(*map(tuple, row)) for row in zip(*columns, strict=True)])
    return lambda weights: scores.means(weights)[:, :1]


STATISTICS: Mapping[str, Callable[[Table, Mapping[str, Any]], Statistic]] = {
    "mAP": _map,
    "mF1": _mean_f1,
    frame_ap.HEADLINE: _frame_map,
    pair_accuracy.HEADLINE: _pair_accuracy,
}
"""By name of the headline metric."""
