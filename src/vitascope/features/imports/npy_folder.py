"""Import of precomputed feature sequences together with annotations, to be evaluated without videos.

Two layouts: the TWLV-I release (`<id>.json` with `<id>_c.npy`, in `train/` and `val/` or in one folder), and that of
ActionFormer and OpenTAD (one `<id>.npy` per video, C x T or T x C), whose stride, window and frame rate are given in
`features.json` or on the command line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from vitascope.core import files
from vitascope.core.arrays import map_array
from vitascope.core.errors import UserError
from vitascope.core.media import is_clutter
from vitascope.core.names import NameIndex, case_note
from vitascope.core.schema import conform
from vitascope.core.text import nearest
from vitascope.core.types import Dataset, Example, Span
from vitascope.datasets import precomputed
from vitascope.datasets.consistency import common_factor
from vitascope.datasets.precomputed import DATASET, STORE
from vitascope.datasets.readers.annotation_files import read_json
from vitascope.datasets.readers.mstcn_labels import NO_RATE_FILE
from vitascope.datasets.recordings import with_array_recordings
from vitascope.encoders.precomputed import SAMPLE, card_of, clip_times
from vitascope.features.imports import time_grid
from vitascope.features.imports.time_grid import FeatureGrid
from vitascope.features.imports.twelvelabs import imported_key
from vitascope.features.store import EmbeddedExample, Store
from vitascope.video.inspect import inspect

METADATA_FILE = "features.json"
CLIP_SUFFIX = "_c"
"""Suffix of the clip vectors in the layout of the TWLV-I release."""
BLOCK = 128
SMALL = 0.01
"""Relative error of a time grid, common to all videos, from which it is refused; a note tells of smaller ones."""
LAYOUTS = ("TxC", "CxT")
Layout: TypeAlias = Literal["TxC", "CxT"]
Array: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FeatureFolder:
    """A folder of features, one file per video, and its metadata."""

    root: Path
    paths: Mapping[str, Path]
    """Feature files by file name without extension."""
    grid: FeatureGrid | None
    """Time grid of the rows; None if not given."""
    layout: Layout
    """Axis order of the arrays: time x channels or channels x time."""
    released: bool
    """Whether the folder has the layout of the TWLV-I release, with one JSON file per video."""

    @cached_property
    def names(self) -> NameIndex:
        """The names of the files, to be looked up."""
        return NameIndex(self.paths)

    def find_all(self, examples: Sequence[Example[Any]]) -> dict[str, Path]:
        """Return the files of the examples that have one, by id, see `_find`.

        A file that one id names exactly is no other example's. UserError if two files fit one id.
        """
        found = {e.id: name for e in examples if (name := self._find(e.id))}
        exact = {name for i, name in found.items() if name in (i, f"{i}{CLIP_SUFFIX}")}
        for i, name in list(found.items()):
            if name in exact and name not in (i, f"{i}{CLIP_SUFFIX}"):
                self.names.by_case.pop(i, None)
                del found[i]
        taken = set(found.values())
        for name in taken:
            twin = self.paths.get(f"{name}{CLIP_SUFFIX}")
            if twin and twin.stem not in taken:
                raise UserError(f"{twin}: duplicate of {self.paths[name]}; keep one file per video, by one encoder")
        return {i: self.paths[name] for i, name in found.items()}

    def _find(self, example: str) -> str | None:
        """Return the name of the file of an example: its id, with or without `v_` before and `_c` after it."""
        ids = tuple(dict.fromkeys((example, f"v_{example}", example.removeprefix("v_"))))
        names = (*ids, *(f"{i}{CLIP_SUFFIX}" for i in ids))
        exact = next((name for name in names if name in self.paths), None)
        return exact or next((found for name in names if (found := self.names.find(name, str(self.root)))), None)

    def vectors(self, path: Path) -> Array:
        """Load T x C vectors, float32; UserError if the file holds no such array or values that are not finite."""
        values = _load_array(path)
        values = values if self.layout == "TxC" else values.T
        if not np.isfinite(values).all():
            bad = np.count_nonzero(~np.isfinite(values))
            raise UserError(f"{path}: {bad} of {values.size} values are NaN or infinite; remove or recompute the file")
        return np.ascontiguousarray(values, np.float32)

    def spans(self, path: Path, count: int, example: Example[Any], grid: FeatureGrid | None) -> list[Span]:
        """Return start and end of each row in seconds: from the JSON file of the video, else by its time grid."""
        metadata = _read_metadata(path) if self.released else {}
        if times := clip_times(metadata, count):
            return times
        if grid is None:
            raise UserError(
                f"{path}: the times of its {count} vectors are unknown; pass --grid window/stride, or add fps, stride "
                f"and window (frames) to {self.root / METADATA_FILE}"
            )
        duration = example.duration or metadata.get("duration")
        return grid.spans(count, duration, str(path))

    def grid_of(self, example: Example[Any]) -> FeatureGrid | None:
        """Return the time grid of a video, in seconds; UserError if it needs the frame rate, which is unknown."""
        if self.grid is None or not self.grid.in_frames:
            return self.grid
        if not (fps := frame_rate(example)):
            raise UserError(
                f"{example.id}: its frame rate is unknown, and the time grid is in frames of each video; add `fps` to "
                "its entry in the list, or keep its video file beside the annotations"
            )
        return self.grid.at(fps)


def frame_rate(example: Example[Any]) -> float:
    """Return the frame rate of a video: as annotated, else that of its file, else 0."""
    if example.fps or not os.path.exists(example.path):
        return example.fps or 0.0
    times = inspect(example.path).times
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0


def open_folder(
    root: Path, *, grid: FeatureGrid | None = None, release_grid: FeatureGrid | None = None
) -> FeatureFolder:
    """Open the features below `root`, with the time grid `grid`, else that of `features.json`, else `release_grid`.

    `release_grid` applies to the layout of the TWLV-I release only. Raises UserError if there are no features, two
    files for one video, or the time axis cannot be determined.
    """
    paths: dict[str, Path] = {}
    for path in sorted(root.rglob("*.npy")) if root.is_dir() else ():
        clips = path.with_name(f"{path.stem.removesuffix('_v')}{CLIP_SUFFIX}.npy")
        if any(map(is_clutter, path.relative_to(root).parts)) or (path.stem.endswith("_v") and _is_released(clips)):
            continue
        if path.stem in paths:
            raise UserError(f"{path}: duplicate of {paths[path.stem]}; keep one file per video, by one encoder")
        paths[path.stem] = path
    if not paths:
        raise UserError(f"{root}: no <id>.npy or <id>{CLIP_SUFFIX}.npy in it or below")
    metadata = (
        read_json(root / METADATA_FILE, dict, "fps, stride and window") if (root / METADATA_FILE).is_file() else {}
    )
    written = time_grid.grid_from_fields(metadata, str(root / METADATA_FILE))
    released = all(map(_is_released, paths.values()))
    layout = "TxC" if released else _find_layout(list(paths.values()), metadata, root)
    return FeatureFolder(root, paths, grid or written or (release_grid if released else None), layout, released)


def _is_released(path: Path) -> bool:
    """Return whether a file holds the clip vectors of the release: `<id>_c.npy` with `<id>.json`."""
    name = path.stem.removesuffix(CLIP_SUFFIX)
    return name != path.stem and path.exists() and path.with_name(f"{name}.json").exists()


def _find_layout(paths: list[Path], metadata: Mapping[str, Any], root: Path) -> Layout:
    """Return the axis order: as in the metadata, else time is the axis whose length varies between videos."""
    if (layout := metadata.get("layout")) is not None:
        if layout not in LAYOUTS:
            raise UserError(
                f"{root / METADATA_FILE}: layout {layout!r}{nearest(str(layout), LAYOUTS)}; known: TxC, CxT"
            )
        return "TxC" if layout == "TxC" else "CxT"
    shapes = {_load_array(path).shape for path in paths}
    rows, columns = ({shape[axis] for shape in shapes} for axis in (0, 1))
    if (len(rows) == 1) == (len(columns) == 1):
        problem = "all files have shape" if len(rows) == 1 else "both axes vary between files, for instance"
        raise UserError(
            f"{root}: {problem} {' x '.join(map(str, max(shapes)))}; which axis is time? add "
            f'{{"layout": "TxC"}} or "CxT" to {root / METADATA_FILE}, and keep one encoder per folder'
        )
    return "CxT" if len(rows) == 1 else "TxC"


def _load_array(path: Path) -> npt.NDArray[Any]:
    values = map_array(path, "compute or download it again")
    values = values[0] if values.ndim == 3 and len(values) == 1 else values
    if values.ndim != 2 or not values.size or values.dtype.kind not in "fiu":
        raise UserError(f"{path}: shape {values.shape}, {values.dtype}; expected a 2-D array with one vector per clip")
    return values


def _read_metadata(path: Path) -> dict[str, Any]:
    file = path.with_name(f"{path.stem.removesuffix(CLIP_SUFFIX)}.json")
    again = "download or correct it"
    metadata = files.read_json(file, again, dict[str, Any]) if file.exists() else {}
    duration = metadata.get("duration")
    conform(duration, float | None, f"{file}: duration", again)
    return metadata


def import_npy_folder(
    folder: FeatureFolder, dataset: Dataset[Any], out: Path, *, encoder: str, name: str = ""
) -> Dataset[Any]:
    """Import the features of the videos of `dataset` into the new folder `out`; videos without any become missing.

    Raises UserError if no video has features, the vector size varies, or the time grid contradicts the durations.
    """
    available = folder.find_all(dataset.examples)
    if not available:
        first, example_file = dataset.examples[0].id, next(iter(folder.paths))
        raise UserError(
            f"{folder.root}: no features of {dataset.name}: its first video is {first}, the first file {example_file}"
        )
    sample = list(available.values())[:: max(1, len(available) // SAMPLE)]
    card = card_of(encoder, [folder.vectors(path).mean(0) for path in sample])
    missing = {e.id: f"no features below {folder.root.name}" for e in dataset.examples if e.id not in available}
    imported = replace(
        dataset,
        name=name or dataset.name,
        examples=with_array_recordings(dataset.examples, available, folder.root),
        key="",
        root="",
        missing_files=missing,
        cards=(card,),
        store=str(out / STORE),
        notes=(
            *dataset.notes,
            *([f"{len(missing)} of {len(dataset.examples)} videos have no features"] if missing else []),
            *([case_note(folder.names.by_case, "files")] if folder.names.by_case else []),
        ),
    )
    with files.atomic_folder(out) as partial:
        store = Store(partial / STORE, imported_key(imported, "clips"))
        store.create()
        examples = [e for e in dataset.examples if e.id in available]
        fits: list[_GridFit] = []
        for start in range(0, len(examples), BLOCK):
            block = examples[start : start + BLOCK]
            store.add(f"{start:012d}", list(_embed_block(block, available, folder, card.dim, fits)))
        store.seal()
        imported = replace(imported, notes=(*imported.notes, *_check_grid(fits, folder, dataset)))
        precomputed.write(partial / DATASET, imported)
    return imported


class _GridFit(NamedTuple):
    """The rows of a video against its time grid."""

    file: str
    rows: int
    duration: float
    """Annotated duration, seconds."""
    grid: FeatureGrid

    @property
    def fits(self) -> bool:
        """Whether the rows roughly cover the video."""
        return self.grid.fits(self.rows, self.duration)

    def __str__(self) -> str:
        step = self.duration / self.rows
        return f"{self.file} has {self.rows} in {self.duration:.1f} s, one every {step:.3f} s"


def _embed_block(
    block: list[Example[Any]], available: Mapping[str, Path], folder: FeatureFolder, dim: int, fits: list[_GridFit]
) -> Iterator[EmbeddedExample]:
    """Yield the vectors of some examples; append how those on a time grid fit their durations to `fits`."""
    for e in block:
        path = available[e.id]
        vectors = folder.vectors(path)
        if vectors.shape[1] != dim:
            raise UserError(
                f"{path}: vectors of size {vectors.shape[1]}, {dim} in other files; import one encoder at a time"
            )
        grid = folder.grid_of(e)
        spans = folder.spans(path, len(vectors), e, grid)
        if grid and e.duration:
            fits.append(_GridFit(path.name, len(vectors), e.duration, grid))
        yield EmbeddedExample(e.id, vectors, spans, [""] * len(vectors))


def _check_grid(fits: list[_GridFit], folder: FeatureFolder, dataset: Dataset[Any]) -> list[str]:
    """Return notes on videos whose number of vectors contradicts the time grid; UserError if most do, or all alike."""
    gridded = [f for f in fits if not f.grid.resized]
    notes = list(_common_error(gridded, folder, dataset))
    mismatches = [f for f in gridded if not f.fits]
    if not mismatches:
        return notes
    problem = f"{len(mismatches)} of {len(fits)} videos do not have one vector every {mismatches[0].grid.stride:.3f} s"
    if 2 * len(mismatches) > len(fits):
        raise UserError(f"{folder.root}: {problem}: {mismatches[0]}; {_remedy(dataset)}")
    return [*notes, f"{problem}, for instance {mismatches[0]}"]


def _common_error(fits: Sequence[_GridFit], folder: FeatureFolder, dataset: Dataset[Any]) -> Iterator[str]:
    """Yield a note if the time grid is off by one small factor in all videos; UserError if the factor is large."""
    ranges = [f.grid.factor_range(f.rows, f.duration) for f in fits]
    factor = common_factor([low for low, _ in ranges], [high for _, high in ranges])
    if factor is None:
        return
    longest = max(fits, key=lambda f: f.duration)
    late = abs(1 - 1 / factor.value) * longest.duration
    problem = (
        f"the time grid is off by the same factor in all videos: rows are {factor.value:.4g} times as far apart as "
        f"stated, {late:.1f} s at the end of {longest.file} ({longest.duration:.1f} s)"
        f"{factor.cause(longest.grid.fps) if longest.grid.fps else ''}"
    )
    if abs(factor.value - 1) > SMALL:
        raise UserError(f"{folder.root}: {problem}; {_remedy(dataset)}")
    yield problem


def _remedy(dataset: Dataset[Any]) -> str:
    """Return what to correct: the time grid, or the rate of the labels if it is only assumed."""
    grid = f"correct the stride or fps in --grid or {METADATA_FILE}"
    assumed = next((note for note in dataset.notes if note.startswith(NO_RATE_FILE)), "")
    return f"{assumed}: write the real rate into that file, or {grid}" if assumed else grid
