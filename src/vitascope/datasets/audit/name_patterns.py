"""Names that look like cuts of one source: `<video>_000012_000022`, `v_X_g01_c02`, `person03_...`, `scene01_take2`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from vitascope.core.media import stem
from vitascope.core.truth import classes_of
from vitascope.core.types import Example

MATCHING = 0.9
"""Share of the names that must follow a pattern."""
SHARED = 0.5
"""Share of the names whose source must have another cut, so that plain numbered names are not taken for sources."""
SOURCES = (
    "person|subject|subj|sub|actor|participant|patient|user|speaker|signer|player|performer|animal|mouse|rat|scene|"
    "session|sess|sequence|seq|recording|record|rec|movie|film|match|game|video|vid|camera|cam|room|site|day|p|s"
)
PIECES = "take|clip|cut|part|pt|seg|segment|chunk|shot|piece|window|crop|c"
NUMBER = r"\d+(?:\.\d+)?"
TIMED = re.compile(rf"(?P<source>.*?[^\W_])[ _.#:-]+(?P<start>{NUMBER})s?[ _.-]+(?P<end>{NUMBER})s?")
"""A source, then a start and an end."""
CUT = re.compile(rf"(?P<source>.*[^\W_])(?:[ _.-]+|(?<=\d))(?:{PIECES})[ _.-]?\d+", re.IGNORECASE)
"""A source, then the number of a piece of it."""
NAMED = re.compile(rf"(?:.*?[\W_])?(?P<source>(?:{SOURCES})[ _.-]?\d+)[\W_].*", re.IGNORECASE)
"""A person, scene or session with its number, then what was done there."""
NTU = re.compile(r"S\d{3}C\d{3}(?P<source>P\d{3})R\d{3}A\d{3}.*", re.IGNORECASE)
"""Setup, camera, person, repetition and action."""


class NamePattern(NamedTuple):
    """The sources that the names of a dataset suggest."""

    sources: Mapping[str, str]
    """{id of an example: source}."""
    example: str
    """A name that follows the pattern, without folder."""
    part: str
    """The part of it that names the source."""


def suggested_sources(examples: Sequence[Example[Any]]) -> NamePattern | None:
    """The sources that the names suggest; None unless nearly all follow one pattern and most sources have several cuts.

    A source is not a class: at least one class needs two.
    """
    names = {e.id: stem(e.path or e.id) for e in examples}
    for source in (_timed, _cut, _named):
        sources = _sources(names, source)
        if sources and _plausible(examples, sources):
            first = next(iter(sources))
            return NamePattern(sources, names[first], sources[first])
    return None


def _sources(names: Mapping[str, str], source: Callable[[str], str]) -> dict[str, str]:
    """The source of each name that has one; empty as soon as too many have none."""
    sources: dict[str, str] = {}
    for seen, (example, name) in enumerate(names.items(), 1):
        if found := source(name):
            sources[example] = found
        elif seen - len(sources) > len(names) - MATCHING * len(names):
            return {}
    return sources


def _plausible(examples: Sequence[Example[Any]], sources: Mapping[str, str]) -> bool:
    cuts = Counter(sources.values())
    shared = sum(count for count in cuts.values() if count > 1)
    classes = {label for e in examples for label in classes_of(e.truth)}
    return shared >= SHARED * len(examples) and len(cuts) > len(classes)


def _timed(name: str) -> str:
    """The source of a name that ends in an ascending start and end of one form; empty for others."""
    match = TIMED.fullmatch(name)
    if match is None or float(match["start"]) >= float(match["end"]):
        return ""
    return match["source"]


def _cut(name: str) -> str:
    """The source of a name that ends in a numbered piece; empty for others."""
    match = CUT.fullmatch(name)
    return match["source"] if match else ""


def _named(name: str) -> str:
    """The person, scene or session in a name that goes on after it; empty for others."""
    match = NTU.fullmatch(name) or NAMED.fullmatch(name)
    return match["source"].lower() if match else ""
