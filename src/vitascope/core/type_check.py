"""Whether data from a file are of the types that a class declares."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vitascope.core.errors import UserError


def check_fields(value: Any) -> None:
    """Raise UserError for the first field of a dataclass whose value is not of the declared type."""
    hints = _hints(type(value))  # type: ignore[arg-type]  # types are hashable
    for field in fields(value):
        if not fits(given := getattr(value, field.name), hints[field.name]):
            raise UserError(f"{field.name} cannot be {given!r:.60}")


def fits(value: Any, hint: Any) -> bool:
    """Whether plain data are of a type; numbers must be finite, and a bool is no number."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any or isinstance(hint, TypeVar):
        return True
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if isinstance(origin, type):
        return _holds(value, origin, inner)
    if isinstance(hint, type) and hasattr(hint, "_fields"):  # a NamedTuple
        each = _hints(hint)
        return isinstance(value, hint) and all(fits(getattr(value, name), each[name]) for name in each)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return value is None if hint is NoneType else isinstance(value, hint)


@cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return get_type_hints(kind)


def _holds(value: Any, kind: type, inner: tuple[Any, ...]) -> bool:
    """Whether a container is of a type, and all that it holds of the types `inner`."""
    if issubclass(kind, Mapping):
        return isinstance(value, Mapping) and all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    if not isinstance(value, kind):
        return False
    if isinstance(value, tuple) and inner[-1] is not ...:
        return len(value) == len(inner) and all(map(fits, value, inner))
    return not isinstance(value, tuple | frozenset) or all(fits(one, inner[0]) for one in value)
