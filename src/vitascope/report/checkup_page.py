"""The page and the tables of a check-up without labels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from vitascope.core.text import counted, escaped, file_size, format_duration, number, rough_duration, with_interval
from vitascope.core.types import Score, plain
from vitascope.evaluation.checkup.advice import advise, recommended
from vitascope.evaluation.checkup.report import Checkup
from vitascope.report.analysis.leaderboard import EncoderRow
from vitascope.report.charts import plots
from vitascope.report.charts.plots import Mark, Strip
from vitascope.report.render import render
from vitascope.report.sections.tables import SummaryTable
from vitascope.video.alterations import ALTERATIONS, SECONDS

WORDS = {
    "reversed": "played backwards",
    "shuffled": "frames shuffled",
    "slowed": "middle half at half speed",
    **{name: f"{name} ({words})" for name, (words, _, _) in ALTERATIONS.items()},
}
"""Alterations in words."""
SHIFT_NOTE = (
    "Percent of the mean distance of two different videos, with 95 % intervals over recordings: 0, the vector stays "
    "where it is; 100, it goes as far as to any other video."
)
STABILITY_NOTE = (
    f"The same, of {SECONDS:g} s from the middle of {{}}, by what should change nothing: H.264 of poor quality, the "
    "middle of the picture, black bars above and below."
)


def data(found: Checkup) -> dict[str, Any]:
    """Everything that was found, as plain data."""
    return dict(plain(found))


def headline(found: Checkup) -> str:
    """What was looked at, in one line."""
    many = f"{found.videos:,}" if found.videos == found.found else f"{found.videos:,} of {found.found:,}"
    copies = f", {counted(len(found.copies), 'copy', 'copies')} of others" if found.copies else ""
    return (
        f"{found.data}: {many} videos of {counted(found.recordings, 'recording')}{copies}, "
        f"{format_duration(found.seconds)} on average; no labels were read"
    )


def summary_tables(found: Checkup) -> list[SummaryTable]:
    """Rank, order, stability, agreement and cost; names are harmless in a page and in a terminal."""
    altered = STABILITY_NOTE.format(counted(found.altered, "video"))
    tables = [
        _shifts("Order and speed", found, "order", SHIFT_NOTE),
        _shifts("Stability", found, "stability", altered),
        _ranks(found),
        _costs(found),
    ]
    return [*tables[:2], *([_agreement(found)] if found.agreements else []), *tables[2:], *_pairs(found)]


def _shifts(title: str, found: Checkup, part: str, note: str) -> SummaryTable:
    names = list(getattr(found.encoders[0], part))
    rows = tuple((escaped(e.encoder), *(with_interval(getattr(e, part)[n]) for n in names)) for e in found.encoders)
    return SummaryTable(title, note, ("encoder", *(WORDS[n] for n in names)), rows)


def _ranks(found: Checkup) -> SummaryTable:
    note = (
        "Effective number of dimensions that the vectors of the videos span, and the most that so many videos can; "
        "pairs of different videos nearer than a tenth of the mean distance."
    )
    rows = tuple(
        (escaped(e.encoder), f"{e.dim:,}", number(e.rank), f"{min(e.dim, found.most_rank):,}", f"{len(e.alike)}")
        for e in found.encoders
    )
    return SummaryTable("Rank", note, ("encoder", "numbers a vector", "effective rank", "at most", "alike pairs"), rows)


def _agreement(found: Checkup) -> SummaryTable:
    note = (
        f"Linear CKA (unbiased, 100: the same up to rotation and scale; about 0: nothing in common), and the share of "
        f"the {found.neighbors} nearest videos in common (chance {number(found.neighbors_by_chance)} %), percent."
    )
    rows = tuple(
        (" and ".join(map(escaped, a.encoders)), with_interval(a.cka), with_interval(a.neighbors))
        for a in found.agreements
    )
    return SummaryTable("Agreement", note, ("encoders", "CKA", "neighbors in common"), rows)


def _costs(found: Checkup) -> SummaryTable:
    note = (
        f"Of an hour of video, a clip each two seconds, decoding included, on this machine ({escaped(found.device)})."
    )
    rows = tuple(
        (escaped(e.encoder), f"{e.clip_seconds:.3f}", rough_duration(e.hour_seconds), file_size(e.hour_bytes))
        for e in found.encoders
    )
    return SummaryTable("Cost", note, ("encoder", "seconds a clip", "time", "vectors"), rows)


def _pairs(found: Checkup) -> list[SummaryTable]:
    """Copies, and different videos that an encoder hardly tells apart."""
    copies = tuple((escaped(one), escaped(other)) for one, other in found.copies.items())
    alike = tuple((escaped(e.encoder), " and ".join(map(escaped, pair))) for e in found.encoders for pair in e.alike)
    tables = []
    if copies:
        note = "By three frames of every video. Copies count as one recording above."
        tables.append(SummaryTable("Copies", note, ("video", "is a copy of"), copies))
    if alike:
        note = "Nearer than a tenth of the mean distance, and no copies by their frames; up to 20 an encoder."
        tables.append(SummaryTable("Hardly told apart", note, ("encoder", "videos"), alike))
    return tables


def html(found: Checkup) -> str:
    """The page: advice first, then what it rests on."""
    rows = [EncoderRow(i, e.encoder, e.encoder, {}) for i, e in enumerate(found.encoders)]
    now = datetime.now(UTC)
    best = recommended(found)
    values = {
        "findings": [],
        "recorded": f"{now.day} {now:%B %Y, %H:%M} UTC",
        "headline": escaped(headline(found)),
        "advice": [escaped(line) for line in advise(found)],
        "best": escaped(best.encoder) if best else "",
        "rows": rows,
        "figures": [_figure(found, rows, part) for part in ("order", "stability")],
        "tables": summary_tables(found),
        "failures": [(escaped(i), escaped(why)) for i, why in found.failures.items()],
    }
    return render("checkup.html.j2", found.data, values)


def _figure(found: Checkup, rows: Sequence[EncoderRow], part: str) -> tuple[str, plots.Axis, list[Strip]]:
    """A strip for each alteration with a marker for each encoder."""
    shifts = [getattr(e, part) for e in found.encoders]
    axis = plots.axis([_within(s) for of in shifts for s in of.values()])
    strips = []
    for name in shifts[0]:
        scores = [of[name] for of in shifts]
        marks = tuple(
            Mark(row.index, axis.at(_within(s).value), plots.span(axis, _within(s)))
            for row, s in zip(rows, scores, strict=True)
        )
        each = (f"{escaped(row.label)} {with_interval(s)}" for row, s in zip(rows, scores, strict=True))
        strips.append(Strip(WORDS[name], marks, "", "\n".join([WORDS[name], *each])))
    return part, axis, strips


def _within(score: Score) -> Score:
    """A shift for drawing, at most 100 %."""
    low, high = (None if end is None else min(end, 100.0) for end in (score.low, score.high))
    return Score(min(score.value, 100.0), low, high)
