"""Pickles of plain values and NumPy arrays, read without running anything that they name.

Data sets are distributed as pickles of dictionaries, lists, text, numbers and arrays, many of them written by Python 2.
A pickle may name any function and call it. Here the few names that such values need stand for functions of this module,
which check what they are given; every other name is refused. The objects are made anew for each file, so that a pickle
which sets attributes of them changes nothing that outlives it.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vitascope.core.errors import DamagedFileError, UserError
from vitascope.core.files import read_bytes
from vitascope.core.text import escaped

LARGEST = 1 << 30
"""Most bytes of a file that is read."""
KINDS = "biufSU"
"""Kinds of array elements: truth values, whole numbers, fractions and text."""
LONGEST = 1000
"""Most bytes of an element."""
COPIES = 4
"""Bytes that may be made of each byte of a file: what is in it once can be named many times."""


class _Room:
    """The bytes that may still be made of those of a file."""

    def __init__(self, size: int) -> None:
        self.left = COPIES * size

    def spend(self, count: int) -> None:
        """Take some; UnpicklingError if there are not as many."""
        self.left -= count
        if self.left < 0:
            raise pickle.UnpicklingError("it unpacks to far more than it holds")


class _Kind:
    """Type of the elements of an array, as a pickle describes it."""

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        order = _text(state[1])
        if order not in "<>=|" or len(order) != 1 or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("an array of structured elements")
        self.order = order

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type as NumPy has it."""
        made = np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]
        if made.kind not in KINDS or made.itemsize > LONGEST:
            raise pickle.UnpicklingError(f"an array of elements {self.code!r:.20}")
        return made


class _Array:
    """An array whose elements follow."""

    def __init__(self, room: _Room) -> None:
        self.room = room
        self.values: NDArray[Any] = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, by_column, data = state
        self.values = _filled(self.room, kind, shape, data, "F" if by_column else "C")


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _filled(room: _Room, kind: Any, shape: Any, data: Any, order: Any = "C") -> NDArray[Any]:
    """An array of a shape from its bytes, which Python 2 wrote as text."""
    raw = _encoded(room, data) if isinstance(data, str) else data
    if not isinstance(raw, (bytes, bytearray)):
        raise pickle.UnpicklingError("an array without bytes")
    dtype = kind.dtype
    if not all(type(n) is int and n >= 0 for n in shape) or math.prod(shape) * dtype.itemsize != len(raw):
        raise pickle.UnpicklingError("an array whose bytes do not fit its shape")
    made: NDArray[Any] = np.frombuffer(raw, dtype).reshape(shape, order="F" if order == "F" else "C")
    return made


def _kind(code: Any, *_: Any) -> _Kind:
    return _Kind(_text(code))


def _scalar(room: _Room, kind: Any, data: Any) -> Any:
    return _filled(room, kind, (), data).item()


def _reconstruct(room: _Room, *_: Any) -> _Array:
    return _Array(room)


def _from_buffer(room: _Room, data: Any, kind: Any, shape: Any, order: Any) -> _Array:
    made = _Array(room)
    made.values = _filled(room, kind, shape, data, order)
    return made


def _encoded(room: _Room, text: str, *_: Any) -> bytes:
    room.spend(len(text))
    return text.encode("latin-1")


def _no_bytes(*_: Any) -> bytes:
    return b""


def _mapping(*_: Any) -> dict[Any, Any]:
    return {}


def _several(room: _Room, kind: Callable[[Any], Any], values: Any = ()) -> Any:
    room.spend(len(values))
    return kind(values)


def _known(room: _Room) -> dict[str, Any]:
    """What stands for each name that may occur."""
    numpy = {"_reconstruct": _reconstruct, "scalar": _scalar}
    builtins = {name: partial(_several, room, kind) for name, kind in (("list", list), ("set", set), ("tuple", tuple))}
    return {
        "numpy.ndarray": "the type of an array, which is not called",
        "numpy.dtype": partial(_kind),
        **{
            f"numpy.{core}.multiarray.{name}": partial(made, room)
            for core in ("core", "_core")
            for name, made in numpy.items()
        },
        **{f"numpy.{core}.numeric._frombuffer": partial(_from_buffer, room) for core in ("core", "_core")},
        **{f"{module}.{name}": made for module in ("builtins", "__builtin__") for name, made in builtins.items()},
        **{f"collections.{name}": partial(_mapping) for name in ("OrderedDict", "defaultdict")},
        **{f"{module}.dict": partial(_mapping) for module in ("builtins", "__builtin__")},
        **{f"{module}.bytes": partial(_no_bytes) for module in ("builtins", "__builtin__")},
        "_codecs.encode": partial(_encoded, room),
    }


def _load_bytes(reader: Any) -> None:
    """Bytes to be changed, as the base class loads them, but of those that are there."""
    (length,) = struct.unpack("<Q", reader.read(8))
    reader.append(bytearray(reader.read(min(length, LARGEST))))


class _Reader(pickle._Unpickler):
    """Unpickles plain values; what it makes of arrays is replaced by `_plain`.

    It is the reader in Python: that in C makes room for as many objects as a few bytes of a file claim.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), fix_imports=False, encoding="latin-1")
        self.known = _known(_Room(len(data)))

    dispatch = pickle._Unpickler.dispatch | {pickle.BYTEARRAY8[0]: _load_bytes}

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for a name; UserError for any that plain values do not need."""
        found = self.known.get(f"{module}.{name}")
        if found is None:
            raise UserError(escaped(f"its pickle would run {module}.{name}"[:120]))
        return found


def read(path: Path, what: str) -> Any:
    """The content of a pickle that holds `what`: dictionaries, lists, tuples, text, numbers and arrays.

    Arrays are read-only; tuples that hold more than plain values become lists. UserError if the file is too large or
    names something that would have to be run, DamagedFileError if it is no complete pickle.
    """
    data = read_bytes(path, LARGEST)
    try:
        return _plain(_Reader(data).load())
    except UserError as error:
        raise UserError(f"{path}: refused: {error}, which {what} do not need; get the authors' file") from None
    except Exception as error:  # a damaged pickle makes every kind of error
        why = escaped(" ".join(str(error).split())[:100]) or type(error).__name__
    raise DamagedFileError(f"{path}: no pickle of {what}, or damaged ({why}); get the file again")


def _plain(content: Any) -> Any:
    """The content with arrays for their stand-ins; containers are changed in place, each once."""
    seen: set[int] = set()
    top = [content]
    todo: list[Any] = [top]
    while todo:
        holder = todo.pop()
        if id(holder) in seen:
            continue
        seen.add(id(holder))
        pairs = list(holder.items() if isinstance(holder, dict) else enumerate(holder))
        for key, value in pairs:
            made = _simple(value)
            if made is not value:
                holder[key] = made
            if isinstance(made, (dict, list)):
                todo.append(made)
    return top[0]


def _simple(value: Any) -> Any:
    """One value as plain data: tuples with their own values replaced, arrays for stand-ins."""
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, tuple):
        return list(value) if any(isinstance(v, (dict, list, tuple, _Array)) for v in value) else value
    if value is None or isinstance(value, (dict, list, set, str, bytes, int, float, complex)):
        return value
    raise pickle.UnpicklingError(f"a {type(value).__name__.strip('_')} where a value belongs")
