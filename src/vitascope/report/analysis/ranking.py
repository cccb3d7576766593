"""Rankings from the saved predictions of a column: paired differences, tiers, chance levels and confusions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy import ndarray

from vitascope.core.errors import UserError
from vitascope.core.types import Score
from vitascope.evaluation.results import Result, read_predictions
from vitascope.metrics import stats
from vitascope.metrics.pair_accuracy import HEADLINE as PAIR_ACCURACY
from vitascope.metrics.stats import Difference
from vitascope.report.analysis import paired_bootstrap
from vitascope.report.analysis.leaderboard import Column, Leaderboard
from vitascope.report.analysis.paired_bootstrap import ResampledScore

SEED = 0
"""Random seed of every interval; each gets its own generator, so it does not depend on the other results of a run."""
ALPHA = 0.05
"""Significance level."""
FAMILY = "Holm-corrected over all pairs of encoders of the task"
"""The family of tests of every p-value of a difference between encoders, on the page and in `compare`."""
COLUMNS = frozenset({"id", "fold", "group", "label", "top", "outcome"})


class Confusion(NamedTuple):
    """Examples of class `truth` classified as class `predicted`: `wrong` of `total`."""

    truth: str
    predicted: str
    wrong: int
    total: int


class Chance(NamedTuple):
    """Accuracy of always predicting one class, percent; mAP of equal scores where examples have several labels."""

    value: float
    majority: bool
    """Whether it is the frequency of the most common test class; otherwise it is 1 / number of classes."""
    several: bool = False
    """Whether it is the mean frequency of the test classes, of which an example may have several."""
    versions: bool = False
    """Whether it is 1 / number of versions of a video."""
    order_free: float | None = None
    """Accuracy of one who recognizes every frame but not their order, percent; None if the data do not tell."""

    @property
    def bound(self) -> float | None:
        """`order_free` where it bounds anything: where some classes differ in the order of frames alone."""
        return self.order_free if self.order_free is not None and self.order_free < 100 else None


@dataclass(frozen=True)
class Predictions:
    """Predictions of one result, one entry per test example."""

    key: ndarray
    """Fold and example."""
    outcome: ndarray
    """Score of the example, percent."""
    group: ndarray
    """Group index (source video, subject)."""
    truth: Sequence[str] = ()
    """Class names."""
    predicted: Sequence[str] = ()
    """Class names."""


Evidence: TypeAlias = Predictions | ResampledScore
"""Data for the comparison of two results: outcomes of examples, or resampled scores."""


@dataclass(frozen=True)
class Ranking:
    """Ranking of encoders, given by row index."""

    scores: Mapping[int, Score]
    pairs: Mapping[tuple[int, int], Difference] = field(default_factory=dict)
    """Differences, first encoder minus second."""
    p: Mapping[tuple[int, int], float] = field(default_factory=dict)
    """Holm-adjusted p-values of the differences."""
    tiers: Mapping[int, int] = field(default_factory=dict)
    """Tiers from 1 on; empty if some difference is unknown or there is only one encoder."""
    chance: Chance | None = None
    grouped: bool = False
    """Whether some group has several examples, which are resampled together."""

    def order(self) -> list[int]:
        """Row indices, best first."""
        return sorted(self.scores, key=lambda row: -self.scores[row].value)

    def difference(self, a: int, b: int) -> Difference | None:
        """Row a minus row b; None if unknown."""
        if (a, b) in self.pairs:
            return self.pairs[a, b]
        return _negated(self.pairs[b, a]) if (b, a) in self.pairs else None

    def adjusted(self, a: int, b: int) -> float:
        """Holm-adjusted p-value of the difference; 1 if unknown."""
        return self.p.get((a, b), self.p.get((b, a), 1.0))


def _negated(gap: Difference) -> Difference:
    low, high = (None if x is None else -x for x in (gap.high, gap.low))
    return gap._replace(value=-gap.value, low=low, high=high)


@dataclass(frozen=True)
class ColumnAnalysis:
    """Ranking of a column's encoders, and their confusions by row index."""

    ranking: Ranking
    confusions: Mapping[int, Sequence[Confusion]]


def analyze(column: Column) -> ColumnAnalysis:
    """Rank the encoders of a column and count their confusions, reading the predictions once."""
    evidence = load_column(column)
    predictions = {row: data for row, data in evidence.items() if isinstance(data, Predictions)}
    grouped = any(len(np.unique(each.group)) < len(each.group) for each in predictions.values())
    chance = chance_level(column, predictions.values())
    ranking = replace(rank_column(column, evidence), chance=chance, grouped=grouped)
    return ColumnAnalysis(ranking, {row: confusions(each) for row, each in predictions.items()})


def load_column(column: Column) -> dict[int, Evidence]:
    """Load what the results of a column can be paired by, by row index, where predictions were saved."""
    loaded = {row: load_evidence(result) for row, result in column.cells.items()}
    return {row: data for row, data in loaded.items() if data is not None}


def rank_column(column: Column, evidence: Mapping[int, Evidence]) -> Ranking:
    """Rank the encoders of a column by the differences of all pairs."""
    pairs = {(i, j): difference(evidence[i], evidence[j]) for i, j in combinations(evidence, 2)}
    known = {pair: gap for pair, gap in pairs.items() if gap is not None}
    return rank({row: result.headline for row, result in column.cells.items()}, known)


def load_evidence(result: Result) -> Evidence | None:
    """Load what a result can be paired by; None if no predictions were saved."""
    resampled = result.kind != "recognition" or result.multilabel or next(iter(result.scores)) == PAIR_ACCURACY
    return paired_bootstrap.resampled_score(result) if resampled else load_predictions(result)


def load_predictions(result: Result) -> Predictions | None:
    """Load the predictions of a result with one label per example, at an absolute path; None if none were saved."""
    path = Path(result.predictions)
    if result.kind != "recognition" or result.multilabel or not result.predictions or not path.is_file():
        return None
    columns = read_predictions(path, COLUMNS, top=1)
    if not {"id", "outcome"} <= columns.keys():
        raise UserError(f"{path}: columns id and outcome are missing; evaluate again with --overwrite")
    key = np.array(
        [f"{f}/{i}" for f, i in zip(columns.get("fold", [0] * len(columns["id"])), columns["id"], strict=True)]
    )
    groups = [g or i for g, i in zip(columns.get("group", columns["id"]), columns["id"], strict=True)]
    group = np.unique(np.array(groups), return_inverse=True)[1] if groups else np.zeros(0, int)
    classes = result.settings.get("classes", [])
    first = [int(top[0]) if top else -1 for top in columns.get("top", [])]
    predicted = [str(classes[g]) if 0 <= g < len(classes) else "" for g in first]
    return Predictions(key, np.array(columns["outcome"], float), group, columns.get("label", ()), predicted)


def common(a: Predictions, b: Predictions) -> tuple[ndarray, ndarray]:
    """Positions in `a` and in `b` of their common examples, in the same order."""
    if np.array_equal(a.key, b.key):
        every = np.arange(len(a.key))
        return every, every
    _, in_a, in_b = np.intersect1d(a.key, b.key, return_indices=True)
    return in_a, in_b


def difference(a: Evidence, b: Evidence) -> Difference | None:
    """Paired difference over common examples, or of scores resampled over the same videos; None if there are none."""
    if isinstance(a, ResampledScore):
        assert isinstance(b, ResampledScore), "results of one task are of one kind"
        return paired_bootstrap.difference(a, b)
    assert not isinstance(b, ResampledScore), "results of one task are of one kind"
    in_a, in_b = common(a, b)
    if not len(in_a):
        return None
    return stats.paired(a.outcome[in_a], b.outcome[in_b], a.group[in_a], rng=np.random.default_rng(SEED))


def chance_level(column: Column, predictions: Iterable[Predictions]) -> Chance | None:
    """Chance level of a column whose headline score is top-1 over known classes, or that records one; else None.

    It is the accuracy of always predicting the most common test class; in results that record neither this nor
    predictions, 1 / number of classes (the same if classes are balanced). Of other headlines it is as recorded.
    """
    guess = _guess(column, predictions)
    known = (r.order_free for r in column.cells.values() if r.order_free is not None)
    return guess and guess._replace(order_free=next(known, None))


def _guess(column: Column, predictions: Iterable[Predictions]) -> Chance | None:
    if column.first.multilabel:
        return None if column.first.chance is None else Chance(column.first.chance, majority=False, several=True)
    if "versions" in column.first.diagnosis and column.first.chance is not None:
        return Chance(column.first.chance, majority=False, versions=True)
    classes = column.first.settings.get("classes")
    if next(iter(column.first.scores)) != "top-1":
        return None if column.first.chance is None else Chance(column.first.chance, majority=False)
    if not classes:
        return None
    truth = {k: t for each in predictions if each.truth for k, t in zip(each.key.tolist(), each.truth, strict=True)}
    if not truth:
        recorded = column.first.chance
        return Chance(100 / len(classes), majority=False) if recorded is None else Chance(recorded, majority=True)
    return Chance(100 * max(Counter(truth.values()).values()) / len(truth), majority=True)


def rank(scores: Mapping[int, Score], pairs: Mapping[tuple[int, int], Difference]) -> Ranking:
    """Rank encoders and group them into tiers by the significance of their differences."""
    adjusted = adjust(pairs)
    rows = list(scores)
    if len(rows) < 2 or len(pairs) < len(rows) * (len(rows) - 1) // 2:
        return Ranking(scores, pairs, adjusted)
    ranking = Ranking(scores, pairs, adjusted)
    tier = stats.tiers([scores[row].value for row in rows], lambda i, j: ranking.adjusted(rows[i], rows[j]) < ALPHA)
    return replace(ranking, tiers=dict(zip(rows, tier, strict=True)))


def adjust(pairs: Mapping[tuple[int, int], Difference]) -> dict[tuple[int, int], float]:
    """Holm-adjusted p-values of the differences of all pairs of encoders on one task."""
    return dict(zip(pairs, stats.holm([d.p for d in pairs.values()]), strict=True))


def rank_all(board: Leaderboard, analyses: Sequence[ColumnAnalysis]) -> dict[str, Ranking]:
    """Rankings by task for the main columns, by axis, and by probe for averages over datasets.

    `analyses` are those of `board.plain()`, in order.
    """
    rankings = {c.task: a.ranking for c, a in zip(board.plain(), analyses, strict=True) if c.main}
    for axis in ("appearance", "motion"):
        ranking = overall(board, rankings, axis)
        if ranking is not None:
            rankings[axis] = ranking
    return {**rankings, **averages(board, rankings)}


def overall(board: Leaderboard, rankings: Mapping[str, Ranking], axis: str) -> Ranking | None:
    """Rank encoders by their mean over the main columns of an axis, those evaluated on all of them."""
    return _mean_over(board, rankings, board.main(axis))


def average_columns(board: Leaderboard) -> dict[str, tuple[Column, ...]]:
    """Main columns with headline top-1 over which each probe is averaged, if it has two datasets or more.

    Presets of a probe for single datasets (`linear/paper-ssv2`) count as one probe. A probe whose columns are all the
    main columns of an axis is left out, since their mean is already that of the axis.
    """
    by_probe: dict[str, dict[str, Column]] = {}
    for column in board.main():
        if next(iter(column.first.scores)) == "top-1":
            family = re.split("[/@]", column.first.dataset, maxsplit=1)[0]
            by_probe.setdefault(column.first.probe.removesuffix(f"-{family}"), {}).setdefault(
                column.first.dataset, column
            )
    axes = [[c.task for c in board.main(axis)] for axis in ("appearance", "motion")]
    shared = {probe: tuple(columns.values()) for probe, columns in by_probe.items() if len(columns) > 1}
    return {probe: columns for probe, columns in shared.items() if [c.task for c in columns] not in axes}


def average_name(probe: str) -> str:
    """The key of a probe's average among the rankings."""
    return f"average of {probe}"


def averages(board: Leaderboard, rankings: Mapping[str, Ranking]) -> dict[str, Ranking]:
    """Rank encoders by their unweighted mean over the datasets of each probe; keys are from `average_name`."""
    means = {average_name(p): _mean_over(board, rankings, columns) for p, columns in average_columns(board).items()}
    return {name: ranking for name, ranking in means.items() if ranking}


def _mean_over(board: Leaderboard, rankings: Mapping[str, Ranking], columns: Sequence[Column]) -> Ranking | None:
    rows = [row.index for row in board.rows if columns and all(row.index in c.cells for c in columns)]
    if not rows:
        return None
    datasets = [c.first.dataset for c in columns]
    each = [rankings[c.task] for c in columns]
    scores = {row: stats.average([r.scores[row] for r in each], datasets) for row in rows}
    gaps = {pair: [d for d in (r.difference(*pair) for r in each) if d is not None] for pair in combinations(rows, 2)}
    means = {pair: stats.average_difference(d, datasets) for pair, d in gaps.items() if len(d) == len(each)}
    return replace(rank(scores, means), chance=_mean_chance([r.chance for r in each]))


def _mean_chance(levels: Sequence[Chance | None]) -> Chance | None:
    known = [c for c in levels if c is not None]
    if len(known) < len(levels):
        return None
    bounds = [c.order_free for c in known if c.order_free is not None]
    bound = sum(bounds) / len(bounds) if len(bounds) == len(known) else None
    return Chance(sum(c.value for c in known) / len(known), all(c.majority for c in known), order_free=bound)


def confusions(predictions: Predictions, most: int = 5) -> list[Confusion]:
    """Count the most frequent confusions of two classes."""
    if len(predictions.predicted) != len(predictions.truth):
        return []
    total = Counter(predictions.truth)
    pairs = zip(predictions.truth, predictions.predicted, strict=True)
    wrong = Counter((truth, predicted) for truth, predicted in pairs if predicted and truth != predicted)
    ranked = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))
    return [Confusion(truth, predicted, count, total[truth]) for (truth, predicted), count in ranked[:most]]
