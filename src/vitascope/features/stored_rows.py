"""Vectors of a store as an array that stays on disk: a slice is read, and verified, where it is taken."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from vitascope.features.store import MemmapRows

Array: TypeAlias = npt.NDArray[Any]
READ_VALUES = 1 << 18
"""Values copied at a time: half a megabyte in half precision, which the cache of a core holds."""
READ_ROWS = 4096
"""Rows looked at together."""
MAPPED = 32 << 20
"""Bytes read after which the pages of the mapped files are given back."""


AROUND = 64 << 10
"""Bytes that the system maps around one that is read."""


class StoredRows:
    """Rows of a store, indexed like the array of them; only what is taken is in memory.

    What passes over all rows a few times, in tiles, then needs no copy of them: the files are in the system's cache.
    Raises DamagedFileError for rows that are not what was written.
    """

    def __init__(self, rows: MemmapRows) -> None:
        """`rows`: the rows in order."""
        self._rows = rows
        self._mapped = 0
        self.shape = rows.shape
        self.dtype = rows.dtype

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __getitem__(self, index: slice | npt.NDArray[np.int64]) -> Array:
        """Return the rows of a slice, or those that an array of any shape names."""
        chosen = np.arange(len(self))[index]
        taken = self._rows.take(chosen.ravel()).reshape(*chosen.shape, *self.shape[1:])
        self._mapped += taken.nbytes if isinstance(index, slice) else chosen.size * AROUND
        if self._mapped >= MAPPED:
            self._rows.unmap()
            self._mapped = 0
        return taken

    @cached_property
    def in_memory(self) -> Array:
        """All rows, read few at a time: they are verified and gathered while the cache has them."""
        values = np.empty(self.shape, self.dtype)
        step = max(1, READ_VALUES // max(values[:1].size, 1))
        for start in range(0, len(values), step):
            values[start : start + step] = self[start : start + step]
        self._rows.unmap()
        return values


Rows: TypeAlias = "Array | StoredRows"
"""Vectors, in memory or in a store."""


def tiles(values: Any, most: int) -> Iterator[Any]:
    """Split rows into parts of nearly equal size, the larger ones first: of at most so many rows each."""
    count = max(1, -(-len(values) // most))
    size, more = divmod(len(values), count)
    start = 0
    for part in range(count):
        stop = start + size + (part < more)
        yield values[start:stop]
        start = stop


def all_finite(values: Rows) -> bool:
    """Whether no value is NaN or infinite; of halves by their exponents, as arithmetic on them is slow."""
    parts = tiles(values, READ_ROWS)
    if values.dtype != np.float16:
        return all(bool(np.isfinite(part).all()) for part in parts)
    return all(bool(((part.view(np.uint16) & 0x7C00) < 0x7C00).all()) for part in parts)
