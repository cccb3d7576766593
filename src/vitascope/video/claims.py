"""What the header of a file claims, without a codec: where the file ends and how long it lasts."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"moof", b"free", b"skip", b"wide", b"styp", b"sidx"})
"""Top-level boxes of MP4 and MOV files."""
TAIL = 1 << 16
"""Bytes at the end of a file in which the mark of its end is searched."""
MOST = 1 << 16
"""Number of elements after which a walk through a file is given up."""
EBML, SEGMENT, INFO, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1F43B675
ELEMENTS = frozenset(
    {EBML, SEGMENT, INFO, CLUSTER, 0x114D9B74, 0x1654AE6B, 0x1C53BB6B, 0x1043A770, 0x1254C367, 0x1941A469}
    | {0xEC, 0xBF, 0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0x5854}
)
"""Elements of Matroska and WebM files at the top, in segments and in clusters (RFC 9559)."""
TICK, DURATION = 0x2AD7B1, 0x4489
TAGS = (8, 9, 18)
"""Audio, video and metadata tags of FLV."""
PROGRAM_END = b"\0\0\1\xb9"
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


class Claim(NamedTuple):
    """Where a file ends by its own account, and how long it lasts."""

    part: str = ""
    """Name of the last part."""
    end: int = 0
    """Byte at which it ends, or 0 if unknown."""
    seconds: float = 0.0
    """Duration in the header, or 0 if unknown."""
    open_end: bool = False
    """Whether the file lacks the part, with which every complete file ends."""


def truncation(path: str) -> str:
    """A message if the file is cut short; empty if it is complete or this cannot be determined."""
    claim, size = read_claim(path), os.path.getsize(path)
    if claim.open_end:
        return f"truncated: the file ends without {claim.part}"
    if claim.end > size:
        return f"truncated: {claim.part} should end at byte {claim.end}, but the file ends at {size}"
    return ""


def read_claim(path: str) -> Claim:
    """What the header of the file at `path` claims; nothing if its format is unknown or the header damaged."""
    with open(path, "rb") as file:
        head = file.read(400)
        reader = next((read for magic, read in READERS.items() if head.startswith(magic)), None)
        try:
            return reader(file) if reader else _stream(file, head) or _iso(file)
        except (struct.error, ValueError, IndexError, OverflowError):
            return Claim()


def size_of(file: BinaryIO) -> int:
    """Size of an open file, bytes."""
    return os.fstat(file.fileno()).st_size


def boxes(file: BinaryIO) -> list[tuple[bytes, int]]:
    """Names and end positions of the top-level boxes of an ISO base media file, up to the first invalid one."""
    found: list[tuple[bytes, int]] = []
    start, length = 0, size_of(file)
    while start < length and len(found) < MOST:
        file.seek(start)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if len(head) < 8 or size < 8:
            break
        start += size
        found.append((head[4:8], start))
    return found


def _iso(file: BinaryIO) -> Claim:
    """MP4 and MOV: the last box, and the duration in the movie header unless the file is written in fragments."""
    found = boxes(file)
    if not found or not all(name in BOXES for name, _ in (found[0], found[-1])):
        return Claim()
    starts = dict(zip((name for name, _ in found), [0, *(end for _, end in found)], strict=False))
    whole = b"moov" in starts and b"moof" not in starts
    return Claim(repr(found[-1][0].decode()), found[-1][1], _movie(file, starts[b"moov"]) if whole else 0.0)


def _movie(file: BinaryIO, start: int) -> float:
    """Duration in the movie header of the `moov` box at `start`, seconds; 0 if it does not begin with one."""
    file.seek(start + 8)
    head = file.read(40)
    if head[4:8] != b"mvhd":
        return 0.0
    scale, duration = struct.unpack_from(">IQ" if head[8] else ">II", head, 28 if head[8] else 20)
    return duration / scale if scale and duration < 1 << 32 else 0.0


def _riff(file: BinaryIO) -> Claim:
    """AVI, of one or several RIFF chunks, and WebP."""
    end, length = 0, size_of(file)
    for _ in range(MOST):
        file.seek(end)
        head = file.read(8)
        if len(head) < 8 or head[:4] != b"RIFF" or end >= length:
            break
        size = int.from_bytes(head[4:], "little")
        end += 8 + size + size % 2
    return Claim("'RIFF'", end - 1 if end == length + 1 else end)


def _ebml(file: BinaryIO) -> Claim:
    """Matroska and WebM: the end of the segment, or of the last element if the segment was written without its size."""
    position, whole, seconds, length = 0, 0, 0.0, size_of(file)
    for _ in range(MOST):
        file.seek(position)
        name, start, size = _element(file.read(12), position)
        if name not in ELEMENTS or (name == CLUSTER and whole):
            break
        if name == INFO and size:
            seconds = _info(file, start, size)
        if name == SEGMENT and size is not None:
            whole = start + size
        position = start if size is None or name == SEGMENT else start + size
        if position >= length:
            break
    return Claim("'Segment'" if whole else "the last block", whole or position, seconds)


def _element(data: bytes, position: int) -> tuple[int, int, int | None]:
    """Name of an EBML element, position and size of its content; the size is None if unknown, the name 0 if invalid."""
    if not data or not data[0]:
        return 0, position, None
    name = 9 - data[0].bit_length()
    if len(data) <= name or not data[name]:
        return 0, position, None
    width = 9 - data[name].bit_length()
    size = int.from_bytes(data[name : name + width], "big") & (1 << 7 * width) - 1
    unknown = size == (1 << 7 * width) - 1
    return int.from_bytes(data[:name], "big"), position + name + width, None if unknown else size


def _info(file: BinaryIO, start: int, size: int) -> float:
    """Duration in the `Info` element of a segment, seconds; 0 if there is none."""
    file.seek(start)
    data = file.read(min(size, TAIL))
    tick, duration, position = 1_000_000, 0.0, 0
    while position < len(data):
        name, begin, length = _element(data[position : position + 12], position)
        if not name or length is None:
            break
        position = begin + length
        if name == TICK:
            tick = int.from_bytes(data[begin:position], "big")
        elif name == DURATION and length in (4, 8):
            duration = struct.unpack(">f" if length == 4 else ">d", data[begin:position])[0]
    return duration * tick / 1e9


def _asf(file: BinaryIO) -> Claim:
    """WMV and ASF: size and duration in the file properties, unless it was written as a broadcast."""
    file.seek(0)
    data = file.read(TAIL)
    place = data.index(ASF_PROPERTIES)
    end, _, _, length, _, preroll, flags = struct.unpack_from("<6QI", data, place + 40)
    return Claim() if flags & 1 else Claim("the data", end, length / 1e7 - preroll / 1e3)


def _flv(file: BinaryIO) -> Claim:
    """FLV: the end of the last tag, size and duration in the metadata."""
    file.seek(0)
    head = file.read(1 << 12)
    seconds, end, length = _flv_number(head, b"duration"), int(_flv_number(head, b"filesize")), size_of(file)
    if end > length:
        return Claim("the data", end, seconds)
    if _last_tag(file, length):
        return Claim(seconds=seconds)
    position = int.from_bytes(head[5:9], "big") + 4
    while position < length:
        file.seek(position)
        tag = file.read(4)
        if tag[0] & 0x1F not in TAGS:
            break
        # a tag cut within its header has no size of its own
        position += 11 + int.from_bytes(tag[1:], "big") + 4 if len(tag) == 4 else 11
    return Claim("the last tag", position, seconds)


def _flv_number(head: bytes, name: bytes) -> float:
    """A number in the metadata of an FLV file; 0 without one."""
    key = head.find(struct.pack(">H", len(name)) + name + b"\0")
    return float(struct.unpack_from(">d", head, key + len(name) + 3)[0]) if key >= 0 else 0.0


def _last_tag(file: BinaryIO, length: int) -> bool:
    """Whether an FLV file ends with the size of a tag and that tag stands before it."""
    file.seek(length - 4)
    size = int.from_bytes(file.read(4), "big")
    file.seek(max(0, length - 4 - size))
    tag = file.read(4)
    return tag[0] & 0x1F in TAGS and int.from_bytes(tag[1:], "big") == size - 11


def _ogg(file: BinaryIO) -> Claim:
    """Ogg: the last page, which is marked as such (RFC 3533); the duration is that of the last page."""
    base = max(0, size_of(file) - 2 * TAIL)
    file.seek(base)
    data = file.read()
    page = data.rindex(b"OggS")
    sizes = data[page + 27 : page + 27 + data[page + 26]]
    end = base + page + 27 + data[page + 26] + sum(sizes)
    return (
        Claim("the last page", end)
        if end > base + len(data)
        else Claim("its last page", open_end=not data[page + 5] & 4)
    )


def _stream(file: BinaryIO, head: bytes) -> Claim | None:
    """MPEG-TS, in packets of 188 bytes, or 192 with a clock; None if it is none."""
    for size, sync in ((188, 0), (192, 4)):
        if len(head) > sync + size and head[sync] == head[sync + size] == 0x47:
            length = size_of(file)
            return Claim("the last packet", -(-length // size) * size)
    return None


def _mpeg(file: BinaryIO) -> Claim:
    """MPEG program streams: the end of the last packet, whose start codes do not occur in its content.

    A start code behind it other than that of the end of the program begins a packet that is cut within its header.
    """
    base = max(0, size_of(file) - 4 * TAIL)
    file.seek(base)
    data = file.read()
    *_, last = re.finditer(rb"\x00\x00\x01[\xbd-\xef](..)", data, re.DOTALL)
    end = last.end() + int.from_bytes(last[1], "big")
    if data[end : end + 4] != PROGRAM_END and data[end : end + 3] == PROGRAM_END[:3]:
        return Claim("the last packet", base + len(data) + 1)
    return Claim("the last packet", base + end)


def _gif(file: BinaryIO) -> Claim:
    """GIF: the trailer, up to zeros behind it."""
    file.seek(max(0, size_of(file) - TAIL))
    return Claim("its trailer", open_end=not file.read().rstrip(b"\0").endswith(b";"))


def _marked(mark: bytes, part: str, after: bytes) -> Callable[[BinaryIO], Claim]:
    """A reader of images that end with `mark`, searched after `after` if it is not at the very end."""

    def read(file: BinaryIO) -> Claim:
        file.seek(max(0, size_of(file) - len(mark) - 2))
        if mark in file.read():
            return Claim()
        file.seek(0)
        data = file.read()
        return Claim(part, open_end=mark not in data[max(data.find(after), 0) :])

    return read


READERS: dict[bytes, Callable[[BinaryIO], Claim]] = {
    b"RIFF": _riff,
    b"\x1a\x45\xdf\xa3": _ebml,
    bytes.fromhex("3026b2758e66cf11"): _asf,
    b"FLV": _flv,
    b"OggS": _ogg,
    b"\0\0\1\xba": _mpeg,
    b"GIF8": _gif,
    b"\x89PNG\r\n\x1a\n": _marked(b"IEND", "its end chunk", after=b"IDAT"),
    b"\xff\xd8\xff": _marked(b"\xff\xd9", "its end marker", after=b"\xff\xda"),
}
"""Readers of a header by the first bytes of a file."""
