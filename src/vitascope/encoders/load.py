"""Load an encoder by name."""

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
from vitascope.encoders.card_check import card_problem
from vitascope.encoders.catalog import ENCODERS, models
from vitascope.encoders.options import spelled


def load(
    encoder: str | Encoder, device: torch.device | str = "cpu", *, architecture: Mapping[str, Any] | None = None
) -> Encoder:
    """Load `family/variant[+OPTION..][=WEIGHTS]`, `hf:ID_OR_FOLDER` or `module:function` onto `device`.

    An `Encoder` is returned as it is. Options of a published model are e.g. `frames=8`, `size=336`, `pool=mean`;
    `architecture` overrides values of its configuration, for small versions. Raises `UserError` for an unknown name,
    with the nearest match, and for weights that do not fit.
    """
    if architecture and not (isinstance(encoder, str) and _is_published(encoder)):
        raise UserError(f"{encoder}: only published models (`vitascope ls encoders`) take an `architecture`")
    loaded = _by_name(encoder, architecture or {}) if isinstance(encoder, str) else encoder
    if not isinstance(loaded, Encoder) or not isinstance(loaded.card, Card):
        raise UserError(f"{encoder}: returned {type(loaded).__name__}, which is not an encoder{_remedy(loaded)}")
    if problem := card_problem(loaded.card):
        raise UserError(f"{loaded.card.name}: {problem}")
    return loaded.to(device) if isinstance(loaded, nn.Module) else loaded


def outline(name: str) -> Encoder:
    """The encoder `name` on the meta device, to count what it costs; weights of published models are not read."""
    parts = None if has_no_catalog_name(name) else spelled(name)
    if parts is not None and _is_published(parts.name):
        outlined: Encoder = importlib.import_module("vitascope.encoders.pretrained").outline(
            str(parts._replace(path=""))
        )
        return outlined
    return load(name, "meta")


def _is_local(name: str) -> bool:
    """True if `name` is a file or folder of a natively pretrained encoder; family names take precedence."""
    if name.partition("=")[0].partition("/")[0] in ENCODERS.families():
        return False
    path = Path(name).expanduser()
    return path.suffix == ".safetensors" or (("/" in name or name in (".", "..")) and path.is_dir())


def has_no_catalog_name(name: str) -> bool:
    """True for `hf:ID_OR_FOLDER`, `module:function` and a file or folder of a natively pretrained encoder."""
    return name.startswith("hf:") or _is_function(name) or _is_local(name)


def _is_function(name: str) -> bool:
    return ":" in name and not set("/+") & set(name.partition(":")[0])


def _is_published(name: str) -> bool:
    """True if `name` belongs to a family of published models."""
    family, _, variant = name.partition("/")
    return bool(variant) and family in ENCODERS.families() and bool(models(family))


def _remedy(value: Any) -> str:
    """How to make an encoder of a value that is not one."""
    if value is None:
        return "; does the function end with `return`?"
    if isinstance(value, nn.Module):
        return "; wrap it: vitascope.framewise(model, card) for images, vitascope.NetworkEncoder(card, model) for clips"
    return "; it needs an attribute `card` and a method `__call__`"


def _by_name(name: str, architecture: Mapping[str, Any]) -> Any:
    if name.startswith("hf:"):
        return importlib.import_module("vitascope.encoders.families.transformers").build(name.removeprefix("hf:"))
    if _is_function(name):
        return _from_module(name)
    if _is_local(name):
        return importlib.import_module("vitascope.encoders.weights.native").load(name)
    parts = spelled(name)
    family, _, variant = parts.name.partition("/")
    if not variant:
        raise ENCODERS.unknown(parts.name)
    if _is_published(parts.name):
        weights = os.path.expanduser(parts.path)  # shells expand ~ only at the start of a word
        options = str(parts._replace(path=""))
        return importlib.import_module("vitascope.encoders.pretrained").load(options, weights, architecture)
    if parts.path:
        raise UserError(f"{name}: {family} encoders take no weights; omit `={parts.path}`")
    return ENCODERS.builder(str(parts))()


def _from_module(name: str) -> Any:
    """The return value of `module:function`, called without arguments."""
    build, function = outside(name), name.partition(":")[2]
    try:
        inspect.signature(build).bind()
    except TypeError as error:
        raise UserError(f"{name}: {function} must take no required arguments: {error}") from error
    try:
        return build()
    except Exception as error:  # the same
        raise UserError(f"{name}: {function}() failed: {one_line(error)}") from error
