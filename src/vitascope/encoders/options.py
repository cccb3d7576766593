"""A published model as somebody wants it: its name, and the options that may follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args, get_type_hints

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.encoders.catalog import ENCODERS, models
from vitascope.encoders.spec import Model

OPTIONS = ("frames", "size", "precision")
"""What can be set of every model, beside the switches of its network."""
SUMMARIES = {
    "mean": "mean of the tokens (asked for; not the model's own)",
    "cls": "class token (asked for; not the model's own)",
}
"""What may be asked for in place of a model's own summary vector."""


def configured(name: str) -> Model:
    """The model called `family/variant[+OPTION..]`; ValueError naming the nearest where there is none.

    An option is the name of a preset (`native`) or `key:value`: `frames`, `size`, `precision`, or a switch of the
    network such as `pool`. Whatever differs from the model's own setting goes into the name.
    """
    name, *asked = name.split("+")
    family, _, variant = name.partition("/")
    known = models(family) if family in ENCODERS.families() else {}
    if variant not in known:
        if name in ENCODERS.names():
            raise UserError(f"{name} has no weight file: it is no published model")
        raise ENCODERS.unknown(name)
    model = known[variant]
    options: dict[str, Any] = {}
    for option in asked:
        key, _, value = option.partition(":")
        if sum(other.startswith(f"{key}:") for other in asked) > 1:
            raise UserError(f"{name}+{'+'.join(asked)}: {key} is given more than once")
        options |= {key: value} if value else preset(model, key)
    return with_options(model, options)


def preset(model: Model, word: str) -> Mapping[str, Any]:
    """The options that a word stands for; ValueError for another word."""
    known = {"paper": {}, **model.presets}
    if word not in known:
        raise UserError(f"{model.card.name}+{word}: no preset {word!r}{nearest(word, known)}; {usage(model)}")
    return known[word]


def with_options(model: Model, options: Mapping[str, Any]) -> Model:
    """`model` as the options say, named after those that change anything."""
    choices = switches(model)
    card: dict[str, Any] = {}
    shape: dict[str, Any] = {}
    for key, value in sorted(options.items()):
        if key in ("frames", "size"):
            card[key] = counted(model, key, str(value))
        elif key == "precision" or key in choices:
            allowed = ("float32", "bfloat16") if key == "precision" else choices[key]
            if value not in allowed:
                raise UserError(f"{model.card.name}+{key}:{value}: {key} is one of {', '.join(allowed)}")
            (card if key == "precision" else shape)[key] = value
        else:
            near = nearest(key, [*choices, *OPTIONS])
            raise UserError(f"{model.card.name}+{key}:{value}: no option {key!r}{near}; {usage(model)}")
    summary = shape.pop("pool", "")
    asked = {**card, **shape}
    kept = {k: v for k, v in card.items() if v != getattr(model.card, k)} | ({"pool": summary} if summary else {})
    kept |= {k: v for k, v in shape.items() if v != getattr(model.shape, k)}
    text = "+".join(f"{key}:{kept[key]}" for key in sorted(kept))
    card |= {"name": "+".join(filter(None, (model.card.name, text))), "options": text}
    card |= {"pool": SUMMARIES[summary]} if summary else {}
    new: Any = replace(model.shape, **shape) if shape else model.shape  # type: ignore[type-var]
    return replace(model, shape=new, card=replace(model.card, **card), summary=summary, asked=asked)


def counted(model: Model, key: str, text: str) -> int:
    """A number of frames or pixels that the network's blocks divide; ValueError for others."""
    unit = getattr(model.shape, "tubelet" if key == "frames" else "patch", 1)
    if not text.isdecimal() or not int(text) or int(text) % (unit if unit else 1):
        raise UserError(f"{model.card.name}+{key}:{text}: {key} is a multiple of {unit}")
    return int(text)


def switches(model: Model) -> dict[str, tuple[str, ...]]:
    """What can be chosen without other weights, between which words."""
    words = get_type_hints(type(model.shape))
    found = {key: get_args(words[key]) for key in ("act", "features") if get_args(words.get(key))}
    if getattr(model.shape, "gated", False):
        del found["act"]  # SwiGLU has its own
    return {"pool": ("mean", "cls") if getattr(model.shape, "cls", False) else ("mean",), **found}


def usage(model: Model) -> str:
    """The options there are, in a line."""
    choices = [f"{key}:{'|'.join(values)}" for key, values in switches(model).items()]
    presets = ["paper", *model.presets]
    return f"there are {', '.join([*presets, 'frames:N', 'size:PIXELS', 'precision:bfloat16', *choices])}"
