"""From a training run to an encoder: weights, and a card that says what they are and what they saw."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.types import Card, plain
from vitascope.core.version import __version__
from vitascope.encoders.base import NetworkEncoder
from vitascope.encoders.weights import native
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.nn.video_vit import VideoViT
from vitascope.pretrain import checkpoint
from vitascope.pretrain.recipe import Recipe

TRUNK = "student.trunk."
"""What the names of the encoder's tensors begin with in a training run."""
POOLS = {"mean": "mean of the tokens after the final norm", "mean_then_norm": "norm of the mean of the tokens"}
"""Summary vectors that nothing has to train."""


def card(recipe: Recipe, *, pretraining_datasets: Iterable[str] = ()) -> Card:
    """The card of a recipe's encoder when it is trained to the end, without the digest of its weights.

    `saw` adds data sets that its teachers met.
    """
    shape = recipe.shape
    sources = ", ".join(source.name for source, _ in recipe.data)
    return Card(
        name=recipe.name,
        digest="",
        dim=shape.out,
        frames=recipe.frames,
        size=recipe.size,
        mean=recipe.mean,
        std=recipe.std,
        resize="shorter",
        pool=POOLS[shape.pool],
        pretraining_datasets=frozenset(name for source, _ in recipe.data for name in source.pretraining_datasets)
        | frozenset(pretraining_datasets),
        trained=recipe.trained or sources,
        sampling="as it was pretrained",
        license=recipe.license,
        params=shape.params,
        gflops=round(shape.macs(recipe.frames, recipe.size) / 1e9, 3),
    )


def told(recipe: Recipe, teachers: Iterable[Card] = (), *, command: str = "") -> dict[str, Any]:
    """What a checkpoint tells, so that an encoder can be made of it alone: card, shape and where it comes from."""
    met = {name for teacher in teachers for name in teacher.pretraining_datasets}
    taught = {teacher.name: teacher.digest for teacher in teachers}
    origin = {"recipe": plain(recipe), "teachers": taught, "command": command, "code": code()}
    return {
        "card": plain(card(recipe, pretraining_datasets=met)),
        "shape": plain(recipe.shape),
        "steps": recipe.steps,
        "origin": origin,
    }


def write(state: Mapping[str, Tensor], told: Mapping[str, Any], path: Path, *, step: int, seen: int) -> Card:
    """Write the trunk's tensors as an encoder that `vitascope evaluate -m PATH` takes; its card.

    Before the last step the name says how far it was trained.
    """
    shape = native.shape_of({"shape": told["shape"], "network": "video"})
    assert isinstance(shape, VideoViTConfig)
    given = Card.from_data(told["card"])
    if step < told["steps"]:
        given = dataclasses.replace(given, name=f"{given.name}-step{step}")
    fixed = VideoViT(shape).tables()
    learned = {name: tensor for name, tensor in state.items() if name not in fixed}
    return native.write(path, learned, given, shape, {**told["origin"], "step": step, "seen": seen})


def of_run(run: Path, output: Path | None = None) -> tuple[Path, Card]:
    """Write the encoder of a run's last checkpoint, by default into the run; where, and its card.

    ValueError where there is no checkpoint, or none that can be read.
    """
    checkpoints = checkpoint.found(run)
    if not checkpoints:
        raise UserError(f"{run}: no checkpoint there; `vitascope pretrain RECIPE -o {run}` makes one")
    state = checkpoint.state_of(checkpoints[-1])
    shape = native.shape_of({"shape": state["shape"], "network": "video"})
    assert isinstance(shape, VideoViTConfig)
    empty = {f"{TRUNK}{name}": torch.empty_like(tensor) for name, tensor in VideoViT(shape).state_dict().items()}
    checkpoint.read_into(checkpoints[-1], empty)
    path = output or run / native.WEIGHTS
    trunk = {name.removeprefix(TRUNK): tensor for name, tensor in empty.items()}
    return path, write(trunk, state, path, step=state["step"], seen=state["seen"])


def encoder(state: Mapping[str, Tensor], recipe: Recipe, device: torch.device) -> NetworkEncoder:
    """An encoder of the trunk's tensors, as they are in training."""
    network = VideoViT(recipe.shape)
    network.load_state_dict({**network.tables(), **state})
    return NetworkEncoder(card(recipe), network.to(device))


def code() -> dict[str, str]:
    """What trains: versions and, in a repository, the commit, and whether the package's files are others by now."""
    commit = _git("rev-parse", "HEAD")
    if commit and _git("status", "--porcelain", "."):
        commit += ", changed since"
    return {"vitascope": __version__, "torch": torch.__version__, "commit": commit}


def _git(*asked: str) -> str:
    """What git says of the package's folder; nothing where it lies in no repository."""
    here = str(Path(__file__).parent)
    try:
        told = subprocess.run(["git", "-C", here, *asked], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip()
