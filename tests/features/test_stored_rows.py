"""Rows of a store that stay on disk: what an array of them gives, verified, and in few bytes of memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vitascope.core.errors import DamagedFileError
from vitascope.core.types import Card
from vitascope.features.store import EmbeddedExample, Key, Store
from vitascope.features.stored_rows import StoredRows, tiles
from vitascope.probes.classification.nearest_neighbors import neighbors
from vitascope.sampling.names import Uniform

DIM = 24
CARD = Card(name="lab/net", digest="0", dim=DIM, frames=4, size=8, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
KEY = Key(dataset="set", card=CARD, sampler=Uniform(), reduce="clip", pipeline=1)


def stored(root: Path, count: int, *, sealed: bool) -> Store:
    """A store of random vectors in three parts, with examples of one to three clips."""
    store, rng = Store(root, KEY), np.random.default_rng(0)
    store.create()
    for part in range(3):
        clips = [(f"{part}-{i}", 1 + i % 3) for i in range(count)]
        values = [rng.standard_normal((n, DIM)).astype(np.float32) for _, n in clips]
        times = [[(float(c), c + 1.0) for c in range(n)] for _, n in clips]
        each = zip(clips, values, times, strict=True)
        store.add(f"p{part}", [EmbeddedExample(i, v, t, [""] * n) for (i, n), v, t in each])
    if sealed:
        store.seal()
    return store


@pytest.mark.parametrize("sealed", [True, False])
def test_what_an_array_gives(tmp_path: Path, sealed: bool) -> None:
    store = stored(tmp_path, 7, sealed=sealed)
    wanted = [f"{part}-{i}" for i in (3, 0, 6) for part in (2, 0)]
    array, rows = store.read(wanted).values, StoredRows(store.memmap(wanted))
    assert (rows.shape, rows.dtype, rows.ndim, len(rows)) == (array.shape, array.dtype, 2, len(array))
    assert rows.nbytes == array.nbytes
    np.testing.assert_array_equal(rows.in_memory, array)
    for index in (slice(None), slice(1, 4), slice(5, 5), np.array([4, 0, 4]), np.array([[1, 2], [3, 0]])):
        np.testing.assert_array_equal(rows[index], array[index])


@pytest.mark.parametrize("count", [1, 7, 16, 17, 100])
def test_tiles_are_those_of_numpy(count: int) -> None:
    values = np.arange(count)
    wanted = np.array_split(values, max(1, -(-count // 16)))
    found = list(tiles(values, 16))
    assert [part.tolist() for part in found] == [part.tolist() for part in wanted]


def test_neighbors_are_those_of_the_array(tmp_path: Path) -> None:
    store = stored(tmp_path, 60, sealed=True)
    ids = [f"{part}-{i}" for part in range(3) for i in range(60)]
    array, rows = store.read(ids).values, StoredRows(store.memmap(ids))
    shift = np.full(DIM, 0.25, np.float32)
    for one, other in zip(neighbors(rows, rows, 5, shift=shift), neighbors(array, array, 5, shift=shift), strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_that_are_not_what_was_written(tmp_path: Path) -> None:
    store = stored(tmp_path, 5, sealed=True)
    (shard,) = store.folder.glob("vectors-*.safetensors")
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    rows = StoredRows(store.memmap(["0-0", "2-4"]))
    with pytest.raises(DamagedFileError, match=f"{shard.name}: rows 0 to .* are not what was written"):
        rows[:]


def test_pages_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many bytes in order, and sooner where each row is at another place."""
    store = stored(tmp_path, 40, sealed=True)
    ids = [f"{part}-{i}" for part in range(3) for i in range(40)]
    given: list[int] = []
    monkeypatch.setattr(type(store.memmap(ids)), "unmap", lambda self: given.append(1))
    monkeypatch.setattr("vitascope.features.stored_rows.MAPPED", 128 << 10)
    rows = StoredRows(store.memmap(ids))
    assert rows[:].nbytes < 128 << 10
    assert not given
    rows[np.array([5, 90])]
    assert given == [1]
