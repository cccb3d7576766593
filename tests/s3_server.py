"""A real S3 server (moto's) on the loopback interface, and a proxy before it that fails as servers fail."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[["Proxy", str, str], str]
"""(proxy, method, path) to what happens: nothing (empty), `503`, `cut`, `slow`, `expired`."""
EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def s3_server() -> Iterator[int]:
    """The port of a running server."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(600):
                with socket.socket() as one:
                    if one.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()


@contextmanager
def proxied(bucket: str = "") -> Iterator[Proxy]:
    """A proxy before a running server, which has this bucket."""
    with s3_server() as port:
        proxy = Proxy(port)
        if bucket:
            assert put(port, f"/{bucket}") == 200
        yield proxy
        proxy.close()


class _Server(ThreadingHTTPServer):
    """Says nothing of clients that go away, as those that are killed do."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass


class Proxy:
    """Passes requests on, and does to some of them what `fault` says."""

    def __init__(self, behind: int) -> None:
        self.behind, self.fault = behind, no_fault
        self.requests: list[tuple[str, str, str]] = []
        """Method, path and range of each request."""
        self.served = 0
        """Bytes of the bodies of answers to GET."""
        handler = type("Handler", (_Handler,), {"proxy": self})
        self.server = _Server(("127.0.0.1", 0), handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def reset(self, fault: Fault | None = None) -> None:
        self.fault = fault or no_fault
        self.requests.clear()
        self.served = 0


def no_fault(proxy: Proxy, method: str, path: str) -> str:
    return ""


class _Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _pass_on(self) -> None:
        proxy = self.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        proxy.requests.append((self.command, self.path, self.headers.get("Range", "")))
        fault = proxy.fault(proxy, self.command, self.path)
        if fault in ("503", "expired"):
            self._answer(503 if fault == "503" else 400, [], BUSY if fault == "503" else EXPIRED)
            return
        behind = http.client.HTTPConnection("127.0.0.1", proxy.behind, timeout=60)
        behind.request(self.command, self.path, body, dict(self.headers.items()))
        answer = behind.getresponse()
        data = answer.read()
        kept = [
            (k, v)
            for k, v in answer.getheaders()
            if k.lower() not in ("transfer-encoding", "connection", "server", "date")
        ]
        proxy.served += len(data) if self.command == "GET" else 0
        if fault == "slow":
            time.sleep(0.3)
        self._answer(answer.status, kept, data, cut=fault == "cut" and len(data) > 1)
        behind.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() != "content-length" or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(data)))
        elif not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", "0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815


def environment(port: int) -> dict[str, str]:
    """What makes clients use the server."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }


def connect(server: Proxy, monkeypatch: Any) -> None:
    """Make the clients of a test use the server, with short waits, and forget what was asked before."""
    import s3fs

    from vitascope.core import remote

    for name, value in environment(server.port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    monkeypatch.setattr(remote, "WAITS", (0.0, 0.01, 0.02, 0.03))
    remote._known.clear()
    s3fs.S3FileSystem.clear_instance_cache()
    server.reset()


def put(port: int, path: str, data: bytes = b"") -> int:
    """Put an object, or make a bucket; returns the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("PUT", path, data, {"Authorization": AUTHORIZATION})
    status = connection.getresponse().status
    connection.close()
    return status


AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
