"""Every sampler by its name: text to sampler and back. What they do is in `samplers` and `alterations`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from typing import Any

from vitascope.core import option_text
from vitascope.core.errors import UserError
from vitascope.core.fields import hints
from vitascope.core.text import nearest
from vitascope.core.types import Video
from vitascope.sampling.augmentations import Drawn, RandomClip, RandomCrop
from vitascope.sampling.perturbations import Frozen, Reversed, Shuffled, Slowed
from vitascope.sampling.samplers import (
    Around,
    CropSampler,
    MultiClip,
    Sampler,
    SamplerWrapper,
    Uniform,
    Views,
    VJepa,
    WholeFrame,
)
from vitascope.sampling.versions import VERSIONS, Versions

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
    "Versions",
    "Views",
    "WholeFrame",
    "altered",
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
        WholeFrame,
        RandomClip,
        RandomCrop,
        Reversed,
        Shuffled,
        Frozen,
        Slowed,
        Drawn,
        Versions,
    )
}
"""The samplers by their name on the command line."""
FORM = re.compile(r"(\w+)(?:\((.*)\)|:(.*))?")
"""A sampler as text: its name, and what stands in parentheses or behind a colon."""
ASSIGNED = re.compile(r"(\w+)=(.*)")
"""A field by name."""
TYPICAL = 10.0
"""Seconds of a video when clips are counted beforehand."""


def crops_of(sampler: Sampler) -> int:
    """Crops of one window, which stand together in a plan, however the sampler is altered."""
    if isinstance(sampler, SamplerWrapper):
        return crops_of(sampler.inner)
    return sampler.crops if isinstance(sampler, CropSampler) else 1


ALTERED: dict[type[Any], str] = {
    Reversed: "reversed",
    Shuffled: "shuffled",
    Frozen: "frozen",
    Slowed: "slowed",
}
"""Samplers whose clips are not those of the video as it plays, and how they are altered."""


def altered(sampler: Sampler) -> str:
    """How a sampler alters clips, at any depth, such as `reversed`; empty if it shows them as they are."""
    if isinstance(sampler, Versions):
        return VERSIONS[sampler.of][-1]
    here = ALTERED.get(type(sampler), "")
    return here or (altered(sampler.inner) if isinstance(sampler, SamplerWrapper) else "")


def clips_of(sampler: Sampler, frames: int, seconds: float = 0.0) -> int:
    """Clips of a video of so many seconds (0: ten, which is typical) at thirty frames a second."""
    duration = seconds or TYPICAL
    times = tuple(i / 30 for i in range(max(round(30 * duration), 1)))
    return len(sampler(Video(path="typical", times=times, duration=duration, width=320, height=240), frames))


def parse(text: str) -> Sampler:
    """The sampler that `text` names with its fields, by name or in order.

    By name they stand behind a `+` or in parentheses: `views+crops=3+clips=4`, `views(crops=3,clips=4)`. In order:
    `uniform:ends`, `multiclip:0.5/0.125`, `views:3x4/4`, `around:12.5/4`; with another sampler inside,
    `reversed(uniform)`, `shuffled(multiclip:2,7)`, `randomcrop(uniform,0.3..1)`. None is `-` or `none`. UserError with
    the nearest match for a sampler or a field that is not there.
    """
    named = option_text.parse(text.strip().lower(), path=False)
    form = FORM.fullmatch(named.name)
    name = form[1] if form else named.name
    if form is None or name not in SAMPLERS:
        raise UserError(f"no sampler {name!r}{nearest(name, SAMPLERS)}; there are {', '.join(SAMPLERS)}")
    kind, (_, inside, behind) = SAMPLERS[name], form.groups()
    if "inner" in kind.__slots__ and behind is not None:
        raise UserError(f"sampler {named.name!r} is written {name}({behind or 'uniform'})")
    words = [*_words(behind or "", kind), *_split(inside or "")]
    given = [(part[1], part[2]) if (part := ASSIGNED.fullmatch(word)) else ("", word) for word in words]
    return _made(kind, [*given, *named.options], text)


def _words(text: str, kind: type[Any]) -> list[str]:
    """The fields behind a colon: by name with commas, else in order with slashes, and a cross in those of views."""
    if "=" in text:
        return _split(text)
    return re.split("[x/]" if kind is Views else "/", text) if text else []


def _made(kind: type[Any], given: Sequence[tuple[str, str]], text: str) -> Sampler:
    """The sampler of a kind with the fields `given`: (name, value), without a name those in order."""
    name, known = kind.__name__.lower(), {f.name: f.default for f in fields(kind)}
    takes = ", ".join(f"{field}{'' if default is MISSING else '?'}" for field, default in known.items())
    order = [value for field, value in given if not field]
    named = [(field, value) for field, value in given if field]
    if unknown := next((field for field, _ in named if field not in known), ""):
        raise UserError(f"sampler {text!r}: {name} has no {unknown!r}{nearest(unknown, known)}; it takes {takes}")
    values = option_text.once([*zip(known, order, strict=False), *named], f"sampler {text!r}")
    if len(order) > len(known) or any(default is MISSING and field not in values for field, default in known.items()):
        raise UserError(f"sampler {text!r}: {name} takes {takes}")
    kinds: dict[Any, Callable[[str], Any]] = {Sampler: parse}
    read = {
        field: option_text.read(hints(kind)[field], value.strip(), f"{name}: {field}", kinds)
        for field, value in values.items()
    }
    return kind(**read)  # type: ignore[no-any-return]


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
