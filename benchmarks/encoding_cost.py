"""Processor time of decoding, encoding and storing, of these sources against others, in turns on the same videos.

    git worktree add ../before COMMIT
    python benchmarks/encoding_cost.py --against ../before/src [--videos 48] [--rounds 5]

Each round runs both in fresh processes; the least of all rounds counts, of the time that the processor spent and not
of the clock, so that other work on the machine moves it little. `decode` is decoding alone, `embed` the whole pipeline
with its worker process, `add` and `seal` are writing 5,120 vectors of 1024 values in parts of 128 and merging these,
`load` is reading them for the first time in a process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

VECTORS, DIM, PART = 5120, 1024, 128


def spent(work: Callable[[], Any]) -> float:
    """Processor time of this process and of its ended children while `work` runs, seconds."""

    def now() -> float:
        of_children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + of_children.ru_utime + of_children.ru_stime

    before = now()
    work()
    return now() - before


def measure(videos: Path, root: Path) -> dict[str, float]:
    """One measurement of the sources that Python finds."""
    import numpy as np
    import torch

    from vitascope.core.types import Dataset, Example, Fold
    from vitascope.encoders.load import load
    from vitascope.features.decode_job import DecodeJob, decode_example
    from vitascope.features.extract import ExtractionOptions, embed, store_key
    from vitascope.features.source import load_stored
    from vitascope.features.store import EmbeddedExample, Store
    from vitascope.features.view import View
    from vitascope.sampling.names import Uniform

    torch.set_num_threads(1)
    encoder, view = load("vit/tiny-random"), View(Uniform())

    def dataset(name: str, examples: tuple[Any, ...]) -> Any:
        ids = tuple(e.id for e in examples)
        return Dataset(name=name, examples=examples, classes=("a",), folds=(Fold(name="all", train=ids, test=ids),))

    filmed = dataset("b", tuple(Example(id=p.name, path=str(p), truth=0) for p in sorted(videos.glob("*.mp4"))))
    numbers = np.random.default_rng(0).standard_normal((VECTORS, 1, DIM), np.float32)
    listed = dataset("v", tuple(Example(id=f"{i:06d}", path="", truth=0) for i in range(VECTORS)))
    ids = [e.id for e in listed.examples]
    store = Store(root, store_key(listed, encoder.card, view))
    store.create()

    def decode() -> None:
        for e in filmed.examples:
            for _ in decode_example(DecodeJob("", e.id, e.path, None, None, (Uniform(),), encoder.card)):
                pass

    def add() -> None:
        records = [EmbeddedExample(i, v, [(0.0, 10.0)], [""]) for i, v in zip(ids, numbers, strict=True)]
        for start in range(0, VECTORS, PART):
            store.add(f"{start:06d}", records[start : start + PART])

    options = ExtractionOptions(workers=1, quiet=True)
    decode()
    return {
        "decode": spent(decode),
        "embed": spent(lambda: embed(encoder, filmed, [view], root=root, options=options)),
        "add": spent(add),
        "seal": spent(store.seal),
        "load": spent(lambda: load_stored(listed, encoder.card, view, ids=ids, root=root)),
    }


def least(sources: dict[str, str], videos: Path, rounds: int) -> dict[str, dict[str, float]]:
    """The least time of each step by the name of the sources, over alternating rounds."""
    best: dict[str, dict[str, float]] = {name: {} for name in sources}
    for _ in range(rounds):
        for name, path in sources.items():
            with tempfile.TemporaryDirectory() as root:
                command = [sys.executable, __file__, "--measure", str(videos), root]
                environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
                found = json.loads(subprocess.check_output(command, env=environment))
            best[name] = {step: min(s, best[name].get(step, s)) for step, s in found.items()}
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="the `src` folder of the other sources")
    parser.add_argument("--videos", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(*given.measure)))
        return
    if not given.against:
        parser.error("--against is needed")
    from pipeline import write

    here = Path(__file__).resolve().parents[1] / "src"
    with tempfile.TemporaryDirectory() as folder:
        for i in range(given.videos):
            write(Path(folder) / f"{i:03d}.mp4", i)
        best = least({"other": str(given.against.resolve()), "here": str(here)}, Path(folder), given.rounds)
    for step, before in best["other"].items():
        now = best["here"][step]
        change = 100 * now / before - 100
        print(f"{step:7} {1e3 * before:8.1f} ms of processor before, {1e3 * now:8.1f} now: {change:+.1f} %")


if __name__ == "__main__":
    main()
