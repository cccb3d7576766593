"""Small videos that tests make for themselves."""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest

from official_files import rebuild
from vitascope.cli.main import main
from vitascope.core.pixel_transform import PixelTransform, Resize
from vitascope.core.types import Clip, Crop
from vitascope.probes.training import resume
from vitascope.video import decode, inspect

FIXTURES = Path(__file__).resolve().parent / "fixtures"
"""What the tests bring along."""
SHARED = FIXTURES.parents[1].parent / "shared"
"""Data that is not part of the repository, beside it; not everybody has it."""


def write_video(path: Path, frames: np.ndarray, fps: int = 10) -> Path:
    """An H.264 file of uint8 `frames` (t y x 3)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=fps, options={"crf": "10", "preset": "ultrafast"})
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # the same bytes on any number of cores
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return path


def write_lossless(path: Path, *pictures: np.ndarray, fps: int = 25) -> Path:
    """Pictures (y x 3) as a lossless RGB video."""
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=fps, width=width, height=height, pix_fmt="bgr0")
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def first_square(path: Path, size: int, transform: PixelTransform | Resize, crop: Crop) -> np.ndarray:
    """The crop of the first frame of a video."""
    ((_, pixels),) = decode(inspect(path), [Clip((0.0,), (0.0, 0.0), crop)], size, transform)
    assert pixels.shape == (1, size, size, 3)
    return pixels[0]


def blob(angle: float, phase: int, frames: int = 12, side: int = 48) -> np.ndarray:
    """A bright disc that moves along `angle`: enough to look at, little to store."""
    t = np.arange(frames)
    center = np.stack([np.sin(angle), np.cos(angle)])[:, None] * (t - frames / 2) * 2 + side / 2 + phase % 5
    y, x = np.mgrid[:side, :side]
    distance = (y[None] - center[0][:, None, None]) ** 2 + (x[None] - center[1][:, None, None]) ** 2
    gray = np.where(distance < 60, 230, 40 + phase % 7 * 3).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=3)


class Done(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str


def vitascope(*arguments: object, cwd: Path | None = None, code: int = 0) -> Done:
    """Run a command in this process, which saves starting another; its exit code must be `code`."""
    out, err = io.StringIO(), io.StringIO()
    here, before = Path.cwd(), sys.argv
    os.chdir(cwd or here)
    sys.argv = ["vitascope", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as end:
            main()
    finally:
        os.chdir(here)
        sys.argv = before
    assert end.value.code == code, out.getvalue() + err.getvalue()
    return Done(out.getvalue(), err.getvalue())


def parity(name: str) -> Path:
    """A file of what authors' code gives, such as `heads/nms.npz`; the test skips where it is not at hand."""
    found = [path for folder in (FIXTURES, SHARED / "parity") if (path := folder / name).is_file()]
    if not found:
        pytest.skip(f"known results are absent: {name} is neither in tests/fixtures nor in ../shared/parity")
    return found[0]


def required(folder: str, what: str) -> Path:
    """A folder of ../shared/data; a module that is about nothing else is skipped as a whole where it is not at hand."""
    if not (SHARED / "data" / folder).is_dir():
        pytest.skip(f"{what} are absent: there is no ../shared/data/{folder}", allow_module_level=True)
    return SHARED / "data" / folder


def _encoders() -> Path:
    """Where official encoders are listed: beside the repository, or with the tests."""
    given = SHARED / "parity" / "encoders"
    return given if (given / "index.json").is_file() else FIXTURES / "official_encoders"


def official_cases() -> dict[str, dict[str, Any]]:
    """What there is of small weight files in official layouts with known outputs, by name."""
    listed = json.loads((_encoders() / "index.json").read_text(encoding="utf-8"))
    return {case["name"]: case for case in listed}


@cache
def official_encoders() -> Path:
    """The folder of their files; those that the tests keep are put together first."""
    folder = _encoders()
    if not folder.is_relative_to(FIXTURES):
        return folder
    made = Path(tempfile.mkdtemp(prefix="official-encoders-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return rebuild(folder, made)


def golden(name: str) -> dict[str, np.ndarray]:
    """The arrays of one file of what original heads say; the test skips where it is not at hand."""
    with np.load(parity(f"heads/{name}.npz"), allow_pickle=False) as file:
        return dict(file)


def resumed(train: Callable[[Path], Any], scratch: Path, monkeypatch: pytest.MonkeyPatch, *, after: int) -> Any:
    """What the training gives that was interrupted after so many epochs and asked for again."""
    kept = resume.save

    def killed(path, parts, epochs):
        kept(path, parts, epochs)
        if epochs == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(resume, "EVERY", 0.0)
    monkeypatch.setattr(resume, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        train(scratch)
    assert scratch.is_file()
    monkeypatch.setattr(resume, "save", kept)
    return train(scratch)
