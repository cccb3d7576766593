"""Equal vectors of a bank: one of them is searched for, and its neighbors are all of them.

Thousands of copies are further candidates than a search keeps, and float32 products of equal vectors may differ by
their place in a matrix, so that which of them were kept would depend on the library that multiplies.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
AT_ONCE = 2048
"""Vectors that are read at once."""


class Copies(NamedTuple):
    """Which vectors of a bank are equal."""

    again: Bool[Array, "b"]
    """Vectors that are equal to an earlier one of the same unit."""
    order: Int[Array, "b"]
    """All vectors, equal ones beside each other, in the order of the first of them."""
    first: Int[Array, "b"]
    """The first vector that is equal to each in `order`, ascending."""

    def of(self, vector: int, most: int) -> Int[Array, "c"]:
        """Return the vectors equal to one that has no earlier copy, itself first, at most so many."""
        start = int(np.searchsorted(self.first, vector))
        stop = int(np.searchsorted(self.first, vector, side="right"))
        return self.order[start : min(stop, start + most)]


def no_copies() -> None:
    """Nothing is known of equal vectors."""
    return


def equal_vectors(
    norms: Float[Array, "b"], units: Int[Array, "b"] | None, read: Callable[[Array], Float[Array, "n d"]]
) -> Copies | None:
    """Find equal vectors of a bank, of the same unit if there are some; None if there are none.

    `norms` are those of the vectors, which `read` reads by their numbers.
    """
    _, of, counts = np.unique(norms.astype(np.float32), return_inverse=True, return_counts=True)
    alike = np.flatnonzero(counts[of] > 1)
    first, seen = np.arange(len(norms)), dict[tuple[bytes, int], int]()
    for start in range(0, len(alike), AT_ONCE):
        rows = alike[start : start + AT_ONCE]
        unit = [0] * len(rows) if units is None else units[rows].tolist()
        for row, vector, own in zip(rows.tolist(), read(rows) + np.float32(0), unit, strict=True):  # + 0: no minus zero
            first[row] = seen.setdefault((blake2b(vector.tobytes(), digest_size=16).digest(), own), row)
    again = first != np.arange(len(first))
    if not again.any():
        return None
    order = np.argsort(first, kind="stable")
    return Copies(again, order, first[order])


def with_copies(
    similarities: Float[Array, "q k"], indices: Int[Array, "q k"], copies: Copies
) -> tuple[Float[Array, "q k"], Int[Array, "q k"]]:
    """Return the k nearest, sorted, of the k nearest that have no earlier copy, and their copies."""
    k = indices.shape[1]
    for cosines, near in zip(similarities, indices, strict=True):
        groups = [copies.of(i, k) for i, cosine in zip(near.tolist(), cosines, strict=True) if cosine > -np.inf]
        if groups:
            members = np.concatenate(groups)
            nearness = np.repeat(cosines[: len(groups)], [len(group) for group in groups])
            chosen = np.lexsort((members, -nearness))[:k]
            cosines[: len(chosen)], near[: len(chosen)] = nearness[chosen], members[chosen]
    return similarities, indices
