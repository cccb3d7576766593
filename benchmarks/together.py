"""Decoding for three encoders in one call over decoding for one: processor time of the decoding processes.

    python benchmarks/together.py [--videos 40] [--side 720 1280]

Three encoders that need the same pixels, and three of one size that resize frames in different ways. The encoders cost
next to nothing; the start of the decoding process is measured with one video and taken off.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline import write
from vitascope.core.types import Card, Dataset, Example
from vitascope.encoders.base import Tokens
from vitascope.features.extract import ExtractionOptions, embed_together
from vitascope.features.view import View
from vitascope.sampling.names import Uniform

CARD = Card(name="a", digest="1", dim=3, frames=16, size=224, mean=(0.5,) * 3, std=(0.2,) * 3)
LIMIT = 1.3
KINDS: dict[str, tuple[dict[str, Any], ...]] = {
    "the same pixels": ({"name": "a"}, {"name": "b"}, {"name": "c"}),
    "three ways of resizing": ({"name": "a"}, {"name": "b", "resize": "square"}, {"name": "c", "filter": "bicubic"}),
}


class Corner:
    """The corner pixel of every frame."""

    def __init__(self, **card: Any) -> None:
        self.card = replace(CARD, **card)

    def __call__(self, clips: Tensor, /) -> Tokens:
        return Tokens(clips[..., 0, 0].transpose(1, 2)[:, :, None, None], clips[:, :, 0, 0, 0])


def decoding(encoders: Sequence[Corner], dataset: Dataset[int]) -> float:
    """Processor time of the decoding process, seconds."""
    with tempfile.TemporaryDirectory() as store:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        options = ExtractionOptions(workers=1, quiet=True)
        embed_together([(e, [View(Uniform())]) for e in encoders], dataset, root=Path(store), options=options)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the ratios of three rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--side", type=int, nargs=2, default=(240, 320), help="height and width")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(given.videos + 1):
            write(Path(folder) / f"{i:03d}.mp4", i, side=(given.side[0], given.side[1]))
        examples = tuple(Example(id=p.name, path=str(p), truth=0) for p in sorted(Path(folder).glob("*.mp4")))
        dataset = Dataset(name="bench", examples=examples, classes=("a",), folds=())
        for _ in range(3):
            start = decoding([Corner()], replace(dataset, examples=examples[:1]))
            one = decoding([Corner()], dataset) - start
            for name, cards in KINDS.items():
                ratio = (decoding([Corner(**card) for card in cards], dataset) - start) / one
                print(f"three encoders, {name}: {ratio:.2f} times the decoding of one (limit {LIMIT:g})", flush=True)


if __name__ == "__main__":
    main()
