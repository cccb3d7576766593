"""Read WebDataset samples sequentially from a tar file, without extracting it and starting at any sample."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from vitascope.core.errors import UserError
from vitascope.core.schema import parse
from vitascope.pretrain.data.shard_urls import ByteFile

BLOCK = tarfile.BLOCKSIZE
MAX_MEDIA_BYTES = 1 << 31
"""Size in bytes of the largest video or image read into memory."""
MAX_NOTE_BYTES = 1 << 20
"""Size in bytes of the largest label file or extended header."""
MAX_LABEL = 1 << 31
LABELS = ("cls", "json")


class TruncatedError(UserError):
    """The archive ends or is corrupt within the member whose header is at byte `offset`."""

    def __init__(self, cause: str, offset: int, name: str = "") -> None:
        super().__init__(f"truncated: {cause} at byte {offset:,}; the samples before it are used")
        self.offset, self.name = offset, name


class Member(NamedTuple):
    """A regular file in the archive."""

    name: str
    offset: int
    """Byte position of its first header, where reading can start."""
    content: bytes | None
    """Bytes of the file; None if it was skipped."""


class Sample(NamedTuple):
    """The video or image and the label of one key, or the error that prevents reading it."""

    key: str
    offset: int
    """Byte position where reading this sample can start."""
    name: str = ""
    """Name of the video or image."""
    content: bytes | None = None
    label: int = -1
    """Class index, -1 if unlabeled."""
    error: str = ""


def iter_members(file: ByteFile, start: int, wanted: Callable[[str, int], bool]) -> Iterator[Member]:
    """Yield the regular files from byte `start` on, with the content of those for which `wanted(name, size)` holds.

    Raises `TruncatedError` if the archive ends within a member or without its end mark, or is corrupt.
    """
    place = first = start
    long_name, long_size = "", -1
    _seek(file, start)
    while True:
        if not (long_name or long_size >= 0):
            first = place
        header = _read(file, BLOCK, first, long_name)
        if header == bytes(BLOCK):
            return
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            raise TruncatedError("no valid file header", first) from None
        size = long_size if long_size >= 0 else info.size
        if size < 0:
            raise TruncatedError(f"a member of {size:,} bytes", first)
        name = long_name or info.name
        padded = -(-size // BLOCK) * BLOCK
        place += BLOCK + padded
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            if size > MAX_NOTE_BYTES:
                raise TruncatedError(f"an extended header of {size:,} bytes", first)
            note = _read(file, padded, first, name)[:size]
            if info.type == tarfile.GNUTYPE_LONGNAME:
                long_name = _text(note.rstrip(b"\0"))
            else:
                long_name, long_size = _records(note)
            continue
        content = None
        if info.isreg() and wanted(name, size):
            content = _read(file, padded, first, name)[:size]
        else:
            _seek(file, place)
        if info.isreg():
            yield Member(name, first, content)
        long_name, long_size = "", -1


def _seek(file: ByteFile, place: int) -> None:
    try:
        file.seek(place)
    except Exception as error:  # of any remote file system
        raise TruncatedError(f"cannot be read ({_line(error)})", place) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _read(file: ByteFile, size: int, offset: int, name: str) -> bytes:
    """Read exactly `size` bytes of the member `name` whose header is at `offset`."""
    parts: list[bytes] = []
    left = size
    while left:
        try:
            part = file.read(left)
        except Exception as error:  # of any remote file system, or of a truncated compressed file
            raise TruncatedError(f"cannot be read ({_line(error)})", offset, name) from error
        if not part:
            cause = f"{name!r} is {left:,} bytes short" if name else "no end mark"
            raise TruncatedError(cause, offset, name)
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _records(note: bytes) -> tuple[str, int]:
    """Parse name and size from a POSIX extended header ("26 path=some/long/name\\n"...); "" and -1 if absent."""
    name, size = "", -1
    while note:
        length, _, _ = note.partition(b" ")
        if not length.isdigit() or not 0 < int(length) <= len(note):
            break
        key, _, value = note[len(length) + 1 : int(length) - 1].partition(b"=")
        if key == b"path":
            name = _text(value)
        elif key == b"size" and value.isdigit():
            size = int(value)
        note = note[int(length) :]
    return name, size


def split_name(name: str) -> tuple[str, str]:
    """Split a member's name into its key, up to the first dot of the base name, and the lower-case extension."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return f"{folder}{slash}{stem}" if stem else "", extension.lower()


@dataclass
class _Group:
    """Members with the same key, in archive order."""

    key: str
    offset: int
    media: dict[str, bytes | None] = field(default_factory=dict)
    notes: dict[str, bytes | None] = field(default_factory=dict)

    def sample(self, labeled: bool) -> Sample:
        name, content = next(iter(self.media.items()), ("", None))
        if content is None:
            problem = f"larger than {MAX_MEDIA_BYTES:,} bytes" if name else "no video or image among its files"
            return Sample(self.key, self.offset, error=problem)
        try:
            label = _label(self.notes) if labeled else -1
        except UserError as error:
            return Sample(self.key, self.offset, error=str(error))
        return Sample(self.key, self.offset, name, content, label)


def _label(notes: dict[str, bytes | None]) -> int:
    """Read the class index from `.cls`, or from "label" or "cls" in `.json`; -1 if neither is present."""
    text: object = (notes.get("cls") or b"").decode(errors="replace").strip()
    if not text and notes.get("json"):
        try:
            metadata = parse(notes["json"] or b"")
        except UserError as error:
            raise UserError(f"its .json is {error}") from None
        text = metadata.get("label", metadata.get("cls", "")) if isinstance(metadata, dict) else ""
    try:
        label = int(str(text)) if text != "" else -1
    except ValueError:
        raise UserError(f"label {text!r:.60} is not an integer") from None
    if not -1 <= label < MAX_LABEL:
        raise UserError(f"label {label} is not a class index, 0 to {MAX_LABEL - 1}")
    return label


def iter_samples(file: ByteFile, start: int, extensions: frozenset[str], *, labeled: bool) -> Iterator[Sample]:
    """Yield the samples from byte `start` on; their video or image has one of the extensions `endings` (".mp4").

    A sample without one, or with an invalid label, carries an error; a truncated file ends with an error without key.
    """

    def wanted(name: str, size: int) -> bool:
        extension = split_name(name)[1]
        return (size <= MAX_MEDIA_BYTES and _last(extension) in extensions) or (
            labeled and extension in LABELS and size <= MAX_NOTE_BYTES
        )

    group: _Group | None = None
    truncation: TruncatedError | None = None
    try:
        for member in iter_members(file, start, wanted):
            key, extension = split_name(member.name)
            if not key:
                continue
            if group and group.key != key:
                yield group.sample(labeled)
                group = None
            group = group or _Group(key, member.offset)
            if _last(extension) in extensions:
                group.media[member.name] = member.content
            else:
                group.notes[extension] = member.content
    except TruncatedError as error:
        truncation = error
    incomplete = truncation is not None and group is not None and split_name(truncation.name)[0] == group.key
    if group and not incomplete:
        yield group.sample(labeled)
    if truncation:
        yield Sample("", group.offset if group and incomplete else truncation.offset, error=str(truncation))


def _last(ending: str) -> str:
    return f".{ending.rpartition('.')[2]}"
