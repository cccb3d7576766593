"""Check and repair of stores: every index, part and vector is verified, and what does not hold is dropped.

Without an index nobody knows whose a vector is: it goes with its shards. An example goes as a whole, also where only
one of its clips is damaged. The next run embeds again whatever was dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from vitascope.core.errors import UserError
from vitascope.features.shards import ShardColumns, ShardRows, map_vectors
from vitascope.features.store import read_key, replace_index, write_lock
from vitascope.features.store_index import SCHEMA, deduplicate, read_index
from vitascope.features.store_lookup import INDEX

FILES = ("key.json", INDEX)
LEVELS = 4
"""A root of stores has folders of data sets, with folders of encoders, with the stores."""
SAMPLED = 50


@dataclass
class StoreReport:
    """What was found in one store."""

    folder: Path
    name: str = ""
    """Encoder and dataset, if its key can be read."""
    examples: int = 0
    """Examples with vectors that hold."""
    failed: int = 0
    """Examples that are recorded as failed."""
    unverified: int = 0
    """Examples without checksums, of an earlier version, in shards that hold as a whole."""
    problems: list[str] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)
    """Examples whose vectors do not hold."""
    repaired: bool = False


def store_folders(path: Path) -> list[Path]:
    """Return the stores at or below `path`: a store, a root of stores, or a folder between; empty if it is neither."""
    found = {p.parent for depth in range(LEVELS) for name in FILES for p in path.glob(f"{'*/' * depth}{name}")}
    return sorted(folder for folder in found if _is_store(folder))


def is_root(path: Path) -> bool:
    """Return whether there are stores at or below `path`, by a look at a few folders: it may hold a million videos."""
    level = [path]
    for _ in range(LEVELS):
        if any(_is_store(folder) for folder in level):
            return True
        below = (p for folder in level for p in islice(folder.iterdir(), SAMPLED))
        level = list(islice((p for p in below if p.is_dir() and not p.is_symlink()), SAMPLED))
    return False


def _is_store(folder: Path) -> bool:
    return any((folder / name).is_file() for name in FILES) and (folder / "locks").is_dir()


def check_store(folder: Path, *, repair: bool = False) -> StoreReport:
    """Verify everything in the store in `folder`; with `repair`, drop what does not hold and add missing checksums."""
    if not repair:
        return _Check(folder).run()[0]
    (folder / "locks").mkdir(exist_ok=True)
    (folder / "parts").mkdir(exist_ok=True)
    with write_lock(folder):
        check = _Check(folder)
        report, table = check.run()
        if report.problems or report.unverified:
            for path in check.damaged:
                path.unlink(missing_ok=True)
            replace_index(folder, table)
            report.repaired = True
    return report


class _Check:
    """One pass over a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.report = StoreReport(folder)
        self.damaged: list[Path] = []
        """Files to remove before the rest is written anew."""

    def run(self) -> tuple[StoreReport, pa.Table]:
        """Return what was found, and the rows of the index that hold."""
        self._check_key()
        table = self._index()
        kept = table.filter(pa.array(self._holds(table)))
        embedded = kept["clip"].to_numpy() >= 0
        names = kept["example"].to_numpy(zero_copy_only=False)
        self.report.examples = len(set(names[embedded]))
        self.report.failed = int((~embedded).sum())
        self.report.unverified = len(set(names[embedded & (kept["checksum"].to_numpy() < 0)]))
        return self.report, kept

    def _check_key(self) -> None:
        try:
            key = read_key(self.folder / "key.json")
            self.report.name = f"{key['card']['name']} on {key['dataset']}"
        except (UserError, FileNotFoundError) as error:
            self._note(self.folder / "key.json", error)

    def _note(self, path: Path, error: Exception) -> None:
        missing = f"{path}: missing"
        self.report.problems.append(missing if isinstance(error, FileNotFoundError) else str(error).rpartition("; ")[0])
        self.damaged.append(path)

    def _index(self) -> pa.Table:
        """Return the rows of the index and of all parts that can be read."""
        tables = []
        for path in (self.folder / INDEX, *sorted((self.folder / "parts").glob("*.parquet"))):
            try:
                tables.append(read_index(path, self.folder, self.folder.name))
            except UserError as error:
                self._note(path, error)
        return deduplicate(tables) if tables else SCHEMA.empty_table()

    def _holds(self, table: pa.Table) -> np.ndarray:
        """Return which rows hold; those of an example all or none."""
        damaged = np.zeros(len(table), np.bool_)
        shards = table["shard"].to_numpy(zero_copy_only=False)
        for name in sorted(set(shards) - {""}):
            chosen = np.flatnonzero(shards == name)
            for problem, rows in self._shard(name, table.take(pa.array(chosen))):
                self.report.problems.append(f"{self.folder / name}: {problem}")
                damaged[chosen[rows]] = True
        examples = table["example"].to_numpy(zero_copy_only=False)
        self.report.dropped = set(examples[damaged])
        return np.array([e not in self.report.dropped for e in examples], np.bool_)

    def _shard(self, name: str, table: pa.Table) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the problems of one shard and the rows of `table`, all its rows in the index, that each concerns."""
        everything = np.arange(len(table))
        try:
            size = len(map_vectors(self.folder / name, self.folder))
        except (UserError, FileNotFoundError) as error:
            yield ("missing" if isinstance(error, FileNotFoundError) else _cause(error, self.folder / name)), everything
            return
        row = table["row"].to_numpy()
        if (beyond := row >= size).any():
            yield f"{int(beyond.sum())} rows lack", np.flatnonzero(beyond)
        inside = np.flatnonzero(~beyond)
        rows = ShardRows(self.folder, ShardColumns.of(table.take(pa.array(inside))))
        for first, last in rows.damaged(0, rows.row, rows.checksum) if len(inside) else ():
            chosen = inside[(rows.row >= first) & (rows.row <= last)]
            yield f"rows {first} to {last} are not what was written", chosen
        if any(True for _ in rows.outdated()):
            yield "not what its name was made of", everything


def _cause(error: Exception, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ").rpartition("; ")[0]
