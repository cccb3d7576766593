"""Datasets at `hf://`, read by the hub's own client from an imitation of the few routes that it uses."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

pytest.importorskip("fsspec", reason="the extra `remote` is not installed")

import fsspec.config
from huggingface_hub import HfFileSystem

from helpers import blob, write_video
from vitascope.core import remote
from vitascope.core.file_identity import identify
from vitascope.datasets.open import open_dataset

COMMIT = "0" * 40
API = "/api/datasets/lab/clips"


class Hub(ThreadingHTTPServer):
    """Serves the files of a folder as the dataset `lab/clips`."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.requests: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def entries(self, below: str) -> list[dict[str, Any]]:
        """What lies below a path, as the hub lists it."""
        found = []
        for path in sorted((self.root / below).rglob("*")):
            name = path.relative_to(self.root).as_posix()
            oid = hashlib.sha1(path.read_bytes() if path.is_file() else name.encode()).hexdigest()
            kind = {"type": "file", "size": path.stat().st_size} if path.is_file() else {"type": "directory", "size": 0}
            found.append({"path": name, "oid": oid, **kind})
        return found


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        if path in (API, f"{API}/revision/main"):
            self._json({"id": "lab/clips", "sha": COMMIT, "siblings": [], "private": False, "tags": [], "downloads": 0})
        elif match := re.match(rf"{API}/tree/[^/]+/?(.*)", path):
            there = self.server.root / match[1]
            self._json(
                self.server.entries(match[1]) if there.is_dir() else {"error": "none"}, 200 if there.is_dir() else 404
            )
        elif path.startswith(f"{API}/paths-info/"):
            wanted = json.loads(body)["paths"]
            self._json([entry for entry in self.server.entries("") if entry["path"] in wanted])
        elif match := re.match(r"/datasets/lab/clips/resolve/[^/]+/(.*)", path):
            self._file(self.server.root / match[1])
        else:
            self._json({"error": path}, 404)

    def _file(self, path: Path) -> None:
        data, status, more = path.read_bytes(), 200, {"ETag": '"x"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(match[1]), int(match[2] or len(data) - 1)
            more["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            data, status = data[first : last + 1], 206
        self._send(data, status, more)

    def _json(self, content: Any, status: int = 200) -> None:
        self._send(json.dumps(content).encode(), status, {"Content-Type": "application/json"})

    def _send(self, data: bytes, status: int, more: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**more, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_POST = do_HEAD = _answer  # noqa: N815


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    for c, name in enumerate(("right", "down")):
        for i in range(2):
            write_video(tmp_path / "clips" / "data" / name / f"{i}.mp4", blob(c * np.pi / 2, i))
    server = Hub(tmp_path / "clips")
    monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": f"http://127.0.0.1:{server.server_address[1]}"})
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    HfFileSystem.clear_instance_cache()
    remote._known.clear()
    yield server
    server.shutdown()
    server.server_close()
    HfFileSystem.clear_instance_cache()


def test_a_dataset_of_the_hub(hub: Hub) -> None:
    dataset, local = open_dataset("hf://datasets/lab/clips/data"), open_dataset(hub.root / "data")
    assert dataset.digest == local.digest
    assert not [r for r in hub.requests if "resolve" in r], "nothing is read of videos to list them"
    for one, other in zip(dataset.examples, local.examples, strict=True):
        assert one.path == f"hf://datasets/lab/clips/data/{one.id}"
        assert identify(one.path).content == identify(other.path).content
