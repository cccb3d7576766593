"""The one grammar of options, and text as the type of a field."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitascope.core.errors import UserError
from vitascope.core.fields import AT_LEAST_ONE, check_fields
from vitascope.core.option_text import OptionText, changed, once, pairs, parse, read

WORDS = ("native", "paper")


@pytest.mark.parametrize(
    ("text", "name", "options", "path"),
    [
        ("umt/large-s2", "umt/large-s2", (), ""),
        ("", "", (), ""),
        ("umt/large-s2+frames=8", "umt/large-s2", (("frames", "8"),), ""),
        ("umt/large-s2+frames:8", "umt/large-s2", (("frames", "8"),), ""),
        ("umt/large-s2=/w.pth", "umt/large-s2", (), "/w.pth"),
        ("umt/large-s2=/a+b:c=d", "umt/large-s2", (), "/a+b:c=d"),
        ("umt/large-s2+frames=8=/w.pth", "umt/large-s2", (("frames", "8"),), "/w.pth"),
        ("umt/large-s2+frames:8=/a=b+c", "umt/large-s2", (("frames", "8"),), "/a=b+c"),
        ("umt/large-s2+native=/w.pth", "umt/large-s2", (("native", ""),), "/w.pth"),
        ("umt/large-s2+native+size=336=/w.pth", "umt/large-s2", (("native", ""), ("size", "336")), "/w.pth"),
        ("umt/large-s2+native", "umt/large-s2", (("native", ""),), ""),
        ("umt/large-s2+nativ=/w.pth", "umt/large-s2", (("nativ", "/w.pth"),), ""),
        ("linear+test=reversed+lr=1e-3", "linear", (("test", "reversed"), ("lr", "1e-3")), ""),
        ("linear+test:reversed", "linear", (("test", "reversed"),), ""),
        ("linear+train=views:3x4/4", "linear", (("train", "views:3x4/4"),), ""),
        ("linear+train:views:3x4/4", "linear", (("train", "views:3x4/4"),), ""),
        ("l+test=reversed(views+crops=2)+k=3", "l", (("test", "reversed(views+crops=2)"), ("k", "3")), ""),
        ("reversed(views+crops=2)+seed=1", "reversed(views+crops=2)", (("seed", "1"),), ""),
    ],
)
def test_text_is_taken_apart_from_left_to_right(
    text: str, name: str, options: tuple[tuple[str, str], ...], path: str
) -> None:
    assert parse(text, words=WORDS) == OptionText(name, options, path)


def test_without_a_path_values_hold_anything_but_a_plus() -> None:
    assert parse("localize+scores=a=b.json+top=1", path=False).options == (("scores", "a=b.json"), ("top", "1"))
    assert parse("linear=x", path=False).name == "linear=x"
    assert parse("x+native=2", words=WORDS, path=False).options == (("native", "2"),)


@pytest.mark.parametrize("text", ["x+", "x++a=1", "x+=1", "x+:1"])
def test_an_option_has_a_name(text: str) -> None:
    with pytest.raises(UserError, match=r"no option behind a '\+'"):
        parse(text)


NAME = st.from_regex(r"[a-z0-9_/.-]{1,8}", fullmatch=True)
KEY = st.from_regex(r"[a-z_.]{1,6}", fullmatch=True).filter(lambda key: key not in WORDS)
VALUE = st.one_of(
    st.from_regex(r"[a-zA-Z0-9:/,._-]{1,8}", fullmatch=True),
    st.from_regex(r"[a-z]{1,4}\([a-z0-9:/,+=]{0,8}\)", fullmatch=True),
)
OPTION = st.tuples(KEY, VALUE) | st.tuples(st.sampled_from(WORDS), st.just(""))
PATH = st.just("") | st.from_regex(r"[a-z0-9/+=:.()-]{1,12}", fullmatch=True)


@given(NAME, st.lists(OPTION, max_size=4), PATH)
def test_text_comes_back_as_it_was(name: str, options: list[tuple[str, str]], path: str) -> None:
    made = OptionText(name, tuple(options), path)
    assert parse(str(made), words=WORDS) == made


@given(NAME, st.lists(st.tuples(KEY, VALUE), max_size=4), PATH)
def test_the_spelling_of_before_says_the_same(name: str, options: list[tuple[str, str]], path: str) -> None:
    old = name + "".join(f"+{key}:{value}" for key, value in options) + (f"={path}" if path else "")
    assert parse(old) == OptionText(name, tuple(options), path)


def test_settings_one_by_one() -> None:
    given = ["lr=1e-3", "shape.depth:4", "data=/a:b=c", "note="]
    assert pairs(given, "--set") == {"lr": "1e-3", "shape.depth": "4", "data": "/a:b=c", "note": ""}
    for wrong in ("lr", "=1", ":1", ""):
        with pytest.raises(UserError, match=f"--set {wrong}: must be field=value"):
            pairs([wrong], "--set")
    with pytest.raises(UserError, match="--set: lr is set twice"):
        pairs(["lr=1", "lr:2"], "--set")
    assert once([("a", "1"), ("b", "1")], "x") == {"a": "1", "b": "1"}


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        *((bool, text, True) for text in ("true", "yes", "1", "True")),
        *((bool, text, False) for text in ("false", "no", "0")),
        (int, "12", 12),
        (int, "-3", -3),
        (int, "1e3", 1000),
        (int, "10_000", 10_000),
        (int, "123456789012345678901", 123456789012345678901),
        (float, "1e-3", 1e-3),
        (float, "2", 2.0),
        (str, "a:b=c", "a:b=c"),
        (Path, "/a/b", Path("/a/b")),
        (Literal["a", "b"], "b", "b"),
        (Literal[1, 2], "2", 2),
        (float | None, "none", None),
        (float | None, "-", None),
        (float | int | None, "2", 2.0),
        (tuple[int, ...], "1, 2,3", (1, 2, 3)),
        (tuple[int, ...], "", ()),
        (tuple[str, ...], "a,../b", ("a", "../b")),
        (tuple[float, float], "0.5..1", (0.5, 1.0)),
        (tuple[float, float], "0.5,1", (0.5, 1.0)),
        (Annotated[int, AT_LEAST_ONE], "4", 4),
    ],
)
def test_text_is_read_as_the_type_of_a_field(hint: Any, text: str, value: object) -> None:
    found = read(hint, text, "x")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("hint", "text", "message"),
    [
        (bool, "maybe", "x = 'maybe' must be true or false"),
        (int, "1.5", "x = '1.5' must be a whole number"),
        (int, "inf", "x = 'inf' must be a whole number"),
        (float, "fast", "x = 'fast' must be a number"),
        (float, "", "x = '' must be a number"),
        (Literal["adam", "sgd"], "sdg", "x = 'sdg' must be one of adam, sgd; did you mean 'sgd'?"),
        (tuple[float, float], "0.9", "x = '0.9' must be 2 numbers, with commas or low..high"),
        (tuple[int, int, int], "1,2", "x = '1,2' must be 3 whole numbers, with commas"),
        (tuple[int, ...], "1,b", "x = 'b' must be a whole number"),
        (object, "y", "x holds object, which is not set as text; set it in Python"),
    ],
)
def test_text_that_does_not_say_it(hint: Any, text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        read(hint, text, "x")
    assert str(error.value) == message


@dataclass(frozen=True)
class Part:
    name: str
    size: Annotated[int, AT_LEAST_ONE] = 1


@dataclass(frozen=True)
class Mask:
    ratio: float = 0.5


@dataclass(frozen=True)
class Whole:
    low: int = 0
    high: int = 9
    part: Part = Part("alone")
    parts: tuple[Part, ...] = (Part("a"), Part("b"))
    shares: tuple[tuple[Part, float], ...] = ((Part("c"), 0.5),)
    masks: tuple[Mask, ...] = (Mask(),)
    pairs: tuple[tuple[Mask, float], ...] = ((Mask(), 0.5),)
    several: tuple[Mask, ...] = (Mask(), Mask())
    kind: Any = None

    def __post_init__(self) -> None:
        check_fields(self, "whole")
        if self.low > self.high:
            raise UserError("low is above high")


def test_fields_are_changed_by_path_and_all_at_once() -> None:
    new = changed(Whole(), {"part.size": "3", "parts.b.size": "4", "shares.c.size": "5", "shares.c.name": "d"}, "w")
    assert (new.part.size, [p.size for p in new.parts], new.shares) == (3, [1, 4], ((Part("d", 5), 0.5),))
    assert (changed(Whole(), {"low": "20", "high": "30"}, "w").low, changed(Whole(), {}, "w")) == (20, Whole())
    new = changed(Whole(), {"masks.ratio": "0.9", "pairs.ratio": "0.8"}, "w")
    assert (new.masks, new.pairs) == ((Mask(0.9),), ((Mask(0.8), 0.5),))
    assert changed(Whole(), {"part": "x", "part.size": "2"}, "w", {Part: Part}).part == Part("x", 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"lwo": "1"},
            "w: lwo: Whole has no 'lwo'; did you mean 'low'?; it has low, high, part, parts, shares, masks, pairs, "
            "several, kind",
        ),
        ({"part.sise": "1"}, "w: part.sise: Part has no 'sise'; did you mean 'size'?; it has name, size"),
        ({"low.x": "1"}, "w: low.x: int has no 'x'; it has nothing to set"),
        ({"parts.aa.size": "1"}, "w: parts.aa: name one of a, b, and a field of it; did you mean 'a'?"),
        ({"parts.a": "1"}, "w: parts.a: name one of a, b, and a field of it; did you mean 'a'?"),
        ({"masks.rato": "1"}, "w: masks.rato: Mask has no 'rato'; did you mean 'ratio'?; it has ratio"),
        ({"several.ratio": "1"}, "w: several.ratio: none of them has a name"),
        ({"part": "1"}, "w: part holds part, which is not set as text; set it in Python"),
        ({"parts.b.size": "x"}, "w: parts.b.size = 'x' must be a whole number"),
        ({"low": "20"}, "low is above high"),
    ],
)
def test_what_cannot_be_changed_is_one_line(changes: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as error:
        changed(Whole(), changes, "w")
    assert str(error.value) == message
