"""Checks on the bytes of a file before decoding: not a video, damaged or truncated."""

from __future__ import annotations

import os
from typing import BinaryIO

IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*", b"P5\n", b"P6\n", b"qoif")
CONTAINERS = frozenset({b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"styp", b"sidx"})


def is_image(path: str) -> bool:
    """True if the file has the signature of an image."""
    with open(path, "rb") as file:
        head = file.read(12)
    return head.startswith(IMAGES) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


def not_a_video(path: str) -> str:
    """Why the file cannot be a video, with the remedy; empty if it may be one."""
    if not os.path.exists(path):
        return "broken symbolic link" if os.path.islink(path) else "no such file"
    if not os.path.isfile(path):
        return "not a file"
    with open(path, "rb") as file:
        head = file.read(4096)
    if not head:
        return "the file is empty (0 bytes)"
    if head.startswith(b"version https://git-lfs"):
        return "a git-lfs pointer, not the video itself; fetch it with `git lfs pull`"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a saved web page (HTML), not a video"
    if _is_text(head) and not head.startswith(b"YUV4MPEG2"):
        return "text, not a video"
    return ""


def likely_fault(path: str) -> str:
    """The likely reason why a video file cannot be read."""
    with open(path, "rb") as file:
        boxes = [name for name, _ in _boxes(file)]
        file.seek(0)
        head = file.read(1 << 16)
    if any(mark in head for mark in (b"encv", b"cenc", b"pssh")):
        return "encrypted (DRM)"
    if boxes and boxes[0] in CONTAINERS and b"moov" not in boxes:
        return "the index ('moov') is missing: an interrupted recording or download"
    return "damaged, or not a video"


def truncation(path: str) -> str:
    """A message if an MP4, MOV or AVI file is truncated; empty if it is complete or this cannot be determined."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] == b"RIFF":
            ends = [(b"RIFF", 8 + int.from_bytes(head[4:8], "little"))]
        else:
            boxes = _boxes(file)
            ends = boxes if boxes and all(name in CONTAINERS for name, _ in (boxes[0], boxes[-1])) else []
    if ends and ends[-1][1] > size:
        name, end = ends[-1]
        return f"truncated: {name.decode()!r} should end at byte {end}, but the file ends at {size}"
    return ""


def _is_text(head: bytes) -> bool:
    """True if the bytes are printable UTF-8; the last character may be incomplete."""
    try:
        text = head[: len(head) - 4 if len(head) == 4096 else None].decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 8:
            return False
        text = head[: error.start].decode()
    return all(c.isprintable() or c in "\t\r\n\f" for c in text)


def _boxes(file: BinaryIO) -> list[tuple[bytes, int]]:
    """Names and end positions of the top-level boxes of an ISO base media file, up to the first invalid one."""
    boxes: list[tuple[bytes, int]] = []
    start = 0
    length = os.fstat(file.fileno()).st_size
    while start < length and len(boxes) < 1 << 16:
        file.seek(start)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if len(head) < 8 or size < 8:
            break
        start += size
        boxes.append((head[4:8], start))
    return boxes
