"""Pretraining runs of a second: clips out of a generator, a student of a few thousand numbers; also as jobs.

Jobs are plain data, so that tests can have them done in processes that are killed, or in several at once.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

import processes
from vitascope.core.device import generator
from vitascope.core.types import Card
from vitascope.encoders.base import Encoder, NetworkEncoder
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.nn.video_vit import random_vit
from vitascope.pretrain import checkpoint
from vitascope.pretrain.data.base import ClipSpec
from vitascope.pretrain.data.prefetch import ClipItem, PrefetchReader
from vitascope.pretrain.masking import RunningCell, Tube
from vitascope.pretrain.model import Student
from vitascope.pretrain.monitoring import log as recording
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.targets.targets import FixedTarget, Hog, Latent, Pixels, Target, TargetInputs
from vitascope.pretrain.train import TrainConfig, pretrain

SHAPE = VideoViTConfig(dim=32, depth=2, heads=2, mlp=64, patch=8, tubelet=2, grid=(2, 3, 3))


@dataclass(frozen=True, kw_only=True)
class Blobs:
    """Clips of bright squares that move, each from the generator of its number; `still`: one frame."""

    name: str = "blobs"
    still: bool = False
    classes: int = 0
    pretraining_datasets: tuple[str, ...] = ("blobs",)

    def open(self, spec: ClipSpec, *, seed: int, rank: int = 0, world: int = 1, workers: int = 0) -> PrefetchReader:
        """The clips of this rank."""
        items = partial(self._items, spec, seed, rank, world)
        return PrefetchReader(self.name, items, {"taken": 0}, data=f"{self.name} {seed}")

    def _items(
        self, spec: ClipSpec, seed: int, rank: int, world: int, state: dict[str, Any], _broken: dict[str, str]
    ) -> Generator[ClipItem, None, None]:
        place = state["taken"] + (rank - state["taken"]) % world
        while True:
            clip, label = self.clip(spec, seed, place)
            yield ClipItem(str(place), {"taken": place - rank + world}, clip, label)
            place += world

    def clip(self, spec: ClipSpec, seed: int, place: int) -> tuple[np.ndarray, int]:
        """One clip and its label."""
        rng = np.random.default_rng([seed, place])
        label = int(rng.integers(self.classes)) if self.classes else -1
        pixels = rng.integers(90, size=(1 if self.still else spec.frames, spec.size, spec.size, 3), dtype=np.uint8)
        y, x, dy, dx = (int(n) for n in rng.integers((spec.size - 8, spec.size - 8, 3, 3)))
        for t, frame in enumerate(pixels):
            frame[y + t * dy // 2 : y + 8, x + t * dx // 2 : x + 8] += np.uint8(60 + 100 * max(label, 0) // 2)
        return pixels, label


def recipe(**changes: Any) -> Recipe:
    """Six steps of eight clips."""
    narrow: dict[str, Any] = {"width": 16, "depth": 1}
    given: dict[str, Any] = {
        "name": "tiny",
        "shape": SHAPE,
        "frames": 4,
        "size": 24,
        "data": ((Blobs(), 1.0),),
        "targets": (
            Pixels(**narrow),
            Hog(name="hog differences", differences=True, weight=0.5, **narrow),
            Latent(decay=(0.5, 0.9), **narrow),
        ),
        "masks": (Tube(0.6),),
        "batch": 8,
        "steps": 6,
        "lr": 3e-3,
        "warmup": 2,
        "precision": "float32",
    }
    return Recipe(**{**given, **changes})


def everything(**changes: Any) -> Recipe:
    """The same with all that makes a step complicated: parts, pictures among the videos, two looks at each batch."""
    data = ((Blobs(), 2.0), (Blobs(name="stills", still=True, pretraining_datasets=("pictures",)), 1.0))
    masks = (Tube(0.6), RunningCell(0.5))
    return recipe(**{"accumulate": 2, "data": data, "masks": masks, "image_masks": (RunningCell(0.5),), **changes})


def centered(**changes: Any) -> Recipe:
    """The same with a target that looks at the batch as a whole."""
    return recipe(targets=(Latent(decay=(0.5, 0.9), last=2, centered=True, width=16, depth=1),), **changes)


@dataclass(frozen=True, kw_only=True)
class Poison(Target):
    """Zeros, but what is not a number for clips whose first byte is `level`."""

    name: str = "poison"
    level: int = 0

    def bind(self, student: Student, device: torch.device) -> FixedTarget:
        """By the first red value."""

        def values(inputs: TargetInputs) -> torch.Tensor:
            ill = (inputs.clips[:, 0, 0, 0, 0] * 255).round() == self.level
            return torch.where(ill, torch.nan, 0.0)[:, None, None].expand(-1, inputs.patches.shape[1], 1)

        return FixedTarget(1, values)


POISONED, LEVEL, LEVEL_TWICE = 3, 85, 10
"""The one step that has a clip with this first byte, and a byte of clips in this and the next step."""


def poisoned(**changes: Any) -> Recipe:
    """The same with a target that is not finite for one clip of all."""
    return recipe(**{"targets": (*recipe().targets, Poison(width=16, depth=1, level=LEVEL)), **changes})


def poisoned_and_centered(**changes: Any) -> Recipe:
    """A target that looks at the batch as a whole, and that one."""
    return poisoned(**{"targets": (*centered().targets, Poison(width=16, depth=1, level=LEVEL)), **changes})


def poisoned_muon() -> Recipe:
    """By the other optimizer."""
    return poisoned(optimizer="muon")


RECIPES = {"recipe": recipe, "everything": everything, "poisoned_and_centered": poisoned_and_centered}
SETTING = TrainConfig(device="cpu", save_every=2, check_every=0, log_every=1, quiet=True)


def train(run: Path, made: Recipe | None = None, **setting: Any) -> Path:
    """A run on the CPU that says nothing, with a checkpoint every other step and no in-loop probing."""
    return pretrain(made or recipe(), run, dataclasses.replace(SETTING, **setting))


def losses(run: Path) -> dict[int, dict[str, float]]:
    """What was recorded of every step: the losses by target, their sum and the gradient's norm."""
    lines = recording.read(run).steps
    return {line["step"]: {**line["losses"], "": line["loss"], "norm": line["grad_norm"]} for line in lines}


def state(run: Path, step: int, tmp: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint, moments of the optimizer included, by name."""
    dcp_to_torch_save(run / checkpoint.FOLDER / f"step-{step:09d}", tmp / "state.pt")
    values: dict[str, torch.Tensor] = {}

    def gather(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                gather(f"{name}/{key}", inner)
        elif isinstance(value, torch.Tensor):
            values[name] = value

    gather("", torch.load(tmp / "state.pt", weights_only=True))
    return values


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Whether all tensors are equal to the last bit."""
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def card(**changes: Any) -> Card:
    """Of an encoder made for a test."""
    given: dict[str, Any] = {"name": "made-up", "digest": "0", "dim": 32, "frames": 4, "size": 24}
    given |= {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    return Card(**{**given, **changes})


def teacher() -> Encoder:
    """A random video transformer with tubelets of two frames and a finer grid than the student's, in space."""
    shape = VideoViTConfig(dim=48, depth=3, heads=3, mlp=64, patch=4, tubelet=2, grid=(2, 6, 6))
    return NetworkEncoder(card(dim=48, pretraining_datasets=frozenset({"films"})), random_vit(shape, generator(5)))


def teacher_with_class_token() -> Encoder:
    """A random video transformer whose first token is of no place."""
    shape = VideoViTConfig(dim=32, depth=2, heads=2, mlp=64, patch=8, tubelet=2, grid=(2, 3, 3), cls=True)
    return NetworkEncoder(card(), random_vit(shape, generator(6)))


def teacher_of_nothing() -> Encoder:
    """One whose grid is not a number."""

    class Void(torch.nn.Module):
        def forward(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return clips.new_full((len(clips), 2, 3, 3, 4), float("nan")), clips.new_zeros(len(clips), 32)

    return NetworkEncoder(card(), Void())


def teacher_of_squares() -> Encoder:
    """A convolution over time and squares of 8 pixels, for frames of any size."""

    class Squares(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv3d(3, 32, (3, 8, 8), (1, 8, 8), (1, 0, 0))
            for parameter in self.parameters():
                torch.nn.init.normal_(parameter, generator=generator(7))

        def forward(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            features = self.conv(clips).movedim(1, -1)
            return features, features.mean((1, 2, 3))

    return NetworkEncoder(card(), Squares())


def killed(job: Mapping[str, Any], step: int = 0) -> None:
    """Do a job in a process that is killed: at step number `step` of its own, unless the job has a place for that."""
    process = processes.start(processes.dying, "vitascope.pretrain.optim.backward", step, work, job)
    assert processes.ended(process) == processes.KILLED


def together(jobs: Sequence[Mapping[str, Any]], meeting: Path, count: int = 2) -> None:
    """Do jobs in so many processes as under torchrun; the file `meeting` brings them together."""
    ranks = [processes.start(_rank, jobs, meeting, rank, count) for rank in range(count)]
    assert [processes.ended(process) for process in ranks] == [0] * count


def _rank(jobs: Sequence[Mapping[str, Any]], meeting: Path, rank: int, count: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    for job in jobs:
        work(job)
    torch.distributed.destroy_process_group()


def work(job: Mapping[str, Any]) -> None:
    """One job: `run`, and perhaps `recipe`, `changes` of it, `setting`, and `kill_in_save`, a checkpoint."""
    if "kill_in_save" in job:
        _kill_in_save(job["kill_in_save"])
    train(Path(job["run"]), RECIPES[job.get("recipe", "recipe")](**job.get("changes", {})), **job.get("setting", {}))


def _kill_in_save(number: int) -> None:
    """Die in the middle of writing checkpoint number `number` of this process."""
    inner, made = checkpoint.write_state, [0]

    def write(*given: Any, checkpoint_id: Path, **named: Any) -> Any:
        inner(*given, checkpoint_id=checkpoint_id, **named)
        made[0] += 1
        if made[0] == number:
            (checkpoint_id / ".metadata").unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.write_state = write  # type: ignore[assignment]


def copied(run: Path, to: Path) -> Path:
    """A run to be spoilt."""
    return Path(shutil.copytree(run, to))
