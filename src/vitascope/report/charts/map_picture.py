"""A map as a picture file for papers: SVG and PNG of the same layout, on a white background."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from vitascope.core.text import escaped
from vitascope.report.charts.svg_png import GROUND, INK, SIZE, SOFT, truncate

SIDE, MARGIN, LINE = 640, 14, 18
LEGEND = 220
"""Width of the legend, pixels."""
COLORS = ("#0068ad", "#cc4f00", "#008a68", "#b0488f", "#b98100", "#2f9fd8", "#4a4d52")
"""Those of the page in its light theme."""
SHAPES: tuple[tuple[tuple[float, float], ...], ...] = (
    (),
    ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    ((0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)),
    ((0, -1.2), (1.15, 0.9), (-1.15, 0.9)),
    ((0, 1.2), (1.15, -0.9), (-1.15, -0.9)),
    (
        *((-0.4, -1.2), (0.4, -1.2), (0.4, -0.4), (1.2, -0.4), (1.2, 0.4), (0.4, 0.4)),
        *((0.4, 1.2), (-0.4, 1.2), (-0.4, 0.4), (-1.2, 0.4), (-1.2, -0.4), (-0.4, -0.4)),
    ),
)
"""Corners of the markers for radius 1; the first is a circle."""
LOOKS = 2 * len(COLORS) * len(SHAPES)
"""Markers that differ: 7 colors and 6 shapes in turn, filled, then hollow."""


class MapPicture(NamedTuple):
    """A map laid out, in pixels from left and top."""

    title: str
    caption: str
    places: Float[ndarray, "n 2"]
    looks: Int[ndarray, "n"]
    radius: float
    legend: tuple[str, ...]
    """Name of each class, as many as there is room for."""
    more: int
    """Classes without a place in the legend."""


def layout(
    places: Float[ndarray, "n 2"], labels: Int[ndarray, "n"], classes: Sequence[str], *, title: str, caption: str
) -> MapPicture:
    """Lay out the points of a picture, of equal scale along both axes, and a legend."""
    room = (SIDE - 2 * MARGIN) // LINE
    shown = classes if len(classes) <= room else classes[: room - 1]
    inner = SIDE - 2 * MARGIN
    unit = in_unit_square(places)
    at = np.column_stack([MARGIN + inner * unit[:, 0], MARGIN + 2 * LINE + inner * (1 - unit[:, 1])])
    radius = min(max(90 / sqrt(len(places) + 200), 1.5), 4.6)
    names = tuple(escaped(name) for name in shown)
    caption = caption.replace("\N{NO-BREAK SPACE}", " ")  # which Pillow's own font lacks
    return MapPicture(title, caption, at, labels % LOOKS, radius, names, len(classes) - len(shown))


def in_unit_square(places: Float[ndarray, "n 2"]) -> Float[ndarray, "n 2"]:
    """Places scaled by one factor and moved into the middle of the unit square."""
    low, high = places.min(0), places.max(0)
    extent = float((high - low).max()) or 1.0
    scaled: Float[ndarray, "n 2"] = np.clip((places - (low + high) / 2) / extent + 0.5, 0.0, 1.0)
    return scaled


def _texts(picture: MapPicture) -> list[tuple[float, float, str, str]]:
    """Place, text and color of every line of text."""
    left, margin = SIDE + 26.0, float(MARGIN)
    lines = [(margin, 18.0, truncate(picture.title, SIDE + LEGEND - 2 * MARGIN), INK)]
    lines.append((margin, 18.0 + LINE, truncate(picture.caption, SIDE + LEGEND - 2 * MARGIN), SOFT))
    for i, name in enumerate(picture.legend):
        lines.append((left, _legend_top(i), truncate(name, LEGEND - 40), INK))
    if picture.more:
        lines.append((left, _legend_top(len(picture.legend)), f"and {picture.more} more", SOFT))
    return lines


def _legend_top(line: int) -> float:
    return 3.0 * LINE + 6 + LINE * line


def _marks(picture: MapPicture) -> list[tuple[float, float, int, float]]:
    """Place, look and radius of every marker: the points, mixed so that no class hides another, then the legend."""
    order = np.random.default_rng(0).permutation(len(picture.places))
    points = [(*picture.places[i].tolist(), int(picture.looks[i]), picture.radius) for i in order]
    return points + [(SIDE + 12.0, _legend_top(i) - 4, i % LOOKS, 4.6) for i in range(len(picture.legend))]


def size(picture: MapPicture) -> tuple[int, int]:
    """Width and height, pixels."""
    return SIDE + LEGEND, SIDE + 2 * LINE


def svg(picture: MapPicture) -> str:
    """Render as a standalone SVG file."""
    width, height = size(picture)
    marks = _marks(picture)
    used = sorted({(look, r) for *_, look, r in marks})
    names = {key: f"k{i}" for i, key in enumerate(used)}
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            f'role="img" aria-label="{escape(f"{picture.title}. {picture.caption}")}" '
            f'font-family="Helvetica, Arial, sans-serif" font-size="{SIZE}"><defs>',
            *(_symbol(names[key], *key) for key in used),
            f'</defs><rect width="{width}" height="{height}" fill="{GROUND}"/>',
            *(f'<use href="#{names[look, r]}" x="{x:.1f}" y="{y:.1f}"/>' for x, y, look, r in marks),
            *(
                f'<text x="{x:g}" y="{y:g}" fill="{color}">{escape(text)}</text>'
                for x, y, text, color in _texts(picture)
            ),
            "</svg>\n",
        ]
    )


def _symbol(name: str, look: int, radius: float) -> str:
    """A marker, to be placed by `use`."""
    color, hollow = COLORS[look % len(COLORS)], look >= LOOKS // 2
    paint = f'fill="{GROUND if hollow else color}" stroke="{color if hollow else GROUND}" '
    paint += f'stroke-width="{radius * 0.5 if hollow else min(1, radius * 0.25):.2f}"'
    corners = SHAPES[look % len(SHAPES)]
    if not corners:
        return f'<circle id="{name}" r="{radius:.2f}" {paint}/>'
    points = " ".join(f"{x * radius:.2f},{y * radius:.2f}" for x, y in corners)
    return f'<polygon id="{name}" points="{points}" {paint}/>'


def png(picture: MapPicture, *, scale: int = 2, colors: int = 0) -> bytes:
    """Render as PNG with `scale` pixels per layout pixel, with a palette of `colors` if given.

    Pillow's default font covers little more than ASCII and shows other letters as boxes; the SVG shows them all.
    """
    from PIL import Image, ImageDraw, ImageFont

    width, height = size(picture)
    image = Image.new("RGB", (scale * width, scale * height), GROUND)
    stamps: dict[tuple[int, float], Any] = {}
    for x, y, look, radius in _marks(picture):
        stamp = stamps.get((look, radius)) or stamps.setdefault((look, radius), _stamp(look, radius * scale))
        corner = round(x * scale - stamp.width / 2), round(y * scale - stamp.height / 2)
        image.paste(stamp, corner, stamp)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(SIZE * scale)
    for x, y, text, color in _texts(picture):
        pen.text((x * scale, y * scale), text, color, font, "ls")
    buffer = io.BytesIO()
    image = image.quantize(colors) if colors else image
    image.save(buffer, "PNG", dpi=(96 * scale, 96 * scale), optimize=bool(colors))
    return buffer.getvalue()


def _stamp(look: int, radius: float, fine: int = 4) -> Any:
    """A marker with transparency, drawn at `fine` times its size to smooth its edges."""
    from PIL import Image, ImageDraw

    side = int(2 * radius * 1.4) + 4
    large, middle = side * fine, side * fine / 2
    image = Image.new("RGBA", (large, large), (255, 255, 255, 0))
    pen = ImageDraw.Draw(image)
    color, hollow = COLORS[look % len(COLORS)], look >= LOOKS // 2
    fill, line = (GROUND, color) if hollow else (color, GROUND)
    width = round(fine * radius * 0.5) if hollow else fine // 2
    reach = radius * fine
    corners = SHAPES[look % len(SHAPES)]
    if corners:
        pen.polygon([(middle + x * reach, middle + y * reach) for x, y in corners], fill, line, width)
    else:
        pen.ellipse([middle - reach, middle - reach, middle + reach, middle + reach], fill, line, width)
    return image.resize((side, side), Image.Resampling.BOX)
