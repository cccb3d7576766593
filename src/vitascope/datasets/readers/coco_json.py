"""COCO's JSON of boxes in videos: frames of videos (COCO-VID), or images in a folder of frames for each video."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from vitascope.core.errors import UserError
from vitascope.core.names import canonical
from vitascope.core.schema import conform
from vitascope.datasets.readers.annotation_files import read_json
from vitascope.datasets.readers.box_tables import LARGEST_FRACTION, BoxTable
from vitascope.metrics.boxes import Frames

KEYS = frozenset(("images", "annotations", "categories"))
"""Members of the object."""
NUMBER = re.compile(r"\d+(?!.*\d)")
"""The last number in the name of an image."""
REMEDY = "see the format at cocodataset.org, with videos as in COCO-VID"
T = TypeVar("T")


@dataclass(frozen=True)
class _Category:
    id: int
    name: str


@dataclass(frozen=True)
class _Video:
    id: int
    name: str = ""
    file_name: str = ""
    fps: float = 0.0


@dataclass(frozen=True)
class _Image:
    id: int
    file_name: str = ""
    video_id: int | None = None
    frame_index: int | None = None
    frame_id: int | None = None
    width: float = 0.0
    height: float = 0.0


@dataclass(frozen=True)
class _Annotation:
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    track_id: int | None = None
    instance_id: int | None = None

    @property
    def track(self) -> int | None:
        return self.instance_id if self.track_id is None else self.track_id


@dataclass(frozen=True)
class _Content:
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]
    videos: list[_Video] | None = None


class _Frame(NamedTuple):
    """A frame of a video that an image stands for."""

    video: str
    number: int


def read_coco(path: Path, is_folder: Callable[[str], bool]) -> BoxTable:
    """Read boxes as a table whose times are numbers of frames; images without annotations are frames without people.

    The frame of an image is its `frame_index` or `frame_id`; where it has none, or its video is a folder of frames by
    `is_folder`, the number in its file name. Boxes are in pixels of the annotated image where its size is given: they
    become fractions. Raises UserError, with the place, for what is not as declared.
    """
    content: _Content = conform(read_json(path, dict, "images and annotations"), _Content, str(path), REMEDY)
    names = _by_id(content.categories, f"{path}: categories")
    images = _by_id(content.images, f"{path}: images")
    videos = _by_id(content.videos or [], f"{path}: videos")
    frames = {i: _frame(image, f"{path}: image {i}", videos, is_folder) for i, image in images.items()}
    for place, annotation in enumerate(content.annotations):
        for key, known in ((annotation.image_id, images), (annotation.category_id, names)):
            if key not in known:
                what = "image" if known is images else "category"
                raise UserError(f"{path}: annotations[{place}]: there is no {what} {key}; list it or correct the id")
    return _table(path, content, frames, {i: _rate(image, videos) for i, image in images.items()})


def _by_id(items: Iterable[T], where: str) -> dict[int, T]:
    table: dict[int, T] = {}
    for item in items:
        number: int = getattr(item, "id")  # noqa: B009
        if number in table:
            raise UserError(f"{where}: id {number} is listed twice; every id stands for one item")
        table[number] = item
    return table


def _frame(image: _Image, where: str, videos: Mapping[int, _Video], is_folder: Callable[[str], bool]) -> _Frame:
    folder, _, name = image.file_name.replace("\\", "/").rpartition("/")
    video = folder
    if image.video_id is not None:
        if image.video_id not in videos:
            raise UserError(f"{where}: there is no video {image.video_id}; list it in 'videos'")
        video = videos[image.video_id].name or videos[image.video_id].file_name
    if not video:
        raise UserError(
            f"{where}: no video: neither 'video_id' nor a folder in file_name {image.file_name!r:.60}; name frames "
            "VIDEO/000123.jpg, or list 'videos'"
        )
    index = image.frame_id if image.frame_index is None else image.frame_index
    digits = NUMBER.search(name.rpartition(".")[0])
    if digits and len(digits[0]) < 16 and (index is None or is_folder(video)):
        index = int(digits[0])
    if index is None:
        raise UserError(f"{where}: no 'frame_index', no 'frame_id' and no number in file_name {image.file_name!r:.60}")
    return _Frame(canonical(video), index)


def _rate(image: _Image, videos: Mapping[int, _Video]) -> float:
    return 0.0 if image.video_id is None else max(videos[image.video_id].fps, 0.0)


def _table(path: Path, content: _Content, frames: Mapping[int, _Frame], rates: Mapping[int, float]) -> BoxTable:
    """The annotations as columns."""
    number = {name: i for i, name in enumerate(dict.fromkeys(frame.video for frame in frames.values()))}
    category = {c.id: canonical(c.name) for c in content.categories}
    label = {name: i for i, name in enumerate(dict.fromkeys(category[a.category_id] for a in content.annotations))}
    of = [frames[a.image_id] for a in content.annotations]
    shown = {a.image_id for a in content.annotations}
    empty = [frame for i, frame in frames.items() if i not in shown]
    tracks = [a.track for a in content.annotations]
    fps = {frame.video: rates[i] for i, frame in frames.items()}
    box, scaled = _boxes(content)
    return BoxTable(
        path,
        tuple(number),
        tuple(label),
        np.array([number[f.video] for f in of], np.int64),
        np.array([f.number for f in of], np.float64),
        box,
        np.array([label[category[a.category_id]] for a in content.annotations], np.int64),
        np.array([-1 if t is None else t for t in tracks], np.int64) if any(t is not None for t in tracks) else None,
        None,
        np.arange(len(of)),
        Frames(np.array([number[f.video] for f in empty], np.int64), np.array([f.number for f in empty], np.float64)),
        header=True,
        time_column="frame_index",
        fps=tuple(fps[name] for name in number) if any(fps.values()) else (),
        scaled=scaled,
        array="annotations",
    )


def _boxes(content: _Content) -> tuple[NDArray[np.float64], bool]:
    """Corners, and whether pixels have become fractions: where all images with boxes have a size."""
    left, top, width, height = np.array([a.bbox for a in content.annotations], np.float64).reshape(-1, 4).T
    corners = np.stack([left, top, left + width, top + height], axis=1)
    sizes = {image.id: (image.width, image.height) for image in content.images}
    size = np.array([sizes[a.image_id] for a in content.annotations], np.float64).reshape(-1, 2)
    scaled = bool((size > 0).all()) and float(np.abs(corners).max(initial=0.0)) > LARGEST_FRACTION
    return (corners / np.tile(size, 2), True) if scaled else (corners, False)
