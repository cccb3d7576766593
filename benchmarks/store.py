"""Loading stored vectors and probing them, against one npy and one json file a video (the published layout).

    python benchmarks/store.py [--vectors 40000] [--dim 1024]

Both sides end with the same float32 matrix and labels in memory and the same kNN; the ratio of the loading times is
what counts. Files are in the page cache for both.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from vitascope.core.types import Card, Dataset, Example, Fold
from vitascope.features.extract import store_key
from vitascope.features.source import load_stored as features
from vitascope.features.store import EmbeddedExample, Store
from vitascope.features.view import View
from vitascope.probes.methods import knn
from vitascope.sampling.names import Uniform


def published(folder: Path, names: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """As the published scripts read: json for the label, npy for the vector, a video at a time."""
    values, labels = [], []
    for name in names:
        labels.append(int(json.loads((folder / f"{name}.json").read_text())["annotation"]))
        values.append(torch.tensor(np.load(folder / f"{name}_v.npy"), dtype=torch.float32))
    return torch.stack(values), torch.tensor(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=40_000)
    parser.add_argument("--dim", type=int, default=1024)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    n, classes = given.vectors, 400
    values = rng.standard_normal((n, given.dim), np.float32)
    labels = rng.integers(0, classes, n)
    names = [f"video_{i:06d}" for i in range(n)]
    card = Card(name="b/b", digest="0", dim=given.dim, frames=1, size=1, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    examples = tuple(Example(id=i, path="", truth=int(t)) for i, t in zip(names, labels, strict=True))
    half = n * 9 // 10
    fold = Fold(name="f", train=tuple(names[:half]), test=tuple(names[half:]))
    dataset = Dataset(name="bench", examples=examples, classes=tuple(map(str, range(classes))), folds=(fold,))
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for name, vector, label in zip(names, values, labels, strict=True):
            np.save(root / f"{name}_v.npy", vector)
            (root / f"{name}.json").write_text(json.dumps({"annotation": int(label), "duration": 10.0}))
        view = View(Uniform())
        store = Store(root / "store", store_key(dataset, card, view))
        store.create()
        store.add("all", [EmbeddedExample(i, v[None], [(0.0, 10.0)], [""]) for i, v in zip(names, values, strict=True)])
        store.seal()
        for number in range(3):
            started = time.perf_counter()
            matrix, _ = published(root, names)
            files = time.perf_counter() - started
            started = time.perf_counter()
            train = features(dataset, card, view, ids=fold.train, root=root / "store")
            test = features(dataset, card, view, ids=fold.test, root=root / "store")
            ours = time.perf_counter() - started
            assert torch.allclose(
                torch.cat([torch.as_tensor(side.values) for side in (train, test)]), matrix, atol=2e-3
            )
            started = time.perf_counter()
            knn.build("").predict(train, test, seed=0)
            probe = time.perf_counter() - started
            print(
                f"round {number + 1}: {n} x {given.dim}: file a video {files:.2f} s, store {ours:.3f} s: "
                f"{files / ours:.0f} times faster to load; with kNN {(files + probe) / (ours + probe):.1f} times"
            )


if __name__ == "__main__":
    main()
