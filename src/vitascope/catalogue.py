"""Names to things: `family/variant` names a module and the argument of its `build`; imports are the registry."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import vitascope
from vitascope.types import nearest

ROOT = Path(vitascope.__file__).parent


def families(kind: str) -> list[str]:
    """The modules of package `kind` (encoders, datasets, probes), by name."""
    return sorted(m.name for m in pkgutil.iter_modules([str(ROOT / kind)]))


def variants(kind: str, family: str) -> dict[str, str]:
    """`VARIANTS` of a module, {variant: one line about it}, read without importing what the module imports."""
    tree = ast.parse((ROOT / kind / f"{family}.py").read_text(encoding="utf-8"))
    for node in tree.body:
        target = (
            node.target
            if isinstance(node, ast.AnnAssign)
            else node.targets[0]
            if isinstance(node, ast.Assign)
            else None
        )
        if isinstance(target, ast.Name) and target.id == "VARIANTS":
            assert isinstance(node, (ast.Assign, ast.AnnAssign))
            assert node.value is not None
            found: dict[str, str] = ast.literal_eval(node.value)
            return found
    return {}


def names(kind: str) -> dict[str, str]:
    """Every name of a kind as it is typed, and one line about it; the default variant goes by the family's name."""
    return {
        f"{family}/{variant}" if variant else family: about
        for family in families(kind)
        for variant, about in variants(kind, family).items()
    }


def build(kind: str, name: str, *arguments: Any) -> Any:
    """What `name` stands for; ValueError with the nearest known name where there is none of the kind."""
    family, _, variant = name.partition("/")
    if family not in families(kind):
        known = names(kind)
        raise ValueError(f"no {kind[:-1]} {name!r}{nearest(name, known)}; see `vitascope ls {kind}`")
    return importlib.import_module(f"vitascope.{kind}.{family}").build(variant, *arguments)
