"""Judging: the answers of all folds and seeds held against the truth, in the way of the probe that gave them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vitascope.core.types import Dataset, Example, Score
from vitascope.metrics.stats import average, bootstrap, over_seeds
from vitascope.probes.base import AnyProbe, ScoredPredictions, TestPredictions

TOP = 20
"""Classes of every prediction that are kept."""


@dataclass(frozen=True)
class FoldPredictions:
    """The predictions of one fold and one seed, and what they are held against."""

    number: int
    """Of the fold."""
    seed: int
    examples: Sequence[Example[Any]]
    predictions: Sequence[Any]
    scores: Mapping[str, float]
    lacking: Sequence[str]
    """Those that were to be trained or tested and could not be read."""
    failures: Mapping[str, str]
    about: Mapping[str, Any]
    """What the probe said of how the predictions came about."""

    @property
    def truth(self) -> list[Any]:
        """Of the examples."""
        return [e.truth for e in self.examples]


class SeedSummary(NamedTuple):
    """What the answers of all seeds are worth."""

    judged: ScoredPredictions
    n: int
    """Examples that were scored."""
    seeds: tuple[float, ...]
    """The headline of each seed."""


def judged(probe: AnyProbe, answers: Sequence[FoldPredictions], dataset: Dataset[Any], seed: int) -> SeedSummary:
    """All answers of one question: the mean over its seeds, drawn for its intervals from `seed`.

    What is kept of predictions and what was wrong with them is of the first seed where a probe judges by itself.
    """
    judge = getattr(probe, "judge", None)
    if judge is None:
        return _one_by_one(probe, answers, dataset, seed)
    asked = [_asked([a for a in answers if a.seed == of], dataset) for of in dict.fromkeys(a.seed for a in answers)]
    each: list[ScoredPredictions] = [judge(one, np.random.default_rng(seed)) for one in asked]
    seeds = tuple(next(iter(one.scores.values())).value for one in each)
    told = [known({name: score.value for name, score in one.scores.items()}) for one in each]
    scores = {n: _mean([one.scores[n] for one in each]) for n in each[0].scores if all(n in one for one in told)}
    headline = next(iter(scores))
    scores[headline] = over_seeds(scores[headline], seeds)
    per_class = {name: _mean([one.per_class[name] for one in each]) for name in each[0].per_class}
    return SeedSummary(each[0]._replace(scores=scores, per_class=per_class), len(asked[0].examples), seeds)


def known(scores: Mapping[str, float]) -> dict[str, float]:
    """The scores that are numbers: some are not defined where nothing was asked for, as mAP without an action."""
    return {name: value for name, value in scores.items() if isfinite(value)}


def _asked(answers: Sequence[FoldPredictions], dataset: Dataset[Any]) -> TestPredictions:
    return TestPredictions(
        [e for a in answers for e in a.examples],
        [a.number for a in answers for _ in a.examples],
        [p for a in answers for p in a.predictions],
        dataset.classes,
    )


def _mean(scores: Sequence[Score]) -> Score:
    """Over trainings that are tested on the same videos."""
    return scores[0] if len(scores) == 1 else average(scores, [0] * len(scores))


class _Whole(NamedTuple):
    """The answers of all folds; over several seeds their means, example by example."""

    examples: list[Example[int]]
    folds: list[int]
    predictions: npt.NDArray[np.float32]
    outcomes: npt.NDArray[np.float64]


def _one_by_one(probe: AnyProbe, answers: Sequence[FoldPredictions], dataset: Dataset[Any], seed: int) -> SeedSummary:
    """Where every example has its outcome, and the headline is their mean."""
    whole = _together(probe, answers)
    each = [_pooled(probe, [a for a in answers if a.seed == of]) for of in dict.fromkeys(a.seed for a in answers)]
    scores = {name: float(np.mean([scores[name] for scores in each])) for name in each[0]}
    seeds = tuple(next(iter(scores.values())) for scores in each)
    groups = [e.group for e in whole.examples]
    headline = over_seeds(bootstrap(whole.outcomes, groups, rng=np.random.default_rng(seed)), seeds)
    truth = np.array([e.truth for e in whole.examples])
    found = ScoredPredictions(
        {n: headline if i == 0 else Score(v) for i, (n, v) in enumerate(scores.items())},
        _per_class(whole.outcomes, truth, groups, dataset.classes, rng=np.random.default_rng(seed)),
        _columns(whole, dataset),
    )
    return SeedSummary(found, len(whole.examples), seeds)


def _together(probe: AnyProbe, answers: Sequence[FoldPredictions]) -> _Whole:
    of: dict[tuple[int, str], tuple[Example[int], list[Any], list[float]]] = {}
    for a in answers:
        alone = np.asarray(probe.outcomes(list(a.predictions), a.truth), np.float64)
        for e, prediction, outcome in zip(a.examples, a.predictions, alone, strict=True):
            _, predictions, outcomes = of.setdefault((a.number, e.id), (e, [], []))
            predictions.append(prediction)
            outcomes.append(outcome)
    return _Whole(
        examples=[e for e, _, _ in of.values()],
        folds=[number for number, _ in of],
        predictions=np.stack([np.mean(p, axis=0, dtype=np.float32) for _, p, _ in of.values()]),
        outcomes=np.array([np.mean(o) for _, _, o in of.values()]),
    )


def _pooled(probe: AnyProbe, answers: Sequence[FoldPredictions]) -> dict[str, float]:
    """Scores over the test examples of all folds of one seed."""
    return dict(probe.score([p for a in answers for p in a.predictions], [t for a in answers for t in a.truth]))


def _per_class(
    outcomes: npt.NDArray[np.float64],
    truth: npt.NDArray[np.int64],
    groups: Sequence[str | None],
    classes: Sequence[str],
    *,
    rng: np.random.Generator,
) -> dict[str, Score]:
    of = {int(c): np.flatnonzero(truth == c) for c in np.unique(truth)}
    return {classes[c]: bootstrap(outcomes[at], [groups[i] for i in at.tolist()], rng=rng) for c, at in of.items()}


def _columns(whole: _Whole, dataset: Dataset[Any]) -> dict[str, list[Any]]:
    """Every prediction as columns; enough to score again, to pair and to show what was confused."""
    best = np.argsort(-whole.predictions, axis=1, kind="stable")[:, :TOP]
    examples = whole.examples
    return {
        "id": [e.id for e in examples],
        "fold": whole.folds,
        "group": [e.group or "" for e in examples],
        "truth": [e.truth for e in examples],
        "label": [dataset.classes[e.truth] for e in examples],
        "top": best.tolist(),
        "score": np.take_along_axis(whole.predictions, best, axis=1).tolist(),
        "outcome": whole.outcomes.tolist(),
    }
