"""The files of a map: `map.json` with the numbers, and one Parquet file of points for each picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int
from numpy import ndarray

from vitascope.core import files
from vitascope.core.errors import DamagedFileError, UserError, reading
from vitascope.core.schema import conform
from vitascope.core.types import Score
from vitascope.metrics.neighborhoods import Nearest

if TYPE_CHECKING:
    from vitascope.evaluation.maps.points import Points

MAX_POINTS = 100_000
"""All pairs of points are compared; beyond, that takes hours."""
RECORD, SPRITES = "map.json", "thumbnails.jpg"
PICTURES = ("parquet", "svg", "png")
AGAIN = "make the map again with `vitascope map`"


@dataclass(frozen=True, kw_only=True)
class Neighborhood:
    """How classes lie in a space, or in a picture of it; what cannot be computed is None."""

    purity: Score | None
    """Percentage of the k nearest points of other recordings that have the same class, with its interval."""
    silhouette: float | None
    """Mean over the points, -1 to 1."""
    trustworthiness: float | None = None
    """Of a picture: percentage; 100 where every neighbor in it is one in the space."""
    held_out: Score | None = None
    """Of LDA: purity of points that the plane was not fitted on."""


@dataclass(frozen=True, kw_only=True)
class Chance:
    """The same of labels drawn at random, and the best that is possible."""

    purity: tuple[float, float] | None
    """Mean and 97.5th percentile over shuffled labels."""
    silhouette: float | None
    """Mean over shuffled labels, in the full space of the first encoder."""
    best: float | None
    """Purity if every neighbor that can be of the same class is; below 100 if classes have fewer videos than k."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """The vectors of one encoder."""

    encoder: str
    dim: int
    measured: Neighborhood
    chance: Chance


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One projection of the vectors of one encoder."""

    encoder: str
    method: str
    """As on the command line."""
    title: str
    """Name of the projection in words."""
    stem: str
    """Name of its files without the ending."""
    measured: Neighborhood


@dataclass(frozen=True, kw_only=True)
class Sprites:
    """Thumbnails as tiles of one JPEG file, in rows of `columns`."""

    side: int
    columns: int
    points: tuple[int, ...]
    """Row of the point of each tile."""
    sizes: tuple[tuple[int, int], ...]
    """Width and height of each, from the left and upper edge of its tile, pixels."""


@dataclass(frozen=True, kw_only=True)
class MapRecord:
    """Everything about a map but its points."""

    dataset: str
    split: str
    unit: str
    """`video` or `clip`: what a point is."""
    view: str
    scale: str
    share: float
    seed: int
    k: int
    """Number of neighbors."""
    points: int
    videos: int
    recordings: int
    """Number of groups of videos; neighbors within one do not count for the purity."""
    classes: tuple[str, ...]
    """Those shown."""
    spaces: tuple[Space, ...]
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...] = ()
    sprites: Sprites | None = None
    version: int = 1


@dataclass(frozen=True)
class DrawnPoints:
    """The points of one picture, read from its file."""

    places: Float[ndarray, "n 2"]
    labels: Int[ndarray, "n"]
    """Index into the classes of the map."""
    ids: tuple[str, ...]
    clip: Int[ndarray, "n"]
    neighbors: Int[ndarray, "n k"]
    """Rows of the nearest points in the full space, nearest first; -1 where there are fewer."""
    distances: Float[ndarray, "n k"]


def write_points(
    path: Path, places: Float[ndarray, "n 2"], points: Points, classes: Sequence[str], nearest: Nearest
) -> None:
    """Write the points of a picture: `x y label id neighbors`; of clips also `clip start end`.

    `neighbors` is what Embedding Atlas takes: rows and distances of the nearest points in the full space.
    """
    from vitascope.features.store_index import write_table  # which needs torch, as readers of maps do not

    ids = [readable(points.examples[i].id) for i in points.owner]
    neighbors = pa.StructArray.from_arrays(
        [_lists(nearest.indices, pa.int32()), _lists(nearest.distances, pa.float32())], ["ids", "distances"]
    )
    columns: dict[str, Any] = {
        "x": places[:, 0].astype(np.float32),
        "y": places[:, 1].astype(np.float32),
        "label": [readable(classes[label]) for label in points.labels],
        "id": ids,
        "neighbors": neighbors,
    }
    if len(points.examples) < len(points.clip) or points.clip.any():
        columns |= {"clip": points.clip.astype(np.int32), "start": points.spans[:, 0], "end": points.spans[:, 1]}
    write_table(path, pa.table(columns))


def readable(name: str) -> str:
    """`name` with lone surrogates, of file names that are not UTF-8, as escape sequences."""
    return name.encode("utf-8", "backslashreplace").decode()


def _lists(values: ndarray, kind: pa.DataType) -> pa.Array:
    """Rows as lists, without what stands for no neighbor."""
    there = np.isfinite(values) & (values >= 0)
    offsets = np.concatenate([[0], np.cumsum(there.sum(1))])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values[there]).cast(kind))


def write_record(folder: Path, record: MapRecord) -> None:
    """Write the numbers of a map."""
    files.write(folder / RECORD, (json.dumps(asdict(record), ensure_ascii=False, indent=1) + "\n").encode())


def read_record(folder: Path) -> MapRecord:
    """Read the numbers of a map; UserError where there is none, DamagedFileError for a file that does not fit."""
    path = folder / RECORD
    if not path.is_file():
        raise UserError(f"{path}: no map there; make one with `vitascope map`")
    record: MapRecord = conform(files.read_json(path, AGAIN), MapRecord, str(path), AGAIN)
    names = [picture.stem for picture in record.pictures]
    if any(Path(name).name != name for name in names) or not 0 < record.points <= MAX_POINTS:
        raise DamagedFileError(f"{path}: not as `vitascope map` writes it; {AGAIN}")
    sprites = record.sprites
    if sprites and (
        len(sprites.points) != len(sprites.sizes)
        or not sprites.columns > 0
        or any(not 0 <= point < record.points for point in sprites.points)
    ):
        raise DamagedFileError(f"{path}: thumbnails of other points; {AGAIN}")
    return record


def read_points(folder: Path, record: MapRecord, picture: Picture) -> DrawnPoints:
    """Read the points of a picture; DamagedFileError for a file that does not fit the numbers of the map."""
    path = folder / f"{picture.stem}.parquet"
    files.require_regular_file(path)
    with reading(path, AGAIN):
        if pq.read_metadata(path).num_rows != record.points:
            raise UserError(f"not the {record.points} points of {RECORD}")
        table = pq.read_table(path)
        names = {name: i for i, name in enumerate(record.classes)}
        places = np.column_stack([table["x"].to_numpy(), table["y"].to_numpy()]).astype(np.float64)
        rows, distances = (_table_of(table["neighbors"], part, record) for part in ("ids", "distances"))
        if not np.isfinite(places).all() or rows.max(initial=0) >= record.points:
            raise UserError("points at no place, or neighbors that are not there")
        return DrawnPoints(
            places,
            np.array([names[label] for label in table["label"].to_pylist()], np.int64),
            tuple(map(str, table["id"].to_pylist())),
            table["clip"].to_numpy() if "clip" in table.column_names else np.zeros(record.points, int),
            rows.astype(np.int64),
            distances,
        )


def _table_of(column: Any, part: str, record: MapRecord) -> Float[ndarray, "n k"]:
    """Lists of up to k numbers as a table, filled with -1."""
    lists = column.combine_chunks().field(part)
    counts = lists.value_lengths().to_numpy(zero_copy_only=False)
    values = np.full((record.points, record.k), -1.0)
    values[np.arange(record.k) < counts[:, None]] = lists.flatten().to_numpy(zero_copy_only=False)
    return values


def remove_earlier(folder: Path) -> None:
    """Remove the files of an earlier map in a folder; others stay."""
    try:
        record = read_record(folder)
    except UserError:
        return
    for name in [f"{picture.stem}.{ending}" for picture in record.pictures for ending in PICTURES]:
        (folder / name).unlink(missing_ok=True)
    (folder / SPRITES).unlink(missing_ok=True)
