"""The nearest vectors of a bank by cosine: exact, whatever the order of the bank and however the work is divided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

EPSILON = 1e-12
"""Norm below which a vector counts as that long: a zero vector stays zero, near nothing."""
TILE = 2048
"""Queries and bank vectors multiplied at once: 16 MB of similarities, which the last-level cache holds."""
MARGINS = (16, 128, 1024)
"""Neighbors that float32 keeps beyond k for float64 to choose from; the next when the last was not surely enough."""


class Neighbors(NamedTuple):
    """The nearest bank vectors of each query, nearest first; of equally near ones the lower index first."""

    similarities: Float[Tensor, "q k"]
    indices: Int[Tensor, "q k"]


def neighbors(
    queries: Float[Tensor, "q d"], bank: Float[Tensor, "b d"], k: int, *, device: torch.device | str | None = None
) -> Neighbors:
    """The min(k, b) nearest vectors of `bank` to each query by cosine, on `device` (where the bank is when None).

    Exact: float32 products choose k and some candidates, whose cosines are then taken in float64 and rounded to
    float32, so that neither order nor ties depend on how the work was divided or on who multiplies matrices here.
    Memory beyond the input: one tile of similarities and what it keeps.
    """
    bank = bank if device is None else bank.to(device)
    lengths = torch.cat([_lengths(part) for part in _tiles(bank)])
    found = [_nearest(part.to(bank.device), bank, min(k, len(bank)), lengths=lengths) for part in _tiles(queries)]
    return Neighbors(torch.cat([s for s, _ in found]), torch.cat([i for _, i in found]))


def _nearest(
    queries: Float[Tensor, "q d"],
    bank: Float[Tensor, "b d"],
    k: int,
    *,
    lengths: Float[Tensor, "b"],
    margins: Sequence[int] = MARGINS,
) -> Neighbors:
    keep = min(k + margins[0], len(bank))
    candidates, least = _search(queries, bank, keep, lengths=lengths)
    found = _settle(queries, bank, candidates, lengths=lengths, k=k)
    # four times the usual error of a float32 product of unit vectors: within it, one that was left out may belong in
    doubt = found.similarities[:, -1] - least < 4 * bank.shape[1] ** 0.5 * 2**-24
    if keep < len(bank) and len(margins) > 1 and doubt.any():
        again = _nearest(queries[doubt], bank, k, lengths=lengths, margins=margins[1:])
        found.similarities[doubt], found.indices[doubt] = again
    return found


def _tiles(values: Float[Tensor, "n d"]) -> Iterator[Float[Tensor, "m d"]]:
    """Parts of nearly equal size: kernels for a thin remainder round differently, even from row to row."""
    yield from torch.tensor_split(values, max(1, -(-len(values) // TILE)))


def _lengths(values: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
    norms: Tensor = torch.linalg.vector_norm(values, dim=1, dtype=torch.float64)
    return norms.clamp_(min=EPSILON)


def _search(
    queries: Float[Tensor, "q d"], bank: Float[Tensor, "b d"], k: int, *, lengths: Float[Tensor, "b"]
) -> tuple[Int[Tensor, "q k"], Float[Tensor, "q"]]:
    """Bank indices of the k largest float32 cosines of each query, in no order, and the least of these cosines."""
    # a matrix-vector kernel gives equal vectors unequal products, depending on their place
    rows = torch.nn.functional.pad(queries, (0, 0, 0, max(0, 8 - len(queries))))
    unit = (rows.double() / _lengths(rows)[:, None]).float()
    best = _Best(len(rows), k, queries.device)
    start = 0
    for part in _tiles(bank):
        stop = start + len(part)
        best.add(unit @ (part / lengths[start:stop, None].float()).T, start)
        start = stop
    best.drop()
    return best.indices()[: len(queries)], best.least[: len(queries), 0]


class _Best:
    """The k largest similarities of each query so far, as one integer each: similarity above, index below.

    Integers are never equal, so the k largest are well defined: of equal similarities the lower indices. Whatever
    cannot be among them is dropped by one comparison; the rest waits in `keys` until a row is full.
    """

    EMPTY = torch.iinfo(torch.int64).min

    def __init__(self, queries: int, k: int, device: torch.device) -> None:
        self.k = k
        self.keys = torch.full((queries, k + TILE), self.EMPTY, device=device)
        self.filled = torch.zeros(queries, dtype=torch.int64, device=device)
        self.least = torch.full((queries, 1), -torch.inf, device=device)

    def add(self, similarities: Float[Tensor, "q b"], start: int) -> None:
        """Take in the similarities to the bank vectors from `start` on; starts must ascend."""
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
        """Keep only the k largest."""
        kept = self.keys[:, : int(self.filled.max())].topk(self.k, dim=1, sorted=False).values
        self.keys.fill_(self.EMPTY)
        self.keys[:, : self.k] = kept
        self.filled.fill_(self.k)
        self.least = _similarity(kept.amin(dim=1, keepdim=True))

    def indices(self) -> Int[Tensor, "q k"]:
        """Of the k largest, once `drop` was called."""
        return 0xFFFFFFFF - (self.keys[:, : self.k] & 0xFFFFFFFF)


def _pack(similarity: Float[Tensor, "n"], index: Int[Tensor, "n"]) -> Int[Tensor, "n"]:
    bits = (similarity + 0.0).view(torch.int32)  # + 0: minus zero equals zero
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (ordered.to(torch.int64) << 32) | (0xFFFFFFFF - index)


def _similarity(key: Int[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    bits = (key >> 32).to(torch.int32)
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).view(torch.float32)


def _settle(
    queries: Float[Tensor, "q d"],
    bank: Float[Tensor, "b d"],
    candidates: Int[Tensor, "q c"],
    *,
    lengths: Float[Tensor, "b"],
    k: int,
) -> Neighbors:
    """The k best candidates by cosines computed in float64 and rounded to float32, sorted."""
    candidates = candidates.sort(dim=1).values
    own = _lengths(queries)[:, None]
    cosines = torch.empty(candidates.shape, device=bank.device)
    count, dim = candidates.shape[1], bank.shape[1]
    at_once = max(1, 2**20 // (count * dim))  # what the cache holds
    near = bank.new_empty(at_once, count, dim)
    wide = near.double()
    for start in range(0, len(queries), at_once):
        part = slice(start, start + at_once)
        query, index = queries[part].double(), candidates[part]
        here, products = near[: len(query)], wide[: len(query)]
        torch.index_select(bank, 0, index.flatten(), out=here.view(-1, dim))
        # a sum along rows treats all rows alike; a matrix product need not
        dots = products.copy_(here).mul_(query[:, None]).sum(dim=2)
        cosines[part] = dots / lengths[index] / own[part]
    similarities, order = cosines.sort(dim=1, descending=True, stable=True)
    return Neighbors(similarities[:, :k], candidates.gather(1, order)[:, :k])
