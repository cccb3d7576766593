"""Checks on the bytes of a file before decoding: not a video, or damaged."""

from __future__ import annotations

from vitascope.video.claims import BOXES, boxes

IMAGES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*", b"P5\n", b"P6\n", b"qoif")


def is_image(path: str) -> bool:
    """True if the file has the signature of an image."""
    with open(path, "rb") as file:
        head = file.read(12)
    return head.startswith(IMAGES) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


def not_a_video(path: str) -> str:
    """Why the content of the file cannot be a video, with the remedy; empty if it may be one."""
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
        names = [name for name, _ in boxes(file)]
        file.seek(0)
        head = file.read(1 << 16)
    if any(mark in head for mark in (b"encv", b"cenc", b"pssh")):
        return "encrypted (DRM)"
    if names and names[0] in BOXES and b"moov" not in names:
        return "the index ('moov') is missing: an interrupted recording or download"
    return "damaged, or not a video"


def _is_text(head: bytes) -> bool:
    """True if the bytes are printable UTF-8; the last character may be incomplete."""
    try:
        text = head[: len(head) - 4 if len(head) == 4096 else None].decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 8:
            return False
        text = head[: error.start].decode()
    return all(c.isprintable() or c in "\t\r\n\f" for c in text)
