"""A published model as somebody wants it: its name, and the options that may follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, get_args, get_type_hints

from vitascope.core import option_text
from vitascope.core.errors import UserError
from vitascope.core.fields import FieldOption
from vitascope.core.option_text import OptionText
from vitascope.core.pixel_transform import PixelTransform
from vitascope.core.text import nearest
from vitascope.core.types import Precision
from vitascope.encoders.catalog import ENCODERS, models
from vitascope.encoders.spec import VIEW_MEANING, VIEWS, Model

OPTIONS = ("frames", "size", "precision", "view", "weights")
"""Options of every model, in addition to the switches of its network."""
MEANINGS = {
    "frames": "Frames of a clip.",
    "size": "Side of the square input, pixels.",
    "precision": "Precision of the forward pass.",
    "view": VIEW_MEANING,
    "pool": "How tokens become the clip's vector, in place of the model's own way.",
    "act": "Activation of the MLPs: exact GELU or an approximation of it.",
    "weights": "Which copy of a file that holds several: its key, or `ema` for the averaged one.",
    "features": "Which stages the tokens are of: the last, or all of them fused.",
}
"""Meaning of each option."""
SUMMARIES = {
    "mean": "mean of the tokens (user override; not the model's default pooling)",
    "cls": "class token (user override; not the model's default pooling)",
}
"""Poolings that replace the model's own, as cards describe them."""


def configured(name: str) -> Model:
    """The model called `family/variant[+OPTION..]`; UserError naming the nearest where there is none.

    An option is the name of a preset (`native`) or `key=value`: `frames`, `size`, `precision`, or a switch of the
    network such as `pool`. Whatever differs from the model's own setting goes into the card's name.
    """
    parts = spelled(name)
    model = _model(parts.name)
    if model is None:
        if parts.name in ENCODERS.names():
            raise UserError(f"{parts.name} has no weight file: it is no published model")
        raise ENCODERS.unknown(parts.name)
    option_text.once([(key, value) for key, value in parts.options if value], name)
    options: dict[str, Any] = {}
    for key, value in parts.options:
        options |= {key: value} if value else preset(model, key)
    return with_options(model, options)


def spelled(text: str) -> OptionText:
    """`family/variant[+OPTION..][=PATH]` taken apart; the presets of the model are the options that take no value."""
    model = _model(option_text.parse(text).name)
    return option_text.parse(text, words=set(model.words) if model else ())


def _model(name: str) -> Model | None:
    """The published model called `family/variant`, if there is one."""
    family, _, variant = name.partition("/")
    return models(family).get(variant) if family in ENCODERS.families() else None


def preset(model: Model, word: str) -> Mapping[str, Any]:
    """The options that a word stands for; UserError for another word."""
    if word not in model.words:
        raise UserError(f"{model.card.name}+{word}: no preset {word!r}{nearest(word, model.words)}; {usage(model)}")
    return model.words[word]


def with_options(model: Model, options: Mapping[str, Any]) -> Model:
    """`model` as the options say, named after those that change anything."""
    choices = {"precision": get_args(Precision), "view": VIEWS, **switches(model)}
    options, weights = dict(options), str(options.get("weights", ""))
    options.pop("weights", None)
    card: dict[str, Any] = {}
    shape: dict[str, Any] = {}
    for key, value in sorted(options.items()):
        if key in ("frames", "size"):
            card[key] = counted(model, key, str(value))
        elif key in choices:
            (card if key in OPTIONS else shape)[key] = chosen(model, key, value, choices[key])
        else:
            near = nearest(key, [*choices, *OPTIONS, *model.words])
            raise UserError(f"{model.card.name}+{key}={value}: no option {key!r}{near}; {usage(model)}")
    summary = shape.pop("pool", "")
    pixels = view(model, card.pop("view", "report"))
    overrides = {**card, **shape}
    kept = {k: v for k, v in card.items() if v != getattr(model.card, k)} | ({"pool": summary} if summary else {})
    kept |= {"view": "authors"} if pixels != model.card.pixels else {}
    kept |= {k: v for k, v in shape.items() if v != getattr(model.shape, k)}
    text = "+".join(f"{key}:{kept[key]}" for key in sorted(kept))
    copy = f"weights:{weights}" * bool(weights)  # another network under the same settings
    name = "+".join(filter(None, (model.card.name, text, copy)))
    card |= {"name": name, "options": text, **asdict(pixels)}
    card |= {"pool": SUMMARIES[summary]} if summary else {}
    new: Any = replace(model.shape, **shape) if shape else model.shape  # type: ignore[type-var]
    new_card = replace(model.card, **card)
    return replace(model, shape=new, card=new_card, weights=weights, summary=summary, overrides=overrides)


def chosen(model: Model, key: str, value: str, allowed: tuple[str, ...]) -> str:
    """`value` if it is one of `allowed`; UserError with the nearest otherwise."""
    if value not in allowed:
        near = nearest(value, allowed)
        raise UserError(f"{model.card.name}: {key} = {value!r} must be one of {', '.join(allowed)}{near}")
    return value


def view(model: Model, word: str) -> PixelTransform:
    """The transform of the report or the authors; UserError if the authors' is unknown."""
    if word == "report":
        return model.card.pixels
    if model.authors is None:
        raise UserError(f"{model.card.name}: no authors' transform is known of it; omit view=authors")
    return model.authors


def counted(model: Model, key: str, text: str) -> int:
    """A number of frames or pixels that the network's blocks divide; UserError for others."""
    number: int = option_text.read(int, text, f"{model.card.name}: {key}")
    if number < 1 or number % _unit(model, key):
        raise UserError(f"{model.card.name}: {key} = {text!r} must be a multiple of {_unit(model, key)}")
    return number


def _unit(model: Model, key: str) -> int:
    """Frames, or pixels of a side, of one token."""
    return getattr(model.shape, "tubelet" if key == "frames" else "patch", 1) or 1


def options(model: Model) -> list[FieldOption]:
    """The options of a model, with its values; presets, which take no value, come last."""
    rows = []
    for key in ("frames", "size"):
        unit = _unit(model, key)
        constraint = f"a multiple of {unit}" if unit > 1 else "at least 1"
        rows.append(FieldOption(key, "whole number", str(getattr(model.card, key)), constraint, MEANINGS[key]))
    choices = {"precision": get_args(Precision), **({"view": VIEWS} if model.authors else {})}
    for key, words in choices.items():
        rows.append(FieldOption(key, " | ".join(words), str(getattr(model.card, key, VIEWS[0])), "", MEANINGS[key]))
    rows.append(FieldOption("weights", "text", "the layout's", "a key of the file", MEANINGS["weights"]))
    for key, words in switches(model).items():
        default = model.summary or "its own" if key == "pool" else str(getattr(model.shape, key))
        rows.append(FieldOption(key, " | ".join(words), default, "", MEANINGS[key]))
    for word, values in model.words.items():
        about = ", ".join(f"{key}={value}" for key, value in values.items()) or "the setting of the TWLV-I report"
        rows.append(FieldOption(word, "preset", "", "", f"Short for {about}."))
    return rows


def switches(model: Model) -> dict[str, tuple[str, ...]]:
    """Choices that need no other weights: {option: words}."""
    words = get_type_hints(type(model.shape))
    switches_by_name = {key: get_args(words[key]) for key in ("act", "features") if get_args(words.get(key))}
    if getattr(model.shape, "gated", False):
        del switches_by_name["act"]  # SwiGLU has its own
    return {"pool": ("mean", "cls") if getattr(model.shape, "cls", False) else ("mean",), **switches_by_name}


def usage(model: Model) -> str:
    """The options there are, in a line."""
    choices = [f"{key}={'|'.join(values)}" for key, values in switches(model).items()]
    views = ["view=authors"] if model.authors else []
    fixed = ["frames=N", "size=PIXELS", "precision=bfloat16", "weights=KEY"]
    return f"there are {', '.join([*model.words, *fixed, *views, *choices])}"
