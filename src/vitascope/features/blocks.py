"""Blocks of examples: what is claimed, encoded and written as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from vitascope.core.types import Example, digest
from vitascope.features.freshness import file_size

BLOCK_EXAMPLES = 128
BLOCK_BYTES = 256 << 20
"""Limits of a block: examples, and bytes of their files."""
BLOCK_SECONDS = 1800.0
"""Limit up to which a block of more bytes takes further spans of its last file, seconds of all its spans together."""


def blocks(examples: Sequence[Example[Any]]) -> Iterator[tuple[str, list[Example[Any]]]]:
    """Split `examples`, in their order, into named blocks of limited count and total file size."""
    block: list[Example[Any]] = []
    sizes: dict[str, int] = {}
    for example in examples:
        if len(block) == BLOCK_EXAMPLES or (sum(sizes.values()) >= BLOCK_BYTES and not _goes_on(block, example)):
            yield digest([e.id for e in block]), block
            block, sizes = [], {}
        block.append(example)
        sizes[example.path] = file_size(example.path)
    if block:
        yield digest([e.id for e in block]), block


def _goes_on(block: Sequence[Example[Any]], example: Example[Any]) -> bool:
    """Whether an example is a span of the same file as the last of a block whose spans are short all together."""
    spans = [e.span for e in block if e.path == example.path]
    return bool(spans) and sum(s[1] - s[0] if s else math.inf for s in [*spans, example.span]) <= BLOCK_SECONDS
