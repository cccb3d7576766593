"""Keyframes of every or nearly every frame as examples of one second each, since neighbors show the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median

from vitascope.core.actors import Keyframes
from vitascope.core.types import Example
from vitascope.datasets.readers.keyframe_examples import KeyframeExamples

DENSE = 0.25
"""Seconds up to which keyframes are dense, if half of them are no farther from the next."""
WINDOW = 1.0
"""Seconds of an example of dense keyframes."""


def by_second(found: KeyframeExamples) -> KeyframeExamples:
    """Examples of one keyframe each, ordered by video and time, joined to one for each second if they are dense."""
    gaps = [b.truth.times[0] - a.truth.times[0] for a, b in pairwise(found.examples) if a.group == b.group]
    if not gaps or median(gaps) > DENSE:
        return found
    parts: dict[tuple[str | None, int], list[Example[Keyframes]]] = {}
    for e in found.examples:
        parts.setdefault((e.group, math.floor((e.truth.times[0] + 1e-6) / WINDOW)), []).append(e)
    examples = tuple(_joined(part, second) for (_, second), part in parts.items())
    return KeyframeExamples(examples, {e.id: found.missing[e.id] for e in examples if e.id in found.missing})


def _joined(part: Sequence[Example[Keyframes]], second: int) -> Example[Keyframes]:
    """The keyframes of one second; the id is that of the first."""
    times = tuple(time for e in part for time in e.truth.times)
    truth = Keyframes(times, tuple(actor for e in part for actor in e.truth.actors))
    return replace(part[0], truth=truth, span=(second * WINDOW, (second + 1) * WINDOW))
