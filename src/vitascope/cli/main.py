"""The command line: parse, call, print."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from vitascope.cli import check as cli_check
from vitascope.cli import (
    checkup,
    crash,
    describe,
    embeddings,
    evaluate,
    maps,
    options,
    pretrain,
    reports,
    score,
    stopping,
)
from vitascope.cli import sweep as cli_sweep
from vitascope.cli.options import console
from vitascope.core.errors import RemoteError, UserError, of_system
from vitascope.core.faults import out_of_memory
from vitascope.core.log import log, on_stderr
from vitascope.core.terminal import plain_streams
from vitascope.core.text import clipped, escaped
from vitascope.core.version import __version__

app = typer.Typer(
    help="Evaluate frozen video encoders on appearance and motion, with confidence intervals and fair comparisons.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
UsageError: Any = typer.BadParameter.__base__  # typer brings its own click, or uses the one installed

MAX_ERROR = 2000
"""Letters of an error message."""
NO_MEMORY = "out of memory; give it more, or less to do at once (--batch, --workers), then rerun the command to resume"


for group in (embeddings, reports, evaluate, maps, cli_check, checkup, pretrain, cli_sweep, describe, score):
    app.add_typer(group.app)


def _version(requested: bool) -> bool:
    if requested:
        print(f"vitascope {__version__}")
        raise typer.Exit
    return requested


@app.callback()
def _app(
    version: Annotated[
        bool, typer.Option("--version", help="print the version and exit", callback=_version, is_eager=True)
    ] = False,
    quiet: options.Quiet = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="show more log messages")] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help=f"print tracebacks of bugs; also by {crash.VARIABLE}=1")
    ] = False,
) -> None:
    if verbose and not quiet:
        log.setLevel(logging.DEBUG)
    options.INVOCATION.traceback = traceback


@app.command()
def plan(
    file: Annotated[str, typer.Argument(help="video, folder of frames, or image")],
    view: options.View = "uniform",
    frames: Annotated[int, typer.Option("--frames", help="frames per clip", min=1)] = 16,
    start: Annotated[
        float | None, typer.Option("--start", help="start of the segment, seconds", show_default="start of the video")
    ] = None,
    end: Annotated[
        float | None, typer.Option("--end", help="end of the segment, seconds", show_default="end of the video")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Show which frames a sampler selects, without decoding.

    Example: vitascope plan video.mp4 --view multiclip:2 --frames 8
    """
    from vitascope.cli import tables
    from vitascope.core.types import plain
    from vitascope.sampling.names import parse
    from vitascope.video import inspect

    video = inspect(file)
    if start is not None or end is not None:
        video = video.within((start or 0.0, float("inf") if end is None else end))
    clips = parse(view)(video, frames)
    indices = [[video.frame_at(t) for t in c.times] for c in clips]
    if as_json:
        video_data = {**plain(video), "times": len(video.times), "span": [video.start, video.end]}
        planned = [{**plain(c), "frames": f} for c, f in zip(clips, indices, strict=True)]
        print(json.dumps({"video": video_data, "clips": planned}, ensure_ascii=False))
        return
    print(
        f"{escaped(file)}: {len(video.times)} frames, {video.duration:.3f} s, {video.fps:.2f} frames/s, "
        f"{video.width} x {video.height}{f', rotated by {video.rotation}' if video.rotation else ''}"
        f"{', mirrored' if video.mirrored else ''}"
    )
    for warning in video.warnings:
        print(f"  warning: {warning}")
    console.print(tables.plan_table(clips, indices))


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="official checkpoint file or its folder")],
    model: Annotated[str, typer.Option("-m", "--model", help="name of the model, see `vitascope ls encoders`")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="folder to write", show_default="next to the file")
    ] = None,
) -> None:
    """Convert an official checkpoint to model.safetensors and card.json, with every tensor accounted for.

    Example: vitascope convert vjepa2_vitl.pt -m vjepa2/large
    """
    from vitascope.encoders.convert import convert as write

    beside = Path(os.path.abspath(file)) if file.name in ("", "..") else file
    folder = output or beside.with_name(f"{beside.name.split('.')[0]}-vitascope")
    print(write(file, model, folder))
    print(f"next: vitascope check {quote(f'{model}={folder}')}")


@app.command()
def ls(
    what: Annotated[str, typer.Argument(help="encoders, probes, datasets, recipes or store")],
    store: options.StoreAt = None,
    as_json: options.Json = False,
) -> None:
    """List available encoders, probes, datasets or pretraining recipes, or the contents of the store.

    Example: vitascope ls encoders
    """
    from vitascope.cli import tables

    kind = options.choice(what, "ls", ("encoders", "probes", "datasets", "recipes", "store"))
    if kind == "store":
        from vitascope.core.files import cache

        rows, text = tables.store(store or cache())
    else:
        rows, text = tables.names(kind), tables.ALSO[kind]
    if as_json:
        print(tables.as_json(rows))
        return
    if kind != "store":
        width = console.width if console.is_terminal or "COLUMNS" in os.environ else 0
        print("\n".join(tables.names_lines(kind, width)))
    print(text)


@app.command()
def demo(
    output: options.Run = Path("runs/demo"),
    videos: Annotated[
        Path | None,
        typer.Option(
            "--videos", help="folder of class folders of videos: trained encoders on it, on a second page (extra real)"
        ),
    ] = None,
    limit: options.Limit = 0,
    workers: options.Workers = 0,
    batch: options.Batch = 8,
    device: options.Device = "",
    quiet: options.Quiet = False,
) -> None:
    """Evaluate small encoders on the built-in benchmark and write the report, in a few minutes and without downloads.

    Example: vitascope demo -o runs/demo

    Example: vitascope demo --videos ./videos
    """
    from vitascope import report as reporting
    from vitascope.cli import demo as recipe
    from vitascope.evaluation import results

    options.folder(output, "-o")
    extraction = options.extraction_options(workers, batch, device, quiet=quiet)
    path = recipe.run(output, videos=videos, options=extraction, limit=limit)
    recorded = results.read(output)
    if videos is not None:
        second = output / recipe.VIDEOS
        console.print(reporting.terminal(results.read(second), second))
        print(f"report on {videos}: {(second / 'report.html').resolve()}", end="\n\n")
    console.print(reporting.terminal(recorded, output))
    print(reporting.sketch(recorded), end="\n\n")
    print(recipe.CAVEATS, end="\n\n")
    print(f"report: {path.resolve()}")


def main() -> None:
    """Run the command line; what users can fix is one line and exit code 2, a bug is reported with exit code 70."""
    options.INVOCATION.reset()
    with plain_streams(), on_stderr(), stopping.on_signals() as request:
        code = _exit_code()
        if code == stopping.STOPPED:
            print("stopped; rerun the command to resume", file=sys.stderr)
            code = request.code
        if stopping.unread():
            code = stopping.UNREAD
    stopping.leave(code or 0)


def _exit_code() -> int | None:
    """Run the command; its exit code."""
    try:
        options.refuse_urls(sys.argv[1:])
        code: int | None = app(standalone_mode=False, prog_name="vitascope")
        return code
    except UsageError as error:
        return _usage(error)
    except (KeyboardInterrupt, typer.Abort):
        return stopping.STOPPED
    except UserError as error:
        return _failed(str(error))
    except RemoteError as error:
        return _failed(str(error))
    except (BrokenPipeError, SystemExit) as error:
        if not isinstance(error, OSError) and not isinstance(error.__context__, OSError):
            raise
        return stopping.UNREAD  # typer's own end, too, where the reader of the output is gone
    except OSError as error:
        if out_of_memory(error):
            return _failed(NO_MEMORY)
        if not of_system(error):
            return crash.report(error, options.INVOCATION.run, show=options.INVOCATION.traceback)
        full = "; free some space, then rerun the command to resume" if error.errno == errno.ENOSPC else ""
        return _failed(f"{error.filename or 'disk'}: {error.strerror}{full}" if error.strerror else str(error))
    except Exception as error:
        if out_of_memory(error):
            return _failed(NO_MEMORY)
        return crash.report(error, options.INVOCATION.run, show=options.INVOCATION.traceback)


def _usage(error: Any) -> int:
    if not (message := error.format_message().rstrip(".")):
        error.show()  # no command: the help
        return 2
    # the parser of options does not say to which command they were given
    named = [word for word in sys.argv[1:2] if not word.startswith("-")]
    command = error.ctx.command_path if error.ctx else " ".join(["vitascope", *named])
    return _failed(f"{message[0].lower()}{message[1:]}; see `{command} -h`")


def _failed(message: str) -> int:
    print(f"error: {clipped(' '.join(message.split()), MAX_ERROR)}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
