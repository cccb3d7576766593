"""Votes of the nearest training examples: by vectors, by sets of clips; for test examples and leave-one-out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from vitascope.core.device import torch
from vitascope.core.errors import UserError
from vitascope.core.types import Example
from vitascope.features.aggregation import Sequences, as_stored, in_time
from vitascope.features.base import Features, FlatArrays, FlatVectors, check_same_shape, mean_vectors
from vitascope.probes.classification.multilabel import TargetArray, is_multilabel, labels_of
from vitascope.probes.classification.nearest_neighbors import TILE, Apart, Index, Neighbors, mean_vector, neighbors
from vitascope.probes.classification.set_similarity import SEES_ORDER, Measure, set_neighbors

Array: TypeAlias = NDArray[Any]
MOST_NEIGHBORS = 20
"""Largest default k: that of DINO, the best of 10 to 200 on ImageNet."""


def half_a_class(labels: TargetArray) -> int:
    """Return the default k: 20, but at most half the vectors of a median class, so that it can win the vote."""
    sizes = labels.sum(axis=0) if is_multilabel(labels) else np.bincount(labels)
    present = np.sort(sizes[sizes > 0])
    return min(MOST_NEIGHBORS, max(1, int(present[(len(present) - 1) // 2]) // 2))  # of two middle ones, the smaller


@runtime_checkable
class Search(Protocol):
    """A bank of training vectors, or of videos as sets of clips, and the test examples that are looked up in it."""

    @property
    def owner(self) -> Int[Array, "b"]:
        """The training example of each entry of the bank."""
        ...

    @property
    def query_owner(self) -> Int[Array, "q"]:
        """The test example of each query."""
        ...

    def of_test(self, k: int) -> Neighbors:
        """The k nearest entries of each query."""
        ...

    def of_train(self, entries: Int[Array, "m"], k: int, units: Int[Array, "b"]) -> Neighbors:
        """The k nearest entries of entries of the bank that are of another unit; infinitely far where there is none."""
        ...


@dataclass(frozen=True)
class VectorSearch:
    """Search by the cosine of vectors."""

    bank: FlatArrays | FlatVectors
    queries: FlatArrays | FlatVectors
    shift: Any = None
    """Subtracted from all vectors."""
    index: Index | None = None
    """What proposes neighbors; none: all vectors are compared."""

    @property
    def owner(self) -> Int[Array, "b"]:
        """The training example of each vector."""
        return _host(self.bank.owner)

    @property
    def query_owner(self) -> Int[Array, "q"]:
        """The test example of each vector."""
        return _host(self.queries.owner)

    def of_test(self, k: int) -> Neighbors:
        """The k nearest vectors of each test vector."""
        return self._neighbors(self.queries.values, k)

    def of_train(self, entries: Int[Array, "m"], k: int, units: Int[Array, "b"]) -> Neighbors:
        """The k nearest vectors of vectors of the bank, of another unit."""
        return self._neighbors(self.bank.values[entries], k, Apart(units[entries], units))

    def centered(self) -> VectorSearch:
        """Both without the mean of the bank."""
        if isinstance(self.bank, FlatArrays):
            return replace(self, shift=mean_vector(self.bank.values))
        from vitascope.probes.classification import nearest_on_device

        return replace(self, shift=nearest_on_device.mean_vector(self.bank.values))

    def indexed(self, how: str) -> VectorSearch:
        """The same on the host, with an index of FAISS."""
        from vitascope.probes.classification.indexed_neighbors import VectorIndex

        sides = (self.bank, self.queries)
        bank, queries = (s if isinstance(s, FlatArrays) else FlatArrays(_host(s.values), _host(s.owner)) for s in sides)
        shift = None if self.shift is None else _host(self.shift)
        return VectorSearch(bank, queries, shift, VectorIndex(bank.values, how, shift=shift))

    def _neighbors(self, queries: Any, k: int, apart: Apart | None = None) -> Neighbors:
        """Search where the bank is."""
        if isinstance(self.bank, FlatArrays):
            return neighbors(queries, self.bank.values, k, shift=self.shift, apart=apart, index=self.index)
        from vitascope.probes.classification import nearest_on_device

        bank = self.bank.values
        units = apart and nearest_on_device.Apart(*(torch.from_numpy(u).to(bank.device) for u in apart))
        found = nearest_on_device.neighbors(torch.as_tensor(queries), bank, k, shift=self.shift, apart=units)
        return Neighbors(*(_host(part) for part in found))


def _host(values: Array | torch.Tensor) -> Array:
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()


@dataclass(frozen=True)
class SetSearch:
    """Search by the similarity of sets of clip vectors, all of unit length; see `set_neighbors`."""

    bank: Sequences
    queries: Sequences
    measure: Measure

    @property
    def owner(self) -> Int[Array, "b"]:
        """Every training example is one entry."""
        return np.arange(len(self.bank.counts))

    @property
    def query_owner(self) -> Int[Array, "q"]:
        """Every test example is one query."""
        return np.arange(len(self.queries.counts))

    def turned(self) -> SetSearch:
        """The same with the clips of the test videos in reverse order."""
        return replace(self, queries=self.queries.backwards())

    def of_test(self, k: int) -> Neighbors:
        """The k most similar training videos of each test video."""
        return set_neighbors(self.queries, self.bank, k, self.measure)

    def of_train(self, entries: Int[Array, "m"], k: int, units: Int[Array, "b"]) -> Neighbors:
        """The k most similar training videos of training videos, of another unit."""
        largest = int(np.bincount(units)[units[entries]].max())
        chosen = torch.from_numpy(entries).to(self.bank.values.device)
        nearest = set_neighbors(self.bank.take(chosen), self.bank, k + largest, self.measure)
        excluded = units[nearest.indices] == units[entries, None]
        columns = excluded.argsort(axis=1, kind="stable")[:, :k]
        similarities = np.where(excluded, np.float32(-np.inf), nearest.similarities)
        return Neighbors(*(np.take_along_axis(part, columns, axis=1) for part in (similarities, nearest.indices)))


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
    unit = [
        s._replace(values=torch.nn.functional.normalize(s.values - mean.to(s.values), dim=1)) for s in (bank, queries)
    ]
    bank, queries = (s.backwards() if flip else s for s, flip in zip(unit, backwards, strict=True))
    return SetSearch(bank, queries, measure)


class QueryNeighbors(NamedTuple):
    """Queries with their neighbors and the labels of the bank, shared by every k and tau."""

    neighbors: Neighbors
    owner: Int[Array, "q"]
    labels: TargetArray
    classes: int

    def vote(self, point: Mapping[str, float]) -> Float[Array, "e c"]:
        """Return class shares with the k and tau of one candidate."""
        nearest = Neighbors(*(part[:, : int(point["k"])] for part in self.neighbors))
        return vote(nearest, self.labels, self.owner, classes=self.classes, tau=point["tau"])


def look_up(search: Search, labels: TargetArray, classes: int, k: int) -> QueryNeighbors:
    """Return the neighbors of the test examples, with the labels of the training examples."""
    return QueryNeighbors(search.of_test(k), search.query_owner, labels[search.owner], classes)


def held_out_neighbors(
    search: Search, examples: Sequence[Example[Any]], chosen: Int[Array, "m"], of_test: QueryNeighbors, k: int
) -> QueryNeighbors:
    """Return the neighbors of the training examples `chosen` that are left in the bank without each of them."""
    nearest, owner = _leave_one_out(search, examples, chosen, k)
    return of_test._replace(neighbors=nearest, owner=owner)


def _leave_one_out(
    search: Search, examples: Sequence[Example[Any]], chosen: Int[Array, "m"], k: int
) -> tuple[Neighbors, Int[Array, "q"]]:
    """Return the k nearest neighbors of all vectors of the examples `chosen`, outside example and group, and owners.

    Missing neighbors are infinitely far away and have no vote. If every class has a single group, groups are not left
    out, as no example of the class would remain. Raises UserError if nothing is left.
    """
    units: dict[tuple[str | int, bool], int] = {}
    leave_groups, owner = not _one_group_per_class(examples), search.owner
    keys = [(e.group, True) if leave_groups and e.group is not None else (i, False) for i, e in enumerate(examples)]
    unit = np.array([units.setdefault(key, len(units)) for key in keys], np.int64)[owner]
    if len(units) < 2:
        raise UserError(
            f"all {len(examples)} training examples belong to one group, so none is left to select by; use a probe "
            "without sweep"
        )
    place = np.full(len(examples), -1)
    place[chosen] = np.arange(len(chosen))
    query_rows = np.flatnonzero(place[owner] >= 0)
    parts = [search.of_train(query_rows[start : start + TILE], k, unit) for start in range(0, len(query_rows), TILE)]
    joined = Neighbors(*(np.concatenate(parts) for parts in zip(*parts, strict=True)))
    return joined, place[owner[query_rows]]


def _one_group_per_class(examples: Sequence[Example[Any]]) -> bool:
    """Return whether every class has a single group, and there are several."""
    groups: dict[int, set[str | int]] = {}
    for i, e in enumerate(examples):
        for label in labels_of(e):
            groups.setdefault(label, set()).add(i if e.group is None else e.group)
    return len(set.union(*groups.values())) > 1 and all(len(members) == 1 for members in groups.values())


def vote(
    neighbors: Neighbors, labels: TargetArray, owner: Int[Array, "q"], *, classes: int, tau: float
) -> Float[Array, "e c"]:
    """Return the share of votes of each class for each example, from the neighbors of its queries.

    Votes are summed over the queries of an example, to which `owner` assigns them (ascending, each example at least
    once). Shares keep the order of the sums, and do not overflow float32 for any tau. A neighbor votes for each of its
    labels, if it may have several: the share of a class is then that of the votes of neighbors that have it.
    """
    similarities, indices = neighbors.similarities.astype(np.float64), neighbors.indices
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    peak = np.maximum.reduceat(similarities[:, 0], first)
    scores, totals = np.zeros((len(first), classes)), np.zeros(len(first))
    for start in range(0, len(owner), TILE):
        part = slice(start, start + TILE)
        low, high = owner[part][0], owner[part][-1] + 1
        weights = np.exp((similarities[part] - peak[owner[part], None]) / tau)
        rows, count = owner[part] - low, high - low
        if is_multilabel(labels):
            scores[low:high] += _votes_for_sets(weights, indices[part], labels, rows)
            totals[low:high] += np.bincount(rows, weights.sum(axis=1), minlength=count)
        else:
            cells = rows[:, None] * classes + labels[indices[part]]
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
