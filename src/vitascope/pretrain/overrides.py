"""Recipes changed from the command line: `lr:1e-3`, `shape.depth:4`, `targets.pixels.weight:0.5`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.pretrain.image_teacher import ImageTeacherRecipe
from vitascope.pretrain.recipe import Recipe

R = TypeVar("R", Recipe, ImageTeacherRecipe)


def changed(recipe: R, asked: Mapping[str, str]) -> R:
    """`recipe` with fields set from text, by their path; ValueError naming the nearest for a field it has not.

    Things that have a name, as sources and targets do, are steps of a path by that name.
    """
    for path, text in asked.items():
        made: R = _with(recipe, path.split("."), text, f"{path}:{text}")
        recipe = made
    return recipe


def read(text: str, hint: Any, where: str) -> Any:
    """What `text` says where something of type `hint` is wanted; ValueError where it does not say that."""
    if get_origin(hint) is Literal:
        if text not in get_args(hint):
            raise UserError(f"{where}: {text!r}{nearest(text, get_args(hint))}; it is {_or(get_args(hint))}")
        return text
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        return None if text.lower() == "none" and NoneType in get_args(hint) else read(text, kinds[0], where)
    if get_origin(hint) is tuple:
        kinds = list(get_args(hint))
        words = [word.strip() for word in text.split(",") if word.strip()]
        kinds = kinds[:1] * len(words) if kinds[-1] is Ellipsis else kinds
        if len(words) != len(kinds):
            raise UserError(f"{where}: {len(kinds)} values, with commas, are wanted")
        return tuple(read(word, kind, where) for word, kind in zip(words, kinds, strict=True))
    return _plain(text, hint, where)


def _plain(text: str, hint: Any, where: str) -> Any:
    if hint is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise UserError(f"{where}: true or false is wanted")
        return words[text.lower()]
    if hint is int and text.replace("_", "").lstrip("-").isdecimal():
        return int(text)
    if hint in (int, float):
        try:
            number = float(text)
        except ValueError:
            raise UserError(f"{where}: a number is wanted") from None
        if hint is int and not number.is_integer():
            raise UserError(f"{where}: a whole number is wanted")
        return hint(number)
    if hint in (str, Path):
        return hint(text)
    raise UserError(f"{where}: this is not set from the command line; write a function of yours: module:function")


def _with(value: Any, path: list[str], text: str, where: str) -> Any:
    """`value` with what is at the end of `path` replaced."""
    first, *rest = path
    if isinstance(value, tuple):
        return _with_named(value, first, rest, text=text, where=where)
    known = [f.name for f in dataclasses.fields(value) if f.init] if dataclasses.is_dataclass(value) else []
    if first not in known:
        raise UserError(f"{where}: {type(value).__name__} has no {first!r}{nearest(first, known)}; it has {_or(known)}")
    old = getattr(value, first)
    new = _with(old, rest, text, where) if rest else read(text, get_type_hints(type(value))[first], where)
    return dataclasses.replace(value, **{first: new})


def _with_named(values: tuple[Any, ...], name: str, rest: list[str], *, text: str, where: str) -> Any:
    """The thing called `name` among `values`, or among the first of pairs, changed."""
    things = {getattr(v[0] if isinstance(v, tuple) else v, "name", ""): i for i, v in enumerate(values)}
    if name not in things or not rest:
        raise UserError(f"{where}: say one of {_or(list(things))}, and a field of it{nearest(name, things)}")
    place = things[name]
    old = values[place]
    new = (_with(old[0], rest, text, where), *old[1:]) if isinstance(old, tuple) else _with(old, rest, text, where)
    return (*values[:place], new, *values[place + 1 :])


def _or(words: list[str] | tuple[str, ...]) -> str:
    return ", ".join(words) or "nothing to set"
