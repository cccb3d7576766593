"""Result: one self-describing line of record; and the files that keep results and predictions."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from vitascope.types import digest

SCHEMA = 1
"""Version of the Result fields; counts up when a reader would have to change."""


class Score(NamedTuple):
    """A number with its 95 % interval; NaN-free, `low`/`high` None where no interval was drawn."""

    value: float
    low: float | None = None
    high: float | None = None


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
    per_class: Mapping[str, Score] = field(default_factory=dict)
    """Accuracy of each class that has test examples, percent."""
    folds: tuple[Mapping[str, float], ...] = ()
    """The plain scores of each fold, in order."""
    settings: Mapping[str, Any]
    """Probe, card, views and dataset digest as plain data."""
    protocol: str
    """Digest of all settings but the encoder's: equal digests may be compared."""
    axis: str = ""
    """`appearance`, `motion` or unknown."""
    seen: bool = False
    """The dagger: the encoder met this dataset in pretraining."""
    limited: bool = False
    """Cut short by `--limit`; never to be published."""
    n: int
    """Test examples scored."""
    expected: int
    """Test examples there should be."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """{example id: why}, training side included."""
    seed: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By phase."""
    code: Mapping[str, str] = field(default_factory=dict)
    """Versions of vitascope and of what computes."""
    predictions: str = ""
    """Path of the Parquet file with every prediction, relative to the run folder."""
    schema: int = SCHEMA

    @property
    def headline(self) -> Score:
        """The score a table shows."""
        return next(iter(self.scores.values()))

    @property
    def key(self) -> tuple[str, str, str]:
        """Encoder, task and protocol: a later line with the same key replaces an earlier one."""
        return (
            self.encoder,
            f"{self.dataset}:{self.probe}",
            digest([self.protocol, self.settings.get("card")]),
        )

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Result:
        """The Result in one line of JSON; fields of a newer schema are ignored."""
        data = json.loads(line)
        known = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        for name in ("scores", "per_class"):
            known[name] = {k: Score(*v) for k, v in known.get(name, {}).items()}
        known["folds"] = tuple(known.get("folds", ()))
        return cls(**known)


RESULTS = "results.jsonl"


def append(run: Path, result: Result) -> None:
    """Add `result` to the run folder: one write of one line, so a killed run leaves no half of it unread."""
    run.mkdir(parents=True, exist_ok=True)
    line = (result.to_json() + "\n").encode()
    with open(run / RESULTS, "ab", buffering=0) as file:
        if file.write(line) != len(line):
            raise OSError(f"{run / RESULTS}: the disk took only a part of the result; free some space and run again")
        os.fsync(file.fileno())


def read(run: Path) -> list[Result]:
    """The results of a run folder in the order first recorded, a later line of the same key in place of the earlier."""
    path = run / RESULTS
    if not path.is_file():
        raise ValueError(f"{run}: no {RESULTS} there; record one with `vitascope evaluate ... -o {run}`")
    found: dict[tuple[str, str, str], Result] = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        result = _parse(line, f"{path}:{number}", torn=number == len(lines))
        if result is not None:
            found[result.key] = result
    return list(found.values())


def _parse(line: str, where: str, *, torn: bool) -> Result | None:
    try:
        return Result.from_json(line)
    except (ValueError, TypeError, KeyError) as error:
        if torn:  # the last line of a killed run
            return None
        raise ValueError(f"{where}: not a result ({error}); delete that line and run again") from error


def write_predictions(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Per-example predictions as one Parquet file, written aside and renamed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(pa.table(dict(columns)), aside, compression="zstd")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def read_predictions(path: Path, columns: Iterable[str] | None = None) -> dict[str, list[Any]]:
    """The columns of a predictions file."""
    import pyarrow.parquet as pq

    return dict(pq.read_table(path, columns=None if columns is None else list(columns)).to_pydict())
