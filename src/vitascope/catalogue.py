"""Names to things: `family/variant` names a module and the argument of its `build`; imports are the registry."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import vitascope
from vitascope.blueprint import Model
from vitascope.types import Card, nearest

ROOT = Path(vitascope.__file__).parent
ALSO = {
    "encoders": "and hf:ID or hf:FOLDER, any transformers image or video model; module:function, yours",
    "probes": "what each does exactly: docs/protocols.md",
    "recipes": "and module:function, yours; `vitascope pretrain NAME --dry-run` says what each costs here",
    "datasets": "and any folder of class folders, with a manifest.csv, with groundTruth/ or with a json in "
    "ActivityNet's form, or made by `vitascope import`",
}
"""What the names of a kind leave out."""


def families(kind: str) -> list[str]:
    """The modules of package `kind` (encoders, datasets, probes), by name."""
    return sorted(m.name for m in pkgutil.iter_modules([str(ROOT / kind)]))


def models(family: str) -> dict[str, Model]:
    """`MODELS` of an encoder family, {variant: Model}; empty for the families that are not published models."""
    if not re.search(r"^MODELS\b", (ROOT / "encoders" / f"{family}.py").read_text(encoding="utf-8"), re.MULTILINE):
        return {}
    return dict(importlib.import_module(f"vitascope.encoders.{family}").MODELS)


def variants(kind: str, family: str) -> dict[str, str]:
    """{variant: one line about it}, read without importing torch: from `MODELS`, or from the source of `VARIANTS`."""
    if kind == "encoders" and (published := models(family)):
        return {variant: model.about for variant, model in published.items()}
    return literal(kind, family, "VARIANTS")


def literal(kind: str, family: str, name: str) -> dict[str, str]:
    """The dictionary that is written down as `name: dict[str, str]` in a module; empty where it is not."""
    for node in ast.parse((ROOT / kind / f"{family}.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and node.value:
            return dict(ast.literal_eval(node.value))
    return {}


def names(kind: str) -> dict[str, str]:
    """Every name of a kind as it is typed, and one line about it; the default variant goes by the family's name."""
    return {
        f"{family}/{variant}" if variant else family: about
        for family in families(kind)
        for variant, about in variants(kind, family).items()
    }


def unknown(kind: str, name: str) -> ValueError:
    """The error for a name that stands for nothing."""
    return ValueError(f"no {kind[:-1]} {name!r}{nearest(name, names(kind))}; see `vitascope ls {kind}`")


def cards() -> dict[str, Card]:
    """The card of every published model, by name."""
    return {model.card.name: model.described() for family in families("encoders") for model in models(family).values()}


def builder(kind: str, name: str) -> Callable[..., Any]:
    """What makes the thing that `name` stands for; ValueError with the nearest known name where there is no family."""
    family, _, variant = name.partition("/")
    if family not in families(kind):
        raise unknown(kind, name)
    return partial(importlib.import_module(f"vitascope.{kind}.{family}").build, variant)


def build(kind: str, name: str) -> Any:
    """What `name` stands for; see `builder`. An unknown variant raises ValueError too."""
    return builder(kind, name)()
