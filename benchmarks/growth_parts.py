"""What `growth.py` measures in processes of their own, each of which prints its numbers as JSON.

python benchmarks/growth_parts.py store FOLDER CLIPS        write a store, and say what that takes
python benchmarks/growth_parts.py open FOLDER CLIPS         open it and read 1,000 random rows by name
python benchmarks/growth_parts.py videos FOLDER COUNT SECONDS
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vitascope.core.arrow import skip_pandas
from vitascope.core.types import Card
from vitascope.features.store import EmbeddedExample, Key, Store
from vitascope.sampling.names import Uniform

DIM, BLOCK, ROWS = 64, 50_000, 1_000
CARD = Card(name="plain/vectors", digest="0", dim=DIM, frames=1, size=1, mean=(0.0,) * 3, std=(1.0,) * 3)
KEY = Key(dataset="growth", card=CARD, sampler=Uniform(), reduce="clip", pipeline=1)
RATE = 10
"""Frames per second of the videos."""


def name(number: int) -> str:
    """Id of an example, as of a folder of class folders."""
    return f"class {number % 100:03}/video {number:08}.mp4"


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of one call, and what it returned."""
    start = time.process_time()
    done = work()
    return time.process_time() - start, done


def peak() -> float:
    """MiB that this process had resident at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def store(root: Path, clips: int) -> dict[str, float]:
    """Write a store of so many examples of one clip each."""
    rng, opened = np.random.default_rng(0), Store(root, KEY)
    opened.create()
    added = 0.0
    for start in range(0, clips, BLOCK):
        numbers = range(start, min(start + BLOCK, clips))
        values = rng.standard_normal((len(numbers), 1, DIM), np.float32)
        about = [(f"{i:016x}", f"{i * 7919:020}-{i % 1000}", f"{i * 31337:032x}") for i in numbers]
        examples = [
            EmbeddedExample(name(i), v, [(0.0, 10.0)], ["0" * 16], source=source, stamp=stamp, content=content)
            for i, v, (source, stamp, content) in zip(numbers, values, about, strict=True)
        ]
        added += timed(partial(opened.add, f"{start:09}", examples))[0]
    return {"add": added, "seal": timed(opened.seal)[0], "peak": peak()}


def look(root: Path, clips: int) -> dict[str, float]:
    """Open it, read random rows by name (the first time they are verified), and list what is stored."""
    opened, rng = Store(root, KEY), np.random.default_rng(1)
    wanted = [name(i) for i in rng.integers(0, clips, ROWS).tolist()]
    base = peak()
    seconds = {"open": timed(opened.index)[0], "first": timed(lambda: opened.read(wanted))[0]}
    seconds["again"] = min(timed(lambda: opened.read(wanted))[0] for _ in range(5))
    memory = peak() - base
    listed, status = timed(opened.status)
    assert len(status) == clips
    return {**seconds, "status": listed, "memory": memory}


def videos(root: Path, count: int, seconds: int) -> None:
    """Videos of so many seconds: 320 x 240, a pattern that moves."""
    from long_video import write

    for number in range(count):
        path = root / f"class {number % 2}" / f"video {number:03}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, seconds, RATE, number)


if __name__ == "__main__":
    skip_pandas()
    work = {"store": store, "open": look, "videos": videos}[sys.argv[1]]
    print(json.dumps(work(Path(sys.argv[2]), *map(int, sys.argv[3:]))))  # type: ignore[operator]
