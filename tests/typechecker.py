"""Types and shapes are checked at run time under test, in the first calls of each function in every test.

An int where a float is meant passes, as Python has it. Checking every call of a training or a search takes as long as
the work itself, and proves no more than its first calls do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

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
    checked = _jaxtyped(fn, typechecker=typechecker)
    return _first_calls(checked, fn) if inspect.isfunction(fn) and checked is not fn else checked


def _first_calls(checked: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    test, calls = 0, 0

    @wraps(plain)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal test, calls
        if test != current[0]:
            test, calls = current[0], 0
        if calls >= CHECKED:
            return plain(*args, **kwargs)
        calls += 1
        return checked(*args, **kwargs)

    return call


def install() -> None:
    """Check the package from its first import on."""
    jaxtyping.jaxtyped = _checked_first
    jaxtyping.install_import_hook("vitascope", "typechecker.check")
