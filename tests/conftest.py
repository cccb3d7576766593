"""What every test can use: shapes checked at run time, the shared data where it is at hand, small videos."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from jaxtyping import install_import_hook

install_import_hook("vitascope", "beartype.beartype")

import av  # noqa: E402 - the hook has to come first
import numpy as np  # noqa: E402
import pytest  # noqa: E402

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the repository."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"real data is absent ({SHARED / 'data'})")
    return SHARED


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's cache."""
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


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


@pytest.fixture(scope="session")
def make_video() -> Callable[..., Path]:
    """`write_video` as a fixture."""
    return write_video


def blob(angle: float, phase: int, frames: int = 12, side: int = 48) -> np.ndarray:
    """A bright disc that moves along `angle`: enough to look at, little to store."""
    t = np.arange(frames)
    centre = np.stack([np.sin(angle), np.cos(angle)])[:, None] * (t - frames / 2) * 2 + side / 2 + phase % 5
    y, x = np.mgrid[:side, :side]
    distance = (y[None] - centre[0][:, None, None]) ** 2 + (x[None] - centre[1][:, None, None]) ** 2
    grey = np.where(distance < 60, 230, 40 + phase % 7 * 3).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3)


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of class folders: `right`, `down`, `left`, six tiny videos each."""
    root = tmp_path_factory.mktemp("videos")
    for c, name in enumerate(("right", "down", "left")):
        for i in range(6):
            write_video(root / name / f"clip {i}.mp4", blob(c * np.pi / 2, i))
    return root
