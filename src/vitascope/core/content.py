"""The content behind a path or an address: a file to open, its state, and parts of its bytes.

What is no file (see `core.addresses`) becomes one in the bounded cache (`core.media_cache`) while it is used, once for
all processes; bytes of an archive at a URL are asked for alone.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from vitascope.core import media_cache, remote
from vitascope.core.addresses import Part, is_address, is_folder_url, is_url, part_of
from vitascope.core.errors import DamagedFileError, UserError, reading
from vitascope.core.media import suffix
from vitascope.core.remote_listing import download_folder, folder_state
from vitascope.core.unpacking import is_compressed, unpack

PIECE = 1 << 20
"""Bytes copied at a time."""
AHEAD = 0.25
"""Share of the bound of the cache that further cells of a table may take when one is read."""


class State(NamedTuple):
    """What is known of content without reading it."""

    size: int
    """Bytes; 0 if unknown, and of a folder."""
    version: str
    """Another one may mean other content; empty if there is none, or it cannot be reached."""
    modified: int
    """Time of the last change, nanoseconds."""


def state(address: str) -> State:
    """Return the state of the content of an address; without a version if there is none."""
    try:
        part = part_of(address)
        if part is None:
            if is_folder_url(address):
                return State(0, *folder_state(address)[1:3])
            found = remote.state(address)
            return State(max(found.size, 0), found.version, found.modified)
        _, version, modified = _container_state(part.container)
        window = part.window
        return State(window[1] - window[0] if window else 0, f"{version}[{part.place}]", modified)
    except (OSError, UserError):
        return State(0, "", 0)


def _container_state(container: str) -> tuple[int, str, int]:
    if is_url(container):
        found = remote.state(container)
        return found.size, found.version, found.modified
    status = os.stat(container)
    return status.st_size, f"{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}", status.st_mtime_ns


@contextmanager
def local_copy(path: str) -> Iterator[str]:
    """Yield the path of a file, or folder, with the content of `path`, which is `path` itself unless it is an address.

    Errors raised in the block name the address, not the copy. UserError if there is no such content, RemoteError if a
    server does not give it.
    """
    if not is_address(path):
        yield path
        return
    try:
        copy, fill = _copy(path)
        holding = media_cache.held(copy, fill)
        local = holding.__enter__()
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: {'no such object' if is_url(path) else f'no such file as {error.filename}'}"
        ) from None
    try:
        yield str(local)
    except UserError as error:
        if str(local) not in str(error):
            raise
        kind = type(error) if type(error) in (UserError, DamagedFileError) else UserError
        raise kind(str(error).replace(str(local), path)) from error
    finally:
        holding.__exit__(None, None, None)


def _copy(address: str) -> tuple[Path, Callable[[Path], None]]:
    """Return where the copy of an address is, in its present state, and what writes it."""
    part = part_of(address)
    if is_folder_url(address):
        found = folder_state(address)
        key = remote.fingerprint(f"{address}\n{found.version}")
        return media_cache.folder_path(key, found.size), lambda aside: download_folder(address, aside)
    if part is None:
        version = remote.state(address).version
        return _copy_path(address, version, address), lambda aside: remote.download(address, aside)
    version = _container_state(part.container)[1]
    path = _copy_path(f"{part.container}[{part.place}]", version, part.name)
    if window := part.window:
        return path, lambda aside: _copy_window(part, window, aside)
    return path, lambda aside: _copy_cell(part, version, aside)


def _copy_path(content: str, version: str, name: str) -> Path:
    return media_cache.copy_path(remote.fingerprint(f"{content}\n{version}"), suffix(name.rpartition("/")[2]))


def _copy_window(part: Part, window: tuple[int, int], aside: Path) -> None:
    """Write bytes of a container to a file."""
    with open(aside, "wb") as file:
        if is_url(part.container) and not is_compressed(part.container) and remote.state(part.container).ranges:
            file.writelines(remote.chunks(part.container, *window))
            return
        with _plain_copy(part.container) as container:
            file.writelines(_pieces(container, *window))


def _pieces(path: str, start: int, end: int) -> Iterator[bytes]:
    with open(path, "rb") as source:
        source.seek(start)
        while start < end:
            data = source.read(min(PIECE, end - start))
            if not data:
                raise DamagedFileError(f"{path}: cut short: it has no byte {start:,}; take a whole copy of it")
            start += len(data)
            yield data


@contextmanager
def open_container(container: str) -> Iterator[Any]:
    """Open a container, at a path or a URL, as a binary file of which parts are read; a compressed one is unpacked."""
    if is_compressed(container):
        with _plain_copy(container) as path, open(path, "rb") as file:
            yield file
    elif not is_url(container):
        with open(container, "rb") as file:
            yield file
    elif remote.state(container).ranges:
        with remote.open_ranges(container) as file:
            yield file
    else:
        with local_copy(container) as path, open(path, "rb") as file:
            yield file


@contextmanager
def _plain_copy(container: str) -> Iterator[str]:
    """Yield the path of a file with the content of a container, unpacked if it is compressed."""
    if not is_compressed(container):
        with local_copy(container) as path:
            yield path
        return

    def fill(aside: Path) -> None:
        if found and found.ranges:
            with remote.open_ranges(container, remote.CHUNK) as file:
                unpack(file, found.size, container, aside)
        else:
            with local_copy(container) as path, open(path, "rb") as file:
                unpack(file, os.path.getsize(path), container, aside)

    found = remote.state(container) if is_url(container) else None
    copy = _copy_path(f"{container}[]", _container_state(container)[1], ".tar")
    with media_cache.held(copy, fill) as plain:
        yield str(plain)


def _copy_cell(part: Part, version: str, aside: Path) -> None:
    """Write a cell of a table to a file, and cells of the rows behind it to others: they are stored together."""
    column, row = part.cell
    room = AHEAD * media_cache.bound()
    with open_container(part.container) as file:
        for number, name, data in _cells(part.container, file, column, row):
            if number == row:
                aside.write_bytes(data)
                continue
            room -= len(data)
            if room < 0:
                return
            path = _copy_path(f"{part.container}[{column}:{number}]", version, name or part.name)
            media_cache.add(path, lambda other, data=data: _write(other, data))  # type: ignore[misc]


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _cells(container: str, file: Any, column: str, row: int) -> Iterator[tuple[int, str, bytes]]:
    """Yield number, name and bytes of the cells of a column from `row` to the end of its row group."""
    import pyarrow.parquet

    with reading(container, "take a whole copy of it"):
        table = pyarrow.parquet.ParquetFile(file, pre_buffer=False, buffer_size=PIECE)
        first, group = 0, 0
        while group < table.num_row_groups and first + table.metadata.row_group(group).num_rows <= row:
            first += table.metadata.row_group(group).num_rows
            group += 1
        if group == table.num_row_groups:
            raise DamagedFileError(f"it has no row {row}")
    batches = table.iter_batches(batch_size=1, row_groups=[group], columns=[column], use_threads=False)
    number = first
    while True:
        with reading(container, "take a whole copy of it"):
            batch = next(batches, None)
            if batch is None:
                return
            cells = batch.column(0).to_pylist() if number + len(batch) > row else [None] * len(batch)
        for cell in cells:
            if number >= row:
                name, data = (cell or {}).get("path") if isinstance(cell, dict) else "", cell
                data = cell.get("bytes") if isinstance(cell, dict) else cell
                if data is None and number == row:
                    raise UserError(f"{container}: row {row} has no bytes in {column}")
                if data is not None:
                    yield number, name or "", data
            number += 1


@contextmanager
def ranges(address: str, *, whole: bool) -> Iterator[tuple[int, Callable[[int, int], bytes]]]:
    """Yield the size of the content of an address and what reads (offset, bytes) of it; OSError if it cannot be read.

    Without `whole`, only the parts that are read are asked of a server that gives parts.
    """
    part = part_of(address)
    try:
        if part is None and not whole and (size := _range_size(address)) >= 0:
            yield size, lambda start, length: remote.read_range(address, start, min(start + length, size))
            return
        if part is not None and part.window and not (is_url(part.container) or is_compressed(part.container)):
            yield from _window_ranges(part.container, *part.window)
            return
        with local_copy(address) as path, open(path, "rb") as file:
            yield os.fstat(file.fileno()).st_size, lambda start, length: os.pread(file.fileno(), length, start)
    except UserError as error:
        raise OSError(errno.ENOENT, str(error)) from error


def _range_size(url: str) -> int:
    """The bytes of an object of which parts are to be read: it has no copy here, and its server gives them; else -1."""
    found = remote.state(url)
    return found.size if found.ranges and not _copy(url)[0].exists() else -1


def _window_ranges(container: str, first: int, end: int) -> Iterator[tuple[int, Callable[[int, int], bytes]]]:
    with open(container, "rb", buffering=0) as file:
        yield (
            end - first,
            lambda start, length: os.pread(file.fileno(), min(length, end - first - start), first + start),
        )
