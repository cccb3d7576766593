"""Decoding against a plain loop that decodes all, makes full-size RGB and resizes that: `python benchmarks/decode.py`.

Every line is a ratio measured in this run: time of the plain loop over ours. Sparse clips win by seeking (the share of
packets decoded says how much), dense ones by never making a full-size RGB picture. Give video files to measure those
instead of a generated one.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from unittest.mock import patch

import av
import numpy as np
from PIL import Image

from vitascope.core.pixel_transform import PixelTransform
from vitascope.core.types import Clip, Crop, Video
from vitascope.video import decode, inspect
from vitascope.video import frame_reader as reading
from vitascope.video.crops import Cutter
from vitascope.video.resample import shorter, square

SIZE = 224
REPORT = PixelTransform()
AUTHORS = {
    "bicubic": PixelTransform(filter="bicubic"),
    "lanczos": PixelTransform(filter="lanczos"),
    "OpenCV": PixelTransform(antialias=False),
}


def make(path: Path, *, seconds: int, width: int = 1280, height: int = 720, rate: int = 30) -> Path:
    """A moving H.264 file with a key frame every eight seconds, as x264 makes by default."""
    y, x = np.mgrid[:height, :width]
    with av.open(str(path), "w") as file:
        options = {"preset": "veryfast", "crf": "28"}
        stream = file.add_stream("libx264", rate=rate, width=width, height=height, pix_fmt="yuv420p", options=options)
        for i in range(seconds * rate):
            gray = ((x + 4 * i) ^ (y + 2 * i)).astype(np.uint8)
            picture = np.stack([gray, gray[::-1], np.roll(gray, i, 1)], -1)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        file.mux(stream.encode())
    return path


def plain(path: str, wanted: set[int], filter: Image.Resampling) -> int:
    """Decode everything; convert all frames that are asked for to full size, resize, cut."""
    count = 0
    with av.open(path) as file:
        stream = file.streams.video[0]
        stream.codec_context.thread_count = 1
        for i, frame in enumerate(file.decode(stream)):
            if i in wanted:
                whole = Image.fromarray(frame.to_ndarray(format="rgb24"))
                small = whole.resize(shorter(frame.width, frame.height, SIZE), filter)
                count += np.asarray(small.crop(square(*small.size, SIZE))).shape[0] == SIZE
    return count


def seconds(work: Callable[[], object], repeats: int = 2) -> float:
    """Best wall time of a few."""
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def drop(items: Iterable[object]) -> None:
    """Take everything and keep nothing."""
    deque(items, maxlen=0)


def fed(work: Callable[[], object]) -> int:
    """Packets that `work` decodes."""
    with patch.object(reading._Stream, "_feed", autospec=True, side_effect=reading._Stream._feed) as feed:
        work()
    return feed.call_count


def compare(name: str, video: Video, clips: list[Clip], transform: PixelTransform = REPORT) -> float:
    """Print what these clips cost, against the plain loop with the same filter of Pillow's; the seconds."""

    def ours() -> None:
        drop(decode(video, clips, SIZE, transform))

    wanted = {video.frame_at(t) for c in clips for t in c.times}
    filter = Image.Resampling[transform.filter.upper()]
    taken, loop = seconds(ours), seconds(lambda: plain(video.path, wanted, filter))
    shown = sum(len(c.times) for c in clips) / taken
    share = fed(ours) / len(video.times)
    print(f"  {name:18s} {loop / taken:5.2f} x plain loop, {shown:5.0f} frames/s into clips, {share:4.0%} of packets")
    return taken


def cutting(video: Video) -> None:
    """Print what converting and resizing a decoded frame costs, processor time, against the report's filter."""
    with av.open(video.path) as file:
        frame = next(file.decode(video=0))
    costs = {}
    for name, transform in {"report": REPORT, **AUTHORS}.items():
        cutter, spent = Cutter(SIZE, transform), []
        for _ in range(30):
            began = time.process_time()
            cutter.cut(frame, [Crop()])
            spent.append(time.process_time() - began)
        costs[name] = min(spent)
    each = ", ".join(f"{name} {cost / costs['report']:.2f}" for name, cost in costs.items())
    print(f"  one frame, {1e3 * costs['report']:.1f} ms by the report's filter; times that: {each}")


def measure(path: str) -> None:
    """Print the ratios for one file."""
    video = inspect(path)
    print(f"{path}: {len(video.times)} frames of {video.width}x{video.height}, {video.duration:.0f} s")
    sparse = [Clip(tuple(video.duration * (i + 0.5) / 16 for i in range(16)), (0.0, video.duration))]
    starts = np.arange(0, max(video.duration - 2, 0.1), 0.5)
    dense = [Clip(tuple(s + 2 * (i + 0.5) / 16 for i in range(16)), (s, s + 2)) for s in starts]
    compare("16 frames, uniform", video, sparse)
    report = compare("2 s every 0.5 s", video, dense)
    for name, transform in AUTHORS.items():
        taken = compare(name, video, dense, transform)
        print(f"  {'':18s} {taken / report:5.2f} times as long as by the report's filter")
    cutting(video)


def main() -> None:
    """Measure the files given, or one made for it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*")
    parser.add_argument("--seconds", type=int, default=60, help="length of the generated file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for path in options.files or [str(make(Path(folder) / "made.mp4", seconds=options.seconds))]:
            measure(path)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
