"""The command `vitascope evaluate`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from vitascope.cli import devices, options
from vitascope.core.errors import UserError
from vitascope.core.files import cache
from vitascope.core.log import log
from vitascope.core.text import escaped

app = typer.Typer()
GIB = 1 << 30
Datasets = Annotated[
    list[str] | None,
    typer.Argument(
        help="folders of videos or of imported embeddings, or dataset names (ssv2, ssv2=FOLDER)", show_default=False
    ),
]
Benchmark = Annotated[
    str,
    typer.Option("--benchmark", help="run all datasets and probes of a benchmark: twlv1-recognition, twlv1-temporal"),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="estimate what would be decoded, encoded, stored and trained, and how long it takes"
    ),
]
LowShot = Annotated[
    list[str],
    typer.Option("--low-shot", help="also evaluate with a subset of the training set: 5%, 8-shot; repeat for several"),
]
Counterfactual = Annotated[
    bool, typer.Option("--counterfactual", help="also evaluate on clips reversed, shuffled, frozen and at half speed")
]
Pairs = Annotated[
    list[str],
    typer.Option(
        "--pairs",
        help="opposite classes for `-t chirality`, class:opposite, or a csv file of two columns; repeat for several",
    ),
]
GridCache = Annotated[
    float,
    typer.Option(
        "--grid-cache", help="disk space for cached token grids, GiB; beyond it, clips are encoded again", min=0
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="recompute results that are already in the run folder")]


@app.command()
def evaluate(
    data: Datasets = None,
    models: options.Models = [],  # noqa: B006 - typer reads the default
    tasks: options.Tasks = [],  # noqa: B006
    pairs: Pairs = [],  # noqa: B006
    output: options.Run = Path("runs/latest"),
    benchmark: Benchmark = "",
    data_root: options.DataRoot = None,
    store: options.StoreAt = None,
    dry_run: DryRun = False,
    low_shot: LowShot = [],  # noqa: B006
    counterfactual: Counterfactual = False,
    seeds: Annotated[int, typer.Option("--seeds", help="number of seeds; the score is their mean", min=1)] = 1,
    seed: Annotated[int, typer.Option("--seed", help="first random seed")] = 0,
    grid_cache: GridCache = 10.0,
    limit: options.Limit = 0,
    overwrite: Overwrite = False,
    workers: options.Workers = 0,
    batch: options.AnyBatch = 0,
    device: options.Devices = "",
    compiled: options.Compile = "off",
    decoder: options.Decoder = "pyav",
    on: options.On = "",
    timeout: options.Timeout = 60.0,
    retry_failed: options.Retry = False,
    full_digest: options.FullDigest = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Evaluate encoders on datasets with probes, and record scores with 95 % intervals in a run folder.

    Embeddings that are not in the store are computed first. Safe to interrupt: rerun to resume.

    Example: vitascope evaluate ./videos -m vit/tiny-random -m pixels/thumbnail -t knn -t linear -o runs/mine
    """
    from vitascope.evaluation import evaluate as evaluation
    from vitascope.evaluation.runner import EvaluationConfig

    more = {"retry_failed": retry_failed, "full_digest": full_digest, "on": on}
    jobs = _with_pairs(_jobs(data or [], tasks, benchmark, data_root), pairs)
    own, helper = devices.share(device, workers, on), devices.is_helper()
    config = EvaluationConfig(
        run=options.folder(output, "-o"),
        store=store or cache(),
        options=options.extraction_options(own.workers, batch, own.device, timeout, quiet=quiet or helper, **more),
        **options.how_run(compiled, decoder),
        seed=seed,
        seeds=seeds,
        grid_cache_bytes=int(grid_cache * GIB),
        low_shot=tuple(low_shot),
        counterfactual=counterfactual,
        overwrite=overwrite,
        limit=limit,
        embed_only=helper,
    )
    if dry_run:
        return _print_costs(jobs, models, config, as_json=as_json)
    with devices.helped_by(own.others):
        found = [r for d, probes in jobs for r in evaluation.evaluate(d, models, probes, config=config)]
    return _print_results(found, output, as_json=as_json)


def _jobs(data: list[str], tasks: list[str], benchmark: str, data_root: Path | None) -> list[tuple[Any, list[str]]]:
    """Open the datasets, each with its probes."""
    from vitascope.core.arrow import skip_pandas
    from vitascope.datasets.open import open_dataset
    from vitascope.evaluation.evaluate import default_probes, need_classes

    skip_pandas()
    if benchmark:
        from vitascope.evaluation import benchmarks

        jobs, missing = benchmarks.benchmark_tasks(benchmark, data, tasks, data_root)
        if missing:
            log.warning("%s: datasets not found and skipped: %s", benchmark, ", ".join(missing))
        return jobs
    if not data:
        raise UserError("no dataset given: name a folder of videos or a dataset, see `vitascope ls datasets`")
    opened = [open_dataset(d, data_root, labeled=need_classes(tasks)) for d in data]
    jobs = [(dataset, tasks or default_probes(dataset)) for dataset in opened]
    if not all(probes for _, probes in jobs):
        raise UserError("no probe given: name at least one probe with -t, for example -t knn")
    for dataset in (d for d in opened if d.kind == "detection" and d.layout):
        log.info("%s: %s", dataset.name, dataset.layout)
    for line in (f"{dataset.name}: {note}" for dataset in opened for note in dataset.notes):
        log.warning("%s", line)
    return jobs


def _with_pairs(jobs: list[tuple[Any, list[str]]], pairs: list[str]) -> list[tuple[Any, list[Any]]]:
    """Give the pairs of classes to the probes that take some; UserError if there is none."""
    if not pairs:
        return [*jobs]
    from vitascope.probes.options import with_pairs

    return [(dataset, with_pairs(probes, pairs, dataset.family)) for dataset, probes in jobs]


def _print_results(results: list[Any], output: Path, *, as_json: bool) -> None:
    from vitascope import report
    from vitascope.cli import tables

    if as_json:
        for result in results:
            print(result.to_json())
        return
    options.console.print(report.terminal(results, output))
    for line in (*map(escaped, report.warning_lines(results)), *tables.coverage_lines(results)):
        print(line)
    print(f"recorded in {output}; next: vitascope report {quote(str(output))}")


def _print_costs(jobs: list[tuple[Any, list[Any]]], models: list[str], config: Any, *, as_json: bool) -> None:
    from dataclasses import asdict

    from vitascope.cli import tables
    from vitascope.evaluation.cost_estimate import estimate_costs

    costs = [c for d, probes in jobs for c in estimate_costs(d, models, probes, config=config)]
    if as_json:
        print(tables.as_json([asdict(c) for c in costs]))
        return
    options.console.print(tables.cost_table(costs))
