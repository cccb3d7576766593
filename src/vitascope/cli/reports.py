"""Commands that read results: report and compare."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from vitascope.cli import options
from vitascope.cli.options import console
from vitascope.core.errors import UserError
from vitascope.core.text import escaped

app = typer.Typer()
Published = Annotated[
    str, typer.Option("--published", help="a paper's tables beside the results: twlv1, vjepa2 ...", show_default=False)
]


@app.command()
def report(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="run folder of an evaluation or of pretraining, or a folder of such folders", show_default=False
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("-m", "--model", help="encoder in front of the scorecard", show_default="the leading one")
    ] = "",
    published: Published = "",
    gallery: Annotated[
        bool, typer.Option("--gallery/--no-gallery", help="with short loops of videos on which one encoder differs")
    ] = True,
    as_json: options.Json = False,
) -> None:
    """Write the report of a run folder: report.html (self-contained), report.md and report.tex.

    Temporal tasks also get timelines/, boxes of actors keyframes/: pictures of a few videos
    as SVG and PNG. With --published, published/ gets a paper's scorecard and appearance against
    motion, the results beside them; without a run folder, the paper's alone, in ./published.

    Example: vitascope report runs/mine
    """
    from vitascope import report as reporting
    from vitascope.core.arrow import skip_pandas

    skip_pandas()
    if run is None and not published:
        raise UserError("report takes a run folder, --published twlv1, or both")
    if published:
        reporting.find_paper(published)  # before anything is written
    if as_json and run is not None:
        for line in reporting.json_lines(run):
            print(line)
        return
    written = _of_run(run, model, gallery=gallery) if run is not None else []
    if published:
        folder = (run or Path()) / "published"
        written += reporting.write_published(published, folder, [run] if run else []).values()
    for path in written:
        print(path)


def _of_run(run: Path, model: str, *, gallery: bool) -> list[Path]:
    """Write the report of a run folder, show its scores, and return the paths."""
    from vitascope import report as reporting

    written = reporting.write(run, front=model, gallery=gallery)
    console.print(reporting.overview(run))
    for line in reporting.data_warnings(run):
        print(escaped(line))
    return list(written.values())


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="run folders")],
    models: Annotated[
        list[str], typer.Option("-m", "--model", help="the two encoders to compare: -m A -m B", show_default=False)
    ] = [],  # noqa: B006 - typer's way of a list that may be empty
    published: Published = "",
    as_json: options.Json = False,
) -> None:
    """Compare two encoders on the examples both were evaluated on (paired differences, 95 % intervals).

    With --published, compare the results, or those of -m, with a paper's tables: each number is
    matched, explained by a setting that differs, or open.

    Example: vitascope compare runs/mine -m vit/tiny-random -m pixels/thumbnail
    """
    from vitascope import report as reporting
    from vitascope.core.arrow import skip_pandas

    skip_pandas()
    if published:
        found = reporting.compare_published(runs, published, models)
        print(_json(asdict(found)) if as_json else reporting.published_text(found))
        return
    if len(models) != 2:
        raise UserError(f"compare takes two encoders, got {len(models)}; use -m A -m B, or --published twlv1")
    compared = reporting.compare(runs, models[0], models[1])
    print(_json([asdict(comparison) for comparison in compared]) if as_json else reporting.compare_text(compared))


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
    from vitascope.core.arrow import skip_pandas

    skip_pandas()
    for path in reporting.write_board(runs, output, export=export).values():
        print(path)


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, indent=1)
