"""Find videos that are packed into tar or Parquet files: such a file itself, a pattern of them, or a folder of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.media import container_of, is_clutter, kind_of
from vitascope.core.names import split_of
from vitascope.core.origins import origin
from vitascope.datasets.readers.listing import VideoList
from vitascope.datasets.readers.parquet_videos import media_column, read_parquets
from vitascope.datasets.readers.tar_videos import read_tars

PLACES = ("", "data", "shards")
"""Folders of a dataset in which packed files are looked for, beside those of splits."""


def is_packed(name: str) -> bool:
    """Whether a name has an ending of files that videos are packed into."""
    return bool(container_of(name))


def has_media(path: Path) -> bool:
    """Whether a file holds videos; a table of paths does not."""
    return path.is_file() and (
        container_of(path.name) == "tar" or (is_parquet(path) and bool(media_column(origin(str(path)))))
    )


def is_parquet(path: Path) -> bool:
    """Whether a file is called a Parquet file."""
    return container_of(path.name) == "parquet"


def packed_files(root: Path) -> list[Path]:
    """The packed files of a folder with nothing else but what describes them; empty if there are none."""
    found: list[Path] = []
    for entry in sorted(root.iterdir()):
        if is_clutter(entry.name):
            continue
        if kind_of(entry.name):
            return []
        if entry.is_dir():
            inside = [p for p in sorted(entry.iterdir()) if not is_clutter(p.name)]
            packed = [p for p in inside if is_packed(p.name)]
            if any(kind_of(p.name) or p.is_dir() for p in inside) and not packed:
                return []
            found += packed if entry.name in PLACES or split_of(entry.name) else []
        elif is_packed(entry.name):
            found.append(entry)
    tars = [p for p in found if container_of(p.name) == "tar"]
    tables = [p for p in found if is_parquet(p)]
    return tars or (tables if tables and media_column(origin(str(tables[0]))) else [])


def read_packed(root: Path, files: Iterable[Path], *, unlabeled: str = "") -> VideoList:
    """The videos in packed files below the folder `root`; those without a label get `unlabeled`, if it is not empty."""
    listed = [(origin(str(p)), p.relative_to(root).as_posix(), _split(p.relative_to(root))) for p in files]
    kinds = {container_of(path) for path, _, _ in listed}
    if len(kinds) > 1:
        raise UserError(f"{root}: both tar and Parquet files; give the files of one kind, as in {root}/*.tar")
    if len({split for _, _, split in listed}) == 1:  # one split is none
        listed = [(path, name, "") for path, name, _ in listed]
    if kinds == {"tar"}:
        return read_tars(listed, unlabeled=unlabeled)
    return read_parquets(listed, folder=origin(str(root)), unlabeled=unlabeled)


def _split(path: Path) -> str:
    """The split that the name of a file or of its folder contains; empty for none or several."""
    for text in (path.stem, path.parent.name):
        splits = {split_of(word) for word in re.split(r"[\W_]+", text)} - {""}
        if len(splits) == 1:
            return splits.pop()
    return ""
