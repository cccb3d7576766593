"""Open a dataset by name or from a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vitascope.core.addresses import is_url
from vitascope.core.errors import UserError
from vitascope.core.garbage import rarely_collected
from vitascope.core.names import NameIndex
from vitascope.core.origins import unmangled
from vitascope.core.text import nearest
from vitascope.core.types import Dataset
from vitascope.datasets.builders import folder
from vitascope.datasets.catalog import DATASETS
from vitascope.datasets.class_table import with_listed_pairs, with_structure
from vitascope.datasets.precomputed import DATASET, open_precomputed
from vitascope.datasets.readers.annotation_files import dataset_folder as folder_of
from vitascope.datasets.remote_folder import at_urls


@rarely_collected()
def open_dataset(data: str | Path, data_root: Path | None = None, *, labeled: bool = True) -> Dataset[Any]:
    """Open a dataset by name, a folder of videos or a list of them, or a folder of precomputed embeddings.

    The files of a named dataset are in FOLDER of `NAME=FOLDER`, or in the subfolder of `data_root` of that name. A JSON
    file in ActivityNet's format stands for its folder. The videos of a list that are elsewhere are in FOLDER of
    `LIST=FOLDER`, where LIST is the file or its folder. Without `labeled`, a folder may hold videos of one class, or
    without any. Folders and lists may be at URLs.
    """
    data = unmangled(str(data))
    if data_root is not None and is_url(root := unmangled(str(data_root))):
        data, data_root = f"{data}={root}/{data.partition('/')[0]}", None
    if "://" in data and any(map(is_url, data.split("="))):
        return at_urls(data, lambda local: open_dataset(local, labeled=labeled))
    path = Path(data)
    if (path / DATASET).is_file():
        return with_listed_pairs(open_precomputed(path))
    name, _, root = str(data).partition("=")
    family = name.partition("/")[0]
    if root and not path.exists() and Path(name).exists():
        return folder.build(name, videos=_videos_folder(root, name), labeled=labeled)
    if path.exists() or family not in DATASETS.families():
        built = folder.build(str(data), names=_names(), labeled=labeled)
        return with_listed_pairs(with_structure(built, path if path.is_dir() else path.parent))
    build = DATASETS.builder(name)
    location = Path(root).expanduser() if root else folder_below(data_root, family)
    return with_listed_pairs(build(root=location) if location else build())


def _names() -> Iterator[str]:
    """The names of the datasets, which are read from the builders once they are needed."""
    yield from DATASETS.names()


def _videos_folder(root: str, name: str) -> Path:
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise UserError(f"{name}={root}: {folder} is not a folder; give the folder of the videos that {name} lists")
    return folder


def open_annotations(data: str) -> Dataset[Any]:
    """Open a dataset of temporal annotations, whose videos may be missing: `thumos14=FOLDER`, or a folder or JSON file.

    Raises `UserError` for a classification dataset.
    """
    name, _, root = data.partition("=")
    family, _, variant = name.partition("/")
    dataset: Dataset[Any] | None = None
    if Path(data).exists():
        dataset = folder.temporal_dataset(Path(data))
    elif family in DATASETS.families() and root:
        module = DATASETS.module(family)
        dataset = module.annotated(variant, folder_of(family, variant, dict(module.VARIANTS), Path(root)))
    elif family in DATASETS.families():
        raise UserError(f"{data}: give the folder of its annotations as {name}=FOLDER")
    if dataset is None or dataset.kind not in ("localization", "segmentation"):
        near = nearest(name, DATASETS.names()) if dataset is None else ""
        raise UserError(
            f"{data}: not a dataset with temporal annotations{near}; give thumos14=FOLDER, a JSON file in "
            "ActivityNet's format, or a folder with groundTruth/"
        )
    return dataset


def folder_below(data_root: Path | None, family: str) -> Path | None:
    """The subfolder of `data_root` named after the dataset `family`, ignoring case; None if there is none."""
    if data_root is None:
        return None
    if not data_root.is_dir():
        raise UserError(f"--data-root {data_root}: no such folder; give the folder that contains ssv2/, k400/ ...")
    folders = NameIndex(p.name for p in sorted(data_root.iterdir()) if p.is_dir())
    name = folders.find(family, f"--data-root {data_root}")
    return data_root / name if name else None
