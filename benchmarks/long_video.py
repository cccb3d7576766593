"""Peak memory of embedding a three-hour video densely with a small encoder.

    python benchmarks/long_video.py [--hours 3] [--encoder pixels/motion-energy]

Writes the video first (320 x 240, 10 frames/s), embeds it in 2 s clips every 2 s in a fresh process, and prints the
peak resident memory of that process and of its decoding worker together with clips/s.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import av
import numpy as np

CODE = """
import sys
from pathlib import Path
from vitascope.features.extract import ExtractionOptions, embed
from vitascope.encoders.load import load
from vitascope.features.view import View
from vitascope.sampling.names import MultiClip
from vitascope.core.types import Dataset, Example, Fold
path, root, name = sys.argv[1:]
dataset = Dataset(name="long", examples=(Example(id="v", path=path, truth=0),), classes=("a",), folds=())
options = ExtractionOptions(workers=1, quiet=True)
summary = embed(load(name), dataset, [View(MultiClip(2.0))], root=Path(root), options=options)
print(summary.clips)
"""


def write(path: Path, seconds: float, rate: int = 10, seed: int = 0) -> None:
    base = np.random.default_rng(seed).integers(0, 255, (240, 400, 3), dtype=np.uint8)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=rate, options={"crf": "35", "preset": "ultrafast", "g": "100"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for t in range(int(seconds * rate)):
            frame = np.ascontiguousarray(base[:, t % 80 : t % 80 + 320])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())


def resident(pid: int) -> int:
    """Bytes of a process and its children."""
    total = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(resident(int(c)) for c in (task / "children").read_text().split())
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return total
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=3.0)
    parser.add_argument("--encoder", default="pixels/motion-energy")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "long.mp4"
        write(path, given.hours * 3600)
        print(f"{given.hours:g} h of video, {path.stat().st_size / 1e6:.0f} MB")
        started = time.perf_counter()
        arguments = [sys.executable, "-c", CODE, str(path), temporary, given.encoder]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        peak = 0
        reader = threading.Thread(target=process.wait)
        reader.start()
        while reader.is_alive():
            peak = max(peak, resident(process.pid))
            time.sleep(0.05)
        assert process.stdout is not None
        clips = int(process.stdout.read())
        spent = time.perf_counter() - started
        print(f"{clips} clips in {spent:.0f} s, peak {peak / 1e9:.2f} GB over all processes (limit 1.5 GB)")


if __name__ == "__main__":
    main()
