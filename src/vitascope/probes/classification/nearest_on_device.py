"""The search of `nearest_neighbors` by torch, for a bank on a GPU: what it finds is the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import repeat
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from vitascope.probes.classification.equal_vectors import Copies, equal_vectors, no_copies, with_copies
from vitascope.probes.classification.nearest_neighbors import EPSILON, TILE, nearest


class Neighbors(NamedTuple):
    """The nearest bank vectors of each query, nearest first; ties in order of index."""

    similarities: Float[Tensor, "q k"]
    indices: Int[Tensor, "q k"]


class Apart(NamedTuple):
    """Which bank vectors are no neighbors of which queries: those of the same unit."""

    queries: Int[Tensor, "q"]
    bank: Int[Tensor, "b"]


class _Bank(NamedTuple):
    """The bank as it is kept, perhaps in half precision, what is subtracted from it, and its norms after that."""

    values: Float[Tensor, "b d"]
    shift: Float[Tensor, "d"] | None
    norms: Float[Tensor, "b"]
    units: Int[Tensor, "b"] | None
    """Units that queries are kept apart from."""
    copies: Callable[[], Copies | None]
    """Finds equal vectors, once."""
    hidden: Bool[Tensor, "b"] | None = None
    """Vectors that are no candidates."""

    def without(self, copies: Copies) -> _Bank:
        """Return the bank without those that are equal to an earlier one."""
        return self._replace(hidden=torch.from_numpy(copies.again).to(self.values.device), copies=no_copies)

    def with_copies(self, found: Neighbors, copies: Copies) -> Neighbors:
        """Return the neighbors in the bank of those in the bank without copies."""
        joined = with_copies(found.similarities.cpu().numpy(), found.indices.cpu().numpy(), copies)
        return Neighbors(*(torch.from_numpy(part).to(self.values.device) for part in joined))


def neighbors(
    queries: Float[Tensor, "q d"],
    bank: Float[Tensor, "b d"],
    k: int,
    *,
    shift: Float[Tensor, "d"] | None = None,
    apart: Apart | None = None,
    device: torch.device | str | None = None,
) -> Neighbors:
    """Return the min(k, b) nearest vectors of `bank` to each query by cosine, on `device` (that of the bank if None).

    Exact: float32 products select k and some more candidates, whose cosines are computed in float64 and rounded to
    float32, so that neither order nor ties depend on how work is split or on the matrix multiplication library.
    `shift` is subtracted from all vectors. With `apart`, vectors of the unit of the query are left out; where fewer
    than k remain, the others are infinitely far away. Memory beyond the input, which may be in half precision: one tile
    of similarities and the candidates.
    """
    bank = bank if device is None else bank.to(device)
    norms, unit = _bank_norms(bank, shift), apart.bank if apart else None
    kept = _Bank(bank, shift, norms, unit, cache(partial(_copies, bank, shift, norms, unit)))
    units = _tiles(apart.queries) if apart else repeat(None)
    parts = [
        nearest(
            _single(part.to(bank.device), shift),
            kept,
            min(k, len(bank)),
            units=own,
            find=_find_candidates,
            rerank=_rerank,
        )
        for part, own in zip(_tiles(queries), units, strict=False)
    ]
    return Neighbors(torch.cat([s for s, _ in parts]), torch.cat([i for _, i in parts]))


def mean_vector(values: Float[Tensor, "n d"]) -> Float[Tensor, "d"]:
    """Return the mean of all vectors, summed in double precision."""
    parts = torch.split(values, TILE)
    sums = torch.empty(len(parts), values.shape[1], dtype=torch.float64, device=values.device)
    for own, part in zip(sums, parts, strict=True):  # in place, see `_bank_norms`
        torch.sum(part.double(), dim=0, out=own)
    return (sums.sum(dim=0) / len(values)).float()


def _single(values: Float[Tensor, "*n d"], shift: Float[Tensor, "d"] | None) -> Float[Tensor, "*n d"]:
    """Vectors in single precision, without the shift."""
    return values.float() if shift is None else values.float() - shift


def _tiles(values: Shaped[Tensor, "n *d"]) -> Iterator[Shaped[Tensor, "m *d"]]:
    """Split into parts of nearly equal size: kernels for a thin remainder round differently, even row by row."""
    yield from torch.tensor_split(values, max(1, -(-len(values) // TILE)))


def _norms(values: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
    norms: Tensor = torch.linalg.vector_norm(values, dim=1, dtype=torch.float64)
    return norms.clamp_(min=EPSILON)


def _bank_norms(bank: Float[Tensor, "b d"], shift: Float[Tensor, "d"] | None) -> Float[Tensor, "b"]:
    # in place: small results among large temporaries would keep the memory of these from being used again
    norms = torch.empty(len(bank), dtype=torch.float64, device=bank.device)
    for part, own in zip(_tiles(bank), _tiles(norms), strict=True):
        own.copy_(_norms(_single(part, shift)))
    return norms


def _copies(
    bank: Float[Tensor, "b d"],
    shift: Float[Tensor, "d"] | None,
    norms: Float[Tensor, "b"],
    units: Int[Tensor, "b"] | None,
) -> Copies | None:
    """Find the equal vectors of a bank."""

    def read(rows: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n d"]:
        return _single(bank[torch.from_numpy(rows).to(bank.device)], shift).cpu().numpy()

    return equal_vectors(norms.cpu().numpy(), None if units is None else units.cpu().numpy(), read)


def _find_candidates(
    queries: Float[Tensor, "q d"], bank: _Bank, k: int, *, units: Int[Tensor, "q"] | None
) -> tuple[Int[Tensor, "q k"], Float[Tensor, "q"]]:
    """Return the bank indices of the k largest float32 cosines of each query, unordered, and the smallest of them.

    -1 where fewer than k remain; the smallest is minus infinity then.
    """
    # a matrix-vector kernel gives equal vectors unequal products, depending on their position
    rows = torch.nn.functional.pad(queries, (0, 0, 0, max(0, 8 - len(queries))))
    unit = (rows.double() / _norms(rows)[:, None]).float()
    best = _TopK(len(rows), k, queries.device)
    start = 0
    for part in _tiles(bank.values):
        stop = start + len(part)
        products = unit @ (_single(part, bank.shift) / bank.norms[start:stop, None].float()).T
        if units is not None and bank.units is not None:
            products[: len(queries)].masked_fill_(units[:, None] == bank.units[start:stop], -torch.inf)
        if bank.hidden is not None:
            products[:, bank.hidden[start:stop]] = -torch.inf
        best.add(products, start)
        start = stop
    best.drop()
    return best.indices()[: len(queries)], best.least[: len(queries), 0]


class _TopK:
    """The k largest similarities of each query so far, each packed into an integer: similarity high, index low.

    Keys are unique, so the k largest are well defined: among equal similarities, lower indices win. Values that cannot
    be among them are discarded by one comparison; the others collect in `keys` until a row is full.
    """

    EMPTY = torch.iinfo(torch.int64).min

    def __init__(self, queries: int, k: int, device: torch.device) -> None:
        self.k = k
        self.keys = torch.full((queries, k + TILE), self.EMPTY, device=device)
        self.filled = torch.zeros(queries, dtype=torch.int64, device=device)
        self.least = torch.full((queries, 1), -torch.inf, device=device)

    def add(self, similarities: Float[Tensor, "q b"], start: int) -> None:
        """Add similarities to the bank vectors from `start` on; starts must ascend."""
        if start == 0 and similarities.shape[1] >= self.k:
            kth = similarities.topk(self.k, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
            self.least = kth.nextafter(kth.new_tensor(-torch.inf))
        row, column = (similarities > self.least).nonzero(as_tuple=True)
        counts = torch.bincount(row, minlength=len(self.keys))
        if int((self.filled + counts).max()) > self.keys.shape[1]:
            self.drop()
            return self.add(similarities, start)
        place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row] + self.filled[row]
        self.keys[row, place] = _pack(similarities[row, column], column + start)
        self.filled += counts
        if int(self.filled.sum()) > 2 * self.k * len(self.keys):
            self.drop()
        return None

    def drop(self) -> None:
        """Discard all but the k largest."""
        width = max(int(self.filled.max()), self.k)
        largest = self.keys[:, :width].topk(self.k, dim=1, sorted=False).values
        self.keys.fill_(self.EMPTY)
        self.keys[:, : self.k] = largest
        self.filled.fill_(self.k)
        least = largest.amin(dim=1, keepdim=True)
        self.least = _similarity(least).masked_fill_(least == self.EMPTY, -torch.inf)

    def indices(self) -> Int[Tensor, "q k"]:
        """Return the bank indices of the k largest, after `drop`; -1 where there are fewer."""
        kept = self.keys[:, : self.k]
        return (0xFFFFFFFF - (kept & 0xFFFFFFFF)).masked_fill_(kept == self.EMPTY, -1)


def _pack(similarity: Float[Tensor, "n"], index: Int[Tensor, "n"]) -> Int[Tensor, "n"]:
    bits = (similarity + 0.0).view(torch.int32)  # + 0: minus zero equals zero
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (ordered.to(torch.int64) << 32) | (0xFFFFFFFF - index)


def _similarity(key: Int[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    bits = (key >> 32).to(torch.int32)
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).view(torch.float32)


def _rerank(queries: Float[Tensor, "q d"], bank: _Bank, candidates: Int[Tensor, "q c"], *, k: int) -> Neighbors:
    """Return the k best candidates by cosines computed in float64 and rounded to float32, sorted."""
    candidates = candidates.sort(dim=1).values
    missing = candidates < 0
    candidates = candidates.clamp_(min=0)
    query_norms = _norms(queries)[:, None]
    cosines = torch.empty(candidates.shape, device=bank.values.device)
    count, dim = candidates.shape[1], bank.values.shape[1]
    at_once = max(1, 2**20 // (count * dim))  # fits the cache
    near = bank.values.new_empty(at_once, count, dim)
    wide = near.double()
    for start in range(0, len(queries), at_once):
        part = slice(start, start + at_once)
        query, index = queries[part].double(), candidates[part]
        vectors, products = near[: len(query)], wide[: len(query)]
        torch.index_select(bank.values, 0, index.flatten(), out=vectors.view(-1, dim))
        # a sum along rows treats all rows equally; a matrix product may not
        dots = products.copy_(_single(vectors, bank.shift)).mul_(query[:, None]).sum(dim=2)
        cosines[part] = dots / bank.norms[index] / query_norms[part]
    similarities, order = cosines.masked_fill_(missing, -torch.inf).sort(dim=1, descending=True, stable=True)
    return Neighbors(similarities[:, :k], candidates.gather(1, order)[:, :k])
