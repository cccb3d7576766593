"""From a name to an encoder: the only place that does it."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitascope.core.errors import UserError, one_line
from vitascope.core.registry import outside
from vitascope.core.types import Card
from vitascope.encoders.base import Encoder
from vitascope.encoders.catalog import ENCODERS, models


def load(
    encoder: str | Encoder, device: torch.device | str = "cpu", *, architecture: Mapping[str, Any] | None = None
) -> Encoder:
    """The encoder called `family/variant[+OPTION..][=WEIGHTS]`, `hf:ID_OR_FOLDER` or `module:function`, on `device`.

    An encoder is passed through. Options of a published model are `frames:8`, `size:336`, `pool:mean` and the like;
    `architecture` replaces numbers of its published shape, for small versions of it. ValueError with the nearest match
    for an unknown name, and whatever is wrong with the weights.
    """
    if architecture and not (isinstance(encoder, str) and _published(encoder)):
        raise UserError(f"{encoder}: only published models (`vitascope ls encoders`) take an `architecture`")
    found = _by_name(encoder, architecture or {}) if isinstance(encoder, str) else encoder
    if not isinstance(found, Encoder) or not isinstance(found.card, Card):
        raise UserError(f"{encoder}: gave {type(found).__name__}, which is no encoder{_remedy(found)}")
    return found.to(device) if isinstance(found, nn.Module) else found


def _is_here(name: str) -> bool:
    """Whether a name of an encoder is rather a file or a folder that holds one; names of families go before."""
    if name.partition("=")[0].partition("/")[0] in ENCODERS.families():
        return False
    path = Path(name).expanduser()
    return path.suffix == ".safetensors" or (("/" in name or name in (".", "..")) and path.is_dir())


def _published(name: str) -> bool:
    """Whether a name is of a family of published models."""
    family, _, variant = name.partition("/")
    return bool(variant) and family in ENCODERS.families() and bool(models(family))


def _remedy(found: Any) -> str:
    """What makes an encoder of something that is none."""
    if found is None:
        return "; does the function end with `return`?"
    if isinstance(found, nn.Module):
        return "; wrap it: vitascope.framewise(model, card) for images, vitascope.NetworkEncoder(card, model) for clips"
    return ": it needs a card and a call"


def _by_name(name: str, architecture: Mapping[str, Any]) -> Any:
    if name.startswith("hf:"):
        return importlib.import_module("vitascope.encoders.families.transformers").build(name.removeprefix("hf:"))
    if ":" in name and not set("/+") & set(name.partition(":")[0]):
        return _outside(name)
    if _is_here(name):
        return importlib.import_module("vitascope.encoders.weights.native").load(name)
    name, _, weights = name.partition("=")
    family, _, variant = name.partition("/")
    if not variant:
        raise ENCODERS.unknown(name)
    if _published(name):
        weights = os.path.expanduser(weights)  # which shells do only where a word begins
        return importlib.import_module("vitascope.encoders.pretrained").load(name, weights, architecture)
    build = ENCODERS.builder(name)
    if weights:
        raise UserError(f"{name}={weights}: {family} encoders read no weights; leave `={weights}` out")
    return build()


def _outside(name: str) -> Any:
    """What `module:function` returns, called without arguments."""
    build, function = outside(name), name.partition(":")[2]
    try:
        inspect.signature(build).bind()
    except TypeError as error:
        raise UserError(f"{name}: {function} is called without arguments, but: {error}") from error
    try:
        return build()
    except Exception as error:  # the same
        raise UserError(f"{name}: {function}() failed: {one_line(error)}") from error
