"""How videos are sampled, in words, from the plain data of a view."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Plain: TypeAlias = Mapping[str, Any]
REDUCED = {
    "clip": "",
    "time": ", and keeps one vector per time step",
    "grid": ", and keeps the grid of tokens",
}


def value(of: Any) -> str:
    """A setting as text: whole numbers with separators, lists joined, none as a dash."""
    if isinstance(of, bool) or of is None:
        return {True: "yes", False: "no", None: "none"}[of]
    if isinstance(of, int):
        return f"{of:,}"
    if isinstance(of, float):
        return re.sub("e-0*", "e-", f"{of:g}")
    if isinstance(of, (list, tuple)):
        return ", ".join(map(value, of)) or "none"
    return str(of)


def count(number: Any, one: str) -> str:
    """A number and its noun."""
    return f"{value(number)} {one}{'' if number == 1 else 's'}"


def sampled(view: Any) -> str:
    """What is read of a video, such as `one clip spread evenly over the whole video`; empty if unknown."""
    if not isinstance(view, Mapping) or not isinstance(view.get("sampler"), Mapping):
        return ""
    return sampler(view["sampler"]) + REDUCED.get(str(view.get("reduce")), "") + _aggregated(view.get("agg"))


def _aggregated(aggregator: Any) -> str:
    """How clip vectors become one, with the settings of the aggregator."""
    if not isinstance(aggregator, Mapping):
        return ""
    settings = [value(of) for name, of in aggregator.items() if name != "type"]
    return f", whose vectors become one by {' '.join([str(aggregator.get('type')).lower(), *settings])}"


def sampler(data: Plain) -> str:
    """A sampler in words; one that is not known is named."""
    describe = SAMPLERS.get(str(data.get("type")))
    return describe(data) if describe else f"clips of the sampler {data.get('type')}"


def _inner(data: Plain) -> str:
    inner = data.get("inner")
    return sampler(inner) if isinstance(inner, Mapping) else "clips"


def _uniform(data: Plain) -> str:
    ends = " from its first frame to its last" if data.get("rule") == "ends" else ""
    return f"one clip of frames spread evenly over the whole video{ends}"


def _multiclip(data: Plain) -> str:
    seconds, stride = data.get("seconds"), data.get("stride")
    every = f", one every {value(stride)} s" if stride not in (None, seconds) else ", one after another"
    return f"clips of {value(seconds)} s{every}"


def _views(data: Plain) -> str:
    crops, clips = count(data.get("crops"), "crop"), count(data.get("clips"), "clip")
    stride = data.get("stride")
    frames = "consecutive frames" if stride == 1 else f"every {_ordinal(stride)} frame"
    return f"{clips} of {frames}, {crops} of each"


def _ordinal(number: Any) -> str:
    if not isinstance(number, int):
        return f"{value(number)}th"
    teens = 10 <= number % 100 <= 20
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _around(data: Plain) -> str:
    window, stride = data.get("window"), data.get("stride")
    length = f"{value(window)} s" if window is not None else f"frames {value(stride)} apart"
    return f"one clip of {length} around each moment that is tested"


def _random(data: Plain) -> str:
    window, stride = data.get("window"), data.get("stride")
    length = f"{value(window)} s" if window is not None else f"frames {value(stride)} apart"
    return f"one clip of {length} at a random place"


def _drawn(data: Plain) -> str:
    number = data.get("count")
    draws = "drawn anew at every pass" if number == 0 else f"in {count(number, 'random draw')}"
    return f"{_inner(data)}, {draws}"


def _slowed(data: Plain) -> str:
    return f"{_inner(data)}, slowed down {value(data.get('factor'))} times"


SAMPLERS: Mapping[str, Callable[[Plain], str]] = {
    "Uniform": _uniform,
    "MultiClip": _multiclip,
    "Views": _views,
    "VJepa": lambda data: _views(data) + " (V-JEPA's own)",
    "Around": _around,
    "WholeFrame": lambda data: f"{_inner(data)}, of the whole frame",
    "RandomClip": _random,
    "RandomCrop": lambda data: f"{_inner(data)}, randomly cropped",
    "Drawn": _drawn,
    "Reversed": lambda data: f"{_inner(data)}, played backwards",
    "Shuffled": lambda data: f"{_inner(data)}, its frames in random order",
    "Frozen": lambda data: f"{_inner(data)}, of one frame repeated",
    "Slowed": _slowed,
    "Versions": lambda data: f"{_inner(data)}, in every version",
}
"""Words for samplers by the names of their classes."""
