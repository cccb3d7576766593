"""What `--on ray` costs on one machine: the same `embed`, plain and on a cluster of this machine, in turn.

    ray start --head --num-cpus 2
    RAY_ADDRESS=127.0.0.1:6379 python benchmarks/cluster.py [--videos 200] [--repeats 3]

Prints the median seconds of the whole command and the clips per second that it says, which leave out starting.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import av
import numpy as np

SIDE, FRAMES = 240, 60
RATE = re.compile(r"([\d.]+) clips/s · in")


def write_videos(folder: Path, count: int) -> None:
    """Write H.264 files of a moving pattern in noise."""
    rng = np.random.default_rng(0)
    still = rng.integers(0, 255, (SIDE, 2 * SIDE, 3), np.uint8)
    for number in range(count):
        with av.open(str(folder / f"{number:04d}.mp4"), "w") as file:
            stream = file.add_stream("libx264", rate=30, width=SIDE, height=SIDE, pix_fmt="yuv420p")
            for i in range(FRAMES):
                picture = np.ascontiguousarray(np.roll(still, number + 2 * i, axis=1)[:, :SIDE])
                file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            file.mux(stream.encode())


def embed(videos: Path, model: str, *more: str) -> tuple[float, float]:
    """Run the command into a new store; its seconds, and the clips per second that it says."""
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "vitascope", "embed", str(videos), "-m", model, "--store", store, *more]
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return time.monotonic() - began, float(RATE.findall(done.stderr)[-1])


def main() -> None:
    """Measure both in turn and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default="vit/tiny-random")
    given = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {"plain": [], "ray": []}
    with tempfile.TemporaryDirectory() as folder:
        write_videos(Path(folder), given.videos)
        for _ in range(given.repeats):
            found["plain"].append(embed(Path(folder), given.model))
            found["ray"].append(embed(Path(folder), given.model, "--on", "ray"))
    print(f"{given.videos} clips by {given.model}, {os.cpu_count()} CPUs, medians of {given.repeats}")
    for name, runs in found.items():
        print(f"{name:6} {median(s for s, _ in runs):6.1f} s  {median(r for _, r in runs):6.1f} clips/s")


if __name__ == "__main__":
    main()
