"""Offline linear probing against the published way of working: a file a video, a loader, validation at batch 1.

Both sides: Adam 1e-3, batch 1024, incomplete batches dropped, on vectors on disk when the clock starts.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import resource
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset

from vitascope.features import Stored
from vitascope.probes.linear import build
from vitascope.types import Example

CLASSES, DIM, EPOCHS = 400, 1024, 150
EVERY = 10
"""Epochs between two validations of the published way."""


class Files(Dataset[tuple[torch.Tensor, int]]):
    """`<id>.json` with the label and `<id>_v.npy` with the vector, read anew at every access."""

    def __init__(self, folder: Path) -> None:
        self.stems = sorted(str(f.with_suffix("")) for f in folder.glob("*.json"))

    def __len__(self) -> int:
        return len(self.stems)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        with open(f"{self.stems[i]}.json") as file:
            label = int(json.load(file)["annotation"])
        return torch.from_numpy(np.load(f"{self.stems[i]}_v.npy", allow_pickle=False)), label


def write(root: Path, counts: dict[str, int]) -> None:
    """The same random videos in both layouts."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(CLASSES, DIM, generator=generator)
    for split, count in counts.items():
        labels = torch.arange(count) % CLASSES
        values = centres[labels] + 2 * torch.randn(count, DIM, generator=generator)
        save_file({"values": values, "labels": labels}, str(root / f"{split}.safetensors"))
        (root / split).mkdir()
        for i, (value, label) in enumerate(zip(values.numpy(), labels.tolist(), strict=True)):
            (root / split / f"{i:06}.json").write_text(json.dumps({"annotation": label, "duration": 10.0}))
            np.save(root / split / f"{i:06}_v.npy", value)


def ours(root: Path, epochs: int) -> float:
    """Top-1 of `linear/published`."""
    sides = {}
    for split in ("train", "val"):
        data = load_file(str(root / f"{split}.safetensors"))
        examples = [Example(id=f"{split}{i}", path="", truth=y) for i, y in enumerate(data["labels"].tolist())]
        names = [str(c) for c in range(CLASSES)]
        sides[split] = Stored(examples, names, data["values"], torch.arange(len(examples) + 1))
    probe = build("published")
    assert epochs == probe.epochs, "this side trains every epoch"
    truth = [e.truth for e in sides["val"].examples]
    return probe.score(probe.predict(sides["train"], sides["val"], seed=0), truth)["top-1"]


def published(root: Path, epochs: int) -> float:
    """Top-1 of a layer trained through a loader of files, four workers each epoch."""
    warnings.filterwarnings("ignore", message="This DataLoader will create")  # its default, however few the cores
    torch.manual_seed(0)
    train = DataLoader(Files(root / "train"), batch_size=1024, shuffle=True, num_workers=4, drop_last=True)
    val = DataLoader(Files(root / "val"), batch_size=1, num_workers=4)
    layer = torch.nn.Linear(DIM, CLASSES)
    optimiser = torch.optim.Adam(layer.parameters(), lr=1e-3)
    accuracy = 0.0
    for epoch in range(epochs):
        for values, labels in train:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(layer(values), labels).backward()
            optimiser.step()
        if (epoch + 1) % EVERY == 0 or epoch + 1 == epochs:
            with torch.no_grad():
                right = sum(int((layer(v).argmax(1) == y).sum()) for v, y in val)
            accuracy = 100 * right / len(val)
    return accuracy


def measured(way: Any, root: Path, epochs: int, answers: Any) -> None:
    """Run in a fresh process: seconds, accuracy, peak MB of it and of its largest worker."""
    start = time.perf_counter()
    top1 = way(root, epochs)
    seconds = time.perf_counter() - start
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    answers.put((seconds, top1, own / 1024, workers / 1024))


def run(way: Any, root: Path, epochs: int) -> tuple[float, float, float, float]:
    """`measured` in a new process."""
    context = mp.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=measured, args=(way, root, epochs, answers))
    process.start()
    answer: tuple[float, float, float, float] = answers.get()
    process.join()
    return answer


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the slow side; its time is scaled up to 150")
    parser.add_argument("--train", type=int, default=5_000)
    parser.add_argument("--val", type=int, default=1_000)
    args = parser.parse_args()
    if args.epochs % EVERY:
        parser.error(f"--epochs must be a multiple of {EVERY}, so that validations scale with epochs")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, {"train": args.train, "val": args.val})
        os.sync()
        print(f"{args.train} / {args.val} videos, {DIM}-d, {CLASSES} classes, {EPOCHS} epochs")
        before = run(ours, root, EPOCHS)
        slow = run(published, root, args.epochs)
        after = run(ours, root, EPOCHS)
    fast = min(before, after)
    scaled = slow[0] * EPOCHS / args.epochs
    note = "" if args.epochs == EPOCHS else f" ({args.epochs} epochs took {slow[0]:.1f} s, scaled)"
    print(f"  in memory:    {before[0]:7.2f} s, again {after[0]:.2f} s; top-1 {fast[1]:.1f}; peak {fast[2]:.0f} MB")
    print(f"  file a video: {scaled:7.1f} s{note}; top-1 {slow[1]:.1f}")
    print(f"                peak {slow[2]:.0f} MB and {slow[3]:.0f} MB in each of 4 workers")
    print(f"ratio: {scaled / fast[0]:.1f} times faster (target 20)")


if __name__ == "__main__":
    main()
