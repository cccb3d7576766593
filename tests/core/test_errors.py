"""Errors with a type: what users can fix, damaged files among it, and nothing else."""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

import vitascope
from vitascope.core.errors import (
    DamagedFileError,
    MissingPackageError,
    StorageError,
    UnknownNameError,
    UserError,
    one_line,
    reading,
)
from vitascope.core.files import read_json
from vitascope.core.type_check import check_fields, fits
from vitascope.core.types import Score


def test_the_kinds_are_user_errors() -> None:
    assert vitascope.UserError is UserError
    assert issubclass(UserError, ValueError)
    for kind in (UnknownNameError, MissingPackageError, StorageError, DamagedFileError):
        assert issubclass(kind, UserError)
    assert issubclass(StorageError, OSError), "whoever waits for a full disk still meets it"
    assert str(StorageError("the disk is full")) == "the disk is full"


def test_python_users_get_the_same_classes() -> None:
    with pytest.raises(vitascope.UserError, match="did you mean 'vit/") as caught:
        vitascope.load("vit/tiny-randon")
    assert isinstance(caught.value, ValueError)


def test_one_line_names_type_and_place() -> None:
    try:
        {}["key"]
    except KeyError as error:
        assert one_line(error).startswith("KeyError: 'key' (")
        assert one_line(error).endswith(")")
        assert "test_errors.py:" in one_line(error)
    assert one_line(ValueError("two\nlines")) == "ValueError: two"


@pytest.mark.parametrize("error", [KeyError("key"), ValueError("bad"), EOFError("end"), OSError("no number")])
def test_reading_names_the_file_and_the_remedy(error: Exception) -> None:
    with pytest.raises(DamagedFileError) as caught, reading("a.json", "get it again"):
        raise error
    assert str(caught.value).startswith("a.json: cannot be read (")
    assert str(caught.value).endswith("; get it again")
    assert caught.value.__cause__ is error


def test_reading_leaves_alone_what_is_no_damage() -> None:
    told = UserError("a.json: no column 'id'")
    with pytest.raises(UserError) as caught, reading("a.json", "get it again"):
        raise told
    assert caught.value is told
    with pytest.raises(PermissionError), reading("a.json", "get it again"):
        raise PermissionError(errno.EACCES, "Permission denied")
    with pytest.raises(KeyboardInterrupt), reading("a.json", "get it again"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '"\\ud800"', "\xff", "9" * 5000], ids=range(6))
def test_json_that_is_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("latin1"))
    with pytest.raises(DamagedFileError, match=r"a\.json: cannot be read .*; make it again"):
        read_json(path, "make it again")
    path.write_text(json.dumps({"name": "\U0001f600"}))
    assert read_json(path, "make it again") == {"name": "\U0001f600"}


@pytest.mark.parametrize(
    ("value", "hint", "well"),
    [
        (1, int, True),
        (True, int, False),
        (1, float, True),
        (float("nan"), float, False),
        (None, float | None, True),
        ("x", Literal["x", "y"], True),
        (["x"], Literal["x", "y"], False),
        (("a", 1), tuple[str, ...], False),
        ((1.0, 2.0), tuple[float, float], True),
        ((1.0,), tuple[float, float], False),
        ({"a": 1}, dict[str, int], True),
        ({"a": "1"}, dict[str, int], False),
        (frozenset({"a"}), frozenset[str], True),
        (Score(1.0, None, 2.0), Score, True),
        (Score("1"), Score, False),  # type: ignore[arg-type]
        ([[]], Any, True),
    ],
)
def test_data_are_held_to_declared_types(value: Any, hint: Any, well: bool) -> None:
    assert fits(value, hint) is well


def test_the_first_wrong_field_is_named() -> None:
    @dataclass
    class Sized:
        name: str
        width: int

    check_fields(Sized("a", 2))
    with pytest.raises(UserError, match="width cannot be '2'"):
        check_fields(Sized("a", "2"))  # type: ignore[arg-type]
