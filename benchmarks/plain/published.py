"""Recognition the published way: a file a video, a loader, queries one by one; prints the top-1 in percent.

    python benchmarks/plain/published.py knn|linear FOLDER [EPOCHS]

FOLDER has `train` and `val` with `<id>.json` (the label) and `<id>_v.npy` (the vector) of each video. kNN asks k = 20
here, 200 in `recognition.py`; linear probing is Adam 1e-3, batch 1024. Incomplete batches are dropped.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch.utils import data as loading

BATCH, WORKERS, EVERY = 1024, 4, 10
"""Vectors at a time, processes that read, epochs between two validations."""
EPOCHS, NEIGHBORS, TAU = 150, 20, 0.1
Loader: TypeAlias = loading.DataLoader[tuple[torch.Tensor, int]]


class Files(loading.Dataset[tuple[torch.Tensor, int]]):
    """The label and the vector of each video, read anew at every access."""

    def __init__(self, folder: Path) -> None:
        self.stems = sorted(str(f.with_suffix("")) for f in folder.glob("*.json"))

    def __len__(self) -> int:
        return len(self.stems)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        with open(f"{self.stems[i]}.json") as file:
            label = int(json.load(file)["annotation"])
        return torch.from_numpy(np.load(f"{self.stems[i]}_v.npy", allow_pickle=False)), label


def write(folder: Path, name: str, value: np.ndarray, label: int) -> None:
    """The two files of a video."""
    (folder / f"{name}.json").write_text(json.dumps({"annotation": label, "duration": 10.0}))
    np.save(folder / f"{name}_v.npy", value)


def loaders(root: Path) -> tuple[Loader, Loader]:
    """Of the training files, and of the validation files one by one; new workers each time they are read."""
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # its default, however few the cores
    torch.manual_seed(0)
    train = loading.DataLoader(
        Files(root / "train"), batch_size=BATCH, shuffle=True, num_workers=WORKERS, drop_last=True
    )
    return train, loading.DataLoader(Files(root / "val"), batch_size=1, num_workers=WORKERS)


def knn(root: Path, k: int, classes: int) -> float:
    """Bank through the loader; then for every query cosines, the nearest, their votes into a table, classes sorted."""
    train, val = loaders(root)
    parts = [(torch.nn.functional.normalize(values.float(), dim=1), labels) for values, labels in train]
    bank, labels = torch.cat([values for values, _ in parts]).T.contiguous(), torch.cat([y for _, y in parts])
    right = 0
    for values, truth in val:
        near, index = (torch.nn.functional.normalize(values.float(), dim=1) @ bank).topk(k, dim=1)
        hot = torch.zeros(k, classes).scatter_(1, labels[index].view(-1, 1), 1.0)
        votes = (hot[None] * (near / TAU).exp()[..., None]).sum(dim=1)
        right += int((votes.argsort(dim=1, descending=True)[:, 0] == truth).sum())
    return 100 * right / len(val)


def linear(root: Path, epochs: int, classes: int) -> float:
    """A layer trained through the loader, validated every few epochs."""
    train, val = loaders(root)
    layer = torch.nn.Linear(len(Files(root / "val")[0][0]), classes)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-3)
    accuracy = 0.0
    for epoch in range(epochs):
        for values, labels in train:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(layer(values.float()), labels).backward()
            optimizer.step()
        if (epoch + 1) % EVERY == 0 or epoch + 1 == epochs:
            with torch.no_grad():
                right = sum(int((layer(v.float()).argmax(1) == y).sum()) for v, y in val)
            accuracy = 100 * right / len(val)
    return accuracy


def main(probe: str, folder: str, epochs: str = str(EPOCHS)) -> None:
    """Print the top-1 of a probe on a folder of `commands_data.py`."""
    root = Path(folder)
    classes = 1 + int(np.load(root.parent / "train_labels.npy").max())
    print(knn(root, NEIGHBORS, classes) if probe == "knn" else linear(root, int(epochs), classes))


if __name__ == "__main__":
    main(*sys.argv[1:])
