"""Small videos that tests make for themselves."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def write_video(path: Path, frames: np.ndarray, fps: int = 10) -> Path:
    """An H.264 file of uint8 `frames` (t y x 3)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=fps, options={"crf": "10", "preset": "ultrafast"})
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return path


def blob(angle: float, phase: int, frames: int = 12, side: int = 48) -> np.ndarray:
    """A bright disc that moves along `angle`: enough to look at, little to store."""
    t = np.arange(frames)
    centre = np.stack([np.sin(angle), np.cos(angle)])[:, None] * (t - frames / 2) * 2 + side / 2 + phase % 5
    y, x = np.mgrid[:side, :side]
    distance = (y[None] - centre[0][:, None, None]) ** 2 + (x[None] - centre[1][:, None, None]) ** 2
    grey = np.where(distance < 60, 230, 40 + phase % 7 * 3).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3)
