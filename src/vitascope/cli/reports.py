"""Commands that read results: report and compare."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vitascope.cli import options
from vitascope.cli.options import console
from vitascope.core.errors import UserError
from vitascope.core.text import escaped

app = typer.Typer()


@app.command()
def report(
    run: Annotated[
        Path, typer.Argument(help="run folder of an evaluation or of pretraining, or a folder of such folders")
    ],
    gallery: Annotated[
        bool, typer.Option("--gallery/--no-gallery", help="with short loops of videos on which one encoder differs")
    ] = True,
    as_json: options.Json = False,
) -> None:
    """Write the report of a run folder: report.html (self-contained), report.md and report.tex.

    Temporal tasks also get timelines/, boxes of actors keyframes/: pictures of a few videos
    as SVG and PNG.

    Example: vitascope report runs/mine
    """
    from vitascope import report as reporting

    if as_json:
        for line in reporting.json_lines(run):
            print(line)
        return
    written = reporting.write(run, gallery=gallery)
    console.print(reporting.overview(run))
    for line in reporting.data_warnings(run):
        print(escaped(line))
    for path in written.values():
        print(path)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="run folders")],
    models: Annotated[list[str], typer.Option("-m", "--model", help="the two encoders to compare: -m A -m B")],
    as_json: options.Json = False,
) -> None:
    """Compare two encoders on the examples both were evaluated on (paired differences, 95 % intervals).

    Example: vitascope compare runs/mine -m vit/tiny-random -m pixels/thumbnail
    """
    from vitascope import report as reporting

    if len(models) != 2:
        raise UserError(f"compare takes two encoders, got {len(models)}; use -m A -m B")
    compared = reporting.compare(runs, models[0], models[1])
    rows = [asdict(comparison) for comparison in compared] if as_json else []
    print(json.dumps(rows, ensure_ascii=False, indent=1) if as_json else reporting.compare_text(compared))


@app.command()
def board(
    runs: Annotated[list[Path], typer.Argument(help="run folders, of any people")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder of the page")] = Path("site"),
    export: Annotated[bool, typer.Option("--export", help="also write board.json and board.csv")] = False,
) -> None:
    """Write a static leaderboard over many runs: index.html, which needs no server.

    Results under one protocol are ranked side by side; others stand apart with the reason. The
    runs' own reports are copied beside the page.

    Example: vitascope board runs/mine runs/yours -o site
    """
    from vitascope import report as reporting

    for path in reporting.write_board(runs, output, export=export).values():
        print(path)
