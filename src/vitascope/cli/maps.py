"""The command `map`: pictures of embeddings, with the numbers that say how far to trust them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitascope.cli import options
from vitascope.core.log import log
from vitascope.core.text import escaped

if TYPE_CHECKING:
    from vitascope.evaluation.maps.files import MapRecord
    from vitascope.evaluation.maps.selection import Selection

app = typer.Typer()
Methods = Annotated[
    list[str],
    typer.Option(
        "--method",
        help="projection: pca, tsne, lda, opentsne, umap, with options such as tsne+perplexity=50; repeat for several",
        show_default="pca, tsne, lda",
    ),
]
Output = Annotated[
    Path, typer.Option("-o", "--output", help="folder of the map; maps/ in a run folder joins its report")
]
Class = Annotated[
    list[str],
    typer.Option("--class", help="class to show, by name or number from 0; repeat for several", show_default="all"),
]
ExcludeClass = Annotated[
    list[str], typer.Option("--exclude-class", help="class to leave out, by name or number; repeat for several")
]
RandomClasses = Annotated[
    int, typer.Option("--random-classes", help="draw so many of the classes at random", min=0, show_default="all")
]
Share = Annotated[str, typer.Option("--share", help="share of the videos of each class, drawn at random: 0.5 or 50%")]
Split = Annotated[str, typer.Option("--split", help="test, train or all; test is all of a folder without a split")]
Vectors = Annotated[str, typer.Option("--vectors", help="what a point is: video (mean of its clips) or clip")]
Scale = Annotated[str, typer.Option("--scale", help="raw, standardized (each dimension) or unit (length 1)")]
Neighbors = Annotated[
    int, typer.Option("--neighbors", help="nearest neighbors of a point that are shown and counted", min=1)
]
Seed = Annotated[int, typer.Option("--seed", help="of classes and videos that are drawn", min=0)]
Thumbnails = Annotated[bool, typer.Option("--thumbnails/--no-thumbnails", help="show the middle frame of points")]


@app.command("map")
def map_(
    data: options.Data,
    models: options.Models = [],  # noqa: B006 - typer reads the default
    output: Output = Path("runs/map"),
    methods: Methods = [],  # noqa: B006
    classes: Class = [],  # noqa: B006
    exclude_classes: ExcludeClass = [],  # noqa: B006
    random_classes: RandomClasses = 0,
    share: Share = "1",
    split: Split = "test",
    vectors: Vectors = "video",
    view: options.View = "uniform",
    scale: Scale = "raw",
    neighbors: Neighbors = 10,
    seed: Seed = 1212,
    thumbnails: Thumbnails = True,
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
    """Draw embeddings in the plane (PCA, t-SNE, UMAP, LDA), with numbers that say how far to trust the picture.

    Writes map.html (one file, opens offline), and SVG, PNG and Parquet of each picture.
    Embeddings that are not in the store are computed first.

    Example: vitascope map ./videos -m vit/tiny-random -m pixels/thumbnail -o runs/map
    """
    from vitascope.core.files import cache
    from vitascope.datasets.open import open_dataset
    from vitascope.evaluation.maps.make import MapConfig, make_map
    from vitascope.report import map_page
    from vitascope.sampling.names import parse

    config = MapConfig(
        output=output,
        methods=tuple(methods),
        selection=_selection(split, classes, exclude_classes, random_classes, share=share, seed=seed),
        unit=options.choice(vectors, "--vectors", ("video", "clip")),
        sampler=parse(view),
        scale=options.choice(scale, "--scale", ("raw", "standardized", "unit")),
        neighbors=neighbors,
        thumbnails=thumbnails,
        store=store or cache(),
        options=options.extraction_options(workers, batch, device, timeout, quiet=quiet),
        **options.how_run(compiled, decoder),
    )
    options.folder(output, "-o")
    dataset = open_dataset(data, data_root, labeled=False)
    for note in dataset.notes:
        log.warning("%s: %s", dataset.name, note)
    record = make_map(dataset, models, config)
    written = map_page.write(output)
    _print(output, record, written, as_json=as_json)


def _selection(
    split: str, classes: list[str], exclude: list[str], random_classes: int, *, share: str, seed: int
) -> Selection:
    from vitascope.evaluation.maps.selection import Selection, read_share

    return Selection(
        split=options.choice(split, "--split", ("test", "train", "all")),
        classes=tuple(classes),
        exclude=tuple(exclude),
        random_classes=random_classes,
        share=read_share(share),
        seed=seed,
    )


def _print(output: Path, record: MapRecord, written: Path, *, as_json: bool) -> None:
    from vitascope.report import map_page

    if as_json:
        print((output / "map.json").read_text(encoding="utf-8").rstrip())
        return
    options.console.print(map_page.terminal(record))
    for note in record.notes:
        print(escaped(note))
    print(written)
