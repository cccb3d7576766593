"""Names to things: `family/variant` names a module of a package and the argument of its `build`."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from vitascope.core.errors import UnknownNameError, UserError, one_line
from vitascope.core.text import nearest


@dataclass(frozen=True)
class Registry:
    """Names of one kind: every module of `package` is a family, found by its existence.

    A family has `build(variant)` and a literal `VARIANTS: dict[str, str]`, {variant: one line about it}, which is read
    without importing the module.
    """

    kind: str
    """Plural, as in `vitascope ls probes`."""
    package: str
    literal: str = "VARIANTS"
    """Name of the dictionary."""

    @cached_property
    def folder(self) -> Path:
        """Where the package lies."""
        spec = find_spec(self.package)
        assert spec
        assert spec.origin
        return Path(spec.origin).parent

    def families(self) -> list[str]:
        """The modules of the package, by name."""
        return sorted(m.name for m in pkgutil.iter_modules([str(self.folder)]))

    def source(self, family: str) -> str:
        """The text of a family's module."""
        return (self.folder / f"{family}.py").read_text(encoding="utf-8")

    def module(self, family: str) -> ModuleType:
        """A family's module, imported."""
        return importlib.import_module(f"{self.package}.{family}")

    def variants(self, family: str) -> dict[str, str]:
        """{variant: one line about it}; empty where the module has no such dictionary."""
        for node in ast.parse(self.source(family)).body:
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == self.literal and node.value:
                return dict(ast.literal_eval(node.value))
        return {}

    def names(self) -> dict[str, str]:
        """Every name as it is typed, and one line about it; the default variant goes by the family's name."""
        return {
            f"{family}/{variant}" if variant else family: about
            for family in self.families()
            for variant, about in self.variants(family).items()
        }

    def unknown(self, name: str) -> UnknownNameError:
        """The error for a name that stands for nothing."""
        return unknown(self.kind, name, self.names())

    def builder(self, name: str) -> Callable[..., Any]:
        """The function that builds `name`; UserError with the nearest known name for an unknown family."""
        family, _, variant = name.partition("/")
        if family not in self.families():
            raise self.unknown(name)
        return partial(self.module(family).build, variant)

    def build(self, name: str) -> Any:
        """Build `name`; see `builder`. An unknown variant raises UserError too."""
        return self.builder(name)()


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """The error for a name of a kind (plural) that stands for nothing, with the nearest of those `known`."""
    return UnknownNameError(f"no {kind[:-1]} {name!r}{nearest(name, known)}; see `vitascope ls {kind}`")


def unknown_variant(kind: str, family: str, variant: str, variants: Iterable[str]) -> UnknownNameError:
    """The error for a variant that a family does not have."""
    name = f"{family}/{variant}" if variant else family
    return unknown(kind, name, [f"{family}/{known}" if known else family for known in variants])


def outside(name: str) -> Callable[..., Any]:
    """The function that `module:function` stands for; modules are found on the path and in the current folder.

    UserError where there is none such, or the module fails.
    """
    module, _, function = name.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(f"{name}: {error}; run where {module}.py is, or install it") from error
    except Exception as error:  # whatever somebody's module raises is for them to mend
        raise UserError(f"{name}: importing {module} failed: {one_line(error)}") from error
    build: Callable[..., Any] | None = getattr(loaded, function, None)
    if not callable(build):
        there = [word for word in vars(loaded) if not word.startswith("_")]
        raise UserError(f"{name}: no function {function!r} in {module}{nearest(function, there)}")
    return build
