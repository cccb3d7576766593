"""Opposites and families of one's own classes, from a table beside the videos."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitascope.core.types import Dataset
from vitascope.datasets.class_table import read_structure, with_listed_pairs, with_structure

CLASSES = ("idle", "open", "close", "wave")


def table(folder: Path, text: str) -> Path:
    path = folder / "classes.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_pairs_and_families(tmp_path: Path) -> None:
    path = table(tmp_path, "class,opposite,family\nopen,close,doors\nClose,open,doors\nwave,,hands\nidle,,\n")
    found = read_structure(path, CLASSES)
    assert found.pairs == ((1, 2),)
    assert found.families == {"doors": (1, 2), "hands": (3,)}
    assert found.alike is None, "nobody says that opposites consist of the same frames"


@pytest.mark.parametrize(
    "columns", ["family,class\nhands,wave", "class;opposite\nopen;close", "class,family\nwave,hands"]
)
def test_one_of_both_columns_is_enough_in_any_order(tmp_path: Path, columns: str) -> None:
    found = read_structure(table(tmp_path, columns), CLASSES)
    assert bool(found.pairs) != bool(found.families)


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ("opne,close,", "classes.csv:2: 'opne' is not one of the 4 classes of this dataset; did you mean 'open'"),
        ("open,shut,", "'shut' is not one"),
        ("open,open,", "its own opposite"),
        ("open,close,\nwave,open,", "'open' has two opposites"),
        ("open,,doors\nopen,,hands", "in two families, 'doors' and 'hands'"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, rows: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("(", r"\(")):
        read_structure(table(tmp_path, f"class,opposite,family\n{rows}\n"), CLASSES)


@pytest.mark.parametrize("text", ["", "id,name\n0,open\n", "class\nopen\n", "0 open\n1 close\n"])
def test_a_table_about_something_else_is_none(tmp_path: Path, text: str) -> None:
    table(tmp_path, text)
    dataset: Dataset[int] = Dataset(name="mine", examples=(), classes=CLASSES, folds=())
    assert with_structure(dataset, tmp_path) is dataset


def test_the_digest_of_the_data_is_the_same_with_a_table(tmp_path: Path) -> None:
    table(tmp_path, "class,opposite\nopen,close\n")
    dataset: Dataset[int] = Dataset(name="mine", examples=(), classes=CLASSES, folds=())
    told = with_structure(dataset, tmp_path)
    assert told.structure.pairs == ((1, 2),)
    assert told.digest == dataset.digest


def test_a_dataset_with_a_list_of_opposites_has_its_pairs() -> None:
    classes = ("Swiping Left", "No gesture", "Swiping Right")
    known: Dataset[int] = Dataset(name="jester", examples=(), classes=classes, folds=())
    assert with_listed_pairs(known).structure.pairs == ((0, 2),)
    other: Dataset[int] = Dataset(name="mine", examples=(), classes=classes, folds=())
    assert with_listed_pairs(other) is other
    own = with_structure(known, Path("nowhere"))
    assert own is known
