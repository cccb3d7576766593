"""The page of a map, and its pictures: read from the files of a map, written beside them."""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import numpy as np
from markupsafe import Markup

from vitascope.core import files
from vitascope.core.errors import UserError
from vitascope.core.text import escaped, percent
from vitascope.core.types import Score
from vitascope.evaluation.maps.files import (
    RECORD,
    SPRITES,
    DrawnPoints,
    MapRecord,
    Picture,
    read_points,
    read_record,
)
from vitascope.report.charts import map_picture
from vitascope.report.export_tables import terminal_summary
from vitascope.report.render import TEMPLATES, render
from vitascope.report.sections import maps
from vitascope.report.sections.tables import SummaryTable

if TYPE_CHECKING:
    from rich.table import Table

PAGE = "map.html"
MAX_SMALL, COLORS = 6, 64
"""Pictures of each map in the report of a run folder, and their colors."""
SHOWN = 5
"""Nearest neighbors of a point that the page shows."""
STEPS = 65_535
"""Steps of a coordinate in the page, along the longer side of a picture."""
MAX_SPRITES = 4_000_000
"""Bytes of the file of thumbnails."""


class SmallPicture(NamedTuple):
    """A picture as text, and what it shows."""

    url: str
    width: int
    height: int
    words: str


class MapView(NamedTuple):
    """A map in the report of its run folder."""

    title: str
    link: str
    """Address of its page, relative to the report; empty without one."""
    pictures: Sequence[SmallPicture]
    table: SummaryTable


def map_views(run: Path) -> list[MapView]:
    """The maps in the folders directly below a run folder; those whose files do not fit are left out."""
    views = []
    for found in maps.maps_of(run):
        with suppress(UserError, FileNotFoundError):
            folder = run / found.folder
            pictures = [_small(folder, found.record, picture) for picture in found.record.pictures[:MAX_SMALL]]
            link = f"{quote(found.folder)}/{PAGE}" if (folder / PAGE).is_file() else ""
            title = f"{escaped(found.record.dataset)}, {found.record.points:,} {found.record.unit}s"
            views.append(MapView(title, link, pictures, maps.measures_table(found.record)))
    return views


def _small(folder: Path, record: MapRecord, picture: Picture) -> SmallPicture:
    laid = _layout(record, picture, read_points(folder, record, picture))
    image = b64encode(map_picture.png(laid, scale=1, colors=COLORS)).decode()
    width, height = map_picture.size(laid)
    return SmallPicture(f"data:image/png;base64,{image}", width, height, f"{laid.title}. {laid.caption}")


def write(folder: Path) -> Path:
    """Write `map.html`, and SVG and PNG of each picture, into the folder of a map; return the page."""
    record = read_record(folder)
    drawn = {picture.stem: read_points(folder, record, picture) for picture in record.pictures}
    for picture in record.pictures:
        laid = _layout(record, picture, drawn[picture.stem])
        files.write(folder / f"{picture.stem}.svg", map_picture.svg(laid).encode())
        files.write(folder / f"{picture.stem}.png", map_picture.png(laid))
    text = _html(folder, record, drawn)
    files.write(folder / PAGE, text.encode("utf-8", "backslashreplace"))
    return folder / PAGE


def terminal(record: MapRecord) -> Table:
    """Lay out what was measured for a terminal."""
    return terminal_summary(maps.measures_table(record))


def _layout(record: MapRecord, picture: Picture, points: DrawnPoints) -> map_picture.MapPicture:
    title = f"{escaped(picture.encoder)} on {escaped(record.dataset)}, {maps.words(picture)}"
    return map_picture.layout(
        points.places, points.labels, record.classes, title=title, caption=caption(record, picture)
    )


def caption(record: MapRecord, picture: Picture) -> str:
    """What a picture must not be shown without, in one line."""
    measured, parts = picture.measured, []
    space = next(space for space in record.spaces if space.encoder == picture.encoder)
    if measured.purity and space.measured.purity and space.chance.purity:
        full, chance = percent(space.measured.purity), percent(Score(space.chance.purity[0]))
        parts.append(f"same-class neighbors {percent(measured.purity)} (full space {full}, chance {chance})")
    if measured.held_out:
        parts.append(f"held out {percent(measured.held_out)}")
    if measured.trustworthiness is not None:
        parts.append(f"trustworthiness {percent(Score(measured.trustworthiness))}")
    return "; ".join(parts)


def _html(folder: Path, record: MapRecord, drawn: Mapping[str, DrawnPoints]) -> str:
    first = drawn[record.pictures[0].stem]
    recorded = datetime.fromtimestamp((folder / RECORD).stat().st_mtime, UTC)
    values = {
        "record": record,
        "rows": _rows(record),
        "counts": np.bincount(first.labels, minlength=len(record.classes)).tolist(),
        "sprites": len(record.sprites.points) if record.sprites else 0,
        "findings": maps.findings(record),
        "table": maps.measures_table(record),
        "settings": maps.settings(record),
        "recorded": f"{recorded.day} {recorded:%B %Y, %H:%M} UTC",
        "styles": Markup((TEMPLATES / "map.css").read_text(encoding="utf-8")),
        "data": script_data(_data(folder, record, drawn)),
    }
    return render("map.html.j2", folder.resolve().name, values, ["map.js"])


def _rows(record: MapRecord) -> list[tuple[str, list[tuple[Picture, str]]]]:
    """The pictures by projection, so that encoders are side by side, each with its caption."""
    rows: dict[str, list[tuple[Picture, str]]] = {}
    for picture in record.pictures:
        rows.setdefault(maps.words(picture), []).append((picture, caption(record, picture)))
    return list(rows.items())


def script_data(data: Any) -> Markup:
    """Data as JSON in which no text ends the script element that holds it."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _data(folder: Path, record: MapRecord, drawn: Mapping[str, DrawnPoints]) -> dict[str, Any]:
    """The points for the script: arrays packed as text, coordinates in whole steps."""
    pictures = [picture for _, row in _rows(record) for picture, _ in row]
    first = drawn[pictures[0].stem]
    spaces = {picture.encoder: drawn[picture.stem] for picture in pictures}
    return {
        "n": record.points,
        "near": min(SHOWN, record.k),
        "classes": [escaped(name) for name in record.classes],
        "label": packed(first.labels.astype("<u2").tobytes()),
        "ids": packed("\n".join(map(escaped, first.ids)).encode("utf-8", "backslashreplace")),
        "clip": packed(first.clip.astype("<u4").tobytes()) if record.unit == "clip" else None,
        "neighbors": {escaped(name): _neighbors(points, record) for name, points in spaces.items()},
        "maps": [{"encoder": escaped(picture.encoder), "places": _places(drawn[picture.stem])} for picture in pictures],
        "sprites": _sprites(folder, record),
    }


def packed(data: bytes) -> str:
    """Bytes, compressed, as text."""
    return b64encode(zlib.compress(data, 9)).decode()


def _places(points: DrawnPoints) -> str:
    steps = np.round(map_picture.in_unit_square(points.places) * STEPS).astype("<u2")
    return packed(steps.T.tobytes())


def _neighbors(points: DrawnPoints, record: MapRecord) -> str:
    """The rows of the nearest points; all bits set where there is none."""
    shown = points.neighbors[:, : min(SHOWN, record.k)]
    return packed(shown.astype("<u4" if record.points > STEPS else "<u2").tobytes())


def _sprites(folder: Path, record: MapRecord) -> dict[str, Any] | None:
    sprites, path = record.sprites, folder / SPRITES
    if sprites is None or not path.is_file():
        return None
    image = b64encode(files.read_bytes(path, MAX_SPRITES)).decode()
    return {
        "side": sprites.side,
        "columns": sprites.columns,
        "points": sprites.points,
        "sizes": sprites.sizes,
        "image": f"data:image/jpeg;base64,{image}",
    }
