"""Recipes of pretraining by name: every file of `pretrain/recipes` that exists is found."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, get_type_hints

from vitascope.core import option_text
from vitascope.core.errors import UserError
from vitascope.core.fields import FieldOption, as_text, in_words, options_of
from vitascope.core.option_text import changed, once, read
from vitascope.core.registry import Registry, outside
from vitascope.core.text import nearest
from vitascope.sampling.names import Sampler, describe, parse

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


def find(name: str, options: Mapping[str, str] | None = None) -> Recipe | ImageTeacherRecipe:
    """The recipe called `name`, or that `module:function` returns, with `options` as text.

    The name may have options of its own, `name+lr=3e-4+schedule=wsd`.

    What the function that makes it takes as a keyword (such as `data`, a folder) goes to that function; all else are
    fields of the recipe (`lr`, `shape.depth`, `targets.pixels.weight`). UserError with the nearest match for an
    unknown name.
    """
    from vitascope.pretrain.image_teacher import ImageTeacherRecipe
    from vitascope.pretrain.recipe import Recipe

    plain, own = _taken_apart(name)
    asked = once((*own, *(options or {}).items()), name)
    build, first = _builder(plain)
    keywords = _keywords(build, first)
    given = {k: read(keywords[k][0], v, f"{name}: {k}") for k, v in asked.items() if k in keywords}
    if lacking := _lacking(keywords, given):
        raise UserError(f"{name} needs {', '.join(lacking)}; give it with --set {lacking[0]}=...")
    made = build(*first, **given)
    if not isinstance(made, (Recipe, ImageTeacherRecipe)):
        raise UserError(
            f"{name} gave {type(made).__name__}, which is no recipe; return vitascope.pretrain.recipe.Recipe"
        )
    left = {k: v for k, v in asked.items() if k not in given}
    either: Any = made
    return changed(either, left, name, {Sampler: parse})  # type: ignore[no-any-return]


def options(name: str) -> tuple[str, list[FieldOption]]:
    """The docstring of the function that makes a recipe, and what can be set of it, with its values.

    What a recipe has that cannot be made without something, such as a folder of data, is not known; its fields are.
    """
    from vitascope.pretrain.recipe import Recipe

    plain, own = _taken_apart(name)
    build, first = _builder(plain)
    keywords = _keywords(build, first)
    try:
        fields = {row.name: row for row in options_of(find(name), {Sampler: describe})}
    except UserError:
        if own and _can_be_made(plain):  # so it is its options that are wrong
            raise
        fields = {row.name: row._replace(default="") for row in options_of(Recipe)}
    taken = []
    for key, (hint, default) in keywords.items():
        text = "required" if default is inspect.Parameter.empty else as_text(default)
        row = FieldOption(key, in_words(hint), text, "", "See above.")
        same = fields.pop(key, row)
        taken.append(same._replace(default=same.default or text) if same.type == row.type else row)
    return inspect.getdoc(build) or "", [*taken, *fields.values()]


def _taken_apart(name: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """A recipe's name and the options behind it; UserError for one without a value."""
    plain, own, _ = option_text.parse(name, path=False)
    if empty := next((key for key, value in own if not value), ""):
        raise UserError(f"{name}: +{empty} has no value; write +{empty}=..., or --set {empty}=... if a '+' is in it")
    return plain, own


def _can_be_made(name: str) -> bool:
    try:
        find(name)
    except UserError:
        return False
    return True


def _lacking(keywords: Mapping[str, tuple[Any, Any]], given: Mapping[str, Any]) -> list[str]:
    """Keyword parameters that must be given and are not."""
    return [k for k, (_, default) in keywords.items() if default is inspect.Parameter.empty and k not in given]


def _keywords(build: Callable[..., Any], first: tuple[str, ...]) -> dict[str, tuple[Any, Any]]:
    """Keyword parameters of a function: {name: (type, default)}."""
    hints = get_type_hints(build)
    known = inspect.signature(build).parameters.values()
    named = [p for p in known if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)][len(first) :]
    return {p.name: (hints.get(p.name, str), p.default) for p in named}


def _builder(name: str) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """The function that builds a recipe, and its positional arguments."""
    if ":" in name:
        return outside(name), ()
    for family, recipes in families().items():
        if name in recipes:
            return RECIPES.module(family).build, (name,)
    raise UserError(f"no recipe {name!r}{nearest(name, names())}; see `vitascope ls recipes`, or say module:function")
