"""Scoring: metrics and intervals of the predictions of all folds and seeds, as defined by the probe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vitascope.core.addresses import absolute
from vitascope.core.types import Dataset, Example, Score
from vitascope.datasets.label_sets import is_multilabel
from vitascope.evaluation.data_card import UNMEASURED, Extent
from vitascope.evaluation.near_copies import Candidate
from vitascope.metrics import average_precision, class_parts
from vitascope.metrics.class_parts import ClassPart
from vitascope.metrics.stats import average, bootstrap, over_seeds
from vitascope.probes.base import AnyProbe, JointlyScored, ScoredPredictions, TestPredictions
from vitascope.probes.classification.base import Classification
from vitascope.probes.classification.multilabel import score_label_sets

TOP_CLASSES = 20
"""Number of top classes stored per prediction."""


@dataclass(frozen=True)
class FoldPredictions:
    """Predictions of one fold and one seed, with their examples."""

    fold: int
    """Index of the fold."""
    seed: int
    examples: Sequence[Example[Any]]
    predictions: Sequence[Any]
    scores: Mapping[str, float]
    """Scores of this fold, the headline first."""
    unreadable: Sequence[str]
    """Ids of training and test examples that could not be read."""
    failures: Mapping[str, str]
    """{example id: reason} of failures while reading."""
    about: Mapping[str, Any]
    """Notes of the probe on the training, such as the selected hyper-parameters."""
    candidates: Sequence[Candidate] = ()
    """Test examples that may be copies of training examples, of the first seed."""
    extent: Extent = UNMEASURED
    """Clips of the test examples, as far as they are known."""

    @property
    def truth(self) -> list[Any]:
        """The ground truth of the examples."""
        return [e.truth for e in self.examples]


class SeedSummary(NamedTuple):
    """Scores over all seeds."""

    scored: ScoredPredictions
    n: int
    """Number of scored examples."""
    seeds: tuple[float, ...]
    """Headline score of each seed."""
    chance: float | None = None
    """Headline of always predicting the most common test class, of equal scores for several labels, or as the probe
    states it; else None."""
    order_free: float | None = None
    """Headline of one who recognizes every frame but not their order; None if unknown."""
    parts: tuple[ClassPart, ...] = ()


def summarize(probe: AnyProbe, predictions: Sequence[FoldPredictions], dataset: Dataset[Any], seed: int) -> SeedSummary:
    """Score the predictions of one task: means over seeds, with intervals resampled from `seed`.

    If the probe scores predictions jointly, stored columns and diagnosis are those of the first seed.
    """
    several = isinstance(probe, Classification) and is_multilabel(dataset)
    if not (several or isinstance(probe, JointlyScored)):
        return _summarize_outcomes(probe, predictions, dataset, seed)
    score = probe.score_predictions if isinstance(probe, JointlyScored) else score_label_sets
    by_seed = [
        _test_predictions([a for a in predictions if a.seed == number], dataset)
        for number in dict.fromkeys(a.seed for a in predictions)
    ]
    scored: list[ScoredPredictions] = [score(one, np.random.default_rng(seed)) for one in by_seed]
    seeds = tuple(next(iter(one.scores.values())).value for one in scored)
    defined = [finite_scores({name: score.value for name, score in one.scores.items()}) for one in scored]
    scores = {n: _mean([one.scores[n] for one in scored]) for n in scored[0].scores if all(n in one for one in defined)}
    headline = next(iter(scores))
    scores[headline] = over_seeds(scores[headline], seeds)
    per_class = {name: _mean([one.per_class[name] for one in scored]) for name in scored[0].per_class}
    chance = average_precision.chance([e.truth for e in by_seed[0].examples]) if several else scored[0].chance
    return SeedSummary(scored[0]._replace(scores=scores, per_class=per_class), len(by_seed[0].examples), seeds, chance)


def finite_scores(scores: Mapping[str, float]) -> dict[str, float]:
    """Return the scores that are defined; mAP without actions, for instance, is not."""
    return {name: value for name, value in scores.items() if isfinite(value)}


def _test_predictions(folds: Sequence[FoldPredictions], dataset: Dataset[Any]) -> TestPredictions:
    return TestPredictions(
        [e for a in folds for e in a.examples],
        [a.fold for a in folds for _ in a.examples],
        [p for a in folds for p in a.predictions],
        dataset.classes,
        dataset.class_groups,
    )


def _mean(scores: Sequence[Score]) -> Score:
    """Average over trainings tested on the same videos."""
    return scores[0] if len(scores) == 1 else average(scores, [0] * len(scores))


class _PooledFolds(NamedTuple):
    """Predictions and outcomes of all folds, averaged over seeds for each example."""

    examples: list[Example[int]]
    folds: list[int]
    predictions: npt.NDArray[np.float32]
    outcomes: npt.NDArray[np.float64]


def _summarize_outcomes(
    probe: AnyProbe, predictions: Sequence[FoldPredictions], dataset: Dataset[Any], seed: int
) -> SeedSummary:
    """Summarize a probe whose headline score is the mean of its outcomes."""
    pooled = _pool_folds(probe, predictions)
    by_seed = [
        _pooled_scores(probe, [a for a in predictions if a.seed == number])
        for number in dict.fromkeys(a.seed for a in predictions)
    ]
    scores = {name: float(np.mean([scores[name] for scores in by_seed])) for name in by_seed[0]}
    seeds = tuple(next(iter(scores.values())) for scores in by_seed)
    groups = [e.group for e in pooled.examples]
    headline = over_seeds(bootstrap(pooled.outcomes, groups, rng=np.random.default_rng(seed)), seeds)
    truth = np.array([e.truth for e in pooled.examples])
    scored = ScoredPredictions(
        {n: headline if i == 0 else Score(v) for i, (n, v) in enumerate(scores.items())},
        _per_class(pooled.outcomes, truth, groups, dataset.classes, rng=np.random.default_rng(seed)),
        _columns(pooled, dataset),
    )
    chance = 100 * float(np.bincount(truth).max()) / len(truth) if next(iter(scores)) == "top-1" else None
    if chance is None:
        return SeedSummary(scored, len(pooled.examples), seeds)
    bound = class_parts.order_free(truth.tolist(), dataset.structure, len(dataset.classes))
    return SeedSummary(scored, len(pooled.examples), seeds, chance, bound, _parts(predictions, dataset, seed))


def _parts(predictions: Sequence[FoldPredictions], dataset: Dataset[Any], seed: int) -> tuple[ClassPart, ...]:
    """The parts of the top-1 accuracy, over all folds and seeds."""
    examples = [e for a in predictions for e in a.examples]
    answers = [int(np.argmax(p)) for a in predictions for p in a.predictions]
    repeated = len({a.seed for a in predictions}) > 1
    groups = [e.group or (e.id if repeated else None) for e in examples]
    rng = np.random.default_rng(seed)
    return tuple(class_parts.parts([e.truth for e in examples], answers, groups, dataset.structure, rng))


def _pool_folds(probe: AnyProbe, predictions_by_fold: Sequence[FoldPredictions]) -> _PooledFolds:
    by_example: dict[tuple[int, str], tuple[Example[int], list[Any], list[float]]] = {}
    for a in predictions_by_fold:
        fold_outcomes = np.asarray(probe.outcomes(list(a.predictions), a.truth), np.float64)
        for e, prediction, outcome in zip(a.examples, a.predictions, fold_outcomes, strict=True):
            _, predictions, outcomes = by_example.setdefault((a.fold, e.id), (e, [], []))
            predictions.append(prediction)
            outcomes.append(outcome)
    return _PooledFolds(
        examples=[e for e, _, _ in by_example.values()],
        folds=[number for number, _ in by_example],
        predictions=np.stack([np.mean(p, axis=0, dtype=np.float32) for _, p, _ in by_example.values()]),
        outcomes=np.array([np.mean(o) for _, _, o in by_example.values()]),
    )


def _pooled_scores(probe: AnyProbe, folds: Sequence[FoldPredictions]) -> dict[str, float]:
    """Return the scores over the test examples of all folds of one seed."""
    return dict(probe.score([p for a in folds for p in a.predictions], [t for a in folds for t in a.truth]))


def _per_class(
    outcomes: npt.NDArray[np.float64],
    truth: npt.NDArray[np.int64],
    groups: Sequence[str | None],
    classes: Sequence[str],
    *,
    rng: np.random.Generator,
) -> dict[str, Score]:
    rows = {int(c): np.flatnonzero(truth == c) for c in np.unique(truth)}
    return {
        classes[c]: bootstrap(outcomes[indices], [groups[i] for i in indices.tolist()], rng=rng)
        for c, indices in rows.items()
    }


def _columns(pooled: _PooledFolds, dataset: Dataset[Any]) -> dict[str, list[Any]]:
    """Return the predictions as columns: enough for rescoring, paired tests and confusion matrices."""
    best = np.argsort(-pooled.predictions, axis=1, kind="stable")[:, :TOP_CLASSES]
    examples = pooled.examples
    return {
        "id": [e.id for e in examples],
        "fold": pooled.folds,
        "group": [e.group or "" for e in examples],
        **_files(examples),
        "truth": [e.truth for e in examples],
        "label": [dataset.classes[e.truth] for e in examples],
        "top": best.tolist(),
        "score": np.take_along_axis(pooled.predictions, best, axis=1).tolist(),
        "outcome": pooled.outcomes.tolist(),
    }


def _files(examples: Sequence[Example[Any]]) -> dict[str, list[Any]]:
    """The files of the examples and the parts of them that they are, seconds (NaN: from the start, to the end)."""
    spans = [e.span or (math.nan, math.nan) for e in examples]
    return {
        "path": [absolute(e.path) for e in examples],
        "frame_rate": [e.fps or 0.0 for e in examples],
        "from": [start for start, _ in spans],
        "to": [end for _, end in spans],
    }
