"""Scores of telling versions of videos apart, with permutation test and intervals, and what their pictures need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float64, Int
from numpy import ndarray

from vitascope.core.truth import classes_of
from vitascope.core.types import Score
from vitascope.metrics.permutation import Tested, auc_parts, permutation_test, widened
from vitascope.metrics.stats import bootstrap, codes, resampled
from vitascope.probes.base import JointlyScored, ScoredPredictions, TestPredictions
from vitascope.probes.direction.outcomes import UNITS, VersionScores
from vitascope.sampling.versions import VERSIONS, Question

HEADLINES = {"direction": "pairwise", "order": "pairwise", "speed": "within video"}
"""Name of the headline by what is told apart: the share of versions that score highest of their video as themselves."""
BINS, REACH = 40, 4.0
"""Bins of the histogram of projections, and its end in standard deviations from the middle."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of the cosines that are kept."""


class ToldApart(JointlyScored[Any, VersionScores]):
    """A probe that tells versions of the same videos apart."""

    of: Question
    """What the versions differ in."""
    needs_classes: ClassVar[bool] = False

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions by name."""
        return VERSIONS[self.of]

    def score(self, predictions: Sequence[VersionScores], truth: Sequence[Any]) -> dict[str, float]:
        """The headline and the accuracy, percent."""
        correct = accuracies(predictions)
        return {
            HEADLINES[self.of]: float(np.mean(self.outcomes(predictions, truth))),
            "accuracy": float(correct.mean()),
        }

    def outcomes(self, predictions: Sequence[VersionScores], truth: Sequence[Any]) -> list[float]:
        """Percent of the versions of each video that score highest as themselves; ties share."""
        return [p.outcome for p in predictions]

    def score_predictions(self, test: TestPredictions, rng: np.random.Generator) -> ScoredPredictions:
        """Scores with intervals over groups, the permutation test, and the histogram of projections."""
        units = codes([e.id if e.group is None else e.group for e in test.examples], len(test.examples))
        head = self._headline(test, units, rng)
        others = {"accuracy": bootstrap(accuracies(test.predictions), units, rng=rng)}
        projected = projections(test.predictions, test.folds)
        if len(self.versions) == 2:
            others["AUC"] = _auc(projected, np.array(test.folds), units, rng)
        outcomes = np.array(self.outcomes(test.predictions, ()))
        columns = {
            **test.columns,
            "label": [" / ".join(test.classes[c] for c in sorted(set(classes_of(e.truth)))) for e in test.examples],
            "outcome": outcomes.tolist(),
            "projection": projected.tolist(),
            "cosine": [p.cosine for p in test.predictions],
        }
        return ScoredPredictions(
            {HEADLINES[self.of]: head.score, **{n: widened(s, head.inflation) for n, s in others.items()}},
            _by_class(test, outcomes, units, rng),
            columns,
            {"versions": self._about(test, head, units, projected)},
            100 / len(self.versions),
        )

    def _headline(self, test: TestPredictions, units: Int[ndarray, "n"], rng: np.random.Generator) -> Tested:
        outcomes = np.stack([p.outcomes for p in test.predictions]) * (100 / UNITS)
        score = bootstrap(outcomes[:, 0], units, rng=rng)
        return permutation_test(score, outcomes, units, 100 / len(self.versions))

    def _about(
        self, test: TestPredictions, head: Tested, units: Int[ndarray, "n"], projected: Float64[ndarray, "n v"]
    ) -> dict[str, Any]:
        """The test, the cosines and the histogram, as plain data of bounded size."""
        cosine = np.array([p.cosine for p in test.predictions])
        counts = [np.histogram(v.clip(-REACH, REACH), BINS, (-REACH, REACH))[0].tolist() for v in projected.T]
        return {
            "of": self.of,
            "names": list(self.versions),
            "p": head.p,
            "draws": len(test.predictions[0].outcomes) - 1,
            "inflation": head.inflation,
            "videos": len(test.examples),
            "groups": int(units.max()) + 1,
            "tied": sum(p.tied for p in test.predictions),
            "cosine": [float(q) for q in np.quantile(cosine, QUANTILES)],
            "reach": REACH,
            "counts": counts,
        }


def accuracies(predictions: Sequence[VersionScores]) -> Float64[ndarray, "n"]:
    """Percent of the versions of each video that have the highest score of all classes as what they are; ties share."""
    scores = np.stack([p.scores for p in predictions])
    highest = scores == scores.max(axis=2, keepdims=True)
    shares = highest / highest.sum(axis=2, keepdims=True)
    correct: Float64[ndarray, "n"] = 100 * np.einsum("nvv->n", shares) / scores.shape[1]
    return correct


def projections(predictions: Sequence[VersionScores], folds: Sequence[int]) -> Float64[ndarray, "n v"]:
    """Where the versions of each video are on the axis of their classifier: first against last, or slow to fast.

    In standard deviations of the projections of a fold, as the scale of each classifier is its own.
    """
    scores = np.stack([p.scores for p in predictions])
    sign = 1 if scores.shape[1] == 2 else -1
    projected: Float64[ndarray, "n v"] = sign * (scores[:, :, 0] - scores[:, :, -1])
    for fold in set(folds):
        rows = np.array(folds) == fold
        spread = float(projected[rows].std())
        projected[rows] /= spread if spread > 0 else 1.0
    return projected


def _auc(
    projected: Float64[ndarray, "n v"], folds: Int[ndarray, "n"], units: Int[ndarray, "n"], rng: np.random.Generator
) -> Score:
    """Area under the ROC curve in percent, by fold, with an interval over groups (linearized, as DeLong's)."""
    parts = np.zeros(len(projected))
    for fold in np.unique(folds):
        rows = np.flatnonzero(folds == fold)
        above, below = auc_parts(projected[rows, 0], projected[rows, 1])
        parts[rows] = above + below - above.mean()
    sums, counts = np.bincount(units, parts), np.bincount(units)
    return resampled(lambda w: 100 * ((w @ sums) / (w @ counts))[:, None], len(sums), rng=rng)[0]


def _by_class(
    test: TestPredictions, outcomes: Float64[ndarray, "n"], units: Int[ndarray, "n"], rng: np.random.Generator
) -> dict[str, Score]:
    """The headline of the videos of each class."""
    rows: dict[int, list[int]] = {}
    for i, example in enumerate(test.examples):
        for label in set(classes_of(example.truth)):
            rows.setdefault(label, []).append(i)
    return {test.classes[c]: bootstrap(outcomes[rows[c]], units[rows[c]], rng=rng) for c in sorted(rows)}
