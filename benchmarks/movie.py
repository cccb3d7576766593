"""Keyframes of a movie, a second apart: frames decoded together and alone, against those that have to be.

    python benchmarks/movie.py [--full] [--frames 16 64] [--workers 1]

Encodes a movie first (H.264, 320 x 240, 30 frames/s, a key frame every 250 frames; 2 minutes, with --full the 15 of an
AVA movie with its 897 keyframes), then decodes a clip of frames four apart around every second: each keyframe alone,
and in groups as `embed` forms them. `needed` counts the different frames in all clips; `at best` is what one walk
through all of them decodes, as frames refer to others. At last the movie is embedded with an encoder that costs
nothing; the limit of the peak memory is 1.5 GB. Every measurement has a process of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import patch

import av
import numpy as np

from vitascope.core.types import Card, Dataset, Example
from vitascope.features import decode_group
from vitascope.features.decode_job import DecodeJob, plan_clips
from vitascope.sampling.names import Around
from vitascope.video import frame_reader, inspect

RATE, STRIDE, SIZE = 30, 4, 224
SHORT, FULL = 120, 900
"""Seconds of movie."""


def write(path: Path, seconds: int) -> None:
    rng = np.random.default_rng(0)
    base = np.kron(rng.integers(0, 255, (60, 400, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=RATE, options={"crf": "30", "preset": "veryfast", "g": "250"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for t in range(seconds * RATE):
            frame = np.ascontiguousarray(base[:, t % 1280 : t % 1280 + 320])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        file.mux(stream.encode())


def card(frames: int) -> Card:
    name = f"bench/mean-{frames}"
    return Card(name=name, digest="0", dim=3, frames=frames, size=SIZE, mean=(0.5,) * 3, std=(0.2,) * 3)


def examples(path: str, seconds: int, frames: int) -> tuple[Example[int], ...]:
    """A keyframe a second, with as much context as its clip takes."""
    context = frames * STRIDE / RATE / 2 + 0.5
    times = range(2, seconds - 1)
    return tuple(Example(id=f"movie@{t:04d}", path=path, truth=0, span=(t - context, t + context)) for t in times)


def jobs_of(path: str, seconds: int, frames: int) -> list[DecodeJob]:
    sampler = (Around(stride=STRIDE),)
    return [DecodeJob("", e.id, e.path, e.span, e.fps, sampler, card(frames)) for e in examples(path, seconds, frames)]


def decoding(path: str, seconds: int, frames: int, most: int) -> dict[str, Any]:
    """Decode all clips here, as a worker does, in groups of so many."""
    counted, pixels, take = 0, sha256(), frame_reader._Stream._take

    def counting(self: Any, frame: Any) -> bool:
        nonlocal counted
        counted += 1
        return take(self, frame)

    inspect(path)
    began, computed = time.perf_counter(), time.process_time()
    with patch.object(frame_reader._Stream, "_take", counting), patch.object(decode_group, "LONGEST", math.inf):
        for group in decode_group.groups(jobs_of(path, seconds, frames), most):
            for messages in decode_group.decode_together(group):
                for _, array in messages:
                    if array is not None:
                        pixels.update(array.tobytes())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    spent = {"wall": time.perf_counter() - began, "processor": time.process_time() - computed}
    return {"decoded": counted, "peak": peak, "pixels": pixels.hexdigest(), **spent}


def needed_frames(path: str, seconds: int, frames: int) -> int:
    plans = [plan_clips(job) for job in jobs_of(path, seconds, frames)]
    return len({p.video.frame_at(t) for p in plans for clip in p.clips for t in clip.times})


def embedding(path: str, seconds: int, frames: int, most: int, workers: int) -> dict[str, Any]:
    """Embed the movie with the means of its clips."""
    import torch

    from vitascope.encoders.base import Tokens
    from vitascope.features import extract
    from vitascope.features.store import Store
    from vitascope.features.view import View

    class Mean:
        card = card(frames)

        def __call__(self, clips: torch.Tensor, /) -> Tokens:
            return Tokens(clips[:, :, :1, :1, :1].movedim(1, -1), clips.mean((2, 3, 4)))

    dataset = Dataset(name="movie", examples=examples(path, seconds, frames), classes=("a",), folds=())
    options, view = extract.ExtractionOptions(workers=workers, quiet=True), View(Around(stride=STRIDE))
    began = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as root,
        patch.object(extract, "group_size", lambda *_: most),
    ):
        extract.embed(Mean(), dataset, [view], root=Path(root), options=options)
        spent = time.perf_counter() - began
        store = Store(Path(root), extract.store_key(dataset, Mean.card, view))
        vectors = sha256(store.read([e.id for e in dataset.examples]).values.tobytes()).hexdigest()
    peaks = [resource.getrusage(who).ru_maxrss * 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {"wall": spent, "parent": peaks[0], "worker": peaks[1], "vectors": vectors}


def measured(path: Path, seconds: int, frames: int, most: int, workers: int = 0) -> Any:
    """The measurement of decoding, or of embedding with as many workers, made in a fresh process."""
    what = json.dumps([str(path), seconds, frames, most, *([workers] if workers else [])])
    run = subprocess.run([sys.executable, __file__, "--measure", what], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout)


def report(path: Path, seconds: int, frames: int, workers: int) -> None:
    needed = needed_frames(str(path), seconds, frames)
    print(f"\n{seconds - 3} keyframes, {frames} frames {STRIDE} apart: {needed} frames needed", flush=True)
    sizes = {"alone": 1, f"by {decode_group.SHARED}": decode_group.SHARED, f"by {decode_group.MOST}": decode_group.MOST}
    results = {name: measured(path, seconds, frames, most) for name, most in (sizes | {"at best": seconds}).items()}
    for name, m in results.items():
        assert m["pixels"] == results["alone"]["pixels"]
        print(
            f"  {name:<8} {m['decoded']:>7} decoded, {m['decoded'] / needed:5.2f} x needed, "
            f"{m['decoded'] / results['at best']['decoded']:5.2f} x the best; {m['wall']:6.1f} s, "
            f"{m['processor']:6.1f} s of processor, peak {m['peak'] / 1e9:.2f} GB"
        )
    now = measured(path, seconds, frames, decode_group.group_size(seconds - 3, workers), workers)
    said = f"  embedded with {workers} worker(s) in {now['wall']:.1f} s"
    if seconds == SHORT:
        before = measured(path, seconds, frames, 1, workers)
        assert before["vectors"] == now["vectors"]
        said += f", alone in {before['wall']:.1f} s, the same vectors"
    print(
        f"{said}; peak {now['parent'] / 1e9:.2f} GB and {now['worker'] / 1e9:.2f} GB a worker (limit 1.5 GB)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="15 minutes in place of 2")
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        arguments = json.loads(given.measure)
        print(json.dumps((decoding if len(arguments) == 4 else embedding)(*arguments)))
        return
    seconds = FULL if given.full else SHORT
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "movie.mp4"
        write(path, seconds)
        print(f"{seconds / 60:g} minutes of movie, {os.path.getsize(path) / 1e6:.0f} MB")
        for frames in given.frames:
            report(path, seconds, frames, given.workers)


if __name__ == "__main__":
    main()
