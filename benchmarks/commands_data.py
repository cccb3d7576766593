"""What `commands.py` and `growth.py` measure on, written by a process of its own.

Vectors in a store and as arrays, predictions in files, and empty video files whose vectors are in a store.

python benchmarks/commands_data.py vectors|files|predictions|videos FOLDER [SIZE]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from commands import DIM, EXPORTED, QUERIES
from plain import published
from temporal_metrics import ACTIONS, localized, timelines
from vitascope.core.types import Card, Dataset, Example, Fold
from vitascope.datasets import precomputed
from vitascope.features.imports.twelvelabs import imported_key
from vitascope.features.store import EmbeddedExample, Store

BLOCK, CLASSES, NOISE = 4096, 100, 12.0
CARD = Card(name="plain/vectors", digest="0", dim=DIM, frames=1, size=1, mean=(0.0,) * 3, std=(1.0,) * 3)


def vectors(root: Path, size: int) -> None:
    """`size` training vectors and the queries: noise around a center per class, in half precision."""
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((CLASSES, DIM), np.float32)
    counts = {"train": size, "test": QUERIES}
    ids = {side: tuple(f"{side}/{i:07}" for i in range(count)) for side, count in counts.items()}
    labels = {side: rng.integers(CLASSES, size=count) for side, count in counts.items()}
    examples = [Example(id=i, path="", truth=int(y)) for s in counts for i, y in zip(ids[s], labels[s], strict=True)]
    fold = Fold(name="f", train=ids["train"], test=ids["test"])
    classes = tuple(f"class {i:03}" for i in range(CLASSES))
    imported = root / "imported"
    dataset = Dataset(
        name="bench", examples=tuple(examples), classes=classes, folds=(fold,), cards=(CARD,), store=str(imported)
    )
    store = Store(imported / precomputed.STORE, imported_key(dataset, "video"))
    store.create()
    for side, count in counts.items():
        np.save(root / f"{side}_labels.npy", labels[side])
        array = np.lib.format.open_memmap(root / f"{side}.npy", "w+", np.float16, (count, DIM))
        for start in range(0, count, BLOCK):
            own = labels[side][start : start + BLOCK]
            values = (centers[own] + NOISE * rng.standard_normal((len(own), DIM), np.float32)).astype(np.float16)
            array[start : start + BLOCK] = values
            rows = zip(ids[side][start : start + BLOCK], values.astype(np.float32), strict=True)
            store.add(f"{side}{start:09}", [EmbeddedExample(i, v[None], [(0.0, 1.0)], [""]) for i, v in rows])
    store.seal()
    precomputed.write(imported / precomputed.DATASET, dataset)


def files(root: Path, size: int) -> None:
    """The vectors again, in two files a video, as `plain/published.py` reads them."""
    for side, folder in (("train", "train"), ("test", "val")):
        where = root / "files" / folder
        where.mkdir(parents=True)
        labels = np.load(root / f"{side}_labels.npy")
        for i, (value, label) in enumerate(zip(np.load(root / f"{side}.npy", mmap_mode="r"), labels, strict=True)):
            published.write(where, f"{i:07}", value, int(label))


def videos(root: Path, size: int) -> None:
    """`size` files without content in class folders, and a store with their vectors as if they had been encoded."""
    from vitascope.core.types import digest
    from vitascope.datasets.open import open_dataset
    from vitascope.encoders.load import load
    from vitascope.features.extraction_options import store_key
    from vitascope.features.view import View
    from vitascope.sampling.names import Uniform

    for i in range(size):
        path = root / "videos" / f"class {i % CLASSES:03}" / f"video {i:07}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    card = load(EXPORTED).card
    dataset = open_dataset(str(root / "videos"))
    store = Store(root / "store", store_key(dataset, card, View(Uniform())))
    store.create()
    rng = np.random.default_rng(0)
    for start in range(0, size, BLOCK):
        part = dataset.examples[start : start + BLOCK]
        values = rng.standard_normal((len(part), 1, card.dim), np.float32)
        times = digest(start)
        store.add(
            f"{start:09}", [EmbeddedExample(e.id, v, [(0.0, 10.0)], [times]) for e, v in zip(part, values, strict=True)]
        )
    store.seal()


def predictions(root: Path, size: int) -> None:
    """Detections and true actions of THUMOS14's size, frame labels of Breakfast's."""
    found, true = localized()
    videos = sorted({int(v) for v in true.video})
    name = "video_test_{:07}".format
    database = {name(v): {"subset": "test", "duration": 400.0, "annotations": []} for v in videos}
    results: dict[str, list[dict[str, object]]] = {name(v): [] for v in videos}
    for v, start, end, label, _ in zip(*(c.tolist() for c in true), strict=True):
        database[name(v)]["annotations"].append({"segment": [start, end], "label": f"class_{label:02}"})  # type: ignore[attr-defined]
    for v, start, end, label, score in zip(*(c.tolist() for c in found), strict=True):
        results[name(v)].append({"segment": [start, end], "label": f"class_{label:02}", "score": score})
    (root / "truth.json").write_text(json.dumps({"database": database}))
    (root / "found.json").write_text(json.dumps({"results": results}))
    names = np.array([f"action_{i}" for i in range(ACTIONS)], dtype=object)
    (root / "mapping.txt").write_text("".join(f"{i} {n}\n" for i, n in enumerate(names)))
    for folder in ("groundTruth", "found"):
        (root / folder).mkdir()
    for i, (guess, truth) in enumerate(timelines()):
        for folder, codes in (("found", guess), ("groundTruth", truth)):
            (root / folder / f"video_{i:04}.txt").write_text("\n".join(names[codes]) + "\n")


if __name__ == "__main__":
    {"vectors": vectors, "files": files, "predictions": predictions, "videos": videos}[sys.argv[1]](
        Path(sys.argv[2]), int(sys.argv[3])
    )
