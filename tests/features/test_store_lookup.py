"""Look-up in the index of a store: by bisection and by hashing what a scan of all rows finds, in whatever order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.types import Card
from vitascope.features import store_lookup
from vitascope.features.store import EmbeddedExample, Key, Store
from vitascope.features.store_index import SCHEMA, read_index, write_index
from vitascope.features.store_lookup import INDEX, OpenIndex, StoredEntry
from vitascope.sampling.names import Uniform

CARD = Card(name="lab/net", digest="0", dim=3, frames=4, size=8, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
KEY = Key(dataset="set", card=CARD, sampler=Uniform(), reduce="clip", pipeline=1)


def index_of(clips: dict[str, int], rng: np.random.Generator) -> pa.Table:
    """An index with so many clips of each example, in any order; an example with none has failed."""
    rows = [(name, clip) for name, count in clips.items() for clip in (range(count) if count else (-1,))]
    rows = [rows[i] for i in rng.permutation(len(rows))]
    data = {name: [""] * len(rows) for name in SCHEMA.names}
    numbers = {name: list(range(len(rows))) for name in ("row", "start", "end", "checksum")}
    return pa.table({**data, **numbers, "example": [r[0] for r in rows], "clip": [r[1] for r in rows]}, schema=SCHEMA)


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(st.text(max_size=3), st.integers(0, 3), max_size=12),
    st.lists(st.text(max_size=3), max_size=6),
    st.sampled_from([(0, 1), (0, 2), (0, 3), (0, 64), (32, 64), (10**6, 64)]),
    st.integers(0, 9),
)
def test_what_a_scan_finds(clips: dict[str, int], others: list[str], steps: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    index = OpenIndex.of(index_of(clips, rng))
    wanted = [*others, *clips, *others]
    before = store_lookup.FEW, store_lookup.STEP
    store_lookup.FEW, store_lookup.STEP = steps  # 0: always by bisection
    try:
        rows, offsets = index.rows(wanted)
    finally:
        store_lookup.FEW, store_lookup.STEP = before
    names, numbers = index.table["example"].to_pylist(), index.table["clip"].to_pylist()
    for i, name in enumerate(wanted):
        found = rows[offsets[i] : offsets[i + 1]].tolist()
        assert [(names[r], numbers[r]) for r in found] == [(name, c) for c in range(clips.get(name, 0))]


def test_an_index_in_another_order_is_read(tmp_path: Path) -> None:
    """As one that was written by somebody else, or before a seal."""
    store = Store(tmp_path, KEY)
    store.create()
    vectors = {name: np.full((2, 3), i, np.float32) for i, name in enumerate("cab")}
    records = [EmbeddedExample(n, v, [(0.0, 1.0), (1.0, 2.0)], ["", ""], source=n) for n, v in vectors.items()]
    store.add("all", [*records, EmbeddedExample("d", None, status="broken")])
    store.seal()
    sealed = read_index(store.folder / INDEX, store.folder, store.folder.name)
    write_index(store.folder / INDEX, sealed.take(pa.array([5, 0, 6, 3, 1, 4, 2])), store.folder.name)
    found = store.read(["b", "d", "c", "nothing", "a", "b"])
    assert found.offsets.tolist() == [0, 2, 2, 4, 4, 6, 8]
    assert found.values[:, 0].tolist() == [2, 2, 0, 0, 1, 1, 2, 2]
    assert found.spans[:2].tolist() == [[0, 1], [1, 2]]
    assert list(store.status()) == ["a", "b", "c", "d"]
    assert store.status()["d"] == StoredEntry("broken", "", "")


def test_files_are_read_again_only_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path, KEY)
    store.create()
    store.add("one", [EmbeddedExample("a", np.ones((1, 3), np.float32), [(0.0, 1.0)], [""])])
    store.seal()
    read: list[Path] = []
    monkeypatch.setattr(
        store_lookup, "read_index", lambda path, *a, **k: read.append(path) or read_index(path, *a, **k)
    )
    for _ in range(3):
        assert len(store.read(["a", "b"]).values) == 1
    assert read == [store.folder / INDEX]
    store.add("two", [EmbeddedExample("b", np.ones((1, 3), np.float32), [(0.0, 1.0)], [""])])
    for _ in range(2):
        assert len(store.read(["a", "b"]).values) == 2
    assert read[1:] == [store.folder / INDEX, store.parts / "two.parquet"]
