"""Datasets and parts of stores at `gs://`, by gcsfs from an imitation of the part of the JSON API that it uses."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from email.parser import BytesParser
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pytest

os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # else it asks another service about the bucket
pytest.importorskip("gcsfs", reason="gcsfs is not installed")

import fsspec.config
import gcsfs

from file_server import FileHandler
from helpers import blob, write_video
from vitascope.core import remote
from vitascope.core.file_identity import identify
from vitascope.datasets.open import open_dataset


class Bucket(ThreadingHTTPServer):
    """The bucket `bkt`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_: Any) -> None:
        """Say nothing of clients that go away."""

    def about(self, name: str) -> dict[str, Any]:
        """What the server says of an object."""
        data = self.objects[name]
        md5 = hashlib.md5(data).digest()
        return {
            "kind": "storage#object", "name": name, "bucket": "bkt", "size": str(len(data)), "etag": md5.hex(),
            "generation": str(int(md5.hex()[:10], 16)), "md5Hash": base64.b64encode(md5).decode(),
            "updated": "2026-01-01T00:00:00.000Z", "timeCreated": "2026-01-01T00:00:00.000Z",
        }  # fmt: skip


class _Handler(FileHandler):
    server: Bucket

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        given = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.server.requests.append(f"{self.command} {self.path}")
        match = re.fullmatch(r"/(?:(download|upload)/)?storage/v1/b/bkt/o(?:/(.+))?", parts.path)
        name = unquote(match[2] or "") if match else ""
        if match and match[1] == "upload":
            self._put(body, given)
        elif match and not name:
            found = [n for n in sorted(self.server.objects) if n.startswith(given.get("prefix", ""))]
            self.answer_json({"kind": "storage#objects", "items": [self.server.about(n) for n in found]})
        elif name not in self.server.objects:
            self.answer_json({"error": {"code": 404, "message": "No such object"}}, 404)
        elif given.get("alt") == "media":
            self.answer_file(self.server.objects[name], {})
        else:
            self.answer_json(self.server.about(name))

    def _put(self, body: bytes, given: dict[str, str]) -> None:
        kind = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        about, media = BytesParser().parsebytes(kind + body).get_payload()
        name = json.loads(about.get_payload(decode=True))["name"]
        if given.get("ifGenerationMatch") == "0" and name in self.server.objects:
            self.answer_json({"error": {"code": 412, "message": "conditionNotMet"}}, 412)
            return
        self.server.objects[name] = media.get_payload(decode=True)
        self.answer_json(self.server.about(name))

    do_GET = do_POST = do_PUT = _answer  # noqa: N815


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    server = Bucket()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    for c, name in enumerate(("right", "down")):
        for i in range(2):
            path = write_video(tmp_path / "clips" / name / f"{i}.mp4", blob(c * np.pi / 2, i))
            server.objects[f"clips/{name}/{i}.mp4"] = path.read_bytes()
    monkeypatch.setitem(fsspec.config.conf, "gs", {"endpoint_url": address, "token": "anon"})
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    gcsfs.GCSFileSystem.clear_instance_cache()
    remote._known.clear()
    yield server
    server.shutdown()
    server.server_close()
    gcsfs.GCSFileSystem.clear_instance_cache()


def test_a_dataset_in_a_bucket(bucket: Bucket, tmp_path: Path) -> None:
    dataset, local = open_dataset("gs://bkt/clips"), open_dataset(tmp_path / "clips")
    assert dataset.digest == local.digest
    assert not [r for r in bucket.requests if "alt=media" in r]
    for one, other in zip(dataset.examples, local.examples, strict=True):
        assert one.path == f"gs://bkt/clips/{one.id}"
        assert identify(one.path).content == identify(other.path).content


def test_a_part_of_a_store_is_written_once(bucket: Bucket) -> None:
    assert remote.put_once("gs://bkt/store/x", b"first")
    assert not remote.put_once("gs://bkt/store/x", b"second")
    assert remote.read_all("gs://bkt/store/x") == b"first"
