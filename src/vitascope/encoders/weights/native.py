"""Encoders pretrained with Vitascope: write and load a safetensors file with the card and the configuration."""

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
from vitascope.core.files import atomic_file
from vitascope.core.schema import conform
from vitascope.core.text import nearest
from vitascope.core.types import Card, plain
from vitascope.encoders import networks
from vitascope.encoders.base import Encoder, FrameWise, NetworkEncoder, fingerprint
from vitascope.encoders.weights.native_card import FORMAT, KEY, read_metadata
from vitascope.nn.configs.convnet import ConvNetConfig
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.nn.convnet import ConvNet

Shape: TypeAlias = VideoViTConfig | ConvNetConfig

WEIGHTS = "model.safetensors"
SHAPES: dict[str, type[VideoViTConfig] | type[ConvNetConfig]] = {
    "video": VideoViTConfig,
    "convolutional": ConvNetConfig,
}
"""Network configurations that a file may contain."""


def write(path: Path, state: Mapping[str, Tensor], card: Card, shape: Shape, origin: Mapping[str, Any]) -> Card:
    """Write an encoder in half precision, and return its card with the digest of the written weights.

    `state` contains the tensors of the network of `shape`; `origin` records how they were trained.
    """
    halved = {name: tensor.detach().cpu().half().contiguous() for name, tensor in sorted(state.items())}
    if not all(torch.isfinite(tensor).all() for tensor in halved.values()):
        raise UserError(f"{card.name}: weights are not finite in half precision; not written to {path}")
    card = dataclasses.replace(card, digest=fingerprint({n: t.float() for n, t in halved.items()}))
    kind = next(name for name, shape_class in SHAPES.items() if isinstance(shape, shape_class))
    data = {"format": FORMAT, "card": plain(card), "network": kind, "shape": plain(shape), "origin": plain(origin)}
    with atomic_file(path) as aside:
        save_file(halved, aside, metadata={KEY: json.dumps(data, ensure_ascii=False, sort_keys=True)})
    return card


def load(name: str | Path) -> Encoder:
    """Load an encoder from a file, or from the `model.safetensors` of a folder; `UserError` if it is not one."""
    path = Path(name).expanduser()
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        problem = f"no {WEIGHTS} in it; `vitascope export {path}` exports a pretraining run" if path.is_dir() else ""
        raise UserError(f"{name}: {problem or 'no such file'}")
    data = read_metadata(file)
    try:
        shape, card = shape_of(data.shape, data.network), Card.from_data(data.card)
        networks.check(shape)
    except UserError as error:
        raise UserError(f"{file}: its card is not one of this version ({error})") from error
    return _build(file, card, shape)


def _build(file: Path, card: Card, shape: Shape) -> Encoder:
    with safe_open(file, framework="pt") as opened:
        state = {key: opened.get_tensor(key).float() for key in opened.keys()}  # noqa: SIM118 - not a mapping
    network = networks.empty(shape)
    tables = network.tables() if isinstance(shape, VideoViTConfig) else _counters(network)
    wrong = set(state) ^ {name for name in network.state_dict() if name not in tables}
    if wrong:
        raise UserError(f"{file}: {len(wrong)} missing or surplus tensors: {', '.join(sorted(wrong)[:4])}")
    if fingerprint(state) != card.digest:
        raise UserError(f"{file}: the weights do not match the card (digest {card.digest}); download the file again")
    try:
        network.load_state_dict({**state, **tables}, strict=True, assign=True)
    except RuntimeError as error:
        raise UserError(f"{file}: {str(error).splitlines()[-1].strip()}") from error
    loaded = f"{len(state)} tensors, all of them; pretrained here"
    return NetworkEncoder(card, FrameWise(network.folded()) if isinstance(network, ConvNet) else network, loaded=loaded)


def _counters(network: nn.Module) -> dict[str, Tensor]:
    """The batch counters of batch norm layers, which do not affect the output."""
    return {n: torch.tensor(0) for n in network.state_dict() if n.endswith("num_batches_tracked")}


def shape_of(stored: Mapping[str, Any], network: str) -> Shape:
    """The stored configuration of a `network` of this kind; `UserError` if it is none."""
    if network not in SHAPES:
        raise UserError(f"network {network!r}{nearest(network, SHAPES)}; known: {', '.join(SHAPES)}")
    kind = SHAPES[network]
    if unknown := sorted(stored.keys() - {f.name for f in dataclasses.fields(kind)} - {"type"}):
        raise UserError(f"unknown shape field {unknown[0]!r}: the file was written by a newer version")
    shape: Shape = conform(stored, kind, "shape")
    return shape
