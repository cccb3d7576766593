"""Result: one self-describing record; and the files of results and predictions."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from vitascope.core.data_warning import DataWarning
from vitascope.core.errors import StorageError, UserError, reading
from vitascope.core.files import atomic_file, is_truncated, read_bytes, require_regular_file
from vitascope.core.migrate import RESULT, TASK_TYPE, VARIANT, current
from vitascope.core.schema import conform, parse
from vitascope.core.types import Kind, Score, digest
from vitascope.evaluation import result_schema
from vitascope.evaluation.prediction_checks import check_types, check_values
from vitascope.metrics.class_parts import ClassPart

SCHEMA = 2
"""Version of the Result fields; incremented when readers have to change."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """The scores of one encoder on one task, with everything needed to verify, repeat and compare them."""

    encoder: str
    dataset: str
    probe: str
    version: int
    """Version of the probe."""
    scores: Mapping[str, Score]
    """Scores by name, the headline first."""
    kind: Kind = "recognition"
    """Task type. The headline is a mean over examples for recognition only; else missing examples count as missed."""
    chance: float | None = None
    """Headline of always predicting the most common test class, of equal scores for mAP of labels; else None."""
    order_free: float | None = None
    """Headline of one who recognizes every frame but not their order, by the construction of the dataset; None if
    unknown."""
    parts: tuple[ClassPart, ...] = ()
    """Accuracy of telling pairs of opposite classes, and the direction of a pair, by family of classes."""
    per_class: Mapping[str, Score] = field(default_factory=dict)
    """Score of each class in the test set, percent: accuracy, AP (localization) or frame accuracy (segmentation)."""
    diagnosis: Mapping[str, Any] = field(default_factory=dict)
    """Error analysis of the predictions, if the task type has one, as plain data."""
    folds: tuple[Mapping[str, float], ...] = ()
    """Scores of each fold, in order; with several seeds, those of the first."""
    seeds: tuple[float, ...] = ()
    """Headline of each seed; the score is their mean."""
    about: tuple[Mapping[str, Any], ...] = ()
    """Notes of the probe on each training: selected hyper-parameters, and the scores of all candidates."""
    variant: Mapping[str, str] = field(default_factory=dict)
    """How the task differs from the plain task `of`: `train_fraction`, `altered` clips on `sides`, `layer`."""
    settings: Mapping[str, Any]
    """Probe, card, views and dataset digest as plain data."""
    protocol: str
    """Digest of all settings but the encoder's; results with equal digests are comparable."""
    order_aware: bool | None = None
    """Whether the probe itself can tell the order of the vectors or time steps that it reads; None: not known."""
    axis: str = ""
    """`appearance` or `motion`; empty if unknown."""
    in_pretraining_data: bool = False
    """Whether the pretraining data of the encoder include this dataset; marked by a dagger."""
    limited: bool = False
    """Whether `--limit` cut the dataset; not to be published."""
    n: int
    """Number of test examples scored, including those that count as missed."""
    expected: int
    """Number of test examples in the dataset."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """{example id: reason} of unreadable examples, training set included."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """{example id: warnings about a video that was used anyway}."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What the dataset holds: examples, lengths, sizes of classes, groups and folds; empty in older results."""
    cost: Mapping[str, Any] = field(default_factory=dict)
    """What a test video costs: clips, bytes stored, GFLOPs of a clip; clips encoded in this run. Empty if unknown."""
    inputs: str = ""
    """Digest of the files that the vectors were computed from; empty if unknown, or if some are to be tried again."""
    data_warnings: tuple[DataWarning, ...] = ()
    """What is doubtful about the data behind the score: leaks, too few groups, a floor that is high."""
    seed: int = 0
    """First random seed."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Time by phase, seconds."""
    code: Mapping[str, str] = field(default_factory=dict)
    """Versions of vitascope, its dependencies and the hardware."""
    predictions: str = ""
    """Path of the Parquet file with every prediction, relative to the run folder."""
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        """Reject a result without scores."""
        if not self.scores:
            raise UserError(f"{self.encoder} on {self.dataset}:{self.probe} has no score")

    @property
    def task(self) -> str:
        """`dataset:probe`, as on the command line."""
        return f"{self.dataset}:{self.probe}"

    @property
    def headline(self) -> Score:
        """The score shown in tables."""
        return next(iter(self.scores.values()))

    @property
    def multilabel(self) -> bool:
        """Whether examples may have several labels: the headline is then mAP over classes."""
        return self.kind == "recognition" and next(iter(self.scores)) == "mAP" and "hit@1" in self.scores

    @property
    def coverage(self) -> float:
        """Share of the test examples that were scored, 0 to 1."""
        return self.n / max(self.expected, self.n, 1)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Bounds of the headline (a mean in percent), if all unscored test examples were wrong, or all correct."""
        if self.n >= self.expected:
            return None
        scored = self.headline.value * self.coverage
        return scored, scored + 100 * (1 - self.coverage)

    @property
    def key(self) -> tuple[str, str, str]:
        """Encoder, task and protocol; a later line with the same key replaces an earlier one."""
        return (
            self.encoder,
            self.task,
            digest([self.protocol, self.settings.get("card")]),
        )

    def to_json(self) -> str:
        """Return one line of ASCII JSON, so that no name can break the line or fail to encode."""
        data = asdict(self)
        for name in ("scores", "per_class"):
            data[name] = {k: Score(*v)._asdict() for k, v in data[name].items()}
        data["data_warnings"] = [warning._asdict() for warning in self.data_warnings]
        return json.dumps(data, allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> Result:
        """Read a Result from one line of JSON; fields of a newer schema are ignored."""
        data = current(conform(parse(line, surrogates=True), dict[str, Any]), RESULT)
        kind, variant = data.get("kind", "recognition"), data.get("variant", {})
        data["kind"] = TASK_TYPE.get(kind, kind) if isinstance(kind, str) else kind
        data["variant"] = current(variant, VARIANT) if isinstance(variant, dict) else variant
        result: Result = conform(data, cls)
        result_schema.check(data["settings"], data.get("diagnosis"))
        result_schema.check_cards(result.data, result.cost)
        for score in (*result.scores.values(), *result.per_class.values()):
            result_schema.check_interval(score.low, score.high)
        return result


RESULTS = "results.jsonl"


def append(run: Path, result: Result) -> None:
    """Append `result` to the run folder by a single write; a truncated last line is terminated first."""
    run.mkdir(parents=True, exist_ok=True)
    path = run / RESULTS
    line = (result.to_json() + "\n").encode()
    with open(path, "ab+", buffering=0) as file:
        if file.seek(0, os.SEEK_END) and not _ends_a_line(file):
            line = b"\n" + line
        if file.write(line) != len(line):
            raise StorageError(f"{path}: disk full, the result is incomplete; free some space and run again")
        os.fsync(file.fileno())


def _ends_a_line(file: IO[bytes]) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def read(run: str | Path) -> list[Result]:
    """Read the results of a run folder in the order first recorded; later lines replace earlier ones of the same key.

    Lines truncated by a killed run or a full disk are skipped; any other invalid line raises UserError.
    """
    path = Path(run) / RESULTS
    if not path.is_file():
        raise UserError(f"{run}: no {RESULTS} in it; create one with `vitascope evaluate ... -o {run}`")
    by_key: dict[tuple[str, str, str], Result] = {}
    for number, line in enumerate(read_bytes(path).split(b"\n"), 1):
        result = _parse(line.strip(), f"{path}:{number}")
        if result is not None:
            by_key[result.key] = result
    return list(by_key.values())


def _parse(line: bytes, where: str) -> Result | None:
    if not line:
        return None
    try:
        return Result.from_json(line)
    except UserError as error:
        if is_truncated(line):
            return None
        raise UserError(f"{where}: not a result ({error}); delete that line and run again") from error


def write_predictions(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write per-example predictions to a Parquet file, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_file(path) as aside:
        pq.write_table(pa.table(dict(columns)), aside, compression="zstd")


def read_predictions(path: Path, columns: Container[str] | None = None, *, top: int = 0) -> dict[str, list[Any]]:
    """Read all columns of a predictions file, or those in `columns` that it has; at most `top` entries of column `top`.

    Raises UserError if the file is missing or not a predictions file.
    """
    from pyarrow.parquet import ParquetFile

    again = "evaluate with --overwrite to write the predictions again"
    if not path.exists():
        raise UserError(f"{path}: no such file; {again}")
    with reading(path, again):
        require_regular_file(path)
        with ParquetFile(path) as file:
            available = file.schema_arrow.names
            if "id" not in available:
                raise UserError("no column id")
            wanted = [name for name in available if columns is None or name in columns]
            table = file.read(wanted, use_threads=False)  # threads take more processor time than they save
        check_types(table)
        if top and "top" in wanted:
            import pyarrow.compute as pc  # most readers want no such column

            table = table.set_column(wanted.index("top"), "top", pc.list_slice(table["top"], 0, top))
        read_columns: dict[str, list[Any]] = table.to_pydict()
        check_values(read_columns)
        return read_columns
