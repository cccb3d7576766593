"""Write the generated tables of encoders.md and CONTRIBUTING.md: `python docs/generate.py [FIXTURES]`.

FIXTURES is a folder of known outputs, for the table of verified encoders.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from vitascope.cli import tables
from vitascope.encoders.catalog import cards

PAGE = Path(__file__).with_name("encoders.md")
ROOT = Path(__file__).parents[1]


def between(text: str, mark: str, table: str) -> str:
    """`text` with what stands between `<!-- mark -->` and `<!-- end mark -->` replaced by `table`."""
    head, _, rest = text.partition(f"<!-- {mark} -->\n")
    _, _, tail = rest.partition(f"<!-- end {mark} -->")
    return f"{head}<!-- {mark} -->\n{table}<!-- end {mark} -->{tail}"


def with_rooms(text: str) -> str:
    """CONTRIBUTING with the tables of rooms and of questions as the structure tests know them."""
    rooms = runpy.run_path(str(ROOT / "tests" / "rooms.py"))
    return between(between(text, "rooms", rooms["rooms_table"]()), "where", rooms["where_table"]())


def main(fixtures: str = "") -> None:
    """Replace the tables in place."""
    text = between(PAGE.read_text(encoding="utf-8"), "cards", tables.encoders_markdown(cards()))
    if fixtures:
        from vitascope.encoders.golden import run, table

        text = between(text, "fixtures", table(run(Path(fixtures))))
    PAGE.write_text(text, encoding="utf-8")
    contributing = ROOT / "CONTRIBUTING.md"
    contributing.write_text(with_rooms(contributing.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
