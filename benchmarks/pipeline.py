"""The encode pipeline against its two halves alone, on the same clips, and against loops that others write.

    python benchmarks/pipeline.py [--videos 96] [--encoder vit/tiny-random] [--device cuda] [--workers 15] [--loops]

Prints clips/s of decoding only, encoding only and both, with as many decoding processes and encoding threads in each,
and the ratio of the pipeline to the slower half. With --loops also a plain loop (PyAV decodes the whole file, the image
processor of transformers prepares the frames, the encoder takes a clip at a time) and one with TorchCodec, where it is
installed. The videos are rendered first (H.264, 320 x 240, 4 s). The best of several rounds counts; measure on a quiet
machine, or with --busy by processor time, of the decoding processes and of this one, as if each had a core of its own.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vitascope.core.device import device as chosen
from vitascope.core.types import Card, Dataset, Example, Fold
from vitascope.encoders.base import Encoder
from vitascope.encoders.load import load
from vitascope.encoders.preprocess import to_tensor
from vitascope.features.decode_job import DecodeJob
from vitascope.features.encode import encode_clips
from vitascope.features.extract import ExtractionOptions, decoder_pool, embed
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


def busy(encoder: Encoder, dataset: Dataset[int], store: Path, options: ExtractionOptions) -> tuple[Rates, float]:
    """The same by processor time, as if every process had a core of its own; and that of a clip in the pipeline."""
    jobs = [DecodeJob("", e.id, e.path, None, None, (Uniform(),), encoder.card) for e in dataset.examples]
    began = _spent()
    with decoder_pool(encoder.card, options) as pool:
        clips = [pixels.copy() for _, _, pixels in pool.run(jobs) if pixels is not None]
    decode = _spent()[1] - began[1]
    batches = [torch.from_numpy(np.stack(clips[i : i + options.batch])) for i in range(0, len(clips), options.batch)]
    encode_clips(encoder, batches[0], device=options.device)
    began = _spent()
    for batch in batches:
        encode_clips(encoder, batch, device=options.device)
    encode = _spent()[0] - began[0]
    began = _spent()
    filled = embed(encoder, dataset, [View(Uniform())], root=store, options=options)
    own, others = (after - before for after, before in zip(_spent(), began, strict=True))
    slower = max(own, others / options.processes)
    rates = Rates(len(clips) * options.processes / decode, len(clips) / encode, filled.clips / slower)
    return rates, (own + others) / filled.clips


def _spent() -> tuple[float, float]:
    """Processor time of this process and of those that it has ended, seconds."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    own, others = (each.ru_utime + each.ru_stime for each in both)
    return own, others


Clock = Callable[[], float]


def plain_loop(encoder: Encoder, dataset: Dataset[int], device: str, clock: Clock = time.perf_counter) -> float:
    """Clips a second of what many scripts do: decode every frame, keep some, prepare them, encode one clip."""
    return _loop(encoder, dataset, device, clock, lambda path: _with_pyav(path, encoder.card.frames))


def torchcodec_loop(encoder: Encoder, dataset: Dataset[int], device: str, clock: Clock = time.perf_counter) -> float:
    """The same with TorchCodec, which decodes only the chosen frames; ImportError, RuntimeError where it is missing."""
    decoders: Any = import_module("torchcodec.decoders")

    def read(path: str) -> Any:
        decoder = decoders.VideoDecoder(path, dimension_order="NHWC")
        return decoder.get_frames_at(spread(decoder.metadata.num_frames, encoder.card.frames)).data.numpy()

    return _loop(encoder, dataset, device, clock, read)


def _loop(
    encoder: Encoder, dataset: Dataset[int], device: str, clock: Clock, read: Callable[[str], Iterable[Any]]
) -> float:
    prepare = processor(encoder.card)
    prepare(read(dataset.examples[0].path))
    began = clock()
    for example in dataset.examples:
        with torch.inference_mode():
            encoder(prepare(read(example.path)).to(device)).clip.cpu()
    return len(dataset.examples) / (clock() - began)


def processor(card: Card) -> Callable[[Iterable[Any]], Tensor]:
    """How a script makes a clip (1 3 t y x) of frames: the image processor of transformers, or Pillow without it."""
    try:
        kind: Any = import_module("transformers").VideoMAEImageProcessor
    except (ImportError, AttributeError):
        return lambda frames: to_tensor(
            torch.from_numpy(np.stack([_resized(f, card.size) for f in frames])[None]), card
        )
    sides = {"size": {"shortest_edge": card.size}, "crop_size": {"height": card.size, "width": card.size}}
    prepare = kind(**sides, image_mean=list(card.mean), image_std=list(card.std))
    return lambda frames: prepare(list(frames), return_tensors="pt")["pixel_values"].transpose(1, 2)


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


def loops(encoder: Encoder, dataset: Dataset[int], device: str, reached: float, clock: Clock) -> None:
    """Print how much slower the loops are than the pipeline."""
    kinds: tuple[tuple[str, Callable[[Encoder, Dataset[int], str, Clock], float]], ...]
    kinds = (("PyAV", plain_loop), ("TorchCodec", torchcodec_loop))
    for name, loop in kinds:
        try:
            rate = loop(encoder, dataset, device, clock)
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
    parser.add_argument("--busy", action="store_true", help="by the processor's time")
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
            store, clock, work = root / f"store{number}", time.perf_counter, 0.0
            if given.busy:
                clock = time.process_time
                rates, work = busy(encoder, dataset, store, options)
            else:
                rates = halves(encoder, dataset, store, options)
            best = max(best, rates.left)
            print(
                f"round {number + 1}: decode only {rates.decode:.1f}, encode only {rates.encode:.1f}, pipeline "
                f"{rates.pipeline:.1f} clips/s; pipeline / slower half = {rates.left:.2f} (start of the workers and "
                "sealing included)",
                flush=True,
            )
            if given.busy:
                print(f"  {1e3 * work:.1f} ms of processor time a clip, all processes together")
            if given.loops:
                loops(encoder, dataset, given.device, rates.pipeline, clock)
    print(f"ratio: {best:.2f} (aim {LEFT:g})")


if __name__ == "__main__":
    main()
