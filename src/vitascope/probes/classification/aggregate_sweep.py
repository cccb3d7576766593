"""kNN with every aggregator of clip vectors, and its gain over the mean on the same test videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from vitascope.core.device import torch
from vitascope.core.errors import UserError
from vitascope.core.fields import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, check_fields
from vitascope.core.types import Dataset, Score
from vitascope.datasets.label_sets import is_multilabel
from vitascope.features import aggregators
from vitascope.features.aggregation import fit
from vitascope.features.base import Features, all_vectors, kept_arrays
from vitascope.features.view import View
from vitascope.metrics import accuracy
from vitascope.metrics.gains import Gain, gains
from vitascope.metrics.stats import bootstrap, paired
from vitascope.probes.base import JointlyScored, PredictionList, ScoredPredictions, TestPredictions, WorkloadSize
from vitascope.probes.classification.model_selection import choose, selection_score, stratified_sample
from vitascope.probes.classification.multilabel import target_array
from vitascope.probes.classification.set_similarity import SEES_ORDER
from vitascope.probes.classification.voting import (
    Search,
    VectorSearch,
    half_a_class,
    held_out_neighbors,
    look_up,
    set_search,
)
from vitascope.sampling.names import MultiClip

Array: TypeAlias = NDArray[Any]
_CLIPS = View(MultiClip(2.0))
REFERENCE = "mean"
"""The aggregator that all others are compared with."""
CHOICES = (
    *(REFERENCE, "max", "meanstd", "cov:64", "chamfer"),
    *("pyramid:2", "pyramid:3", "slope", "dct:3", "dct:5", "levy:64", "order:16", "dtw"),
)
"""Aggregators and similarities of sets that are compared: those blind to order, then those that see it."""
SEED = 0
"""Random seed of every interval."""
TOP_CLASSES = 20
"""Number of top classes stored per prediction."""


class SweepPrediction(NamedTuple):
    """The prediction for one test example by the selected aggregator, and the class that each would predict."""

    shares: Float[Array, "c"]
    """Class shares by the selected aggregator."""
    classes: Int[Array, "a"]
    backwards: Int[Array, "a"]
    """The same with the clips in reverse order."""
    selected: int
    """Index of the selected aggregator."""


class _Tried(NamedTuple):
    """What one aggregator predicts."""

    shares: Float[Array, "e c"]
    backwards: Int[Array, "e"]
    held_out: float
    """Leave-one-out accuracy on the training examples, percent."""


@dataclass(frozen=True, kw_only=True)
class AggregateSweep(JointlyScored[int, SweepPrediction]):
    """kNN with the clip vectors of a video aggregated in several ways, which are compared on the same test videos.

    The score is that of the aggregator with the best leave-one-out accuracy on the training set, without the group of
    the example left out; test videos choose nothing. The gain of each over the mean, in `diagnosis`, has a paired
    interval over groups and a p-value corrected for the number of aggregators.
    """

    name: str = "knn/aggregate"
    """Name as typed by users, with options."""
    version: int = 1
    """Version; incremented whenever the same inputs would yield another score."""
    train: View = _CLIPS
    """View of the training videos."""
    test: View = _CLIPS
    """View of the test videos."""
    aggs: tuple[str, ...] = CHOICES
    """Aggregators to compare, and similarities of sets (chamfer, dtw); the mean is always one."""
    k: Annotated[int, NOT_NEGATIVE] = 0
    """Number of neighbors, at most the training set; 0: 20, but at most half the examples of a median class."""
    tau: Annotated[float, POSITIVE] = 0.1
    """Temperature: a neighbor votes with weight exp(similarity / tau)."""
    queries: Annotated[int, AT_LEAST_ONE] = 10_000
    """Maximum number of training examples used as queries for the selection, stratified; the bank holds all."""

    def __post_init__(self) -> None:
        check_fields(self, self.name)
        for name in self.aggs:
            _ = name in SEES_ORDER or aggregators.parse(name)
        if len(set(self.aggs)) < len(self.aggs) or REFERENCE not in self.aggs or len(self.aggs) < 2:
            given = ",".join(self.aggs)
            raise UserError(f"{self.name}: aggs = {given} must be different ones: {REFERENCE}, and what to compare")
        for view in (self.train, self.test):
            if view.agg:
                raise UserError(f"{self.name}: compares aggregators; name them as aggs=mean,dct:5 instead of agg=...")
            if why := view.not_a_sequence():
                raise UserError(f"{self.name}: {why}")

    def check_dataset(self, dataset: Dataset[Any]) -> None:
        """Raise UserError for labels that are several, or compositional."""
        if is_multilabel(dataset) or dataset.factors:
            labels = "labels of two parts" if dataset.factors else "several labels"
            raise UserError(
                f"{self.name}: compares accuracies, but examples of {dataset.name} have {labels}; evaluate "
                "-p knn/video and -p knn/clip+agg=dct:5, and see `vitascope report`"
            )

    def multiply_adds(self, load: WorkloadSize) -> float:
        """Return the multiply-adds of all searches: of vectors, and of all pairs of clips for sets."""
        videos = load.train * (load.test + min(self.queries, load.train))
        pairs = sum(load.train_clips * load.test_clips if name in SEES_ORDER else 5 for name in self.aggs)
        return float(videos * pairs * load.dim)

    def predict(self, train: Features[Any], test: Features[Any], *, seed: int) -> PredictionList[SweepPrediction]:
        """Return the predictions of every aggregator; `seed` draws the queries of the selection."""
        labels = target_array(train)
        clips = torch.bincount(all_vectors(train).owner)
        if int(clips.max()) < 2:
            raise UserError(
                f"{self.name}: every training video has one clip, so nothing is left to aggregate; take shorter ones, "
                "such as +train=multiclip:0.5/0.25+test=multiclip:0.5/0.25"
            )
        k = self.k or half_a_class(labels)
        chosen = stratified_sample(torch.from_numpy(labels), self.queries, seed).numpy()
        best, classes, backwards, scores = 0, list[Array](), list[Array](), list[float]()
        for number, name in enumerate(self.aggs):
            tried = self._try(name, train, test, labels, chosen=chosen, k=k)
            if not number or tried.held_out > max(scores):
                best, shares = number, tried.shares
            classes.append(tried.shares.argmax(axis=1))
            backwards.append(tried.backwards)
            scores.append(tried.held_out)
        _, about = choose([{"aggregator": name} for name in self.aggs], "held-out", scores)
        columns = zip(shares, np.stack(classes, axis=1), np.stack(backwards, axis=1), strict=True)
        return PredictionList((SweepPrediction(*row, best) for row in columns), k=k, **about)

    def _try(
        self,
        name: str,
        train: Features[Any],
        test: Features[Any],
        labels: Int[Array, "e"],
        *,
        chosen: Int[Array, "m"],
        k: int,
    ) -> _Tried:
        """Return what one aggregator predicts, and how well on the training set."""
        point = {"k": k, "tau": self.tau}
        search, turned = self._searches(name, train, test)
        of_test = look_up(search, labels, len(train.classes), k)
        held_out = held_out_neighbors(search, train.examples, chosen, of_test, k)
        shares = of_test.vote(point)
        reverse = look_up(turned, labels, len(train.classes), k).vote(point) if turned else shares
        score = selection_score(torch.from_numpy(held_out.vote(point)), torch.from_numpy(labels[chosen]))
        return _Tried(shares, reverse.argmax(axis=1), score)

    def _searches(self, name: str, train: Features[Any], test: Features[Any]) -> tuple[Search, Search | None]:
        """Return the bank with the test examples, and with their clips in reverse if the aggregator sees order."""
        first, second = self.train.backwards, self.test.backwards
        if name in SEES_ORDER:
            search = set_search(train, test, name, center=True, backwards=(first, second))  # type: ignore[arg-type]
            return search, search.turned() if SEES_ORDER[name] else None
        fitted = fit(aggregators.parse(name), train)
        bank = kept_arrays(fitted.apply(train, backwards=first))
        queries = kept_arrays(fitted.apply(test, backwards=second))
        if not fitted.aggregator.sees_order:
            return VectorSearch(bank, queries), None
        turned = kept_arrays(fitted.apply(test, backwards=not second))
        return VectorSearch(bank, queries), VectorSearch(bank, turned)

    def score(self, predictions: Sequence[SweepPrediction], truth: Sequence[int]) -> dict[str, float]:
        """Return the accuracies of the selected aggregator."""
        return accuracy.summary([p.shares for p in predictions], truth)

    def outcomes(self, predictions: Sequence[SweepPrediction], truth: Sequence[int]) -> list[float]:
        """Return 100 for each example that the selected aggregator classifies correctly, else 0."""
        return accuracy.outcomes([p.shares for p in predictions], truth)

    def score_predictions(self, test: TestPredictions, rng: np.random.Generator) -> ScoredPredictions:
        """Score the selected aggregator, and compare all with the mean."""
        truth, predictions = np.array([e.truth for e in test.examples]), test.predictions
        outcomes = np.array(self.outcomes(predictions, truth.tolist()))
        scores = {name: Score(value) for name, value in self.score(predictions, truth.tolist()).items()}
        scores[next(iter(scores))] = bootstrap(outcomes, test.groups, rng=rng)
        groups = np.array(test.groups, object)
        rows = {test.classes[c]: np.flatnonzero(truth == c) for c in np.unique(truth).tolist()}
        per_class = {name: bootstrap(outcomes[i], groups[i].tolist(), rng=rng) for name, i in rows.items()}
        diagnosis = {"aggregation": self._comparison(test, truth, outcomes)}
        chance = 100 * float(np.bincount(truth).max()) / len(truth)
        return ScoredPredictions(scores, per_class, _columns(test, truth, outcomes), diagnosis, chance)

    def _comparison(self, test: TestPredictions, truth: Int[Array, "e"], outcomes: Array) -> dict[str, Any]:
        """Compare all aggregators with the mean, as plain data."""
        classes = np.stack([p.classes for p in test.predictions])
        turned = np.stack([p.backwards for p in test.predictions])
        correct = {name: 100.0 * (classes[:, i] == truth) for i, name in enumerate(self.aggs)}
        found = gains(correct, REFERENCE, test.groups, seed=SEED)
        selected = {fold: p.selected for fold, p in zip(test.folds, test.predictions, strict=True)}
        reference = correct[REFERENCE]
        gap = paired(outcomes, reference, test.groups, rng=np.random.default_rng(SEED))
        rows = [
            {
                **_row(name, found.get(name), bootstrap(correct[name], test.groups, rng=np.random.default_rng(SEED))),
                "backwards": round(100 * float((turned[:, i] == truth).mean()), 4) if sees_order(name) else None,
                "selected": sum(number == i for number in selected.values()),
            }
            for i, name in enumerate(self.aggs)
        ]
        return {"reference": REFERENCE, "folds": len(selected), "selection": gap._asdict(), "aggregators": rows}


def sees_order(name: str) -> bool:
    """Return whether an aggregator or similarity, by name, sees the order of clips."""
    return SEES_ORDER[name] if name in SEES_ORDER else aggregators.parse(name).sees_order


def _row(name: str, gain: Gain | None, score: Score) -> dict[str, Any]:
    """Return one aggregator as plain data; the reference has no gain."""
    compared = {"gain": gain.gap._asdict(), "adjusted": gain.adjusted, "verdict": gain.verdict} if gain else {}
    return {"name": name, "sees_order": sees_order(name), "score": score._asdict(), **compared}


def _columns(test: TestPredictions, truth: Int[Array, "e"], outcomes: Array) -> dict[str, list[Any]]:
    """Return the predictions by the selected aggregator as columns, those of every classification probe."""
    shares = np.stack([p.shares for p in test.predictions])
    best = np.argsort(-shares, axis=1, kind="stable")[:, :TOP_CLASSES]
    return {
        **test.columns,
        "truth": truth.tolist(),
        "label": [test.classes[c] for c in truth.tolist()],
        "top": best.tolist(),
        "score": np.take_along_axis(shares, best, axis=1).tolist(),
        "outcome": outcomes.tolist(),
    }
