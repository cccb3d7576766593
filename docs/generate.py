"""Write the tables of encoders.md anew: `python docs/generate.py [FIXTURES]`, with the folder of known outputs."""

from __future__ import annotations

import sys
from pathlib import Path

from vitascope.cli import tables as listing
from vitascope.encoders.catalog import cards

PAGE = Path(__file__).with_name("encoders.md")


def between(text: str, mark: str, table: str) -> str:
    """`text` with what stands between `<!-- mark -->` and `<!-- end mark -->` replaced by `table`."""
    head, _, rest = text.partition(f"<!-- {mark} -->\n")
    _, _, tail = rest.partition(f"<!-- end {mark} -->")
    return f"{head}<!-- {mark} -->\n{table}<!-- end {mark} -->{tail}"


def main(fixtures: str = "") -> None:
    """Replace the tables in place."""
    text = between(PAGE.read_text(encoding="utf-8"), "cards", listing.encoders_markdown(cards()))
    if fixtures:
        from vitascope.encoders.golden import run, table

        text = between(text, "fixtures", table(run(Path(fixtures))))
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
