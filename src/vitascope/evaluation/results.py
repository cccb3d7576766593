"""Result: one self-describing line of record; and the files that keep results and predictions."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from vitascope.core.errors import UserError
from vitascope.core.files import replacing, torn
from vitascope.core.migrate import RESULT, TASK_TYPE, VARIANT, current
from vitascope.core.types import Kind, Score, digest

SCHEMA = 2
"""Version of the Result fields; counts up when a reader would have to change."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one encoder scored on one task, with all that is needed to trust, repeat and compare it."""

    encoder: str
    dataset: str
    probe: str
    version: int
    """Of the probe."""
    scores: Mapping[str, Score]
    """By name, the headline first."""
    kind: Kind = "recognition"
    """What is asked; of other kinds the headline is no mean over examples, and missing ones count as missed."""
    per_class: Mapping[str, Score] = field(default_factory=dict)
    """Of each class that the test side has, percent: accuracy, of localization AP, of segmentation of frames."""
    diagnosis: Mapping[str, Any] = field(default_factory=dict)
    """What is wrong with the predictions, where the kind knows more than which: plain data."""
    folds: tuple[Mapping[str, float], ...] = ()
    """The plain scores of each fold, in order; of several seeds those of the first."""
    seeds: tuple[float, ...] = ()
    """The headline of each seed asked with; the score is their mean."""
    about: tuple[Mapping[str, Any], ...] = ()
    """What the probe said of each training: what it chose from a grid, and how the rest of it did."""
    variant: Mapping[str, str] = field(default_factory=dict)
    """How a question differs from a plain one (`train_fraction`, `altered`, `sides`), and `of` which task it is a variant."""
    settings: Mapping[str, Any]
    """Probe, card, views and dataset digest as plain data."""
    protocol: str
    """Digest of all settings but the encoder's: equal digests may be compared."""
    axis: str = ""
    """`appearance`, `motion` or unknown."""
    in_pretraining_data: bool = False
    """The dagger: the encoder met this dataset in pretraining."""
    limited: bool = False
    """Cut short by `--limit`; never to be published."""
    n: int
    """Test examples scored; those that count as missed among them."""
    expected: int
    """Test examples there should be."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """{example id: why}, training side included."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """{example id: what was wrong with a video that was used all the same}."""
    seed: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By phase."""
    code: Mapping[str, str] = field(default_factory=dict)
    """Versions of vitascope and of what computes."""
    predictions: str = ""
    """Path of the Parquet file with every prediction, relative to the run folder."""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        """Refuse a result that says nothing."""
        if not self.scores:
            raise UserError(f"{self.encoder} on {self.dataset}:{self.probe} has no score")

    @property
    def task(self) -> str:
        """`dataset:probe`, as on the command line."""
        return f"{self.dataset}:{self.probe}"

    @property
    def headline(self) -> Score:
        """The score a table shows."""
        return next(iter(self.scores.values()))

    @property
    def coverage(self) -> float:
        """Share of the test examples there should be that were scored, 0 to 1."""
        return self.n / max(self.expected, self.n, 1)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Where the headline, a mean in percent, would be if all test examples not scored were wrong, or all right."""
        if self.n >= self.expected:
            return None
        scored = self.headline.value * self.coverage
        return scored, scored + 100 * (1 - self.coverage)

    @property
    def key(self) -> tuple[str, str, str]:
        """Encoder, task and protocol: a later line with the same key replaces an earlier one."""
        return (
            self.encoder,
            self.task,
            digest([self.protocol, self.settings.get("card")]),
        )

    def to_json(self) -> str:
        """One line of plain ASCII JSON: no name, however odd, can break a line or fail to encode."""
        data = asdict(self)
        for name in ("scores", "per_class"):
            data[name] = {k: Score(*v)._asdict() for k, v in data[name].items()}
        return json.dumps(data, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Result:
        """The Result in one line of JSON; fields of a newer schema are ignored."""
        data = json.loads(line)
        if not isinstance(data, dict):
            raise UserError(f"a JSON object was expected, not {line[:40]!r}")
        data = current(data, RESULT)
        known = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        known["kind"] = TASK_TYPE.get(known.get("kind", ""), known.get("kind", "recognition"))
        known["variant"] = current(known.get("variant", {}), VARIANT)
        for name in ("scores", "per_class"):
            known[name] = {k: Score(**v) for k, v in known.get(name, {}).items()}
        for name in ("folds", "seeds", "about"):
            known[name] = tuple(known.get(name, ()))
        return cls(**known)


RESULTS = "results.jsonl"


def append(run: Path, result: Result) -> None:
    """Add `result` to the run folder: one write of one line; a half line that a full disk left before is closed off."""
    run.mkdir(parents=True, exist_ok=True)
    path = run / RESULTS
    line = (result.to_json() + "\n").encode()
    with open(path, "ab+", buffering=0) as file:
        if file.seek(0, os.SEEK_END) and not _ends_a_line(file):
            line = b"\n" + line
        if file.write(line) != len(line):
            raise OSError(f"{path}: the disk took only a part of the result; free some space and run again")
        os.fsync(file.fileno())


def _ends_a_line(file: IO[bytes]) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def read(run: str | Path) -> list[Result]:
    """The results of a run folder in the order first recorded, a later line of the same key in place of the earlier.

    A line that was cut short by a killed run or a full disk is passed over; any other bad line is a ValueError.
    """
    path = Path(run) / RESULTS
    if not path.is_file():
        raise UserError(f"{run}: no {RESULTS} there; record one with `vitascope evaluate ... -o {run}`")
    found: dict[tuple[str, str, str], Result] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        result = _parse(line.strip(), f"{path}:{number}")
        if result is not None:
            found[result.key] = result
    return list(found.values())


def _parse(line: bytes, where: str) -> Result | None:
    if not line:
        return None
    try:
        return Result.from_json(line.decode())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if torn(line):
            return None
        raise UserError(f"{where}: not a result ({error}); delete that line and run again") from error


def write_predictions(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Per-example predictions as one Parquet file, written aside and renamed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(path) as aside:
        pq.write_table(pa.table(dict(columns)), aside, compression="zstd")


def read_predictions(path: Path, columns: Container[str] | None = None, *, top: int = 0) -> dict[str, list[Any]]:
    """The columns of a predictions file, or those of `columns` that it has; of `top`, at most so many entries (0: all).

    ValueError where there is no such file, or it is something else.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        there = pq.read_schema(path).names
        wanted = [name for name in there if columns is None or name in columns]
        table = pq.read_table(path, columns=wanted, partitioning=None)
        if top and "top" in wanted:
            table = table.set_column(wanted.index("top"), "top", pc.list_slice(table["top"], 0, top))
        return dict(table.to_pydict())
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path}: no readable predictions ({reason}); evaluate with --overwrite to write them"
        ) from error
