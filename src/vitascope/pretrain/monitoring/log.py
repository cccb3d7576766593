"""Recording: what a pretraining run wrote down of itself, line by line, as readers take it; imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from vitascope.core.errors import UserError
from vitascope.core.files import torn

RECORDER = "recorder.jsonl"
"""The file in a run folder."""
KINDS = ("start", "step", "probe", "alarm", "resumed", "done")
Line: TypeAlias = Mapping[str, Any]
"""One JSON object: its `kind`, its `step` (all but the start), and what was measured."""


@dataclass(frozen=True, kw_only=True)
class TrainingLog:
    """One run as it stands: lines that a resumed run has overtaken are gone.

    A number that was not finite when it was written is None in a line.
    """

    name: str
    path: str = ""
    """Of the file it was read from."""
    start: Line = field(default_factory=dict)
    steps: tuple[Line, ...] = ()
    """In ascending order, as are the probes."""
    probes: tuple[Line, ...] = ()
    alarms: tuple[Line, ...] = ()
    """Those that ended the run as it stands."""
    resumed: tuple[Line, ...] = ()
    done: bool = False

    @property
    def recipe(self) -> Mapping[str, Any]:
        """What was trained, as plain data; empty where nothing was said."""
        found = self.start.get("recipe")
        return found if isinstance(found, Mapping) else {}

    @property
    def step(self) -> int:
        """The last step that was recorded, 0 without one."""
        return max((int(line["step"]) for line in (*self.steps, *self.probes)), default=0)

    @property
    def seen(self) -> int:
        """Clips seen by then."""
        return max((int(line.get("seen") or 0) for line in (*self.steps, *self.probes)), default=0)


def read(run: str | Path, *, name: str = "") -> TrainingLog:
    """The recording of a run folder, called `name`, else as the folder is.

    A line cut short by a kill or a full disk is passed over; any other bad line is a ValueError, as is no recording.
    """
    path = Path(run) / RECORDER
    if not path.is_file():
        raise UserError(f"{run}: no {RECORDER} there; `vitascope pretrain ... -o {run}` records one")
    lines = list(parsed(path.read_bytes(), str(path)))
    return replace(assembled(lines, name=name or Path(run).resolve().name), path=str(path.resolve()))


def parsed(data: bytes, where: str) -> Iterator[Line]:
    """The lines of a recorder's file, in the order written; ValueError for one that is none and was not cut short."""
    for number, raw in enumerate(data.split(b"\n"), 1):
        if not (text := raw.strip()):
            continue
        try:
            line = json.loads(text)
            if line["kind"] not in KINDS or not (line["kind"] == "start" or isinstance(line["step"], int)):
                raise UserError(f"kind {line['kind']!r}")
        except (ValueError, TypeError, KeyError) as error:
            if torn(text):
                continue
            raise UserError(f"{where}:{number}: not a line of a recorder ({error}); delete that line") from error
        yield line


def kept(lines: Iterable[Line]) -> list[Line]:
    """The lines that stand: of each kind and step the last; those beyond the step of a later `resumed` are gone.

    A run that goes on is neither done nor alarmed any more, so such lines go at that very step too.
    """
    held: dict[tuple[str, int], Line] = {}
    for line in lines:
        kind, step = line["kind"], line.get("step", 0)
        if kind == "resumed":
            held = {key: old for key, old in held.items() if not _overtaken(key, step)}
        # put back at the end: the order is that of the last writing
        held.pop((kind, step), None)
        held[kind, step] = line
    return list(held.values())


def _overtaken(key: tuple[str, int], step: int) -> bool:
    kind, at = key
    return at > step or (at == step and kind in ("alarm", "done"))


def assembled(lines: Sequence[Line], *, name: str) -> TrainingLog:
    """The lines that stand, sorted out."""
    by_kind: dict[str, list[Line]] = {kind: [] for kind in KINDS}
    for line in kept(lines):
        by_kind[line["kind"]].append(line)
    ordered = {k: tuple(sorted(of, key=lambda line: line.get("step", 0))) for k, of in by_kind.items()}
    return TrainingLog(
        name=name,
        start=ordered["start"][-1] if ordered["start"] else {},
        steps=ordered["step"],
        probes=ordered["probe"],
        alarms=ordered["alarm"],
        resumed=ordered["resumed"],
        done=bool(ordered["done"]),
    )


def found(folder: str | Path) -> list[TrainingLog]:
    """The recording of a run folder, or those of the run folders in it, up to two folders down; may be none."""
    root = Path(folder)
    own = [read(root)] if (root / RECORDER).is_file() else []
    paths = sorted({*root.glob(f"*/{RECORDER}"), *root.glob(f"*/*/{RECORDER}")})
    return own + [read(path.parent, name=path.parent.relative_to(root).as_posix()) for path in paths]
