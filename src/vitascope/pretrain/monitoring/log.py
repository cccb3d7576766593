"""Read the training log of a pretraining run, one JSON object per line; imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from vitascope.core.errors import UserError
from vitascope.core.files import is_truncated, read_bytes
from vitascope.core.schema import conform, parse

RECORDER = "recorder.jsonl"
"""File name of the training log in a run folder."""
KINDS = ("start", "step", "probe", "alarm", "resumed", "done")
REQUIRED = {"step": ("seen", "losses", "loss"), "probe": ("seen", "scores")}
"""Required fields of each kind of line, in addition to its step."""
Number: TypeAlias = float | None
Numbers: TypeAlias = Mapping[str, Number]


@dataclass(frozen=True)
class _Logged:
    """Types of the values logged; what is not finite is logged as None."""

    kind: Literal["start", "step", "probe", "alarm", "resumed", "done"]
    step: int = 0
    params: int | None = None
    total: int | None = None
    seen: int | None = None
    broken: int | None = None
    loss: Number = None
    lr: Number = None
    grad_norm: Number = None
    clips_per_second: Number = None
    waiting: Number = None
    seconds: Number = None
    effective_rank: Number = None
    token_std: Number = None
    losses: Numbers = field(default_factory=dict)
    similarity: Numbers = field(default_factory=dict)
    by_source: Mapping[str, Numbers] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, Number | str]] = field(default_factory=dict)
    why: str = ""
    init: str = ""


Line: TypeAlias = Mapping[str, Any]
"""One JSON object: its `kind`, its `step` (absent in "start") and the values logged."""


@dataclass(frozen=True, kw_only=True)
class TrainingLog:
    """The log of one run, without the lines that a resumed run has superseded.

    Numbers that were not finite are None.
    """

    name: str
    path: str = ""
    """Path of the log file."""
    start: Line = field(default_factory=dict)
    steps: tuple[Line, ...] = ()
    """Lines of training steps in ascending order, as are those of probings."""
    probes: tuple[Line, ...] = ()
    alarms: tuple[Line, ...] = ()
    """Alarms that stopped the run and were not resumed from."""
    resumed: tuple[Line, ...] = ()
    done: bool = False

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The recipe as plain data; empty if it was not logged."""
        recipe = self.start.get("recipe")
        return recipe if isinstance(recipe, Mapping) else {}

    @property
    def step(self) -> int:
        """Last step logged, 0 if there is none."""
        return max((int(line["step"]) for line in (*self.steps, *self.probes)), default=0)

    @property
    def clips_consumed(self) -> int:
        """Clips consumed up to the last step logged."""
        return max((int(line.get("seen") or 0) for line in (*self.steps, *self.probes)), default=0)


def read(run: str | Path, *, name: str = "") -> TrainingLog:
    """Read the training log of a run folder; `name` defaults to the folder's name.

    Lines truncated by a kill or a full disk are skipped. Raises UserError for other invalid lines or a missing log.
    """
    path = Path(run) / RECORDER
    if not path.is_file():
        raise UserError(f"{run}: no {RECORDER} found; `vitascope pretrain ... -o {run}` writes one")
    lines = list(parse_lines(read_bytes(path), str(path)))
    return replace(build_log(lines, name=name or Path(run).resolve().name), path=str(path.resolve()))


def parse_lines(data: bytes, where: str) -> Iterator[Line]:
    """Parse the lines of a training log in the order written. Raises UserError for invalid lines, unless truncated."""
    for number, raw in enumerate(data.split(b"\n"), 1):
        if not (text := raw.strip()):
            continue
        try:
            line = parse(text)
            _check_line(line)
        except UserError as error:
            if is_truncated(text):
                continue
            raise UserError(f"{where}:{number}: not a line of a training log ({error}); delete that line") from error
        yield line


def _check_line(line: Any) -> None:
    """Raise UserError for a line of no known kind, or with a value of another type than is logged."""
    kind = conform(line, _Logged).kind
    for key in (*(("step",) if kind != "start" else ()), *REQUIRED.get(kind, ())):
        if key not in line:
            raise UserError(f"no {key!r}")


def current_lines(lines: Iterable[Line]) -> list[Line]:
    """Drop superseded lines: keep the last of each kind and step, and none beyond the step of a later "resumed".

    A resumed run is no longer done or stopped, so "done" and "alarm" lines at that very step are dropped too.
    """
    latest: dict[tuple[str, int], Line] = {}
    for line in lines:
        kind, step = line["kind"], line.get("step", 0)
        if kind == "resumed":
            latest = {key: line for key, line in latest.items() if not _superseded(key, step)}
        # reinsert at the end: the order is that of the last write
        latest.pop((kind, step), None)
        latest[kind, step] = line
    return list(latest.values())


def _superseded(key: tuple[str, int], step: int) -> bool:
    kind, line_step = key
    return line_step > step or (line_step == step and kind in ("alarm", "done"))


def build_log(lines: Sequence[Line], *, name: str) -> TrainingLog:
    """Assemble a log from its lines, without superseded ones."""
    by_kind: dict[str, list[Line]] = {kind: [] for kind in KINDS}
    for line in current_lines(lines):
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


def find_logs(folder: str | Path) -> list[TrainingLog]:
    """Find the logs of a run folder, or of the run folders up to two levels below it; possibly none."""
    root = Path(folder)
    own = [read(root)] if (root / RECORDER).is_file() else []
    paths = sorted({*root.glob(f"*/{RECORDER}"), *root.glob(f"*/*/{RECORDER}")})
    return own + [read(path.parent, name=path.parent.relative_to(root).as_posix()) for path in paths]
