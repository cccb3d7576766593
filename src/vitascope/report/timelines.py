"""Coloured bars: what every frame of a video is labelled with, the truth and each encoder's prediction on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from vitascope.report.figures import rounded

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f7f7f")
"""Hues that stay apart for colour-blind eyes (Okabe and Ito 2008, grey instead of black)."""
STROKES = ("", "M0 8L8 0", "M0 0L8 8", "M0 4H8", "M4 0V8", "M0 4H8M4 0V8")
"""What is drawn over a hue from the ninth class on: with these, 48 fillings that differ in more than colour."""
MOST = len(COLOURS) * len(STROKES)
BAR, GAP, LETTER = 22, 6, 6.6
"""Height of a bar, what is between two, the width of a letter: pixels."""
TEXT = "var(--ink, #1c1e22)"


class Track(NamedTuple):
    """One bar."""

    name: str
    labels: Int64[np.ndarray, "t"]
    """The class of every frame; negative: none."""


class Piece(NamedTuple):
    """A stretch of one label: frames, the end exclusive."""

    label: int
    start: int
    end: int


def pieces(labels: Int64[np.ndarray, "t"]) -> list[Piece]:
    """The stretches of a bar; those without a class are left out."""
    found, at = [], 0
    for label, run in groupby(labels.tolist()):
        end = at + sum(1 for _ in run)
        found += [Piece(label, at, end)] * (label >= 0)
        at = end
    return found


def svg(tracks: Sequence[Track], classes: Sequence[str], *, fps: float, width: int = 960, titles: bool = True) -> str:
    """A picture of `tracks` from top to bottom, the truth first by custom, with a legend of the classes they hold.

    Pointing at a stretch says whose it is, what and when: by `data-tip`, which a report's page shows, and with
    `titles` by what browsers show on their own. Bars of different lengths share one axis of seconds. Classes have
    fillings in the order of their numbers, among those that appear; the 49th looks like the first again.

    ValueError: no track, no frame, a label that there is no class for, frames per second that are not positive.
    """
    _check(tracks, classes, fps)
    here = sorted({int(label) for track in tracks for label in np.unique(track.labels) if label >= 0})
    fill = {label: i % MOST for i, label in enumerate(here)}
    left = min(max(len(t.name) for t in tracks) * LETTER + 12, width / 4)
    longest = max(len(t.labels) for t in tracks)
    scale = (width - left - 8) / longest
    rows = [_row(t, i, classes, fps=fps, place=(left, scale), fill=fill, titles=titles) for i, t in enumerate(tracks)]
    bottom = len(tracks) * (BAR + GAP)
    legend, height = _legend([(classes[label], fill[label]) for label in here], bottom + 34, width)
    said = f"{', '.join(t.name for t in tracks)}: the class of every frame over {longest / fps:.0f} seconds"
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="100%" role="img" '
            f'aria-label="{escape(said)}" font-family="system-ui, sans-serif" font-size="12">',
            _patterns(sorted(set(fill.values()))),
            *rows,
            _axis(longest / fps, (left, scale * fps), bottom),
            legend,
            "</svg>",
        ]
    )


def _check(tracks: Sequence[Track], classes: Sequence[str], fps: float) -> None:
    if not tracks or not all(len(t.labels) for t in tracks):
        empty = [t.name for t in tracks if not len(t.labels)]
        raise ValueError(f"no frames to draw{f' of {empty[0]}' if empty else ''}: leave it out")
    if not fps > 0:
        raise ValueError(f"{fps} frames per second: must be positive")
    for track in tracks:
        if (highest := int(track.labels.max())) >= len(classes):
            raise ValueError(f"{track.name}: label {highest}, and there are {len(classes)} classes, from 0 on")


def _patterns(numbers: Sequence[int]) -> str:
    return "<defs>" + "".join(map(_pattern, numbers)) + "</defs>"


def _pattern(number: int) -> str:
    colour, stroke = COLOURS[number % len(COLOURS)], STROKES[number // len(COLOURS)]
    line = f'<path d="{stroke}" stroke="#000" stroke-opacity=".55" stroke-width="1.5" fill="none"/>' if stroke else ""
    return (
        f'<pattern id="timeline-{number}" width="8" height="8" patternUnits="userSpaceOnUse">'
        f'<rect width="8" height="8" fill="{colour}"/>{line}</pattern>'
    )


def _row(
    track: Track,
    number: int,
    classes: Sequence[str],
    *,
    fps: float,
    place: tuple[float, float],
    fill: dict[int, int],
    titles: bool,
) -> str:
    """The name of a track and its stretches."""
    left, scale = place
    top = number * (BAR + GAP)
    shown = _shortened(track.name, left - 12)
    parts = [f'<text x="{left - 8:g}" y="{top + BAR / 2 + 4:g}" text-anchor="end" fill="{TEXT}">{escape(shown)}</text>']
    for piece in pieces(track.labels):
        tip = f"{track.name}\n{classes[piece.label]}\n{piece.start / fps:.1f} to {piece.end / fps:.1f} s"
        attribute = escape(tip).replace("\n", "&#10;")  # as it stands it would be a space to readers of XML
        title = f"<title>{escape(tip)}</title>" if titles else ""
        parts.append(
            f'<rect x="{left + piece.start * scale:.2f}" y="{top}" width="{(piece.end - piece.start) * scale:.2f}" '
            f'height="{BAR}" fill="url(#timeline-{fill[piece.label]})" data-tip="{attribute}">{title}</rect>'
        )
    return "".join(parts)


def _axis(seconds: float, place: tuple[float, float], top: float) -> str:
    """Round numbers of seconds below the bars."""
    left, scale = place
    step = rounded(seconds / 8)
    parts = []
    for i in range(int(seconds / step) + 1):
        x = left + i * step * scale
        parts.append(f'<path d="M{x:.2f} {top - GAP}V{top}" stroke="{TEXT}"/>')
        parts.append(f'<text x="{x:.2f}" y="{top + 14}" text-anchor="middle" fill="{TEXT}">{i * step:g} s</text>')
    return "".join(parts)


def _legend(entries: Sequence[tuple[str, int]], top: float, width: int) -> tuple[str, int]:
    """Names with their fillings, in columns as wide as the longest name; and where they end."""
    wide = max((len(name) for name, _ in entries), default=0) * LETTER + 32
    columns = max(int(width // wide), 1)
    parts = []
    for i, (name, number) in enumerate(entries):
        x, y = i % columns * wide, top + i // columns * 20
        parts.append(f'<rect x="{x:g}" y="{y:g}" width="14" height="14" fill="url(#timeline-{number})"/>')
        shown = escape(_shortened(name, width - 40))
        parts.append(f'<text x="{x + 20:g}" y="{y + 11:g}" fill="{TEXT}">{shown}</text>')
    return "".join(parts), int(top + -(-len(entries) // columns) * 20)


def _shortened(text: str, room: float) -> str:
    """As much of a text as there is room for, pixels."""
    most = max(int(room / LETTER), 1)
    return text if len(text) <= most else text[: most - 1] + "…"
