"""The store: what goes in comes out, whoever wrote it in whatever order, and however often it was interrupted."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.types import Card
from vitascope.features import shards
from vitascope.features import store as storing
from vitascope.features.store import EmbeddedExample, Key, Store
from vitascope.sampling.names import MultiClip, Uniform

CARD = Card(name="lab/net", digest="0", dim=3, frames=4, size=8, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
KEY = Key(dataset="set", card=CARD, sampler=Uniform(), reduce="clip", pipeline=1)


def embedded(name: str, clips: int, dim: int = 3) -> EmbeddedExample:
    rng = np.random.default_rng(int(name))
    values = rng.standard_normal((clips, dim)).astype(np.float16).astype(np.float32)
    if not clips:
        return EmbeddedExample(name, None, status="broken file")
    spans = [(float(i), float(i) + 1) for i in range(clips)]
    return EmbeddedExample(name, values, spans, [f"d{i}" for i in range(clips)], source="7")


def files(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.suffix != ".lock"
    }


def outcome(store: Store) -> dict[str, tuple[str, ...]]:
    """Status, source and note of every example."""
    return {example: entry[:3] for example, entry in store.status().items()}


def fresh(root: Path, key: Key = KEY) -> Store:
    store = Store(root, key)
    store.create()
    return store


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.randoms(), st.integers(1, 5), st.booleans())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, counts: list[int], rng, size: int, seal: bool) -> None:  # type: ignore[no-untyped-def]
    store = fresh(tmp_path_factory.mktemp("store"))
    items = [embedded(str(i), c) for i, c in enumerate(counts)]
    shuffled = items[:]
    rng.shuffle(shuffled)
    for start in range(0, len(items), size):
        store.add(f"b{start}", shuffled[start : start + size])
        if seal and start % 2:
            store.seal()
    if seal:
        store.seal()
    asked = items[:]
    rng.shuffle(asked)
    stored = store.read([e.example for e in asked])
    for i, e in enumerate(asked):
        got = stored.values[stored.offsets[i] : stored.offsets[i + 1]]
        assert len(got) == 0 if e.vectors is None else np.array_equal(got, e.vectors)
        assert [tuple(s) for s in stored.spans[stored.offsets[i] : stored.offsets[i + 1]]] == list(e.spans)
    assert outcome(store) == {e.example: (e.status, e.source, e.note) for e in items}


def test_sealed_files_do_not_depend_on_the_order_of_work(tmp_path: Path) -> None:
    items = [embedded(str(i), i % 4) for i in range(40)]
    one, other = fresh(tmp_path / "a"), fresh(tmp_path / "b")
    one.add("all", items)
    one.seal()
    for start in (30, 0, 20, 10):
        other.add(f"b{start}", items[start : start + 10])
        other.seal()
    assert files(one.folder) == files(other.folder)


def test_shards_are_cut_at_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 5 * 3 * 2)
    store = fresh(tmp_path)
    items = [embedded(str(i), 3) for i in range(7)]
    store.add("b", items)
    store.seal()
    assert len(list(store.folder.glob("vectors-*"))) == -(-21 // 5)
    stored = store.read([e.example for e in reversed(items)])
    assert np.array_equal(stored.values, np.concatenate([e.vectors for e in reversed(items)]))  # type: ignore[arg-type]


def test_values_beyond_half_precision_are_kept_in_single(tmp_path: Path) -> None:
    store = fresh(tmp_path)
    big = np.array([[1e5, 1.0, -3e-7]], np.float32)
    store.add("b", [EmbeddedExample("big", big, [(0.0, 1.0)], [""]), embedded("1", 1)])
    store.add("c", [embedded("2", 1)])
    store.seal()
    assert np.array_equal(store.read(["big"]).values, big)
    assert np.array_equal(store.read(["2"]).values, embedded("2", 1).vectors)


def test_a_part_without_its_index_is_nothing(tmp_path: Path) -> None:
    store = fresh(tmp_path)
    store.add("b", [embedded("1", 2)])
    (store.parts / "b.parquet").unlink()
    assert store.status() == {}
    store.add("b", [embedded("1", 2)])
    store.seal()
    assert np.array_equal(store.read(["1"]).values, embedded("1", 2).vectors)


def test_the_same_example_twice_counts_once_and_success_beats_failure(tmp_path: Path) -> None:
    store = fresh(tmp_path)
    store.add("a", [embedded("1", 0)])
    store.seal()
    store.add("b", [embedded("1", 2)])
    store.add("c", [embedded("1", 2)])
    assert outcome(store) == {"1": ("ok", "7", "")}
    assert len(store.read(["1"]).values) == 2
    store.seal()
    assert len(store.read(["1"]).values) == 2
    assert store.read(["2", "1", "3"]).offsets.tolist() == [0, 0, 2, 2]


def test_a_second_part_of_a_block_adds_to_the_first(tmp_path: Path) -> None:
    store = fresh(tmp_path)
    store.add("b", [embedded("1", 2), embedded("2", 0), embedded("3", 1)])
    store.add("b", [embedded("2", 3)])
    stored = store.read(["1", "2", "3"])
    assert stored.offsets.tolist() == [0, 2, 5, 6]
    expected = np.concatenate([embedded(n, c).vectors for n, c in (("1", 2), ("2", 3), ("3", 1))])  # type: ignore[misc]
    assert np.array_equal(stored.values, expected)
    store.seal()
    assert np.array_equal(store.read(["1", "2", "3"]).values, expected)
    assert list(store.parts.iterdir()) == []


@pytest.mark.parametrize("seal", [True, False])
def test_a_failure_of_another_source_replaces_the_old_vectors(tmp_path: Path, seal: bool) -> None:
    store = fresh(tmp_path)
    store.add("a", [embedded("1", 2), embedded("2", 1)])
    if seal:
        store.seal()
    store.add("b", [replace(embedded("1", 0), source="8"), replace(embedded("2", 0), source="7")])
    assert outcome(store) == {"1": ("broken file", "8", ""), "2": ("ok", "7", "")}
    assert store.read(["1", "2"]).offsets.tolist() == [0, 0, 1]
    store.seal()
    assert store.read(["1", "2"]).offsets.tolist() == [0, 0, 1]


def test_what_is_whole_is_read_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fresh(tmp_path)
    store.add("a", [embedded("1", 2)])
    store.seal()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(storing, "FileLock", refuse)
    monkeypatch.setattr(storing.files, "write", refuse)
    store.create()
    store.seal()
    assert len(store.read(["1"]).values) == 2


def test_vectors_of_tiny_values_are_kept_in_single(tmp_path: Path) -> None:
    store = fresh(tmp_path)
    tiny = np.array([[3e-8, 1e-9, -2e-8], [0.0, 0.0, 0.0]], np.float32)
    store.add("b", [EmbeddedExample("tiny", tiny, [(0.0, 1.0)] * 2, ["", ""])])
    assert np.array_equal(store.read(["tiny"]).values, tiny)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fresh(tmp_path)
    before = files(store.folder)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.add("b", [embedded("1", 2)])
    assert files(store.folder) == before


def test_keys_that_differ_in_anything_have_folders_of_their_own() -> None:
    others = [
        replace(KEY, dataset="set/2"),
        replace(KEY, card=replace(CARD, digest="1")),
        replace(KEY, card=replace(CARD, frames=5)),
        replace(KEY, sampler=MultiClip(2.0)),
        replace(KEY, sampler=Uniform("ends")),
        replace(KEY, reduce="time"),
        replace(KEY, pipeline=2),
    ]
    folders = [k.folder for k in (KEY, *others)]
    assert len(set(folders)) == len(folders)
    assert all(len(f.parts) == 3 and ".." not in f.parts for f in folders)
    assert replace(KEY, dataset="../../etc").folder.parts[0] not in ("..", "")


def write_for_ever(root: Path) -> None:
    store = fresh(root)
    for turn in range(10_000):
        store.add(f"b{turn % 50}", [embedded(str(turn % 50 * 4 + i), 1 + i) for i in range(4)])
        if turn % 7 == 6:
            store.seal()


@pytest.mark.parametrize("wait", [0.05, 0.11, 0.23, 0.31, 0.42])
def test_killed_at_any_instant_what_is_there_is_whole(tmp_path: Path, wait: float) -> None:
    process = multiprocessing.get_context("fork").Process(target=write_for_ever, args=(tmp_path,))
    process.start()
    time.sleep(wait)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    store = fresh(tmp_path)
    names = list(store.status())
    stored = store.read(names)
    for i, name in enumerate(names):
        expected = embedded(name, 1 + int(name) % 4).vectors
        assert np.array_equal(stored.values[stored.offsets[i] : stored.offsets[i + 1]], expected)
    store.seal()
    assert np.array_equal(store.read(names).values, stored.values)


def test_reading_while_another_seals(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=write_for_ever, args=(tmp_path,))
    process.start()
    store = Store(tmp_path, KEY)
    seen = 0
    while seen < 200 and process.is_alive():
        names = list(store.status())
        stored = store.read(names)
        assert len(stored.values) == sum(1 + int(n) % 4 for n in names)
        assert len(names) >= seen
        seen = len(names)
    process.kill()
    process.join()
    assert seen == 200
