"""Find the list of a folder: its manifest, the metadata table of a data hub, or one list of paths per split."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.media import is_clutter, suffix
from vitascope.core.names import both, canonical, folded, split_of
from vitascope.datasets.readers.annotation_files import PLACES
from vitascope.datasets.readers.listing import KNOWN, VideoList, file_column, read_list
from vitascope.datasets.readers.tables import TEXT, first_line, is_file_name, read_table, sniff

MANIFESTS = ("manifest.csv", "manifest.tsv")
DROPPED = re.compile(r"^\s*(?:-\s*)?drop_labels:\s*true\b", re.IGNORECASE | re.MULTILINE)
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
    """The rows of the metadata tables in `root`, or in its folders of splits; None if none of them has labels.

    Where a table has no column of labels, the folder of a video is its label, unless the card says that it is none.
    """
    folders = [root, *(p for p in sorted(root.iterdir()) if p.is_dir() and split_of(p.name))]
    tables = [(folder, path) for folder in folders if (path := _only(folder, METADATA))]
    lists = []
    for folder, path in tables:
        names = read_table(path, KNOWN).header
        labeled = bool({"label", "labels", "class"} & set(map(folded, names)))
        if not file_column(names, str(path)) or not (labeled or labels_are_folders(root)):
            continue
        prefix, split = ("", "") if folder == root else (f"{folder.name}/", split_of(folder.name))
        found = read_list(path, labeled=labeled, split=split, prefix=prefix, roots=roots)
        lists += [found] if labeled else _labeled_by_folder(found, path)
    return _joined(lists)


def labels_are_folders(root: Path) -> bool:
    """Whether names of folders may be labels: False if the hub's card in `root` has `drop_labels: true`."""
    card = root / "README.md"
    head = card.read_text(errors="replace") if card.is_file() else ""
    return not DROPPED.search(head.partition("\n---")[0] if head.startswith("---") else "")


def _labeled_by_folder(found: VideoList, path: Path) -> list[VideoList]:
    """A list with the folder of each video as its label; none if a video is in no folder, or in one of a split."""
    labels = [posixpath.basename(posixpath.dirname(row.path)) for row in found.rows]
    if not all(label and not split_of(label) for label in labels):
        return []
    rows = [replace(row, label=canonical(label)) for row, label in zip(found.rows, labels, strict=True)]
    note = f"{path.name} has no column of labels: the folder of each video is its label"
    return [replace(found, rows=tuple(rows), notes=(*found.notes, note))]


def _lists_labels(columns: set[str]) -> bool:
    """Whether a table has a column of paths and one of labels."""
    return "path" in columns and bool({"label", "labels"} & columns)


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
