"""Exact nearest neighbors by cosine similarity, independent of the order of the bank and of how work is split.

With numpy: importing torch takes longer than a search among 10,000 vectors. `nearest_on_device` does the same on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import repeat
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import NDArray

from vitascope.features.stored_rows import StoredRows, tiles
from vitascope.probes.classification.equal_vectors import Copies, equal_vectors, no_copies, with_copies

Array: TypeAlias = NDArray[Any]
EPSILON = 1e-12
"""Lower bound of a norm: a zero vector stays zero, similar to nothing."""
TILE = 2048
"""Queries and bank vectors multiplied at once: 16 MB of similarities, which fit the last-level cache."""
MARGINS = (16, 128, 1024)
"""Candidates beyond k that float32 keeps for float64 to rerank; the next margin applies if one may be too small."""
RERANKED = 2**20
"""Values of candidates that are reranked at once, which fit the cache."""


class Neighbors(NamedTuple):
    """The nearest bank vectors of each query, nearest first; ties in order of index."""

    similarities: Float[Array, "q k"]
    indices: Int[Array, "q k"]


class Apart(NamedTuple):
    """Which bank vectors are no neighbors of which queries: those of the same unit."""

    queries: Int[Array, "q"]
    bank: Int[Array, "b"]


@runtime_checkable
class Index(Protocol):
    """Proposes neighbors, instead of a look at every vector of the bank."""

    norms: Float[Array, "b"]
    """Of the vectors of the bank, without the shift."""

    def find(
        self, queries: Float[Array, "q d"], bank: Any, k: int, *, units: Int[Array, "q"] | None
    ) -> tuple[Int[Array, "q k"], Float[Array, "q"]]:
        """See `_find_candidates`."""
        ...


class _Bank(NamedTuple):
    """The bank as it is kept, perhaps in half precision, what is subtracted from it, and its norms after that."""

    values: Float[Array, "b d"] | StoredRows
    shift: Float[Array, "d"] | None
    norms: Float[Array, "b"]
    """Written by the first search, which converts every vector anyway; 0 before."""
    units: Int[Array, "b"] | None
    """Units that queries are kept apart from."""
    copies: Callable[[], Copies | None]
    """Finds equal vectors, once."""
    hidden: Bool[Array, "b"] | None = None
    """Vectors that are no candidates."""

    def without(self, copies: Copies) -> _Bank:
        """Return the bank without those that are equal to an earlier one."""
        return self._replace(hidden=copies.again, copies=no_copies)

    def with_copies(self, found: Neighbors, copies: Copies) -> Neighbors:
        """Return the neighbors in the bank of those in the bank without copies."""
        return Neighbors(*with_copies(*found, copies))


def neighbors(
    queries: Float[Array, "q d"] | StoredRows,
    bank: Float[Array, "b d"] | StoredRows,
    k: int,
    *,
    shift: Float[Array, "d"] | None = None,
    apart: Apart | None = None,
    index: Index | None = None,
) -> Neighbors:
    """Return the min(k, b) nearest vectors of `bank` to each query by cosine.

    Exact: float32 products select k and some more candidates, whose cosines are computed in float64 and rounded to
    float32, so that neither order nor ties depend on how work is split or on the matrix multiplication library.
    `shift` is subtracted from all vectors. With `apart`, vectors of the unit of the query are left out; where fewer
    than k remain, the others are infinitely far away. With an `index`, candidates are those that it proposes. Memory
    beyond the input, which may be in half precision or in a store: one tile of similarities and the candidates.
    """
    norms, unit = index.norms if index else np.zeros(len(bank)), apart.bank if apart else None
    copies = cache(lambda: equal_vectors(norms, unit, lambda rows: single(bank[rows], shift)))
    kept = _Bank(bank, shift, norms, unit, no_copies if index else copies)
    find = index.find if index else _find_candidates
    units = _tiles(apart.queries) if apart else repeat(None)
    parts = [
        nearest(single(part, shift), kept, min(k, len(bank)), units=own, find=find, rerank=_rerank)
        for part, own in zip(_tiles(queries), units, strict=False)
    ]
    return Neighbors(np.concatenate([s for s, _ in parts]), np.concatenate([i for _, i in parts]))


def mean_vector(values: Float[Array, "n d"] | StoredRows) -> Float[Array, "d"]:
    """Return the mean of all vectors, summed in double precision."""
    total = np.zeros(values.shape[1])
    for part in _tiles(values):
        total += single(part, None).sum(axis=0, dtype=np.float64)
    return (total / len(values)).astype(np.float32)


def single(values: Float[Array, "*n d"], shift: Float[Array, "d"] | None) -> Float[Array, "*n d"]:
    """Return vectors in single precision, without the shift."""
    vectors = values.astype(np.float32, copy=shift is not None)
    return vectors if shift is None else np.subtract(vectors, shift, out=vectors)


def _double(values: Float[Array, "*n d"], shift: Float[Array, "d"] | None) -> Float[Array, "*n d"]:
    """Vectors in double precision, without the shift that was subtracted in single precision."""
    return single(values, shift).astype(np.float64)


def nearest(
    queries: Any,
    bank: Any,
    k: int,
    *,
    units: Any,
    find: Callable[..., tuple[Any, Any]],
    rerank: Callable[..., Any],
    margins: Sequence[int] = MARGINS,
) -> Any:
    """Return the k nearest of what `find` proposes and `rerank` computes exactly, on arrays or tensors alike.

    Queries for which too few candidates may have been kept are searched again with the next of `margins`, and before
    the last of these without the copies of vectors, if there are some, which are then added.
    """
    size, dim = bank.values.shape
    count = min(k + margins[0], size)
    candidates, smallest = find(queries, bank, count, units=units)
    result = rerank(queries, bank, candidates, k=k)
    # four times the typical error of a float32 product of unit vectors: within it, a discarded vector may belong
    uncertain = result.similarities[:, -1] < smallest + 4 * dim**0.5 * 2**-24
    if count == size or not uncertain.any():
        return result
    again = partial(
        nearest, queries[uncertain], units=None if units is None else units[uncertain], find=find, rerank=rerank
    )
    if len(margins) <= 2 and (copies := bank.copies()) is not None:
        wider = bank.with_copies(again(bank.without(copies), k), copies)
    elif len(margins) > 1:
        wider = again(bank, k, margins=margins[1:])
    else:
        return result
    result.similarities[uncertain], result.indices[uncertain] = wider
    return result


def _tiles(values: Shaped[Array, "n *d"] | StoredRows) -> Iterator[Shaped[Array, "m *d"]]:
    """Split into parts of nearly equal size: kernels for a thin remainder round differently, even row by row."""
    return tiles(values, TILE)


def norms_of(values: Float[Array, "n d"]) -> Float[Array, "n"]:
    """Return the lengths of vectors in double precision, at least `EPSILON`."""
    norms: Array = np.sqrt(np.einsum("nd,nd->n", values, values, dtype=np.float64))
    return np.maximum(norms, EPSILON, out=norms)


def _find_candidates(
    queries: Float[Array, "q d"], bank: _Bank, k: int, *, units: Int[Array, "q"] | None
) -> tuple[Int[Array, "q k"], Float[Array, "q"]]:
    """Return the bank indices of the k largest float32 cosines of each query, unordered, and the smallest of them.

    -1 where fewer than k remain; the smallest is minus infinity then.
    """
    # a matrix-vector kernel gives equal vectors unequal products, depending on their position
    rows = np.pad(queries, ((0, max(0, 8 - len(queries))), (0, 0)))
    unit = (rows / norms_of(rows)[:, None]).astype(np.float32)
    best = _TopK(len(rows), k)
    start = 0
    for part in _tiles(bank.values):
        stop = start + len(part)
        vectors, norms = single(part, bank.shift), bank.norms[start:stop]
        if not norms[0]:
            norms[:] = norms_of(vectors)
        products = unit @ (vectors / norms[:, None].astype(np.float32)).T
        if units is not None and bank.units is not None:
            products[: len(queries)][units[:, None] == bank.units[start:stop]] = -np.inf
        if bank.hidden is not None:
            products[:, bank.hidden[start:stop]] = -np.inf
        best.add(products, start)
        start = stop
    best.drop()
    return best.indices()[: len(queries)], best.least[: len(queries), 0]


class _TopK:
    """The k largest similarities of each query so far, each packed into an integer: similarity high, index low.

    Keys are unique, so the k largest are well defined: among equal similarities, lower indices win. Values that cannot
    be among them are discarded by one comparison; the others collect in `keys` until a row is full.
    """

    EMPTY = np.iinfo(np.int64).min

    def __init__(self, queries: int, k: int) -> None:
        self.k = k
        self.keys = np.full((queries, k + TILE), self.EMPTY)
        self.filled = np.zeros(queries, np.int64)
        self.least = np.full((queries, 1), -np.inf, np.float32)

    def add(self, similarities: Float[Array, "q b"], start: int) -> None:
        """Add similarities to the bank vectors from `start` on; starts must ascend."""
        width = similarities.shape[1]
        if start == 0 and width >= self.k:
            kth = np.partition(similarities, width - self.k, axis=1)[:, width - self.k, None]
            self.least = np.nextafter(kth, np.float32(-np.inf))
        row, column = divmod(np.flatnonzero(similarities > self.least), width)
        counts = np.bincount(row, minlength=len(self.keys))
        if (self.filled + counts).max() > self.keys.shape[1]:
            self.drop()
            return self.add(similarities, start)
        place = np.arange(len(row)) - (counts.cumsum() - counts)[row] + self.filled[row]
        self.keys[row, place] = _pack(similarities[row, column], column + start)
        self.filled += counts
        if self.filled.sum() > 2 * self.k * len(self.keys):
            self.drop()
        return None

    def drop(self) -> None:
        """Discard all but the k largest."""
        width = max(int(self.filled.max()), self.k)
        largest = np.partition(self.keys[:, :width], width - self.k, axis=1)[:, width - self.k :]
        self.keys[:, self.k : width] = self.EMPTY
        self.keys[:, : self.k] = largest
        self.filled.fill(self.k)
        least = largest.min(axis=1, keepdims=True)
        self.least = np.where(least == self.EMPTY, np.float32(-np.inf), _similarity(least))

    def indices(self) -> Int[Array, "q k"]:
        """Return the bank indices of the k largest, after `drop`; -1 where there are fewer."""
        kept = self.keys[:, : self.k]
        found: Array = np.where(kept == self.EMPTY, -1, 0xFFFFFFFF - (kept & 0xFFFFFFFF))
        return found


def _pack(similarity: Float[Array, "n"], index: Int[Array, "n"]) -> Int[Array, "n"]:
    bits = (similarity + np.float32(0)).view(np.int32)  # + 0: minus zero equals zero
    ordered = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits).astype(np.int64)
    keys: Array = (ordered << 32) | (0xFFFFFFFF - index)
    return keys


def _similarity(key: Int[Array, "*n"]) -> Float[Array, "*n"]:
    bits = (key >> 32).astype(np.int32)
    similarity: Array = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits).view(np.float32)
    return similarity


def _rerank(queries: Float[Array, "q d"], bank: _Bank, candidates: Int[Array, "q c"], *, k: int) -> Neighbors:
    """Return the k best candidates by cosines computed in float64 and rounded to float32, sorted."""
    candidates = np.sort(candidates, axis=1)
    missing = candidates < 0
    np.maximum(candidates, 0, out=candidates)
    norms, doubled = norms_of(queries)[:, None], queries.astype(np.float64)
    small = _double(bank.values[:], bank.shift) if len(bank.values) <= TILE else None  # each of them is met many times
    cosines = np.empty(candidates.shape, np.float32)
    at_once = max(1, RERANKED // (candidates.shape[1] * queries.shape[1]))
    for start in range(0, len(queries), at_once):
        part = slice(start, start + at_once)
        met = candidates[part]
        products = _double(bank.values[met], bank.shift) if small is None else small[met]
        # a sum along rows treats all rows equally; a matrix product may not
        dots = np.multiply(products, doubled[part, None], out=products).sum(axis=2)
        cosines[part] = dots / bank.norms[met] / norms[part]
    cosines[missing] = -np.inf
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return Neighbors(np.take_along_axis(cosines, order, axis=1), np.take_along_axis(candidates, order, axis=1))
