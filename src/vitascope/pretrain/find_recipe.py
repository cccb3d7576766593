"""Recipes of pretraining by name: the files of `recipes/pretraining` say what there is; imports are the registry."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, get_type_hints

from vitascope.core.errors import UserError
from vitascope.core.registry import Registry, outside
from vitascope.core.text import nearest

if TYPE_CHECKING:
    from vitascope.pretrain.image_teacher import ImageTeacherRecipe
    from vitascope.pretrain.recipe import Recipe

RECIPES = Registry("recipes", "vitascope.pretrain.recipes", "RECIPES")


def families() -> dict[str, dict[str, str]]:
    """{module: {recipe: one line about it}}, read without importing any."""
    return {family: RECIPES.variants(family) for family in RECIPES.families()}


def names() -> dict[str, str]:
    """Every recipe, and one line about it."""
    return {name: about for recipes in families().values() for name, about in recipes.items()}


def find(name: str, asked: Mapping[str, str] | None = None) -> Recipe | ImageTeacherRecipe:
    """The recipe called `name`, or that `module:function` returns, with what is `asked` for as text.

    What the function that makes it takes as a keyword (such as `data`, a folder) goes to that function; all else are
    fields of the recipe (`lr`, `shape.depth`, `targets.pixels.weight`). ValueError with the nearest match for an
    unknown name.
    """
    from vitascope.pretrain.image_teacher import ImageTeacherRecipe
    from vitascope.pretrain.overrides import changed, read
    from vitascope.pretrain.recipe import Recipe

    build, first = _builder(name)
    known = inspect.signature(build).parameters
    keywords = [k for k, p in known.items() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)][len(first) :]
    hints = get_type_hints(build)
    given = {k: read(v, hints.get(k, str), f"{k}:{v}") for k, v in (asked or {}).items() if k in keywords}
    lacking = [k for k in keywords if known[k].default is inspect.Parameter.empty and k not in given]
    if lacking:
        raise UserError(f"{name} wants {', '.join(lacking)}; say --set {lacking[0]}:...")
    made = build(*first, **given)
    if not isinstance(made, (Recipe, ImageTeacherRecipe)):
        raise UserError(
            f"{name} gave {type(made).__name__}, which is no recipe; return vitascope.pretrain.recipe.Recipe"
        )
    left = {k: v for k, v in (asked or {}).items() if k not in given}
    either: Any = made
    return changed(either, left)  # type: ignore[no-any-return]


def _builder(name: str) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """What makes a recipe, and what it is called with first."""
    if ":" in name:
        return outside(name), ()
    for family, recipes in families().items():
        if name in recipes:
            return RECIPES.module(family).build, (name,)
    raise UserError(f"no recipe {name!r}{nearest(name, names())}; see `vitascope ls recipes`, or say module:function")
