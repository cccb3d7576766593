"""The encode pipeline against its two halves alone, on the same clips: decode only, encode only, both.

    python benchmarks/pipeline.py [--videos 96] [--encoder vit/tiny-random]

Prints clips/s of each on one core a side (one decoding process, one encoding thread) and the ratio of the pipeline to
the slower half. The videos are rendered first (H.264, 320 x 240, 4 s); nothing else runs in the timed parts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import torch

from vitascope.core.types import Dataset, Example, Fold
from vitascope.encoders.load import load
from vitascope.features.decode_job import DecodeJob, decode_example
from vitascope.features.extract import ExtractionOptions, embed, encode_clips
from vitascope.features.view import View
from vitascope.sampling.names import Uniform


def write(path: Path, seed: int, side: tuple[int, int] = (240, 320), frames: int = 120) -> None:
    rng = np.random.default_rng(seed)
    wave = np.sin(np.linspace(0, 20, side[1] + frames * 2)) * 60 + 120
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=30, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = side[1], side[0], "yuv420p"
        for t in range(frames):
            row = wave[2 * t : 2 * t + side[1]]
            frame = np.clip(row[None, :, None] + rng.normal(0, 6, (*side, 3)), 0, 255).astype(np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=96)
    parser.add_argument("--encoder", default="vit/tiny-random")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    encoder = load(given.encoder)
    batch = 8
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for i in range(given.videos):
            write(root / f"{i:03d}.mp4", i)
        examples = tuple(Example(id=p.name, path=str(p), truth=0) for p in sorted(root.glob("*.mp4")))
        ids = tuple(e.id for e in examples)
        dataset = Dataset(
            name="bench", examples=examples, classes=("a",), folds=(Fold(name="all", train=ids, test=ids),)
        )
        card = encoder.card
        encode_clips(encoder, torch.zeros(batch, card.frames, card.size, card.size, 3, dtype=torch.uint8))
        for number in range(given.rounds):
            started = time.perf_counter()
            clips = []
            for e in examples:
                job = DecodeJob("", e.id, e.path, None, None, (Uniform(),), card)
                clips += [pixels.copy() for _, pixels in decode_example(job) if pixels is not None]
            decode = len(clips) / (time.perf_counter() - started)
            started = time.perf_counter()
            for i in range(0, len(clips), batch):
                encode_clips(encoder, torch.from_numpy(np.stack(clips[i : i + batch])))
            encode = len(clips) / (time.perf_counter() - started)
            started = time.perf_counter()
            options = ExtractionOptions(workers=1, batch=batch, quiet=True)
            filled = embed(encoder, dataset, [View(Uniform())], root=root / f"store{number}", options=options)
            both = filled.clips / (time.perf_counter() - started)
            slower = min(decode, encode)
            print(
                f"round {number + 1}: decode only {decode:.1f}, encode only {encode:.1f}, pipeline {both:.1f} clips/s; "
                f"pipeline / slower half = {both / slower:.2f} (start of the worker and sealing included)"
            )


if __name__ == "__main__":
    main()
