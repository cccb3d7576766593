"""The command `check`: audits an encoder, or holds a data set on disk against its annotations."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitascope.cli import options as flags
from vitascope.core.errors import UserError
from vitascope.core.text import nearest

if TYPE_CHECKING:
    from vitascope.core.types import Dataset
    from vitascope.datasets.audit.manifest import Survey

app = typer.Typer()


@app.command()
def check(
    name: Annotated[
        str, typer.Argument(help="data set by name, folder of videos, or encoder", metavar="NAME", show_default=False)
    ] = "",
    root: Annotated[
        Path | None, typer.Argument(help="folder that holds the files of a data set by name", metavar="[ROOT]")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="manifest to write (CSV)", show_default="./DATASET-manifest.csv"),
    ] = None,
    limit: flags.Limit = 0,
    workers: Annotated[
        int, typer.Option("--workers", help="processes that read", min=0, show_default="one a core")
    ] = 0,
    timeout: flags.Timeout = 60.0,
    fixtures: Annotated[
        Path | None,
        typer.Option("--fixtures", help="folder of small official-layout files with known outputs (index.json)"),
    ] = None,
    device: flags.Device = "",
    as_json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Check a data set or an encoder before its numbers are trusted. Exit 1 if something does not hold.

    A data set (ssv2 /data/ssv2, or ./videos): reads every file, writes a manifest of what is missing, unreadable, too
    short, double or unexpected, and counts each split. Killed, it goes on where it was.

    An encoder (vit/tiny-random): coverage, determinism, order sensitivity, precision, speed. With --fixtures: loads
    every case of a folder as an official file and compares all outputs with the known ones.
    """
    if bool(name) == bool(fixtures):
        example = "for instance: vitascope check ./videos, vitascope check vit/tiny-random"
        raise UserError(f"name a data set or an encoder, or give a folder with --fixtures; {example}")
    if fixtures:
        well = _cases(fixtures, as_json=as_json)
    elif _is_dataset(name):
        from vitascope.datasets.audit.manifest import survey

        dataset = _open(name, root)
        for note in dataset.notes:
            print(f"{dataset.name}: {note}", file=sys.stderr)
        at = output or Path(f"{dataset.name.replace('/', '-')}-manifest{f'-{limit}' if limit else ''}.csv")
        flags.folder(at.parent, "-o")
        processes = workers or os.cpu_count() or 1
        found = survey(dataset, output=at, workers=processes, timeout=timeout, limit=limit, quiet=quiet)
        well = _surveyed(found, at, f"{name}={root}" if root else name, as_json=as_json)
    else:
        if wrong := [flag for flag, given in (("ROOT", root), ("-o", output), ("--limit", limit)) if given]:
            raise UserError(f"{name} is an encoder, and {wrong[0]} is for data sets; leave it out")
        well = _audit(name, device, as_json=as_json)
    if not well:
        raise typer.Exit(1)


def _is_dataset(name: str) -> bool:
    """Whether `name` is a data set or a folder, not an encoder; ValueError where it could be both, or is neither."""
    from vitascope.cli.tables import REGISTRIES

    module, colon, _ = name.partition(":")
    family, variant, _ = name.partition("=")[0].partition("/")
    encoder = bool(variant) and family in REGISTRIES["encoders"].families()
    if encoder and Path(name).is_dir():
        raise UserError(f"{name} is an encoder, and a folder here; write ./{name} for the folder")
    if Path(name).exists() or name.startswith((".", "~", os.sep)) or family in REGISTRIES["datasets"].families():
        return True
    if encoder or (colon and "/" not in module):
        return False
    kinds = ("datasets", "encoders")
    known = [n for kind in kinds for n in (*REGISTRIES[kind].names(), *REGISTRIES[kind].families())]
    known += [p.name for p in Path().iterdir() if p.is_dir()]
    lists = "see `vitascope ls datasets` and `vitascope ls encoders`"
    raise UserError(f"no data set, folder or encoder {name!r}{nearest(name, known)}; {lists}")


def _open(name: str, root: Path | None) -> Dataset[Any]:
    """The data set called `name`, in `root` where that is given."""
    from vitascope.cli.tables import REGISTRIES

    if root and name.partition("/")[0] not in REGISTRIES["datasets"].families():
        raise UserError(f"{name} is a folder, and ROOT goes with a data set by name; leave {root} out")
    if root and not root.is_dir():
        raise UserError(f"{root}: {'not a folder' if root.exists() else 'no such folder'}; give the one of {name}")
    dataset: Dataset[Any] = REGISTRIES["datasets"].builder(name)(root=root) if root else flags.of_videos(name)
    return dataset


def _surveyed(found: Survey, at: Path, name: str, *, as_json: bool) -> bool:
    """Print what a survey found; whether all is well."""
    from vitascope.cli import tables as listing

    if as_json:
        print(listing.as_json({"manifest": str(at), **listing.survey_data(found)}))
        return found.well
    flags.console.print(listing.survey_table(found))
    for line in listing.survey_lines(found):
        print(line)
    print(f"manifest: {at}")
    if found.well:
        print(f"next: vitascope evaluate {quote(name)} -m vit/tiny-random -t knn")
    else:
        print("next: mend what the manifest lists, then the same command again: it reads only what is new")
    return found.well


def _cases(fixtures: Path, *, as_json: bool) -> bool:
    """Load every case of a fixture folder and print how far its outputs are off; whether all hold."""
    from vitascope.cli import tables as listing
    from vitascope.encoders.golden import run

    found = run(fixtures)
    return _told(found, listing.cases_table(found), as_json=as_json)


def _audit(model: str, device: str, *, as_json: bool) -> bool:
    """Audit an encoder and print the findings; whether all promises hold."""
    from vitascope.cli import tables as listing
    from vitascope.core.device import device as pick
    from vitascope.encoders.audit import audit
    from vitascope.encoders.load import load

    where = pick(device)
    encoder = load(model, where)
    print(f"auditing {model} on {where}; a large model takes minutes without a GPU", file=sys.stderr)
    found = list(audit(encoder, device=where))
    return _told(found, listing.findings_table(model, found), as_json=as_json)


def _told(found: Sequence[Any], table: Any, *, as_json: bool) -> bool:
    """Print findings as JSON or as a table; whether none has failed."""
    from vitascope.cli import tables as listing

    if as_json:
        print(listing.as_json([asdict(f) for f in found]))
    else:
        flags.console.print(table)
    return all(f.ok is not False for f in found)
