"""The command `checkup`: what encoders see in videos without labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitascope.cli import options
from vitascope.core.errors import UserError
from vitascope.core.text import counted, escaped

if TYPE_CHECKING:
    from vitascope.evaluation.checkup import Checkup

app = typer.Typer()
Videos = Annotated[int, typer.Option("--videos", help="maximum number of videos to look at", min=8)]
Page = Annotated[Path | None, typer.Option("-o", "--output", help="page to write (.html)")]


@app.command()
def checkup(
    data: Annotated[str, typer.Argument(help="folder of videos, without labels, or dataset name")],
    models: options.Models,
    output: Page = None,
    videos: Videos = 300,
    data_root: options.DataRoot = None,
    store: options.StoreAt = None,
    workers: options.Workers = 0,
    batch: options.Batch = 8,
    device: options.Device = "",
    compiled: options.Compile = "off",
    decoder: options.Decoder = "pyav",
    timeout: options.Timeout = 60.0,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Look at what encoders see in your videos, without labels, and recommend one.

    Effective rank; how far vectors move if frames are reversed, shuffled or
    slowed, and if videos are re-encoded, cropped or letterboxed; copies; how
    alike encoders arrange the videos; cost for an hour of video.

    Example: vitascope checkup ./videos -m tiny/twlv1 -m tiny/image
    """
    from vitascope.core.files import cache, write
    from vitascope.evaluation import checkup as checkups

    if output and (output.suffix.lower() != ".html" or output.is_dir()):
        raise UserError(f"-o {output}: give the name of a page that ends with .html")
    if output:
        options.folder(output.parent, "-o")
    extraction = options.extraction_options(workers, batch, device, timeout, quiet=quiet)
    more = {"data_root": data_root, "most": videos, "options": extraction, **options.how_run(compiled, decoder)}
    found = checkups.checkup(data, list(dict.fromkeys(models)), root=store or cache(), **more)
    if output:
        from vitascope.report import checkup_page

        write(output, checkup_page.html(found).encode())
    _print(found, output, as_json=as_json)


def _print(found: Checkup, output: Path | None, *, as_json: bool) -> None:
    from vitascope.cli import tables
    from vitascope.evaluation.checkup import advise
    from vitascope.report import checkup_page

    if as_json:
        print(tables.as_json({**checkup_page.data(found), "advice": advise(found)}))
        return
    print(escaped(checkup_page.headline(found)))
    for table in checkup_page.summary_tables(found):
        options.console.print(tables.plain_table(table.title, table.heads, table.rows))
        if table.note:
            print(table.note)
    if found.failures:
        example, why = next(iter(found.failures.items()))
        print(escaped(f"{counted(len(found.failures), 'video')} could not be read: {example} ({why})"))
    for line in advise(found):
        print(escaped(f"- {line}"))
    if output:
        print(output)
