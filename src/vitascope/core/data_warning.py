"""What is doubtful about data: part of every output of a score."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

WarningKind: TypeAlias = Literal["leak", "overlap", "copies", "names", "groups", "floor", "given"]


class DataWarning(NamedTuple):
    """What is doubtful about the data behind a score, in one line that belongs to every output of the score."""

    kind: WarningKind
    touched: int
    """Number of test examples concerned."""
    tested: int
    """Number of test examples."""
    text: str
