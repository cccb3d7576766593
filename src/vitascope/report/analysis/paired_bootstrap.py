"""Scores that are no means over examples, drawn anew over the same videos, so that encoders can be paired."""

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
from vitascope.metrics import prediction_columns, segmental, temporal_ap
from vitascope.metrics.prediction_columns import Table
from vitascope.metrics.stats import Difference, codes, paired_draws, redrawn

SEED = 0
"""Of the draws: those of all results with the same videos are the same."""
Statistic: TypeAlias = Callable[[Int64[ndarray, "b v"]], Float64[ndarray, "b 1"]]
"""The headline of each resample, by how often each video is in it."""


@dataclass(frozen=True)
class Pooled:
    """One result's headline, and what it is in each draw of the videos it was tested on."""

    value: float
    key: ndarray
    """Fold and example."""
    units: int
    drawn: Float64[ndarray, "draws"]


def load(result: Result) -> Pooled | None:
    """Drawn from the predictions of a result gathered by `board.gather`; None where none were kept, or of a headline
    that is not known here. Of several seeds they are the first's.
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
        raise UserError(f"{path}: no column or setting {error} there; evaluate with --overwrite") from None
    units = int(code.max(initial=-1)) + 1
    drawn = redrawn(lambda weights: statistic(weights[:, code]), units, rng=np.random.default_rng(SEED))[:, 0]
    return Pooled(result.headline.value, key, units, drawn)


def difference(a: Pooled, b: Pooled) -> Difference | None:
    """Headline of a minus headline of b; None where they were not tested on the same videos."""
    if not np.array_equal(a.key, b.key) or a.units != b.units:
        return None
    return paired_draws(a.value - b.value, a.drawn - b.drawn, n=len(a.key), units=a.units)


def _map(table: Table, settings: Mapping[str, Any]) -> Statistic:
    matching = temporal_ap.match(*prediction_columns.segments(table), settings["tious"])

    def statistic(weights: Int64[ndarray, "b v"]) -> Float64[ndarray, "b 1"]:
        each = temporal_ap.average_precision(matching, weights[:, matching.videos])
        mean: Float64[ndarray, "b 1"] = temporal_ap.over_classes(each).mean(axis=1, keepdims=True)
        return mean

    return statistic


def _mean_f1(table: Table, settings: Mapping[str, Any]) -> Statistic:
    said, real = prediction_columns.labels(table)
    given = [p if len(p) else None for p in said]
    each = segmental.counts(given, real, style=settings["style"], background=settings["background"])
    place, folds = each.names.index("mF1"), np.array(table["fold"], np.int64)

    def statistic(weights: Int64[ndarray, "b v"]) -> Float64[ndarray, "b 1"]:
        return segmental.pooled(each, weights, splits=folds)[:, [place]]

    return statistic


STATISTICS: Mapping[str, Callable[[Table, Mapping[str, Any]], Statistic]] = {"mAP": _map, "mF1": _mean_f1}
"""By the headline's name."""
