"""A dataset from its name or from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.core.types import Dataset
from vitascope.datasets.builders import folder
from vitascope.datasets.catalog import DATASETS
from vitascope.datasets.precomputed import DATASET, open_published
from vitascope.datasets.readers.annotation_files import folder as folder_of


def open_dataset(data: str | Path, data_root: Path | None = None) -> Dataset[Any]:
    """A folder of videos, a folder of published embeddings, or a dataset by name.

    The files of a named dataset are in `NAME=FOLDER`, or in the folder of `data_root` that bears its name. A json file
    in ActivityNet's form stands for the folder that it lies in.
    """
    path = Path(data)
    if (path / DATASET).is_file():
        return open_published(path)
    name, _, root = str(data).partition("=")
    family = name.partition("/")[0]
    if path.exists() or family not in DATASETS.families():
        return folder.build(str(data), names=DATASETS.names())
    build = DATASETS.builder(name)
    where = Path(root).expanduser() if root else below(data_root, family)
    dataset: Dataset[Any] = build(root=where) if where else build()
    return dataset


def open_annotations(data: str) -> Dataset[Any]:
    """What has times among the data sets, as its lists have it and whatever videos are there: `thumos14=FOLDER`, or
    somebody's own folder or json. ValueError for others.
    """
    name, _, root = data.partition("=")
    family, _, variant = name.partition("/")
    found: Dataset[Any] | None = None
    if Path(data).exists():
        found = folder.dense(Path(data))
    elif family in DATASETS.families() and root:
        module = DATASETS.module(family)
        found = module.annotated(variant, folder_of(family, variant, dict(module.VARIANTS), Path(root)))
    elif family in DATASETS.families():
        raise UserError(f"{data}: where are its annotations? say {name}=FOLDER")
    if found is None or found.kind == "recognition":
        near = nearest(name, DATASETS.names())
        raise UserError(
            f"{data}: not a data set of actions in time{near if found is None else ''}; say thumos14=FOLDER, or give a "
            "json in ActivityNet's form or a folder with groundTruth/"
        )
    return found


def below(data_root: Path | None, family: str) -> Path | None:
    """The folder of the data set `family` below `data_root`, however its name is capitalized."""
    if data_root is None:
        return None
    if not data_root.is_dir():
        raise UserError(f"--data-root {data_root}: no such folder; it holds one folder a data set, for instance ssv2")
    return next((p for p in sorted(data_root.iterdir()) if p.is_dir() and p.name.lower() == family), None)
