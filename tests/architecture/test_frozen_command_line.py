"""Commands and options stay what users type: one that is renamed or taken away breaks scripts and shows here first.

After a change that is meant, write the table anew: `python tests/architecture/test_frozen_command_line.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer.main

from vitascope.cli.main import app

TABLE = Path(__file__).parents[1] / "fixtures" / "command_line.json"


def commands() -> dict[str, list[str]]:
    """Arguments and options of every command, as they are typed."""
    root: Any = typer.main.get_command(app)
    named = {"": root, **root.commands}
    return {name: sorted(typed(p) for p in command.params) for name, command in sorted(named.items())}


def typed(parameter: Any) -> str:
    """`-m/--model` of an option, the capitalized name of an argument."""
    return "/".join(parameter.opts) if parameter.param_type_name == "option" else str(parameter.name).upper()


def test_commands_and_options_are_those_of_the_table() -> None:
    assert commands() == json.loads(TABLE.read_text(encoding="utf-8"))


def test_every_command_says_what_one_gets_and_shows_an_example() -> None:
    root: Any = typer.main.get_command(app)
    for name, command in root.commands.items():
        text = command.help or ""
        assert text.split("\n")[0].rstrip().endswith((".", ":")), f"{name}: its help begins with no sentence"
        assert f"vitascope {name}" in text, f"{name}: no example"


if __name__ == "__main__":
    TABLE.write_text(json.dumps(commands(), indent=1) + "\n", encoding="utf-8")
