"""NumPy arrays of files from outside: never more memory than the file holds, and never code of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vitascope.core.errors import DamagedFileError, first_line
from vitascope.core.files import check_archive, require_regular_file

Array: TypeAlias = npt.NDArray[Any]

ALLOWED = 1 << 30
"""Bytes that an archive may hold however small it is packed."""


def map_array(path: Path, remedy: str) -> Array:
    """Return the array of an .npy file, mapped read-only; DamagedFileError for a file that does not hold its shape."""
    require_regular_file(path)
    try:
        with np.errstate(all="ignore"):  # the size of an absurd shape overflows
            array: Array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # headers are parsed as Python
        raise DamagedFileError(
            f"{path}: not a NumPy array ({first_line(error) or type(error).__name__}); {remedy}"
        ) from error
    return array


def read_arrays(path: Path, remedy: str) -> dict[str, Array]:
    """Return the arrays of an .npz file by name; DamagedFileError for one that unpacks to far more than it is."""
    check_archive(path, remedy, allowed=ALLOWED)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except Exception as error:  # of zip and zlib, and OSError for places beyond the file
        raise DamagedFileError(f"{path}: not arrays ({first_line(error) or type(error).__name__}); {remedy}") from error
    if foreign := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:
        raise DamagedFileError(f"{path}: {foreign[0]} is not an array; {remedy}")  # NumPy hands out its bytes
    return arrays
