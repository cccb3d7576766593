"""Commands that read results: report and compare."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vitascope.cli import options as flags
from vitascope.cli.options import console
from vitascope.core.errors import UserError

app = typer.Typer()


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="run folder, of an evaluation or of pretraining, or a folder of such")],
    as_json: flags.Json = False,
) -> None:
    """Write report.html (one file, opens offline), report.md and report.tex into a run folder.

    Of actions in time also timelines/, pictures of a few videos as SVG and PNG.
    """
    from vitascope import report as reporting

    if as_json:
        for line in reporting.lines(run):
            print(line)
        return
    written = reporting.write(run)
    console.print(reporting.overview(run))
    for path in written.values():
        print(path)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="run folders")],
    models: Annotated[list[str], typer.Option("-m", "--model", help="encoder of a result; given twice: -m A -m B")],
    as_json: flags.Json = False,
) -> None:
    """Print paired differences A minus B, with intervals, between two encoders on the examples both were asked."""
    from vitascope import report as reporting

    if len(models) != 2:
        raise UserError(f"two encoders are compared, {len(models)} given; say -m A -m B")
    compared = reporting.compare(runs, models[0], models[1])
    if as_json:
        print(json.dumps([asdict(c) for c in compared], ensure_ascii=False, indent=1))
    else:
        print(reporting.compare_text(compared))
