"""Constraints beside fields, checked by one function, and fields in words."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitascope.core.errors import UserError
from vitascope.core.fields import (
    ABOVE_ZERO,
    AT_LEAST_ONE,
    BELOW_ONE,
    FINITE,
    NOT_NEGATIVE,
    PART,
    POSITIVE,
    SHARE,
    Bounds,
    Constraint,
    FieldOption,
    MultipleOf,
    check_fields,
    in_words,
    options_of,
)
from vitascope.core.types import digest, plain
from vitascope.pretrain import masking
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.targets import targets
from vitascope.sampling.names import SAMPLERS

if TYPE_CHECKING:
    from decimal import Decimal


@dataclass(frozen=True)
class Inner:
    name: str = "inner"
    depth: Annotated[int, AT_LEAST_ONE] = 2
    """Layers."""


@dataclass(frozen=True)
class Trained:
    lr: Annotated[float, POSITIVE] = 0.1
    """Largest learning rate,
    of all."""
    rates: Annotated[tuple[float, ...], BELOW_ONE] = ()
    steps: Annotated[int, AT_LEAST_ONE] = 3
    end: Annotated[float | None, NOT_NEGATIVE] = None
    how: Literal["adam", "sgd"] = "adam"
    words: tuple[Literal["a", "b"], ...] = ("a",)
    inner: Inner = Inner()
    pairs: tuple[tuple[Inner, float], ...] = field(default_factory=lambda: ((Inner("one"), 1.0),))
    free: float = -1.0

    def __post_init__(self) -> None:
        check_fields(self, "it")


class Fewer(Trained):
    """A subclass without fields of its own."""


CASES: list[tuple[Constraint, str, tuple[float, ...], tuple[float, ...]]] = [
    (POSITIVE, "positive", (1e-9, 1, math.inf), (0, -1, math.nan)),
    (FINITE, "positive and finite", (1e-9, 1), (0, -1, math.inf, math.nan)),
    (NOT_NEGATIVE, "at least 0", (0, 3), (-1e-9, math.nan)),
    (AT_LEAST_ONE, "at least 1", (1, 2), (0, 0.99)),
    (SHARE, "between 0 and 1", (0, 0.5, 1), (-0.1, 1.1)),
    (BELOW_ONE, "at least 0 and below 1", (0, 0.999), (1, -0.1)),
    (ABOVE_ZERO, "above 0 and at most 1", (0.1, 1), (0, 1.1)),
    (PART, "above 0 and below 1", (0.5,), (0, 1)),
    (Bounds(2, 7), "between 2 and 7", (2, 7), (1, 8)),
    (Bounds(2), "at least 2", (2,), (1,)),
    (Bounds(high=7), "at most 7", (-9, 7), (8,)),
    (Bounds(high=7, open_high=True), "below 7", (6,), (7,)),
    (Bounds(1, math.inf, open_high=True), "at least 1 and finite", (1,), (math.inf,)),
    (MultipleOf(16), "a multiple of 16", (0, 32), (8, -16, 16.5)),
]


@pytest.mark.parametrize(("constraint", "words", "good", "bad"), CASES, ids=[words for _, words, _, _ in CASES])
def test_a_constraint_allows_what_its_words_say(
    constraint: Constraint, words: str, good: tuple[float, ...], bad: tuple[float, ...]
) -> None:
    assert str(constraint) == words
    assert all(constraint.allows(value) for value in good)
    assert not any(constraint.allows(value) for value in bad)


@given(st.floats(allow_nan=True), st.floats(-9, 9), st.floats(0, 9), st.booleans(), st.booleans())
def test_bounds_are_an_interval(value: float, low: float, length: float, open_low: bool, open_high: bool) -> None:
    high = low + length
    within = low <= value <= high and not (open_low and value == low) and not (open_high and value == high)
    assert Bounds(low, high, open_low, open_high).allows(value) == within


def test_every_wrong_field_is_named_in_one_line() -> None:
    with pytest.raises(UserError) as error:
        Trained(lr=-1, rates=(0.5, 1.0, 2.0), steps=0, end=-0.5)
    assert str(error.value) == (
        "it: lr = -1 must be positive; rates = 1.0 must be at least 0 and below 1; "
        "rates = 2.0 must be at least 0 and below 1; steps = 0 must be at least 1; end = -0.5 must be at least 0"
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"how": "sdg"}, "it: how = 'sdg' must be one of adam, sgd; did you mean 'sgd'?"),
        ({"words": ("a", "c")}, "it: words = 'c' must be one of a, b"),
        ({"lr": "fast"}, "it: lr = 'fast' must be a number, positive"),
        ({"lr": True}, "it: lr = True must be a number, positive"),
        ({"lr": None}, "it: lr = None must be a number, positive"),
        ({"steps": 1.5}, "it: steps = 1.5 must be a whole number, at least 1"),
    ],
)
def test_types_are_checked_where_something_must_hold(fields: dict[str, Any], message: str) -> None:
    item = object.__new__(Trained)  # as a caller without a type checker would write it
    for name, value in {**vars(Trained()), **fields}.items():
        object.__setattr__(item, name, value)
    with pytest.raises(UserError) as error:
        item.__post_init__()
    assert str(error.value) == message


def test_what_is_not_constrained_is_anything() -> None:
    assert Trained(end=None, free=math.nan, rates=()).end is None
    assert Fewer(lr=3).lr == 3
    with pytest.raises(UserError, match="lr = 0"):
        Fewer(lr=0)


def test_a_class_whose_types_are_imported_for_checkers_alone_keeps_the_constraints_of_its_base() -> None:
    @dataclass(frozen=True)
    class Outside(Trained):
        price: Decimal | None = None

    with pytest.raises(UserError, match="steps = 0 must be at least 1"):
        Outside(steps=0)


def test_constraints_and_docstrings_are_in_no_digest() -> None:
    @dataclass(frozen=True)
    class Bare:
        name: str = "inner"
        depth: int = 2

    Bare.__name__ = "Inner"
    assert plain(Bare()) == plain(Inner())
    assert digest(Bare()) == digest(Inner())


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (bool, "true or false"),
        (int, "whole number"),
        (float | None, "number or none"),
        (Path, "path"),
        (Literal["a", "b"], "a | b"),
        (tuple[int, ...], "whole numbers, with commas"),
        (tuple[float, float], "2 numbers, with commas"),
        (Annotated[tuple[str, ...], SHARE], "texts, with commas"),
        (Inner, "inner"),
        (tuple[Inner, ...], "inners"),
    ],
)
def test_types_in_words(hint: Any, words: str) -> None:
    assert in_words(hint) == words


def test_options_are_the_fields_with_what_is_said_of_them() -> None:
    rows = {option.name: option for option in options_of(Trained(lr=0.5))}
    assert rows["lr"] == FieldOption("lr", "number", "0.5", "positive", "Largest learning rate, of all.")
    assert rows["rates"] == FieldOption("rates", "numbers, with commas", "", "at least 0 and below 1", "")
    assert rows["end"].default == "none"
    assert rows["inner.depth"] == FieldOption("inner.depth", "whole number", "2", "at least 1", "Layers.")
    assert rows["pairs.one.depth"].default == "2"
    assert "inner" not in rows
    assert [o.default for o in options_of(Trained) if o.name == "lr"] == ["0.1"]
    assert [o.meaning for o in options_of(Fewer) if o.name == "lr"] == ["Largest learning rate, of all."]
    assert {o.name: o.default for o in options_of(Recipe)}["steps"] == "required"


KINDS = [
    *SAMPLERS.values(),
    *(masking.Tube, masking.Random, masking.Steps, masking.Attended, masking.RunningCell, masking.DualMask),
    *(masking.Blocks, targets.Pixels, targets.Hog, targets.Flow, targets.Distilled, targets.Latent, targets.Labels),
    Recipe,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_of_samplers_masks_targets_and_recipes_has_a_meaning(kind: type) -> None:
    for option in options_of(kind):
        known = "the shape of the encoder's network" if (kind, option.name) == (Recipe, "shape") else option.meaning
        assert known, option
