"""What a store believes: nothing that is not as it was written; check names it, repair drops it and nothing else."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from endurance import stores
from vitascope.core.errors import UserError
from vitascope.core.file_identity import BEFORE
from vitascope.features import shards, store_lookup
from vitascope.features.store import Store, stored_keys
from vitascope.features.store_check import check_store, is_root, store_folders
from vitascope.features.store_index import FIRST, SCHEMA, table_checksum

CASES = Path(__file__).parents[1] / "fixtures" / "fuzzed"


def flip(path: Path, at: int) -> None:
    """Flip one bit and leave all else, times included, as it was; forget what was verified, as a new process would."""
    store_lookup._opened.cache_clear()
    shards._verified.clear()
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def as_version_1(store: Store) -> None:
    """Rewrite the index as the earlier version did."""
    path = store.folder / "index.parquet"
    table = pq.read_table(path, partitioning=None).select(FIRST).replace_schema_metadata(None)
    pq.write_table(table, path, compression="zstd")


def sealed(root: Path) -> Store:
    store = stores.build(root)
    store.seal()
    return store


@pytest.mark.parametrize("damage", ["one bit", "a zeroed page"])
def test_rot_in_a_shard_is_refused_named_and_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(shards, "BLOCK_BYTES", 480)  # ten rows
    store = sealed(tmp_path)
    expected = stores.read(store)
    path = only(store.folder, "vectors-*")
    if damage == "one bit":
        flip(path, -1000)
    else:
        data = path.read_bytes()
        path.write_bytes(data[:-1000] + bytes(600) + data[-400:])
    monkeypatch.setattr(shards, "_verified", {})  # as in a new process
    with pytest.raises(
        UserError, match=f"{path}: rows .* are not what was written; .vitascope check {store.folder} --re"
    ):
        store.read(stores.NAMES)
    whole = [n for n in stores.NAMES[:30] if n in expected]
    assert np.concatenate([np.frombuffer(expected[n][0], np.float16) for n in whole]).tobytes() == (
        store.read(whole).values.tobytes()
    ), "what holds is still read"
    report = check_store(store.folder)
    assert any("are not what was written" in p for p in report.problems)
    assert 0 < len(report.dropped) < 40
    assert check_store(store.folder, repair=True).dropped == report.dropped
    left = stores.read(store)
    assert left == {n: v for n, v in expected.items() if n not in report.dropped}
    assert set(store.status()) == set(stores.NAMES) - report.dropped
    assert check_store(store.folder).problems == []


def test_blocks_are_verified_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = sealed(tmp_path)
    store.read(stores.NAMES)
    sums = []
    monkeypatch.setattr(shards.zlib, "crc32", lambda *given: sums.append(given) or 0)
    store.read(stores.NAMES)
    assert sums == []


def test_checksums_are_those_of_zlib(tmp_path: Path) -> None:
    import zlib

    values = np.random.default_rng(0).standard_normal((70, 1024)).astype(np.float32)
    sums = shards.block_checksums(values)
    assert sums.tolist() == [zlib.crc32(values[i // 16 * 16 : (i // 16 + 1) * 16].tobytes()) for i in range(70)]


def test_the_checksum_of_a_table_depends_on_values_alone(tmp_path: Path) -> None:
    table = sealed(tmp_path).index()
    parts = [table.slice(0, 7), table.slice(7, 1), table.slice(8)]
    assert table_checksum(pa.concat_tables(parts)) == table_checksum(table)
    assert table_checksum(table.slice(1)) != table_checksum(table)
    changed = table.set_column(2, "start", pa.array([0.5, *table["start"].to_pylist()[1:]]))
    assert table_checksum(changed) != table_checksum(table)


@pytest.mark.parametrize("seal", [True, False])
def test_an_index_of_another_store_is_refused(tmp_path: Path, seal: bool) -> None:
    store = stores.build(tmp_path)
    pattern = "index.parquet" if seal else "parts/b.parquet"
    path = store.folder / pattern
    data = path.read_bytes().replace(store.folder.name.encode(), store.folder.name[:-1].encode() + b"0")
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"belongs to another store"):
        store.status()


@pytest.mark.parametrize("pattern", ["vectors-*", "parts/b-*"])
def test_a_missing_shard_is_named_with_what_to_do(tmp_path: Path, pattern: str) -> None:
    store = stores.build(tmp_path)
    path = only(store.folder, pattern)
    path.unlink()
    started = time.monotonic()
    with pytest.raises(UserError, match=f"{path}: missing, though the index lists it; .vitascope check .* --repair"):
        store.read(stores.NAMES)
    assert time.monotonic() - started < 5
    dropped = check_store(store.folder, repair=True).dropped
    assert dropped == set(stores.NAMES[:40] if "vectors" in pattern else stores.NAMES[40:50])
    assert set(stores.read(store)) == set(stores.NAMES) - dropped


def test_a_damaged_index_leaves_what_is_in_parts(tmp_path: Path) -> None:
    store = stores.build(tmp_path)
    expected = stores.read(store)
    flip(store.folder / "index.parquet", 300)
    with pytest.raises(UserError, match=r"cannot be read .*--repair"):
        store.read(stores.NAMES)
    check_store(store.folder, repair=True)
    assert stores.read(store) == {n: expected[n] for n in stores.NAMES[40:]}


def test_a_store_of_version_1_is_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = sealed(tmp_path)
    expected = stores.read(store)
    as_version_1(store)
    with caplog.at_level(logging.WARNING, "vitascope"):
        assert stores.read(store) == expected
        store.status()
    assert [r.getMessage().partition(": ")[2] for r in caplog.records] == [
        f"read without checksums; `vitascope check {store.folder} --repair` verifies and adds them"
    ]
    assert {e.stamp for e in store.status().values()} == {f"{BEFORE}{store.seal_time()}"}
    report = check_store(store.folder)
    assert (report.unverified, report.problems) == (60, [])
    when = store.seal_time()
    assert check_store(store.folder, repair=True).repaired
    assert stores.read(store) == expected
    assert min(store.index()["checksum"].to_pylist()) >= 0
    assert {e.stamp for e in store.status().values()} == {f"{BEFORE}{when}"}, (
        "a file must still be older than that index"
    )


def test_rot_in_a_shard_of_version_1_is_found_by_its_name(tmp_path: Path) -> None:
    store = sealed(tmp_path)
    as_version_1(store)
    flip(only(store.folder, "vectors-*"), -1000)
    assert len(check_store(store.folder).dropped) == 60
    store.add("d", [stores.example("video 070", 0)])
    with pytest.raises(UserError, match="not what its name was made of"):
        store.seal()
    check_store(store.folder, repair=True)
    assert set(store.status()) == {"video 070"}


def test_a_damaged_key_does_not_hide_other_stores(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = sealed(tmp_path / "root")
    for number, content in enumerate(("[]", "{", '{"card": 3}', '{"card": {"name": 1}}')):
        other = store.folder.with_name(f"other-{number}")
        shutil.copytree(store.folder, other)
        (other / "key.json").write_text(content)
    with caplog.at_level(logging.WARNING, "vitascope"):
        assert [folder for folder, _ in stored_keys(tmp_path / "root")] == [store.folder]
    assert len(caplog.records) == 4
    reports = [check_store(folder) for folder in store_folders(tmp_path / "root")]
    assert [bool(r.problems) for r in reports].count(True) == 4
    json.dumps([r.problems for r in reports])


def test_what_is_a_store(tmp_path: Path) -> None:
    store = sealed(tmp_path / "cache")
    for path in (tmp_path / "cache", store.folder, store.folder.parent, store.folder.parents[1]):
        assert is_root(path)
        assert store_folders(path) == [store.folder]
    videos = tmp_path / "videos" / "a" / "b" / "c"
    videos.mkdir(parents=True)
    (videos / "key.json").write_text("{}")
    assert not is_root(tmp_path / "videos")
    assert not is_root(videos)


def test_mutated_stores_are_refused_or_as_written(tmp_path: Path) -> None:
    outcomes = stores.run(tmp_path, 32, seed=int(os.environ.get("VITASCOPE_SEED", "0")))
    assert {end for _, end in outcomes} <= {"as written", "refused"}


@pytest.mark.parametrize("kind", ["index", "vectors", "parts"])
def test_known_mutations(tmp_path: Path, kind: str) -> None:
    """Files of a store of the earlier version, each put in the place of its kind."""
    cases = sorted((CASES / f"store_{kind}").glob("*.*"))
    assert cases
    pattern = {"index": "index.parquet", "vectors": "vectors-*", "parts": "parts/b-*"}[kind]
    expected = stores.read(stores.build(tmp_path / "good"))
    for number, case in enumerate(cases):
        store = stores.build(tmp_path / str(number))
        only(store.folder, pattern).write_bytes(case.read_bytes())
        assert stores.outcome(store, expected) == "refused", case.name


def test_old_columns_come_first() -> None:
    assert SCHEMA.names[: len(FIRST)] == FIRST
