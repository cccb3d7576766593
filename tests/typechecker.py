"""Types and shapes are checked at run time under test, in the first calls of each function in every test.

An int where a float is meant passes, as Python has it. Checking every call of a training or a search takes as long as
the work itself, and proves no more than its first calls do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, wraps
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
CHECKED = 50
"""Calls of each function that are checked in a test."""
current = [0]
"""Number of the current test."""
_jaxtyped = jaxtyping.jaxtyped


def start_test() -> None:
    """Check the next calls of every function again."""
    current[0] += 1


def _checked_first(fn: Any = None, *, typechecker: Any) -> Any:
    """`jaxtyping.jaxtyped`, of which only so many calls a test are checked; classes are always."""
    if fn is None:
        return partial(_checked_first, typechecker=typechecker)
    if not inspect.isfunction(fn):
        return _jaxtyped(fn, typechecker=typechecker)
    hints = {name: _resolved(hint, fn) for name, hint in fn.__annotations__.items()}
    alone = not any(map(_has_shape, hints.values())) and not inspect.isgeneratorfunction(fn)
    checked = _by_types(fn, hints, typechecker) if alone else _jaxtyped(fn, typechecker=typechecker)
    return checked if checked is fn else _first_calls(checked, fn)


def _by_types(fn: Any, hints: dict[str, Any], typechecker: Any) -> Any:
    """The function with its types checked; where no array is named, comparing shapes would cost time for nothing."""
    kept, fn.__annotations__ = fn.__annotations__, hints
    try:
        return typechecker(fn)
    finally:
        fn.__annotations__ = kept


def _resolved(hint: Any, fn: Any) -> Any:
    """A hint as an object; anything goes where its names are for type checkers only, as jaxtyping has it."""
    if not isinstance(hint, str):
        return hint
    try:
        found = get_type_hints(SimpleNamespace(__annotations__={"hint": hint}), fn.__globals__, include_extras=True)
    except Exception:
        return Any
    return found["hint"]


def _has_shape(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(map(_has_shape, hint if isinstance(hint, list) else get_args(hint)))


def _first_calls(checked: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    test, calls = 0, 0

    @wraps(plain)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal test, calls
        if test != current[0]:
            test, calls = current[0], 0
        if calls >= CHECKED or jaxtyping.config.jaxtyping_disable:
            return plain(*args, **kwargs)
        calls += 1
        return checked(*args, **kwargs)

    return call


def install() -> None:
    """Check the package from its first import on."""
    jaxtyping.jaxtyped = _checked_first
    jaxtyping.install_import_hook("vitascope", "typechecker.check")
