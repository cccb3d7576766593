"""Groups of videos of opposite actions in the csv files of Chirality in Action (Bagad and Zisserman, NeurIPS 2025).

`cia-ssv2-validation.csv` has a row for each video: `id`, `chiral_triplet_id` (the group) and `chiral_label` (1.0 for
one action, 0.0 for its opposite), and what the dataset says of the video (`template`, `narration`). The files of groups
have a row for each: `triplet_id`, and `id_forward` and `id_reverse`, ids with semicolons between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from vitascope.core.errors import UserError
from vitascope.core.media import stem
from vitascope.core.types import Example
from vitascope.datasets.class_pairs import Sides
from vitascope.datasets.readers.tables import Table, read_table

BY_VIDEO = ("id", "chiral_triplet_id", "chiral_label")
BY_GROUP = ("triplet_id", "id_forward", "id_reverse")
TEXTS = ("template", "narration", "text", "label", "class", "verb", "action")
"""Columns that say what is done in a video, the first that is there."""
SIDES = {"train": "validation", "validation": "train"}
"""Words of the names of two files that belong together."""
LABELS = {"0": 0, "0.0": 0, "1": 1, "1.0": 1}


class Member(NamedTuple):
    """A video in a group."""

    where: str
    group: str
    id: str
    side: int
    text: str
    """What is done in it; may be empty."""


@dataclass
class _Group:
    side: dict[str, int] = field(default_factory=dict)
    texts: tuple[Counter[str], Counter[str]] = field(default_factory=lambda: (Counter(), Counter()))

    @property
    def name(self) -> str:
        """Its two actions; empty if the file does not tell."""
        words = [counts.most_common(1)[0][0] for counts in self.texts if counts]
        return " / ".join(words) if len(words) == len(self.texts) else ""


def files(text: str) -> list[Path]:
    """The files of groups that a user names, with commas between them, and those that belong to them by name."""
    named = [Path(part.strip()).expanduser() for part in text.split(",") if part.strip()]
    siblings = [p.with_name(p.name.replace(word, other)) for p in named for word, other in SIDES.items()]
    return list(dict.fromkeys([*named, *(p for p in siblings if p.is_file())]))


def read_groups(paths: Sequence[Path]) -> list[Sides]:
    """The groups in the order of the files, by the ids there; UserError for a video on both sides of one."""
    groups: dict[str, _Group] = {}
    for path in paths:
        for member in _members(path):
            group = groups.setdefault(member.group, _Group())
            if group.side.setdefault(member.id, member.side) != member.side:
                raise UserError(f"{member.where}: {member.id} is on both sides of group {member.group}")
            if member.text:
                group.texts[member.side][member.text] += 1
    if not groups:
        raise UserError(f"{', '.join(map(str, paths))}: no groups; rows need id, chiral_triplet_id and chiral_label")
    shared = Counter(group.name for group in groups.values())
    return [
        Sides(f"{group.name} ({key})" if shared[group.name] > 1 and group.name else group.name or key, group.side)
        for key, group in groups.items()
    ]


def matched(groups: Sequence[Sides], examples: Sequence[Example[Any]], where: str) -> list[Sides]:
    """The groups by the ids of `examples`: those of the files, else the names of the videos without folder and ending.

    UserError if none of the videos is among the examples, or a name fits two of them.
    """
    known = dict.fromkeys(i for group in groups for i in group.side)
    by_name = {e.id: e.id for e in examples if e.id in known} or _by_stem(examples, known, where)
    if not by_name:
        raise UserError(
            f"{where}: none of its {len(known):,} videos ({next(iter(known))}, ...) is among the {len(examples):,} "
            f"examples ({examples[0].id if examples else 'none'}, ...); use the dataset that it was made for"
        )
    return [Sides(g.name, {by_name[i]: side for i, side in g.side.items() if i in by_name}) for g in groups]


def _by_stem(examples: Sequence[Example[Any]], known: Collection[str], where: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for example in examples:
        name = stem(PurePosixPath(example.id).name)
        if name in known and found.setdefault(name, example.id) != example.id:
            raise UserError(f"{where}: {name} fits both {found[name]} and {example.id}; rename one of them")
    return found


def _members(path: Path) -> Iterator[Member]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; download the csv files of bpiyush/chirality-in-action")
    table = read_table(path, {*BY_VIDEO, *BY_GROUP})
    for read, columns in ((_by_video, BY_VIDEO), (_by_group, BY_GROUP)):
        if {*columns} <= {*table.header}:
            yield from read(table)
            return
    raise UserError(f"{path}: no columns {', '.join(BY_VIDEO)} or {', '.join(BY_GROUP)}; its first line must name them")


def _by_video(table: Table) -> Iterator[Member]:
    place = {name: i for i, name in enumerate(table.header)}
    text = next((name for name in TEXTS if name in place), "")
    for where, cells in table.rows:
        name, group, label = (cells[place[column]] for column in BY_VIDEO)
        if not group or not label:  # a video of the dataset that is in no group
            continue
        if label not in LABELS:
            raise UserError(f"{where}: chiral_label {label!r:.40} is neither 0.0 nor 1.0")
        yield Member(where, group, name, LABELS[label], cells[place[text]].translate(BRACKETS) if text else "")


def _by_group(table: Table) -> Iterator[Member]:
    place = {name: i for i, name in enumerate(table.header)}
    for where, cells in table.rows:
        for side, column in ((1, "id_forward"), (0, "id_reverse")):
            for name in filter(None, map(str.strip, cells[place[column]].split(";"))):
                yield Member(where, cells[place["triplet_id"]], name, side, "")


BRACKETS = str.maketrans("", "", "[]")
"""Around placeholders in the templates of Something-Something."""
