"""The command `vitascope sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitascope.cli import options

if TYPE_CHECKING:
    from vitascope.evaluation.sweep import Table

app = typer.Typer()
Recipes = Annotated[
    list[str],
    typer.Argument(
        help="recipes (see `vitascope ls recipes`), also with options, such as RECIPE+lr=3e-4+schedule=wsd, or the "
        "sweep.json of an earlier sweep to show again"
    ),
]
Jobs = Annotated[int, typer.Option("--jobs", help="runs at a time, each in a process with its share of cores", min=1)]
Seeds = Annotated[int, typer.Option("--seeds", help="number of seeds of each recipe", min=1)]
Datasets = Annotated[
    list[str],
    typer.Option(
        "--data", help="dataset to evaluate on; repeat for several", show_default="motionlab/appearance and motion"
    ),
]
Probes = Annotated[
    list[str],
    typer.Option(
        "-t", "--task", "-p", "--probe", help="probe; repeat for several", show_default="attentive, linear and knn"
    ),
]
Reference = Annotated[
    str, typer.Option("--reference", help="show how much this recipe is above each other, with intervals")
]
TableOnly = Annotated[bool, typer.Option("--table-only", help="start nothing; show the runs that are finished")]
Fields = Annotated[list[str], typer.Option("--set", help="set a field of all recipes, such as steps=500; repeat")]
CheckEvery = Annotated[
    int, typer.Option("--check-every", help="steps between in-loop probings of a run; 0: none", min=0)
]


@app.command()
def sweep(
    recipes: Recipes,
    seeds: Seeds = 3,
    seed: Annotated[int, typer.Option("--seed", help="first random seed")] = 0,
    jobs: Jobs = 1,
    data: Datasets = [],  # noqa: B006 - typer reads the default
    tasks: Probes = [],  # noqa: B006
    fields: Fields = [],  # noqa: B006
    reference: Reference = "",
    output: Annotated[Path, typer.Option("-o", "--output", help="folder with a run per recipe and seed")] = Path(
        "runs/sweep"
    ),
    device: options.Device = "",
    check_every: CheckEvery = 0,
    table_only: TableOnly = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="print the tables as Markdown")] = False,
    quiet: options.Quiet = False,
) -> None:
    """Train and evaluate several recipes with several seeds, and print tables with intervals over seeds and clips.

    Runs are spread over processes. Safe to interrupt: rerun to resume, also with more seeds or recipes.

    Examples: vitascope sweep motionlab_tiny_pixels motionlab_tiny_image --set steps=500 --seeds 2 --jobs 2

    vitascope sweep motionlab_tiny_image motionlab_tiny_image+lr=3e-4 motionlab_tiny_image+schedule=wsd
    """
    from vitascope.evaluation import sweep as sweeps

    if len(recipes) == 1 and recipes[0].endswith(".json") and ("+" not in recipes[0] or Path(recipes[0]).is_file()):
        found = sweeps.read(Path(recipes[0]))
    else:
        options.folder(output, "-o")
        given = {"data": tuple(data), "tasks": tuple(tasks)}
        config = sweeps.SweepConfig(
            output=output,
            seeds=tuple(range(seed, seed + seeds)),
            jobs=jobs,
            fields=tuple(fields),
            options=("--check-every", str(check_every), *(("--device", device) if device else ())),
            quiet=quiet,
            **{name: values for name, values in given.items() if values},
        )
        found = sweeps.sweep(recipes, config, train=not table_only)
    for table in sweeps.tables(found, reference):
        _print(table, as_markdown=as_markdown)


def _print(table: Table, *, as_markdown: bool) -> None:
    from vitascope.cli.tables import aligned
    from vitascope.evaluation.sweep.tables import markdown

    if as_markdown:
        print(f"**{table.title}**\n\n{markdown(table)}")
        return
    print(f"{table.title}: percent of test examples, with 95 % intervals over seeds and examples")
    for line in aligned([*table.heads, ""], [(*row, "") for row in table.rows], right=table.heads[1:]):
        print(f"  {line}")
    print()
