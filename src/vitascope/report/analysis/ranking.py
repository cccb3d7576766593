"""What the saved predictions of a column say: paired differences, tiers, chance and confusions."""

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
from vitascope.metrics.stats import Difference
from vitascope.report.analysis import paired_bootstrap
from vitascope.report.analysis.leaderboard import Column, Leaderboard
from vitascope.report.analysis.paired_bootstrap import Pooled

SEED = 0
"""Of every interval drawn here, each with a generator of its own: what else is in the run changes nothing."""
ALPHA = 0.05
COLUMNS = frozenset({"id", "fold", "group", "label", "top", "outcome"})


class Confusion(NamedTuple):
    """Examples of class `truth` taken for class `guess`: `wrong` of the `of` there are."""

    truth: str
    guess: str
    wrong: int
    of: int


class Chance(NamedTuple):
    """What can be had without looking at a video, percent."""

    value: float
    counted: bool
    """Whether it is the share of the most frequent test class, counted; else one over the number of classes."""


@dataclass(frozen=True)
class Predictions:
    """One result's outcomes (percent), by fold and example."""

    key: ndarray
    outcome: ndarray
    group: ndarray
    truth: Sequence[str] = ()
    guess: Sequence[str] = ()


Evidence: TypeAlias = Predictions | Pooled
"""Outcomes of examples, or a pooled headline in draws of them."""


@dataclass(frozen=True)
class Ranking:
    """How encoders (by row index) compare: differences first minus second, their p after Holm, and tiers from those.

    `tiers` is empty where some difference is unknown or there is nothing to compare.
    """

    scores: Mapping[int, Score]
    pairs: Mapping[tuple[int, int], Difference] = field(default_factory=dict)
    p: Mapping[tuple[int, int], float] = field(default_factory=dict)
    tiers: Mapping[int, int] = field(default_factory=dict)
    chance: Chance | None = None

    def order(self) -> list[int]:
        """Row indices, the best first."""
        return sorted(self.scores, key=lambda row: -self.scores[row].value)

    def difference(self, a: int, b: int) -> Difference | None:
        """Row a minus row b, where known."""
        if (a, b) in self.pairs:
            return self.pairs[a, b]
        return _flipped(self.pairs[b, a]) if (b, a) in self.pairs else None

    def adjusted(self, a: int, b: int) -> float:
        """The p-value of their difference after Holm; 1 where it is not known."""
        return self.p.get((a, b), self.p.get((b, a), 1.0))


def _flipped(found: Difference) -> Difference:
    low, high = (None if x is None else -x for x in (found.high, found.low))
    return found._replace(value=-found.value, low=low, high=high)


@dataclass(frozen=True)
class ColumnAnalysis:
    """All that a column's predictions say; `confusions` by row index."""

    standing: Ranking
    confusions: Mapping[int, Sequence[Confusion]]


def examine(column: Column) -> ColumnAnalysis:
    """Read the predictions of `column` once and draw all from them."""
    loaded = {row: evidence(result) for row, result in column.cells.items()}
    kept = {row: found for row, found in loaded.items() if found is not None}
    alone = {row: found for row, found in kept.items() if isinstance(found, Predictions)}
    pairs = {(i, j): difference(kept[i], kept[j]) for i, j in combinations(kept, 2)}
    known = {pair: found for pair, found in pairs.items() if found is not None}
    scores = {row: result.headline for row, result in column.cells.items()}
    standing = replace(rank(scores, known), chance=guessing(column, alone.values()))
    return ColumnAnalysis(standing, {row: confusions(found) for row, found in alone.items()})


def evidence(result: Result) -> Evidence | None:
    """What a result gathered by `board.gather` can be paired by; None where no predictions were kept."""
    return load(result) if result.kind == "recognition" else paired_bootstrap.load(result)


def load(result: Result) -> Predictions | None:
    """The outcomes of a result gathered by `board.gather`; None where no predictions were kept, or have no outcomes."""
    path = Path(result.predictions)
    if result.kind != "recognition" or not result.predictions or not path.is_file():
        return None
    columns = read_predictions(path, COLUMNS, top=1)
    if not {"id", "outcome"} <= columns.keys():
        raise UserError(f"{path}: no columns id and outcome in it; evaluate with --overwrite")
    key = np.array(
        [f"{f}/{i}" for f, i in zip(columns.get("fold", [0] * len(columns["id"])), columns["id"], strict=True)]
    )
    named = [g or i for g, i in zip(columns.get("group", columns["id"]), columns["id"], strict=True)]
    group = np.unique(np.array(named), return_inverse=True)[1] if named else np.zeros(0, int)
    classes = result.settings.get("classes", [])
    first = [int(top[0]) if top else -1 for top in columns.get("top", [])]
    guess = [str(classes[g]) if 0 <= g < len(classes) else "" for g in first]
    return Predictions(key, np.array(columns["outcome"], float), group, columns.get("label", ()), guess)


def common(a: Predictions, b: Predictions) -> tuple[ndarray, ndarray]:
    """Positions in `a` and in `b` of the examples both have, in one order."""
    if np.array_equal(a.key, b.key):
        every = np.arange(len(a.key))
        return every, every
    _, in_a, in_b = np.intersect1d(a.key, b.key, return_indices=True)
    return in_a, in_b


def difference(a: Evidence, b: Evidence) -> Difference | None:
    """The paired difference over the common examples, of pooled scores over the same ones; None without any."""
    if isinstance(a, Pooled):
        assert isinstance(b, Pooled), "one question has one kind of headline"
        return paired_bootstrap.difference(a, b)
    assert not isinstance(b, Pooled), "one question has one kind of headline"
    in_a, in_b = common(a, b)
    if not len(in_a):
        return None
    return stats.paired(a.outcome[in_a], b.outcome[in_b], a.group[in_a], rng=np.random.default_rng(SEED))


def guessing(column: Column, kept: Iterable[Predictions]) -> Chance | None:
    """Chance of a column headed by top-1 over known classes; None for any other score.

    Always naming the most frequent test class gives the most that one answer can; where classes are even it is one over
    their number, which stands in where no predictions were kept.
    """
    classes = column.any.settings.get("classes")
    if not classes or next(iter(column.any.scores)) != "top-1":
        return None
    truth = {k: t for found in kept if found.truth for k, t in zip(found.key.tolist(), found.truth, strict=True)}
    if not truth:
        return Chance(100 / len(classes), counted=False)
    return Chance(100 * max(Counter(truth.values()).values()) / len(truth), counted=True)


def rank(scores: Mapping[int, Score], pairs: Mapping[tuple[int, int], Difference]) -> Ranking:
    """Tiers of encoders from all their differences."""
    adjusted = dict(zip(pairs, stats.holm([d.p for d in pairs.values()]), strict=True))
    rows = list(scores)
    if len(rows) < 2 or len(pairs) < len(rows) * (len(rows) - 1) // 2:
        return Ranking(scores, pairs, adjusted)

    known = Ranking(scores, pairs, adjusted)
    tier = stats.tiers([scores[row].value for row in rows], lambda i, j: known.adjusted(rows[i], rows[j]) < ALPHA)
    return replace(known, tiers=dict(zip(rows, tier, strict=True)))


def overall(board: Leaderboard, standings: Mapping[str, Ranking], axis: str) -> Ranking | None:
    """The standing on an axis: means over its main columns, of the encoders that are in all of them."""
    return _mean_over(board, standings, board.main(axis))


def averaged(board: Leaderboard) -> dict[str, tuple[Column, ...]]:
    """By probe, the main columns headed by top-1 that it has on two data sets or more: what an average is taken over.

    A preset that a probe has for each data set (`linear/paper-ssv2`) counts as the probe. Columns that are all the
    main ones of an axis are left out: their mean is the axis's already.
    """
    held: dict[str, dict[str, Column]] = {}
    for column in board.main():
        if next(iter(column.any.scores)) == "top-1":
            family = re.split("[/@]", column.any.dataset, maxsplit=1)[0]
            held.setdefault(column.any.probe.removesuffix(f"-{family}"), {}).setdefault(column.any.dataset, column)
    axes = [[c.task for c in board.main(axis)] for axis in ("appearance", "motion")]
    shared = {probe: tuple(columns.values()) for probe, columns in held.items() if len(columns) > 1}
    return {probe: columns for probe, columns in shared.items() if [c.task for c in columns] not in axes}


def average_of(probe: str) -> str:
    """The name under which the standing of a probe's average is kept."""
    return f"average of {probe}"


def averages(board: Leaderboard, standings: Mapping[str, Ranking]) -> dict[str, Ranking]:
    """Unweighted means over the data sets of each probe, of the encoders that are in all of them, by `average_of`."""
    found = {average_of(p): _mean_over(board, standings, columns) for p, columns in averaged(board).items()}
    return {name: standing for name, standing in found.items() if standing}


def _mean_over(board: Leaderboard, standings: Mapping[str, Ranking], columns: Sequence[Column]) -> Ranking | None:
    rows = [row.index for row in board.rows if columns and all(row.index in c.cells for c in columns)]
    if not rows:
        return None
    sets = [c.any.dataset for c in columns]
    held = [standings[c.task] for c in columns]
    scores = {row: stats.average([s.scores[row] for s in held], sets) for row in rows}
    found = {pair: [d for d in (s.difference(*pair) for s in held) if d is not None] for pair in combinations(rows, 2)}
    whole = {pair: stats.average_difference(d, sets) for pair, d in found.items() if len(d) == len(held)}
    return replace(rank(scores, whole), chance=_mean_chance([s.chance for s in held]))


def _mean_chance(found: Sequence[Chance | None]) -> Chance | None:
    known = [c for c in found if c is not None]
    if len(known) < len(found):
        return None
    return Chance(sum(c.value for c in known) / len(known), all(c.counted for c in known))


def confusions(found: Predictions, most: int = 5) -> list[Confusion]:
    """The most frequent mistakes, as pairs of classes."""
    if len(found.guess) != len(found.truth):
        return []
    of = Counter(found.truth)
    wrong = Counter((t, g) for t, g in zip(found.truth, found.guess, strict=True) if g and t != g)
    ranked = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))
    return [Confusion(truth, guess, count, of[truth]) for (truth, guess), count in ranked[:most]]
