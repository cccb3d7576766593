"""MotionLab's training clips on disk: rendered ahead in chunks by worker processes. Without torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from jaxtyping import UInt8

from vitascope.core.files import replacing
from vitascope.core.progress import CountProgress, ProgressLine
from vitascope.core.worker_pool import Failed, Pool
from vitascope.motionlab.render import SIDE, render
from vitascope.motionlab.scene import APPEARANCES, MOTIONS, VERSION, Scene, sample
from vitascope.video.resample import resize

STREAM = int.from_bytes(b"stream")
"""Sets the seeds of these scenes apart from those of the suites: NumPy reads it as two words of 32 bits, of which the
second stands where a suite has the number of its split, and is none (`motionlab.suite.scene`)."""
CHUNK = 1024
"""Clips of a file."""
SECONDS = 2.0
"""Length of a clip, the same as a suite's: `frames` of the stream are what a uniform sampler sees of one."""
SHOWN = 16
"""A worker says that it is getting on every so many clips."""
MARGIN = 1 << 28
"""Bytes left free on the disk beside the clips."""
ON_DISK = 4096
"""Bytes a file may take beside its clips."""
Pixels: TypeAlias = npt.NDArray[np.uint8]


def scene(seed: int, index: int) -> tuple[Scene, int]:
    """What clip `index` of the stream shows, its two labels drawn uniformly, and the number of its appearance.

    The motion is told to nobody: no pretraining may use it.
    """
    rng = np.random.default_rng([VERSION, STREAM, seed, index])
    look, way = int(rng.integers(len(APPEARANCES))), int(rng.integers(len(MOTIONS)))
    return sample(APPEARANCES[look], MOTIONS[way], rng), look


def appearance(seed: int, index: int) -> int:
    """The number of the appearance of clip `index`, without drawing the rest of the scene."""
    return int(np.random.default_rng([VERSION, STREAM, seed, index]).integers(len(APPEARANCES)))


def shrink(frames: UInt8[np.ndarray, "t y x 3"], size: int) -> UInt8[np.ndarray, "t s s 3"]:
    """Frames of `size` pixels a side: the rounded mean of whole squares of pixels where it divides the side."""
    side = frames.shape[1]
    if side % size:
        return np.stack([resize(frame, size, size) for frame in frames])
    step = side // size
    squares = frames.reshape(len(frames), size, step, size, step, 3)
    total: UInt8[np.ndarray, "t s s 3"] = (
        (squares.sum((2, 4), dtype=np.uint32) + step * step // 2) // (step * step)
    ).astype(np.uint8)
    return total


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A set of rendered clips: the first `clips` of the stream of `seed`."""

    folder: Path
    clips: int
    seed: int
    frames: int
    size: int

    @property
    def chunks(self) -> list[Chunk]:
        """The files; those of a smaller set are the beginning of a larger one's but for its last."""
        starts = range(0, self.clips, CHUNK)
        return [Chunk(self, first, min(CHUNK, self.clips - first)) for first in starts]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One file of clips: a job for a worker."""

    plan: Plan
    first: int
    count: int

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.plan.folder / f"{self.first:08d}+{self.count}.npy"

    @property
    def shape(self) -> tuple[int, ...]:
        """Clips x frames x rows x columns x RGB."""
        return self.count, self.plan.frames, self.plan.size, self.plan.size, 3

    @property
    def bytes(self) -> int:
        """Of its pixels."""
        return self.count * self.plan.frames * self.plan.size**2 * 3

    def open(self) -> Pixels | None:
        """Its clips, mapped into memory; None where they are not there as they should be."""
        try:
            found: Pixels = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return found if (found.shape, found.dtype) == (self.shape, np.dtype(np.uint8)) else None


def shoot(chunk: Chunk) -> Iterator[tuple[int, None]]:
    """Runs in a worker: render the clips of a chunk into its file. Says how many more are done now and then."""
    plan = chunk.plan
    header = {"descr": "|u1", "fortran_order": False, "shape": chunk.shape}
    with replacing(chunk.path) as aside, open(aside, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for done in range(1, chunk.count + 1):
            shown, _ = scene(plan.seed, chunk.first + done - 1)
            frames = render(shown, plan.frames, side=SIDE, fps=plan.frames / SECONDS)
            file.write(shrink(frames, plan.size).tobytes())
            if done % SHOWN == 0 or done == chunk.count:
                yield (done - 1) % SHOWN + 1, None
        file.flush()
        os.fsync(file.fileno())


def rendered(plan: Plan, *, workers: int, quiet: bool = False) -> list[Pixels]:
    """The chunks of `plan`, mapped into memory, after rendering by `workers` processes (0: in this one) those that are
    not there. What was begun and cut short costs a chunk a worker at most; two processes at once are safe.

    OSError where the disk is too small or refuses, RuntimeError where a worker dies.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(plan.folder / ".lock"):
        for torn in plan.folder.glob(".*.npy.*"):
            torn.unlink()
        todo = [chunk for chunk in plan.chunks if chunk.open() is None]
        if todo:
            _check_room(plan, sum(chunk.bytes + ON_DISK for chunk in todo))
            _shoot_all(plan, todo, workers=min(workers, len(todo)), quiet=quiet)
    found = [pixels for chunk in plan.chunks if (pixels := chunk.open()) is not None]
    assert len(found) == len(plan.chunks), f"{plan.folder}: clips went away while they were opened"
    return found


def _check_room(plan: Plan, needed: int) -> None:
    free = shutil.disk_usage(plan.folder).free
    if free < needed + MARGIN:
        raise OSError(
            f"{plan.folder}: {plan.clips:,} clips need {needed / 1e9:.1f} GB more and {free / 1e9:.1f} GB are free; "
            "free some space, set VITASCOPE_CACHE to another folder, or ask for fewer clips"
        )


@dataclass
class _Rendering(CountProgress):
    """How far rendering is."""

    def line(self, width: int = 0) -> str:
        """The state in one line."""
        rate = f"{(self.done - self.known) / max(self.seconds, 1e-9):.1f} clips/s"
        full = f"{self.label} · {self.counted(rate)}"
        return full[:width] if width else full


def _shoot_all(plan: Plan, todo: list[Chunk], *, workers: int, quiet: bool) -> None:
    known = plan.clips - sum(chunk.count for chunk in todo)
    count = _Rendering(f"MotionLab: rendering {plan.folder.name}", plan.clips, done=known, known=known)
    with ProgressLine(count, quiet=quiet) as line:
        for message in _messages(todo, workers):
            if isinstance(message, Failed):
                raise OSError(f"{plan.folder}: cannot render MotionLab's clips there ({message.cause}); run again")
            count.done += message
            line.tick()


def _messages(todo: list[Chunk], workers: int) -> Iterator[int | Failed]:
    if not workers:
        for chunk in todo:
            yield from (done for done, _ in shoot(chunk))
        return
    with Pool(shoot, workers=workers, slots=1, slot_bytes=1, timeout=60.0) as pool:
        for _, message, _ in pool.run(todo):
            yield message
