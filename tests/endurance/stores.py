"""Mutated stores: whatever happens to a file of a store, reading gives what was written or one clear error.

    python tests/endurance/stores.py [--count 1000] [--seed 0]

Prints how the mutations of each kind of file ended; exit code 1 if any was believed, raised something else or took
longer than `LIMIT`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np

from vitascope.core.errors import UserError
from vitascope.core.types import Card
from vitascope.features.store import EmbeddedExample, Key, Store
from vitascope.features.store_check import check_store
from vitascope.sampling.names import Uniform

LIMIT = 5.0
"""Seconds that a mutated store may take to be read."""
CARD = Card(name="lab/net", digest="0", dim=24, frames=4, size=8, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
KEY = Key(dataset="set", card=CARD, sampler=Uniform(), reduce="clip", pipeline=1)
NAMES = [f"video {i:03d}" for i in range(60)]
KINDS = {
    "index": "index.parquet",
    "vectors": "vectors-*.safetensors",
    "part": "parts/*.parquet",
    "part vectors": "parts/*.safetensors",
}


def example(name: str, seed: int) -> EmbeddedExample:
    rng = np.random.default_rng([seed, int(name[-3:])])
    clips = int(rng.integers(1, 4))
    values = rng.standard_normal((clips, CARD.dim)).astype(np.float16).astype(np.float32)
    spans = [(float(i), i + 1.0) for i in range(clips)]
    return EmbeddedExample(name, values, spans, [f"t{i}" for i in range(clips)], source=name, content="c", stamp="s")


def build(root: Path, *, seed: int = 0) -> Store:
    """A store with 40 sealed examples and two parts of 10."""
    store = Store(root, KEY)
    store.create()
    store.add("a", [example(name, seed) for name in NAMES[:40]])
    store.seal()
    store.add("b", [example(name, seed) for name in NAMES[40:50]])
    store.add("c", [example(name, seed) for name in NAMES[50:]])
    return store


def mutate(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """One of the things that happen to files: cut, flipped bits, zeroed, spliced, or another file of the kind."""
    changed = bytearray(data)
    at, length = int(rng.integers(len(data))), int(rng.integers(1, 600))
    match int(rng.integers(8)):
        case 0:
            del changed[at:]
        case 1:
            for _ in range(int(rng.integers(1, 5))):
                changed[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        case 2:
            changed[at : at + length] = bytes(len(changed[at : at + length]))
        case 3:
            changed[at : at + length] = rng.bytes(length)
        case 4:
            del changed[at : at + length]
        case 5:
            changed[at:at] = changed[:length]
        case 6:
            changed[:8] = rng.bytes(8)
        case _:
            return other
    return bytes(changed)


def read(store: Store) -> dict[str, tuple[bytes, bytes]]:
    """Vectors and spans of every example that has any."""
    found = store.read(NAMES)
    rows = [slice(a, b) for a, b in pairwise(found.offsets)]
    pairs = [(found.values[r].tobytes(), found.spans[r].tobytes()) for r in rows]
    return {name: pair for name, pair in zip(NAMES, pairs, strict=True) if pair[0]}


def run(folder: Path, count: int, seed: int) -> Counter[tuple[str, str]]:
    """Mutate one file of a store `count` times, each time afresh; {(kind of file, outcome): number}."""
    rng = np.random.default_rng(seed)
    store, foreign = build(folder / "good"), build(folder / "foreign", seed=1)
    expected, outcomes = read(store), Counter[tuple[str, str]]()
    for turn in range(count):
        kind = list(KINDS)[turn % len(KINDS)]
        root = folder / f"mutated {turn}"
        shutil.copytree(folder / "good", root)
        broken = Store(root, KEY)
        path = sorted(broken.folder.glob(KINDS[kind]))[0]
        other = sorted(foreign.folder.glob(KINDS[kind]))[0]
        path.write_bytes(mutate(path.read_bytes(), other.read_bytes(), rng))
        outcomes[kind, outcome(broken, expected)] += 1
        shutil.rmtree(root)
    return outcomes


def outcome(store: Store, expected: dict[str, tuple[bytes, bytes]]) -> str:
    """How reading and then repairing a store ends."""
    started = time.monotonic()
    try:
        store.status()
        result = "as written" if read(store) == expected else "BELIEVED"
    except UserError as error:
        said = str(error)
        clear = "\n" not in said and str(store.folder) in said and "--repair" in said
        result = "refused" if clear else f"UNCLEAR {error}"
    except Exception as error:
        result = f"RAISED {type(error).__name__}: {error}"
    check_store(store.folder, repair=True)
    left = read(store)
    if any(left[name] != expected[name] for name in left) or (result == "as written" and left != expected):
        result = "REPAIRED WRONGLY"
    if check_store(store.folder).problems:
        result = "NOT REPAIRED"
    return result if time.monotonic() - started < LIMIT else "SLOW"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(Path(folder), given.count, given.seed)
    for (kind, end), number in sorted(outcomes.items()):
        print(f"{kind:12} {number:6} {end}")
    sys.exit(any(end not in ("as written", "refused") for _, end in outcomes))


if __name__ == "__main__":
    main()
