"""Neighbors that an index of FAISS proposes (extra `faiss`), compared exactly: for banks too large to look through.

`Flat` looks through all vectors and finds what `nearest_neighbors` finds, to the bit; other indexes miss some.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from vitascope.core.errors import MissingPackageError, UserError, first_line
from vitascope.features.stored_rows import StoredRows, tiles
from vitascope.probes.classification.nearest_neighbors import TILE, norms_of, single

Array: TypeAlias = NDArray[Any]
SAMPLE = 2**18
"""Most vectors that an index is trained on, evenly spaced in the bank."""
DIVISIBLE = 3840
"""A size of vectors that products of many sizes divide."""
PLACE = r"^Error in .*? at \S+:\d+: "
"""Where an error comes from in FAISS's own files."""


def check_index(how: str) -> None:
    """Raise MissingPackageError if FAISS is not installed, UserError if it does not know an index."""
    if find_spec("faiss") is None:
        raise MissingPackageError(f"index={how} needs FAISS: pip install 'vitascope[faiss]'")
    with _refused(how):
        _empty_index(DIVISIBLE, how)


def _empty_index(dim: int, how: str) -> Any:
    """An index with its search parameters, before it is trained."""
    faiss: Any = import_module("faiss")
    factory, _, parameters = how.partition(":")
    index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    if parameters:
        faiss.ParameterSpace().set_index_parameters(index, parameters)
    return index


@contextmanager
def _refused(how: str) -> Iterator[None]:
    """Say in one line what FAISS refuses."""
    try:
        yield
    except RuntimeError as error:
        reason = re.sub(PLACE, "", first_line(error))
        raise UserError(f"index={how}: FAISS: {reason}; see https://faiss.ai, or leave index out") from error


class VectorIndex:
    """An index over the unit vectors of a bank, in single precision and in memory.

    `how` is a factory string of FAISS, `Flat` or `IVF4096,Flat`, perhaps with search parameters: `:nprobe=32`.
    Raises UserError for one that FAISS does not know or cannot train on this bank.
    """

    def __init__(
        self, values: Float[Array, "b d"] | StoredRows, how: str, *, shift: Float[Array, "d"] | None = None
    ) -> None:
        self.norms = np.zeros(len(values))
        with _refused(how):
            self.index: Any = _empty_index(values.shape[1], how)
            if not self.index.is_trained:
                rows = np.unique(np.linspace(0, len(values) - 1, min(len(values), SAMPLE)).astype(np.int64))
                self.index.train(_units(single(values[rows], shift))[0])
            self._add(values, shift)

    def _add(self, values: Float[Array, "b d"] | StoredRows, shift: Float[Array, "d"] | None) -> None:
        """Add all vectors, by one thread: the links of a graph depend on the order in which vectors are added."""
        faiss: Any = import_module("faiss")
        threads, start = faiss.omp_get_max_threads(), 0
        faiss.omp_set_num_threads(1)
        try:
            for part in tiles(values, TILE):
                units, self.norms[start : start + len(part)] = _units(single(part, shift))
                self.index.add(units)
                start += len(part)
        finally:
            faiss.omp_set_num_threads(threads)

    def find(
        self, queries: Float[Array, "q d"], bank: Any, k: int, *, units: Int[Array, "q"] | None
    ) -> tuple[Int[Array, "q k"], Float[Array, "q"]]:
        """Return the proposed indices of the k largest cosines of each query, and the smallest of these.

        -1 where fewer are proposed; the smallest is minus infinity then. Where `units` are kept apart, as many more are
        asked for as the largest unit of the queries has vectors.
        """
        largest = 0 if units is None else int(np.bincount(bank.units)[units].max())
        cosines, indices = self.index.search(_units(queries)[0], min(k + largest, len(self.norms)))
        if units is not None:
            indices[bank.units[indices] == units[:, None]] = -1
        order = np.argsort(indices < 0, axis=1, kind="stable")[:, :k]
        found = np.take_along_axis(indices, order, axis=1)
        smallest = np.where(found < 0, np.float32(-np.inf), np.take_along_axis(cosines, order, axis=1)).min(axis=1)
        return found, smallest


def _units(vectors: Float[Array, "n d"]) -> tuple[Float[Array, "n d"], Float[Array, "n"]]:
    """Vectors of length 1, and the lengths."""
    norms = norms_of(vectors)
    return (vectors / norms[:, None]).astype(np.float32), norms
