"""Start a run from the weights of an encoder, or from another run: same network, perhaps other clips and schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.types import Card
from vitascope.encoders.base import fingerprint
from vitascope.encoders.load import load
from vitascope.encoders.weights import native
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.nn.positions import RESAMPLE
from vitascope.nn.video_vit import VideoViT
from vitascope.pretrain import checkpoint, export
from vitascope.pretrain.export import Origin

POSITIONS = "pos_embed"
"""Name of the position table."""


class Start(NamedTuple):
    """Where the weights came from, and the checkpoint from which the rest of the model may be taken, if any."""

    origin: Origin
    checkpoint: Path | None = None
    new: Sequence[str] = ()
    """Parts of the model that the checkpoint does not have."""

    def __str__(self) -> str:
        after = f" after {self.origin.step:,} steps" if self.origin.step else ""
        rest = "with decoders and optimizer state" if self.checkpoint else "encoder only"
        new = f", except {', '.join(self.new)}" if self.new else ""
        return f"{self.origin.name} ({self.origin.digest}){after}, {rest}{new}"


class _Source(NamedTuple):
    """A network to start from."""

    start: Start
    shape: VideoViTConfig
    weights: Mapping[str, Tensor]


def load_trunk(trunk: VideoViT, init: str) -> Start:
    """Load the network called `init`, or that of the last checkpoint of a run folder, into a trunk.

    A fixed position table stays that of the trunk's own grid, a stored one is interpolated to it. Raises UserError
    unless all else agrees: the configuration, the names of the tensors, and their sizes.
    """
    start, state = _fitting(trunk, init)
    trunk.load_state_dict({**state, **trunk.tables()})
    return start


def check(shape: VideoViTConfig, init: str) -> Start:
    """What `load_trunk` would load into a trunk of `shape`; raises UserError as it does, and loads nothing."""
    with torch.device("meta"):
        trunk = VideoViT(shape)
    return _fitting(trunk, init)[0]


def _fitting(trunk: VideoViT, init: str) -> tuple[Start, dict[str, Tensor]]:
    """The network called `init` and its tensors in the sizes of a trunk."""
    try:
        source = _of_run(Path(init).expanduser()) or _of_encoder(init)
        _check_configs(source.shape, trunk.shape)
        return source.start, _fitted(source, trunk)
    except UserError as error:
        raise UserError(f"init={init}: {error}") from error


def _of_run(run: Path) -> _Source | None:
    """The network in the last checkpoint of a run, in the precision of training; None if there is no checkpoint."""
    checkpoints = checkpoint.list_checkpoints(run)
    if not checkpoints:
        return None
    metadata, shape, weights = export.read_trunk(checkpoints[-1])
    fixed = VideoViT(shape).tables()
    digest = fingerprint({name: tensor.half().float() for name, tensor in weights.items() if name not in fixed})
    origin = _origin(Card.from_data(metadata["card"]), digest, metadata["step"])
    return _Source(Start(origin, checkpoints[-1]), shape, weights)


def _of_encoder(name: str) -> _Source:
    """The network of an encoder that `-m` takes, or of the encoder file in a folder."""
    encoder: Any = native.load(name) if Path(name).expanduser().is_dir() else load(name)
    network = getattr(encoder, "network", None)
    if not isinstance(network, VideoViT):
        raise UserError("only a video transformer can be trained on; name one, or a run's folder or model.safetensors")
    return _Source(Start(_origin(encoder.card, encoder.card.digest, 0)), network.shape, network.state_dict())


def _origin(card: Card, digest: str, step: int) -> Origin:
    return Origin(card.name, digest, step, sorted(card.pretraining_datasets))


def _check_configs(theirs: VideoViTConfig, ours: VideoViTConfig) -> None:
    """Raise UserError if two networks differ in more than their grid, how it is resampled, and pooling."""
    alike = replace(theirs, grid=ours.grid, resample=ours.resample, pool=ours.pool, image=ours.image)
    differing = [n for n in VideoViTConfig.__slots__ if getattr(alike, n) != getattr(ours, n)]
    if differing:
        listed = ", ".join(f"{n} is {getattr(theirs, n)}, the recipe's {getattr(ours, n)}" for n in differing)
        settings = " ".join(f"--set shape.{n}={getattr(theirs, n)}" for n in differing)
        raise UserError(f"another network: {listed}; set {settings}, or start from another one")


def _fitted(source: _Source, trunk: VideoViT) -> dict[str, Tensor]:
    """Their tensors in our sizes, without fixed tables. Raises UserError for missing, surplus and ill-sized ones."""
    tables, own = trunk.tables(), trunk.state_dict()
    state = {name: tensor for name, tensor in source.weights.items() if name not in tables}
    if POSITIONS in state and source.shape.grid != trunk.shape.grid:
        resample = RESAMPLE[trunk.shape.resample]
        state[POSITIONS] = resample(state[POSITIONS].float(), source.shape.grid, trunk.shape.grid)
    wanted = {name: tensor.shape for name, tensor in own.items() if name not in tables}
    wrong = sorted(n for n in {*wanted, *state} if n not in state or wanted.get(n) != state[n].shape)
    if wrong:
        raise UserError(f"{len(wrong)} tensors are missing, surplus or of another size: {', '.join(wrong[:4])}")
    return state
