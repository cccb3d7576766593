"""Opposites and families of classes: from a table beside videos, `classes.csv`, or the pairs listed for a dataset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitascope.core.class_structure import ClassStructure
from vitascope.core.errors import UserError
from vitascope.core.types import Dataset
from vitascope.datasets import class_pairs
from vitascope.datasets.readers.annotation_files import ClassOrder
from vitascope.datasets.readers.tables import read_table

NAME = "classes.csv"
COLUMNS = ("class", "opposite", "family")


def with_structure(dataset: Dataset[Any], folder: Path) -> Dataset[Any]:
    """The dataset with the structure of the table in its folder; as it is where there is none.

    A table without a column `class` and one of `opposite` and `family` is about something else.
    """
    path = folder / NAME
    if not path.is_file() or not dataset.classes:
        return dataset
    header = {name.strip().lower() for name in read_table(path, COLUMNS).header}
    if "class" not in header or not header & {"opposite", "family"}:
        return dataset
    return replace(dataset, structure=read_structure(path, dataset.classes))


def with_listed_pairs(dataset: Dataset[Any]) -> Dataset[Any]:
    """The dataset with the pairs of opposites that are listed for it, unless its own structure is known."""
    if not dataset.structure.is_empty or dataset.family not in class_pairs.families():
        return dataset
    pairs = tuple((pair.first, pair.second) for pair in class_pairs.fitting(dataset.family, dataset.classes))
    return replace(dataset, structure=replace(dataset.structure, pairs=pairs))


def read_structure(path: Path, classes: tuple[str, ...]) -> ClassStructure:
    """The pairs and families of a table with the columns `class`, `opposite`, `family`; cells may be empty.

    An opposite may be given at both of its classes. `UserError` for an unknown class, with the nearest match, for one
    that is its own opposite or has two, and for one in two families.
    """
    order = ClassOrder(classes)
    table = read_table(path, COLUMNS)
    names = [name.strip().lower() for name in table.header]
    pairs: dict[frozenset[int], tuple[int, int]] = {}
    family_of: dict[int, str] = {}
    for where, cells in table.rows:
        row = {name: cell.strip() for name, cell in zip(names, cells, strict=True)}
        own = order.index(row["class"], where)
        if opposite := row.get("opposite", ""):
            other = order.index(opposite, where)
            if other == own:
                raise UserError(f"{where}: {row['class']!r} is its own opposite; leave the cell empty")
            pairs.setdefault(frozenset((own, other)), (own, other))
        family = row.get("family", "")
        if family and family_of.setdefault(own, family) != family:
            raise UserError(
                f"{where}: {row['class']!r} is in two families, {family_of[own]!r} and {family!r}; keep one"
            )
    _check_single(path, pairs.values(), classes)
    families = {name: tuple(c for c, of in sorted(family_of.items()) if of == name) for name in family_of.values()}
    return ClassStructure(pairs=tuple(pairs.values()), families=families)


def _check_single(path: Path, pairs: Iterable[tuple[int, int]], classes: tuple[str, ...]) -> None:
    """UserError for a class with two opposites."""
    seen: set[int] = set()
    for pair in pairs:
        if twice := seen & set(pair):
            raise UserError(f"{path}: {classes[min(twice)]!r} has two opposites; keep one")
        seen |= set(pair)
