"""Options as text: `name+key=value+word=PATH` taken apart, and text read as the type of a field.

The one grammar of `-m`, `-t`, `--view`, `--set` and `--grid`, and the one place where text becomes typed values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, TypeVar, Union, get_args, get_origin

from vitascope.core.errors import UserError
from vitascope.core.fields import hints, in_words
from vitascope.core.text import nearest

Readers: TypeAlias = Mapping[Any, Callable[[str], Any]]
"""How text becomes a value of a type that is none of Python's own, such as a sampler."""
D = TypeVar("D")
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class OptionText(NamedTuple):
    """A name with options and a path, taken apart."""

    name: str
    options: tuple[tuple[str, str], ...] = ()
    """Key and value in order; the value is empty where a word stands alone."""
    path: str = ""
    """Text behind the last `=`, verbatim."""

    def __str__(self) -> str:
        options = "".join(f"+{key}={value}" if value else f"+{key}" for key, value in self.options)
        return f"{self.name}{options}{f'={self.path}' if self.path else ''}"


def parse(text: str, *, words: Collection[str] = (), path: bool = True) -> OptionText:
    """`name+key=value+word=PATH` taken apart, left to right; `words` are the options that take no value.

    The name ends at the first `+` or `=`, and what follows that `=` is the path, whatever is in it. Behind a `+` the
    key ends at `=`, at `:` or at the next `+`; its value ends at the next `+` or `=` outside parentheses, and what
    follows that `=`, or the `=` behind one of `words`, is the path. Without `path` there is none, and values may
    contain `=`. `key:value` is how options were written before and is read for one more version.
    """
    stops = "+=" if path else "+"
    end = _end(text, 0, stops)
    name, options = text[:end], list[tuple[str, str]]()
    while text[end : end + 1] == "+":
        key = re.compile(r"[^=:+]*").match(text, end + 1)
        assert key
        if not key[0]:
            raise UserError(f"{text}: no option behind a '+'; options are written +name=value")
        start, end = key.end() + 1, key.end()
        valued = text[end : end + 1] in ("=", ":") and not (path and key[0] in words)
        if valued:
            end = _end(text, start, stops)
        options.append((key[0], text[start:end] if valued else ""))
    return OptionText(name, tuple(options), text[end + 1 :])


def _end(text: str, start: int, stops: str) -> int:
    """Where the first of `stops` outside parentheses is, from `start` on; else the end."""
    depth = 0
    for i in range(start, len(text)):
        if depth <= 0 and text[i] in stops:
            return i
        depth += (text[i] == "(") - (text[i] == ")")
    return len(text)


def pairs(texts: Iterable[str], where: str) -> dict[str, str]:
    """Settings given one by one, `field=value` (or `field:value`, as before): {field: value}; no field twice."""
    options: list[tuple[str, str]] = []
    for text in texts:
        form = re.match(r"([^=:]+)[=:](.*)", text, re.DOTALL)
        if form is None:
            raise UserError(f"{where} {text}: must be field=value, such as lr=1e-3")
        options.append((form[1], form[2]))
    return once(options, where)


def once(options: Iterable[tuple[str, str]], where: str) -> dict[str, str]:
    """{key: value}; UserError where a key is there twice."""
    values: dict[str, str] = {}
    for key, value in options:
        if key in values:
            raise UserError(f"{where}: {key} is set twice; give it once")
        values[key] = value
    return values


def changed(item: D, changes: Mapping[str, str], where: str, readers: Readers | None = None) -> D:
    """The dataclass `item` with fields set from text, by their path: `lr`, `shape.depth`, `targets.pixels.weight`.

    Things in a tuple that have a name are steps of a path by that name. All fields are set at once, so that what must
    hold between two of them is checked of both. UserError with the nearest match for a field that is not there, and for
    text that does not say what the field takes; it begins with `where`.
    """
    new: D = _changed(item, changes, f"{where}: ", readers or {})
    return new


def _changed(item: Any, changes: Mapping[str, str], where: str, readers: Readers) -> Any:
    """`item` with what is at the end of each path replaced; `where` is the path so far."""
    if isinstance(item, tuple):
        return _named_changed(item, changes, where, readers)
    known = [f.name for f in fields(item) if f.init] if is_dataclass(item) else []
    new: dict[str, Any] = {}
    for step, inner in _by_step(changes).items():
        if step not in known:
            there = f"{nearest(step, known)}; it has {', '.join(known) or 'nothing to set'}"
            raise UserError(f"{where}{step}: {type(item).__name__} has no {step!r}{there}")
        value, direct = getattr(item, step), inner.pop("", None)
        if direct is not None:
            value = read(hints(type(item))[step], direct, f"{where}{step}", readers)
        new[step] = _changed(value, inner, f"{where}{step}.", readers) if inner else value
    return replace(item, **new) if new else item


def _named_changed(values: tuple[Any, ...], changes: Mapping[str, str], where: str, readers: Readers) -> Any:
    """The things that paths begin with among `values`, or among the first of pairs, changed.

    A single one without a name is meant by every path.
    """
    made = [v[0] if isinstance(v, tuple) else v for v in values]
    things = {getattr(thing, "name", ""): i for i, thing in enumerate(made)}
    if len(made) == 1 and "" in things:
        made = [_changed(made[0], changes, where, readers)]
    else:
        for name, inner in _by_step(changes).items():
            if name not in things or "" in inner:
                there = ", ".join(filter(None, things))
                raise UserError(f"{where}{name}: " + _which(there, nearest(name, things)))
            made[things[name]] = _changed(made[things[name]], inner, f"{where}{name}.", readers)
    return tuple((new, *old[1:]) if isinstance(old, tuple) else new for new, old in zip(made, values, strict=True))


def _which(there: str, match: str) -> str:
    return f"name one of {there}, and a field of it{match}" if there else "none of them has a name"


def _by_step(changes: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """{first step of the path: {the rest of it: text}}."""
    steps: dict[str, dict[str, str]] = {}
    for path, text in changes.items():
        first, _, rest = path.partition(".")
        steps.setdefault(first, {})[rest] = text
    return steps


def read(hint: Any, text: str, where: str, readers: Readers | None = None) -> Any:
    """Read `text` as a value of type `hint`; UserError if it is none.

    None is `none` or `-`; a tuple is written with commas, or of two numbers as `low..high`; true and false as that.
    """
    readers = readers or {}
    origin, kinds = get_origin(hint), get_args(hint)
    if hint in readers:
        return readers[hint](text)
    if origin is Annotated:
        return read(kinds[0], text, where, readers)
    if origin in (Union, UnionType):
        inner = next(kind for kind in kinds if kind is not NoneType)
        return None if NoneType in kinds and text.lower() in ("none", "-") else read(inner, text, where, readers)
    if origin is tuple:
        return _tuple(hint, text, where, readers)
    if origin is Literal:
        words = {str(kind): kind for kind in kinds}
        if text not in words:
            raise UserError(f"{where} = {text!r} must be one of {', '.join(words)}{nearest(text, words)}")
        return words[text]
    return _plain(hint, text, where)


def _tuple(hint: Any, text: str, where: str, readers: Readers) -> tuple[Any, ...]:
    kinds = list(get_args(hint))
    numbers = all(kind in (int, float) for kind in kinds)
    words = [word.strip() for word in re.split(r",|\.\." if numbers else ",", text) if word.strip()]
    kinds = kinds[:1] * len(words) if Ellipsis in kinds else kinds
    if len(words) != len(kinds):
        raise UserError(f"{where} = {text!r} must be {in_words(hint)}{' or low..high' * (numbers and len(kinds) == 2)}")
    return tuple(read(kind, word, where, readers) for word, kind in zip(words, kinds, strict=True))


def _plain(hint: Any, text: str, where: str) -> Any:
    if hint in (str, Path):
        return hint(text)
    if hint not in (bool, int, float):
        raise UserError(f"{where} holds {in_words(hint)}, which is not set as text; set it in Python")
    try:
        if hint is bool:
            return BOOLEANS[text.lower()]
        if hint is int and text.replace("_", "").lstrip("-").isdecimal():
            return int(text)
        number = float(text)
        if hint is int and not number.is_integer():
            raise ValueError(text)
        return hint(number)
    except (KeyError, ValueError, OverflowError):
        article = "" if hint is bool else "a "
        raise UserError(f"{where} = {text!r} must be {article}{in_words(hint)}") from None
