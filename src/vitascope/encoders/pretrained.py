"""From a published model and its official file to an Encoder: every tensor accounted for, or an error that names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vitascope.core.errors import UserError
from vitascope.core.types import Card, digest, plain
from vitascope.encoders.base import Encoder, FrameWise, NetworkEncoder, fingerprint
from vitascope.encoders.networks import empty
from vitascope.encoders.options import configured
from vitascope.encoders.precomputed import release
from vitascope.encoders.spec import CheckpointLayout, Model
from vitascope.encoders.weights import download
from vitascope.encoders.weights import reader as checkpoint
from vitascope.encoders.weights.reader import Checkpoint
from vitascope.encoders.weights.state_dict import Fit, fitted
from vitascope.nn.configs.base import NetworkConfig

NATIVE = CheckpointLayout(name=checkpoint.FORMAT, mark="", containers=("",))
"""Of converted files: our names as they are."""


class PooledNetwork(nn.Module):
    """A network of which another vector is taken than its own."""

    def __init__(self, network: Any, what: str) -> None:
        super().__init__()
        self.network, self.what = network, what

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """The network's grid, and the mean of its tokens or its class token."""
        if self.what == "mean":
            grid, _ = self.network(clips)
            return grid, grid.flatten(1, -2).mean(1)
        parts = self.network.parts(clips)
        h, w = (side // self.network.shape.patch for side in clips.shape[-2:])
        sides = (h, w) if clips.ndim == 4 else (-1, h, w)
        return parts["tokens"].unflatten(1, sides), parts["cls"]

    def parts(self, clips: Tensor) -> dict[str, Tensor]:
        """As the network, with this vector as `pooled`."""
        parts: dict[str, Tensor] = self.network.parts(clips)
        return {**parts, "pooled": parts["tokens"].mean(1) if self.what == "mean" else parts["cls"]}


def load(name: str, path: str, architecture: Mapping[str, Any]) -> Encoder:
    """The encoder `family/variant[+OPTION..]` with the weights at `path`; without one, with those from its source."""
    model = configured(name)
    if not model.layouts:
        if model.asked or model.summary or architecture:
            raise UserError(f"{name}: published vectors are as they are; leave options and `architecture` out")
        return released(model, path)
    if path:
        return build(model, path, architecture)
    return build(model, download.fetch(model.source, name=model.card.name, license=model.card.license), architecture)


def released(model: Model, path: str) -> Encoder:
    """The published vectors below `path`, as an encoder without weights."""
    if not Path(path).is_dir() or not path:
        where = f"no folder {path}" if path else "no folder given"
        raise UserError(
            f"{model.card.name}: {where}; get the embeddings from {model.source.page} and say {model.card.name}=FOLDER"
        )
    return release(model.described(), Path(path))


def build(model: Model, path: str | Path, architecture: Mapping[str, Any] | None = None) -> Encoder:
    """The encoder of `model` with the weights of the official file, or folder, at `path`.

    `architecture` replaces numbers of the published shape. ValueError names each tensor that is missing, surplus or
    misshapen.
    """
    file = checkpoint.read(path)
    numbers = {**stated(model, file, str(path)), **(architecture or {})}
    if not architecture and not file.native:
        same_model(model, numbers, str(path))
    card, network, fit = loaded(model, file, numbers, str(path))
    network.load_state_dict(fit.state, strict=True, assign=True)
    summarized = PooledNetwork(network, model.summary) if model.summary else network
    return NetworkEncoder(card, FrameWise(summarized) if model.framewise else summarized, loaded=fit.told())


def stated(model: Model, file: Checkpoint, where: str) -> Mapping[str, Any]:
    """The numbers of the shape that a file brings along: a converted one its own, a folder those of its config."""
    if file.native or not file.config:
        return file.config
    try:
        return model.from_config(file.config) if model.from_config else {}
    except Exception as error:  # anything may be written there
        raise UserError(f"{where}: its config.json is of no such model ({type(error).__name__})") from error


def same_model(model: Model, config: Mapping[str, Any], where: str) -> None:
    """ValueError where the config.json beside the weights tells of another network than the published one."""
    told, own = plain(shaped(model, config, where)), plain(model.shape)
    differs = [f"{key} {told[key]}, not {own[key]}" for key in own if told[key] != own[key]]
    if differs:
        name = model.card.name.partition("+")[0]
        raise UserError(
            f"{where}: its config.json is of another model than {name}: {', '.join(differs)}; "
            "name that one, say hf:FOLDER, or give `architecture` where it is meant"
        )


def loaded(model: Model, file: Checkpoint, architecture: Mapping[str, Any], where: str) -> tuple[Card, Any, Fit]:
    """The card with the digest of the weights, the network still without them, and the weights under its names."""
    card, shape = reshaped(model, architecture, where)
    name = model.card.name.partition("+")[0]
    if file.native and file.native != name:
        raise UserError(f"{where}: converted as {file.native}, not {name}; say {file.native}={where}")
    if file.native:
        model = replace(model, layouts=(NATIVE,))
    network = empty(shape)
    fit = fitted(model, network, file.content, card.name, where)
    return replace(card, digest=fingerprint(fit.state), params=network.shape.params), network, fit


def reshaped(model: Model, architecture: Mapping[str, Any], where: str) -> tuple[Card, NetworkConfig]:
    """Card and shape with the numbers of `architecture` in place of the published ones."""
    if not architecture:
        return model.described(), model.shape
    shape = shaped(model, architecture, where)
    if shape == model.shape and "frames" not in architecture:  # a config.json that says what is known
        return model.described(), shape
    frames, size = shape.input
    frames = architecture.get("frames", model.card.frames if model.framewise else frames)
    card = replace(model.card, frames=model.asked.get("frames", frames), size=model.asked.get("size", size))
    card = replace(card, architecture=digest(plain(shape)) if shape != model.shape else "")
    return replace(model, shape=shape, card=card).described(), shape


def shaped(model: Model, architecture: Mapping[str, Any], where: str) -> NetworkConfig:
    """The shape with other numbers, what was asked for by option apart; ValueError for those no network has."""
    try:
        shape: Any = model.shape.told(architecture)
        known = {field.name for field in fields(shape)}
        shape = replace(shape, **{key: value for key, value in model.asked.items() if key in known})
        if not isinstance(shape.params, int) or min(*shape.input, shape.out) < 1:
            raise UserError(f"no network is of the numbers {dict(architecture)}")
        return shape  # type: ignore[no-any-return]
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    except Exception as error:  # a file may say anything
        raise UserError(f"{where}: no network is of the numbers {dict(architecture)}") from error
