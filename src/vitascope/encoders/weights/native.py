"""Encoders that were pretrained here: one safetensors file that carries its card and its shape, and how it is read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from vitascope.core.errors import UserError
from vitascope.core.files import replacing
from vitascope.core.types import Card, plain
from vitascope.encoders.base import Encoder, FrameWise, NetworkEncoder, fingerprint
from vitascope.encoders.networks import empty
from vitascope.encoders.weights.native_card import FORMAT, KEY, about
from vitascope.nn.configs.convnet import ConvNetConfig
from vitascope.nn.configs.video_vit import VideoViTConfig

Shape: TypeAlias = VideoViTConfig | ConvNetConfig

WEIGHTS = "model.safetensors"
SHAPES: dict[str, type[VideoViTConfig] | type[ConvNetConfig]] = {
    "video": VideoViTConfig,
    "convolutional": ConvNetConfig,
}
"""Networks that such a file may hold."""


def write(path: Path, state: Mapping[str, Tensor], card: Card, shape: Shape, origin: Mapping[str, Any]) -> Card:
    """Write an encoder in half precision; its card, with the digest of what was written.

    `state` holds the tensors of the network of `shape`. `origin` is kept as it is: how the weights came about.
    """
    halved = {name: tensor.detach().cpu().half().contiguous() for name, tensor in sorted(state.items())}
    if not all(torch.isfinite(tensor).all() for tensor in halved.values()):
        raise UserError(f"{card.name}: its weights are not finite in half precision; it is not written to {path}")
    card = dataclasses.replace(card, digest=fingerprint({n: t.float() for n, t in halved.items()}))
    kind = next(name for name, known in SHAPES.items() if isinstance(shape, known))
    told = {"format": FORMAT, "card": plain(card), "network": kind, "shape": plain(shape), "origin": plain(origin)}
    with replacing(path) as aside:
        save_file(halved, aside, metadata={KEY: json.dumps(told, ensure_ascii=False, sort_keys=True)})
    return card


def load(name: str | Path) -> Encoder:
    """The encoder in the file, or in the folder: its `model.safetensors`. ValueError for what is none."""
    path = Path(name).expanduser()
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        what = f"no {WEIGHTS} in it; `vitascope export {path}` writes one of a pretraining run" if path.is_dir() else ""
        raise UserError(f"{name}: {what or 'no such file'}")
    told = about(file)
    try:
        shape, card = shape_of(told), Card.from_data(told["card"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file}: its card is not one of this version ({error})") from error
    return _built(file, card, shape)


def _built(file: Path, card: Card, shape: Shape) -> Encoder:
    with safe_open(file, framework="pt") as opened:
        state = {key: opened.get_tensor(key).float() for key in opened.keys()}  # noqa: SIM118 - not a mapping
    network = empty(shape)
    tables = network.tables() if isinstance(shape, VideoViTConfig) else _counters(network)
    wrong = set(state) ^ {name for name in network.state_dict() if name not in tables}
    if wrong:
        raise UserError(f"{file}: {len(wrong)} tensors are missing or surplus: {', '.join(sorted(wrong)[:4])}")
    if fingerprint(state) != card.digest:
        raise UserError(f"{file}: its weights are not those of its card (digest {card.digest}); get the file again")
    try:
        network.load_state_dict({**state, **tables}, strict=True, assign=True)
    except RuntimeError as error:
        raise UserError(f"{file}: {str(error).splitlines()[-1].strip()}") from error
    loaded = f"{len(state)} tensors, all of them; pretrained here"
    return NetworkEncoder(
        card, FrameWise(network.folded()) if isinstance(shape, ConvNetConfig) else network, loaded=loaded
    )


def _counters(network: nn.Module) -> dict[str, Tensor]:
    """What batch norms count in training, which nothing depends on."""
    return {n: torch.tensor(0) for n in network.state_dict() if n.endswith("num_batches_tracked")}


def shape_of(told: Mapping[str, Any]) -> Shape:
    """The shape of a written encoder, from what is told of it."""
    fields = {key: value for key, value in told["shape"].items() if key != "type"}
    given: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}
    return SHAPES[told["network"]](**given)
