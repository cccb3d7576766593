"""Blocks of examples: what is claimed, encoded and written as a whole, and divided among machines as shards."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vitascope.core import files
from vitascope.core.errors import DamagedFileError, UserError
from vitascope.core.types import Example, digest
from vitascope.features.freshness import file_size
from vitascope.features.remote_store import RemoteParts

BLOCK_EXAMPLES = 128
BLOCK_BYTES = 256 << 20
"""Limits of a block: examples, and bytes of their files."""
BLOCK_SECONDS = 1800.0
"""Limit up to which a block of more bytes takes further spans of its last file, seconds of all its spans together."""
SHARDS = "shards"
"""Folder of a store with the records of the shards that were embedded into it."""
RECORD = re.compile(r"(\d+)-of-(\d+)\.json")


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


class Shard(NamedTuple):
    """One of `of` parts of a dataset: every `of`-th block from block `number` on, which counts from 1."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `3/8`; UserError for anything else."""
        match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise UserError(f"--shard {text!r}: write i/n with i from 1 to n, such as 1/8, 2/8 ... 8/8")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        """Return `3/8`."""
        return f"{self.number}/{self.of}"

    def blocks(self, examples: Sequence[Example[Any]]) -> list[tuple[str, list[Example[Any]]]]:
        """Return the blocks of this shard: whole ones, so that every shard forms the batches of a single run."""
        return list(blocks(examples))[self.number - 1 :: self.of]

    def record(self, folder: Path, examples: Sequence[Example[Any]], chosen: Iterable[Example[Any]]) -> None:
        """Write into the store in `folder` which of all `examples` this shard has, for `features.merge` to check."""
        about = {
            "examples": [e.id for e in chosen],
            "total": len(examples),
            "listing": digest([e.id for e in examples]),
        }
        path = folder / SHARDS / f"{self.number}-of-{self.of}.json"
        files.write(path, json.dumps(about, ensure_ascii=False).encode(errors="surrogatepass"))
        if remote := RemoteParts.of(folder):
            remote.send_record(path)


WHOLE = Shard()


class ShardRecord(NamedTuple):
    """What a store says of a shard that was embedded into it."""

    shard: Shard
    examples: tuple[str, ...]
    total: int
    """Examples of the whole dataset."""
    listing: str
    """Digest of the ids of all of them."""


def shard_records(folder: Path) -> list[ShardRecord]:
    """Return the records of the store in `folder`, in order of their names; DamagedFileError for one that is none."""
    found = []
    for path in sorted((folder / SHARDS).glob("*.json")):
        remedy = "remove it, and embed that shard again"
        match, about = RECORD.fullmatch(path.name), files.read_json(path, remedy)
        whole = match and isinstance(about, dict) and set(about) == {"examples", "total", "listing"}
        if not match or not whole or not isinstance(about["examples"], list) or not isinstance(about["total"], int):
            raise DamagedFileError(f"{path}: no record of a shard; {remedy}")
        examples = tuple(map(str, about["examples"]))
        found.append(ShardRecord(Shard(int(match[1]), int(match[2])), examples, about["total"], str(about["listing"])))
    return found
