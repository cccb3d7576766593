"""Load a published model from its official weight file, strictly: any missing or surplus tensor is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from vitascope.core.errors import UserError
from vitascope.core.log import log
from vitascope.core.types import Card, digest, plain
from vitascope.encoders import networks
from vitascope.encoders.base import Encoder, FrameWise, NetworkEncoder, fingerprint
from vitascope.encoders.networks import empty
from vitascope.encoders.options import configured
from vitascope.encoders.precomputed import release
from vitascope.encoders.spec import CheckpointLayout, Model
from vitascope.encoders.weights import download
from vitascope.encoders.weights import reader as checkpoint
from vitascope.encoders.weights.reader import Checkpoint
from vitascope.encoders.weights.state_dict import Fit, fit_state_dict
from vitascope.nn.configs.base import NetworkConfig

NATIVE = CheckpointLayout(name=checkpoint.FORMAT, mark="", containers=("",))
"""Layout of converted files, which use our tensor names."""


class PooledNetwork(nn.Module):
    """A network with a different clip vector: the mean of its tokens, or its class token."""

    def __init__(self, network: Any, what: str) -> None:
        super().__init__()
        self.network, self.what = network, what

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """The network's token grid, and the mean of its tokens or its class token."""
        if self.what == "mean":
            grid, _ = self.network(clips)
            return grid, grid.flatten(1, -2).mean(1)
        parts = self.network.parts(clips)
        h, w = (side // self.network.shape.patch for side in clips.shape[-2:])
        sides = (h, w) if clips.ndim == 4 else (-1, h, w)
        return parts["tokens"].unflatten(1, sides), parts["cls"]

    def parts(self, clips: Tensor) -> dict[str, Tensor]:
        """The outputs of the network, with this vector as `pooled`."""
        parts: dict[str, Tensor] = self.network.parts(clips)
        return {**parts, "pooled": parts["tokens"].mean(1) if self.what == "mean" else parts["cls"]}


def load(name: str, path: str, architecture: Mapping[str, Any]) -> Encoder:
    """Load the encoder `family/variant[+OPTION..]` from the weights at `path`; if empty, from its download."""
    model = configured(name)
    if not model.layouts:
        if model.overrides or model.summary or model.weights or architecture:
            raise UserError(f"{name}: released embeddings take no options or `architecture`; omit them")
        return open_release(model, path)
    if path:
        return build(model, path, architecture)
    return build(model, download.fetch(model.source, name=model.card.name, license=model.card.license), architecture)


def open_release(model: Model, path: str) -> Encoder:
    """The released embeddings below `path`, as an encoder without weights."""
    if not Path(path).is_dir() or not path:
        problem = f"no folder {path}" if path else "no folder given"
        name, page = model.card.name, model.source.page
        raise UserError(f"{name}: {problem}; download the embeddings from {page} and use {name}=FOLDER")
    return release(model.full_card(), Path(path))


def build(model: Model, path: str | Path, architecture: Mapping[str, Any] | None = None) -> Encoder:
    """The encoder of `model` with the weights of the official file or folder at `path`.

    `architecture` overrides values of the published configuration. `UserError` names each tensor that is missing,
    surplus or of the wrong shape.
    """
    file = checkpoint.read(path)
    numbers = {**stated_architecture(model, file, str(path)), **(architecture or {})}
    if not architecture and not file.native:
        check_same_model(model, numbers, str(path))
    card, network, fit = fit_weights(model, file, numbers, str(path))
    warn_of_copies(model, fit, str(path))
    network.load_state_dict(fit.state, strict=True, assign=True)
    return _encoder(model, card, network, loaded=fit.describe())


def outline(name: str) -> Encoder:
    """The encoder `family/variant[+OPTION..]` on the meta device, which needs no weights."""
    model = configured(name)
    if not model.layouts:
        raise UserError(f"{name}: released embeddings have no network; name an encoder")
    return _encoder(model, model.full_card(), empty(model.shape))


def _encoder(model: Model, card: Card, network: nn.Module, *, loaded: str = "") -> Encoder:
    summarized = PooledNetwork(network, model.summary) if model.summary else network
    return NetworkEncoder(card, FrameWise(summarized) if model.framewise else summarized, loaded=loaded)


def warn_of_copies(model: Model, fit: Fit, where: str) -> None:
    """Say which copy of the network was taken if the file holds others that no layout of the model knows of."""
    known = [layout.containers for layout in model.layouts if layout.refused]
    others = [copy for copy in fit.copies if (copy,) not in known]
    if others and not model.weights:
        taken, name, other = fit.container or "that under no key", model.card.name, others[0]
        log.warning("%s: holds the network twice; taking %s, not %s (%s+weights=%s)", where, taken, other, name, other)


def stated_architecture(model: Model, file: Checkpoint, where: str) -> Mapping[str, Any]:
    """The configuration values stored with the weights: of a converted file, or from the config.json of a folder."""
    if file.native or not file.config:
        return file.config
    try:
        return model.from_config(file.config) if model.from_config else {}
    except Exception as error:  # anything may be written there
        raise UserError(f"{where}: its config.json is not of {model.card.name} ({type(error).__name__})") from error


def check_same_model(model: Model, config: Mapping[str, Any], where: str) -> None:
    """Raise `UserError` if the config.json beside the weights describes a different network."""
    given, own = plain(updated_shape(model, config, where)), plain(model.shape)
    differences = [f"{key} {given[key]}, not {own[key]}" for key in own if given[key] != own[key]]
    if differences:
        name = model.card.name.partition("+")[0]
        raise UserError(
            f"{where}: its config.json differs from {name}: {', '.join(differences)}; "
            "use the name of that model, hf:FOLDER, or `architecture`"
        )


def fit_weights(model: Model, file: Checkpoint, architecture: Mapping[str, Any], where: str) -> tuple[Card, Any, Fit]:
    """The card with the digest of the weights, the network on the meta device, and the weights that fit it."""
    card, shape = with_architecture(model, architecture, where)
    name = model.card.name.partition("+")[0]
    if file.native and file.native != name:
        raise UserError(f"{where}: converted from {file.native}, not {name}; use {file.native}={where}")
    if file.native:
        model = replace(model, layouts=(NATIVE,), weights="")
    network = empty(shape)
    fit = fit_state_dict(model, network, file.content, card.name, where)
    return replace(card, digest=fingerprint(fit.state), params=network.shape.params), network, fit


def with_architecture(model: Model, architecture: Mapping[str, Any], where: str) -> tuple[Card, NetworkConfig]:
    """Card and shape with the values of `architecture` in place of the published ones."""
    if not architecture:
        return model.full_card(), model.shape
    shape = updated_shape(model, architecture, where)
    if shape == model.shape and "frames" not in architecture:  # a config.json of the published model
        return model.full_card(), shape
    frames, size = shape.input
    frames = architecture.get("frames", model.card.frames if model.framewise else frames)
    card = replace(model.card, frames=model.overrides.get("frames", frames), size=model.overrides.get("size", size))
    card = replace(card, architecture=digest(plain(shape)) if shape != model.shape else "")
    return replace(model, shape=shape, card=card).full_card(), shape


def updated_shape(model: Model, architecture: Mapping[str, Any], where: str) -> NetworkConfig:
    """The shape with the values of `architecture`, overridden by the user's options; `UserError` if it is invalid."""
    try:
        shape: Any = model.shape.updated(architecture)
        names = {field.name for field in fields(shape)}
        shape = replace(shape, **{key: value for key, value in model.overrides.items() if key in names})
        if not isinstance(shape.params, int) or min(*shape.input, shape.out) < 1:
            raise UserError(f"not a valid configuration: {dict(architecture)}")
        if shape != model.shape:
            networks.check(shape)
        return shape  # type: ignore[no-any-return]
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except Exception as error:  # a file may say anything
        raise UserError(f"{where}: not a valid configuration: {dict(architecture)}") from error
