"""Export stored embeddings to file layouts that other tools read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vitascope.core.errors import UserError
from vitascope.core.files import atomic_folder
from vitascope.core.truth import UNLABELED, describe_truth
from vitascope.core.types import Dataset, Example, digest
from vitascope.features.store import Store
from vitascope.features.store_index import write_table
from vitascope.sampling.names import describe

NAME_CHARACTERS = 120


@dataclass(frozen=True)
class ExportItem:
    """One example to export: n x dim vectors and n x 2 spans in seconds."""

    example: Example[Any]
    label: str
    split: str
    """`train` or `val`; empty if the dataset has several folds, or its only fold does not use the example."""
    vectors: npt.NDArray[Any]
    spans: npt.NDArray[np.float64]


def export(store: Store, dataset: Dataset[Any], out: Path, *, layout: Literal["npy", "parquet", "twelvelabs"]) -> int:
    """Write the stored vectors of `dataset` to the new folder `out`; return the number of examples, at least one."""
    items = list(_items(store, dataset))
    if not items:
        raise UserError(
            f"{dataset.name}: no stored vectors by {store.key.card.name} with view {describe(store.key.sampler)}; run "
            "`vitascope embed` with the same -m, --view, --compile and --decoder first"
        )
    with atomic_folder(out) as partial:
        LAYOUTS[layout](partial, items)
    return len(items)


def _items(store: Store, dataset: Dataset[Any]) -> Iterator[ExportItem]:
    fold = dataset.folds[0] if len(dataset.folds) == 1 else None
    sides = {i: side for side, ids in (("train", fold.train), ("val", fold.test)) for i in ids} if fold else {}
    stored = store.read([e.id for e in dataset.examples])
    for i, e in enumerate(dataset.examples):
        rows = slice(stored.offsets[i], stored.offsets[i + 1])
        if rows.start == rows.stop:
            continue
        yield ExportItem(
            e, _label(e.truth, dataset.classes), sides.get(e.id, ""), stored.values[rows], stored.spans[rows]
        )


def _label(truth: Any, classes: Sequence[str]) -> str:
    """The truth of an example in words; empty for a video without a label."""
    label = describe_truth(truth, classes)
    return "" if label == UNLABELED else label


def _npy(out: Path, items: list[ExportItem]) -> None:
    """Write `<id>.npy` (n x dim) per video, and `index.parquet` with ids, files, labels, splits and spans."""
    for item in items:
        np.save(out / f"{file_name(item.example.id)}.npy", item.vectors)
    rows = [(i.example.id, f"{file_name(i.example.id)}.npy", i.label, i.split, i.spans.tolist()) for i in items]
    columns = zip(*rows, strict=True)
    write_table(
        out / "index.parquet", pa.table(dict(zip(("id", "file", "label", "split", "spans"), columns, strict=True)))
    )


def _parquet(out: Path, items: list[ExportItem]) -> None:
    """Write `embeddings.parquet`: one row per clip, the vector as a fixed-size list."""
    count = [len(i.vectors) for i in items]
    vectors = np.concatenate([i.vectors.reshape(len(i.vectors), -1) for i in items])
    spans = np.concatenate([i.spans for i in items])
    columns: Mapping[str, list[str]] = {
        "id": [i.example.id for i in items],
        "label": [i.label for i in items],
        "split": [i.split for i in items],
    }
    table = {name: np.repeat(np.array(values, dtype=object), count) for name, values in columns.items()}
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    clip = np.concatenate([np.arange(c) for c in count])
    write_table(
        out / "embeddings.parquet",
        pa.table({**table, "clip": clip, "start": spans[:, 0], "end": spans[:, 1], "vector": flat}),
    )


def _twelvelabs(out: Path, items: list[ExportItem]) -> None:
    """Write the layout of the TWLV-I release; see `features.imports.twelvelabs`."""
    for item in items:
        folder = out / item.split
        folder.mkdir(exist_ok=True)
        name = file_name(item.example.id)
        np.save(folder / f"{name}_c.npy", item.vectors)
        np.save(folder / f"{name}_v.npy", item.vectors.astype(np.float32).mean(0))
        metadata = {"annotation": item.label, "duration": float(item.spans[:, 1].max()), "clips": item.spans.tolist()}
        (folder / f"{name}.json").write_text(json.dumps({"id": item.example.id, **metadata}, ensure_ascii=False))


def file_name(example: str) -> str:
    """Return a file name unique to the example, short enough for any suffix."""
    safe = example.replace("/", "__")
    unchanged = len(safe.encode()) <= NAME_CHARACTERS and "__" not in example
    return safe if unchanged else f"{safe[:40]}-{digest(example)}"


LAYOUTS: dict[str, Callable[[Path, list[ExportItem]], None]] = {
    "npy": _npy,
    "parquet": _parquet,
    "twelvelabs": _twelvelabs,
}
