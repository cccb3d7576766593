"""Commands that make, import and export embeddings."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from vitascope.cli import options as flags
from vitascope.core.errors import UserError
from vitascope.features.view import View

app = typer.Typer()


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
    retry_failed: flags.Retry = False,
    quiet: flags.Quiet = False,
) -> None:
    """Embed a dataset into the store, for later; killed, it goes on where it was."""
    from vitascope.core.files import cache
    from vitascope.datasets.splits import limited
    from vitascope.encoders.load import load
    from vitascope.features import extract
    from vitascope.features.store import Store
    from vitascope.sampling.names import parse

    dataset = flags.of_videos(data, data_root)
    dataset = limited(dataset, limit) if limit else dataset
    looks = [View(parse(view), flags.choice(reduce, "--reduce", ("clip", "time", "grid")))]
    root, options = (
        store or cache(),
        flags.options(workers, batch, device, timeout, quiet=quiet, retry_failed=retry_failed),
    )
    for encoder in [load(m, options.device) for m in models]:
        filled = extract.embed(encoder, dataset, looks, root=root, options=options)
        at = Store(root, extract.key_of(dataset, encoder.card, looks[0])).folder
        print(f"{encoder.card.name}: {filled.encoded} examples, {filled.clips} clips embedded now; all in {at}")
        for example, why in {**dataset.missing_files, **filled.failures}.items():
            print(f"  missing {example}: {why}")
        for example, note in filled.notes.items():
            print(f"  damaged {example}: {note}")


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
    from vitascope.features.imports.twelvelabs import import_twelvelabs

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
    from vitascope.datasets.open import open_annotations
    from vitascope.evaluation.evaluate import usual
    from vitascope.features.imports import time_grid as grids
    from vitascope.features.imports.npy_folder import import_dense, open_folder
    from vitascope.probes.temporal.twlv1_table7 import WINDOWS

    if not data:
        raise UserError("import features: whose annotations? say --data thumos14=FOLDER, a json or a folder of labels")
    dataset = open_annotations(data)
    windows = WINDOWS.get(dataset.family)
    folder = open_folder(
        source,
        given=grids.parse(grid) if grid else None,
        usual=grids.FeatureGrid(windows.seconds, windows.stride) if windows else None,
    )
    made = import_dense(folder, dataset, output, encoder=model, name=name)
    for note in made.notes:
        print(f"{made.name}: {note}", file=sys.stderr)
    here = len(made.examples) - len(made.missing_files)
    print(f"{made.name}: features of {here} of {len(made.examples)} videos, {len(made.classes)} classes")
    print(f"next: vitascope evaluate {quote(str(output))} -t {usual(dataset)[0]} -o {quote(f'{output}-run')}")
