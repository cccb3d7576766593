"""Datasets at `hf://`, read by the hub's own client from an imitation of the few routes that it uses."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest

pytest.importorskip("fsspec", reason="the extra `remote` is not installed")

import fsspec.config
from huggingface_hub import HfFileSystem

from file_server import FileHandler
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


class _Handler(FileHandler):
    server: Hub

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path} {self.headers.get('Range', '')}".strip())
        if path in (API, f"{API}/revision/main"):
            about = {"id": "lab/clips", "sha": COMMIT, "private": False, "downloads": 0}
            self.answer_json(about | {"siblings": [], "tags": []})
        elif match := re.match(rf"{API}/tree/[^/]+/?(.*)", path):
            there = self.server.root / match[1]
            self.answer_json(
                self.server.entries(match[1]) if there.is_dir() else {"error": "none"}, 200 if there.is_dir() else 404
            )
        elif path.startswith(f"{API}/paths-info/"):
            wanted = json.loads(body)["paths"]
            self.answer_json([entry for entry in self.server.entries("") if entry["path"] in wanted])
        elif match := re.match(r"/datasets/lab/clips/resolve/[^/]+/(.*)", path):
            self.answer_file((self.server.root / match[1]).read_bytes(), {"ETag": '"x"', "X-Repo-Commit": COMMIT})
        else:
            self.answer_json({"error": path}, 404)

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
