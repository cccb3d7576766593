"""Stores at URLs: written once, read by others, whole after any failure."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("s3fs", reason="the extra `remote` is not installed")
pytest.importorskip("moto", reason="moto's server is not installed")

import s3_server
from features.test_store import files
from helpers import vitascope
from s3_server import Proxy
from vitascope.core import remote
from vitascope.core.errors import RemoteError, UserError
from vitascope.core.types import Card, Example
from vitascope.features.blocks import Shard
from vitascope.features.merge import merge
from vitascope.features.remote_store import local_root
from vitascope.features.store import EmbeddedExample, Key, Store
from vitascope.sampling.names import Uniform

CARD = Card(name="lab/m", digest="1", dim=4, frames=2, size=8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
KEY = Key(dataset="d", card=CARD, sampler=Uniform(), reduce="clip", pipeline=2)


@pytest.fixture(scope="module")
def server() -> Iterator[Proxy]:
    with s3_server.proxied("stores") as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _connected(server: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    s3_server.connect(server, monkeypatch)


def examples(first: int, count: int = 3) -> list[EmbeddedExample]:
    spans = [(0.0, 1.0)]
    return [
        EmbeddedExample(f"v{i}", np.full((1, 4), i + 1.5, np.float32), spans, ["t"], source="s", stamp="x", content="c")
        for i in range(first, first + count)
    ]


def on(machine: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> Store:
    """The store as another machine sees it, which has a cache of its own."""
    monkeypatch.setenv("VITASCOPE_CACHE", str(machine))
    store = Store(local_root(Path(url)), KEY)
    store.create()
    return store


def test_machines_share_a_store(tmp_path: Path, server: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "s3://stores/shared"
    one = on(tmp_path / "1", monkeypatch, url)
    one.add("b0", examples(0))
    two = on(tmp_path / "2", monkeypatch, url)
    assert two.status().keys() == {"v0", "v1", "v2"}
    two.add("b1", examples(3))
    two.add("b0", examples(0))  # encoded by both at once
    two.seal()
    alone = Store(tmp_path / "alone", KEY)
    alone.create()
    alone.add("b0", examples(0))
    alone.add("b1", examples(3))
    alone.seal()
    three = on(tmp_path / "3", monkeypatch, url)
    three.seal()
    ids = [f"v{i}" for i in range(6)]
    for store in (two, three):
        np.testing.assert_array_equal(store.read(ids).values, alone.read(ids).values)
        shards = [sorted(p.name for p in s.folder.glob("vectors-*")) for s in (store, alone)]
        assert shards[0] == shards[1], "sealed, the copy is bit for bit the store of one machine"
    server.reset()
    on(tmp_path / "3", monkeypatch, url).seal()
    assert not [r for r in server.requests if r[0] == "GET" and ".parquet" in r[1]], "nothing is fetched twice"


def test_what_could_not_be_sent_is_sent_later(tmp_path: Path, server: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "s3://stores/later"
    one = on(tmp_path / "1", monkeypatch, url)
    server.reset(lambda proxy, method, path: "503" if method == "PUT" and "/parts/" in path else "")
    with pytest.raises(RemoteError, match=r"s3://stores/later"):
        one.add("b0", examples(0))
    with pytest.raises(RemoteError):
        one.seal()
    server.reset(lambda proxy, method, path: "503" if len(proxy.requests) % 3 == 0 else "")
    one = on(tmp_path / "1", monkeypatch, url)
    one.seal()
    assert on(tmp_path / "2", monkeypatch, url).status().keys() == {"v0", "v1", "v2"}


def test_a_part_is_written_once_and_a_cut_one_is_never_read(
    tmp_path: Path, server: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "s3://stores/once"
    assert remote.put_once(f"{url}/x", b"first")
    assert not remote.put_once(f"{url}/x", b"second")
    assert remote.read_all(f"{url}/x") == b"first"
    on(tmp_path / "1", monkeypatch, url).add("b0", examples(0))
    server.reset(lambda proxy, method, path: "cut" if method == "GET" and "safetensors" in path else "")
    with pytest.raises(RemoteError):
        on(tmp_path / "2", monkeypatch, url)
    server.reset()
    two = on(tmp_path / "2", monkeypatch, url)
    assert two.read(["v1"]).values.tolist() == [[2.5] * 4]


def test_parts_at_urls_are_merged(tmp_path: Path, server: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = Store(tmp_path / "alone", KEY)
    alone.create()
    alone.add("b0", examples(0, 6))
    alone.seal()
    listed = [Example(id=f"v{i}", path="", truth=0) for i in range(6)]
    for number in (1, 2):
        one = on(tmp_path / f"{number}", monkeypatch, f"s3://stores/part{number}")
        one.add("b0", examples(3 * number - 3))
        Shard(number, 2).record(one.folder, listed, listed[3 * number - 3 : 3 * number])
        one.seal()
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "other"))
    parts = [Path(f"s3://stores/part{number}") for number in (1, 2)]
    (half,) = merge(tmp_path / "half", parts[:1])
    assert (half.absent, half.examples) == (("2/2",), 3)
    (report,) = merge(tmp_path / "merged", parts)
    records = [f"shards/{number}-of-2.json" for number in (1, 2)]
    found = files(report.folder)
    assert report.complete
    assert [found.pop(name) for name in records]
    assert found == files(alone.folder)

    server.reset(lambda proxy, method, path: "503" if method == "PUT" and "merge" in path else "")
    with pytest.raises(RemoteError, match="s3://stores/all"):
        merge(Path("s3://stores/all"), parts)
    server.reset()
    (there,) = merge(Path("s3://stores/all"), parts)
    assert there.complete
    seen = on(tmp_path / "reader", monkeypatch, "s3://stores/all")
    assert seen.read([f"v{i}" for i in range(6)]).values[:, 0].tolist() == [i + 1.5 for i in range(6)]
    assert len(list((seen.folder / "shards").iterdir())) == 2
    with pytest.raises(UserError, match=r"^s3://stores/none: no stored embeddings there"):
        merge(tmp_path / "merged", [Path("s3://stores/none")])
    done = vitascope("merge", "s3://stores/all", "s3://stores/part1", "s3://stores/part2")
    assert "6 examples, from 2 stores" in done.stdout
    assert f"s3://stores/all/{KEY.folder}" in done.stdout


@pytest.mark.slow
def test_embed_and_evaluate_with_a_store_at_a_url(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ("-m", "pixels/thumbnail", "--store", "s3://stores/cli", "-q")
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "1"))
    done = vitascope("embed", videos, *common)
    assert "18 examples" in done.stdout
    assert "s3://stores/cli/" in done.stdout
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "2"))
    assert ": 0 examples" in vitascope("embed", videos, *common).stdout
    shutil.rmtree(tmp_path / "2")
    remote_run = vitascope("evaluate", videos, *common, "-t", "knn", "--json", "-o", tmp_path / "r1").stdout
    here = ("-m", "pixels/thumbnail", "--store", tmp_path / "s", "-q")
    local_run = vitascope("evaluate", videos, *here, "-t", "knn", "--json", "-o", tmp_path / "r2").stdout
    assert [json.loads(r)["scores"] for r in remote_run.splitlines()] == [
        json.loads(r)["scores"] for r in local_run.splitlines()
    ]
    files = sorted(p for p in (tmp_path / "2" / "stores").rglob("vectors-*") if p.is_file())
    assert [hashlib.sha256(p.read_bytes()).hexdigest() for p in files] == [
        hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((tmp_path / "s").rglob("vectors-*"))
    ]
    assert files
