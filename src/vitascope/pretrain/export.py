"""Export an encoder from a training run: weights with a card that documents them and their pretraining data."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitascope.core.errors import UserError, reading
from vitascope.core.types import Card, plain
from vitascope.core.version import __version__
from vitascope.encoders.base import NetworkEncoder
from vitascope.encoders.weights import native
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.nn.video_vit import VideoViT
from vitascope.pretrain import checkpoint
from vitascope.pretrain.recipe import Recipe

TRUNK = "student.trunk."
"""Prefix of the encoder's tensor names in a training run."""
POOLS = {"mean": "mean of the tokens after the final norm", "mean_then_norm": "norm of the mean of the tokens"}
"""Descriptions of the poolings that have no parameters."""


class Origin(NamedTuple):
    """The weights that a run was started from: name, digest, step and pretraining datasets of the encoder."""

    name: str
    digest: str
    step: int
    """Steps after which they were saved; 0 if unknown."""
    pretraining_datasets: list[str]


def card(recipe: Recipe, *, pretraining_datasets: Iterable[str] = (), origin: Origin | None = None) -> Card:
    """Build the card of a recipe's fully trained encoder, without the digest of its weights.

    `pretraining_datasets` adds those of its teachers to the recipe's own; those of `origin` are added too.
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
        | frozenset(pretraining_datasets)
        | frozenset(origin.pretraining_datasets if origin else ()),
        trained=(recipe.trained or sources) + (f"; started from {origin.name} ({origin.digest})" if origin else ""),
        sampling="as it was pretrained",
        license=recipe.license,
        params=shape.params,
        gflops=round(shape.macs(recipe.frames, recipe.size) / 1e9, 3),
    )


def checkpoint_metadata(
    recipe: Recipe, teachers: Iterable[Card] = (), *, command: str = "", started: Origin | None = None
) -> dict[str, Any]:
    """Collect what a checkpoint needs to be exported on its own: card, network configuration and origin."""
    datasets = {name for teacher in teachers for name in teacher.pretraining_datasets}
    digests = {teacher.name: teacher.digest for teacher in teachers}
    origin = {"recipe": plain(recipe), "teachers": digests, "command": command, "code": code_version()}
    if started:
        origin["started_from"] = started._asdict()
    return {
        "card": plain(card(recipe, pretraining_datasets=datasets, origin=started)),
        "shape": plain(recipe.shape),
        "steps": recipe.steps,
        "origin": origin,
    }


def started_from(metadata: Mapping[str, Any]) -> Origin | None:
    """The weights that a checkpoint's run was started from. Raises UserError if its metadata are damaged."""
    with reading("the checkpoint", checkpoint.DAMAGED):
        stored = metadata["origin"].get("started_from")
        return Origin(**stored) if stored else None


def write(
    state: Mapping[str, Tensor], metadata: Mapping[str, Any], path: Path, *, step: int, clips_consumed: int
) -> Card:
    """Write the trunk's tensors as an encoder file for `vitascope evaluate -m PATH`; returns its card.

    The name of an encoder that is not fully trained ends in the number of steps.
    """
    shape = native.shape_of(metadata["shape"], "video")
    assert isinstance(shape, VideoViTConfig)
    encoder_card = Card.from_data(metadata["card"])
    if step < metadata["steps"]:
        encoder_card = dataclasses.replace(encoder_card, name=f"{encoder_card.name}-step{step}")
    tables = VideoViT(shape).tables()
    weights = {name: tensor for name, tensor in state.items() if name not in tables}
    return native.write(
        path, weights, encoder_card, shape, {**metadata["origin"], "step": step, "seen": clips_consumed}
    )


class StoredTrunk(NamedTuple):
    """An encoder in a checkpoint, in the precision of training."""

    metadata: dict[str, Any]
    shape: VideoViTConfig
    weights: dict[str, Tensor]
    """All tensors of the network, fixed position tables included."""


def read_trunk(saved: Path, *, prefix: str = TRUNK) -> StoredTrunk:
    """Read the network whose tensors begin with `prefix` from a checkpoint. Raises UserError if it is damaged."""
    metadata = checkpoint.read_metadata(saved)
    with reading(saved, checkpoint.DAMAGED):
        shape = native.shape_of(metadata["shape"], "video")
        Card.from_data(metadata["card"])
        int(metadata["step"]), int(metadata["seen"])
    assert isinstance(shape, VideoViTConfig)
    tensors = {f"{prefix}{name}": torch.empty_like(tensor) for name, tensor in VideoViT(shape).state_dict().items()}
    checkpoint.load_tensors(saved, tensors)
    return StoredTrunk(metadata, shape, {name.removeprefix(prefix): tensor for name, tensor in tensors.items()})


def export_run(run: Path, output: Path | None = None) -> tuple[Path, Card]:
    """Export the encoder of a run's last checkpoint, by default into the run folder; returns its path and card.

    Raises UserError if the run has no readable checkpoint.
    """
    checkpoints = checkpoint.list_checkpoints(run)
    if not checkpoints:
        raise UserError(f"{run}: no checkpoint found; `vitascope pretrain RECIPE -o {run}` writes one")
    metadata, _, trunk = read_trunk(checkpoints[-1])
    path = output or run / native.WEIGHTS
    return path, write(trunk, metadata, path, step=metadata["step"], clips_consumed=metadata["seen"])


def build_encoder(state: Mapping[str, Tensor], recipe: Recipe, device: torch.device) -> NetworkEncoder:
    """Build an encoder from the trunk's current tensors."""
    network = VideoViT(recipe.shape)
    network.load_state_dict({**network.tables(), **state})
    return NetworkEncoder(card(recipe), network.to(device))


def code_version() -> dict[str, str]:
    """Versions of vitascope and torch and, in a git checkout, the commit and whether files differ from it."""
    commit = _git("rev-parse", "HEAD")
    if commit and _git("status", "--porcelain", "."):
        commit += ", changed since"
    return {"vitascope": __version__, "torch": torch.__version__, "commit": commit}


def _git(*arguments: str) -> str:
    """Output of a git command in the package's folder; empty outside a repository."""
    folder = str(Path(__file__).parent)
    try:
        completed = subprocess.run(
            ["git", "-C", folder, *arguments], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return completed.stdout.strip()
