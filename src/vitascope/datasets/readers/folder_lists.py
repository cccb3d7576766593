"""Find the list of a folder: its manifest, the metadata table of a data hub, or one list of paths per split."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.media import is_clutter, suffix
from vitascope.core.names import both, folded, split_of
from vitascope.datasets.readers.annotation_files import PLACES
from vitascope.datasets.readers.listing import KNOWN, VideoList, read_list
from vitascope.datasets.readers.tables import TEXT, first_line, is_file_name, read_table, sniff

MANIFESTS = ("manifest.csv", "manifest.tsv")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Tables with a column `file_name`, as the Hugging Face hub has them."""


def find_manifest(root: Path) -> Path | None:
    """The manifest in a folder, ignoring case; `UserError` if there are two."""
    return _only(root, MANIFESTS)


def folder_list(root: Path, roots: tuple[Path, ...]) -> VideoList | None:
    """The rows of the list or lists in folder `root`, whose videos are below one of `roots`; None if it has none."""
    if (path := find_manifest(root)) is not None:
        return read_list(path, roots=roots)
    return _metadata(root, roots) or _split_lists(root, roots)


def _only(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The one file with one of `names`, ignoring case; `UserError` if there are two."""
    found = [path for path in sorted(folder.iterdir()) if path.name.lower() in names]
    if len(found) > 1:
        raise UserError(f"{folder}: {both(found[0].name, found[1].name)} both list videos; keep one")
    return found[0] if found else None


def _metadata(root: Path, roots: tuple[Path, ...]) -> VideoList | None:
    """The rows of the metadata tables in `root`, or in its folders of splits; None if none of them has labels."""
    folders = [root, *(p for p in sorted(root.iterdir()) if p.is_dir() and split_of(p.name))]
    tables = [(folder, path) for folder in folders if (path := _only(folder, METADATA))]
    tables = [(folder, path) for folder, path in tables if _lists_labels(_header(path), "file_name")]
    lists = []
    for folder, path in tables:
        prefix, split = ("", "") if folder == root else (f"{folder.name}/", split_of(folder.name))
        lists.append(read_list(path, split=split, prefix=prefix, roots=roots))
    return _joined(lists)


def _lists_labels(columns: set[str], path: str = "path") -> bool:
    """Whether a table has the column `path` and one of labels."""
    return path in columns and bool({"label", "labels"} & columns)


def _header(path: Path) -> set[str]:
    """The columns of a table in folded form."""
    return {folded(name) for name in read_table(path, KNOWN).header}


def _split_lists(root: Path, roots: tuple[Path, ...]) -> VideoList | None:
    """The rows of two or three lists whose names contain a split, as `train.csv` and `k400_val_paths.csv`."""
    for folder in (root, *(root / place for place in PLACES)):
        found: dict[str, Path] = {}
        for split, path in _candidates(folder):
            if (other := found.setdefault(split, path)) != path:
                raise UserError(f"{folder}: {both(other.name, path.name)} both list {split} videos; keep one")
        if "train" in found and len(found) > 1:
            places = tuple(dict.fromkeys((*roots, folder)))
            return _joined([read_list(path, split=split, roots=places) for split, path in found.items()])
    return None


def _candidates(folder: Path) -> Iterator[tuple[str, Path]]:
    """The lists of paths and labels in a folder whose names contain one split."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if suffix(path.name) in TEXT and not is_clutter(path.name):
            splits = {split_of(word) for word in re.split(r"[\W_]+", path.stem)} - {""}
            if len(splits) == 1 and _lists_paths(path):
                yield splits.pop(), path


def _lists_paths(path: Path) -> bool:
    """Whether the first line of a file is a header with path and label, or a path and a label."""
    line = first_line(path)
    delimiter, header = sniff(line, KNOWN)
    if header:
        names = set(map(folded, header))
        return _lists_labels(names) and "digest" not in names  # a report of `vitascope check` has that column
    return bool(line) and is_file_name(line.split(delimiter)[0])


def _joined(lists: list[VideoList]) -> VideoList | None:
    """Several lists as one, with a note that they were found; None if there are none."""
    if not lists:
        return None
    names = " and ".join(part.layout.partition(" (")[0] for part in lists)
    return VideoList(
        tuple(row for part in lists for row in part.rows),
        " and ".join(part.layout for part in lists),
        (f"examples and labels are read from {names}", *(note for part in lists for note in part.notes)),
    )
