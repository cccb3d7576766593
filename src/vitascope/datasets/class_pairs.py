"""Pairs of opposite classes (up and down, opening and closing), told apart by the order of frames alone.

`pairs/<name>.csv` lists those of a dataset: two of its classes a line, of which one played backwards looks like the
other. Classes that differ in their result alone (a stack that collapses or does not) or in a still pose (thumb up and
down) are not opposites here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from vitascope.core.errors import UserError
from vitascope.core.names import loose
from vitascope.core.text import counted, nearest
from vitascope.core.truth import classes_of
from vitascope.core.types import Example
from vitascope.datasets.readers.annotation_files import ClassOrder
from vitascope.datasets.readers.tables import TEXT, read_table

LISTS = Path(__file__).with_name("pairs")
COLUMNS = ("class", "opposite")
"""Header of a table of pairs; without a header, the first two columns are taken so."""
MAX_PARTS = 400
"""Commas and colons in pairs that are typed."""
ANTONYMS = (
    *("up/down", "upwards/downwards", "left/right", "in/out", "on/off", "forward/backward", "forwards/backwards"),
    *("towards/away", "clockwise/counterclockwise", "clockwise/anticlockwise", "cw/ccw", "open/close", "push/pull"),
    *("opening/closing", "pushing/pulling", "put/take", "putting/taking", "raise/lower", "insert/remove", "sit/stand"),
    *("enter/exit", "fold/unfold", "folding/unfolding", "rise/fall", "lock/unlock", "approach/leave", "grow/shrink"),
    *("cover/uncover", "covering/uncovering"),
)
"""Words by whose exchange opposite classes of other datasets are suggested; nothing is taken for one by them."""


class ClassPair(NamedTuple):
    """Two opposite classes, by index."""

    first: int
    second: int


class Sides(NamedTuple):
    """A pair and the examples of its two sides."""

    name: str
    side: Mapping[str, int]
    """By example id: 0 for the first side, 1 for the second; examples of neither or of both are not in it."""


@cache
def families() -> tuple[str, ...]:
    """The datasets with a list of pairs."""
    return tuple(sorted(path.stem for path in LISTS.glob("*.csv")))


def list_file(family: str) -> Path:
    """The list of pairs of a dataset."""
    return LISTS / f"{family}.csv"


@cache
def listed(family: str) -> tuple[tuple[str, str], ...]:
    """The names of the opposite classes of a dataset."""
    return tuple((first, second) for _, first, second in _rows(list_file(family)))


def fitting(family: str, classes: Sequence[str], where: str = "") -> list[ClassPair]:
    """The pairs listed for `family` whose two classes are among `classes`; UserError if there is no such list."""
    if family not in families():
        there = f"{nearest(family, families())}; there are {', '.join(families())}"
        raise UserError(f"{where}: no list of opposite classes {family!r}{there}")
    order = ClassOrder(tuple(classes))
    found = ((order.find(first), order.find(second)) for first, second in listed(family))
    return [ClassPair(first, second) for first, second in found if first is not None and second is not None]


def read_pairs(text: str, classes: Sequence[str], where: str) -> list[ClassPair]:
    """The pairs that a user gives: `class:opposite`, several with commas between them, or a table of two columns.

    Names may contain commas and colons; where that can be read in two ways, or a name has quotes, `"a, b":"c"` helps.
    UserError, which begins with `where`, for a class that is not among `classes`, with the nearest match.
    """
    order = ClassOrder(tuple(classes))
    if is_file(text):
        path = Path(text).expanduser()
        if not path.is_file():
            raise UserError(f"{where}: {path}: no such file of pairs; give a csv file of two columns or class:opposite")
        named = list(_rows(path))
        if not named:
            raise UserError(f"{path}: no pairs in it; write two classes a line, class and opposite")
    else:
        named = [(where, first, second) for first, second in _typed(text, order, where)]
    pairs = [ClassPair(order.index(first, place), order.index(second, place)) for place, first, second in named]
    for (place, first, _), pair in zip(named, pairs, strict=True):
        if pair.first == pair.second:
            raise UserError(f"{place}: {first!r} is paired with itself; name two classes")
    if len({frozenset(pair) for pair in pairs}) < len(pairs):
        twice = next(pair for i, pair in enumerate(pairs) if {*pair} in [{*other} for other in pairs[:i]])
        raise UserError(f"{where}: {classes[twice.first]!r} and {classes[twice.second]!r} are paired twice")
    return pairs


def is_file(text: str) -> bool:
    """Whether the pairs that a user gives are in a file: by its ending, or as there is one."""
    return Path(text).suffix.lower() in TEXT or (":" not in text and Path(text).expanduser().is_file())


def class_sides(pairs: Sequence[ClassPair], examples: Sequence[Example[Any]], classes: Sequence[str]) -> list[Sides]:
    """The examples on each side of every pair; those with both labels, where there may be several, are on none."""
    labels = [(e.id, frozenset(classes_of(e.truth))) for e in examples]
    return [
        Sides(
            f"{classes[pair.first]} / {classes[pair.second]}",
            {i: int(pair.second in own) for i, own in labels if (pair.first in own) != (pair.second in own)},
        )
        for pair in pairs
    ]


def suggestions(classes: Sequence[str]) -> list[tuple[str, str]]:
    """Classes whose names differ by exchanged antonyms, for a message."""
    by_words = {tuple(re.split(r"[\W_]+", loose(name))): name for name in classes}
    swaps = {frozenset(pair.split("/")) for pair in ANTONYMS}
    pairs = []
    for one, other in combinations(by_words, 2):
        differing = [(a, b) for a, b in zip(one, other, strict=False) if a != b and not (a + b).isdigit()]
        if len(one) == len(other) and differing and {*map(frozenset, differing)} <= swaps:
            pairs.append((by_words[one], by_words[other]))
    return pairs


def how_to(classes: Sequence[str], where: str) -> str:
    """How to name pairs of a dataset without a list: a list that fits, else classes that look like opposites."""
    fits = {family: len(fitting(family, classes)) for family in families()}
    best = max(fits, key=lambda family: fits[family])
    if fits[best] >= 2:
        return f"{counted(fits[best], 'pair')} of {best} fit its classes: use -t {where}+known={best}"
    found = suggestions(classes)
    first, second = found[0] if found else ("one class", "its opposite")
    note = f" ({counted(len(found), 'pair')} of classes look like opposites)" if found else ""
    return f"name them with --pairs {f'{first}:{second}'!r}, several times, or with --pairs FILE.csv{note}"


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """Location and the two names of every line of a table."""
    table = read_table(path, COLUMNS)
    header = [name.strip().lower() for name in table.header]
    columns = [header.index(name) if name in header else i for i, name in enumerate(COLUMNS)]
    first = [] if {*COLUMNS} & {*header} else [(f"{path}:1", list(table.header))]
    for where, cells in (*first, *table.rows):
        if len(cells) < len(COLUMNS):
            raise UserError(f"{where}: {cells[0]!r:.60} stands alone; write two classes a line, with a comma between")
        yield where, cells[columns[0]], cells[columns[1]]


def _typed(text: str, order: ClassOrder, where: str) -> list[tuple[str, str]]:
    """The names of typed pairs: so cut at colons and commas that all are classes, else at all of them."""
    parts = [part for part in re.split(r'("[^"]*"|[:,])', text) if part]
    if len(parts) > MAX_PARTS:
        raise UserError(f"{where}: more than {MAX_PARTS} parts; write the pairs in a file, two columns of class names")
    names = _names(parts)
    if any(len(pair) != 2 or any(order.find(name, where) is None for name in pair) for pair in names):
        names = _fitted(parts, order) or names
    for pair in names:
        if len(pair) != 2 or not all(pair):
            shown = ":".join(pair)
            raise UserError(f"{where}: {shown!r:.80} is not class:opposite; put quotes around names with , or :")
    return [(pair[0], pair[1]) for pair in names]


def _names(parts: Sequence[str]) -> list[list[str]]:
    """The parts cut at every comma into pairs, and these at every colon."""
    pairs: list[list[str]] = [[""]]
    for part in parts:
        if part == ",":
            pairs.append([""])
        elif part == ":":
            pairs[-1].append("")
        else:
            pairs[-1][-1] += part.strip('"') if part.startswith('"') else part
    return [[name.strip() for name in pair] for pair in pairs]


def _fitted(parts: Sequence[str], order: ClassOrder) -> list[list[str]]:
    """The parts cut so that every name is a class; empty if there is no such way.

    From the end on: `ends[i]` is how the parts from i on are read, as a list of pairs, the first of which may be begun.
    """
    marks = [*parts, ","]
    best: dict[tuple[int, str], list[str] | None] = {(len(marks), ":"): []}

    def rest(start: int, closing: str) -> list[str] | None:
        """The names from `start` on, of which the first ends at `closing`: a colon, or a comma for the second."""
        if (start, closing) in best:
            return best[start, closing]
        found: list[str] | None = None
        for end in range(start + 1, len(marks)):
            name = "".join(part.strip('"') if part.startswith('"') else part for part in marks[start:end]).strip()
            if found is None and marks[end] == closing and order.find(name) is not None:
                after = rest(end + 1, "," if closing == ":" else ":")
                found = None if after is None else [name, *after]
        best[start, closing] = found
        return found

    names = rest(0, ":")
    return [names[i : i + 2] for i in range(0, len(names), 2)] if names else []
