"""Datasets at URLs, read from a real S3 server that also fails, and from a plain web server."""

import gzip
import io
import json
import os
import tarfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("s3fs", reason="the extra `remote` is not installed")
pytest.importorskip("moto", reason="moto's server is not installed")

import s3_server
from helpers import blob, vitascope, write_video
from s3_server import Proxy
from vitascope.core import content, media_cache, remote
from vitascope.core.errors import MissingPackageError, RemoteError, UserError
from vitascope.core.file_identity import content_digest, identify
from vitascope.core.origins import unmangled
from vitascope.datasets.open import open_dataset
from vitascope.video import inspect


@pytest.fixture(scope="module")
def server() -> Iterator[Proxy]:
    with s3_server.proxied() as proxy:
        assert s3_server.put(proxy.behind, "/bkt") == 200
        yield proxy


@pytest.fixture(scope="module")
def local(server: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of videos on disk, with the same as `s3://bkt/vids`."""
    root = tmp_path_factory.mktemp("local") / "vids"
    for c, name in enumerate(("right", "down", "left")):
        for i in range(3):
            write_video(root / name / f"{i}.mp4", blob(c * np.pi / 2, i))
    for path in root.rglob("*.mp4"):
        upload(server, path, f"vids/{path.relative_to(root).as_posix()}")
    return root


def upload(server: Proxy, data: Path | bytes, key: str) -> None:
    content = data if isinstance(data, bytes) else data.read_bytes()
    assert s3_server.put(server.behind, f"/bkt/{key}", content) == 200


@pytest.fixture(autouse=True)
def _connected(server: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    s3_server.connect(server, monkeypatch)
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))


def test_a_folder_is_the_same_dataset_as_on_disk(local: Path) -> None:
    dataset, on_disk = open_dataset("s3://bkt/vids"), open_dataset(local)
    assert dataset.digest == on_disk.digest
    assert [e.path.removeprefix("s3://bkt/vids/") for e in dataset.examples] == [
        os.path.relpath(e.path, local) for e in on_disk.examples
    ]
    for one, other in zip(dataset.examples, on_disk.examples, strict=True):
        assert identify(one.path).content == identify(other.path).content
        assert inspect(one.path).times == inspect(other.path).times
    assert content_digest(dataset.examples[0].path) == FROZEN


FROZEN = "babbd51ed9b9238e"
"""The digest of `down/0.mp4`, which stands in stores: it may never change."""


def test_samples_of_a_large_object_are_read_by_ranges(server: Proxy) -> None:
    data = np.random.default_rng(0).bytes(3 << 20)
    upload(server, data, "large.mp4")
    server.reset()
    digest = content_digest("s3://bkt/large.mp4", whole=False)
    assert server.served < 300_000
    with content.local_copy("s3://bkt/large.mp4") as copy:
        assert Path(copy).read_bytes() == data
        assert content_digest(copy) == digest == content_digest("s3://bkt/large.mp4")


def test_the_state_of_a_video_is_asked_twice(server: Proxy, local: Path) -> None:
    """Before and after it is read, to know that all of it is of one version."""
    url = "s3://bkt/vids/left/1.mp4"
    remote._known.clear()
    server.reset()
    identify(url)
    with content.local_copy(url) as copy:
        assert Path(copy).read_bytes() == (local / "left/1.mp4").read_bytes()
    assert [method for method, _, _ in server.requests].count("HEAD") == 2


@pytest.mark.parametrize("length", [5000, 3000, 1000])
def test_a_state_that_holds_no_more_is_found_out(server: Proxy, length: int) -> None:
    url, key = f"s3://bkt/exchanged{length}.mp4", f"exchanged{length}.mp4"
    upload(server, b"a" * 3000, key)
    before = remote.state(url)
    upload(server, b"b" * length, key)
    assert remote.state(url) == before
    with content.local_copy(url) as copy:
        assert Path(copy).read_bytes() == b"b" * length
    assert remote.state(url).size == length


@pytest.mark.parametrize("fault", ["503", "cut", "slow"])
def test_failures_on_the_way_change_nothing(server: Proxy, local: Path, fault: str) -> None:
    dataset = open_dataset("s3://bkt/vids")
    remote._known.clear()
    server.reset(lambda proxy, method, path: fault if len(proxy.requests) % 2 else "")
    for example in dataset.examples[:3]:
        with content.local_copy(example.path) as copy:
            assert Path(copy).read_bytes() == (local / example.id).read_bytes()
    assert len(server.requests) >= 9


@pytest.mark.slow
def test_a_server_that_only_fails_is_no_damage_of_the_video(server: Proxy, local: Path, tmp_path: Path) -> None:
    command = ("embed", "s3://bkt/vids", "-m", "pixels/thumbnail", "--store", tmp_path / "s", "-q", "--workers", 1)
    broken = "/bkt/vids/down/0.mp4"
    server.reset(lambda proxy, method, path: "cut" if method == "GET" and path.startswith(broken) else "")
    first = vitascope(*command)
    assert "8 clips" in first.stdout
    assert "missing down/0.mp4: s3://bkt/vids/down/0.mp4: cannot be read" in first.stdout
    server.reset()
    assert ": 1 examples" in vitascope(*command).stdout, "it is tried again when the server answers"
    server.reset()
    assert ": 0 examples" in vitascope(*command).stdout
    assert not [r for r in server.requests if r[2]], "what is stored is not read again"


def test_expired_credentials_are_named(server: Proxy, local: Path) -> None:
    server.reset(lambda *_: "expired")
    with pytest.raises(RemoteError, match=r"s3://bkt/vids.*expired.*renew the credentials"):
        open_dataset("s3://bkt/vids")
    done = vitascope("embed", "s3://bkt/vids", "-m", "pixels/thumbnail", "-q", code=2)
    assert "renew the credentials" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_what_is_not_there_is_said_in_one_line(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"s3://bkt/none: nothing is there"):
        open_dataset("s3://bkt/none")
    with pytest.raises(UserError, match=r"s3://bkt/vids/up/9\.mp4: no such object"):
        inspect("s3://bkt/vids/up/9.mp4")
    with pytest.raises(MissingPackageError, match=r"gs://b/x: gs:// needs gcsfs .*pip install 'vitascope\[remote\]'"):
        open_dataset("gs://b/x")
    assert unmangled("s3:/b/x") == unmangled("s3://b/x") == "s3://b/x"
    done = vitascope("evaluate", "s3://bkt/vids", "-m", "pixels/thumbnail", "-t", "knn", "-o", "s3://bkt/r", code=2)
    assert "-o s3://bkt/r: this is on disk" in done.stderr


def test_lists_and_packed_files(server: Proxy, local: Path, tmp_path: Path) -> None:
    rows = "".join(f"{p.relative_to(local).as_posix()},{p.parent.name}\n" for p in sorted(local.rglob("*.mp4")))
    upload(server, f"path,label\n{rows}".encode(), "vids/list.csv")
    upload(server, f"path,label\n{rows}gone.mp4,left\n".encode(), "more/list.csv")
    (tmp_path / "urls.csv").write_text(
        "path,label\n" + rows.replace("\n", "\ns3://bkt/vids/").removesuffix("s3://bkt/vids/")
    )
    text = (tmp_path / "urls.csv").read_text().replace("path,label\n", "path,label\ns3://bkt/vids/", 1)
    (tmp_path / "urls.csv").write_text(text)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(local.rglob("*.mp4")):
            archive.add(path, path.relative_to(local).as_posix())
    upload(server, buffer.getvalue(), "tars/train-000.tar")
    for given in ("s3://bkt/vids/list.csv", tmp_path / "urls.csv", "s3://bkt/tars/train-000.tar", "s3://bkt/tars"):
        dataset = open_dataset(given)
        assert dataset.classes == ("down", "left", "right")
        assert len(dataset.examples) == 9
        for example in dataset.examples[::4]:
            server.reset()
            name = "/".join(example.path.split("/")[-2:])
            assert identify(example.path).content == identify(str(local / name)).content
            assert server.served < 4000, "no more than the video is read"
    upload(server, gzip.compress(buffer.getvalue()), "packed/train-000.tar.gz")
    example = open_dataset("s3://bkt/packed").examples[4]
    server.reset()
    assert identify(example.path).content == identify(str(local / example.path.partition("]/")[2])).content
    assert server.served == 0, "it was unpacked before"
    (one,) = (e for e in open_dataset("s3://bkt/more/list.csv=s3://bkt/vids").missing_files)
    assert one == "gone.mp4"


def test_a_web_server_without_ranges(local: Path) -> None:
    rows = "".join(f"{name}/{i}.mp4,{name}\n" for name in ("left", "down") for i in range(3))
    (local / "here.csv").write_text(f"path,label\n{rows}")
    handler = type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    web = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(local)))
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        dataset = open_dataset(f"http://127.0.0.1:{web.server_address[1]}/here.csv")
        assert len(dataset.examples) == 6
        for example in dataset.examples[:2]:
            assert identify(example.path).content == identify(str(local / example.id)).content
    finally:
        web.shutdown()
        web.server_close()
        (local / "here.csv").unlink()


@pytest.mark.slow
def test_evaluation_of_a_folder_at_a_url(local: Path, tmp_path: Path) -> None:
    common = ("-m", "pixels/thumbnail", "-t", "knn", "--json", "-q")
    scores = [
        json.loads(vitascope("evaluate", data, *common, "-o", tmp_path / f"r{i}").stdout.splitlines()[-1])["scores"]
        for i, data in enumerate(("s3://bkt/vids", local))
    ]
    assert scores[0] == scores[1]


def test_copies_stay_within_the_bound(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITASCOPE_MEDIA_CACHE", "5KB")
    for example in open_dataset("s3://bkt/vids").examples:
        inspect(example.path)
        sizes = [p.stat().st_size for p in media_cache.folder().rglob("*.mp4") if p.name[0] != "."]
        assert 0 < sum(sizes) <= 5000


@pytest.mark.slow
def test_a_listing_of_100_000_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a server that answers at once, so that our part is measured."""
    keys = [f"many/c{i % 20}/{i:06d}.mp4" for i in range(100_000)]
    found = [{"Key": k, "Size": 5000 + i, "ETag": f'"{i:x}"'} for i, k in enumerate(keys)]

    def answer(_: Any, method: str, MaxKeys: int, ContinuationToken: str = "0", **wanted: Any) -> dict[str, Any]:  # noqa: N803
        end = int(ContinuationToken) + MaxKeys
        page = found[int(ContinuationToken) : end]
        return {"Contents": page, "IsTruncated": end < len(found), "NextContinuationToken": str(end)}

    system, _ = remote.file_system("s3://bkt/many")
    monkeypatch.setattr(type(system), "call_s3", answer)
    monkeypatch.setattr(type(system), "info", lambda *_, **__: {"type": "directory"})
    before = time.process_time()
    dataset: Any = open_dataset("s3://bkt/many")
    assert len(dataset.examples) == 100_000
    assert time.process_time() - before < 60
    again = time.process_time()
    open_dataset("s3://bkt/many")
    assert time.process_time() - again < 40
