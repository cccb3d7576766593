"""Which part of a video the frames of a clip are spread over, so that a time can be looked up in its tokens."""

from __future__ import annotations

import math
from typing import NamedTuple

from vitascope.core.types import Span
from vitascope.sampling.perturbations import Reversed, Slowed
from vitascope.sampling.samplers import Around, Sampler, SamplerWrapper

EXACT = 1e-9
"""Seconds by which equal times may differ."""


class ClipWindow(NamedTuple):
    """An interval whose equal parts the frames of a clip stand for, in order; it may extend beyond the video."""

    first: float
    """Start of the part of the first frame, seconds; later than `last` if the clip is played backwards."""
    last: float
    """End of the part of the last frame, seconds."""

    def position(self, time: float, steps: int) -> float:
        """Where `time` falls among `steps` equal parts: part k is from k to k + 1; the middle if all show one time."""
        length = self.last - self.first
        return steps * (time - self.first) / length if length else steps / 2


def clip_window(sampler: Sampler, span: Span | None, drawn: Span | None) -> ClipWindow | None:
    """The window of the only clip that `sampler` draws of an example with `span`; None if it cannot be told.

    `drawn` is the interval that the clip represents (`Clip.span`), None if unknown. Shuffled and frozen clips have the
    window of the clip that they alter, and frames a stride apart are known to within one. Slowed clips count as if no
    frame was clamped. It cannot be told where frames a stride apart were clamped on both sides: the length of the clip
    is then unknown.
    """
    if isinstance(sampler, Reversed | Slowed):
        inner = clip_window(sampler.inner, span, drawn)
        return inner and _altered(sampler, inner)
    if isinstance(sampler, SamplerWrapper):
        return clip_window(sampler.inner, span, drawn)
    if not isinstance(sampler, Around):
        known = drawn or span
        return ClipWindow(*known) if known and math.isfinite(known[1]) else None
    key = keyframe(sampler, span, drawn)
    if key is None:
        return None
    half = sampler.window / 2 if sampler.window is not None else _half(key, span, drawn)
    return None if half is None else ClipWindow(key - half, key + half)


def keyframe(sampler: Sampler, span: Span | None, drawn: Span | None) -> float | None:
    """The time around which a clip is centered, for samplers of clips around one; None if it cannot be told."""
    if isinstance(sampler, SamplerWrapper):
        return keyframe(sampler.inner, span, drawn)
    if not isinstance(sampler, Around):
        return None
    if sampler.seconds is not None:
        return float(sampler.seconds)
    known = span if span and math.isfinite(span[1]) else drawn
    if known is None:
        return None
    middle = (known[0] + known[1]) / 2
    return middle if drawn is None else min(max(middle, drawn[0]), drawn[1])


def _altered(sampler: Reversed | Slowed, inner: ClipWindow) -> ClipWindow:
    if isinstance(sampler, Reversed):
        return ClipWindow(inner.last, inner.first)
    middle, half = (inner.first + inner.last) / 2, (inner.last - inner.first) / 2 / sampler.factor
    return ClipWindow(middle - half, middle + half)


def _half(key: float, span: Span | None, drawn: Span | None) -> float | None:
    """Half the length of a clip of frames a stride apart: the keyframe is in its middle unless a side is clamped."""
    if drawn is None:
        return None
    before, after = key - drawn[0], drawn[1] - key
    if span is not None:
        clamped = drawn[0] <= max(span[0], 0.0) + EXACT, drawn[1] >= span[1] - EXACT
        if all(clamped) or (clamped[0] and after < before) or (clamped[1] and before < after):
            return None
    return max(before, after)
