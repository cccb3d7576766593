"""The encode pipeline against its two halves alone, on the same clips, and against loops that others write.

    python benchmarks/pipeline.py [--videos 96] [--encoder vit/tiny-random] [--device cuda] [--workers 15] [--loops]

Prints clips/s of decoding only, encoding only and both, with as many decoding processes and encoding threads in each,
and the ratio of the pipeline to the slower half. With --loops also a plain loop (PyAV decodes the whole file, Pillow
resizes, a clip at a time through the encoder) and one with TorchCodec, where it is installed. The videos are rendered
first (H.264, 320 x 240, 4 s). The best of several rounds counts; measure on a quiet machine.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitascope.core.device import device as chosen
from vitascope.core.types import Dataset, Example, Fold
from vitascope.encoders.base import Encoder
from vitascope.encoders.load import load
from vitascope.encoders.preprocess import to_tensor
from vitascope.features.decode_job import DecodeJob
from vitascope.features.extract import ExtractionOptions, decoder_pool, embed, encode_clips
from vitascope.features.view import View
from vitascope.sampling.names import Uniform

LEFT, TIMES = 0.9, 2.0
"""Aims: share of the slower half that the pipeline reaches, and how much faster it is than a plain loop."""


class Rates(NamedTuple):
    """Clips a second."""

    decode: float
    encode: float
    pipeline: float

    @property
    def left(self) -> float:
        """The pipeline's share of the slower half."""
        return self.pipeline / min(self.decode, self.encode)


def write(path: Path, seed: int, side: tuple[int, int] = (240, 320), frames: int = 120) -> None:
    """Render a video: a pattern that moves, under noise."""
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


def rendered(root: Path, count: int) -> Dataset[int]:
    """Videos below a folder as a dataset."""
    for i in range(count):
        if not (root / f"{i:03d}.mp4").exists():
            write(root / f"{i:03d}.mp4", i)
    examples = tuple(Example(id=p.name, path=str(p), truth=0) for p in sorted(root.glob("*.mp4")))
    ids = tuple(e.id for e in examples)
    return Dataset(name="bench", examples=examples, classes=("a",), folds=(Fold(name="all", train=ids, test=ids),))


def halves(encoder: Encoder, dataset: Dataset[int], store: Path, options: ExtractionOptions) -> Rates:
    """Measure decoding, encoding and both; workers have started before the first two begin to count."""
    jobs = [DecodeJob("", e.id, e.path, None, None, (Uniform(),), encoder.card) for e in dataset.examples]
    with decoder_pool(encoder.card, options) as pool:
        list(pool.run(jobs[: options.processes]))
        began = time.perf_counter()
        clips = [pixels.copy() for _, _, pixels in pool.run(jobs) if pixels is not None]
        decode = len(clips) / (time.perf_counter() - began)
    batches = [torch.from_numpy(np.stack(clips[i : i + options.batch])) for i in range(0, len(clips), options.batch)]
    encode_clips(encoder, batches[0], device=options.device)
    began = time.perf_counter()
    for batch in batches:
        encode_clips(encoder, batch, device=options.device).clip.cpu()
    encode = len(clips) / (time.perf_counter() - began)
    began = time.perf_counter()
    filled = embed(encoder, dataset, [View(Uniform())], root=store, options=options)
    return Rates(decode, encode, filled.clips / (time.perf_counter() - began))


def plain_loop(encoder: Encoder, dataset: Dataset[int], device: str) -> float:
    """Clips a second of what many scripts do: decode every frame, keep some, resize them, encode one clip."""
    return _loop(encoder, dataset, device, lambda path: _with_pyav(path, encoder.card.frames))


def torchcodec_loop(encoder: Encoder, dataset: Dataset[int], device: str) -> float:
    """The same with TorchCodec, which decodes only the chosen frames; ImportError, RuntimeError where it is missing."""
    decoders: Any = import_module("torchcodec.decoders")

    def read(path: str) -> Any:
        decoder = decoders.VideoDecoder(path, dimension_order="NHWC")
        chosen_frames = spread(decoder.metadata.num_frames, encoder.card.frames)
        return decoder.get_frames_at(chosen_frames).data.numpy()

    return _loop(encoder, dataset, device, read)


def _loop(encoder: Encoder, dataset: Dataset[int], device: str, read: Callable[[str], Any]) -> float:
    began = time.perf_counter()
    for example in dataset.examples:
        frames = np.stack([_resized(frame, encoder.card.size) for frame in read(example.path)])
        with torch.inference_mode():
            pixels: Tensor = to_tensor(torch.from_numpy(frames)[None].to(device), encoder.card)
            encoder(pixels).clip.cpu()
    return len(dataset.examples) / (time.perf_counter() - began)


def _with_pyav(path: str, count: int) -> Iterator[Any]:
    with av.open(path) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    return (frames[i] for i in spread(len(frames), count))


def spread(frames: int, count: int) -> list[int]:
    """Indices of frames from the first to the last."""
    return [int(i) for i in np.linspace(0, frames - 1, count)]


def _resized(frame: Any, size: int) -> Any:
    """The shorter side to `size`, then the center, as image processors do."""
    height, width = frame.shape[:2]
    scale = size / min(height, width)
    image = Image.fromarray(frame).resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


def loops(encoder: Encoder, dataset: Dataset[int], device: str, reached: float) -> None:
    """Print how much slower the loops are than the pipeline."""
    kinds: tuple[tuple[str, Callable[[Encoder, Dataset[int], str], float]], ...]
    kinds = (("PyAV and Pillow", plain_loop), ("TorchCodec", torchcodec_loop))
    for name, loop in kinds:
        try:
            rate = loop(encoder, dataset, device)
        except (ImportError, RuntimeError, OSError) as error:
            print(f"  loop with {name}: not measured, {str(error).strip().splitlines()[0]}")
            continue
        print(f"  loop with {name}: {rate:.1f} clips/s, the pipeline {reached / rate:.2f} times (aim {TIMES:g})")


def main() -> None:
    """Print the rates of every round, and the best ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=96)
    parser.add_argument("--encoder", default="vit/tiny-random")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1, help="decoding processes")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--loops", action="store_true", help="also the loops that others write")
    given = parser.parse_args()
    if given.device == "cpu":
        torch.set_num_threads(1)
    encoder = load(given.encoder, chosen(given.device))
    options = ExtractionOptions(device=given.device, workers=given.workers, batch=given.batch, quiet=True)
    print(f"{given.videos} videos, {given.workers} decoding processes, load {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory() as temporary:
        root, best = Path(temporary), 0.0
        dataset = rendered(root, given.videos)
        for number in range(given.rounds):
            rates = halves(encoder, dataset, root / f"store{number}", options)
            best = max(best, rates.left)
            print(
                f"round {number + 1}: decode only {rates.decode:.1f}, encode only {rates.encode:.1f}, pipeline "
                f"{rates.pipeline:.1f} clips/s; pipeline / slower half = {rates.left:.2f} (start of the workers and "
                "sealing included)",
                flush=True,
            )
            if given.loops:
                loops(encoder, dataset, given.device, rates.pipeline)
    print(f"ratio: {best:.2f} (aim {LEFT:g})")


if __name__ == "__main__":
    main()
