"""Thumbnails of the points of a map: the middle frame of each, as tiles of one small JPEG file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Int

from vitascope.core.types import Clip, Example
from vitascope.evaluation.maps.files import Sprites
from vitascope.evaluation.maps.points import Points

SIDE, COLUMNS, QUALITY = 64, 32, 50
MAX_THUMBNAILS = 1500
MAX_BYTES = 1_400_000
"""Size of the file; as text in a page a third more."""


def thumbnails(points: Points, seed: int) -> tuple[Sprites, bytes] | None:
    """Return the tiles and the JPEG file; of many points those of a sample that has every class. None without any."""
    wanted = list(islice(_sample(points, seed), MAX_THUMBNAILS))
    tiles = {point: tile for point in sorted(wanted) if (tile := _tile(points, point)) is not None}
    made = [point for point in wanted if point in tiles]
    while made:
        data = make_sheet([tiles[point] for point in made])
        if len(data) <= MAX_BYTES:
            sizes = tuple((int(tile.width), int(tile.height)) for tile in (tiles[point] for point in made))
            return Sprites(side=SIDE, columns=COLUMNS, points=tuple(made), sizes=sizes), data
        made = made[: int(len(made) * MAX_BYTES / len(data) * 0.95)]
    return None


def _sample(points: Points, seed: int) -> Sequence[int]:
    """All points in an order in which every beginning has about as many of each class."""
    labels = points.labels
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    turn = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        of_class = shuffled[labels[shuffled] == label]
        turn[of_class] = np.arange(len(of_class))
    order: Int[np.ndarray, "n"] = shuffled[np.argsort(turn[shuffled], kind="stable")]
    return [int(i) for i in order]


def _tile(points: Points, point: int) -> Any:
    """The middle frame of a point, at most `SIDE` pixels wide and high; None if it cannot be read."""
    from vitascope.video import UNREADABLE

    example = points.examples[points.owner[point]]
    if not example.path:
        return None
    try:
        return _picture(example, float(points.spans[point].mean()))
    except UNREADABLE:
        return None


def _picture(example: Example[int], middle: float) -> Any:
    from PIL import Image

    from vitascope.video import decode, inspect

    video = inspect(example.path, fps=example.fps).within(example.span)
    time = middle if video.start <= middle <= video.end else (video.start + video.end) / 2
    ((_, pixels),) = decode(video, [Clip((time,), (time, time))], SIDE, "square")
    scale = SIDE / max(video.width, video.height)
    size = max(round(video.width * scale), 1), max(round(video.height * scale), 1)
    return Image.fromarray(pixels[0]).resize(size, Image.Resampling.BOX)


def make_sheet(tiles: Sequence[Any]) -> bytes:
    """Tiles as one JPEG file, in rows of `COLUMNS`."""
    from PIL import Image

    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (SIDE * min(COLUMNS, len(tiles)), SIDE * rows))
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % COLUMNS * SIDE, i // COLUMNS * SIDE))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()
