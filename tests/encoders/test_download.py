"""Official files fetched from the hub or an address, kept, and otherwise said in one line where to get them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants, errors

from vitascope.core.files import cache
from vitascope.core.log import on_stderr
from vitascope.encoders.spec import WeightSource
from vitascope.encoders.weights import download as hub

PAGE = "https://example.org/zoo"
ON_HUB = WeightSource(file="sub/l16.pth", repo="owner/zoo", commit="abc123", page=PAGE)
DATA = bytes(range(256)) * 20_000


def fetch(source: WeightSource) -> Path:
    return hub.fetch(source, name="umt/large-s1", license="MIT")


def refused(source: WeightSource, *said: str) -> str:
    with pytest.raises(ValueError) as error:
        fetch(source)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("umt/large-s1 needs ")
    assert message.endswith("use umt/large-s1=PATH")
    for word in said:
        assert word in message, message
    return message


class Hub:
    """A hub in a folder: files there are kept, files in `offered` can be downloaded; `error` is raised instead."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.offered: dict[str, bytes] = {"sub/l16.pth": DATA}
        self.error: Exception | None = None
        self.requests: list[tuple[str, str | None]] = []

    def download(self, repo: str, file: str, *, revision: str | None, local_files_only: bool = False, **_: Any) -> str:
        path = self.folder / file
        if path.is_file():
            return str(path)
        if local_files_only:
            raise errors.LocalEntryNotFoundError("not kept")
        self.requests.append((file, revision))
        if self.error:
            raise self.error
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self.offered[file])
        return str(path)

    def size(self, url: str, **_: Any) -> Any:
        assert "/abc123/" in url

        class Metadata:
            size = 42_000_000

        return Metadata()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", made.download)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", made.size)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return made


def test_the_hub_is_asked_once_at_its_revision_and_the_license_said(
    fake: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    with on_stderr():
        assert fetch(ON_HUB).read_bytes() == DATA
    said = capsys.readouterr()
    assert said.out == ""
    assert (
        said.err == "umt/large-s1: downloading l16.pth, 42 MB from owner/zoo on the hub; license of the weights: MIT\n"
    )
    with on_stderr():
        assert fetch(ON_HUB).read_bytes() == DATA
    assert capsys.readouterr().err == ""
    assert fake.requests == [("sub/l16.pth", "abc123")]


def test_every_shard_of_an_index_comes_with_it(fake: Hub) -> None:
    listed = {"a": "one.safetensors", "b": "two.safetensors", "c": "one.safetensors"}
    fake.offered = {
        "sub/model.safetensors.index.json": json.dumps({"weight_map": listed}).encode(),
        "sub/one.safetensors": b"1",
        "sub/two.safetensors": b"2",
    }
    source = WeightSource(file="sub/model.safetensors.index.json", repo="owner/zoo", commit="abc123")
    path = fetch(source)
    assert sorted(p.name for p in path.parent.iterdir())[1:] == ["one.safetensors", "two.safetensors"]
    (path.parent / "two.safetensors").unlink()
    fake.requests.clear()
    assert fetch(source) == path
    assert [file for file, _ in fake.requests] == ["sub/two.safetensors"]


def answered(kind: type[errors.HfHubHTTPError]) -> Exception:
    """One of the hub's errors that carry the server's answer."""
    error = kind.__new__(kind)
    Exception.__init__(error, "401 Client Error.\n\nCannot access it")
    return error


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: answered(errors.GatedRepoError), f"is gated): accept its terms at {PAGE} and run `hf auth login`"),
        (lambda: answered(errors.RepositoryNotFoundError), "does not exist or is private; run `hf auth login`"),
        (lambda: answered(errors.RevisionNotFoundError), "has no revision abc123"),
        (lambda: errors.EntryNotFoundError("404"), "has no sub/l16.pth at abc123"),
        (lambda: errors.LocalEntryNotFoundError("not found\nmore"), "no network: not found)"),
        (lambda: errors.OfflineModeIsEnabled("offline"), "HF_HUB_OFFLINE is set"),
        (lambda: ConnectionError("refused"), "no network: refused"),
        (lambda: TimeoutError("timed out"), "no network: timed out"),
        (lambda: OSError(28, "No space left on device"), "(No space left on device): download it"),
    ],
)
@pytest.mark.parametrize("when", ["size", "download"])
def test_what_the_hub_refuses_is_one_line_with_the_remedy(
    fake: Hub, monkeypatch: pytest.MonkeyPatch, when: str, make: Callable[[], Exception], said: str
) -> None:
    fake.error = make()

    def fail(*_: Any, **__: Any) -> Any:
        raise fake.error or AssertionError

    if when == "size":
        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", fail)
    refused(ON_HUB, "l16.pth", PAGE, said)


def test_a_gated_repository_that_does_not_show_itself_is_gated(fake: Hub) -> None:
    fake.error = answered(errors.RepositoryNotFoundError)
    source = WeightSource(file="pretrain.pth", repo="owner/zoo", commit="abc123", gated=True)
    refused(source, "is gated): accept its terms at https://huggingface.co/owner/zoo and run `hf auth login`")


def test_the_real_hub_fails_fast_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    url = "http://127.0.0.1:9/owner/zoo/resolve/abc123/sub/l16.pth"
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda *_, **__: url)
    begin = time.monotonic()
    refused(ON_HUB, "no network: ")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(ON_HUB, "HF_HUB_OFFLINE is set")
    assert time.monotonic() - begin < 12, "trying again takes longer"


def test_a_file_that_is_only_on_a_page_is_said() -> None:
    assert refused(WeightSource(file="vit_g.pth", page=PAGE)) == (
        f"umt/large-s1 needs vit_g.pth (no direct download): download it from {PAGE} and use umt/large-s1=PATH"
    )


class Server(ThreadingHTTPServer):
    """Gives DATA; breaks off after `gives` bytes of an answer as long as there are any in the list."""

    gives: list[int]
    ranges: list[str | None]
    kind = "application/octet-stream"
    etags: list[str]
    honours = True
    length = True
    status = 200

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/models/vitl16.pth.tar"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.ranges.append(asked)
        etag = server.etags.pop(0) if len(server.etags) > 1 else server.etags[0]
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        partial = bool(asked) and server.honours and self.headers.get("If-Range") == etag
        rest = DATA[start:] if partial else DATA
        self.send_response(206 if partial else server.status)
        self.send_header("Content-Type", server.kind)
        self.send_header("ETag", etag)
        if server.length:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        with suppress(ConnectionError):  # the other side need not want it all
            self.wfile.write(rest[: server.gives.pop(0)] if server.gives else rest)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with Server(("127.0.0.1", 0), Handler) as made:
        made.gives, made.ranges, made.etags = [], [], ['"one"']
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def kept() -> list[str]:
    return [p.name for p in (cache() / "weights").rglob("*") if p.is_file() and not p.name.endswith(".lock")]


def at(server: Server) -> WeightSource:
    return WeightSource(file="vitl16.pth.tar", url=server.address, page=PAGE)


def test_an_address_is_asked_once_and_the_license_said(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with on_stderr():
        path = fetch(at(server))
    assert path.read_bytes() == DATA
    assert path.name == "vitl16.pth.tar"
    said = capsys.readouterr()
    assert said.out == ""
    first = f"umt/large-s1: downloading vitl16.pth.tar, 5 MB from 127.0.0.1:{server.server_port}"
    assert said.err.splitlines()[0] == f"{first}; license of the weights: MIT"
    with on_stderr():
        assert fetch(at(server)) == path
    assert capsys.readouterr().err == ""
    assert server.ranges == [None]


def test_a_broken_connection_is_taken_up_where_it_broke(server: Server) -> None:
    server.gives = [3_000_000, 1_000_000]
    assert fetch(at(server)).read_bytes() == DATA
    assert server.ranges == [None, "bytes=3000000-", "bytes=4000000-"]


@pytest.mark.parametrize("how", ["another file", "no ranges"])
def test_what_cannot_be_taken_up_starts_again(server: Server, how: str) -> None:
    server.gives = [3_000_000]
    if how == "another file":
        server.etags = ['"one"', '"two"']
    else:
        server.honours = False
    assert fetch(at(server)).read_bytes() == DATA


def test_a_download_that_keeps_breaking_leaves_nothing(server: Server) -> None:
    server.gives = [1000] * 50
    refused(at(server), "the connection broke off after 6000 of 5120000 bytes", PAGE)
    assert kept() == []
    server.gives = []
    assert fetch(at(server)).read_bytes() == DATA
    assert kept() == ["vitl16.pth.tar"]


def test_an_interrupted_download_leaves_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(hub, "_copy", stop)
    with pytest.raises(KeyboardInterrupt):
        fetch(at(server))
    assert kept() == []


def test_without_a_length_the_end_is_the_end(server: Server) -> None:
    server.length = False
    assert fetch(at(server)).read_bytes() == DATA


def test_web_pages_and_errors_are_not_kept(server: Server) -> None:
    server.kind = "text/html; charset=utf-8"
    refused(at(server), "the server sent a web page instead of the file")
    server.kind, server.status = "application/xml", 403
    refused(at(server), "the server returned 403 Forbidden")
    assert kept() == []


def test_an_address_without_a_network(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(
        WeightSource(file="a.pth", url="http://127.0.0.1:9/a.pth"),
        "no network: ",
        "download it from http://127.0.0.1:9/a.pth",
    )
    path = fetch(at(server))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(at(server)) == path
    refused(WeightSource(file="a.pth", url=server.address + "2"), "HF_HUB_OFFLINE is set")


def test_two_at_once_download_once(server: Server) -> None:
    threads = [threading.Thread(target=fetch, args=(at(server),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.ranges == [None]
    assert kept() == ["vitl16.pth.tar"]
