"""Fields of dataclasses: the constraints declared beside them, checked by one function, and what each means in words.

A constraint stands in the annotation, `lr: Annotated[float, POSITIVE] = 0.1`, and what the field means in the string
below it. Neither changes the class or its digest.
"""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, Union, get_args, get_origin, get_type_hints

from vitascope.core.errors import UserError
from vitascope.core.text import nearest


@dataclass(frozen=True, slots=True)
class Bounds:
    """Numbers from `low` to `high`, both of them included unless that end is open. NaN is never within."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def allows(self, value: Any) -> bool:
        """Whether a number lies within."""
        above = self.low < value if self.open_low else self.low <= value
        return bool(above and (value < self.high if self.open_high else value <= self.high))

    def __str__(self) -> str:
        low = "" if self.low == -math.inf else f"{'above' if self.open_low else 'at least'} {self.low:g}"
        high = f"{'below' if self.open_high else 'at most'} {self.high:g}"
        if self.high == math.inf:
            low, high = "positive" if low == "above 0" else low, "finite" if self.open_high else ""
        elif low and not (self.open_low or self.open_high):
            return f"between {self.low:g} and {self.high:g}"
        return " and ".join(filter(None, (low, high)))


@dataclass(frozen=True, slots=True)
class MultipleOf:
    """Whole multiples of `unit`, from 0 on."""

    unit: int

    def allows(self, value: Any) -> bool:
        """Whether a number is one."""
        return bool(value >= 0 and value % self.unit == 0)

    def __str__(self) -> str:
        return f"a multiple of {self.unit}"


Constraint: TypeAlias = Bounds | MultipleOf
Texts: TypeAlias = Mapping[Any, Callable[[Any], str]]
"""How values of a type are typed, where it is none of Python's own."""
POSITIVE = Bounds(0, open_low=True)
FINITE = Bounds(0, open_low=True, open_high=True)
"""Positive and not infinite."""
NOT_NEGATIVE = Bounds(0)
AT_LEAST_ONE = Bounds(1)
SHARE = Bounds(0, 1)
BELOW_ONE = Bounds(0, 1, open_high=True)
ABOVE_ZERO = Bounds(0, 1, open_low=True)
"""Shares that are not 0."""
PART = Bounds(0, 1, open_low=True, open_high=True)
"""Shares that are neither nothing nor all."""
WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
"""The types that text can be read as, in words."""


class FieldOption(NamedTuple):
    """A field as people set it."""

    name: str
    """Path of the field, as it is typed: `lr`, `shape.depth`."""
    type: str
    """Permitted values, in words."""
    default: str
    """Its value without setting it, as it would be typed; `required` where there is none."""
    constraint: str
    """Constraint on the value, in words; empty if the type says it all."""
    meaning: str
    """The docstring of the field, on one line."""


def check_fields(item: Any, where: str) -> None:
    """Hold the fields of a dataclass to their constraints and the words of their literal types.

    Raises UserError, which begins with `where` and names every field that is wrong, its value and what it must be. Of
    a tuple every item is checked.
    """
    wrong = [
        f"{name} = {value!r} must be {words}"
        for name, hint in hints(type(item)).items()
        for value, words in faults(getattr(item, name), hint)
    ]
    if wrong:
        raise UserError(f"{where}: {'; '.join(wrong)}")


def hints(cls: type) -> dict[str, Any]:
    """The type of every field of a dataclass, annotations kept."""
    return _hints(cls)  # a class is hashable


@cache
def _hints(cls: Any) -> dict[str, Any]:
    by_name: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        with suppress(NameError):  # a class from outside that imports its types for checkers alone
            by_name |= get_type_hints(base, include_extras=True)
    return {f.name: by_name.get(f.name, Any) for f in fields(cls)}


def faults(value: Any, hint: Any) -> Iterator[tuple[Any, str]]:
    """The value, or each item of a tuple, that is not as `hint` declares; with what it must be, in words."""
    constraints, (kind, optional) = list(constraints_of(hint)), _item(hint)
    for item in value if isinstance(value, tuple) else (value,):
        if optional and item is None:
            continue
        if get_origin(kind) is Literal:
            words = list(map(str, get_args(kind)))
            if item not in get_args(kind):
                yield item, f"one of {', '.join(words)}{nearest(str(item), words)}"
        elif constraints:
            number = isinstance(item, Integral if kind is int else Real) and not isinstance(item, bool)
            if not number or not all(constraint.allows(item) for constraint in constraints):
                yield item, ("" if number else f"a {in_words(kind)}, ") + " and ".join(map(str, constraints))


def _item(hint: Any) -> tuple[Any, bool]:
    """The type of a field, or of the items of a tuple, without its metadata; whether it may be None."""
    origin, kinds, optional = get_origin(hint), get_args(hint), False
    while origin in (Annotated, Union, UnionType, tuple):
        optional = optional or NoneType in kinds
        hint = next(kind for kind in kinds if kind is not NoneType)
        origin, kinds = get_origin(hint), get_args(hint)
    return hint, optional


def in_words(hint: Any) -> str:
    """A field type in words: `whole number`, `numbers, with commas`, `text or none`."""
    origin, kinds = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return in_words(kinds[0])
    if origin is Literal:
        return " | ".join(map(str, kinds))
    if origin in (Union, UnionType):
        inner = next(kind for kind in kinds if kind is not NoneType)
        return in_words(inner) + (" or none" if NoneType in kinds else "")
    if origin is tuple:
        count = "" if Ellipsis in kinds else f"{len(kinds)} "
        return f"{count}{in_words(kinds[0])}s{', with commas' if kinds[0] in WORDS else ''}"
    return WORDS.get(hint, str(getattr(hint, "__name__", hint)).lower())


def constraints_of(hint: Any) -> Iterator[Constraint]:
    """The constraints anywhere in the type of a field."""
    if isinstance(hint, Constraint):
        yield hint
    elif get_origin(hint) is not Literal:
        for part in get_args(hint):
            yield from constraints_of(part)


def as_text(value: Any) -> str:
    """A value as it is typed; what cannot be typed as Python shows it."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(as_text, value))
    return value if isinstance(value, str) else str(value)


def meanings(cls: type) -> dict[str, str]:
    """The docstrings of a class's fields, the bases' among them: the string that stands right below a field."""
    by_name: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        by_name |= _docstrings(base)
    return by_name


def _docstrings(cls: type) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):  # built in, or typed at a prompt
        return
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    for node, below in pairwise(body):
        text = below.value if isinstance(below, ast.Expr) else None
        if isinstance(node, ast.AnnAssign) and isinstance(text, ast.Constant) and isinstance(text.value, str):
            yield ast.unparse(node.target), " ".join(text.value.split())


def options_of(item: Any, texts: Texts | None = None, *, path: str = "") -> list[FieldOption]:
    """Every field of a dataclass, or of an instance with its values; those of what it holds by dots.

    `texts` writes values of types that are not Python's own. Named items of a tuple are steps of a path by their name.
    """
    cls, texts = item if isinstance(item, type) else type(item), texts or {}
    rows, about = [], meanings(cls)
    for field in (f for f in fields(cls) if f.init):
        value = _default(field) if isinstance(item, type) else getattr(item, field.name)
        name, hint = f"{path}{field.name}", hints(cls)[field.name]
        if hint not in texts and (inner := list(_inside(value))):
            rows += [o for step, thing in inner for o in options_of(thing, texts, path=f"{name}.{step}")]
        else:
            default = "required" if value is MISSING else texts.get(hint, as_text)(value)
            constraint = " and ".join(map(str, constraints_of(hint)))
            rows.append(FieldOption(name, in_words(hint), default, constraint, about.get(field.name, "")))
    return rows


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    """The dataclasses that a value holds: itself, or those with a name in a tuple or first in the pairs of one."""
    if is_dataclass(value) and not isinstance(value, type):
        yield "", value
    for one in value if isinstance(value, tuple) else ():
        thing = one[0] if isinstance(one, tuple) and one else one
        name = getattr(thing, "name", "")
        if name and is_dataclass(thing):
            yield f"{name}.", thing


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()
