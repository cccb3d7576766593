"""Order-free and order-aware readouts side by side, as a table of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vitascope.core.text import escaped, margin, with_interval
from vitascope.core.types import Score
from vitascope.evaluation.results import Result
from vitascope.report.analysis.leaderboard import Leaderboard
from vitascope.report.analysis.phrases import gap_too_few, with_caveats
from vitascope.report.analysis.ranking import ALPHA
from vitascope.report.analysis.readouts import ReadoutPair, is_blind
from vitascope.report.sections.summary_table import SummaryTable

READOUTS = "Order-free and order-aware readouts"
"""Title of the table."""
BLIND = "blind to order by construction"
NOTE = (
    "Order-free: the probe reads the time steps or clips of a video as a set. Of an encoder that encodes every frame "
    f"alone its prediction is the same in whatever order they come: {BLIND}. Order-aware: the same probe, told the "
    "order. Difference: order-aware minus order-free, in points, on the same test examples. * significantly different "
    "from zero (Holm-corrected over encoders, 5 %)."
)


def readout_table(board: Leaderboard, pairs: Sequence[ReadoutPair]) -> SummaryTable:
    """One row per pair of columns and encoder: both scores and their paired difference."""
    rows = tuple(row for pair in pairs for row in _rows(board, pair))
    heads = ("order-free | order-aware", "encoder", "order-free", "order-aware", "difference")
    return SummaryTable(READOUTS, " ".join([NOTE, *_few_groups(pairs)]), heads, rows)


def _rows(board: Leaderboard, pair: ReadoutPair) -> Iterator[tuple[str, ...]]:
    for row in pair.rows:
        free, aware, gain = pair.free.cells[row], pair.aware.cells[row], pair.gains.get(row)
        difference = f"{margin(Score(*gain.gap[:3]))}{'*' * (gain.p < ALPHA)}" if gain else "–"
        yield _title(pair), escaped(board.rows[row].label), _score(free), _score(aware), difference


def _title(pair: ReadoutPair) -> str:
    names = f"{pair.free.first.dataset}: {pair.free.first.probe} | {pair.aware.first.probe}"
    return with_caveats(escaped(names), pair.free)


def _score(result: Result) -> str:
    return with_interval(result.headline) + (f", {BLIND}" if is_blind(result) else "")


def _few_groups(pairs: Sequence[ReadoutPair]) -> Iterator[str]:
    """A sentence for each pair in which no difference can be significant, for lack of groups."""
    for pair in pairs:
        notes = [gap_too_few(gain.gap, gain.tests) for gain in pair.gains.values()]
        if notes and all(notes):
            yield f"{_title(pair)}: {notes[0]}."
