"""The command `check`: audits an encoder, or a dataset on disk against its annotations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitascope.cli import options, stores
from vitascope.core.errors import UserError
from vitascope.core.log import log
from vitascope.core.text import nearest

if TYPE_CHECKING:
    from vitascope.core.types import Dataset
    from vitascope.datasets.audit.manifest import Survey

app = typer.Typer()
TRIALS = {"detect/tiny": "detect", "detect/tubes-tiny": "detect/tubes"}
"""Probes to begin with on boxes at keyframes and at every frame, and those with the heads of the report."""
Fixtures = Annotated[
    Path | None,
    typer.Option("--fixtures", help="folder of small checkpoints in official formats with known outputs (index.json)"),
]
Name = Annotated[
    str, typer.Argument(help="dataset name, folder of videos, encoder, or a store", metavar="NAME", show_default=False)
]
Root = Annotated[Path | None, typer.Argument(help="folder with the files of a named dataset", metavar="[ROOT]")]
Manifest = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="manifest to write (CSV)", show_default="./DATASET-manifest.csv"),
]
Repair = Annotated[bool, typer.Option("--repair", help="store: drop what is damaged, to be embedded again")]


@app.command()
def check(
    name: Name = "",
    root: Root = None,
    output: Manifest = None,
    limit: options.Limit = 0,
    workers: Annotated[
        int, typer.Option("--workers", help="number of reading processes", min=0, show_default="number of cores")
    ] = 0,
    timeout: options.Timeout = 60.0,
    fixtures: Fixtures = None,
    repair: Repair = False,
    device: options.Device = "",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Check a dataset, an encoder or a store before you trust its numbers. Exit code 1 if a check fails.

    Dataset: reads every file, counts the examples of each split, and writes a
    manifest of missing, unreadable, too short, duplicated and unexpected files.
    Safe to interrupt: rerun to resume.

    Encoder: weight coverage, determinism, order sensitivity, precision, speed.
    With --fixtures: loads every checkpoint of a folder as an official file and
    compares all outputs with the known ones.

    Store: every index, part and vector against its checksum. With --repair,
    what does not hold is dropped, and the next run embeds it again.

    Example: vitascope check ./videos

    Example: vitascope check ssv2 /data/ssv2

    Example: vitascope check vit/tiny-random

    Example: vitascope check ~/.cache/vitascope --repair
    """
    if bool(name) == bool(fixtures):
        example = "for example: vitascope check ./videos, vitascope check vit/tiny-random"
        raise UserError(f"name a dataset or an encoder, or give a folder with --fixtures; {example}")
    if fixtures:
        passed = _cases(fixtures, as_json=as_json)
    elif repair or stores.is_store(name):
        passed = stores.check_stores(name, repair=repair, as_json=as_json)
    elif _is_dataset(name):
        passed = _survey(
            name,
            root,
            output=output,
            limit=limit,
            workers=workers,
            timeout=timeout,
            quiet=quiet,
            as_json=as_json,
        )
    else:
        if wrong := [flag for flag, value in (("ROOT", root), ("-o", output), ("--limit", limit)) if value]:
            raise UserError(f"{name} is an encoder, and {wrong[0]} is for datasets; leave it out")
        passed = _audit(name, device, as_json=as_json)
    if not passed:
        raise typer.Exit(1)


def _survey(
    name: str,
    root: Path | None,
    *,
    output: Path | None,
    limit: int,
    workers: int,
    timeout: float,
    quiet: bool,
    as_json: bool,
) -> bool:
    """Survey the files of a dataset and print the result; returns whether it passed."""
    from vitascope.datasets.audit.manifest import survey
    from vitascope.datasets.copies import with_copies_grouped

    processes = workers or os.cpu_count() or 1
    dataset = _open(name, root)
    if not limit:
        dataset = with_copies_grouped(dataset, workers=processes, timeout=timeout, quiet=quiet)
    understood = _understood(dataset, as_json=as_json)
    manifest = output or Path(f"{dataset.name.replace('/', '-')}-manifest{f'-{limit}' if limit else ''}.csv")
    options.folder(manifest.parent, "-o")
    report = survey(dataset, output=manifest, workers=processes, timeout=timeout, limit=limit, quiet=quiet)
    probe = _first_probe(dataset)
    place = quote(f"{name}={root}" if root else name)
    command = f"vitascope evaluate {place} -m vit/tiny-random -t {probe}"
    return _print_survey(report, manifest, command, understood if as_json else None)


def _first_probe(dataset: Dataset[Any]) -> str:
    """The probe to begin with: of boxes a small one, for keyframes or for tubes."""
    from vitascope.evaluation.evaluate import default_probes

    if dataset.kind == "detection":
        keyframes, tubes = TRIALS
        return tubes if any(len(e.truth.times) > 1 for e in dataset.examples) else keyframes
    return (default_probes(dataset) or ["knn"])[0]


def _is_dataset(name: str) -> bool:
    """Whether `name` is a dataset or a folder rather than an encoder; UserError if it is ambiguous or unknown."""
    from vitascope.cli.tables import REGISTRIES

    if "://" in name:
        return True
    module, colon, _ = name.partition(":")
    family, variant, _ = name.partition("=")[0].partition("/")
    encoder = bool(variant) and family in REGISTRIES["encoders"].families()
    if encoder and Path(name).is_dir():
        raise UserError(f"{name} is both an encoder and a folder here; use ./{name} for the folder")
    exists = Path(name).exists() or Path(name.partition("=")[0] or name).exists()
    if exists or name.startswith((".", "~", os.sep)) or family in REGISTRIES["datasets"].families():
        return True
    if encoder or (colon and "/" not in module):
        return False
    kinds = ("datasets", "encoders")
    candidates = [n for kind in kinds for n in (*REGISTRIES[kind].names(), *REGISTRIES[kind].families())]
    candidates += [p.name for p in Path().iterdir() if p.is_dir()]
    raise UserError(
        f"no dataset, folder or encoder {name!r}{nearest(name, candidates)}; see `vitascope ls datasets|encoders`"
    )


def _open(name: str, root: Path | None) -> Dataset[Any]:
    """Open the dataset called `name`, in `root` if given."""
    from vitascope.cli.tables import REGISTRIES

    if root and not root.is_dir():
        raise UserError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}; give the folder of {name}")
    named = name.partition("/")[0] in REGISTRIES["datasets"].families()
    dataset: Dataset[Any] = (
        REGISTRIES["datasets"].builder(name)(root=root)
        if root and named
        else options.open_videos(f"{name}={root}" if root else name)
    )
    return dataset


def _understood(dataset: Dataset[Any], *, as_json: bool) -> list[str]:
    """How a dataset was understood, in lines that are printed unless `as_json`, with its notes on stderr."""
    from vitascope.datasets.summary import IGNORED, describe

    lines = describe(dataset)
    for line in () if as_json else lines:
        print(line)
    for note in (n for n in dataset.notes if not n.startswith(IGNORED)):
        log.warning("%s: %s", dataset.name, note)
    return lines


def _print_survey(report: Survey, manifest: Path, command: str, understood: list[str] | None) -> bool:
    """Print the result of a survey and the `command` to go on with, or JSON with the lines `understood` if given.

    Returns whether it passed.
    """
    from vitascope.cli import tables

    if understood is not None:
        print(tables.as_json({"manifest": str(manifest), "understood": understood, **tables.survey_data(report)}))
        return report.passed
    options.console.print(tables.survey_table(report))
    for line in tables.survey_lines(report):
        print(line)
    print(f"manifest: {manifest}")
    if report.passed:
        print(f"next: {command}")
        if larger := TRIALS.get(command.rpartition(" ")[2]):
            print(f"or -t {larger}: the head of the report, for many keyframes and a GPU")
    else:
        if report.leaking:
            print("leaks: keep a recording on one side of the split, or give its examples one `group` in manifest.csv")
        print("next: fix what the manifest lists, then rerun: only new and changed files are read")
    return report.passed


def _cases(fixtures: Path, *, as_json: bool) -> bool:
    """Load every case of a fixture folder and print the errors of its outputs; returns whether all passed."""
    from vitascope.cli import tables
    from vitascope.encoders.golden import run

    cases = run(fixtures)
    return _print_findings(cases, tables.cases_table(cases), as_json=as_json)


def _audit(model: str, device: str, *, as_json: bool) -> bool:
    """Audit an encoder and print the findings; returns whether all checks passed."""
    from vitascope.cli import tables
    from vitascope.core.device import device as pick
    from vitascope.encoders.audit import audit
    from vitascope.encoders.load import load

    target = pick(device)
    encoder = load(model, target)
    log.info("auditing %s on %s; a large model takes minutes without a GPU", model, target)
    findings = list(audit(encoder, device=target))
    return _print_findings(findings, tables.findings_table(model, findings), as_json=as_json)


def _print_findings(findings: Sequence[Any], table: Any, *, as_json: bool) -> bool:
    """Print findings as JSON or as a table; returns whether none failed."""
    from vitascope.cli import tables

    if as_json:
        print(tables.as_json([asdict(f) for f in findings]))
    else:
        options.console.print(table)
    return all(f.ok is not False for f in findings)
