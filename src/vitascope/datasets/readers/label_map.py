"""Label maps: numbers of classes and their names, in AVA's pbtxt form or as `number: name` lines."""

from __future__ import annotations

import re
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.names import canonical
from vitascope.core.text import whole_number
from vitascope.datasets.readers.annotation_files import LABELS, lines, text_of

ITEM = re.compile(r"\b\w+\s*:?\s*\{([^{}]*)\}")
"""A block of a pbtxt file: `item { ... }` or `label { ... }`."""
NAME = re.compile(r"""\bname\s*:\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")
NUMBER = re.compile(r"\b(?:label_)?id\s*:\s*(-?\d+)")
LINE = re.compile(r"(-?\d+)\s*[:,;\s]\s*(\S.*)")
LAST_AVA = 80
"""AVA's actions are numbered from 1 to 80; 60 of them are evaluated."""


def read_label_map(path: Path) -> dict[int, str]:
    """Read {number: name} in the order of the file.

    Raises UserError for a block without a name or a number, a number given twice, and a file without classes.
    """
    text = text_of(path)
    pairs = _blocks(text, path) if "{" in text else _listed(path)
    classes: dict[int, str] = {}
    for where, number, name in pairs:
        if number in classes:
            raise UserError(f"{where}: class {number} is listed twice, as {classes[number]!r} and as {name!r}")
        classes[number] = name
    if not classes:
        raise UserError(f'{path}: no classes; expected blocks item {{ name: "..." id: 1 }}, or lines 1: name')
    return classes


def ava_classes() -> dict[int, str]:
    """The 60 classes of AVA that are evaluated, by their numbers from 1 to 80."""
    return read_label_map(LABELS / "ava_60.txt")


def _blocks(text: str, path: Path) -> list[tuple[str, int, str]]:
    pairs = []
    for block in ITEM.finditer(text):
        where = f"{path}:{text.count(chr(10), 0, block.start()) + 1}"
        name, number = NAME.search(block[1]), NUMBER.search(block[1])
        value = whole_number(number[1]) if number else None
        if name is None or value is None:
            raise UserError(f"{where}: a block without {'a name' if name is None else 'an id'}")
        pairs.append((where, value, canonical(re.sub(r"\\(.)", r"\1", name[1][1:-1]))))
    return pairs


def _listed(path: Path) -> list[tuple[str, int, str]]:
    pairs = []
    for where, line in lines(path):
        match = LINE.fullmatch(line)
        number = whole_number(match[1]) if match else None
        if match is None or number is None:
            if line.startswith("# source:"):
                continue
            raise UserError(f"{where}: {line[:60]!r} is not a number and a name")
        pairs.append((where, number, canonical(match[2])))
    return pairs
