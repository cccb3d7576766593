"""Tiny copies of data sets: their annotation files and empty videos, and what is read of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vitascope.core.types import Dataset
from vitascope.datasets.catalog import DATASETS


def lay(root: Path, *names: str) -> Path:
    """Empty files by name below `root`."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def write(root: Path, name: str, content: Any) -> Path:
    """An annotation file: text as it is, lists of text by line, anything else as json."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list) and all(isinstance(line, str) for line in content):
        content = "\n".join(content) + "\n"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def build(name: str, root: Path) -> Dataset[int]:
    return DATASETS.builder(name)(root=root)


def files(dataset: Dataset[int]) -> dict[str, str]:
    """Where each example lies below the root."""
    return {e.id: str(Path(e.path).relative_to(dataset.root)) for e in dataset.examples}


def said(dataset: Dataset[int]) -> dict[str, str]:
    """The class of each example."""
    return {e.id: dataset.classes[e.truth] for e in dataset.examples}


def sides(dataset: Dataset[int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    (fold,) = dataset.folds
    return fold.train, fold.test


def complaint(name: str, root: Path | None) -> str:
    """The one line that is said of a wrong folder."""
    with pytest.raises(ValueError) as error:
        DATASETS.builder(name)(root=root)
    assert "\n" not in str(error.value)
    return str(error.value)
