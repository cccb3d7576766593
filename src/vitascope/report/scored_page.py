"""The page, and the picture, of scores of predictions from elsewhere: one or several files on the same truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vitascope.core.text import escaped, interval, margin, number, p_value, signed, with_interval
from vitascope.core.types import Score
from vitascope.evaluation.scored_files.scored import Comparison, Scored
from vitascope.report.analysis.leaderboard import EncoderRow
from vitascope.report.analysis.phrases import TextRun
from vitascope.report.analysis.ranking import ALPHA
from vitascope.report.charts import plots, svg_png
from vitascope.report.charts.plots import PERCENT, Axis, Mark, Strip
from vitascope.report.charts.svg_png import MARGIN, Box, Picture, Text
from vitascope.report.charts.timelines import COLORS, EMPTY
from vitascope.report.render import render
from vitascope.report.sections.leaderboard import Cell, ColumnHeader, DifferenceCell, Table
from vitascope.report.sections.tables import SummaryTable

NOTES = {
    "false": "Percentage of each type among the wrong predictions of highest score.",
    "gains": "Points of the headline gained if all errors of a type were removed.",
    "box recall": "Percentage of people found by the best boxes of their frame, whatever the class (IoU 0.5).",
    "missed": "True ones that no prediction matches.",
}
RANGE_NOTE = "Normalized mAP of the true ones in each range, and in parentheses the percentage of them that is missed."
ROW, LEFT = 30, 0.34
"""Height of a row of the picture, pixels, and the share of its width for names."""


def html(metric: str, truth: Path, scored: Sequence[Scored], pairs: Sequence[Comparison]) -> str:
    """The page: scores with intervals, comparisons of all pairs, classes, error types and notes."""
    rows = [EncoderRow(i, name, name, {}) for i, name in enumerate(short_names(scored))]
    axis, strips = _headlines(scored, rows)
    now = datetime.now(UTC)
    values = {
        "findings": [_finding(scored, pairs, rows)],
        "recorded": f"{now.day} {now:%B %Y, %H:%M} UTC",
        "metric": metric,
        "truth": escaped(str(truth)),
        "name": escaped(truth.name),
        "units": scored[0].units,
        "rows": rows,
        "paths": [escaped(file.name) for file in scored],
        "table": _table(scored, rows),
        "axis": axis,
        "strips": strips,
        "matrix": _matrix(scored, pairs, rows),
        "classes": _classes(scored, rows),
        "unscored": sum(_unknown(file.per_class) for file in scored[:1]),
        "percent": PERCENT,
        "tables": [*diagnosis_tables(scored, rows), *_exact(scored, rows)],
        "notes": [(row, [escaped(note) for note in file.notes]) for row, file in zip(rows, scored, strict=True)],
    }
    return render("scored.html.j2", f"{metric} on {truth.name}", values)


def short_names(scored: Sequence[Scored]) -> list[str]:
    """Names of the files without their folders, with as many of these as tell them apart."""
    parts = [Path(file.name).parts for file in scored]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(of[-count:]) for of in parts]
        if len(set(names)) == len(names):
            return names
    return [file.name for file in scored]


def _finding(scored: Sequence[Scored], pairs: Sequence[Comparison], rows: Sequence[EncoderRow]) -> list[TextRun]:
    """The best file, and those that it does not beat significantly."""
    values = [file.scores[file.headline] for file in scored]
    best = max(range(len(scored)), key=lambda i: values[i].value)
    start = [TextRun(escaped(rows[best].label), True)]
    told = (
        f" {'scores highest: ' if len(scored) > 1 else 'scores '}{with_interval(values[best])} % {scored[0].headline}"
    )
    beaten = {other for pair in pairs for other in _beaten(pair, scored[best].name)}
    equal = [row.label for row, file in zip(rows, scored, strict=True) if file.name not in beaten | {scored[best].name}]
    rest = f", but not significantly higher than {', '.join(map(escaped, equal))}." if equal else "."
    return [*start, TextRun(told + rest)]


def _beaten(pair: Comparison, name: str) -> list[str]:
    if pair.adjusted >= ALPHA or name not in (pair.first, pair.second):
        return []
    return [pair.second if pair.first == name else pair.first]


def _headlines(scored: Sequence[Scored], rows: Sequence[EncoderRow]) -> tuple[Axis, list[Strip]]:
    """A strip for the headline of each file, best first."""
    values = [file.scores[file.headline] for file in scored]
    axis = plots.axis(values)
    order = sorted(range(len(values)), key=lambda i: -values[i].value)
    return axis, [
        Strip(
            escaped(rows[i].label),
            (Mark(i, axis.at(values[i].value), plots.span(axis, values[i])),),
            with_interval(values[i]),
            f"{escaped(scored[i].name)}\n{scored[i].headline} {with_interval(values[i])}",
        )
        for i in order
    ]


def _table(scored: Sequence[Scored], rows: Sequence[EncoderRow]) -> Table:
    names = list(scored[0].scores)
    heads = tuple(ColumnHeader("", escaped(name)) for name in names)
    lines = tuple(
        (row, tuple(_cell(file.scores[name]) for name in names)) for row, file in zip(rows, scored, strict=True)
    )
    return Table((("Other", len(names)),), heads, lines)


def _cell(score: Score) -> Cell:
    return Cell(number(score.value), interval(score), sort=score.value, tip=with_interval(score))


def _matrix(
    scored: Sequence[Scored], pairs: Sequence[Comparison], rows: Sequence[EncoderRow]
) -> list[tuple[EncoderRow, list[DifferenceCell]]]:
    """Row minus column, files in their order; empty for one file."""
    known = {(pair.first, pair.second): (pair, 1) for pair in pairs}
    known |= {(pair.second, pair.first): (pair, -1) for pair in pairs}
    names = [file.name for file in scored]
    return [(row, [_difference(known.get((a, b))) for b in names]) for row, a in zip(rows, names, strict=True) if pairs]


def _difference(found: tuple[Comparison, int] | None) -> DifferenceCell:
    if found is None:
        return DifferenceCell("", 0, "")
    pair, sign = found
    value, low, high = pair.difference[:3]
    ends = (low, high) if sign > 0 else (None if high is None else -high, None if low is None else -low)
    told = f"{margin(Score(sign * value, *ends))}\n{p_value(pair.adjusted)} (Holm-adjusted over all pairs)"
    return DifferenceCell(signed(sign * value), 0 if pair.adjusted >= ALPHA else 1 if sign * value > 0 else -1, told)


def _classes(scored: Sequence[Scored], rows: Sequence[EncoderRow]) -> list[Strip]:
    """A strip for each class with a marker for each file, best mean first."""
    known: dict[str, dict[int, Score]] = {}
    for row, file in zip(rows, scored, strict=True):
        for name, score in file.per_class.items():
            if score.value == score.value:
                known.setdefault(name, {})[row.index] = score
    means = {name: sum(s.value for s in of.values()) / len(of) for name, of in known.items()}
    strips = []
    for name in sorted(known, key=lambda name: -means[name]):
        marks = tuple(Mark(i, PERCENT.at(s.value), plots.span(PERCENT, s)) for i, s in known[name].items())
        each = (f"{escaped(rows[i].label)} {with_interval(s)}" for i, s in known[name].items())
        strips.append(Strip(escaped(name), marks, number(means[name]), "\n".join([escaped(name), *each])))
    return strips


def _unknown(per_class: Mapping[str, Score]) -> int:
    """Number of classes without ground truth."""
    return sum(score.value != score.value for score in per_class.values())


def diagnosis_tables(scored: Sequence[Scored], rows: Sequence[EncoderRow]) -> list[SummaryTable]:
    """A table for each part of the diagnosis, a row for each file."""
    names = dict.fromkeys(name for file in scored for name in file.diagnosis if name != "profile")
    tables = []
    for name in names:
        parts = [(row, _parts(file.diagnosis.get(name))) for row, file in zip(rows, scored, strict=True)]
        heads = tuple(dict.fromkeys(head for _, of in parts for head in of))
        lines = tuple((escaped(row.label), *(of.get(head, "–") for head in heads)) for row, of in parts)
        nested = any("(" in cell for line in lines for cell in line[1:])
        note = NOTES.get(name, RANGE_NOTE if nested else "")
        tables += [SummaryTable(_titled(name), note, ("file", *map(escaped, heads)), lines)] if heads else []
    return tables


def _titled(name: str) -> str:
    return {"false": "Types of wrong predictions", "gains": "Gain without an error type"}.get(name, name.capitalize())


def _parts(part: Any) -> dict[str, str]:
    """The numbers of a part of a diagnosis by the heads of their columns."""
    if isinstance(part, list):
        held = (record for record in part if record["segments"])
        return {f"{r['range']} ({r['segments']:,})": _range_cell(r) for r in held}
    if isinstance(part, Mapping):
        return dict(_named(name, value) for name, value in part.items())
    return {} if part is None else {"percent": _number(part)}


def _named(name: str, value: Any) -> tuple[str, str]:
    if isinstance(value, Mapping):
        return f"{name} ({value['boxes']:,})", _range_cell(value)
    return name, _number(value)


def _range_cell(record: Mapping[str, Any]) -> str:
    return f"{_number(record['mAP_N'])} ({_number(record['missed'])})"


def _number(value: Any) -> str:
    return "–" if value is None or value != value else number(float(value))


def _exact(scored: Sequence[Scored], rows: Sequence[EncoderRow]) -> Iterator[SummaryTable]:
    """The numbers as their evaluators print them."""
    names = tuple(dict.fromkeys(name for file in scored for name in file.exact if "@" not in name))
    if names:
        lines = tuple(
            (escaped(row.label), *(repr(file.exact[n]) if n in file.exact else "–" for n in names))
            for row, file in zip(rows, scored, strict=True)
        )
        yield SummaryTable("Numbers of other evaluators, to full precision", "Fractions.", ("file", *names), lines)


def picture(metric: str, truth: Path, scored: Sequence[Scored]) -> Picture:
    """The headline of each file with its interval, best first, on one axis."""
    rows = [EncoderRow(i, name, name, {}) for i, name in enumerate(short_names(scored))]
    axis, strips = _headlines(scored, rows)
    width = svg_png.WIDTH
    left, right = width * LEFT, width - 150.0
    place = [left + (right - left) * at / 100 for at in range(101)]
    boxes, texts = [], [Text(MARGIN, 20, f"{scored[0].headline} on {truth.name}, percent, 95 % intervals")]
    for line, strip in enumerate(strips):
        mark, middle = strip.marks[0], 34.0 + ROW * line + ROW / 2
        low, high, at = (left + (right - left) * x / 100 for x in (*mark.span, mark.at))
        boxes += [Box(place[0], middle - 11, place[100], middle + 11, EMPTY)]
        boxes += [Box(low, middle - 1, high, middle + 1, mark.row % len(COLORS), strip.tip)] * (high > low)
        boxes += [Box(at - 4, middle - 6, at + 4, middle + 6, mark.row % len(COLORS), strip.tip)]
        texts.append(Text(left - 12, middle + 4, svg_png.truncate(strip.label, left - 12 - MARGIN), "end"))
        texts.append(Text(right + 14, middle + 4, strip.text, "start", svg_png.SOFT))
    bottom = 34.0 + ROW * len(strips)
    ticks = tuple((left + (right - left) * axis.at(tick) / 100, bottom + 1) for tick in axis.ticks)
    texts += [
        Text(x, bottom + 19, f"{t:g}", "middle", svg_png.SOFT) for (x, _), t in zip(ticks, axis.ticks, strict=True)
    ]
    description = f"{metric}: {', '.join(f'{strip.label} {strip.text}' for strip in strips)}"
    return Picture(width, int(bottom + 30), tuple(boxes), ticks, tuple(texts), description)
