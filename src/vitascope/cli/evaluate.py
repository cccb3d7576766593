"""The command `vitascope evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from vitascope.cli import options as flags
from vitascope.core.errors import UserError

app = typer.Typer()
GIB = 1 << 30
Benchmark = Annotated[
    str, typer.Option("--benchmark", help="every data set and probe of a benchmark: twlv1-recognition, twlv1-temporal")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="say what would be decoded, encoded, stored and trained, and how long")
]
LowShot = Annotated[
    list[str],
    typer.Option("--low-shot", help="ask again with a share of the training side: 5%, 8-shot; repeat for several"),
]
Counterfactual = Annotated[
    bool, typer.Option("--counterfactual", help="ask again with clips reversed, shuffled, frozen and at half speed")
]
GridCache = Annotated[
    float, typer.Option("--grid-cache", help="GiB of disk that token grids may take, else encoded anew", min=0)
]


@app.command()
def evaluate(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            help="folders of videos or of embeddings, or data sets by name (ssv2, ssv2=FOLDER)", show_default=False
        ),
    ] = None,
    models: flags.Models = [],  # noqa: B006 - typer reads the default
    tasks: flags.Tasks = [],  # noqa: B006
    output: flags.Run = Path("runs/latest"),
    benchmark: Benchmark = "",
    data_root: flags.DataRoot = None,
    store: flags.StoreAt = None,
    dry_run: DryRun = False,
    low_shot: LowShot = [],  # noqa: B006
    counterfactual: Counterfactual = False,
    seeds: Annotated[int, typer.Option("--seeds", help="trainings of a head, for the mean and its spread", min=1)] = 1,
    seed: Annotated[int, typer.Option("--seed", help="the first: of all that a probe draws at random")] = 0,
    grid_cache: GridCache = 10.0,
    limit: flags.Limit = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="recompute results that the run folder already holds")
    ] = False,
    workers: flags.Workers = 0,
    batch: flags.Batch = 8,
    device: flags.Device = "",
    timeout: flags.Timeout = 60.0,
    retry_failed: flags.Retry = False,
    as_json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Score encoders on data sets: embed what is missing, train the probes, record results with intervals.

    For instance: vitascope evaluate ./videos -m vit/tiny-random -m pixels/thumbnail -t knn -t linear -o runs/mine
    """
    from vitascope.core.files import cache
    from vitascope.evaluation import evaluate as evaluation
    from vitascope.evaluation import runner

    questions = _questions(data or [], tasks, benchmark, data_root)
    flags.folder(output, "-o")
    setting = runner.EvaluationConfig(
        run=output,
        store=store or cache(),
        options=flags.options(workers, batch, device, timeout, quiet=quiet, retry_failed=retry_failed),
        seed=seed,
        seeds=seeds,
        grids=int(grid_cache * GIB),
        low_shot=tuple(low_shot),
        counterfactual=counterfactual,
        overwrite=overwrite,
        limit=limit,
    )
    if dry_run:
        from vitascope.evaluation.cost_estimate import forecast

        _foresee([f for d, probes in questions for f in forecast(d, models, probes, setting=setting)], as_json=as_json)
        return
    found = [r for d, probes in questions for r in evaluation.evaluate(d, models, probes, setting=setting)]
    _tell(found, output, as_json=as_json)


def _questions(
    data: list[str], tasks: list[str], benchmark: str, data_root: Path | None
) -> list[tuple[Any, list[str]]]:
    """The data sets, opened, each with its probes."""
    from vitascope.datasets.open import open_dataset
    from vitascope.evaluation.evaluate import usual

    if benchmark:
        from vitascope.evaluation import benchmarks

        found, absent = benchmarks.questions(benchmark, data, tasks, data_root)
        if absent:
            print(f"{benchmark}: not at hand and left out: {', '.join(absent)}", file=sys.stderr)
        return found
    if not data:
        raise UserError("nothing to do: name a folder of videos or a data set, see `vitascope ls datasets`")
    opened = [open_dataset(d, data_root) for d in data]
    questions = [(dataset, tasks or usual(dataset)) for dataset in opened]
    if not all(probes for _, probes in questions):
        raise UserError("nothing to do: name at least one probe with -t, for instance -t knn")
    for line in (f"{dataset.name}: {note}" for dataset in opened for note in dataset.notes):
        print(line, file=sys.stderr)
    return questions


def _tell(found: list[Any], output: Path, *, as_json: bool) -> None:
    from vitascope import report
    from vitascope.cli import tables as listing

    if as_json:
        for result in found:
            print(result.to_json())
        return
    flags.console.print(report.terminal(found, output))
    for line in listing.gaps(found):
        print(line)
    print(f"recorded in {output}; next: vitascope report {quote(str(output))}")


def _foresee(forecasts: list[Any], *, as_json: bool) -> None:
    from dataclasses import asdict

    from vitascope.cli import tables as listing

    if as_json:
        print(listing.as_json([asdict(f) for f in forecasts]))
        return
    flags.console.print(listing.forecast_table(forecasts))
