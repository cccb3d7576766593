"""What a command prints, where text from files and from outside cannot steer the terminal.

Names of files, labels and messages may hold anything: escape sequences that paint or erase, characters that turn the
direction of writing. Within `plain_streams()` all that is printed shows them as escapes, `\\u001b`; JSON stays the same
JSON. Consoles of rich write their own colors past it, so their text goes through `cli.options.Console`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

JOINERS = "\u200c\u200d\N{NO-BREAK SPACE}"
"""Characters without a glyph that names are written with."""
LINES = "\n\t"


def harmless(text: str) -> str:
    """`text` with all characters that are not to be seen as escapes of JSON, but for line ends and tabs."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in JOINERS or c in LINES else _escape(c) for c in text)


def _escape(letter: str) -> str:
    return json.dumps(letter)[1:-1] if not letter.isascii() or letter < " " else f"\\u{ord(letter):04x}"


class PlainStream:
    """A text stream that writes what is `harmless` to another; all else is the other's."""

    def __init__(self, stream: Any) -> None:
        self.rich_proxied_file = stream
        """Where consoles of rich write, whose sequences are meant."""

    def write(self, text: str) -> int:
        """Write `text`; a carriage return may begin it, as progress bars do."""
        start = "\r" if text.startswith("\r") else ""
        self.rich_proxied_file.write(start + harmless(text[len(start) :]))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each line."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


@contextmanager
def plain_streams() -> Iterator[None]:
    """Within it, `print` and the like write harmless text to stdout and stderr."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (PlainStream(stream) for stream in streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def raw(stream: Any) -> Any:
    """The stream itself, for our own sequences around text that is `harmless`."""
    return getattr(stream, "rich_proxied_file", stream)
