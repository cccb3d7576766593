"""Every sampler by its name: text to sampler and back. What they do is in `samplers` and `alterations`."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import Video
from vitascope.sampling.augmentations import Drawn, RandomClip, RandomCrop
from vitascope.sampling.perturbations import Frozen, Reversed, Shuffled, Slowed
from vitascope.sampling.samplers import Around, MultiClip, Sampler, Uniform, Views, VJepa

__all__ = [
    "SAMPLERS",
    "Around",
    "Drawn",
    "Frozen",
    "MultiClip",
    "RandomClip",
    "RandomCrop",
    "Reversed",
    "Sampler",
    "Shuffled",
    "Slowed",
    "Uniform",
    "VJepa",
    "Views",
    "clips_of",
    "crops_of",
    "describe",
    "parse",
]

SAMPLERS: dict[str, type[Any]] = {
    kind.__name__.lower(): kind
    for kind in (
        Uniform,
        MultiClip,
        Views,
        VJepa,
        Around,
        RandomClip,
        RandomCrop,
        Reversed,
        Shuffled,
        Frozen,
        Slowed,
        Drawn,
    )
}
"""The samplers by their name on the command line."""


TYPICAL = 10.0
"""Seconds of a video when clips are counted beforehand."""


def crops_of(sampler: Sampler) -> int:
    """Crops of one window, which stand together in a plan, however the sampler is altered."""
    inner: Sampler | None = getattr(sampler, "inner", None)
    return int(getattr(sampler, "crops", 1)) if inner is None else crops_of(inner)


def clips_of(sampler: Sampler, frames: int, seconds: float = 0.0) -> int:
    """Clips of a video of so many seconds (0: ten, which is typical) at thirty frames a second."""
    duration = seconds or TYPICAL
    times = tuple(i / 30 for i in range(max(round(30 * duration), 1)))
    return len(sampler(Video(path="typical", times=times, duration=duration, width=320, height=240), frames))


def parse(text: str) -> Sampler:
    """The sampler that `text` names, its fields in order: `uniform:ends`, `multiclip:0.5/0.125`, `views:3x4/4`,
    `around:12.5/4`, `reversed(uniform)`, `shuffled(multiclip:2,7)`, `randomcrop(uniform,0.3..1)`; `-` is None."""
    text = text.strip().lower()
    form = re.fullmatch(r"(\w+)(?:\((.*)\)|:(.*))?", text)
    name = form[1] if form else text
    if form is None or name not in SAMPLERS:
        raise UserError(f"no sampler {name!r}{nearest(name, SAMPLERS)}; there are {', '.join(SAMPLERS)}")
    kind = SAMPLERS[name]
    if (form[2] is not None) != ("inner" in kind.__slots__):
        raise UserError(f"sampler {text!r} is written {f'{name}:...' if form[2] is not None else f'{name}(uniform)'}")
    words = re.split("[x/]" if kind is Views else "/", form[3]) if form[3] else _split(form[2] or "")
    known = fields(kind)
    needed = sum(f.default is MISSING for f in known)
    if not needed <= len(words) <= len(known):
        takes = ", ".join(f.name + ("" if f.default is MISSING else "?") for f in known)
        raise UserError(f"sampler {text!r}: {name} takes {takes}")
    sampler: Sampler = kind(
        *(_value(word.strip(), f"{name}: {f.name}", str(f.type)) for word, f in zip(words, known, strict=False))
    )
    return sampler


def describe(sampler: Sampler) -> str:
    """The text that `parse` makes an equal sampler of; defaults at the end are left out, but for views."""
    kind = type(sampler)
    name = kind.__name__.lower()
    if SAMPLERS.get(name) is not kind:
        return repr(sampler)
    given = [(getattr(sampler, f.name), f.default) for f in fields(kind)]
    while given and given[-1][0] == given[-1][1] and kind is not Views:
        given.pop()
    words = [_word(value) for value, _ in given]
    if "inner" in kind.__slots__:
        return f"{name}({','.join(words)})"
    if kind is Views:
        words[:2] = ["x".join(words[:2])]
    return ":".join([name, "/".join(words)]) if words else name


def _split(text: str) -> list[str]:
    """`text` at its outermost commas."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts if text else []


def _value(word: str, name: str, kind: str) -> Any:
    """What `word` says for the field `name`, declared as `kind`."""
    if word == "-" and kind.endswith("None"):
        return None
    try:
        if kind == "Sampler":
            return parse(word)
        if kind == "bool":
            return {"true": True, "false": False}[word]
        if kind.startswith("tuple"):
            low, high = word.split("..")
            return float(low), float(high)
        return int(word) if kind == "int" else float(word) if kind.startswith("float") else word
    except (KeyError, ValueError) as error:
        if kind == "Sampler":
            raise
        wanted = {"i": "a whole number", "b": "true or false", "t": "low..high"}.get(kind[0], "a number")
        raise UserError(f"{name} is {wanted}, not {word!r}") from error


def _word(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return "..".join(map(_word, value))
    if isinstance(value, (bool, str)):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value).removesuffix(".0")
    return describe(value)
