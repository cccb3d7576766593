"""The command line: parse, call, print."""

from __future__ import annotations

import errno
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from vitascope import __version__, cli_check, cli_evaluate, cli_pretrain, flags
from vitascope.flags import console

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


app.add_typer(cli_evaluate.app)
app.add_typer(cli_check.app)
app.add_typer(cli_pretrain.app)


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
def embed(
    data: flags.Data,
    models: flags.Models,
    view: flags.View = "uniform",
    reduce: Annotated[
        str,
        typer.Option("--reduce", help="what is kept of a clip: clip (one vector), time (one a time step), grid (all)"),
    ] = "clip",
    data_root: flags.DataRoot = None,
    store: flags.StoreAt = None,
    limit: flags.Limit = 0,
    workers: flags.Workers = 0,
    batch: flags.Batch = 8,
    device: flags.Device = "",
    timeout: flags.Timeout = 60.0,
    retry: flags.Retry = False,
    quiet: flags.Quiet = False,
) -> None:
    """Embed a dataset into the store, for later; killed, it goes on where it was."""
    from vitascope import encode, probe
    from vitascope.encoder import load
    from vitascope.sampling import parse
    from vitascope.split import limited
    from vitascope.store import Store, cache

    dataset = flags.of_videos(data, data_root)
    dataset = limited(dataset, limit) if limit else dataset
    looks = [probe.View(parse(view), flags.choice(reduce, "--reduce", ("clip", "time", "grid")))]
    root, options = store or cache(), flags.options(workers, batch, device, timeout, quiet=quiet, retry=retry)
    for encoder in [load(m, options.device) for m in models]:
        filled = encode.fill(encoder, dataset, looks, root=root, options=options)
        at = Store(root, encode.key_of(dataset, encoder.card, looks[0])).folder
        print(f"{encoder.card.name}: {filled.encoded} examples, {filled.clips} clips embedded now; all in {at}")
        for example, why in {**dataset.absent, **filled.failures}.items():
            print(f"  missing {example}: {why}")
        for example, note in filled.notes.items():
            print(f"  damaged {example}: {note}")


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
        raise ValueError(f"two encoders are compared, {len(models)} given; say -m A -m B")
    compared = reporting.compare(runs, models[0], models[1])
    if as_json:
        print(json.dumps([asdict(c) for c in compared], ensure_ascii=False, indent=1))
    else:
        print(reporting.compare_text(compared))


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
    from vitascope import listing
    from vitascope.sampling import parse
    from vitascope.types import plain
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
    from vitascope.convert import convert as write

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
    from vitascope import catalogue, listing

    kind = flags.choice(what, "ls", ("encoders", "probes", "datasets", "recipes", "store"))
    if kind == "store":
        from vitascope.store import cache

        rows, text = listing.store(store or cache())
    else:
        rows, text = listing.names(kind), catalogue.ALSO[kind]
    if as_json:
        print(listing.as_json(rows))
        return
    if kind != "store":
        console.print(listing.names_table(kind))
    print(text)


@app.command("import")
def import_(
    layout: Annotated[
        str,
        typer.Argument(
            help="twelvelabs: <id>.json, <id>_c.npy, <id>_v.npy; features: those of whole videos, row by row, <id>.npy "
            "or <id>_c.npy, whose annotations --data names"
        ),
    ],
    source: Annotated[Path, typer.Argument(help="folder with those files, or with train/ and val/ of them")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to make")],
    model: Annotated[
        str, typer.Option("-m", "--model", help="name of the encoder that made them")
    ] = "published/unknown",
    name: Annotated[str, typer.Option("--name", help="name of the dataset", show_default="that of the folder")] = "",
    classes: Annotated[
        Path | None, typer.Option("--classes", help="file with one class name a line, in label order")
    ] = None,
    data: Annotated[
        str,
        typer.Option("--data", help="features: where their annotations are: thumos14=FOLDER, a json, a folder"),
    ] = "",
    grid: Annotated[
        str, typer.Option("--grid", help="features: window/stride in seconds (0.5/0.125) or frames (16/4@30); resized")
    ] = "",
) -> None:
    """Bring in published embeddings, to be evaluated with no video and no encoder."""
    from vitascope.published import import_twelvelabs

    flags.choice(layout, "import", ("twelvelabs", "features"))
    if layout == "features":
        _import_features(source, output, model, name=name, data=data, grid=grid)
        return
    lines = tuple(classes.read_text(encoding="utf-8").splitlines()) if classes else ()
    dataset = import_twelvelabs(source, output, encoder=model, name=name, classes=lines)
    sides = ", ".join(f"{f.name}: {len(f.train)} / {len(f.test)}" for f in dataset.folds)
    print(f"{dataset.name}: {len(dataset.examples)} examples, {len(dataset.classes)} classes, {sides}")
    print(f"next: vitascope evaluate {quote(str(output))} -t knn -t linear -o {quote(f'{output}-run')}")


def _import_features(source: Path, output: Path, model: str, *, name: str, data: str, grid: str) -> None:
    """Bring in dense features with the annotations of their videos."""
    from vitascope import grid as grids
    from vitascope.evaluation import open_annotations, usual
    from vitascope.published_dense import import_dense, open_folder
    from vitascope.table7 import WINDOWS

    if not data:
        raise ValueError("import features: whose annotations? say --data thumos14=FOLDER, a json or a folder of labels")
    dataset = open_annotations(data)
    windows = WINDOWS.get(dataset.family)
    folder = open_folder(
        source,
        given=grids.parse(grid) if grid else None,
        usual=grids.Grid(windows.seconds, windows.stride) if windows else None,
    )
    made = import_dense(folder, dataset, output, encoder=model, name=name)
    for note in made.notes:
        print(f"{made.name}: {note}", file=sys.stderr)
    here = len(made.examples) - len(made.absent)
    print(f"{made.name}: features of {here} of {len(made.examples)} videos, {len(made.classes)} classes")
    print(f"next: vitascope evaluate {quote(str(output))} -t {usual(dataset)[0]} -o {quote(f'{output}-run')}")


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
    from vitascope import results
    from vitascope.recipes import demo as recipe

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
