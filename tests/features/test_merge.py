"""Shards and their merge: the store of one run, bit by bit, whoever embedded what; and what must not come together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from features.test_store import CARD, KEY, embedded, files
from helpers import blob, vitascope, write_video
from vitascope.core.errors import DamagedFileError, UserError
from vitascope.core.types import Dataset, Example
from vitascope.features import blocks as blocking
from vitascope.features.blocks import Shard, shard_records
from vitascope.features.merge import merge
from vitascope.features.store import EmbeddedExample, Key, Store

ITEMS = [embedded(str(i), i % 4) for i in range(30)]
"""Every fourth one failed."""


def filled(root: Path, items: list[EmbeddedExample], key: Key = KEY, shard: str = "") -> Store:
    store = Store(root, key)
    store.create()
    for start in range(0, len(items), 4):
        store.add(f"b{items[start].example}", items[start : start + 4])
    store.seal()
    if shard:
        listed = [Example(id=e.example, path="", truth=0) for e in ITEMS]
        Shard.parse(shard).record(store.folder, listed, [e for e in listed if e.id in {i.example for i in items}])
    return store


def test_merged_shards_are_the_store_of_one_run_to_the_byte(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole", ITEMS)
    for number in range(3):
        filled(tmp_path / f"part{number}", ITEMS[number::3])
    roots = [tmp_path / f"part{number}" for number in range(3)]
    (report,) = merge(tmp_path / "out", roots)
    assert files(report.folder) == files(whole.folder)
    assert (report.stores, report.examples, len(report.failed), report.doubled) == (3, 22, 8, ())
    assert report.failed["0"] == "broken file"
    (again,) = merge(tmp_path / "out", roots)
    assert (files(again.folder), again.doubled) == (files(whole.folder), ())


def test_stores_may_come_one_by_one_and_a_killed_merge_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = filled(tmp_path / "whole", ITEMS)
    filled(tmp_path / "a", ITEMS[:17])
    filled(tmp_path / "b", ITEMS[15:])
    merge(tmp_path / "out", [tmp_path / "a"])
    monkeypatch.setattr("vitascope.features.merge.replace_index", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        merge(tmp_path / "out", [tmp_path / "b"])
    monkeypatch.undo()
    (report,) = merge(tmp_path / "out", [tmp_path / "b"])
    assert files(report.folder) == files(whole.folder)


def test_doubled_examples_are_named_and_those_that_failed_elsewhere_count_as_embedded(tmp_path: Path) -> None:
    failed = EmbeddedExample("5", None, status="no memory")
    filled(tmp_path / "a", [*ITEMS[:5], failed])
    filled(tmp_path / "b", ITEMS[3:8])
    (report,) = merge(tmp_path / "out", [tmp_path / "a", tmp_path / "b"])
    assert report.doubled == ("3",)  # 4 has no vectors in either
    assert (report.examples, sorted(report.failed)) == (6, ["0", "4"])
    assert np.array_equal(Store(tmp_path / "out", KEY).read(["5"]).values, ITEMS[5].vectors)


@pytest.mark.parametrize(
    ("change", "cause"),
    [({"vectors": ITEMS[6].vectors[:1] + 1}, "their vectors differ"), ({"content": "other"}, "of different files")],  # type: ignore[index]
)
def test_vectors_that_differ_are_refused_before_anything_is_written(
    tmp_path: Path, change: dict[str, object], cause: str
) -> None:
    other = replace(embedded("5", 1), **({"vectors": ITEMS[6].vectors[:1]} | change))  # type: ignore[arg-type, index]
    filled(tmp_path / "a", ITEMS[:8])
    filled(tmp_path / "b", [other])
    with pytest.raises(UserError, match=rf"5 is in .*a/.* and in .*b/.*, but .*{cause}"):
        merge(tmp_path / "out", [tmp_path / "a", tmp_path / "b"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (replace(KEY, card=replace(CARD, name="lab/other")), "different encoders: lab/other and lab/net"),
        (replace(KEY, dataset="sets"), "different datasets: sets and set"),
        (replace(KEY, reduce="grid"), "different poolings: grid and clip"),
        (replace(KEY, card=replace(CARD, digest="1")), "different card.digest: 1 and 0"),
    ],
)
def test_stores_of_different_keys_are_refused(tmp_path: Path, key: Key, says: str) -> None:
    filled(tmp_path / "a", ITEMS[:4])
    filled(tmp_path / "b", ITEMS[4:8], key)
    with pytest.raises(UserError, match=says):
        merge(tmp_path / "out", [tmp_path / "a", tmp_path / "b"])


def test_what_is_missing_is_named_by_the_shards_or_by_the_dataset(tmp_path: Path) -> None:
    first = filled(tmp_path / "a", ITEMS[:10], shard="1/3")
    filled(tmp_path / "b", ITEMS[10:20], shard="2/3")
    (report,) = merge(tmp_path / "out", [tmp_path / "a", tmp_path / "b"])
    assert (report.missing, report.absent, report.complete) == ((), ("3/3",), False)
    (record,) = shard_records(first.folder)
    assert (record.shard, len(record.examples), record.total) == (Shard(1, 3), 10, 30)
    examples = tuple(Example(id=str(i), path="", truth=0) for i in range(1, 22))
    dataset: Dataset[int] = Dataset(name="set", examples=examples, classes=("a",), folds=())
    (report,) = merge(tmp_path / "out", [tmp_path / "a", tmp_path / "b"], dataset=dataset)
    assert (report.missing, report.unknown) == (("20", "21"), ("0",))
    with pytest.raises(UserError, match="is of dataset set, not of other"):
        merge(tmp_path / "out", [tmp_path / "a"], dataset=replace(dataset, name="other"))


def test_shards_of_different_lists_or_divisions_are_refused(tmp_path: Path) -> None:
    store = filled(tmp_path / "a", ITEMS[:10], shard="1/3")
    filled(tmp_path / "b", ITEMS[10:20], shard="2/4")
    with pytest.raises(UserError, match=r"has shard 1/3 and .* shard 2/4, of another division"):
        merge(tmp_path / "out", [tmp_path / "a", tmp_path / "b"])
    (path,) = store.folder.glob("shards/*")
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "listing": "0"}))
    with pytest.raises(UserError, match="different lists of videos"):
        merge(tmp_path / "out", [tmp_path / "a", tmp_path / "b"])


def test_a_damaged_store_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    store = filled(tmp_path / "a", ITEMS)
    (path,) = store.folder.glob("vectors-*")
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedFileError, match=r"rows 0 to .* are not what was written"):
        merge(tmp_path / "out", [tmp_path / "a"])
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="no stored embeddings there"):
        merge(tmp_path / "out", [tmp_path / "b"])


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "1/3/4", "-1/3"])
def test_shards_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="write i/n with i from 1 to n"):
        Shard.parse(text)


def test_embed_in_shards_and_merge_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        write_video(tmp_path / "v" / "ab"[number % 2] / f"{number}.mp4", blob(number, number))
    (tmp_path / "v" / "a" / "broken.mp4").write_bytes(b"no video")
    monkeypatch.setattr(blocking, "BLOCK_EXAMPLES", 4)
    command = ("embed", tmp_path / "v", "-m", "pixels/thumbnail", "-q", "--workers", 1)
    vitascope(*command, "--store", tmp_path / "whole")
    roots = [tmp_path / f"s{number}" for number in (1, 2, 3)]
    for number, root in enumerate(roots, 1):
        vitascope(*command, "--store", root, "--shard", f"{number}/3")  # the last one is empty: there are 2 blocks
    done = vitascope("merge", tmp_path / "out", *roots[:1], *roots[2:], code=1)
    assert "shards that no store has: 1 (2/3)" in done.stdout
    done = vitascope("merge", tmp_path / "out", *roots)
    assert ": 7 examples, 1 recorded as failed, from 3 stores" in done.stdout
    (whole,) = (tmp_path / "whole").glob("*/*/*")
    (merged,) = (tmp_path / "out").glob("*/*/*")
    found = files(merged)
    assert {name: found.pop(name) for name in list(found) if not name.startswith("shards")} == files(whole)
    assert sorted(found) == [f"shards/{number}-of-3.json" for number in (1, 2, 3)]
    assert "0 examples, 0 clips newly embedded" in vitascope(*command, "--store", tmp_path / "out").stdout
