"""Dense features that somebody has: brought in with the annotations of their videos, evaluated with no video.

Two layouts: the TWLV-I release (`<id>.json` with `<id>_c.npy`, in `train/` and `val/` or in one folder), and the one of
ActionFormer and OpenTAD (one `<id>.npy` a video, C x T or T x C), whose stride, window and rate are in `features.json`
beside them or said with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from vitascope.core import files
from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import Dataset, Example, Span
from vitascope.datasets import precomputed
from vitascope.datasets.precomputed import DATASET, STORE
from vitascope.datasets.readers.annotation_files import document
from vitascope.encoders.precomputed import SAMPLE, card_of, clip_times
from vitascope.features.imports import time_grid as grid
from vitascope.features.imports.time_grid import FeatureGrid
from vitascope.features.imports.twelvelabs import key_of
from vitascope.features.store import Embedded, Store

ABOUT = "features.json"
RELEASE = "_c"
"""How the name of a release's clip vectors ends."""
BLOCK = 128
LAYOUTS = ("TxC", "CxT")
Layout: TypeAlias = Literal["TxC", "CxT"]
Array: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FeatureFolder:
    """A folder of features: a file a video, and what is written down about all of them."""

    root: Path
    paths: Mapping[str, Path]
    """By id as the files have it."""
    grid: FeatureGrid | None
    layout: Layout
    """Which axis is time."""
    released: bool
    """Whether each has its own json."""

    def find(self, example: str) -> Path | None:
        """The file of an example: under its id, with `v_` before it or without."""
        names = (example, f"v_{example}", example.removeprefix("v_"))
        return next((self.paths[name] for name in names if name in self.paths), None)

    def vectors(self, path: Path) -> Array:
        """T x C, float32; ValueError for what is no such array, or not all finite."""
        values = _opened(path)
        values = values if self.layout == "TxC" else values.T
        if not np.isfinite(values).all():
            bad = np.count_nonzero(~np.isfinite(values))
            raise UserError(f"{path}: {bad} of {values.size} numbers are NaN or infinite")
        return np.ascontiguousarray(values, np.float32)

    def spans(self, path: Path, count: int, example: Example[Any]) -> list[Span]:
        """The seconds of each row: as the video's own json has them, else by the grid."""
        about = _beside(path) if self.released else {}
        if times := clip_times(about, count):
            return times
        if self.grid is None:
            raise UserError(
                f"{path}: which seconds are its {count} vectors of? say --grid window/stride, or write fps, stride and "
                f"window (frames) into {self.root / ABOUT}"
            )
        duration = example.duration or about.get("duration")
        return self.grid.spans(count, duration, str(path))


def open_folder(root: Path, *, given: FeatureGrid | None = None, usual: FeatureGrid | None = None) -> FeatureFolder:
    """The features below `root`. Their grid: `given`, else that of `features.json`, else of a release the `usual` one.

    ValueError where there are none, two of a name, or none of the two axes is that of time.
    """
    paths: dict[str, Path] = {}
    for path in sorted(root.rglob("*.npy")) if root.is_dir() else ():
        name = path.stem.removesuffix(RELEASE)
        if path.stem.endswith("_v") and path.with_name(f"{path.stem[:-2]}{RELEASE}.npy").exists():
            continue
        if name in paths:
            raise UserError(f"{path}: {paths[name]} is there too; one file a video, of one encoder")
        paths[name] = path
    if not paths:
        raise UserError(f"{root}: no <id>.npy nor <id>{RELEASE}.npy there or below")
    about = document(root / ABOUT, dict, "fps, stride and window") if (root / ABOUT).is_file() else {}
    written = grid.of_fields(about, str(root / ABOUT))
    released = all(p.stem.endswith(RELEASE) for p in paths.values())
    layout = "TxC" if released else _layout(list(paths.values()), about, root)
    return FeatureFolder(root, paths, given or written or (usual if released else None), layout, released)


def _layout(paths: list[Path], about: Mapping[str, Any], root: Path) -> Layout:
    """Which axis is time: the one whose length differs from video to video, unless it is written down."""
    if (said := about.get("layout")) is not None:
        if said not in LAYOUTS:
            raise UserError(f"{root / ABOUT}: layout {said!r}{nearest(str(said), LAYOUTS)}; say TxC or CxT")
        return "TxC" if said == "TxC" else "CxT"
    shapes = {_opened(path).shape for path in paths}
    rows, columns = ({shape[axis] for shape in shapes} for axis in (0, 1))
    if (len(rows) == 1) == (len(columns) == 1):
        what = "all are of shape" if len(rows) == 1 else "both axes differ from file to file, for instance"
        raise UserError(
            f"{root}: {what} {' x '.join(map(str, max(shapes)))}; which axis is time? write "
            f'{{"layout": "TxC"}} or "CxT" into {root / ABOUT}, and keep one encoder a folder'
        )
    return "CxT" if len(rows) == 1 else "TxC"


def _opened(path: Path) -> npt.NDArray[Any]:
    try:
        values: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path}: not a NumPy array ({error})") from None
    values = values[0] if values.ndim == 3 and len(values) == 1 else values
    if values.ndim != 2 or not values.size or values.dtype.kind not in "fiu":
        raise UserError(f"{path}: shape {values.shape} of {values.dtype}; one row of numbers a clip is wanted")
    return values


def _beside(path: Path) -> dict[str, Any]:
    about = path.with_name(f"{path.stem.removesuffix(RELEASE)}.json")
    try:
        found = json.loads(about.read_text(encoding="utf-8")) if about.is_file() else {}
    except ValueError as error:
        raise UserError(f"{about}: not JSON ({error})") from None
    return found if isinstance(found, dict) else {}


def import_dense(
    folder: FeatureFolder, dataset: Dataset[Any], out: Path, *, encoder: str, name: str = ""
) -> Dataset[Any]:
    """Bring the features of the videos of `dataset` into new folder `out`; those without any are absent there.

    ValueError where no video has features, a file does not fit the others, or the grid not the durations.
    """
    here = {e.id: path for e in dataset.examples if (path := folder.find(e.id))}
    if not here:
        first, there = dataset.examples[0].id, next(iter(folder.paths))
        raise UserError(f"{folder.root}: no features of {dataset.name}; its first video is {first}, theirs {there}")
    some = list(here.values())[:: max(1, len(here) // SAMPLE)]
    card = card_of(encoder, [folder.vectors(path).mean(0) for path in some])
    gone = {e.id: f"no features below {folder.root.name}" for e in dataset.examples if e.id not in here}
    made = replace(
        dataset,
        name=name or dataset.name,
        examples=tuple(replace(e, path="") for e in dataset.examples),
        key="",
        root="",
        missing_files=gone,
        cards=(card,),
        store=str(out / STORE),
        notes=(*dataset.notes, *([f"{len(gone)} of {len(dataset.examples)} videos have no features"] if gone else [])),
    )
    with files.making(out) as partial:
        store = Store(partial / STORE, key_of(made, "clips"))
        store.create()
        examples = [e for e in dataset.examples if e.id in here]
        odd: list[str] = []
        for start in range(0, len(examples), BLOCK):
            block = examples[start : start + BLOCK]
            store.add(f"{start:012d}", list(_embedded(block, here, folder, card.dim, odd)))
        store.seal()
        made = replace(made, notes=(*made.notes, *_judged(odd, len(here), folder)))
        precomputed.write(partial / DATASET, made)
    return made


def _embedded(
    block: list[Example[Any]], here: Mapping[str, Path], folder: FeatureFolder, dim: int, odd: list[str]
) -> Iterator[Embedded]:
    """The vectors of some examples; those whose number does not go with the duration are told in `odd`."""
    for e in block:
        path = here[e.id]
        vectors = folder.vectors(path)
        if vectors.shape[1] != dim:
            raise UserError(f"{path}: {vectors.shape[1]} numbers a vector, {dim} elsewhere; one encoder at a time")
        spans = folder.spans(path, len(vectors), e)
        if folder.grid and e.duration and not folder.grid.fits(len(vectors), e.duration):
            odd.append(
                f"{path.name} has {len(vectors)} for {e.duration:.1f} s, one every {e.duration / len(vectors):.3f}"
            )
        yield Embedded(e.id, vectors, spans, [""] * len(vectors))


def _judged(odd: list[str], count: int, folder: FeatureFolder) -> list[str]:
    """What is said of videos with more or fewer vectors than their grid gives; ValueError where most have."""
    if not odd or folder.grid is None:
        return []
    said = f"{len(odd)} of {count} videos have more or fewer vectors than one every {folder.grid.stride:.3f} s gives"
    if 2 * len(odd) > count:
        raise UserError(f"{folder.root}: {said}: {odd[0]}; is it another stride or rate? correct --grid or {ABOUT}")
    return [f"{said}, for instance {odd[0]}"]
