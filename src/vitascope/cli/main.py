"""The command line: parse, call, print."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from vitascope.cli import check as cli_check
from vitascope.cli import embeddings, evaluate, pretrain, reports
from vitascope.cli import options as flags
from vitascope.cli.options import console
from vitascope.cli.tables import ALSO
from vitascope.core.version import __version__

app = typer.Typer(
    help="What does a frozen video encoder see, appearance or motion, and can the number be trusted?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
UsageError: Any = typer.BadParameter.__base__  # typer brings its own click, or uses the one installed

STOPPED = 130
"""The exit code of a command that was interrupted, as shells have it."""


for group in (embeddings, reports, evaluate, cli_check, pretrain):
    app.add_typer(group.app)


def _version(asked: bool) -> bool:
    if asked:
        print(f"vitascope {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _app(
    version: Annotated[
        bool, typer.Option("--version", help="print the version and exit", callback=_version, is_eager=True)
    ] = False,
) -> None: ...


@app.command()
def plan(
    file: Annotated[str, typer.Argument(help="a video, a directory of frames, or an image")],
    view: flags.View = "uniform",
    frames: Annotated[int, typer.Option("--frames", help="frames of one clip", min=1)] = 16,
    start: Annotated[
        float | None, typer.Option("--start", help="second to look from", show_default="the first")
    ] = None,
    end: Annotated[float | None, typer.Option("--end", help="second to look to", show_default="the last")] = None,
    as_json: flags.Json = False,
) -> None:
    """Print what would be looked at: the clips, their instants and the frames on display then. Nothing is decoded."""
    from vitascope.cli import tables as listing
    from vitascope.core.types import plain
    from vitascope.sampling.names import parse
    from vitascope.video import inspect

    video = inspect(file)
    if start is not None or end is not None:
        video = video.within((start or 0.0, float("inf") if end is None else end))
    clips = parse(view)(video, frames)
    shown = [[video.frame_at(t) for t in c.times] for c in clips]
    if as_json:
        about = {**plain(video), "times": len(video.times), "span": [video.start, video.end]}
        planned = [{**plain(c), "frames": f} for c, f in zip(clips, shown, strict=True)]
        print(json.dumps({"video": about, "clips": planned}, ensure_ascii=False))
        return
    print(
        f"{file}: {len(video.times)} frames, {video.duration:.3f} s, {video.fps:.2f} frames/s, "
        f"{video.width} x {video.height}{f', turned by {video.rotation}' if video.rotation else ''}"
    )
    for warning in video.warnings:
        print(f"  warning: {warning}")
    console.print(listing.plan_table(clips, shown))


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="official weight file, or folder of one")],
    model: Annotated[str, typer.Option("-m", "--model", help="published model, see `vitascope ls encoders`")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="folder to make", show_default="beside the file")
    ] = None,
) -> None:
    """Write an official weight file as model.safetensors and card.json, every tensor accounted for."""
    from vitascope.encoders.convert import convert as write

    beside = Path(os.path.abspath(file)) if file.name in ("", "..") else file
    folder = output or beside.with_name(f"{beside.name.split('.')[0]}-vitascope")
    print(write(file, model, folder))
    print(f"next: vitascope check {quote(f'{model}={folder}')}")


@app.command()
def ls(
    what: Annotated[str, typer.Argument(help="encoders, probes, datasets, recipes or store")],
    store: flags.StoreAt = None,
    as_json: flags.Json = False,
) -> None:
    """List what there is: encoders, probes, datasets, recipes of pretraining, or what the store holds."""
    from vitascope.cli import tables as listing

    kind = flags.choice(what, "ls", ("encoders", "probes", "datasets", "recipes", "store"))
    if kind == "store":
        from vitascope.core.files import cache

        rows, text = listing.store(store or cache())
    else:
        rows, text = listing.names(kind), ALSO[kind]
    if as_json:
        print(listing.as_json(rows))
        return
    if kind != "store":
        console.print(listing.names_table(kind))
    print(text)


@app.command()
def demo(
    output: flags.Run = Path("runs/demo"),
    limit: flags.Limit = 0,
    workers: flags.Workers = 0,
    batch: flags.Batch = 8,
    device: flags.Device = "",
    quiet: flags.Quiet = False,
) -> None:
    """Evaluate small encoders and floors on the built-in benchmark and write the report: no download, a few minutes."""
    from vitascope import report as reporting
    from vitascope.cli import demo as recipe
    from vitascope.evaluation import results

    flags.folder(output, "-o")
    path = recipe.run(output, options=flags.options(workers, batch, device, quiet=quiet), limit=limit)
    found = results.read(output)
    console.print(reporting.terminal(found, output))
    print(reporting.sketch(found), end="\n\n")
    print(f"report: {path.resolve()}")


def main() -> None:
    """Run the command line; what a user can mend is one line and exit code 2."""
    try:
        code = app(standalone_mode=False, prog_name="vitascope")
    except UsageError as error:
        _usage(error)
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    except OSError as error:
        full = "; free some space, the same command goes on from here" if error.errno == errno.ENOSPC else ""
        _fail(f"{error.filename or 'disk'}: {error.strerror}{full}" if error.strerror else str(error))
    except ValueError as error:
        _fail(str(error))
    if code == STOPPED:
        print("stopped; the same command goes on from here", file=sys.stderr)
    sys.exit(code or 0)


def _usage(error: Any) -> None:
    if not (said := error.format_message().rstrip(".")):
        error.show()  # nothing was asked for: the help
        sys.exit(2)
    _fail(f"{said[0].lower()}{said[1:]}; see `{error.ctx.command_path if error.ctx else 'vitascope'} -h`")


def _fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
