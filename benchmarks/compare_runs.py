"""Whether two versions of the package compute the same: scores, predictions and stored vectors, bit for bit.

    vitascope demo -o OLD         (the earlier version, its cache in OLD_CACHE)
    vitascope demo -o NEW         (this version, its cache in NEW_CACHE)
    python benchmarks/compare_runs.py OLD NEW --caches OLD_CACHE NEW_CACHE

Digests, file names made of them, versions and times are not compared. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from vitascope.evaluation.results import read
from vitascope.features.store import stored_keys

Content = Mapping[tuple[str, ...], Any]
"""What is compared, by what it belongs to."""


def scores(run: Path) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every number of every result."""
    for result in read(run):
        who = (result.encoder, result.dataset, result.probe)
        yield (*who, "scores"), dict(result.scores)
        yield (*who, "per class"), dict(result.per_class)
        yield (*who, "folds and seeds"), (result.folds, result.seeds)
        yield (*who, "counts"), (result.n, result.expected, result.missing)


def predictions(run: Path) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The columns of every predictions file."""
    for result in read(run):
        table = pq.read_table(run / result.predictions, partitioning=None)
        for name in table.column_names:
            yield (result.encoder, result.dataset, result.probe, name), table[name]


def vectors(cache: Path) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The bytes of every sealed shard, and the clips that its rows belong to."""
    for folder, key in stored_keys(cache):
        who = (key["dataset"], key["card"]["name"], key["sampler"]["type"], key["reduce"])
        shards = sorted(folder.glob("vectors-*.safetensors"))
        yield (*who, "bytes"), [hashlib.sha256(shard.read_bytes()).hexdigest() for shard in shards]
        yield (*who, "index"), pq.read_table(folder / "index.parquet", columns=["example", "clip", "start", "end"])


def report(what: str, old: Content, new: Content) -> bool:
    """Print how many entries are equal, and name those that are not; whether all are."""
    differing = [" · ".join(key) for key in old.keys() | new.keys() if key not in old or key not in new]
    differing += [" · ".join(key) for key in old.keys() & new.keys() if not same(old[key], new[key])]
    print(f"{what}: {len(old.keys() & new.keys()) - len(differing)} of {len(old)} equal")
    for name in sorted(differing):
        print(f"  differs: {name}")
    return bool(old) and not differing


def same(old: Any, new: Any) -> bool:
    """Equality of two values or Arrow columns; NaN equals NaN."""
    return bool(old.equals(new)) if hasattr(old, "equals") else repr(old) == repr(new)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--caches", type=Path, nargs=2, metavar=("OLD_CACHE", "NEW_CACHE"))
    given = parser.parse_args()
    equal = [report("results", dict(scores(given.old)), dict(scores(given.new)))]
    equal.append(report("prediction columns", dict(predictions(given.old)), dict(predictions(given.new))))
    if given.caches:
        old, new = given.caches
        equal.append(report("stored vectors", dict(vectors(old)), dict(vectors(new))))
    sys.exit(not all(equal))


if __name__ == "__main__":
    main()
