"""Commands that make, import and export embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from vitascope.cli import devices, options
from vitascope.core.addresses import is_url
from vitascope.core.errors import UserError
from vitascope.core.log import log
from vitascope.core.origins import unmangled

app = typer.Typer()


@app.command()
def embed(
    data: options.Data,
    models: options.Models,
    view: options.View = "uniform",
    reduce: Annotated[
        str,
        typer.Option(
            "--reduce", help="pooling: clip (one vector per clip), time (one per time step), grid (all tokens)"
        ),
    ] = "clip",
    layers: Annotated[
        str,
        typer.Option("--layers", help="also store the mean patch tokens after blocks: all, or 3,6,last (same pass)"),
    ] = "",
    data_root: options.DataRoot = None,
    store: options.StoreAt = None,
    limit: options.Limit = 0,
    workers: options.Workers = 0,
    batch: options.AnyBatch = 0,
    device: options.Devices = "",
    compiled: options.Compile = "off",
    decoder: options.Decoder = "pyav",
    on: options.On = "",
    timeout: options.Timeout = 60.0,
    retry_failed: options.Retry = False,
    full_digest: options.FullDigest = False,
    shard: Annotated[
        str,
        typer.Option(
            "--shard", help="embed only part i of n, such as 1/8, into a store of its own; see `vitascope merge`"
        ),
    ] = "",
    quiet: options.Quiet = False,
) -> None:
    """Embed a dataset into the store. Safe to interrupt: rerun to resume.

    Several processes may share the store: start the same command as often as you like, on any machine that sees it.

    Example: vitascope embed ./videos -m vit/tiny-random
    """
    from vitascope.core.files import cache
    from vitascope.datasets.splits import limit_examples
    from vitascope.features.blocks import Shard
    from vitascope.features.view import View
    from vitascope.sampling.names import parse

    more = {"retry_failed": retry_failed, "full_digest": full_digest, "on": on, "shard": Shard.parse(shard or "1/1")}
    how = options.how_run(compiled, decoder)
    own = devices.share(device, workers, on)
    quiet = quiet or devices.is_helper()
    extraction = options.extraction_options(own.workers, batch, own.device, timeout, quiet=quiet, **more)
    dataset = options.open_videos(data, data_root, labeled=False)
    for note in dataset.notes:
        log.warning("%s: %s", dataset.name, note)
    dataset = limit_examples(dataset, limit, evaluated=False) if limit else dataset
    clips = View(parse(view), options.choice(reduce, "--reduce", ("clip", "time", "grid")))
    with devices.helped_by(own.others):
        _embed_all(dataset, models, clips, layers, (store or cache(), extraction, how))


def _embed_all(dataset: Any, models: Sequence[str], view: Any, layers: str, where: tuple[Path, Any, Any]) -> None:
    """Embed a dataset by all encoders, and print what was done; the damaged store of one does not stop the others."""
    from vitascope.core.origins import origin
    from vitascope.features import extract
    from vitascope.features.layers import layer_views
    from vitascope.features.open_encoder import open_encoder
    from vitascope.features.store import Store

    root, extraction, how = where
    encoders = [open_encoder(m, extraction, **how) for m in models]
    asked = [(e, [view, *layer_views(view, layers, e)]) for e in encoders]
    outcomes = extract.embed_together(asked, dataset, root=root, options=extraction)
    failed = [str(outcome) for outcome in outcomes if isinstance(outcome, UserError)]
    for (encoder, each), summary in zip(asked, outcomes, strict=True):
        if isinstance(summary, UserError):
            continue
        folder = Store(root, extract.store_key(dataset, encoder.card, view)).folder
        counts = f"{summary.encoded} examples, {summary.clips} clips"
        print(f"{encoder.card.name}: {counts} newly embedded into {origin(str(folder))}")
        _print_details([v.layer for v in each[1:]], {**dataset.missing_files, **summary.failures}, summary.notes)
    if failed:
        raise UserError(failed[0] + (f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""))


def _print_details(layers: Sequence[str], missing: Mapping[str, str], notes: Mapping[str, str]) -> None:
    """Print the layers, the examples without vectors and those that were damaged, each with the reason."""
    if layers:
        print(f"  and beside it layers {', '.join(layers)}")
    for example, reason in missing.items():
        print(f"  missing {example}: {reason}")
    for example, note in notes.items():
        print(f"  damaged {example}: {note}")


@app.command()
def merge(
    output: Annotated[Path, typer.Argument(help="folder or URL of the store to write; what it has already is kept")],
    sources: Annotated[
        list[Path], typer.Argument(metavar="STORE...", help="folders or URLs given to `embed` as --store")
    ],
    data: Annotated[
        str, typer.Option("--data", help="the dataset, to name examples that are missing; else the shards tell")
    ] = "",
    data_root: options.DataRoot = None,
    as_json: options.Json = False,
) -> None:
    """Merge stores of one dataset, encoder and view that were filled apart. Exit code 1 if examples are missing.

    Example: vitascope merge ~/.cache/vitascope part1 part2
    """
    from vitascope.cli import stores
    from vitascope.features.merge import merge as bring_together

    if not is_url(unmangled(str(output))):
        options.folder(output, "merge")
    dataset = options.open_videos(data, data_root, labeled=False) if data else None
    if not stores.print_merged(bring_together(output, sources, dataset=dataset), as_json=as_json):
        raise typer.Exit(1)


@app.command("import")
def import_(
    layout: Annotated[
        str,
        typer.Argument(
            help="twelvelabs: <id>.json, <id>_c.npy, <id>_v.npy; features: one array per video with a row per time "
            "step, <id>.npy or <id>_c.npy, with annotations from --data"
        ),
    ],
    source: Annotated[Path, typer.Argument(help="folder with these files, or with subfolders train/ and val/")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to write")],
    model: Annotated[
        str, typer.Option("-m", "--model", help="name of the encoder that computed them")
    ] = "published/unknown",
    name: Annotated[str, typer.Option("--name", help="name of the dataset", show_default="name of the folder")] = "",
    classes: Annotated[
        Path | None, typer.Option("--classes", help="file with one class name per line, in label order")
    ] = None,
    data: Annotated[
        str,
        typer.Option("--data", help="features: annotations, as thumos14=FOLDER, a JSON file or a folder"),
    ] = "",
    grid: Annotated[
        str,
        typer.Option(
            "--grid",
            help="features: time grid as window/stride in seconds (0.5/0.125) or frames (16/4@30 or "
            "window=16+stride=4+fps=30; 16/4@video: at each video's rate), or: resized",
        ),
    ] = "",
) -> None:
    """Import precomputed embeddings, to evaluate them without videos or encoder.

    Example: vitascope import twelvelabs ./embeddings/ssv2 -o data/ssv2-embeddings
    """
    from vitascope.features.imports.twelvelabs import import_twelvelabs

    options.choice(layout, "import", ("twelvelabs", "features"))
    if layout == "features":
        _import_features(source, output, model, name=name, data=data, grid=grid)
        return
    from vitascope.datasets.readers.annotation_files import text_of

    lines = tuple(text_of(classes).splitlines()) if classes else ()
    dataset = import_twelvelabs(source, output, encoder=model, name=name, classes=lines)
    sizes = ", ".join(f"{f.name}: {len(f.train)} / {len(f.test)}" for f in dataset.folds)
    print(f"{dataset.name}: {len(dataset.examples)} examples, {len(dataset.classes)} classes, {sizes}")
    print(f"next: vitascope evaluate {quote(str(output))} -t knn -t linear -o {quote(f'{output}-run')}")


def _import_features(source: Path, output: Path, model: str, *, name: str, data: str, grid: str) -> None:
    """Import dense features with the annotations of their videos."""
    from vitascope.datasets.open import open_annotations
    from vitascope.evaluation.evaluate import default_probes
    from vitascope.features.imports import time_grid as grids
    from vitascope.features.imports.npy_folder import import_npy_folder, open_folder
    from vitascope.probes.temporal.twlv1_table7 import WINDOWS

    if not data:
        raise UserError(
            "import features: no annotations; give --data thumos14=FOLDER, a JSON file or a folder of labels"
        )
    dataset = open_annotations(data)
    windows = WINDOWS.get(dataset.family)
    folder = open_folder(
        source,
        grid=grids.parse_grid(grid) if grid else None,
        release_grid=grids.FeatureGrid(windows.seconds, windows.stride) if windows else None,
    )
    imported = import_npy_folder(folder, dataset, output, encoder=model, name=name)
    for note in imported.notes:
        log.warning("%s: %s", imported.name, note)
    available = len(imported.examples) - len(imported.missing_files)
    print(
        f"{imported.name}: features of {available} of {len(imported.examples)} videos, {len(imported.classes)} classes"
    )
    print(f"next: vitascope evaluate {quote(str(output))} -t {default_probes(dataset)[0]} -o {quote(f'{output}-run')}")
