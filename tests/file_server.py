"""Answers of an imitated server on the loopback interface: JSON, and files with ranges."""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any


class FileHandler(BaseHTTPRequestHandler):
    """Answers requests as far as all servers do it alike."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer_file(self, data: bytes, headers: dict[str, str]) -> None:
        """The content of a file, or the range of it that is asked for."""
        status, more = 200, {"Accept-Ranges": "bytes", **headers}
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(match[1]), int(match[2] or len(data) - 1)
            more["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            data, status = data[first : last + 1], 206
        self._send(data, status, more)

    def answer_json(self, content: Any, status: int = 200) -> None:
        self._send(json.dumps(content).encode(), status, {"Content-Type": "application/json"})

    def _send(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
