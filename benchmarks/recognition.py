"""Offline kNN and linear probing against the published way of working: a file a video, a loader, validation at batch 1.

Vectors are on disk when the clock starts. Both sides of kNN: k = 200, tau = 0.1. Both sides of linear probing: Adam
1e-3, batch 1024, incomplete batches dropped. The published bank drops its incomplete batch, too; ours is whole.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.queues import Queue
from pathlib import Path
from typing import NamedTuple, TypeAlias

import torch

from plain import published
from plain.published import BATCH, EPOCHS, EVERY, TAU
from vitascope.core.types import Card, Dataset, Example, Fold
from vitascope.features.extract import store_key
from vitascope.features.source import load_stored
from vitascope.features.store import EmbeddedExample, Store
from vitascope.features.view import View
from vitascope.probes.base import Probe
from vitascope.probes.methods import knn, linear
from vitascope.sampling.names import Uniform

CLASSES, DIM = 400, 1024
LOOK = 0.25
"""Seconds between two looks at the memory of a tree of processes."""
K = 200
TARGETS = {"knn": 10, "linear": 20}
"""Times faster."""

Way: TypeAlias = Callable[[Path, int], float]
"""Top-1 from the folder of vectors, after so many epochs where there are epochs."""


CARD = Card(name="b/b", digest="0", dim=DIM, frames=1, size=1, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def dataset(counts: dict[str, int]) -> Dataset[int]:
    """The videos of both layouts."""
    ids = {split: tuple(f"{split}/{i:06}" for i in range(count)) for split, count in counts.items()}
    examples = tuple(Example(id=i, path="", truth=n % CLASSES) for of in ids.values() for n, i in enumerate(of))
    fold = Fold(name="f", train=ids["train"], test=ids["val"])
    return Dataset(name="bench", examples=examples, classes=tuple(map(str, range(CLASSES))), folds=(fold,))


def write(root: Path, counts: dict[str, int]) -> None:
    """The same random videos in both layouts: a store, and two files a video."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(CLASSES, DIM, generator=generator)
    videos = dataset(counts)
    (root / "counts.json").write_text(json.dumps(counts))
    store = Store(root / "store", store_key(videos, CARD, View(Uniform())))
    store.create()
    for split in counts:
        (root / split).mkdir()
    for start in range(0, len(videos.examples), BATCH):
        part = videos.examples[start : start + BATCH]
        labels = torch.tensor([e.truth for e in part])
        values = (centers[labels] + 2 * torch.randn(len(part), DIM, generator=generator)).numpy()
        store.add(
            f"{start}", [EmbeddedExample(e.id, v[None], [(0.0, 1.0)], [""]) for e, v in zip(part, values, strict=True)]
        )
        for e, value in zip(part, values, strict=True):
            published.write(root, e.id, value, e.truth)
    store.seal()


def asked(probe: Probe[int, object], root: Path) -> float:
    """Top-1 of a probe on the vectors of the store."""
    videos = dataset(json.loads((root / "counts.json").read_text()))
    (fold,) = videos.folds
    train, test = (
        load_stored(videos, CARD, View(Uniform()), ids=ids, root=root / "store") for ids in (fold.train, fold.test)
    )
    truth = [e.truth for e in test.examples]
    return probe.score(probe.predict(train, test, seed=0), truth)["top-1"]


def our_knn(root: Path, epochs: int) -> float:
    """Of `knn`, every training vector in the bank."""
    return asked(knn.KNNProbe(k=K, tau=TAU, center=False), root)


def our_linear(root: Path, epochs: int) -> float:
    """Of `linear/published` on one vector a video."""
    return asked(replace(linear.build("published"), epochs=epochs), root)


def published_knn(root: Path, epochs: int) -> float:
    """Of the files, queries one by one."""
    return published.knn(root, K, CLASSES)


def published_linear(root: Path, epochs: int) -> float:
    """Of the files, read anew in each epoch."""
    return published.linear(root, epochs, CLASSES)


class Run(NamedTuple):
    """One way in a fresh process."""

    seconds: float
    top1: float
    own: float
    """Peak MB resident in the process."""
    together: float
    """Peak MB of it and its workers, what they share counted once: as seen at `LOOK`, hence rather too little."""


def measured(way: Way, root: Path, epochs: int, answers: Queue[tuple[float, float, float]]) -> None:
    """What `run` runs."""
    start = time.perf_counter()
    top1 = way(root, epochs)
    seconds = time.perf_counter() - start
    answers.put((seconds, top1, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def proportional(process: str) -> float:
    """MB of a process and its children, shared pages divided among their users; 0 of one that has ended."""
    at = Path("/proc") / process
    try:
        line = next(line for line in (at / "smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
        children = (at / "task" / process / "children").read_text().split()
    except (OSError, StopIteration):
        return 0.0
    return int(line.split()[1]) / 1024 + sum(map(proportional, children))


def run(way: Way, root: Path, epochs: int) -> Run:
    """`measured` in a new process."""
    context = mp.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=measured, args=(way, root, epochs, answers))
    process.start()
    together = 0.0
    while answers.empty():
        together = max(together, proportional(str(process.pid)))
        time.sleep(LOOK)
    seconds, top1, own = answers.get()
    process.join()
    return Run(seconds, top1, own, together)


WAYS: dict[str, tuple[Way, Way]] = {
    "knn": (our_knn, published_knn),
    "linear": (our_linear, published_linear),
}
"""Of each probe: ours, and the published one."""


def compare(name: str, root: Path, epochs: int, scale: float) -> None:
    """Print times, peaks and their ratios; ours before and after the other."""
    ours, published = WAYS[name]
    full = round(epochs * scale)
    before, slow, after = run(ours, root, full), run(published, root, epochs), run(ours, root, full)
    fast = min(before, after)
    seconds = slow.seconds * (scale if name == "linear" else 1)
    note = f" ({slow.seconds:.1f} s scaled)" if seconds != slow.seconds else ""
    print(f"{name}, load {os.getloadavg()[0]:.1f}")
    print(f"  our store:    {before.seconds:7.2f} s, again {after.seconds:.2f} s; top-1 {fast.top1:.1f}")
    print(f"  file a video: {seconds:7.2f} s{note}; top-1 {slow.top1:.1f}")
    print(f"  {seconds / fast.seconds:.1f} times faster (target {TARGETS[name]})")
    print(f"  peak {fast.own:.0f} MB against {slow.together:.0f} MB with workers: {fast.own / slow.together:.2f} of it")


def main() -> None:
    """Compare both probes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the slow side; its time is scaled up to 150")
    parser.add_argument("--train", type=int, default=5_000)
    parser.add_argument("--val", type=int, default=1_000)
    parser.add_argument("--quick", action="store_true", help="4 000 and 100 videos, 10 epochs of the slow side")
    args = parser.parse_args()
    if args.quick:
        args.epochs, args.train, args.val = EVERY, 4_000, 100
    if args.epochs % EVERY or EPOCHS % args.epochs:
        parser.error(f"--epochs must be a multiple of {EVERY} that divides {EPOCHS}: validations scale with epochs")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, {"train": args.train, "val": args.val})
        os.sync()
        print(f"{args.train} / {args.val} videos, {DIM}-d, {CLASSES} classes, {EPOCHS} epochs")
        print(f"{torch.get_num_threads()} threads, {os.cpu_count()} cores")
        for name in WAYS:
            compare(name, root, args.epochs, EPOCHS / args.epochs)


if __name__ == "__main__":
    main()
