"""Merge: stores that were filled apart, such as the shards of a dataset on several machines, become one.

Only stores of one key come together: the same dataset, encoder, view and pipeline. Everything that is read is verified.
An example that several stores have must have the same vectors in each; one that failed in one and not in another counts
as embedded. The merged store has the bits of a store that one process filled.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vitascope.core.errors import DamagedFileError, UserError
from vitascope.core.files import atomic_file
from vitascope.core.origins import at_origins, origin
from vitascope.core.types import Dataset, digest
from vitascope.features.blocks import SHARDS, Shard, ShardRecord, shard_records
from vitascope.features.remote_store import RemoteParts, fetched_root
from vitascope.features.shards import ShardColumns, ShardRows
from vitascope.features.store import read_key, replace_index, stored_keys, write_lock
from vitascope.features.store_check import check_store
from vitascope.features.store_index import remedy, write_index
from vitascope.features.store_lookup import current_index


@dataclass
class MergeReport:
    """What one merged store consists of."""

    folder: Path
    name: str
    """Encoder and dataset."""
    stores: int = 0
    """Stores that it was merged from."""
    examples: int = 0
    """Examples with vectors."""
    failed: dict[str, str] = field(default_factory=dict)
    """{example id: why it has no vector}."""
    doubled: tuple[str, ...] = ()
    """Examples that several stores have, with equal vectors."""
    missing: tuple[str, ...] = ()
    """Examples of the dataset, or of the shards that were recorded, that no store has."""
    absent: tuple[str, ...] = ()
    """Shards that no store has, such as 3/8."""
    unknown: tuple[str, ...] = ()
    """Examples that are none of the dataset's."""

    @property
    def complete(self) -> bool:
        """Whether nothing is missing and nothing is of another dataset."""
        return not (self.missing or self.absent or self.unknown)


@dataclass(frozen=True)
class _Part:
    """One of the stores to be merged."""

    folder: Path
    table: pa.Table
    """Its index."""
    records: list[ShardRecord]

    @cached_property
    def places(self) -> dict[str, list[int]]:
        """Rows of the index of each example, in order of clips."""
        places: dict[str, list[int]] = {}
        examples = self.table["example"].to_pylist()
        for row in np.argsort(self.table["clip"].to_numpy(), kind="stable").tolist():
            places.setdefault(examples[row], []).append(row)
        return places

    @cached_property
    def embedded(self) -> set[str]:
        """Examples with vectors."""
        return set(self.table.filter(pc.greater_equal(self.table["clip"], 0))["example"].to_pylist())

    def columns(self, example: str, *names: str) -> list[list[Any]]:
        """Return columns of the index of an example."""
        table = self.table.take(self.places[example])
        return [table[name].to_pylist() for name in names]

    def vectors(self, example: str) -> npt.NDArray[Any]:
        """Read the vectors of an example."""
        rows = ShardColumns.of(self.table.take(self.places[example]))
        return ShardRows(self.folder, rows).take(np.arange(len(self.places[example])))


def merge(out: Path, roots: Sequence[Path], *, dataset: Dataset[Any] | None = None) -> list[MergeReport]:
    """Merge the stores below `roots` into those below `out`, whose rows count too; return a report of each.

    `dataset` says which examples there are; without it, the records of shards do. Raises UserError, before anything is
    written to a store, for stores of different keys, for examples whose vectors differ, and for what is damaged. Any of
    the folders may be at a URL: work is done on copies, and what is new in that of `out` is sent.
    """
    with at_origins():
        there = fetched_root(out)
        found = {root: {f.relative_to(root): key for f, key in _keys(root)} for root in map(fetched_root, roots)}
        _check_keys(found, dataset)
        places = next(iter(found.values()))
        return [_merge_one(there / place, [root / place for root in found], dataset) for place in places]


def _merge_one(folder: Path, folders: Sequence[Path], dataset: Dataset[Any] | None) -> MergeReport:
    before = [_open(folder)] if (folder / "key.json").is_file() and folder not in folders else []
    given = [_open(f) for f in folders]
    doubled = _doubled(given)
    parts = [*before, *given]
    _doubled(parts)
    owners = {e: n for n, part in reversed([*enumerate(parts)]) for e in part.places}
    owners |= {e: n for n, part in reversed([*enumerate(parts)]) for e in part.embedded}
    report = _report(folder, parts, owners, dataset)
    _write(folder, parts, owners)
    return replace(report, stores=len(given), doubled=doubled)


def _keys(root: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield the stores below `root`; UserError if there is none."""
    keys = list(stored_keys(root)) if root.is_dir() else []
    if not keys:
        raise UserError(f"{root}: no stored embeddings there; give the folders that `vitascope embed --store` wrote")
    yield from keys


def _check_keys(found: Mapping[Path, Mapping[Path, Mapping[str, Any]]], dataset: Dataset[Any] | None) -> None:
    """Raise UserError if the folders do not all have stores of the same keys; it says in what they differ."""
    (first, keys), *others = found.items()
    for root, theirs in others:
        if extra := next(iter(set(theirs) - set(keys)), None):
            raise UserError(_difference(root, theirs[extra], first, list(keys.values())))
        if lacking := next(iter(set(keys) - set(theirs)), None):
            raise UserError(_difference(first, keys[lacking], root, list(theirs.values())))
    for key in keys.values():
        if dataset is not None and key["dataset"] != (dataset.key or dataset.name):
            raise UserError(
                f"{first} is of dataset {key['dataset']}, not of {dataset.key or dataset.name}; name it with --data"
            )


def _difference(root: Path, key: Mapping[str, Any], other: Path, keys: Sequence[Mapping[str, Any]]) -> str:
    """Say in what `key`, in `root`, differs from the nearest of `keys`, in `other`."""
    flat = _flat(key)
    differing = [
        [k for k in sorted(flat.keys() | _flat(theirs)) if flat.get(k) != _flat(theirs).get(k)] for theirs in keys
    ]
    nearest = min(range(len(keys)), key=lambda i: len(differing[i]))
    names = differing[nearest]
    what = next((n for n in ("dataset", "card.name", "reduce", "layer") if n in names), names[0] if names else "key")
    ours, theirs = flat.get(what, "nothing"), _flat(keys[nearest]).get(what, "nothing")
    same = what == "dataset" and str(ours).rpartition("-")[0] == str(theirs).rpartition("-")[0]
    hint = (
        "the videos have to be at the same path everywhere" if same else "merge stores of one dataset, encoder and view"
    )
    return (
        f"{root} and {other} are of different {LABELS.get(what, what)}: {ours} and {theirs}; {hint} "
        "(`vitascope ls store --store FOLDER` lists what a folder has)"
    )


LABELS = {"dataset": "datasets", "card.name": "encoders", "reduce": "poolings", "layer": "layers"}


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Return the plain values in nested data by their dotted names."""
    if isinstance(value, Mapping):
        return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{name}.{key}".strip(".")).items()}
    return {name: value}


def _open(folder: Path) -> _Part:
    """Open a store, all of which is verified."""
    if problems := check_store(folder).problems:
        raise DamagedFileError(f"{problems[0]}; {remedy(folder)}")
    return _Part(folder, current_index(folder), shard_records(folder))


def _doubled(parts: Sequence[_Part]) -> tuple[str, ...]:
    """Return the examples of which several parts have vectors; UserError if these differ."""
    first: dict[str, _Part] = {}
    doubled = set()
    for part in parts:
        for example in part.embedded:
            if example in first:
                _check_equal(example, first[example], part)
                doubled.add(example)
            first.setdefault(example, part)
    return tuple(sorted(doubled))


def _check_equal(example: str, one: _Part, other: _Part) -> None:
    about = [part.columns(example, "start", "end", "times") for part in (one, other)]
    if about[0] == about[1] and np.array_equal(one.vectors(example), other.vectors(example)):
        return
    contents = [{*part.columns(example, "content")[0]} for part in (one, other)]
    cause = "their vectors differ" if contents[0] == contents[1] else "they are of different files"
    raise UserError(f"{example} is in {one.folder} and in {other.folder}, but {cause}; leave one out or embed it again")


def _report(
    folder: Path, parts: Sequence[_Part], owners: Mapping[str, int], dataset: Dataset[Any] | None
) -> MergeReport:
    key = read_key(parts[-1].folder / "key.json")
    report = MergeReport(folder, f"{key['card']['name']} on {key['dataset']}")
    for number, part in enumerate(parts):
        failed = [e for e in part.places if owners[e] == number and e not in part.embedded]
        report.failed |= {e: part.columns(e, "status")[0][0] for e in failed}
    report.examples = len(owners) - len(report.failed)
    if dataset is not None:
        ids = {e.id for e in dataset.examples}
        report.missing = tuple(e.id for e in dataset.examples if e.id not in owners)
        report.unknown = tuple(sorted(e for e in owners if e not in ids))
        return report
    records = _agreeing_records(parts)
    report.missing = tuple(dict.fromkeys(e for r in records for e in r.examples if e not in owners))
    have = {record.shard for record in records}
    report.absent = tuple(
        str(s) for of in {s.of for s in have} for s in map(Shard, range(1, of + 1), repeat(of)) if s not in have
    )
    return report


def _agreeing_records(parts: Iterable[_Part]) -> list[ShardRecord]:
    """Return the records of shards; UserError if these are not of one list of examples, divided in one way."""
    records = [(part.folder, record) for part in parts for record in part.records]
    for folder, record in records[1:]:
        first_folder, first = records[0]
        if record.listing != first.listing:
            raise UserError(
                f"{first_folder} has a shard of {first.total} examples and {folder} one of {record.total} others: the "
                "machines saw different lists of videos; name the right one with --data, or embed from one list"
            )
        if record.shard.of != first.shard.of:
            raise UserError(
                f"{first_folder} has shard {first.shard} and {folder} shard {record.shard}, of another division; name "
                "the dataset with --data to merge them nevertheless"
            )
    return [record for _, record in records]


def _write(folder: Path, parts: Sequence[_Part], owners: Mapping[str, int]) -> None:
    """Copy the vectors beside those in `folder` as parts of it, and seal it; killed, it can be rerun."""
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    (folder / "locks").mkdir(exist_ok=True)
    with write_lock(folder):
        for number, part in enumerate(parts):
            if part.folder != folder:
                _copy(folder, part, [owners[e] == number for e in part.table["example"].to_pylist()])
        if remote := RemoteParts.of(folder):
            for path in sorted((folder / SHARDS).glob("*.json")):
                remote.send_record(path)
            remote.exchange(sorted((folder / "parts").glob("*.parquet")))
        replace_index(folder, current_index(folder))


def _copy(folder: Path, part: _Part, chosen: Sequence[bool]) -> None:
    """Copy the key, the records and the chosen rows of a store into `folder`, the index of the rows last."""
    for path in (part.folder / "key.json", *(part.folder / SHARDS).glob("*.json")):
        _copy_file(path, folder / path.relative_to(part.folder))
    table = part.table.filter(pa.array(chosen, pa.bool_()))
    if not len(table):
        return
    name = f"merge-{digest(origin(str(part.folder.absolute())))}"
    moved = {shard: _moved(shard, name) for shard in table["shard"].unique().to_pylist()}
    for shard in filter(None, moved):
        _copy_file(part.folder / shard, folder / moved[shard])
    column = pa.array([moved[shard] for shard in table["shard"].to_pylist()], pa.string())
    table = table.set_column(table.schema.get_field_index("shard"), "shard", column)
    write_index(folder / "parts" / f"{name}.parquet", table, folder.name)


def _moved(shard: str, name: str) -> str:
    """Return where a shard of vectors goes among the parts of the merged store; its digest stays in the name."""
    return f"parts/{name}-{shard.rpartition('-')[2]}" if shard else ""


def _copy_file(source: Path, target: Path) -> None:
    with atomic_file(target) as aside:
        shutil.copyfile(source, aside)
