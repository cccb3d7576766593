"""Identity of names: one rule for labels, ids, files, columns and keys.

Two names are the same if they are equal in `canonical` form: Unicode normal form C, without white space around. Signs,
capitals and vowel signs distinguish. A name that is looked up among others (`NameIndex`) is found exactly, else by
canonical form, else by `folded` form, regardless of capitals and compatibility characters, which the caller reports;
a name that fits two others equally well is refused with both. Only the copies of published class lists, which differ
in punctuation, are compared in `loose` spelling, and there, too, two classes of one spelling are refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

from vitascope.core.errors import UserError

SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
"""The split that a word stands for."""


def canonical(name: str) -> str:
    """The name in Unicode normal form C, without white space around: equal for equal names."""
    return name.strip() if name.isascii() else unicodedata.normalize("NFC", name).strip()


def folded(name: str) -> str:
    """The name without capitals, compatibility and invisible characters, and with single spaces."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join("".join(c for c in text if c.isascii() or unicodedata.category(c) != "Cf").split())


def loose(name: str) -> str:
    """The folded name without apostrophes, with one space for all other punctuation; vowel signs and accents stay."""
    text = re.sub("['\N{RIGHT SINGLE QUOTATION MARK}]", "", folded(name))
    return " ".join("".join(c if c.isalnum() or _is_mark(c) else " " for c in text).split())


def _is_mark(character: str) -> bool:
    """Whether the character belongs to the letter before it."""
    return not character.isascii() and unicodedata.category(character).startswith("M")


def split_of(word: str) -> str:
    """`train`, `val` or `test` from any of the usual words; empty for another word."""
    return SPLITS.get(folded(word), "")


def both(one: str, other: str) -> str:
    """Two names for a message; names that look the same are escaped, so that they can be told apart."""
    shown: Callable[[str], str] = ascii if canonical(one) == canonical(other) else repr
    return f"{shown(one)} and {shown(other)}"


def alike_notes(names: Iterable[str], what: str) -> list[str]:
    """A note on the first pair of different names that are equal in folded form: they are taken as two."""
    first: dict[str, str] = {}
    for name in names:
        if (other := first.setdefault(folded(name), name)) != name:
            return [f"the {what} {both(other, name)} differ only in capitals or spacing, and are taken as two"]
    return []


class NameIndex:
    """Names to be looked up exactly, else by canonical, else by folded form; `by_case` records the last."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = names if isinstance(names, dict) else dict.fromkeys(names)
        self.by_case: dict[str, str] = {}
        """Names that were found in folded form only, with the names found."""
        self._tables: dict[Callable[[str], str], dict[str, list[str]]] = {}

    def find(self, name: str, where: str = "") -> str | None:
        """The name among the others that `name` means; None if there is none, `UserError` if there are two."""
        if name in self.names:
            return name
        for form in (canonical, folded):
            matches = self._table(form).get(form(name), [])
            if len(matches) > 1:
                place = f"{where}: " if where else ""
                raise UserError(f"{place}{name!r} fits both {both(*matches[:2])}; rename one, or spell the name so")
            if matches and form is folded:
                self.by_case[name] = matches[0]
            if matches:
                return matches[0]
        return None

    def _table(self, form: Callable[[str], str]) -> dict[str, list[str]]:
        """The names by form, made when it is first needed: most names are found exactly."""
        if form not in self._tables:
            table: dict[str, list[str]] = {}
            for name in self.names:
                table.setdefault(form(name), []).append(name)
            self._tables[form] = table
        return self._tables[form]


def case_note(by_case: dict[str, str], what: str) -> str:
    """A sentence on names that were found in folded form only."""
    name, match = next(iter(by_case.items()))
    return f"{len(by_case)} {what} found only regardless of capitals, e.g. {both(name, match).replace(' and ', ' as ')}"
