"""A probe by name with options, `linear/paper+lr:0.3+draws:8+test:reversed`: fields set, views replaced or altered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_args, get_type_hints

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.features.view import View
from vitascope.probes.base import Probe
from vitascope.probes.catalog import PROBES
from vitascope.probes.counterfactual import ALTERATIONS, SIDES, altered
from vitascope.sampling.augmentations import Drawn
from vitascope.sampling.names import parse

TAKEN = ("name", "version")
"""Fields that are not for a user to set."""
ALSO = {
    "train": "the clips to train on, a sampler",
    "test": "the clips to test on, a sampler; or what to do to them: " + ", ".join(ALTERATIONS),
    "both": "what to do to the clips of both",
    "draws": "how many augmented clips of a training video are stored; 0: encode a new one every epoch",
}
"""What is not a field and can be said all the same."""


def probe(text: str, family: str = "") -> Probe[Any, Any]:
    """The probe called `text`, as it is on the data set `family`, where it knows that; then its options.

    ValueError with the nearest match where there is no such probe, or it has no such option.
    """
    base, *options = text.split("+")
    found: Probe[Any, Any] = PROBES.build(base)
    settle = getattr(found, "on", None)
    found = settle(family) if settle else found
    changed: dict[str, Any] = {}
    alterations = []
    for option in options:
        name, _, value = option.partition(":")
        if name in SIDES and value in ALTERATIONS:
            alterations.append((value, name))
        else:
            field, new = _change(found, name, value, text)
            changed |= {field: new, "name": f"{changed.get('name', found.name)}+{option}"}
    if len(alterations) > 1:
        raise UserError(f"{text}: one alteration at a time")
    if changed:
        plain: Any = found  # a dataclass, as every probe of the package is
        found = replace(plain, **changed)
    for how, sides in alterations:
        found = altered(found, how, sides)
    return found


def _change(found: Probe[Any, Any], name: str, value: str, text: str) -> tuple[str, Any]:
    """The field that an option sets, and to what."""
    assert is_dataclass(found)
    known = [f.name for f in fields(found) if f.init and f.name not in TAKEN]
    if name not in (*known, *ALSO) or not value:
        there = ", ".join(dict.fromkeys([*known, *ALSO]))
        raise UserError(f"{text}: no option {name!r}{nearest(name, [*known, *ALSO])}; it is option:value, of {there}")
    if name == "both":
        raise UserError(f"{text}: both:{value}{nearest(value, ALTERATIONS)}; there are {', '.join(ALTERATIONS)}")
    if name == "draws":
        return "train", _drawn(found.train, value, text)
    old = getattr(found, name)
    if isinstance(old, View):
        new = replace(old, sampler=parse(value))
    elif isinstance(old, tuple):
        item = get_args(get_type_hints(type(found))[name])[0]
        new = tuple(_number(item, word, f"{text}: {name}") for word in value.split(","))
    else:
        new = _read(old, value, f"{text}: {name}")
    return name, new


def _drawn(view: View, value: str, text: str) -> View:
    """The training view with so many stored draws, or with one anew at every pass."""
    if not isinstance(view.sampler, Drawn):
        raise UserError(f"{text}: its training draws nothing; `linear/paper` and `attentive/paper` do")
    count = _read(view.sampler.count, value, f"{text}: draws")
    return replace(view, sampler=replace(view.sampler, count=count), stored=count > 0 and view.reduce == "clip")


def _read(old: Any, value: str, where: str) -> Any:
    """`value` as the type of `old`."""
    kind: Callable[[str], Any] = type(old)
    if isinstance(old, bool):
        if value not in ("true", "false"):
            raise UserError(f"{where} is true or false, not {value!r}")
        return value == "true"
    return value if isinstance(old, str) else _number(kind, value, where)


def _number(kind: Callable[[str], Any], word: str, where: str) -> Any:
    try:
        return kind(word)
    except ValueError:
        raise UserError(f"{where} is {'a whole' if kind is int else 'a'} number, not {word!r}") from None
