"""Votes of the nearest training examples: by vectors, by sets of clips; for test examples and leave-one-out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.types import Example
from vitascope.features.aggregation import Sequences, as_stored, in_time
from vitascope.features.base import Features, FlatVectors, check_same_shape, mean_vectors
from vitascope.probes.classification.multilabel import Targets, is_multilabel, labels_of
from vitascope.probes.classification.nearest_neighbors import TILE, Apart, Neighbors, mean_vector, neighbors
from vitascope.probes.classification.set_similarity import SEES_ORDER, Measure, set_neighbors

Array: TypeAlias = NDArray[Any]
MOST_NEIGHBORS = 20
"""Largest default k: that of DINO, the best of 10 to 200 on ImageNet."""


def half_a_class(labels: Targets) -> int:
    """Return the default k: 20, but at most half the vectors of a median class, so that it can win the vote."""
    sizes = labels.sum(dim=0) if is_multilabel(labels) else torch.bincount(labels)
    return min(MOST_NEIGHBORS, max(1, int(sizes[sizes > 0].median()) // 2))


@runtime_checkable
class Search(Protocol):
    """A bank of training vectors, or of videos as sets of clips, and the test examples that are looked up in it."""

    @property
    def owner(self) -> Int[Tensor, "b"]:
        """The training example of each entry of the bank."""
        ...

    @property
    def query_owner(self) -> Int[Tensor, "q"]:
        """The test example of each query."""
        ...

    def of_test(self, k: int) -> Neighbors:
        """The k nearest entries of each query."""
        ...

    def of_train(self, entries: Int[Tensor, "m"], k: int, units: Int[Tensor, "b"]) -> Neighbors:
        """The k nearest entries of entries of the bank that are of another unit; infinitely far where there is none."""
        ...


@dataclass(frozen=True)
class VectorSearch:
    """Search by the cosine of vectors."""

    bank: FlatVectors
    queries: FlatVectors
    shift: Float[Tensor, "d"] | None = None
    """Subtracted from all vectors."""

    @property
    def owner(self) -> Int[Tensor, "b"]:
        """The training example of each vector."""
        return self.bank.owner

    @property
    def query_owner(self) -> Int[Tensor, "q"]:
        """The test example of each vector."""
        return self.queries.owner

    def of_test(self, k: int) -> Neighbors:
        """The k nearest vectors of each test vector."""
        return neighbors(self.queries.values, self.bank.values, k, shift=self.shift)

    def of_train(self, entries: Int[Tensor, "m"], k: int, units: Int[Tensor, "b"]) -> Neighbors:
        """The k nearest vectors of vectors of the bank, of another unit."""
        apart = Apart(units[entries], units)
        return neighbors(self.bank.values[entries], self.bank.values, k, shift=self.shift, apart=apart)

    def centered(self) -> VectorSearch:
        """Both without the mean of the bank."""
        return replace(self, shift=mean_vector(self.bank.values))


@dataclass(frozen=True)
class SetSearch:
    """Search by the similarity of sets of clip vectors, all of unit length; see `set_neighbors`."""

    bank: Sequences
    queries: Sequences
    measure: Measure

    @property
    def owner(self) -> Int[Tensor, "b"]:
        """Every training example is one entry."""
        return torch.arange(len(self.bank.counts), device=self.bank.values.device)

    @property
    def query_owner(self) -> Int[Tensor, "q"]:
        """Every test example is one query."""
        return torch.arange(len(self.queries.counts), device=self.queries.values.device)

    def turned(self) -> SetSearch:
        """The same with the clips of the test videos in reverse order."""
        return replace(self, queries=self.queries.backwards())

    def of_test(self, k: int) -> Neighbors:
        """The k most similar training videos of each test video."""
        return set_neighbors(self.queries, self.bank, k, self.measure)

    def of_train(self, entries: Int[Tensor, "m"], k: int, units: Int[Tensor, "b"]) -> Neighbors:
        """The k most similar training videos of training videos, of another unit."""
        largest = int(torch.bincount(units)[units[entries]].max())
        nearest = set_neighbors(self.bank.take(entries), self.bank, k + largest, self.measure)
        excluded = units[nearest.indices] == units[entries, None]
        columns = excluded.to(torch.uint8).argsort(dim=1, stable=True)[:, :k]
        similarities = nearest.similarities.masked_fill(excluded, -torch.inf)
        return Neighbors(similarities.gather(1, columns), nearest.indices.gather(1, columns))


def set_search(
    train: Features[Any], test: Features[Any], measure: Measure, *, center: bool, backwards: tuple[bool, bool]
) -> SetSearch:
    """Search by a similarity of sets; `center` subtracts the mean of the training videos from all clip vectors.

    `backwards`: whether the clips of training and test videos are taken from the last to the first.
    """
    read = in_time if SEES_ORDER[measure] else as_stored
    bank, queries = read(train), read(test)
    check_same_shape(*(FlatVectors(s.values, s.counts) for s in (bank, queries)))
    mean = mean_vectors(train).values.double().mean(dim=0).float() if center else torch.zeros(())
    unit = [s._replace(values=F.normalize(s.values - mean.to(s.values), dim=1)) for s in (bank, queries)]
    bank, queries = (s.backwards() if flip else s for s, flip in zip(unit, backwards, strict=True))
    return SetSearch(bank, queries, measure)


class QueryNeighbors(NamedTuple):
    """Queries with their neighbors and the labels of the bank, shared by every k and tau."""

    neighbors: Neighbors
    owner: Int[Tensor, "q"]
    labels: Targets
    classes: int

    def vote(self, point: Mapping[str, float]) -> Float[Array, "e c"]:
        """Return class shares with the k and tau of one candidate."""
        nearest = Neighbors(*(part[:, : int(point["k"])] for part in self.neighbors))
        return vote(nearest, self.labels, self.owner, classes=self.classes, tau=point["tau"])


def look_up(search: Search, labels: Targets, classes: int, k: int) -> QueryNeighbors:
    """Return the neighbors of the test examples, with the labels of the training examples."""
    return QueryNeighbors(search.of_test(k), search.query_owner, labels.to(search.owner.device)[search.owner], classes)


def held_out_neighbors(
    search: Search, examples: Sequence[Example[Any]], chosen: Int[Tensor, "m"], of_test: QueryNeighbors, k: int
) -> QueryNeighbors:
    """Return the neighbors of the training examples `chosen` that are left in the bank without each of them."""
    nearest, owner = _leave_one_out(search, examples, chosen, k)
    return of_test._replace(neighbors=nearest, owner=owner)


def _leave_one_out(
    search: Search, examples: Sequence[Example[Any]], chosen: Int[Tensor, "m"], k: int
) -> tuple[Neighbors, Tensor]:
    """Return the k nearest neighbors of all vectors of the examples `chosen`, outside example and group, and owners.

    Missing neighbors are infinitely far away and have no vote. If every class has a single group, groups are not left
    out, as no example of the class would remain. Raises UserError if nothing is left.
    """
    units: dict[tuple[str | int, bool], int] = {}
    leave_groups, owner = not _one_group_per_class(examples), search.owner
    keys = [(e.group, True) if leave_groups and e.group is not None else (i, False) for i, e in enumerate(examples)]
    unit = torch.tensor([units.setdefault(key, len(units)) for key in keys], device=owner.device)[owner]
    if len(units) < 2:
        raise UserError(
            f"all {len(examples)} training examples belong to one group, so none is left to select by; use a probe "
            "without sweep"
        )
    place = torch.full((len(examples),), -1, device=owner.device)
    place[chosen] = torch.arange(len(chosen), device=place.device)
    query_rows = (place[owner] >= 0).nonzero()[:, 0]
    parts = [search.of_train(part, k, unit) for part in torch.split(query_rows, TILE)]
    joined = Neighbors(*(torch.cat(parts) for parts in zip(*parts, strict=True)))
    return joined, place[owner[query_rows]]


def _one_group_per_class(examples: Sequence[Example[Any]]) -> bool:
    """Return whether every class has a single group, and there are several."""
    groups: dict[int, set[str | int]] = {}
    for i, e in enumerate(examples):
        for label in labels_of(e):
            groups.setdefault(label, set()).add(i if e.group is None else e.group)
    return len(set.union(*groups.values())) > 1 and all(len(members) == 1 for members in groups.values())


def vote(
    neighbors: Neighbors, labels: Targets, owner: Int[Tensor, "q"], *, classes: int, tau: float
) -> Float[Array, "e c"]:
    """Return the share of votes of each class for each example, from the neighbors of its queries.

    Votes are summed over the queries of an example, to which `owner` assigns them (ascending, each example at least
    once). Shares keep the order of the sums, and do not overflow float32 for any tau. A neighbor votes for each of its
    labels, if it may have several: the share of a class is then that of the votes of neighbors that have it.
    """
    similarities, owners = neighbors.similarities.cpu().double().numpy(), owner.cpu().numpy()
    indices, truth = neighbors.indices.cpu().numpy(), labels.cpu().numpy()
    first = np.flatnonzero(np.diff(owners, prepend=-1))
    peak = np.maximum.reduceat(similarities[:, 0], first)
    scores, totals = np.zeros((len(first), classes)), np.zeros(len(first))
    for start in range(0, len(owners), TILE):
        part = slice(start, start + TILE)
        low, high = owners[part][0], owners[part][-1] + 1
        weights = np.exp((similarities[part] - peak[owners[part], None]) / tau)
        rows, count = owners[part] - low, high - low
        if is_multilabel(labels):
            scores[low:high] += _votes_for_sets(weights, indices[part], truth, rows)
            totals[low:high] += np.bincount(rows, weights.sum(axis=1), minlength=count)
        else:
            cells = rows[:, None] * classes + truth[indices[part]]
            counts = np.bincount(cells.ravel(), weights.ravel(), minlength=count * classes)
            scores[low:high] += counts.reshape(-1, classes)
    sums = totals[:, None] if is_multilabel(labels) else scores.sum(axis=1, keepdims=True)
    shares: Float[Array, "e c"] = (scores / sums).astype(np.float32)
    return shares


def _votes_for_sets(
    weights: Float[Array, "q k"], indices: Int[Array, "q k"], truth: Float[Array, "b c"], rows: Int[Array, "q"]
) -> Float[Array, "e c"]:
    """Return the sum of the votes for each class; `rows` is the example of each query, ascending without a gap."""
    votes = np.zeros((len(weights), truth.shape[1]))
    for weight, index in zip(weights.T, indices.T, strict=True):
        votes += weight[:, None] * truth[index]
    summed: Float[Array, "e c"] = np.add.reduceat(votes, np.flatnonzero(np.diff(rows, prepend=-1)), axis=0)
    return summed
