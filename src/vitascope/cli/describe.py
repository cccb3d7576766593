"""The command `vitascope describe`."""

from __future__ import annotations

from typing import Annotated

import typer

from vitascope.cli import options

app = typer.Typer()


@app.command()
def describe(
    name: Annotated[
        str, typer.Argument(help="probe, encoder, sampler, recipe or dataset, with options or without, as it is typed")
    ],
    as_json: options.Json = False,
) -> None:
    """Print every option of a probe, encoder, sampler, recipe or dataset with its type, default and meaning.

    Example: vitascope describe linear/paper; vitascope describe umt/large-s2; vitascope describe views
    """
    from vitascope.cli import descriptions, tables

    result = descriptions.described(name)
    if as_json:
        print(tables.as_json({**result._asdict(), "options": [option._asdict() for option in result.options]}))
        return
    print(f"{result.name}: {result.about} ({result.kind})" if result.about else f"{result.name} ({result.kind})")
    if result.text:
        print(f"\n{result.text}")
    if result.card:
        print()
        options.console.print(descriptions.card_table(result.card, "card" if result.kind == "encoder" else result.kind))
    if result.options:
        print()
        options.console.print(descriptions.options_table(result.options))
    for variant, about in result.variants.items():
        print(f"  {variant}: {about}")
