"""Errors with a type: what users can fix, damaged files among it, and nothing else."""

from __future__ import annotations

import errno

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
