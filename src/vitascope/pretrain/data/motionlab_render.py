"""Render MotionLab's training clips to disk in chunks with worker processes; imports no torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from jaxtyping import Int64, UInt8

from vitascope.core.arrays import map_array
from vitascope.core.errors import StorageError, UserError
from vitascope.core.files import atomic_file
from vitascope.core.locks import writer_lock
from vitascope.core.progress import CountProgress, ProgressLine
from vitascope.core.worker_pool import Failed, Pool
from vitascope.motionlab.render import SIDE, render
from vitascope.motionlab.scene import APPEARANCES, MOTIONS, VERSION, Scene, sample
from vitascope.motionlab.v2 import render as render_v2
from vitascope.motionlab.v2 import scene as v2
from vitascope.motionlab.v2.levels import LEVELS
from vitascope.motionlab.v2.suite import SEED
from vitascope.video.resample import resize

STREAM = int.from_bytes(b"stream")
"""Seed component that keeps these scenes distinct from those of the suites: NumPy reads it as two 32-bit words, and the
second, in the place of a suite's split number, equals none of them (`motionlab.suite.scene`)."""
CHUNK = 1024
"""Clips per file."""
SECONDS = 2.0
"""Length of a clip, as in the suites: its frames are those that a uniform sampler selects from a suite's clip."""
PROGRESS_EVERY = 16
"""Clips between two progress messages of a worker."""
MARGIN = 1 << 28
"""Bytes of disk space to leave free."""
ON_DISK = 4096
"""Upper bound on a file's overhead in bytes."""
Pixels: TypeAlias = npt.NDArray[np.uint8]


def draw_scene(seed: int, index: int) -> tuple[Scene, int]:
    """Draw the scene of clip `index` with uniform labels; return it and the index of its appearance.

    The motion label is not returned: pretraining must not use it.
    """
    rng = _rng(seed, index, second=False)
    appearance_index, motion_index = int(rng.integers(len(APPEARANCES))), int(rng.integers(len(MOTIONS)))
    return sample(APPEARANCES[appearance_index], MOTIONS[motion_index], rng), appearance_index


def draw_frames(plan: RenderPlan, index: int) -> UInt8[np.ndarray, "t y x 3"]:
    """Render clip `index` in full size, of the second version where the plan has a level."""
    fps = plan.frames / SECONDS
    if not plan.level:
        scene, _ = draw_scene(plan.seed, index)
        return render(scene, plan.frames, side=SIDE, fps=fps)
    rng = _rng(plan.seed, index, second=True)
    appearance_index, motion_index = int(rng.integers(len(APPEARANCES))), int(rng.integers(len(v2.MOTIONS)))
    drawn = v2.sample(APPEARANCES[appearance_index], v2.MOTIONS[motion_index], LEVELS[plan.level], rng)
    return render_v2.render(drawn, plan.frames, side=SIDE, fps=fps)


def _rng(seed: int, index: int, *, second: bool) -> np.random.Generator:
    """Return what clip `index` is drawn with; its appearance and motion come first."""
    version = (SEED, v2.VERSION) if second else (VERSION,)
    return np.random.default_rng([*version, STREAM, seed, index])


def shown(seed: int, clips: int, without: Collection[str], *, second: bool = False) -> Int64[np.ndarray, "n"]:
    """Return the indices of the first `clips` scenes whose appearance and motion are not among `without`.

    The labels themselves are not returned: pretraining must not use those of motions.
    """
    classes = (APPEARANCES, v2.MOTIONS if second else MOTIONS)
    excluded = partial(_excluded, classes, without)
    return np.array([i for i in range(clips) if not excluded(_rng(seed, i, second=second))], np.int64)


def _excluded(classes: Sequence[Sequence[str]], without: Collection[str], rng: np.random.Generator) -> bool:
    """Return whether the appearance or the motion that is drawn is among those to leave out."""
    return any(labels[int(rng.integers(len(labels)))] in without for labels in classes)


def appearance(seed: int, index: int, *, second: bool = False) -> int:
    """Return the index of the appearance of clip `index` without drawing the rest of the scene."""
    return int(_rng(seed, index, second=second).integers(len(APPEARANCES)))


def downscale(frames: UInt8[np.ndarray, "t y x 3"], size: int) -> UInt8[np.ndarray, "t s s 3"]:
    """Resize square frames to `size` pixels a side: rounded block means if `size` divides it, else interpolated."""
    side = frames.shape[1]
    if side % size:
        return np.stack([resize(frame, size, size) for frame in frames])
    step = side // size
    squares = frames.reshape(len(frames), size, step, size, step, 3)
    means: UInt8[np.ndarray, "t s s 3"] = (
        (squares.sum((2, 4), dtype=np.uint32) + step * step // 2) // (step * step)
    ).astype(np.uint8)
    return means


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderPlan:
    """The clips to render: the first `clips` of the stream of `seed`, with `frames` frames of `size` pixels."""

    folder: Path
    clips: int
    seed: int
    frames: int
    size: int
    level: str = ""
    """Level of the second version; empty for the first."""

    @property
    def chunks(self) -> list[Chunk]:
        """Files of the set; all but the last are shared with larger sets."""
        starts = range(0, self.clips, CHUNK)
        return [Chunk(self, first, min(CHUNK, self.clips - first)) for first in starts]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One file of clips; the job of a worker."""

    plan: RenderPlan
    first: int
    count: int

    @property
    def path(self) -> Path:
        """Path of the file."""
        return self.plan.folder / f"{self.first:08d}+{self.count}.npy"

    @property
    def shape(self) -> tuple[int, ...]:
        """Array shape: clips, frames, rows, columns, RGB."""
        return self.count, self.plan.frames, self.plan.size, self.plan.size, 3

    @property
    def bytes(self) -> int:
        """Size of the pixels in bytes."""
        return self.count * self.plan.frames * self.plan.size**2 * 3

    def open(self) -> Pixels | None:
        """Memory-map the clips; None if the file is missing or not as expected."""
        try:
            pixels: Pixels = map_array(self.path, "render it again")
        except (OSError, UserError):
            return None
        return pixels if (pixels.shape, pixels.dtype) == (self.shape, np.dtype(np.uint8)) else None


def render_chunk(chunk: Chunk) -> Iterator[tuple[int, None]]:
    """Render the clips of a chunk into its file; runs in a worker. Yields how many more are done."""
    plan = chunk.plan
    header = {"descr": "|u1", "fortran_order": False, "shape": chunk.shape}
    with atomic_file(chunk.path) as aside, open(aside, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for done in range(1, chunk.count + 1):
            frames = draw_frames(plan, chunk.first + done - 1)
            file.write(downscale(frames, plan.size).tobytes())
            if done % PROGRESS_EVERY == 0 or done == chunk.count:
                yield (done - 1) % PROGRESS_EVERY + 1, None
        file.flush()
        os.fsync(file.fileno())


def open_chunks(plan: RenderPlan, *, workers: int, quiet: bool = False) -> list[Pixels]:
    """Memory-map the chunks of `plan`, after rendering the missing ones with `workers` processes (0: in this one).

    An interrupted call loses at most one chunk per worker; concurrent calls are safe.

    OSError where the disk is too small or refuses, RuntimeError where a worker dies.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    with writer_lock(plan.folder / ".lock", plan.folder):
        for leftover in plan.folder.glob(".*.npy.*"):
            leftover.unlink()
        missing = [chunk for chunk in plan.chunks if chunk.open() is None]
        if missing:
            _check_room(plan, sum(chunk.bytes + ON_DISK for chunk in missing))
            _render_all(plan, missing, workers=min(workers, len(missing)), quiet=quiet)
    chunks = [pixels for chunk in plan.chunks if (pixels := chunk.open()) is not None]
    assert len(chunks) == len(plan.chunks), f"{plan.folder}: clips disappeared while they were being opened"
    return chunks


def _check_room(plan: RenderPlan, needed: int) -> None:
    free = shutil.disk_usage(plan.folder).free
    if free < needed + MARGIN:
        raise StorageError(
            f"{plan.folder}: {plan.clips:,} clips need another {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB is free; "
            "free some space, set VITASCOPE_CACHE to another folder, or use fewer clips"
        )


@dataclass
class _Rendering(CountProgress):
    """Progress of rendering."""

    def line(self, width: int = 0) -> str:
        """Format the progress in one line."""
        rate = f"{(self.done - self.reused) / max(self.seconds, 1e-9):.1f} clips/s"
        full = f"{self.label} · {self.counted(rate)}"
        return full[:width] if width else full


def _render_all(plan: RenderPlan, missing: list[Chunk], *, workers: int, quiet: bool) -> None:
    reused = plan.clips - sum(chunk.count for chunk in missing)
    progress = _Rendering(f"MotionLab: rendering {plan.folder.name}", plan.clips, done=reused, reused=reused)
    with ProgressLine(progress, quiet=quiet) as line:
        for message in _messages(missing, workers):
            if isinstance(message, Failed):
                raise StorageError(f"{plan.folder}: cannot write MotionLab's clips ({message.cause}); run again")
            progress.done += message
            line.tick()


def _messages(chunks: list[Chunk], workers: int) -> Iterator[int | Failed]:
    if not workers:
        for chunk in chunks:
            yield from (done for done, _ in render_chunk(chunk))
        return
    with Pool(render_chunk, workers=workers, slots=1, slot_bytes=1, timeout=60.0) as pool:
        for _, message, _ in pool.run(chunks):
            yield message
